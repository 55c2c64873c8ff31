"""One guarded Modbus TCP connection on pymodbus 3.16.

pymodbus accepts answers that Modbus does not allow: shorter than asked, of another function, with
transaction 0, a write echo of another address. A wrong number is worse than none here, so every
frame is checked against the pending request on the raw bytes, before pymodbus decodes it; on any
doubt the request fails and the connection is dropped. The rules:

1. One object is one connection. It never reconnects and never repeats a request; the driver makes
   a new one. (pymodbus would send a timed-out write four times.)
2. One request in flight. Each answer must repeat transaction, unit and function, have protocol 0
   and a length that fits its function, and the byte count (reads) or address and count (writes)
   that was asked for.
3. An answer to a request that timed out is recognised by its transaction and skipped; anything
   else nobody asked for is a doubt.
4. A peer that closes fails the pending request at once instead of letting it time out.

Two names of pymodbus used here are not quite public (`ctx.max_buffer_size`,
`ctx.response_future`): the version is pinned and the fault tests are the gate for an upgrade.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ConnectionException, ModbusIOException
from pymodbus.pdu import ModbusPDU

if TYPE_CHECKING:
    from collections.abc import Awaitable

Table = Literal["coil", "discrete", "input", "holding"]

FUNCTION: dict[Table, int] = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
WRITE_REGISTERS = 16
MAX_READ_REGISTERS = 125
MAX_READ_BITS = 2000
MAX_WRITE_REGISTERS = 123
_RECEIVE_LIMIT = 4096
_LATE_KEPT = 32
_HEADER = struct.Struct(">HHHBB")
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


class WireError(Exception):
    """The request failed; the message says how. Subclasses say what it means for the link."""


class SilenceError(WireError):
    """No answer in time. The connection is kept: transactions tell a late answer apart."""


class DoubtError(WireError):
    """An answer that Modbus does not allow. The connection is already dropped."""


class LostError(WireError):
    """The connection is gone."""


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


class _Discretes(_RawAnswer):
    function_code = 2


class _Holdings(_RawAnswer):
    function_code = 3


class _Inputs(_RawAnswer):
    function_code = 4


class _Echo(_RawAnswer):
    function_code = WRITE_REGISTERS


@dataclass(slots=True)
class _Pending:
    unit_id: int
    function: int
    head: bytes
    """First bytes of the answer's data: byte count of a read, address and count of a write."""
    size: int
    """Bytes of the answer's data, head included."""
    transaction: int = -1


class Wire:
    """One connection. `lost` is set once it is unusable; `why` then says why."""

    def __init__(self, host: str, port: int, timeout_s: float) -> None:
        self.lost = asyncio.Event()
        self.why = ""
        self._timeout_s = timeout_s
        self._pending: _Pending | None = None
        self._late: deque[int] = deque(maxlen=_LATE_KEPT)
        self._client = AsyncModbusTcpClient(
            host, port=port, timeout=timeout_s, retries=0, reconnect_delay=0,
            trace_packet=self._on_packet, trace_connect=self._on_connect,
        )  # fmt: skip
        self._client.set_max_no_responses(1 << 30)  # the driver decides when to give up
        # The default of 264 bytes discards a late answer and the next one arriving together.
        self._client.ctx.max_buffer_size = _RECEIVE_LIMIT
        for answer in (_Coils, _Discretes, _Holdings, _Inputs, _Echo):
            self._client.register(answer)

    async def connect(self) -> bool:
        """Open the TCP connection within the time-out; False when that fails."""
        return bool(await self._client.connect())

    def close(self, why: str = "closed") -> None:
        """Drop the connection; the pending request fails with LostError. Safe to call twice."""
        self._fail(LostError(why))
        self._client.close()

    async def read(
        self, unit_id: int, table: Table, address: int, count: int
    ) -> npt.NDArray[np.uint16]:
        """Read `count` registers, or bits as words 0/1: uint16[count]. Raises WireError."""
        client = self._client
        call: Callable[..., Awaitable[ModbusPDU]] = {
            "coil": client.read_coils, "discrete": client.read_discrete_inputs,
            "holding": client.read_holding_registers, "input": client.read_input_registers,
        }[table]  # fmt: skip
        bits = table in ("coil", "discrete")
        size = (count + 7) // 8 if bits else 2 * count
        pending = _Pending(unit_id, FUNCTION[table], bytes([size]), size + 1)
        payload = await self._request(
            pending, lambda: call(address, count=count, device_id=unit_id)
        )
        if bits:
            octets = np.frombuffer(payload, np.uint8, size, 1)
            return np.unpackbits(octets, count=count, bitorder="little").astype(np.uint16)
        return np.frombuffer(payload, ">u2", count, 1).astype(np.uint16)

    async def write(self, unit_id: int, address: int, words: Sequence[int]) -> None:
        """Write holding registers with one FC16 frame; the echo must match. Raises WireError."""
        head = struct.pack(">HH", address, len(words))
        pending = _Pending(unit_id, WRITE_REGISTERS, head, len(head))
        await self._request(
            pending,
            lambda: self._client.write_registers(address, list(words), device_id=unit_id),
        )

    async def _request(self, pending: _Pending, send: Callable[[], Awaitable[ModbusPDU]]) -> bytes:
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
            raise SilenceError(f"no answer in {self._timeout_s * 1000:.0f} ms") from exc
        finally:
            self._pending = None
            if not answered:
                self._late.append(pending.transaction)
        if answer.isError():
            raise DeviceError(answer.exception_code)
        if not isinstance(answer, _RawAnswer):
            raise DoubtError("answer of a class nobody registered")
        return answer.payload

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
                self._pending.transaction = int.from_bytes(data[:2], "big")
            return data
        if self.lost.is_set():
            return b""
        problem = self._problem(data)
        if problem:
            self._fail(DoubtError(problem))
            self._client.close()
            return b""
        return data

    def _problem(self, data: bytes) -> str:
        """What is wrong with the bytes received since the last request; "" when nothing is."""
        at = 0
        while len(data) - at >= _HEADER.size:
            transaction, protocol, length, unit_id, function = _HEADER.unpack_from(data, at)
            if protocol != 0 or not 3 <= length <= 254:
                return f"no Modbus frame: protocol {protocol}, length {length}"
            pending = self._pending
            if pending is None or transaction != pending.transaction:
                if transaction not in self._late:
                    return f"answer to transaction {transaction}, which nobody asked for"
            elif problem := _mismatch(pending, unit_id, function, length - 2, data[at + 8 :]):
                return problem
            at += 6 + length
        return ""


def _mismatch(p: _Pending, unit_id: int, function: int, size: int, body: bytes) -> str:
    """What is wrong with an answer of `size` data bytes of which `body` may be the first few."""
    if unit_id != p.unit_id:
        return f"answer of unit {unit_id}, asked unit {p.unit_id}"
    if function == p.function | 0x80:
        return "" if size == 1 else f"exception answer of {size} bytes, permitted 1"
    if function != p.function:
        return f"answer of function {function}, asked function {p.function}"
    if size != p.size:
        return f"answer of {size} data bytes, asked for {p.size}"
    known = body[: len(p.head)]
    if known != p.head[: len(known)]:
        return f"answer begins {known.hex()}, asked for {p.head.hex()}"
    return ""
