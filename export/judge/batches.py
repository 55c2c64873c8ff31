"""Folds of whole batches: each batch is one sample.

The twin's batches have their sides from the dataset (by seed range). Batches of a plant that have
none are split here: normal ones by thirds in their order, defective ones by the draw.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from export.data.dataset import Batch, Dataset
from export.judge.plan import (
    Cut,
    TaskPlan,
    draw_of,
    few_of,
    is_in,
    labelled_groups,
    names_in,
    on_side,
    samples_of,
)
from export.judge.task import Fold, Task


def fold_of_batches(
    dataset: Dataset, stretches: Sequence[Batch], plan: TaskPlan, seed: int
) -> Fold:
    """Whole batches: their sides are the dataset's own (by seed range), or else by batch."""
    mine = [s for s in stretches if is_in(s.domain, plan.targets)]
    sided = {s.split for s in mine} == {"train", "calibrate", "test"}
    if not sided:
        stretches = _one_length(stretches)
        mine = _sides_by_batch([s for s in stretches if s.domain in _domains(mine)], plan, seed)
    sources = [
        s
        for s in stretches
        if is_in(s.domain, plan.sources)
        and not is_in(s.domain, plan.targets)
        and (s.split == "train" or not sided)
    ]
    learn = [s for s in mine if s.split == "train"]
    defective = [s for s in learn if s.level > 0]
    normal = [s for s in learn if s.level == 0]
    kept = few_of(defective, plan.few, draw_of(plan, seed)) if plan.few else defective
    reference: dict[str, list[Batch]] = {}
    for s in [*sources, *normal]:
        if s.level == 0:
            reference.setdefault(s.domain, []).append(s)
    held = [s for s in mine if s.split == "calibrate" and s.level == 0]
    task = Task(
        name=plan.name,
        line=dataset.line,
        train=on_side([*sources, *normal, *kept], "train"),
        reference={d: on_side(ws, "train") for d, ws in reference.items()},
        calibrate=on_side(held, "calibrate"),
        sources=names_in(stretches, plan.sources),
        targets=names_in(stretches, plan.targets),
        step_s=dataset.line.row_s * dataset.line.step_rows,
        simulated=dataset.simulated,
    )
    return Fold(task=task, test=on_side([s for s in mine if s.split == "test"], "test"))


def _one_length(stretches: Sequence[Batch]) -> list[Batch]:
    """Each stretch as one sample, as long as the shortest."""
    steps = min(len(s.severity) for s in stretches)
    return [samples_of(s, Cut(steps=steps, stride=len(s.severity)))[0] for s in stretches]


def _sides_by_batch(mine: Sequence[Batch], plan: TaskPlan, seed: int) -> list[Batch]:
    """Normal batches by thirds in their order (reference, threshold, test); a few defective ones
    are labelled, drawn by the seed."""
    normal = [s for s in mine if s.level == 0]
    defective = [s for s in mine if s.level > 0]
    labelled = labelled_groups(defective, plan, draw_of(plan, seed))
    third = max(1, len(normal) // 3)
    sides = ["train"] * third + ["calibrate"] * third + ["test"] * len(normal)
    out = [dataclasses.replace(s, split=side) for s, side in zip(normal, sides)]
    for s in defective:
        side = "train" if s.group in labelled else "test"
        out.append(dataclasses.replace(s, split=side))
    return out


def _domains(samples: Sequence[Batch]) -> frozenset[str]:
    return frozenset(s.domain for s in samples)
