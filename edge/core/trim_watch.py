"""What the trim advisor keeps watch on: the books of the reactor, the NaOH demand, and every hold.

Limits are those of process note section 4. The order of the checks is the order in which an
engineer would ask: is there a batch, do the probes agree, is the input fresh, do the devices work,
do flow and tank agree; only then what the verdict and the operator say.
"""

from __future__ import annotations

from dataclasses import replace

from edge.core.batch import BACK_MIN, BatchState
from edge.core.registers import Control, TrimReason
from edge.core.schedule import Schedule
from edge.core.trim import TrimSettings, reset_share
from edge.core.trim_advice import Advice, Guard
from edge.core.trim_plant import Minute, advance, at_minute, fill, metal_share, probe_fault

MAX_AGE_S = 10.0
SPREAD_PH = 0.2
PAIR_PH = 0.1
FLOW_OFF_SP = 0.03
WEIGHT_MISMATCH = 0.02
WEIGHT_MINUTES = 20
REFILL_KG = 20.0
TEMP_BAND_C = 1.0
FEEDS_HELD_SHARE = 0.2
"""Metal flow below this share of the schedule means that the feeds are held."""
ANOMALY = 0.015
"""|need - its reference| of the 15-minute mean that holds the suggestion."""
MEAN_MINUTES = 15
LEARN_MINUTES = 45
"""Minutes after a start or an explained step before b has a reference."""
REFERENCE_MINUTES = 240
"""Time constant of b_ref once it is old; a young reference follows faster."""
METAL_STEADY = 0.03
"""While the metal flow is further than this from its own recent mean, the NaOH that is applied says
nothing about the demand: b stands still."""
JUMP = 0.20
JUMP_MINUTES = 2
"""A pH that moves in a minute as if this share of the NaOH were missing is not the feed, unless it
goes on moving for longer: the mean of a minute spreads one step over two."""
DELAY_MINUTES = 2
"""The pH of a minute shows what was fed one to two minutes before (dead time, mixing, probe, mean):
it is set against that, and after a hold or a change of the metal flow against nothing."""
WARMUP_MINUTES = 5
AWAY_MIN = 3.0
"""Batch minutes that jump further than this passed without the appliance."""


def enter(advice: Advice, settings: TrimSettings, schedule: Schedule, guard: Guard) -> Advice:
    """Open the books of a new batch where the PLC says it is, or take up those of this one.

    Minutes the appliance was away are booked as scheduled.
    """
    minutes = guard.batch.minutes
    away = minutes - advice.batch_minutes
    advice = replace(advice, batch_minutes=minutes)
    if advice.reactor is not None and advice.batch_id == guard.batch.batch_id and away > -BACK_MIN:
        if away <= AWAY_MIN:
            return advice
        reactor = advice.reactor
        for missed in range(1, int(away)):
            step = schedule.at(minutes - away + missed)
            reactor = fill(
                settings, reactor, 1.0, step.core_kg_h + step.shell_kg_h, step.naoh_kg_h,
                step.nh4oh_kg_h,
            )  # fmt: skip
        return replace(advice, reactor=reactor, weights=())
    return replace(
        advice,
        batch_id=guard.batch.batch_id,
        reactor=at_minute(settings, schedule, minutes),
        minutes=0,
        demand=None,
        metal_share=None,
        missing=None,
        recent=(),
        reference=None,
        learning=0,
        anomaly=False,
        weights=(),
    )


def keep_books(
    advice: Advice, settings: TrimSettings, schedule: Schedule, m: Minute, guard: Guard,
    ph_sp: float,
) -> Advice:  # fmt: skip
    """Volume, ammonia and tank weight go on whatever is held; explained steps drop b_ref."""
    reactor = advice.reactor
    if guard.batch.state is BatchState.RUNNING and reactor is not None:
        reactor = advance(settings, schedule, reactor, m, guard.batch.minutes)
    weights = advice.weights
    refilled = False
    if m.naoh_weight_kg is None or m.naoh_kg_h is None:
        weights = ()
    else:
        refilled = bool(weights) and m.naoh_weight_kg > weights[-1][0] + REFILL_KG
        weights = () if refilled else weights
        weights = (*weights, (m.naoh_weight_kg, m.naoh_kg_h))[-(WEIGHT_MINUTES + 1) :]
    maint_event = advice.maint_event if guard.plc is None else guard.plc.maint_event
    explained = (
        refilled
        or advice.acknowledged
        or (advice.ph_sp is not None and abs(ph_sp - advice.ph_sp) > 0.02)
        or (advice.maint_event is not None and maint_event != advice.maint_event)
    )
    advice = replace(
        advice, reactor=reactor, weights=weights, ph_sp=ph_sp, maint_event=maint_event,
        acknowledged=False,
    )  # fmt: skip
    if not explained:
        return advice
    return replace(advice, reference=None, learning=0, recent=(), anomaly=False, missing=None)


def input_hold(
    advice: Advice, settings: TrimSettings, schedule: Schedule, m: Minute, guard: Guard
) -> TrimReason | None:
    """The first reason why the inputs of this minute cannot be trusted; b is frozen meanwhile."""
    batch = guard.batch
    step = schedule.at(batch.minutes)
    if not batch.active:
        return TrimReason.NO_BATCH
    share = metal_share(schedule, batch.minutes, m)
    if batch.state is BatchState.HELD or (share is not None and share < FEEDS_HELD_SHARE):
        return TrimReason.FEEDS_HELD
    fault = probe_fault(m, SPREAD_PH, PAIR_PH)
    if fault is not None:
        few = fault == "few"
        return TrimReason.PH_PROBES_FEW if few else TrimReason.PH_PROBES_SPREAD
    if m.age_s > MAX_AGE_S or m.temp_c is None:
        return TrimReason.STALE_INPUT
    watched = {settings.naoh_flow, settings.naoh_flow_sp, settings.naoh_weight, *settings.ph_tags}
    if watched & guard.device_faults:
        return TrimReason.NAOH_DEVICE_FAULT
    if (
        m.naoh_kg_h is not None
        and m.naoh_sp_kg_h is not None
        and m.naoh_sp_kg_h > 0.0
        and (abs(m.naoh_kg_h / m.naoh_sp_kg_h - 1.0) > FLOW_OFF_SP)
    ):
        return TrimReason.NAOH_FLOW_OFF_SP
    if _weight_mismatch(advice.weights) > WEIGHT_MISMATCH:
        return TrimReason.NAOH_WEIGHT_MISMATCH
    if abs(m.temp_c - step.temp_sp_c) > TEMP_BAND_C:
        return TrimReason.TEMPERATURE_OUT
    return None


def _weight_mismatch(weights: tuple[tuple[float, float], ...]) -> float:
    """|tank loss / metered flow - 1| over the last 20 minutes; 0 while they are not complete."""
    if len(weights) <= WEIGHT_MINUTES:
        return 0.0
    flows = [flow for _, flow in weights]
    metered = (sum(flows) - (flows[0] + flows[-1]) / 2.0) / 60.0
    lost = weights[0][0] - weights[-1][0]
    return abs(lost / metered - 1.0) if metered > 0.0 else 0.0


def follow_demand(
    advice: Advice, applied: float, share: float, tau_c_s: float, missing: float
) -> Advice:
    """External reset of b on what was really applied, and the watch on the need for NaOH.

    `applied` is F_applied / u_ff - 1, `share` the measured over the scheduled metal flow, `missing`
    the reagent error z in hours of u_ff. What the reactor needs is what was applied plus what it
    went short of meanwhile. The law's own b cannot be watched for a leak: it follows every
    correction that is still in force, and a frozen correction would keep the alarm up for ever.
    """
    before, lately = advice.missing, advice.lately
    advice = replace(advice, missing=missing, lately=(*lately, applied)[-DELAY_MINUTES:])
    usual = share if advice.metal_share is None else advice.metal_share
    steady = abs(share - usual) <= METAL_STEADY
    usual += (share - usual) / MEAN_MINUTES
    advice = replace(advice, metal_share=usual, minutes=advice.minutes + 1)
    if not steady:
        return replace(advice, lately=())
    demand = applied if advice.demand is None else advice.demand
    demand += reset_share(tau_c_s, 60.0) * (applied - demand)
    advice = replace(advice, demand=demand)
    if before is None or len(lately) < DELAY_MINUTES:
        return advice
    short = (missing - before) * 60.0
    # A pH that jumps is an instrument being adjusted or taken out; a leak goes on.
    jumps = advice.jumps + 1 if abs(short) > JUMP else 0
    need = sum(lately) / len(lately) + (0.0 if 0 < jumps <= JUMP_MINUTES else short)
    advice = replace(advice, jumps=jumps)
    recent = (*advice.recent, need)[-MEAN_MINUTES:]
    learning = advice.learning + 1
    mean = sum(recent) / len(recent)
    reference, anomaly = advice.reference, advice.anomaly
    if reference is None:
        reference = mean if learning >= LEARN_MINUTES else None
    else:
        away = abs(mean - reference)
        anomaly = away > ANOMALY / 2.0 if anomaly else away > ANOMALY
        if not anomaly:
            reference += (mean - reference) / min(learning, REFERENCE_MINUTES)
    return replace(advice, recent=recent, learning=learning, reference=reference, anomaly=anomaly)


def policy_hold(
    advice: Advice, settings: TrimSettings, guard: Guard, now_s: float
) -> TrimReason | None:
    """The first reason why no suggestion may be shown although the inputs are sound."""
    if guard.plc is None or not guard.plc_alive:
        return TrimReason.PLC_SILENT
    if not guard.plc.control & Control.ADVICE_ENABLED:
        return TrimReason.ADVICE_DISABLED
    if advice.anomaly:
        return TrimReason.NAOH_DEMAND_ANOMALY
    suspected = {suspect.component for suspect in guard.suspects} & set(settings.hold_components)
    if guard.verdict.flag and suspected:
        return TrimReason.DEFECT_SUSPECTED
    if not guard.verdict.valid:
        return TrimReason.NO_VERDICT
    if guard.drift:
        return TrimReason.DRIFT
    if advice.minutes < WARMUP_MINUTES:
        return TrimReason.WARMING_UP
    return TrimReason.AWAITING_EFFECT if now_s < advice.quiet_until_s else None
