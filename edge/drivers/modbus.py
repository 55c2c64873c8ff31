"""Modbus over any transport: poll the planned blocks, write block W and nothing else.

Connection states, owned by `run`::

    connecting ----open----> silent --first valid answer--> connected
        ^                       |                               |
        +--- jittered 0.1..2 s -+---- closed, doubt, 3 time-outs in a row

"Connected" is reported only after an answer: a device that takes one connection accepts a second
one and never answers.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from edge.config.types import SERIAL_BITS, ModbusLink, Table, TagRow, WordBlock
from edge.core.tags import Quality, Reason
from edge.drivers.base import LinkCounters, LinkError, Sample, check_write, heed_cancellation
from edge.drivers.modbus_frame import DoubtError, LostError, Mbap, Rtu, SilenceError, WireError
from edge.drivers.modbus_reader import BlockReader, Unit
from edge.drivers.modbus_wire import MAX_READ_REGISTERS, MAX_WRITE_REGISTERS, DeviceError, Wire

_log = logging.getLogger(__name__)
T = TypeVar("T")

_NONE, _GOOD, _BAD = np.uint8(Reason.NONE), np.uint8(Quality.GOOD), np.uint8(Quality.BAD)
BACKOFF_S = (0.1, 2.0)
"""First and longest pause before another connection attempt; jitter takes up to half of it."""
TIMEOUTS_TO_DROP = 3
"""Time-outs in a row, over all units, after which the connection is given up."""
_OUTCOMES: tuple[tuple[type[WireError], str], ...] = (
    (DeviceError, "exceptions"),
    (SilenceError, "timeouts"),
    (DoubtError, "bad_answers"),
    (WireError, "lost"),
)
"""What a failed request is counted as: the first that fits."""


class ModbusDriver:
    """One Modbus link. See `edge.drivers.base.Driver`."""

    def __init__(
        self,
        link: ModbusLink,
        rows: Sequence[TagRow],
        blocks: Mapping[str, WordBlock],
        *,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`jitter` gives 0..1. Raises ValueError when the link cannot serve a row or block."""
        self.name = link.name
        self.counters = LinkCounters()
        self._link = link
        self._count = len(rows)
        self._blocks = dict(blocks)
        self._jitter = jitter
        self._framing = Rtu(lambda: asyncio.get_running_loop().time()) if link.rtu else Mbap()
        self._silence_s = silence_s(link)
        self._wire: Wire | None = None
        self._turn = asyncio.Lock()  # fair: a write waits for one transaction, never for a poll
        self._idle_since_s = 0.0
        self._timeouts_in_a_row = 0
        self._said: str | None = None
        units: dict[int, Unit] = {}
        self._readers: dict[str, tuple[npt.NDArray[np.intp], BlockReader]] = {}
        """By poll group: which rows, and who reads them."""
        for group in dict.fromkeys(row.group for row in rows):
            where = [i for i, row in enumerate(rows) if row.group == group]
            own = tuple(rows[i] for i in where)
            reader = BlockReader(link, own, self.counters, self._read, units)
            self._readers[group] = np.array(where, np.intp), reader
        for name, block in self._blocks.items():
            most = MAX_WRITE_REGISTERS if name == "W" else MAX_READ_REGISTERS
            if not 1 <= block.count <= most or not 0 <= _first(block) <= 0x10000 - block.count:
                raise ValueError(
                    f'link "{self.name}": block {name} at address {block.address} with '
                    f"{block.count} registers; permitted: 1..{most} registers within 0..65535"
                )

    # --- the connection ---

    async def run(self) -> None:
        """Own the link until cancelled: connect, reconnect with jittered back-off, for ever."""
        link = self._link
        pause_s = BACKOFF_S[0]
        while True:
            answered = False
            try:
                wire = Wire(link, self._framing)
            except OSError as exc:
                why = f"certificate files cannot be used: {exc}"
            else:
                answered, why = await self._serve(wire)
            self._say(f"{link.at}: {why}")
            if answered:
                self.counters.lost += 1
                pause_s = BACKOFF_S[0]
            await asyncio.sleep(pause_s * (1 - 0.5 * self._jitter()))
            pause_s = min(2 * pause_s, BACKOFF_S[1])

    async def _serve(self, wire: Wire) -> tuple[bool, str]:
        """Use one connection until it ends: (whether the device ever answered, why it ended)."""
        opened = False
        try:
            opened = await wire.connect()
            if opened:
                await asyncio.sleep(self._link.pause_after_connect_ms / 1000)
                self._timeouts_in_a_row = 0
                for _, reader in self._readers.values():
                    reader.opened()
                self._wire = wire
                await wire.lost.wait()
        finally:
            answered, why = self.counters.connected, wire.why
            self._wire = None
            self.counters.connected = False
            wire.close()
        if self._link.tls is not None and opened and not answered:
            why = f"{why} before any answer; does it trust our certificate_file?"
        return answered, why

    def _say(self, error: str) -> None:
        """Log a change of state once, not its repeats; "" is the state connected."""
        if error:
            self.counters.last_error = error
        if error == self._said:
            return
        self._said = error
        if error:
            _log.warning("link %s: %s", self.name, error)
        else:
            _log.info("link %s: connected", self.name)

    # --- one transaction ---

    async def _transaction(self, unit_id: int, ask: Callable[[Wire], Awaitable[T]]) -> T:
        """`ask` the open connection for one thing. Raises WireError and keeps the counters."""
        loop = asyncio.get_running_loop()
        async with self._turn:
            pause_s = self._link.limits(unit_id).pause_between_requests_ms / 1000
            pause_s = max(pause_s, self._silence_s)
            if pause_s:
                await asyncio.sleep(max(0.0, self._idle_since_s + pause_s - loop.time()))
            wire = self._wire
            if wire is None:
                raise LostError("not connected")
            sent_s = loop.time()
            try:
                answer = await ask(wire)
            except WireError as exc:
                self.counters.last_error = str(exc)
                self._tally(unit_id, next(c for e, c in _OUTCOMES if isinstance(exc, e)))
                if isinstance(exc, DeviceError):
                    self._answered(unit_id, loop.time() - sent_s)
                elif isinstance(exc, SilenceError):
                    self._timeouts_in_a_row += 1
                    if self._timeouts_in_a_row >= TIMEOUTS_TO_DROP:
                        wire.close(f"{TIMEOUTS_TO_DROP} requests in a row without an answer")
                raise
            finally:
                self._idle_since_s = loop.time()
                heed_cancellation()
            self._tally(unit_id, "ok")
            self._answered(unit_id, loop.time() - sent_s)
            return answer

    def _tally(self, unit_id: int, outcome: str) -> None:
        unit = self.counters.unit(unit_id)
        # What a link has lost are connections, which `run` counts, not requests.
        for counters in (unit,) if outcome == "lost" else (unit, self.counters):
            setattr(counters, outcome, getattr(counters, outcome) + 1)

    def _answered(self, unit_id: int, rtt_s: float) -> None:
        self.counters.rtt.add(rtt_s)
        self.counters.unit(unit_id).rtt.add(rtt_s)
        self._timeouts_in_a_row = 0
        if not self.counters.connected:
            self.counters.connected = True
            self.counters.connects += 1
            self._say("")

    async def _read(
        self, unit_id: int, table: Table, address: int, count: int
    ) -> npt.NDArray[np.uint16]:
        return await self._transaction(
            unit_id, lambda wire: wire.read(unit_id, table, address, count)
        )

    # --- the Driver protocol ---

    async def read(self, group: str | None = None) -> Sample:
        """Poll every tag (of a group) once, each request bounded by the time-out; never raises."""
        loop = asyncio.get_running_loop()
        start_s = loop.time()
        values = np.full(self._count, np.nan)
        reason = np.full(self._count, Reason.NOT_CONNECTED, np.uint8)
        if self._wire is not None:
            for name, (where, reader) in self._readers.items():
                if group is None or name == group:
                    values[where], reason[where] = await reader.poll()
            self.counters.rtt_ms = (loop.time() - start_s) * 1000
        return Sample(
            values=values,
            quality=np.where(reason == _NONE, _GOOD, _BAD),
            reason=reason,
            source_s=np.full(self._count, np.nan),
            start_s=start_s,
            end_s=loop.time(),
        )

    async def read_words(self, block: str) -> tuple[int, ...]:
        """Read block "R" or "W": raw words. Raises LinkError."""
        where = self._blocks.get(block)
        if where is None:
            raise LinkError(f'link "{self.name}": no block {block} is configured here')
        try:
            words = await self._read(where.unit_id, "holding", _first(where), where.count)
        except WireError as exc:
            raise LinkError(f"{self._at(block, where)}: {exc}") from exc
        return tuple(int(w) for w in words)

    async def write_words(self, block: str, words: Sequence[int]) -> None:
        """Write block "W" with exactly one FC16 frame and check its echo.

        Raises WriteRefused before anything is sent when the block is not on the write list or the
        words do not fit it, and LinkError when the write failed or its outcome is unknown.
        """
        where = check_write(self.name, self._blocks, block, words)
        first = _first(where)
        try:
            await self._transaction(
                where.unit_id, lambda wire: wire.write(where.unit_id, first, words)
            )
        except WireError as exc:
            raise LinkError(f"{self._at(block, where)}: {exc}") from exc

    def raw_words(self, index: int) -> tuple[int, ...]:
        """Registers of tag row `index` in the last good read; empty before the first one."""
        for where, reader in self._readers.values():
            found = np.flatnonzero(where == index)
            if len(found):
                return reader.raw_words(int(found[0]))
        return ()

    def _at(self, name: str, block: WordBlock) -> str:
        return f'link "{self.name}": block {name} at unit {block.unit_id} holding {block.address}'


def _first(block: WordBlock) -> int:
    return -1 if block.address is None else block.address


def silence_s(link: ModbusLink) -> float:
    """Quiet time that ends a frame on a serial line: 3.5 characters, 1.75 ms above 19200 baud."""
    if link.protocol != "modbus-rtu":
        return 0.0
    return 3.5 * SERIAL_BITS / link.baud if link.baud <= 19200 else 0.00175
