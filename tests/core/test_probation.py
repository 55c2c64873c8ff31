"""Probation: what counts as a step, and when a model is worse than the one before it."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.line import LineCore, StepResult
from edge.core.probation import (
    FLIPS,
    MEDIAN_STEPS,
    Figures,
    Service,
    figures,
    from_plain,
    to_plain,
    worse,
)
from edge.core.verdict import NoScore, StepScore
from tests.core.test_line import ALARMED, SETUP

STEP_S = 60.0
WELL = Figures(infer_ms=4.0, drift=0.4)
BEFORE = (WELL,) * 60


def judged(*now: Figures, before: tuple[Figures, ...] = BEFORE) -> str:
    return "; ".join(worse(Service(now, before), STEP_S))


def test_a_model_that_works_as_before_is_no_worse() -> None:
    for count in range(61):
        assert judged(*[WELL] * count) == ""


FAULT, CPU, FLIP = Figures(fault=True), replace(WELL, cpu=True), replace(WELL, flip=True)
SLOW, FAR = replace(WELL, infer_ms=700.0), replace(WELL, drift=1.2)
WORSE = {
    "a single fault where there was none": ((WELL, FAULT), "1 of 2 model steps without a number"),
    "the processor stands in": ((CPU,), "runs on the processor"),
    "severity flutters": ((FLIP,) * (FLIPS + 1), "severity changed 5 times in 5 model steps"),
    "slow": ((SLOW,) * MEDIAN_STEPS, "inference takes 700 ms, before 4 ms"),
    "the input is none of its own": ((FAR,) * MEDIAN_STEPS, "input drift 1.20 of its limit"),
}


@pytest.mark.parametrize("name", WORSE)
def test_worse(name: str) -> None:
    now, text = WORSE[name]
    assert text in judged(*now)


@pytest.mark.parametrize("name", WORSE)
def test_what_the_model_before_did_as_well_is_no_reason(name: str) -> None:
    now, _ = WORSE[name]
    assert judged(*now, before=now * 10) == ""


@pytest.mark.parametrize("name", WORSE)
def test_without_figures_of_a_model_before_only_faults_count(name: str) -> None:
    now, _ = WORSE[name]
    assert bool(judged(*now, before=())) is (FAULT in now)


NO_REASON = {
    "a defect that comes and goes": (FLIP,) * FLIPS + (WELL,) * 3,
    "ten times slower, and still at once": (replace(WELL, infer_ms=40.0),) * 20,
    "a slow minute": (SLOW,) * (MEDIAN_STEPS - 1),
    "an odd minute of input": (WELL,) * 10 + (FAR,) * 4,
}


@pytest.mark.parametrize("name", NO_REASON)
def test_no_reason(name: str) -> None:
    assert judged(*NO_REASON[name]) == ""


def test_faults_as_frequent_as_before_are_no_reason_and_more_are() -> None:
    before = (FAULT, *(WELL,) * 9) * 6
    assert judged(*(WELL,) * 9, FAULT, before=before) == ""
    assert "2 of 10" in judged(*(WELL,) * 8, FAULT, FAULT, before=before)


def test_everything_that_is_worse_is_said() -> None:
    both = replace(SLOW, drift=9.0)
    assert "inference takes" in judged(*(both,) * 5)
    assert "input drift" in judged(*(both,) * 5)


def of(result: StepResult | NoScore, *, drift: float | None = 0.5) -> Figures | None:
    core = LineCore(SETUP)
    before = core.finding.verdict
    core.conclude(result, 100.0, 5.0)
    return figures(result, before, core.finding.verdict, drift=drift, cpu=False)


NAN = replace(ALARMED, score=StepScore(math.nan, (0.9, 0.9, 0.1), 1.0))
BAD_INPUT = replace(ALARMED, score=StepScore(3.0, (0.9, 0.9, 0.1), 0.0))


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (ALARMED, Figures(infer_ms=1.0, drift=0.5)),
        (NoScore.INFERENCE_FAILED, FAULT),
        (NAN, FAULT),
        (BAD_INPUT, None),
        (NoScore.NO_BATCH, None),
        (NoScore.NO_MODEL, None),
        (NoScore.WARMING_UP, None),
    ],
)
def test_what_counts_as_a_step(result: StepResult | NoScore, expected: Figures | None) -> None:
    assert of(result) == expected


def test_a_change_of_severity_is_a_flip() -> None:
    core, seen = LineCore(SETUP), []
    for n in range(4):
        before = core.finding.verdict
        core.conclude(ALARMED, 100.0 + n, 5.0 + n)
        found = figures(ALARMED, before, core.finding.verdict, drift=None, cpu=True)
        assert found is not None
        assert (found.cpu, found.drift) == (True, 0.0)
        seen.append(found.flip)
    assert seen.count(True) == 1


def test_a_hand_over_makes_the_figures_those_of_the_model_before() -> None:
    service = Service()
    for n in range(70):
        service = service.with_step(replace(WELL, infer_ms=float(n)), 60)
        service = service.with_step(None, 60)
    assert [step.infer_ms for step in service.now] == [float(n) for n in range(10, 70)]
    after = service.handed_over()
    assert (after.now, after.before) == ((), service.now)


numbers = st.floats(0.0, 1e6, allow_nan=False)
steps = st.lists(st.builds(Figures, st.booleans(), st.booleans(), st.booleans(), numbers, numbers))


@given(steps, steps)
def test_a_checkpoint_forgets_nothing_and_judging_never_raises(
    now: list[Figures], before: list[Figures]
) -> None:
    service = Service(tuple(now), tuple(before))
    assert from_plain(json.loads(json.dumps(to_plain(service)))) == service
    assert worse(service, STEP_S) == worse(service, STEP_S)
    # Whoever does exactly what was done before is not worse.
    assert not [text for text in worse(Service(tuple(now), tuple(now)), STEP_S) if now]


@pytest.mark.parametrize(
    "plain",
    [{}, {"now": 1, "before": []}, {"now": [[1]], "before": []}, {"now": [], "before": ["x"]}],
)
def test_what_is_no_memory_is_refused(plain: dict[str, object]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        from_plain(plain)
