"""Figures of known cases."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from export.data.dataset import Batch, LineSpec
from export.judge import metrics as m
from export.judge.paired import auc_difference

LINE = LineSpec(
    name="toy",
    tags=(("F1", ""), ("F2", ""), ("P", ""), ("T", "")),
    components=("A", "A", "B", "C"),
    spans=(1.0, 1.0, 1.0, 1.0),
    row_s=1.0,
    step_rows=1,
)


def sample(level: int, **having: object) -> Batch:
    values: dict[str, object] = {
        "features": np.zeros((1, 4, 6), np.float32),
        "valid": np.ones((1, 4), np.float32),
        "severity": np.array([level], np.int8),
        "domain": "b",
        "split": "test",
        "group": "run",
    }
    return Batch(**(values | having))  # type: ignore[arg-type]


def test_threshold_holds_its_budget_on_further_normals() -> None:
    draw = np.random.default_rng(0)
    kept = [
        float((draw.normal(size=1000) > m.alarm_threshold(draw.normal(size=60), 0.05)).mean())
        for _ in range(200)
    ]
    # Its mean over draws is 1 - 58/61.
    assert np.mean(kept) == pytest.approx(1 - 58 / 61, abs=0.005)


@pytest.mark.parametrize(
    ("count", "budget", "place"), [(100, 0.05, 96), (19, 0.05, 19), (5, 0.05, 5), (50, 0.0, 50)]
)
def test_threshold_is_the_conformal_rank(count: int, budget: float, place: int) -> None:
    assert m.alarm_threshold(np.arange(1.0, count + 1), budget) == place


def test_threshold_without_a_normal_is_refused() -> None:
    with pytest.raises(ValueError, match="no normal sample"):
        m.alarm_threshold(np.array([np.nan]))


def test_detectable_faults_are_averaged_without_the_hard_ones() -> None:
    samples = [sample(0), sample(0), sample(3, fault="easy"), sample(3, fault="hard")]
    score = np.array([0.0, 1.0, 2.0, -1.0])
    got = m.ranking(samples, score, hard=("hard",))
    assert got["auc"] == pytest.approx(0.5)
    assert got["auc_detectable"] == pytest.approx(1.0)


def test_severity_is_ordered_within_a_run_by_its_own_stage() -> None:
    one = [sample(1, group="a", notes={"stage": k}) for k in range(5)]
    two = [sample(1, group="b", notes={"stage": k}) for k in range(5)]
    score = np.concatenate([np.arange(5.0), -np.arange(5.0)])
    assert m.severity_order([*one, *two], score) == pytest.approx(0.0)
    assert m.severity_order(one, score[:5]) == pytest.approx(1.0)
    assert m.severity_order([sample(0), sample(3)], np.arange(2.0)) is None


def test_decisions_of_a_known_table() -> None:
    bad = np.array([True] * 4 + [False] * 6)
    alarm = np.array([True] * 3 + [False] + [True] * 1 + [False] * 5)
    got = m.decisions(bad, alarm)
    assert got["tpr"] == pytest.approx(0.75)
    assert got["far"] == pytest.approx(1 / 6)
    assert got["mar"] == pytest.approx(0.25)
    assert got["f1"] == pytest.approx(2 * 3 / (2 * 3 + 1 + 1))
    assert got["macro_f1"] == pytest.approx(0.5 * (0.75 + 10 / 12))
    assert got["balanced_accuracy"] == pytest.approx(0.5 * (0.75 + 5 / 6))


def test_one_class_leaves_figures_undefined_and_not_zero() -> None:
    got = m.decisions(np.zeros(3, bool), np.array([True, False, False]))
    assert got["tpr"] is None
    assert got["f1"] is None
    assert got["far"] == pytest.approx(1 / 3)


def test_rows_count_and_not_steps() -> None:
    samples = [
        sample(3, notes={"rows": 10, "defective_rows": 6}),
        sample(0, notes={"rows": 10, "defective_rows": 0}),
    ]
    got = m.row_decisions(samples, np.array([True, False]))
    assert got["tpr"] == pytest.approx(1.0)
    assert got["far"] == pytest.approx(4 / 14)


def test_calibration_error_of_a_forecast() -> None:
    bad = np.array([True, False] * 50)
    assert m.calibration_error(bad, np.full(100, 0.5)) == pytest.approx(0.0)
    assert m.calibration_error(bad, np.full(100, 0.9)) == pytest.approx(0.4)


def test_hits_count_components_and_runs() -> None:
    samples = [
        sample(3, component="B", group="r1", expected=("P",)),
        sample(3, component="B", group="r1", expected=("P",)),
        sample(3, component="A", group="r2"),
        sample(3, component="", group="r3"),
        sample(0, component="A", group="r4"),
    ]
    weight = np.array([[0, 0, 9, 1], [5, 0, 4, 0], [1, 3, 0, 2], [0, 0, 0, 1], [0, 0, 0, 1]], float)
    got = m.hits(samples, weight, LINE)
    assert got == {
        "hit1": pytest.approx(2 / 3),
        "hit3": pytest.approx(1.0),
        "run_hit1": pytest.approx(1.0),
    }


def test_first_alarm_must_last() -> None:
    hours = np.arange(100.0, 0.0, -1.0)
    samples = [sample(int(h < 72.0), notes={"to_failure_s": h * 3600.0}) for h in hours.tolist()]
    alarm = np.zeros(100, bool)
    alarm[[10, 11, 30, 31, 32, 33]] = True
    got = m.first_alarm(samples, alarm, persist=3)
    assert got["first_alarm_h"] == pytest.approx(68.0)
    assert got["early_alarms_per_10_days"] == 0.0
    early = m.first_alarm(samples, alarm, persist=1)
    assert early["first_alarm_h"] == pytest.approx(90.0)
    assert early["early_alarms_per_10_days"] == pytest.approx(10.0 * 24 / 28, rel=1e-6)
    never = m.first_alarm(samples, np.zeros(100, bool), persist=3)
    assert never["first_alarm_h"] is None


def _scores(gap: float) -> Callable[[int], tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    def make(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        draw = np.random.default_rng(seed)
        bad = np.repeat([True, False], 60)
        group = np.repeat(np.arange(24), 5)
        one = draw.normal(size=120) + (1.0 + gap) * bad
        return bad, one, draw.normal(size=120) + 1.0 * bad, group

    return make


def test_a_real_difference_is_told_from_luck() -> None:
    big = auc_difference([_scores(2.0)(s) for s in range(3)])
    none = auc_difference([_scores(0.0)(s) for s in range(3)])
    assert big is not None
    assert none is not None
    assert big.certain
    assert big.mean > 0.1
    assert not none.certain


def test_two_failures_bear_no_interval() -> None:
    bad, one, other, group = _scores(2.0)(1)
    few = auc_difference([(bad, one, other, np.where(bad, group % 2, group))])
    assert few is not None
    assert few.low is None
    assert not few.certain


def test_no_difference_without_both_classes() -> None:
    one = np.zeros(4)
    assert auc_difference([(np.zeros(4, bool), one, one, np.arange(4))]) is None
