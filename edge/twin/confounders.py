"""Events that are not defects and must not be called one (process note section 3.2).

They act on the same physical parameters as the faults and come with equal frequency in healthy and
in defective batches. N13 (the slurry thickening through the batch) is in every batch by itself; N14
is the frost that a freezing caustic line needs, and comes to as many healthy batches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edge.twin import params
from edge.twin.course import POWER, Course
from edge.twin.tag_table import OPC_UA_TAGS, TAG_COUNT

if TYPE_CHECKING:
    from edge.twin.scenario import Scenario

Draw = Callable[[Course, np.random.Generator, float], None]
"""(course, generator, minutes of the batch): adds one confounder."""


@dataclass(frozen=True, slots=True)
class Confounder:
    """One row of the library."""

    code: str
    text: str
    draw: Draw
    common: bool = True
    """Part of the random mix of `draw_scenarios`."""


def _grade(course: Course, rng: np.random.Generator, minutes: float) -> None:
    change = rng.uniform(-0.04, 0.04)
    course.add(params.row("rate", 0), change)
    course.add(params.row("rate", 1), -change)
    course.add(params.row("ph_shift"), rng.uniform(-0.05, 0.05))


def _hold(course: Course, rng: np.random.Generator, minutes: float) -> None:
    first = rng.uniform(0.1, 0.85) * minutes
    course.add(params.row("run"), -1.0, first, first + rng.uniform(10.0, 40.0))


def _recalibration(course: Course, rng: np.random.Generator, minutes: float) -> None:
    probe = int(rng.integers(4))
    course.add(
        params.row("probe_offset", probe), rng.normal(0.0, 0.03), rng.uniform(0.1, 0.8) * minutes
    )


def _cleaning(course: Course, rng: np.random.Generator, minutes: float) -> None:
    for _ in range(int(rng.integers(1, 4))):
        first = rng.uniform(0.05, 0.9) * minutes
        row = params.row("probe_off", int(rng.integers(4)))
        course.add(row, 1.0, first, first + rng.uniform(5.0, 10.0))


def _set_points(course: Course, rng: np.random.Generator, minutes: float) -> None:
    first = rng.uniform(0.1, 0.7) * minutes
    last = first + rng.uniform(60.0, 240.0)
    if rng.random() < 0.5:
        course.add(params.row("ph_shift"), rng.choice([-0.15, 0.15]), first, last)
    else:
        course.add(params.row("rpm_shift"), 20.0, first, last)


def _refill(course: Course, feed: int, minute: float, kg: float, change: float) -> None:
    """Top up a tank for 10 min; what comes out has another strength from then on."""
    course.add(params.row("refill", feed), kg / 600.0, minute, minute + 10.0)
    course.add(params.row("strength", feed), change, minute)


def _naoh_lot(course: Course, rng: np.random.Generator, minutes: float) -> None:
    minute, change = rng.uniform(0.15, 0.8) * minutes, rng.uniform(-0.02, 0.02)
    _refill(course, 2, minute, 700.0, change)


def _metal_tank(course: Course, rng: np.random.Generator, minutes: float) -> None:
    feed, minute = int(rng.integers(2)), rng.uniform(0.15, 0.8) * minutes
    _refill(course, feed, minute, 1200.0, rng.uniform(-0.02, 0.02))


def _season(course: Course, rng: np.random.Generator, minutes: float) -> None:
    course.add(params.row("ambient"), rng.choice([-1.0, 1.0]) * rng.uniform(4.0, 9.0))


def _cold_spell(course: Course, rng: np.random.Generator, minutes: float) -> None:
    course.add(params.row("ambient"), rng.uniform(-22.0, -17.0))


def _flush(course: Course, rng: np.random.Generator, minutes: float) -> None:
    first = rng.uniform(0.1, 0.9) * minutes
    course.add(params.row("rate", int(rng.integers(2))), 0.10, first, first + 3.0)


def _power_dip(course: Course, rng: np.random.Generator, minutes: float) -> None:
    track = course.fast_track(POWER)
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(course.seconds))
        n = int(rng.integers(1, 3))
        track[at : at + n] = rng.uniform(0.1, 0.6)
        track[at + n : at + n + 3] = 0.05


def _gap(course: Course, rng: np.random.Generator, minutes: float) -> None:
    plc = tuple(i for i in range(TAG_COUNT) if i not in OPC_UA_TAGS)
    links = (plc, OPC_UA_TAGS, tuple(range(TAG_COUNT)))
    for _ in range(int(rng.integers(1, 5))):
        at = int(rng.integers(course.seconds))
        tags = links[int(rng.integers(len(links)))]
        course.gaps.append((at, at + int(rng.integers(30, 300)), tags))


def _new_pump(course: Course, rng: np.random.Generator, minutes: float) -> None:
    pump = int(rng.integers(5))
    course.add(params.row("kg_rev", pump), rng.choice([-1.0, 1.0]) * rng.uniform(0.02, 0.05))


_LIBRARY = (
    Confounder("N01", "another grade: core, shell and pH set-points", _grade),
    Confounder("N02", "planned hold of all feeds and restart ramp", _hold),
    Confounder("N03", "recalibration of one pH probe", _recalibration),
    Confounder("N04", "cleaning of a pH probe", _cleaning),
    Confounder("N05", "operator changes the pH set-point or the agitator speed", _set_points),
    Confounder("N06", "new NaOH lot after a refill", _naoh_lot),
    Confounder("N07", "metal tank topped up with another strength", _metal_tank),
    Confounder("N08", "very warm or very cold day", _season),
    Confounder("N09", "flush of a metal line", _flush),
    Confounder("N10", "power dip of all drives", _power_dip),
    Confounder("N11", "communication gap", _gap),
    Confounder("N12", "new hose or pump with another delivery", _new_pump),
    Confounder("N13", "slurry thickening through the batch", lambda c, r, m: None, common=False),
    Confounder("N14", "cold spell, frost at the lines", _cold_spell, common=False),
)

CONFOUNDERS: dict[str, Confounder] = {c.code: c for c in _LIBRARY}


def apply(scenario: Scenario, course: Course) -> None:
    """Add the scenario's confounders to `course`."""
    for code in scenario.circumstances:
        # A stream of its own: a fault or another confounder must not change what this one does.
        rng = np.random.default_rng([scenario.seed, 6, int(code[1:])])
        CONFOUNDERS[code].draw(course, rng, course.seconds / 60.0)
