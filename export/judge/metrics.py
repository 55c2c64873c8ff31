"""Scores and labels -> the figures of the table. Pure functions of arrays; no model, no file.

Every threshold is fixed before the test: it comes from normal samples that are not in it. Ranking
figures (AUC, Spearman) need none. A figure that the samples do not define is None, never 0.

Axes: n samples, P tags.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from export.data.dataset import Batch, LineSpec
from export.judge.evaluate import auc, spearman

Floats = npt.NDArray[np.floating[Any]]
Bools = npt.NDArray[np.bool_]
Figures = dict[str, float | None]

FALSE_ALARMS = 0.05
"""Budget of the alarm threshold: share of normal samples above it (da_data.md section 4)."""
ECE_BINS = 10


def alarm_threshold(normal: Floats, budget: float = FALSE_ALARMS) -> float:
    """The lowest threshold that a further normal sample passes with a chance of at most `budget`.

    The ceil((n + 1)(1 - budget))-th smallest score; the largest when there are too few (n < 19 at
    5 %), so a budget that the samples cannot prove is approached from above.

    Raises ValueError without a finite score.
    """
    scores = np.sort(normal[np.isfinite(normal)])
    if not len(scores):
        raise ValueError("no normal sample to fix the threshold on")
    place = int(np.ceil((len(scores) + 1) * (1.0 - budget))) - 1
    return float(scores[min(place, len(scores) - 1)])


def labels(samples: Sequence[Batch]) -> Bools:
    """[n], True where the sample is defective."""
    return np.array([s.level > 0 for s in samples], bool)


def stages(samples: Sequence[Batch]) -> Floats:
    """[n], the rank of severity: `notes["stage"]` where a set has its own, else the level."""
    return np.array([float(s.notes.get("stage", s.level)) for s in samples])


def ranking(samples: Sequence[Batch], score: Floats, hard: Collection[str] = ()) -> Figures:
    """AUC, macro AUC over the detectable faults, and the order of severity.

    `hard`: faults that are known to be nearly unobservable; left out of `auc_detectable` only,
    which is not defined without any.
    """
    bad = labels(samples)
    fault = np.array([s.fault for s in samples])
    each = [
        auc(bad[some], score[some])
        for name in sorted({f for f, b in zip(fault, bad) if b and f not in hard})
        for some in [~bad | (bad & (fault == name))]
    ]
    return {
        "auc": known(auc(bad, score)),
        "auc_detectable": mean(each) if hard else None,
        "spearman": severity_order(samples, score),
        "spearman_pooled": _pooled_order(samples, score),
    }


def severity_order(samples: Sequence[Batch], score: Floats) -> float | None:
    """Spearman of the score against the stage, within each group, averaged over the groups.

    Within a group, because the stages of two faults cannot be compared (a valve at 30 degrees
    against another at 60 %). Normal samples count as stage 0.
    """
    stage, group = stages(samples), np.array([s.group for s in samples])
    found = [
        spearman(stage[group == g], score[group == g])
        for g in sorted({g for g, s in zip(group, stage) if s > 0})
        if len(np.unique(stage[group == g])) > 2
    ]
    return mean(found)


def _pooled_order(samples: Sequence[Batch], score: Floats) -> float | None:
    """The same over all samples at once, where severity has more than two stages."""
    stage = stages(samples)
    return known(spearman(stage, score)) if len(np.unique(stage)) > 2 else None


def decisions(bad: Bools, alarm: Bools, weight: Floats | None = None) -> Figures:
    """Rates of a decision. `weight`: how often a sample counts, e.g. rows in a step."""
    w = np.ones(len(bad)) if weight is None else weight
    tp, fp = float(w[bad & alarm].sum()), float(w[~bad & alarm].sum())
    fn, tn = float(w[bad & ~alarm].sum()), float(w[~bad & ~alarm].sum())
    tpr, far = _ratio(tp, tp + fn), _ratio(fp, fp + tn)
    f1, f1_normal = _ratio(2 * tp, 2 * tp + fp + fn), _ratio(2 * tn, 2 * tn + fp + fn)
    return {
        "tpr": tpr,
        "far": far,
        "mar": None if tpr is None else 1.0 - tpr,
        "accuracy": _ratio(tp + tn, tp + tn + fp + fn),
        "balanced_accuracy": None if tpr is None or far is None else 0.5 * (tpr + 1.0 - far),
        "f1": f1 if (tp + fn) else None,
        "macro_f1": None if f1 is None or f1_normal is None else 0.5 * (f1 + f1_normal),
    }


def row_decisions(samples: Sequence[Batch], alarm: Bools) -> Figures:
    """Rates counted in rows of the recording, for sets that are labelled row by row.

    A sample decides on the rows of its last step; `notes["defective_rows"]` says how many of the
    `notes["rows"]` are defective. Without these notes a step counts as one.
    """
    bad = labels(samples)
    total = np.array([float(s.notes.get("rows", 1)) for s in samples])
    share = np.array([float(s.notes.get("defective_rows", t * b))
                      for s, t, b in zip(samples, total, bad)])  # fmt: skip
    twice = np.concatenate([np.ones(len(bad), bool), np.zeros(len(bad), bool)])
    return decisions(twice, np.concatenate([alarm, alarm]), np.concatenate([share, total - share]))


def calibration_error(bad: Bools, probability: Floats, bins: int = ECE_BINS) -> float | None:
    """Expected calibration error: |share defective - mean probability| over equal bins."""
    if not len(bad) or not np.isfinite(probability).all():
        return None
    place = np.minimum((probability * bins).astype(int), bins - 1)
    total = 0.0
    for b in range(bins):
        some = place == b
        if some.any():
            total += some.mean() * abs(bad[some].mean() - probability[some].mean())
    return float(total)


def sigmoid(logit: Floats) -> Floats:
    """1 / (1 + exp(-logit)) without overflow."""
    return 1.0 / (1.0 + np.exp(-np.clip(logit, -60.0, 60.0)))


def hits(samples: Sequence[Batch], weight: Floats, line: LineSpec) -> Figures:
    """Is the true component in front? `weight`[n, P] is how much each tag stands out.

    A component is as suspect as its most suspect tag. Only defective samples whose component is
    known and has a tag are counted.

    Returns:
        hit1, hit3: share of samples with the component first, or among three.
        run_hit1: share of runs (weights averaged over the run's defective samples, each sample
            counting alike) with an expected tag first, or the component where none is listed.
    """
    names = sorted(set(line.components) - {""})
    index = [[p for p, c in enumerate(line.components) if c == name] for name in names]
    tags = [name for name, _ in line.tags]
    first: list[bool] = []
    third: list[bool] = []
    runs: dict[str, tuple[Batch, list[Floats]]] = {}
    for sample, row in zip(samples, np.asarray(weight, float)):
        if sample.level == 0 or sample.component not in names:
            continue
        order = _order(row, names, index)
        first.append(order[0] == sample.component)
        third.append(sample.component in order[:3])
        size = float(np.abs(row).sum())
        runs.setdefault(sample.group, (sample, []))[1].append(row / size if size else row)
    whole = []
    for sample, rows in runs.values():
        total = np.mean(rows, axis=0)
        if sample.expected:
            whole.append(tags[int(total.argmax())] in sample.expected)
        else:
            whole.append(_order(total, names, index)[0] == sample.component)
    return {"hit1": mean(first), "hit3": mean(third), "run_hit1": mean(whole)}


def _order(row: Floats, names: Sequence[str], index: Sequence[Sequence[int]]) -> list[str]:
    suspicion = np.array([max(row[p] for p in places) for places in index])
    return [names[i] for i in np.argsort(-suspicion, kind="stable")]


def first_alarm(
    samples: Sequence[Batch], alarm: Bools, persist: int = 1
) -> dict[str, float | None]:
    """Hours from the first lasting alarm to the failure, in one run to failure.

    Needs `notes["to_failure_s"]` (seconds from the sample's end to the failure). An alarm lasts
    when `persist` samples in a row are above the threshold.

    Returns:
        first_alarm_h: hours before the failure of the first alarm; None: never.
        alarms_per_10_days: separate alarms before the last three days, or before the labels
            begin, per ten days: what the operator would call false.
    """
    if not samples or "to_failure_s" not in samples[0].notes:
        return {"first_alarm_h": None, "early_alarms_per_10_days": None}
    left = np.array([float(s.notes["to_failure_s"]) for s in samples])
    order = np.argsort(-left, kind="stable")
    left, on, bad = left[order], alarm[order], labels(samples)[order]
    run = np.convolve(on.astype(int), np.ones(persist, int))[: len(on)] >= persist
    rise = run & ~np.concatenate([[False], run[:-1]])
    lead = float(left[np.argmax(run)]) / 3600.0 if run.any() else None
    early = ~bad
    days = float(left[early].max() - left[early].min()) / 86400.0 if early.sum() > 1 else 0.0
    return {
        "first_alarm_h": lead,
        "early_alarms_per_10_days": 10.0 * float((rise & early).sum()) / days if days else None,
    }


def by_domain(samples: Sequence[Batch], score: Floats) -> dict[str, float | None]:
    """AUC within each domain of the test."""
    domain = np.array([s.domain for s in samples])
    bad = labels(samples)
    return {
        d: known(auc(bad[domain == d], score[domain == d])) for d in sorted(set(domain.tolist()))
    }


def over_seeds(rows: Sequence[Mapping[str, Any]], name: str) -> tuple[float, float, int] | None:
    """(mean, sample standard deviation, number) of a figure over seeds; None if never defined."""
    values = [float(r[name]) for r in rows if r.get(name) is not None]
    if not values:
        return None
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return float(np.mean(values)), spread, len(values)


def mean(values: Sequence[float] | Sequence[bool]) -> float | None:
    """Mean of the defined values; None without any."""
    array = np.array(values, float)
    array = array[np.isfinite(array)]
    return float(array.mean()) if len(array) else None


def known(value: float) -> float | None:
    """NaN -> None."""
    return None if not np.isfinite(value) else float(value)


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
