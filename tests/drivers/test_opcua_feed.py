"""Subscriptions: what is reported, what is checked, and when they are no longer believed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from asyncua import ua
from asyncua.server.monitored_item_service import MonitoredItemService

from edge.config.types import OpcUaLink, OpcUaSource, TagRow, WordBlock
from edge.core.conditions import Condition
from edge.core.tags import Quality, Reason, Tag
from edge.drivers.base import Sample
from edge.drivers.opcua import OpcUaDriver
from edge.drivers.opcua_feed import CHECK_S
from edge.runtime.clock import LoopClock
from edge.twin.opcua_server import NodeStatus, OpcUaServer
from tests.drivers.opcua_catalogue import settle
from tests.drivers.opcua_clients import loop_time

Virtual = Callable[[Coroutine[Any, Any, Any]], Any]
Port = Callable[[], int]
EPOCH_S = 1.7e9
NAMES = ("A", "B", "C")
VALUES = np.array([10.0, 20.0, 30.0])
W = WordBlock(link="dcs", count=4, node="s=W")


class Plant:
    """A server, and a driver subscribed to it."""

    def __init__(self, server: OpcUaServer, driver: OpcUaDriver) -> None:
        self.server, self.driver = server, driver
        self.values = VALUES.copy()

    @property
    def service(self) -> Any:
        return self.server._running_server().iserver.subscription_service

    async def second(self) -> Sample:
        """One second of the plant: it writes, and the row is polled."""
        await self.server.write(self.values)
        await settle(1.0)
        return await self.driver.read()


@asynccontextmanager
async def plant(
    free_port: Port, names: tuple[str, ...] = NAMES, **link: Any
) -> AsyncIterator[Plant]:
    with loop_time():
        url = f"opc.tcp://127.0.0.1:{free_port()}/dcs"
        settings = OpcUaLink(name="dcs", url=url, namespace="urn:x", mode="subscription", **link)
        sources = [OpcUaSource(link="dcs", node=f"s={n}", scale=2.0) for n in NAMES]
        server = OpcUaServer(settings, NAMES, sources, LoopClock(EPOCH_S), W)
        rows = tuple(
            TagRow(
                tag=Tag(name=n, text=n, unit="", low=0, high=1e3, component="C01", part="meter"),
                source=OpcUaSource(link="dcs", node=f"s={n}", scale=2.0),
            )
            for n in names
        )
        driver = OpcUaDriver(settings, rows, {"W": W}, clock=LoopClock(EPOCH_S))
        await server.start()
        await server.write(VALUES)
        owner = asyncio.create_task(driver.run())
        try:
            await settle(1.0)
            yield Plant(server, driver)
        finally:
            owner.cancel()
            await asyncio.gather(owner, return_exceptions=True)
            await server.stop()


def test_changes_are_reported_and_most_rows_cost_no_request(
    virtual: Virtual, free_port: Port
) -> None:
    async def main() -> None:
        async with plant(free_port) as it:
            await it.second()
            before = it.driver.counters.ok
            for i in range(60):
                it.values = VALUES + 2.0 * i
                assert np.allclose((await it.second()).values, it.values)
            assert it.driver.counters.ok - before <= 60 / CHECK_S + 1
            assert (it.driver.counters.connects, it.driver.counters.lost) == (1, 0)

    virtual(main())


def test_status_and_time_of_a_report_are_kept(virtual: Virtual, free_port: Port) -> None:
    async def main() -> None:
        async with plant(free_port) as it:
            await it.second()
            it.server.status[:] = [
                NodeStatus(0x808B0000), NodeStatus(0x40930000), NodeStatus(age_s=3600.0),
            ]  # fmt: skip
            it.values = VALUES + 1.0
            for _ in range(5):
                sample = await it.second()
                assert list(sample.quality) == [Quality.BAD, Quality.UNCERTAIN, Quality.GOOD]
                assert list(sample.reason[:2]) == [Reason.STATUS_BAD, Reason.STATUS_UNCERTAIN]
                now_s = EPOCH_S + asyncio.get_running_loop().time()
                assert now_s - sample.source_s[2] == pytest.approx(3600.0, abs=CHECK_S + 2)

    virtual(main())


def test_a_value_that_stands_still_does_not_grow_old(virtual: Virtual, free_port: Port) -> None:
    async def main() -> None:
        async with plant(free_port) as it:
            for _ in range(60):
                sample = await it.second()
                now_s = EPOCH_S + asyncio.get_running_loop().time()
                assert (now_s - sample.source_s <= CHECK_S + 2).all()
            assert it.driver.counters.lost == 0

    virtual(main())


def test_a_node_the_server_does_not_have_is_no_loss(virtual: Virtual, free_port: Port) -> None:
    async def main() -> None:
        async with plant(free_port, names=("A", "gone", "C")) as it:
            for _ in range(20):
                sample = await it.second()
                assert list(sample.reason) == [Reason.NONE, Reason.STATUS_BAD, Reason.NONE]
            assert it.driver.counters.bad_addresses == ["s=gone (gone)"]
            assert it.driver.counters.lost == 0

    virtual(main())


def test_a_server_that_watches_too_few_nodes_is_read(
    virtual: Virtual, free_port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = MonitoredItemService.create_monitored_items

    async def few(self: Any, params: Any) -> Any:
        results = await create(self, params)
        results[-1].StatusCode = ua.StatusCode(ua.StatusCodes.BadTooManyMonitoredItems)
        self.delete_monitored_items([results[-1].MonitoredItemId])
        return results

    monkeypatch.setattr(MonitoredItemService, "create_monitored_items", few)

    async def main() -> None:
        async with plant(free_port) as it:
            for i in range(20):
                it.values = VALUES + i
                assert np.allclose((await it.second()).values, it.values)
            assert it.driver.counters.lost == 0

    virtual(main())


def test_a_subscription_the_server_ends_is_made_anew_without_piling_up_sessions(
    virtual: Virtual, free_port: Port
) -> None:
    async def main() -> None:
        async with plant(free_port) as it:
            for _ in range(5):
                await it.second()
                for one in list(it.service.subscriptions.values()):
                    await one.enqueue_statuschange(ua.StatusCode(ua.StatusCodes.BadTimeout))
                await it.second()
                sample = await it.second()
                assert set(sample.quality) <= {Quality.GOOD, Quality.BAD}
                assert (sample.quality == Quality.GOOD).all() or np.isnan(sample.values).all()
            assert it.driver.counters.lost == 5
            for _ in range(3):
                await it.second()
            assert len(it.service.subscriptions) == 1
            assert it.driver.counters.conditions == {}

    virtual(main())


def test_silence_is_noticed_and_named(virtual: Virtual, free_port: Port) -> None:
    async def main() -> None:
        async with plant(free_port) as it:
            await it.second()
            await it.service.delete_subscriptions(list(it.service.subscriptions))
            seen: set[str] = set()
            for i in range(10):
                it.values = VALUES + i
                sample = await it.second()
                seen.update(it.driver.counters.conditions)
                good = sample.quality == Quality.GOOD
                assert (np.abs(sample.values - it.values)[good] <= CHECK_S + 1).all()
            assert seen == {Condition.SUBSCRIPTION_LOST}
            assert it.driver.counters.lost == 1

    virtual(main())


def test_block_w_is_written_beside_a_subscription(virtual: Virtual, free_port: Port) -> None:
    async def main() -> None:
        async with plant(free_port, publishing_ms=100) as it:
            for i in range(5):
                await it.second()
                await it.driver.write_words("W", [i, 2, 3, 4])
                assert await it.driver.read_words("W") == (i, 2, 3, 4)

    virtual(main())
