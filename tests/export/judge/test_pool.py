"""Pooled steps are what the rows of the longer step would have given."""

from __future__ import annotations

import numpy as np
import pytest

from edge.core.features import FEATURES, batch_features
from export.data.dataset import Batch, Dataset, LineSpec
from export.judge.pool import pooled

LINE = LineSpec(
    name="toy",
    tags=(("F", ""), ("P", "")),
    components=("A", "B"),
    spans=(1.0, 1.0),
    row_s=1.0,
    step_rows=12,
    schedule_steps=tuple([1] * 10 + [2] * 10),
)


def dataset(x: np.ndarray) -> Dataset:
    features, valid = batch_features(x.reshape(20, 12, 2).astype(np.float32))
    batch = Batch(
        features=features,
        valid=valid,
        severity=np.array([0] * 13 + [2] * 7, np.int8),
        domain="a",
        split="train",
        group="g",
        notes={"t_s": np.arange(20.0), "seed": 1},
    )
    return Dataset(line=LINE, batches=(batch,), simulated=True, source="", sha256="")


def test_pooling_agrees_with_the_rows() -> None:
    draw = np.random.default_rng(1)
    x = draw.normal(size=(240, 2)) + np.linspace(0, 30, 240)[:, None]
    got = pooled(dataset(x), 5)
    whole, _ = batch_features(x.reshape(4, 60, 2).astype(np.float32))
    for name, tolerance in (("mean", 1e-4), ("std", 1e-2), ("min", 1e-5), ("max", 1e-5)):
        place = FEATURES.index(name)
        np.testing.assert_allclose(
            got.batches[0].features[..., place], whole[..., place], rtol=tolerance, atol=tolerance
        )
    slope = FEATURES.index("slope")
    np.testing.assert_allclose(got.batches[0].features[..., slope], whole[..., slope], rtol=0.1)


def test_labels_notes_and_schedule_are_pooled_too() -> None:
    got = pooled(dataset(np.zeros((240, 2))), 5)
    (batch,) = got.batches
    assert batch.severity.tolist() == [0, 0, 2, 2]
    assert batch.notes["t_s"].tolist() == [4.0, 9.0, 14.0, 19.0]
    assert batch.notes["seed"] == 1
    assert got.line.step_rows == 60
    assert got.line.schedule_steps == (1, 1, 2, 2)


def test_a_tag_without_a_good_row_stays_zero() -> None:
    x = np.ones((240, 2))
    x[:, 1] = np.nan
    (batch,) = pooled(dataset(x), 5).batches
    assert np.isfinite(batch.features).all()
    assert (batch.valid[:, 1] == 0).all()
    assert (batch.features[:, 1] == 0).all()


@pytest.mark.parametrize("steps", [0, 1])
def test_one_step_is_itself(steps: int) -> None:
    one = dataset(np.zeros((240, 2)))
    assert pooled(one, steps) is one
