"""What is owed to the broker: rings that go on, go back, are replaced, and run over."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.ring import Ring
from edge.core.tags import Reason, Row
from edge.runtime.mqtt import backlog
from edge.runtime.mqtt.backlog import MAX_EVENTS, Cursors, LogCursor, RowCursor
from edge.runtime.store.schema import open_for_writing
from edge.runtime.store.writer import write
from tests.runtime.store.records import EPOCH_S, event

TAGS = 2


def polled(t_s: float) -> Row:
    return Row(
        t_s=t_s, values=np.full(TAGS, 1.5, np.float32), quality=np.zeros(TAGS, np.uint8),
        reason=np.zeros(TAGS, np.uint8), start_s=0.0, end_s=0.0,
    )  # fmt: skip


def ring_of(count: int, rows: int = 50, begin_s: float = EPOCH_S) -> Ring:
    ring = Ring.in_memory(rows, TAGS)
    for i in range(count):
        ring.append(polled(begin_s + i))
    return ring


def drain(cursor: RowCursor, ring: Ring, most: int = 10) -> list[tuple[int, int, int]]:
    """(seq, missed, dropped) of everything that is sent until nothing waits."""
    cursor.follow(ring)
    out = []
    while cursor.owed(ring):
        taken = cursor.next(ring, most)
        for i in taken.held:
            first = i == taken.held[0]
            missed = taken.gap_before(i) + (cursor.missed if first else 0)
            out.append((taken.first_seq + i, missed, cursor.dropped if first else 0))
        cursor.took(taken)
    return out


@given(st.lists(st.booleans(), min_size=1, max_size=700), st.integers(1, 10), st.integers(1, 800))
def test_every_slot_is_accounted_for(slots: list[bool], most: int, rows: int) -> None:
    ring = Ring.in_memory(rows, TAGS)
    cursor = RowCursor.at_end(ring)
    for i, there in enumerate(slots):
        if there:
            ring.append(polled(EPOCH_S + i))
        else:
            ring.append_gaps(1, EPOCH_S + i, 1.0, Reason.MISSED)
    sent = drain(cursor, ring, most)
    at = 0
    for seq, missed, dropped in sent:
        assert seq == at + 1 + missed + dropped
        at = seq
    assert at + cursor.missed + cursor.dropped == len(slots)
    assert [seq for seq, _, _ in sent] == [
        i + 1 for i, there in enumerate(slots) if there and i + 1 > len(slots) - rows
    ]


def test_a_ring_that_runs_over_drops_the_oldest_and_counts() -> None:
    ring = ring_of(20)
    cursor = RowCursor.at_end(ring)
    for i in range(20, 90):
        ring.append(polled(EPOCH_S + i))
    assert cursor.follow(ring) == 20
    assert drain(cursor, ring)[0] == (41, 0, 20)
    assert cursor.dropped == 0, "said once"


def test_a_replaced_ring_is_owed_from_its_beginning() -> None:
    cursor = RowCursor.at_end(ring_of(30))
    for count in (5, 40):
        fresh = ring_of(count, begin_s=EPOCH_S + 1000.5)
        found = RowCursor(cursor.seq, cursor.t_s, newest=33)
        assert found.follow(fresh) == 3, "those of the old ring that were still owed"
        assert [seq for seq, _, _ in drain(found, fresh)] == list(range(1, count + 1))


def test_rows_lost_with_the_power_are_no_other_ring() -> None:
    cursor = RowCursor.at_end(ring_of(30))
    shorter = ring_of(27)
    assert cursor.follow(shorter) == 0
    assert cursor.owed(shorter) == 0
    shorter.append(polled(EPOCH_S + 100))
    assert drain(cursor, shorter) == [(28, 0, 0)]


def test_the_cursors_survive_a_restart(tmp_path: Path) -> None:
    ring, path = ring_of(30), tmp_path / backlog.FILE_NAME
    kept = Cursors(path)
    kept.line("a", ring)
    kept.line("b", Ring.in_memory(5, TAGS))
    kept.log = LogCursor(7, "ab" * 32)
    backlog.save(path, kept.text())
    found = backlog.load(path)
    ring.append(polled(EPOCH_S + 30))
    assert found.line("a", ring).owed(ring) == 1
    assert math.isnan(found.rows["b"].t_s)
    assert found.log == LogCursor(7, "ab" * 32)
    new = found.line("c", ring)
    assert new.owed(ring) == 0, "a line nobody was told of begins now"


@pytest.mark.parametrize("text", [
    "", "{", "[]", '{"rows": {"a": 3}, "log": null}', "\xff", "[" * 100_000,
    '{"rows": {"a": {"seq": Infinity, "t_s": 1, "missed": 0, "dropped": 0}}, "log": null}',
], ids=lambda text: text[:9])  # fmt: skip
def test_a_damaged_file_means_everything_is_sent_again(text: str, tmp_path: Path) -> None:
    path, ring = tmp_path / backlog.FILE_NAME, ring_of(30)
    path.write_text(text, encoding="latin-1")
    found = backlog.load(path)
    assert found.unsure
    assert found.line("a", ring).owed(ring) == 30


def history(path: Path, events: int, t_s: float = 0.0) -> Path:
    opened = open_for_writing(path)
    write(opened.connection, [event(n, "verdict", n=n, t_s=t_s) for n in range(events)])
    opened.connection.close()
    return path


def test_events_in_order_and_each_once(tmp_path: Path) -> None:
    path, cursor, numbers = history(tmp_path / "history.sqlite", 25), LogCursor(3, ""), list[Any]()
    cursor.link = read_link(path, 3)
    while found := cursor.read(path, 10)[0]:
        numbers += [row[0] for row in found]
        cursor.took(found[-1][0], found[-1][5])
    assert numbers == list(range(4, 26))


def read_link(path: Path, number: int) -> str:
    cursor = LogCursor(0, "")
    return bytes(cursor.read(path, number)[0][-1][5]).hex()


def test_a_history_begun_anew_is_owed_from_its_beginning(tmp_path: Path) -> None:
    old, new = history(tmp_path / "old", 25), history(tmp_path / "new", 30, 1.0)
    for begun in (new, history(tmp_path / "short", 2, 1.0)):
        cursor = LogCursor(20, read_link(old, 20), live_from=21)
        assert cursor.read(begun, 1)[0][0][0] == 1
        assert cursor.live_from == 0, "the connection does not know what of it is new"


def test_events_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "MAX_EVENTS", 10)
    path = history(tmp_path / "history.sqlite", 25)
    found, dropped = LogCursor(0, "").read(path, 100)
    assert ([row[0] for row in found], dropped) == (list(range(16, 26)), 15)
    assert MAX_EVENTS == 20_000
