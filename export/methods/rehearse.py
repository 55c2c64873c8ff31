"""Methods that fail on purpose, and one that works in a millisecond.

The benchmark promises that a crash, a loop or a hunger for memory costs one row. These rehearse it
in its tests; they are in no table.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from export.data.dataset import Batch, FloatArray
from export.judge.task import Scorer, Task
from export.methods import NotApplicable


@dataclass
class Shift:
    """Largest distance of a tag's mean from its domain's reference, in reference deviations."""

    name: str = "shift"
    family: str = "trivial"

    def fit(self, task: Task, seed: int) -> Scorer:
        """Mean and deviation of each domain's reference."""
        return _Shift(
            {
                d: (x.mean(axis=0), x.std(axis=0) + 1e-6)
                for d, some in task.reference.items()
                for x in [np.concatenate([b.features[:, :, 0] for b in some])]
            }
        )


@dataclass
class _Shift:
    normal: dict[str, tuple[FloatArray, FloatArray]]

    def deviation(self, samples: Sequence[Batch]) -> FloatArray:
        """[n, P]"""
        rows = []
        for b in samples:
            middle, spread = self.normal[b.domain]
            rows.append(np.abs(b.features[:, :, 0].mean(axis=0) - middle) / spread)
        return np.array(rows, np.float32)

    def score(self, samples: Sequence[Batch]) -> FloatArray:
        """[n]"""
        return self.deviation(samples).max(axis=1)


@dataclass
class Failing:
    """Fails in one of the ways below."""

    way: str
    name: str = "failing"
    family: str = "trivial"

    def fit(self, task: Task, seed: int) -> Scorer:
        """Never returns a scorer of use."""
        if self.way == "crash":
            os.abort()
        if self.way == "leave":
            os._exit(3)
        if self.way == "loop":
            time.sleep(3600.0)
        if self.way == "hog":
            return _Hog(np.ones((1 << 27) + (1 << 26)))
        if self.way == "unfit":
            raise NotApplicable("needs two suns")
        if self.way == "fault":
            raise ZeroDivisionError("on purpose")
        return _NotANumber()


@dataclass
class _Hog:
    held: np.ndarray

    def score(self, samples: Sequence[Batch]) -> FloatArray:
        """Holds its memory until it is ended."""
        time.sleep(3600.0)
        return np.zeros(len(samples), np.float32)


class _NotANumber:
    def score(self, samples: Sequence[Batch]) -> FloatArray:
        """[n] of NaN."""
        return np.full(len(samples), np.nan, np.float32)
