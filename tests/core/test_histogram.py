"""The histogram: every duration in exactly one bucket, and percentiles that are not far off."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.histogram import BOUNDS_S, FIRST_S, Histogram

DURATIONS = st.lists(st.floats(0.0, 60.0), min_size=1, max_size=200)


def filled(durations: list[float]) -> Histogram:
    made = Histogram()
    for duration in durations:
        made.add(duration)
    return made


@given(st.floats(0.0, 1e6))
def test_a_duration_is_in_the_first_bucket_that_holds_it(seconds: float) -> None:
    counts = filled([seconds]).counts
    expected = next((i for i, b in enumerate(BOUNDS_S) if seconds <= b), len(BOUNDS_S))
    assert counts.index(1) == expected
    assert sum(counts) == 1


@pytest.mark.parametrize("index", range(len(BOUNDS_S)))
def test_upper_ends_are_inclusive(index: int) -> None:
    assert filled([BOUNDS_S[index]]).counts[index] == 1
    assert filled([math.nextafter(BOUNDS_S[index], math.inf)]).counts[index + 1] == 1


@given(DURATIONS, st.sampled_from([0.5, 0.9, 0.99, 1.0]))
def test_a_percentile_is_within_a_factor_of_two(durations: list[float], share: float) -> None:
    true_s = float(np.quantile(durations, share, method="inverted_cdf"))
    found_s = filled(durations).quantile(share)
    if true_s > BOUNDS_S[-1]:
        assert BOUNDS_S[-1] < found_s == max(durations)
    else:
        assert true_s / 2 - FIRST_S <= found_s <= max(2 * true_s, FIRST_S)


@given(DURATIONS)
def test_sum_worst_and_count(durations: list[float]) -> None:
    found = filled(durations)
    assert found.count == len(durations)
    assert found.sum_s == pytest.approx(sum(durations))
    assert found.worst_s == max(durations)


def test_nothing_seen_has_no_percentile() -> None:
    assert math.isnan(Histogram().quantile(0.5))


def test_a_clock_that_was_set_back_counts_as_no_time() -> None:
    found = filled([-1.0])
    assert (found.counts[0], found.sum_s) == (1, 0.0)
