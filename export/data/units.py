"""Units that changed on the way, or that differ from file to file.

A change of unit is a jump of the level by a factor that units have between them, with the noise
growing by the same factor; a process that only moves keeps its noise. If the tag's range holds
both levels it is a warning, else a fault: from there on every value would be scaled wrongly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from export.data.dataset import Batch
from export.data.findings import Finding
from export.data.plantspec import TagRow
from export.data.stretch import Part


@dataclass(frozen=True, slots=True)
class UnitChange:
    """after = before * factor + offset."""

    text: str
    factor: float
    offset: float = 0.0

    @property
    def decimal(self) -> bool:
        """Whether only the decimal point moves."""
        return self.offset == 0 and abs(np.log10(self.factor)) % 1 < 1e-9


UNIT_CHANGES = (
    *(UnitChange(f"a factor of {f:g}", f) for f in (10.0, 100.0, 1000.0, 1e4, 1e5, 1e6)),
    *(UnitChange(f"a factor of 1/{f:g}", 1 / f) for f in (10.0, 100.0, 1000.0, 1e4, 1e5, 1e6)),
    UnitChange("a factor of 60, as per minute and per second", 60.0),
    UnitChange("a factor of 1/60, as per second and per minute", 1 / 60.0),
    UnitChange("a factor of 3600, as per hour and per second", 3600.0),
    UnitChange("a factor of 1/3600, as per second and per hour", 1 / 3600.0),
    UnitChange("a factor of 6.895, as psi and kPa", 6.894757),
    UnitChange("a factor of 1/6.895, as kPa and psi", 1 / 6.894757),
    UnitChange("a factor of 14.50, as bar and psi", 14.50377),
    UnitChange("a factor of 1/14.50, as psi and bar", 1 / 14.50377),
    UnitChange("1.8 x + 32, as °C and °F", 1.8, 32.0),
    UnitChange("(x - 32) / 1.8, as °F and °C", 1 / 1.8, -32.0 / 1.8),
    UnitChange("x + 273.15, as °C and K", 1.0, 273.15),
    UnitChange("x - 273.15, as K and °C", 1.0, -273.15),
)
WINDOW = 5
"""Steps on each side of a jump whose medians are compared."""
TOLERANCE = 0.01
STEADY = 0.05
"""Spread of the levels on either side, as a share of the jump."""
NOISE_FACTOR = 1.5


def other_units(
    tags: Sequence[TagRow], levels: Sequence[tuple[Batch, np.ndarray | None]]
) -> list[Finding]:
    """Stretches whose tag is off from most others by 100, 1000 ... and its noise too: a warning.

    Needs three stretches, so that it is known which one is the odd one.
    """
    known = [(batch, level) for batch, level in levels if level is not None]
    if len(known) < 3:
        return []
    every = np.stack([level for _, level in known]).astype(np.float64)
    usual = np.median(every, axis=0)
    out = []
    with np.errstate(divide="ignore", invalid="ignore"):
        shift, noise = np.log10(every[:, 0] / usual[0]), np.log10(every[:, 1] / usual[1])
        off = (np.abs(shift - np.rint(shift)) < 0.02) & (np.abs(np.rint(shift)) >= 2)
        off &= np.abs(noise - shift) < np.log10(NOISE_FACTOR)
    for row, place in np.argwhere(off):
        batch, tag = known[int(row)][0], tags[int(place)]
        text = (
            f"tag '{tag.name}' of '{batch.group}' is {10.0 ** np.rint(shift[row, place]):g} times "
            f"what it is elsewhere ({every[row, 0, place]:.4g}, usually {usual[0, place]:.4g}), "
            f"and so is its noise: another unit? convert it to {tag.unit or 'one unit'}"
        )
        out.append(Finding(str(batch.notes["file"]), int(batch.notes["first_line"]), "units", text))
    return out


def unit_changes(file: str, tags: Sequence[TagRow], part: Part) -> list[Finding]:
    """Jumps by a ratio of units, the first of each tag."""
    out: list[Finding] = []
    for place, tag in enumerate(tags):
        thermal = not tag.unit or tag.unit.strip("° deg") in ("C", "K", "F")
        found = find_unit_change(part.raw_mean[:, place], part.raw_std[:, place], thermal)
        if found is None:
            continue
        step, change, before, after = found
        inside = tag.low <= min(before, after) and max(before, after) <= tag.high
        # Without a range only a shift of the decimal point is told from a process that moves.
        unsure = not np.isfinite(tag.low) and not change.decimal
        line = int(part.line[step - 1]) + 1
        text = (
            f"tag '{tag.name}' jumps from {before:.4g} to {after:.4g}, {change.text}: the unit "
            f"changed; convert the rows from here on to {tag.unit or 'the unit before'}, or split "
            'the file here; if the process did it, write tolerate = ["units"]'
        )
        out.append(Finding(file, line, "units", text, fault=not (inside or unsure)))
    return out


def find_unit_change(
    mean: npt.NDArray[np.float32], std: npt.NDArray[np.float32], thermal: bool = True
) -> tuple[int, UnitChange, float, float] | None:
    """(step, change, level before, level after) of the first change of unit; None without one.

    Args:
        mean: float32[S], std: float32[S], of each step, NaN in a gap.
        thermal: whether it may be a temperature; only those have units with another zero.
    """
    there = np.flatnonzero(np.isfinite(mean))
    if len(there) < 2 * WINDOW + 1:
        return None
    m, s = mean[there].astype(np.float64), std[there].astype(np.float64)
    view = np.lib.stride_tricks.sliding_window_view(m, WINDOW)
    level, spread = np.median(view, axis=1), np.ptp(view, axis=1)
    noise = np.median(np.lib.stride_tricks.sliding_window_view(s, WINDOW), axis=1)
    # The step between the two windows may hold rows of both units.
    before, after = level[: -WINDOW - 1], level[WINDOW + 1 :]
    jump = np.abs(after - before)
    steady = np.maximum(spread[: -WINDOW - 1], spread[WINDOW + 1 :]) < STEADY * np.maximum(
        jump, np.maximum(np.abs(before), np.abs(after))
    )
    noise_before, noise_after = noise[: -WINDOW - 1], noise[WINDOW + 1 :]
    best: tuple[int, UnitChange, float, float] | None = None
    for change in (c for c in UNIT_CHANGES if thermal or not c.offset):
        want = before * change.factor + change.offset
        # What would be left of an offset for small levels must not pass as a change.
        least = 10.0 if change.offset else 0.5 * np.maximum(np.abs(before), np.abs(want))
        clear = np.abs(want - before) > least
        part = np.abs(want - before) if change.offset else np.abs(want)
        fits = np.abs(after - want) <= TOLERANCE * np.maximum(part, 1e-12)
        ratio = noise_after / np.where(noise_before > 0, noise_before, np.nan) / change.factor
        noisy = (ratio > 1 / NOISE_FACTOR) & (ratio < NOISE_FACTOR)
        hits = np.flatnonzero(fits & clear & steady & noisy)
        if len(hits) and (best is None or hits[0] < best[0]):
            place = int(hits[0])
            best = (place, change, float(before[place]), float(after[place]))
    if best is None:
        return None
    place, change, low, high = best
    # The first step that leaves the level before: it may hold rows of both units.
    border = place + WINDOW
    for k in range(place + 1, min(border + WINDOW, len(m))):
        if abs(m[k] - low) > 0.1 * abs(high - low):
            border = k
            break
    return int(there[border]), change, low, high
