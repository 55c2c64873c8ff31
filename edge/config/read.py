"""Check one configuration file against its table of keys and keep what is usable of it.

Nothing here raises for a user's mistake: every fault goes into the list that was given, and the
values that are in order are returned, so that the checks across files can go on.
"""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from edge.config.faults import Fault, did_you_mean, suggestion
from edge.config.keys import KIND_NAMES, PROTOCOL_NAMES, PROTOCOLS, FileSpec, Key, Need, Section
from edge.config.keys import Protocol as LinkProtocol
from edge.config.locate import Locator, Path

_SYNTAX = re.compile(r"(?P<what>.*) \((?:at line (?P<line>\d+), column (?P<column>\d+)|at end of "
                     r"document)\)", re.DOTALL)  # fmt: skip


@dataclass(slots=True)
class Document:
    """One parsed file: where its keys stand, and the list its faults go to."""

    file: str
    locator: Locator
    faults: list[Fault]
    root: Section
    links: Mapping[str, LinkProtocol] | None = None
    """Protocol of every link of the line; None when line.toml could not tell."""
    values: dict[str, Any] = field(default_factory=dict)
    """What is in order, defaults filled in. Rows with a fault are here too, incomplete."""
    whole: bool = True
    """No fault was found in this file."""

    def fault(self, path: Path, message: str, subject: str = "", key: str | None = None) -> None:
        """Report a fault of the value at `path`."""
        self.whole = False
        if key is None:
            key = next((str(part) for part in reversed(path) if isinstance(part, str)), "")
        text = f"{subject}: {message}" if subject else message
        self.faults.append(Fault(self.file, self.locator.line(path), key, text))

    def line(self, path: Path) -> int:
        """Line of the value at `path`."""
        return self.locator.line(path)


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
    except tomllib.TOMLDecodeError as error:
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


def _protocol(
    document: Document, data: dict[str, Any], section: Section
) -> LinkProtocol | None:
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
    return (key for key in section.keys if key.protocol is None or key.protocol == protocol)


def _key(section: Section, name: str, protocol: LinkProtocol | None) -> Key | None:
    named = [key for key in section.keys if key.name == name]
    for key in named:
        if key.protocol is None or protocol is None or key.protocol == protocol:
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
    if protocol is not None and section.key(name) is not None:
        other = next(p for p in PROTOCOLS if p != protocol)
        document.fault(
            path,
            f"'{name}' is a key of {PROTOCOL_NAMES[other]} links, but this link speaks "
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
        f"{key.name} = {show(value)} is {_type_name(value)}; it must be "
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
    finite = math.isfinite(value)
    too_low = key.low is not None and (value <= key.low if key.above else value < key.low)
    too_high = key.high is not None and value > key.high
    if not finite:
        document.fault(
            path,
            f"{key.name} = {show(value)} is not a finite number; permitted: {key.permitted}",
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
                f"{key.name}: entry {show(item)} is {_type_name(item)}; every entry must be a "
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
                f"{key.name}: entry {show(item)} is not a pair; write [\"from\", \"to\"]",
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


def _enough(
    document: Document, value: list[Any], path: Path, key: Key, subject: str
) -> bool:
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


def row_subject(section: Section, row: Mapping[str, Any], index: int) -> str:
    """What a row is called in a fault: ``tag "PI-103.PV"``, or its number if it has no name."""
    label = row.get(section.label) if section.label else None
    named = isinstance(label, str) and label
    return f'{section.subject} "{label}"' if named else f"{section.subject} row {index + 1}"


def show(value: Any) -> str:
    """A value as it would stand in the TOML file, shortened."""
    if isinstance(value, str | bool):
        text = json.dumps(value, ensure_ascii=False)
    elif isinstance(value, dict | list):
        text = f"{'{' if isinstance(value, dict) else '['}{len(value)} entries"
        text += "}" if isinstance(value, dict) else "]"
        if isinstance(value, list) and all(isinstance(item, str | int | float) for item in value):
            text = f"[{', '.join(show(item) for item in value)}]"
    else:
        text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _type_name(value: Any) -> str:
    names: tuple[tuple[type, str], ...] = (
        (bool, "a true/false value"), (str, "text"), (int, "a whole number"), (float, "a number"),
        (list, "a list"), (dict, "a table"),
    )  # fmt: skip
    return next((name for kind, name in names if isinstance(value, kind)), "a date or time")
