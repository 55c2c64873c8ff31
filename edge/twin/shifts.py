"""What differs from reactor to reactor and from batch to batch (process note section 3.4).

A plant is drawn in two stages. The *domain* (which reactor, which repair, which recalibration) is
drawn once per `domain_seed` and shared by all its batches: `DOMAINS` names the shifts each consists
of; the source domain is the plant as built. The *batch* (weather, tank fillings, wear since the
last service, scale in the dip tubes) is drawn per seed. Neither looks at the fault, so a batch with
and without a fault is the same plant. Cobalt and manganese in the feeds are left as they are: none
of the 51 tags shows them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edge.twin.tag_table import INDEX, TAG_COUNT, TAGS

if TYPE_CHECKING:
    from edge.twin.scenario import Scenario

Array = npt.NDArray[np.float64]


@dataclass(slots=True)
class Plant:
    """One lane's plant; `stack` puts several side by side (a last axis of lanes on every field)."""

    kg_rev: Array
    """[5] delivery per revolution relative to design; [4] is the return pump."""
    line_area: Array
    """[4] scale (below 0) or wear (above 0) of the cross-section that ends each feed line."""
    line_head: Array
    """[4] static back pressure of each feed line relative to design."""
    strength: Array
    """[4] concentration relative to nominal: core, shell, NaOH, NH4OH."""
    tank_kg: Array
    """[4] weight in the feed tanks at minute 0."""
    meter: Array
    """[4] gain of the feed flow meters."""
    probe_offset: Array
    """[4] error of the pH probes, pH."""
    probe_place: Array
    """[4] pH at each probe minus bulk pH when mixing is as designed."""
    probe_slope: Array
    """[4] slope of the pH probes around the set-point; they are adjusted there to a lab sample."""
    probe_lag_s: Array
    """[4] time constant of the pH probes, s."""
    current: Array
    """[6] motor current relative to design: four feeds, agitator, return."""
    gear: Array
    """[6] VFD frequency per speed relative to design."""
    load: Array
    """Throughput relative to the schedule."""
    ambient_c: Array
    ambient_phase: Array
    """rad"""
    heel_m3: Array
    heel_ph: Array
    """pH of the heel minus set-point."""
    heel_ammonia: Array
    """mol/L"""
    volume: Array
    """Vessel volume relative to design."""
    ua: Array
    power_number: Array
    mixing: Array
    """Mixing lag relative to design."""
    vibration: Array
    bearing_k: Array
    n2_nm3_h: Array
    oxygen: Array
    return_flow: Array
    return_ripple: Array
    return_head: Array
    coolant_c: Array
    temp_offset: Array
    """Error of the reactor thermometer, K."""
    noise: Array
    """[51] noise relative to design: damping, cabling and grounding differ."""
    cal_gain: Array
    """[51] transmitter gain (1 where the model already contains it)."""
    cal_offset: Array
    """[51] transmitter offset, engineering unit."""
    update_s: Array
    """[51] seconds between new values."""
    update_phase: Array
    """[51] second of the first new value within its period."""
    quantum: Array
    """[51] resolution relative to design: how the registers are scaled."""
    deadband: Array
    """[51] change below which no new value is sent, engineering unit."""
    jitter: Array
    """Share of the seconds in which a row still shows the values of the second before."""


_NOMINAL_PLACE = np.array([0.04, 0.0, -0.02, -0.03])
_NOMINAL_TANK_KG = np.array([9000.0, 9000.0, 4200.0, 750.0])
_HISTORIAN_UPDATE_S = 2.0
_COARSER = (1.0, 2.0, 5.0)
_IN_MODEL = (
    "FIC-101.PV", "FIC-102.PV", "FIC-103.PV", "FIC-104.PV", "TIC-106.PV",
    "AIT-106A.PV", "AIT-106B.PV", "AIT-106C.PV", "AIT-106D.PV",
)  # fmt: skip
"""Instruments the control loops see: their errors are part of the model, not added afterwards."""


def draw(scenario: Scenario) -> Plant:
    """The plant of one batch."""
    plant = as_built()
    for number, shift in enumerate(DOMAINS[scenario.domain]):
        shift(plant, np.random.default_rng([scenario.domain_seed, 7, number]))
    _batch(plant, np.random.default_rng([scenario.seed, 1]))
    return plant


def stack(plants: list[Plant]) -> Plant:
    """Lanes side by side: every field gains a last axis [.., L]."""
    return Plant(
        **{f.name: np.stack([getattr(p, f.name) for p in plants], axis=-1) for f in fields(Plant)}
    )


def as_built() -> Plant:
    """The source domain's reactor before batch-to-batch spread: every ratio 1, every error 0."""
    one = np.array(1.0)
    rng = np.random.default_rng(20_250)  # the update periods of the plant as it stands
    period = {"F": (1, 1), "M": (2, 5), "S": (10, 15)}
    update = np.array(
        [float(rng.integers(low, high + 1)) for low, high in (period[tag.update] for tag in TAGS)]
    )
    return Plant(
        kg_rev=np.ones(5),
        line_area=np.zeros(4),
        line_head=np.ones(4),
        strength=np.ones(4),
        tank_kg=_NOMINAL_TANK_KG.copy(),
        meter=np.ones(4),
        probe_offset=np.zeros(4),
        probe_place=_NOMINAL_PLACE.copy(),
        probe_slope=np.ones(4),
        probe_lag_s=np.full(4, 20.0),
        current=np.ones(6),
        gear=np.ones(6),
        load=one,
        ambient_c=np.array(20.0),
        ambient_phase=np.array(0.0),
        heel_m3=np.array(3.0),
        heel_ph=np.array(0.0),
        heel_ammonia=np.array(0.60),
        volume=one,
        ua=one,
        power_number=one,
        mixing=one,
        vibration=one,
        bearing_k=np.array(0.0),
        n2_nm3_h=np.array(10.0),
        oxygen=one,
        return_flow=one,
        return_ripple=one,
        return_head=one,
        coolant_c=np.array(22.0),
        temp_offset=np.array(0.0),
        noise=np.ones(TAG_COUNT),
        cal_gain=np.ones(TAG_COUNT),
        cal_offset=np.zeros(TAG_COUNT),
        update_s=update,
        update_phase=np.floor(rng.random(TAG_COUNT) * update),
        quantum=np.ones(TAG_COUNT),
        deadband=np.zeros(TAG_COUNT),
        jitter=np.array(0.0),
    )


def _calibrate(plant: Plant, rng: np.random.Generator, gain: float, size: float) -> None:
    """Gains N(1, gain); offsets: T 0.2 K, P 0.03 bar, W 3 kg, each times `size`."""
    gains = rng.normal(0.0, gain, TAG_COUNT)
    offsets = rng.normal(0.0, size, TAG_COUNT)
    for i, tag in enumerate(TAGS):
        if tag.name in _IN_MODEL or tag.name.startswith(("SIC", "SC-", "TV")):
            continue
        kind = {"°C": 0.2, "bar g": 0.03, "kg": 3.0}.get(tag.unit)
        if kind is None:
            plant.cal_gain[i] = plant.cal_gain[i] * (1.0 + gains[i])
        else:
            plant.cal_offset[i] = plant.cal_offset[i] + kind * offsets[i]


def _aged(plant: Plant, rng: np.random.Generator) -> None:
    """Pumps deliver less, the jacket scales, the gearbox shakes, probes grow slow and flat."""
    plant.kg_rev = plant.kg_rev * rng.uniform(0.92, 1.0, 5)
    plant.vibration = plant.vibration * rng.uniform(1.0, 1.4)
    plant.ua = plant.ua * rng.uniform(0.70, 1.0)
    plant.probe_slope = plant.probe_slope * rng.uniform(0.88, 1.0, 4)
    plant.probe_lag_s = plant.probe_lag_s * rng.uniform(1.0, 2.0, 4)


def _repaired(plant: Plant, rng: np.random.Generator) -> None:
    """Other pumps, motors and pipes, and a new hose, which delivers more and pulses differently."""
    plant.kg_rev = plant.kg_rev * np.append(rng.uniform(0.95, 1.05, 4), 1.06)
    plant.current = plant.current * rng.normal(0.97, 0.015, 6)
    plant.gear = plant.gear * rng.normal(1.0, 0.01, 6)
    plant.line_area = plant.line_area + rng.normal(0.0, 0.05, 4)
    plant.return_ripple = plant.return_ripple * rng.uniform(0.7, 1.3)
    plant.return_head = plant.return_head * rng.normal(1.0, 0.04)


def _recalibrated(plant: Plant, rng: np.random.Generator) -> None:
    """Every transmitter adjusted anew."""
    plant.meter = plant.meter * rng.normal(1.0, 0.01, 4)
    plant.probe_offset = plant.probe_offset + rng.normal(0.0, 0.03, 4)
    plant.temp_offset = plant.temp_offset + rng.normal(0.0, 0.2)
    _calibrate(plant, rng, gain=0.01, size=1.0)


def _supplied(plant: Plant, rng: np.random.Generator) -> None:
    """Another season, and solutions of other suppliers."""
    plant.ambient_c = plant.ambient_c + rng.uniform(-6.0, 6.0)
    spread = np.array([0.02, 0.02, 0.02, 0.03])
    plant.strength = plant.strength * (1.0 + rng.uniform(-spread, spread))


def _rebuilt(plant: Plant, rng: np.random.Generator) -> None:
    """Another reactor of the same design."""
    plant.volume = plant.volume * rng.uniform(0.97, 1.03)
    plant.ua = np.maximum(plant.ua * rng.uniform(0.85, 1.15), _LEAST_UA)
    plant.power_number = plant.power_number * rng.uniform(0.92, 1.08)
    plant.probe_place = plant.probe_place + rng.normal(0.0, 0.015, 4)
    plant.gear = plant.gear * rng.normal(1.0, 0.01, 6)
    plant.heel_m3 = np.asarray(rng.uniform(2.5, 3.5))
    plant.mixing = plant.mixing * rng.uniform(0.8, 1.4)
    plant.return_flow = plant.return_flow * rng.normal(1.0, 0.02)


def _historian(plant: Plant, rng: np.random.Generator) -> None:
    """Another PLC: slower updates, dead bands of half to two sigma, jitter, coarser registers."""
    fast = plant.update_s == 1.0
    slower = fast & (rng.random(TAG_COUNT) < 0.5)
    plant.update_s = np.where(slower, _HISTORIAN_UPDATE_S, plant.update_s)
    # At 2 s the pulsation of the hose pump would be folded into something else altogether.
    plant.update_s[INDEX["PI-107.PV"]] = 1.0
    plant.update_phase = np.floor(rng.random(TAG_COUNT) * plant.update_s)
    plant.quantum = plant.quantum * rng.choice(_COARSER, TAG_COUNT)
    sigma = np.array([t.sigma * (0.5 * (t.low + t.high) if t.relative else 1.0) for t in TAGS])
    some = rng.random(TAG_COUNT) < 0.5
    plant.deadband = np.where(some, rng.uniform(0.5, 2.0, TAG_COUNT) * sigma, 0.0)
    plant.jitter = np.asarray(rng.uniform(0.05, 0.25))


_LEAST_UA = 0.70
"""A reactor whose jacket passes less could not hold its temperature in summer at all."""

DOMAINS: dict[str, tuple[Callable[[Plant, np.random.Generator], None], ...]] = {
    "source": (),
    "repaired": (_aged, _repaired, _recalibrated, _supplied),
    "reactor_b": (_rebuilt, _recalibrated, _supplied, _historian),
    "target": (_aged, _repaired, _recalibrated, _supplied, _rebuilt, _historian),
}
"""Domain -> what sets it apart from the plant as built; `target` is everything at once."""


def _batch(plant: Plant, rng: np.random.Generator) -> None:
    """What one batch has to itself; the spread that a D-3 defect must hide in."""
    plant.kg_rev = plant.kg_rev * rng.normal(1.0, [0.012, 0.012, 0.012, 0.03, 0.05])
    plant.line_area = plant.line_area + rng.normal(0.0, 0.05, 4)
    plant.line_head = plant.line_head * rng.normal(1.0, 0.035, 4)
    plant.strength = plant.strength * rng.normal(1.0, [0.003, 0.003, 0.004, 0.01])
    plant.tank_kg = plant.tank_kg + rng.normal(0.0, [60.0, 60.0, 30.0, 8.0])
    plant.meter = plant.meter * rng.normal(1.0, 0.004, 4)
    plant.probe_offset = plant.probe_offset + rng.normal(0.0, 0.025, 4)
    plant.probe_place = plant.probe_place * rng.normal(1.0, 0.15, 4)
    plant.probe_lag_s = plant.probe_lag_s * rng.uniform(0.8, 1.6, 4)
    plant.current = plant.current * rng.normal(1.0, 0.02, 6)
    plant.load = plant.load * np.clip(rng.normal(1.0, 0.01), 0.975, 1.025)
    plant.ambient_c = plant.ambient_c + rng.uniform(-9.0, 9.0)
    plant.ambient_phase = np.asarray(rng.uniform(0.0, 2.0 * np.pi))
    plant.heel_m3 = plant.heel_m3 + rng.normal(0.0, 0.04)
    plant.heel_ph = plant.heel_ph + np.clip(rng.normal(0.0, 0.03), -0.08, 0.08)
    plant.heel_ammonia = plant.heel_ammonia + rng.normal(0.0, 0.01)
    plant.ua = plant.ua * rng.normal(1.0, 0.10)
    plant.power_number = plant.power_number * rng.normal(1.0, 0.04)
    plant.mixing = plant.mixing * rng.uniform(0.9, 1.1)
    plant.vibration = plant.vibration * np.clip(rng.normal(1.0, 0.22), 0.65, 1.45)
    plant.bearing_k = plant.bearing_k + rng.normal(0.0, 2.8)
    plant.n2_nm3_h = plant.n2_nm3_h * rng.uniform(0.84, 1.16)
    plant.oxygen = plant.oxygen * np.exp(rng.normal(0.0, 0.4))
    plant.return_flow = plant.return_flow * rng.normal(1.0, 0.02)
    plant.return_ripple = plant.return_ripple * np.clip(rng.normal(1.0, 0.34), 0.4, 1.8)
    plant.return_head = plant.return_head * np.clip(rng.normal(1.0, 0.13), 0.7, 1.3)
    plant.coolant_c = plant.coolant_c + rng.normal(0.0, 1.0)
    plant.temp_offset = plant.temp_offset + rng.normal(0.0, 0.05)
    plant.noise = plant.noise * np.exp(rng.normal(0.0, 0.2, TAG_COUNT))
    _calibrate(plant, rng, gain=0.004, size=0.3)
