"""One method on one task with one seed: fit, score, measure. Runs in a process of its own.

The process is forked from a server that has the heavy libraries loaded (`preload`), so that a fit
of one second does not wait three for an import; what the fit breaks (memory, a crash, a loop)
ends with it and costs one row.
"""

from __future__ import annotations

import os
import random
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from export.data.dataset import Batch
from export.faults import ExportError
from export.judge import metrics as m
from export.judge.task import Fold, Scorer
from export.methods import NotApplicable, method

HEAVY = ("torch", "sklearn.linear_model", "lightgbm", "scipy.stats")
"""Loaded once in the server."""

ONE_SAMPLE_REPEATS = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How a scorer is judged: the same for every method of a benchmark."""

    judge: str = "windows"
    false_alarms: float = 0.05
    threshold: str = "domain"
    persist: int = 1
    hard: tuple[str, ...] = ()


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What comes back from the process."""

    status: str
    """"ok", "not applicable" or "failed"."""
    reason: str = ""
    figures: dict[str, float | None] = field(default_factory=dict)
    by_domain: dict[str, float | None] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    """Per test sample: score, threshold, and per iteration: loss; for pictures."""
    notes: dict[str, Any] = field(default_factory=dict)


def preload() -> None:
    """Import what many methods need, with one thread each; missing libraries are no fault here."""
    import importlib

    for name in HEAVY:
        try:
            importlib.import_module(name)
        except ImportError:
            continue


def run(pipe: Connection, fold: Fold, name: str, seed: int, terms: Terms) -> None:
    """Entry point of the process: whatever happens, one Outcome goes into the pipe."""
    try:
        outcome = fit_and_judge(fold, name, seed, terms)
    except NotApplicable as error:
        outcome = Outcome(status="not applicable", reason=str(error))
    except ModuleNotFoundError as error:
        reason = f"library '{error.name}' is missing: pip install ncm-edge[benchmark]"
        outcome = Outcome(status="not applicable", reason=reason)
    except MemoryError:
        outcome = Outcome(status="failed", reason="out of memory")
    except ExportError as error:
        outcome = Outcome(status="failed", reason=str(error))
    except Exception as error:  # the row says what broke; the other rows go on
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{os.path.basename(last.filename)}:{last.lineno}"  # noqa: PTH119
        outcome = Outcome(status="failed", reason=f"{type(error).__name__} at {where}: {error}")
    pipe.send(outcome)
    pipe.close()


def fit_and_judge(fold: Fold, name: str, seed: int, terms: Terms) -> Outcome:
    """Fit on the task, fix the threshold on its normals, then look at the test once."""
    _one_thread(seed)
    made = method(name)
    started = time.perf_counter()
    scorer = made.fit(fold.task, seed)
    fit_s = time.perf_counter() - started
    held = list(fold.task.calibrate) or [b for d in fold.task.targets
                                         for b in fold.task.reference.get(d, ())]  # fmt: skip
    normal = _scores(scorer, held, name)
    started = time.perf_counter()
    score = _scores(scorer, fold.test, name)
    predict_s = time.perf_counter() - started
    limit = thresholds(held, normal, fold.test, terms)
    figures = measure(fold.test, score, limit, terms)
    figures.update(_optional(scorer, fold))
    figures["fit_s"] = fit_s
    figures["predict_ms"] = 1000.0 * predict_s / max(1, len(fold.test))
    figures["predict_one_ms"] = _one_sample_ms(scorer, fold.test[0])
    arrays = {"score": score.astype(np.float32), "threshold": limit.astype(np.float32)}
    history = getattr(scorer, "history", None)
    notes: dict[str, Any] = {"family": made.family}
    if history:
        notes["history"] = [dict(h) for h in history]
    return Outcome(
        status="ok",
        figures=figures,
        by_domain=m.by_domain(fold.test, score),
        arrays=arrays,
        notes=notes,
    )


def thresholds(
    held: Sequence[Batch], normal: m.Floats, test: Sequence[Batch], terms: Terms
) -> m.Floats:
    """[n], the threshold of each test sample, from the normals of its domain (or of all)."""
    pooled = m.alarm_threshold(normal, terms.false_alarms)
    if terms.threshold == "pooled":
        return np.full(len(test), pooled)
    domain = np.array([b.domain for b in held])
    each = {
        d: m.alarm_threshold(normal[domain == d], terms.false_alarms)
        for d in sorted(set(domain.tolist()))
    }
    return np.array([each.get(b.domain, pooled) for b in test])


def measure(
    test: Sequence[Batch], score: m.Floats, limit: m.Floats, terms: Terms
) -> dict[str, float | None]:
    """All figures of one scorer on one test."""
    bad, alarm = m.labels(test), score > limit
    figures = m.ranking(test, score, terms.hard)
    if terms.judge == "rows":
        figures.update(m.row_decisions(test, alarm))
    else:
        figures.update(m.decisions(bad, alarm))
    if terms.judge == "run":
        figures.update(m.first_alarm(test, alarm, terms.persist))
    figures["ece"] = m.calibration_error(bad, m.sigmoid(score))
    return figures


def _scores(scorer: Scorer, samples: Sequence[Batch], name: str) -> m.Floats:
    score = np.asarray(scorer.score(samples), float).reshape(-1)
    if len(score) != len(samples):
        raise ExportError(f"{name}: {len(score)} scores for {len(samples)} samples")
    if not np.isfinite(score).all():
        raise ExportError(f"{name}: {int((~np.isfinite(score)).sum())} scores are not finite")
    return score


def _optional(scorer: Scorer, fold: Fold) -> dict[str, float | None]:
    """Localisation and severity, for scorers that have them."""
    out: dict[str, float | None] = {}
    codes = fold.task.line.components
    known = any(b.component in codes for b in fold.test if b.component)
    for name, prefix in (("attribution", "cam"), ("deviation", "deviation")):
        call = getattr(scorer, name, None)
        if call is not None and known:
            found = m.hits(fold.test, np.asarray(call(fold.test)), fold.task.line)
            out.update({f"{prefix}_{k}": v for k, v in found.items()})
    severity = getattr(scorer, "severity", None)
    if severity is not None:
        said = np.asarray(severity(fold.test), float)
        out["severity_spearman"] = m.severity_order(fold.test, said)
    return out


def _one_sample_ms(scorer: Scorer, sample: Batch) -> float:
    """Median time of one sample alone: what an edge would wait."""
    times = []
    for _ in range(ONE_SAMPLE_REPEATS):
        started = time.perf_counter()
        scorer.score([sample])
        times.append(time.perf_counter() - started)
    return 1000.0 * float(np.median(times))


def _one_thread(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)  # for libraries that draw from it
    try:
        import torch
    except ImportError:
        return
    torch.set_num_threads(1)
    torch.manual_seed(seed)
