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
    "int16", "uint16", "int32", "uint32", "float32", "int64", "uint64", "float64", "bit"
]
WORDS: dict[RegisterType, int] = {
    "int16": 1, "uint16": 1, "bit": 1, "int32": 2, "uint32": 2, "float32": 2,
    "int64": 4, "uint64": 4, "float64": 4,
}  # fmt: skip
_VIEW: dict[RegisterType, str] = {
    "int16": "<i2", "uint16": "<u2", "bit": "<u2", "int32": "<i4", "uint32": "<u4",
    "float32": "<f4", "int64": "<i8", "uint64": "<u8", "float64": "<f8",
}  # fmt: skip
ByteOrder = Literal["big", "little"]
ORDERS: dict[str, tuple[ByteOrder, ByteOrder]] = {
    "ABCD": ("big", "big"),
    "CDAB": ("little", "big"),
    "BADC": ("big", "little"),
    "DCBA": ("little", "little"),
}
"""Label -> (word order, byte order). A is the most significant byte; the label is wire order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """How one value is laid out in registers; value = raw * scale + offset."""

    type: RegisterType = "uint16"
    word_order: Literal["big", "little"] = "big"
    byte_order: Literal["big", "little"] = "big"
    scale: float = 1.0
    offset: float = 0.0
    bit: int = 0
    """Bit number 0..15 for type "bit"."""
    invalid: tuple[int, ...] = ()
    """Raw codes (unsigned) by which the device says "no value"."""


@dataclass(frozen=True, slots=True)
class _Group:
    """All values of one block that share type, word order and byte order."""

    type: RegisterType
    swap_bytes: bool
    positions: npt.NDArray[np.intp]
    """intp[m]: where the values go in the output."""
    gather: npt.NDArray[np.intp]
    """intp[m, w]: word indices, least significant word first."""
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
        members: dict[tuple[RegisterType, ByteOrder, ByteOrder], list[int]] = {}
        for i, e in enumerate(encodings):
            members.setdefault((e.type, e.word_order, e.byte_order), []).append(i)
        self._groups = tuple(
            _compile(key, where, encodings, offsets) for key, where in members.items()
        )

    def decode(
        self, words: npt.NDArray[np.uint16]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.uint8]]:
        """Decode uint16[n] words into (values float64[k], reason uint8[k]).

        A value whose reason is not NONE is NaN: INVALID_CODE when the device sent an agreed code,
        NOT_A_NUMBER when the number is NaN or infinite.
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
                number = view.astype(np.float64) * g.scale + g.offset
            why = np.where(np.isfinite(number), Reason.NONE, Reason.NOT_A_NUMBER)
            if g.invalid is not None:
                unsigned = raw.view(f"<u{2 * raw.shape[1]}").astype(np.uint64)
                hit = (unsigned == g.invalid).any(axis=1) & g.has_invalid
                why[hit] = Reason.INVALID_CODE
            number[why != Reason.NONE] = np.nan
            values[g.positions] = number
            reason[g.positions] = why
        return values, reason


def _compile(
    key: tuple[RegisterType, ByteOrder, ByteOrder],
    where: list[int],
    encodings: Sequence[Encoding],
    offsets: Sequence[int],
) -> _Group:
    kind, word_order, byte_order = key
    width = WORDS[kind]
    rank = np.arange(width) if word_order == "little" else np.arange(width)[::-1]
    own = [encodings[i] for i in where]
    most = max(len(e.invalid) for e in own)
    padded = [(e.invalid + (e.invalid or (0,))[-1:] * most)[:most] for e in own]
    return _Group(
        type=kind,
        swap_bytes=byte_order == "little",
        positions=np.array(where, np.intp),
        gather=np.array([offsets[i] for i in where], np.intp)[:, None] + rank[None, :],
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
    width = WORDS[encoding.type]
    if math.isnan(value) and encoding.invalid:
        raw = encoding.invalid[0].to_bytes(2 * width, "little")
    elif encoding.type == "bit":
        raw = (int(bool(value)) << encoding.bit).to_bytes(2, "little")
    else:
        raw = _raw_bytes(value, encoding)
    words = np.frombuffer(raw, "<u2")
    if encoding.byte_order == "little":
        words = words.byteswap()
    if encoding.word_order == "big":
        words = words[::-1]
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
    limits = np.iinfo(dtype)
    code = round(number)
    if not limits.min <= code <= limits.max:
        raise ValueError(
            f"{value!r} needs raw code {code}, {encoding.type} holds {limits.min}..{limits.max}"
        )
    return np.array(code, dtype).tobytes()


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
        for label, (word_order, byte_order) in ORDERS.items():
            if len(words) == 1:
                if word_order == "little":
                    continue
                label = "AB" if byte_order == "big" else "BA"
            e = Encoding(type=kind, word_order=word_order, byte_order=byte_order)
            out[f"{kind} {label}"] = float(BlockDecoder([e], [0]).decode(array)[0][0])
    return out
