"""What every driver promises, checked on the in-memory PLC and on two real servers."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest

from edge.config.types import (
    ModbusLink,
    ModbusProtocol,
    ModbusSource,
    OpcUaLink,
    OpcUaSource,
    Source,
    TagRow,
    WordBlock,
)
from edge.core.codec import Encoding
from edge.core.tags import Quality, Reason, Tag
from edge.drivers import build
from edge.drivers.base import Driver, LinkError, WriteRefused
from edge.drivers.soft import SoftDriver
from edge.runtime.clock import LoopClock
from edge.twin.modbus_server import ModbusServer
from edge.twin.opcua_server import OpcUaServer

NAMES = ("A.PV", "B.PV", "C.PV")
VALUES = np.array([1.5, -20.0, 300.25])
EPOCH_S = 1.7e9


@dataclass
class Plc:
    """A driver under test, and a hand on the PLC behind it."""

    driver: Driver
    show: Callable[[np.ndarray[Any, Any]], Awaitable[None]]
    power: Callable[[bool], Awaitable[None]]
    block_w: Callable[[], list[int]]
    write_r: Callable[[list[int]], Awaitable[None]]


def _rows(source: Callable[[int, str], Source]) -> tuple[TagRow, ...]:
    return tuple(
        TagRow(
            tag=Tag(name=n, text=n, unit="", low=-1e3, high=1e3, component="C01", part="meter"),
            source=source(i, n),
            group="fast" if n == "B.PV" else "",
        )
        for i, n in enumerate(NAMES)
    )


@asynccontextmanager
async def _soft(_port: Callable[[], int]) -> AsyncIterator[Plc]:
    rows = _rows(lambda _, n: OpcUaSource(link="x", node=f"s={n}"))
    blocks = {"W": WordBlock(link="x", count=64), "R": WordBlock(link="x", count=16)}
    driver = SoftDriver("x", rows, blocks)

    async def show(values: np.ndarray[Any, Any]) -> None:
        for name, value in zip(NAMES, values):
            driver.set(name, value)

    async def power(on: bool) -> None:
        driver.up = on

    async def write_r(words: list[int]) -> None:
        driver.words["R"] = words

    yield Plc(driver, show, power, lambda: driver.words["W"], write_r)


@asynccontextmanager
async def _modbus(
    port: Callable[[], int], protocol: ModbusProtocol = "modbus-tcp"
) -> AsyncIterator[Plc]:
    link = ModbusLink(name="x", protocol=protocol, host="127.0.0.1", port=port())
    encoding = Encoding(type="float32", word_order="little")
    rows = _rows(
        lambda i, _: ModbusSource(
            link="x", unit_id=1, table="input", address=7 + 3 * i, encoding=encoding
        )
    )
    w = WordBlock(link="x", count=64, address=1000)
    r = WordBlock(link="x", count=16, address=1100)
    server = ModbusServer(link, [s for s in _sources(rows) if isinstance(s, ModbusSource)], w, r)
    await server.start()
    try:
        yield _plc(build(link, rows, {"W": w, "R": r}), server)
    finally:
        await server.stop()


@asynccontextmanager
async def _opcua(port: Callable[[], int]) -> AsyncIterator[Plc]:
    link = OpcUaLink(
        name="x", url=f"opc.tcp://127.0.0.1:{port()}/x", namespace="urn:x", max_nodes_per_read=2
    )
    rows = _rows(lambda _, n: OpcUaSource(link="x", node=f"s={n}", scale=0.5, offset=1.0))
    w = WordBlock(link="x", count=64, node="s=W")
    r = WordBlock(link="x", count=16, node="s=R")
    sources = [s for s in _sources(rows) if isinstance(s, OpcUaSource)]
    server = OpcUaServer(link, NAMES, sources, LoopClock(EPOCH_S), w, r)
    await server.start()
    try:
        yield _plc(build(link, rows, {"W": w, "R": r}), server)
    finally:
        await server.stop()


def _sources(rows: tuple[TagRow, ...]) -> list[Source]:
    return [row.source for row in rows]


def _plc(driver: Driver, server: ModbusServer | OpcUaServer) -> Plc:
    async def power(on: bool) -> None:
        await (server.start() if on else server.stop())

    return Plc(driver, server.write, power, server.block_w, server.write_block_r)


async def _settle(seconds: float) -> None:
    done = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(seconds, done.set_result, None)
    await done


Scene = Callable[[Callable[[Plc], Coroutine[Any, Any, None]]], None]


_bridge = partial(_modbus, protocol="modbus-rtu-over-tcp")


@pytest.fixture(
    params=[_soft, _modbus, _bridge, _opcua], ids=["soft", "modbus", "rtu-over-tcp", "opcua"]
)
def scene(
    request: pytest.FixtureRequest,
    virtual: Callable[[Coroutine[Any, Any, Any]], Any],
    free_port: Callable[[], int],
) -> Scene:
    """Run a coroutine on a PLC of each kind, with the driver's owner task running."""

    async def play(act: Callable[[Plc], Coroutine[Any, Any, None]]) -> None:
        async with request.param(free_port) as plc:
            await plc.show(VALUES)
            owner = asyncio.create_task(plc.driver.run())
            await _settle(1.0)
            try:
                await act(plc)
            finally:
                owner.cancel()
                await asyncio.gather(owner, return_exceptions=True)
            assert not plc.driver.counters.connected

    return lambda act: virtual(play(act))


def test_values_come_in_row_order_and_engineering_units(scene: Scene) -> None:
    async def act(plc: Plc) -> None:
        sample = await plc.driver.read()
        assert np.array_equal(sample.values, VALUES)
        assert (sample.quality == Quality.GOOD).all()
        assert (sample.reason == Reason.NONE).all()
        assert sample.values.dtype == np.float64
        assert sample.quality.dtype == sample.reason.dtype == np.uint8
        assert sample.source_s.shape == sample.values.shape
        assert sample.end_s >= sample.start_s
        assert plc.driver.counters.connected

    scene(act)


def test_a_poll_group_is_read_by_itself(scene: Scene) -> None:
    async def act(plc: Plc) -> None:
        for group, where in (("fast", [1]), ("", [0, 2]), (None, [0, 1, 2])):
            sample = await plc.driver.read(group)
            assert np.array_equal(sample.values[where], VALUES[where])
            assert (sample.quality[where] == Quality.GOOD).all()
            assert sample.values.shape == VALUES.shape
        assert plc.driver.counters.rtt.count >= 3

    scene(act)


def test_not_a_number_is_bad(scene: Scene) -> None:
    async def act(plc: Plc) -> None:
        await plc.show(np.array([np.nan, -20.0, np.inf]))
        sample = await plc.driver.read()
        assert list(sample.quality) == [Quality.BAD, Quality.GOOD, Quality.BAD]
        assert list(sample.reason) == [Reason.NOT_A_NUMBER, Reason.NONE, Reason.NOT_A_NUMBER]
        assert np.isnan(sample.values[[0, 2]]).all()

    scene(act)


def test_a_plc_that_is_gone_gives_bad_quality_and_comes_back(scene: Scene) -> None:
    async def act(plc: Plc) -> None:
        for _ in range(2):
            assert (await plc.driver.read()).quality.max() == Quality.GOOD
            await plc.power(False)
            await _settle(0.1)
            sample = await plc.driver.read()
            assert np.isnan(sample.values).all()
            assert set(sample.quality) == {Quality.BAD}
            assert set(sample.reason) == {Reason.NOT_CONNECTED}
            assert not plc.driver.counters.connected
            with pytest.raises(LinkError, match=r'link "x": block R.*not connected'):
                await plc.driver.read_words("R")
            with pytest.raises(LinkError, match=r'link "x": block W.*not connected'):
                await plc.driver.write_words("W", [0] * 64)
            await _settle(20.0)
            await plc.power(True)
            await plc.show(VALUES)
            await _settle(2.1)
            assert np.array_equal((await plc.driver.read()).values, VALUES)

    scene(act)


def test_block_w_is_written_whole_and_read_back(scene: Scene) -> None:
    async def act(plc: Plc) -> None:
        words = [65535, 0, *range(62)]
        await plc.driver.write_words("W", words)
        assert plc.block_w() == words
        assert await plc.driver.read_words("W") == tuple(words)

    scene(act)


def test_block_r_is_read_raw(scene: Scene) -> None:
    async def act(plc: Plc) -> None:
        await plc.write_r(list(range(65520, 65536)))
        assert await plc.driver.read_words("R") == tuple(range(65520, 65536))
        with pytest.raises(LinkError, match="no block X"):
            await plc.driver.read_words("X")

    scene(act)


def test_only_block_w_can_be_written(scene: Scene) -> None:
    not_permitted = (
        ("R", [1] * 16), ("Q", [1]), ("W", []), ("W", [1] * 63), ("W", [1] * 65),
        ("W", [65536] + [0] * 63), ("W", [-1] + [0] * 63),
    )  # fmt: skip

    async def act(plc: Plc) -> None:
        before = plc.block_w()
        for block, words in not_permitted:
            with pytest.raises(WriteRefused, match="permitted"):
                await plc.driver.write_words(block, words)
        assert plc.block_w() == before

    scene(act)


def test_protocol_libraries_are_imported_only_when_named() -> None:
    code = (
        "import sys, edge.drivers, edge.runtime.poll, edge.runtime.publish, edge.drivers.soft;"
        "print([m for m in ('pymodbus', 'asyncua') if m in sys.modules])"
    )

    async def ask() -> bytes:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE
        )
        return (await process.communicate())[0]

    assert asyncio.run(ask()).strip() == b"[]"
