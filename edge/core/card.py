"""ModelCard: what a bundle was made for, and the list of what does not match this site."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class StateTensor:
    """One state tensor of the graph: `name` in, `name + "_next"` out, zeros at a cold start."""

    name: str
    shape: tuple[int, ...]
    """Without the leading line axis B."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """card.json of a bundle."""

    format: int
    name: str
    serial: int
    """Monotone number of the model, 1..65535; shown as MODEL_SERIAL."""
    notice: str
    """E.g. "trained on simulated data, not for production"."""
    simulated: bool
    tags: tuple[tuple[str, str], ...]
    """(name, unit) in model order."""
    features: tuple[str, ...]
    row_s: float
    step_rows: int
    """Rows of the ring per model step (60: one minute at 1 Hz)."""
    slot_steps: int
    """Model steps of batch time per row of the reference table; 0 for a continuous process."""
    states: tuple[StateTensor, ...]
    threshold: float
    """Defect probability at the calibrated false-alarm budget."""
    clear_threshold: float
    severity_thresholds: tuple[float, float, float]
    """Cumulative probability above which severity 1, 2, 3 is reported."""
    drift_limit: float
    """Drift score that raises the condition."""
    files: dict[str, str]
    """File name -> SHA-256."""
    metrics: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    """Seeds, configuration and data hashes, versions."""
