"""The typed configuration: what the rest of the appliance may assume about a site.

Built only by `edge.config.load`, which either returns an `Appliance` or every fault at once.
Nothing here assumes 51 tags, 18 h batches or this plant.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edge.core.codec import Encoding
from edge.core.deviation import DeviationSettings
from edge.core.schedule import Schedule
from edge.core.tags import Tag
from edge.core.topology import Topology
from edge.core.trim import TrimSettings

Table = Literal["coil", "discrete", "input", "holding"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModbusLink:
    """One Modbus TCP connection."""

    name: str
    host: str
    port: int = 502
    timeout_ms: int = 500
    max_registers: int = 120
    max_gap: int = 120
    """Unused registers a read may span rather than start another request."""
    pause_after_connect_ms: int = 0
    pause_between_requests_ms: int = 0
    forbidden: tuple[tuple[Table, int, int], ...] = ()
    """(table, first, last) address ranges that must never be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpcUaLink:
    """One OPC UA connection."""

    name: str
    url: str
    namespace: str
    """Namespace URI of every node of this link; its index is resolved at each connect."""
    timeout_ms: int = 800
    max_nodes_per_read: int = 500


Link = ModbusLink | OpcUaLink


@dataclass(frozen=True, slots=True, kw_only=True)
class ModbusSource:
    """Where a tag lives on a Modbus link. Addresses are 0-based, as on the wire."""

    link: str
    unit_id: int
    table: Table
    address: int
    encoding: Encoding


@dataclass(frozen=True, slots=True, kw_only=True)
class OpcUaSource:
    """Where a tag lives on an OPC UA link."""

    link: str
    node: str
    """Identifier inside the link's namespace, e.g. ``s=R106.SIC-106.PV`` or ``i=2001``."""
    scale: float = 1.0
    offset: float = 0.0


Source = ModbusSource | OpcUaSource


@dataclass(frozen=True, slots=True, kw_only=True)
class TagRow:
    """One row of tags.toml."""

    tag: Tag
    source: Source


@dataclass(frozen=True, slots=True, kw_only=True)
class WordBlock:
    """A block of 16-bit words in the PLC: Modbus holding registers, or one UInt16[] node."""

    link: str
    count: int
    unit_id: int = 1
    address: int | None = None
    """First holding register, 0-based (Modbus links)."""
    node: str | None = None
    """Node identifier (OPC UA links)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """outputs.toml: the only addresses the appliance may write, and the block it reads."""

    block_w: WordBlock
    block_r: WordBlock | None
    plc_timeout_s: float = 5.0
    """PLC heartbeat older than this counts as PLC gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """Which bundle the line runs and how a verdict is formed from it."""

    bundle: Path
    """Bundle directory."""
    warn_probability: float | None
    """Defect probability that raises the flag; None takes the bundle's calibrated threshold."""
    persist_steps: int
    """Model steps in a row above the threshold before the flag is raised."""
    clear_steps: int
    """Model steps in a row below the lower threshold before the flag is cleared."""
    min_valid: float
    """Fraction of good tag-seconds in a model step below which its output is not valid, 0..1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One production line: its links, tags, plant topology, outputs and model."""

    name: str
    title: str
    links: tuple[Link, ...]
    tags: tuple[TagRow, ...]
    """The process values the model sees, in model order."""
    context: tuple[TagRow, ...]
    """Set-points and the like: read and shown, never model input."""
    topology: Topology
    outputs: Outputs
    model: ModelSettings
    row_s: float
    """Seconds per row of the ring (1.0 here)."""
    ring_rows: int
    """Rows kept in the ring (64,800 = 18 h at 1 Hz here)."""
    schedule: Schedule | None
    """None: a continuous process without batches."""
    trim: TrimSettings | None
    """None: the plant has entered no limits, so no suggestion is ever offered."""
    deviation: DeviationSettings | None = None
    """None: the run is not compared with its schedule."""
    simulation: bool = False
    """The links lead to a digital twin or a replay: nothing here may be acted on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Appliance:
    """The whole box."""

    name: str
    state_dir: Path
    runtime_dir: Path
    provider: Literal["auto", "cpu", "cuda"]
    lines: tuple[Line, ...]
    config_sha256: str
    """SHA-256 over every configuration file read, sorted by path."""
