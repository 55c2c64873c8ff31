"""The reference table: what normal looks like on this line, per slot of batch time.

Shape legend: S model steps, P tags, F features, K slots. A slot is `slot_steps` model steps of the
batch; a continuous process has one slot. The centre of a slot comes from the slot itself, its
spread also from neighbouring slots of the same schedule step, because a few batches say little
about the spread of three minutes, and a set-point step must not be smeared into its neighbours.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge.core.features import FEATURES
from export.data.ondisk import Shelf

FloatArray = npt.NDArray[np.float32]

LEVELS = tuple(FEATURES.index(name) for name in ("mean", "min", "max"))
"""Features that carry the level of a tag."""

WORK_BYTES = 384 << 20
"""Memory for building a table; beyond it the tags go one part after another."""
COPIES = 4
"""Copies in float64 that are alive at once while a table is built."""

ONE_SIGMA = 0.6827
"""Share of |deviations| below one standard deviation of a normal distribution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceSettings:
    """Slot length, pooling and floors."""

    slot_steps: int = 3
    """Model steps per slot; 0: continuous process, one slot."""
    neighbours: int = 4
    """Slots on each side whose spread is pooled, within the same schedule step."""
    floor_overall: float = 0.03
    """Smallest scale as a share of the spread of this feature over the whole batch."""
    floor_range: float = 0.0005
    """Smallest scale as a share of the instrument range."""
    drift_factor: float = 0.0
    """Continuous process: widen the scale of the means by this many times the difference between
    the halves of the normal stretch, so that a tag still on its way (a motor warming up) is not
    held against the value it had. The difference is the larger of the stretch's own and of
    `drift`, the usual one."""
    floor_source: float = 0.3
    """Smallest scale as a share of the source domain's scale."""


def build_reference(
    features: Sequence[FloatArray],
    valid: Sequence[FloatArray],
    ranges_P: FloatArray,
    settings: ReferenceSettings,
    schedule_steps: Sequence[int] | None = None,
    source_scale: FloatArray | None = None,
    drift: FloatArray | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Learn the reference from normal batches (or stretches) of one domain.

    Args:
        features: per batch float32[S, P, F]; S may differ.
        valid: per batch float32[S, P]; steps with fewer than half of the rows good are left out.
        ranges_P: instrument span (high - low) of each tag.
        settings: slot length and floors.
        schedule_steps: for each model step of a batch its schedule step number; None: no schedule.
        source_scale: float32[K or 1, P, F] of the source domain, as a floor.
        drift: float32[P, F], usual |difference| between the halves of a normal stretch.

    Returns:
        (loc, scale), float32[K, P, F], scale > 0.

    Raises:
        ValueError: no batches, or no good step at all.
    """
    if not features:
        raise ValueError("the reference needs at least one normal batch")
    P, F = features[0].shape[1:]
    each = sum(len(batch) for batch in features) * F * 8 * COPIES
    width = max(1, WORK_BYTES // each)
    if width >= P:
        table, any_good = _table(
            features, valid, ranges_P, settings, schedule_steps, source_scale, drift
        )
        columns = [table]
    else:
        columns, any_good = [], False
        with Shelf() as shelf:
            # Laid down tag by tag, so that a few tags of every batch are read without the others.
            by_tag = [shelf.put(np.asarray(batch).swapaxes(0, 1)) for batch in features]
            share = [shelf.put(np.asarray(batch).swapaxes(0, 1)) for batch in valid]
            for first in range(0, P, width):
                part = slice(first, first + width)
                table, good = _table(
                    [batch[part].swapaxes(0, 1) for batch in by_tag],
                    [batch[part].swapaxes(0, 1) for batch in share],
                    ranges_P[part],
                    settings,
                    schedule_steps,
                    None if source_scale is None else source_scale[:, part],
                    None if drift is None else drift[part],
                )
                columns.append(table)
                any_good = any_good or good
    if not any_good:
        raise ValueError("no normal step has half of its rows good")
    loc, scale = (np.concatenate(parts, axis=1) for parts in zip(*columns))
    return loc, scale


def _table(
    features: Sequence[FloatArray],
    valid: Sequence[FloatArray],
    ranges_P: FloatArray,
    settings: ReferenceSettings,
    schedule_steps: Sequence[int] | None,
    source_scale: FloatArray | None,
    drift: FloatArray | None,
) -> tuple[tuple[FloatArray, FloatArray], bool]:
    """((loc, scale) of some tags, is any of their steps good): no tag depends on another."""
    longest = max(len(batch) for batch in features)
    slot_steps = settings.slot_steps
    slots = 1 if slot_steps == 0 else -(-longest // slot_steps)
    P, F = features[0].shape[1:]

    per_slot: list[list[npt.NDArray[np.float64]]] = [[] for _ in range(slots)]
    for batch, share in zip(features, valid):
        good = np.asarray(share)[..., None] >= 0.5
        x = np.ascontiguousarray(np.where(good, batch, np.nan), np.float64)
        if slot_steps == 0:
            per_slot[0].append(x)
            continue
        for slot in range(-(-len(x) // slot_steps)):
            per_slot[slot].append(x[slot * slot_steps : (slot + 1) * slot_steps])
    stacked = [np.concatenate(parts) if parts else np.full((1, P, F), np.nan) for parts in per_slot]
    del per_slot, x

    loc = np.stack([_quiet(np.nanmedian, rows) for rows in stacked])
    any_good = not bool(np.isnan(loc).all())
    loc = _fill(loc)
    spreads = [np.abs(rows - loc[slot]) for slot, rows in enumerate(stacked)]
    group = _schedule_of_slot(slots, slot_steps, schedule_steps)
    scale = np.empty_like(loc)
    for slot in range(slots):
        near = range(max(0, slot - settings.neighbours), slot + settings.neighbours + 1)
        rows = [spreads[k] for k in near if k < slots and group[k] == group[slot]]
        scale[slot] = _quiet(np.nanquantile, np.concatenate(rows), ONE_SIGMA)
        # Right after a set-point step one step of the slot is a ramp: its spread is the slot's own.
        own = _quiet(np.nanquantile, spreads[slot], 0.9) / 1.645
        scale[slot] = np.fmax(scale[slot], own)

    if settings.drift_factor > 0.0 and slot_steps == 0:
        widest = halves(features[0], valid[0]) if drift is None else drift
        for batch, share in zip(features, valid):
            widest = np.maximum(widest, halves(batch, share))
        level = np.zeros(F, bool)
        level[list(LEVELS)] = True
        scale = np.where(level, np.hypot(scale, settings.drift_factor * widest), scale)

    del spreads, rows
    everything = np.concatenate(stacked)
    del stacked
    overall = _quiet(np.nanstd, everything)
    floor = settings.floor_overall * np.nan_to_num(overall)
    floor = np.maximum(floor, settings.floor_range * ranges_P[:, None])
    scale = np.maximum(np.nan_to_num(scale), floor)
    if source_scale is not None:
        reach = source_scale if len(source_scale) == slots else source_scale.mean(0, keepdims=True)
        scale = np.maximum(scale, settings.floor_source * reach)
    return (loc.astype(np.float32), np.maximum(scale, 1e-6).astype(np.float32)), any_good


def halves(batch_SPF: FloatArray, valid_SP: FloatArray) -> FloatArray:
    """|mean of the second half - mean of the first half| of a stretch, float32[P, F]."""
    good = np.asarray(valid_SP)[..., None] >= 0.5
    x = np.ascontiguousarray(np.where(good, batch_SPF, np.nan), np.float64)
    cut = len(x) // 2
    return np.nan_to_num(np.abs(_quiet(np.nanmean, x[cut:]) - _quiet(np.nanmean, x[:cut])))


def slots_of(steps: int, first_step: int, slot_steps: int, slots: int) -> npt.NDArray[np.int64]:
    """Slot of each of `steps` model steps from `first_step` of the batch on."""
    if slot_steps == 0:
        return np.zeros(steps, np.int64)
    return np.minimum((first_step + np.arange(steps)) // slot_steps, slots - 1)


def _quiet(statistic: object, rows: npt.NDArray[np.float64], *args: float) -> FloatArray:
    with np.errstate(all="ignore"), warnings.catch_warnings():
        # A tag that was bad in every batch of a slot: filled from its neighbours afterwards.
        warnings.simplefilter("ignore", RuntimeWarning)
        return statistic(rows, *args, axis=0)  # type: ignore[operator, no-any-return]


def _fill(loc: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Slots without a good row take the value of the nearest earlier, else later, slot."""
    for order in (range(1, len(loc)), range(len(loc) - 2, -1, -1)):
        for k in order:
            other = loc[k - 1] if order.step == 1 else loc[k + 1]
            loc[k] = np.where(np.isnan(loc[k]), other, loc[k])
    return np.nan_to_num(loc)


def _schedule_of_slot(
    slots: int, slot_steps: int, schedule_steps: Sequence[int] | None
) -> list[int]:
    if schedule_steps is None or slot_steps == 0:
        return [0] * slots
    last = len(schedule_steps) - 1
    return [schedule_steps[min(k * slot_steps, last)] for k in range(slots)]
