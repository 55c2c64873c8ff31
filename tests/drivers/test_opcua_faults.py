"""The OPC UA fault catalogue: statuses, unknown nodes, servers that hang, lie and go away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import numpy as np
import pytest
from asyncua import ua
from asyncua.server.server import Server

from edge.config.types import OpcUaLink, OpcUaSource, TagRow, WordBlock
from edge.core.tags import Quality, Reason, Tag
from edge.drivers.base import LinkError, Sample
from edge.drivers.opcua import OpcUaDriver
from edge.runtime.clock import LoopClock
from edge.twin.opcua_server import NodeStatus, OpcUaServer
from tests.drivers.relay import Relay

Virtual = Callable[[Coroutine[Any, Any, Any]], Any]
Port = Callable[[], int]
EPOCH_S = 1.7e9
URI = "urn:test:dcs"
VALUES = np.array([10.0, 20.0, 30.0])
NAMES = ("A", "B", "C")


def row(node: str) -> TagRow:
    return TagRow(
        tag=Tag(name=node, text=node, unit="", low=0, high=1e3, component="C01", part="meter"),
        source=OpcUaSource(link="dcs", node=node),
    )


ROWS = tuple(row(f"s={n}") for n in NAMES)


async def settle(seconds: float) -> None:
    done = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(seconds, done.set_result, None)
    await done


def make_driver(
    port: int, rows: tuple[TagRow, ...] = ROWS, namespace: str = URI, **link: Any
) -> OpcUaDriver:
    blocks = {"W": WordBlock(link="dcs", count=4, node="s=W")}
    url = f"opc.tcp://127.0.0.1:{port}/dcs"
    return OpcUaDriver(OpcUaLink(name="dcs", url=url, namespace=namespace, **link), rows, blocks)


@asynccontextmanager
async def owned(driver: OpcUaDriver) -> AsyncIterator[OpcUaDriver]:
    owner = asyncio.create_task(driver.run())
    try:
        await settle(1.0)
        yield driver
    finally:
        owner.cancel()
        await asyncio.gather(owner, return_exceptions=True)


@asynccontextmanager
async def dcs(port: int) -> AsyncIterator[OpcUaServer]:
    """A server with the nodes A, B, C showing VALUES, and block W."""
    link = OpcUaLink(name="dcs", url=f"opc.tcp://127.0.0.1:{port}/dcs", namespace=URI)
    sources = [OpcUaSource(link="dcs", node=f"s={n}") for n in NAMES]
    w = WordBlock(link="dcs", count=4, node="s=W")
    server = OpcUaServer(link, NAMES, sources, LoopClock(EPOCH_S), w)
    await server.start()
    try:
        await server.write(VALUES)
        yield server
    finally:
        await server.stop()


@asynccontextmanager
async def relayed(
    free_port: Port, **link: Any
) -> AsyncIterator[tuple[OpcUaServer, Relay, OpcUaDriver]]:
    async with AsyncExitStack() as stack:
        port = free_port()
        server = await stack.enter_async_context(dcs(port))
        relay = await stack.enter_async_context(Relay(free_port(), port))
        driver = await stack.enter_async_context(owned(make_driver(relay.port, **link)))
        yield server, relay, driver


def check(sample: Sample) -> None:
    good = sample.quality != Quality.BAD
    assert np.array_equal(sample.values[good], VALUES[good])
    assert np.isnan(sample.values[~good]).all()
    assert (sample.reason[~good] != Reason.NONE).all()


async def recovers(driver: OpcUaDriver) -> None:
    for _ in range(4):
        await settle(1.0)
        sample = await driver.read()
        check(sample)
        if (sample.quality == Quality.GOOD).all():
            return
    pytest.fail(f"not recovered: {driver.counters}")


def test_a_bad_status_is_no_value_and_an_uncertain_one_is_doubted(
    virtual: Virtual, free_port: Port
) -> None:
    async def main() -> None:
        port = free_port()
        async with dcs(port) as server, owned(make_driver(port)) as driver:
            server.status[0] = NodeStatus(0x808B0000)
            server.status[1] = NodeStatus(0x40930000)
            await server.write(VALUES)
            sample = await driver.read()
            check(sample)
            assert list(sample.quality) == [Quality.BAD, Quality.UNCERTAIN, Quality.GOOD]
            assert list(sample.reason) == [
                Reason.STATUS_BAD, Reason.STATUS_UNCERTAIN, Reason.NONE,
            ]  # fmt: skip
            server.status[:] = [NodeStatus()] * 3
            await server.write(VALUES)
            assert set((await driver.read()).quality) == {Quality.GOOD}
            assert driver.counters.lost == 0

    virtual(main())


def test_source_time_stamps_are_kept(virtual: Virtual, free_port: Port) -> None:
    async def main() -> None:
        port = free_port()
        async with dcs(port) as server, owned(make_driver(port)) as driver:
            await settle(10.0)
            server.status[1] = NodeStatus(age_s=3600.0)
            await server.write(VALUES)
            now_s = EPOCH_S + asyncio.get_running_loop().time()
            sample = await driver.read()
            assert np.allclose(sample.source_s, [now_s, now_s - 3600, now_s], atol=0.01)

    virtual(main())


def test_an_unknown_node_costs_only_its_own_tag(virtual: Virtual, free_port: Port) -> None:
    async def main() -> None:
        port = free_port()
        rows = (row("s=A"), row("s=nowhere"), row("s=B"))
        async with dcs(port), owned(make_driver(port, rows)) as driver:
            sample = await driver.read()
            assert list(sample.reason) == [Reason.NONE, Reason.STATUS_BAD, Reason.NONE]
            assert list(sample.values[[0, 2]]) == [10.0, 20.0]
            assert driver.counters.bad_addresses == ["s=nowhere (s=nowhere)"]

    virtual(main())


def test_a_node_that_holds_no_number_is_no_value(virtual: Virtual, free_port: Port) -> None:
    async def main() -> None:
        port = free_port()
        server = Server()
        await server.init()
        server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/dcs")
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        server.disable_clock()
        index = await server.register_namespace(URI)
        for name, value, kind in (
            ("text", "7", ua.VariantType.String),
            ("list", [1.0, 2.0], ua.VariantType.Double),
            ("none", None, ua.VariantType.Null),
            ("flag", True, ua.VariantType.Boolean),
            ("byte", 200, ua.VariantType.Byte),
            ("W", 5, ua.VariantType.UInt16),
        ):
            node = ua.NodeId.from_string(f"ns={index};s={name}")
            await server.nodes.objects.add_variable(node, name, value, kind)
        rows = tuple(row(f"s={n}") for n in ("text", "list", "none", "flag", "byte"))
        async with server, owned(make_driver(port, rows)) as driver:
            sample = await driver.read()
            assert list(sample.reason) == [Reason.BAD_ANSWER] * 3 + [Reason.NONE] * 2
            assert list(sample.values[3:]) == [1.0, 200.0]
            with pytest.raises(LinkError, match=r"holds no UInt16\[4\]"):
                await driver.read_words("W")
            with pytest.raises(LinkError, match="status BadUserAccessDenied"):
                await driver.write_words("W", [1, 2, 3, 4])
            assert driver.counters.connected

    virtual(main())


def test_the_namespace_is_found_by_uri_at_each_connect(virtual: Virtual, free_port: Port) -> None:
    async def main() -> None:
        port = free_port()
        async with owned(make_driver(port, namespace="urn:not:there")) as driver, dcs(port):
            await settle(2.1)
            assert set((await driver.read()).reason) == {Reason.NOT_CONNECTED}
            assert 'no namespace "urn:not:there"' in driver.counters.last_error
            assert URI in driver.counters.last_error

    virtual(main())


def test_a_server_that_hangs_is_left_and_found_again(virtual: Virtual, free_port: Port) -> None:
    async def main() -> None:
        async with relayed(free_port) as (_, relay, driver):
            check(await driver.read())
            relay.flowing.clear()
            for _ in range(3):
                sample = await driver.read()
                assert set(sample.reason) == {Reason.TIMEOUT}
                assert sample.end_s - sample.start_s == pytest.approx(0.8, abs=0.01)
            await settle(30.0)
            assert set((await driver.read()).reason) == {Reason.NOT_CONNECTED}
            relay.flowing.set()
            await settle(5.0)
            await recovers(driver)

    virtual(main())


def test_one_slow_answer_does_not_cost_the_session(virtual: Virtual, free_port: Port) -> None:
    async def main() -> None:
        async with relayed(free_port) as (server, relay, driver):
            relay.flowing.clear()
            assert set((await driver.read()).reason) == {Reason.TIMEOUT}
            await server.write(VALUES)
            relay.flowing.set()
            check(await driver.read())
            assert relay.connections == 1

    virtual(main())


def test_a_corrupt_answer_is_no_value(virtual: Virtual, free_port: Port) -> None:
    corruptions: tuple[Callable[[bytes], bytes], ...] = (
        lambda data: b"\x00" * len(data),
        lambda data: bytes(b ^ 0xFF for b in data),
        lambda data: data[:8] + b"\xff\xff" + data[10:],  # another channel
        lambda data: data[: len(data) // 2],
    )

    async def main() -> None:
        async with relayed(free_port) as (_, relay, driver):
            for change in corruptions:
                relay.change = change
                for _ in range(4):
                    sample = await driver.read()
                    assert set(sample.quality) == {Quality.BAD}
                    assert Reason.NONE not in sample.reason
                relay.change = bytes
                await settle(5.0)
                await recovers(driver)

    virtual(main())


def test_a_cut_connection_is_noticed_at_once(
    virtual: Virtual, free_port: Port, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with relayed(free_port) as (_, relay, driver):
            relay.flowing.clear()
            poll = asyncio.create_task(driver.read())
            await settle(0.1)
            await relay.cut()
            sample = await poll
            assert set(sample.reason) == {Reason.NOT_CONNECTED}
            assert sample.end_s - sample.start_s < 0.2
            relay.flowing.set()
            await recovers(driver)

    with caplog.at_level(logging.INFO):
        virtual(main())
    said = [r.message for r in caplog.records if r.name.startswith("edge.drivers")]
    assert len(said) == 3, said
    assert not [r for r in caplog.records if r.name.startswith("asyncua.client")]


def test_the_channel_is_renewed_before_it_expires(virtual: Virtual, free_port: Port) -> None:
    async def main() -> None:
        port = free_port()
        async with dcs(port) as server, owned(make_driver(port)) as driver:
            for _ in range(4 * 60):
                await settle(30.0)
                await server.write(VALUES)
                assert np.array_equal((await driver.read()).values, VALUES)
            assert (driver.counters.connects, driver.counters.lost) == (1, 0)

    virtual(main())


def test_a_server_that_takes_only_small_reads_is_asked_in_parts(
    virtual: Virtual, free_port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No server at hand enforces a limit, so the Read service of asyncua's is given one."""
    from asyncua.server.internal_session import InternalSession

    read = InternalSession.read
    sizes: list[int] = []

    async def limited(self: InternalSession, params: ua.ReadParameters) -> Any:
        sizes.append(len(params.NodesToRead))
        if len(params.NodesToRead) > 1:
            raise ua.UaStatusCodeError(ua.StatusCodes.BadTooManyOperations)
        return await read(self, params)

    async def main() -> None:
        port = free_port()
        async with dcs(port), owned(make_driver(port)) as driver:
            monkeypatch.setattr(InternalSession, "read", limited)
            assert set((await driver.read()).reason) == {Reason.EXCEPTION}
            await recovers(driver)
            assert sizes[-3:] == [1, 1, 1]
            assert driver.counters.connects == 1

    virtual(main())


def test_the_limit_a_server_states_is_kept(virtual: Virtual, free_port: Port) -> None:
    async def main() -> None:
        port = free_port()
        async with dcs(port) as server, owned(make_driver(port, timeout_ms=900)) as driver:
            limit = ua.DataValue(ua.Variant(2, ua.VariantType.UInt32))
            await server._running_server().write_attribute_value(ua.NodeId(11705), limit)
            await server.stop()
            await settle(0.1)
            await server.start()
            await settle(2.1)
            before = driver.counters.ok
            check(await driver.read())
            assert driver.counters.ok - before == 2

    virtual(main())


@pytest.mark.parametrize("node", ["", "TIC-106.PV", "ns=2;s=A", "i=abc"])
def test_a_node_that_is_no_identifier_is_named(node: str) -> None:
    with pytest.raises(ValueError, match=r"permitted: an identifier such as"):
        make_driver(4840, (row(node),))
