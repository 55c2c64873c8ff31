"""Sides of a split, and the check that nothing is on both (model.md, section 3).

The makers take stretches or samples (`Batch`) and give `Sides`; they split by failure, run, domain,
batch or time, never by window, and check what they made. `refuse_leaks` checks a fold that somebody
else made. A leak is an error that names the window, its file, rows and failure:

    "rows"     no row of the recording is on two sides, under its own name or as a copy
    "failure"  and no defective training sample comes from a failure that is tested
    "group"    and no sample at all, however normal, comes from a stretch that is tested
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any, Literal, Protocol

import numpy as np

from export.data.cut import piece_of
from export.data.dataset import Batch, DatasetError

Apart = Literal["rows", "failure", "group"]


class LeakError(DatasetError):
    """Something is on both sides of a split; the text names window, file, rows and failure."""


class SplitError(DatasetError):
    """A split cannot be made of these samples; the text says what is missing."""


@dataclass(frozen=True, slots=True)
class Sides:
    """What may be learnt from, and what is judged."""

    train: tuple[Batch, ...]
    test: tuple[Batch, ...]
    held: str
    """What is held back, in words."""

    def checked(self, apart: Apart) -> Sides:
        """Itself, or LeakError."""
        refuse_leaks_between(self.train, self.test, apart)
        return self


class _Fold(Protocol):
    @property
    def task(self) -> Any: ...
    @property
    def test(self) -> tuple[Batch, ...]: ...


def by_group(samples: Sequence[Batch], test: Sequence[str]) -> Sides:
    """Groups that fit a pattern of `test` are tested, the others taught. Raises SplitError."""
    held = [s for s in samples if _fits(s.group, test)]
    rest = [s for s in samples if not _fits(s.group, test)]
    if not held or not rest:
        groups = ", ".join(dict.fromkeys(s.group for s in samples))
        side = "tested" if not held else "left to learn from"
        raise SplitError(f"groups {list(test)}: nothing is {side}; the groups are {groups}")
    return Sides(tuple(rest), tuple(held), f"groups {', '.join(test)}").checked("group")


def leave_one_group_out(samples: Sequence[Batch]) -> Iterator[Sides]:
    """Each group in turn is tested."""
    for group in dict.fromkeys(s.group for s in samples):
        yield by_group(samples, [_literal(group)])


def by_failure(samples: Sequence[Batch]) -> Iterator[Sides]:
    """Each failure (group with a defective sample) in turn is tested, with its own normal part.

    Groups without a failure are learnt from. Raises SplitError with fewer than two failures.
    """
    failures = list(dict.fromkeys(s.group for s in samples if s.level > 0))
    if len(failures) < 2:
        raise SplitError(
            f"leave one failure out needs two failures, the samples have {len(failures)}; "
            "add recordings, or split by time and say so"
        )
    for group in failures:
        yield by_group(samples, [_literal(group)])


def by_domain(
    samples: Sequence[Batch],
    sources: Sequence[str],
    targets: Sequence[str],
    labelled_groups: Sequence[str] = (),
) -> Sides:
    """Sources and the target groups named are learnt from, the targets' other groups tested.

    Raises SplitError, also when a target has no normal sample to learn its reference from.
    """
    for domain in (*sources, *targets):
        if not any(fnmatch(s.domain, domain) for s in samples):
            known = ", ".join(dict.fromkeys(s.domain for s in samples))
            raise SplitError(f"no domain '{domain}'; the domains are {known}")
    mine = [s for s in samples if _fits(s.domain, targets)]
    for domain in dict.fromkeys(s.domain for s in mine):
        if not any(s.level == 0 and (s.severity == 0).any() for s in mine if s.domain == domain):
            raise no_normal(domain)
    shown = [s for s in mine if _fits(s.group, labelled_groups)]
    train = [s for s in samples if _fits(s.domain, sources) and not _fits(s.domain, targets)]
    train += shown
    test = [s for s in mine if not _fits(s.group, labelled_groups)]
    held = f"domain {', '.join(targets)}"
    return Sides(tuple(train), tuple(test), held).checked("group")


def by_time(stretches: Sequence[Batch], until_s: float, step_s: float, gap_steps: int = 0) -> Sides:
    """The first `until_s` of every stretch are learnt from, the rest after `gap_steps` tested.

    Cut before making windows: a window made first can lie across the border.
    """
    border = round(until_s / step_s)
    first, rest = [], []
    for stretch in stretches:
        total = len(stretch.severity)
        if border > 0:
            first.append(piece_of(stretch, 0, min(border, total)))
        if border + gap_steps < total:
            rest.append(piece_of(stretch, border + gap_steps, total))
    if not first or not rest:
        longest = max((len(s.severity) for s in stretches), default=0) * step_s
        raise SplitError(
            f"a border at {until_s:g} s leaves one side empty; the longest stretch has "
            f"{longest:g} s"
        )
    return Sides(tuple(first), tuple(rest), f"after {until_s:g} s").checked("rows")


def by_batches(samples: Sequence[Batch], share: float, seed: int) -> Sides:
    """A share of the groups, drawn by the seed from normal and defective ones alike, is tested."""
    draw = np.random.default_rng(seed)
    level: dict[str, int] = defaultdict(int)
    for sample in samples:
        level[sample.group] = max(level[sample.group], sample.level)
    test: set[str] = set()
    for defective in (False, True):
        groups = [g for g, n in level.items() if (n > 0) == defective]
        count = round(share * len(groups))
        test |= {groups[k] for k in draw.permutation(len(groups))[:count]}
    return by_group(samples, [_literal(group) for group in sorted(test)])


def check_training(
    train: Sequence[Batch], reference: dict[str, tuple[Batch, ...]], targets: Sequence[str]
) -> None:
    """Raise SplitError if the samples are of one class, or a target has no normal sample."""
    for domain in targets:
        if not any((s.severity == 0).any() for s in reference.get(domain, ())):
            raise no_normal(domain)
    levels = {s.level > 0 for s in train if (s.severity >= 0).any()}
    if len(levels) < 2:
        only = "no sample" if not levels else "only defective" if True in levels else "only normal"
        where = train[0].notes.get("file", train[0].group) if train else "the recording"
        raise SplitError(
            f"{where}: the training side has {only} samples; a classifier needs both classes: "
            "label a failure, or use a label-free method (deviation)"
        )


def no_normal(domain: str) -> SplitError:
    """What is said when a target's reference cannot be learnt."""
    return SplitError(
        f"target domain '{domain}' has no normal sample to learn its reference from; "
        "give it rows after a maintenance"
    )


def refuse_leaks(fold: _Fold, apart: Apart = "rows", *, copies: bool = True) -> None:
    """Check a fold: everything its task shows against its test samples. Raises LeakError.

    References may share a stretch with the test (a line's own normal after maintenance), whatever
    `apart` says; they may never share rows. `copies=False` leaves out the comparison by content,
    for a published protocol whose files repeat each other: the report must say so.
    """
    task = fold.task
    train_apart: Apart = "failure" if apart == "group" else apart
    refuse_leaks_between(task.train, fold.test, train_apart, copies=copies)
    if apart == "group":
        own = {id(s.features) for samples in task.reference.values() for s in samples}
        _refuse_groups([s for s in task.train if id(s.features) not in own], fold.test)
    references = [s for samples in task.reference.values() for s in samples]
    for name, samples in (
        ("reference", references),
        ("calibrate", task.calibrate),
        ("unlabelled", task.unlabelled),
    ):
        refuse_leaks_between(samples, fold.test, "rows", name, copies=copies)


def refuse_leaks_between(
    train: Sequence[Batch],
    test: Sequence[Batch],
    apart: Apart = "rows",
    side: str = "training",
    *,
    copies: bool = True,
) -> None:
    """Raises LeakError if a row, and by `apart` a failure or a group, is on both sides."""
    _refuse_rows(train, test, side)
    if copies:
        _refuse_copies(train, test, side)
    if apart == "failure":
        failures = {s.group for s in test if s.level > 0}
        _refuse_groups([s for s in train if s.level > 0 and s.group in failures], test, side)
    elif apart == "group":
        _refuse_groups(train, test, side)


def _refuse_groups(train: Iterable[Batch], test: Sequence[Batch], side: str = "training") -> None:
    tested: dict[tuple[str, str], Batch] = {}
    for sample in test:
        tested.setdefault(_stretch(sample), sample)
    for sample in train:
        other = tested.get(_stretch(sample))
        if other is not None:
            raise LeakError(
                f"{where(sample)} is in {side}, and {where(other)} of the same group "
                f"'{sample.group}' is tested; keep the whole group on one side"
            )


def _refuse_rows(train: Sequence[Batch], test: Sequence[Batch], side: str) -> None:
    spans: dict[tuple[str, str], list[tuple[int, int, Batch]]] = defaultdict(list)
    for sample in test:
        spans[_stretch(sample)].append((*_span(sample), sample))
    longest = {}
    for key, found in spans.items():
        found.sort(key=lambda item: item[:2])
        longest[key] = max(end - first for first, end, _ in found)
    for sample in train:
        key = _stretch(sample)
        if key not in spans:
            continue
        first, end = _span(sample)
        found = spans[key]
        # Windows that begin too early to reach this one are passed over.
        place = bisect_right(found, first - longest[key], key=lambda item: item[0])
        for other_first, other_end, other in found[place:]:
            if other_first >= end:
                break
            if other_end > first:
                raise LeakError(
                    f"{where(sample)} is in {side} and shares steps {max(first, other_first)}.."
                    f"{min(end, other_end) - 1} with {where(other)}, which is tested; cut the "
                    "stretch before making windows"
                )


def _refuse_copies(train: Sequence[Batch], test: Sequence[Batch], side: str) -> None:
    tested: dict[bytes, Batch] = {}
    for sample in test:
        if _lives(sample):
            tested.setdefault(content(sample), sample)
    for sample in train:
        other = tested.get(content(sample)) if _lives(sample) else None
        if other is not None:
            raise LeakError(
                f"{where(sample)} is in {side} and holds the same values as {where(other)}, which "
                "is tested: a copy under another name; leave one out with `skip`"
            )


def content(sample: Batch) -> bytes:
    """Hash of the values of a sample, whatever it is called."""
    return hashlib.sha256(np.ascontiguousarray(sample.features).tobytes()).digest()


def where(sample: Batch) -> str:
    """A window as a user finds it: steps, file, rows, failure."""
    first, end = _span(sample)
    text = f"window of steps {first}..{end - 1} of '{sample.group}'"
    places = []
    if "file" in sample.notes:
        lines = sample.notes.get("lines")
        at = ""
        if lines is not None:
            at = f":{lines[0]}-{lines[1]}"
        elif "line" in sample.notes:
            line = np.asarray(sample.notes["line"]).ravel()
            at = (
                f":{int(line[0])}-{int(line[-1])}" if len(line) > 1 else f", rows to {int(line[0])}"
            )
        places.append(f"{sample.notes['file']}{at}")
    if sample.fault:
        places.append(f"failure {sample.fault}")
    return f"{text} ({', '.join(places)})" if places else text


def _lives(sample: Batch) -> bool:
    """Whether anything moves in it: a plant at rest repeats itself, which is no copy."""
    mean = sample.features[:, :, 0]
    moving = (mean.max(axis=0) > mean.min(axis=0)) | (sample.features[:, :, 1].max(axis=0) > 0)
    return bool(sample.valid.any()) and int(moving.sum()) >= 2


def _span(sample: Batch) -> tuple[int, int]:
    return sample.first_step, sample.first_step + len(sample.severity)


def _stretch(sample: Batch) -> tuple[str, str]:
    return sample.group, str(sample.notes.get("file", ""))


def _fits(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def _literal(name: str) -> str:
    """A pattern that only fits this name."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)
