"""What a line remembers over a restart, and what it makes of a memory that is not its own."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edge.core.batch import Batch, BatchState
from edge.core.conditions import Condition
from edge.core.deviation import DeviationRule, DeviationSettings
from edge.core.drift import DriftReference
from edge.core.line import LineCore, LineSetup, StepResult, Surroundings
from edge.core.outputs import PlcState
from edge.core.registers import Control, Ne107, PackML, Status
from edge.core.schedule import reference_schedule
from edge.core.tags import Quality, Row, Tag
from edge.core.topology import Component, Topology
from edge.core.verdict import NoScore, StepScore, VerdictSettings

TAGS = tuple(
    Tag(name=name, text="", unit="bar", low=0, high=9, component="C01", part="pipe")
    for name in ("PI-1.PV", "PI-2.PV")
)
SETUP = LineSetup(
    tags=TAGS,
    topology=Topology(
        components=(Component(code="C01", number=1, name="feed", parts=("pipe",)),), edges=()
    ),
    row_s=1.0,
    step_rows=10,
    has_batches=True,
    simulation="",
    verdict=VerdictSettings(
        threshold=0.5, clear_threshold=0.4, severity_thresholds=(0.5, 0.5, 0.5), persist_steps=2,
        clear_steps=2, min_valid=0.5,
    ),
    drift=DriftReference(np.zeros(2), np.eye(2)),
    drift_limit=3.0,
)  # fmt: skip
ALARMED = StepResult(
    score=StepScore(3.0, (0.9, 0.9, 0.1), 1.0),
    cam=np.array([0.8, 0.1], np.float32),
    deviation=np.array([4.0, 0.2], np.float32),
    pooled=np.array([1.0, 2.0], np.float32),
    kinds=np.ones(1, np.float32),
    valid=np.ones(2, np.float32),
    infer_ms=1.0,
)


def plc(minutes: int, batch_id: int = 7) -> PlcState:
    return PlcState(
        heartbeat=minutes,
        control=Control.BATCH_ACTIVE | Control.ADVICE_ENABLED,
        batch_id=batch_id,
        batch_state=int(PackML.EXECUTE),
        phase=3,
        batch_minutes=minutes,
    )


def flagged() -> LineCore:
    """A line with a flag of severity 2 in step 60 of batch 7."""
    core = LineCore(SETUP)
    core.follow_batch(plc(10))
    for n in range(3):
        core.conclude(ALARMED, 100.0 + n, 5.0 + n)
    assert core.finding.verdict.severity == 2
    return core


def through_json(core: LineCore) -> dict[str, Any]:
    memory: dict[str, Any] = json.loads(json.dumps(core.memory(), allow_nan=False))
    return memory


def test_a_restart_remembers_batch_verdict_and_drift() -> None:
    before = flagged()
    after = LineCore(SETUP)
    after.resume(through_json(before), rows_since=23)
    assert after.finding.verdict == replace(
        before.finding.verdict, valid=False, why=NoScore.WARMING_UP, probability=None
    )
    assert after.finding.drift.score == before.finding.drift.score
    assert np.array_equal(after.finding.drift.deviation_sq, before.finding.drift.deviation_sq)
    assert after.batch == replace(
        before.batch, started=False, step=before.batch.step + 2, minutes=10 + 20 / 60
    )
    row = Row(0.0, np.ones(2, np.float32), np.zeros(2, np.uint8), np.zeros(2, np.uint8), 0, 0)
    assert [after.observe(row, {}) for _ in range(8)] == [False] * 6 + [True, False]
    again = after.follow_batch(plc(10))
    assert not again.started
    assert after.finding.verdict.severity == 2


def test_a_batch_that_changed_meanwhile_is_a_new_one() -> None:
    after = LineCore(SETUP)
    after.resume(through_json(flagged()), rows_since=0)
    assert after.follow_batch(plc(1, batch_id=8)).started
    assert after.finding.verdict.severity == 0
    assert after.finding.drift.score is None


def test_a_batch_that_was_held_does_not_count_on() -> None:
    memory = through_json(flagged())
    memory["batch"]["state"] = "held"
    after = LineCore(SETUP)
    after.resume(memory, rows_since=100)
    assert after.batch.state is BatchState.HELD
    assert after.batch.step == memory["batch"]["step"]


@pytest.mark.parametrize(
    "spoilt",
    [
        {},
        {"batch": {}, "verdict": {}, "drift": {}, "trim": {}},
        {"batch": {"colour": 1}, "verdict": {"severity": "x"}, "drift": {"score": 1}, "trim": []},
        {"batch": {"state": "asleep"}, "verdict": None, "drift": 3, "trim": "x"},
    ],
)
def test_a_memory_that_is_none_changes_nothing(spoilt: dict[str, Any]) -> None:
    core = LineCore(SETUP)
    core.resume(spoilt, rows_since=-5)
    fresh = LineCore(SETUP)
    assert core.finding.verdict == fresh.finding.verdict
    assert (core.finding.drift.score, core.finding.drift.steps) == (None, 0)
    assert core.batch == fresh.batch


def test_a_line_without_a_model_says_so_from_the_first_second() -> None:
    core = LineCore(replace(SETUP, verdict=None, drift=None))
    core.follow_batch(plc(1))
    assert core.finding.verdict.why is NoScore.NO_MODEL


def test_a_plc_never_heard_gets_the_time_of_one_that_falls_silent() -> None:
    core = LineCore(SETUP)
    silent = []
    for second in range(8):
        core.observe(
            Row(second, np.ones(2, np.float32), np.full(2, Quality.GOOD), np.zeros(2, np.uint8),
                0, 0), {},
        )  # fmt: skip
        core.decide(
            Surroundings(
                now_s=100.0 + second, plc=None, seen={}, buffer_fill=0.0, model_loaded=True
            )
        )
        silent.append("PLC heartbeat lost" in core.conditions.raised)
    assert silent == [False] * 6 + [True] * 2


def test_a_verdict_that_stands_still_becomes_invalid_and_then_a_failure() -> None:
    core = flagged()
    seen = []
    for age_s in (0.0, 29.0, 31.0, 41.0):  # the model step of this line takes 10 s
        decision = core.decide(
            Surroundings(
                now_s=7.0 + age_s, plc=plc(11), seen={}, buffer_fill=0.0, model_loaded=True
            )
        )
        valid = bool(decision.status & Status.OUTPUT_VALID)
        seen.append((valid, decision.severity, "inference failed" in core.conditions.raised))
    assert seen == [(True, 2, False), (True, 2, False), (False, None, False), (False, None, True)]
    assert decision.ne107 is Ne107.FAILURE


def test_acknowledge_acts_when_it_rises_and_never_while_it_stays() -> None:
    core = LineCore(SETUP)
    seen = []
    levels = (True, True, False, True, True, None, True, False, True)  # None: block R not read
    for second, level in enumerate(levels):
        heard = plc(second)
        if level:
            heard = replace(heard, control=heard.control | Control.ACKNOWLEDGE)
        core.desk.advice = replace(core.desk.advice, acknowledged=False)
        core._trim_due = False
        core.decide(
            Surroundings(
                now_s=float(second),
                plc=None if level is None else heard,
                seen={},
                buffer_fill=0.0,
                model_loaded=True,
            )
        )
        seen.append(core.desk.advice.acknowledged)
    assert seen == [False, False, False, True, False, False, False, False, True]


def test_a_batch_off_its_schedule_is_a_condition_of_the_line() -> None:
    rule = DeviationRule(column="core_kg_h", tag="PI-1.PV", tolerance=1.0)
    watch = DeviationSettings(persist_min=2, settle_min=0, rules=(rule,))
    core = LineCore(replace(SETUP, schedule=reference_schedule(), deviation=watch))
    core.batch = Batch(state=BatchState.RUNNING, batch_id=7, minutes=20.0, known=True)
    good = np.full(2, Quality.GOOD, np.uint8)
    for second in range(121):
        values = np.array([500.0, 1.0], np.float32)
        core.observe(Row(float(second), values, good, np.zeros(2, np.uint8), second, second), {})
        core.decide(
            Surroundings(
                now_s=float(second), plc=plc(20), seen={}, buffer_fill=0.0, model_loaded=True
            )
        )
    text = next(t for t in core.texts if t.condition is Condition.SCHEDULE_DEVIATION)
    assert text.cause.startswith("PI-1.PV 500 against 915.5 of schedule step 1: The batch does")
