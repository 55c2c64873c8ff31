"""A newly installed model beside the live one: the same steps, its verdicts logged, nothing shown.

It begins with the whole batch replayed from the ring, so that at the switch, between two model
steps, its state and its verdict are those it would have had from the start: no minute and no batch
is lost. It is judged relative to the live model: a step it cannot conclude although the live model
can ends the trial, and the live model stays; so does one that it does not conclude within the time
of a step. That the two disagree is no reason either way; people read it in the log and the history.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from enum import Enum
from typing import Any

from edge.core.line import LineCore, LineSetup, StepResult
from edge.core.ring import Ring
from edge.core.verdict import NoScore, Verdict
from edge.runtime.infer import InferenceFailed
from edge.runtime.track import Step, Track

log = logging.getLogger("ncm-edge")


class Outcome(Enum):
    """How a trial, or the probation after it, stands after a step."""

    GOING_ON = "going on"
    PASSED = "passed"
    """It has taken over."""
    FAILED = "failed"
    PROVEN = "proven"
    """The probation is over; there is nothing to go back from."""
    RETURNED = "returned"
    """It does worse than the model before it, which is to come back."""


@dataclass(frozen=True, slots=True)
class Report:
    """What came of a trial or a probation."""

    release: str
    outcome: Outcome
    text: str


class Trial:
    """One candidate; `step` after each step of the live model."""

    def __init__(self, release: str, track: Track, setup: LineSetup, steps: int) -> None:
        """`steps`: how many it has to conclude beside the live model before it takes over."""
        self.release, self.track, self.core = release, track, LineCore(setup)
        self.text = ""
        self.beside: dict[str, Any] = {}
        """The newest step of both models, side by side; {} if this step has none."""
        self._steps, self._done, self._differ = steps, 0, 0
        self._widest = 0.0
        self._begun = False

    async def step(
        self,
        step: Step,
        ring: Ring,
        live: LineCore,
        result: StepResult | NoScore,
        now_s: float,
        before: Verdict,
    ) -> Outcome:
        """Conclude the step that the live model has just concluded with `result`.

        `before`: the live verdict before this step. The trial goes on from its level, so that a
        take-over, at once or later, clears no warning that the candidate has not voted down.
        """
        self.core.sit_beside(step.batch)
        self.beside = {}
        if not self._begun:
            self._begun = True
            self.core.start_from(before)
        limit_s = self.core.setup.step_s
        try:
            # A candidate that hangs must not keep the live model from its next step.
            async with asyncio.timeout(limit_s):
                mine = await self.track.conclude(step, ring)
        except TimeoutError:
            self.text = f"step {self._done + 1}: no answer within {limit_s:g} s"
            return Outcome.FAILED
        except InferenceFailed as error:
            self.text = f"step {self._done + 1}: {error}"
            return Outcome.GOING_ON if result is NoScore.INFERENCE_FAILED else Outcome.FAILED
        try:
            self.core.conclude(mine, step.t_s, now_s)
        except ValueError as error:  # arrays that do not fit the line: the candidate's fault
            self.text = f"step {self._done + 1}: {error}"
            return Outcome.FAILED
        verdict, other = self.core.finding.verdict, live.finding.verdict
        if isinstance(result, StepResult) and other.valid and not verdict.valid:
            self.text = f"step {self._done + 1}: no verdict: {verdict.why}; the live model has one"
            return Outcome.FAILED
        if not isinstance(mine, StepResult):
            # Nothing runs, nothing is proven; but who has to conclude no step may take over.
            return Outcome.GOING_ON if self._steps else Outcome.PASSED
        self._done += 1
        if verdict.probability is not None and other.probability is not None:
            self._widest = max(self._widest, abs(verdict.probability - other.probability))
        self._differ += verdict.severity != other.severity
        self.beside = {
            "release": self.release, "step": self._done, "steps": self._steps,
            "probability": other.probability, "severity": other.severity,
            "candidate_probability": verdict.probability, "candidate_severity": verdict.severity,
        } if self._steps else {}  # fmt: skip
        log.info(
            "trial of %s, step %d of %d: live %s severity %d, candidate %s severity %d",
            self.release, self._done, self._steps, _percent(other.probability), other.severity,
            _percent(verdict.probability), verdict.severity,
        )  # fmt: skip
        self.text = (
            f"{self._done} steps, {self._differ} with another severity, probabilities up to "
            f"{self._widest:.1%} apart"
        )
        return Outcome.PASSED if self._done >= self._steps else Outcome.GOING_ON


def _percent(probability: float | None) -> str:
    return "-" if probability is None else f"{probability:.1%}"
