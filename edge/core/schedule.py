"""The batch schedule: per step its time span and set-points (process.md section 1.6)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleStep:
    """One row of the schedule CSV."""

    step: int
    """1-based schedule step number."""
    start_min: float
    end_min: float
    core_kg_h: float
    shell_kg_h: float
    naoh_kg_h: float
    nh4oh_kg_h: float
    ph_sp: float
    temp_sp_c: float
    rpm_sp: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Consecutive steps without gaps, from minute 0 to `end_min`."""

    name: str
    steps: tuple[ScheduleStep, ...]

    @property
    def end_min(self) -> float:
        """Length of the batch in minutes."""
        return self.steps[-1].end_min

    def at(self, minute: float) -> ScheduleStep:
        """The step that is running at batch minute `minute`; the last one beyond the end."""
        for step in self.steps:
            if minute < step.end_min:
                return step
        return self.steps[-1]
