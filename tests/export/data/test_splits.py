"""Splits keep failures, runs, domains and rows apart, and say which window would leak."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from export.data.cut import windows
from export.data.dataset import Batch
from export.data.splits import (
    LeakError,
    SplitError,
    by_batches,
    by_domain,
    by_failure,
    by_group,
    by_time,
    check_training,
    leave_one_group_out,
    refuse_leaks,
    refuse_leaks_between,
)

STEPS = 40


def stretch(group: str, domain: str = "A", defective: bool = True, seed: int = 0) -> Batch:
    draw = np.random.default_rng([seed, *group.encode()])
    severity = np.zeros(STEPS, np.int8)
    severity[30:] = 3 * defective
    return Batch(
        features=draw.normal(size=(STEPS, 3, 6)).astype(np.float32),
        valid=np.ones((STEPS, 3), np.float32),
        severity=severity, domain=domain, split="train", group=group,
        fault="leak" if defective else "",
        notes={"file": f"{group}.csv", "line": 11 + 10 * np.arange(STEPS), "first_line": 2},
    )  # fmt: skip


RUNS = (stretch("run-1"), stretch("run-2"), stretch("run-3", "B"), stretch("fine", "B", False))


def groups(samples: tuple[Batch, ...]) -> set[str]:
    return {s.group for s in samples}


def test_each_failure_in_turn_is_held_back_whole() -> None:
    sides = list(by_failure(windows(RUNS, 8, 4)))
    assert [groups(s.test) for s in sides] == [{"run-1"}, {"run-2"}, {"run-3"}]
    assert all(groups(s.train) | groups(s.test) == groups(RUNS) for s in sides)
    assert len(list(leave_one_group_out(RUNS))) == 4
    with pytest.raises(SplitError, match="needs two failures, the samples have 1"):
        list(by_failure([RUNS[0], RUNS[3]]))


def test_a_domain_is_held_back_but_for_the_groups_that_are_labelled() -> None:
    sides = by_domain(RUNS, ["A"], ["B"], labelled_groups=["run-3"])
    assert (groups(sides.train), groups(sides.test)) == ({"run-1", "run-2", "run-3"}, {"fine"})
    with pytest.raises(SplitError, match="no domain 'C'; the domains are A, B"):
        by_domain(RUNS, ["A"], ["C"])
    bad = dataclasses.replace(RUNS[2], severity=np.full(STEPS, 3, np.int8))
    with pytest.raises(SplitError, match="target domain 'B' has no normal sample"):
        by_domain([RUNS[0], bad], ["A"], ["B"])


def test_time_cuts_before_windows_are_made() -> None:
    sides = by_time(RUNS, 200.0, 10.0, gap_steps=2)
    assert {len(s.severity) for s in sides.train} == {20}
    assert {(s.first_step, len(s.severity)) for s in sides.test} == {(22, 18)}
    refuse_leaks_between(windows(sides.train, 8, 1), windows(sides.test, 8, 1))
    with pytest.raises(SplitError, match="the longest stretch has 400 s"):
        by_time(RUNS, 400.0, 10.0)


def test_batches_are_drawn_by_the_seed_from_both_classes() -> None:
    many = [stretch(f"b{k}", defective=k % 2 == 0) for k in range(20)]
    sides = by_batches(many, 0.3, seed=1)
    assert len(sides.test) == 6
    assert sum(s.level > 0 for s in sides.test) == 3
    assert groups(sides.test) == groups(by_batches(many, 0.3, seed=1).test)
    with pytest.raises(SplitError, match="nothing is left to learn from"):
        by_group(many, ["b*"])


def test_a_window_across_the_border_is_named() -> None:
    made = windows(RUNS[:1], 8, 4)
    with pytest.raises(LeakError) as caught:
        refuse_leaks_between(made[:5], made[5:])
    assert str(caught.value) == (
        "window of steps 16..23 of 'run-1' (run-1.csv:162-241) is in training and shares steps "
        "20..23 with window of steps 20..27 of 'run-1' (run-1.csv:202-281), which is tested; cut "
        "the stretch before making windows"
    )


def test_the_same_failure_on_both_sides_is_named() -> None:
    made = windows(RUNS[:1], 5, 5)
    train, test = made[:7], made[7:]
    refuse_leaks_between(train, test, "rows")
    with pytest.raises(LeakError, match=r"steps 30..34 of 'run-1' \(run-1.csv:302-351, failure le"):
        refuse_leaks_between(train, test, "failure")
    refuse_leaks_between(train[:6], test, "failure")
    with pytest.raises(LeakError, match="keep the whole group on one side"):
        refuse_leaks_between(train[:6], test, "group")


def test_a_copy_under_another_name_is_found_by_its_content() -> None:
    copy = dataclasses.replace(RUNS[0], group="run-9", notes={"file": "copy.csv"})
    with pytest.raises(LeakError, match=r"'run-9' \(copy.csv.*holds the same values as .*'run-1'"):
        refuse_leaks_between([copy], [RUNS[0]])
    refuse_leaks_between([copy], [RUNS[0]], copies=False)
    still = dataclasses.replace(RUNS[0], features=np.ones((STEPS, 3, 6), np.float32) * [[[1, 0, 1, 1, 0, 0]]])  # noqa: E501  # fmt: skip
    other = dataclasses.replace(still, group="run-9", notes={})
    refuse_leaks_between([other], [still])


def fold(**changes: Any) -> SimpleNamespace:
    task = {
        "train": windows(RUNS[:2], 8, 8), "reference": {"B": windows(RUNS[3:], 8, 8)[:2]},
        "calibrate": windows(RUNS[3:], 8, 8)[2:3], "unlabelled": (),
    }  # fmt: skip
    return SimpleNamespace(task=SimpleNamespace(**task | changes), test=windows(RUNS[2:3], 8, 8))


def test_every_part_of_a_fold_is_checked() -> None:
    refuse_leaks(fold(), "group")
    tested = windows(RUNS[2:3], 8, 8)
    for changes, message in (
        ({"train": tested[:1]}, "is in training"),
        ({"reference": {"B": tested[:1]}}, "is in reference"),
        ({"calibrate": tested[:1]}, "is in calibrate"),
        ({"unlabelled": tested[:1]}, "is in unlabelled"),
    ):
        with pytest.raises(LeakError, match=message):
            refuse_leaks(fold(**changes))


def test_a_lines_own_normal_may_come_from_the_tested_run() -> None:
    own = windows(RUNS[2:3], 8, 8)
    some = fold(reference={"B": own[:1]}, train=(*windows(RUNS[:2], 8, 8), own[0]))
    some.test = own[2:]
    refuse_leaks(some, "group")
    some.task.train = (*some.task.train, own[1])
    with pytest.raises(LeakError, match="keep the whole group on one side"):
        refuse_leaks(some, "group")


def test_training_needs_both_classes_and_a_normal_target() -> None:
    normal, bad = windows(RUNS[3:], 8, 8), windows(RUNS[:1], 8, 8)
    check_training(normal + bad, {"B": normal}, ["B"])
    with pytest.raises(SplitError, match=r"fine\.csv: the training side has only normal samples"):
        check_training(normal, {"B": normal}, ["B"])
    with pytest.raises(SplitError, match="target domain 'B' has no normal sample"):
        check_training(normal + bad, {}, ["B"])
