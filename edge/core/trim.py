"""NaOH trim suggestion: Offered | Held(reason) | Expired. Advisory, bounded, expiring.

This file holds what the plant's engineer permits (`TrimSettings`), what a suggestion may turn out
to be (`Outcome`), and the law that turns figures into a flow (process note section 4): feed-forward
plus reagent demand with external reset. `trim_plant` estimates volume and ammonia; `trim_advisor`
holds, offers and speaks with the PLC.

The law is transparent on purpose:

    u   = u_ff (1 + b) + 3600 z / (tau_c + theta)      kg/h of NaOH solution
    z   = [E*(pH_sp) - E*(pH)] V 1000 M_NaOH / w       kg of solution missing in the reactor,
                                                       less the dead zone
    b  <- b + (1 - e^(-60/Ti)) (F_applied/u_ff - 1 - b),   Ti = 4 (tau_c + theta)

b follows what was REALLY applied, so that a rejected, clamped or manual move never winds it up, and
every return from a hold is bumpless.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from edge.core.registers import TrimReason

THETA_S = 110.0
"""Dead time: 15 transport + 20 mixing + 20 probe + 30 averaging + 30 hold, rounded."""
TAU_MIN_S = 110.0
DEAD_ZONE_KG = 1.0
"""Reagent error, kg of solution, below which the pH asks for nothing (advisory mode)."""
DEAD_ZONE_PH = 0.03
"""The same as a pH: what the dead zone is in a full reactor, and never more in a nearly empty one,
where 1 kg is 0.1 pH."""
PREDICT_S = 600.0
PREDICT_MARGIN_PH = 0.10
"""Raising NaOH must not lift the pH predicted in `PREDICT_S` further than this above set-point."""
THINK_S = 180.0
"""An operator may think about a suggestion for so long before a somewhat better one replaces it."""
BUFFER_MIN_KG = 0.001
"""No reactor's pH moves by one unit for a gram of solution: less is a wrong estimate."""
AUTHORITY_MAX = 0.15
"""Whatever the plant enters, |u/u_ff - 1| never exceeds this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrimSettings:
    """trim.toml: every limit is entered by the plant's engineer, none has a default.

    Law and figures: process.md section 4.
    """

    # Limits of authority.
    authority_fraction: float
    """Largest |u/u_ff - 1| ever suggested, 0..0.15."""
    max_change_kg_h: float
    """Largest change of the suggestion per minute, kg/h."""
    min_change_kg_h: float
    """Smallest suggestion worth showing, kg/h."""
    ttl_s: int
    """Seconds a suggestion stays valid, 120..900."""
    accept_time_s: float
    """Mean time the operator takes to accept; sets tau_c = max(110 s, accept_time/2)."""
    ph_low: float
    ph_high: float
    # The plant, for the reagent-demand curve.
    naoh_mass_fraction: float
    nh4oh_mass_fraction: float
    metal_mol_l: float
    metal_density_kg_m3: float
    heel_m3: float
    heel_ammonia_mol_l: float
    max_volume_m3: float
    ph_reference: str
    """"process" or "25C": the temperature the pH transmitters report at."""
    # Tag roles: names of tags (or context rows) of this line.
    ph_tags: tuple[str, ...]
    naoh_flow: str
    naoh_flow_sp: str
    naoh_weight: str
    core_flow: str
    shell_flow: str
    nh4oh_flow: str
    temperature: str
    hold_components: tuple[str, ...]
    """Component codes whose suspected defect holds the suggestion (NaOH path, pH probes)."""
    ph_sp: str = ""
    """pH set-point in force; "" takes the schedule's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """A suggestion that waits for the operator or has been taken up."""

    seq: int
    trim_kg_h: float
    """Suggested NaOH flow minus `base_kg_h`, inside [lo, hi]."""
    base_kg_h: float
    lo_kg_h: float
    hi_kg_h: float
    predicted_ph: float
    """pH in ten minutes if it is accepted."""
    reason: TrimReason
    clamped: bool
    """The law asked for more than the limits permit."""
    expires_s: float


@dataclass(frozen=True, slots=True)
class Held:
    """No suggestion, and why."""

    reason: TrimReason


@dataclass(frozen=True, slots=True)
class Expired:
    """The last suggestion came to its end without being taken up."""

    seq: int
    reason: TrimReason
    """TTL_ELAPSED, BASE_MOVED, HEARTBEAT_LOST, REJECTED_BY_OPERATOR or a hold reason."""


Outcome = Offered | Held | Expired


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What the law looks at, once a minute."""

    feedforward_kg_h: float
    """u_ff: schedule NaOH x measured / scheduled metal flow."""
    demand: float
    """b, dimensionless."""
    error_kg: float
    """z, kg of NaOH solution missing (positive) or too much (negative)."""
    kg_per_ph: float
    """Buffer of the whole reactor, kg of NaOH solution per pH."""
    ph: float
    ph_sp: float
    base_kg_h: float
    """NaOH flow the PLC would run without any trim."""
    in_force_kg_h: float
    """NaOH set-point now: base plus the trim the PLC has applied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """What the law proposes, inside every limit."""

    trim_kg_h: float
    lo_kg_h: float
    hi_kg_h: float
    predicted_ph: float
    reason: TrimReason
    clamped: bool


def closed_loop_s(accept_s: float) -> float:
    """tau_c: at least the dead time, and half the time between accepted suggestions."""
    return max(TAU_MIN_S, accept_s / 2.0)


def reset_share(tau_c_s: float, elapsed_s: float) -> float:
    """Share of the way b goes in `elapsed_s` towards what was applied: 1 - exp(-t / Ti)."""
    return 1.0 - math.exp(-elapsed_s / (4.0 * (tau_c_s + THETA_S)))


def propose(figures: Figures, settings: TrimSettings, tau_c_s: float) -> Move | Held:
    """The suggestion the law makes of `figures`, or why it makes none.

    Guarantees, for any numbers: lo <= trim <= hi; |u/u_ff - 1| <= authority (0.15 at most);
    |u - flow in force| <= max_change_kg_h; u >= 0; when raising, the predicted pH stays below
    set-point + 0.10. Figures that are not finite, or a feed-forward that is not positive, are Held.
    """
    f = figures
    numbers = (
        f.feedforward_kg_h, f.demand, f.error_kg, f.kg_per_ph, f.ph, f.ph_sp, f.base_kg_h,
        f.in_force_kg_h, tau_c_s,
    )  # fmt: skip
    if (
        not all(map(math.isfinite, numbers))
        or f.feedforward_kg_h <= 0.0
        or f.kg_per_ph < BUFFER_MIN_KG
    ):
        return Held(TrimReason.NO_FEEDFORWARD)
    authority = min(settings.authority_fraction, AUTHORITY_MAX)
    low = max(
        f.feedforward_kg_h * (1.0 - authority), f.in_force_kg_h - settings.max_change_kg_h, 0.0
    )
    high = min(f.feedforward_kg_h * (1.0 + authority), f.in_force_kg_h + settings.max_change_kg_h)
    if not low <= high:
        return Held(TrimReason.OUTSIDE_AUTHORITY)
    steady = f.feedforward_kg_h * (1.0 + f.demand)
    error_kg = _beyond_dead_zone(f)
    wanted = steady + 3600.0 * error_kg / (tau_c_s + THETA_S)
    flow = min(max(wanted, low), high)
    kg_ph_h = f.kg_per_ph * 3600.0 / PREDICT_S
    if flow > f.in_force_kg_h:
        ceiling = steady + (f.ph_sp + PREDICT_MARGIN_PH - f.ph) * kg_ph_h
        flow = max(min(flow, ceiling), min(f.in_force_kg_h, high), low)
        if flow > f.in_force_kg_h and flow > ceiling:
            return Held(TrimReason.PREDICTED_PH_HIGH)
    if not abs(flow - f.in_force_kg_h) >= settings.min_change_kg_h:
        if not abs(wanted - f.in_force_kg_h) >= settings.min_change_kg_h:
            return Held(TrimReason.ON_TARGET)
        at_limit = flow in (low, high)
        return Held(TrimReason.OUTSIDE_AUTHORITY if at_limit else TrimReason.PREDICTED_PH_HIGH)
    return Move(
        trim_kg_h=flow - f.base_kg_h,
        lo_kg_h=low - f.base_kg_h,
        hi_kg_h=high - f.base_kg_h,
        predicted_ph=f.ph + (flow - steady) / kg_ph_h,
        reason=_reason(f, settings, error_kg),
        clamped=flow != wanted,
    )


def stands(
    offer: Offered, age_s: float, move: Move, figures: Figures, settings: TrimSettings,
    tau_c_s: float,
) -> bool:  # fmt: skip
    """Does a suggestion that has been open for `age_s` still say what the law now proposes?

    Otherwise `move` replaces it: when it leaves the limits of now, points the other way, or is
    further from `move` than the dead zone asks for, kg/h, and half of that after `THINK_S`. Nearer
    the two differ by the noise of the probes, and a number that changes from minute to minute can
    be accepted by nobody. Twice the smallest move, or a quarter of the suggested one, never counts.
    The PLC applies a suggestion as a share of its base: a base that moves does not change it.
    """
    if offer.base_kg_h <= 0.0:
        return False
    trim = offer.trim_kg_h * figures.base_kg_h / offer.base_kg_h
    if not move.lo_kg_h <= trim <= move.hi_kg_h:
        return False
    now = figures.in_force_kg_h - figures.base_kg_h
    away = abs(trim - move.trim_kg_h)
    if away <= max(2.0 * settings.min_change_kg_h, abs(trim - now) / 4.0):
        return True
    zone_kg_h = 3600.0 * _dead_zone_kg(figures) / (tau_c_s + THETA_S)
    same_way = (trim - now) * (move.trim_kg_h - now) > 0.0
    return same_way and away <= (zone_kg_h if age_s < THINK_S else zone_kg_h / 2.0)


def _beyond_dead_zone(f: Figures) -> float:
    """z less the dead zone, kg.

    What lies beyond counts, not all of z: a correction that begins with the whole dead zone is
    9 kg/h at the least, has to be taken back ten minutes later, and drives the pH away for as long
    as a hold keeps it in force.
    """
    return math.copysign(max(abs(f.error_kg) - _dead_zone_kg(f), 0.0), f.error_kg)


def _dead_zone_kg(f: Figures) -> float:
    return min(DEAD_ZONE_KG, DEAD_ZONE_PH * f.kg_per_ph)


def _reason(f: Figures, settings: TrimSettings, error_kg: float) -> TrimReason:
    if f.ph < settings.ph_low:
        return TrimReason.NICKEL_UNPRECIPITATED
    if f.ph > settings.ph_high:
        return TrimReason.LOCAL_SUPERSATURATION
    if error_kg:
        return TrimReason.PH_LOW if error_kg > 0.0 else TrimReason.PH_HIGH
    return TrimReason.SCHEDULE_DEVIATION
