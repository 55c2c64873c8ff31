"""A fault server and a driver that reads it; register a holds 100 + a."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest

from edge.config.types import ModbusLink, ModbusSource, Table, TagRow, WordBlock
from edge.core.codec import Encoding
from edge.core.tags import Quality, Reason, Tag
from edge.drivers.base import Sample
from edge.drivers.modbus import ModbusDriver
from tests.faultserver import FaultServer

Virtual = Callable[[Coroutine[Any, Any, Any]], Any]
TIMEOUT_S = 0.5
W = WordBlock(link="plc", count=8, address=1000)
R = WordBlock(link="plc", count=4, address=1100)


def row(address: int, unit_id: int = 1, table: Table = "holding") -> TagRow:
    name = f"u{unit_id}-{table}-{address}"
    return TagRow(
        tag=Tag(name=name, text=name, unit="", low=0, high=1e6, component="C01", part="meter"),
        source=ModbusSource(
            link="plc", unit_id=unit_id, table=table, address=address, encoding=Encoding()
        ),
    )


ROWS = tuple(row(a) for a in range(10, 20))
EXPECTED = np.arange(110.0, 120.0)


@asynccontextmanager
async def running(
    port: int,
    rows: tuple[TagRow, ...] = ROWS,
    *,
    device: bool = True,
    server_tls: ssl.SSLContext | None = None,
    **link: Any,
) -> AsyncIterator[tuple[FaultServer, ModbusDriver]]:
    """A fault server and a driver that has had time to connect."""
    options = {"timeout_ms": int(1000 * TIMEOUT_S), **link}
    settings = ModbusLink(name="plc", host="127.0.0.1", port=port, **options)
    driver = ModbusDriver(settings, rows, {"W": W, "R": R})
    server = FaultServer(port, rtu=settings.rtu, tls=server_tls)
    if device:
        await server.__aenter__()
    owner = asyncio.create_task(driver.run())
    try:
        await settle(1.0)
        yield server, driver
    finally:
        owner.cancel()
        await asyncio.gather(owner, return_exceptions=True)
        await server.stop()
        await settle(0.0)


async def settle(seconds: float) -> None:
    """Let loop time pass."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    loop.call_later(seconds, done.set_result, None)
    await done


def check(sample: Sample, expected: np.ndarray[Any, Any] = EXPECTED) -> None:
    """No wrong value, and a reason wherever there is none."""
    good = sample.quality == Quality.GOOD
    assert np.array_equal(sample.values[good], expected[good])
    assert np.isnan(sample.values[~good]).all()
    assert (sample.reason[~good] != Reason.NONE).all()
    assert (sample.reason[good] == Reason.NONE).all()


async def recovers(driver: ModbusDriver, expected: np.ndarray[Any, Any] = EXPECTED) -> None:
    """All values are back within the longest back-off, without a restart."""
    for _ in range(4):
        await settle(1.0)
        sample = await driver.read()
        check(sample, expected)
        if (sample.quality == Quality.GOOD).all():
            assert driver.counters.connected
            return
    pytest.fail(f"not recovered: {sample.reason} {driver.counters}")
