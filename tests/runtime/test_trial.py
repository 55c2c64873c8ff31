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
from edge.core.verdict import NoScore
from edge.runtime.history import Steps
from edge.runtime.track import Step, Track
from edge.runtime.trial import Outcome, Trial
from tests.core.test_line import ALARMED, SETUP

STEP = Step(
    last_seq=10, t_s=100.0, steps=Steps(np.zeros(0), np.zeros(0)),
    batch=Batch(state=BatchState.RUNNING),
)  # fmt: skip


class Says:
    """A track that says one thing."""

    def __init__(self, answer: StepResult | NoScore) -> None:
        self.answer = answer

    async def conclude(self, step: Step, ring: Ring) -> StepResult | NoScore:
        return self.answer


def trial(answer: StepResult | NoScore, steps: int, setup: Any = SETUP) -> Trial:
    return Trial("release 1.2", cast(Track, Says(answer)), setup, steps)


def concluded(under: Trial, live: LineCore, result: StepResult | NoScore) -> Outcome:
    return asyncio.run(under.step(STEP, cast(Ring, None), live, result, 5.0))


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
