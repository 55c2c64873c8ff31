"""Is the difference between two methods more than luck? Paired bootstrap over failures.

Both methods are judged on the same resampled test. Defective samples are drawn by group (a failure
with all its windows), because windows of one failure are no independent witnesses. Normal samples
are drawn by group where there are at least five, else in blocks of neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from export.judge.evaluate import auc
from export.judge.metrics import Bools, Floats

DRAWS = 200
FAILURES = 3
"""Fewer failures than this bear no interval: two runs are two numbers."""
BLOCK = 5
"""Samples of a block of normals that belong to fewer than five groups."""


@dataclass(frozen=True, slots=True)
class Difference:
    """AUC of one method minus AUC of another."""

    mean: float
    low: float | None
    """None: too few failures for an interval."""
    high: float | None

    @property
    def certain(self) -> bool:
        """The interval does not hold zero."""
        return self.low is not None and self.high is not None and (self.low > 0.0 or self.high < 0)


def auc_difference(
    runs: Sequence[tuple[Bools, Floats, Floats, np.ndarray]], draws: int = DRAWS, seed: int = 0
) -> Difference | None:
    """95 % interval over resampled failures and seeds; None if one class is missing.

    Args:
        runs: per seed (defective [n], score of one [n], score of the other [n], group [n]).
    """
    rng = np.random.default_rng(seed)
    means, spread = [], []
    for bad, one, other, group in runs:
        means.append(auc(bad, one) - auc(bad, other))
        units_bad, units_good = _units(bad, group), _units(~bad, group, at_least=5)
        if not units_bad or not units_good:
            return None
        for _ in range(draws if len(units_bad) >= FAILURES else 0):
            index = np.concatenate([_draw(units_bad, rng), _draw(units_good, rng)])
            spread.append(auc(bad[index], one[index]) - auc(bad[index], other[index]))
    if not means:
        return None
    if not spread:
        return Difference(float(np.mean(means)), None, None)
    low, high = np.quantile(spread, [0.025, 0.975])
    return Difference(float(np.mean(means)), float(low), float(high))


def _units(some: Bools, group: np.ndarray, at_least: int = 1) -> list[np.ndarray]:
    places = np.flatnonzero(some)
    names = np.unique(group[places])
    if len(names) >= at_least:
        return [places[group[places] == g] for g in names]
    return [places[i : i + BLOCK] for i in range(0, len(places), BLOCK)]


def _draw(units: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    return np.concatenate([units[i] for i in rng.integers(0, len(units), len(units))])
