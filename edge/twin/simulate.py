"""Whole batches at full rate, many side by side. Simulated data, and labelled so wherever shown.

A batch is 64,800 rows of 51 tags, 13 MB: `batches` computes the plants together (fast) and then
makes the rows of one batch at a time, so that a training set never has to fit in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge.core.schedule import Schedule, reference_schedule
from edge.twin import confounders, faults, ordinary, params, shifts
from edge.twin.course import STEP_S, Course
from edge.twin.model import Model, Recipe, field, sample
from edge.twin.params import Array
from edge.twin.readings import COLUMNS, readings
from edge.twin.rows import Instruments, Rows
from edge.twin.scenario import Scenario
from edge.twin.shifts import Plant

_CHUNK = 60
"""Steps computed between two conversions to readings: ten minutes."""
_MINUTE = 60 // STEP_S
_LANES = 64
"""Plants computed together: beyond this the cost per batch hardly falls but the memory grows."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One simulated batch and the truth behind it."""

    scenario: Scenario
    values: Rows
    """float32[rows, 51] engineering units; NaN where no value arrived."""
    severity: npt.NDArray[np.float32]
    """float32[minutes] 0..3, at the end of each minute."""
    ph_true: npt.NDArray[np.float32]
    """float32[minutes] bulk pH at process temperature."""
    bias: npt.NDArray[np.float32]
    """float32[minutes] slow part of the NaOH demand, share of the base."""
    nickel_mg_l: npt.NDArray[np.float32]
    """float32[minutes] dissolved nickel."""


def course_of(scenario: Scenario, steps: int) -> Course:
    """Everything imposed on one lane: its fault and its confounders."""
    course = Course(steps=steps, severity=np.zeros(steps))
    ordinary.apply(scenario, course)
    confounders.apply(scenario, course)
    faults.apply(scenario, course)
    return course


def parameters(courses: Sequence[Course], first: int, last: int) -> Array:
    """Physical parameters [last - first, TOTAL, L] of the steps first..last-1."""
    p = np.empty((last - first, params.TOTAL, len(courses)))
    p[:] = params.DEFAULTS[:, None]
    for lane, course in enumerate(courses):
        for row, values in course.tracks:
            p[:, row, lane] += values[first:last]
    return p


def batches(
    scenarios: Sequence[Scenario],
    schedule: Schedule | None = None,
    *,
    rows: int | None = None,
) -> Iterator[Batch]:
    """The batches of `scenarios`, in order, rows made one batch at a time.

    `rows` ends every batch early (seconds; rounded up to 10 s). `schedule` None is the reference.
    """
    recipe = sample(schedule or reference_schedule())
    for first in range(0, len(scenarios), _LANES):
        yield from _batches(scenarios[first : first + _LANES], recipe, rows)


def simulate(
    scenarios: Sequence[Scenario],
    schedule: Schedule | None = None,
    *,
    rows: int | None = None,
) -> Rows:
    """Values float32[L, rows, 51] of `scenarios`; 13 MB per batch, so prefer `batches` for many."""
    return np.stack([batch.values for batch in batches(scenarios, schedule, rows=rows)])


def clean(
    scenarios: Sequence[Scenario], schedule: Schedule | None = None
) -> npt.NDArray[np.float32]:
    """What the instruments of `scenarios` would show without noise and short events.

    float32[L, steps, COLUMNS] every 10 s (columns: `readings`); a hundredth of the work of the
    rows. All lanes at once: 1.7 MB per batch.
    """
    recipe = sample(schedule or reference_schedule())
    return _together(scenarios, recipe, recipe.steps)[0]


def _batches(scenarios: Sequence[Scenario], recipe: Recipe, rows: int | None) -> Iterator[Batch]:
    steps = recipe.steps if rows is None else min(recipe.steps, -(-rows // STEP_S))
    shown, truth, plants, courses = _together(scenarios, recipe, steps)
    for lane, (scenario, own, course) in enumerate(zip(scenarios, plants, courses, strict=True)):
        instruments = Instruments(scenario.seed, course, own)
        values = np.concatenate(
            [instruments.rows(shown[lane, k : k + 360]) for k in range(0, steps, 360)]
        )
        minutes = truth[:, lane, _MINUTE - 1 :: _MINUTE]
        yield Batch(
            scenario=scenario,
            values=values[:rows],
            severity=course.severity[:steps][_MINUTE - 1 :: _MINUTE].astype(np.float32),
            ph_true=minutes[0],
            bias=minutes[1],
            nickel_mg_l=minutes[2] * np.float32(58_693.0),
        )


def _together(
    scenarios: Sequence[Scenario], recipe: Recipe, steps: int
) -> tuple[Rows, Rows, list[Plant], list[Course]]:
    """(readings [L, steps, COLUMNS], truth [3, L, steps], plants, courses) of all lanes."""
    plants = [shifts.draw(s) for s in scenarios]
    courses = [course_of(s, recipe.steps) for s in scenarios]
    plant = shifts.stack(plants)
    model = Model(plant, recipe, np.array([float(s.operator) for s in scenarios]))
    shown = np.empty((len(scenarios), steps, COLUMNS), np.float32)
    truth = np.empty((3, len(scenarios), steps), np.float32)
    for k0 in range(0, steps, _CHUNK):
        k1 = min(k0 + _CHUNK, steps)
        p = parameters(courses, k0, k1)
        records = np.stack([model.step(p[k]) for k in range(k1 - k0)])
        shown[:, k0:k1] = readings(records, p, plant).transpose(2, 0, 1)
        for i, name in enumerate(("ph", "bias", "nickel")):
            truth[i, :, k0:k1] = records[:, field(name).start].T
    return shown, truth, plants, courses
