"""Numbers to 16-bit words and back, total: no number raises, what does not fit is clamped."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edge.core.registers import INVALID, Word


def put(out: list[int], word: Word, value: float | None) -> None:
    """Write `value` (in the row's unit) into `out` as the row says.

    None, NaN and infinities become "no value" where the row has one, else 0.
    """
    value = finite(value)
    if value is None:
        out[word.offset] = INVALID if word.invalid else 0
        return
    raw = value if isinstance(value, int) and word.scale == 1 else value / word.scale
    if word.kind == "int16":
        out[word.offset] = clamp(raw, -0x7FFF, 0x7FFF) & 0xFFFF
    elif word.kind == "uint32":
        whole_ = clamp(raw, 0, 0xFFFFFFFF)
        out[word.offset], out[word.offset + 1] = whole_ >> 16, whole_ & 0xFFFF
    else:
        out[word.offset] = clamp(raw, 0, INVALID - 1 if word.invalid else 0xFFFF)


def load(words: Sequence[int], word: Word) -> int:
    """The raw number of a row: two words high first, int16 with its sign."""
    if word.kind == "uint32":
        return words[word.offset] << 16 | words[word.offset + 1]
    raw = words[word.offset]
    return raw - 0x10000 if word.kind == "int16" and raw & 0x8000 else raw


def number(words: Sequence[int], word: Word) -> float:
    """The value of a row in its unit."""
    return load(words, word) * word.scale


def value_or_none(words: Sequence[int], word: Word) -> float | None:
    """The value of a row in its unit; None where the words say "no value"."""
    raw = load(words, word)
    return None if word.invalid and raw == INVALID else raw * word.scale


def finite(value: float | None) -> float | None:
    """`value`, or None if it is not a finite number."""
    return value if value is not None and math.isfinite(value) else None


def whole(value: float | None) -> int | None:
    """`value` cut to an integer, or None if it is not a finite number."""
    value = finite(value)
    return None if value is None else int(value)


def share(value: float | None) -> float | None:
    """`value` clamped to 0..1, or None if it is not a finite number."""
    value = finite(value)
    return None if value is None else min(max(value, 0.0), 1.0)


def clamp(raw: float, low: int, high: int) -> int:
    """`raw` clamped to low..high and rounded."""
    return round(min(max(raw, low), high))
