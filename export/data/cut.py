"""Stretches -> windows, pieces and episodes. Notes over the steps are cut alike."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from export.data.dataset import Batch, Dataset, DatasetError


def windows(
    dataset: Dataset | Sequence[Batch], steps: int, stride: int, *, label: str = "any"
) -> tuple[Batch, ...]:
    """Samples of `steps` model steps, one every `stride`, that never leave their stretch.

    A window keeps group, domain and notes; of notes that are arrays over the steps it has the
    value of its last step, and `notes["lines"]` is (first, last) line of the file. Windows without
    a usable label are left out. `fault` and `component` are empty in a normal window.

    Args:
        label: "any": a window is as severe as its worst step; "last": as its last step.

    Raises:
        DatasetError: no stretch is as long as `steps`.
    """
    batches = dataset.batches if isinstance(dataset, Dataset) else tuple(dataset)
    longest = max((len(b.severity) for b in batches), default=0)
    if longest < steps:
        raise DatasetError(
            f"no stretch is as long as a window of {steps} model steps, the longest has {longest}; "
            "take shorter windows or smaller step_rows"
        )
    return tuple(w for batch in batches for w in _windows(batch, steps, stride, label))


def _windows(batch: Batch, steps: int, stride: int, label: str) -> Iterator[Batch]:
    total = len(batch.severity)
    for first in range(0, total - steps + 1, stride):
        part = slice(first, first + steps)
        severity = batch.severity[part].copy()
        if label == "last":
            severity[:-1] = -1
        if severity.max() < 0:
            continue
        defective = severity.max() > 0
        yield dataclasses.replace(
            batch,
            features=batch.features[part],
            valid=batch.valid[part],
            severity=severity,
            first_step=batch.first_step + first,
            fault=batch.fault if defective else "",
            component=batch.component if defective else "",
            notes=_notes_of_window(batch.notes, total, first, first + steps),
        )


def _notes_of_window(notes: dict[str, Any], total: int, first: int, end: int) -> dict[str, Any]:
    out = {}
    for name, value in notes.items():
        over_steps = isinstance(value, (list, np.ndarray)) and len(value) == total
        out[name] = value[end - 1] if over_steps else value
    line = notes.get("line")
    if isinstance(line, np.ndarray) and len(line) == total:
        some = line[first:end][line[first:end] > 0]
        before = int(line[first - 1]) + 1 if first else int(notes.get("first_line", 0))
        out["lines"] = (before, int(some[-1])) if len(some) else (before, before)
    return out


def piece_of(stretch: Batch, first: int, end: int) -> Batch:
    """Steps first..end-1 of a stretch, notes cut alike."""
    total = len(stretch.severity)
    part = slice(first, end)
    notes = {
        name: value[part] if isinstance(value, np.ndarray) and len(value) == total else value
        for name, value in stretch.notes.items()
    }
    if first and "line" in notes:
        notes["first_line"] = int(stretch.notes["line"][first - 1]) + 1
    defective = bool((stretch.severity[part] > 0).any())
    return dataclasses.replace(
        stretch,
        features=stretch.features[part],
        valid=stretch.valid[part],
        severity=stretch.severity[part],
        first_step=stretch.first_step + first,
        fault=stretch.fault if defective else "",
        component=stretch.component if defective else "",
        notes=notes,
    )


def cut_episodes(stretch: Batch, rest: int) -> list[Batch]:
    """One stretch per episode of defects, cut half way between episodes further apart than `rest`.

    `rest` is in model steps; 0: the stretch stays whole.
    """
    bad = np.flatnonzero(stretch.severity > 0)
    if not rest or not len(bad):
        return [stretch]
    far = np.flatnonzero(np.diff(bad) > rest)
    cuts = [0, *((bad[far] + bad[far + 1] + 1) // 2).tolist(), len(stretch.severity)]
    out = []
    for number, (a, b) in enumerate(itertools.pairwise(cuts), start=1):
        piece = piece_of(stretch, a, b)
        other = np.flatnonzero(piece.severity != 0)
        notes = {**piece.notes, "normal_steps": int(other[0]) if len(other) else b - a}
        group = f"{stretch.group} episode {number}"
        out.append(dataclasses.replace(piece, group=group, first_step=0, notes=notes))
    return out
