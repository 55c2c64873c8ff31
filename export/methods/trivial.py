"""What a score must beat to mean anything: age, one tag, plain distance from normal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from export.data.dataset import Batch, FloatArray
from export.judge.evaluate import auc
from export.judge.task import Scorer, Task
from export.methods.samples import MEAN, Scaler, labels, learnt

LARGEST = 40
"""Deviations averaged by the plain distance (as in the design's prototype)."""


@dataclass
class Age:
    """Hours since repair, and nothing else: what "the days before a failure" may really mean."""

    name: str = "age only"
    family: str = "trivial"

    def fit(self, task: Task, seed: int) -> Scorer:
        """Nothing is learnt."""
        return _Age()


class _Age:
    def score(self, samples: Sequence[Batch]) -> FloatArray:
        """Model steps from the start of the stretch to the end of the sample."""
        return np.array([s.first_step + len(s.severity) for s in samples], np.float32)


@dataclass
class OneTag:
    """The single tag whose mean deviation ranks the labelled samples best."""

    name: str = "best single tag"
    family: str = "trivial"

    def fit(self, task: Task, seed: int) -> Scorer:
        """Choose tag and direction on the labelled samples."""
        samples, scaler = learnt(task, "pooled"), Scaler(task, "ref")
        means = _means(samples, scaler)
        y = labels(samples)
        both = np.concatenate([means, -means, np.abs(means)], axis=1)
        return _OneTag(scaler, int(np.argmax([auc(y, both[:, k]) for k in range(both.shape[1])])))


@dataclass
class _OneTag:
    scaler: Scaler
    column: int

    def score(self, samples: Sequence[Batch]) -> FloatArray:
        """Its mean deviation, in the chosen direction."""
        means = _means(samples, self.scaler)
        return np.concatenate([means, -means, np.abs(means)], axis=1)[:, self.column]


@dataclass
class Distance:
    """Mean of the largest normalised deviations from the domain's own normal; no label used."""

    name: str = "distance from normal"
    family: str = "trivial"

    def fit(self, task: Task, seed: int) -> Scorer:
        """Only the reference is learnt."""
        return _Distance(Scaler(task, "ref"))


@dataclass
class _Distance:
    scaler: Scaler

    def score(self, samples: Sequence[Batch]) -> FloatArray:
        """Mean of the largest |z| over tags and steps of levels and noise."""
        return np.array([_largest(self.scaler(s)) for s in samples], np.float32)

    def deviation(self, samples: Sequence[Batch]) -> FloatArray:
        """float32[n, P], mean level deviation of each tag."""
        return _means(samples, self.scaler)


def _largest(z_SPF: FloatArray) -> float:
    size = np.abs(z_SPF[..., :2]).mean(axis=0).ravel()
    return float(np.sort(size)[-LARGEST:].mean())


def _means(samples: Sequence[Batch], scaler: Scaler) -> FloatArray:
    return np.stack([scaler(s)[..., MEAN].mean(axis=0) for s in samples])
