"""Intervals that cover, probabilities that mean what they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.judge.calibration import (
    Share,
    calibration_error,
    clopper_pearson,
    reliability,
    temperature,
)


def test_known_intervals() -> None:
    assert clopper_pearson(0, 20) == pytest.approx((0.0, 0.1684), abs=1e-4)
    assert clopper_pearson(1, 80) == pytest.approx((0.00032, 0.0677), abs=1e-4)
    assert clopper_pearson(20, 20) == pytest.approx((0.8316, 1.0), abs=1e-4)
    assert clopper_pearson(0, 0) == (0.0, 1.0)
    assert str(Share(1, 80)) == "1 of 80, 1.2% (95 %: 0.0% to 6.8%)"
    with pytest.raises(ValueError, match="5 of 4"):
        clopper_pearson(5, 4)


@given(st.integers(1, 200), st.data())
def test_an_interval_holds_its_share_and_narrows(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n))
    low, high = clopper_pearson(k, n)
    assert 0.0 <= low <= k / n <= high <= 1.0
    wide, narrow = high - low, np.subtract(*clopper_pearson(10 * k, 10 * n)[::-1])
    assert narrow < wide


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_the_interval_covers_at_least_as_often_as_it_says(share: float) -> None:
    counts = np.random.default_rng(1).binomial(60, share, 2000)
    inside = [low <= share <= high for low, high in (clopper_pearson(int(k), 60) for k in counts)]
    assert np.mean(inside) >= 0.94


def test_temperature_undoes_a_distortion_and_lowers_the_error() -> None:
    draw = np.random.default_rng(2)
    true = draw.normal(0, 2, 4000)
    label = draw.random(4000) < 1 / (1 + np.exp(-true))
    loud = 4.0 * true
    found = temperature(loud, label)
    assert found == pytest.approx(4.0, rel=0.1)
    before = calibration_error(1 / (1 + np.exp(-loud)), label)
    after = calibration_error(1 / (1 + np.exp(-loud / found)), label)
    assert after < 0.03 < before
    assert sum(n for _, _, n in reliability(1 / (1 + np.exp(-true)), label)) == 4000
    assert temperature(loud, np.ones(4000, bool)) == 1.0
