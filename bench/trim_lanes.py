"""Whole simulated batches under a controller of the NaOH, many lanes at once; used by trim_bench.

The plant is the twin's model (10 s steps). Ours is the appliance's own `TrimAdvisor`, one instance
of its state per lane, fed once a minute with minutes made of noisy instruments; nothing of the law
is copied here. Operator and PLC are the barest form of edge/twin/plc.py: an offer that stands at
an acceptance gate is taken up if its base has not moved, and acts as a ratio of the base, ramped.
The real daemon, registers and PLC block run one lane at a time: tests/core/test_trim_closed_loop.py
and tests/system.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from edge.core.batch import Batch, BatchState
from edge.core.outputs import PlcState
from edge.core.registers import Control, TrimState
from edge.core.schedule import Schedule
from edge.core.trim import THETA_S, TrimSettings, closed_loop_s
from edge.core.trim_advisor import Advice, Guard, TrimAdvisor
from edge.core.trim_plant import Minute
from edge.core.verdict import Verdict
from edge.twin import model as twin
from edge.twin import params, shifts
from edge.twin.course import STEP_S, Course
from edge.twin.scenario import Scenario
from edge.twin.simulate import course_of, parameters

Array = npt.NDArray[np.float64]
SOUND = Verdict(valid=True, why=None, probability=0.05)
PROBE_NOISE_PH = 0.006
"""Per 10 s: white 0.012 at 1 s and a slow part of the same size."""
FLOW_NOISE = 0.001
PLC_RATE_KG_H_MIN = 20.0
PLC_AUTHORITY = 0.15
PLC_BASE_TOLERANCE = 0.02
ACKNOWLEDGE_MIN = 15
"""Minutes after which the operator has inspected the NaOH line, found nothing he can mend in this
batch, and acknowledges an anomaly: suggestions come again, against a new reference."""
START_KG_PER_PH = 10.0
"""Buffer of the reactor at the start: what a PI with one fixed gain is tuned for if it shall never
swing."""
FULL_KG_PER_PH = 34.0
"""Buffer of the full reactor: what it is tuned for if it shall serve most of the batch."""
MINUTE_STEPS = 60 // STEP_S
NAOH = 2


@dataclass(slots=True)
class Lane:
    """One batch: a plant, what befalls it, and who controls it."""

    plant: shifts.Plant
    course: Course
    controller: Controller
    temp_c: tuple[float, float, float] | None = None
    """(temperature, first, last minute): an upset the model has no parameter for."""
    seed: int = 0
    """Of the instruments' noise: the same under every controller, whatever lanes run beside it."""


@dataclass(slots=True)
class View:
    """What a controller sees at the end of a minute."""

    minute: int
    m: Minute
    base_kg_h: float
    scheduled_kg_h: float
    ph_sp: float
    ratio: float
    """Trim in force, share of the base."""


class Controller:
    """The fixed schedule: NaOH as scheduled at this throughput, no ratio station."""

    fixed_base = True
    """The PLC runs the scheduled NaOH, whatever the metal flow does."""

    def minute(self, view: View) -> float:
        """Wanted trim, share of the base."""
        return 0.0


class RatioStation(Controller):
    """No trim at all: the base follows the measured metal flow."""

    fixed_base = False


@dataclass(slots=True)
class PlainPi(Controller):
    """PI on pH with one fixed gain, taken up by the operator every `accept_min` minutes."""

    tau_s: float
    accept_min: int = 1
    kg_per_ph: float = START_KG_PER_PH
    _integral: float = 0.0
    _ratio: float = 0.0

    def minute(self, view: View) -> float:
        """Wanted trim, share of the base."""
        if view.m.ph_median is None:
            return self._ratio
        error_kg = (view.ph_sp - view.m.ph_median) * self.kg_per_ph
        gain = 3600.0 / (self.tau_s + THETA_S)
        applied = view.ratio * view.base_kg_h
        # External reset here as well: otherwise every gate would wind it up.
        share = 1.0 - np.exp(-60.0 / (4.0 * (self.tau_s + THETA_S)))
        self._integral += share * (applied - self._integral)
        if view.minute % self.accept_min == 0:
            wanted = (self._integral + gain * error_kg) / max(view.base_kg_h, 1.0)
            self._ratio = float(np.clip(wanted, -PLC_AUTHORITY, PLC_AUTHORITY))
        return self._ratio


@dataclass(slots=True)
class Ours(Controller):
    """The appliance's advisor; the operator looks every `accept_min` minutes."""

    advisor: TrimAdvisor
    accept_min: int
    anomaly_min: list[int] = field(default_factory=list)
    """Minutes with a raised NaOH demand anomaly."""
    offers: int = 0
    advice: Advice = field(default_factory=Advice)
    _ratio: float = 0.0
    _up: int = 0
    fixed_base = False

    def minute(self, view: View) -> float:
        """Wanted trim, share of the base."""
        now_s = 60.0 * view.minute
        plc = PlcState(
            control=Control.ADVICE_ENABLED | Control.BATCH_ACTIVE,
            batch_id=1,
            trim_applied_kg_h=view.ratio * view.base_kg_h,
        )
        sp = view.m.naoh_sp_last_kg_h
        advice = self.advisor.second(self.advice, plc, True, sp, now_s - 1.0)
        batch = Batch(state=BatchState.RUNNING, batch_id=1, minutes=float(view.minute), known=True)
        guard = Guard(batch=batch, plc=plc, plc_alive=True, verdict=SOUND, ph_sp=view.ph_sp)
        advice = self.advisor.minute(advice, view.m, guard, now_s)
        offer = advice.offer
        if view.minute % self.accept_min == 0 and advice.state is TrimState.OFFERED and offer:
            self.offers += 1
            moved = abs(offer.base_kg_h - view.base_kg_h) > PLC_BASE_TOLERANCE * view.base_kg_h
            bit = Control.REJECT if moved else Control.ACCEPT
            if not moved:
                wanted = offer.trim_kg_h / offer.base_kg_h
                self._ratio = float(np.clip(wanted, -PLC_AUTHORITY, PLC_AUTHORITY))
            answer = replace(plc, control=plc.control | bit, trim_seq_ack=offer.seq)
            advice = self.advisor.second(advice, answer, True, sp, now_s + 1.0)
        if advice.anomaly:
            self._up += 1
            self.anomaly_min.append(view.minute)
            if self._up >= ACKNOWLEDGE_MIN:
                self._up, advice = 0, replace(advice, acknowledged=True)
        self.advice = advice
        return self._ratio


@dataclass(frozen=True, slots=True)
class Outcome:
    """Minute by minute, [minutes, L]."""

    ph_error: Array
    """Bulk pH minus set-point: the worst of each minute's six steps."""
    naoh_kg_h: Array
    """NaOH set-point, mean of the minute."""

    def share_within(self, band: float) -> Array:
        """[L] share of the time within +-band."""
        share: Array = (np.abs(self.ph_error) <= band).mean(axis=0)
        return share

    def variation(self) -> Array:
        """[L] total variation of the NaOH set-point, kg/h per hour."""
        moved: Array = np.abs(np.diff(self.naoh_kg_h, axis=0)).sum(axis=0)
        return moved / (len(self.naoh_kg_h) / 60.0)


def run(
    lanes: Sequence[Lane], schedule: Schedule, minutes: int, seed: int,
    progress: Callable[[float], None] = lambda share: None,
) -> Outcome:  # fmt: skip
    """`minutes` of every lane. `progress` hears the share that is done."""
    recipe = twin.sample(schedule)
    count = len(lanes)
    plant = shifts.stack([lane.plant for lane in lanes])
    courses = [lane.course for lane in lanes]
    model = twin.Model(plant, recipe, np.zeros(count))
    fixed = np.array([lane.controller.fixed_base for lane in lanes])
    noise = [np.random.default_rng([seed, 77, lane.seed]) for lane in lanes]
    rows = {
        name: twin.field(name)
        for name in ("meter_flow", "tank", "temp", "probe", "ph", "base", "sp", "ph_sp")
    }
    ratio, wanted = np.zeros(count), np.zeros(count)
    base = recipe.flows[0, NAOH] * plant.load
    errors, flows = np.empty((minutes, count)), np.empty((minutes, count))
    block: Array = np.empty(0)
    for minute in range(minutes):
        first = minute * MINUTE_STEPS
        if minute % 60 == 0:
            block = parameters(courses, first, min(first + 60 * MINUTE_STEPS, recipe.steps))
        steps = []
        for k in range(MINUTE_STEPS):
            most = PLC_RATE_KG_H_MIN * STEP_S / 60.0 / np.maximum(base, 1.0)
            ratio = ratio + np.clip(wanted - ratio, -most, most)
            now = recipe.flows[first + k]
            # Without a ratio station the flow is the schedule's, so the base is divided out.
            base = now[NAOH] * model._meter_flow[:2].sum(0) / now[:2].sum()
            scheduled = now[NAOH] * plant.load * (1.0 + ratio)
            acting = np.where(fixed, scheduled / np.maximum(base, 1.0) - 1.0, ratio)
            steps.append(model.step(block[first % (60 * MINUTE_STEPS) + k], acting))
            base = steps[-1][rows["base"]][0]
            _upset(model, lanes, minute)
        record = np.stack(steps)
        seen = {name: record[:, at] for name, at in rows.items()}
        white = np.stack([one.standard_normal((MINUTE_STEPS + 1, 4)) for one in noise], axis=-1)
        probe = seen["probe"] + PROBE_NOISE_PH * white[:MINUTE_STEPS]
        meter = seen["meter_flow"].mean(0) * (1.0 + FLOW_NOISE * white[MINUTE_STEPS])
        error = (seen["ph"] - seen["ph_sp"])[:, 0]
        errors[minute] = error[np.abs(error).argmax(0), np.arange(count)]
        flows[minute] = seen["sp"][:, NAOH].mean(0)
        median = np.median(probe, axis=1).mean(0)
        probes = probe.mean(0)
        for i, lane in enumerate(lanes):
            m = Minute(
                ph=tuple(probes[:, i].tolist()), ph_median=float(median[i]),
                naoh_kg_h=float(meter[NAOH, i]), naoh_sp_kg_h=float(flows[minute, i]),
                naoh_sp_last_kg_h=float(seen["sp"][-1, NAOH, i]),
                naoh_weight_kg=float(seen["tank"][:, NAOH, i].mean()),
                core_kg_h=float(meter[0, i]), shell_kg_h=float(meter[1, i]),
                nh4oh_kg_h=float(meter[3, i]), temp_c=float(seen["temp"][:, 0, i].mean()),
                age_s=0.0,
            )  # fmt: skip
            view = View(
                minute + 1, m, float(base[i]), float(recipe.flows[first, NAOH]),
                float(seen["ph_sp"][-1, 0, i]), float(ratio[i]),
            )  # fmt: skip
            wanted[i] = lane.controller.minute(view)
        progress((minute + 1) / minutes)
    return Outcome(errors, flows)


def _upset(model: twin.Model, lanes: Sequence[Lane], minute: int) -> None:
    for i, lane in enumerate(lanes):
        if lane.temp_c is not None and lane.temp_c[1] <= minute < lane.temp_c[2]:
            model.temp[i] = lane.temp_c[0]


def lane(
    seed: int, steps: int, controller: Controller, disturb: Callable[[Lane], None],
    *, spread: bool = True,
) -> Lane:  # fmt: skip
    """A healthy batch of the twin with its ordinary `spread` or as built, and a disturbance."""
    scenario = Scenario(seed, severity=0)
    if spread:
        made = Lane(shifts.draw(scenario), course_of(scenario, steps), controller, seed=seed)
    else:
        made = Lane(shifts.as_built(), Course(steps, np.zeros(steps)), controller, seed=seed)
    disturb(made)
    return made


def ours(settings: TrimSettings, schedule: Schedule, accept_min: int) -> Ours:
    """The advisor, told the operator's habit (a suggestion lives as long as the file permits)."""
    told = replace(settings, accept_time_s=60.0 * accept_min)
    assert closed_loop_s(told.accept_time_s) >= 110.0
    return Ours(advisor=TrimAdvisor(told, schedule), accept_min=accept_min)


def row(name: str, feed: int = 0) -> int:
    """Row of a physical parameter."""
    return params.row(name, feed)
