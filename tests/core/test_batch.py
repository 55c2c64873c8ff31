"""Every row of the batch table, and the step counter that picks the reference slot."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.batch import Batch, BatchState, continuous, follow, slot
from edge.core.outputs import PlcState
from edge.core.registers import Control, PackML

MIN = 60.0


def plc(state: int, minutes: int, batch_id: int = 7, control: Control = Control.BATCH_ACTIVE,
        phase: int = 3) -> PlcState:  # fmt: skip
    return PlcState(batch_state=state, batch_minutes=minutes, batch_id=batch_id, control=control,
                    phase=phase)  # fmt: skip


def run(batch: Batch, *states: PlcState | None) -> Batch:
    for state in states:
        batch = follow(batch, state, MIN)
    return batch


@pytest.mark.parametrize(
    ("packml", "want"),
    [
        (PackML.EXECUTE, BatchState.RUNNING),
        (PackML.COMPLETING, BatchState.RUNNING),
        (PackML.SUSPENDED, BatchState.RUNNING),
        (PackML.HOLDING, BatchState.HELD),
        (PackML.HELD, BatchState.HELD),
        (PackML.UNHOLDING, BatchState.HELD),
        (PackML.COMPLETE, BatchState.COMPLETE),
        (PackML.STOPPED, BatchState.ABORTED),
        (PackML.ABORTED, BatchState.ABORTED),
        (PackML.IDLE, BatchState.IDLE),
        (PackML.STARTING, BatchState.IDLE),
        (PackML.UNDEFINED, BatchState.IDLE),
        (4711, BatchState.IDLE),
    ],
)
def test_each_packml_state(packml: int, want: BatchState) -> None:
    assert run(Batch(), plc(packml, 5)).state is want


def test_every_state_number_of_the_contract_is_answered() -> None:
    for state in PackML:
        assert isinstance(run(Batch(), plc(state, 1)).state, BatchState)


def test_a_batch_from_start_to_end() -> None:
    batch = run(Batch(), plc(PackML.IDLE, 0))
    assert not batch.active
    batch = run(batch, plc(PackML.EXECUTE, 0))
    assert (batch.started, batch.step, batch.phase) == (True, 0, 3)
    batch = run(batch, plc(PackML.EXECUTE, 1), plc(PackML.EXECUTE, 2))
    assert (batch.started, batch.step) == (False, 2)
    batch = run(batch, plc(PackML.HELD, 2), plc(PackML.HELD, 2))
    assert (batch.state, batch.step, batch.active) == (BatchState.HELD, 2, True)
    batch = run(batch, plc(PackML.EXECUTE, 3), plc(PackML.COMPLETE, 3))
    assert (batch.state, batch.step, batch.active) == (BatchState.COMPLETE, 3, False)
    batch = run(batch, plc(PackML.IDLE, 0, 0, Control.NONE), plc(PackML.EXECUTE, 0, batch_id=8))
    assert (batch.started, batch.step, batch.batch_id) == (True, 0, 8)


def test_entering_in_the_middle_takes_the_plcs_minutes() -> None:
    batch = run(Batch(), plc(PackML.EXECUTE, 600))
    assert (batch.step, batch.started) == (600, True)
    # After a restart from a checkpoint the same batch goes on and jumps to where the PLC is.
    batch = run(batch, plc(PackML.EXECUTE, 640))
    assert (batch.step, batch.started) == (640, False)


def test_the_counter_does_not_follow_the_rounding_of_whole_minutes() -> None:
    batch = run(Batch(), *(plc(PackML.EXECUTE, m) for m in (0, 1, 1, 3, 4, 4, 6)))
    assert batch.step == 6


def test_a_silent_plc_does_not_stop_a_running_batch() -> None:
    batch = run(Batch(), plc(PackML.EXECUTE, 10), None, None)
    assert (batch.state, batch.step, batch.minutes) == (BatchState.RUNNING, 12, 12.0)
    batch = run(batch, plc(PackML.EXECUTE, 13))
    assert (batch.step, batch.started) == (13, False)
    held = run(Batch(), plc(PackML.HELD, 10), None)
    assert (held.state, held.step) == (BatchState.HELD, 10)
    assert run(Batch(), None).state is BatchState.IDLE


def test_same_id_again_is_the_same_batch_unless_its_time_went_back() -> None:
    batch = run(Batch(), plc(PackML.EXECUTE, 10), plc(PackML.STOPPED, 0), plc(PackML.EXECUTE, 11))
    assert (batch.step, batch.started) == (11, False)
    batch = run(batch, plc(PackML.STOPPED, 0), plc(PackML.EXECUTE, 0))
    assert (batch.step, batch.started) == (0, True)


def test_minutes_counted_on_in_silence_do_not_make_the_batch_new() -> None:
    batch = run(Batch(), plc(PackML.EXECUTE, 10), *[None] * 20)
    assert (batch.step, batch.minutes) == (30, 30.0)
    batch = run(batch, plc(PackML.EXECUTE, 25))
    assert (batch.step, batch.minutes, batch.started) == (25, 25.0, False)


def test_a_blank_block_after_a_restart_of_the_plc_is_not_heard() -> None:
    blank = plc(PackML.UNDEFINED, 0, batch_id=0, control=Control.NONE)
    batch = run(Batch(), plc(PackML.EXECUTE, 600), blank, blank)
    assert (batch.state, batch.step) == (BatchState.RUNNING, 602)
    assert not run(batch, plc(PackML.EXECUTE, 602)).started
    assert run(Batch(), blank).state is BatchState.IDLE


def test_control_bits_hold_and_end_the_batch() -> None:
    active = plc(PackML.EXECUTE, 10)
    assert run(Batch(), plc(PackML.EXECUTE, 10, control=Control.NONE)).state is BatchState.IDLE
    held = plc(PackML.EXECUTE, 10, control=Control.BATCH_ACTIVE | Control.HELD)
    assert run(Batch(), active, held).state is BatchState.HELD
    complete = plc(PackML.COMPLETE, 10, control=Control.NONE)
    assert run(Batch(), active, complete).state is BatchState.COMPLETE


def test_short_model_steps_count_between_whole_minutes() -> None:
    batch = Batch()
    for second in range(0, 600, 10):
        batch = follow(batch, plc(PackML.EXECUTE, second // 60), 10.0)
        assert batch.step == second // 10


def test_a_continuous_line_runs_for_ever() -> None:
    batch = continuous(Batch())
    assert (batch.state, batch.step, batch.started) == (BatchState.RUNNING, 0, True)
    batch = continuous(continuous(batch))
    assert (batch.step, batch.started) == (2, False)


@given(st.integers(0, 5000), st.integers(0, 200), st.integers(1, 50))
def test_slot_is_always_a_row_of_the_table(step: int, slot_steps: int, slots: int) -> None:
    got = slot(step, slot_steps, slots)
    assert 0 <= got < slots
    if slot_steps == 0:
        assert got == 0
