"""What a task asks for, and the small rules that all kinds of samples share.

`Cut` and `TaskPlan` are what export/benchmarks/*.toml fill in.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

import numpy as np

from export.data.dataset import Batch
from export.data.plant import windows
from export.faults import ExportError


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


def draw_of(plan: TaskPlan, seed: int) -> np.random.Generator:
    """The luck of a seed, different for each task."""
    return np.random.default_rng([seed, zlib.crc32(plan.name.encode())])


def labelled_groups(
    mine: Sequence[Batch], plan: TaskPlan, draw: np.random.Generator
) -> frozenset[str]:
    """Target stretches labelled as a whole: those named, and some drawn."""
    named = {s.group for s in mine if is_named(s, plan.label_groups)}
    free = sorted({s.group for s in mine if s.level > 0} - named)
    # One defective stretch must be left to be judged on.
    count = min(plan.few_groups, max(0, len(free) - 1))
    drawn = draw.permutation(len(free))[:count]
    return frozenset(named | {free[i] for i in drawn})


def few_of(pool: Sequence[Batch], count: int, draw: np.random.Generator) -> list[Batch]:
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


def in_domain(stretch: Batch, kind: str) -> Batch:
    """The stretch in the domain that `TaskPlan.domain` means."""
    if kind == "domain":
        return stretch
    name = stretch.group if kind == "group" else str(stretch.notes.get(kind, stretch.domain))
    return dataclasses.replace(stretch, domain=name)


def on_side(samples: Iterable[Batch], split: Any) -> tuple[Batch, ...]:
    """The samples, marked as of this side."""
    return tuple(s if s.split == split else dataclasses.replace(s, split=split) for s in samples)


def is_named(stretch: Batch, patterns: Sequence[str]) -> bool:
    """Whether its group or fault fits a pattern."""
    return any(fnmatch(stretch.group, p) or fnmatch(stretch.fault, p) for p in patterns)


def is_in(domain: str, patterns: Sequence[str]) -> bool:
    """Whether the domain fits a pattern."""
    return any(fnmatch(domain, p) for p in patterns)


def names_in(stretches: Sequence[Batch], patterns: Sequence[str]) -> tuple[str, ...]:
    """Names of the domains that fit, in their order."""
    return tuple(dict.fromkeys(s.domain for s in stretches if is_in(s.domain, patterns)))
