"""What is written into the history, as values. P tags, N rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from edge.core.tags import ByteArray, FloatArray
from edge.runtime.store.minute import Times


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchAt:
    """The batch a record belongs to, as the line saw it then."""

    batch_id: int
    minutes: float
    """Batch time at the end of the record, min; what tells one batch from the next of its id."""
    state: str
    """running, held, complete, aborted."""
    simulation: str = ""
    """Why nothing here is of a real plant; "" on one."""
    model: str = ""
    """Name, serial and SHA-256 of the model."""
    config_sha256: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Minute:
    """Some consecutive rows of one line; `batch` None between batches."""

    line: str
    batch: BatchAt | None
    tags: tuple[tuple[str, str], ...]
    """Names and units, in the order of the columns."""
    times: Times
    values: FloatArray
    quality: ByteArray
    reason: ByteArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What was concluded from one model step."""

    line: str
    batch: BatchAt | None
    t_s: float
    """End of the step, epoch s."""
    phase: int
    probability: float | None
    severity: int | None
    """None: the verdict was not valid."""
    why: str
    """Why it was not valid."""
    drift: float | None
    """Share of the limit."""
    data_quality: float
    demand: float | None
    """Trend of the NaOH demand, share of the feed-forward."""
    cam: FloatArray | None = None
    """float32[P]."""
    deviation: FloatArray | None = None
    suspects: tuple[tuple[str, str, float], ...] = ()
    """(component, part, score)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One entry of the append-only log; `body` holds JSON values."""

    t_s: float
    line: str
    """ "" for the appliance as a whole."""
    kind: str
    body: dict[str, Any] = field(default_factory=dict)


Record = Minute | Step | Event

KINDS = {
    "start": "the daemon began to serve",
    "stop": "the daemon ended in order",
    "configuration": "another configuration than at the start before",
    "model": "another model than at the start before",
    "update": "an update was accepted, refused or rolled back",
    "shadow": "a model step as the live model and one in shadow see it",
    "history": "the history itself: begun anew, records lost, raw rows dropped",
    "batch": "a batch began, was held, ended",
    "verdict": "the verdict of a line changed",
    "suggestion": "a trim suggestion was made, ended or withheld",
    "answer": "the operator answered a suggestion",
    "condition": "a condition was raised or cleared",
    "maintenance": "maintenance was keyed in at the panel",
    "label": "the operator called a defect real or a false alarm",
    "export": "a batch was exported",
}
"""Every kind of event and what it says."""
