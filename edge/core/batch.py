"""Batch state machine: what the PLC says about the batch -> which reference slot the model uses.

The PLC owns the batch; this file only follows it, once per model step. The model compares a batch
with the golden batch at the same time, so the one number that matters is `step`: model steps since
the batch began. It follows the PLC's batch minutes, because after a restart of the appliance
(or a PLC that was away) only the PLC knows how far the batch is.

            PackML state of block R                       new state
    ------------------------------------------------------------------------------
    Execute, Completing, Suspend*, Unsuspending      ->   running
    Holding, Held, Unholding, or CONTROL bit HELD    ->   held       step stands still
    Complete                                         ->   complete   step stands still
    Stopping, Stopped, Aborting, Aborted, Clearing   ->   aborted
    Idle, Starting, Resetting, Undefined, unknown    ->   idle
    ------------------------------------------------------------------------------
    another batch id while running or held           ->   a new batch: step from the PLC's minutes
    CONTROL bit BATCH_ACTIVE 0                       ->   idle, unless complete or aborted
    PLC not heard (None), or block R blank: no batch
    id and PackML Undefined, as after its restart    ->   state kept; a running step counts on
    line without batch information (continuous)      ->   running for ever, step counts from start

A batch that leaves running, held or aborted for idle and starts again with the same id is the same
batch if its minutes did not go back, else a new one. "Back" is judged against the last minutes
really heard: those counted on while the PLC was away may have run ahead of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from edge.core.outputs import PlcState
from edge.core.registers import Control, PackML


class BatchState(StrEnum):
    """State of the batch as the appliance sees it."""

    IDLE = "idle"
    RUNNING = "running"
    HELD = "held"
    COMPLETE = "complete"
    ABORTED = "aborted"


_STATES = {
    PackML.EXECUTE: BatchState.RUNNING,
    PackML.COMPLETING: BatchState.RUNNING,
    PackML.SUSPENDING: BatchState.RUNNING,
    PackML.SUSPENDED: BatchState.RUNNING,
    PackML.UNSUSPENDING: BatchState.RUNNING,
    PackML.HOLDING: BatchState.HELD,
    PackML.HELD: BatchState.HELD,
    PackML.UNHOLDING: BatchState.HELD,
    PackML.COMPLETE: BatchState.COMPLETE,
    PackML.STOPPING: BatchState.ABORTED,
    PackML.STOPPED: BatchState.ABORTED,
    PackML.ABORTING: BatchState.ABORTED,
    PackML.ABORTED: BatchState.ABORTED,
    PackML.CLEARING: BatchState.ABORTED,
}
_ENDED = (BatchState.COMPLETE, BatchState.ABORTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The batch at one model step."""

    state: BatchState = BatchState.IDLE
    batch_id: int = 0
    phase: int = 0
    """Schedule step the PLC reports, 1-based; 0 none."""
    minutes: float = 0.0
    """Batch time, min."""
    heard_minutes: float = 0.0
    """Batch time the PLC last reported, min."""
    step: int = 0
    """Model steps since the batch began, for the reference slot."""
    started: bool = False
    """True exactly in the model step that began a new batch: model state must be reset."""
    known: bool = False
    """True once this batch was seen running or held."""

    @property
    def active(self) -> bool:
        """True while material is in process: running or held."""
        return self.state in (BatchState.RUNNING, BatchState.HELD)


def follow(batch: Batch, plc: PlcState | None, step_s: float) -> Batch:
    """The batch one model step (`step_s` seconds) later; `plc` None if block R was not read."""
    if plc is None or _blank(plc):
        if batch.state is not BatchState.RUNNING:
            return replace(batch, started=False)
        return replace(
            batch, started=False, step=batch.step + 1, minutes=batch.minutes + step_s / 60.0
        )
    state = _STATES.get(_packml(plc.batch_state), BatchState.IDLE)
    if state not in _ENDED and not plc.control & Control.BATCH_ACTIVE:
        state = BatchState.IDLE
    elif state is BatchState.RUNNING and plc.control & Control.HELD:
        state = BatchState.HELD
    minutes = float(plc.batch_minutes)
    same = batch.known and plc.batch_id == batch.batch_id
    if state not in (BatchState.RUNNING, BatchState.HELD):
        # Minutes and step of the batch that was are kept, to recognise it if it goes on.
        kept = replace(batch, started=False) if same else Batch(batch_id=plc.batch_id)
        return replace(kept, state=state, phase=plc.phase)
    started = not same or minutes < batch.heard_minutes - BACK_MIN
    if started:
        step = int(minutes * 60.0 / step_s)
    elif state is BatchState.RUNNING:
        step = _count(batch.step, minutes, step_s)
    else:
        step = batch.step
    return Batch(
        state=state,
        batch_id=plc.batch_id,
        phase=plc.phase,
        minutes=minutes,
        heard_minutes=minutes,
        step=step,
        started=started,
        known=True,
    )


def continuous(batch: Batch) -> Batch:
    """One model step later on a line without batches: always running, counting from the start."""
    if batch.state is not BatchState.RUNNING:
        return Batch(state=BatchState.RUNNING, started=True, known=True)
    return replace(batch, started=False, step=batch.step + 1)


def slot(step: int, slot_steps: int, slots: int) -> int:
    """Row of the reference table for model step `step`: min(step // slot_steps, slots - 1)."""
    return min(step // slot_steps, slots - 1) if slot_steps > 0 else 0


BACK_MIN = 1.5
"""Batch minutes may step back this far (rounding, a re-read) without being a new batch."""


def _count(step: int, minutes: float, step_s: float) -> int:
    """The next step: one more, pulled to the PLC's minutes when the two part by over two steps."""
    told = int(minutes * 60.0 / step_s)
    # BATCH_MINUTES has whole minutes; a model step shorter than that counts on its own in between.
    tolerance = 2 + int(60.0 / step_s)
    return step + 1 if abs(told - (step + 1)) <= tolerance else told


def _blank(plc: PlcState) -> bool:
    """A PLC that has just started answers with zeros before its program fills block R."""
    return plc.batch_id == 0 and _packml(plc.batch_state) is PackML.UNDEFINED


def _packml(number: int) -> PackML:
    return PackML(number) if number in _NUMBERS else PackML.UNDEFINED


_NUMBERS = frozenset(int(state) for state in PackML)
