"""What a plant's TOML file says, as values. The keys are explained in export/data/describe.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from edge.config.types import Line

TIME_UNITS_S = {"ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
LABEL_KINDS = ("binary", "rank", "class", "countdown", "log")


@dataclass(frozen=True, slots=True, kw_only=True)
class TagRow:
    """One tag of the recording."""

    name: str
    column: str
    unit: str = ""
    low: float = float("nan")
    """Instrument range, in `unit`; NaN: not known."""
    high: float = float("nan")
    component: str = ""
    frozen_s: float = 0.0
    """Unchanged for so long: not to be trusted; 0: no such check."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRule:
    """How a row gets its label."""

    kind: str = ""
    """One of LABEL_KINDS; empty: nothing is labelled."""
    column: str = ""
    log: Path | None = None
    normal: tuple[str, ...] = ("0", "normal", "NORMAL")
    unused: tuple[str, ...] = ()
    unit: str = "min"
    level: int = 3
    """Severity of a defective row where the label knows no stages."""
    stages: str = "scale"
    """rank: "scale" to thirds of the stretch's highest stage, or "clip" at 3."""
    between: str = "unused"
    """log, countdown: rows that are neither after maintenance nor in the last three days."""
    normal_h: float = 72.0
    """log: hours after maintenance that are normal."""
    share: float = 0.5
    """A step is defective if at least this share of its rows is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultRow:
    """Where a fault truly is."""

    component: str = ""
    expected: tuple[str, ...] = ()
    """Tags that ought to show it first."""
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlantSpec:
    """The TOML file, read and checked. Meaning of the keys: export/data/describe.py."""

    path: Path
    sha256_text: bytes
    name: str
    files: tuple[str, ...]
    join_files: bool
    delimiter: str
    decimal: str
    time: str
    time_format: str
    timezone: str
    row_s: float
    step_rows: int
    gaps: str
    split_gap_h: float
    tags: tuple[TagRow, ...]
    auto_tags: tuple[str, ...]
    line: Line | None
    file_pattern: str
    group: str
    domain: str
    fault: str
    episode_rest_steps: int
    label: LabelRule
    normal_rows: int
    skip: tuple[str, ...]
    labelled: tuple[str, ...]
    simulated: bool
    tolerate: tuple[str, ...]
    faults: dict[str, FaultRow] = field(default_factory=dict)
    components: dict[str, str] = field(default_factory=dict)
