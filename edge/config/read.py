"""Check one configuration file against its table of keys and keep what is usable of it.

Nothing here raises for a user's mistake: every fault goes into the list that was given, and the
values that are in order are returned, so that the checks across files can go on.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any

from edge.config.document import Document, row_subject, show, type_name
from edge.config.faults import Fault, did_you_mean, suggestion
from edge.config.keys import KIND_NAMES, PROTOCOL_NAMES, PROTOCOLS, FileSpec, Key, Need, Section
from edge.config.keys import Protocol as LinkProtocol
from edge.config.locate import Locator, Path

_SYNTAX = re.compile(r"(?P<what>.*) \((?:at line (?P<line>\d+), column (?P<column>\d+)|at end of "
                     r"document)\)", re.DOTALL)  # fmt: skip


def parse(
    spec: FileSpec,
    file: str,
    raw: bytes,
    faults: list[Fault],
    links: Mapping[str, LinkProtocol] | None = None,
) -> Document | None:
    """The checked file, or None if it is not TOML at all (one fault says where and why)."""
    try:
        text = raw.decode("utf-8-sig")  # some editors put a byte order mark in front
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        byte = raw[error.start]
        faults.append(
            Fault(file, line, "", f"byte 0x{byte:02X} is not UTF-8; save the file as UTF-8")
        )
        return None
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # absurdly long numbers or deep nesting, too
        faults.append(_syntax_fault(file, text, str(error)))
        return None
    document = Document(file, Locator(text), faults, spec.section, links)
    document.values = check_table(document, data, (), spec.section, "")
    return document


def _syntax_fault(file: str, text: str, message: str) -> Fault:
    match = _SYNTAX.fullmatch(message)
    what = match["what"] if match else message
    if match and match["line"]:
        line, where = int(match["line"]), f" in column {match['column']}"
    else:
        line, where = max(1, len(text.splitlines())), " at the end of the file"
    return Fault(file, line, "", f"not TOML{where}: {what[:1].lower() + what[1:]}")


def check_table(
    document: Document, data: dict[str, Any], path: Path, section: Section, subject: str
) -> dict[str, Any]:
    """The values of one table that are in order, with defaults; faults for everything else."""
    protocol = _protocol(document, data, section)
    misspelt: set[str] = set()
    result: dict[str, Any] = {}
    for name, value in data.items():
        key = _key(section, name, protocol)
        if key is not None:
            checked = check_value(document, value, (*path, name), key, subject)
            if checked is not None:
                result[name] = checked
            continue
        meant = _unknown(document, (*path, name), section, protocol, subject)
        if meant is not None:
            misspelt.add(meant)
    for key in _keys(section, protocol):
        if key.name in data:
            continue
        if key.required:
            # A misspelt key is one mistake, not two.
            if key.name not in misspelt:
                example = f", e.g. {key.example}" if key.example else ""
                document.fault(
                    path,
                    f"missing key '{key.name}' ({key.permitted}{example}); add it",
                    subject,
                    key.name,
                )
        elif key.default is not Need.OPTIONAL:
            result[key.name] = key.default
    return result


def _protocol(document: Document, data: dict[str, Any], section: Section) -> LinkProtocol | None:
    """The protocol that decides which keys this table may have; None if it cannot be told."""
    if not section.by_protocol:
        return None
    if section.key("protocol") is not None:
        value = data.get("protocol")
        return next((protocol for protocol in PROTOCOLS if protocol == value), None)
    link = data.get("link")
    return document.links.get(link) if document.links and isinstance(link, str) else None


def _keys(section: Section, protocol: LinkProtocol | None) -> Iterable[Key]:
    """Keys that belong to the protocol; only the common ones when it is unknown."""
    return (key for key in section.keys if key.spoken(protocol))


def _key(section: Section, name: str, protocol: LinkProtocol | None) -> Key | None:
    named = [key for key in section.keys if key.name == name]
    for key in named:
        if protocol is None or key.spoken(protocol):
            return key
    return None


def _unknown(
    document: Document,
    path: Path,
    section: Section,
    protocol: LinkProtocol | None,
    subject: str,
) -> str | None:
    """Report a key that is not permitted here; returns the key that was probably meant."""
    name = str(path[-1])
    known = section.key(name)
    if protocol is not None and known is not None:
        document.fault(
            path,
            f"'{name}' is a key of {known.speakers} links, but this link speaks "
            f"{PROTOCOL_NAMES[protocol]}; remove it",
            subject,
        )
        return None
    home = _home(document.root, name)
    meant = did_you_mean(name, section.names(protocol))
    if meant is None and home is not None:
        document.fault(path, f"'{name}' does not belong here; move it {home}", subject)
        return None
    document.fault(
        path, f"unknown key '{name}'; {suggestion(name, section.names(protocol))}", subject
    )
    return meant


def _home(root: Section, name: str) -> str | None:
    """Where in the file a key of this name belongs."""
    top = root.key(name)
    if top is not None and top.kind in ("table", "rows"):
        return f"to a {f'[{name}]' if top.kind == 'table' else f'[[{name}]]'} of its own"
    if top is not None:
        return "to the top of the file, above the first [table]"
    for key in root.keys:
        if key.section is not None and key.section.key(name) is not None:
            return f"below {f'[{key.name}]' if key.kind == 'table' else f'[[{key.name}]]'}"
    return None


def check_value(document: Document, value: Any, path: Path, key: Key, subject: str) -> Any:
    """The value in its final type, or None after reporting what is wrong with it."""
    match key.kind:
        case "text" | "choice":
            return _text(document, value, path, key, subject)
        case "whole" | "real":
            return _number(document, value, path, key, subject)
        case "flag":
            if isinstance(value, bool):
                return value
        case "table":
            if isinstance(value, dict) and key.section is not None:
                return check_table(document, value, path, key.section, key.section.subject)
        case "rows":
            if isinstance(value, list) and all(isinstance(row, dict) for row in value):
                return _rows(document, value, path, key)
        case "texts" | "wholes":
            if isinstance(value, list):
                return _list(document, value, path, key, subject)
        case "pairs":
            if isinstance(value, list):
                return _pairs(document, value, path, key, subject)
    _wrong_type(document, value, path, key, subject)
    return None


def _wrong_type(document: Document, value: Any, path: Path, key: Key, subject: str) -> None:
    article = "" if key.kind in ("flag", "text", "choice") else "a "
    detail = "" if key.permitted == KIND_NAMES[key.kind] else f" ({key.permitted})"
    document.fault(
        path,
        f"{key.name} = {show(value)} is {type_name(value)}; it must be "
        f"{article}{KIND_NAMES[key.kind]}{detail}",
        subject,
        key.name,
    )


def _not_permitted(document: Document, value: Any, path: Path, key: Key, subject: str) -> None:
    remedy = f"; {key.remedy}" if key.remedy else ""
    document.fault(
        path,
        f"{key.name} = {show(value)} is not permitted; permitted: {key.permitted}{remedy}",
        subject,
        key.name,
    )


def _text(document: Document, value: Any, path: Path, key: Key, subject: str) -> str | None:
    if not isinstance(value, str):
        _wrong_type(document, value, path, key, subject)
        return None
    if key.choices and value not in key.choices:
        close = did_you_mean(value, key.choices)
        meant = f"; did you mean {show(close)}?" if close else ""
        remedy = f"; {key.remedy}" if key.remedy else ""
        document.fault(
            path,
            f"{key.name} = {show(value)} is not permitted; permitted: {key.permitted}"
            f"{meant}{remedy}",
            subject,
        )
        return None
    if key.pattern and re.fullmatch(key.pattern, value, re.DOTALL) is None:
        remedy = f"; {key.remedy}" if key.remedy else ""
        document.fault(
            path,
            f"{key.name} = {show(value)} is not permitted; permitted: text such as "
            f"{show(key.example)}{remedy}",
            subject,
        )
        return None
    return value


def _number(
    document: Document, value: Any, path: Path, key: Key, subject: str
) -> int | float | None:
    fits = isinstance(value, int) or (key.kind == "real" and isinstance(value, float))
    if not fits or isinstance(value, bool):
        _wrong_type(document, value, path, key, subject)
        return None
    finite = abs(value) < 2**63 if isinstance(value, int) else math.isfinite(value)
    too_low = key.low is not None and (value <= key.low if key.above else value < key.low)
    too_high = key.high is not None and value > key.high
    if not finite:
        document.fault(
            path,
            f"{key.name} = {show(value)} is not a finite 64-bit number; permitted: {key.permitted}",
            subject,
        )
        return None
    if too_low or too_high:
        _not_permitted(document, value, path, key, subject)
        return None
    return int(value) if key.kind == "whole" else float(value)


def _list(
    document: Document, value: list[Any], path: Path, key: Key, subject: str
) -> tuple[Any, ...] | None:
    wanted: type[str] | type[int] = str if key.kind == "texts" else int
    good: list[Any] = []
    for index, item in enumerate(value):
        here = (*path, index)
        if not isinstance(item, wanted) or isinstance(item, bool) or item == "":
            document.fault(
                here,
                f"{key.name}: entry {show(item)} is {type_name(item)}; every entry must be a "
                f"{'text' if wanted is str else 'whole number'}",
                subject,
                key.name,
            )
        elif item in good:
            document.fault(
                here, f"{key.name}: {show(item)} stands twice; remove one", subject, key.name
            )
        elif isinstance(item, int) and not (key.low or 0) <= item <= (key.high or math.inf):
            document.fault(
                here,
                f"{key.name}: entry {show(item)} is not permitted; permitted: {key.permitted}",
                subject,
                key.name,
            )
        else:
            good.append(item)
    if not _enough(document, value, path, key, subject) or len(good) < len(value):
        return None
    return tuple(good)


def _pairs(
    document: Document, value: list[Any], path: Path, key: Key, subject: str
) -> tuple[tuple[str, str], ...] | None:
    good: list[tuple[str, str]] = []
    for index, item in enumerate(value):
        pair = isinstance(item, list) and len(item) == 2 and all(isinstance(x, str) for x in item)
        if not pair:
            document.fault(
                (*path, index),
                f'{key.name}: entry {show(item)} is not a pair; write ["from", "to"]',
                subject,
                key.name,
            )
        elif (item[0], item[1]) in good:
            document.fault(
                (*path, index),
                f"{key.name}: {show(item)} stands twice; remove one",
                subject,
                key.name,
            )
        else:
            good.append((item[0], item[1]))
    return tuple(good)


def _rows(
    document: Document, value: list[dict[str, Any]], path: Path, key: Key
) -> tuple[dict[str, Any], ...] | None:
    section = key.section
    if section is None:
        raise ValueError(f"key table: '{key.name}' is a list of tables without a section")
    _enough(document, value, path, key, "")
    return tuple(
        check_table(document, row, (*path, index), section, row_subject(section, row, index))
        for index, row in enumerate(value)
    )


def _enough(document: Document, value: list[Any], path: Path, key: Key, subject: str) -> bool:
    """Whether the list has a permitted number of entries."""
    if key.min_items <= len(value) <= (len(value) if key.max_items is None else key.max_items):
        return True
    most = "or more" if key.max_items is None else f"to {key.max_items}"
    remedy = f"; {key.remedy}" if key.remedy else ""
    document.fault(
        path,
        f"{key.name} has {len(value)} entries; permitted: {key.min_items} {most}{remedy}",
        subject,
        key.name,
    )
    return False
