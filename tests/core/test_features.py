"""Step features: one definition, and statistics over GOOD rows only."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.core.features import FEATURES, batch_features, step_features
from edge.core.tags import Quality

MEAN, STD, LOW, HIGH, SLOPE, JUMP = range(len(FEATURES))


def one(values: list[float], quality: list[int] | None = None) -> tuple[np.ndarray, float]:
    x = np.array(values, np.float32)[:, None]
    q = np.array(quality if quality is not None else [0] * len(values), np.uint8)[:, None]
    features, valid = step_features(x, q)
    return features[0], float(valid[0])


def test_the_six_numbers_of_a_ramp() -> None:
    features, valid = one([1.0, 2.0, 3.0, 4.0])
    assert valid == 1.0
    assert features.tolist() == pytest.approx([2.5, np.sqrt(1.25), 1.0, 4.0, 4.0, 1.0])


@pytest.mark.parametrize("quality", [Quality.UNCERTAIN, Quality.BAD])
def test_rows_that_are_not_good_do_not_count(quality: Quality) -> None:
    features, valid = one([5.0, 999.0, 5.0, 5.0], [0, int(quality), 0, 0])
    assert valid == 0.75
    assert features.tolist() == pytest.approx([5.0, 0.0, 5.0, 5.0, 0.0, 0.0])


def test_a_tag_without_a_good_row_is_all_zero() -> None:
    features, valid = one([np.nan, np.nan], [2, 2])
    assert valid == 0.0
    assert features.tolist() == [0.0] * 6


def test_nan_is_never_good_whatever_the_quality_says() -> None:
    features, valid = one([1.0, np.nan, 1.0], [0, 0, 0])
    assert valid == pytest.approx(2 / 3)
    assert np.isfinite(features).all()


def test_a_gap_is_no_difference_between_neighbours() -> None:
    features, _ = one([0.0, 0.0, 100.0, 8.0, 8.0], [0, 0, 2, 0, 0])
    assert features[JUMP] == 0.0
    assert features[SLOPE] > 0.0


def test_small_noise_on_a_large_weight_survives() -> None:
    noise = np.tile([0.5, -0.5], 30)
    features, _ = one((9000.0 + noise).tolist())
    assert features[STD] == pytest.approx(0.5, rel=1e-3)
    assert features[JUMP] == pytest.approx(1.0, rel=1e-3)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="must have the shape"):
        batch_features(np.zeros((2, 3, 4), np.float32), np.zeros((2, 3, 5), np.uint8))
    with pytest.raises(ValueError, match="steps, rows"):
        batch_features(np.zeros((2, 3), np.float32))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31), steps=st.integers(1, 5), rows=st.integers(1, 20),
    tags=st.integers(1, 6), bad=st.floats(0.0, 1.0),
)  # fmt: skip
def test_the_batched_form_gives_the_same_numbers(
    seed: int, steps: int, rows: int, tags: int, bad: float
) -> None:
    draw = np.random.default_rng(seed)
    values = draw.normal(0, 100, (steps, rows, tags)).astype(np.float32)
    quality = (draw.random(values.shape) < bad).astype(np.uint8) * np.uint8(2)
    values[quality == 2] = np.nan
    features, valid = batch_features(values, quality)
    for n in range(steps):
        single, share = step_features(values[n], quality[n])
        assert np.allclose(single, features[n], rtol=1e-6, atol=1e-6)
        assert (share == valid[n]).all()
    assert np.isfinite(features).all()
    assert ((valid >= 0) & (valid <= 1)).all()
