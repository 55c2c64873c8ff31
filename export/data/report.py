"""What was found in a recording, as text: files, stretches, labels, quality, findings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from export.data.dataset import Batch, Dataset
from export.data.labels import utc_text
from export.data.plant import Loaded

STRETCHES = 40
"""Stretches listed; the rest is counted."""
TAGS = 12
"""Tags with rows that are not good, the worst first."""


def report(loaded: Loaded, every: bool = False) -> str:
    """The whole text. `every`: list every stretch, tag and finding."""
    parts = [
        _head(loaded),
        _domains(loaded.dataset.batches),
        _stretches(loaded.dataset, every),
        _quality(loaded, every),
        _findings(loaded, every),
    ]
    return "\n\n".join(part for part in parts if part)


def _head(loaded: Loaded) -> str:
    line, counts = loaded.dataset.line, loaded.counts
    size = sum(file.stat().st_size for file in loaded.files) / 1e6
    step_s = line.row_s * line.step_rows
    steps = sum(len(b.severity) for b in loaded.dataset.batches)
    kind = "simulated" if loaded.dataset.simulated else "recorded"
    return "\n".join([
        f"{line.name}: {kind}, {len(line.tags)} tags, {len(set(line.components))} components",
        f"files      {len(loaded.files)} ({size:.1f} MB): {_names(loaded.files)}",
        f"rows       {counts.rows} of {line.row_s:g} s; {counts.gap_rows} more are missing in "
        f"{counts.gaps} gaps",
        f"steps      {steps} of {line.step_rows} rows, {step_s:g} s; {steps * step_s / 3600:.1f} h",
        f"sha-256    {loaded.dataset.sha256}",
    ])  # fmt: skip


def _names(files: Sequence[Path]) -> str:
    names = [file.name for file in files]
    return ", ".join(names[:4]) + (f", ... {names[-1]}" if len(names) > 4 else "")


def _domains(batches: Sequence[Batch]) -> str:
    rows = [f"{'domain':20} {'stretches':>9} {'steps':>8} {LABELS}"]
    domains = list(dict.fromkeys(b.domain for b in batches))
    if len(domains) == len(batches):
        domains = []  # the list of stretches says the same
    for domain in domains[:STRETCHES]:
        mine = [b for b in batches if b.domain == domain]
        severity = np.concatenate([b.severity for b in mine])
        rows.append(f"{domain:20} {len(mine):9d} {len(severity):8d} {_classes(severity)}")
    if len(domains) > STRETCHES:
        rows.append(f"... and {len(domains) - STRETCHES} domains more")
    every = np.concatenate([b.severity for b in batches])
    rows.append(f"{'all':20} {len(batches):9d} {len(every):8d} {_classes(every)}")
    return "\n".join(rows)


LABELS = f"{'normal':>8} {'level 1':>8} {'level 2':>8} {'level 3':>8} {'unused':>8}"


def _classes(severity: np.ndarray) -> str:
    return " ".join(f"{int((severity == level).sum()):8d}" for level in (0, 1, 2, 3, -1))


def _stretches(dataset: Dataset, every: bool) -> str:
    batches, line = dataset.batches, dataset.line
    rows = [f"{'group':28} {'begins':23} {'steps':>7} {LABELS} {'good':>6}  fault, component"]
    shown = batches if every else batches[:STRETCHES]
    for b in shown:
        begin = utc_text(float(b.notes["t_s"][0]) - (line.step_rows - 1) * line.row_s)
        what = ", ".join(word for word in (b.fault, b.component) if word) or "-"
        good = f"{float(b.valid.mean()):6.1%}"
        rows.append(
            f"{b.group:28} {begin:23} {len(b.severity):7d} {_classes(b.severity)} {good}  {what}"
        )
    if len(shown) < len(batches):
        rows.append(f"... and {len(batches) - len(shown)} more; --all lists them")
    return "\n".join(rows)


def _quality(loaded: Loaded, every: bool) -> str:
    counts = loaded.counts
    bad = counts.missing + counts.out_of_range + counts.frozen
    order = [int(k) for k in np.argsort(-bad, kind="stable") if bad[k]]
    if not order:
        return "quality    every row of every tag is there, within its range, and moves"
    rows = [
        f"{'tag':24} {'missing':>10} {'out of range':>13} {'frozen':>10}  of {counts.rows} rows"
    ]
    shown = order if every else order[:TAGS]
    rows += [
        f"{loaded.dataset.line.tags[k][0]:24} {counts.missing[k]:10d} "
        f"{counts.out_of_range[k]:13d} {counts.frozen[k]:10d}"
        for k in shown
    ]
    if len(shown) < len(order):
        rows.append(f"... and {len(order) - len(shown)} tags more; --all lists them")
    return "\n".join(rows)


def _findings(loaded: Loaded, every: bool) -> str:
    notes = [f for f in loaded.findings if not f.fault]
    shown = notes if every else notes[:STRETCHES]
    rows = [f"warning: {finding}" for finding in shown]
    if len(shown) < len(notes):
        rows.append(f"... and {len(notes) - len(shown)} warnings more; --all lists them")
    return "\n".join(rows)
