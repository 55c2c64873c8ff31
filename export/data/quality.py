"""What is odd in a stretch: gaps, stretches too short, units that changed on the way.

A change of unit is a jump of the level by a factor that units have between them, with the noise
growing by the same factor; a process that only moves keeps its noise. If the tag's range holds
both levels it is a warning, else a fault: from there on every value would be scaled wrongly.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from export.data.dataset import Batch
from export.data.describe import PlantSpec, TagRow
from export.data.findings import Finding
from export.data.stretch import PRINT_SHARE, Counts, Part, StretchBuilder


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
COPIED_PRINTS = 4
"""Rows in the sample that two stretches must share before it is said; rest and start repeat."""
"""The noise must follow the factor up to this, or be unmeasurable on both sides."""


def findings_of_stretch(
    spec: PlantSpec, builder: StretchBuilder, batches: Sequence[Batch]
) -> list[Finding]:
    """Findings of one stretch, beside those of its clock."""
    out: list[Finding] = []
    file, counts = str(builder.file), builder.counts
    if not batches:
        out.append(Finding(file, 0, "short", f"a stretch of {counts.rows} rows is shorter than a "
                   f"model step of {spec.step_rows} rows and is left out; take a smaller "
                   "step_rows, or record longer"))  # fmt: skip
        return out
    name = batches[0].group
    if counts.gaps:
        out.append(Finding(file, counts.longest_gap_line, "gaps", f"'{name}': {counts.gap_rows} "
                   f"rows are missing in {counts.gaps} gaps, the longest of "
                   f"{counts.longest_gap_s:g} s ends here; they count as not good"))  # fmt: skip
    if counts.crowded > 0.01 * counts.rows:
        out.append(Finding(file, 0, "clock", f"'{name}': {counts.crowded} of {counts.rows} rows "
                   f"share a time slot of row_s = {spec.row_s:g} s with the next and are left out; "
                   "give the true row_s"))  # fmt: skip
    out += [
        Finding(
            file,
            int(batch.notes["first_line"]),
            "gaps",
            f"a gap of more than {spec.split_gap_h:g} h: from here on the stretch is "
            f"'{batch.group}'",
        )
        for batch in batches[1:]
    ]
    for place, tag in enumerate(builder.tags):
        if not any(b.valid[:, place].any() for b in batches):
            first = int(batches[0].notes["first_line"])
            why = "it has no value" if counts.missing[place] else "no value is within its range"
            out.append(Finding(file, first, "empty", f"'{name}': tag '{tag.name}' has no good row "
                       f"({why}); the model will see it as not valid"))  # fmt: skip
    for part in builder.parts:
        out += unit_changes(file, builder.tags, part)
    return out


def findings_over_all(
    spec: PlantSpec, batches: Sequence[Batch], counts: Counts, tags: Sequence[TagRow]
) -> list[Finding]:
    """What only the whole recording shows."""
    out = []
    name = str(spec.path)
    for place, tag in enumerate(tags):
        if not np.isfinite(counts.low[place]):
            out.append(
                Finding(
                    name,
                    0,
                    "empty",
                    f"tag '{tag.name}' has no good value in any row; "
                    "remove it from the list, or correct its column or range",
                    fault=True,
                )
            )
        elif counts.low[place] == counts.high[place]:
            out.append(
                Finding(
                    name,
                    0,
                    "constant",
                    f"tag '{tag.name}' is {counts.low[place]:g} in every row: it tells nothing",
                )
            )
    seen: dict[str, str] = {}
    for batch in batches:
        first = seen.setdefault(batch.group, batch.notes["file"])
        if first != batch.notes["file"]:
            out.append(
                Finding(
                    batch.notes["file"],
                    0,
                    "duplicate",
                    f"group '{batch.group}' is "
                    f"also in {first}; put {{stem}} into `group`, or set join_files = true",
                    fault=True,
                )
            )
    hashes: dict[bytes, Batch] = {}
    for batch in batches:
        key = hashlib.sha256(batch.features.tobytes()).digest()
        other = hashes.setdefault(key, batch)
        if other is not batch:
            out.append(
                Finding(
                    batch.notes["file"],
                    int(batch.notes["first_line"]),
                    "duplicate",
                    f"stretch '{batch.group}' holds the same values as '{other.group}' of "
                    f"{other.notes['file']}:{other.notes['first_line']}; leave one out with "
                    "`skip`, or it may be on two sides",
                    fault=True,
                )
            )
    levels = {int(v) for b in batches for v in np.unique(b.severity) if v >= 0}
    if spec.label.kind and len(levels) == 1:
        only = "normal" if levels == {0} else "defective"
        out.append(
            Finding(
                name,
                0,
                "labels",
                f"every labelled step is {only}: a classifier cannot "
                "learn from one class; check `label`",
            )
        )
    if spec.label.kind and not levels:
        out.append(Finding(name, 0, "labels", "no step has a label; check `label`", fault=True))
    normal = {b.domain for b in batches if (b.severity == 0).any()}
    out += [
        Finding(
            name,
            0,
            "labels",
            f"domain '{domain}' has no normal step: its reference cannot be learnt; add rows after "
            "a maintenance",
        )
        for domain in dict.fromkeys(b.domain for b in batches)
        if domain not in normal
    ]
    return out


def copied_rows(
    prints: Sequence[tuple[Batch, np.ndarray | None, np.ndarray | None]],
) -> list[Finding]:
    """Stretches that share rows: the same recording under two names, maybe with two labels."""
    known = [(n, keys, lines) for n, (_, keys, lines) in enumerate(prints) if keys is not None]
    if not known:
        return []
    key = np.concatenate([keys for _, keys, _ in known])
    line = np.concatenate([np.asarray(lines) for _, _, lines in known])
    owner = np.repeat([n for n, _, _ in known], [len(keys) for _, keys, _ in known])
    order = np.lexsort((owner, key))
    key, line, owner = key[order], line[order], owner[order]
    again = np.flatnonzero((key[1:] == key[:-1]) & (owner[1:] != owner[:-1]))
    shared: dict[tuple[int, int], list[int]] = {}
    for place in again:
        pair = int(owner[place]), int(owner[place + 1])
        shared.setdefault(pair, []).append(int(line[place + 1]))
    out = []
    for (other, number), rows in shared.items():
        if len(rows) < COPIED_PRINTS:
            continue
        a, b = prints[other][0], prints[number][0]
        text = (
            f"'{b.group}' repeats about {len(rows) * PRINT_SHARE} rows of '{a.group}' "
            f"({a.notes['file']}), to line {max(rows)}; never put the two on two sides of a split"
        )
        out.append(Finding(str(b.notes["file"]), min(rows), "duplicate", text))
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
