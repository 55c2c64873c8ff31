"""Checkpoint of a line's model state: a restart goes on at the next step, never from a wrong one.

One .npz per line, replaced atomically. It carries the hash of the model it belongs to: the state
of another model, a damaged file or none at all is a cold start with a reason, never an error.
"""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edge.core.tags import FloatArray
from edge.runtime.bundle import LoadedBundle

_META = "__meta__"
_UNREADABLE = (
    OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, RuntimeError,
)  # fmt: skip
"""What a damaged archive raises; RuntimeError for a flipped compression or encryption bit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A state and where in the batch it stands."""

    state: dict[str, FloatArray]
    """State tensor name -> float32[1, ...]."""
    batch_step: int
    """Model steps of the batch already in the state: the next one has this index."""
    t_s: float
    """Wall-clock end of the last step in the state, epoch seconds UTC."""
    extra: dict[str, Any] = field(default_factory=dict)
    """JSON values of the caller, e.g. batch id or the verdict's counters."""


@dataclass(frozen=True, slots=True)
class ColdStart:
    """There is no usable state; `reason` says why."""

    reason: str


def save_checkpoint(path: Path, bundle: LoadedBundle, checkpoint: Checkpoint) -> str:
    """Write the checkpoint; returns "" or the reason why it could not be written (disk full...)."""
    meta = {
        "model_sha256": bundle.model_sha256,
        "batch_step": checkpoint.batch_step,
        "t_s": checkpoint.t_s,
        "extra": checkpoint.extra,
    }
    temporary = path.with_name(path.name + ".new")
    try:
        with temporary.open("wb") as stream:
            np.savez(
                stream,
                **{_META: np.frombuffer(json.dumps(meta).encode(), np.uint8)},  # type: ignore[arg-type]
                **checkpoint.state,  # type: ignore[arg-type]
            )
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        return f"{path}: {error.strerror or error}"
    return ""


def load_checkpoint(path: Path, bundle: LoadedBundle) -> Checkpoint | ColdStart:
    """Read the checkpoint if it belongs to this model and is whole."""
    try:
        # Opened here, because numpy leaves its own handle open on a damaged archive.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            meta = json.loads(archive[_META].tobytes().decode())
            state = {
                item.name: np.asarray(archive[item.name], np.float32) for item in bundle.card.states
            }
        step, t_s, extra = int(meta["batch_step"]), float(meta["t_s"]), dict(meta["extra"])
        model = meta["model_sha256"]
    except FileNotFoundError:
        return ColdStart("no checkpoint")
    except _UNREADABLE as error:
        return ColdStart(f"{path}: checkpoint is damaged ({type(error).__name__}: {error})")
    if model != bundle.model_sha256:
        return ColdStart(f"{path}: checkpoint belongs to another model")
    for item in bundle.card.states:
        array = state[item.name]
        if array.shape != (1, *item.shape) or not np.isfinite(array).all():
            return ColdStart(f'{path}: state "{item.name}" has another shape or is not finite')
    if step < 0:
        return ColdStart(f"{path}: batch_step {step} is negative")
    return Checkpoint(state=state, batch_step=step, t_s=t_s, extra=extra)
