"""The entries of the Modbus fault catalogue. Add a row; the test and the bench follow."""

from __future__ import annotations

import asyncio

from edge.core.tags import Reason
from tests import faultserver as fs
from tests.drivers.catalogue_modbus import FLOAT_AT, TIMEOUT_S, Begin, Fault
from tests.drivers.plc import settle


def once(script: fs.Script, *, skip: int = 0) -> Begin:
    """The next request but `skip` is answered by `script`."""

    async def begin(server: fs.FaultServer) -> None:
        server.script.extend([*[None] * skip, script])

    return begin


def always(script: fs.Script) -> Begin:
    """Every request is answered by `script`."""

    async def begin(server: fs.FaultServer) -> None:
        server.always = script

    return begin


def of_unit(unit_id: int, script: fs.Script) -> Begin:
    """Only this unit misbehaves, all the time."""

    async def mixed(request: fs.Request, connection: fs.Connection) -> None:
        if request.unit_id == unit_id:
            await script(request, connection)
        else:
            connection.send(request.good())

    return always(mixed)


async def merged(server: fs.FaultServer) -> None:
    """Every other answer is kept back and sent with the next one, in one segment."""
    held: list[bytes] = []

    async def script(request: fs.Request, connection: fs.Connection) -> None:
        if held:
            connection.send(held.pop() + request.good())
        else:
            held.append(request.good())

    server.always = script


def stall(seconds: float) -> Begin:
    """Nothing is answered, then everything at once, each over the connection it came from."""

    async def begin(server: fs.FaultServer) -> None:
        end_s = asyncio.get_running_loop().time() + seconds
        held: list[tuple[fs.Request, fs.Connection]] = []

        async def script(request: fs.Request, connection: fs.Connection) -> None:
            held.append((request, connection))
            if asyncio.get_running_loop().time() >= end_s:
                for asked, client in held:
                    if not client.writer.is_closing():
                        client.send(asked.good())
                held.clear()

        server.always = script

    return begin


def restart(seconds: float) -> Begin:
    """The device loses power for a while."""

    async def begin(server: fs.FaultServer) -> None:
        await server.stop()
        await settle(seconds)
        await server.__aenter__()

    return begin


async def gone(server: fs.FaultServer) -> None:
    """The device is switched off; the end of the entry switches it on again."""
    await server.stop()


async def flipped_words(server: fs.FaultServer) -> None:
    """A PLC program is loaded whose floats have the low word first."""
    high, low = server.special[FLOAT_AT], server.special[FLOAT_AT + 1]
    server.special |= {FLOAT_AT: low, FLOAT_AT + 1: high}


def noise(make: object) -> Begin:
    """The next answer is what `make` makes of the request."""
    return once(fs.say(make))  # type: ignore[arg-type]


def _input_table(request: fs.Request) -> bytes:
    """The input registers of that address instead of the holding registers: another quantity."""
    words = [(5000 + request.address + i).to_bytes(2, "big") for i in range(request.count)]
    return request.frame(bytes([2 * request.count]) + b"".join(words), function=4)


async def gateway_without_transactions(server: fs.FaultServer) -> None:
    """A gateway that never copies the transaction and has fallen four answers behind."""
    held: list[fs.Request] = []

    async def script(request: fs.Request, connection: fs.Connection) -> None:
        held.append(request)
        if len(held) > 4:
            oldest = held.pop(0)
            connection.send(oldest.frame(oldest.good_body(), transaction=0))

    server.always = script


def _damaged(request: fs.Request) -> bytes:
    frame = bytearray(request.good())
    frame[6] ^= 0x20
    return bytes(frame)


R = Reason
_NOBODY = "nobody asked for"
FAULTS: tuple[Fault, ...] = (
    Fault(name="answer late", begin=once(fs.late(1.2 * TIMEOUT_S)), reason=R.TIMEOUT,
          says="no answer in 250 ms"),
    Fault(name="answers split byte by byte", begin=always(fs.in_pieces), reason=R.NONE),
    Fault(name="answers merged, two in a segment", begin=merged, reason=R.TIMEOUT, polls=8,
          says="no answer in"),
    Fault(name="short answer", begin=once(fs.LIES["short"]), reason=R.BAD_ANSWER,
          says="answer of 3 data bytes, asked for 251"),
    Fault(name="long answer", begin=once(fs.LIES["long"], skip=2), reason=R.BAD_ANSWER,
          says="answer of 7 data bytes, asked for 5"),
    Fault(name="byte count above the packet", begin=once(fs.LIES["byte_count_too_large"], skip=2),
          reason=R.BAD_ANSWER, says="answer begins 0e, asked for 04"),
    Fault(name="another function", begin=once(fs.LIES["other_function"]), reason=R.BAD_ANSWER,
          says="answer of function 4, asked function 3"),
    Fault(name="another unit", begin=once(fs.LIES["other_unit"]), reason=R.BAD_ANSWER,
          says="answer of unit 2, asked unit 1"),
    Fault(name="transaction 0", begin=once(fs.LIES["transaction_zero"]), reason=R.BAD_ANSWER,
          says=_NOBODY),
    Fault(name="another function, other table", begin=once(fs.say(_input_table)),
          reason=R.BAD_ANSWER, says="answer of function 4, asked function 3"),
    Fault(name="transaction 0, answers behind", begin=gateway_without_transactions,
          reason=R.TIMEOUT, polls=8, says="no answer in"),
    Fault(name="another transaction", begin=once(fs.LIES["other_transaction"]),
          reason=R.BAD_ANSWER, says=_NOBODY),
    Fault(name="another protocol", begin=once(fs.LIES["other_protocol"]), reason=R.BAD_ANSWER,
          says="no Modbus frame: protocol 7"),
    Fault(name="length 0", begin=once(fs.LIES["length_zero"]), reason=R.BAD_ANSWER,
          says="no Modbus frame: .*length 0"),
    Fault(name="garbage", begin=once(fs.LIES["garbage"]), reason=R.BAD_ANSWER,
          says="no Modbus frame"),
    Fault(name="exception 4", begin=once(fs.exception(4)), reason=R.EXCEPTION,
          says="exception 4 .device failure"),
    Fault(name="exception 6, busy", begin=once(fs.exception(6)), reason=R.EXCEPTION,
          says="exception 6 .device busy"),
    Fault(name="exception with extra bytes", begin=once(fs.LIES["long_exception"]),
          reason=R.BAD_ANSWER, says="exception answer of 3 bytes"),
    Fault(name="exception 2 for one register", begin=always(fs.refuse(3, 13)), reason=R.EXCEPTION,
          says="exception 2", spared=(2,), back_s=62.0),
    Fault(name="peer closes", begin=once(fs.hang_up), reason=R.NOT_CONNECTED,
          says="closed the connection"),
    Fault(name="closed in mid-frame", begin=once(fs.half_an_answer), reason=R.NOT_CONNECTED,
          says="closed the connection"),
    Fault(name="reset in mid-frame", begin=once(fs.reset), reason=R.NOT_CONNECTED,
          says="closed the connection"),
    Fault(name="half-open link", begin=always(fs.silent), reason=R.TIMEOUT, polls=10,
          says="no answer in", back_s=3.0),
    Fault(name="silent unit, neighbour speaks", begin=of_unit(1, fs.silent), reason=R.TIMEOUT,
          polls=20, spared=(2,), says="no answer in"),
    Fault(name="gateway: unit does not answer", begin=of_unit(1, fs.exception(11)),
          reason=R.EXCEPTION, also=R.TIMEOUT, polls=10, spared=(2,), says="exception 11"),
    Fault(name="restart, 1 s", begin=restart(1.0), reason=R.NOT_CONNECTED,
          says="closed the connection|no TCP connection"),
    Fault(name="gone for 14 s", begin=gone, reason=R.NOT_CONNECTED, polls=14,
          says="closed the connection|no TCP connection", back_s=3.0),
    Fault(name="stall of 60 s", begin=stall(60.0), reason=R.TIMEOUT, polls=62,
          says="no answer in", back_s=3.0),
    Fault(name="words flipped, live zero", begin=flipped_words, reason=R.OUT_OF_RANGE),
    Fault(name="RTU: answer late", framing="rtu", begin=once(fs.slow(1.2 * TIMEOUT_S)),
          reason=R.TIMEOUT, polls=8, says="no answer in"),
    Fault(name="RTU: always late", framing="rtu", begin=always(fs.slow(1.1 * TIMEOUT_S)),
          reason=R.TIMEOUT, polls=20, says="no answer in"),
    Fault(name="RTU: noise before the answer", framing="rtu",
          begin=noise(lambda r: b"\xff\x55" + r.good()), reason=R.BAD_ANSWER, says=_NOBODY),
    Fault(name="RTU: noise in the answer", framing="rtu", begin=noise(_damaged),
          reason=R.BAD_ANSWER, says="check sum"),
    Fault(name="RTU: short answer", framing="rtu", begin=once(fs.LIES["short"]),
          reason=R.BAD_ANSWER, says=_NOBODY),
    Fault(name="RTU: another function", framing="rtu", begin=once(fs.LIES["other_function"]),
          reason=R.BAD_ANSWER, says=_NOBODY),
    Fault(name="RTU: stall of 60 s", framing="rtu", begin=stall(60.0), reason=R.TIMEOUT,
          polls=62, says="no answer in"),
    Fault(name="write: echo of another address", write=True, polls=1, reason=R.BAD_ANSWER,
          begin=once(fs.LYING_ECHOES["shifted_echo"])),
    Fault(name="write: echo of fewer registers", write=True, polls=1, reason=R.BAD_ANSWER,
          begin=once(fs.LYING_ECHOES["short_echo"])),
    Fault(name="write: echo of transaction 0", write=True, polls=1, reason=R.BAD_ANSWER,
          begin=once(fs.LYING_ECHOES["transaction_zero"])),
    Fault(name="write: no answer", write=True, polls=1, reason=R.TIMEOUT,
          begin=always(fs.silent)),
    Fault(name="RTU write: echo of another address", framing="rtu", write=True, polls=1,
          reason=R.BAD_ANSWER, begin=once(fs.LYING_ECHOES["shifted_echo"])),
)  # fmt: skip
