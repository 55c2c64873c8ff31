"""Samples of a row to its value: what counts, what is missing, what is doubted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge.core.reduce import MIN_SHARE, Reduction, reduce
from edge.core.tags import Quality, Reason

G, U, B = Quality.GOOD, Quality.UNCERTAIN, Quality.BAD
WHY = {G: Reason.NONE, U: Reason.STATUS_UNCERTAIN, B: Reason.TIMEOUT}
HOWS: tuple[Reduction, ...] = ("last", "mean", "min", "max")


def one(how: Reduction, *samples: tuple[float, Quality]) -> tuple[float, Quality, Reason, int]:
    """The reduction of one tag."""
    values = np.array([[np.nan if q == B else v] for v, q in samples])
    quality = np.array([[q] for _, q in samples], np.uint8)
    reason = np.array([[WHY[q]] for _, q in samples], np.uint8)
    v, q, r, newest = reduce(how, values, quality, reason)
    return float(v[0]), Quality(int(q[0])), Reason(int(r[0])), int(newest[0])


@pytest.mark.parametrize(
    ("how", "value"), [("last", 4.0), ("mean", 3.0), ("min", 1.0), ("max", 5.0)]
)
def test_each_reduction(how: Reduction, value: float) -> None:
    samples = [(2.0, G), (5.0, G), (1.0, G), (4.0, G)]
    assert one(how, *samples) == (value, G, Reason.NONE, 3)


def test_the_last_sample_counts_even_when_it_failed() -> None:
    value, *rest = one("last", (1.0, G), (2.0, G), (0.0, B))
    assert np.isnan(value)
    assert rest == [B, Reason.TIMEOUT, 2]


@pytest.mark.parametrize("how", ["mean", "min", "max"])
def test_half_of_the_samples_are_enough_and_less_is_not(how: Reduction) -> None:
    assert one(how, (3.0, G), (0.0, B), (3.0, G), (0.0, B)) == (3.0, G, Reason.NONE, 2)
    value, quality, reason, _ = one(how, (3.0, G), (0.0, B), (0.0, B))
    assert np.isnan(value)
    assert (quality, reason) == (B, Reason.TIMEOUT)


@pytest.mark.parametrize("how", ["mean", "min", "max"])
def test_doubt_is_catching(how: Reduction) -> None:
    assert one(how, (3.0, U), (3.0, G)) == (3.0, U, Reason.STATUS_UNCERTAIN, 1)


@given(
    how=st.sampled_from(HOWS),
    quality=hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 4)),
                       elements=st.sampled_from([0, 1, 2])),
    seed=st.integers(0, 9),
)  # fmt: skip
def test_a_value_is_never_made_of_nothing(
    how: Reduction, quality: np.ndarray[tuple[int, int], np.dtype[np.uint8]], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    values = np.where(quality == B, np.nan, rng.normal(size=quality.shape))
    reason = np.array([WHY[Quality(int(q))] for q in quality.ravel()], np.uint8)
    out, out_q, out_r, newest = reduce(how, values, quality, reason.reshape(quality.shape))
    assert np.array_equal(np.isnan(out), out_q == B)
    assert np.array_equal(out_r == Reason.NONE, out_q == G)
    for i, column in enumerate(values.T):
        used = column[~np.isnan(column)]
        if out_q[i] == B:
            continue
        assert not np.isnan(column[newest[i]])
        assert used.min() - 1e-12 <= out[i] <= used.max() + 1e-12
        assert how == "last" or len(used) >= MIN_SHARE * len(column)
