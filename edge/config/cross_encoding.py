"""What the keys of a Modbus row say together: type, table, orders, bit, codes, range, text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge.config.document import Document
from edge.config.locate import Path
from edge.core.codec import BCD_DIGITS, WORDS

_BIT_TABLES = ("coil", "discrete")
_NUMBERS_ONLY = ("low", "high", "scale", "offset", "invalid", "bit", "word_order", "frozen_s")
"""Keys without a meaning for a text, and their values when they are left out."""
_LEFT_OUT = {"scale": 1.0, "offset": 0.0, "invalid": (), "word_order": "big", "frozen_s": 0.0}


def check(tags: Document, path: Path, subject: str, row: Mapping[str, Any]) -> None:
    """Faults of one Modbus row: type against table, orders, bit, invalid codes, range, text."""
    kind = row.get("type")
    if kind is None:
        return
    _check_text(tags, path, subject, row, kind)
    if row["table"] in _BIT_TABLES:
        if kind != "bit":
            tags.fault(
                (*path, "type"),
                f'type = "{kind}" needs registers, but table "{row["table"]}" holds single bits; '
                'permitted: type = "bit"',
                subject,
            )
        elif "bit" in row:
            tags.fault(
                (*path, "bit"),
                f'bit = {row["bit"]} has no meaning in table "{row["table"]}", where every '
                "address is one bit; remove it",
                subject,
            )
        return
    if kind != "bit" and "bit" in row:
        tags.fault(
            (*path, "bit"),
            f'bit = {row["bit"]} has no meaning for type = "{kind}"; remove it or set type = "bit"',
            subject,
        )
    order = row.get("word_order", "big")
    if order.endswith("-swapped") and WORDS.get(kind) != 4:
        tags.fault(
            (*path, "word_order"),
            f'word_order = "{order}" is for the four registers of 64-bit types, not for '
            f'type = "{kind}"; permitted: big, little',
            subject,
        )
    if kind == "string":
        return
    width = 1 if kind == "bit" else 16 * WORDS[kind]
    for code in row.get("invalid", ()):
        if code >= 2**width:
            tags.fault(
                (*path, "invalid"),
                f"invalid: code {code} does not fit type {kind}; permitted: 0..{2**width - 1}",
                subject,
            )
    raw = _raw_range(kind)
    low, high, scale = row.get("low"), row.get("high"), row.get("scale")
    if raw is None or low is None or high is None or not scale or low >= high:
        return
    ends = sorted(value * scale + row.get("offset", 0.0) for value in raw)
    slack = 1e-9 * max(abs(ends[0]), abs(ends[1]))
    for name, value in (("low", low), ("high", high)):
        if not ends[0] - slack <= value <= ends[1] + slack:
            tags.fault(
                (*path, name),
                f"{name} = {value:g} cannot be reached by {kind} x {scale:g}; permitted: "
                f"{ends[0]:g}..{ends[1]:g}; correct the type, the scale or the range",
                subject,
            )


def _raw_range(kind: str) -> tuple[int, int] | None:
    """Smallest and largest raw value of an integer type; None for floats."""
    if kind == "bit":
        return 0, 1
    if kind.startswith("float"):
        return None
    if kind in BCD_DIGITS:
        return 0, 10 ** BCD_DIGITS[kind] - 1
    bits = int(kind.removeprefix("u").removeprefix("int"))
    return (0, 2**bits - 1) if kind.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def _check_text(
    tags: Document, path: Path, subject: str, row: Mapping[str, Any], kind: str
) -> None:
    """A string has a length and is context; a number has none, and a range."""
    if kind != "string":
        if "length" in row:
            tags.fault(
                (*path, "length"),
                f'length = {row["length"]} has no meaning for type = "{kind}"; remove it or set '
                'type = "string"',
                subject,
            )
        return
    if path[0] == "tag":
        tags.fault(
            (*path, "type"),
            'type = "string" is a text and never a number for the model; move the row to context',
            subject,
        )
    if "length" not in row:
        tags.fault(
            path,
            "missing key 'length' (1..100 registers) of a string; add it",
            subject,
            "length",
        )
    for name in _NUMBERS_ONLY:
        if name in row and row[name] != _LEFT_OUT.get(name):
            tags.fault((*path, name), f"{name} has no meaning for a string; remove it", subject)
