"""Poll groups on real servers: each group asks for its own tags, and all share one link."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from edge.core.tags import Quality, Reason
from edge.drivers.modbus_wire import DeviceError
from tests.drivers.plc import EXPECTED, ROWS, Virtual, check, row, running, settle
from tests.faultserver import Connection, Request, exception, hang_up, silent

GROUPED = tuple(replace(r, group="fast") if i in (3, 4) else r for i, r in enumerate(ROWS))
Port = Callable[[], int]


async def unit_2_is_dead(request: Request, connection: Connection) -> None:
    """A gateway with one dead unit behind it."""
    if request.unit_id != 2:
        connection.send(request.good())


def test_a_group_asks_for_its_own_registers_only(virtual: Virtual, free_port: Port) -> None:
    async def main() -> None:
        async with running(free_port(), GROUPED) as (server, driver):
            server.requests.clear()
            fast = await driver.read("fast")
            assert [(r.address, r.count) for r in server.requests] == [(13, 2)]
            assert list(fast.values[3:5]) == [113.0, 114.0]
            assert np.isnan(fast.values[[0, 1, 2, 5]]).all()
            slow = await driver.read("")
            assert list(slow.values[[0, 9]]) == [110.0, 119.0]
            assert np.isnan(slow.values[3:5]).all()
            check(await driver.read())
            assert driver.raw_words(3) == (113,)
            assert driver.raw_words(9) == (119,)

    virtual(main())


def test_all_tags_are_read_without_a_group(virtual: Virtual, free_port: Port) -> None:
    async def main() -> None:
        async with running(free_port(), GROUPED) as (_, driver):
            sample = await driver.read()
            assert np.array_equal(sample.values, EXPECTED)
            assert (sample.quality == Quality.GOOD).all()

    virtual(main())


def test_counters_of_each_unit(virtual: Virtual, free_port: Port) -> None:
    async def main() -> None:
        rows = (row(10, 1), row(10, 2), row(10, 3))
        async with running(free_port(), rows) as (server, driver):
            server.script += [None, silent, exception(4)]
            sample = await driver.read()
            assert list(sample.reason) == [Reason.NONE, Reason.TIMEOUT, Reason.EXCEPTION]
            units = driver.counters.units
            assert (units[1].ok, units[1].rtt.count) == (1, 1)
            assert (units[2].timeouts, units[2].rtt.count) == (1, 0)
            assert (units[3].exceptions, units[3].rtt.count) == (1, 1), "an exception is an answer"
            for name in ("ok", "timeouts", "exceptions", "bad_answers"):
                total = sum(getattr(unit, name) for unit in units.values())
                assert getattr(driver.counters, name) == total
            assert driver.counters.rtt.count == 2

    virtual(main())


def test_a_request_whose_connection_ends_is_lost_to_its_unit(
    virtual: Virtual, free_port: Port
) -> None:
    async def main() -> None:
        async with running(free_port()) as (server, driver):
            await driver.read()
            server.script.append(hang_up)
            await driver.read()
            await settle(1.0)
            assert driver.counters.lost == 1, "one connection"
            assert (driver.counters.units[1].ok, driver.counters.units[1].lost) == (1, 1)
            await driver.read()
            assert driver.counters.units[1].lost == 1

    virtual(main())


@pytest.mark.parametrize("group", ["fast", ""])
def test_a_silent_unit_is_silent_for_every_group(
    group: str, virtual: Virtual, free_port: Port
) -> None:
    async def main() -> None:
        rows = (row(10, 1), row(10, 2), replace(row(20, 2), group="fast"))
        async with running(free_port(), rows) as (server, driver):
            check(await driver.read(), np.array([110.0, 110.0, 120.0]))
            server.always = unit_2_is_dead
            for _ in range(2):
                await driver.read("fast")
            asked = len(server.requests)
            sample = await driver.read(group)
            assert Reason.TIMEOUT in sample.reason
            assert len(server.requests) == asked + (not group), "the breaker is the unit's"

    virtual(main())


@pytest.mark.parametrize("answered", [True, False], ids=["answer", "end of connection"])
def test_a_stop_is_not_forgotten_when_the_request_ends_in_the_same_instant(
    answered: bool, virtual: Virtual, free_port: Port
) -> None:
    async def main() -> None:
        async with running(free_port()) as (server, driver):
            server.always = silent
            asking = asyncio.create_task(driver.read_words("R"))
            await settle(0.1)
            wire = driver._wire
            assert wire is not None
            if answered:
                wire._client.ctx.response_future.set_exception(DeviceError(4))
            else:
                wire.close("stopped")
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking

    virtual(main())
