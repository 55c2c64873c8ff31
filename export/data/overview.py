"""A recording at a glance: which tag was good when, above it the label."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from export.data.dataset import Batch, Dataset

COLUMNS = 1600
"""Columns of the picture at most; each shows the worst of its steps."""
COLOURS = ("#bbbbbb", "#ffffff", "#f6d55c", "#ed8b3b", "#c0392b")
"""Not used, normal, level 1, 2, 3."""


def strips(batches: Sequence[Batch], columns: int = COLUMNS) -> tuple[np.ndarray, np.ndarray]:
    """(worst share of good rows float32[P, C], highest severity int8[C]); a stretch is never
    thinned to nothing."""
    total = sum(len(b.severity) for b in batches)
    width = max(1, -(-total // columns))
    valid, severity = [], []
    for batch in batches:
        starts = np.arange(0, len(batch.severity), width)
        valid.append(np.minimum.reduceat(batch.valid, starts, axis=0))
        severity.append(np.maximum.reduceat(batch.severity, starts))
    return np.concatenate(valid).T, np.concatenate(severity)


def picture(dataset: Dataset, out: Path) -> None:
    """Write the picture: a strip of labels and a map tags x time of good rows."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.colors import BoundaryNorm, ListedColormap

    batches = dataset.batches
    valid, severity = strips(batches)
    tags = [name for name, _ in dataset.line.tags]
    width = max(1, -(-sum(len(b.severity) for b in batches) // COLUMNS))
    borders = np.cumsum([-(-len(b.severity) // width) for b in batches])
    figure, (above, below) = plt.subplots(
        2, 1, figsize=(14, 1.5 + 0.16 * len(tags) + 1.5), sharex=True,
        gridspec_kw={"height_ratios": [1, max(4.0, 0.35 * len(tags))]}, layout="constrained",
    )  # fmt: skip
    norm = BoundaryNorm([-1.5, -0.5, 0.5, 1.5, 2.5, 3.5], 5)
    above.imshow(
        severity[None], aspect="auto", cmap=ListedColormap(COLOURS), norm=norm,
        interpolation="nearest",
    )  # fmt: skip
    above.set_yticks([0], ["label"])
    kind = "simulated data" if dataset.simulated else "recorded data"
    above.set_title(
        f"{dataset.line.name}: {len(batches)} stretches, {kind}. Label: white normal, yellow to "
        "red level 1-3, grey not used; below: white good, dark not good",
        fontsize=9,
    )
    below.imshow(valid, aspect="auto", cmap="Greys_r", vmin=0, vmax=1, interpolation="nearest")
    below.set_yticks(range(len(tags)), tags, fontsize=6)
    before = 0
    previous = ""
    for batch, border in zip(batches, borders):
        if batch.domain != previous:
            for axis in (above, below):
                axis.axvline(before - 0.5, color="black", linewidth=0.8)
            if len({b.domain for b in batches}) <= 20:
                below.text(before, len(tags) - 0.2, batch.domain, fontsize=7, va="top")
        previous, before = batch.domain, int(border)
    below.set_xticks([])
    try:
        figure.savefig(out, dpi=110)
    finally:
        plt.close(figure)
