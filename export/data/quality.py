"""What is odd in a recording: gaps, stretches too short, tags without values, repeated rows."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from export.data.dataset import Batch
from export.data.findings import Finding
from export.data.plantspec import PlantSpec, TagRow
from export.data.stretch import PRINT_SHARE, Counts, StretchBuilder
from export.data.units import unit_changes

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
