"""Stretches of a recording -> what a method sees and what it is judged on.

The rules of model.md section 3, written once:

* a source gives its labelled samples; a target gives its own normal (the first hours after
  maintenance), further normals for the threshold, and as few labels as the task allows;
* roles are ranges of time of a stretch, or whole stretches; a sample that lies across a border is
  in no role; so no row of the recording is on two sides;
* which few target samples are labelled is drawn by the seed, so that the spread over seeds holds
  the luck of the draw.

Whole batches of a line (the twin) have their sides from the dataset, by seed range.
"""

from __future__ import annotations

import dataclasses
import hashlib
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

import numpy as np

from export.data.dataset import Batch, Dataset, LineSpec
from export.data.plant import windows
from export.data.splits import refuse_leaks
from export.faults import ExportError
from export.judge.task import Fold, Task


class FoldError(ExportError):
    """A task cannot be made of this recording; the text names the task and the remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """How stretches become samples."""

    steps: int = 0
    """Model steps of a sample; 0: the whole stretch is one sample."""
    stride: int = 1
    """Model steps from one sample to the next."""
    stride_normal: int = 0
    """The same between normal samples, where a recording has few normals; 0: as `stride`."""
    label: str = "any"
    """"any": defective if any of its steps is. "last": as its last step is; the steps before are
    history, which may reach back into rows that were learnt from, as it would on site."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPlan:
    """One task: who teaches, who is judged, what the target may show."""

    name: str
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    source_h: float = 0.0
    """Sources teach with the first hours of each stretch; 0: with all of it."""
    label_h: float = 0.0
    """The few target labels come from the first hours of each stretch, which are not judged."""
    reference_h: float = 0.0
    """Normal samples of the first hours of a stretch are its domain's reference; 0: the first half
    of what a stretch shows before its first defect."""
    calibrate_h: float = 0.0
    """Normal samples of a target from `reference_h` to here fix the threshold; 0: half of the
    rest before the first defect, or some more where the stretch is normal again after one."""
    label_groups: tuple[str, ...] = ()
    """Target stretches (patterns) that are labelled as a whole, and so never tested."""
    few: int = 0
    """Defective target samples of the first `label_h`, labelled, drawn by the seed."""
    few_groups: int = 0
    """Defective target stretches labelled as a whole, drawn by the seed."""
    skip: tuple[str, ...] = ()
    """Stretches (patterns) left out."""
    unlabelled: bool = False
    """Give the unlabelled target samples of the first `label_h` to methods that read them."""
    drop_copies: bool = False
    """Forget learnt samples that are copies of tested ones, instead of refusing the task."""
    domain: str = "domain"
    """What a domain is: "domain", "group" (each stretch is its own) or a note, e.g. "day"."""


def make_fold(dataset: Dataset, cut: Cut, plan: TaskPlan, seed: int) -> Fold:
    """The task and its test for one seed. Raises FoldError."""
    stretches = [_in_domain(s, plan.domain) for s in dataset.batches if not _any(s, plan.skip)]
    for domain in (*plan.sources, *plan.targets):
        if not any(fnmatch(s.domain, domain) for s in stretches):
            known = ", ".join(sorted({s.domain for s in stretches}))
            raise FoldError(f"{plan.name}: no domain '{domain}' in {dataset.source}: has {known}")
    if cut.steps == 0:
        fold = _of_batches(dataset, stretches, plan, seed)
    else:
        fold = _of_windows(dataset, stretches, cut, plan, seed)
    _check(fold)
    return fold


def samples_of(stretch: Batch, cut: Cut) -> list[Batch]:
    """Windows of one stretch, normal ones finer where the cut says so; none of a short stretch."""
    if len(stretch.severity) < cut.steps:
        return []
    if not cut.stride_normal:
        return list(windows((stretch,), cut.steps, cut.stride, label=cut.label))
    every = windows((stretch,), cut.steps, 1, label=cut.label)
    first = [w.first_step - stretch.first_step for w in every]
    return [
        w
        for w, n in zip(every, first)
        if n % cut.stride == 0 or (w.level == 0 and n % cut.stride_normal == 0)
    ]


def _of_windows(
    dataset: Dataset, stretches: Sequence[Batch], cut: Cut, plan: TaskPlan, seed: int
) -> Fold:
    draw = _draw(plan, seed)
    train: list[Batch] = []
    reference: dict[str, list[Batch]] = {}
    calibrate: list[Batch] = []
    pool: list[Batch] = []
    unlabelled: list[Batch] = []
    test: list[Batch] = []
    mine = [s for s in stretches if _in(s.domain, plan.targets)]
    whole = _labelled_groups(mine, plan, draw)
    for s in stretches:
        ends = _borders(s, dataset.line, plan, cut)
        target = _in(s.domain, plan.targets)
        if not target and not _in(s.domain, plan.sources):
            continue
        for w in samples_of(s, cut):
            first, last = _span(w)
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
    chosen = _few([w for w in pool if w.level > 0], plan.few, draw)
    train += chosen
    if plan.unlabelled:
        unlabelled = [_hidden(w) for w in pool]
    task = Task(
        name=plan.name,
        line=dataset.line,
        train=_side(train, "train"),
        reference={d: _side(ws, "train") for d, ws in reference.items()},
        calibrate=_side(calibrate, "calibrate"),
        sources=_names(stretches, plan.sources),
        targets=_names(stretches, plan.targets),
        step_s=dataset.line.row_s * dataset.line.step_rows,
        simulated=dataset.simulated,
        unlabelled=_side(unlabelled, "train"),
    )
    return Fold(task=task, test=_side(test, "test"))


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


def _of_batches(dataset: Dataset, stretches: Sequence[Batch], plan: TaskPlan, seed: int) -> Fold:
    """Whole batches: their sides are the dataset's own (by seed range), or else by batch."""
    mine = [s for s in stretches if _in(s.domain, plan.targets)]
    sided = {s.split for s in mine} == {"train", "calibrate", "test"}
    if not sided:
        stretches = _one_length(stretches)
        mine = _sides_by_batch([s for s in stretches if s.domain in _domains(mine)], plan, seed)
    sources = [
        s
        for s in stretches
        if _in(s.domain, plan.sources)
        and not _in(s.domain, plan.targets)
        and (s.split == "train" or not sided)
    ]
    learn = [s for s in mine if s.split == "train"]
    defective = [s for s in learn if s.level > 0]
    normal = [s for s in learn if s.level == 0]
    kept = _few(defective, plan.few, _draw(plan, seed)) if plan.few else defective
    reference: dict[str, list[Batch]] = {}
    for s in [*sources, *normal]:
        if s.level == 0:
            reference.setdefault(s.domain, []).append(s)
    held = [s for s in mine if s.split == "calibrate" and s.level == 0]
    task = Task(
        name=plan.name,
        line=dataset.line,
        train=_side([*sources, *normal, *kept], "train"),
        reference={d: _side(ws, "train") for d, ws in reference.items()},
        calibrate=_side(held, "calibrate"),
        sources=_names(stretches, plan.sources),
        targets=_names(stretches, plan.targets),
        step_s=dataset.line.row_s * dataset.line.step_rows,
        simulated=dataset.simulated,
    )
    return Fold(task=task, test=_side([s for s in mine if s.split == "test"], "test"))


def _one_length(stretches: Sequence[Batch]) -> list[Batch]:
    """Each stretch as one sample, as long as the shortest."""
    steps = min(len(s.severity) for s in stretches)
    return [samples_of(s, Cut(steps=steps, stride=len(s.severity)))[0] for s in stretches]


def _sides_by_batch(mine: Sequence[Batch], plan: TaskPlan, seed: int) -> list[Batch]:
    """Normal batches by thirds in their order (reference, threshold, test); a few defective ones
    are labelled, drawn by the seed."""
    normal = [s for s in mine if s.level == 0]
    defective = [s for s in mine if s.level > 0]
    labelled = _labelled_groups(defective, plan, _draw(plan, seed))
    third = max(1, len(normal) // 3)
    sides = ["train"] * third + ["calibrate"] * third + ["test"] * len(normal)
    out = [dataclasses.replace(s, split=side) for s, side in zip(normal, sides)]
    for s in defective:
        side = "train" if s.group in labelled else "test"
        out.append(dataclasses.replace(s, split=side))
    return out


def _domains(samples: Sequence[Batch]) -> frozenset[str]:
    return frozenset(s.domain for s in samples)


def _draw(plan: TaskPlan, seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(plan.name.encode())])


def _labelled_groups(
    mine: Sequence[Batch], plan: TaskPlan, draw: np.random.Generator
) -> frozenset[str]:
    named = {s.group for s in mine if _any(s, plan.label_groups)}
    free = sorted({s.group for s in mine if s.level > 0} - named)
    # One defective stretch must be left to be judged on.
    count = min(plan.few_groups, max(0, len(free) - 1))
    drawn = draw.permutation(len(free))[:count]
    return frozenset(named | {free[i] for i in drawn})


def _few(pool: Sequence[Batch], count: int, draw: np.random.Generator) -> list[Batch]:
    """`count` samples, one per fault while there are faults that have none."""
    order = [pool[i] for i in draw.permutation(len(pool))]
    seen: set[str] = set()
    firsts = []
    for w in order:
        if w.fault not in seen:
            seen.add(w.fault)
            firsts.append(w)
    rest = [w for w in order if not any(w is f for f in firsts)]
    return [*firsts, *rest][:count]


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


def _span(sample: Batch) -> tuple[int, int]:
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


def _in_domain(stretch: Batch, kind: str) -> Batch:
    if kind == "domain":
        return stretch
    name = stretch.group if kind == "group" else str(stretch.notes.get(kind, stretch.domain))
    return dataclasses.replace(stretch, domain=name)


def _side(samples: Iterable[Batch], split: Any) -> tuple[Batch, ...]:
    return tuple(s if s.split == split else dataclasses.replace(s, split=split) for s in samples)


def _any(stretch: Batch, patterns: Sequence[str]) -> bool:
    return any(fnmatch(stretch.group, p) or fnmatch(stretch.fault, p) for p in patterns)


def _in(domain: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(domain, p) for p in patterns)


def _names(stretches: Sequence[Batch], patterns: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(s.domain for s in stretches if _in(s.domain, patterns)))
