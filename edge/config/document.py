"""A parsed configuration file: where its keys stand, and how its rows and values are named."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edge.config.faults import Fault
from edge.config.keys import Protocol as LinkProtocol
from edge.config.keys import Section
from edge.config.locate import Locator, Path


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
    elif isinstance(value, int) and value.bit_length() > 64:
        text = hex(value)  # Python refuses to print very long numbers in decimal
    else:
        text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def type_name(value: Any) -> str:
    """The TOML type of a value in words."""
    names: tuple[tuple[type, str], ...] = (
        (bool, "a true/false value"), (str, "text"), (int, "a whole number"), (float, "a number"),
        (list, "a list"), (dict, "a table"),
    )  # fmt: skip
    return next((name for kind, name in names if isinstance(value, kind)), "a date or time")
