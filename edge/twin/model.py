"""The line as equations: feeds, premixer, vessel, heat, return loop, probes, inner operator.

One call of `step` advances every lane by 10 s and returns a record of physical quantities;
`readings.py` turns records into what healthy instruments would show. Lanes never mix, so one live
plant and 256 training batches run through the same lines of code.

Order of one step: set-points -> flow control -> pumps -> premixer -> vessel and chemistry -> pH
probes -> heat -> operator (every minute). Transport of NaOH takes 15 s (one and a half steps).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge.core.schedule import REFERENCE_FEEDS, Feeds, Schedule
from edge.twin.advice import InnerAdvice
from edge.twin.course import STEP_S
from edge.twin.heat import HeatLoad, Jacket
from edge.twin.params import Array, frozen, span
from edge.twin.reactor import TOP_M3, Reactor
from edge.twin.shifts import Plant

# Feeds: core, shell, NaOH, NH4OH
KG_M3 = np.array([1285.0, 1285.0, 1492.0, 910.0])[:, None]
METAL_MOL_KG = 2000.0 / 1285.0
NAOH_MOL_KG = 12.0
NH3_MOL_KG = 14.68
KG_REV_H = np.array([2.5, 1.82, 0.908, 0.36])[:, None]
"""kg/h per rpm (per stroke/min) of the feed pumps as built."""
RPM_MAX = np.array([440.0, 410.0, 365.0, 130.0])[:, None]
NH4OH_AUTHORITY = 0.08
"""The stroke-rate controller of the diaphragm pump corrects at most this share."""
PRESSURE_SLIP = np.array([0.010, 0.010, 0.008, 0.0])[:, None]
"""Share of a pump's delivery lost per bar at the design pressure slope of its line."""
FLOW_LAG = 1.0 - np.exp(-STEP_S / 8.0)

PREMIX_KG_PERCENT = 0.643
PREMIX_PERCENT_H_KG = 0.01693
PREMIX_ZERO = 45.0
"""Outflow of the premixer = (level - 45 %) / 0.01693 kg/h: 57..63 % in a healthy batch."""

VESSEL_M3 = 11.5
AGITATOR_D_M = 0.5
POWER_NUMBER = 1.6
_TORQUE = AGITATOR_D_M**5 / (2.0 * np.pi)
RETURN_M3_H_RPM = 0.203
RETURN_RPM_MAX = 40.0
RETURN_SP_M3_H = 6.6
RETURN_START = 0.86
"""Share of the return flow at minute 0; it is raised over three hours, then stable."""
RETURN_RAMP_MIN = 180.0

MIXING_S = 20.0
OXIDATION_MOL_M3_S = 4.0e-4
"""Hydroxide used per second and m3 at 1 mg/L dissolved oxygen (Mn and Co oxidation)."""
RESTART_S = 120.0
_SLIP, _LEAK, _METER, _RATE = span("slip"), span("leak"), span("meter"), span("rate")
_STRENGTH, _REFILL, _KG_REV = span("strength"), span("refill"), span("kg_rev")
_GAS, _OFFSET, _LAG, _OFF = span("gas"), span("probe_offset"), span("probe_lag"), span("probe_off")
_ROW = {
    name: span(name).start
    for name in (
        "hose", "impeller", "stiction", "ua", "n2", "outlet", "thickener", "run",
        "ph_shift", "rpm_shift", "ambient", "bearing_heat",
    )
}  # fmt: skip

RECORD = (
    ("meter_flow", 4), ("flow", 4), ("line_flow", 4), ("rpm", 4), ("tank", 4),
    ("premix_level", 1), ("premix_flow", 1), ("premix_temp", 1),
    ("volume", 1), ("density", 1), ("temp", 1), ("jacket", 1), ("jacket_kw", 1), ("valve", 1),
    ("ambient", 1), ("agitator_rpm", 1), ("torque", 1), ("bearing", 1),
    ("return_rpm", 1), ("return_flow", 1), ("oxygen", 1), ("n2", 1), ("probe", 4),
    ("ph", 1), ("ratio", 1), ("bias", 1), ("base", 1), ("run", 1), ("sp", 4), ("temp_sp", 1),
    ("ph_sp", 1), ("ammonia", 1), ("nickel", 1),
)  # fmt: skip
"""What a step returns: (name, rows)."""
RECORD_ROWS = sum(n for _, n in RECORD)
_AT = {}
_next = 0
for _name, _n in RECORD:
    _AT[_name] = slice(_next, _next + _n) if _n > 1 else slice(_next, _next + 1)
    _next += _n


def field(name: str) -> slice:
    """Rows of a record that hold `name`."""
    return _AT[name]


@dataclass(frozen=True, slots=True)
class Recipe:
    """The schedule sampled at the twin's steps: float64[steps] each."""

    flows: Array
    """[steps, 4] kg/h"""
    ph_sp: Array
    temp_sp: Array
    rpm_sp: Array
    number: Array
    """Schedule step, 1-based."""
    feeds: Feeds = REFERENCE_FEEDS
    """What is in the tanks."""

    @property
    def steps(self) -> int:
        """10 s steps of the batch."""
        return len(self.ph_sp)


def sample(schedule: Schedule) -> Recipe:
    """`schedule` at the start of every 10 s step."""
    steps = round(schedule.end_min * 60.0 / STEP_S)
    rows = [schedule.at((k + 1e-6) * STEP_S / 60.0) for k in range(steps)]
    return Recipe(
        flows=np.array([[r.core_kg_h, r.shell_kg_h, r.naoh_kg_h, r.nh4oh_kg_h] for r in rows]),
        ph_sp=np.array([r.ph_sp for r in rows]),
        temp_sp=np.array([r.temp_sp_c for r in rows]),
        rpm_sp=np.array([r.rpm_sp for r in rows]),
        number=np.array([float(r.step) for r in rows]),
        feeds=schedule.feeds,
    )


def ambient_c(plant: Plant, change_k: Array, second: float) -> Array:
    """[L] ambient temperature: season plus a daily swing of 4 K."""
    day = 2.0 * np.pi * second / 86_400.0
    return plant.ambient_c + change_k + 2.0 * np.sin(day + plant.ambient_phase)


class Model:
    """State of L lanes; see the head of this file."""

    def __init__(self, plant: Plant, recipe: Recipe, operators: Array) -> None:
        """`operators` [L]: 1 where the inner operator accepts trims, 0 for the open loop."""
        self.plant, self.recipe = plant, recipe
        lanes = plant.load.shape
        zero = np.zeros(lanes)
        self.k = 0
        self.temp = zero + recipe.temp_sp[0]
        self.reactor = Reactor(
            zero + plant.heel_m3,
            recipe.ph_sp[0] + plant.heel_ph,
            zero + plant.heel_ammonia,
            self.temp,
            top_m3=TOP_M3 * plant.volume,
        )
        self.advice = InnerAdvice(plant, self.reactor, operators)
        self.ph = self.reactor.ph.copy()
        self.probe = self.ph + plant.probe_place
        flows = recipe.flows[0][:, None] * plant.load
        self._meter_flow = flows.copy()
        self._naoh_before = flows[2] * plant.strength[2]
        self._naoh_now = self._naoh_before
        metals = flows[0] + flows[1]
        self._tank = plant.tank_kg + np.zeros((4, *lanes))
        self._premix = PREMIX_ZERO + PREMIX_PERCENT_H_KG * metals
        feeds = recipe.feeds
        metal = np.array([feeds.core_mol_kg, feeds.shell_mol_kg])[..., None]
        # Rounded, so that the reference tanks give their fractions to the last bit.
        self._core, self._shell = np.round(metal / METAL_MOL_KG, 12)
        self._naoh_mol_kg, self._nh3_mol_kg = feeds.naoh_mol_kg[0], feeds.nh4oh_mol_kg[0]
        mixed = flows[0] * self._core + flows[1] * self._shell
        self._premix_mol_kg = METAL_MOL_KG * mixed / metals
        self._run = zero + 1.0
        self._heat = Jacket(plant, lanes)
        self._bearing = zero + 53.0
        self._ratio = zero

    def step(self, p: Array, ratio: Array | None = None, held: bool = False) -> Array:
        """Advance 10 s with physical parameters p[TOTAL, L]; returns a record [RECORD_ROWS, L].

        `ratio` is the NaOH trim as a share of the base, entered from outside; None lets the inner
        operator decide.
        """
        plant, recipe = self.plant, self.recipe
        k = min(self.k, recipe.steps - 1)
        second = self.k * STEP_S
        # Set-points and holds: all feeds stop together and come back on a ramp.
        wanted = np.clip(p[_ROW["run"]], 0.0, 1.0) * (0.0 if held else 1.0)
        self._run = np.where(
            wanted < self._run, wanted, np.minimum(wanted, self._run + STEP_S / RESTART_S)
        )
        run = self._run
        scheduled = recipe.flows[k]
        sp = scheduled[:, None] * plant.load * p[_RATE] * run
        # The NaOH base follows the measured metal flow (ratio station of the PLC).
        metal_flow = self._meter_flow[0] + self._meter_flow[1]
        base = scheduled[2] * metal_flow / (scheduled[0] + scheduled[1])
        if ratio is None:
            ratio = self.advice.ratio
        self._ratio = ratio
        sp[2] = base * (1.0 + ratio)
        ph_sp = recipe.ph_sp[k] + p[_ROW["ph_shift"]]
        ambient = ambient_c(plant, p[_ROW["ambient"]], second)
        flow, rpm, line_flow = self._feeds(sp, p, frozen(p, ambient))
        feed_c = 28.0 + 0.35 * (ambient - 20.0)
        premix_flow = self._premixer(line_flow, p)
        oxygen = 0.04 * plant.oxygen * np.exp(3.6 * p[_ROW["n2"]])
        metals_mol_s = self._premix_mol_kg * premix_flow / 3600.0
        naoh_mol_s = self._vessel(premix_flow, metals_mol_s, line_flow, p, oxygen)
        self._probes(line_flow[2], p)
        speed = recipe.rpm_sp[k] + p[_ROW["rpm_shift"]]
        density = self.reactor.density_kg_m3
        torque = self._torque(speed, density, p)
        self.temp = self._heat.step(
            self.temp,
            HeatLoad(
                agitation_kw=torque * speed * (np.pi / 30_000.0),
                naoh_mol_s=naoh_mol_s,
                metals_mol_s=metals_mol_s.sum(0),
                premix_kg_h=premix_flow,
                line_kg_h=line_flow,
                premix_c=feed_c,
                ambient_c=ambient,
                volume_m3=self.reactor.volume_m3,
                mass_kg=self.reactor.mass_kg,
            ),
            recipe.temp_sp[k],
            ua_loss=p[_ROW["ua"]],
            stiction=p[_ROW["stiction"]],
        )
        target = 0.5 * self.temp + 0.3 * ambient + 23.5 + plant.bearing_k + p[_ROW["bearing_heat"]]
        self._bearing = self._bearing + (target - self._bearing) * (STEP_S / 1800.0)
        return_rpm, return_flow = self._return(p, second / 60.0)
        self.advice.observe(
            self.k, self.probe, p[_OFF], ph_sp, base, self._meter_flow, self.temp, run
        )
        record: Array = np.concatenate(
            (
                self._meter_flow, flow, line_flow, rpm, self._tank,
                np.stack(
                    (
                        self._premix, premix_flow, feed_c + 1.0, self.reactor.volume_m3, density,
                        self.temp, self._heat.jacket_c, self._heat.removed_kw, self._heat.stem,
                        ambient, speed, torque,
                        self._bearing, return_rpm, return_flow, oxygen,
                        plant.n2_nm3_h * (1.0 - p[_ROW["n2"]]),
                    )
                ),
                self.probe,
                np.stack((self.ph, ratio, self.advice.bias, base, run)),
                sp,
                np.stack(
                    (
                        np.full_like(run, recipe.temp_sp[k]), ph_sp, self.reactor.ammonia_mol_l,
                        self.reactor.dissolved[0],
                    )
                ),
            )
        )  # fmt: skip
        self.k += 1
        return record

    def _feeds(self, sp: Array, p: Array, ice: Array) -> tuple[Array, Array, Array]:
        """Flow control and pumps: (true flow at the meter, speed, flow at the end of the line)."""
        gain = self.plant.meter * (1.0 + p[_METER])
        self._meter_flow = self._meter_flow + FLOW_LAG * (sp - self._meter_flow)
        flow = self._meter_flow / gain
        design = KG_REV_H * self.plant.kg_rev[:4] * p[_KG_REV][:4]
        load = flow / (KG_REV_H * RPM_MAX)
        # A leaking line carries less back pressure, so its pump slips less; a freezing one more.
        pressure = 1.0 - p[_LEAK]
        pressure[2] += ice
        delivery = design * (1.0 - p[_SLIP] - PRESSURE_SLIP * load * pressure)
        delivery *= 1.0 - 0.5 * p[_GAS]
        rpm = flow / delivery
        limit = np.broadcast_to(RPM_MAX, rpm.shape).copy()
        limit[3] = np.minimum(limit[3], sp[3] / design[3] * (1.0 + NH4OH_AUTHORITY) + 1e-9)
        if (rpm > limit).any():
            rpm = np.minimum(rpm, limit)
            flow = rpm * delivery
            self._meter_flow = flow * gain
        line_flow = flow * (1.0 - p[_LEAK])
        self._tank = np.maximum(self._tank - flow * (STEP_S / 3600.0) + p[_REFILL] * STEP_S, 0.0)
        return flow, rpm, line_flow

    def _premixer(self, line_flow: Array, p: Array) -> Array:
        """Outflow of the premixer, kg/h."""
        inflow = line_flow[0] + line_flow[1]
        slope = PREMIX_PERCENT_H_KG / (1.0 - p[_ROW["outlet"]])
        settled = PREMIX_ZERO + slope * inflow
        keep = np.exp(-STEP_S / (3600.0 * PREMIX_KG_PERCENT * slope))
        before = self._premix
        self._premix = settled + (before - settled) * keep
        outflow = inflow - (self._premix - before) * PREMIX_KG_PERCENT * (3600.0 / STEP_S)
        content = self._premix * PREMIX_KG_PERCENT
        strength = self.plant.strength[:2] * p[_STRENGTH][:2] * METAL_MOL_KG
        fed = strength[0] * line_flow[0] * self._core
        fed = fed + strength[1] * line_flow[1] * self._shell
        share = STEP_S / (3600.0 * content)
        self._premix_mol_kg = self._premix_mol_kg + share * (fed - inflow * self._premix_mol_kg)
        arriving: Array = np.maximum(outflow, 0.0)
        return arriving

    def _vessel(
        self, premix_flow: Array, metals_mol_s: Array, line_flow: Array, p: Array, oxygen: Array
    ) -> Array:
        """Feed the vessel for one step; returns the NaOH that arrives, mol/s."""
        plant = self.plant
        strength = plant.strength * p[_STRENGTH]
        naoh = line_flow[2]
        arriving = 0.5 * (self._naoh_now + self._naoh_before)
        self._naoh_before, self._naoh_now = self._naoh_now, naoh
        naoh_mol_s: Array = arriving * strength[2] * (self._naoh_mol_kg / 3600.0)
        nh3_mol_s = line_flow[3] * strength[3] * (self._nh3_mol_kg / 3600.0)
        used = OXIDATION_MOL_M3_S * oxygen * self.reactor.volume_m3
        inflow = np.empty((5, *naoh.shape))
        inflow[0] = naoh_mol_s - 2.0 * metals_mol_s.sum(0) - used
        inflow[1] = nh3_mol_s
        inflow[2:] = metals_mol_s
        kg_s = (premix_flow + arriving + line_flow[3]) / 3600.0
        m3_s = premix_flow / KG_M3[0] + arriving / KG_M3[2] + line_flow[3] / KG_M3[3]
        self.reactor.step(
            STEP_S, inflow, m3_s / 3600.0, kg_s, self.temp, 0.3 * p[_ROW["thickener"]]
        )
        quality = self.mixing_quality(p)
        share = 1.0 - np.exp(-STEP_S / (MIXING_S * plant.mixing * quality))
        self.ph = self.ph + share * (self.reactor.ph - self.ph)
        return naoh_mol_s

    @staticmethod
    def mixing_quality(p: Array) -> Array:
        """[L] factor on mixing time and pH spread: return jets and impeller power carry it."""
        jets = 2.2 * p[_ROW["hose"]] / (1.0 - p[_ROW["hose"]])
        quality: Array = (1.0 + jets) * (1.0 - p[_ROW["impeller"]]) ** -2.5
        return quality

    def _probes(self, naoh_kg_h: Array, p: Array) -> None:
        quality = self.mixing_quality(p)
        place = self.plant.probe_place * quality
        # Only the probe at the NaOH inlet feels the plume itself.
        place[0] = place[0] * np.minimum(naoh_kg_h / 200.0, 2.0)
        lag = self.plant.probe_lag_s + p[_LAG]
        ph_sp = self.recipe.ph_sp[min(self.k, self.recipe.steps - 1)]
        seen = ph_sp + self.plant.probe_slope * (self.ph + place - ph_sp)
        target = seen + self.plant.probe_offset + p[_OFFSET]
        self.probe = self.probe + (1.0 - np.exp(-STEP_S / lag)) * (target - self.probe)

    def _torque(self, speed: Array, density: Array, p: Array) -> Array:
        number = POWER_NUMBER * self.plant.power_number * (1.0 - p[_ROW["impeller"]])
        torque: Array = number * density * (speed / 60.0) ** 2 * _TORQUE
        return torque

    def _return(self, p: Array, minute: float) -> tuple[Array, Array]:
        """Speed and flow of the return pump: flow-controlled until the speed saturates."""
        ramp = min(1.0, RETURN_START + (1.0 - RETURN_START) * minute / RETURN_RAMP_MIN)
        wanted = RETURN_SP_M3_H * ramp * self.plant.return_flow
        delivery = RETURN_M3_H_RPM * self.plant.kg_rev[4] * p[_KG_REV][4]
        delivery = delivery * (1.0 - p[_ROW["hose"]])
        blinded = 1.0 - 0.25 * p[_ROW["thickener"]]
        rpm = np.minimum(wanted * blinded / delivery, RETURN_RPM_MAX)
        return rpm, rpm * delivery
