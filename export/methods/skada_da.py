"""Domain adaptation from a library (skada) on the summaries, with a logistic classifier."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from export.data.dataset import Batch, FloatArray
from export.judge.task import Scorer, Task
from export.methods import NotApplicable
from export.methods.samples import Scaler, labels, learnt, on_side, summaries

COLUMNS = 60
"""Principal components the adapters work on: covariances of hundreds of columns from a few dozen
target samples would be noise."""


@dataclass
class Skada:
    """CORAL, subspace alignment or optimal transport; reads unlabelled target samples."""

    how: str = "coral"
    family: str = "rival"
    transductive: bool = True

    @property
    def name(self) -> str:
        """Row label."""
        return f"skada {self.how}, ref"

    def fit(self, task: Task, seed: int) -> Scorer:
        """Adapt source summaries to the target's unlabelled ones, then a logistic classifier."""
        from sklearn.decomposition import PCA
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        source, scaler = learnt(task, "source"), Scaler(task, "ref")
        target = [*task.unlabelled, *on_side(task, "target")]
        if len(target) < 4:
            raise NotApplicable("the target shows fewer than four samples to adapt to")
        x, y = summaries(source, scaler), labels(source).astype(int)
        xt = summaries(target, scaler)
        room = min(COLUMNS, len(x) - 1, x.shape[1])
        reduce = make_pipeline(StandardScaler(), PCA(room, random_state=seed)).fit(x)
        every = np.concatenate([reduce.transform(x), reduce.transform(xt)])
        sides = np.concatenate([np.ones(len(x), int), -np.ones(len(xt), int)])
        # skada's mask of a target label in classification.
        wanted = np.concatenate([y, np.full(len(xt), -1)])
        base = LogisticRegression(C=0.1, max_iter=500, class_weight="balanced")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = _adapter(self.how, base).fit(every, wanted, sample_domain=sides)
        return _Adapted(scaler, reduce, model)


def _adapter(how: str, base: Any) -> Any:
    import skada

    if how == "coral":
        return skada.make_da_pipeline(skada.CORALAdapter(reg=0.1), base)
    if how == "subspace":
        return skada.make_da_pipeline(skada.SubspaceAlignmentAdapter(n_components=20), base)
    return skada.make_da_pipeline(skada.OTMappingAdapter(), base)


@dataclass
class _Adapted:
    scaler: Scaler
    reduce: Any
    model: Any

    def score(self, samples: Sequence[Batch]) -> FloatArray:
        """Log odds."""
        x = self.reduce.transform(summaries(samples, self.scaler))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            odds = self.model.decision_function(x, sample_domain=np.full(len(x), -1))
        return np.asarray(odds, np.float32).reshape(-1)
