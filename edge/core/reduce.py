"""Several samples of a tag taken within one row -> the row's value.

Rules, for `k` slots of a row, in time order; a slot without a poll is a sample that is BAD, MISSED:

1. `last` takes the newest slot as it is: if its poll failed, so has the tag.
2. `mean`, `min` and `max` work over the samples that are not BAD. Fewer than `MIN_SHARE` of the
   slots -> BAD, with the reason of the newest sample that is: half a second says nothing sure about
   a second.
3. UNCERTAIN is catching: one doubted sample among those used makes the result UNCERTAIN.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from edge.core.tags import Quality, Reason

Reduction = Literal["last", "mean", "min", "max"]
MIN_SHARE = 0.5
"""Share of a row's slots that must not be BAD for a mean, minimum or maximum."""

Floats = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]


def reduce(
    how: Reduction, values: Floats, quality: Bytes, reason: Bytes
) -> tuple[Floats, Bytes, Bytes, npt.NDArray[np.intp]]:
    """One sample of k: (values float64[n], quality uint8[n], reason uint8[n], newest intp[n]).

    Inputs are float64[k, n], uint8[k, n] and uint8[k, n] with k >= 1; NaN where BAD. `newest` is
    the slot of the newest sample used, from which age and source time stamp follow.
    """
    slots = len(values)
    if how == "last":
        newest = np.full(values.shape[1], slots - 1, np.intp)
        return values[-1].copy(), quality[-1].copy(), reason[-1].copy(), newest
    used = quality != Quality.BAD
    count = used.sum(axis=0)
    newest = slots - 1 - np.argmax(used[::-1], axis=0)
    match how:
        case "mean":
            out = np.where(used, values, 0.0).sum(axis=0) / np.maximum(count, 1)
        case "min":
            out = np.where(used, values, np.inf).min(axis=0)
        case "max":
            out = np.where(used, values, -np.inf).max(axis=0)
    bad = count < MIN_SHARE * slots
    doubted = used & (quality == Quality.UNCERTAIN)
    out_q = np.where(doubted.any(axis=0), Quality.UNCERTAIN, Quality.GOOD).astype(np.uint8)
    out_q[bad] = Quality.BAD
    why = np.where(bad, _newest(reason, ~used), _newest(reason, doubted))
    out_r = np.where(out_q == Quality.GOOD, Reason.NONE, why).astype(np.uint8)
    return np.where(bad, np.nan, out), out_q, out_r, newest


def _newest(reason: Bytes, where: npt.NDArray[np.bool_]) -> Bytes:
    """Reason uint8[n] of the newest sample of `where` bool[k, n]."""
    at = len(reason) - 1 - np.argmax(where[::-1], axis=0)
    newest: Bytes = np.take_along_axis(reason, at[None], axis=0)[0]
    return newest
