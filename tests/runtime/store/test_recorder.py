"""What a line says to the history: only what changed, each thing once."""

from __future__ import annotations

import asyncio
import sqlite3
import tracemalloc
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edge.app import App
from edge.config.load import load
from edge.core.batch import BatchState
from edge.core.line import LineCore
from edge.core.registers import Control, MaintKind, TrimReason, TrimState
from edge.core.ring import Ring
from edge.core.tags import Quality, Reason, Row, gap_row
from edge.core.trim import Held, Offered
from edge.runtime.store.recorder import Recorder, _without_holes
from edge.runtime.store.records import Event, Minute, Record, Step
from edge.runtime.store.schema import FILE_NAME
from edge.runtime.store.store import Store
from tests.core.test_line import ALARMED, SETUP, plc
from tests.runtime.store.records import EPOCH_S, FixedClock, store

CONFIG = Path(__file__).parents[3] / "firmware_config"
Virtual = Callable[[Coroutine[Any, Any, Any]], Any]


class Ear:
    """A recorder whose records are kept in a list."""

    def __init__(self, folder: Path, *, has_batches: bool = True) -> None:
        self.records: list[Record] = []
        self.store = store(folder, FixedClock())
        self.store.put = self.records.append  # type: ignore[method-assign]
        self.recorder = Recorder(load(CONFIG, lines=("ncm-1",)).lines[0], self.store)
        self.core = LineCore(replace(SETUP, has_batches=has_batches))

    def said(self, *kinds: str) -> list[dict[str, object]]:
        return [r.body for r in self.records if isinstance(r, Event) and r.kind in kinds]

    def second(self, state: object = None) -> None:
        self.recorder.second(self.core, state, EPOCH_S)  # type: ignore[arg-type]


@pytest.fixture
def ear(tmp_path: Path) -> Ear:
    return Ear(tmp_path)


def test_the_trim_dialogue_is_told_step_by_step(ear: Ear) -> None:
    desk = ear.core.desk
    offer = Offered(
        seq=4, trim_kg_h=1.5, base_kg_h=206.7, lo_kg_h=-10.0, hi_kg_h=10.0, predicted_ph=11.2,
        reason=TrimReason.PH_LOW, clamped=False, expires_s=900.0,
    )  # fmt: skip
    held = Held(TrimReason.AWAITING_EFFECT)
    open_ = replace(desk.advice, seq=4, offer=offer, outcome=offer, reason=TrimReason.PH_LOW)
    for advice in (
        desk.advice,
        replace(open_, state=TrimState.OFFERED),
        replace(open_, state=TrimState.ACCEPTED),
        replace(open_, state=TrimState.ACCEPTED, outcome=held, reason=TrimReason.AWAITING_EFFECT),
        replace(open_, state=TrimState.APPLIED_WITH_CLAMP, outcome=held),
    ):
        desk.advice = advice
        ear.second()
        ear.second()
    told = [body.get("state") or body["held"] for body in ear.said("suggestion", "answer")]
    assert told == ["warming_up", "offered", "accepted", "awaiting_effect", "applied_with_clamp"]
    assert [body["state"] for body in ear.said("answer")] == ["accepted", "applied_with_clamp"]


def test_the_panel_is_heard_once_a_keystroke(ear: Ear) -> None:
    ear.store.opened.set()
    base = plc(1)
    label = replace(base, control=base.control | Control.LABEL_DEFECT)
    repair = replace(base, maint_event=5, maint_component=1, maint_kind=int(MaintKind.REPAIRED))
    for state in (base, label, label, base, label, repair, repair, replace(repair, maint_event=0),
                  None):  # fmt: skip
        ear.second(state)
    assert ear.said("label") == [{"label": "defect", "batch_id": 7}] * 2
    (maintenance,) = ear.said("maintenance")
    assert (maintenance["component"], maintenance["kind"]) == ("C01", "repaired")


def test_a_batch_and_its_verdict(ear: Ear) -> None:
    ear.second()
    ear.core.follow_batch(plc(10))
    for n in range(3):
        ear.core.conclude(ALARMED, 100.0 + n, 5.0 + n)
        ear.recorder.concluded(100.0 + n, ear.core.batch, ALARMED, ear.core)
        ear.second()
    assert [body["state"] for body in ear.said("batch")] == ["idle", "running"]
    assert [(body["valid"], body["severity"]) for body in ear.said("verdict")] == [
        (False, 0), (True, 0), (True, 2),
    ]  # fmt: skip
    steps = [r for r in ear.records if isinstance(r, Step)]
    assert [s.severity for s in steps] == [0, 2, 2]
    assert steps[-1].suspects[0][0] == "C01"
    assert steps[-1].batch is not None
    assert steps[-1].batch.batch_id == 7


def rows(ring: Ring, count: int, *, gaps: bool = False) -> None:
    for n in range(count):
        t_s = EPOCH_S + float(ring.seq)
        values = np.full(2, float(n), np.float32)
        good = np.zeros(2, np.uint8)
        ring.append(gap_row(t_s, 2, Reason.MISSED, 0.0) if gaps
                    else Row(t_s, values, good, good, 0.0, 0.0))  # fmt: skip


def test_model_steps_become_minutes_that_end_with_their_batch(ear: Ear) -> None:
    ring = Ring.in_memory(500, 2)
    ear.core.follow_batch(plc(10))
    for n in range(9):
        rows(ring, 10)
        if n == 7:
            ear.core.follow_batch(plc(0, batch_id=8))
        ear.recorder.step_due(ring, ear.core, 10)
    ear.recorder.flush()
    minutes = [r for r in ear.records if isinstance(r, Minute)]
    assert [len(m.times) for m in minutes] == [60, 10, 20]
    assert [m.batch.batch_id for m in minutes if m.batch] == [7, 7, 8]
    assert np.array_equal(np.concatenate([m.times for m in minutes]), EPOCH_S + np.arange(90.0))


def test_slots_nobody_polled_are_not_kept_and_failed_polls_are(ear: Ear) -> None:
    ring = Ring.in_memory(500, 2)
    rows(ring, 60, gaps=True)
    ear.recorder.step_due(ring, ear.core, 60)
    assert not ear.records
    bad = np.full(2, Quality.BAD, np.uint8)
    for n in range(60):
        ring.append(Row(EPOCH_S + 60.0 + n, np.full(2, np.nan, np.float32), bad,
                        np.full(2, Reason.TIMEOUT, np.uint8), 0.0, 0.0))  # fmt: skip
    ear.recorder.step_due(ring, ear.core, 60)
    (minute,) = (r for r in ear.records if isinstance(r, Minute))
    assert (minute.reason == Reason.TIMEOUT).all()


def test_what_the_history_lacks_is_taken_from_the_ring_once(ear: Ear) -> None:
    ring = Ring.in_memory(500, 2)
    rows(ring, 205)
    ear.recorder.starting(ring, 5)  # five rows belong to the step under way
    rows(ring, 20)
    ear.store.newest_s["ncm-1"] = EPOCH_S + 99.0
    assert sum(ear.recorder.take_up(ring, ear.core)) == 100
    times = np.concatenate([r.times for r in ear.records if isinstance(r, Minute)])
    assert np.array_equal(times, EPOCH_S + 100.0 + np.arange(100.0))
    ear.store.newest_s["ncm-1"] = EPOCH_S + 199.0
    assert sum(ear.recorder.take_up(ring, ear.core)) == 0


def test_one_torn_row_in_a_day_of_rows_costs_no_gigabytes() -> None:
    times = EPOCH_S + np.arange(40_000.0)
    torn = times.copy()
    torn[[0, 1, 777, 778, 779, -1]] = np.nan
    tracemalloc.start()
    filled = _without_holes(torn, 1.0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert np.array_equal(filled, times)
    assert peak < 20e6


def fill_history(history: Store, *lines: object) -> Coroutine[Any, Any, None]:
    """What the daemon does once its history is open."""
    app = SimpleNamespace(store=history, lines=lines)
    return App._fill_history(app)  # type: ignore[arg-type]


def line_of(name: str, recorder: object, ring: Ring, core: LineCore) -> object:
    return SimpleNamespace(line=SimpleNamespace(name=name), recorder=recorder, core=core,
                           ring=SimpleNamespace(ring=ring))  # fmt: skip


def test_a_ring_that_cannot_be_taken_up_is_said_and_ends_nothing(
    ear: Ear, virtual: Virtual, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def take_up(self, *_: object) -> Iterator[int]:
            yield 1
            raise MemoryError

    ring = Ring.in_memory(500, 2)
    rows(ring, 60)
    ear.recorder.starting(ring, 0)

    async def main() -> None:
        ear.store.opened.set()
        await fill_history(ear.store, line_of("broken", Broken(), ring, ear.core),
                           line_of("well", ear.recorder, ring, ear.core))  # fmt: skip

    virtual(main())
    assert "line broken: the history lacks" in caplog.text
    assert len(ear.records) == 1, "the next line is served"


@pytest.mark.parametrize("stopped", [False, True])
def test_a_ring_of_more_minutes_than_the_queue_is_taken_up_whole(
    tmp_path: Path, virtual: Virtual, monkeypatch: pytest.MonkeyPatch, stopped: bool
) -> None:
    monkeypatch.setattr("edge.app.CATCH_UP", 10)
    monkeypatch.setattr("edge.runtime.store.store.MAX_MINUTES", 60)
    minutes = 50 if stopped else 150
    ear = Ear(tmp_path)
    ring = Ring.in_memory(60 * minutes, 2)
    rows(ring, 60 * minutes)

    async def main() -> None:
        history = store(tmp_path)
        ear.recorder = Recorder(ear.recorder.line, history)
        ear.recorder.starting(ring, 0)
        work = [asyncio.create_task(history.run()),
                asyncio.create_task(
                    fill_history(history, line_of("ncm-1", ear.recorder, ring, ear.core))
                )]  # fmt: skip
        await history.opened.wait()
        if stopped:
            await asyncio.sleep(0)
        else:
            await work[1]
            await asyncio.sleep(1.0)  # virtual time waits for the worker
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        history.close()
        assert history.lost == 0

    virtual(main())
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    (found,) = connection.execute("SELECT COUNT(*) FROM minutes").fetchone()
    connection.close()
    assert found == minutes


def test_rows_of_before_do_not_join_a_batch_that_begins_meanwhile(ear: Ear) -> None:
    ring = Ring.in_memory(500, 2)
    rows(ring, 180)
    ear.recorder.starting(ring, 0)
    ear.core.follow_batch(plc(10))
    taken = ear.recorder.take_up(ring, ear.core)
    next(taken)
    ear.core.follow_batch(plc(11))
    next(taken)
    ear.core.follow_batch(plc(0, batch_id=8))
    next(taken)
    batches = [r.batch for r in ear.records if isinstance(r, Minute)]
    assert [b and (b.batch_id, b.minutes) for b in batches] == [(7, 10.0), (7, 11.0), None]


def test_a_continuous_process_is_kept_day_by_day(tmp_path: Path) -> None:
    ear = Ear(tmp_path, has_batches=False)
    ring = Ring.in_memory(500, 2)
    rows(ring, 60)
    ear.core.follow_batch(None)
    ear.recorder.step_due(ring, ear.core, 60)
    (minute,) = (r for r in ear.records if isinstance(r, Minute))
    assert minute.batch is not None
    assert (minute.batch.batch_id, minute.batch.state) == (20260528, str(BatchState.RUNNING))
