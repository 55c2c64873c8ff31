"""All links of a line -> one judged row per slot, on absolute deadlines.

Slots start at `row_s` multiples of loop time from the first one, so a late wake-up never shifts the
next. In each slot every link is polled at most once, all at the same time:

- a link that has not answered at `CUTOFF` of the slot is TIMEOUT for its tags in this row;
- while its poll still runs, no second one is started: MISSED until it ends. What it then brings is
  thrown away, because the row it belonged to has been delivered;
- slots that passed while the caller or the machine was busy are delivered as gap rows (MISSED),
  stamped with their own time. Values are never written into the past.

Tags of a poll group have their own rate and tasks (`edge.runtime.group`); the row takes from them
what is there when its own links have answered, and waits for none.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from edge.config.types import ROW_GROUP, Line, PollGroup
from edge.core.histogram import Histogram
from edge.core.quality import Judge
from edge.core.tags import Quality, Reason, Row, gap_row
from edge.drivers.base import Driver, Sample
from edge.runtime.clock import Clock
from edge.runtime.group import CUTOFF, GroupPoll

Context = dict[str, tuple[float, Quality]]
"""Name -> (value, quality) of set-points and the like; NaN exactly where BAD."""


@dataclass(slots=True)
class PollCounters:
    """Diagnostics of one line's acquisition."""

    rows: int = 0
    """Rows delivered, gap rows included."""
    gap_rows: int = 0
    """Slots that passed without a poll."""
    overruns: int = 0
    """Polls still running at the end of their slot, over all links."""
    late_ms: float = 0.0
    """How late the last slot started."""
    skew_ms: float = 0.0
    """First request to last answer of the last row."""
    worst_skew_ms: float = 0.0
    late: Histogram = field(default_factory=Histogram)
    """How late slots started, all rows."""
    skew: Histogram = field(default_factory=Histogram)
    """First request to last answer, all rows."""


class Poller:
    """Acquisition of one line; `rows()` is its only loop."""

    def __init__(self, line: Line, drivers: Mapping[str, Driver], clock: Clock) -> None:
        """`drivers` by link name, each built with `edge.drivers.rows_of(line, link)`.

        Raises KeyError when a link of the line has no driver.
        """
        self.counters = PollCounters()
        self._line = line
        self._clock = clock
        rows = (*line.tags, *line.context)
        self._judge = Judge([r.tag for r in rows])
        self._names = [r.tag.name for r in line.context]
        self._size = len(rows)
        self._links = [
            (drivers[link.name], *_places(line, link.name, ROW_GROUP)) for link in line.links
        ]
        self.groups: list[GroupPoll] = []
        """Every poll group on every link that carries tags of it."""
        self._group_places: list[npt.NDArray[np.intp]] = []
        for group in line.groups:
            for link in line.links:
                self._add_group(group, drivers[link.name])
        self._group_tasks: list[asyncio.Task[None]] = []
        self._running: dict[str, asyncio.Task[Sample]] = {}
        self._known_s = np.full(self._size, np.nan)
        """Loop time at which the newest usable value of each tag was true."""
        self._row_s = 0.0
        """Loop time of the newest row."""

    def _add_group(self, group: PollGroup, driver: Driver) -> None:
        places, local = _places(self._line, driver.name, group.name)
        if not len(places):
            return
        rows = (*self._line.tags, *self._line.context)
        tags = [rows[i].tag for i in places]
        self.groups.append(GroupPoll(group, driver, local, tags, self._line.row_s, self._clock))
        self._group_places.append(places)

    @property
    def ages_s(self) -> npt.NDArray[np.float64]:
        """Age float64[P] of the newest usable value of each tag when the newest row was made, s.

        From its source time stamp where there is one, else from the answer; NaN before the first.
        """
        return self._row_s - self._known_s[: len(self._line.tags)]

    def take_over(self, old: Poller) -> None:
        """Go on where `old` stops: its counters, and how long each value has not moved."""
        self.counters = old.counters
        rows, was = (*self._line.tags, *self._line.context), (*old._line.tags, *old._line.context)
        at = {(row.tag.name, row.source): i for i, row in enumerate(was)}
        places = {i: at.get((row.tag.name, row.source)) for i, row in enumerate(rows)}
        self._judge.take_over(old._judge, {i: k for i, k in places.items() if k is not None})

    async def rows(self) -> AsyncGenerator[tuple[Row, Context], None]:
        """Rows for ever. Close the generator (`contextlib.aclosing`) to stop the polls in flight.

        Raises what a driver raises against its contract: that is a fault of the program, not of
        the plant.
        """
        loop = asyncio.get_running_loop()
        row_s = self._line.row_s
        start_s = slot_s = loop.time()
        self._group_tasks = [
            asyncio.create_task(
                group.run(start_s), name=f"group {group.group.name} {group.driver.name}"
            )
            for group in self.groups
        ]
        try:
            while True:
                await _sleep_until(slot_s)
                missed = math.floor((loop.time() - slot_s) / row_s)
                if missed > 0:
                    # More gaps than the ring holds would only push out each other.
                    slot_s += max(0, missed - self._line.ring_rows) * row_s
                    for _ in range(min(missed, self._line.ring_rows)):
                        yield self._gap(slot_s, loop.time())
                        slot_s += row_s
                    continue
                yield await self._row(slot_s, round((slot_s - start_s) / row_s))
                slot_s += row_s
        finally:
            await self._stop()

    def _wall_s(self, slot_s: float, now_s: float) -> float:
        return self._clock.wall_s() - (now_s - slot_s)

    def _gap(self, slot_s: float, now_s: float) -> tuple[Row, Context]:
        self.counters.rows += 1
        self.counters.gap_rows += 1
        self._row_s = now_s
        wall_s = self._wall_s(slot_s, now_s)
        row = gap_row(wall_s, len(self._line.tags), Reason.MISSED, slot_s)
        return row, dict.fromkeys(self._names, (math.nan, Quality.BAD))

    async def _row(self, slot_s: float, number: int) -> tuple[Row, Context]:
        loop = asyncio.get_running_loop()
        counters = self.counters
        now_s = loop.time()
        counters.late_ms = (now_s - slot_s) * 1000
        counters.late.add(now_s - slot_s)
        wall_s = self._wall_s(slot_s, now_s)
        polls: dict[str, asyncio.Task[Sample]] = {}
        for driver, _, _ in self._links:
            previous = self._running.get(driver.name)
            if previous is not None and not previous.done():
                continue
            if previous is not None:
                previous.result()  # only to raise a fault of the program
            polls[driver.name] = asyncio.create_task(
                driver.read(ROW_GROUP), name=f"poll {driver.name}"
            )
        self._running.update(polls)
        if polls:
            cutoff_s = slot_s + CUTOFF * self._line.row_s
            await asyncio.wait(polls.values(), timeout=max(0.0, cutoff_s - loop.time()))

        values = np.full(self._size, np.nan)
        quality = np.full(self._size, Quality.BAD, np.uint8)
        reason = np.full(self._size, Reason.MISSED, np.uint8)
        source_s = np.full(self._size, np.nan)
        end_s = np.full(self._size, np.nan)
        starts, ends = [], []
        for driver, where, local in self._links:
            poll = polls.get(driver.name)
            if poll is None:
                continue
            if not poll.done():
                counters.overruns += 1
                reason[where] = Reason.TIMEOUT
                continue
            sample = poll.result()
            del self._running[driver.name]
            values[where], quality[where] = sample.values[local], sample.quality[local]
            reason[where], source_s[where] = sample.reason[local], sample.source_s[local]
            end_s[where] = sample.end_s
            starts.append(sample.start_s)
            ends.append(sample.end_s)
        for task in self._group_tasks:
            if task.done():
                task.result()  # only to raise a fault of the program
        for group, where in zip(self.groups, self._group_places, strict=True):
            taken = group.take(number)
            values[where], quality[where] = taken.values, taken.quality
            reason[where], source_s[where] = taken.reason, taken.source_s
            end_s[where] = taken.end_s
        judged_s, judged_wall_s = loop.time(), self._clock.wall_s()
        self._row_s = judged_s
        judged = self._judge.judge(
            values, quality, reason, source_s, wall_s=judged_wall_s, monotonic_s=judged_s
        )
        usable = judged[1] != Quality.BAD
        true_s = np.where(np.isnan(source_s), end_s, judged_s - (judged_wall_s - source_s))
        self._known_s[usable] = true_s[usable]
        p = len(self._line.tags)
        row = Row(
            t_s=wall_s,
            values=judged[0][:p],
            quality=judged[1][:p],
            reason=judged[2][:p],
            start_s=min(starts, default=slot_s),
            end_s=max(ends, default=slot_s),
        )
        counters.rows += 1
        counters.skew.add(row.skew_s)
        counters.skew_ms = row.skew_s * 1000
        counters.worst_skew_ms = max(counters.worst_skew_ms, counters.skew_ms)
        return row, {
            name: (float(judged[0][i]), Quality(int(judged[1][i])))
            for i, name in enumerate(self._names, p)
        }

    async def _stop(self) -> None:
        tasks = [*self._running.values(), *self._group_tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._running.clear()
        self._group_tasks.clear()


def _places(line: Line, link: str, group: str) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Tags of a group on a link: positions in the row, and among the rows of the link's driver."""
    rows = (*line.tags, *line.context)
    on_link = [i for i, row in enumerate(rows) if row.source.link == link]
    local = [k for k, i in enumerate(on_link) if rows[i].group == group]
    return np.array([on_link[k] for k in local], np.intp), np.array(local, np.intp)


async def _sleep_until(time_s: float) -> None:
    """Sleep to an absolute loop time; always gives other tasks a turn."""
    loop = asyncio.get_running_loop()
    await asyncio.sleep(max(0.0, time_s - loop.time()))
