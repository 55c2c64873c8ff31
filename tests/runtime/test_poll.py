"""One row per slot, whatever the links and the machine do. All in virtual time."""

from __future__ import annotations

import asyncio
import dataclasses
import math
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.config.types import (
    Line,
    ModelSettings,
    OpcUaLink,
    OpcUaSource,
    Outputs,
    TagRow,
    WordBlock,
)
from edge.core.tags import Quality, Reason, Row, Tag
from edge.core.topology import Component, Topology
from edge.drivers import rows_of
from edge.drivers.base import Sample
from edge.drivers.soft import SoftDriver
from edge.runtime.clock import LoopClock
from edge.runtime.poll import Context, Poller

Virtual = Callable[[Coroutine[Any, Any, Any]], Any]
EPOCH_S = 1.7e9
LINKS = ("a", "b")


def row(name: str, link: str) -> TagRow:
    return TagRow(
        tag=Tag(name=name, text=name, unit="", low=0, high=1e6, component="C01", part="meter"),
        source=OpcUaSource(link=link, node=f"s={name}"),
    )


def line(row_s: float = 1.0, ring_rows: int = 100) -> Line:
    """Tags A0 B0 A1 and context A.SP; A* and A.SP on link "a", B0 on link "b"."""
    return Line(
        name="two",
        title="Two links",
        links=tuple(OpcUaLink(name=n, url=f"opc.tcp://{n}", namespace="urn:x") for n in LINKS),
        tags=(row("A0", "a"), row("B0", "b"), row("A1", "a")),
        context=(row("A.SP", "a"),),
        topology=Topology(
            components=(Component(code="C01", number=1, name="all", parts=("meter",)),), edges=()
        ),
        outputs=Outputs(block_w=WordBlock(link="a", count=64, node="s=W"), block_r=None),
        model=ModelSettings(
            bundle=Path("none"),
            warn_probability=None,
            persist_steps=1,
            clear_steps=1,
            min_valid=0.5,
        ),
        row_s=row_s,
        ring_rows=ring_rows,
        schedule=None,
        trim=None,
    )


class Bench:
    """A poller on two in-memory PLCs."""

    def __init__(self, site: Line) -> None:
        self.drivers = {k.name: SoftDriver(k.name, rows_of(site, k.name)) for k in site.links}
        self.a, self.b = self.drivers["a"], self.drivers["b"]
        for driver, tags in ((self.a, ("A0", "A1", "A.SP")), (self.b, ("B0",))):
            for k, name in enumerate(tags):
                driver.set(name, 10.0 + k)
        self.clock = LoopClock(EPOCH_S)
        self.poller = Poller(site, self.drivers, self.clock)

    async def take(
        self, count: int, after: Callable[[int], None] | None = None
    ) -> list[tuple[Row, Context]]:
        """The first `count` rows; `after(k)` runs when row k has been delivered."""
        out: list[tuple[Row, Context]] = []
        async with aclosing(self.poller.rows()) as rows:
            async for item in rows:
                out.append(item)
                if after is not None:
                    after(len(out) - 1)
                if len(out) == count:
                    break
        return out


def test_rows_are_in_tag_order_on_a_fixed_grid(virtual: Virtual) -> None:
    async def main() -> None:
        bench = Bench(line())
        taken = await bench.take(5)
        for k, (r, context) in enumerate(taken):
            assert r.t_s == EPOCH_S + k
            assert list(r.values) == [10.0, 10.0, 11.0]
            assert list(r.quality) == [Quality.GOOD] * 3
            assert context == {"A.SP": (12.0, Quality.GOOD)}
            assert r.start_s <= r.end_s
            assert [a.dtype for a in (r.values, r.quality, r.reason)] == ["f4", "u1", "u1"]
        assert bench.poller.counters.rows == 5
        assert bench.poller.counters.gap_rows == bench.poller.counters.overruns == 0

    virtual(main())


def test_deadlines_do_not_drift(virtual: Virtual) -> None:
    async def main() -> None:
        bench = Bench(line(row_s=0.1))
        bench.a.answer_s = 0.037
        taken = await bench.take(2000)
        assert np.allclose([r.t_s - EPOCH_S for r, _ in taken], 0.1 * np.arange(2000), atol=1e-6)
        assert asyncio.get_running_loop().time() == pytest.approx(199.9 + 0.037)
        assert bench.poller.counters.skew_ms == pytest.approx(37, abs=0.1)

    virtual(main())


def test_links_are_polled_at_the_same_time(virtual: Virtual) -> None:
    async def main() -> None:
        bench = Bench(line())
        bench.a.answer_s = bench.b.answer_s = 0.6
        r, _ = (await bench.take(1))[0]
        assert list(r.quality) == [Quality.GOOD] * 3
        assert r.skew_s == pytest.approx(0.6)

    virtual(main())


def test_one_dead_link_leaves_the_other_alone(virtual: Virtual) -> None:
    async def main() -> None:
        bench = Bench(line())
        bench.a.up = False
        r, context = (await bench.take(1))[0]
        assert list(r.reason) == [Reason.NOT_CONNECTED, Reason.NONE, Reason.NOT_CONNECTED]
        assert np.array_equal(r.values, [np.nan, 10.0, np.nan], equal_nan=True)
        value, quality = context["A.SP"]
        assert math.isnan(value)
        assert quality == Quality.BAD

    virtual(main())


def test_a_link_slower_than_the_slot_delays_nobody(virtual: Virtual) -> None:
    async def main() -> None:
        bench = Bench(line())
        bench.b.answer_s = 1.5
        taken = await bench.take(6)
        reasons = [Reason(int(r.reason[1])) for r, _ in taken]
        # Asked in slots 0, 2, 4; still out in slots 1, 3, 5. What comes late is thrown away.
        assert reasons == [Reason.TIMEOUT, Reason.MISSED] * 3
        for k, (r, _) in enumerate(taken):
            assert r.t_s == EPOCH_S + k
            assert list(r.values[[0, 2]]) == [10.0, 11.0]
            assert np.isnan(r.values[1])
        assert bench.poller.counters.overruns == 3

    virtual(main())


def test_a_slow_link_that_recovers_is_back_in_the_next_slot(virtual: Virtual) -> None:
    async def main() -> None:
        bench = Bench(line())
        bench.b.answer_s = 1.5

        def heal(k: int) -> None:
            bench.b.answer_s = 0.0

        taken = await bench.take(3, heal)
        assert [Reason(int(r.reason[1])) for r, _ in taken] == [
            Reason.TIMEOUT, Reason.MISSED, Reason.NONE,
        ]  # fmt: skip

    virtual(main())


async def busy(seconds: float) -> None:
    """The caller takes its time with a row."""
    done = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(seconds, done.set_result, None)
    await done


@pytest.mark.parametrize(("late_s", "gaps"), [(0.4, 0), (0.999, 0), (3.5, 2), (10.0, 9)])
def test_slots_that_passed_are_gap_rows_at_their_own_time(
    late_s: float, gaps: int, virtual: Virtual
) -> None:
    async def main() -> None:
        bench = Bench(line())
        taken: list[Row] = []
        async with aclosing(bench.poller.rows()) as rows:
            async for r, context in rows:
                taken.append(r)
                if len(taken) == 1:
                    await busy(late_s)
                if 1 < len(taken) <= 1 + gaps:
                    assert set(r.reason) == {Reason.MISSED}
                    assert np.isnan(r.values).all()
                    assert math.isnan(context["A.SP"][0])
                if len(taken) == gaps + 3:
                    break
        assert np.allclose([r.t_s for r in taken], EPOCH_S + np.arange(gaps + 3))
        assert all((r.quality == Quality.GOOD).all() for r in taken[gaps + 1 :])
        assert bench.poller.counters.gap_rows == gaps

    virtual(main())


def test_a_night_of_sleep_is_no_more_gaps_than_the_ring_holds(virtual: Virtual) -> None:
    async def main() -> None:
        bench = Bench(line(ring_rows=20))
        times: list[float] = []
        async with aclosing(bench.poller.rows()) as rows:
            async for r, _ in rows:
                times.append(r.t_s - EPOCH_S)
                if len(times) == 1:
                    await busy(36_000.0)
                if (r.quality == Quality.GOOD).all() and len(times) > 1:
                    break
        assert np.allclose(times, [0, *range(35_980, 36_001)])

    virtual(main())


def test_a_clock_that_steps_moves_the_stamps_not_the_grid(virtual: Virtual) -> None:
    async def main() -> None:
        bench = Bench(line())

        def step(k: int) -> None:
            if k == 1:
                bench.clock.step(-3600.0)

        taken = await bench.take(4, step)
        assert [r.t_s - EPOCH_S for r, _ in taken] == [0, 1, 2 - 3600, 3 - 3600]
        assert all((r.quality == Quality.GOOD).all() for r, _ in taken)
        assert bench.poller.counters.gap_rows == 0

    virtual(main())


def test_the_judge_is_applied_to_tags_and_context(virtual: Virtual) -> None:
    async def main() -> None:
        bench = Bench(line())
        bench.a.set("A0", -1.0)
        bench.a.set("A.SP", 2e6)
        bench.b.set("B0", 5.0, source_s=EPOCH_S - 3600)
        r, context = (await bench.take(1))[0]
        assert list(r.reason) == [Reason.OUT_OF_RANGE, Reason.STALE, Reason.NONE]
        assert context["A.SP"][1] == Quality.BAD

    virtual(main())


def test_uncertain_values_keep_their_number(virtual: Virtual) -> None:
    async def main() -> None:
        bench = Bench(line())
        bench.b.set("B0", 5.0, Quality.UNCERTAIN, Reason.STATUS_UNCERTAIN)
        r, _ = (await bench.take(1))[0]
        assert (r.values[1], r.quality[1]) == (5.0, Quality.UNCERTAIN)

    virtual(main())


def test_stopping_leaves_no_poll_behind(virtual: Virtual) -> None:
    async def main() -> None:
        bench = Bench(line())
        bench.b.answer_s = 100.0
        await bench.take(1)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    virtual(main())


class Broken(SoftDriver):
    """Raises, which no driver may."""

    async def read(self, group: str | None = None) -> Sample:
        raise ZeroDivisionError("a fault of the program")


def test_a_fault_of_the_program_is_not_hidden(virtual: Virtual) -> None:
    async def main() -> None:
        site = line()
        bench = Bench(site)
        bench.drivers["b"] = Broken("b", rows_of(site, "b"))
        bench.poller = Poller(site, bench.drivers, bench.clock)
        with pytest.raises(ZeroDivisionError):
            await bench.take(3)

    virtual(main())


def test_a_link_without_tags_is_no_trouble(virtual: Virtual) -> None:
    async def main() -> None:
        site = line()
        idle = OpcUaLink(name="idle", url="opc.tcp://idle", namespace="urn:x")
        site = dataclasses.replace(site, links=(*site.links, idle))
        r, _ = (await Bench(site).take(1))[0]
        assert (r.quality == Quality.GOOD).all()

    virtual(main())
