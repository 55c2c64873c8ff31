"""Who uses which addresses: two tags on one register, a tag inside the block we write, and so on.

Everything is reduced to spans of 0-based addresses in one space (device, unit id, table), so that
tags, blocks and forbidden ranges are compared by one rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edge.config.document import Document, row_subject
from edge.config.locate import Path
from edge.config.tables import CONTEXT, TAG
from edge.core.codec import WORDS

ADDRESSES = 65536
"""Addresses in each Modbus table."""

Space = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Span:
    """Addresses first..last of one space, and whose they are."""

    space: Space
    first: int
    last: int
    owner: str
    document: Document
    path: Path
    bit: int | None = None
    """Set when only one bit of the register is used."""

    def overlaps(self, other: Span) -> bool:
        """True if both use at least one common address (or bit)."""
        if self.space != other.space or self.first > other.last or other.first > self.last:
            return False
        return self.bit is None or other.bit is None or self.bit == other.bit

    @property
    def where(self) -> str:
        """File and line, for a fault that points at the other owner."""
        return f"{self.document.file}:{self.document.line(self.path)}"


def device(link: Mapping[str, Any]) -> Space:
    """What makes two links reach the same device."""
    if link.get("protocol") == "opc-ua":
        return ("opc-ua", link.get("url"), link.get("namespace"))
    if link.get("protocol") == "modbus-rtu":
        return ("modbus", link.get("device"), 0)
    return ("modbus", link.get("host"), link.get("port"))


def tag_spans(tags: Document, links: Mapping[str, Mapping[str, Any]]) -> list[Span]:
    """Spans of every tag and context row whose address is in order; faults for those beyond the
    end of the table."""
    spans = []
    for list_name, section in (("tag", TAG), ("context", CONTEXT)):
        for index, row in enumerate(tags.values.get(list_name, ())):
            path: Path = (list_name, index)
            owner = row_subject(section, row, index)
            span = _span(tags, path, owner, row, links, row.get("table"), _words(row))
            if span is not None:
                spans.append(span)
    return spans


def _words(row: Mapping[str, Any]) -> int:
    if row.get("type") == "string":
        return int(row.get("length", 1))
    return WORDS[row["type"]] if row.get("type") in WORDS else 1


def block_span(outputs: Document, name: str, links: Mapping[str, Mapping[str, Any]]) -> Span | None:
    """Span of block_w or block_r; None if it is absent or not in order."""
    row = outputs.values.get(name)
    if row is None:
        return None
    owner = f"block {name[-1].upper()}"
    return _span(outputs, (name,), owner, row, links, row.get("table"), row.get("count", 1))


def _span(
    document: Document,
    path: Path,
    owner: str,
    row: Mapping[str, Any],
    links: Mapping[str, Mapping[str, Any]],
    table: str | None,
    count: int,
) -> Span | None:
    link = links.get(row.get("link", ""))
    if link is None:
        return None
    if link.get("protocol") == "opc-ua":
        if "node" not in row:
            return None
        return Span((*device(link), row["node"]), 0, 0, owner, document, path)
    address = row.get("address")
    if address is None or table is None:
        return None
    last = address + count - 1
    if last >= ADDRESSES:
        document.fault(
            (*path, "address"),
            f"address = {address} with {count} registers ends at {last}; permitted: "
            f"0..{ADDRESSES - count}",
            owner,
        )
        return None
    single = row.get("type") == "bit" and table in ("input", "holding")
    space = (*device(link), row.get("unit_id"), table)
    bit = row.get("bit", 0) if single else None
    return Span(space, address, last, owner, document, path, bit)


def forbidden_spans(line: Document) -> list[Span]:
    """Spans nobody may read (for every unit id of the link: unit is left out of the space)."""
    spans = []
    for number, link in enumerate(line.values.get("link", ())):
        for index, row in enumerate(link.get("forbidden", ())):
            if not {"table", "first", "last"} <= row.keys():
                continue
            path: Path = ("link", number, "forbidden", index)
            if row["first"] > row["last"]:
                line.fault(
                    path,
                    f"first = {row['first']} is above last = {row['last']}; exchange them",
                    f'link "{link.get("name", number + 1)}", forbidden range {index + 1}',
                    "first",
                )
                continue
            space = (*device(link), row["table"])
            spans.append(Span(space, row["first"], row["last"], "forbidden", line, path))
    return spans


def check_overlaps(tags: list[Span], blocks: list[Span], forbidden: list[Span]) -> None:
    """Faults for every pair that must not share an address."""
    for index, span in enumerate(tags):
        for other in tags[:index]:
            if span.overlaps(other):
                _overlap(span, other, "correct the address of one of them")
        for block in blocks:
            if span.overlaps(block):
                remedy = (
                    "block W belongs to the appliance alone"
                    if block.owner == "block W"
                    else "block R is read by the appliance itself"
                )
                _overlap(span, block, f"{remedy}; move the tag")
    if len(blocks) == 2 and blocks[0].overlaps(blocks[1]):
        _overlap(blocks[1], blocks[0], "move one of the blocks: one writer a block")
    for span in (*tags, *blocks):
        for area in forbidden:
            without_unit = (*span.space[:3], span.space[-1])
            same = span.space[0] == "modbus" and without_unit == area.space
            if same and span.first <= area.last and area.first <= span.last:
                key = "address"
                span.document.fault(
                    (*span.path, key),
                    f"{_addresses(span)} lies in the forbidden range {area.first}..{area.last} "
                    f"({area.where}); move one of them",
                    span.owner,
                )


def check_writers(lines: list[Span]) -> None:
    """Faults where two lines would write the same words: one writer a block."""
    for index, span in enumerate(lines):
        for other in lines[:index]:
            if span.overlaps(other):
                _overlap(span, other, "one writer a block; give each line its own")


def _overlap(span: Span, other: Span, remedy: str) -> None:
    key = "node" if span.space[0] == "opc-ua" else "address"
    span.document.fault(
        (*span.path, key),
        f"{_addresses(span)} is already used by {other.owner} ({other.where}"
        f"{'' if key == 'node' else f', {_addresses(other)}'}); {remedy}",
        span.owner,
    )


def _addresses(span: Span) -> str:
    if span.space[0] == "opc-ua":
        return f"node {span.space[-1]}"
    last = "" if span.first == span.last else f"..{span.last}"
    bit = "" if span.bit is None else f" bit {span.bit}"
    return f"{span.space[-1]} {span.first}{last}{bit}"
