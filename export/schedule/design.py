"""From inputs to 21 steps (process note section 5). Pure: values in, a `Design` out.

1. Shell solution: its assay, or target (1 + rho) - core rho when there is none.
2. Rate of each step: 1.35 times the mean in the first hour, then falling from 1.08 to 0.90; share
   of the core phi = 0.12 + 0.76 / (1 + e^((t - s) / 130 min)), with s by bisection so that
   core : shell = rho over the batch.
3. NaOH by inversion: what keeps the excess base of the reactor on E*(pH_sp, N, T) at the end of
   each step, given metal, ammonia and the liquor that leaves. The inversion says how the NaOH is
   spread over the steps; its sum is (naoh_ratio + c_alk) x metal, because c_alk is learnt from real
   batches and the constants of the chemistry are not.
4. What two given tanks can reach is a line in composition space: rho moves along it within its
   tolerance, by least squares in closed form. What is left is the `residual`.

The steps are rounded as the PLC takes them and `faults` judges those, not the numbers before.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edge.core.chemistry import MetalFractions, e_star
from edge.core.schedule import Schedule, ScheduleStep
from export.faults import ExportError
from export.schedule.inputs import FLOWS, METALS, Inputs, Metals

Array = npt.NDArray[np.float64]

EDGES_MIN = np.concatenate([[0.0], 60.0 + 51.0 * np.arange(21)])
"""Step 1 lasts 60 min, the others 51: 1080 min in all."""
SHAPE = np.concatenate([[1.35], np.linspace(1.08, 0.90, 20)])
CORE_LOW, CORE_SPAN, CORE_WIDTH_MIN = 0.12, 0.76, 130.0
RHO_TOLERANCE = 0.0005
RESIDUAL_MAX = 0.005
"""Composition error, mole fraction, above which the tanks have to be blended anew."""
MODEL_TOLERANCE = 0.01
"""naoh_ratio + c_alk may differ by this much from what the charge balance alone asks for."""
LEARNT_TOLERANCE = 0.05
"""The same where c_alk was learnt: strength of the caustic, assays and meters have their errors."""
STEP_MAX = {"naoh": 0.03, "core": 0.20, "shell": 0.20}
"""Largest change from one step to the next, except from the first to the second."""
_PIECES = 60


class DesignError(ExportError):
    """No schedule can be made of these inputs; one line per reason, each with key and remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """A schedule and how well it meets its target."""

    schedule: Schedule
    estimated: Metals
    """Mole fractions fed, from the assays and the rounded flows."""
    residual: float
    """Largest |estimated - target|, mole fraction."""
    rho: float
    """Core : shell of the rounded flows, kg/kg."""
    model_ratio: float
    """NaOH per metal that the charge balance alone asks for, mol/mol."""
    shell_mol_kg: Metals


def shell_for(inputs: Inputs) -> Metals:
    """Shell solution, mol/kg, that reaches the target exactly, as strong as the core.

    Raises DesignError naming every metal whose fraction would leave 0..1.
    """
    strength = sum(inputs.core_mol_kg)
    rho = inputs.core_to_shell
    core = [mol / strength for mol in inputs.core_mol_kg]
    shell = [x * (1.0 + rho) - c * rho for x, c in zip(inputs.target, core)]
    outside = [
        f"[core] {m}_mol_l: {m.title()} is {c:.2%} of the core and {x:.2%} of the target, so the "
        f"shell would need {s:.2%}; permitted 0..100 %; take "
        f"{'less' if s < 0.0 else 'more'} {m.title()} into the core, or another core_to_shell"
        for m, c, x, s in zip(METALS, core, inputs.target, shell)
        if not -1e-12 <= s <= 1.0
    ]
    if outside:
        raise DesignError("target unreachable:\n" + "\n".join(outside))
    ni, co, mn = (max(s, 0.0) * strength for s in shell)
    return ni, co, mn


def best_rho(inputs: Inputs, shell: Metals) -> float:
    """Core : shell within the tolerance that brings the fed composition closest to the target."""
    core, other = np.array(inputs.core_mol_kg), np.array(shell)
    c, s = core / core.sum(), other / other.sum()
    across = float((c - s) @ (c - s))
    if across < 1e-12:  # two tanks of one composition: rho moves nothing
        return inputs.core_to_shell
    share = float((np.array(inputs.target) - s) @ (c - s)) / across
    share = min(max(share, 1e-6), 1.0 - 1e-6)
    rho = share / (1.0 - share) * float(other.sum() / core.sum())
    low, high = (inputs.core_to_shell + sign * 0.8 * RHO_TOLERANCE for sign in (-1.0, 1.0))
    return min(max(rho, low), high)


def fed(core_kg: float, shell_kg: float, core: Metals, shell: Metals) -> Metals:
    """Mole fractions of `core_kg` and `shell_kg` of the two solutions together."""
    moles = np.array(core) * core_kg + np.array(shell) * shell_kg
    ni, co, mn = (moles / moles.sum()).tolist()
    return ni, co, mn


def design(inputs: Inputs) -> Design:
    """The schedule of `inputs`, rounded as the PLC takes it, and how well it meets the target.

    Raises DesignError when a solution is impossible; limits and acceptance are judged by `faults`.
    """
    shell_tank = inputs.shell_mol_kg or shell_for(inputs)
    rho = best_rho(inputs, shell_tank)
    core, shell = _flows(inputs, shell_tank, rho)
    nh4oh = np.linspace(*inputs.nh4oh_kg_h, len(SHAPE))
    hours = np.diff(EDGES_MIN) / 60.0
    metal_mol_h = core * sum(inputs.core_mol_kg) + shell * sum(shell_tank)
    naoh = naoh_inversion(inputs, core + shell, metal_mol_h, nh4oh)
    metal = float(metal_mol_h @ hours)
    model_ratio = float(naoh @ hours) * inputs.naoh_mol_kg / metal
    naoh = naoh * (inputs.naoh_ratio + inputs.c_alk) / model_ratio
    core, shell, naoh, nh4oh = core.round(1), shell.round(1), naoh.round(1), nh4oh.round(2)
    steps = []
    for k in range(len(SHAPE)):
        ni, co, _ = (round(x, 4) for x in fed(core[k], shell[k], inputs.core_mol_kg, shell_tank))
        steps.append(
            ScheduleStep(
                step=k + 1, start_min=float(EDGES_MIN[k]), end_min=float(EDGES_MIN[k + 1]),
                core_kg_h=float(core[k]), shell_kg_h=float(shell[k]), naoh_kg_h=float(naoh[k]),
                nh4oh_kg_h=float(nh4oh[k]), ph_sp=inputs.ph, temp_sp_c=inputs.temp_c,
                rpm_sp=inputs.rpm, ni_frac=ni, co_frac=co, mn_frac=round(1.0 - ni - co, 4),
            )
        )  # fmt: skip
    core_kg, shell_kg = float(core @ hours), float(shell @ hours)
    estimated = fed(core_kg, shell_kg, inputs.core_mol_kg, shell_tank)
    return Design(
        schedule=Schedule(name=inputs.name, steps=tuple(steps), feeds=inputs.feeds(shell_tank)),
        estimated=estimated,
        residual=max(abs(e - t) for e, t in zip(estimated, inputs.target)),
        rho=core_kg / shell_kg,
        model_ratio=model_ratio,
        shell_mol_kg=shell_tank,
    )


def _flows(inputs: Inputs, shell_tank: Metals, rho: float) -> tuple[Array, Array]:
    """(core, shell) kg/h of each step."""
    hours = np.diff(EDGES_MIN) / 60.0
    middle = 0.5 * (EDGES_MIN[1:] + EDGES_MIN[:-1])
    mol_kg = (rho * sum(inputs.core_mol_kg) + sum(shell_tank)) / (1.0 + rho)
    total = SHAPE * (inputs.metal_kmol * 1000.0 / mol_kg) / float(SHAPE @ hours)
    low, high = -10.0 * EDGES_MIN[-1], 10.0 * EDGES_MIN[-1]
    for _ in range(80):
        s = 0.5 * (low + high)
        core = total * (CORE_LOW + CORE_SPAN / (1.0 + np.exp((middle - s) / CORE_WIDTH_MIN)))
        short = float(core @ hours) < rho * float((total - core) @ hours)
        low, high = (s, high) if short else (low, s)
    reached = float(core @ hours) / float((total - core) @ hours)
    if abs(reached - rho) > 1e-6:
        most = CORE_LOW + CORE_SPAN
        raise DesignError(
            f"[target] core_to_shell = {inputs.core_to_shell:g}: the feed programme reaches "
            f"{CORE_LOW / (1 - CORE_LOW):.3f}..{most / (1 - most):.3f}; choose a value in between"
        )
    return core, total - core


class _Vessel(NamedTuple):
    """Content of the reactor: m3, and mol of ammonia and of excess base."""

    volume: float
    ammonia: float
    base: float


def naoh_inversion(inputs: Inputs, metal_kg_h: Array, metal_mol_h: Array, nh4oh: Array) -> Array:
    """NaOH, kg/h of each step, that puts the reactor on the pH set-point at the end of each step.

    `metal_kg_h`, `metal_mol_h`, `nh4oh` [steps]: solution, metal and ammonia water fed.
    """
    kinds = MetalFractions(*inputs.target)

    def missing(vessel: _Vessel) -> float:
        """Excess base above (+) or below (-) what the set-point asks for, mol."""
        liters = 1000.0 * vessel.volume
        wanted = e_star(inputs.ph, vessel.ammonia / liters, inputs.temp_c, metal=kinds)
        return vessel.base - float(wanted) * liters

    vessel = _Vessel(inputs.heel_m3, 1000.0 * inputs.heel_m3 * inputs.heel_ammonia_mol_l, 0.0)
    vessel = vessel._replace(base=-missing(vessel))
    out = np.empty(len(SHAPE))
    for k, hours in enumerate(np.diff(EDGES_MIN) / 60.0):
        fill = partial(
            _fill, inputs, vessel, float(hours), float(metal_kg_h[k]), float(metal_mol_h[k]),
            float(nh4oh[k]),
        )  # fmt: skip
        # The end depends on the flow almost linearly: three secant steps land on it.
        low = 2.0 * float(metal_mol_h[k]) / inputs.naoh_mol_kg
        high = 1.02 * low
        miss = missing(fill(low)), missing(fill(high))
        for _ in range(3):
            if miss[1] == miss[0]:
                break
            low, high = high, high - miss[1] * (high - low) / (miss[1] - miss[0])
            miss = miss[1], missing(fill(high))
        out[k] = high
        vessel = fill(high)
    return out


def _fill(
    inputs: Inputs, vessel: _Vessel, hours: float, metal_kg_h: float, metal_mol_h: float,
    nh4oh: float, naoh: float,
) -> _Vessel:  # fmt: skip
    """The reactor after a step. Base (NaOH - 2 metal) and ammonia leave with the clear liquor."""
    volume, ammonia, base = vessel
    naoh_kg_m3 = 1000.0 * (1.0 + 1.025 * inputs.naoh_mass_fraction)
    nh4oh_kg_m3 = 1000.0 * (1.0 - 0.36 * inputs.nh4oh_mass_fraction)
    inflow = metal_kg_h / inputs.metal_kg_m3 + naoh / naoh_kg_m3 + nh4oh / nh4oh_kg_m3
    piece = hours / _PIECES
    for _ in range(_PIECES):
        volume += inflow * piece
        ammonia += nh4oh * inputs.nh4oh_mol_kg * piece
        base += (naoh * inputs.naoh_mol_kg - 2.0 * metal_mol_h) * piece
        if inputs.liquor_removal and volume > inputs.max_volume_m3:
            stays = inputs.max_volume_m3 / volume
            volume, ammonia, base = inputs.max_volume_m3, ammonia * stays, base * stays
    return _Vessel(volume, ammonia, base)


def faults(inputs: Inputs, made: Design, *, learnt: bool = False) -> list[str]:
    """Every acceptance of process note section 5 that the rounded schedule misses, with remedy.

    `learnt`: c_alk comes from real batches, which may contradict the model by more.
    """
    steps = made.schedule.steps
    flows = {f: np.array([getattr(s, f"{f}_kg_h") for s in steps]) for f in FLOWS}
    found = []
    for feed, (low, high) in inputs.limits.items():
        least, most = float(flows[feed].min()), float(flows[feed].max())
        if least < low or most > high:
            found.append(
                f"[limits] {feed}: the schedule needs {least:g}..{most:g} kg/h, permitted "
                f"{low:g}..{high:g}; change metal_kmol, core_to_shell or the pump"
            )
        if least <= 0.0 or most / least > inputs.turndown:
            found.append(
                f"[limits] turndown = {inputs.turndown:g}: {feed} runs from {most:g} down to "
                f"{least:g} kg/h; permitted a ratio of {inputs.turndown:g}"
            )
    ratio = inputs.naoh_ratio + inputs.c_alk
    tolerance = LEARNT_TOLERANCE if learnt else MODEL_TOLERANCE
    if abs(ratio / made.model_ratio - 1.0) > tolerance:
        found.append(
            f"[reagents] c_alk = {inputs.c_alk:g}: naoh_ratio + c_alk = {ratio:.3f}, but pH "
            f"{inputs.ph:g} needs {made.model_ratio:.3f} NaOH per metal by charge balance; "
            f"permitted within {tolerance:.0%}; "
            f"set c_alk = {made.model_ratio - inputs.naoh_ratio:.3f}"
        )
    for feed, share in STEP_MAX.items():
        change = np.abs(np.diff(flows[feed])[1:] / flows[feed][1:-1])
        if change.max() > share:
            k = int(change.argmax()) + 3
            found.append(
                f"{feed} changes by {change.max():.1%} into step {k}; permitted {share:.0%}"
            )
    if abs(made.rho - inputs.core_to_shell) > RHO_TOLERANCE:
        found.append(
            f"[target] core_to_shell: the rounded flows give {made.rho:.5f}; permitted "
            f"{inputs.core_to_shell:g} ± {RHO_TOLERANCE:g}"
        )
    nickel = [s.ni_frac for s in steps]
    if any(later > earlier + 1e-4 for earlier, later in pairwise(nickel)):
        found.append(
            "[core] ni_mol_l: nickel rises outward, because the core holds less of it than the "
            "shell; exchange the tanks"
        )
    return found


def with_feed_target(inputs: Inputs, target: Metals) -> Inputs:
    """`inputs` aiming at another fed composition (normalised)."""
    total = sum(target)
    ni, co, mn = (x / total for x in target)
    return replace(inputs, target=(ni, co, mn))
