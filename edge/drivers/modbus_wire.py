"""One guarded Modbus connection on pymodbus 3.16.

The rules:

1. One object is one connection. It never reconnects and never repeats a request; the driver makes
   a new one. (pymodbus would send a timed-out write four times.)
2. One request in flight. Each answer must be the one that was asked for: `modbus_frame` checks the
   raw bytes. On any doubt the request fails and the connection is dropped.
3. A late answer is told apart and skipped, never taken for another one.
4. A peer that closes fails the pending request at once instead of letting it time out.

Three names of pymodbus used here and in `modbus_client` are not quite public
(`ctx.max_buffer_size`, `ctx.response_future`, `ctx.call_create`): the version is pinned and the
fault catalogue is the gate for an upgrade.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import struct
from collections.abc import Awaitable, Callable, Sequence

import numpy as np
import numpy.typing as npt
from pymodbus.exceptions import ConnectionException, ModbusIOException
from pymodbus.pdu import ModbusPDU

from edge.config.types import ModbusLink, Table
from edge.drivers.modbus_client import client, explain
from edge.drivers.modbus_frame import (
    WRITE_REGISTERS,
    DoubtError,
    Framing,
    LostError,
    Pending,
    SilenceError,
    WireError,
)

FUNCTION: dict[Table, int] = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
BIT_TABLES = ("coil", "discrete")
MAX_READ_REGISTERS = 125
MAX_READ_BITS = 2000
MAX_WRITE_REGISTERS = 123
EXCEPTION_TEXT = {
    1: "illegal function", 2: "illegal data address", 3: "illegal data value",
    4: "device failure", 5: "acknowledge", 6: "device busy", 8: "memory parity error",
    10: "gateway path unavailable", 11: "gateway target does not answer",
}  # fmt: skip

# pymodbus logs 2-17 kB at ERROR for each failed read. The driver reports every failure itself, as
# a quality, a counter and one line per change of state; a debug session may lower the level again.
_pymodbus_log = logging.getLogger("pymodbus.logging")
if _pymodbus_log.level == logging.NOTSET:
    _pymodbus_log.setLevel(logging.CRITICAL + 1)


class DeviceError(WireError):
    """The device answered with an exception."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exception {code} ({EXCEPTION_TEXT.get(code, 'unknown')})")
        self.code = code


class _RawAnswer(ModbusPDU):
    """Keeps the bytes. The constant text saves pymodbus building one for every answer."""

    def decode(self, data: bytes) -> None:
        self.payload = data

    def __str__(self) -> str:
        return "raw answer"


class _Coils(_RawAnswer):
    function_code = 1
    rtu_byte_count_pos = 2


class _Discretes(_RawAnswer):
    function_code = 2
    rtu_byte_count_pos = 2


class _Holdings(_RawAnswer):
    function_code = 3
    rtu_byte_count_pos = 2


class _Inputs(_RawAnswer):
    function_code = 4
    rtu_byte_count_pos = 2


class _Echo(_RawAnswer):
    function_code = WRITE_REGISTERS
    rtu_frame_size = 8


class Wire:
    """One connection. `lost` is set once it is unusable; `why` then says why."""

    def __init__(self, link: ModbusLink, framing: Framing) -> None:
        """`framing` is the link's: what it knows of late answers may outlive the connection.

        Raises OSError when the certificate files of a TLS link cannot be used.
        """
        self.lost = asyncio.Event()
        self.why = explain(link, None)
        self._link = link
        self._framing = framing
        self._pending: Pending | None = None
        self._client = client(link, self._on_packet, self._on_connect, self._on_failure)
        for answer in (_Coils, _Discretes, _Holdings, _Inputs, _Echo):
            self._client.register(answer)

    async def connect(self) -> bool:
        """Open the connection within the time-out; False when that fails, and `why` says why."""
        self._framing.opened()
        return bool(await self._client.connect())

    def close(self, why: str = "closed") -> None:
        """Drop the connection; the pending request fails with LostError. Safe to call twice."""
        self._fail(LostError(why))
        self._client.close()

    async def read(
        self, unit_id: int, table: Table, address: int, count: int
    ) -> npt.NDArray[np.uint16]:
        """Read `count` registers, or bits as words 0/1: uint16[count]. Raises WireError."""
        pending = _read_of(unit_id, table, count)
        if self._framing.ambiguous(pending):
            await self._mark(unit_id, table, address, count)
        payload = await self._read(pending, table, address, count)
        if table in BIT_TABLES:
            octets = np.frombuffer(payload, np.uint8, pending.size - 1, 1)
            return np.unpackbits(octets, count=count, bitorder="little").astype(np.uint16)
        return np.frombuffer(payload, ">u2", count, 1).astype(np.uint16)

    async def write(self, unit_id: int, address: int, words: Sequence[int]) -> None:
        """Write holding registers with one FC16 frame; the echo must match. Raises WireError."""
        head = struct.pack(">HH", address, len(words))
        pending = Pending(unit_id, WRITE_REGISTERS, head, len(head))
        if self._framing.ambiguous(pending):
            await self._mark(unit_id, "holding", address, len(words))
        await self._request(
            pending,
            lambda: self._client.write_registers(address, list(words), device_id=unit_id),
        )

    async def _read(self, pending: Pending, table: Table, address: int, count: int) -> bytes:
        call: Callable[..., Awaitable[ModbusPDU]] = {
            "coil": self._client.read_coils, "discrete": self._client.read_discrete_inputs,
            "holding": self._client.read_holding_registers,
            "input": self._client.read_input_registers,
        }[table]  # fmt: skip
        return await self._request(
            pending, lambda: call(address, count=count, device_id=pending.unit_id)
        )

    async def _mark(self, unit_id: int, table: Table, address: int, count: int) -> None:
        """Read another length first, so that a missing answer cannot pass for the next one.

        An exception is an answer, too. Raises WireError when there is none, or no such length.
        """
        step = 8 if table in BIT_TABLES else 1  # bits are counted in octets
        most = (MAX_READ_BITS if table in BIT_TABLES else MAX_READ_REGISTERS) // step
        shorter = range(step, count, step)
        longer = range(-(-count // step) * step + step, most * step + 1, step)
        for n in (*shorter, *longer):
            pending = _read_of(unit_id, table, n)
            end = address + n
            free = end <= 0x10000 and not any(
                t == table and first < end and last >= address
                for t, first, last in self._link.forbidden
            )
            if free and not self._framing.ambiguous(pending):
                with contextlib.suppress(DeviceError):
                    await self._read(pending, table, address, n)
                return
        raise SilenceError("an answer is missing that could be mistaken for the one asked for")

    async def _request(self, pending: Pending, send: Callable[[], Awaitable[ModbusPDU]]) -> bytes:
        if self.lost.is_set():
            raise LostError(self.why)
        if self._pending is not None:
            raise RuntimeError("two Modbus requests in flight on one connection")
        self._pending = pending
        answered = False
        try:
            answer = await send()
            answered = True
        except ConnectionException as exc:
            self._fail(LostError("connection is closed"))
            raise LostError("connection is closed") from exc
        except ModbusIOException as exc:
            raise SilenceError(f"no answer in {self._link.timeout_ms} ms") from exc
        finally:
            self._pending = None
            if answered:
                self._framing.answered(pending)
            else:
                self._framing.unanswered(pending)
        if answer.isError():
            raise DeviceError(answer.exception_code)
        if not isinstance(answer, _RawAnswer):
            raise DoubtError("answer of a class nobody registered")
        return answer.payload

    def _on_failure(self, why: str) -> None:
        self.why = why

    def _on_connect(self, connected: bool) -> None:
        if not connected:
            self._fail(LostError("the device closed the connection"))

    def _fail(self, error: WireError) -> None:
        """The connection is unusable from here on: tell the waiting request and the owner."""
        if not self.lost.is_set():
            self.why = str(error)
            self.lost.set()
        future = self._client.ctx.response_future
        if self._pending is not None and not future.done():
            future.set_exception(error)

    def _on_packet(self, sending: bool, data: bytes) -> bytes:
        if sending:
            if self._pending is not None:
                self._framing.sending(self._pending, data)
            return data
        if self.lost.is_set():
            return b""
        try:
            return self._framing.accept(data, self._pending)
        except DoubtError as doubt:
            self._fail(doubt)
            self._client.close()
            return b""


def _read_of(unit_id: int, table: Table, count: int) -> Pending:
    size = (count + 7) // 8 if table in BIT_TABLES else 2 * count
    return Pending(unit_id, FUNCTION[table], bytes([size]), size + 1)
