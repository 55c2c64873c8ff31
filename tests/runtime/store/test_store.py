"""The history on a real SQLite file: written, cut off, damaged, locked, filled for a year."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.runtime.chain import Broken
from edge.runtime.store import store as store_module
from edge.runtime.store import writer
from edge.runtime.store.reader import History, HistoryError
from edge.runtime.store.records import Record
from edge.runtime.store.schema import FILE_NAME, open_for_writing
from edge.runtime.store.store import RETRY_S, Store
from tests.runtime.store.records import (
    EPOCH_S,
    TAGS,
    FixedClock,
    at,
    event,
    kept,
    minute,
    step,
    store,
    write_batch,
)

ROOT = Path(__file__).parents[3]
Virtual = Callable[[Coroutine[Any, Any, Any]], Any]
ABOUT = {"config_sha256": "ab", "models": {"ncm-1": "one"}}


def test_what_is_put_is_read_again(tmp_path: Path, virtual: Virtual) -> None:
    async def main() -> None:
        history = store(tmp_path)
        write_batch(history.put, 7, 0, 30, severity=2)
        write_batch(history.put, 8, 40, 20)
        history.put(minute(70, None))
        history.put(event(5, condition="input drift", raised=True))
        await kept(history, ABOUT)

    virtual(main())
    with History(tmp_path / FILE_NAME) as found:
        first, second = found.batches()
        assert (first.batch_id, first.state, first.severity) == (7, "complete", 2)
        assert (second.batch_id, second.state, second.severity) == (8, "complete", 0)
        rows = found.rows(first)
        assert rows.tags == TAGS
        assert np.array_equal(rows.values[:60], minute(0, None).values)
        assert len(rows.times) == 30 * 60
        steps = found.steps(first)
        assert [s.severity for s in steps] == [0] * 15 + [2] * 15
        assert steps[-1].suspects == (("C03", "pipe", 0.8),)
        assert steps[0].cam == pytest.approx([2.0, 0.5, -1.0])
        assert [e.kind for e in found.events()] == ["start", "condition", "stop"]
        assert found.raised_at("ncm-1", EPOCH_S + 1e6) == {"input drift"}
        assert found.verify(found.noted_head()) == found.noted_head()
        assert found.damage() == ""


def test_a_batch_goes_on_after_a_restart_and_a_pause_and_a_number_may_come_again(
    tmp_path: Path, virtual: Virtual
) -> None:
    async def main() -> None:
        history = store(tmp_path)
        history.put(minute(0, at(7, 0.0)))
        history.put(minute(1, at(7, 1.0)))
        await kept(history)
        history = store(tmp_path)
        history.put(minute(5, at(7, 5.0, "held")))
        history.put(minute(6, None))
        history.put(minute(9, at(7, 6.0)))
        history.put(minute(10, at(7, 0.0)))  # the PLC counts from the start again
        await kept(history)

    virtual(main())
    with History(tmp_path / FILE_NAME) as found:
        old, new = found.batches()
        assert (old.minutes, len(found.rows(old).times)) == (6.0, 5 * 60)
        assert (new.batch_id, new.minutes, new.state) == (7, 0.0, "running")
        assert found.batch(7).key == new.key
        assert found.batch(7, key=old.key).key == old.key


def test_rows_of_a_batch_are_found_though_the_clock_stepped_back(tmp_path: Path) -> None:
    before, back = minute(10, at(7, 0.0)), minute(0, at(7, 2.0))
    torn = np.concatenate([EPOCH_S + 660.0 + np.arange(30.0), EPOCH_S - 30.0 + np.arange(30.0)])
    connection = open_for_writing(tmp_path / FILE_NAME).connection
    writer.write(connection, [
        minute(1, None), minute(1, None, line="other"), before,
        replace(minute(11, at(7, 1.0)), times=torn), back, minute(2, at(8, 0.0)),
    ])  # fmt: skip
    connection.close()
    with History(tmp_path / FILE_NAME) as found:
        rows = found.rows(found.batch(7))
        assert set(rows.times) == {*before.times, *torn, *back.times}
        assert np.array_equal(rows.values[:60], back.values)
        assert len(found.rows(found.batch(8)).times) == 60


def test_a_batch_names_every_model_it_was_judged_by(tmp_path: Path) -> None:
    one, two = at(7, 0.0).model, "ncm, serial 4, SHA-256 11"
    connection = open_for_writing(tmp_path / FILE_NAME).connection
    for n, model in enumerate((one, one, two, two, one, "")):
        here = replace(at(7, float(n)), model=model)
        writer.write(connection, [minute(n, here), step(n, here)])
    writer.write(connection, [minute(9, replace(at(8, 0.0), model=two))])
    connection.close()
    with History(tmp_path / FILE_NAME) as found:
        assert found.batch(7).model == f"{one}; {two}"
        assert found.batch(8).model == two


def test_another_configuration_and_model_are_said_once(tmp_path: Path, virtual: Virtual) -> None:
    async def main() -> None:
        for about in (ABOUT, ABOUT, ABOUT | {"config_sha256": "cd"}):
            await kept(store(tmp_path), about)

    virtual(main())
    with History(tmp_path / FILE_NAME) as found:
        kinds = [e.kind for e in found.events()]
        assert kinds == ["start", "stop", "start", "stop", "start", "configuration", "stop"]
        (changed,) = found.events(kind="configuration")
        assert changed.body == {"before": "ab", "now": "cd"}


WRITER = """
import asyncio, sys
from pathlib import Path
from tests.runtime.store.records import store, minute, at, event
async def main():
    history = store(Path(sys.argv[1]))
    task = asyncio.create_task(history.run())
    for n in range(1_000_000):
        history.put(minute(n, at(7, float(n))))
        history.put(event(n, condition=str(n), raised=True))
        while history.waiting:
            await asyncio.sleep(0)
        if n == 20:
            print("writing", flush=True)
asyncio.run(main())
"""


def test_a_process_killed_in_mid_write_loses_nothing_it_had_written(
    tmp_path: Path, virtual: Virtual
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    virtual(kept(store(tmp_path)))
    with History(tmp_path / FILE_NAME) as found:
        (batch,) = found.batches()
        rows = found.rows(batch)
        assert len(rows.times) % 60 == 0
        assert len(rows.times) >= 20 * 60
        assert rows.damaged == 0
        assert not isinstance(found.verify(found.noted_head()), Broken)
        assert found.damage() == ""


def test_a_damaged_file_is_set_aside_and_said(tmp_path: Path, virtual: Virtual) -> None:
    path = tmp_path / FILE_NAME

    async def fill() -> None:
        history = store(tmp_path)
        write_batch(history.put, 7, 0, 60)
        await kept(history)

    virtual(fill())
    raw = bytearray(path.read_bytes())
    raw[4096 * 3 : 4096 * 9] = b"\x5a" * (4096 * 6)
    path.write_bytes(raw)

    history = None

    async def again() -> None:
        nonlocal history
        history = store(tmp_path)
        history.put(minute(100, at(8, 0.0)))
        await kept(history)

    virtual(again())
    assert history is not None
    assert f"set aside as {FILE_NAME}.bad-1" in history.replaced
    assert (tmp_path / f"{FILE_NAME}.bad-1").exists()
    with History(path) as found:
        assert [b.batch_id for b in found.batches()] == [8]
        (said,) = found.events(kind="history")
        assert "a new one begun" in said.body["text"]
        assert said.body["head_before"].startswith("1:")  # "stop" of the file that was lost


@pytest.mark.parametrize(
    "content", [b"not a database at all" * 500, b"SQLite format 3\0" + b"x" * 99]
)
def test_a_file_that_is_no_history_is_set_aside(
    tmp_path: Path, virtual: Virtual, content: bytes
) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(HistoryError, match=FILE_NAME):
        History(tmp_path / FILE_NAME)
    virtual(kept(store(tmp_path)))
    assert (tmp_path / f"{FILE_NAME}.bad-1").read_bytes() == content


def test_damage_that_shows_only_while_writing(tmp_path: Path, virtual: Virtual) -> None:
    async def main() -> None:
        history = store(tmp_path)
        task = asyncio.create_task(history.run())
        write_batch(history.put, 7, 0, 60)
        await asyncio.sleep(1.0)
        assert history.waiting == 0
        # A disk that forgets: the pages are zeroed under the running daemon.
        with sqlite3.connect(tmp_path / FILE_NAME) as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        other.close()
        with (tmp_path / FILE_NAME).open("r+b") as file:
            file.seek(0)
            file.write(b"\0" * 4096 * 20)
        history.put(minute(61, at(8, 0.0)))
        await asyncio.sleep(5 * RETRY_S)
        assert history.waiting == 0
        assert "begun" in history.replaced
        assert history.fault == ""
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        history.close()

    virtual(main())
    with History(tmp_path / FILE_NAME) as found:
        assert [b.batch_id for b in found.batches()] == [8]


def test_a_locked_file_keeps_nobody_waiting_and_loses_nothing(
    tmp_path: Path, virtual: Virtual, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.runtime.store.schema.BUSY_S", 0.05)

    async def main() -> None:
        history = store(tmp_path)
        task = asyncio.create_task(history.run())
        await history.opened.wait()
        other = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        for n in range(5):
            history.put(minute(n, at(7, float(n))))
        await asyncio.sleep(3 * RETRY_S)
        assert "locked" in history.fault
        assert "another program holds it" in history.fault
        assert history.waiting == 5
        other.execute("ROLLBACK")
        other.close()
        await asyncio.sleep(2 * RETRY_S)
        assert (history.fault, history.waiting) == ("", 0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        history.close()

    virtual(main())
    with History(tmp_path / FILE_NAME) as found:
        assert len(found.rows(found.batch(7)).times) == 300


def test_the_queue_is_bounded_and_drops_the_oldest_rows_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, virtual: Virtual
) -> None:
    monkeypatch.setattr(store_module, "MAX_MINUTES", 10)
    monkeypatch.setattr(store_module, "MAX_EVENTS", 4)
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")

    async def main() -> Store:
        history = store(blocked / "below")  # a directory that cannot be made
        task = asyncio.create_task(history.run())
        for n in range(30):
            history.put(minute(n, at(7, float(n))))
        for n in range(6):
            history.put(event(n, condition=str(n), raised=True))
        await asyncio.sleep(2 * RETRY_S)
        assert "Not a directory" in history.fault
        assert (history.waiting, history.lost) == (14, 20)
        blocked.unlink()
        await asyncio.sleep(2 * RETRY_S)
        assert (history.fault, history.waiting) == ("", 0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        history.close()
        return history

    virtual(main())
    with History(blocked / "below" / FILE_NAME) as found:
        times = found.rows(found.batch(7)).times
        assert times[0] == EPOCH_S + 20 * 60.0
        assert len(times) == 600
        logged = [e.body.get("condition") or e.body.get("lost") for e in found.events()]
        assert sorted(map(str, logged[:-1])) == ["2", "2", "3", "4", "5"]  # "lost": 2
        assert not isinstance(found.verify(), Broken)


@pytest.mark.parametrize(
    "spoiled",
    [
        replace(step(1, at(7, 1.0)), why="m\udcfcde"),
        replace(step(1, at(7, 1.0)), data_quality=float("nan")),
        minute(1, at(2**70, 1.0)),
        event(1, "condition", "\udcff"),
        event(1, condition=object()),
    ],
    ids=["text", "nan", "number", "line", "body"],
)
def test_a_record_no_table_takes_keeps_no_other_from_the_disk(
    tmp_path: Path, virtual: Virtual, caplog: pytest.LogCaptureFixture, spoiled: Record
) -> None:
    async def main() -> None:
        history = store(tmp_path)
        task = asyncio.create_task(history.run())
        await history.opened.wait()
        for record in (minute(0, at(7, 0.0)), event(0, condition="a"), spoiled,
                       minute(2, at(7, 2.0)), event(2, condition="\udce4")):  # fmt: skip
            history.put(record)
        await asyncio.sleep(1.0)
        assert (history.waiting, history.lost, history.fault) == (0, 1, "")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        history.close()

    virtual(main())
    assert "is dropped" in caplog.text
    with History(tmp_path / FILE_NAME) as found:
        assert len(found.rows(found.batch(7)).times) == 120
        said = [e.body["condition"] for e in found.events(kind="condition")]
        assert said == ["a", r"\udce4"]
        assert not isinstance(found.verify(found.noted_head()), Broken)


def test_the_log_refuses_to_be_changed(tmp_path: Path, virtual: Virtual) -> None:
    virtual(kept(store(tmp_path), ABOUT))
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    for change in ("UPDATE events SET kind = 'x'", "DELETE FROM events"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            connection.execute(change)
    # Whoever gets round that is found out by the chain.
    connection.execute("DROP TRIGGER events_are_final")
    connection.execute("UPDATE events SET t_s = t_s + 1 WHERE id = 1")
    connection.commit()
    connection.close()
    with History(tmp_path / FILE_NAME) as found:
        broken = found.verify()
        assert isinstance(broken, Broken)
        assert broken.number == 1


def test_a_year_stays_within_its_budget_and_keeps_what_nobody_has_exported(tmp_path: Path) -> None:
    """Hours in place of minutes, three tags in place of 51: a year in some seconds."""
    max_bytes, clock = 3_000_000, FixedClock()
    connection = open_for_writing(tmp_path / FILE_NAME).connection
    defective = {40: 1, 41: 3, 200: 2}
    largest = above = hour = 0
    for batch_id in range(1, 460):
        records: list[Any] = []
        for n in range(18):
            here = at(batch_id, 60.0 * n)
            records.append(minute(60 * hour, here))
            records.append(step(60 * hour, here, defective.get(batch_id, 0)))
            records.append(event(60 * hour, condition="input drift", raised=bool(n % 2)))
            hour += 1
        hour += 1
        writer.write(connection, records)
        clock.now_s = EPOCH_S + 3600.0 * hour
        if batch_id == 300:
            key = connection.execute("SELECT id FROM batches WHERE batch_id = 41").fetchone()[0]
            writer.mark_exported(connection, key, event(60 * hour, "export", batch_id=41))
        _, full = writer.retain(connection, max_bytes, clock.now_s - 400 * 86_400.0)
        above += full
        largest = max(largest, writer.size_bytes(connection))
    connection.close()
    assert hour * 3600.0 > 360 * 86_400.0
    # One batch more than the limit at most: room is made after it was written.
    assert largest < 1.1 * max_bytes
    with History(tmp_path / FILE_NAME) as found:
        batches = {b.batch_id: b for b in found.batches()}
        assert len(batches) == 459  # the table of batches itself is never thinned
        for batch_id in (40, 200):
            assert len(found.rows(batches[batch_id]).times) == 18 * 60
            assert len(found.steps(batches[batch_id])) == 18
        assert len(found.rows(batches[459]).times) == 18 * 60
        assert len(found.rows(batches[1]).times) == 0
        assert len(found.rows(batches[41]).times) == 0  # exported, so it made room
        head = found.verify()
        assert not isinstance(head, Broken)
        assert head.number == 459 * 18 + 1


def test_an_age_limit_drops_what_is_older(tmp_path: Path) -> None:
    connection = open_for_writing(tmp_path / FILE_NAME).connection
    writer.write(connection, [minute(n, at(7, float(n))) for n in range(100)])
    dropped, full = writer.retain(connection, 10**9, EPOCH_S + 50 * 60.0)
    connection.close()
    assert (dropped, full) == (50, False)
    with History(tmp_path / FILE_NAME) as found:
        assert found.rows(found.batch(7)).times[0] == EPOCH_S + 50 * 60.0


def test_a_limit_filled_by_defective_batches_is_exceeded_and_said(
    tmp_path: Path, virtual: Virtual
) -> None:
    async def main() -> None:
        history = store(tmp_path, max_mb=0.1)
        write_batch(history.put, 7, 0, 200, severity=3)
        await kept(history)
        assert "limit 0 MB" in history.full

    virtual(main())
    with History(tmp_path / FILE_NAME) as found:
        assert len(found.rows(found.batch(7)).times) == 200 * 60


def test_an_unknown_batch_names_the_nearest(tmp_path: Path, virtual: Virtual) -> None:
    async def main() -> None:
        history = store(tmp_path)
        for line in ("a", "b"):
            history.put(minute(0, at(7, 0.0), line=line))
        await kept(history)

    virtual(main())
    with History(tmp_path / FILE_NAME) as found:
        with pytest.raises(HistoryError, match="nearest numbers there: 7"):
            found.batch(9)
        with pytest.raises(HistoryError, match="lines a, b have one"):
            found.batch(7)
        assert found.batch(7, "b").line == "b"
    with pytest.raises(HistoryError, match="no such history"):
        History(tmp_path / "elsewhere.sqlite")
