"""Many lines in one process: what is dead costs the others nothing. All in virtual time."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, aclosing
from typing import Any

import numpy as np
import pytest

from edge.config.types import ModbusLink, WordBlock
from edge.core.tags import Quality, Reason, Row
from edge.drivers.modbus import ModbusDriver
from edge.drivers.soft import SoftDriver
from edge.runtime.clock import LoopClock
from edge.runtime.poll import Poller
from tests.drivers.plc import row, settle
from tests.faultserver import FaultServer, Script, hang_up, silent
from tests.runtime.test_poll import EPOCH_S
from tests.runtime.test_poll import line as two_links

Virtual = Callable[[Coroutine[Any, Any, Any]], Any]
LINES, SECONDS = 12, 40
DEAD = 3
"""Which line's PLC fails."""


async def _refuses(server: FaultServer) -> None:
    await server.stop()


def _always(script: Script) -> Callable[[FaultServer], Coroutine[Any, Any, None]]:
    async def fail(server: FaultServer) -> None:
        server.always = script

    return fail


async def rows_of(poller: Poller, count: int) -> list[Row]:
    async with aclosing(poller.rows()) as rows:
        return [(await anext(rows))[0] for _ in range(count)]


@pytest.mark.parametrize(
    "fail", [_always(silent), _always(hang_up), _refuses], ids=["silent", "hangs up", "refuses"]
)
def test_one_dead_plc_costs_the_other_lines_no_slot(
    fail: Callable[[FaultServer], Coroutine[Any, Any, None]],
    virtual: Virtual,
    free_port: Callable[[], int],
) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            servers, pollers, owners = [], [], []
            for number in range(LINES):
                link = ModbusLink(name="plc", host="127.0.0.1", port=free_port())
                tags = tuple(row(10 * number + k) for k in range(5))
                site = dataclasses.replace(
                    two_links(), name=f"l{number}", links=(link,), tags=tags, context=()
                )
                servers.append(await stack.enter_async_context(FaultServer(link.port)))
                driver = ModbusDriver(link, tags, {"W": WordBlock(link="plc", count=64, address=0)})
                owners.append(asyncio.create_task(driver.run()))
                pollers.append(Poller(site, {"plc": driver}, LoopClock(EPOCH_S)))
            await settle(1.0)
            await fail(servers[DEAD])
            taken = await asyncio.gather(*(rows_of(poller, SECONDS) for poller in pollers))
            for owner in owners:
                owner.cancel()
            await asyncio.gather(*owners, return_exceptions=True)
        for number, (poller, rows) in enumerate(zip(pollers, taken, strict=True)):
            counters = poller.counters
            assert (counters.rows, counters.gap_rows) == (SECONDS, 0)
            assert counters.late.worst_s == 0.0
            if number == DEAD:
                assert {int(r.quality.min()) for r in rows[1:]} == {Quality.BAD}
                assert Reason.NONE not in {int(x) for r in rows[1:] for x in r.reason}
                continue
            expected = np.arange(100 + 10 * number, 105 + 10 * number)
            assert all(np.array_equal(r.values, expected) for r in rows)
            assert counters.overruns == 0
            assert counters.skew.worst_s == 0.0, "an answer waited for somebody else's"

    virtual(main())


def test_tens_of_thousands_of_tags_in_one_process(virtual: Virtual) -> None:
    async def main() -> None:
        pollers = []
        made = two_links()
        for number in range(100):
            tags = tuple(
                dataclasses.replace(made.tags[0], tag=dataclasses.replace(made.tags[0].tag, name=n))
                for n in (f"T{k}" for k in range(300))
            )
            site = dataclasses.replace(made, links=made.links[:1], tags=tags, context=())
            driver = SoftDriver("a", tags)
            for k, r in enumerate(tags):
                driver.set(r.tag.name, 1000.0 * number + k)
            pollers.append(Poller(site, {"a": driver}, LoopClock(EPOCH_S)))
        taken = await asyncio.gather(*(rows_of(poller, 10) for poller in pollers))
        for number, rows in enumerate(taken):
            assert [r.t_s - EPOCH_S for r in rows] == list(range(10))
            assert all(np.array_equal(r.values, 1000.0 * number + np.arange(300)) for r in rows)

    virtual(main())
