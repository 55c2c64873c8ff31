"""A strong convolutional-kernel classifier: MultiRocket features and a ridge classifier (aeon)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from export.data.dataset import Batch, FloatArray
from export.judge.task import Scorer, Task
from export.methods.samples import MEAN, Scaler, Use, labels, learnt

LONGEST = 120
"""Points of time a kernel sees: longer samples are averaged down, to stay within a minute."""
KERNELS = 2500


@dataclass
class Kernels:
    """MiniRocket on the levels, scaled by each domain's own normal."""

    use: Use = "pooled"
    family: str = "rival"

    @property
    def name(self) -> str:
        """Row label."""
        return f"MiniRocket {self.use}, ref"

    def fit(self, task: Task, seed: int) -> Scorer:
        """Random kernels, then ridge with cross-validated strength."""
        from aeon.transformations.collection.convolution_based import MiniRocket
        from sklearn.linear_model import RidgeClassifierCV
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        samples, scaler = learnt(task, self.use), Scaler(task, "ref")
        kernels = MiniRocket(n_kernels=KERNELS, random_state=seed, n_jobs=1)
        features = kernels.fit_transform(_series(samples, scaler))
        ridge = make_pipeline(
            StandardScaler(), RidgeClassifierCV(np.logspace(-1, 5, 13), class_weight="balanced")
        )
        ridge.fit(np.asarray(features), labels(samples))
        return _Ridge(scaler, kernels, ridge)


@dataclass
class _Ridge:
    scaler: Scaler
    kernels: Any
    ridge: Any

    def score(self, samples: Sequence[Batch]) -> FloatArray:
        """Distance from the separating plane."""
        features = self.kernels.transform(_series(samples, self.scaler))
        return np.asarray(self.ridge.decision_function(np.asarray(features)), np.float32)


def _series(samples: Sequence[Batch], scaler: Scaler) -> FloatArray:
    """float32[n, P, T]."""
    out = []
    for sample in samples:
        level = scaler(sample)[..., MEAN]
        pool = -(-len(level) // LONGEST)
        level = level[len(level) % pool :]
        out.append(level.reshape(-1, pool, level.shape[1]).mean(axis=1).T)
    shortest = max(9, min(o.shape[1] for o in out))  # the kernels are nine points long
    return np.stack([_at_least(o, shortest) for o in out]).astype(np.float32)


def _at_least(series_PT: FloatArray, length: int) -> FloatArray:
    if series_PT.shape[1] < length:
        series_PT = np.pad(series_PT, ((0, 0), (length - series_PT.shape[1], 0)), mode="edge")
    return series_PT[:, -length:]
