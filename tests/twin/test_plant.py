"""The live plant: the same numbers as a batch, a trim from outside, holds, the end of the batch."""

from __future__ import annotations

import numpy as np
import pytest

from edge.core.schedule import reference_schedule
from edge.twin.plant import LivePlant, PlantSecond
from edge.twin.scenario import Scenario
from edge.twin.simulate import simulate
from edge.twin.tag_table import CONTEXT, INDEX

SCHEDULE = reference_schedule()


def run(plant: LivePlant, seconds: int, trim_kg_h: float = 0.0, held: bool = False) -> PlantSecond:
    for _ in range(seconds):
        second = plant.second(trim_kg_h, held)
    return second


@pytest.mark.parametrize(
    "scenario",
    [
        Scenario(3, "F03", 3, confounders=("N04", "N11"), operator=False),
        Scenario(4, "F13", 3, "target", operator=False),
    ],
)
def test_live_seconds_are_the_rows_of_the_batch(scenario: Scenario) -> None:
    plant = LivePlant(scenario, SCHEDULE)
    live = np.array([plant.second(0.0, False).values for _ in range(4800)])
    assert np.array_equal(live, simulate([scenario], rows=4800)[0], equal_nan=True)


def test_the_context_is_the_recipe() -> None:
    plant = LivePlant(Scenario(1, None), SCHEDULE)
    second = run(plant, 30)
    assert tuple(second.context) == CONTEXT
    assert second.context["TIC-106.SP"] == 48.0
    assert second.context["AIC-106.SP"] == pytest.approx(11.2)
    assert second.context["FIC-103.SP"] == pytest.approx(276.2, rel=0.03)
    assert second.step == 1
    assert second.minute == pytest.approx(29 / 60)


def test_a_trim_moves_the_set_point_then_the_flow_then_the_ph() -> None:
    plain, trimmed = (LivePlant(Scenario(1, None), SCHEDULE) for _ in range(2))
    a, b = run(plain, 300), run(trimmed, 300, trim_kg_h=8.0)
    assert b.trim_kg_h == pytest.approx(8.0, rel=0.01)
    assert b.context["FIC-103.SP"] == pytest.approx(b.base_kg_h + b.trim_kg_h)
    flow = INDEX["FIC-103.PV"]
    assert b.values[flow] - a.values[flow] == pytest.approx(8.0, abs=0.5)
    assert 0.02 < b.ph_true - a.ph_true < 0.3


def test_a_hold_stops_the_feeds_and_the_restart_is_a_ramp() -> None:
    plant = LivePlant(Scenario(1, None), SCHEDULE)
    run(plant, 60)
    flow = INDEX["FIC-101.PV"]
    assert run(plant, 60, held=True).values[flow] < 2.0
    again = [run(plant, 20).values[flow] for _ in range(8)]
    assert again[0] < 300.0 < again[-1]
    assert np.all(np.diff(again) > -10.0)


def test_a_plant_can_start_in_the_middle() -> None:
    plant = LivePlant(Scenario(2, "F03", 3), SCHEDULE, start_minute=300.0)
    trim = plant.trim_kg_h
    assert trim > 5.0  # its own operator has been carrying the leak
    second = run(plant, 1200, trim_kg_h=trim)
    assert second.minute == pytest.approx(320.0, abs=0.05)
    assert second.step == SCHEDULE.at(320.0).step
    assert abs(second.ph_true - 11.2) < 0.25
    assert np.isfinite(second.values).all()


def test_severity_is_exposed() -> None:
    plant = LivePlant(Scenario(2, "F03", 3, start_fraction=0.5), SCHEDULE)
    assert run(plant, 10).severity == 0.0


def test_a_complete_batch_feeds_nothing() -> None:
    schedule = type(SCHEDULE)(name="short", steps=SCHEDULE.steps[:1])
    plant = LivePlant(Scenario(1, None), schedule, start_minute=59.0)
    assert run(plant, 30).running
    second = run(plant, 240)
    assert not second.running
    assert second.values[INDEX["FIC-103.PV"]] < 2.0
    assert second.step == 1


@pytest.mark.parametrize("start_minute", [-1.0, 1080.0])
def test_a_start_outside_the_schedule_is_refused(start_minute: float) -> None:
    with pytest.raises(ValueError, match="permitted 0 up to below 1080"):
        LivePlant(Scenario(1), SCHEDULE, start_minute=start_minute)


def test_a_trim_that_is_no_number_is_refused() -> None:
    plant = LivePlant(Scenario(1), SCHEDULE)
    with pytest.raises(ValueError, match="permitted is a finite number"):
        plant.second(float("nan"), False)
