"""A trial: what counts as a step, and a candidate whose answer does not fit the line."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, cast

import numpy as np

from edge.core.batch import Batch, BatchState
from edge.core.drift import DriftReference
from edge.core.line import LineCore, StepResult
from edge.core.ring import Ring
from edge.core.verdict import NoScore, Verdict
from edge.runtime.history import Steps
from edge.runtime.track import Step, Track
from edge.runtime.trial import Outcome, Trial
from tests.core.test_line import ALARMED, SETUP

STEP = Step(
    last_seq=10, t_s=100.0, steps=Steps(np.zeros(0), np.zeros(0)),
    batch=Batch(state=BatchState.RUNNING),
)  # fmt: skip


NEW = Verdict()


class Says:
    """A track that says one thing."""

    def __init__(self, answer: StepResult | NoScore) -> None:
        self.answer = answer

    async def conclude(self, step: Step, ring: Ring) -> StepResult | NoScore:
        return self.answer


def trial(answer: StepResult | NoScore, steps: int, setup: Any = SETUP) -> Trial:
    return Trial("release 1.2", cast(Track, Says(answer)), setup, steps)


def concluded(
    under: Trial, live: LineCore, result: StepResult | NoScore, before: Verdict = NEW
) -> Outcome:
    return asyncio.run(under.step(STEP, cast(Ring, None), live, result, 5.0, before))


def live_core(result: StepResult | NoScore, steps: int = 3) -> LineCore:
    core = LineCore(SETUP)
    for n in range(steps):
        core.conclude(result, 100.0 + n, 5.0 + n)
    return core


def test_an_answer_that_does_not_fit_the_line_ends_the_trial_only() -> None:
    under = trial(
        ALARMED, 3, replace(SETUP, drift=DriftReference(np.zeros(5), np.eye(5)))
    )
    assert concluded(under, live_core(ALARMED), ALARMED) is Outcome.FAILED
    assert under.text.startswith("step 1: ")


def test_a_minute_in_which_nothing_runs_proves_nothing() -> None:
    under, live = trial(NoScore.NO_BATCH, 2), live_core(NoScore.NO_BATCH)
    for _ in range(5):
        assert concluded(under, live, NoScore.NO_BATCH) is Outcome.GOING_ON
    cast(Says, under.track).answer = ALARMED
    live = live_core(ALARMED)
    assert concluded(under, live, ALARMED) is Outcome.GOING_ON
    assert concluded(under, live, ALARMED) is Outcome.PASSED


def test_going_back_waits_for_no_batch() -> None:
    under = trial(NoScore.NO_BATCH, 0)
    assert concluded(under, live_core(NoScore.NO_BATCH), NoScore.NO_BATCH) is Outcome.PASSED


def test_a_take_over_keeps_the_level_until_the_new_model_has_voted_it_down() -> None:
    live = live_core(ALARMED)
    before = live.finding.verdict
    assert before.severity == 2
    live.conclude(ALARMED, 103.0, 8.0)
    calm = replace(ALARMED, score=replace(ALARMED.score, logit=-9.0, severity=(0.0, 0.0, 0.0)))
    for answer, after in ((ALARMED, 2), (calm, 2)):
        under = trial(answer, 0)
        assert concluded(under, live, ALARMED, before) is Outcome.PASSED
        assert under.core.finding.verdict.severity == after
        assert under.core.finding.verdict.since_s == before.since_s
    taken = live_core(ALARMED)
    taken.take_over(under.core)
    taken.conclude(calm, 104.0, 9.0)  # the second vote in a row: clear_steps
    assert taken.finding.verdict.severity == 0


def test_between_batches_a_take_over_keeps_the_level_too() -> None:
    live = live_core(ALARMED)
    under = trial(NoScore.NO_BATCH, 0)
    assert concluded(under, live, NoScore.NO_BATCH, live.finding.verdict) is Outcome.PASSED
    assert under.core.finding.verdict.severity == 2
    assert not under.core.finding.verdict.valid


class Hangs:
    """A track that never answers."""

    async def conclude(self, step: Step, ring: Ring) -> StepResult | NoScore:
        await asyncio.Event().wait()
        raise AssertionError


def test_a_candidate_that_hangs_costs_the_live_model_no_more_than_its_time(virtual: Any) -> None:
    under = trial(ALARMED, 3)
    under.track = cast(Track, Hangs())

    async def main() -> float:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        live = live_core(ALARMED)
        outcome = await under.step(STEP, cast(Ring, None), live, ALARMED, 5.0, NEW)
        assert outcome is Outcome.FAILED
        return loop.time() - began_s

    assert virtual(main()) == SETUP.step_s
    assert under.text == f"step 1: no answer within {SETUP.step_s:g} s"


def test_both_verdicts_of_a_step_stand_side_by_side() -> None:
    calm = replace(ALARMED, score=replace(ALARMED.score, logit=-9.0, severity=(0.0, 0.0, 0.0)))
    under, live = trial(calm, 2), live_core(ALARMED)
    concluded(under, live, ALARMED)
    assert (under.beside["step"], under.beside["steps"]) == (1, 2)
    assert (under.beside["severity"], under.beside["candidate_severity"]) == (2, 0)
    assert under.beside["probability"] > 0.9 > under.beside["candidate_probability"]
    cast(Says, under.track).answer = NoScore.NO_BATCH
    concluded(under, live_core(NoScore.NO_BATCH), NoScore.NO_BATCH)
    assert under.beside == {}
