"""The writing side of the history: a bounded queue and one worker thread.

The daemon `put`s records and never waits. The worker writes what has gathered in one transaction;
what a disk does not take stays in the queue and is tried again. The bounds of the queue:

    rows and verdicts   MAX_MINUTES; beyond them the oldest are dropped
    events              MAX_EVENTS; beyond them the oldest are dropped, and the log says how many

On a full disk the oldest raw minutes of the file make room for the new ones. Even dropping rows
takes some room (SQLite writes its log first), so a reserve is kept on the disk and given up for it.
A file that is found damaged, at the start or later, is set aside and a new one begun. Nothing here
raises into the daemon: `fault`, `short`, `full` and `replaced` say what is wrong, and become
conditions of every line.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from edge.runtime.chain import Head
from edge.runtime.clock import Clock
from edge.runtime.store import writer
from edge.runtime.store.records import Event, Minute, Record, Step
from edge.runtime.store.reserve import Reserve
from edge.runtime.store.schema import (
    BUSY_S,
    FILE_NAME,
    HEAD_NAME,
    OpenFile,
    is_damage,
    is_full,
    open_for_writing,
    set_aside,
)

log = logging.getLogger("ncm-edge")

MAX_MINUTES = 600
"""Records of rows and verdicts kept while the disk refuses: five hours of one line, 10 MB."""
MAX_EVENTS = 20_000
RETRY_S = 10.0
MAKE_ROOM = 10
"""Most times the oldest rows are dropped for one write."""
RETAIN_EVERY = 20
"""Minutes written between two looks at size and age."""
CLOSE_S = 10.0
"""Longest wait for the last records at a stop."""


class Store:
    """The history of all lines. Built and used on the event loop; `close` may block."""

    def __init__(
        self,
        directory: Path,
        clock: Clock,
        *,
        max_bytes: int,
        max_age_s: float,
    ) -> None:
        """Nothing is opened yet."""
        self.path = directory / FILE_NAME
        self.fault = ""
        """Why records are not on disk; "" if they are."""
        self.short = ""
        """That the disk is full and the oldest rows make room; "" if it is not."""
        self.full = ""
        """Why the file is above its limit; "" if it is not."""
        self.replaced = ""
        """What happened to a damaged file."""
        self.head = Head()
        """Newest event on disk."""
        self.size_bytes = 0
        self.lost = 0
        """Records dropped: the queue was full, or no table takes them."""
        self.opened = asyncio.Event()
        self._clock = clock
        self._max_bytes, self._max_age_s = max_bytes, max_age_s
        self._about: dict[str, Any] = {}
        self.newest_s: dict[str, float] = {}
        """Time of the newest row on disk at the start, by line."""
        self.maintenance: dict[str, int] = {}
        """MAINT_EVENT as last logged before the start, by line."""
        self._head_path = directory / HEAD_NAME
        self._reserve = Reserve(directory)
        self._bulk: deque[Minute | Step] = deque()
        self._events: deque[Event] = deque()
        self._lost_events = 0
        self._fresh, self._eased = asyncio.Event(), asyncio.Event()
        self._file: OpenFile | None = None
        self._now_s = 0.0
        """Wall time of the work in hand."""
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="history")
        self._since_retain = RETAIN_EVERY

    # The daemon's side: never waits, never raises.

    def put(self, record: Record) -> None:
        """Keep a record until it is on disk."""
        if isinstance(record, Event):
            self._events.append(record)
            while len(self._events) > MAX_EVENTS:
                self._events.popleft()
                self._lost_events += 1
        else:
            self._bulk.append(record)
            self._bound()
        self._fresh.set()

    def event(self, kind: str, line: str = "", /, **body: Any) -> None:
        """Log an event that happens now."""
        self.put(Event(t_s=self._clock.wall_s(), line=line, kind=kind, body=body))

    def _bound(self) -> None:
        while len(self._bulk) > MAX_MINUTES:
            self._bulk.popleft()
            self.lost += 1

    @property
    def waiting(self) -> int:
        """Records not on disk yet."""
        return len(self._bulk) + len(self._events)

    async def eased(self, most: int) -> None:
        """Wait until no more than `most` records wait: for whoever has more than the queue."""
        while self.waiting > most:
            self._eased.clear()
            await self._eased.wait()

    def section(self) -> dict[str, Any]:
        """For the status document."""
        return {
            "file": str(self.path),
            "fault": self.fault or self.short or self.full or self.replaced,
            "size_mb": self.size_bytes / 1e6,
            "waiting": self.waiting,
            "lost": self.lost + self._lost_events,
            "head": str(self.head),
        }

    async def run(self, about: Mapping[str, Any] | None = None) -> None:
        """Write until cancelled.

        `about` is the body of the event "start"; its keys `config_sha256` and `models` are compared
        with those of the start before.
        """
        self._about = dict(about or {})
        loop = asyncio.get_running_loop()
        self._fresh.set()
        while True:
            await self._fresh.wait()
            self._fresh.clear()
            if not await self._flush(loop):
                await asyncio.sleep(RETRY_S)
                self._fresh.set()

    async def _flush(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Write everything that waits; False if it has to be tried again."""
        if not self.opened.is_set():
            if not await self._in_worker(loop, self._open):
                return False
            self.opened.set()
        records = self._take()
        self._eased.set()
        if not await self._in_worker(loop, lambda: self._write(records)):
            self._put_back(records)
            return False
        return True

    def _take(self) -> list[Record]:
        records: list[Record] = [*self._bulk, *self._events]
        if self._lost_events:
            text = f"{self._lost_events} events were lost: the disk refused for too long"
            body = {"text": text, "lost": self._lost_events}
            self._lost_events = 0
            records.append(Event(t_s=self._clock.wall_s(), line="", kind="history", body=body))
        self._bulk.clear()
        self._events.clear()
        return records

    def _put_back(self, records: list[Record]) -> None:
        """In front of what has come meanwhile."""
        events = [record for record in records if isinstance(record, Event)]
        self._events.extendleft(reversed(events))
        bulk = [record for record in records if not isinstance(record, Event)]
        self._bulk.extendleft(reversed(bulk))
        self._bound()

    def close(self) -> None:
        """Write what waits and close the file; waits at most `CLOSE_S` for a slow disk."""
        self.event("stop")
        records = self._take()
        done = self._worker.submit(self._finish, records)
        try:
            done.result(CLOSE_S)
        except TimeoutError:
            log.error("history: the disk has not taken the last records within %.0f s", CLOSE_S)
        self._worker.shutdown(wait=False)

    # The worker's side.

    async def _in_worker(self, loop: asyncio.AbstractEventLoop, work: Callable[[], str]) -> bool:
        """Run `work`; it returns why it failed, "" if it did not."""
        self._now_s = self._clock.wall_s()  # a clock may belong to the loop's thread
        fault = await loop.run_in_executor(self._worker, self._guarded, work)
        if fault and fault != self.fault:
            log.error("history: %s", fault)
        elif self.fault and not fault:
            log.info("history: %s can be written again", self.path)
        self.fault = fault
        return not fault

    def _guarded(self, work: Callable[[], str]) -> str:
        try:
            return work()
        except (OSError, sqlite3.Error) as error:
            return self._explain(error)
        except Exception as error:
            # The history must never take the daemon down, whatever is wrong with it.
            log.exception("history: unexpected")
            return f"{self.path}: {type(error).__name__}: {error}"

    def _explain(self, error: Exception) -> str:
        text = getattr(error, "strerror", None) or str(error)
        if "locked" in text:
            text += f" for {BUSY_S:.0f} s; another program holds it: close the one that has it open"
        elif is_full(error):
            text += "; the oldest raw minutes are dropped to go on"
        return f"{self.path}: {text}"

    def _open(self) -> str:
        if self._file is not None:
            return ""
        self._file = found = open_for_writing(self.path)
        log.log(logging.ERROR if found.opened == "replaced" else logging.INFO, "%s", found.message)
        if found.opened == "replaced":
            self._say_replaced(found.message)
        self._reserve.keep()
        self.head = writer.head_of(found.connection)
        self.size_bytes = writer.size_bytes(found.connection)
        self.newest_s = writer.newest_s(found.connection)
        self.maintenance = writer.maintenance_counters(found.connection)
        for event in self._start(json.loads(writer.last_start(found.connection))):
            self._events.appendleft(event)
        return ""

    def _start(self, before: Mapping[str, Any]) -> list[Event]:
        """What is logged of this start, newest first; what differs from `before` by name."""
        now_s, out = self._now_s, list[Event]()
        for key, kind in (("models", "model"), ("config_sha256", "configuration")):
            if key in before and before[key] != self._about.get(key):
                body = {"before": before[key], "now": self._about.get(key)}
                out.append(Event(t_s=now_s, line="", kind=kind, body=body))
        if self._about:
            out.append(Event(t_s=now_s, line="", kind="start", body=self._about))
        self._about = {}
        return out

    def _write(self, records: list[Record]) -> str:
        if self._file is None:
            fault = self._open()
            if fault:
                return fault
        assert self._file is not None
        connection = self._file.connection
        try:
            head = writer.write(connection, records)
        except Exception as error:
            if is_damage(error):
                return self._begin_anew(error)
            if is_full(error):
                self._make_room(connection)
                head = writer.write(connection, records)
            elif writer.is_spoiled(error):
                head = self._leave_out_spoiled(connection, records)
            else:
                raise
        # From here on the records are on disk: whatever else fails must not write them twice.
        try:
            self._tidy(connection, records)
            if head is not None:
                self.head = head
                self._note_head()
        except (OSError, sqlite3.Error) as error:
            log.warning("history: %s", self._explain(error))
        return ""

    def _leave_out_spoiled(
        self, connection: sqlite3.Connection, records: list[Record]
    ) -> Head | None:
        """One of the records can never be written: it must not keep the others from the disk."""
        spoiled: list[tuple[Record, Exception]] = []
        head = writer.write(connection, records, spoiled)
        self.lost += len(spoiled)
        for record, error in spoiled:
            log.error("history: a record of line %r is dropped, %s: %s: %r",
                      record.line, type(error).__name__, error, record)  # fmt: skip
        return head

    def _make_room(self, connection: sqlite3.Connection) -> None:
        """The disk is full: give up the reserve, drop the oldest rows until it is there again."""
        if not self.short:
            log.error("history: the disk of %s is full", self.path)
        self.short = f"{self.path}: the disk is full; the oldest raw rows are dropped"
        self._since_retain = 0
        self._reserve.give_up()
        for _ in range(MAKE_ROOM):
            dropped = writer.make_room(connection)
            if self._reserve.keep() or not dropped:
                break

    def _tidy(self, connection: sqlite3.Connection, records: list[Record]) -> None:
        self._since_retain += sum(isinstance(record, Minute) for record in records)
        if self._since_retain < RETAIN_EVERY:
            return
        self._since_retain = 0
        self.short = ""  # for so many minutes nothing had to be dropped
        oldest_s = self._now_s - self._max_age_s
        _, above = writer.retain(connection, self._max_bytes, oldest_s)
        self.size_bytes = writer.size_bytes(connection)
        full = (
            f"{self.path}: {self.size_bytes / 1e6:.0f} MB, limit {self._max_bytes / 1e6:.0f} MB"
            if above
            else ""
        )
        if bool(full) != bool(self.full):
            log.log(logging.WARNING if full else logging.INFO, "history: %s",
                    full or "within its limit again")  # fmt: skip
        self.full = full

    def _begin_anew(self, error: Exception) -> str:
        """The file was damaged while it was in use."""
        assert self._file is not None
        self._file.connection.close()
        self._file = None
        bad = set_aside(self.path)
        text = f"history {self.path}: {error}; set aside as {bad.name}, a new one begun"
        log.error("%s", text)
        self._say_replaced(text)
        return self._open() or text

    def _say_replaced(self, text: str) -> None:
        self.replaced = text
        body = {"text": text, "head_before": self._noted_head()}
        self._events.append(Event(t_s=self._now_s, line="", kind="history", body=body))

    def _noted_head(self) -> str:
        try:
            return self._head_path.read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            return ""

    def _note_head(self) -> None:
        temporary = self._head_path.with_name(self._head_path.name + ".new")
        temporary.write_text(f"{self.head}\n", encoding="ascii")
        temporary.replace(self._head_path)

    def _finish(self, records: list[Record]) -> None:
        fault = self._guarded(lambda: self._write(records))
        if fault:
            log.error("history: %s; %d records are lost", fault, len(records))
        if self._file is not None:
            self._file.connection.close()
            self._file = None
