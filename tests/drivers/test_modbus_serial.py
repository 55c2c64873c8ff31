"""A serial line: two pseudo terminals, joined, and a real pymodbus RTU device at the far end."""

from __future__ import annotations

import asyncio
import os
import tty
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest

from edge.config.types import ModbusLink, ModbusSource
from edge.core.tags import Reason
from edge.drivers import build
from edge.drivers.modbus import ModbusDriver, silence_s
from edge.twin.modbus_server import ModbusServer
from tests.drivers.plc import EXPECTED, ROWS, R, Virtual, W, settle


@asynccontextmanager
async def null_modem() -> AsyncIterator[tuple[str, str]]:
    """Two serial ports joined by a cable."""
    (near, near_port), (far, far_port) = os.openpty(), os.openpty()
    loop = asyncio.get_running_loop()
    for fd in (near, far, near_port, far_port):
        tty.setraw(fd)
    for source, sink in ((near, far), (far, near)):
        os.set_blocking(source, False)
        loop.add_reader(source, lambda a=source, b=sink: os.write(b, os.read(a, 4096)))
    try:
        yield os.ttyname(near_port), os.ttyname(far_port)
    finally:
        for fd in (near, far):
            loop.remove_reader(fd)
        for fd in (near, far, near_port, far_port):
            os.close(fd)


def test_a_serial_line() -> None:
    async def main() -> None:
        async with null_modem() as (ours, theirs), asyncio.timeout(20.0):
            options: dict[str, Any] = {"name": "plc", "protocol": "modbus-rtu", "timeout_ms": 1000}
            options["parity"] = "none"  # a pseudo terminal knows no other
            sources = [r.source for r in ROWS if isinstance(r.source, ModbusSource)]
            server = ModbusServer(ModbusLink(**options, device=theirs), sources, W, R)
            await server.start()
            await server.write(EXPECTED)
            driver = build(ModbusLink(**options, device=ours), ROWS, {"W": W, "R": R})
            owner = asyncio.create_task(driver.run())
            try:
                while not np.array_equal((await driver.read()).values, EXPECTED):
                    await settle(0.05)
                await driver.write_words("W", range(8))
                assert server.block_w() == list(range(8))
                assert await driver.read_words("W") == tuple(range(8))
            finally:
                owner.cancel()
                await asyncio.gather(owner, return_exceptions=True)
                await server.stop()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("device", "why"),
    [("/dev/no-such-port", "there is no such device"), ("/dev/null", "no serial port: ")],
)
def test_a_serial_port_that_cannot_be_opened_says_why(
    device: str, why: str, virtual: Virtual
) -> None:
    async def main() -> None:
        driver = ModbusDriver(
            ModbusLink(name="plc", protocol="modbus-rtu", device=device), ROWS, {}
        )
        owner = asyncio.create_task(driver.run())
        await settle(5.0)
        assert set((await driver.read()).reason) == {Reason.NOT_CONNECTED}
        assert why in driver.counters.last_error
        assert f"{device} 19200 8E1" in driver.counters.last_error
        owner.cancel()
        await asyncio.gather(owner, return_exceptions=True)

    virtual(main())


def test_frames_on_a_serial_line_are_kept_apart() -> None:
    at = [silence_s(ModbusLink(name="x", protocol="modbus-rtu", baud=b)) for b in (9600, 115200)]
    assert at == [pytest.approx(0.00401, abs=1e-5), 0.00175]
    assert silence_s(ModbusLink(name="x", protocol="modbus-rtu-over-tcp")) == 0.0
