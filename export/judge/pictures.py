"""The panels of the paper's Fig. 5, from our own stored scores.

Pure functions from arrays to matplotlib figures, and one writer. The files hold no date and no
random name, so that the same scores give the same bytes.

Cost of a year (paper, section 2.3 and Table S2): 30 failed batches a year cost $951,605 of product
and $637,660 of lost production. What a detector misses is paid in full; every false alarm stops a
batch for an inspection:

    cost = missed share x 1,589,265 + false-alarm share x BATCHES_A_YEAR x STOP
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

FloatArray = npt.NDArray[np.float64]
FAILURES = 951_605.0 + 637_660.0
"""$ a year for 30 failed batches."""
BATCHES_A_YEAR = 400
"""18 h batches of one reactor in the 300 days of a year that it runs."""
STOP = 500.0
"""$ for an inspection after a false alarm: our assumption, said in the picture."""
SIMULATED = "simulated"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999", "#000000")
"""Told apart by colour-blind readers (Okabe and Ito)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Stored scores of one method on one task."""

    name: str
    level: npt.NDArray[np.int8]
    score: FloatArray
    threshold: FloatArray
    seconds: float = 0.0
    """Of one sample."""
    history: Sequence[Mapping[str, float]] = field(default_factory=tuple)

    @property
    def flagged(self) -> npt.NDArray[np.bool_]:
        """Over the threshold that was fixed before the test."""
        return np.asarray(self.score > self.threshold)


def roc(methods: Sequence[Judged], title: str) -> Figure:
    """True against false alarms of every method."""
    figure, axis = _axes(title)
    for colour, one in zip(_cycle(), methods):
        bad = one.level > 0
        order = np.argsort(-one.score, kind="stable")
        hit = np.concatenate([[0.0], np.cumsum(bad[order]) / max(1, bad.sum())])
        false = np.concatenate([[0.0], np.cumsum(~bad[order]) / max(1, (~bad).sum())])
        area = float(np.trapezoid(hit, false))
        axis.plot(false, hit, color=colour, lw=1.4, label=f"{one.name} {area:.3f}")
    axis.plot([0, 1], [0, 1], color="0.7", lw=0.8)
    axis.set(xlabel="false alarms, share of normal", ylabel="found, share of defective")
    axis.legend(fontsize=7, title="area", title_fontsize=7)
    return figure


def severity(one: Judged, title: str, days: bool = True) -> Figure:
    """Probability by true severity (paper, Fig. 5F): the logistic of score minus threshold.

    `days`: the levels are days before the failure.
    """
    figure, axis = _axes(title)
    chance = 1.0 / (1.0 + np.exp(-np.clip(one.score - one.threshold, -30, 30)))
    names = ("normal", *(("D-3", "D-2", "D-1") if days else ("level 1", "level 2", "level 3")))
    some = [(k, chance[one.level == k]) for k in range(4) if (one.level == k).any()]
    axis.boxplot([c for _, c in some], widths=0.5, showfliers=False)
    for place, (k, c) in enumerate(some, start=1):
        spread = np.linspace(-0.2, 0.2, len(c))
        axis.plot(place + spread, np.sort(c), ".", ms=3, color=COLOURS[k])
    axis.set_xticks(range(1, len(some) + 1), [f"{names[k]}\n{len(c)}" for k, c in some])
    axis.axhline(0.5, color="0.7", lw=0.8)
    axis.set(ylabel="probability (0.5: the threshold)")
    return figure


def confusion(methods: Sequence[Judged], title: str) -> Figure:
    """Normal and defective against silent and flagged, one square per method."""
    figure, every = plt.subplots(1, len(methods), figsize=(2.6 * len(methods), 2.9),
                                 layout="constrained", squeeze=False)  # fmt: skip
    for axis, one in zip(every[0], methods):
        bad = one.level > 0
        counts = np.array(
            [[(kind & ~one.flagged).sum(), (kind & one.flagged).sum()] for kind in (~bad, bad)]
        )
        axis.imshow(counts / np.maximum(counts.sum(1, keepdims=True), 1), cmap="Blues", vmin=0,
                    vmax=1.3)  # fmt: skip
        for (row, column), count in np.ndenumerate(counts):
            axis.text(column, row, str(count), ha="center", va="center")
        axis.set_xticks((0, 1), ("silent", "flagged"))
        axis.set_yticks((0, 1), ("normal", "defective"))
        axis.set_title(one.name, fontsize=8)
    figure.suptitle(title, fontsize=9)
    return figure


def losses(one: Judged, title: str) -> Figure:
    """Losses of a training, phase by phase."""
    figure, axis = _axes(title)
    phases = [int(row.get("phase", 1)) for row in one.history]
    for colour, key in zip(COLOURS, ("classification", "domain")):
        known = [(k, row[key]) for k, row in enumerate(one.history) if key in row]
        if known:
            axis.plot(*zip(*known), color=colour, lw=1.2, label=key)
    for k in range(1, len(phases)):
        if phases[k] != phases[k - 1]:
            axis.axvline(k, color="0.7", lw=0.8)
            axis.text(k, axis.get_ylim()[1], f" phase {phases[k]}", fontsize=7, va="top")
    axis.set(xlabel="iteration", ylabel="loss")
    axis.legend(fontsize=7)
    return figure


def speed(methods: Sequence[Judged], title: str) -> Figure:
    """Time to judge one sample, as a ratio to the fastest."""
    figure, axis = _axes(title)
    timed = sorted((one for one in methods if one.seconds > 0), key=lambda one: one.seconds)
    ratios = [one.seconds / timed[0].seconds for one in timed]
    axis.barh(range(len(timed)), ratios, color=COLOURS[0])
    axis.set_yticks(range(len(timed)), [one.name for one in timed], fontsize=7)
    axis.set_xscale("log")
    axis.set(xlabel="prediction time, ratio to the fastest")
    return figure


def cost(methods: Sequence[Judged], title: str) -> Figure:
    """$ a year: missed failures and needless stops."""
    figure, axis = _axes(title)
    both = [yearly_cost(one) for one in methods]
    place = range(len(methods))
    axis.barh(place, [m / 1e6 for m, _ in both], color=COLOURS[1], label="missed failures")
    axis.barh(place, [f / 1e6 for _, f in both], left=[m / 1e6 for m, _ in both],
              color=COLOURS[0], label=f"false alarms (${STOP:.0f} each)")  # fmt: skip
    axis.axvline(FAILURES / 1e6, color="0.5", lw=0.8)
    axis.set_yticks(place, [one.name for one in methods], fontsize=7)
    axis.set(xlabel="million $ a year (line: no detector)")
    axis.legend(fontsize=7)
    return figure


def yearly_cost(one: Judged) -> tuple[float, float]:
    """($ of missed failures, $ of false alarms) a year; see the file's head."""
    bad = one.level > 0
    missed = float((~one.flagged[bad]).mean()) if bad.any() else 0.0
    false = float(one.flagged[~bad].mean()) if (~bad).any() else 0.0
    return missed * FAILURES, false * BATCHES_A_YEAR * STOP


PANELS = {
    # set: (task, methods for ROC and cost; ours first)
    "twin": ("source -> target (simulated)", ("ours", "paper", "ensemble", "gbm-pooled", "lstm")),
    "tep_multimode": (
        "mode1+mode2+mode3 -> mode4",
        ("ours", "paper", "ensemble", "gbm-source", "deviation", "lstm"),
    ),
    "cranfield_tpff": (
        "set1 -> set2, labels of case 1",
        ("ours", "paper", "ensemble", "gbm-tuned", "deviation", "lstm"),
    ),
}
"""What the model card shows."""
DAYS = ("twin",)
"""Sets whose levels are days before the failure."""


def draw_stored(out: Path, folder: Path) -> list[Path]:
    """The panels of PANELS from the results and scores a benchmark stored in `out`."""
    from export.judge.benchmark import read_rows, row_key, scores_path

    rows = [r for r in read_rows(out / "results.jsonl") if r["status"] == "ok"]
    written = []
    for name, (task, shown) in PANELS.items():
        judged = {}
        mark = ""
        for row in rows:
            path = scores_path(out, row_key(row))
            if row["set"] != name or row["task"] != task or row["seed"] != 1 or not path.is_file():
                continue
            mark = f" ({SIMULATED})" if row["simulated"] and SIMULATED not in task else ""
            with np.load(path, allow_pickle=False) as stored:
                judged[row["method"]] = Judged(
                    name=row["method"],
                    level=stored["level"],
                    score=stored["score"].astype(np.float64),
                    threshold=stored["threshold"].astype(np.float64),
                    seconds=float(row["figures"].get("predict_one_ms") or 0.0) / 1000.0,
                    history=json.loads(str(stored["history"])),
                )
        written += write_panels(list(judged.values()), folder, name, task + mark, shown)
    return written


def write_panels(
    methods: Sequence[Judged], folder: Path, name: str, title: str, shown: Sequence[str]
) -> list[Path]:
    """All panels of one task as SVG; `shown`: names for ROC, confusion and cost, ours first."""
    known = {one.name: one for one in methods}
    some = [known[n] for n in shown if n in known]
    if not some:
        return []
    panels: dict[str, Figure] = {
        "roc": roc(some, title),
        "severity": severity(some[0], f"{title}: {some[0].name}", days=name in DAYS),
        "confusion": confusion(some[:3], title),
        "speed": speed(methods, title),
    }
    if name == "twin":  # the paper's economy is that of its own line
        panels["cost"] = cost(some, title)
    trained = next((known[n] for n in shown if n in known and len(known[n].history) > 1), None)
    if trained is not None:
        panels["loss"] = losses(trained, f"{title}: {trained.name}")
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for panel, figure in panels.items():
        file = folder / f"{name}-{panel}.svg"
        with mpl.rc_context({"svg.hashsalt": "ncm-edge", "svg.fonttype": "none"}):
            figure.savefig(file, metadata={"Date": None, "Creator": None})
        plt.close(figure)
        written.append(file)
    return written


def _axes(title: str) -> tuple[Figure, Any]:
    figure, axis = plt.subplots(figsize=(5.0, 3.6), layout="constrained")
    axis.set_title(title, fontsize=9)
    return figure, axis


def _cycle() -> Sequence[str]:
    return COLOURS * 3
