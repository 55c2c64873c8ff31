"""What the broker has not got yet: a cursor on each ring and one on the event log.

A cursor moves when the broker has acknowledged, never before, and is kept in a file. After a kill
it may be some seconds old, so that a few rows are sent twice; everything that was not made while
this connection stood is marked as resent.

    cursor's row is in the ring, same time     go on behind it
    the ring ends before it, at an older time  rows were lost with the power; go on at its end
    anything else                              another ring: all of it is owed
    the ring has gone past it                  what fell out of it is counted as dropped

The ring (18 h as shipped) bounds the rows, `MAX_EVENTS` the events; the oldest go first.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edge.core.ring import Ring, Slots
from edge.runtime.chain import SEED, Head
from edge.runtime.mqtt.messages import is_gap
from edge.runtime.store.schema import BUSY_S

log = logging.getLogger("ncm-edge")

FILE_NAME = "mqtt.json"
"""In the state directory."""
MAX_EVENTS = 20_000
"""Most events that wait for the broker."""
SCAN = 256
"""Slots looked at for one handful of rows: gaps are skipped, not sent."""


@dataclass(slots=True)
class RowCursor:
    """How far the broker has come with the rows of one line."""

    seq: int
    """Newest row it has."""
    t_s: float
    """Slot time of that row; NaN while the ring held none."""
    missed: int = 0
    """Slots since the last row sent that nobody polled."""
    dropped: int = 0
    """Rows since the last row sent that fell out of the ring before they could be."""
    newest: int = 0
    """Newest row seen in the ring; not kept."""
    live_from: int = 0
    """Rows from here on were made while this connection stands; not kept."""

    @classmethod
    def at_end(cls, ring: Ring) -> RowCursor:
        """Nothing that the ring holds is owed."""
        return cls(ring.seq, _time(ring, ring.seq), newest=ring.seq)

    @classmethod
    def at_start(cls, ring: Ring) -> RowCursor:
        """Everything that the ring holds is owed."""
        return cls(ring.seq - ring.count, math.nan, newest=ring.seq)

    def follow(self, ring: Ring) -> int:
        """Fit the cursor to the ring as it is now; returns the rows that were dropped."""
        lost, oldest = 0, ring.seq - ring.count + 1
        if ring.seq < self.seq or (self.seq >= oldest and _differ(_time(ring, self.seq), self.t_s)):
            newest_t_s = ring.newest_t_s
            if ring.seq < self.seq and newest_t_s is not None and newest_t_s <= self.t_s:
                self.seq, self.t_s = ring.seq, newest_t_s
            else:
                lost = max(0, self.newest - self.seq)
                self.seq, self.t_s, self.live_from = oldest - 1, math.nan, 0
        elif self.seq < oldest - 1:
            lost = oldest - 1 - self.seq
            self.seq, self.t_s = oldest - 1, math.nan
        self.dropped += lost
        self.newest = ring.seq
        return lost

    def owed(self, ring: Ring) -> int:
        """Rows that wait."""
        return max(0, ring.seq - self.seq)

    def next(self, ring: Ring, most: int) -> Handful:
        """The next slots, up to `most` that hold something. `follow` first."""
        first, count = self.seq + 1, min(SCAN, self.owed(ring))
        slots = ring.slots(first, count)
        held = [i for i in range(count) if not is_gap(slots, i)]
        if len(held) > most:
            held, count = held[:most], held[most - 1] + 1
        return Handful(first, slots, tuple(held), count)

    def took(self, taken: Handful) -> None:
        """The broker has acknowledged all of it."""
        if taken.held:
            self.missed, self.dropped = 0, 0
        after = taken.held[-1] + 1 if taken.held else 0
        self.missed += taken.count - after
        self.seq = taken.first_seq + taken.count - 1
        self.t_s = float(taken.slots.times[taken.count - 1])


@dataclass(frozen=True, slots=True)
class Handful:
    """Some slots of a ring, to be sent together."""

    first_seq: int
    slots: Slots
    held: tuple[int, ...]
    """Those that are sent; the others were polled by nobody."""
    count: int
    """Slots that are done with once they are sent."""

    def gap_before(self, i: int) -> int:
        """Slots between the row sent before the held slot `i`, in this handful, and itself."""
        at = self.held.index(i)
        return i - (self.held[at - 1] + 1 if at else 0)


@dataclass(slots=True)
class LogCursor:
    """How far the broker has come with the event log."""

    number: int
    link: str
    """Link of that event in the chain, hexadecimal: another file has another."""
    live_from: int = 0
    """Events from here on were logged while this connection stands; 0: not known yet. Not kept."""

    @classmethod
    def at(cls, head: Head) -> LogCursor:
        """Nothing up to `head` is owed."""
        return cls(head.number, head.link.hex())

    def read(self, path: Path, most: int) -> tuple[list[tuple[Any, ...]], int]:
        """(id, t_s, line, kind, body, link) of the next events, and how many were dropped. Blocks.

        Raises sqlite3.Error.
        """
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=BUSY_S)) as db:
            row = db.execute("SELECT link FROM events WHERE id = ?", (self.number,)).fetchone()
            (newest,) = db.execute("SELECT COALESCE(MAX(id), 0) FROM events").fetchone()
            if self.number and (row is None or bytes(row[0]).hex() != self.link):
                # The history was begun anew: all of it is owed.
                self.number, self.link, self.live_from = 0, SEED.hex(), 0
            dropped = max(0, int(newest) - MAX_EVENTS - self.number)
            self.number += dropped
            found = db.execute(
                "SELECT id, t_s, line, kind, body, link FROM events WHERE id > ? ORDER BY id "
                "LIMIT ?", (self.number, most),
            )  # fmt: skip
            return list(found), dropped

    def took(self, number: int, link: bytes) -> None:
        """The broker has acknowledged the events up to this one."""
        self.number, self.link = number, link.hex()


@dataclass(slots=True)
class Cursors:
    """All of them, and their file."""

    path: Path
    rows: dict[str, RowCursor] = field(default_factory=dict)
    log: LogCursor | None = None
    dropped: int = 0
    """Rows and events, since the start."""
    unsure: bool = False
    """The file could not be read: a line it might have named starts with all its ring holds."""

    def line(self, name: str, ring: Ring) -> RowCursor:
        """The cursor of a line, fitted to its ring."""
        cursor = self.rows.get(name)
        if cursor is None:
            begin = RowCursor.at_start if self.unsure else RowCursor.at_end
            cursor = self.rows[name] = begin(ring)
            cursor.live_from = ring.seq + 1
        lost = cursor.follow(ring)
        if lost:
            log.warning("mqtt: line %s: %d rows are gone before the broker had them", name, lost)
            self.dropped += lost
        return cursor

    def text(self) -> str:
        """What the file holds."""
        kept = {
            name: {k: v for k, v in asdict(cursor).items() if k not in ("newest", "live_from")}
            | {"t_s": None if math.isnan(cursor.t_s) else cursor.t_s}
            for name, cursor in self.rows.items()
        }
        last = None if self.log is None else {"number": self.log.number, "link": self.log.link}
        return json.dumps({"rows": kept, "log": last}, indent=1)


def load(path: Path) -> Cursors:
    """The cursors of `path`; new ones without a file, unsure ones if it is damaged. Blocks."""
    try:
        found = json.loads(path.read_text(encoding="ascii"))
        return _parse(path, found)
    except FileNotFoundError:
        return Cursors(path)
    except (
        OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError,
    ) as error:  # fmt: skip
        log.error("mqtt: %s: %s: everything that is still kept is sent again", path, error)
        return Cursors(path, unsure=True)


def _parse(path: Path, found: Mapping[str, Any]) -> Cursors:
    rows = {
        str(name): RowCursor(
            seq=int(x["seq"]), t_s=math.nan if x["t_s"] is None else float(x["t_s"]),
            missed=int(x["missed"]), dropped=int(x["dropped"]),
        )
        for name, x in found["rows"].items()
    }  # fmt: skip
    last = found["log"]
    events = None if last is None else LogCursor(int(last["number"]), str(last["link"]))
    return Cursors(path, rows, events)


def save(path: Path, text: str) -> None:
    """Replace the file, so that a power cut leaves the old one or the new one. Raises OSError."""
    temporary = path.with_name(path.name + ".new")
    try:
        with temporary.open("w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def _time(ring: Ring, seq: int) -> float:
    return float(ring.slots(seq, 1).times[0])


def _differ(a: float, b: float) -> bool:
    """Two slot times of one row number; an unknown one differs from none."""
    return math.isfinite(a) and math.isfinite(b) and a != b
