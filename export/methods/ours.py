"""What we ship, on the judge's samples: one streaming network, trained in different ways.

The same class, the same evidence and the same heads as the bundle; only the time constants follow
from the length of a sample. Variants answer what each part is worth: without target labels
(source-only), without source (target-only), all labels in one pot (pooled), source first and then
target (fine-tuned), the label-free head alone (deviation), and both heads together (ours).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from export.data.dataset import Batch, Dataset, FloatArray
from export.judge.evaluate import auc
from export.judge.task import Scorer, Task
from export.learn.recipe import NetworkSizes, Recipe, load_recipe
from export.learn.train import Trained, TrainingError, train
from export.methods import NotApplicable
from export.methods.samples import learnt, on_side
from export.model.fit import tensors
from export.model.network import OUTPUTS
from export.model.reference import ONE_SIGMA, ReferenceSettings

Labels = Literal["none", "source", "target", "pooled"]
WINDOW_ITERATIONS = 300
WINDOW_CROP = 8
"""Last model steps of a window that are trained on: where it is judged, all its evidence is in."""


@dataclass
class Ours:
    """`labels`: whose labels train the classifier; `heads`: what the score is made of."""

    name: str = "ours"
    labels: Labels = "pooled"
    heads: Literal["both", "classifier", "deviation"] = "both"
    members: int = 1
    align: str = "none"
    """Alignment loss of the training, one of model/align.py."""
    align_weight: float = 0.1
    family: str = "ours"

    def fit(self, task: Task, seed: int) -> Scorer:
        """Train on the task. Raises NotApplicable if it lacks the labels this variant needs."""
        recipe = recipe_for(task, seed)
        recipe = dataclasses.replace(
            recipe,
            training=dataclasses.replace(
                recipe.training, align=self.align, align_weight=self.align_weight
            ),
        )
        labels = self._labels(task)
        try:
            models = [
                train(_dataset(task, labels), dataclasses.replace(recipe, seed=seed + 1000 * k),
                      quiet=True)
                for k in range(1 if labels == "none" else self.members)
            ]  # fmt: skip
        except TrainingError as error:
            raise NotApplicable(str(error)) from error
        heads = "deviation" if labels == "none" else self.heads
        if heads == "both" and not self._earned(task, recipe, labels):
            heads = "deviation"
        return Streaming(models, heads, [*_normals(task), *task.calibrate])

    def _earned(self, task: Task, recipe: Recipe, labels: Labels) -> bool:
        """The classifier speaks only if it helps where it was not trained.

        Each domain that labels defects is left out in turn (with one such domain: each half of its
        groups), a network is trained on the rest, and both heads are compared on what was left
        out. Target labels count like any others; test samples are never seen.
        """
        gains = []
        for kept, left in _left_out(task):
            part = dataclasses.replace(task, train=kept)
            try:
                model = train(_dataset(part, labels), recipe, quiet=True)
            except TrainingError:
                continue
            normals = [b for b in left if b.level == 0]
            truth = np.array([b.level > 0 for b in left])
            scores = [Streaming([model], h, normals).score(left) for h in ("both", "deviation")]
            gains.append(auc(truth, scores[0]) - auc(truth, scores[1]))
        return bool(gains) and float(np.mean(gains)) > 0.0

    def _labels(self, task: Task) -> Labels:
        if self.labels == "none":
            return "none"
        try:
            learnt(task, self.labels)  # type: ignore[arg-type]
        except NotApplicable:
            if self.heads == "both":
                return "none"  # nobody labelled a defect: the label-free head speaks alone
            raise
        return self.labels


LEFT_OUT = 3
"""At most so many domains (or halves) are left out in turn by the gate."""


def _left_out(task: Task) -> list[tuple[tuple[Batch, ...], list[Batch]]]:
    """(samples that stay, samples left out) for the gate; both hold both classes."""
    domains = [d for d in dict.fromkeys(b.domain for b in task.train)
               if len({b.level > 0 for b in task.train if b.domain == d}) == 2]  # fmt: skip
    if len(domains) > 1:
        asked = [lambda b, d=d: b.domain == d for d in domains[:LEFT_OUT]]
    else:
        groups = sorted({b.group for b in task.train if b.level > 0})
        asked = [
            lambda b, some=frozenset(groups[k::2]): (
                b.group in some or (b.level == 0 and b.first_step % 2 == len(some) % 2)
            )
            for k in (0, 1)
        ]
    out = []
    for left in asked:
        sides = ([b for b in task.train if not left(b)], [b for b in task.train if left(b)])
        if all(len({b.level > 0 for b in side}) == 2 for side in sides):
            out.append((tuple(sides[0]), sides[1]))
    return out


def recipe_for(task: Task, seed: int) -> Recipe:
    """The shipped recipe; for windows of a continuous process with time constants of the window."""
    recipe = dataclasses.replace(load_recipe("ours"), seed=seed, target_domain=task.targets[0])
    if len(task.sources) == 1:
        recipe = dataclasses.replace(recipe, source_domain=task.sources[0])
    else:
        recipe = dataclasses.replace(recipe, source_domain="")
    if task.line.schedule_steps:
        return _in_steps(recipe, task.step_s)
    steps = min(len(b.severity) for b in task.train)
    return dataclasses.replace(
        recipe,
        network=window_sizes(steps, len(task.line.tags), recipe.network),
        reference=ReferenceSettings(slot_steps=0),
        training=dataclasses.replace(
            recipe.training,
            iterations=WINDOW_ITERATIONS,
            crop_steps=min(steps, WINDOW_CROP),
            crops=1,
            crop_from=1.0,
        ),
    )


def _in_steps(recipe: Recipe, step_s: float) -> Recipe:
    """The recipe's time constants are minutes; a coarser step has fewer of them."""
    per_minute = 60.0 / step_s
    if per_minute == 1.0:
        return recipe
    sizes, constants = recipe.network, ("slow_steps", "quick_steps", "swing_steps", "pool_steps")
    constants = (*constants, "deviation_steps", "fast_steps")
    return dataclasses.replace(
        recipe,
        network=dataclasses.replace(
            sizes,
            anchor_first=round(sizes.anchor_first * per_minute),
            anchor_last=round(sizes.anchor_last * per_minute),
            **{name: max(1.0, getattr(sizes, name) * per_minute) for name in constants},
        ),
        reference=dataclasses.replace(recipe.reference, slot_steps=1),
        training=dataclasses.replace(
            recipe.training, iterations=2 * WINDOW_ITERATIONS, crop_steps=12, crops=3
        ),
    )


def window_sizes(steps: int, tags: int, sizes: NetworkSizes) -> NetworkSizes:
    """Time constants for windows of `steps` model steps; a window has no beginning of its own."""
    return dataclasses.replace(
        sizes,
        slow_steps=steps / 2.0,
        quick_steps=max(1.0, steps / 10.0),
        swing_steps=steps / 2.0,
        anchor_first=0,
        anchor_last=0,
        pool_steps=max(1.0, steps / 10.0),
        deviation_steps=steps / 2.0,
        fast_steps=max(1.0, steps / 4.0),
        # A disturbance of a whole plant moves many tags a little; a short window has little noise
        # to hide in.
        top_k=max(3, tags // 3),
        dead_zone=1.0,
    )


def _normals(task: Task) -> list[Batch]:
    return [b for d in task.targets for b in task.reference.get(d, ())]


def _dataset(task: Task, labels: Labels) -> Dataset:
    """The task as the trainer reads it; labels that are not to be used are left out."""
    sides = {"none": (), "source": ("source",), "target": ("target",)}
    chosen = [
        b
        for side in sides.get(labels, ("source", "target"))
        for b in on_side(task, side)  # type: ignore[arg-type]
    ]
    known = {id(b) for b in chosen}
    wanted = task.targets if labels in ("none", "target") else (*task.sources, *task.targets)
    chosen += [
        b
        for d in wanted
        for b in (*task.reference.get(d, ()), *on_side(task, "target"))
        if b.domain == d and b.level == 0 and id(b) not in known
    ]
    unique = {(b.domain, b.group, b.first_step): b for b in chosen}
    batches = [dataclasses.replace(b, split="train") for b in unique.values()]
    held = [dataclasses.replace(b, split="calibrate") for b in task.calibrate]
    return Dataset(
        line=task.line,
        batches=(*batches, *held),
        simulated=task.simulated,
        source=task.name,
        sha256="",
    )


class Streaming:
    """Trained networks, scored at the end of each sample."""

    def __init__(self, models: Sequence[Trained], heads: str, normals: Sequence[Batch]) -> None:
        self.models, self.heads = models, heads
        # Each head is put in units of the target's own normals: a logit is not comparable with a
        # distance, and neither keeps its zero across domains.
        self.units = [_units(*_both(model, normals)) for model in models]

    def score(self, samples: Sequence[Batch]) -> FloatArray:
        """Sum of the heads in units of normal operation, averaged over the networks."""
        total = np.zeros(len(samples))
        for model, units in zip(self.models, self.units):
            values = [
                (value - middle) / spread
                for value, (middle, spread) in zip(_both(model, samples), units)
            ]
            total += {"classifier": values[0], "deviation": values[1]}.get(
                self.heads, np.arcsinh(values[0]) + np.arcsinh(values[1])
            )
        return (total / len(self.models)).astype(np.float32)

    def severity(self, samples: Sequence[Batch]) -> FloatArray:
        """Expected level: the sum of the ordinal probabilities."""
        each = [_outputs(m, samples)["severity"].sum(-1) for m in self.models]
        return np.mean(each, axis=0).astype(np.float32)

    def attribution(self, samples: Sequence[Batch]) -> FloatArray:
        """CAM at the end of each sample."""
        return np.mean([_outputs(m, samples)["cam"] for m in self.models], axis=0)

    def deviation(self, samples: Sequence[Batch]) -> FloatArray:
        """Deviation of each tag at the end of each sample."""
        return np.mean([_outputs(m, samples)["deviation"] for m in self.models], axis=0)


def _both(model: Trained, samples: Sequence[Batch]) -> tuple[FloatArray, FloatArray]:
    out = _outputs(model, samples)
    return out["classifier"], out["deviation_score"]


def _units(*heads: FloatArray) -> list[tuple[float, float]]:
    """(median, 68 % spread) of each head."""
    out = []
    for values in heads:
        middle = float(np.median(values))
        spread = float(np.quantile(np.abs(values - middle), ONE_SIGMA))
        out.append((middle, max(spread, 1e-3)))
    return out


@torch.no_grad()
def _outputs(model: Trained, samples: Sequence[Batch]) -> dict[str, FloatArray]:
    """Every output at the last step of each sample, samples of one length together."""
    out: dict[str, FloatArray] = {}
    lengths = np.array([len(s.severity) for s in samples])
    for length in np.unique(lengths):
        places = np.flatnonzero(lengths == length)
        room = max(1, 20_000 // int(length))
        for part in np.array_split(places, -(-len(places) // room)):
            blocks = [
                tensors(samples[int(i)], model.references[samples[int(i)].domain], model.recipe)
                for i in part
            ]
            joined = {name: torch.stack([b[name] for b in blocks]) for name in blocks[0]}
            found = model.network(**joined, states=model.network.zero_states(len(part)))
            for name, value in zip(OUTPUTS, found):
                last = value[:, -1].numpy()
                out.setdefault(name, np.zeros((len(samples), *last.shape[1:]), np.float32))
                out[name][part] = last
    return out
