"""Course: what happens in one batch besides the schedule, as numbers over time.

Slow effects are tracks: rows of the parameter array (params.py) over the 10 s steps. Events shorter
than a step are fast tracks over the seconds. Faults and confounders both end up here, so the model
cannot tell them apart.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

STEP_S = 10
"""Seconds of one model step of the twin."""

Array = npt.NDArray[np.float64]
FastArray = npt.NDArray[np.float32]

FLAKE = "flake"
"""Fast track per feed: share of the flow blocked at the end of the line (pressure rises)."""
DIP = "dip"
"""Fast track per feed: share of the pump speed lost for moments (pressure falls)."""
HUNT = "hunt"
"""Fast track: relative deviation of the return pump's speed."""
SPIKE = "spike"
"""Fast track: relative rise of the return pump's current."""
POWER = "power"
"""Fast track: share of every drive's speed lost in a power dip."""


@dataclass(slots=True)
class Course:
    """Everything that is imposed on one lane."""

    steps: int
    """Model steps of the batch."""
    severity: Array
    """float64[steps] severity 0..3 of the defect."""
    tracks: list[tuple[int, Array]] = field(default_factory=list)
    """(row of the parameter array, float64[steps] to add to it)."""
    fast: dict[tuple[str, int], FastArray] = field(default_factory=dict)
    """(kind, feed) -> float32[seconds]."""
    gaps: list[tuple[int, int, tuple[int, ...]]] = field(default_factory=list)
    """(first second, second after the last, tag indices) without any value."""

    @property
    def seconds(self) -> int:
        """Length of the batch, s."""
        return self.steps * STEP_S

    def add(self, row: int, values: Array | float, first: float = 0.0, last: float = 1e9) -> None:
        """Add `values` (scalar or float64[steps]) to a parameter between two minutes."""
        minute = np.arange(self.steps) * (STEP_S / 60.0)
        inside = (minute >= first) & (minute < last)
        self.tracks.append((row, np.where(inside, values, 0.0)))

    def fast_track(self, kind: str, feed: int = 0) -> FastArray:
        """The fast track float32[seconds] of this kind, made when it is first asked for."""
        key = (kind, feed)
        if key not in self.fast:
            self.fast[key] = np.zeros(self.seconds, np.float32)
        return self.fast[key]

    def pulse(self, kind: str, feed: int, at: int, rng: np.random.Generator) -> None:
        """A flake, dip or spike of 2..10 s and 4..20 % from second `at`."""
        track = self.fast_track(kind, feed)
        span = track[at : at + int(2 + 8 * rng.random())]
        np.maximum(span, np.float32(0.04 + 0.16 * rng.random()), out=span)

    def hunt(self, at: int, size: float, rng: np.random.Generator) -> None:
        """One to six minutes of irregular return-pump speed from second `at`, about +-`size`."""
        track = self.fast_track(HUNT)
        n = min(int(60 + 300 * rng.random()), self.seconds - at)
        t = np.arange(n)
        wave = np.sin(2 * np.pi * t / rng.uniform(8.0, 25.0)) + 0.5 * rng.standard_normal(n)
        track[at : at + n] += (size * rng.uniform(0.5, 1.5) * wave).astype(np.float32)
