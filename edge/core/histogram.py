"""Durations in fixed buckets that double: cheap to count, small to keep, safe to add up.

The buckets never change, so histograms of two links, two lines or two days may be summed, and a
monitoring system may work out its own percentiles from them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

FIRST_S = 1e-4
BOUNDS_S = tuple(FIRST_S * 2.0**i for i in range(18))
"""Upper ends (inclusive) of the buckets, 0.1 ms .. 13.1 s; what is longer goes into one more."""


@dataclass(slots=True)
class Histogram:
    """How often something took how long, since the start of the daemon."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    """One per bucket of `BOUNDS_S`, and one for everything longer."""
    sum_s: float = 0.0
    worst_s: float = 0.0

    @property
    def count(self) -> int:
        """Durations seen."""
        return sum(self.counts)

    def add(self, seconds: float) -> None:
        """Count one duration; one below 0 (a clock that was set) counts as 0."""
        seconds = max(seconds, 0.0)
        # FIRST_S / seconds = m x 2**e with 0.5 <= m < 1: the bucket without a search.
        bucket = 1 - math.frexp(FIRST_S / seconds)[1] if seconds > FIRST_S else 0
        self.counts[min(bucket, len(BOUNDS_S))] += 1
        self.sum_s += seconds
        self.worst_s = max(self.worst_s, seconds)

    def quantile(self, share: float) -> float:
        """The duration not exceeded by `share` (0..1) of those seen, s; NaN when there is none.

        Interpolated on the logarithm within its bucket, hence within a factor of 2 of the truth.
        """
        wanted, below = share * self.count, 0
        if not self.count:
            return math.nan
        for upper_s, found in zip((*BOUNDS_S, math.inf), self.counts, strict=True):
            if found and below + found >= wanted:
                if math.isinf(upper_s):
                    return self.worst_s
                return min(upper_s * math.pow(2.0, (wanted - below) / found - 1), self.worst_s)
            below += found
        return self.worst_s
