"""Registers <-> values: type, word and byte order, scale, invalid codes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

RegisterType = Literal[
    "int16", "uint16", "int32", "uint32", "float32", "int64", "uint64", "float64", "bit"
]
WORDS: dict[RegisterType, int] = {
    "int16": 1, "uint16": 1, "bit": 1, "int32": 2, "uint32": 2, "float32": 2,
    "int64": 4, "uint64": 4, "float64": 4,
}  # fmt: skip


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
