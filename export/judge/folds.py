"""Stretches of a recording -> what a method sees and what it is judged on.

The rules of model.md section 3, written once:

* a source gives its labelled samples; a target gives its own normal (the first hours after
  maintenance), further normals for the threshold, and as few labels as the task allows;
* roles are ranges of time of a stretch, or whole stretches; a sample that lies across a border is
  in no role; so no row of the recording is on two sides;
* which few target samples are labelled is drawn by the seed, so that the spread over seeds holds
  the luck of the draw.

Whole batches are in batches.py.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch

import numpy as np

from export.data.dataset import Batch, Dataset, LineSpec
from export.data.splits import refuse_leaks
from export.judge.batches import fold_of_batches
from export.judge.plan import (
    Cut,
    FoldError,
    TaskPlan,
    draw_of,
    few_of,
    in_domain,
    is_in,
    is_named,
    labelled_groups,
    names_in,
    on_side,
    samples_of,
)
from export.judge.task import Fold, Task


def make_fold(dataset: Dataset, cut: Cut, plan: TaskPlan, seed: int) -> Fold:
    """The task and its test for one seed. Raises FoldError."""
    stretches = [in_domain(s, plan.domain) for s in dataset.batches if not is_named(s, plan.skip)]
    for domain in (*plan.sources, *plan.targets):
        if not any(fnmatch(s.domain, domain) for s in stretches):
            known = ", ".join(sorted({s.domain for s in stretches}))
            raise FoldError(f"{plan.name}: no domain '{domain}' in {dataset.source}: has {known}")
    if cut.steps == 0:
        fold = fold_of_batches(dataset, stretches, plan, seed)
    else:
        fold = _of_windows(dataset, stretches, cut, plan, seed)
    _check(fold)
    return fold


def _of_windows(
    dataset: Dataset, stretches: Sequence[Batch], cut: Cut, plan: TaskPlan, seed: int
) -> Fold:
    draw = draw_of(plan, seed)
    train: list[Batch] = []
    reference: dict[str, list[Batch]] = {}
    calibrate: list[Batch] = []
    pool: list[Batch] = []
    unlabelled: list[Batch] = []
    test: list[Batch] = []
    mine = [s for s in stretches if is_in(s.domain, plan.targets)]
    whole = labelled_groups(mine, plan, draw)
    for s in stretches:
        ends = _borders(s, dataset.line, plan, cut)
        target = is_in(s.domain, plan.targets)
        if not target and not is_in(s.domain, plan.sources):
            continue
        for w in samples_of(s, cut):
            first, last = judged_span(w)
            normal = w.level == 0
            if normal and last <= ends.reference:
                reference.setdefault(s.domain, []).append(w)
                train.append(dataclasses.replace(w, split="train"))
            elif not target:
                if last <= ends.train:
                    train.append(w)
            elif s.group in whole:
                train.append(w)
            elif normal and first >= ends.reference and last <= ends.calibrate:
                calibrate.append(w)
            elif last <= ends.label:
                pool.append(w)
            elif first >= max(ends.calibrate, ends.label):
                test.append(w)
    if plan.drop_copies:
        tested = {p for s in test for p in _step_prints(s)}
        for learnt in (train, calibrate, pool, *reference.values()):
            learnt[:] = [s for s in learnt if not _step_prints(s) & tested]
    chosen = few_of([w for w in pool if w.level > 0], plan.few, draw)
    train += chosen
    if plan.unlabelled:
        unlabelled = [_hidden(w) for w in pool]
    task = Task(
        name=plan.name,
        line=dataset.line,
        train=on_side(train, "train"),
        reference={d: on_side(ws, "train") for d, ws in reference.items()},
        calibrate=on_side(calibrate, "calibrate"),
        sources=names_in(stretches, plan.sources),
        targets=names_in(stretches, plan.targets),
        step_s=dataset.line.row_s * dataset.line.step_rows,
        simulated=dataset.simulated,
        unlabelled=on_side(unlabelled, "train"),
    )
    return Fold(task=task, test=on_side(test, "test"))


@dataclass(frozen=True, slots=True)
class _Borders:
    """Ends of the roles of one stretch, in model steps from its first."""

    reference: float
    calibrate: float
    label: float
    train: float


def _borders(stretch: Batch, line: LineSpec, plan: TaskPlan, cut: Cut) -> _Borders:
    hour = 3600.0 / (line.row_s * line.step_rows)
    start = stretch.first_step
    length = len(stretch.severity)
    healthy = int(np.argmax(stretch.severity > 0)) if stretch.level else length
    # A stretch without a defect must leave normals to be judged on, too.
    reference = plan.reference_h * hour or healthy * (0.5 if stretch.level else 0.25)
    rest = healthy - reference
    wanted = rest * 0.5
    if stretch.level and (stretch.severity[healthy:] == 0).sum() >= 2 * cut.steps:
        # Normal again after the defect: that is there to be judged on.
        wanted = max(wanted, min(rest, cut.steps + 3.0 * cut.stride))
    calibrate = plan.calibrate_h * hour or reference + wanted
    label = plan.label_h * hour
    # A reference shorter than one sample is no reference: at least one sample, if it is healthy.
    if not plan.reference_h and reference < cut.steps <= healthy:
        reference = float(cut.steps)
        calibrate = max(calibrate, reference)
    return _Borders(
        reference=start + reference,
        calibrate=start + calibrate,
        label=start + label,
        train=start + (plan.source_h * hour or length),
    )


def _hidden(sample: Batch) -> Batch:
    """Without anything that tells its label."""
    return dataclasses.replace(
        sample,
        severity=np.full_like(sample.severity, -1),
        fault="",
        component="",
        expected=(),
        notes={},
    )


def _check(fold: Fold) -> None:
    """No row on two sides, both kinds to judge on, a normal for each target."""
    task, name = fold.task, fold.task.name
    refuse_leaks(_judged(fold))
    level = [s.level > 0 for s in fold.test]
    if not any(level) or all(level):
        kind = "normal" if all(level) and level else "defective"
        raise FoldError(
            f"{name}: no {kind} sample is left to judge on ({len(level)} test samples); give the "
            "target longer stretches, more labels in the log, or shorter reference_h / label_h"
        )
    missing = [d for d in task.targets if not task.reference.get(d)]
    if missing:
        raise FoldError(
            f"{name}: target domain '{missing[0]}' has no normal sample to learn its reference "
            "from; give it normal operation after maintenance at the start of a stretch"
        )


def judged_span(sample: Batch) -> tuple[int, int]:
    """The steps that are judged: all, or the last where the others are history only."""
    end = sample.first_step + len(sample.severity)
    return end - 1 if _last_only(sample) else sample.first_step, end


def _last_only(sample: Batch) -> bool:
    return list(np.flatnonzero(sample.severity >= 0)) == [len(sample.severity) - 1]


def _judged(fold: Fold) -> Fold:
    """The fold with every sample cut to the steps that are judged."""

    def cut(samples: Sequence[Batch]) -> tuple[Batch, ...]:
        return tuple(_last_step(s) if _last_only(s) else s for s in samples)

    task = dataclasses.replace(
        fold.task,
        train=cut(fold.task.train),
        reference={d: cut(some) for d, some in fold.task.reference.items()},
        calibrate=cut(fold.task.calibrate),
    )
    return Fold(task=task, test=cut(fold.test))


def _last_step(sample: Batch) -> Batch:
    return dataclasses.replace(
        sample,
        features=sample.features[-1:],
        valid=sample.valid[-1:],
        severity=sample.severity[-1:],
        first_step=sample.first_step + len(sample.severity) - 1,
    )


def _step_prints(sample: Batch) -> set[bytes]:
    """Hash of each step, without the steps in which nothing moved."""
    x = sample.features
    moved = np.append(np.abs(np.diff(x, axis=0)).max(axis=(1, 2)) > 0, True)
    return {hashlib.sha256(x[k].tobytes()).digest() for k in np.flatnonzero(moved)}
