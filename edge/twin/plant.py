"""LivePlant: the twin second by second, with the NaOH trim coming from outside.

The same model, faults and instruments as the training batches, one lane wide. The plant computes
10 s at a time and hands the seconds out one by one: a trim acts at the next 10 s boundary, which is
short against the 55 s it takes NaOH to reach the probes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge.core.schedule import Schedule
from edge.twin import params, shifts
from edge.twin.course import STEP_S, Course
from edge.twin.model import Model, field, sample
from edge.twin.params import Array
from edge.twin.readings import readings
from edge.twin.rows import Instruments, Rows
from edge.twin.scenario import Scenario
from edge.twin.simulate import course_of, parameters
from edge.twin.tag_table import CONTEXT

_BLOCK = 60


@dataclass(frozen=True, slots=True)
class PlantSecond:
    """What the plant shows in one second, and the truth behind it."""

    values: npt.NDArray[np.float64]
    """float64[51] engineering units; NaN where no value arrives."""
    context: dict[str, float]
    """Set-points by tag name: FIC-101.SP .. FIC-104.SP, TIC-106.SP, AIC-106.SP."""
    minute: float
    """Batch minute."""
    step: int
    """Schedule step, 1-based."""
    running: bool
    """False after the end of the schedule: the batch is complete and nothing is fed."""
    base_kg_h: float
    """NaOH set-point before the trim: schedule times measured over scheduled metal flow."""
    trim_kg_h: float
    """Trim that acts in this second."""
    ph_true: float
    """Bulk pH at process temperature; no instrument shows it."""
    severity: float
    """True severity of the defect, 0..3."""


class LivePlant:
    """One plant in time. Equal scenarios and equal trims give equal seconds, bit for bit."""

    def __init__(
        self, scenario: Scenario, schedule: Schedule, *, start_minute: float = 0.0,
        course: Course | None = None, plant: shifts.Plant | None = None,
    ) -> None:  # fmt: skip
        """The plant at `start_minute` of its batch, trimmed by its own operator until then.

        `course` and `plant` replace what `scenario` would draw; its seed goes on to make the noise.
        Raises ValueError when `start_minute` lies outside the schedule.
        """
        if not 0.0 <= start_minute < schedule.end_min:
            raise ValueError(
                f"start_minute {start_minute:g}: permitted 0 up to below {schedule.end_min:g} "
                f"(schedule '{schedule.name}')"
            )
        self.scenario, self.schedule = scenario, schedule
        self._recipe = sample(schedule)
        self._course = course or course_of(scenario, self._recipe.steps)
        own = plant or shifts.draw(scenario)
        self._plant = shifts.stack([own])
        self._model = Model(self._plant, self._recipe, np.array([float(scenario.operator)]))
        self._instruments = Instruments(scenario.seed, self._course, own)
        self._block: Array = np.empty((0, params.TOTAL, 1))
        self._block_first = 0
        self._record: Array = np.empty(0)
        self._rows: Rows = np.empty((0, 0), np.float32)
        self._at = STEP_S
        first = round(start_minute * 60.0 / STEP_S)
        for k in range(first):
            p = self._parameters()
            record = self._model.step(p)
            if k == first - 1:
                # One block of rows fills the instruments with the state they have reached.
                clean = readings(record[None], p[None], self._plant)[:, :, 0]
                self._instruments.rows(clean, first_step=k)
                self._record = record[:, 0]

    @property
    def trim_kg_h(self) -> float:
        """Trim that the plant's own operator would apply now, kg/h.

        A shell that starts in mid-batch continues with it instead of dropping the trim to zero.
        """
        k = min(self._model.k, self._recipe.steps - 1)
        return float(self._model.advice.ratio[0] * self._recipe.flows[k, 2])

    def second(self, trim_kg_h: float, held: bool) -> PlantSecond:
        """The next second, with `trim_kg_h` on top of the NaOH base and the feeds `held` or not.

        Raises ValueError when the trim is not a finite number.
        """
        if not np.isfinite(trim_kg_h):
            raise ValueError(f"trim_kg_h {trim_kg_h}: permitted is a finite number of kg/h")
        if self._at == STEP_S:
            self._advance(trim_kg_h, held)
        values = self._rows[self._at].astype(np.float64)
        self._at += 1
        record = self._record
        k = min(self._model.k - 1, self._recipe.steps - 1)
        set_points = (record[field(name)].tolist() for name in ("sp", "temp_sp", "ph_sp"))
        context = dict(zip(CONTEXT, (value for part in set_points for value in part), strict=True))
        base = float(record[field("base")][0])
        return PlantSecond(
            values=values,
            context=context,
            minute=((self._model.k - 1) * STEP_S + self._at - 1) / 60.0,
            step=int(self._recipe.number[k]),
            running=self._model.k <= self._recipe.steps,
            base_kg_h=base,
            trim_kg_h=float(record[field("ratio")][0]) * base,
            ph_true=float(record[field("ph")][0]),
            severity=float(self._course.severity[k]),
        )

    def _advance(self, trim_kg_h: float, held: bool) -> None:
        complete = self._model.k >= self._recipe.steps
        if len(self._record):
            base = float(self._record[field("base")][0])
        else:
            base = float(self._recipe.flows[0, 2] * self._plant.load[0])
        ratio = trim_kg_h / base if base > 1.0 else 0.0
        p = self._parameters()
        record = self._model.step(p, np.array([ratio]), held or complete)
        clean = readings(record[None], p[None], self._plant)[:, :, 0]
        self._rows = self._instruments.rows(clean)
        self._record = record[:, 0]
        self._at = 0

    def _parameters(self) -> Array:
        """Physical parameters [TOTAL, 1] of the model's next step."""
        k = min(self._model.k, self._recipe.steps - 1)
        if not self._block_first <= k < self._block_first + len(self._block):
            last = min(k + _BLOCK, self._recipe.steps)
            self._block = parameters([self._course], k, last)
            self._block_first = k
        row: Array = self._block[k - self._block_first]
        return row
