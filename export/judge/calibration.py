"""How sure a figure is: exact intervals of shares, calibration of probabilities.

Pure: numbers in, numbers out. A share k of n is never shown without its Clopper-Pearson interval:
one false alarm in eighty batches may be one in fifteen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats

FloatArray = npt.NDArray[np.float64]
BINS = 10


@dataclass(frozen=True, slots=True)
class Share:
    """k of n with its exact 95 % interval."""

    k: int
    n: int

    @property
    def interval(self) -> tuple[float, float]:
        """Clopper-Pearson, 95 %."""
        return clopper_pearson(self.k, self.n)

    def __str__(self) -> str:
        low, high = self.interval
        share = self.k / self.n if self.n else float("nan")
        return f"{self.k} of {self.n}, {share:.1%} (95 %: {low:.1%} to {high:.1%})"

    def to_dict(self) -> dict[str, float | int]:
        """For the card."""
        low, high = self.interval
        return {"k": self.k, "n": self.n, "low": round(low, 4), "high": round(high, 4)}


def clopper_pearson(k: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Exact interval of a binomial share; (0, 1) when nothing was counted.

    Raises ValueError unless 0 <= k <= n.
    """
    if not 0 <= k <= n:
        raise ValueError(f"{k} of {n}: permitted is 0 <= k <= n")
    if n == 0:
        return 0.0, 1.0
    tail = (1.0 - level) / 2.0
    low = 0.0 if k == 0 else float(stats.beta.ppf(tail, k, n - k + 1))
    high = 1.0 if k == n else float(stats.beta.ppf(1.0 - tail, k + 1, n - k))
    return low, high


def temperature(logit: FloatArray, label: npt.NDArray[np.bool_]) -> float:
    """T > 0 that makes sigmoid(logit / T) most likely; 1 when only one class is there."""
    if label.all() or not label.any():
        return 1.0

    def loss(log_t: float) -> float:
        x = logit / np.exp(log_t)
        return float(np.mean(np.logaddexp(0.0, x) - label * x))

    found = optimize.minimize_scalar(loss, bounds=(-4.0, 4.0), method="bounded")
    return float(np.exp(found.x))


def reliability(
    probability: FloatArray, label: npt.NDArray[np.bool_]
) -> list[tuple[float, float, int]]:
    """(mean probability, share defective, count) of each tenth that holds a sample."""
    place = np.minimum((probability * BINS).astype(int), BINS - 1)
    return [
        (float(probability[place == b].mean()), float(label[place == b].mean()), int(n))
        for b in range(BINS)
        if (n := (place == b).sum())
    ]


def calibration_error(probability: FloatArray, label: npt.NDArray[np.bool_]) -> float:
    """Expected calibration error: mean |probability - share| over the tenths, by their counts."""
    rows = reliability(probability, label)
    total = sum(n for _, _, n in rows)
    return sum(abs(p - share) * n for p, share, n in rows) / total if total else float("nan")
