"""The schedule in words: the table of steps and what it amounts to."""

from __future__ import annotations

from edge.core.schedule import Schedule
from export.schedule.design import Design
from export.schedule.inputs import FLOWS, METALS, Metals

_HEAD = "step    minutes       core    shell    NaOH   NH4OH     Ni/Co/Mn %"


def table(schedule: Schedule) -> str:
    """One line per step, flows in kg/h."""
    rows = [
        f"{s.step:4d}  {s.start_min:4.0f}–{s.end_min:<4.0f}  {s.core_kg_h:9.1f} "
        f"{s.shell_kg_h:8.1f} {s.naoh_kg_h:7.1f} {s.nh4oh_kg_h:7.2f}     "
        f"{100 * s.ni_frac:4.1f}/{100 * s.co_frac:4.1f}/{100 * s.mn_frac:3.1f}"
        for s in schedule.steps
    ]
    return "\n".join([_HEAD, *rows])


def mean(schedule: Schedule, column: str) -> float:
    """Time-weighted mean of a column."""
    weighted = sum(getattr(s, column) * (s.end_min - s.start_min) for s in schedule.steps)
    return float(weighted / schedule.end_min)


def summary(made: Design, target: Metals) -> str:
    """Totals, composition and NaOH ratio."""
    hours = made.schedule.end_min / 60.0
    means = {feed: mean(made.schedule, f"{feed}_kg_h") for feed in FLOWS}
    totals = ", ".join(f"{feed} {kg * hours:.1f} kg" for feed, kg in means.items())
    shell = "/".join(f"{mol:.4f}" for mol in made.shell_mol_kg)
    return "\n".join(
        (
            f"{len(made.schedule.steps)} steps, {made.schedule.end_min:g} min: {totals}",
            f"NaOH mean {means['naoh']:.2f} kg/h; charge balance alone asks for "
            f"{made.model_ratio:.4f} mol NaOH per mol metal",
            f"core : shell {made.rho:.5f} kg/kg; shell tank Ni/Co/Mn {shell} mol/kg",
            f"Ni/Co/Mn fed {percent(made.estimated)} %, wanted {percent(target)} %, largest error "
            f"{100 * made.residual:.4f} point",
        )
    )


def changes(before: Schedule, after: Schedule) -> str:
    """Mean flows of two schedules side by side."""
    rows = [
        f"{feed:>6}  {a:9.2f} -> {b:9.2f} kg/h  {b / a - 1.0:+.2%}"
        for feed in FLOWS
        for a, b in [(mean(before, f"{feed}_kg_h"), mean(after, f"{feed}_kg_h"))]
    ]
    return "\n".join(["mean flows, parent -> this schedule", *rows])


def percent(metals: Metals) -> str:
    """Ni/Co/Mn, e.g. 83.80/12.40/3.80."""
    assert len(metals) == len(METALS)
    return "/".join(f"{100 * x:.2f}" for x in metals)
