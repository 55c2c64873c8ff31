"""The tags of one poll group on one link: polled at the group's own rate, handed over row by row.

Slots lie at `poll_s` multiples from the first row, so group and rows share one grid; a late wake-up
never shifts the next slot. The rules are those of the rows (`edge.runtime.poll`): one poll at a
time; one still out at `CUTOFF` of its slot is TIMEOUT, and the slots it blocks are MISSED; slots
that passed unpolled are MISSED. Group and link have a task of their own, so nobody waits for them.

- Faster than the row: the row at t gets what was polled in [t - row, t), each sample judged on its
  own, reduced as configured (`edge.core.reduce`).
- Slower: the newest sample is held, with its age, until the next slot says otherwise.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from edge.config.types import PollGroup
from edge.core.histogram import Histogram
from edge.core.quality import Judge
from edge.core.reduce import reduce
from edge.core.tags import Quality, Reason, Tag
from edge.drivers.base import Driver, Sample
from edge.runtime.clock import Clock

CUTOFF = 0.9
"""Share of a slot after which what has not answered is not waited for."""


@dataclass(slots=True)
class GroupCounters:
    """Diagnostics of one poll group on one link."""

    polls: int = 0
    """Polls started."""
    missed: int = 0
    """Slots that passed without a poll of their own."""
    overruns: int = 0
    """Polls still running at the cut-off of their slot."""
    late: Histogram = field(default_factory=Histogram)
    """How late slots started."""
    skew: Histogram = field(default_factory=Histogram)
    """First request to last answer of a poll."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What a group gives to one row; arrays are indexed like the tags of the group on its link."""

    values: npt.NDArray[np.float64]
    quality: npt.NDArray[np.uint8]
    reason: npt.NDArray[np.uint8]
    source_s: npt.NDArray[np.float64]
    """Source timestamp, epoch seconds; NaN where there is none."""
    end_s: npt.NDArray[np.float64]
    """Loop time of the answer each value comes from."""


class GroupPoll:
    """One poll group on one link."""

    def __init__(
        self,
        group: PollGroup,
        driver: Driver,
        where: npt.NDArray[np.intp],
        tags: Sequence[Tag],
        row_s: float,
        clock: Clock,
    ) -> None:
        """`where`: positions of `tags` among the driver's rows."""
        self.group, self.driver, self.counters = group, driver, GroupCounters()
        self._where, self._count, self._clock = where, len(tags), clock
        self._slots = max(1, round(row_s / group.poll_s))
        """Slots in a row; 1 for a group slower than the row."""
        self._fast = group.poll_s < row_s
        self._judge = Judge(tags)
        self._taken: dict[int, Taken] = {}
        """Newest slots by number; of a slow group the held one alone."""
        self._running: asyncio.Task[Sample] | None = None

    async def run(self, start_s: float) -> None:
        """Poll for ever, from loop time `start_s` on. Raises a driver's fault of the program."""
        loop, poll_s = asyncio.get_running_loop(), self.group.poll_s
        slot = 0
        try:
            while True:
                slot_s = start_s + slot * poll_s
                await asyncio.sleep(max(0.0, slot_s - loop.time()))
                passed = math.floor((loop.time() - slot_s) / poll_s)
                if passed > 0:
                    slot += passed
                    self.counters.missed += passed
                    self._keep(slot - 1, self._nothing(Reason.MISSED))
                    continue
                self._keep(slot, await self._poll(slot_s))
                slot += 1
        finally:
            if self._running is not None:
                self._running.cancel()
                await asyncio.gather(self._running, return_exceptions=True)

    def take(self, row: int) -> Taken:
        """What belongs to row number `row` (0 is the first)."""
        if not self._fast:
            return next(iter(self._taken.values()), self._nothing(Reason.MISSED))
        nothing = self._nothing(Reason.MISSED)
        slots = range((row - 1) * self._slots, row * self._slots)
        found = [self._taken.get(slot, nothing) for slot in slots]
        values, quality, reason, newest = reduce(
            self.group.reduce,
            np.stack([taken.values for taken in found]),
            np.stack([taken.quality for taken in found]),
            np.stack([taken.reason for taken in found]),
        )
        at = newest[None]
        source_s = np.take_along_axis(np.stack([taken.source_s for taken in found]), at, axis=0)
        end_s = np.take_along_axis(np.stack([taken.end_s for taken in found]), at, axis=0)
        return Taken(values, quality, reason, source_s[0], end_s[0])

    async def _poll(self, slot_s: float) -> Taken:
        loop, counters = asyncio.get_running_loop(), self.counters
        if self._running is not None:
            if not self._running.done():
                counters.missed += 1
                return self._nothing(Reason.MISSED)
            self._running.result()  # only to raise a fault of the program
        counters.late.add(loop.time() - slot_s)
        counters.polls += 1
        name = self.group.name
        poll = asyncio.create_task(self.driver.read(name), name=f"poll {self.driver.name} {name}")
        self._running = poll
        cutoff_s = slot_s + CUTOFF * self.group.poll_s
        await asyncio.wait((poll,), timeout=max(0.0, cutoff_s - loop.time()))
        if not poll.done():
            counters.overruns += 1
            return self._nothing(Reason.TIMEOUT)
        self._running = None
        sample = poll.result()
        counters.skew.add(sample.end_s - sample.start_s)
        return self._of(sample)

    def _of(self, sample: Sample) -> Taken:
        at = self._where
        values, quality, reason = sample.values[at], sample.quality[at], sample.reason[at]
        source_s, end_s = sample.source_s[at], np.full(self._count, sample.end_s)
        if self._fast:
            # A mean must not hide a sample that no instrument can have sent.
            _, quality, reason = self._judge.judge(
                values, quality, reason, source_s,
                wall_s=self._clock.wall_s(), monotonic_s=sample.end_s,
            )  # fmt: skip
            values = np.where(quality == Quality.BAD, np.nan, values)
        return Taken(values, quality, reason, source_s, end_s)

    def _nothing(self, why: Reason) -> Taken:
        none = np.full(self._count, np.nan)
        bad = np.full(self._count, Quality.BAD, np.uint8)
        return Taken(none, bad, np.full(self._count, why, np.uint8), none, none)

    def _keep(self, slot: int, taken: Taken) -> None:
        self._taken[slot] = taken
        # Two rows' worth: a row that is taken late still finds its own slots.
        oldest = slot - (2 * self._slots if self._fast else 1)
        for old in [number for number in self._taken if number <= oldest]:
            del self._taken[old]
