"""The judge: is a value that arrived fit to be used?

A driver says whether a value arrived; the judge says whether it can be true. Rules, first hit wins:

1. BAD stays BAD, with the driver's reason.
2. NaN or infinite -> BAD, NOT_A_NUMBER.
3. Outside the instrument range [low, high] -> BAD, OUT_OF_RANGE.
4. Source time stamp older than the tag's `max_age_s` -> BAD, STALE. Ahead of our clock by more than
   that -> UNCERTAIN, STALE: the number is fresh or the clocks differ, and nobody can tell which.
5. Unchanged for the tag's `frozen_s` of unbroken observation -> BAD, FROZEN.
6. UNCERTAIN stays UNCERTAIN and keeps its number; the rest is GOOD.

Time since the last change is monotonic, so a plant clock that steps freezes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from edge.core.tags import ByteArray, FloatArray, Quality, Reason, Tag


class Judge:
    """Stateful over one line: remembers when each value last changed."""

    def __init__(self, tags: Sequence[Tag]) -> None:
        n = len(tags)
        # float32 limits: a float32 transmitter sends 0.1 as 0.100000001 and is not out of range.
        self._low = np.array([t.low for t in tags], np.float32)
        self._high = np.array([t.high for t in tags], np.float32)
        self._max_age_s = np.array([t.max_age_s if t.max_age_s > 0 else np.inf for t in tags])
        self._frozen_s = np.array([t.frozen_s if t.frozen_s > 0 else np.inf for t in tags])
        self._last = np.full(n, np.nan)
        self._changed_s = np.full(n, -np.inf)

    def take_over(self, old: Judge, same: Mapping[int, int]) -> None:
        """Go on where `old` stops: our tag -> its tag. A frozen value is no fresh one for that."""
        for i, was in same.items():
            self._last[i], self._changed_s[i] = old._last[was], old._changed_s[was]

    def judge(
        self,
        values: npt.NDArray[np.float64],
        quality: npt.NDArray[np.uint8],
        reason: npt.NDArray[np.uint8],
        source_s: npt.NDArray[np.float64],
        *,
        wall_s: float,
        monotonic_s: float,
    ) -> tuple[FloatArray, ByteArray, ByteArray]:
        """(values float32[n], quality uint8[n], reason uint8[n]); NaN exactly where BAD.

        Inputs are float64[n], uint8[n], uint8[n] and epoch seconds float64[n] (NaN: no time stamp);
        they are not changed.
        """
        bad = quality == Quality.BAD
        finite = np.isfinite(values)
        # NaN differs from itself, so the first value after a gap counts as a change.
        moved = values != self._last
        self._changed_s[moved] = monotonic_s
        self._last = np.where(bad | ~finite, np.nan, values)

        out_q = quality.astype(np.uint8)
        out_r = reason.astype(np.uint8)
        with np.errstate(over="ignore"):
            single = values.astype(np.float32)
        age_s = wall_s - source_s
        left = ~bad
        for hit, why in (
            (~finite, Reason.NOT_A_NUMBER),
            ((single < self._low) | (single > self._high), Reason.OUT_OF_RANGE),
            (age_s > self._max_age_s, Reason.STALE),
            (monotonic_s - self._changed_s >= self._frozen_s, Reason.FROZEN),
        ):
            now = left & hit
            out_q[now], out_r[now] = Quality.BAD, why
            left &= ~hit
        doubt = left & (-age_s > self._max_age_s) & (out_q == Quality.GOOD)
        out_q[doubt], out_r[doubt] = Quality.UNCERTAIN, Reason.STALE
        single[out_q == Quality.BAD] = np.nan
        return single, out_q, out_r
