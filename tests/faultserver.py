"""A Modbus server that misbehaves on purpose, one script per request; MBAP or RTU, TCP or TLS.

It answers every read with registers that say their own address (register a holds `100 + a`), so a
shifted or foreign answer is seen in the value. A script takes the request's own correct answer and
returns what is put on the wire instead; `None` in the queue means "answer correctly".
"""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType

from pymodbus.framer.rtu import FramerRTU


@dataclass(frozen=True)
class Request:
    """One request frame, taken apart."""

    transaction: int
    unit_id: int
    function: int
    address: int
    count: int
    data: bytes
    """Registers of a write, else empty."""
    rtu: bool = False
    """RTU frames: no transaction, a check sum."""
    special: Mapping[int, int] = field(default_factory=dict)
    """Registers that do not hold 100 + their address."""

    def frame(
        self,
        body: bytes,
        *,
        transaction: int | None = None,
        unit_id: int | None = None,
        function: int | None = None,
        protocol: int = 0,
        length: int | None = None,
    ) -> bytes:
        """An answer frame; what is not given is as the request wants it."""
        if self.rtu:
            return with_crc(
                bytes([
                    self.unit_id if unit_id is None else unit_id,
                    self.function if function is None else function,
                ]) + body
            )  # fmt: skip
        return (
            struct.pack(
                ">HHHBB",
                self.transaction if transaction is None else transaction,
                protocol,
                len(body) + 2 if length is None else length,
                self.unit_id if unit_id is None else unit_id,
                self.function if function is None else function,
            )
            + body
        )

    def good_body(self) -> bytes:
        """The body of the correct answer."""
        if self.function == 16:
            return struct.pack(">HH", self.address, self.count)
        if self.function in (1, 2):
            bits = [(self.address + i) % 3 == 0 for i in range(self.count)]
            octets = bytearray((self.count + 7) // 8)
            for i, bit in enumerate(bits):
                octets[i // 8] |= bit << (i % 8)
            return bytes([len(octets)]) + bytes(octets)
        at = range(self.address, self.address + self.count)
        words = [self.special.get(a, (100 + a) & 0xFFFF) for a in at]
        return bytes([2 * self.count]) + struct.pack(f">{self.count}H", *words)

    def good(self) -> bytes:
        """The correct answer frame."""
        return self.frame(self.good_body())

    def exception(self, code: int) -> bytes:
        """An exception answer."""
        return self.frame(bytes([code]), function=self.function | 0x80)


def with_crc(frame: bytes) -> bytes:
    """An RTU frame with its check sum."""
    return frame + FramerRTU.compute_CRC(frame).to_bytes(2, "big")


class Connection:
    """One client, for scripts that want to do more than answer."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def close(self) -> None:
        self.writer.close()


Script = Callable[[Request, Connection], Awaitable[None]]


class FaultServer:
    """Use as an async context manager. `script` holds one entry per coming request."""

    def __init__(
        self, port: int, *, rtu: bool = False, tls: ssl.SSLContext | None = None
    ) -> None:
        self.port = port
        self.rtu = rtu
        self.tls = tls
        self.requests: list[Request] = []
        self.special: dict[int, int] = {}
        """Registers that do not hold 100 + their address."""
        self.connections = 0
        self.script: deque[Script | None] = deque()
        self.always: Script | None = None
        """Used for every request while `script` is empty."""
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> FaultServer:
        self._server = await asyncio.start_server(
            self._client, "127.0.0.1", self.port, ssl=self.tls
        )
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Close the port and every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._clients:
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    @property
    def listening(self) -> bool:
        """Whether the port is open."""
        return self._server is not None

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        self.connections += 1
        connection = Connection(writer)
        try:
            while True:
                request = await self._request(reader)
                self.requests.append(request)
                script = self.script.popleft() if self.script else self.always
                if script is None:
                    connection.send(request.good())
                else:
                    await script(request, connection)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            # Ended by the peer, by a script or by stop(): all the same to this device. Not raised
            # again, because the streams module would log a cancelled handler as an error.
            pass
        finally:
            self._clients.discard(task)
            writer.close()

    async def _request(self, reader: asyncio.StreamReader) -> Request:
        if self.rtu:
            head = await reader.readexactly(6)
            unit_id, function, address, count = struct.unpack(">BBHH", head)
            rest = b""
            if function == 16:
                octets = await reader.readexactly(1)
                rest = octets + await reader.readexactly(octets[0])
            crc = await reader.readexactly(2)
            assert with_crc(head + rest)[-2:] == crc
            return Request(
                0, unit_id, function, address, count, rest[1:], rtu=True, special=self.special
            )
        header = await reader.readexactly(7)
        transaction, _, length, unit_id = struct.unpack(">HHHB", header)
        pdu = await reader.readexactly(length - 1)
        function, address, count = struct.unpack(">BHH", pdu[:5])
        return Request(
            transaction, unit_id, function, address, count, pdu[6:], special=self.special
        )


# --- the catalogue: what real devices and bad networks do ---


def say(make: Callable[[Request], bytes]) -> Script:
    """A script that answers with what `make` makes of the request."""

    async def script(request: Request, connection: Connection) -> None:
        connection.send(make(request))

    return script


def short(request: Request) -> bytes:
    """Fewer registers than asked, honest byte count."""
    return request.frame(bytes([2]) + request.good_body()[1:3])


def long(request: Request) -> bytes:
    """More registers than asked, honest byte count."""
    body = request.good_body()[1:] + b"\x00\x07"
    return request.frame(bytes([len(body)]) + body)


def byte_count_too_large(request: Request) -> bytes:
    """The byte count promises more than the packet holds."""
    body = request.good_body()
    return request.frame(bytes([body[0] + 10]) + body[1:])


def other_function(request: Request) -> bytes:
    """Right size, function 3 for 4 and 4 for 3."""
    return request.frame(request.good_body(), function={3: 4, 4: 3}.get(request.function, 3))


def other_unit(request: Request) -> bytes:
    """The answer of a neighbour behind the same gateway."""
    return request.frame(request.good_body(), unit_id=request.unit_id + 1)


def other_transaction(request: Request) -> bytes:
    """An answer to a request nobody made."""
    return request.frame(request.good_body(), transaction=request.transaction + 7)


def transaction_zero(request: Request) -> bytes:
    """Some gateways never copy the transaction; pymodbus accepts it."""
    return request.frame(request.good_body(), transaction=0)


def other_protocol(request: Request) -> bytes:
    """Not Modbus."""
    return request.frame(request.good_body(), protocol=7)


def length_zero(request: Request) -> bytes:
    """A header whose length field says nothing follows."""
    return request.frame(request.good_body(), length=0)


def long_exception(request: Request) -> bytes:
    """An exception answer with trailing bytes."""
    return request.frame(b"\x02\x00\x00", function=request.function | 0x80)


def other_exception(request: Request) -> bytes:
    """The exception answer of another function."""
    return request.frame(b"\x02", function=0x81)


def garbage(_request: Request) -> bytes:
    """Line noise, as long as a frame."""
    return bytes(range(97, 97 + 24))


def twice(request: Request) -> bytes:
    """The right answer and, glued to it, one nobody asked for."""
    return request.good() + request.frame(request.good_body(), transaction=request.transaction + 1)


def shifted_echo(request: Request) -> bytes:
    """The echo of a write names another address; reads are answered correctly."""
    if request.function != 16:
        return request.good()
    return request.frame(struct.pack(">HH", request.address + 1, request.count))


def short_echo(request: Request) -> bytes:
    """The echo of a write says that fewer registers were written."""
    if request.function != 16:
        return request.good()
    return request.frame(struct.pack(">HH", request.address, request.count - 1))


LIES: dict[str, Script] = {
    make.__name__: say(make)
    for make in (
        short, long, byte_count_too_large, other_function, other_unit, other_transaction,
        transaction_zero, other_protocol, length_zero, long_exception, other_exception, garbage,
        twice,
    )
}  # fmt: skip
"""Answers to a read that Modbus does not allow."""
LYING_ECHOES: dict[str, Script] = {
    make.__name__: say(make) for make in (shifted_echo, short_echo, transaction_zero, other_unit)
}
"""Answers to a write that Modbus does not allow."""


async def silent(_request: Request, _connection: Connection) -> None:
    """Take the request and say nothing."""


async def hang_up(_request: Request, connection: Connection) -> None:
    """Close the connection instead of answering."""
    connection.close()


async def half_an_answer(request: Request, connection: Connection) -> None:
    """Send the first half of the answer, then close."""
    frame = request.good()
    connection.send(frame[: len(frame) // 2])
    connection.close()


async def reset(request: Request, connection: Connection) -> None:
    """Send half of the answer, then reset the connection."""
    frame = request.good()
    connection.send(frame[: len(frame) // 2])
    connection.writer.transport.abort()


async def in_pieces(request: Request, connection: Connection) -> None:
    """The right answer, byte by byte."""
    for octet in request.good():
        connection.send(bytes([octet]))
        await asyncio.sleep(0)


def exception(code: int) -> Script:
    """Answer with an exception."""
    return say(lambda request: request.exception(code))


def refuse(table_function: int, *bad: int) -> Script:
    """Exception 2 for every request of `table_function` that touches one of the bad addresses."""

    def answer(r: Request) -> bytes:
        hit = any(r.address <= a < r.address + r.count for a in bad)
        return r.exception(2) if r.function == table_function and hit else r.good()

    return say(answer)


def slow(delay_s: float) -> Script:
    """The right answer, `delay_s` too late; what is asked meanwhile waits its turn."""

    async def script(request: Request, connection: Connection) -> None:
        await asyncio.sleep(delay_s)
        if not connection.writer.is_closing():
            connection.send(request.good())

    return script


def late(delay_s: float) -> Script:
    """The right answer, `delay_s` too late; the next request is served meanwhile."""
    tasks: set[asyncio.Task[None]] = set()

    async def script(request: Request, connection: Connection) -> None:
        async def later() -> None:
            await asyncio.sleep(delay_s)
            if not connection.writer.is_closing():
                connection.send(request.good())

        task = asyncio.create_task(later())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    return script
