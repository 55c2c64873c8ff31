"""The vessel: conservation, the paper's 1.87, and what happens at the end of the pipe."""

from __future__ import annotations

import numpy as np
import pytest

from edge.core.schedule import reference_schedule
from edge.twin import params, shifts
from edge.twin.model import METAL_MOL_KG, NAOH_MOL_KG, NH3_MOL_KG, Model, field, sample
from edge.twin.params import Array
from edge.twin.reactor import Reactor

FRACTIONS = np.array([0.838, 0.124, 0.038])


def fill(ratio: float, minutes: int, *, liquor_removal: bool = True) -> tuple[Reactor, Array]:
    """A vessel fed by the reference schedule, NaOH at `ratio` per metal: (vessel, pH [steps])."""
    recipe = sample(reference_schedule())
    one = np.ones(1)
    reactor = Reactor(3.0 * one, 11.2 * one, 0.6 * one, 48.0 * one, liquor_removal=liquor_removal)
    ph = []
    for k in range(minutes * 6):
        core, shell, _, nh4oh = recipe.flows[k] / 3600.0
        metals = (core + shell) * METAL_MOL_KG
        naoh = ratio * metals / NAOH_MOL_KG
        inflow = np.array([(ratio - 2.0) * metals, NH3_MOL_KG * nh4oh, *(metals * FRACTIONS)])
        volume = (core + shell) / 1285.0 + naoh / 1492.0 + nh4oh / 910.0
        mass = core + shell + naoh + nh4oh
        reactor.step(10.0, inflow[:, None], volume * one, mass * one, 48.0 * one)
        ph.append(float(reactor.ph[0]))
    return reactor, np.array(ph)


def test_the_predefined_ratio_alone_leaves_the_band_in_minutes() -> None:
    reactor, ph = fill(1.87, 1080)
    left_min = np.argmax(np.abs(ph - 11.2) > 0.25) / 6.0
    assert 8.0 < left_min < 14.0
    assert ph[-1] == pytest.approx(9.5, abs=0.3)
    nickel_mg_l = float(reactor.dissolved[0, 0]) * 58_693.0
    assert 2500.0 < nickel_mg_l < 5000.0


def test_the_realised_ratio_stays_near_the_set_point() -> None:
    _, ph = fill(2.004, 1080)
    assert float(np.abs(ph - 11.2).max()) < 0.25


def test_what_goes_in_stays_in_or_left_with_the_liquor() -> None:
    reactor, _ = fill(2.004, 1080)
    schedule = reference_schedule()
    hours = [(s.end_min - s.start_min) / 60.0 for s in schedule.steps]
    metal_kg = sum(
        (s.core_kg_h + s.shell_kg_h) * h for s, h in zip(schedule.steps, hours, strict=True)
    )
    fed_mol = metal_kg * METAL_MOL_KG + 0.01 * 3000.0
    left_mol = float(reactor.mol[2:].sum())
    assert left_mol < fed_mol
    assert left_mol == pytest.approx(fed_mol, rel=0.002)  # only dissolved metal leaves
    assert float(reactor.removed_m3[0]) == pytest.approx(7.5, abs=0.2)
    assert float(reactor.volume_m3[0]) == pytest.approx(9.8)
    assert float(reactor.solids_kg[0]) == pytest.approx(2062.0, rel=0.005)
    assert 1270.0 < float(reactor.density_kg_m3[0]) < 1340.0


def test_without_liquor_removal_the_vessel_overflows() -> None:
    reactor, _ = fill(2.004, 1080, liquor_removal=False)
    assert float(reactor.volume_m3[0]) == pytest.approx(17.3, abs=0.1)
    assert float(reactor.removed_m3[0]) == 0.0


def test_the_schedule_alone_holds_the_nominal_plant() -> None:
    """Process note section 5: closed by nobody, the nominal batch stays within 0.25."""
    recipe = sample(reference_schedule())
    model = Model(shifts.stack([shifts.as_built()]), recipe, np.zeros(1))
    p = params.DEFAULTS[:, None]
    ph = np.array([model.step(p)[field("ph")][0, 0] for _ in range(recipe.steps)])
    assert float(np.abs(ph - 11.2).max()) < 0.20


def test_a_stopped_caustic_pump_is_felt_within_minutes() -> None:
    recipe = sample(reference_schedule())
    model = Model(shifts.stack([shifts.as_built()]), recipe, np.zeros(1))
    p = params.DEFAULTS[:, None].copy()
    for _ in range(60):
        model.step(p)
    p[params.row("leak", 2)] = 1.0
    ph = np.array([model.step(p)[field("ph")][0, 0] for _ in range(30)])
    left_min = float(np.argmax(np.abs(ph - 11.2) > 0.25)) / 6.0
    assert 0.5 < left_min < 3.5


def test_lost_cooling_warms_the_vessel_by_about_three_kelvin_an_hour() -> None:
    recipe = sample(reference_schedule())
    model = Model(shifts.stack([shifts.as_built()]), recipe, np.zeros(1))
    p = params.DEFAULTS[:, None].copy()
    for _ in range(6 * 600):
        record = model.step(p)
    before = float(record[field("temp")][0, 0])
    assert before == pytest.approx(48.0, abs=0.2)
    p[params.row("ua")] = 0.999
    for _ in range(6 * 60):
        record = model.step(p)
    assert 2.0 < float(record[field("temp")][0, 0]) - before < 5.0
