"""Is the input still the domain this model was adapted to? Tells "input moved" from "defect".

The bundle holds mean and whitening of the pooled features of normal batches. A step's distance is
the root mean square of its whitened features, so 1 is the middle of the domain whatever the number
of features; the drift score is its exponential mean over model steps, because one odd minute is no
drift. Beside it runs the same mean of every tag's squared deviation: its shares say who moved.

Axes: P tags, D pooled features, K whitened features (K <= D).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
DEFAULT_STEPS = 30.0
"""Time constant of the exponential mean, model steps."""
_CAP = 1e3
"""Largest distance of one step: a wild value must not occupy the mean for hours."""


@dataclass(frozen=True, slots=True)
class DriftReference:
    """drift.npz of a bundle."""

    mean: Floats
    """float[D]."""
    whitening: Floats
    """float[D, K]; (x - mean) @ whitening has unit variance on the domain's normal batches."""

    def __post_init__(self) -> None:
        if self.mean.ndim != 1 or self.whitening.shape[:1] != self.mean.shape:
            raise ValueError(
                f"drift reference: mean {self.mean.shape} and whitening {self.whitening.shape} "
                "do not fit; expected [D] and [D, K]"
            )


@dataclass(frozen=True, slots=True)
class Drift:
    """State of the fold and what it says."""

    score: float | None = None
    """Exponential mean of the distance; None before the first valid step."""
    steps: int = 0
    deviation_sq: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    """float64[P], exponential mean of the squared deviation of each tag."""

    def shares(self) -> npt.NDArray[np.float64]:
        """float64[P], each tag's share of the movement; zeros if nothing moved."""
        total = float(self.deviation_sq.sum())
        return self.deviation_sq / total if total > 0.0 else np.zeros_like(self.deviation_sq)

    def moved(self, names: tuple[str, ...], count: int = 3) -> tuple[str, ...]:
        """The tags that moved most, best first."""
        order = np.argsort(-self.deviation_sq, kind="stable")[:count]
        return tuple(names[i] for i in order if self.deviation_sq[i] > 0.0)


def distance(pooled: Floats, reference: DriftReference) -> float:
    """Root mean square of the whitened features of one step, pooled float[D]; NaN if any is NaN."""
    z = (pooled.astype(np.float64) - reference.mean) @ reference.whitening
    return float(np.sqrt(np.mean(z * z)))


def fold(
    drift: Drift,
    pooled: Floats,
    deviation: Floats,
    reference: DriftReference,
    *,
    steps: float = DEFAULT_STEPS,
) -> Drift:
    """The drift after one valid model step: pooled float[D], deviation float[P].

    A step with a NaN changes nothing. The first `steps` steps form a plain mean, so that the score
    starts in the middle rather than at zero. Raises ValueError if D does not fit the reference.
    """
    now = min(distance(pooled, reference), _CAP)
    square = np.square(np.minimum(np.abs(deviation.astype(np.float64)), _CAP))
    if not (np.isfinite(now) and np.isfinite(square).all()):
        return drift
    weight = 1.0 / min(drift.steps + 1, max(steps, 1.0))
    if drift.score is None or drift.deviation_sq.shape != square.shape:
        return Drift(now, 1, square)
    return Drift(
        drift.score + weight * (now - drift.score),
        drift.steps + 1,
        drift.deviation_sq + weight * (square - drift.deviation_sq),
    )
