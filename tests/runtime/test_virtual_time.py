"""Real Modbus and OPC UA over loopback in virtual time, time-outs and worker threads included."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import asyncua
import pytest
from asyncua import ua
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from edge.runtime.virtual_time import VirtualTimeLoop, run

Virtual = Callable[[Coroutine[Any, Any, Any]], Any]
Port = Callable[[], int]


def test_an_hour_of_modbus_polls_takes_seconds_and_loses_none(
    virtual: Virtual, free_port: Port
) -> None:
    port = free_port()

    async def main() -> tuple[int, float]:
        registers = SimData(0, values=list(range(100)), datatype=DataType.REGISTERS)
        server = ModbusTcpServer(SimDevice(1, [registers]), address=("127.0.0.1", port))
        await server.serve_forever(background=True)
        client = AsyncModbusTcpClient("127.0.0.1", port=port, timeout=0.5, retries=0)
        assert await client.connect()
        loop = asyncio.get_running_loop()
        start = loop.time()
        good = 0
        for tick in range(1, 3601):
            await asyncio.sleep(start + tick - loop.time())
            answer = await client.read_holding_registers(0, count=100)
            good += not answer.isError() and answer.registers[99] == 99
        client.close()
        await server.shutdown()
        return good, loop.time() - start

    real = time.monotonic()
    assert virtual(main()) == (3600, pytest.approx(3600.0))
    assert time.monotonic() - real < 600.0


def test_five_minutes_of_opc_ua_reads(virtual: Virtual, free_port: Port) -> None:
    url = f"opc.tcp://127.0.0.1:{free_port()}/test"

    async def main() -> list[float]:
        server = asyncua.Server()
        await server.init()
        server.set_endpoint(url)
        index = await server.register_namespace("urn:test")
        node = await server.nodes.objects.add_variable(
            ua.NodeId("TI-1", index), "TI-1", 0.0, ua.VariantType.Float
        )
        seen = []
        async with server, asyncua.Client(url, timeout=1) as client:
            remote = client.get_node(node.nodeid)
            for second in range(300):
                await asyncio.sleep(1.0)
                await server.write_attribute_value(
                    node.nodeid, ua.DataValue(ua.Variant(float(second), ua.VariantType.Float))
                )
                seen.append(await remote.read_value())
        return seen

    assert virtual(main()) == [float(second) for second in range(300)]


def test_a_silent_server_times_out_in_virtual_time(virtual: Virtual, free_port: Port) -> None:
    async def main() -> float:
        hung_up = asyncio.Event()

        async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()
            await writer.wait_closed()
            hung_up.set()

        server = await asyncio.start_server(swallow, "127.0.0.1", free_port())
        port = server.sockets[0].getsockname()[1]
        client = AsyncModbusTcpClient(
            "127.0.0.1", port=port, timeout=7.0, retries=0, reconnect_delay=0
        )
        assert await client.connect()
        loop = asyncio.get_running_loop()
        start = loop.time()
        with pytest.raises(Exception, match="No response"):
            await client.read_holding_registers(0, count=1)
        took = loop.time() - start
        client.close()
        await hung_up.wait()
        server.close()
        await server.wait_closed()
        return took

    real = time.monotonic()
    assert virtual(main()) == pytest.approx(7.0, abs=0.01)
    assert time.monotonic() - real < 5.0


def test_a_busy_worker_keeps_time_standing_still(virtual: Virtual) -> None:
    release = threading.Event()

    async def main() -> tuple[str, float]:
        loop = asyncio.get_running_loop()
        threading.Timer(0.05, release.set).start()

        def work() -> str:
            release.wait()
            return "done"

        async with asyncio.timeout(0.5):
            return await asyncio.to_thread(work), loop.time()

    assert virtual(main()) == ("done", 0.0)


def test_time_can_be_held_for_a_thread_the_loop_does_not_know(virtual: Virtual) -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        heard = loop.create_future()
        with loop.hold_time():
            threading.Timer(0.05, lambda: loop.call_soon_threadsafe(heard.set_result, None)).start()
            async with asyncio.timeout(0.01):
                await heard
        return loop.time()

    assert virtual(main()) == 0.0


def test_timers_fire_in_order_and_at_their_exact_time(virtual: Virtual) -> None:
    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        seen: list[float] = []

        async def note(after_s: float) -> None:
            await asyncio.sleep(after_s)
            seen.append(loop.time())

        await asyncio.gather(*(note(s) for s in (86_400.0 * 30, 0.3, 0.1, 1000.0)))
        return seen

    assert virtual(main()) == [0.1, 0.3, 1000.0, 86_400.0 * 30]


def test_a_paced_loop_keeps_its_rate() -> None:
    async def main() -> None:
        for _ in range(20):
            await asyncio.sleep(1.0)

    real = time.monotonic()
    run(main(), max_rate=100.0)
    assert 0.15 < time.monotonic() - real < 5.0


def test_a_rate_that_is_no_rate_is_refused() -> None:
    async def main() -> None: ...

    with pytest.raises(ValueError, match=r"max_rate 0\.0 is not above 0"):
        run(main(), max_rate=0.0)
