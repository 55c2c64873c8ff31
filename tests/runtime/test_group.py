"""Tags at rates of their own, and the rows they end in. All in virtual time."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import numpy as np
import pytest

from edge.config.types import Line, PollGroup
from edge.core.reduce import Reduction
from edge.core.tags import Quality, Reason, Row
from edge.drivers.base import Sample
from edge.drivers.soft import SoftDriver
from edge.runtime.clock import LoopClock
from edge.runtime.poll import Poller
from tests.runtime.test_poll import EPOCH_S, Bench, Virtual, busy, line

FAST = PollGroup(name="fast", poll_s=0.125, reduce="mean")
SLOW = PollGroup(name="slow", poll_s=5.0)


def grouped(*groups: PollGroup, **tags: str) -> Line:
    """The line of the poller's tests, with some of its tags in groups: A0="fast"."""
    made = line()
    rows = tuple(dataclasses.replace(r, group=tags.get(r.tag.name, r.group)) for r in made.tags)
    return dataclasses.replace(made, tags=rows, groups=groups)


class Ramp(SoftDriver):
    """A PLC whose A0 is loop time; notes when which group was asked for."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.asked: list[tuple[str | None, float]] = []
        self.slow_s: Callable[[float], float] = lambda now_s: 0.0
        """Time an answer to group "fast" or "slow" takes, by when it is asked for."""
        self.value: Callable[[float], float] = lambda now_s: now_s

    async def read(self, group: str | None = None) -> Sample:
        now_s = asyncio.get_running_loop().time()
        self.asked.append((group, now_s))
        self.set("A0", self.value(now_s))
        if group and self.slow_s(now_s):
            await busy(self.slow_s(now_s))
        return await super().read(group)

    def times(self, group: str) -> list[float]:
        return [t for g, t in self.asked if g == group]


class GroupBench(Bench):
    """A poller whose link "a" is a Ramp."""

    def __init__(self, site: Line) -> None:
        super().__init__(site)
        rows = [r for r in (*site.tags, *site.context) if r.source.link == "a"]
        self.ramp = Ramp("a", rows)
        for name in ("A0", "A1", "A.SP"):
            self.ramp.set(name, 10.0)
        self.drivers["a"] = self.ramp
        self.poller = Poller(site, self.drivers, self.clock)

    async def rows(self, count: int) -> list[Row]:
        return [row for row, _ in await self.take(count)]


@pytest.mark.parametrize(
    ("how", "value"), [("last", 0.875), ("mean", 0.4375), ("min", 0.0), ("max", 0.875)]
)
def test_a_row_gets_what_was_polled_since_the_row_before(
    how: Reduction, value: float, virtual: Virtual
) -> None:
    async def main() -> None:
        group = dataclasses.replace(FAST, reduce=how)
        bench = GroupBench(grouped(group, A0="fast"))
        rows = await bench.rows(4)
        assert (rows[0].quality[0], rows[0].reason[0]) == (Quality.BAD, Reason.MISSED)
        assert [float(r.values[0]) for r in rows[1:]] == [value, value + 1, value + 2]
        for r in rows:
            assert list(r.values[1:]) == [10.0, 10.0]
            assert r.skew_s == 0.0, "the row's own skew is not the group's window"
        assert bench.ramp.times("fast") == [k / 8 for k in range(25)]
        assert bench.ramp.times("") == [0.0, 1.0, 2.0, 3.0]

    virtual(main())


def test_a_slower_group_holds_its_value_and_tells_its_age(virtual: Virtual) -> None:
    async def main() -> None:
        bench = GroupBench(grouped(SLOW, A0="slow"))
        ages: list[float] = []
        taken = await bench.take(12, lambda k: ages.append(float(bench.poller.ages_s[0])))
        assert bench.ramp.times("slow") == [0.0, 5.0, 10.0]
        values = [float(r.values[0]) for r, _ in taken]
        # Whether row and group of the same instant meet is not promised; one row later they have.
        assert values[1:5] == [0.0] * 4
        assert values[6:10] == [5.0] * 4
        assert ages[1:5] == [1.0, 2.0, 3.0, 4.0]
        assert set(ages[6:10]) == {1.0, 2.0, 3.0, 4.0}

    virtual(main())


def test_a_held_value_ends_with_the_poll_that_failed(virtual: Virtual) -> None:
    async def main() -> None:
        bench = GroupBench(grouped(SLOW, A0="slow"))

        def switch_off(k: int) -> None:
            bench.ramp.up = k < 3

        taken = await bench.take(8, switch_off)
        reasons = [Reason(int(r.reason[0])) for r, _ in taken]
        assert reasons[1:5] == [Reason.NONE] * 4, "held until it is asked for again"
        assert reasons[6:] == [Reason.NOT_CONNECTED] * 2

    virtual(main())


def test_polls_of_a_group_never_overlap_and_what_is_missing_is_a_gap(virtual: Virtual) -> None:
    async def main() -> None:
        bench = GroupBench(grouped(dataclasses.replace(FAST, reduce="last"), A0="fast"))
        # One answer takes 0.3 s: its own slot is an overrun, the two after it are missed.
        bench.ramp.slow_s = lambda now_s: 0.3 if now_s == 1.5 else 0.0
        rows = await bench.rows(4)
        assert [round(8 * t) for t in bench.ramp.times("fast")] == [
            k for k in range(25) if k not in (13, 14)
        ]
        (group,) = bench.poller.groups
        assert (group.counters.overruns, group.counters.missed) == (1, 2)
        assert [float(r.values[0]) for r in rows[1:]] == [0.875, 1.875, 2.875]

    virtual(main())


@pytest.mark.parametrize(("slots", "quality"), [(4, Quality.GOOD), (5, Quality.BAD)])
def test_a_mean_needs_half_of_its_slots(slots: int, quality: Quality, virtual: Virtual) -> None:
    async def main() -> None:
        bench = GroupBench(grouped(FAST, A0="fast"))
        # The answer asked for at 1.0 s is out for `slots` slots.
        out_s = (slots - 1) * 0.125 + 0.05
        bench.ramp.slow_s = lambda now_s: out_s if now_s == 1.0 else 0.0
        rows = await bench.rows(4)
        assert rows[2].quality[0] == quality
        if quality == Quality.GOOD:
            assert rows[2].values[0] == np.mean([1.5, 1.625, 1.75, 1.875])
        else:
            assert rows[2].reason[0] == Reason.MISSED
        assert rows[3].quality[0] == Quality.GOOD

    virtual(main())


def test_a_mean_does_not_hide_a_sample_that_cannot_be(virtual: Virtual) -> None:
    async def main() -> None:
        bench = GroupBench(grouped(FAST, A0="fast"))
        bench.ramp.value = lambda now_s: -999.0 if now_s in (1.25, 1.5) else 7.0
        rows = await bench.rows(3)
        assert [float(r.values[0]) for r in rows[1:]] == [7.0, 7.0]

    virtual(main())


def test_source_time_stamps_decide_about_staleness_and_age(virtual: Virtual) -> None:
    async def main() -> None:
        site = grouped(FAST, SLOW, A0="fast", B0="slow")
        bench = GroupBench(site)
        bench.b.set("B0", 5.0, source_s=EPOCH_S - 4.0)
        taken = await bench.take(8)
        fresh = [Reason(int(r.reason[1])) for r, _ in taken[1:]]
        # The tag's limit is 10 s; the stamp stands still, so it is passed in the seventh second.
        assert fresh == [Reason.NONE] * 6 + [Reason.STALE]
        assert bench.poller.ages_s[1] == pytest.approx(11.0)

    virtual(main())


def test_a_machine_that_was_busy_leaves_gaps_in_the_group_and_not_old_values(
    virtual: Virtual,
) -> None:
    async def main() -> None:
        bench = GroupBench(grouped(FAST, A0="fast"))
        loop = asyncio.get_running_loop()
        found: list[Row] = []
        async with aclosing(bench.poller.rows()) as rows:
            async for row, _ in rows:
                found.append(row)
                if len(found) == 2:
                    loop._now += 3.5  # type: ignore[attr-defined]  # nothing runs for so long
                if len(found) == 7:
                    break
        gaps = [set(r.reason) == {Reason.MISSED} for r in found]
        assert gaps == [False, False, True, True, False, False, False]
        # The row at 4 s is made at 4.5 s and its window was slept through; the next is whole.
        assert [r.quality[0] for r in found[4:]] == [Quality.BAD, Quality.GOOD, Quality.GOOD]
        assert bench.poller.groups[0].counters.missed >= 27
        assert found[-1].values[0] == np.mean([5 + k / 8 for k in range(8)])

    virtual(main())


def test_a_silent_link_costs_the_group_on_the_other_nothing(virtual: Virtual) -> None:
    async def main() -> None:
        bench = GroupBench(grouped(FAST, A0="fast", B0="fast"))
        bench.b.answer_s = 1e6
        rows = await bench.rows(5)
        assert [r.quality[0] for r in rows[1:]] == [Quality.GOOD] * 4
        assert {int(r.reason[1]) for r in rows} == {Reason.MISSED}
        on_a, on_b = (group.counters for group in bench.poller.groups)
        assert (on_a.overruns, on_a.missed) == (0, 0)
        assert on_b.overruns == 1

    virtual(main())


def test_stopping_leaves_no_poll_of_a_group_behind(virtual: Virtual) -> None:
    async def main() -> None:
        bench = GroupBench(grouped(FAST, SLOW, A0="fast", B0="slow"))
        bench.b.answer_s = 100.0
        await bench.rows(2)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    virtual(main())


class Broken(SoftDriver):
    async def read(self, group: str | None = None) -> Sample:
        if group:
            raise ZeroDivisionError("a fault of the program")
        return await super().read(group)


def test_a_fault_of_the_program_in_a_group_is_not_hidden(virtual: Virtual) -> None:
    async def main() -> None:
        site = grouped(FAST, A0="fast")
        bench = Bench(site)
        rows = [r for r in (*site.tags, *site.context) if r.source.link == "a"]
        bench.drivers["a"] = Broken("a", rows)
        bench.poller = Poller(site, bench.drivers, LoopClock(EPOCH_S))
        with pytest.raises(ZeroDivisionError):
            await bench.take(3)

    virtual(main())


def test_no_drift_over_a_whole_batch(virtual: Virtual) -> None:
    async def main() -> None:
        cycles = 64_800
        site = dataclasses.replace(grouped(SLOW, A0="slow"), ring_rows=cycles)
        bench = GroupBench(site)
        bench.ramp.asked = []
        worst_s, count = 0.0, 0
        async with aclosing(bench.poller.rows()) as rows:
            async for row, _ in rows:
                worst_s = max(worst_s, abs(row.t_s - EPOCH_S - count))
                count += 1
                if count == cycles:
                    break
        counters = bench.poller.counters
        assert worst_s < 1e-6
        assert (counters.gap_rows, counters.overruns, counters.late.worst_s) == (0, 0, 0.0)
        assert asyncio.get_running_loop().time() == pytest.approx(cycles - 1)
        assert bench.ramp.times("slow") == [5.0 * k for k in range(cycles // 5)]

    virtual(main())
