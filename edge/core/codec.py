"""Registers <-> values: type, word and byte order, scale, invalid codes.

`BlockDecoder` is the hot path: built once per read block, it gathers the words of all tags of one
layout by index and reinterprets them as one numpy view, so its cost does not grow with the number
of tags in Python steps. `encode` is its scalar inverse for simulators and tests.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from edge.core.tags import Reason

RegisterType = Literal[
    "int16",
    "uint16",
    "int32",
    "uint32",
    "float32",
    "int64",
    "uint64",
    "float64",
    "bit",
    "bcd16",
    "bcd32",
    "string",
]
WORDS: dict[RegisterType, int] = {
    "int16": 1, "uint16": 1, "bit": 1, "int32": 2, "uint32": 2, "float32": 2,
    "int64": 4, "uint64": 4, "float64": 4, "bcd16": 1, "bcd32": 2,
}  # fmt: skip
"""Registers of one value; a string has its own length (`words_of`)."""
_VIEW: dict[RegisterType, str] = {
    "int16": "<i2", "uint16": "<u2", "bit": "<u2", "int32": "<i4", "uint32": "<u4",
    "float32": "<f4", "int64": "<i8", "uint64": "<u8", "float64": "<f8", "bcd16": "<u2",
    "bcd32": "<u4",
}  # fmt: skip
BCD_DIGITS: dict[str, int] = {"bcd16": 4, "bcd32": 8}
ByteOrder = Literal["big", "little"]
WordOrder = Literal["big", "little", "big-swapped", "little-swapped"]
ORDERS: dict[str, tuple[WordOrder, ByteOrder]] = {
    "ABCD": ("big", "big"),
    "CDAB": ("little", "big"),
    "BADC": ("big", "little"),
    "DCBA": ("little", "little"),
}
"""Label -> (word order, byte order). A is the most significant byte; the label is wire order."""
SWAPPED_ORDERS: dict[str, tuple[WordOrder, ByteOrder]] = {
    "ABCD-swapped": ("big-swapped", "big"),
    "CDAB-swapped": ("little-swapped", "big"),
    "BADC-swapped": ("big-swapped", "little"),
    "DCBA-swapped": ("little-swapped", "little"),
}
"""More orders of 64-bit values: two 32-bit halves, each with its own registers exchanged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """How one value is laid out in registers; value = raw * scale + offset."""

    type: RegisterType = "uint16"
    word_order: WordOrder = "big"
    byte_order: ByteOrder = "big"
    scale: float = 1.0
    offset: float = 0.0
    bit: int = 0
    """Bit number 0..15 for type "bit"."""
    invalid: tuple[int, ...] = ()
    """Raw codes (unsigned) by which the device says "no value"."""
    length: int = 0
    """Registers of type "string", two characters each."""


def words_of(encoding: Encoding) -> int:
    """Registers of one value."""
    return encoding.length if encoding.type == "string" else WORDS[encoding.type]


def wire_rank(encoding: Encoding) -> list[int]:
    """Where the registers of a number stand on the wire, least significant first.

    Each of these orders is its own inverse.
    """
    width = WORDS[encoding.type]
    little = encoding.word_order.startswith("little")
    order = list(range(width)) if little else list(range(width))[::-1]
    swapped = width == 4 and encoding.word_order.endswith("swapped")
    return [i ^ 1 for i in order] if swapped else order


@dataclass(frozen=True, slots=True)
class _Group:
    """All values of one block that share type, word order and byte order."""

    type: RegisterType
    swap_bytes: bool
    positions: npt.NDArray[np.intp]
    """intp[m]: where the values go in the output."""
    gather: npt.NDArray[np.intp]
    """intp[m, w]: word indices, least significant word first."""
    scaled: bool
    """Some value has a scale or an offset."""
    scale: npt.NDArray[np.float64]
    offset: npt.NDArray[np.float64]
    shift: npt.NDArray[np.uint16]
    invalid: npt.NDArray[np.uint64] | None
    """uint64[m, k], rows padded by repeating a code; None when no value has invalid codes."""
    has_invalid: npt.NDArray[np.bool_]


class BlockDecoder:
    """Decoder of one block of registers, compiled for fixed encodings at fixed word offsets."""

    def __init__(self, encodings: Sequence[Encoding], offsets: Sequence[int]) -> None:
        """`offsets[i]` is the word index of value i's first register inside the block."""
        self._count = len(encodings)
        members: dict[tuple[RegisterType, WordOrder, ByteOrder], list[int]] = {}
        for i, e in enumerate(encodings):
            if e.type != "string":
                members.setdefault((e.type, e.word_order, e.byte_order), []).append(i)
        self._groups = tuple(_compile(where, encodings, offsets) for where in members.values())
        self._texts = [(i, offsets[i], e) for i, e in enumerate(encodings) if e.type == "string"]

    def decode(
        self, words: npt.NDArray[np.uint16]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.uint8]]:
        """Decode uint16[n] words into (values float64[k], reason uint8[k]).

        A value whose reason is not NONE is NaN: INVALID_CODE when the device sent an agreed code,
        NOT_A_NUMBER when the number is NaN, infinite or no BCD number, or a text is unreadable,
        TEXT when there is a text, which `text` gives.
        """
        values = np.empty(self._count, np.float64)
        reason = np.zeros(self._count, np.uint8)
        for g in self._groups:
            raw = words[g.gather].astype("<u2", copy=False)
            if g.swap_bytes:
                raw = raw.byteswap()
            view = raw.view(_VIEW[g.type])[:, 0]
            if g.type == "bit":
                view = (view >> g.shift) & np.uint16(1)
            with np.errstate(over="ignore", invalid="ignore"):
                if g.type in BCD_DIGITS:
                    number = _from_bcd(view.astype(np.uint64), BCD_DIGITS[g.type])
                else:
                    number = view.astype(np.float64)
                if g.scaled:
                    number = number * g.scale + g.offset
            bad = ~np.isfinite(number)
            if bad.any():
                number[bad] = np.nan
                reason[g.positions[bad]] = Reason.NOT_A_NUMBER
            if g.invalid is not None:
                unsigned = raw.view(f"<u{2 * raw.shape[1]}").astype(np.uint64)
                hit = (unsigned == g.invalid).any(axis=1) & g.has_invalid
                number[hit] = np.nan
                reason[g.positions[hit]] = Reason.INVALID_CODE
            values[g.positions] = number
        for i, at, encoding in self._texts:
            readable = text(words[at : at + encoding.length].tolist(), encoding) is not None
            values[i], reason[i] = np.nan, Reason.TEXT if readable else Reason.NOT_A_NUMBER
        return values, reason


def _from_bcd(raw: npt.NDArray[np.uint64], digits: int) -> npt.NDArray[np.float64]:
    """Packed decimal digits -> float64; NaN where a digit is above 9: never guess a number."""
    places = np.arange(digits, dtype=np.uint64)
    nibbles = (raw[:, None] >> (np.uint64(4) * places)) & np.uint64(0xF)
    number = (nibbles * 10.0**places).sum(axis=1)
    return np.where((nibbles > 9).any(axis=1), np.nan, number)


def text(words: Sequence[int], encoding: Encoding) -> str | None:
    """What a string says, without the blanks and zeros that fill it up; None if it is no text.

    ASCII, two characters a register; `byte_order` says which comes first.
    """
    order = encoding.byte_order
    raw = b"".join(int(w).to_bytes(2, order) for w in words).partition(b"\0")[0].rstrip()
    return raw.decode("ascii") if raw.isascii() and raw.decode("ascii").isprintable() else None


def _compile(where: list[int], encodings: Sequence[Encoding], offsets: Sequence[int]) -> _Group:
    own = [encodings[i] for i in where]
    kind = own[0].type
    rank = np.array(wire_rank(own[0]), np.intp)
    most = max(len(e.invalid) for e in own)
    padded = [(e.invalid + (e.invalid or (0,))[-1:] * most)[:most] for e in own]
    return _Group(
        type=kind,
        swap_bytes=own[0].byte_order == "little",
        positions=np.array(where, np.intp),
        gather=np.array([offsets[i] for i in where], np.intp)[:, None] + rank[None, :],
        scaled=any((e.scale, e.offset) != (1.0, 0.0) for e in own),
        scale=np.array([e.scale for e in own]),
        offset=np.array([e.offset for e in own]),
        shift=np.array([e.bit for e in own], np.uint16),
        invalid=np.array(padded, np.uint64) if most else None,
        has_invalid=np.array([bool(e.invalid) for e in own]),
    )


def decode(words: Sequence[int], encoding: Encoding) -> tuple[float, Reason]:
    """Decode one value; NaN and the reason when the registers hold no number."""
    block = BlockDecoder([encoding], [0])
    values, reason = block.decode(np.array(words, np.uint16))
    return float(values[0]), Reason(int(reason[0]))


def encode(value: float, encoding: Encoding) -> tuple[int, ...]:
    """Registers (each 0..65535) that hold `value`, as an instrument would send it.

    NaN becomes the first invalid code where there is one. Raises ValueError when the type cannot
    hold the value (after scale and offset) instead of wrapping round.
    """
    if encoding.type == "string":
        raise ValueError("a string holds no number")
    width = WORDS[encoding.type]
    if math.isnan(value) and encoding.invalid:
        raw = encoding.invalid[0].to_bytes(2 * width, "little")
    elif encoding.type == "bit":
        raw = (int(bool(value)) << encoding.bit).to_bytes(2, "little")
    else:
        raw = _raw_bytes(value, encoding)
    words = np.frombuffer(raw, "<u2")[wire_rank(encoding)]
    if encoding.byte_order == "little":
        words = words.byteswap()
    return tuple(int(w) for w in words)


def _raw_bytes(value: float, encoding: Encoding) -> bytes:
    dtype = np.dtype(_VIEW[encoding.type])
    number = (value - encoding.offset) / encoding.scale
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            raw = np.array(number, dtype)
        if math.isfinite(number) and not np.isfinite(raw):
            raise ValueError(f"{value!r} does not fit {encoding.type}")
        return raw.tobytes()
    if not math.isfinite(number):
        raise ValueError(f"{value!r} has no {encoding.type} code and no invalid code is configured")
    digits = BCD_DIGITS.get(encoding.type)
    limits = np.iinfo(dtype)
    low, high = (int(limits.min), int(limits.max)) if digits is None else (0, 10**digits - 1)
    code = round(number)
    if not low <= code <= high:
        raise ValueError(f"{value!r} needs raw code {code}, {encoding.type} holds {low}..{high}")
    return np.array(code if digits is None else int(str(code), 16), dtype).tobytes()


def all_orders(words: Sequence[int]) -> dict[str, float]:
    """Every reading of 1, 2 or 4 raw registers, label -> value, for the commissioning table.

    Labels are "<type> <order>" with the order of the bytes on the wire (A most significant):
    "float32 CDAB". One register has the orders AB and BA; four registers use the names of two,
    each letter standing for two bytes' worth of words. Never trust an order label of a manual:
    look for the reading that makes sense. Raises ValueError for another number of registers.
    """
    kinds = [k for k, width in WORDS.items() if width == len(words) and k != "bit"]
    if not kinds:
        raise ValueError(f"{len(words)} registers hold no known type; permitted: 1, 2 or 4")
    array = np.array(words, np.uint16)
    out: dict[str, float] = {}
    for kind in kinds:
        orders = ORDERS | (SWAPPED_ORDERS if len(words) == 4 else {})
        for label, (word_order, byte_order) in orders.items():
            if len(words) == 1:
                if word_order == "little":
                    continue
                label = "AB" if byte_order == "big" else "BA"
            e = Encoding(type=kind, word_order=word_order, byte_order=byte_order)
            out[f"{kind} {label}"] = float(BlockDecoder([e], [0]).decode(array)[0][0])
    return out
