"""Coarser model steps, so that many methods can be compared on long batches in minutes.

What the rows of k steps would have given is put together again from the steps' own features: exact
for mean, min and max and for the spread; the slope is that of the k means.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from edge.core.features import FEATURES
from export.data.dataset import Batch, Dataset, FloatArray

MEAN, STD, MIN, MAX, SLOPE, STEP = (FEATURES.index(n) for n in FEATURES)


def pooled(dataset: Dataset, steps: int) -> Dataset:
    """The dataset with `steps` model steps made one; itself for 1."""
    if steps <= 1:
        return dataset
    line = dataset.line
    count = len(line.schedule_steps) // steps
    coarse = dataclasses.replace(
        line,
        step_rows=line.step_rows * steps,
        schedule_steps=line.schedule_steps[steps // 2 :: steps][:count],
    )
    batches = tuple(_pool(b, steps) for b in dataset.batches)
    return dataclasses.replace(dataset, line=coarse, batches=batches)


def _pool(batch: Batch, k: int) -> Batch:
    total = len(batch.severity) // k * k
    x = batch.features[:total].reshape(-1, k, *batch.features.shape[1:])
    share = batch.valid[:total].reshape(-1, k, batch.valid.shape[1])
    severity = batch.severity[:total].reshape(-1, k)
    notes = {
        name: value[k - 1 : total : k]
        if isinstance(value, np.ndarray) and len(value) == len(batch.severity)
        else value
        for name, value in batch.notes.items()
    }
    return dataclasses.replace(
        batch,
        features=_features(x, share),
        valid=share.mean(axis=1),
        severity=severity.max(axis=1),
        first_step=batch.first_step // k,
        notes=notes,
    )


def _features(x: FloatArray, share: FloatArray) -> FloatArray:
    """x[S, k, P, F], share[S, k, P] of good rows -> [S, P, F]; zero for a tag without any."""
    weight = share / np.maximum(share.sum(axis=1, keepdims=True), 1e-9)
    good = share > 0
    mean = (weight * x[..., MEAN]).sum(axis=1)
    off = np.where(good, x[..., MEAN] - mean[:, None], 0.0)
    at = np.arange(x.shape[1]) - (x.shape[1] - 1) / 2.0
    out = np.empty((len(x), x.shape[2], x.shape[3]), np.float32)
    out[..., MEAN] = mean
    out[..., STD] = np.sqrt((weight * (x[..., STD] ** 2 + off**2)).sum(axis=1))
    out[..., MIN] = np.where(good, x[..., MIN], np.inf).min(axis=1)
    out[..., MAX] = np.where(good, x[..., MAX], -np.inf).max(axis=1)
    out[..., SLOPE] = (at[:, None] * off).sum(axis=1) / (at**2).sum() * x.shape[1]
    out[..., STEP] = (weight * x[..., STEP]).sum(axis=1)
    return np.where(good.any(axis=1)[..., None], out, np.float32(0.0))
