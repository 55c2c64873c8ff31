"""The trim law: what it proposes, and the limits it never leaves."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.registers import TrimReason
from edge.core.trim import (
    AUTHORITY_MAX,
    DEAD_ZONE_KG,
    DEAD_ZONE_PH,
    Figures,
    Held,
    Move,
    TrimSettings,
    closed_loop_s,
    propose,
    reset_share,
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

STILL = Figures(
    feedforward_kg_h=200.0, demand=0.0, error_kg=0.0, kg_per_ph=20.0, ph=11.2, ph_sp=11.2,
    base_kg_h=200.0, in_force_kg_h=200.0,
)  # fmt: skip
TAU_S = 300.0
DEAD_KG = DEAD_ZONE_PH * STILL.kg_per_ph


def move(**changes: float) -> Move:
    out = propose(replace(STILL, **changes), SETTINGS, TAU_S)
    assert isinstance(out, Move)
    return out


def held(**changes: float) -> TrimReason:
    out = propose(replace(STILL, **changes), SETTINGS, TAU_S)
    assert isinstance(out, Held)
    return out.reason


def test_on_target_nothing_is_asked() -> None:
    assert held() is TrimReason.ON_TARGET
    assert held(error_kg=DEAD_ZONE_KG * 0.99, kg_per_ph=40.0) is TrimReason.ON_TARGET
    assert held(demand=0.4 / 200.0) is TrimReason.ON_TARGET


def test_what_lies_beyond_the_dead_zone_counts_and_the_zone_shrinks_with_the_reactor() -> None:
    per_kg = 3600.0 / (TAU_S + 110.0)
    full = move(error_kg=DEAD_ZONE_KG + 0.2, kg_per_ph=40.0)
    assert full.trim_kg_h == pytest.approx(0.2 * per_kg)
    assert move(error_kg=-DEAD_ZONE_KG - 0.2, kg_per_ph=40.0).trim_kg_h == -full.trim_kg_h
    # In a nearly empty reactor 1 kg is 0.1 pH.
    empty = move(error_kg=0.5, kg_per_ph=10.0, ph=11.15)
    assert empty.trim_kg_h == pytest.approx((0.5 - DEAD_ZONE_PH * 10.0) * per_kg)


def test_missing_reagent_is_made_up_over_the_closed_loop_time() -> None:
    up = move(error_kg=1.5, ph=11.1)
    assert up.trim_kg_h == pytest.approx(3600.0 * (1.5 - DEAD_KG) / (TAU_S + 110.0))
    assert up.reason is TrimReason.PH_LOW
    assert not up.clamped
    assert up.predicted_ph == pytest.approx(11.1 + up.trim_kg_h / 6.0 / 20.0)
    assert move(error_kg=-1.5, ph=11.3).trim_kg_h == pytest.approx(-up.trim_kg_h)


def test_reasons_follow_the_ph() -> None:
    assert move(error_kg=-1.5, ph=11.3).reason is TrimReason.PH_HIGH
    assert move(error_kg=4.0, ph=10.9).reason is TrimReason.NICKEL_UNPRECIPITATED
    assert move(error_kg=-4.0, ph=11.5).reason is TrimReason.LOCAL_SUPERSATURATION
    assert move(feedforward_kg_h=190.0).reason is TrimReason.SCHEDULE_DEVIATION


def test_the_trim_is_counted_from_the_base_not_from_the_flow_in_force() -> None:
    already = move(error_kg=-1.5, ph=11.3, base_kg_h=200.0, in_force_kg_h=206.0, demand=0.03)
    assert already.trim_kg_h == pytest.approx(6.0 - 3600.0 * (1.5 - DEAD_KG) / 410.0)


def test_rate_and_authority_clamp_and_say_so() -> None:
    fast = move(error_kg=-20.0, ph=11.6)
    assert fast.trim_kg_h == pytest.approx(-20.0)
    assert fast.clamped
    assert (fast.lo_kg_h, fast.hi_kg_h) == pytest.approx((-20.0, 20.0))
    far = move(error_kg=-20.0, ph=11.6, in_force_kg_h=185.0, demand=-0.075)
    assert far.trim_kg_h == pytest.approx(-20.0)  # 10 % of 200, though the rate would permit 35
    assert held(error_kg=-20.0, ph=11.6, in_force_kg_h=180.0) is TrimReason.OUTSIDE_AUTHORITY


def test_a_flow_far_outside_is_not_chased() -> None:
    assert held(in_force_kg_h=120.0) is TrimReason.OUTSIDE_AUTHORITY
    assert held(in_force_kg_h=300.0) is TrimReason.OUTSIDE_AUTHORITY


def test_raising_stops_below_the_predicted_limit() -> None:
    stiff = move(error_kg=5.0, ph=11.2)
    assert stiff.clamped
    assert stiff.predicted_ph == pytest.approx(11.30)
    assert held(error_kg=5.0, ph=11.31) is TrimReason.PREDICTED_PH_HIGH


@pytest.mark.parametrize("name", list(Figures.__dataclass_fields__))
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_figure_that_is_no_number_is_no_suggestion(name: str, value: float) -> None:
    assert held(**{name: value}) is TrimReason.NO_FEEDFORWARD


def check(figures: Figures, settings: TrimSettings, tau_s: float) -> bool:
    """Every promise of `propose`; returns whether it moved."""
    out = propose(figures, settings, tau_s)
    if isinstance(out, Held):
        return False
    flow = figures.base_kg_h + out.trim_kg_h
    slack = 1e-9 * (1.0 + abs(figures.base_kg_h) + abs(figures.in_force_kg_h))
    authority = min(settings.authority_fraction, AUTHORITY_MAX)
    assert abs(flow / figures.feedforward_kg_h - 1.0) <= authority + slack
    assert abs(flow - figures.in_force_kg_h) <= settings.max_change_kg_h + slack
    assert abs(flow - figures.in_force_kg_h) >= settings.min_change_kg_h - slack
    assert flow >= -slack
    assert out.lo_kg_h - slack <= out.trim_kg_h <= out.hi_kg_h + slack
    if flow > figures.in_force_kg_h + slack:
        assert out.predicted_ph <= figures.ph_sp + 0.10 + 1e-6 + 1e-9 * abs(figures.ph)
    return True


def test_a_hundred_thousand_random_figures_stay_inside_the_limits() -> None:
    draw = random.Random(7)
    moved = 0
    for _ in range(100_000):
        feedforward = draw.uniform(1.0, 400.0)
        base = feedforward * draw.uniform(0.8, 1.2)
        moved += check(
            Figures(
                feedforward_kg_h=feedforward,
                demand=draw.gauss(0.0, 0.05),
                error_kg=draw.gauss(0.0, 5.0),
                kg_per_ph=draw.uniform(1.0, 60.0),
                ph=draw.gauss(11.2, 0.3),
                ph_sp=draw.uniform(10.9, 11.5),
                base_kg_h=base,
                in_force_kg_h=base * draw.uniform(0.9, 1.1),
            ),
            replace(
                SETTINGS,
                authority_fraction=draw.uniform(0.0, 0.3),
                max_change_kg_h=draw.uniform(0.6, 40.0),
            ),
            draw.uniform(110.0, 1000.0),
        )
    assert moved > 30_000


@given(st.builds(Figures, **{name: st.floats() for name in Figures.__dataclass_fields__}),
       st.floats(1.0, 1e4))  # fmt: skip
def test_no_figures_whatever_break_a_limit(figures: Figures, tau_s: float) -> None:
    check(figures, SETTINGS, tau_s)


def test_time_constants() -> None:
    assert closed_loop_s(60.0) == 110.0
    assert closed_loop_s(600.0) == 300.0
    assert reset_share(300.0, 60.0) == pytest.approx(1 - math.exp(-60 / 1640))
