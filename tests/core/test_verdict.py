"""Persistence, hysteresis and monotone severity of the verdict."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.card import ModelCard
from edge.core.verdict import (
    NoScore,
    StepScore,
    Verdict,
    VerdictSettings,
    fold,
    level,
    sigmoid,
)

SET = VerdictSettings(
    threshold=0.6, clear_threshold=0.4, severity_thresholds=(0.5, 0.5, 0.5),
    persist_steps=3, clear_steps=4, min_valid=0.7,
)  # fmt: skip


def score(probability: float, seen: int = 1, valid: float = 1.0) -> StepScore:
    logit = math.log(probability / (1 - probability))
    first, second, third = (0.9 if seen >= k else 0.1 for k in (1, 2, 3))
    return StepScore(logit, (first, second, third), valid)


def run(*scores: StepScore | NoScore, start: Verdict | None = None) -> list[Verdict]:
    verdict, out = start or Verdict(), []
    for t_s, one in enumerate(scores):
        verdict = fold(verdict, one, float(t_s), SET)
        out.append(verdict)
    return out


def test_raised_by_three_in_a_row_and_cleared_by_four() -> None:
    high, low = score(0.9), score(0.1)
    verdicts = run(high, high, low, high, high, high, low, low, low, low)
    assert [v.flag for v in verdicts] == [False] * 5 + [True] * 4 + [False]
    assert verdicts[5].since_s == 5.0
    assert verdicts[8].since_s == 5.0
    assert verdicts[9].since_s is None


def test_between_the_thresholds_nothing_changes() -> None:
    middle = score(0.5)
    assert not any(v.flag for v in run(*[middle] * 10))
    raised = run(*[score(0.9)] * 3)[-1]
    assert all(v.flag for v in run(*[middle] * 10, start=raised))


def test_severity_follows_the_level_that_persists() -> None:
    high = [score(0.9, 3), score(0.9, 2), score(0.9, 3)]
    assert run(*high)[-1].severity == 2
    assert run(*high, score(0.9, 3), score(0.9, 3))[-1].severity == 3
    falling = run(*[score(0.9, 3)] * 3, *[score(0.9, 1)] * 4)
    assert [v.severity for v in falling] == [0, 0, 3, 3, 3, 3, 1]


def test_a_flag_has_at_least_severity_one() -> None:
    assert run(*[score(0.9, 0)] * 3)[-1].severity == 1


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (NoScore.NO_MODEL, NoScore.NO_MODEL),
        (score(0.9, 1, valid=0.69), NoScore.INPUT_BAD),
        (score(0.9, 1, valid=math.nan), NoScore.INPUT_BAD),
        (StepScore(math.nan, (0, 0, 0), 1.0), NoScore.NOT_A_NUMBER),
        (StepScore(1.0, (0, math.nan, 0), 1.0), NoScore.NOT_A_NUMBER),
    ],
)
def test_an_invalid_step_keeps_the_flag_and_says_why(
    bad: StepScore | NoScore, why: NoScore
) -> None:
    raised = run(*[score(0.9, 2)] * 3)[-1]
    after = fold(raised, bad, 9.0, SET)
    assert (after.valid, after.why, after.probability) == (False, why, None)
    assert (after.flag, after.severity, after.since_s) == (True, 2, 2.0)
    assert not fold(Verdict(), bad, 0.0, SET).flag


@given(
    st.lists(
        st.tuples(st.floats(-800, 800), st.tuples(*[st.floats(0, 1)] * 3), st.floats(0, 1)),
        max_size=40,
    )
)
def test_always_a_probability_and_a_level(
    steps: list[tuple[float, tuple[float, float, float], float]],
) -> None:
    for verdict in run(*(StepScore(*step) for step in steps)):
        assert 0 <= verdict.severity <= 3
        assert (verdict.since_s is not None) == verdict.flag
        assert verdict.valid == (verdict.probability is not None)
        if verdict.probability is not None:
            assert 0.0 <= verdict.probability <= 1.0


@given(st.tuples(*[st.floats(0, 1)] * 3), st.integers(0, 2), st.floats(0, 1))
def test_severity_never_falls_when_a_level_becomes_more_probable(
    severity: tuple[float, float, float], k: int, more: float
) -> None:
    raised = list(severity)
    raised[k] = max(raised[k], more)
    thresholds = (0.5, 0.4, 0.3)
    assert level((raised[0], raised[1], raised[2]), thresholds) >= level(severity, thresholds)


def card(threshold: float, clear: float) -> ModelCard:
    return ModelCard(
        format=2, name="m", serial=1, notice="", simulated=True, tags=(), features=(), row_s=1.0,
        kinds=("",),
        step_rows=60, slot_steps=1, states=(), threshold=threshold, clear_threshold=clear,
        severity_thresholds=(0.5, 0.5, 0.5), drift_limit=1.0, files={},
    )  # fmt: skip


def test_settings_come_from_the_card_unless_the_plant_says_otherwise() -> None:
    made = VerdictSettings.of(
        card(0.7, 0.5), warn_probability=None, persist_steps=2, clear_steps=0, min_valid=0.5
    )
    assert (made.threshold, made.clear_threshold, made.clear_steps) == (0.7, 0.5, 1)
    plant = VerdictSettings.of(
        card(0.7, 0.5), warn_probability=0.9, persist_steps=2, clear_steps=2, min_valid=0.5
    )
    assert plant.threshold == 0.9
    assert 0.5 < plant.clear_threshold < 0.9


def test_sigmoid_does_not_overflow() -> None:
    assert sigmoid(-1e4) == 0.0
    assert sigmoid(1e4) == 1.0
    assert sigmoid(0.0) == 0.5
