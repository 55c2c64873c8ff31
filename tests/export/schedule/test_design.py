"""The schedule optimiser: its acceptance, what it refuses, and how it blends anew."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.core.schedule import parse_csv, reference_schedule
from export.schedule.blend import blends
from export.schedule.design import DesignError, best_rho, design, faults, fed, shell_for
from export.schedule.inputs import Inputs, load_inputs
from export.schedule.lineage import Lineage, document
from export.schedule.picture import gradient
from export.schedule.report import mean
from export.schedule.trial import BAND_PH, worst_ph

INPUTS = load_inputs(Path("ncm838"))
MADE = design(INPUTS)
FLOWS = ("core_kg_h", "shell_kg_h", "naoh_kg_h", "nh4oh_kg_h")


def test_the_default_inputs_give_the_reference_schedule() -> None:
    for made, known in zip(MADE.schedule.steps, reference_schedule().steps, strict=True):
        assert (made.start_min, made.end_min) == (known.start_min, known.end_min)
        for flow in FLOWS:
            assert getattr(made, flow) == pytest.approx(getattr(known, flow), abs=0.11)


def test_acceptance() -> None:
    steps = MADE.schedule.steps
    assert MADE.residual < 1e-4
    assert abs(MADE.rho - 1.0015) <= 0.0005
    assert sum(s.end_min - s.start_min for s in steps) == 1080.0
    assert mean(MADE.schedule, "naoh_kg_h") == pytest.approx(206.67, rel=0.005)
    assert (steps[0].nh4oh_kg_h, steps[-1].nh4oh_kg_h) == (43.2, 20.77)
    assert MADE.model_ratio == pytest.approx(2.004, abs=0.001)
    assert faults(INPUTS, MADE) == []


def test_the_untrimmed_twin_stays_in_its_band() -> None:
    heard: list[float] = []
    assert worst_ph(MADE.schedule, heard.append) < BAND_PH
    assert heard[-1] == 1.0


def test_the_file_reads_back_with_its_tanks() -> None:
    lineage = Lineage(c_alk=0.134, feed_target=INPUTS.target)
    read = parse_csv(document(MADE, INPUTS, INPUTS.target, lineage, "test"))
    assert read.steps == MADE.schedule.steps
    assert read.feeds.core_mol_kg == pytest.approx(INPUTS.core_mol_kg, rel=1e-8)
    assert read.feeds.naoh_mol_kg == pytest.approx((INPUTS.naoh_mol_kg,), rel=1e-8)


def test_without_an_assay_the_shell_tank_is_computed() -> None:
    made = design(replace(INPUTS, shell_mol_kg=None))
    assert np.array(made.shell_mol_kg) / sum(made.shell_mol_kg) == pytest.approx(
        [0.7559, 0.1881, 0.0560], abs=5e-5
    )
    assert made.residual < 1e-4


@settings(max_examples=25, deadline=None)
@given(
    ni=st.floats(0.6, 0.9), share=st.floats(0.2, 0.8), richer=st.floats(0.01, 0.06),
    rho=st.floats(0.7, 1.5), strength=st.floats(0.8, 1.6),
)  # fmt: skip
def test_any_reachable_target_is_met(
    ni: float, share: float, richer: float, rho: float, strength: float
) -> None:
    rest = 1.0 - ni
    target = (ni, rest * share, rest * (1.0 - share))
    core_rest = rest - richer
    core = tuple(x * strength for x in (ni + richer, core_rest * share, core_rest * (1.0 - share)))
    wanted = replace(
        INPUTS, target=target, core_to_shell=rho, shell_mol_kg=None, core_mol_kg=core,
        metal_kmol=22.0 * strength / 1.556,
    )  # fmt: skip
    made = design(wanted)
    assert made.residual < 1e-4
    assert abs(made.rho - rho) < 0.0005
    nickel = [s.ni_frac for s in made.schedule.steps]
    assert all(later <= earlier + 1e-4 for earlier, later in pairwise(nickel))


def test_an_unreachable_target_names_the_metal_and_the_remedy() -> None:
    rich = replace(INPUTS, shell_mol_kg=None, core_mol_kg=(1.0, 0.5, 0.0))
    with pytest.raises(
        DesignError, match=r"co_mol_l: Co is 33.33% of the core and 12.40%.*less Co"
    ):
        shell_for(rich)


def test_rho_moves_within_its_tolerance_only() -> None:
    weak = tuple(0.99 * mol for mol in INPUTS.shell_mol_kg or ())
    assert 1.0015 - 0.0005 < best_rho(INPUTS, weak) < 1.0015
    same = replace(INPUTS, shell_mol_kg=INPUTS.core_mol_kg)
    assert best_rho(same, INPUTS.core_mol_kg) == INPUTS.core_to_shell


def test_a_programme_cannot_reach_every_ratio() -> None:
    with pytest.raises(DesignError, match=r"core_to_shell = 9.*choose a value in between"):
        design(replace(INPUTS, core_to_shell=9.0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"c_alk": 0.0}, "c_alk = 0: naoh_ratio [+] c_alk = 1.870.*set c_alk = 0.134"),
        ({"limits": INPUTS.limits | {"naoh": (100.0, 200.0)}}, "naoh: the schedule needs 184.3"),
        ({"turndown": 5.0}, "turndown = 5: core runs from 915.5 down to 93"),
        (
            {"core_mol_kg": INPUTS.shell_mol_kg, "shell_mol_kg": INPUTS.core_mol_kg},
            "nickel rises outward",
        ),
    ],
)
def test_what_a_schedule_may_not_be(changes: dict[str, object], message: str) -> None:
    wrong = replace(INPUTS, **changes)  # type: ignore[arg-type]
    assert re.search(message, "\n".join(faults(wrong, design(wrong))))


def blended(inputs: Inputs, tank: str, mol_kg: tuple[float, float, float]) -> float:
    core = mol_kg if tank == "core" else inputs.core_mol_kg
    shell = mol_kg if tank == "shell" else inputs.shell_mol_kg
    assert shell is not None
    made = fed(inputs.core_to_shell, 1.0, core, shell)
    return max(abs(m - t) for m, t in zip(made, inputs.target))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0.85, 1.15), min_size=6, max_size=6))
def test_blending_anew_reaches_the_target_from_any_assay(off: list[float]) -> None:
    assert INPUTS.shell_mol_kg is not None
    core = tuple(mol * f for mol, f in zip(INPUTS.core_mol_kg, off[:3]))
    shell = tuple(mol * f for mol, f in zip(INPUTS.shell_mol_kg, off[3:]))
    wrong = replace(INPUTS, core_mol_kg=core, shell_mol_kg=shell)
    advice = blends(wrong, shell)
    assert advice[0].total_kg <= advice[1].total_kg
    for blend in advice:
        assert min(blend.add_kg) >= 0.0
        assert min(blend.add_kg) < 1e-6  # the metal in surplus needs nothing
        assert blended(wrong, blend.tank, blend.mol_kg) < 1e-6


def test_the_particle_is_rich_in_nickel_inside() -> None:
    radius, shares = gradient(MADE.schedule)
    assert radius[0] == 0.0
    assert radius[-1] == pytest.approx(1.0)
    assert (np.diff(radius) > 0.0).all()
    assert (np.diff(shares[:, 0]) <= 0.0).all()
    whole = np.diff(radius**3) @ shares
    assert whole == pytest.approx(INPUTS.target, abs=1e-4)
