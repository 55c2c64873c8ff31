"""Samples as the methods of the benchmark want them: scaled, summarised, sorted by side.

Shape legend: n samples, S model steps, P tags, F step features, D summary columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from export.data.dataset import Batch, FloatArray
from export.judge.task import Task
from export.methods import NotApplicable
from export.model.reference import ReferenceSettings, build_reference, slots_of

Scaling = Literal["global", "ref"]
Use = Literal["source", "target", "pooled", "tuned"]
CLIP = 12.0
MEAN, STD, SLOPE, JUMP = 0, 1, 4, 5


class Scaler:
    """Scales samples by source statistics ("global") or by each domain's own normal ("ref")."""

    def __init__(self, task: Task, how: Scaling) -> None:
        self.how = how
        if how == "global":
            if not on_side(task, "source"):
                raise NotApplicable("no labelled source sample to scale by")
            rows = np.concatenate(
                [b.features.reshape(-1, *b.features.shape[1:]) for b in on_side(task, "source")]
            )
            self.loc, self.scale = rows.mean(axis=0), np.maximum(rows.std(axis=0), 1e-6)
            return
        spans = np.asarray(task.line.spans, np.float32)
        steps = task.line.schedule_steps or None
        settings = ReferenceSettings(slot_steps=3 if steps else 0)
        self.settings = settings
        source = [b for d in task.sources for b in task.reference.get(d, ())]
        floor = _build(source, spans, settings, steps)[1] if source else None
        self.references = {
            domain: _build(normal, spans, settings, steps, floor)
            for domain, normal in task.reference.items()
            if normal
        }

    def __call__(self, sample: Batch) -> FloatArray:
        """float32[S, P, F], zero where a tag was not good."""
        if self.how == "global":
            loc, scale = self.loc, self.scale
        else:
            if sample.domain not in self.references:
                raise NotApplicable(f'domain "{sample.domain}" has no normal sample to learn from')
            loc, scale = self.references[sample.domain]
            slots = slots_of(
                len(sample.features), sample.first_step, self.settings.slot_steps, len(loc)
            )
            loc, scale = loc[slots], scale[slots]
        z = np.clip((sample.features - loc) / scale, -CLIP, CLIP)
        out: FloatArray = np.where(sample.valid[..., None] >= 0.5, z, 0.0).astype(np.float32)
        return out


def _build(
    samples: Sequence[Batch],
    spans: FloatArray,
    settings: ReferenceSettings,
    steps: tuple[int, ...] | None,
    floor: FloatArray | None = None,
) -> tuple[FloatArray, FloatArray]:
    return build_reference(
        [b.features for b in samples], [b.valid for b in samples], spans, settings, steps, floor
    )


def summary(z_SPF: FloatArray) -> FloatArray:
    """float32[7 P] of one scaled sample: level, its spread, extremes and trend, noise, slope."""
    level = z_SPF[..., MEAN]
    third = max(1, len(level) // 3)
    trend = level[-third:].mean(axis=0) - level[:third].mean(axis=0)
    parts = (
        level.mean(axis=0), level.std(axis=0), level.min(axis=0), level.max(axis=0), trend,
        0.5 * (z_SPF[..., STD] + z_SPF[..., JUMP]).mean(axis=0), z_SPF[..., SLOPE].mean(axis=0),
    )  # fmt: skip
    return np.concatenate(parts).astype(np.float32)


def summaries(samples: Sequence[Batch], scaler: Scaler) -> FloatArray:
    """float32[n, D]."""
    return np.stack([summary(scaler(sample)) for sample in samples])


def on_side(task: Task, side: Literal["source", "target"]) -> list[Batch]:
    """Labelled samples of the sources or of the targets."""
    domains = task.sources if side == "source" else task.targets
    return [b for b in task.train if b.domain in domains]


def learnt(task: Task, use: Use) -> list[Batch]:
    """What a method may learn from. Raises NotApplicable if it lacks one of the classes."""
    sides = {"source": ("source",), "target": ("target",)}.get(use, ("source", "target"))
    samples = [b for side in sides for b in on_side(task, side)]  # type: ignore[arg-type]
    levels = [b.level > 0 for b in samples]
    if not any(levels) or all(levels):
        raise NotApplicable(f"{' and '.join(sides)}: only one class is labelled")
    return samples


def labels(samples: Sequence[Batch]) -> npt.NDArray[np.bool_]:
    """bool[n], defective."""
    return np.array([b.level > 0 for b in samples])


def kinds(samples: Sequence[Batch]) -> npt.NDArray[np.str_]:
    """str[n]: "" normal, else the fault's name (or "defective")."""
    return np.array([(b.fault or "defective") if b.level else "" for b in samples])
