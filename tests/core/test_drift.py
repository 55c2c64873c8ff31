"""The drift score: near 1 at home, large away, slow to believe, unmoved by NaN."""

from __future__ import annotations

import numpy as np
import pytest

from edge.core.drift import Drift, DriftReference, distance, fold

D, P = 6, 4


def reference() -> DriftReference:
    rng = np.random.default_rng(1)
    mixing = rng.normal(size=(D, D))
    covariance = mixing @ mixing.T
    values, vectors = np.linalg.eigh(covariance)
    return DriftReference(rng.normal(size=D), vectors / np.sqrt(values))


def samples(ref: DriftReference, count: int, seed: int) -> np.ndarray:
    white = np.random.default_rng(seed).normal(size=(count, D))
    return white @ np.linalg.inv(ref.whitening) + ref.mean


def test_at_home_the_score_is_about_one_and_away_it_grows() -> None:
    ref, drift = reference(), Drift()
    for pooled in samples(ref, 200, 2):
        drift = fold(drift, pooled, np.zeros(P), ref)
    assert drift.score is not None
    assert drift.score == pytest.approx(1.0, abs=0.1)
    home = drift.score
    away = 3.0 * np.linalg.inv(ref.whitening)[0] * np.sqrt(D)
    for pooled in samples(ref, 200, 3):
        drift = fold(drift, pooled + away, np.zeros(P), ref)
    assert drift.score is not None
    assert drift.score > 2.5 * home


def test_one_odd_minute_is_no_drift() -> None:
    ref, drift = reference(), Drift()
    for pooled in samples(ref, 100, 2):
        drift = fold(drift, pooled, np.zeros(P), ref)
    before = drift.score
    drift = fold(drift, ref.mean + 15.0 * np.linalg.inv(ref.whitening)[0], np.zeros(P), ref)
    assert before is not None
    assert drift.score is not None
    assert before < drift.score < before + 0.3


def test_shares_name_the_tags_that_moved() -> None:
    ref, drift = reference(), Drift()
    assert drift.shares().shape == (0,)
    for _ in range(5):
        drift = fold(drift, ref.mean, np.array([0.0, -3.0, 1.0, 0.0]), ref)
    assert drift.shares() == pytest.approx([0.0, 0.9, 0.1, 0.0])
    assert drift.moved(("a", "b", "c", "d")) == ("b", "c")


def test_nan_changes_nothing_and_wild_values_are_capped() -> None:
    ref = reference()
    drift = fold(Drift(), ref.mean, np.zeros(P), ref)
    nan = np.full(D, np.nan)
    assert fold(drift, nan, np.zeros(P), ref) is drift
    assert fold(drift, ref.mean, np.full(P, np.nan), ref) is drift
    wild = fold(drift, np.full(D, 1e30), np.full(P, 1e30), ref)
    assert wild.score is not None
    assert wild.score <= 1e3


def test_a_reference_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="expected"):
        DriftReference(np.zeros(3), np.zeros((4, 2)))
    low_rank = DriftReference(np.zeros(3), np.zeros((3, 2)))
    assert distance(np.ones(3), low_rank) == 0.0
