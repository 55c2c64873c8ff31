"""The batch schedule: per schedule step its time span and set-points (process note section 1.6).

A schedule travels as CSV text: comment lines start with ``#``, then the heading, then one row per
step. `parse_csv` reports every fault at once, each with its line. Comments of the form
``# key: value`` are the header (`header`); the name and the four solutions are read from it
(``# name: ncm838``, ``# core_mol_kg: 1.432 0.0934 0.0311``), the rest is for people and for
`ncm-export schedule`, which writes it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

COLUMNS = (
    "step",
    "start_min",
    "end_min",
    "core_kg_h",
    "shell_kg_h",
    "naoh_kg_h",
    "nh4oh_kg_h",
    "ph_sp",
    "temp_sp_c",
    "rpm_sp",
    "ni_frac",
    "co_frac",
    "mn_frac",
)
"""The heading of the CSV, in this order; also the fields of `ScheduleStep`."""

LIMITS: dict[str, tuple[float, float]] = {
    "start_min": (0.0, 100_000.0),
    "end_min": (0.0, 100_000.0),
    "core_kg_h": (0.0, 10_000.0),
    "shell_kg_h": (0.0, 10_000.0),
    "naoh_kg_h": (0.0, 5_000.0),
    "nh4oh_kg_h": (0.0, 1_000.0),
    "ph_sp": (7.0, 14.0),
    "temp_sp_c": (0.0, 100.0),
    "rpm_sp": (0.0, 3_000.0),
    "ni_frac": (0.0, 1.0),
    "co_frac": (0.0, 1.0),
    "mn_frac": (0.0, 1.0),
}
"""Permitted range of each column, both ends included: wide, to catch slips of unit and column."""

CORE_FRACTIONS = (0.92, 0.06, 0.02)
"""Ni/Co/Mn of the core solution, mole fractions (process note section 1.6)."""
SHELL_FRACTIONS = (0.7559, 0.1881, 0.0560)
"""Ni/Co/Mn of the shell solution: target x (1 + rho) - core x rho with rho = 1.0015."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feeds:
    """What is in the four tanks, mol per kg of solution."""

    core_mol_kg: tuple[float, float, float]
    """Ni, Co, Mn."""
    shell_mol_kg: tuple[float, float, float]
    naoh_mol_kg: tuple[float] = (12.0,)
    """48 % caustic."""
    nh4oh_mol_kg: tuple[float] = (14.68,)
    """25 % ammonia water, as NH3."""


def _tank(fractions: tuple[float, float, float]) -> tuple[float, float, float]:
    ni, co, mn = (2000.0 / 1285.0 * share for share in fractions)
    return ni, co, mn


REFERENCE_FEEDS = Feeds(core_mol_kg=_tank(CORE_FRACTIONS), shell_mol_kg=_tank(SHELL_FRACTIONS))
"""2.0 mol/L metal sulfate of 1285 kg/m3: what a schedule without a word about its tanks means."""


class ScheduleError(ValueError):
    """The text is not a schedule; the message lists every fault, one per line (``line N: ...``)."""


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
    ni_frac: float
    """Mole fraction of nickel in the metal fed during this step."""
    co_frac: float
    mn_frac: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Consecutive steps without gaps, from minute 0 to `end_min`."""

    name: str
    steps: tuple[ScheduleStep, ...]
    feeds: Feeds = REFERENCE_FEEDS

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


def parse_csv(text: str) -> Schedule:
    """The schedule in CSV `text`.

    Raises ScheduleError (a ValueError) that lists every fault as ``line N: message``, one per line.
    """
    faults = list[str]()
    heading_line = 0
    name, feeds = "schedule", REFERENCE_FEEDS
    steps: list[ScheduleStep] = []
    rows: list[int] = []
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        if line.startswith("#"):
            key, value = _comment(line)
            if key == "name" and value:
                name = value
            elif key in TANKS:
                feeds = _feeds(feeds, key, value, number, faults)
            continue
        if not line:
            continue
        cells = [cell.strip() for cell in line.split(",")]
        if not heading_line:
            heading_line = number
            if tuple(cells) != COLUMNS:
                raise ScheduleError(
                    f"line {number}: heading '{line}'; the heading must be '{','.join(COLUMNS)}'"
                )
            continue
        step = _step(cells, number, faults)
        if step is not None:
            steps.append(step)
            rows.append(number)
    if not heading_line:
        raise ScheduleError(f"line 1: no heading; the first row must be '{','.join(COLUMNS)}'")
    if not faults:
        faults += _order_faults(steps, rows, heading_line)
    if faults:
        raise ScheduleError("\n".join(faults))
    return Schedule(name=name, steps=tuple(steps), feeds=feeds)


def header(text: str) -> dict[str, str]:
    """Every ``# key: value`` of CSV `text`; of a key that stands twice the last."""
    comments = (line.strip() for line in text.splitlines() if line.strip().startswith("#"))
    return {key: value for key, value in map(_comment, comments) if key and value}


def format_csv(schedule: Schedule, *, header: tuple[str, ...] = ()) -> str:
    """`schedule` as CSV text that `parse_csv` reads back; `header` lines become comments."""
    lines = [f"# name: {schedule.name}", *(f"# {text}".rstrip() for text in header)]
    if schedule.feeds != REFERENCE_FEEDS:
        lines.extend(
            f"# {tank}: {' '.join(f'{mol:.9g}' for mol in getattr(schedule.feeds, tank))}"
            for tank in TANKS
        )
    lines.append(",".join(COLUMNS))
    lines.extend(
        ",".join(f"{getattr(step, column):g}" for column in COLUMNS) for step in schedule.steps
    )
    return "\n".join(lines) + "\n"


TANKS = {"core_mol_kg": 3, "shell_mol_kg": 3, "naoh_mol_kg": 1, "nh4oh_mol_kg": 1}
"""Header key -> numbers behind it; also the fields of `Feeds`."""
_TANK_MAX_MOL_KG = 30.0


def _comment(line: str) -> tuple[str, str]:
    key, _, value = line.lstrip("#").partition(":")
    return key.strip(), value.strip()


def _feeds(feeds: Feeds, tank: str, value: str, number: int, faults: list[str]) -> Feeds:
    try:
        moles = tuple(float(word) for word in value.split())
    except ValueError:
        moles = ()
    sound = all(0.0 <= mol <= _TANK_MAX_MOL_KG for mol in moles) and sum(moles) > 0.0
    if len(moles) != TANKS[tank] or not sound:
        faults.append(
            f"line {number}: {tank} = '{value}'; permitted: {TANKS[tank]} number(s) "
            f"0..{_TANK_MAX_MOL_KG:g} mol/kg, not all 0"
        )
        return feeds
    return replace(feeds, **{tank: moles})  # type: ignore[arg-type]


def _step(cells: list[str], number: int, faults: list[str]) -> ScheduleStep | None:
    if len(cells) != len(COLUMNS):
        faults.append(
            f"line {number}: {len(cells)} cells, permitted {len(COLUMNS)}; one cell per column"
        )
        return None
    known = len(faults)
    values: dict[str, float] = {}
    for column, cell in zip(COLUMNS, cells, strict=True):
        try:
            value = float(cell)
        except ValueError:
            value = math.nan
        low, high = LIMITS.get(column, (1.0, 9999.0))
        if not low <= value <= high or (column == "step" and value != int(value)):
            kind = "whole number" if column == "step" else "number"
            faults.append(
                f"line {number}: {column} = '{cell}'; permitted: a {kind} {low:g}..{high:g}"
            )
        values[column] = value
    if len(faults) > known:
        return None
    total = values["ni_frac"] + values["co_frac"] + values["mn_frac"]
    if abs(total - 1.0) > 0.002:
        faults.append(
            f"line {number}: ni_frac + co_frac + mn_frac = {total:g}; permitted: 1 within 0.002"
        )
        return None
    step = int(values.pop("step"))
    return ScheduleStep(step=step, **values)


def _order_faults(steps: list[ScheduleStep], rows: list[int], heading_line: int) -> list[str]:
    if not steps:
        return [f"line {heading_line}: no step follows the heading; at least one is needed"]
    faults = []
    end_min = 0.0
    for i, (step, number) in enumerate(zip(steps, rows, strict=True), start=1):
        if step.step != i:
            faults.append(f"line {number}: step = '{step.step}'; permitted: {i}, steps count up")
        if step.start_min != end_min:
            faults.append(
                f"line {number}: start_min = '{step.start_min:g}'; permitted: {end_min:g}, "
                "where the step before ends"
            )
        if step.end_min <= step.start_min:
            faults.append(
                f"line {number}: end_min = '{step.end_min:g}'; permitted: above start_min "
                f"{step.start_min:g}"
            )
        end_min = step.end_min
    return faults


_REFERENCE_FLOWS = (
    # core, shell, NaOH, NH4OH in kg/h; step 1 lasts 60 min, the others 51 min
    (915.5, 147.2, 276.2, 43.20),
    (724.3, 125.8, 220.8, 42.08),
    (707.3, 135.5, 218.9, 40.96),
    (685.9, 149.3, 216.9, 39.84),
    (659.0, 168.8, 215.0, 38.71),
    (625.1, 195.2, 213.1, 37.59),
    (583.2, 229.7, 211.2, 36.47),
    (533.0, 272.4, 209.3, 35.35),
    (475.7, 322.3, 207.4, 34.23),
    (414.0, 376.5, 205.5, 33.11),
    (352.0, 431.1, 203.5, 31.98),
    (293.9, 481.6, 201.6, 30.86),
    (243.3, 524.9, 199.7, 29.74),
    (201.6, 559.1, 197.8, 28.62),
    (169.1, 584.2, 195.9, 27.50),
    (144.6, 601.2, 194.0, 26.38),
    (126.6, 611.7, 192.0, 25.26),
    (113.7, 617.1, 190.1, 24.13),
    (104.5, 618.9, 188.2, 23.01),
    (97.8, 618.1, 186.3, 21.89),
    (93.0, 615.4, 184.3, 20.77),
)


def reference_schedule() -> Schedule:
    """The 21 steps, 1080 min, of process note section 1.6 (pH 11.2, 48 °C, 500 rpm)."""
    steps = []
    start_min = 0.0
    for i, (core, shell, naoh, nh4oh) in enumerate(_REFERENCE_FLOWS, start=1):
        end_min = start_min + (60.0 if i == 1 else 51.0)
        ni, co, _ = (
            round((core * a + shell * b) / (core + shell), 4)
            for a, b in zip(CORE_FRACTIONS, SHELL_FRACTIONS, strict=True)
        )
        steps.append(
            ScheduleStep(
                step=i,
                start_min=start_min,
                end_min=end_min,
                core_kg_h=core,
                shell_kg_h=shell,
                naoh_kg_h=naoh,
                nh4oh_kg_h=nh4oh,
                ph_sp=11.2,
                temp_sp_c=48.0,
                rpm_sp=500.0,
                ni_frac=ni,
                co_frac=co,
                mn_frac=round(1.0 - ni - co, 4),
            )
        )
        start_min = end_min
    return Schedule(name="ncm838", steps=tuple(steps))
