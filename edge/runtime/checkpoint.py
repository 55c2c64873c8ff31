"""Checkpoint of a line: what it concluded, and the model state; a restart goes on at the next step.

One .npz per line, replaced atomically. The model state carries the hash of the model it belongs to
and is never taken up by another. What the line itself remembers (batch, trim books, latched
conditions) belongs to no model: it is taken up whatever model runs, and without one. A damaged
file, or none, is a cold start with a reason, never an error.
"""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import dataclass, field, replace
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
    """What a line remembers, and a model state with its place in the batch."""

    state: dict[str, FloatArray] | None
    """State tensor name -> float32[1, ...]; None: there is none for this model."""
    batch_step: int
    """Model steps of the batch already in the state: the next one has this index."""
    t_s: float
    """Wall-clock end of the last concluded step, epoch seconds UTC."""
    model_sha256: str = ""
    """The model whose state and figures these are; "" without one."""
    extra: dict[str, Any] = field(default_factory=dict)
    """JSON values of the caller, e.g. batch id or the verdict's counters."""
    cold: str = ""
    """Why `state` is None although one was asked for; "" otherwise."""


@dataclass(frozen=True, slots=True)
class ColdStart:
    """There is nothing to go on from; `reason` says why."""

    reason: str


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> str:
    """Write the checkpoint; returns "" or the reason why it could not be written (disk full...)."""
    meta = {
        "model_sha256": checkpoint.model_sha256,
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
                **checkpoint.state or {},  # type: ignore[arg-type]
            )
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        return f"{path}: {error.strerror or error}"
    return ""


def load_checkpoint(path: Path, bundle: LoadedBundle | None) -> Checkpoint | ColdStart:
    """Read the checkpoint if it is whole; its state only if it belongs to the model of `bundle`."""
    try:
        # Opened here, because numpy leaves its own handle open on a damaged archive.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            meta = json.loads(archive[_META].tobytes().decode())
            step, t_s, extra = int(meta["batch_step"]), float(meta["t_s"]), dict(meta["extra"])
            found = Checkpoint(
                state=None, batch_step=step, t_s=t_s, extra=extra,
                model_sha256=str(meta["model_sha256"]),
            )  # fmt: skip
            if bundle is None:
                return found
            if found.model_sha256 != bundle.model_sha256:
                return replace(found, cold=f"{path}: its model state belongs to another model")
            states = bundle.card.states
            if any(item.name not in archive for item in states):
                return replace(found, cold=f"{path}: it holds no model state")
            state = {item.name: np.asarray(archive[item.name], np.float32) for item in states}
    except FileNotFoundError:
        return ColdStart("no checkpoint")
    except _UNREADABLE as error:
        return ColdStart(f"{path}: checkpoint is damaged ({type(error).__name__}: {error})")
    for item in states:
        array = state[item.name]
        if array.shape != (1, *item.shape) or not np.isfinite(array).all():
            return ColdStart(f'{path}: state "{item.name}" has another shape or is not finite')
    if step < 0:
        return ColdStart(f"{path}: batch_step {step} is negative")
    return replace(found, state=state)
