"""Is this the answer to the request that waits? Checked on the raw bytes, before pymodbus decodes.

pymodbus accepts answers that Modbus does not allow: shorter than asked, of another function, with
transaction 0, a write echo of another address. A wrong number is worse than none here.

`Mbap` (TCP, TLS): each answer repeats the transaction of its request, so a late one is recognised
and skipped; anything else nobody asked for is a doubt, and a doubt ends the connection.

`Rtu` (serial lines, RTU over TCP) has no transaction. A late answer looks like the answer to any
later request of the same unit, function and length, and bare pymodbus then delivers every block
one request late, for ever. So unanswered requests are remembered, over connections too:

1. An answer that can only belong to an unanswered request is skipped.
2. A request whose answer could be mistaken for a missing one is preceded by a *marker*: a read of
   another length. A unit answers in order, so once the marker's answer is in, whatever was missing
   has come or never will.
3. Broken check sums and bytes nobody asked for are a doubt.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from pymodbus.framer.rtu import FramerRTU

WRITE_REGISTERS = 16
FORGET_S = 300.0
"""An RTU answer later than this is not expected any more; a stalled PLC may take a minute."""
_LATE_KEPT = 32
_HEADER = struct.Struct(">HHHBB")
_CRC_BYTES = 2


class WireError(Exception):
    """The request failed; the message says how. Subclasses say what it means for the link."""


class SilenceError(WireError):
    """No answer in time. The connection is kept: a late answer is told apart."""


class DoubtError(WireError):
    """An answer that Modbus does not allow. The connection is already dropped."""


class LostError(WireError):
    """The connection is gone."""


@dataclass(slots=True)
class Pending:
    """The request in flight, and what its answer must look like."""

    unit_id: int
    function: int
    head: bytes
    """First bytes of the answer's data: byte count of a read, address and count of a write."""
    size: int
    """Bytes of the answer's data, head included."""
    transaction: int = -1

    @property
    def mark(self) -> bytes:
        """How an RTU answer to it begins."""
        return bytes([self.unit_id, self.function]) + self.head


class Framing(Protocol):
    """What the wire needs to know about frames."""

    def opened(self) -> None:
        """A new connection."""

    def sending(self, pending: Pending, frame: bytes) -> None:
        """`frame` is about to be sent for `pending`."""

    def unanswered(self, pending: Pending) -> None:
        """The request ended without an answer; one may still come."""

    def answered(self, pending: Pending) -> None:
        """The request got its answer."""

    def ambiguous(self, pending: Pending) -> bool:
        """Whether its answer could be mistaken for a missing one."""

    def accept(self, data: bytes, pending: Pending | None) -> bytes:
        """What pymodbus may see of the bytes received since the last request.

        Raises DoubtError for anything but the answer asked for or a late one.
        """


class Mbap:
    """Frames with the header of Modbus TCP."""

    def __init__(self) -> None:
        self._late: deque[int] = deque(maxlen=_LATE_KEPT)

    def opened(self) -> None:
        """Transactions begin anew."""
        self._late.clear()

    def sending(self, pending: Pending, frame: bytes) -> None:
        """Note the transaction pymodbus gave the request."""
        pending.transaction = int.from_bytes(frame[:2], "big")

    def unanswered(self, pending: Pending) -> None:
        """Its answer may come late."""
        self._late.append(pending.transaction)

    def answered(self, pending: Pending) -> None:
        """Nothing to note."""

    def ambiguous(self, pending: Pending) -> bool:
        """Never: the transaction tells."""
        return False

    def accept(self, data: bytes, pending: Pending | None) -> bytes:
        """All of `data`, or DoubtError; pymodbus skips the late answers in it by transaction."""
        at = 0
        while len(data) - at >= _HEADER.size:
            transaction, protocol, length, unit_id, function = _HEADER.unpack_from(data, at)
            if protocol != 0 or not 3 <= length <= 254:
                raise DoubtError(f"no Modbus frame: protocol {protocol}, length {length}")
            if pending is not None and transaction == pending.transaction:
                _check(pending, unit_id, function, length - 2, data[at + 8 :])
            elif transaction not in self._late:
                raise DoubtError(f"answer to transaction {transaction}, which nobody asked for")
            at += 6 + length
        return data


def _check(p: Pending, unit_id: int, function: int, size: int, body: bytes) -> None:
    """Whether an answer of `size` data bytes, of which `body` may be the first few, fits `p`."""
    known = body[: len(p.head)]
    if unit_id != p.unit_id:
        raise DoubtError(f"answer of unit {unit_id}, asked unit {p.unit_id}")
    if function == p.function | 0x80:
        if size != 1:
            raise DoubtError(f"exception answer of {size} bytes, permitted 1")
    elif function != p.function:
        raise DoubtError(f"answer of function {function}, asked function {p.function}")
    elif size != p.size:
        raise DoubtError(f"answer of {size} data bytes, asked for {p.size}")
    elif known != p.head[: len(known)]:
        raise DoubtError(f"answer begins {known.hex()}, asked for {p.head.hex()}")


class Rtu:
    """Frames with unit, function and check sum only. One object serves the link for ever."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        """`now_s` is monotonic, s."""
        self._now_s = now_s
        self._missing: dict[bytes, tuple[Pending, float]] = {}
        """Mark -> unanswered request, and until when its answer is reckoned with."""

    def opened(self) -> None:
        """Nothing is forgotten: a late answer finds its way through a new connection, too."""

    def sending(self, pending: Pending, frame: bytes) -> None:
        """Nothing to note."""

    def unanswered(self, pending: Pending) -> None:
        """Its answer may come at any time."""
        self._missing[pending.mark] = (pending, self._now_s() + FORGET_S)

    def answered(self, pending: Pending) -> None:
        """A unit answers in order: nothing older of it can come any more."""
        for mark in [m for m, (p, _) in self._missing.items() if p.unit_id == pending.unit_id]:
            del self._missing[mark]

    def ambiguous(self, pending: Pending) -> bool:
        """Whether an answer that begins like this one is missing."""
        entry = self._missing.get(pending.mark)
        return entry is not None and entry[1] > self._now_s()

    def accept(self, data: bytes, pending: Pending | None) -> bytes:
        """The whole frame that answers `pending`, nothing before it is complete; or DoubtError."""
        at = 0
        while at < len(data):
            rest = data[at:]
            asked = () if pending is None else (pending,)
            known = _meant(rest, (*asked, *(p for p, _ in self._missing.values())))
            if known is None:
                raise DoubtError(f"bytes nobody asked for: {rest[:8].hex(' ')}")
            owner, size = known
            if len(rest) < size:
                return b""
            frame = rest[:size]
            if FramerRTU.compute_CRC(frame[:-_CRC_BYTES]) != int.from_bytes(frame[-2:], "big"):
                raise DoubtError("check sum is wrong: noise on the line")
            if owner is pending:
                if len(rest) > size:
                    raise DoubtError(f"{len(rest) - size} bytes behind the answer")
                return frame
            at += size  # kept as missing until the unit answers: these bytes are seen again
        return b""


def _meant(rest: bytes, requests: Iterable[Pending]) -> tuple[Pending, int] | None:
    """The request whose answer begins like `rest` (maybe a part of it), and the frame's length."""
    for p in requests:
        refusal = bytes([p.unit_id, p.function | 0x80])
        if p.mark[: len(rest)] == rest[: len(p.mark)]:
            return p, 2 + p.size + _CRC_BYTES
        if refusal[: len(rest)] == rest[: len(refusal)]:
            return p, 3 + _CRC_BYTES
    return None
