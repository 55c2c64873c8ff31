"""Roles of samples: no row on two sides, the labels that were allowed and no more."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from edge.core.features import batch_features
from export.data.dataset import Batch, Dataset, LineSpec
from export.data.splits import LeakError
from export.judge.folds import make_fold
from export.judge.plan import Cut, FoldError, TaskPlan, samples_of

LINE = LineSpec(
    name="toy",
    tags=(("F", "kg/h"), ("P", "bar"), ("T", "C")),
    components=("C01", "C02", "C03"),
    spans=(100.0, 10.0, 100.0),
    row_s=60.0,
    step_rows=2,
)
STEPS = 60
CUT = Cut(steps=6, stride=3)


def stretch(seed: int, domain: str, group: str, onset: int | None, repaired: int | None) -> Batch:
    """Defective from `onset` to `repaired` (model steps): P rises by stages."""
    draw = np.random.default_rng(seed)
    level = np.zeros(STEPS, np.int8)
    if onset is not None:
        end = STEPS if repaired is None else repaired
        level[onset:end] = np.clip(1 + np.arange(end - onset) // 6, 1, 3)
    x = draw.normal([50.0, 5.0, 60.0], [1.0, 0.1, 0.5], (STEPS, 2, 3))
    x[:, :, 0] += 10.0 * (domain == "b")
    x[:, :, 1] += 0.4 * level[:, None]
    features, valid = batch_features(x.astype(np.float32))
    return Batch(
        features=features,
        valid=valid,
        severity=level,
        domain=domain,
        split="train",
        group=group,
        fault="leak" if onset is not None else "",
        component="C02" if onset is not None else "",
        notes={"stage": 2.0 * level, "whole": "kept"},
    )


def toy() -> Dataset:
    """Two domains, each with two runs that fail and are repaired, and one that does not."""
    batches = [
        stretch(10 * k + n, d, f"{d}{n}", None if n == 2 else 36, None if n == 2 else 48)
        for k, d in enumerate("ab")
        for n in range(3)
    ]
    return Dataset(
        line=LINE, batches=tuple(batches), simulated=False, source="invented", sha256="0"
    )


PLAN = TaskPlan(name="a -> b", sources=("a",), targets=("b",))


def test_a_window_keeps_the_last_of_a_note_that_runs_with_the_steps() -> None:
    one = stretch(1, "a", "a0", 30, None)
    cut = samples_of(one, Cut(steps=6, stride=6))
    assert len(cut) == 10
    assert [w.first_step for w in cut[:3]] == [0, 6, 12]
    assert cut[5].notes == {"stage": 2.0, "whole": "kept"}
    assert cut[4].fault == ""
    assert cut[4].component == ""
    assert cut[5].fault == "leak"


def test_labelled_as_the_last_step_hides_the_steps_before() -> None:
    cut = samples_of(stretch(1, "a", "a0", 30, None), Cut(steps=6, stride=1, label="last"))
    assert all((w.severity[:-1] == -1).all() for w in cut)
    assert [w.level for w in cut if w.first_step in (24, 25)] == [0, 1]


def test_normals_can_be_cut_finer() -> None:
    cut = samples_of(stretch(1, "a", "a0", 30, None), Cut(steps=6, stride=6, stride_normal=2))
    assert sum(w.level == 0 for w in cut) == 13
    assert sum(w.level > 0 for w in cut) == 5


def test_the_target_shows_its_normal_and_no_label() -> None:
    fold = make_fold(toy(), CUT, PLAN, 1)
    task = fold.task
    assert {b.domain for b in task.train if b.level} == {"a"}
    assert set(task.reference) == {"a", "b"}
    assert task.calibrate
    assert {b.domain for b in task.calibrate} == {"b"}
    assert not any(b.level for d in task.reference.values() for b in d)
    assert {b.domain for b in fold.test} == {"b"}
    assert {b.split for b in fold.test} == {"test"}
    assert any(b.level == 0 for b in fold.test)


def test_a_labelled_run_is_drawn_by_the_seed_and_not_judged() -> None:
    plan = dataclasses.replace(PLAN, few_groups=1)
    drawn = set()
    for seed in range(8):
        fold = make_fold(toy(), CUT, plan, seed)
        labelled = {b.group for b in fold.task.train if b.domain == "b" and b.level}
        assert len(labelled) == 1
        assert labelled.isdisjoint({b.group for b in fold.test})
        drawn |= labelled
    assert drawn == {"b0", "b1"}


def test_few_labels_come_from_the_hours_that_are_not_judged() -> None:
    hours = 44 * 120.0 / 3600.0
    plan = dataclasses.replace(PLAN, label_h=hours, few=1, unlabelled=True)
    fold = make_fold(toy(), CUT, plan, 1)
    few = [b for b in fold.task.train if b.domain == "b" and b.level]
    assert len(few) == 1
    assert few[0].first_step + CUT.steps <= 44
    assert min(b.first_step for b in fold.test) >= 44
    assert fold.task.unlabelled
    assert all((b.severity == -1).all() for b in fold.task.unlabelled)
    assert all(b.fault == b.component == "" and not b.notes for b in fold.task.unlabelled)


def test_no_step_is_on_two_sides() -> None:
    for seed in range(3):
        fold = make_fold(toy(), CUT, dataclasses.replace(PLAN, few_groups=1), seed)
        task = fold.task
        learnt = {
            (b.group, s)
            for b in (*task.train, *task.calibrate, *task.reference["b"])
            for s in range(b.first_step, b.first_step + CUT.steps)
        }
        tested = {
            (b.group, s) for b in fold.test for s in range(b.first_step, b.first_step + CUT.steps)
        }
        assert not learnt & tested


def with_copy(dataset: Dataset) -> Dataset:
    """The last run of b once more, as a run of a."""
    twin = dataclasses.replace(dataset.batches[3], domain="a", group="a9")
    return dataclasses.replace(dataset, batches=(*dataset.batches, twin))


def test_a_copied_run_is_refused_by_hash() -> None:
    with pytest.raises(LeakError, match="a copy under another name"):
        make_fold(with_copy(toy()), CUT, PLAN, 1)


def test_a_copied_run_can_be_forgotten() -> None:
    fold = make_fold(with_copy(toy()), CUT, dataclasses.replace(PLAN, drop_copies=True), 1)
    assert not any(b.group == "a9" and b.level for b in fold.task.train)


def no_normal(dataset: Dataset) -> Dataset:
    bad = [
        dataclasses.replace(b, severity=np.ones_like(b.severity)) if b.domain == "b" else b
        for b in dataset.batches
    ]
    return dataclasses.replace(dataset, batches=tuple(bad))


def no_defect(dataset: Dataset) -> Dataset:
    good = [
        dataclasses.replace(b, severity=np.zeros_like(b.severity)) if b.domain == "b" else b
        for b in dataset.batches
    ]
    return dataclasses.replace(dataset, batches=tuple(good))


@pytest.mark.parametrize(
    ("change", "message"),
    [(no_normal, "no normal sample is left"), (no_defect, "no defective sample is left")],
)
def test_a_target_that_cannot_be_judged_says_why(
    change: Callable[[Dataset], Dataset], message: str
) -> None:
    with pytest.raises(FoldError, match=message):
        make_fold(change(toy()), CUT, PLAN, 1)


def test_an_unknown_domain_names_the_known_ones() -> None:
    with pytest.raises(FoldError, match=r"no domain 'c'.*has a, b"):
        make_fold(toy(), CUT, dataclasses.replace(PLAN, targets=("c",)), 1)


def test_whole_batches_keep_the_sides_of_the_dataset() -> None:
    sides = ["train", "calibrate", "test"]
    some = [
        dataclasses.replace(stretch(100 + n, d, f"{d}{n}", 0 if n % 2 else None, None), split=s)
        for n, (d, s) in enumerate((d, s) for d in "ab" for s in sides for _ in range(4))
    ]
    dataset = dataclasses.replace(toy(), batches=tuple(some))
    fold = make_fold(dataset, Cut(steps=0), PLAN, 1)
    assert len(fold.test) == 4
    assert len(fold.task.calibrate) == 2
    assert {b.domain for b in fold.task.train} == {"a", "b"}
