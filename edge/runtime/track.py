"""One model on one line: its engine, its state, and the model step the state stands before.

The live model is one, and so is a newly installed one that runs beside it in shadow: both see the
same steps, and each finds its own state again from the ring.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace

from edge.core.batch import Batch, BatchState
from edge.core.line import StepResult
from edge.core.ring import Ring
from edge.core.verdict import NoScore, StepScore
from edge.runtime.checkpoint import Checkpoint
from edge.runtime.history import Steps, steps_between
from edge.runtime.infer import Engine, State, StepOutputs

log = logging.getLogger("ncm-edge")


@dataclass(frozen=True, slots=True)
class Step:
    """A model step that waits for its inference."""

    last_seq: int
    t_s: float
    steps: Steps
    batch: Batch
    epoch: int = 0
    """Of the line's rows and model when the step was cut."""


@dataclass(frozen=True, slots=True)
class StateAt:
    """Where the model state stands."""

    batch_id: int
    next_step: int
    """Model step of the batch that the state has not seen yet."""
    seq: int
    """Newest ring row that is in the state."""


class Track:
    """A model that follows a line."""

    def __init__(self, engine: Engine, line: str, step_rows: int, *, has_batches: bool) -> None:
        """`line`: its name, for the log; `step_rows`: rows of the ring per model step."""
        self.engine = engine
        self.state: State | None = None
        self.at: StateAt | None = None
        self._line, self._rows, self._batches = line, step_rows, has_batches

    def resume(self, found: Checkpoint) -> None:
        """Take a saved state up."""
        self.state, kept = found.state, found.extra
        seq = int(kept.get("state_seq", kept.get("seq", 0)))
        self.at = StateAt(int(kept.get("batch_id", 0)), found.batch_step, seq)

    async def conclude(self, step: Step, ring: Ring) -> StepResult | NoScore:
        """What the model says about one step. Raises InferenceFailed; the state then stands."""
        batch = step.batch
        if batch.state is not BatchState.RUNNING:
            # Time that stands still for the batch must not be replayed into its state.
            if self.at is not None:
                self.at = replace(self.at, seq=step.last_seq)
            return NoScore.NO_BATCH
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        state = await self._caught_up(step, ring)
        found, state = await asyncio.to_thread(
            self.engine.run_blocks, state, step.steps.features, step.steps.valid, batch.step
        )
        self.state = state
        self.at = StateAt(batch.batch_id, batch.step + 1, step.last_seq)
        return _result(found, step.steps, (loop.time() - started_s) * 1000.0)

    async def _caught_up(self, step: Step, ring: Ring) -> State:
        """The model state just before `step`: the one at hand, or one replayed from the ring.

        A state that is behind (a restart) is moved on with the rows the ring kept; one of another
        batch, or none, is built anew from the rows of this batch.
        """
        engine, rows, at = self.engine, self._rows, self.at
        batch, last = step.batch, step.last_seq - rows
        first_seq = last - batch.step * rows if self._batches else 0
        state = engine.initial_state()
        if self.state is not None and at is not None and at.seq <= last:
            earlier = at.next_step <= batch.step or not self._batches
            if at.batch_id == batch.batch_id and earlier:
                state, first_seq = self.state, at.seq
        steps = steps_between(ring, max(first_seq, ring.seq - ring.count), last, rows)
        count = len(steps.features)
        if not count:
            return state
        log.info("line %s: replaying %d model steps from the ring", self._line, count)
        # A replay that fails fails the step: a state without its history must not give a verdict.
        _, state = await asyncio.to_thread(
            engine.run_blocks, state, steps.features, steps.valid, max(batch.step - count, 0)
        )
        return state


def _result(found: StepOutputs, steps: Steps, infer_ms: float) -> StepResult:
    """The newest step of a run over one line."""
    severity = found.severity[0, -1]
    return StepResult(
        score=StepScore(
            logit=float(found.logit[0, -1]),
            severity=(float(severity[0]), float(severity[1]), float(severity[2])),
            valid_fraction=float(steps.valid[-1].mean()),
        ),
        cam=found.cam[0, -1],
        deviation=found.deviation[0, -1],
        pooled=found.pooled[0, -1],
        kinds=found.kinds[0, -1],
        valid=steps.valid[-1],
        infer_ms=infer_ms,
    )
