"""A recording -> what `train` learns from: the normal beginning of each stretch, and the rest.

Each domain's reference is learnt from the normal beginnings, as on site after maintenance. Labels
of stretches that the description does not list in `labelled` are never seen by training.

Where every stretch is a batch of a schedule:

    batch not in `labelled`                         "test", whole: nothing of it is learnt
    every HELD_NORMAL-th normal batch               "calibrate": thresholds come from batches that
    the batches before every HELD_FAILURE-th failure             training has not seen
    the others                                      "train"
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from export.data.dataset import Batch, Dataset, DatasetError
from export.data.plant import load_plant, piece_of

HELD_NORMAL = 4
HELD_FAILURE = 3


def load_recording(
    description: Path, data: Path | None = None, *, cache: Path | None = None, quiet: bool = False
) -> Dataset:
    """Read a recording and cut each stretch where its known normal operation ends.

    Arguments and exceptions as `export.data.plant.load_plant`.
    """
    return cut_recording(load_plant(description, data, cache=cache, quiet=quiet))


def cut_recording(dataset: Dataset) -> Dataset:
    """Each stretch as its normal beginning and its rest. Raises DatasetError if none is left."""
    scheduled = bool(dataset.line.schedule_steps)
    parts = [part for stretch in dataset.batches for part in beginning_and_rest(stretch, scheduled)]
    batches = tuple(held_out(parts) if scheduled else parts)
    if not batches:
        raise DatasetError(
            f"{dataset.source}: every stretch ends within its first normal rows; record longer, or "
            "take smaller normal_rows"
        )
    return dataclasses.replace(dataset, batches=batches)


def beginning_and_rest(stretch: Batch, scheduled: bool = False) -> Iterable[Batch]:
    """The first normal steps and what follows, as the stretch is marked.

    The beginning is for training; but of a batch of a schedule that is to be tested, nothing is.
    """
    steps, normal = len(stretch.severity), int(stretch.notes["normal_steps"])
    if normal and (normal < steps or not (stretch.severity > 0).any()):
        split = stretch.split if scheduled else "train"
        yield dataclasses.replace(piece_of(stretch, 0, normal), split=split)
    if normal < steps:
        yield piece_of(stretch, normal, steps)


def held_out(parts: Sequence[Batch]) -> list[Batch]:
    """Batches of a schedule with some of those for training held out: the table above.

    A whole batch, and all batches before one failure, stay on one side.
    """
    failures: dict[str, float] = {}
    for part in parts:
        bad = part.severity > 0
        if part.split == "train" and bad.any():
            left_s = np.asarray(part.notes.get("to_failure_s", np.zeros(len(bad))))
            at_s = np.asarray(part.notes["t_s"]) + left_s
            failures[part.group] = float(np.round(at_s[bad][0]))
    known = [p for p in parts if p.split == "train" and (p.severity == 0).any()]
    normal = [group for group in dict.fromkeys(p.group for p in known) if group not in failures]
    held = set(normal[HELD_NORMAL - 1 :: HELD_NORMAL])
    late = set(sorted(set(failures.values()))[HELD_FAILURE - 1 :: HELD_FAILURE])
    held |= {group for group, at_s in failures.items() if at_s in late}
    return [
        dataclasses.replace(p, split="calibrate") if p.split == "train" and p.group in held else p
        for p in parts
    ]
