"""A hash chain over records: whoever alters, removes or inserts one breaks every link after it.

    link 0 = SEED          link n = SHA-256(link n-1 + the record's canonical text)

What a chain cannot show by itself is that its newest records were cut off: for that somebody has to
remember its head. The caller keeps the head beside the records and shows it, so that it can also be
noted where this appliance cannot reach it. Pure: values in, values out.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

SEED = bytes(32)
"""The link before the first record."""


@dataclass(frozen=True, slots=True)
class Broken:
    """The first record that does not follow from the one before it."""

    number: int
    why: str


@dataclass(frozen=True, slots=True)
class Head:
    """Where a chain ends: the number of its newest record and that record's link."""

    number: int = 0
    link: bytes = SEED

    def __str__(self) -> str:
        return f"{self.number}:{self.link.hex()}"

    @classmethod
    def parse(cls, text: str) -> Head:
        """The head `str()` wrote. Raises ValueError."""
        number, colon, link = text.strip().partition(":")
        if not colon or len(link) != 64:
            raise ValueError(f"{text!r} is not a head of the form NUMBER:64 hexadecimal digits")
        return cls(int(number), bytes.fromhex(link))


def canonical(value: Any) -> str:
    """One text for equal JSON values: keys sorted, no blanks; NaN becomes null."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def plain(value: Any) -> Any:
    """`value` as JSON can hold it."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {plain(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, str):
        # A server's undecodable text holds lone surrogates; no disk takes those.
        return value.encode("utf-8", "backslashreplace").decode()
    return value


def link(previous: bytes, record: str) -> bytes:
    """The link of a record whose canonical text is `record`, after `previous`."""
    # A lone surrogate (a server's undecodable text) must not stop the log.
    return hashlib.sha256(previous + record.encode("utf-8", "backslashreplace")).digest()


def verify(records: Iterable[tuple[int, str, bytes]], known: Head | None = None) -> Head | Broken:
    """The head of the chain `records` (number, canonical text, link), or where it breaks.

    Numbers count up from 1 without a gap. `known` is a head noted earlier: the chain must run
    through it.
    """
    head = Head()
    passed = known is None or known == Head()
    for number, text, stored in records:
        if number != head.number + 1:
            return Broken(head.number + 1, f"is missing; the next record is {number}")
        head = Head(number, link(head.link, text))
        if head.link != stored:
            return Broken(number, "was altered, or one before it was replaced")
        if known is not None and known.number == number:
            if known != head:
                return Broken(number, f"is not the one whose head {known} was noted")
            passed = True
    if not passed and known is not None:
        return Broken(
            head.number + 1, f"to {known.number} are missing: the end of the log was cut off"
        )
    return head
