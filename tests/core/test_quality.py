"""The judge: each rule, their order, and what must never happen."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.quality import Judge
from edge.core.tags import Quality, Reason, Tag

WALL_S = 1.7e9


def tag(low: float = 0.0, high: float = 100.0, **more: Any) -> Tag:
    return Tag(
        name="T", text="T", unit="", low=low, high=high, component="C01", part="meter", **more
    )


class One:
    """A judge of one tag."""

    def __init__(self, **settings: Any) -> None:
        self.judge = Judge([tag(**settings)])

    def __call__(
        self,
        value: float,
        *,
        quality: Quality = Quality.GOOD,
        reason: Reason = Reason.NONE,
        source_s: float = math.nan,
        wall_s: float = WALL_S,
        at_s: float = 0.0,
    ) -> tuple[float, Quality, Reason]:
        out = self.judge.judge(
            np.array([value]),
            np.array([quality], np.uint8),
            np.array([reason], np.uint8),
            np.array([source_s]),
            wall_s=wall_s,
            monotonic_s=at_s,
        )
        assert [a.dtype for a in out] == [np.float32, np.uint8, np.uint8]
        return float(out[0][0]), Quality(int(out[1][0])), Reason(int(out[2][0]))


def is_bad(result: tuple[float, Quality, Reason], why: Reason) -> bool:
    return math.isnan(result[0]) and result[1:] == (Quality.BAD, why)


@pytest.mark.parametrize("value", [0.0, 50.0, 100.0])
def test_in_range_is_good_limits_included(value: float) -> None:
    assert One()(value) == (value, Quality.GOOD, Reason.NONE)


@pytest.mark.parametrize("value", [-0.001, 100.001, 1e300, -1e300])
def test_out_of_range_is_no_value(value: float) -> None:
    assert is_bad(One()(value), Reason.OUT_OF_RANGE)


def test_the_float32_nearest_to_a_limit_is_in_range() -> None:
    assert One(high=0.1)(float(np.float32(0.1)))[1] == Quality.GOOD


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_not_a_number(value: float) -> None:
    assert is_bad(One()(value), Reason.NOT_A_NUMBER)
    assert is_bad(One()(value, quality=Quality.UNCERTAIN), Reason.NOT_A_NUMBER)


def test_bad_stays_bad_with_its_own_reason() -> None:
    result = One()(5.0, quality=Quality.BAD, reason=Reason.STATUS_BAD, source_s=0.0)
    assert is_bad(result, Reason.STATUS_BAD)


def test_uncertain_keeps_its_number_unless_it_cannot_be_true() -> None:
    doubt = {"quality": Quality.UNCERTAIN, "reason": Reason.STATUS_UNCERTAIN}
    assert One()(5.0, **doubt) == (5.0, Quality.UNCERTAIN, Reason.STATUS_UNCERTAIN)
    assert is_bad(One()(500.0, **doubt), Reason.OUT_OF_RANGE)
    assert is_bad(One()(5.0, **doubt, source_s=WALL_S - 3600), Reason.STALE)


@pytest.mark.parametrize(("age_s", "stale"), [(0, False), (9.9, False), (10.1, True), (3600, True)])
def test_an_old_source_time_is_stale(age_s: float, stale: bool) -> None:
    result = One()(5.0, source_s=WALL_S - age_s)
    assert is_bad(result, Reason.STALE) if stale else result[1] == Quality.GOOD


def test_a_source_time_in_the_future_is_a_doubt() -> None:
    assert One()(5.0, source_s=WALL_S + 9)[1] == Quality.GOOD
    assert One()(5.0, source_s=WALL_S + 3600) == (5.0, Quality.UNCERTAIN, Reason.STALE)


def test_no_age_limit_means_no_age_limit() -> None:
    assert One(max_age_s=0.0)(5.0, source_s=0.0)[1] == Quality.GOOD


def test_a_value_that_does_not_move_is_frozen_until_it_moves() -> None:
    one = One(frozen_s=30.0)
    for at_s in range(30):
        assert one(5.0, at_s=at_s)[1] == Quality.GOOD
    assert is_bad(one(5.0, at_s=30.0), Reason.FROZEN)
    assert is_bad(one(5.0, at_s=31.0), Reason.FROZEN)
    assert one(5.0001, at_s=32.0)[1] == Quality.GOOD


def test_an_outage_is_not_a_freeze() -> None:
    one = One(frozen_s=30.0)
    one(5.0, at_s=0.0)
    one(math.nan, quality=Quality.BAD, reason=Reason.NOT_CONNECTED, at_s=10.0)
    assert one(5.0, at_s=100.0)[1] == Quality.GOOD
    assert one(5.0, at_s=129.0)[1] == Quality.GOOD
    assert is_bad(one(5.0, at_s=130.0), Reason.FROZEN)


def test_a_plant_clock_that_steps_freezes_nothing() -> None:
    one = One(frozen_s=30.0)
    one(5.0, at_s=0.0)
    assert one(5.0, at_s=1.0, wall_s=WALL_S + 86400)[1] == Quality.GOOD


@given(
    st.lists(
        st.tuples(
            st.floats(width=64),
            st.sampled_from(list(Quality)),
            st.sampled_from([math.nan, WALL_S - 1e6, WALL_S, WALL_S + 1e6]),
        ),
        min_size=1,
        max_size=20,
    ),
    st.lists(st.floats(0.0, 1e6), min_size=1, max_size=4),
)
def test_nan_exactly_where_bad_and_a_reason_exactly_where_not_good(
    tags: list[tuple[float, Quality, float]], times: list[float]
) -> None:
    n = len(tags)
    judge = Judge([tag(frozen_s=30.0 * (i % 2)) for i in range(n)])
    values = np.array([t[0] for t in tags])
    quality = np.array([t[1] for t in tags], np.uint8)
    reason = np.where(quality == Quality.GOOD, Reason.NONE, Reason.STATUS_UNCERTAIN)
    source_s = np.array([t[2] for t in tags])
    before = [a.copy() for a in (values, quality, reason, source_s)]
    for at_s in sorted(times):
        v, q, r = judge.judge(
            values, quality, reason.astype(np.uint8), source_s, wall_s=WALL_S, monotonic_s=at_s
        )
        assert np.array_equal(np.isnan(v), q == Quality.BAD)
        assert np.isfinite(v[q != Quality.BAD]).all()
        assert ((r == Reason.NONE) == (q == Quality.GOOD)).all()
        assert (q >= quality).all(), "the judge never makes a value better"
        kept = q != Quality.BAD
        assert np.array_equal(v[kept], values[kept].astype(np.float32))
    for a, b in zip(before, (values, quality, reason, source_s)):
        assert np.array_equal(a, b, equal_nan=True)
