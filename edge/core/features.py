"""Rows -> step features: the one definition of the model's input, for training and for the edge.

A model step is `R` consecutive rows of the ring (60: one minute at 1 Hz). For each tag it is
described by six numbers computed over its GOOD rows only, and by the share of rows that were good.
Scaling is not done here: the graph does it with the reference table of its bundle, so that there
is no second place where a mean could be subtracted differently.

Axes: S model steps, R rows of a step, P tags, F features.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge.core.tags import ByteArray, FloatArray, Quality

FEATURES = ("mean", "std", "min", "max", "slope", "step")
"""mean, std, min, max: engineering units. slope: least-squares change over the whole step
(slope per row times R). step: mean |difference| of rows that are neighbours in time and both good;
it tells noise and hunting from a ramp. All zero for a tag without a good row."""

_BLOCK_VALUES = 1 << 22
"""Values converted to float64 at a time (32 MiB), so that a whole batch needs no copy of itself."""


def step_features(values: FloatArray, quality: ByteArray) -> tuple[FloatArray, FloatArray]:
    """Features of one model step.

    Args:
        values: float32[R, P], engineering units; anything where quality is not GOOD.
        quality: uint8[R, P] of Quality.

    Returns:
        (features float32[P, F], valid float32[P]), valid = share of GOOD rows, 0..1.

    Raises:
        ValueError: the two arrays are not [R, P] of one shape with R >= 1.
    """
    features, valid = batch_features(values[None], quality[None])
    return features[0], valid[0]


def batch_features(
    values: FloatArray, quality: ByteArray | None = None
) -> tuple[FloatArray, FloatArray]:
    """Features of many model steps at once: the same numbers as `step_features` of each.

    Args:
        values: float32[S, R, P].
        quality: uint8[S, R, P] of Quality; None means every finite value is GOOD.

    Returns:
        (features float32[S, P, F], valid float32[S, P]).

    Raises:
        ValueError: the shapes do not fit.
    """
    if values.ndim != 3 or values.shape[1] < 1:
        raise ValueError(f"values must be [steps, rows >= 1, tags], not {list(values.shape)}")
    if quality is not None and quality.shape != values.shape:
        raise ValueError(
            f"quality {list(quality.shape)} must have the shape of values {list(values.shape)}"
        )
    steps, rows, tags = values.shape
    features = np.empty((steps, tags, len(FEATURES)), np.float32)
    valid = np.empty((steps, tags), np.float32)
    block = max(1, _BLOCK_VALUES // max(1, rows * tags))
    for first in range(0, steps, block):
        part = slice(first, first + block)
        good = np.isfinite(values[part])
        if quality is not None:
            good &= quality[part] == Quality.GOOD
        features[part], valid[part] = _features(values[part], good)
    return features, valid


def _features(values: FloatArray, good: npt.NDArray[np.bool_]) -> tuple[FloatArray, FloatArray]:
    rows = values.shape[1]
    count = good.sum(axis=1)
    some = np.maximum(count, 1)
    x = np.where(good, values, np.float32(0)).astype(np.float64)
    mean = x.sum(axis=1) / some
    # Centred before squaring: a tank weight of 9000 kg with 0.5 kg of noise must keep its noise.
    centred = np.where(good, x - mean[:, None, :], 0.0)
    std = np.sqrt(np.square(centred).sum(axis=1) / some)
    low = np.where(good, x, np.inf).min(axis=1)
    high = np.where(good, x, -np.inf).max(axis=1)
    time = np.arange(rows, dtype=np.float64)[None, :, None]
    time_mean = np.where(good, time, 0.0).sum(axis=1) / some
    time_centred = np.where(good, time - time_mean[:, None, :], 0.0)
    spread = np.square(time_centred).sum(axis=1)
    slope = (time_centred * centred).sum(axis=1) / np.where(spread > 0, spread, 1.0) * rows
    pair = good[:, 1:, :] & good[:, :-1, :]
    jump = np.where(pair, np.abs(x[:, 1:, :] - x[:, :-1, :]), 0.0).sum(axis=1)
    jump /= np.maximum(pair.sum(axis=1), 1)
    out = np.stack([mean, std, low, high, slope, jump], axis=-1)
    out = np.where((count > 0)[..., None], out, 0.0)
    return out.astype(np.float32), (count / rows).astype(np.float32)
