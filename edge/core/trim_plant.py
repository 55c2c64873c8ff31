"""What the trim law needs to know about the reactor, from one minute of rows.

Volume and ammonia are not measured; they are integrated from the feed flows (process note sections
1.4 and 4). A flow that is bad for a minute is taken from the schedule, so that one bad meter does
not stop the book-keeping; whether it stops the suggestion is the advisor's business.

Axes: R rows of a minute, P tags.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from edge.core.chemistry import NAOH_G_MOL, buffer, e_star, ph_process
from edge.core.schedule import Schedule
from edge.core.tags import ByteArray, FloatArray, Quality
from edge.core.trim import TrimSettings

NH3_G_MOL = 17.031
AMMONIA_TRUST = 0.85
"""The law works at 85 % of the estimated ammonia: too high an estimate makes it restless, too low
a one is harmless."""
_MIN_GOOD = 0.5
"""A tag with fewer good rows than this in the minute counts as bad."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Minute:
    """One minute of the tags the trim depends on; None where a tag was bad."""

    ph: tuple[float | None, ...]
    """Mean of each probe, as read."""
    ph_median: float | None
    """Mean over the minute of the median of the good probes, as read."""
    naoh_kg_h: float | None
    naoh_sp_kg_h: float | None
    naoh_sp_last_kg_h: float | None
    """The newest good value: during a ramp the mean lags behind."""
    naoh_weight_kg: float | None
    core_kg_h: float | None
    shell_kg_h: float | None
    nh4oh_kg_h: float | None
    temp_c: float | None
    age_s: float
    """Seconds since a row in which every one of these tags was good (two of the probes suffice)."""


@dataclass(frozen=True, slots=True)
class Reactor:
    """Estimated content of the reactor."""

    volume_m3: float
    ammonia_mol: float

    @property
    def ammonia_mol_l(self) -> float:
        """Total ammonia, mol per litre."""
        return self.ammonia_mol / (self.volume_m3 * 1000.0)


_PH, _FLOW = (0.0, 14.0), (-100.0, 1e5)
_SPANS = {
    "ph_median": _PH, "naoh_kg_h": _FLOW, "naoh_sp_kg_h": _FLOW, "naoh_sp_last_kg_h": _FLOW,
    "core_kg_h": _FLOW, "shell_kg_h": _FLOW, "nh4oh_kg_h": _FLOW,
    "naoh_weight_kg": (-1e3, 1e6), "temp_c": (-20.0, 150.0),
}  # fmt: skip
"""What an instrument can show at all; a flow may read a little below zero at rest."""


def believable(m: Minute) -> Minute:
    """`m` without what is no number or no reading at all; the named holds then do the rest."""
    wrong: dict[str, None] = {
        name: None
        for name, (low, high) in _SPANS.items()
        if (value := getattr(m, name)) is not None and not low <= value <= high
    }
    low, high = _PH
    ph = tuple(p if p is not None and low <= p <= high else None for p in m.ph)
    return m if ph == m.ph and not wrong else replace(m, ph=ph, **wrong)  # type: ignore[arg-type]


def minute_of(
    settings: TrimSettings,
    names: Sequence[str],
    values: FloatArray,
    quality: ByteArray,
    row_s: float = 1.0,
) -> Minute:
    """The minute that values float32[R, P], quality uint8[R, P] of the tags `names` describe.

    `names` holds process values and context (the NaOH set-point) alike; a role whose tag is not
    among them is None.
    """
    index = {name: i for i, name in enumerate(names)}
    rows = len(values)
    good = quality == Quality.GOOD

    def mean(name: str) -> float | None:
        i = index.get(name)
        if i is None or rows == 0 or good[:, i].mean() < _MIN_GOOD:
            return None
        return float(values[good[:, i], i].astype(np.float64).mean())

    def last(name: str) -> float | None:
        i = index.get(name)
        found = np.flatnonzero(good[:, i]) if i is not None else np.zeros(0, int)
        return float(values[found[-1], i]) if i is not None and len(found) else None

    probes = [index[name] for name in settings.ph_tags if name in index]
    means = tuple(mean(name) for name in settings.ph_tags)
    used = [i for i in probes if mean(names[i]) is not None]
    median = None
    if used:
        ph = np.where(good[:, used], values[:, used].astype(np.float64), np.nan)
        some = ~np.isnan(ph).all(axis=1)
        median = float(np.nanmedian(ph[some], axis=1).mean())
    single = (
        settings.naoh_flow, settings.naoh_flow_sp, settings.naoh_weight, settings.core_flow,
        settings.shell_flow, settings.nh4oh_flow, settings.temperature,
    )  # fmt: skip
    needed = [index[name] for name in single if name in index]
    whole = good[:, needed].all(axis=1) & (good[:, probes].sum(axis=1) >= min(2, len(probes)))
    fresh = np.flatnonzero(whole)
    complete = len(needed) == len(single) and len(fresh) > 0
    return Minute(
        ph=means,
        ph_median=median,
        naoh_kg_h=mean(settings.naoh_flow),
        naoh_sp_kg_h=mean(settings.naoh_flow_sp),
        naoh_sp_last_kg_h=last(settings.naoh_flow_sp),
        naoh_weight_kg=mean(settings.naoh_weight),
        core_kg_h=mean(settings.core_flow),
        shell_kg_h=mean(settings.shell_flow),
        nh4oh_kg_h=mean(settings.nh4oh_flow),
        temp_c=mean(settings.temperature),
        age_s=float(rows - 1 - fresh[-1]) * row_s if complete else float("inf"),
    )


def at_minute(settings: TrimSettings, schedule: Schedule, minute: float) -> Reactor:
    """The reactor `minute` minutes into a batch that ran as scheduled: the start of the books."""
    reactor = Reactor(settings.heel_m3, settings.heel_m3 * 1000.0 * settings.heel_ammonia_mol_l)
    for step in schedule.steps:
        # In pieces of a minute, because liquor leaves once the reactor is full.
        left = min(minute, step.end_min) - step.start_min
        while left > 0.0:
            piece = min(left, 1.0)
            reactor = fill(
                settings, reactor, piece, step.core_kg_h + step.shell_kg_h, step.naoh_kg_h,
                step.nh4oh_kg_h,
            )  # fmt: skip
            left -= piece
    return reactor


def fill(
    settings: TrimSettings,
    reactor: Reactor,
    minutes: float,
    metal_kg_h: float,
    naoh_kg_h: float,
    nh4oh_kg_h: float,
) -> Reactor:
    """The reactor after `minutes` of these feeds; liquor leaves above `max_volume_m3`."""
    hours = minutes / 60.0
    # Densities near 40 °C: NaOH 1492 kg/m3 at 48 %, ammonia water 910 kg/m3 at 25 %.
    naoh_kg_m3 = 1000.0 * (1.0 + 1.025 * settings.naoh_mass_fraction)
    nh4oh_kg_m3 = 1000.0 * (1.0 - 0.36 * settings.nh4oh_mass_fraction)
    volume = reactor.volume_m3 + hours * (
        max(metal_kg_h, 0.0) / settings.metal_density_kg_m3
        + max(naoh_kg_h, 0.0) / naoh_kg_m3
        + max(nh4oh_kg_h, 0.0) / nh4oh_kg_m3
    )
    nh3_mol_kg = settings.nh4oh_mass_fraction * 1000.0 / NH3_G_MOL
    ammonia = reactor.ammonia_mol + hours * max(nh4oh_kg_h, 0.0) * nh3_mol_kg
    if volume > settings.max_volume_m3:
        ammonia *= settings.max_volume_m3 / volume
        volume = settings.max_volume_m3
    return Reactor(volume, ammonia)


def advance(
    settings: TrimSettings, schedule: Schedule, reactor: Reactor, m: Minute, batch_min: float
) -> Reactor:
    """The reactor one minute later; flows that were bad are taken from the schedule."""
    step = schedule.at(batch_min)
    core = step.core_kg_h if m.core_kg_h is None else m.core_kg_h
    shell = step.shell_kg_h if m.shell_kg_h is None else m.shell_kg_h
    naoh = step.naoh_kg_h if m.naoh_kg_h is None else m.naoh_kg_h
    nh4oh = step.nh4oh_kg_h if m.nh4oh_kg_h is None else m.nh4oh_kg_h
    return fill(settings, reactor, 1.0, core + shell, naoh, nh4oh)


def reagent(
    settings: TrimSettings, reactor: Reactor, ph: float, ph_sp: float, temp_c: float,
    *, trust: float = AMMONIA_TRUST,
) -> tuple[float, float]:  # fmt: skip
    """(z, buffer): kg of NaOH solution missing to reach `ph_sp`, and kg per pH at the present pH.

    `trust` is the share of the estimated ammonia to believe in: the law wants to be calm, a balance
    wants to be right (1.0). `ph` and `ph_sp` are as the transmitters report them (`ph_reference`).
    """
    ammonia = reactor.ammonia_mol_l * trust
    true_ph = float(ph_process(ph, temp_c, settings.ph_reference))
    true_sp = float(ph_process(ph_sp, temp_c, settings.ph_reference))
    kg_per_mol_l = reactor.volume_m3 * 1000.0 * NAOH_G_MOL / 1000.0 / settings.naoh_mass_fraction
    e_sp, e_now = np.asarray(
        e_star(np.array([true_sp, true_ph]), ammonia, temp_c), np.float64
    ).tolist()
    per_ph = float(buffer(np.array([true_ph]), ammonia, temp_c)[0])
    return (e_sp - e_now) * kg_per_mol_l, per_ph * kg_per_mol_l


def feedforward(schedule: Schedule, batch_min: float, m: Minute) -> float | None:
    """u_ff, kg/h: scheduled NaOH x measured / scheduled metal flow; None if that is not known."""
    step = schedule.at(batch_min)
    scheduled = step.core_kg_h + step.shell_kg_h
    if m.core_kg_h is None or m.shell_kg_h is None or scheduled <= 0.0:
        return None
    flow = step.naoh_kg_h * (m.core_kg_h + m.shell_kg_h) / scheduled
    return flow if flow > 0.0 else None


def metal_share(schedule: Schedule, batch_min: float, m: Minute) -> float | None:
    """Measured / scheduled metal flow; None if a meter is bad."""
    step = schedule.at(batch_min)
    if m.core_kg_h is None or m.shell_kg_h is None:
        return None
    return (m.core_kg_h + m.shell_kg_h) / max(step.core_kg_h + step.shell_kg_h, 1e-9)


def probe_fault(m: Minute, spread_limit: float, pair_limit: float) -> str | None:
    """ "few", "spread" or None: may the median of these probes be believed?

    Fewer than two good probes, or two that differ by `pair_limit` or more, are "few"; a spread
    above `spread_limit` is "spread".
    """
    good = [ph for ph in m.ph if ph is not None]
    if len(good) < 2 or m.ph_median is None:
        return "few"
    spread = max(good) - min(good)
    if spread > spread_limit:
        return "spread"
    return "few" if len(good) == 2 and spread >= pair_limit else None
