"""Judge a trained model on its test batches, with the decisions the edge would take.

The verdict and the component ranking are those of edge.core, fed step by step, so a figure here is
what the daemon would have shown. A test group (seed, failure, file) is never in training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge.config.types import Line
from edge.core.cam import rank
from edge.core.verdict import StepScore, Verdict, VerdictSettings, fold
from export.data.dataset import Batch, FloatArray
from export.judge.calibration import Share, calibration_error
from export.model.fit import WARM_STEPS, held_logit


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What the edge would have said about one batch."""

    fault: str
    level: int
    """True severity, 0..3."""
    score: float
    """Highest persisted logit."""
    detected: int | None
    """Model steps from the onset of the fault to the flag; None: never."""
    early: bool
    """The flag was raised before the onset, or in a normal batch: a false alarm."""
    said: int
    """Severity shown at the end of the batch, the highest while flagged."""
    hit: tuple[bool, bool] | None
    """True component first, among the first three; None if not flagged or not known."""
    flags: np.ndarray
    """bool[N], the flag after each step."""
    probability: np.ndarray
    """float32[N], defect probability after each step."""
    bad: np.ndarray
    """bool[N], whether the step was defective."""


def judge(
    batch: Batch,
    out: dict[str, FloatArray],
    line: Line,
    settings: VerdictSettings,
    kinds: Sequence[str],
) -> Judged:
    """Fold the verdict over one batch's outputs; `kinds` are those of the network."""
    steps = len(batch.severity)
    tags = [row.tag for row in line.tags]
    bad = batch.severity > 0
    onset = int(np.argmax(bad)) if bad.any() else steps
    verdict = Verdict()
    flags = np.zeros(steps, bool)
    detected: int | None = None
    said = 0
    hit: tuple[bool, bool] | None = None
    valid = np.asarray(batch.valid)
    for n in range(steps):
        three = out["severity"][n]
        score = StepScore(
            logit=float(out["logit"][n]),
            severity=(float(three[0]), float(three[1]), float(three[2])),
            valid_fraction=float(valid[n].mean()),
        )
        verdict = fold(verdict, score, float(n), settings)
        flags[n] = verdict.flag
        if verdict.flag and n >= onset:
            said = max(said, verdict.severity)
            if detected is None:
                detected = n - onset
    if detected is not None and batch.component:
        # The ranking an operator sees when he looks: half an hour after the flag, or at the end.
        look = min(onset + detected + 30, steps - 1)
        suspects = rank(
            out["cam"][look],
            out["deviation"][look],
            tags,
            line.topology,
            kinds=dict(zip(kinds, out["kinds"][look].tolist())),
            redundant=() if line.trim is None else line.trim.ph_tags,
        )
        codes = [s.component for s in suspects]
        hit = (codes[:1] == [batch.component], batch.component in codes[:3])
    return Judged(
        fault=batch.fault,
        level=batch.level,
        score=float(held_logit(out["logit"], settings.persist_steps).max()),
        detected=detected,
        early=bool(flags[:onset].any()),
        said=said,
        hit=hit,
        flags=flags,
        probability=_sigmoid(out["logit"]),
        bad=bad,
    )


def summary(judged: Sequence[Judged]) -> dict[str, Any]:
    """Figures over all judged batches; the calibration error is that of single steps."""
    level = np.array([j.level for j in judged])
    score = np.array([j.score for j in judged])
    flagged = np.array([j.detected is not None if j.level else j.early for j in judged])
    normal, defective = level == 0, level > 0
    hits = [j.hit for j in judged if j.hit is not None]
    false = int(sum(j.early for j in judged))
    probability = np.concatenate([j.probability[WARM_STEPS:] for j in judged])
    truth = np.concatenate([j.bad[WARM_STEPS:] for j in judged])
    return {
        "batches": len(judged),
        "normal": int(normal.sum()),
        "accuracy": Share(int((flagged == defective).sum()), len(judged)).to_dict(),
        "false_alarms": Share(int(flagged[normal].sum()), int(normal.sum())).to_dict(),
        "caught": {
            str(k): Share(int(flagged[level == k].sum()), int((level == k).sum())).to_dict()
            for k in (1, 2, 3)
            if (level == k).any()
        },
        "calibration_error": _round(calibration_error(probability, truth)),
        "auc": _round(auc(defective, score)),
        "balanced_accuracy": _round(
            0.5 * (_mean(flagged[defective]) + 1.0 - _mean(flagged[normal]))
        ),
        "detected": {
            str(k): f"{int(flagged[level == k].sum())}/{int((level == k).sum())}"
            for k in (1, 2, 3)
            if (level == k).any()
        },
        "false_alarm_batches": f"{false}/{len(judged)}",
        "severity_spearman": _round(
            spearman(level[defective], np.array([j.said for j in judged])[defective])
        ),
        "severity_confusion": [
            [int(sum(1 for j in judged if j.level == a and _said(j) == b)) for b in range(4)]
            for a in range(4)
        ],
        "component_top1": _round(_mean(np.array([h[0] for h in hits]))),
        "component_top3": _round(_mean(np.array([h[1] for h in hits]))),
    }


def by_fault(judged: Sequence[Judged]) -> list[dict[str, Any]]:
    """One row per fault and severity: detected, median minutes in model steps, hits."""
    rows = []
    for key in sorted({(j.fault, j.level) for j in judged}):
        some = [j for j in judged if (j.fault, j.level) == key]
        found = [j.detected for j in some if j.detected is not None]
        hits = [j.hit for j in some if j.hit is not None]
        rows.append(
            {
                "fault": key[0] or "normal",
                "severity": key[1],
                "batches": len(some),
                "flagged": len(found) if key[1] else sum(j.early for j in some),
                "median_step": float(np.median(found)) if found else None,
                "last_step": max(found) if found else None,
                "said": float(np.median([j.said for j in some])) if found else None,
                "top1": sum(h[0] for h in hits),
                "top3": sum(h[1] for h in hits),
            }
        )
    return rows


def table(judged: Sequence[Judged], simulated: bool, step_minutes: float) -> str:
    """The report as text, labelled."""
    lines = [
        ("SIMULATED data: " if simulated else "Recorded data: ")
        + "batches never seen in training, decisions as the edge takes them",
        f"{'fault':<10}{'severity':>9}{'batches':>9}{'flagged':>9}{'median':>10}{'last':>10}"
        f"{'said':>6}{'top1':>6}{'top3':>6}",
    ]
    lines += [
        f"{row['fault']:<10}{row['severity']:>9}{row['batches']:>9}{row['flagged']:>9}"
        f"{_minutes(row['median_step'], step_minutes):>10}"
        f"{_minutes(row['last_step'], step_minutes):>10}"
        f"{'-' if row['said'] is None else format(row['said'], '.1f'):>6}"
        f"{row['top1']:>6}{row['top3']:>6}"
        for row in by_fault(judged)
    ]
    figures = summary(judged)
    for key in ("accuracy", "false_alarms"):
        lines.append(f"{key}: {Share(figures[key]['k'], figures[key]['n'])}")
    for level, share in figures["caught"].items():
        lines.append(f"severity {level} (D-{4 - int(level)}): {Share(share['k'], share['n'])}")
    shown = ("accuracy", "false_alarms", "caught", "detected")
    lines += [f"{key}: {value}" for key, value in figures.items() if key not in shown]
    return "\n".join(lines)


def rows_table(
    batches: Sequence[Batch], judged: Sequence[Judged], skip: int = 0
) -> tuple[str, dict[str, Any]]:
    """Precision and recall over model steps, per stretch: for recordings labelled row by row."""
    lines = [f"{'stretch':<22}{'steps':>7}{'precision':>11}{'recall':>8}{'false alarm':>13}"]
    total = np.zeros(4, int)
    for batch, one in zip(batches, judged):
        truth, said = batch.severity[skip:] > 0, one.flags[skip:]
        counts = np.array(
            [
                (truth & said).sum(),
                (~truth & said).sum(),
                (truth & ~said).sum(),
                (~truth & ~said).sum(),
            ]
        )
        total += counts
        lines.append(f"{batch.group:<22}{len(truth):>7}{_rates(counts)}")
    lines.append(f"{'all':<22}{int(total.sum()):>7}{_rates(total)}")
    tp, fp, fn, tn = (int(v) for v in total)
    figures = {
        "f1": _round(2 * tp / max(1, 2 * tp + fp + fn)),
        "false_alarm_rate": _round(fp / max(1, fp + tn)),
        "missed_rate": _round(fn / max(1, fn + tp)),
    }
    lines += [f"{key}: {value}" for key, value in figures.items()]
    return "\n".join(lines), figures


def auc(label: np.ndarray, score: np.ndarray) -> float:
    """Area under the ROC curve by ranks, ties counted half; NaN with one class only."""
    positive, negative = score[label], score[~label]
    if not len(positive) or not len(negative):
        return float("nan")
    ranks = _ranks(np.concatenate([positive, negative]))
    n = len(positive)
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * len(negative)))


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Rank correlation; NaN if one of the two is constant."""
    if len(a) < 2:
        return float("nan")
    x, y = _ranks(a.astype(float)), _ranks(b.astype(float))
    x, y = x - x.mean(), y - y.mean()
    size = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum() / size) if size > 0 else float("nan")


def _ranks(values: np.ndarray) -> np.ndarray:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2.0)[inverse]


def _said(judged: Judged) -> int:
    return judged.said if judged.level else int(judged.early)


def _sigmoid(logit: np.ndarray) -> np.ndarray:
    return (1.0 / (1.0 + np.exp(-np.clip(logit, -60.0, 60.0)))).astype(np.float32)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _round(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)


def _minutes(steps: float | None, step_minutes: float) -> str:
    return "-" if steps is None else f"{steps * step_minutes:.0f} min"


def _rates(counts: np.ndarray) -> str:
    tp, fp, fn, tn = (int(v) for v in counts)
    precision = f"{tp / (tp + fp):.3f}" if tp + fp else "-"
    recall = f"{tp / (tp + fn):.3f}" if tp + fn else "-"
    false = f"{fp / (fp + tn):.3f}" if fp + tn else "-"
    return f"{precision:>11}{recall:>8}{false:>13}"
