"""What only shows when two keys, two rows or two files are compared.

Each function takes checked documents (rows with a fault of their own are incomplete, so every key
is asked for, never assumed) and reports through them. Addresses and the trim have their own files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge.config import cross_encoding, cross_modbus
from edge.config.addresses import device
from edge.config.document import Document, row_subject
from edge.config.faults import suggestion
from edge.config.locate import Path
from edge.config.tables import CONTEXT, LINK, TAG
from edge.core.schedule import Schedule


def named_rows(document: Document, name: str, label: str) -> dict[str, dict[str, Any]]:
    """Rows of a list by their label; the first one wins."""
    found: dict[str, dict[str, Any]] = {}
    for row in document.values.get(name, ()):
        if label in row:
            found.setdefault(row[label], row)
    return found


def check_unique(
    document: Document, lists: tuple[tuple[str, str], ...], key: str, remedy: str
) -> None:
    """Faults where `key` repeats in any of the (list, subject) given."""
    seen: dict[object, int] = {}
    for name, subject in lists:
        for index, row in enumerate(document.values.get(name, ())):
            if key not in row:
                continue
            path: Path = (name, index, key)
            line = document.line(path)
            if row[key] in seen:
                shown = f'"{row[key]}"' if isinstance(row[key], str) else row[key]
                document.fault(
                    path,
                    f"{key} = {shown} is already used in line {seen[row[key]]}; {remedy}",
                    f"{subject} row {index + 1}",
                )
            seen.setdefault(row[key], line)


def check_line(line: Document, schedule: Schedule | None) -> None:
    """Link names, links to one device, timeouts against the row, ring against the schedule."""
    check_unique(line, (("link", "link"),), "name", "give every link its own name")
    row_s = line.values.get("ring", {}).get("row_s")
    for index, link in enumerate(line.values.get("link", ())):
        subject = row_subject(LINK, link, index)
        for other in line.values["link"][:index]:
            if None not in device(link) and device(link) == device(other):
                line.fault(
                    ("link", index),
                    f'reaches the same device as link "{other.get("name", "?")}"; use one link, '
                    "with unit_id per tag where needed",
                    subject,
                    "name",
                )
        cross_modbus.check_link(line, index, subject, link)
        if row_s is not None and link.get("timeout_ms", 0) >= row_s * 1000:
            line.fault(
                ("link", index, "timeout_ms"),
                f"timeout_ms = {link['timeout_ms']} is not shorter than a row "
                f"([ring] row_s = {row_s:g} s); permitted: below {row_s * 1000:g} ms",
                subject,
                "timeout_ms",
            )
    rows = line.values.get("ring", {}).get("rows")
    if schedule is not None and rows is not None and row_s is not None:
        needed = -(-schedule.end_min * 60 // row_s)
        if rows < needed:
            line.fault(
                ("ring", "rows"),
                f"rows = {rows} holds {rows * row_s / 60:g} min but the schedule lasts "
                f"{schedule.end_min:g} min; permitted: at least {needed:g}",
                "[ring]",
            )


def check_components(components: Document) -> None:
    """Codes and numbers are unique, edges join existing, different components."""
    rows = (("component", "component"),)
    check_unique(components, rows, "code", "give every component its own code")
    check_unique(components, rows, "number", "give every component its own number")
    codes = named_rows(components, "component", "code")
    for index, edge in enumerate(components.values.get("edges", ())):
        for code in edge:
            if code not in codes:
                components.fault(
                    ("edges", index), f"component '{code}' is not defined; "
                    f"{suggestion(code, codes)}", f"edge {edge[0]} to {edge[1]}",
                )  # fmt: skip
        if edge[0] == edge[1]:
            components.fault(
                ("edges", index), "joins a component to itself; remove it",
                f"edge {edge[0]} to {edge[1]}",
            )  # fmt: skip


def check_references(
    document: Document, name: str, path: Path, subject: str, value: Any, permitted: Any, place: str
) -> None:
    """Report `value` unless it is among `permitted` (None: cannot be judged)."""
    if permitted is not None and value is not None and value not in permitted:
        document.fault(
            path, f"{name} '{value}' is not in {place}; {suggestion(value, permitted)}", subject
        )


def check_tags(
    tags: Document,
    links: Mapping[str, Any] | None,
    components: Mapping[str, Mapping[str, Any]] | None,
) -> None:
    """Unique names, existing links, components and parts, consistent ranges and encodings."""
    lists = (("tag", "tag"), ("context", "context"))
    check_unique(tags, lists, "name", "give every tag its own name")
    for (name, _), section in zip(lists, (TAG, CONTEXT), strict=True):
        for index, row in enumerate(tags.values.get(name, ())):
            path: Path = (name, index)
            subject = row_subject(section, row, index)
            check_references(
                tags, "link", (*path, "link"), subject, row.get("link"), links, "line.toml"
            )
            _check_place(tags, path, subject, row, components)
            _check_range(tags, path, subject, row)
            if "table" in row:
                cross_encoding.check(tags, path, subject, row)
                cross_modbus.check_unit_id(tags, path, subject, row, links)


def _check_place(
    tags: Document,
    path: Path,
    subject: str,
    row: Mapping[str, Any],
    components: Mapping[str, Mapping[str, Any]] | None,
) -> None:
    code, part = row.get("component"), row.get("part")
    if part and code == "":
        tags.fault((*path, "part"), f"part '{part}' without a component; add 'component'", subject)
    if not code:
        return
    check_references(
        tags, "component", (*path, "component"), subject, code, components, "components.toml"
    )
    parts = (components or {}).get(code, {}).get("parts")
    if part and parts is not None and part not in parts:
        tags.fault(
            (*path, "part"),
            f"part '{part}' is not a part of component {code}; {suggestion(part, parts)}",
            subject,
        )


def _check_range(tags: Document, path: Path, subject: str, row: Mapping[str, Any]) -> None:
    low, high = row.get("low"), row.get("high")
    for name in ("low", "high"):
        # Only a string has no range. A wrong value is left out of `row`, too, but is no new fault.
        missing = name not in row and (*path, name) not in tags.locator.paths
        if path[0] == "context" and missing and row.get("type") != "string":
            tags.fault(path, f"missing key '{name}' (number); add it", subject, name)
    if low is not None and high is not None and low >= high:
        tags.fault(
            (*path, "low"),
            f"low = {low:g} is not below high = {high:g}; give the ends of the instrument range",
            subject,
        )
    if row.get("scale") == 0:
        tags.fault(
            (*path, "scale"), "scale = 0 makes every value the same; permitted: not 0", subject
        )


def check_outputs(outputs: Document, links: Mapping[str, Mapping[str, Any]] | None) -> None:
    """Links of the blocks exist and can carry a block in one request."""
    for name in ("block_w", "block_r"):
        block = outputs.values.get(name)
        if block is None:
            continue
        subject = f"[{name}]"
        check_references(
            outputs, "link", (name, "link"), subject, block.get("link"), links, "line.toml"
        )
        cross_modbus.check_unit_id(outputs, (name,), subject, block, links)
        link = (links or {}).get(block.get("link", ""), {})
        most = cross_modbus.max_registers(link, block.get("unit_id"))
        if most is not None and most < block.get("count", 0):
            outputs.fault(
                (name, "link"),
                f'link "{block["link"]}" reads at most {most} registers at once (max_registers), '
                f"but the block is {block['count']} words and must be read in one request; raise "
                "max_registers or use another link",
                subject,
            )
