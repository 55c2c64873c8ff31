"""The next batch: what ICP and yield of the last one say about feeds and NaOH. Pure but for a file.

    eta_i  = metal i in the cake / metal i fed           smoothed: eta += 0.3 (eta_i - eta)
    feed_i ~ target_i / eta_i                            at most 0.5 point away from the last batch
    c_alk += 0.3 b (naoh_ratio + c_alk)                  at most 2 % of the NaOH

A batch teaches only if it was sound: metal balance closed within 2 %, no defect flag, no hold of
the trim for a suspected leak. Composition is not a defect test: a 10 % leak in the core line moves
nickel by 0.43 point only (process note section 5).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edge.config.keys import FileSpec, Key, Section
from edge.core.chemistry import METAL_G_MOL
from export.schedule.design import DesignError, with_feed_target
from export.schedule.inputs import METALS, Inputs, Metals, checked
from export.schedule.lineage import Lineage, Parent

SHARE = 0.3
BALANCE = 0.02
POINT_MAX = 0.005
NAOH_MAX = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What the laboratory and the line say about one batch."""

    id: str
    core_kg: float
    """Fed, by tank weight."""
    shell_kg: float
    cake_kg: float
    """Dried cake."""
    icp: Metals
    """Mass fractions of Ni, Co, Mn in the dried cake."""
    samples: tuple[str, ...]
    demand: float
    """Mean NaOH demand b of the batch: share by which it needed more than scheduled."""
    defect_flag: bool
    leak_hold: bool


_BATCH = Section(
    subject="[batch]",
    keys=(
        Key(name="id", kind="text", pattern=r"\S+", example="B-0412", doc="Batch."),
        Key(name="core_kg", kind="real", unit="kg", low=0, high=100_000, above=True,
            doc="Core solution fed, by tank weight."),
        Key(name="shell_kg", kind="real", unit="kg", low=0, high=100_000, above=True,
            doc="Shell solution fed, by tank weight."),
        Key(name="cake_kg", kind="real", unit="kg", low=0, high=100_000, above=True,
            doc="Dried cake."),
        Key(name="demand", kind="real", low=-0.15, high=0.15, unit="1",
            doc="Mean NaOH demand b of the batch, from the appliance's history."),
        Key(name="defect_flag", kind="flag", doc="A defect was flagged during the batch."),
        Key(name="leak_hold", kind="flag",
            doc="The trim was held for an NaOH demand anomaly during the batch."),
        Key(name="samples", kind="texts", min_items=1, doc="Laboratory sample ids."),
    ),
)  # fmt: skip
_ICP = Section(
    subject="[icp]",
    keys=tuple(
        Key(name=f"{m}_wt", kind="real", low=0, high=0.7, unit="kg/kg",
            doc=f"{m.title()} in the dried cake.")
        for m in METALS
    ),
)  # fmt: skip
SPEC = FileSpec(
    name="batch result",
    doc="What the laboratory and the line say about one batch.",
    section=Section(
        subject="",
        keys=(
            Key(name="batch", kind="table", section=_BATCH, doc="The batch."),
            Key(name="icp", kind="table", section=_ICP, doc="Its assay."),
        ),
    ),
)


def load_result(path: Path) -> Result:
    """A batch's result. Raises ConfigError with every fault: file, line, key, value, remedy."""
    values = checked(SPEC, path).values
    ni, co, mn = (values["icp"][f"{m}_wt"] for m in METALS)
    return Result(**values["batch"], icp=(ni, co, mn))


def refine(inputs: Inputs, parent: Parent, result: Result) -> tuple[Inputs, Lineage, list[str]]:
    """(inputs of the next batch, its lineage without a signature, what was cut back and why).

    Raises DesignError with every reason why this batch may not teach the next.
    """
    metal_g = METAL_G_MOL
    feeds = parent.schedule.feeds
    fed = (
        np.array(feeds.core_mol_kg) * result.core_kg
        + np.array(feeds.shell_mol_kg) * result.shell_kg
    )
    cake = result.cake_kg * 1000.0 * np.array(result.icp) / metal_g
    _refuse(result, float(cake.sum() / fed.sum()), fed)
    target = np.array(inputs.target)
    eta = np.array(parent.lineage.eta)
    # A metal that is not fed has no yield.
    measured = np.where(fed > 0.0, cake / np.maximum(fed, 1e-9), eta)
    eta = eta + SHARE * (measured - eta)
    wanted = target / eta
    wanted /= wanted.sum()
    before = np.array(parent.lineage.feed_target)
    notes = []
    move = wanted - before
    if np.abs(move).max() > POINT_MAX:
        notes.append(
            f"feed composition: {np.abs(move).max() * 100:.2f} points wanted, cut back to "
            f"{POINT_MAX * 100:g} point in one batch"
        )
        move *= POINT_MAX / np.abs(move).max()
    ni, co, mn = (before + move).tolist()
    ratio = inputs.naoh_ratio + parent.lineage.c_alk
    change = SHARE * result.demand * ratio
    if abs(change) > NAOH_MAX * ratio:
        notes.append(f"NaOH: {change / ratio:+.1%} wanted, cut back to {NAOH_MAX:.0%} in one batch")
        change = float(np.copysign(NAOH_MAX * ratio, change))
    c_alk = parent.lineage.c_alk + change
    lineage = Lineage(
        c_alk=c_alk,
        eta=(float(eta[0]), float(eta[1]), float(eta[2])),
        feed_target=(ni, co, mn),
        parent=parent.sha256,
        batch=result.id,
        samples=result.samples,
    )
    return replace(with_feed_target(inputs, (ni, co, mn)), c_alk=c_alk), lineage, notes


def _refuse(result: Result, closure: float, fed: np.ndarray) -> None:
    reasons = []
    if abs(closure - 1.0) > BALANCE:
        reasons.append(
            f"[batch] cake_kg = {result.cake_kg:g}: {closure:.1%} of the metal fed is in the cake; "
            f"permitted 100 ± {BALANCE:.0%}; check weights, drying and ICP"
        )
    if result.defect_flag:
        reasons.append("[batch] defect_flag = true: a defective batch teaches its defect")
    if result.leak_hold:
        reasons.append("[batch] leak_hold = true: its NaOH demand may be a leak's")
    if reasons:
        raise DesignError(
            f"batch {result.id} cannot refine the next schedule:\n" + "\n".join(reasons)
        )
