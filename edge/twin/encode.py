"""Many values -> the registers of a simulated PLC, in a handful of numpy steps.

`edge.core.codec.encode` defines the layout of one value; a test holds this block form to it. The
difference is what an instrument does with a number its type cannot hold: it saturates, and without
an agreed "no value" code an integer register keeps what it showed last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge.core.codec import BCD_DIGITS, WORDS, Encoding, RegisterType, encode, wire_rank

_RAW: dict[RegisterType, str] = {
    "int16": ">i2", "uint16": ">u2", "int32": ">i4", "uint32": ">u4", "float32": ">f4",
    "int64": ">i8", "uint64": ">u8", "float64": ">f8",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Group:
    dtype: np.dtype[np.generic]
    positions: npt.NDArray[np.intp]
    cells: npt.NDArray[np.intp]
    """intp[m, w]: where each word goes, most significant first."""
    swap_bytes: bool
    scale: npt.NDArray[np.float64]
    offset: npt.NDArray[np.float64]
    invalid: npt.NDArray[np.uint64]
    has_invalid: npt.NDArray[np.bool_]


class BlockEncoder:
    """Encoder of values into one register area, compiled for fixed encodings and word offsets."""

    def __init__(self, encodings: Sequence[Encoding], offsets: Sequence[int]) -> None:
        """`offsets[i]` is the index of value i's first word in the area."""
        members: dict[tuple[RegisterType, str, str], list[int]] = {}
        self._bits: list[tuple[int, int, int]] = []
        self._bcds: list[tuple[int, int, Encoding]] = []
        for i, e in enumerate(encodings):
            if e.type == "bit":
                self._bits.append((i, offsets[i], e.bit))
            elif e.type in BCD_DIGITS:
                self._bcds.append((i, offsets[i], e))
            elif e.type == "string":
                continue  # the twin has no texts; the registers stay empty
            else:
                members.setdefault((e.type, e.word_order, e.byte_order), []).append(i)
        self._groups = [_compile(where, encodings, offsets) for where in members.values()]

    def encode_into(self, values: npt.NDArray[np.float64], words: npt.NDArray[np.uint16]) -> None:
        """Write float64[n] values, engineering units, into the area `words`."""
        for g in self._groups:
            number = (values[g.positions] - g.offset) / g.scale
            cells = g.cells
            is_float = g.dtype.kind == "f"
            with np.errstate(over="ignore"):
                raw = number.astype(g.dtype) if is_float else _saturate(number, g.dtype)
            missing = np.isnan(number)
            if missing.any():
                codes = g.invalid.astype(f">u{g.dtype.itemsize}").view(g.dtype)
                coded = missing & g.has_invalid
                raw[coded] = codes[coded]
                if not is_float:
                    keep = coded | ~missing
                    raw, cells = raw[keep], cells[keep]
            matrix = raw.view(">u2").reshape(cells.shape)
            native = matrix.astype(np.uint16)
            words[cells] = native.byteswap() if g.swap_bytes else native
        for position, cell, e in self._bcds:
            if np.isfinite(values[position]):
                most = 10 ** BCD_DIGITS[e.type] - 1
                code = min(max((values[position] - e.offset) / e.scale, 0), most)
                words[cell : cell + WORDS[e.type]] = encode(code * e.scale + e.offset, e)
        for position, cell, bit in self._bits:
            if np.isfinite(values[position]):
                mask = 1 << bit
                on = mask if values[position] else 0
                words[cell] = int(words[cell]) & ~mask & 0xFFFF | on


def _saturate(
    number: npt.NDArray[np.float64], dtype: np.dtype[np.generic]
) -> npt.NDArray[np.generic]:
    limits = np.iinfo(dtype)  # type: ignore[type-var]  # only integer types get here
    low, high = float(limits.min), float(limits.max)
    if high > limits.max:  # 64 bits: the next float below
        high = float(np.nextafter(high, 0.0))
    return np.clip(np.rint(np.nan_to_num(number)), low, high).astype(dtype)


def _compile(where: list[int], encodings: Sequence[Encoding], offsets: Sequence[int]) -> _Group:
    own = [encodings[i] for i in where]
    kind = own[0].type
    rank = np.array(wire_rank(own[0]), np.intp)[::-1]  # most significant first, as the view
    return _Group(
        dtype=np.dtype(_RAW[kind]),
        positions=np.array(where, np.intp),
        cells=np.array([offsets[i] for i in where], np.intp)[:, None] + rank[None, :],
        swap_bytes=own[0].byte_order == "little",
        scale=np.array([e.scale for e in own]),
        offset=np.array([e.offset for e in own]),
        invalid=np.array([e.invalid[0] if e.invalid else 0 for e in own], np.uint64),
        has_invalid=np.array([bool(e.invalid) for e in own]),
    )
