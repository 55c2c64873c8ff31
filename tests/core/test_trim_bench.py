"""A small part of each bench of the trim: closed loop, fuzz, replay. Simulated."""

from __future__ import annotations

import numpy as np
import pytest

from bench.trim_bench import CONFIG, DISTURBANCES, LEAK_FROM_MIN, LEAKS, _at
from bench.trim_fuzz import fuzz, replay
from bench.trim_lanes import Controller, Ours, PlainPi, lane, ours, run
from edge.config.load import load
from edge.core.schedule import Schedule
from edge.core.trim import TrimSettings
from edge.core.trim_plant import Minute, believable
from edge.twin.model import sample


@pytest.fixture(scope="module")
def plant() -> tuple[TrimSettings, Schedule]:
    line = next(line for line in load(CONFIG).lines if line.trim is not None)
    assert line.trim is not None
    assert line.schedule is not None
    return line.trim, line.schedule


def test_ours_keeps_the_band_where_the_schedule_alone_does_not(
    plant: tuple[TrimSettings, Schedule],
) -> None:
    settings, schedule = plant
    steps = sample(schedule).steps
    names = ("nominal", "NaOH assay -2 %", "core dip -20 % 15 min")
    chosen = [d for d in DISTURBANCES if d.name in names]
    makers = (Controller, lambda: PlainPi(600.0, 10), lambda: ours(settings, schedule, 10))
    lanes = [lane(9000, steps, make(), d.apply) for make in makers for d in chosen]
    outcome = run(lanes, schedule, 330, 9000)
    fixed, detuned, us = outcome.share_within(0.25).reshape(3, 3)
    assert us.min() > 0.97
    assert (us >= fixed).all()
    assert fixed.min() < 0.5
    assert detuned.min() > 0.9
    assert outcome.variation()[6:].mean() < 40.0
    assert np.isfinite(outcome.ph_error).all()


def test_leaks_are_raised_in_half_an_hour_and_healthy_lanes_are_not(
    plant: tuple[TrimSettings, Schedule],
) -> None:
    settings, schedule = plant
    steps = sample(schedule).steps
    shares = (0.0, 0.0, 0.0, *LEAKS)
    lanes = [
        lane(9600 + i, steps, ours(settings, schedule, 10), _at("leak", 2, share, LEAK_FROM_MIN))
        for i, share in enumerate(shares)
    ]
    run(lanes, schedule, LEAK_FROM_MIN + 31, 9600)
    for one, share in zip(lanes, shares, strict=True):
        assert isinstance(one.controller, Ours)
        raised = one.controller.anomaly_min
        assert bool(raised) == bool(share)
        assert all(LEAK_FROM_MIN < minute <= LEAK_FROM_MIN + 30 for minute in raised[:1])


def test_no_random_input_leaves_a_clamp(plant: tuple[TrimSettings, Schedule]) -> None:
    _, offers, outside = fuzz(*plant, 10_000, 3)
    assert offers > 1_000
    assert outside == 0


def test_the_same_log_gives_the_same_suggestions(plant: tuple[TrimSettings, Schedule]) -> None:
    assert replay(*plant, 500, 4) == replay(*plant, 500, 4)


def test_what_no_instrument_can_show_is_left_out() -> None:
    sound = Minute(
        ph=(11.2, 11.2), ph_median=11.2, naoh_kg_h=200.0, naoh_sp_kg_h=200.0,
        naoh_sp_last_kg_h=200.0, naoh_weight_kg=3000.0, core_kg_h=-0.4, shell_kg_h=300.0,
        nh4oh_kg_h=32.0, temp_c=48.0, age_s=0.0,
    )  # fmt: skip
    assert believable(sound) is sound
    odd = Minute(
        ph=(float("nan"), 11.2), ph_median=float("inf"), naoh_kg_h=float("nan"), naoh_sp_kg_h=1e9,
        naoh_sp_last_kg_h=None, naoh_weight_kg=float("-inf"), core_kg_h=-500.0, shell_kg_h=300.0,
        nh4oh_kg_h=32.0, temp_c=999.0, age_s=0.0,
    )  # fmt: skip
    left = believable(odd)
    assert left.ph == (None, 11.2)
    gone = ("ph_median", "naoh_kg_h", "naoh_sp_kg_h", "naoh_weight_kg", "core_kg_h", "temp_c")
    assert [getattr(left, name) for name in gone] == [None] * len(gone)
    assert left.shell_kg_h == 300.0
