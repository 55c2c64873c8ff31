"""The write path on real servers: one frame a block, read back raw, disarmed on a mismatch."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge.app import App
from edge.config.types import (
    Appliance,
    Line,
    ModbusLink,
    ModbusSource,
    OpcUaLink,
    TagRow,
    WordBlock,
)
from edge.core.codec import Encoding
from edge.core.outputs import Decision, decode_block_w, encode_block_w
from edge.core.tags import Tag
from edge.drivers.modbus import ModbusDriver
from edge.runtime.clock import LoopClock
from edge.runtime.notify import Notifier
from edge.runtime.publish import Published, Publisher
from edge.twin.serve import TwinServer
from tests.faultserver import FaultServer, Request
from tests.twin.small_line import SmallPlant, SmallSecond, small_line

Virtual = Callable[[Coroutine[Any, Any, Any]], Any]
Port = Callable[[], int]
EPOCH_S = 1_800_000_000.0
W, R = WordBlock(link="plc", count=64, address=1000), WordBlock(link="plc", count=16, address=1100)
ROWS = tuple(
    TagRow(
        tag=Tag(
            name=f"T{a}", text="", unit="", low=0, high=9e4, component="C01", part="meter"
        ),
        source=ModbusSource(
            link="plc", unit_id=1, table="holding", address=a, encoding=Encoding(type="uint16")
        ),
    )
    for a in (0, 500)
)  # fmt: skip


class Memory:
    """A PLC that keeps block W, one word of it altered if the test says so."""

    def __init__(self, server: FaultServer) -> None:
        self.server, self.alter = server, -1
        server.always = self.answer

    async def answer(self, request: Request, connection: Any) -> None:
        if request.function == 16:
            for i in range(request.count):
                word = int.from_bytes(request.data[2 * i : 2 * i + 2], "big")
                self.server.special[request.address + i] = word ^ (i == self.alter)
        connection.send(request.good())


def test_one_fc16_and_one_read_back_a_block_in_turn_with_the_polls(
    virtual: Virtual, free_port: Port
) -> None:
    async def main() -> None:
        link = ModbusLink(name="plc", host="127.0.0.1", port=free_port(), max_gap=0)
        driver = ModbusDriver(link, ROWS, {"W": W, "R": R})
        async with FaultServer(link.port) as server:
            Memory(server)
            task = asyncio.create_task(driver.run())
            while not driver.counters.connected:
                await driver.read()
                await asyncio.sleep(0)
            server.requests.clear()
            publisher = Publisher(driver, driver)
            for seq in range(1, 51):
                _, outcome, words = await asyncio.gather(
                    driver.read(),
                    publisher.publish(encode_block_w(Decision(), seq)),
                    publisher.read_r(),
                )
                assert outcome.kind is Published.VERIFIED
                assert words is not None
                assert len(words) == 16
            task.cancel()
            sent = Counter((r.function, r.address, r.count) for r in server.requests)
            assert sent == {(16, 1000, 64): 50, (3, 1000, 64): 50, (3, 1100, 16): 50,
                            (3, 0, 1): 50, (3, 500, 1): 50}  # fmt: skip
            assert server.connections == 1

    virtual(main())


@pytest.mark.parametrize("word", [0, 31, 63])
def test_one_altered_word_disarms_at_once(word: int, virtual: Virtual, free_port: Port) -> None:
    async def main() -> None:
        link = ModbusLink(name="plc", host="127.0.0.1", port=free_port())
        driver = ModbusDriver(link, ROWS, {"W": W})
        async with FaultServer(link.port) as server:
            memory = Memory(server)
            task = asyncio.create_task(driver.run())
            while not driver.counters.connected:
                await driver.read()
                await asyncio.sleep(0)
            publisher = Publisher(driver)
            memory.alter = word
            outcome = await publisher.publish(encode_block_w(Decision(), 9))
            assert outcome.kind is Published.MISMATCH
            assert f"1 of 64 words differ, first word {word}: " in outcome.text
            kinds = {(await publisher.publish(encode_block_w(Decision(), 10))).kind}
            assert kinds == {Published.DISARMED}
            task.cancel()
            assert sum(r.function == 16 for r in server.requests) == 1

    virtual(main())


class OpcUaPlant(SmallPlant):
    """The two values of the server."""

    def second(self, trim_kg_h: float, held: bool) -> SmallSecond:
        now = super().second(trim_kg_h, held)
        return replace(now, values=now.values[3:], context={})


def opcua_line(port: Port) -> Line:
    """The small line where the PLC speaks OPC UA and nothing else."""
    line = small_line(port)
    return replace(
        line,
        links=tuple(link for link in line.links if isinstance(link, OpcUaLink)),
        tags=line.tags[3:],
        context=(),
        outputs=replace(
            line.outputs,
            block_w=WordBlock(link="dcs", count=64, node="s=NcmEdge.W"),
            block_r=WordBlock(link="dcs", count=16, node="s=NcmEdge.R"),
        ),
    )


@pytest.mark.system
def test_a_plc_with_opc_ua_only_gets_block_w_as_one_value(
    tmp_path: Path, virtual: Virtual, free_port: Port
) -> None:
    async def main() -> None:
        line = opcua_line(free_port)
        appliance = Appliance(
            name="edge-1", state_dir=tmp_path, runtime_dir=tmp_path, provider="cpu",
            lines=(line,), config_sha256="5" * 64,
        )  # fmt: skip
        clock = LoopClock(EPOCH_S)
        async with TwinServer(line, OpcUaPlant(), clock=clock) as twin:
            app = App(appliance, clock=clock, notifier=Notifier({}))
            task = asyncio.create_task(app.run())
            await twin.run(10)
            (runner,) = app.lines
            counters = runner.publisher.counters
            assert counters.verified >= 8, "each is read back and compared"
            assert decode_block_w(twin.block_w).decision.config_hash == 0x5555
            assert runner.plc is not None
            assert runner.plc.heartbeat > 0
            assert twin.plc.panel.alive
            assert counters.mismatches == 0
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    virtual(main())
