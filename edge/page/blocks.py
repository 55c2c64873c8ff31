"""Words of block W and block R as people read them. Pure: words in, rows of text out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, IntFlag

from edge.core.registers import (
    BLOCK_R,
    BLOCK_R_WORDS,
    BLOCK_W,
    BLOCK_W_WORDS,
    Alarm,
    Control,
    MaintKind,
    Ne107,
    PackML,
    Status,
    TrimReason,
    TrimState,
    Word,
    crc16,
    w,
)
from edge.core.words import value_or_none

BITS: dict[str, type[IntFlag]] = {"STATUS": Status, "ALARMS": Alarm, "CONTROL": Control}
CODES: dict[str, type[IntEnum]] = {
    "NE107": Ne107, "TRIM_STATE": TrimState, "TRIM_REASON": TrimReason, "BATCH_STATE": PackML,
    "MAINT_KIND": MaintKind,
}  # fmt: skip
TABLES = {"W": (BLOCK_W, BLOCK_W_WORDS), "R": (BLOCK_R, BLOCK_R_WORDS)}


@dataclass(frozen=True, slots=True)
class Entry:
    """One named value of a block."""

    offset: int
    name: str
    raw: str
    """The words, decimal."""
    value: str
    """What they say."""


def entries(block: str, words: Sequence[int]) -> list[Entry]:
    """Rows of block "W" or "R"; [] if the words are not as many as the block has."""
    table, count = TABLES[block]
    if len(words) != count:
        return []
    return [
        Entry(word.offset, word.name, " ".join(map(str, words[word.offset :][: word.words])),
              says(words, word))
        for word in table
        if word.name != "RESERVED"
    ]  # fmt: skip


def says(words: Sequence[int], word: Word) -> str:
    """The value of one row as text."""
    if word.kind == "bits":
        kind = BITS[word.name]
        names = [bit.name for bit in kind if words[word.offset] & bit and bit.name]
        return ", ".join(spoken(name) for name in names) or "none"
    if word.kind == "bitmap":
        bad = [
            str(i * 16 + bit + 1)
            for i, part in enumerate(words[word.offset :][: word.words])
            for bit in range(16)
            if part >> bit & 1
        ]
        return f"tags {', '.join(bad)}" if bad else "none"
    value = value_or_none(words, word)
    if value is None:
        return "no value"
    if word.kind == "code":
        known = {int(code): code.name for code in CODES[word.name]}
        return spoken(known.get(int(value), f"code {value:g}"))
    if word.unit == "1":
        return f"{value:.1%}"
    digits = 1 if word.scale == 0.1 else 0
    return f"{value:.{digits}f} {word.unit}".strip()


def sound(words: Sequence[int]) -> str:
    """Why a PLC would not believe this block W; "" if it would."""
    if len(words) != BLOCK_W_WORDS:
        return f"{len(words)} words instead of {BLOCK_W_WORDS}"
    if words[0] != words[63]:
        return "SEQ_HEAD and SEQ_TAIL differ: the block is torn"
    if crc16(words[:62]) != words[62]:
        return "the CRC does not fit"
    return ""


def number(words: Sequence[int], name: str) -> float | None:
    """The value of a word of block W in its unit; None where it says "no value"."""
    return value_or_none(words, w(name))


def spoken(name: str) -> str:
    """The name of a code or bit in words."""
    return name.lower().replace("_", " ")
