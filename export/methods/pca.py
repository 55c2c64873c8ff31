"""PCA T² and Q on each domain's own normal: the monitoring every process engineer knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from export.data.dataset import Batch, FloatArray
from export.judge.task import Scorer, Task
from export.methods.samples import MEAN, Scaler

SHARE = 0.9
"""Share of the variance the kept components explain."""


@dataclass
class Pca:
    """Label-free: the larger of T² and Q, each over its 99 % limit, averaged over the sample."""

    name: str = "PCA T²/Q"
    family: str = "rival"

    def fit(self, task: Task, seed: int) -> Scorer:
        """One model per domain, on the rows of its reference."""
        scaler = Scaler(task, "ref")
        models = {
            domain: _Model.of(np.concatenate([scaler(b)[..., MEAN] for b in normal]))
            for domain, normal in task.reference.items()
            if normal
        }
        return _Charts(scaler, models)


@dataclass
class _Model:
    pca: Any
    limits: tuple[float, float]

    @classmethod
    def of(cls, rows: FloatArray) -> _Model:
        from sklearn.decomposition import PCA

        pca = PCA(n_components=SHARE, svd_solver="full").fit(rows)
        t2, q = _statistics(pca, rows)
        high = (float(np.quantile(t2, 0.99)) + 1e-9, float(np.quantile(q, 0.99)) + 1e-9)
        return cls(pca, high)

    def score(self, rows: FloatArray) -> float:
        t2, q = _statistics(self.pca, rows)
        return float(np.log(np.maximum(t2 / self.limits[0], q / self.limits[1]).mean() + 1e-9))


def _statistics(pca: Any, rows: FloatArray) -> tuple[FloatArray, FloatArray]:
    scores = pca.transform(rows)
    t2 = (np.square(scores) / np.maximum(pca.explained_variance_, 1e-6)).sum(axis=1)
    q = np.square(rows - pca.inverse_transform(scores)).sum(axis=1)
    return t2, q


@dataclass
class _Charts:
    scaler: Scaler
    models: dict[str, _Model]

    def score(self, samples: Sequence[Batch]) -> FloatArray:
        """Log of the mean of the larger statistic over its limit."""
        return np.array(
            [self.models[s.domain].score(self.scaler(s)[..., MEAN]) for s in samples], np.float32
        )
