"""The fault library: physical parameters at severity 1, 2, 3 (process note section 3.1).

A fault is a row: where it sits, which physical parameters it moves and how far at D-3, D-2, D-1,
and which short events it brings. What the tags show follows from the model. Where the note's D-3
figure could not hide in the normal spread (F01 ripple, F04 vibration, F05, F14, F16) it is reduced:
the gate that no single tag separates D-3 comes first. Inside a batch the
severity grows as s0 + (s1 - s0) tau^p with p = 1..3, with Poisson bursts on top.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edge.twin import params
from edge.twin.course import DIP, FLAKE, HUNT, SPIKE, STEP_S, Array, Course

if TYPE_CHECKING:
    from edge.twin.scenario import Scenario

HERE = -1
"""Element an effect acts on that means: the place drawn for this batch."""


class Effect(NamedTuple):
    """A physical parameter at severity 1, 2, 3 (0 at severity 0, linear between)."""

    param: str
    values: tuple[float, float, float]
    at: int = 0


class Event(NamedTuple):
    """Short events: how many per hour at severity 1, 2, 3."""

    kind: str
    per_hour: tuple[float, float, float]
    at: int = 0


class Place(NamedTuple):
    """One position where the fault can sit."""

    component: str
    at: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One row of the library."""

    code: str
    text: str
    part: str
    places: tuple[Place, ...]
    effects: tuple[Effect, ...]
    events: tuple[Event, ...] = ()
    freeze_min: tuple[float, float, float] | None = None
    """Minutes for which a tank scale holds its value, at severity 1, 2, 3."""
    needs: str | None = None
    """Confounder without which this fault cannot come about."""

    def place(self, seed: int) -> Place:
        """Where the fault sits in the batch with this seed."""
        pick = np.random.default_rng([seed, 4]).integers(len(self.places))
        return self.places[int(pick)]


_FEEDS = tuple(Place(f"C0{i + 1}", i) for i in range(4))
_METERS = _FEEDS[:3]

_LIBRARY = (
    Fault(
        code="F01",
        text="torn hose of the return pump",
        part="pump",
        places=(Place("C07"),),
        effects=(Effect("hose", (0.05, 0.15, 0.40)), Effect("hose_ripple", (0.22, 1.0, 2.0))),
        events=(Event(HUNT, (0.3, 0.9, 1.2)), Event(SPIKE, (0.6, 6.0, 30.0))),
    ),
    Fault(
        code="F02",
        text="core solution pipe cracked after the flow meter",
        part="pipe",
        places=(Place("C01"),),
        effects=(
            Effect("leak", (0.01, 0.04, 0.10), 0),
            Effect("head", (0.03, 0.075, 0.18), 0),
        ),
    ),
    Fault(
        code="F03",
        text="NaOH line corroded and leaking after the flow meter",
        part="pipe",
        places=(Place("C03"),),
        effects=(
            Effect("leak", (0.01, 0.03, 0.08), 2),
            Effect("area", (0.025, 0.06, 0.20), 2),
            Effect("head", (0.022, 0.06, 0.17), 2),
            Effect("turb", (0.15, 0.6, 2.0), 2),
        ),
        events=(Event(FLAKE, (1.0, 5.0, 20.0), 2),),
    ),
    Fault(
        code="F04",
        text="agitator bearing worn",
        part="drive",
        places=(Place("C06"),),
        effects=(
            Effect("vibration", (0.20, 0.80, 2.0)),
            Effect("bearing_heat", (3.0, 8.0, 18.0)),
            Effect("friction", (0.01, 0.03, 0.07)),
        ),
    ),
    Fault(
        code="F05",
        text="agitator impeller eroded or blade lost",
        part="drive",
        places=(Place("C06"),),
        effects=(
            Effect("impeller", (0.035, 0.10, 0.25)),
            Effect("vibration", (0.10, 0.25, 0.60)),
        ),
    ),
    Fault(
        code="F06",
        text="NH4OH pump diaphragm or check valve worn",
        part="pump",
        places=(Place("C04"),),
        effects=(Effect("slip", (0.03, 0.10, 0.30), 3),),
    ),
    Fault(
        code="F07",
        text="one pH probe drifting or fouled",
        part="instrument",
        places=tuple(Place("C09", i) for i in range(4)),
        effects=(
            Effect("probe_offset", (-0.05, -0.15, -0.40), HERE),
            Effect("probe_lag", (5.0, 40.0, 180.0), HERE),
        ),
    ),
    Fault(
        code="F08",
        text="all pH probes wrong together (buffer, reference)",
        part="instrument",
        places=(Place("C09"),),
        effects=tuple(Effect("probe_offset", (0.05, 0.15, 0.30), i) for i in range(4)),
    ),
    Fault(
        code="F09",
        text="sticking jacket valve",
        part="instrument",
        places=(Place("C08"),),
        effects=(Effect("stiction", (0.01, 0.03, 0.08)),),
    ),
    Fault(
        code="F10",
        text="flow meter coated",
        part="meter",
        places=_METERS,
        effects=(Effect("meter", (-0.01, -0.025, -0.06), HERE),),
    ),
    Fault(
        code="F11",
        text="jacket fouled",
        part="pipe",
        places=(Place("C08"),),
        effects=(Effect("ua", (0.10, 0.25, 0.45)),),
    ),
    Fault(
        code="F12",
        text="VFD or motor of a feed pump failing",
        part="drive",
        places=_FEEDS,
        effects=(Effect("vfd", (0.005, 0.015, 0.04), HERE),),
        events=(Event(DIP, (1.0, 5.0, 20.0), HERE),),
    ),
    Fault(
        code="F13",
        text="tank scale freezing",
        part="tank",
        places=_FEEDS,
        effects=(),
        freeze_min=(5.0, 30.0, 120.0),
    ),
    Fault(
        code="F14",
        text="N2 blanket lost",
        part="pipe",
        places=(Place("C10"),),
        effects=(Effect("n2", (0.09, 0.60, 1.0)),),
    ),
    Fault(
        code="F15",
        text="air in a feed line",
        part="pump",
        places=_FEEDS,
        effects=(Effect("gas", (0.01, 0.03, 0.08), HERE),),
        events=(Event(DIP, (1.0, 4.0, 15.0), HERE),),
    ),
    Fault(
        code="F16",
        text="NaOH line freezing, its trace heating lost",
        part="pipe",
        places=(Place("C03"),),
        effects=(Effect("freeze", (0.05, 0.30, 0.80)),),
        events=(Event(FLAKE, (0.5, 3.0, 12.0), 2),),
        needs="N14",
    ),
    Fault(
        code="F17",
        text="premixer outlet blocked",
        part="pipe",
        places=(Place("C05"),),
        effects=(Effect("outlet", (0.016, 0.10, 0.30)),),
    ),
    Fault(
        code="F18",
        text="thickener blinded",
        part="pipe",
        places=(Place("C07"),),
        effects=(Effect("thickener", (0.08, 0.25, 0.70)),),
    ),
)

FAULTS: dict[str, Fault] = {fault.code: fault for fault in _LIBRARY}
"""Code -> fault."""

_LEVELS = (0.0, 1.0, 2.0, 3.0)
_IRREGULAR_S = (30_000, 40_000)
"""Seconds of the batch in which the paper saw the irregular pump speed (paper 2.2, Fig. 3D/E)."""
_IRREGULAR_SHARE = 0.85
_HUNT_SIZE = (0.0, 0.008, 0.03, 0.08)
"""Relative speed deviation of the return pump while it hunts, at severity 0..3."""


def severity_course(scenario: Scenario, steps: int) -> tuple[Array, Array]:
    """(smooth severity, severity with bursts), float64[steps] each."""
    if scenario.active_fault is None:
        return np.zeros(steps), np.zeros(steps)
    rng = np.random.default_rng([scenario.seed, 3])
    end = float(scenario.severity)
    begin = end - rng.uniform(0.15, 0.5)
    power = rng.uniform(1.0, 3.0)
    start = scenario.start_fraction
    tau = (np.arange(steps) / steps - start) / (1.0 - start)
    smooth = np.where(tau >= 0.0, begin + (end - begin) * np.clip(tau, 0.0, 1.0) ** power, 0.0)
    bursts = np.zeros(steps)
    for _ in range(int(rng.poisson(0.4 * steps * STEP_S / 3600.0))):
        first = int(rng.integers(steps))
        shape = np.hanning(int(rng.integers(18, 90)))[: steps - first]
        bursts[first : first + len(shape)] += rng.uniform(0.1, 0.3) * end * shape
    return smooth, np.minimum(smooth + np.where(smooth > 0.0, bursts, 0.0), 3.0)


def apply(scenario: Scenario, course: Course) -> None:
    """Add the scenario's fault, if it has one, to `course`."""
    code = scenario.active_fault
    smooth, severity = severity_course(scenario, course.steps)
    course.severity = smooth
    if code is None:
        return
    fault = FAULTS[code]
    here = fault.place(scenario.seed).at
    rng = np.random.default_rng([scenario.seed, 5])
    for effect in fault.effects:
        index = here if effect.at == HERE else effect.at
        values = np.interp(severity, _LEVELS, (0.0, *effect.values))
        course.tracks.append((params.row(effect.param, index), values))
    for event in fault.events:
        index = here if event.at == HERE else event.at
        per_hour = np.interp(severity, _LEVELS, (0.0, *event.per_hour))
        _events(event.kind, index, per_hour, severity, course, rng)
    if fault.freeze_min is not None:
        minutes = float(np.interp(scenario.severity, _LEVELS, (0.0, *fault.freeze_min)))
        begin = scenario.start_fraction * course.seconds / 60.0
        for first in np.arange(begin + rng.uniform(20.0, 120.0), course.seconds / 60.0, 240.0):
            course.add(params.row("stuck", here), 1.0, float(first), float(first) + minutes)


def _events(
    kind: str,
    feed: int,
    per_hour: Array,
    severity: Array,
    course: Course,
    rng: np.random.Generator,
) -> None:
    """A Poisson process whose rate follows the severity, by thinning; draws into a fast track."""
    most = float(per_hour.max())
    for _ in range(int(rng.poisson(most * course.seconds / 3600.0))):
        at = int(rng.integers(course.seconds))
        if kind == HUNT and rng.random() < _IRREGULAR_SHARE:
            at = int(rng.integers(*_IRREGULAR_S)) % course.seconds
        own = np.random.default_rng(rng.integers(1 << 62))
        step = at // STEP_S
        if own.random() * most > per_hour[step]:
            continue
        if kind == HUNT:
            course.hunt(at, float(np.interp(severity[step], _LEVELS, _HUNT_SIZE)), own)
        else:
            course.pulse(kind, feed, at, own)
