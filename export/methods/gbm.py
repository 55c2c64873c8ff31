"""Gradient boosting (LightGBM) on summary statistics of a sample: the strongest plain rival."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from export.data.dataset import Batch, FloatArray
from export.judge.task import Scorer, Task
from export.methods.samples import Scaler, Scaling, Use, labels, learnt, summaries

TREES = 150
TUNING_TREES = 40


@dataclass
class Gbm:
    """Source-only, target-only, pooled or fine-tuned; scaled by source or by own normal."""

    use: Use = "source"
    scaling: Scaling = "ref"
    family: str = "rival"

    @property
    def name(self) -> str:
        """Row label."""
        return f"GBM {self.use}, {self.scaling}"

    def fit(self, task: Task, seed: int) -> Scorer:
        """Boosted trees on the summaries."""
        scaler = Scaler(task, self.scaling)
        if self.use == "tuned":
            first = _boost(learnt(task, "source"), scaler, seed, TREES)
            return _Trees(scaler, _boost(learnt(task, "target"), scaler, seed, TUNING_TREES, first))
        return _Trees(scaler, _boost(learnt(task, self.use), scaler, seed, TREES))


def _boost(
    samples: Sequence[Batch], scaler: Scaler, seed: int, trees: int, first: Any = None
) -> Any:
    import lightgbm

    y = labels(samples)
    data = lightgbm.Dataset(
        summaries(samples, scaler),
        y.astype(int),
        weight=np.where(y, 0.5 / y.mean(), 0.5 / (1.0 - y.mean())),
        params={"verbose": -1},
    )
    settings = {
        "objective": "binary", "learning_rate": 0.05, "num_leaves": 15, "verbose": -1,
        "min_data_in_leaf": int(np.clip(len(samples) // 20, 2, 20)), "feature_fraction": 0.3,
        "bagging_fraction": 0.8, "bagging_freq": 1, "seed": seed, "num_threads": 1,
        "deterministic": True, "force_col_wise": True,
    }  # fmt: skip
    return lightgbm.train(settings, data, trees, init_model=first)


@dataclass
class _Trees:
    scaler: Scaler
    model: Any

    def score(self, samples: Sequence[Batch]) -> FloatArray:
        """Raw margin: a probability that saturates would tie."""
        margin = self.model.predict(summaries(samples, self.scaler), raw_score=True)
        return np.asarray(margin, np.float32)
