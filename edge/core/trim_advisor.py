"""Who holds, offers and speaks with the PLC: the trim advisor as two pure folds.

`minute` runs the law once a minute and decides Offered or Held; `second` follows the dialogue with
the PLC. Both take the advice before and return the advice after; the clock is an argument.

State of a suggestion (word TRIM_STATE) and what moves it:

    none ----------- the law proposes a move, nothing holds -------------->  offered (new TRIM_SEQ)
    offered -------- ACCEPT for this TRIM_SEQ ---------------------------->  accepted
    offered -------- REJECT for this TRIM_SEQ (wins over ACCEPT) --------->  rejected
    offered -------- TTL over -------------------------------------------->  expired
    offered -------- base moved, heartbeat lost, held, any hold reason --->  withdrawn
    offered -------- the law now wants something clearly different ------->  offered (new TRIM_SEQ)
    accepted ------- the PLC's trim settles away from the suggestion ----->  applied with clamp
    accepted ------- heartbeat lost -------------------------------------->  withdrawn
    any closed ----- next minute without an offer ------------------------>  none, with hold reason

An answer to another TRIM_SEQ is ignored. The advisor never takes an accepted trim back by itself:
the PLC keeps it, as a ratio, until replaced, expired by silence, or switched off.

Two kinds of hold: while the *inputs* cannot be trusted the demand b is frozen; while only the
*suggestion* is withheld b goes on following what is really applied, so that the return is bumpless.
Feedback hides leaks: a NaOH demand anomaly (the need for NaOH, applied plus what the pH went short,
away from its own hours-long reference) holds until the need returns, the operator acknowledges it,
or a refill, set-point change or maintenance entry explains it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from edge.core.outputs import PlcState, next_seq
from edge.core.registers import Control, TrimReason, TrimState
from edge.core.schedule import Schedule
from edge.core.trim import (
    Expired,
    Figures,
    Held,
    Move,
    Offered,
    TrimSettings,
    closed_loop_s,
    propose,
    stands,
)
from edge.core.trim_advice import Advice, Guard, from_plain, shown, to_plain, ttl_s
from edge.core.trim_plant import Minute, believable, feedforward, metal_share, reagent
from edge.core.trim_watch import (
    enter,
    follow_demand,
    input_hold,
    keep_books,
    policy_hold,
)

__all__ = ["Advice", "Guard", "TrimAdvisor", "from_plain", "shown", "to_plain", "ttl_s"]

BASE_TOLERANCE = 0.015
SETTLE_S = 60.0
"""After an answer no new suggestion for this long: the effect has to be measured first."""
APPLIED_TOLERANCE_KG_H = 0.5


@dataclass(frozen=True, slots=True)
class TrimAdvisor:
    """The advisor of one line. `settings` None: the plant has entered no limits."""

    settings: TrimSettings | None
    schedule: Schedule | None

    def minute(self, advice: Advice, m: Minute | None, guard: Guard, now_s: float) -> Advice:
        """The advice after one minute; `now_s` is monotonic seconds, `m` None without limits."""
        settings, schedule = self.settings, self.schedule
        if settings is None or schedule is None or m is None:
            return _hold(advice, TrimReason.NO_LIMITS, now_s)
        m = believable(m)
        advice = enter(advice, settings, schedule, guard)
        ph_sp = schedule.at(guard.batch.minutes).ph_sp if guard.ph_sp is None else guard.ph_sp
        advice = keep_books(advice, settings, schedule, m, guard, ph_sp)
        hold = input_hold(advice, settings, schedule, m, guard)
        flow = feedforward(schedule, guard.batch.minutes, m)
        if hold is None and (flow is None or m.naoh_kg_h is None or m.naoh_sp_last_kg_h is None):
            hold = TrimReason.NO_FEEDFORWARD
        if hold is not None or flow is None or m.naoh_kg_h is None:
            advice = replace(advice, missing=None, lately=())
            return _hold(advice, hold or TrimReason.NO_FEEDFORWARD, now_s)
        tau_c_s = closed_loop_s(advice.accept_s or settings.accept_time_s)
        share = metal_share(schedule, guard.batch.minutes, m) or 0.0
        missing_h = _missing(advice, settings, m, ph_sp) / flow
        advice = follow_demand(advice, m.naoh_kg_h / flow - 1.0, share, tau_c_s, missing_h)
        hold = policy_hold(advice, settings, guard, now_s)
        if hold is not None:
            return _hold(advice, hold, now_s)
        figures = _figures(advice, settings, m, guard, flow, ph_sp)
        move = propose(figures, settings, tau_c_s)
        if isinstance(move, Held):
            return _hold(advice, move.reason, now_s)
        return _offer(advice, move, figures, settings, tau_c_s, guard, now_s)

    def second(
        self, advice: Advice, plc: PlcState | None, plc_alive: bool, naoh_sp_kg_h: float | None,
        now_s: float,
    ) -> Advice:  # fmt: skip
        """The advice after one second: answers, expiry, a base that moved, what was applied."""
        if plc is not None and abs(plc.trim_applied_kg_h - advice.applied[0]) > 0.05:
            advice = replace(advice, applied=(plc.trim_applied_kg_h, now_s))
        if advice.offer is None or self.settings is None:
            return advice
        if advice.state is TrimState.OFFERED:
            return _answer(advice, self.settings, plc, plc_alive, naoh_sp_kg_h, now_s)
        if advice.state is TrimState.ACCEPTED:
            if plc is None or not plc_alive:
                return _close(advice, TrimState.WITHDRAWN, TrimReason.HEARTBEAT_LOST, now_s)
            applied, since_s = advice.applied
            ramp_s = abs(advice.offer.trim_kg_h) / self.settings.max_change_kg_h * 60.0 + SETTLE_S
            off = abs(applied - advice.offer.trim_kg_h) > APPLIED_TOLERANCE_KG_H
            if (
                off
                and advice.changed_s + ramp_s <= now_s <= advice.changed_s + 2.0 * ramp_s
                and (now_s - since_s >= 3.0)
            ):
                return replace(advice, state=TrimState.APPLIED_WITH_CLAMP, changed_s=now_s)
        return advice


def _missing(advice: Advice, settings: TrimSettings, m: Minute, ph_sp: float) -> float:
    """Reagent error for the balance, kg of NaOH solution."""
    assert m.ph_median is not None
    assert m.temp_c is not None
    assert advice.reactor is not None
    return reagent(settings, advice.reactor, m.ph_median, ph_sp, m.temp_c, trust=1.0)[0]


def _figures(
    advice: Advice, settings: TrimSettings, m: Minute, guard: Guard, flow: float, ph_sp: float
) -> Figures:
    assert m.ph_median is not None
    assert m.temp_c is not None
    assert m.naoh_sp_last_kg_h is not None
    assert advice.reactor is not None
    assert guard.plc is not None
    error_kg, kg_per_ph = reagent(settings, advice.reactor, m.ph_median, ph_sp, m.temp_c)
    return Figures(
        feedforward_kg_h=flow,
        demand=advice.demand or 0.0,
        error_kg=error_kg,
        kg_per_ph=kg_per_ph,
        ph=m.ph_median,
        ph_sp=ph_sp,
        base_kg_h=m.naoh_sp_last_kg_h - guard.plc.trim_applied_kg_h,
        in_force_kg_h=m.naoh_sp_last_kg_h,
    )


# The dialogue.


def _hold(advice: Advice, reason: TrimReason, now_s: float) -> Advice:
    """Nothing is offered this minute; an open suggestion is withdrawn."""
    if advice.state is TrimState.OFFERED:
        return _close(advice, TrimState.WITHDRAWN, reason, now_s)
    advice = replace(advice, outcome=Held(reason))
    if advice.state is not TrimState.NONE and now_s - advice.changed_s < SETTLE_S:
        return advice  # the end of the last suggestion stays on the panel for a minute
    return replace(advice, state=TrimState.NONE, reason=reason)


def _offer(
    advice: Advice, move: Move, figures: Figures, settings: TrimSettings, tau_c_s: float,
    guard: Guard, now_s: float,
) -> Advice:  # fmt: skip
    """Put the move up as a new suggestion, unless the open one still says much the same."""
    offer = advice.offer
    age_s = now_s - advice.changed_s
    if (
        advice.state is TrimState.OFFERED
        and offer is not None
        and stands(offer, age_s, move, figures, settings, tau_c_s)
    ):
        return advice
    seq = next_seq(advice.seq)
    if guard.plc is not None and seq == guard.plc.trim_seq_ack:
        # Answered before our memory was lost: the PLC never shows such a number again.
        seq = next_seq(seq)
    made = Offered(
        seq=seq,
        trim_kg_h=move.trim_kg_h,
        base_kg_h=figures.base_kg_h,
        lo_kg_h=move.lo_kg_h,
        hi_kg_h=move.hi_kg_h,
        predicted_ph=move.predicted_ph,
        reason=move.reason,
        clamped=move.clamped,
        expires_s=now_s + settings.ttl_s,
    )
    waiting = now_s if advice.waiting_since_s is None else advice.waiting_since_s
    return replace(
        advice, outcome=made, state=TrimState.OFFERED, reason=move.reason, offer=made, seq=seq,
        changed_s=now_s, waiting_since_s=waiting,
    )  # fmt: skip


def _close(advice: Advice, state: TrimState, reason: TrimReason, now_s: float) -> Advice:
    return replace(
        advice, outcome=Expired(advice.seq, reason), state=state, reason=reason, changed_s=now_s
    )


def _answer(
    advice: Advice, settings: TrimSettings, plc: PlcState | None, plc_alive: bool,
    naoh_sp_kg_h: float | None, now_s: float,
) -> Advice:  # fmt: skip
    """What became of the open suggestion in this second."""
    offer = advice.offer
    assert offer is not None
    if plc is None or not plc_alive:
        return _close(advice, TrimState.WITHDRAWN, TrimReason.HEARTBEAT_LOST, now_s)
    accept_s = advice.accept_s or settings.accept_time_s
    answered = plc.trim_seq_ack == offer.seq
    if answered and plc.control & Control.REJECT:
        closed = _close(advice, TrimState.REJECTED, TrimReason.REJECTED_BY_OPERATOR, now_s)
        return replace(closed, quiet_until_s=now_s + accept_s / 2.0)
    if answered and plc.control & Control.ACCEPT:
        waited_s = now_s - (advice.waiting_since_s or now_s) + SETTLE_S
        accept_s += 0.3 * (min(max(waited_s, 60.0), 3600.0) - accept_s)
        return replace(
            advice, state=TrimState.ACCEPTED, changed_s=now_s, accept_s=accept_s,
            waiting_since_s=None, quiet_until_s=now_s + SETTLE_S,
        )  # fmt: skip
    if not plc.control & Control.ADVICE_ENABLED:
        return _close(advice, TrimState.WITHDRAWN, TrimReason.ADVICE_DISABLED, now_s)
    if plc.control & Control.HELD:
        return _close(advice, TrimState.WITHDRAWN, TrimReason.FEEDS_HELD, now_s)
    if now_s >= offer.expires_s:
        return _close(advice, TrimState.EXPIRED, TrimReason.TTL_ELAPSED, now_s)
    if naoh_sp_kg_h is not None:
        base = naoh_sp_kg_h - plc.trim_applied_kg_h
        if abs(base - offer.base_kg_h) > BASE_TOLERANCE * offer.base_kg_h:
            return _close(advice, TrimState.WITHDRAWN, TrimReason.BASE_MOVED, now_s)
    return advice
