"""The Modbus fault catalogue: what a device does wrong, and what must come of it, as data.

Every entry is played against a client in virtual time: one good poll, then the fault for some
polls of a second each, then a healthy device again. `played` says what the client made of it. Two
clients are here, ours and bare pymodbus used as its documentation shows; others can be put beside
them by writing the few methods of `Client`.

Registers say their own address (register a holds 100 + a), so a value that belongs to another
register is seen. Two blocks of unit 1 have the same length on purpose: that is what makes an answer
to one look like an answer to the other.
"""

from __future__ import annotations

import asyncio
import re
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

import numpy as np
from pymodbus import FramerType, ModbusException
from pymodbus.client import AsyncModbusTcpClient

from edge.config.types import ModbusLink, ModbusSource, TagRow, WordBlock
from edge.core.codec import Encoding
from edge.core.quality import Judge
from edge.core.tags import Quality, Reason
from edge.drivers.modbus import ModbusDriver
from tests import faultserver as fs
from tests.drivers.plc import row, settle

TIMEOUT_S = 0.25
FLOAT_AT, FLOAT = 700, 750.5
_HIGH, _LOW = struct.unpack(">2H", struct.pack(">f", FLOAT))
BLOCKS = ((1, 10, 125), (1, 300, 125), (1, FLOAT_AT, 2), (2, 500, 125))
"""(unit, first register, count): what both clients ask for in one poll."""
W = WordBlock(link="plc", count=8, address=1000)
PATIENCE_S = 120.0
"""A call that takes longer hangs."""

Framing = Literal["tcp", "rtu"]
Begin = Callable[[fs.FaultServer], Awaitable[None]]


def _row(unit_id: int, address: int) -> TagRow:
    return row(address, unit_id)


def _float_row() -> TagRow:
    plain = row(FLOAT_AT)
    assert isinstance(plain.source, ModbusSource)
    return TagRow(
        tag=replace(plain.tag, low=500, high=1000),
        source=replace(plain.source, encoding=Encoding(type="float32")),
    )


_REGISTERS = [
    _row(unit, first + i)
    for unit, first, count in BLOCKS
    if first != FLOAT_AT
    for i in (*range(10), count - 1)
]
ROWS = (*_REGISTERS, _float_row())
EXPECTED = np.array(
    [100.0 + r.source.address for r in ROWS[:-1] if isinstance(r.source, ModbusSource)] + [FLOAT]
)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One entry: the misbehaviour, and what our driver must say in the first poll that meets it."""

    name: str
    begin: Begin
    reason: Reason
    """Of the tags it hits; NONE: nothing may be lost."""
    also: Reason = Reason.NOT_CONNECTED
    """What the tags asked for after it in the same poll may be: a doubt drops the link."""
    says: str = ""
    """Regular expression for the link's error text, the condition the operator is shown."""
    framing: Framing = "tcp"
    polls: int = 4
    spared: tuple[int, ...] = ()
    """Units whose tags must stay good all the time."""
    write: bool = False
    """Play it on a write of block W instead of a poll."""
    back_s: float = 35.0
    """All values must be good again this long after the device is."""


@dataclass
class Played:
    """What a client made of one entry."""

    wrong: int = 0
    """Values delivered as good that are not the register's."""
    short: int = 0
    """Polls that were a success with fewer values than asked for."""
    false_ok: int = 0
    """Writes called a success whose answer does not confirm them."""
    frames: int = 0
    """Write frames sent for one write."""
    slowest_s: float = 0.0
    """Longest poll or write."""
    back_s: float | None = None
    """From the healthy device to all values good; None: not within `PATIENCE_S`."""
    reasons: set[Reason] = field(default_factory=set)
    said: str = ""
    hit_spared: bool = False

    def failures(self, bound_s: float) -> list[str]:
        """In words, what a plant cannot accept; empty for a clean entry."""
        found = []
        if self.wrong:
            found.append(f"{self.wrong} WRONG VALUES")
        if self.short:
            found.append(f"{self.short} x part of the values as success")
        if self.false_ok:
            found.append("write called done")
        if self.frames > 1:
            found.append(f"write sent {self.frames} times")
        if self.slowest_s >= PATIENCE_S:
            found.append("hangs")
        elif self.slowest_s > bound_s:
            found.append(f"{self.slowest_s:.1f} s for one poll, {bound_s:.1f} s allowed")
        if self.back_s is None:
            found.append("does not recover")
        return found


class Client(Protocol):
    """What a client must offer to be put through the catalogue."""

    async def start(self, port: int, framing: Framing) -> None:
        """Begin to connect; must not fail for a device that is not there."""

    async def stop(self) -> None:
        """Close everything."""

    async def poll(self) -> tuple[list[float | None], bool]:
        """Values in the order of ROWS, None where there is none; and whether that was said."""

    async def write(self) -> bool:
        """Write 0..7 to block W; True: it says that it is done."""

    def state(self) -> tuple[set[Reason], str]:
        """Reasons and error text after the last poll; empty where the client has none."""


class Ours:
    """The driver of this appliance, judged as the daemon judges it."""

    def __init__(self) -> None:
        self._judge = Judge([r.tag for r in ROWS])
        self._reasons: set[Reason] = set()

    async def start(self, port: int, framing: Framing) -> None:
        link = ModbusLink(
            name="plc",
            protocol="modbus-tcp" if framing == "tcp" else "modbus-rtu-over-tcp",
            host="127.0.0.1", port=port, timeout_ms=int(TIMEOUT_S * 1000), max_registers=125,
            max_gap=120,
        )  # fmt: skip
        self.driver = ModbusDriver(link, ROWS, {"W": W}, jitter=lambda: 0.0)
        self._owner = asyncio.create_task(self.driver.run())

    async def stop(self) -> None:
        self._owner.cancel()
        await asyncio.gather(self._owner, return_exceptions=True)

    async def poll(self) -> tuple[list[float | None], bool]:
        s = await self.driver.read()
        now_s = asyncio.get_running_loop().time()
        values, quality, reason = self._judge.judge(
            s.values, s.quality, s.reason, s.source_s, wall_s=now_s, monotonic_s=now_s
        )
        self._reasons = {Reason(int(r)) for r in reason}
        good = quality == Quality.GOOD
        return [float(v) if g else None for v, g in zip(values, good)], True

    async def write(self) -> bool:
        try:
            await self.driver.write_words("W", range(8))
        except Exception as exc:
            self.driver.counters.last_error = str(exc)
            return False
        return True

    def state(self) -> tuple[set[Reason], str]:
        return self._reasons, self.driver.counters.last_error


class Bare:
    """pymodbus as its documentation shows it: default settings, isError() asked every time."""

    async def start(self, port: int, framing: Framing) -> None:
        kind = FramerType.SOCKET if framing == "tcp" else FramerType.RTU
        self._client = AsyncModbusTcpClient("127.0.0.1", port=port, framer=kind, timeout=TIMEOUT_S)
        await self._client.connect()

    async def stop(self) -> None:
        self._client.close()
        await settle(0.0)

    async def poll(self) -> tuple[list[float | None], bool]:
        found: dict[tuple[int, int], float] = {}
        said = True
        for unit, first, count in BLOCKS:
            try:
                async with asyncio.timeout(PATIENCE_S):
                    answer = await self._client.read_holding_registers(
                        first, count=count, device_id=unit
                    )
            except (ModbusException, TimeoutError):
                continue
            if answer.isError():
                continue
            said = said and len(answer.registers) >= count
            for i, word in enumerate(answer.registers):
                found[unit, first + i] = float(word)
            if first == FLOAT_AT and len(answer.registers) >= 2:
                kind = AsyncModbusTcpClient.DATATYPE.FLOAT32
                value = self._client.convert_from_registers(answer.registers[:2], kind)
                assert isinstance(value, float)
                found[unit, first] = value
        sources = [r.source for r in ROWS if isinstance(r.source, ModbusSource)]
        return [found.get((s.unit_id, s.address)) for s in sources], said

    async def write(self) -> bool:
        try:
            async with asyncio.timeout(PATIENCE_S):
                answer = await self._client.write_registers(1000, list(range(8)), device_id=1)
        except (ModbusException, TimeoutError):
            return False
        return not answer.isError()

    def state(self) -> tuple[set[Reason], str]:
        return set(), ""


async def play(fault: Fault, client: Client, port: int) -> Played:
    """Put `client` through one entry. Runs in virtual or real time; about a minute of it."""
    loop = asyncio.get_running_loop()
    done = Played()
    server = fs.FaultServer(port, rtu=fault.framing == "rtu")
    server.special |= {FLOAT_AT: _HIGH, FLOAT_AT + 1: _LOW}
    async with server:
        await client.start(port, fault.framing)
        try:
            await settle(1.0)
            baseline, _ = await client.poll()
            assert baseline == list(EXPECTED), f"{fault.name}: not even a healthy device is read"
            await fault.begin(server)
            for number in range(fault.polls):
                start_s = loop.time()
                if fault.write:
                    before = len(server.requests)
                    done.false_ok += await client.write()
                    await settle(2.0)
                    sent = [r for r in server.requests[before:] if r.function == 16]
                    done.frames = max(done.frames, len(sent))
                    done.slowest_s = max(done.slowest_s, loop.time() - start_s - 2.0)
                else:
                    values, said = await client.poll()
                    done.slowest_s = max(done.slowest_s, loop.time() - start_s)
                    _count(done, fault, values, said)
                if number == 0 or not done.said:
                    reasons, done.said = client.state()
                    done.reasons |= reasons - {Reason.NONE}
                await settle(max(0.0, start_s + 1.0 - loop.time()))
            await _healthy(server)
            healed_s = loop.time()
            while loop.time() < healed_s + PATIENCE_S and done.back_s is None:
                start_s = loop.time()
                values, said = await client.poll()
                done.slowest_s = max(done.slowest_s, loop.time() - start_s)
                _count(done, fault, values, said)
                if None not in values and list(values) == list(EXPECTED):
                    done.back_s = loop.time() - healed_s
                await settle(max(0.0, start_s + 1.0 - loop.time()))
        finally:
            await client.stop()
    return done


def _count(done: Played, fault: Fault, values: list[float | None], said: bool) -> None:
    done.wrong += sum(v is not None and v != float(e) for v, e in zip(values, EXPECTED))
    done.short += not said
    for value, r in zip(values, ROWS):
        if isinstance(r.source, ModbusSource) and r.source.unit_id in fault.spared:
            done.hit_spared |= value is None


async def _healthy(server: fs.FaultServer) -> None:
    server.script.clear()
    server.always = None
    server.special |= {FLOAT_AT: _HIGH, FLOAT_AT + 1: _LOW}
    if not server.listening:
        await server.__aenter__()


def matches(fault: Fault, done: Played) -> bool:
    """Whether what our driver said is what the entry asks for."""
    wanted = set() if fault.reason is Reason.NONE else {fault.reason}
    named = wanted <= done.reasons <= {*wanted, fault.also}
    return fault.write or (named and bool(re.search(fault.says, done.said)))
