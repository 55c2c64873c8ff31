"""The watch on the schedule: its rules one by one, and whole simulated batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from edge.config.load import load
from edge.core.batch import Batch, BatchState
from edge.core.deviation import Deviation, DeviationSettings, DeviationWatch, follow
from edge.core.schedule import Schedule, reference_schedule
from edge.core.tags import Quality, Row
from edge.twin import params, shifts
from edge.twin.model import Model, field, sample
from edge.twin.scenario import Scenario
from edge.twin.simulate import course_of, parameters

Array = npt.NDArray[np.float64]
CONFIG = Path(__file__).parents[2] / "firmware_config"
SCHEDULE = reference_schedule()
RAISED_WITHIN_MIN = 10
"""A feed that is 5 % off is named within this time."""
FEEDS = ("101", "102", "103", "104")


@cache
def settings() -> DeviationSettings:
    line = next(line for line in load(CONFIG).lines if line.deviation is not None)
    assert line.deviation is not None
    return line.deviation


def on_schedule(minutes: float, schedule: Schedule = SCHEDULE) -> dict[str, float]:
    step = schedule.at(minutes)
    flows = (step.core_kg_h, step.shell_kg_h, step.naoh_kg_h, step.nh4oh_kg_h)
    means = {f"FIC-{feed}.{end}": flow for feed, flow in zip(FEEDS, flows) for end in ("PV", "SP")}
    return means | {"TIC-106.PV": step.temp_sp_c, "SIC-106.PV": step.rpm_sp}


def running(minutes: float) -> Batch:
    return Batch(state=BatchState.RUNNING, batch_id=1, minutes=minutes, known=True)


def run(
    change: Callable[[float, dict[str, float]], dict[str, float]], last: int = 60,
    batch: Callable[[float], Batch] = running,
) -> tuple[Deviation, int | None]:  # fmt: skip
    """The watch after `last` minutes, and the minute it first raised something."""
    state, first = Deviation(), None
    for minute in range(1, last + 1):
        means = change(minute, on_schedule(minute))
        state = follow(state, settings(), SCHEDULE, batch(minute), means)
        if state.detail and first is None:
            first = minute
    return state, first


def off(tag: str, factor: float, since: float = 20.0, until: float = 1e9):  # type: ignore[no-untyped-def]
    """`tag` times `factor` between two minutes."""
    return lambda minute, means: (
        {**means, tag: means[tag] * factor} if since < minute <= until else means
    )


def test_a_batch_on_schedule_raises_nothing() -> None:
    state, first = run(lambda minute, means: means, last=1080)
    assert first is None
    assert not any(state.raised)


@pytest.mark.parametrize("end", ["PV", "SP"])
@pytest.mark.parametrize("feed", ["101", "102", "104"])
@pytest.mark.parametrize("factor", [0.95, 1.05])
def test_a_feed_five_percent_off_is_named_in_time(feed: str, end: str, factor: float) -> None:
    both = {f"FIC-{feed}.PV", f"FIC-{feed}.{end}"}

    def change(minute: float, means: dict[str, float]) -> dict[str, float]:
        return {n: v * (factor if n in both and minute > 20 else 1.0) for n, v in means.items()}

    state, first = run(change, last=45)
    assert first is not None
    assert first <= 20 + RAISED_WITHIN_MIN
    assert f"FIC-{feed}.{end}" in state.detail
    assert state.detail.count("FIC") == 1


@pytest.mark.parametrize(
    ("tag", "factor", "text"),
    [
        ("FIC-103.PV", 0.95, "FIC-103.PV 262.39 against its set-point 276.2"),
        ("TIC-106.PV", 1.05, "TIC-106.PV 50.4 against 48 of schedule step 1"),
        ("SIC-106.PV", 1.20, "SIC-106.PV 600 against 500 of schedule step 1"),
    ],
)
def test_naoh_temperature_and_speed(tag: str, factor: float, text: str) -> None:
    state, first = run(off(tag, factor), last=45)
    assert first == 25
    assert text in state.detail


def test_a_trim_moves_the_set_point_and_is_no_deviation() -> None:
    assert run(off("FIC-103.SP", 1.12))[1] is not None  # the flow does not follow it
    both = off("FIC-103.PV", 1.12), off("FIC-103.SP", 1.12)
    assert run(lambda minute, means: both[0](minute, both[1](minute, means)))[1] is None


def test_a_short_departure_is_none_and_the_end_needs_as_long() -> None:
    assert run(off("FIC-101.PV", 0.8, 20, 24))[1] is None
    state, first = run(off("FIC-101.PV", 0.8, 20, 30), last=33)
    assert first == 25
    assert state.detail
    assert not run(off("FIC-101.PV", 0.8, 20, 30), last=36)[0].detail


def test_throughput_and_grade_are_no_deviation() -> None:
    for factor in (0.96, 1.04):

        def slower(minute: float, means: dict[str, float], f: float = factor) -> dict[str, float]:
            return {n: v * (f if n.startswith("FIC") else 1.0) for n, v in means.items()}

        assert run(slower)[1] is None


def test_a_hold_and_its_restart_raise_nothing() -> None:
    def held(minute: float, means: dict[str, float]) -> dict[str, float]:
        share = 0.0 if 20 < minute <= 40 else min(1.0, 0.7 + 0.1 * max(minute - 40, 0.0))
        share = 1.0 if minute <= 20 else share
        return {n: v * (share if n.startswith("FIC") else 1.0) for n, v in means.items()}

    assert run(held, last=80)[1] is None
    assert run(off("FIC-101.PV", 0.5), batch=lambda m: replace(running(m), state=BatchState.HELD))[
        1
    ] is None  # fmt: skip


def test_missing_values_neither_raise_nor_clear() -> None:
    def gap(minute: float, means: dict[str, float]) -> dict[str, float]:
        means = off("FIC-101.PV", 0.9)(minute, means)
        return {} if 22 < minute <= 40 else means

    assert run(gap, last=40)[1] is None
    assert run(gap, last=45)[1] == 43
    state, _ = run(lambda m, means: {} if m > 35 else off("FIC-101.PV", 0.9)(m, means), last=50)
    assert state.detail


def test_the_watch_takes_rows_and_ignores_bad_ones() -> None:
    names = ["FIC-101.PV", "SIC-106.PV"]
    watch = DeviationWatch(settings(), SCHEDULE, names, 1.0)
    quiet = DeviationWatch(None, SCHEDULE, names, 1.0)
    for second in range(20 * 60):
        good = second % 3 > 0
        values = np.array([800.0 if good else 5e9, 500.0], np.float32)
        quality = np.array([Quality.GOOD if good else Quality.BAD, Quality.GOOD], np.uint8)
        row = Row(float(second), values, quality, np.zeros(2, np.uint8), 0.0, 0.0)
        for one in (watch, quiet):
            one.observe(row, {"FIC-101.SP": (915.5, Quality.GOOD)})
            detail = one.second(running(10.0 + second // 60))
    assert detail == ""
    assert "FIC-101.PV 800 against its set-point 915.5" in watch.state.detail


# Whole simulated batches, many lanes at once.


def simulated(
    scenarios: list[Scenario], change: dict[str, tuple[int, float]] | None = None
) -> Array:
    """Minute means [minutes, 10, L]: four flows, four set-points, temperature, speed.

    `change` parameter -> (feed, factor or gain) from minute 400 on.
    """
    recipe = sample(SCHEDULE)
    plant = shifts.stack([shifts.draw(s) for s in scenarios])
    courses = [course_of(s, recipe.steps) for s in scenarios]
    for course in courses:
        for name, (feed, value) in (change or {}).items():
            course.add(params.row(name, feed), value, 400.0)
    model = Model(plant, recipe, np.ones(len(scenarios)))
    rows = [field(n) for n in ("meter_flow", "sp", "temp", "agitator_rpm")]
    out = []
    for first in range(0, recipe.steps, 60):
        p = parameters(courses, first, first + 60)
        records = np.stack([model.step(p[k]) for k in range(60)])
        out.append(
            np.concatenate([records[:, r] for r in rows], 1).reshape(10, 6, 10, -1).mean(axis=1)
        )
    return np.concatenate(out)


NAMES = [f"FIC-{feed}.{end}" for end in ("PV", "SP") for feed in FEEDS] + [
    "TIC-106.PV",
    "SIC-106.PV",
]


def first_raised(means: Array) -> list[int | None]:
    """Minute of the first deviation of each lane."""
    found: list[int | None] = []
    for lane in range(means.shape[2]):
        state, first = Deviation(), None
        for minute in range(1, len(means) + 1):
            values = dict(zip(NAMES, means[minute - 1, :, lane].tolist()))
            state = follow(state, settings(), SCHEDULE, running(minute), values)
            if state.detail and first is None:
                first = minute
        found.append(first)
    return found


def test_a_hundred_nominal_batches_raise_nothing() -> None:
    assert first_raised(simulated([Scenario(seed) for seed in range(5000, 5100)])) == [None] * 100


def test_holds_grades_flushes_and_trims_raise_nothing() -> None:
    scenarios = [
        Scenario(seed, confounders=(code,))
        for code in ("N01", "N02", "N05", "N06", "N07", "N09")
        for seed in range(5200, 5206)
    ]
    assert first_raised(simulated(scenarios)) == [None] * len(scenarios)


@pytest.mark.parametrize("feed", [0, 1])
def test_a_simulated_feed_five_percent_off_is_raised_in_every_lane(feed: int) -> None:
    means = simulated([Scenario(seed) for seed in range(5300, 5312)], {"rate": (feed, -0.05)})
    for first in first_raised(means):
        assert first is not None
        assert 400 < first <= 400 + RAISED_WITHIN_MIN
