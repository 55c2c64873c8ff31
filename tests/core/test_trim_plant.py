"""What the trim law is told about the reactor."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from edge.core.schedule import Schedule, ScheduleStep
from edge.core.tags import Quality
from edge.core.trim import TrimSettings
from edge.core.trim_plant import (
    Minute,
    Reactor,
    advance,
    at_minute,
    feedforward,
    fill,
    metal_share,
    minute_of,
    probe_fault,
    reagent,
)

SETTINGS = TrimSettings(
    authority_fraction=0.10, max_change_kg_h=20.0, min_change_kg_h=0.5, ttl_s=600,
    accept_time_s=600.0, ph_low=10.95, ph_high=11.45, naoh_mass_fraction=0.48,
    nh4oh_mass_fraction=0.25, metal_mol_l=2.0, metal_density_kg_m3=1285.0, heel_m3=3.0,
    heel_ammonia_mol_l=0.6, max_volume_m3=9.8, ph_reference="process",
    ph_tags=("AIT-A", "AIT-B", "AIT-C", "AIT-D"), naoh_flow="FIC-103.PV",
    naoh_flow_sp="FIC-103.SP", naoh_weight="WI-103.PV", core_flow="FIC-101.PV",
    shell_flow="FIC-102.PV", nh4oh_flow="FIC-104.PV", temperature="TIC-106.PV",
    hold_components=("C03", "C09"),
)  # fmt: skip

SCHEDULE = Schedule(
    name="test",
    steps=tuple(
        ScheduleStep(
            step=i + 1, start_min=i * 60.0, end_min=(i + 1) * 60.0, core_kg_h=500.0,
            shell_kg_h=300.0, naoh_kg_h=200.0, nh4oh_kg_h=32.0, ph_sp=11.2, temp_sp_c=48.0,
            rpm_sp=500.0, ni_frac=0.838, co_frac=0.124, mn_frac=0.038,
        )
        for i in range(18)
    ),
)  # fmt: skip

NAMES = (
    "AIT-A", "AIT-B", "AIT-C", "AIT-D", "FIC-103.PV", "FIC-103.SP", "WI-103.PV", "FIC-101.PV",
    "FIC-102.PV", "FIC-104.PV", "TIC-106.PV", "OTHER",
)  # fmt: skip
LEVEL = (11.24, 11.20, 11.18, 11.17, 206.0, 207.0, 3000.0, 500.0, 300.0, 32.0, 48.0, 1.0)


def rows(count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    values = np.tile(np.array(LEVEL, np.float32), (count, 1))
    return values, np.zeros(values.shape, np.uint8)


def look(values: np.ndarray, quality: np.ndarray) -> Minute:
    return minute_of(SETTINGS, NAMES, values, quality)


def test_four_probes_give_the_mean_of_the_middle_two() -> None:
    m = look(*rows())
    assert m.ph_median == pytest.approx(11.19)
    assert m.ph == pytest.approx(LEVEL[:4])
    assert (m.naoh_kg_h, m.naoh_sp_kg_h, m.temp_c, m.age_s) == pytest.approx((206, 207, 48, 0))


def test_bad_probes_leave_the_median() -> None:
    values, quality = rows()
    values[:, 0], quality[:, 0] = np.nan, Quality.BAD
    assert look(values, quality).ph_median == pytest.approx(11.18)
    values[:, 1], quality[:, 1] = np.nan, Quality.BAD
    m = look(values, quality)
    assert m.ph_median == pytest.approx(11.175)
    assert m.ph[:2] == (None, None)
    quality[:] = Quality.BAD
    nothing = look(values, quality)
    assert nothing.ph_median is None
    assert nothing.naoh_kg_h is None
    assert nothing.age_s == math.inf


def test_uncertain_is_not_good_enough_for_a_suggestion() -> None:
    values, quality = rows()
    quality[:, 4] = Quality.UNCERTAIN
    assert look(values, quality).naoh_kg_h is None


def test_age_counts_from_the_last_whole_row_and_the_set_point_is_the_newest() -> None:
    values, quality = rows()
    quality[-7:, 6] = Quality.BAD
    values[-1, 5] = 199.0
    m = look(values, quality)
    assert m.age_s == 7.0
    assert m.naoh_sp_last_kg_h == 199.0
    quality[:, 11] = Quality.BAD
    assert look(values, quality).age_s == 7.0


def test_a_role_without_a_tag_is_none() -> None:
    values, quality = rows()
    m = minute_of(SETTINGS, NAMES[:-2], values[:, :-2], quality[:, :-2])
    assert m.temp_c is None
    assert m.age_s == math.inf
    empty = minute_of(SETTINGS, NAMES, values[:0], quality[:0])
    assert empty.ph_median is None


@pytest.mark.parametrize(
    ("ph", "want"),
    [
        ((11.2, 11.2, 11.2, 11.2), None),
        ((11.2, 11.2, 11.2, 10.99), "spread"),
        ((11.2, 11.2, None, None), None),
        ((11.2, 11.31, None, None), "few"),
        ((11.2, None, None, None), "few"),
        ((None,) * 4, "few"),
    ],
)
def test_probe_fault(ph: tuple[float | None, ...], want: str | None) -> None:
    m = replace(look(*rows()), ph=ph)
    assert probe_fault(m, 0.2, 0.1) == want


def test_books_of_a_whole_batch_fill_the_reactor_and_keep_the_ammonia() -> None:
    reactor = at_minute(SETTINGS, SCHEDULE, 1080.0)
    assert reactor.volume_m3 == SETTINGS.max_volume_m3
    assert 0.45 < reactor.ammonia_mol_l < 0.75
    early = at_minute(SETTINGS, SCHEDULE, 0.0)
    assert (early.volume_m3, early.ammonia_mol_l) == pytest.approx((3.0, 0.6))


def test_books_by_minute_agree_with_the_start_in_the_middle() -> None:
    m = replace(look(*rows()), naoh_kg_h=200.0)
    reactor = at_minute(SETTINGS, SCHEDULE, 0.0)
    for minute in range(600):
        reactor = advance(SETTINGS, SCHEDULE, reactor, m, float(minute))
    other = at_minute(SETTINGS, SCHEDULE, 600.0)
    assert reactor.volume_m3 == pytest.approx(other.volume_m3)
    assert reactor.ammonia_mol == pytest.approx(other.ammonia_mol)
    blind = replace(m, core_kg_h=None, shell_kg_h=None, naoh_kg_h=None, nh4oh_kg_h=None)
    assert advance(SETTINGS, SCHEDULE, reactor, blind, 600.0) == pytest.approx(
        advance(SETTINGS, SCHEDULE, reactor, m, 600.0)
    )


def test_a_negative_flow_takes_nothing_away() -> None:
    reactor = Reactor(5.0, 3000.0)
    assert fill(SETTINGS, reactor, 1.0, -5.0, -5.0, -5.0) == reactor


def test_reagent_matches_the_hand_calculation_of_the_process_note() -> None:
    # Section 1.4: 0.25 pH is 2.5 kg of solution at 3 m3 and 8.6 kg at 9.8 m3 (N = 0.6 mol/L).
    for volume, kilograms in ((3.0, 2.5), (9.8, 8.6)):
        reactor = Reactor(volume, 0.6 / 0.85 * volume * 1000.0)
        up, per_ph = reagent(SETTINGS, reactor, 11.2, 11.45, 48.0)
        down, _ = reagent(SETTINGS, reactor, 11.2, 10.95, 48.0)
        assert (up - down) / 2.0 == pytest.approx(kilograms, rel=0.12)
        assert per_ph * 0.25 == pytest.approx(kilograms, rel=0.12)
        assert reagent(SETTINGS, reactor, 11.2, 11.2, 48.0)[0] == pytest.approx(0.0, abs=1e-9)


def test_the_ph_reference_does_not_change_the_reagent() -> None:
    reactor = Reactor(6.0, 3600.0)
    other = replace(SETTINGS, ph_reference="25C")
    here = reagent(SETTINGS, reactor, 11.15, 11.2, 48.0)
    there = reagent(other, reactor, 11.15 + 0.69, 11.2 + 0.69, 48.0)
    assert there == pytest.approx(here)


def test_feedforward_follows_the_metal() -> None:
    m = look(*rows())
    assert feedforward(SCHEDULE, 10.0, m) == pytest.approx(200.0)
    assert feedforward(SCHEDULE, 10.0, replace(m, core_kg_h=400.0)) == pytest.approx(175.0)
    assert feedforward(SCHEDULE, 10.0, replace(m, core_kg_h=None)) is None
    assert feedforward(SCHEDULE, 10.0, replace(m, core_kg_h=0.0, shell_kg_h=0.0)) is None
    assert metal_share(SCHEDULE, 10.0, m) == pytest.approx(1.0)
