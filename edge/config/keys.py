"""What a configuration key may be: the vocabulary of the tables in `edge.config.tables`.

From one `Section` come three things that can therefore never disagree: the check of a file
(`edge.config.read`), the JSON Schema for editors and docs/configuration.md (`edge.config.schema`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal

Protocol = Literal["modbus-tcp", "modbus-rtu-over-tcp", "modbus-rtu", "modbus-tls", "opc-ua"]
PROTOCOL_NAMES: dict[Protocol, str] = {
    "modbus-tcp": "Modbus TCP", "modbus-rtu-over-tcp": "Modbus RTU over TCP",
    "modbus-rtu": "Modbus RTU", "modbus-tls": "Modbus TLS", "opc-ua": "OPC UA",
}  # fmt: skip
PROTOCOLS: tuple[Protocol, ...] = tuple(PROTOCOL_NAMES)
MODBUS: tuple[Protocol, ...] = PROTOCOLS[:4]

Kind = Literal[
    "text", "whole", "real", "flag", "choice", "texts", "wholes", "pairs", "table", "rows"
]
KIND_NAMES: dict[Kind, str] = {
    "text": "text",
    "whole": "whole number",
    "real": "number",
    "flag": "true or false",
    "choice": "text",
    "texts": "list of texts",
    "wholes": "list of whole numbers",
    "pairs": "list of [from, to] pairs",
    "table": "table",
    "rows": "list of tables",
}

Refers = Literal["", "link", "component", "tag", "schedule", "poll_group"]


class Need(Enum):
    """Whether a key must be there."""

    REQUIRED = "required"
    """No default: the plant must say."""
    OPTIONAL = "optional"
    """May be left out; the feature is then absent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key of a TOML table."""

    name: str
    kind: Kind
    doc: str
    """One sentence: what it is, for the plant engineer."""
    unit: str = ""
    default: object = Need.REQUIRED
    """The value when the key is left out, or Need."""
    low: float | None = None
    high: float | None = None
    above: bool = False
    """`low` itself is not permitted."""
    choices: tuple[str, ...] = ()
    pattern: str = ""
    """Regular expression the whole text must match."""
    example: str = ""
    """A permitted text, shown when the pattern does not match and in the schema."""
    remedy: str = ""
    """What to do about a value that is not permitted, when the range alone does not say it."""
    protocol: Protocol | tuple[Protocol, ...] = PROTOCOLS
    """The key exists only for rows of links that speak this protocol, or one of these."""
    section: Section | None = None
    """Contents of kind "table" and "rows"."""
    min_items: int = 0
    max_items: int | None = None
    refers: Refers = ""
    """The text (or each text of the list) must name one of these."""
    refers_unit: str = ""
    """Unit a tag named here must have."""

    @property
    def required(self) -> bool:
        """True when leaving the key out is a fault."""
        return self.default is Need.REQUIRED

    def spoken(self, protocol: Protocol | None) -> bool:
        """Whether the key exists for rows of this protocol; None: for rows of every protocol."""
        if protocol is None:
            return self.protocol == PROTOCOLS
        if isinstance(self.protocol, str):
            return protocol == self.protocol
        return protocol in self.protocol

    @property
    def speakers(self) -> str:
        """The protocols of the key in words; empty when it belongs to all."""
        if self.protocol == PROTOCOLS:
            return ""
        if self.protocol == MODBUS:
            return "Modbus"
        names = [name for protocol, name in PROTOCOL_NAMES.items() if self.spoken(protocol)]
        return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))

    @property
    def permitted(self) -> str:
        """The permitted values in words, e.g. ``120..900 s``."""
        if self.choices:
            return ", ".join(self.choices)
        unit = f" {self.unit}" if self.unit else ""
        if self.low is not None and self.high is not None:
            if self.low == self.high:
                return f"{self.low:g}{unit} only"
            if self.above:
                return f"above {plain(self.low)} up to {plain(self.high)}{unit}"
            return f"{plain(self.low)}..{plain(self.high)}{unit}"
        if self.low is not None:
            return f"{'above' if self.above else 'at least'} {plain(self.low)}{unit}"
        if self.kind in ("texts", "wholes", "pairs", "rows") and self.min_items:
            most = "" if self.max_items is None else f"..{self.max_items}"
            return f"{self.min_items}{most or ' or more'} entries"
        return f"{KIND_NAMES[self.kind]}{unit and f' in{unit}'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """The keys of one table, or of every row of a list of tables."""

    subject: str
    """What one table of this kind is called in a fault, e.g. ``tag``; empty for a whole file."""
    keys: tuple[Key, ...]
    label: str = ""
    """The key whose value names a row in a fault, e.g. ``name``."""

    def names(self, protocol: Protocol | None = None) -> list[str]:
        """Key names, for one protocol or for all."""
        return [key.name for key in self.keys if protocol is None or key.spoken(protocol)]

    def key(self, name: str) -> Key | None:
        """The key with this name, or None."""
        return next((key for key in self.keys if key.name == name), None)

    @property
    def by_protocol(self) -> bool:
        """True when some keys exist for one protocol only."""
        return any(not key.spoken(None) for key in self.keys)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSpec:
    """One kind of configuration file."""

    name: str
    """File name, e.g. ``tags.toml``."""
    section: Section
    doc: str
    """What the file is for, one or two sentences."""


def plain(number: float) -> str:
    """A number without an exponent or a needless decimal point: 65535, 0.15."""
    return str(int(number)) if float(number).is_integer() else f"{number:.10g}"
