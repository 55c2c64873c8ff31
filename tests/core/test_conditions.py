"""The table of conditions is complete, and the fold obeys its delays, latches and priorities."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.conditions import TABLE, Condition, Conditions, Row, Text, fold
from edge.core.registers import Alarm, Ne107


def run(
    active: set[Condition], seconds: float, state: Conditions | None = None, start: float = 0.0,
    acknowledge: bool = False,
) -> tuple[Conditions, Ne107, Alarm, tuple[Text, ...]]:  # fmt: skip
    out = fold(state or Conditions(), active, start, acknowledge=acknowledge)
    now = start
    while now < start + seconds:
        now += 1.0
        out = fold(out[0], active, now, acknowledge=acknowledge)
    return out


def test_every_condition_has_a_row_and_every_alarm_a_condition() -> None:
    assert set(TABLE) == set(Condition)
    used = Alarm.NONE
    for row in TABLE.values():
        used |= row.alarm
    assert used == sum(Alarm)
    assert len(Alarm) == 6


@pytest.mark.parametrize("condition", Condition, ids=lambda c: c.value)
def test_each_row_can_be_shown(condition: Condition) -> None:
    row = TABLE[condition]
    assert isinstance(row.ne107, Ne107)
    for text in (row.cause, row.action):
        assert text.endswith(".")
        assert 20 < len(text) < 140
        assert text[0].isupper()
    assert row.on_s >= 0
    assert row.off_s >= 0


@pytest.mark.parametrize("condition", Condition, ids=lambda c: c.value)
def test_each_condition_rises_clears_and_latches_as_its_row_says(condition: Condition) -> None:
    row: Row = TABLE[condition]
    if row.on_s:
        assert condition not in run({condition}, row.on_s - 1.0)[0].raised
    state, ne107, alarms, texts = run({condition}, row.on_s)
    assert condition in state.raised
    assert ne107 is row.ne107
    assert alarms == row.alarm
    assert texts[0].cause == row.cause
    start = row.on_s + 1.0
    if row.off_s:
        assert condition in run(set(), row.off_s - 1.0, state, start)[0].raised
    after, _, _, texts = run(set(), row.off_s, state, start)
    assert (condition in after.raised) == row.latch
    if row.latch:
        assert texts[0].latched
        acknowledged = fold(after, set(), start + row.off_s + 1.0, acknowledge=True)
        assert acknowledged[0].raised == frozenset()
    assert fold(state, {condition}, start, acknowledge=True)[0].raised == {condition}


def test_the_most_urgent_status_wins() -> None:
    order = [Condition.INFERENCE_FAILED, Condition.SIMULATION, Condition.DRIFT,
             Condition.STORAGE_FAULT, Condition.ADVICE_DISABLED]  # fmt: skip
    want = [Ne107.FAILURE, Ne107.CHECK_FUNCTION, Ne107.OFF_SPEC, Ne107.MAINTENANCE_REQUIRED,
            Ne107.NORMAL]  # fmt: skip
    assert [TABLE[c].ne107 for c in order] == want
    for size in range(1, len(order) + 1):
        for chosen in itertools.combinations(order, size):
            _, ne107, _, texts = run(set(chosen), 700.0)
            assert ne107 is want[order.index(chosen[0])]
            assert [text.condition for text in texts] == list(chosen)


def test_a_flickering_condition_is_neither_raised_nor_cleared() -> None:
    state = Conditions()
    for second in range(100):
        active = {Condition.INPUT_BAD} if second % 10 else set()
        state, *_ = fold(state, active, float(second))
        assert not state.raised
    state, *_ = run({Condition.INPUT_BAD}, 30.0)
    for second in range(31, 131):
        active = set() if second % 10 else {Condition.INPUT_BAD}
        state, *_ = fold(state, active, float(second))
        assert state.raised == {Condition.INPUT_BAD}


def test_the_text_names_the_object_even_after_it_is_gone() -> None:
    state, *_ = fold(Conditions(), {Condition.READBACK_MISMATCH: "line ncm-1"}, 0.0)
    state, _, _, texts = fold(state, {Condition.READBACK_MISMATCH: "line ncm-1"}, 3.0)
    assert texts[0].cause.startswith("line ncm-1: Block W")
    *_, texts = fold(state, {}, 100.0)
    assert texts[0].cause.startswith("line ncm-1: Block W")


@given(st.lists(st.tuples(st.sets(st.sampled_from(Condition)), st.floats(0, 900), st.booleans())))
def test_the_status_is_always_the_most_urgent_raised(
    seconds: list[tuple[set[Condition], float, bool]],
) -> None:
    state, now = Conditions(), 0.0
    for active, elapsed, acknowledge in seconds:
        now += elapsed
        state, ne107, alarms, texts = fold(state, active, now, acknowledge=acknowledge)
        assert {text.condition for text in texts} == state.raised
        statuses = {TABLE[c].ne107 for c in state.raised}
        urgency = (Ne107.FAILURE, Ne107.CHECK_FUNCTION, Ne107.OFF_SPEC,
                   Ne107.MAINTENANCE_REQUIRED, Ne107.NORMAL)  # fmt: skip
        assert ne107 is next((s for s in urgency if s in statuses), Ne107.NORMAL)
        for condition in state.raised:
            assert alarms & TABLE[condition].alarm == TABLE[condition].alarm
