"""A recording -> what `train` learns from: the normal beginning of each stretch, and the rest.

Each domain's reference is learnt from the normal beginnings, as on site after maintenance. Labels
of stretches that the description does not list in `labelled` are never seen by training.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

from export.data.dataset import Batch, Dataset, DatasetError
from export.data.plant import load_plant, piece_of


def load_recording(
    description: Path, data: Path | None = None, *, cache: Path | None = None, quiet: bool = False
) -> Dataset:
    """Read a recording and cut each stretch where its known normal operation ends.

    Arguments and exceptions as `export.data.plant.load_plant`.
    """
    return cut_recording(load_plant(description, data, cache=cache, quiet=quiet))


def cut_recording(dataset: Dataset) -> Dataset:
    """Each stretch as its normal beginning and its rest. Raises DatasetError if none is left."""
    batches = tuple(part for stretch in dataset.batches for part in beginning_and_rest(stretch))
    if not batches:
        raise DatasetError(
            f"{dataset.source}: every stretch ends within its first normal rows; record longer, or "
            "take smaller normal_rows"
        )
    return dataclasses.replace(dataset, batches=batches)


def beginning_and_rest(stretch: Batch) -> Iterable[Batch]:
    """The first normal steps (for training) and what follows, as the stretch is marked."""
    steps, normal = len(stretch.severity), int(stretch.notes["normal_steps"])
    if normal and (normal < steps or not (stretch.severity > 0).any()):
        yield dataclasses.replace(piece_of(stretch, 0, normal), split="train")
    if normal < steps:
        yield piece_of(stretch, normal, steps)
