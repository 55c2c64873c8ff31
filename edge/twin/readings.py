"""From physical quantities to what the 51 instruments would show without noise.

Works on whole blocks: records [K, R, L] of K steps and L lanes. Besides the tags the result has a
few rows that steer the noise (`EXTRA`), because pulsation and turbulence change with the plant.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edge.twin.model import VESSEL_M3, field
from edge.twin.params import Array, frozen, span
from edge.twin.shifts import Plant
from edge.twin.tag_table import INDEX, TAG_COUNT

_Get = Callable[[str], Array]

EXTRA = (
    "feed_noise_0", "feed_noise_1", "feed_noise_2", "feed_noise_3",
    "stuck_0", "stuck_1", "stuck_2", "stuck_3",
    "ripple_107",
    "off_0", "off_1", "off_2", "off_3",
)  # fmt: skip
"""Rows behind the tags: pressure-noise factors, frozen scales, pulsation of PI-107, probes out."""
COLUMNS = TAG_COUNT + len(EXTRA)
FEED_NOISE = slice(TAG_COUNT, TAG_COUNT + 4)
STUCK = slice(TAG_COUNT + 4, TAG_COUNT + 8)
RIPPLE = TAG_COUNT + 8
OFF = slice(TAG_COUNT + 9, TAG_COUNT + 13)

# Line pressure = static + linear (viscous) + quadratic (nozzle), bar, at the design flow, kg/h.
_DESIGN = np.array([916.0, 619.0, 276.0, 43.2])[:, None]
_STATIC = np.array([1.45, 1.42, 1.50, 1.54])[:, None]
_LINEAR = np.array([0.40, 0.35, 0.25, 0.90])[:, None]
_SQUARE = np.array([0.75, 0.63, 1.35, 1.00])[:, None]
_THICKER = np.array([0.012, 0.012, 0.022, 0.010])[:, None]
"""Relative rise of the viscous part per K below 20 °C (the caustic line is only partly traced)."""
_SPEED = np.array([366.0, 340.0, 304.0, 120.0])[:, None]
_IDLE_A = np.array([1.16, 1.05, 1.07, 0.524])[:, None]
_LOAD_A = np.array([0.554, 0.5625, 0.353, 0.079])[:, None]
_HZ_RPM = np.array([0.1503, 0.150, 0.1500, 0.500])[:, None]
_AGITATOR_HZ_RPM = 0.1142
_RETURN_HZ_RPM = 1.5
_HOSE_BAR = 0.28
"""Amplitude of the hose pump's pulsation at 32 rpm, bar."""
_HOSE_OPEN = 1.4
"""Share of a turn during which a torn hose holds no pressure, per share of slip."""

_FEED_TAGS = {
    what: np.array([INDEX[f"{what}-10{i}.{end}"] for i in (1, 2, 3, 4)])
    for what, end in (
        ("SIC", "PV"), ("SC", "OUT"), ("II", "PV"), ("PI", "PV"), ("FIC", "PV"), ("WI", "PV"),
    )
}  # fmt: skip
_PROBES = np.array([INDEX[f"AIT-106{c}.PV"] for c in "ABCD"])


def readings(records: Array, p: Array, plant: Plant) -> Array:
    """Clean readings [K, COLUMNS, L] of records [K, RECORD_ROWS, L] under parameters [K, TOTAL, L].

    Transmitter gains and offsets of `plant` are included, noise is not.
    """
    steps, _, lanes = records.shape
    out = np.zeros((steps, COLUMNS, lanes))

    def get(name: str) -> Array:
        values = records[:, field(name)]
        return values[:, 0] if values.shape[1] == 1 else values

    def par(name: str) -> Array:
        values = p[:, span(name)]
        return values[:, 0] if values.shape[1] == 1 else values

    ambient = get("ambient")
    plug = par("plug").copy()
    plug[:, 2] += frozen(p, ambient)
    _feeds(out, get("rpm"), get("line_flow"), ambient, plug, par, plant)
    out[:, _FEED_TAGS["FIC"]] = get("meter_flow")
    out[:, _FEED_TAGS["WI"]] = get("tank")
    simple = {
        "SIC-105.PV": 240.0 + 0.0 * get("ph"),
        "TI-105.PV": get("premix_temp"),
        "FI-105.PV": get("premix_flow"),
        "LI-105.PV": get("premix_level"),
        "SIC-106.PV": get("agitator_rpm"),
        "SC-106.OUT": get("agitator_rpm") * _AGITATOR_HZ_RPM * plant.gear[4],
        "II-106.PV": (1.0 + 0.1 * get("torque")) * (1.0 + par("friction")) * plant.current[4],
        "NI-106.PV": get("torque"),
        "VI-106.PV": 2.1
        * plant.vibration
        * (1.0 + par("vibration"))
        * (get("agitator_rpm") / 500.0) ** 2,
        "TI-106B.PV": get("bearing"),
        "TIC-106.PV": get("temp") + plant.temp_offset,
        "TI-106J1.PV": get("jacket") - get("jacket_kw") / 40.0,
        "TI-106J2.PV": get("jacket") + get("jacket_kw") / 40.0,
        "TV-106.ZI": 100.0 * get("valve"),
        "TI-001.PV": ambient,
        "AIT-106E.PV": get("oxygen"),
        "FI-108.PV": get("n2"),
        "LI-106.PV": 100.0 * get("volume") / (VESSEL_M3 * plant.volume),
    }
    for name, values in simple.items():
        out[:, INDEX[name]] = values
    _return_loop(out, get("return_rpm"), get("return_flow"), get("density"), par, plant)
    out[:, _PROBES] = get("probe")
    out[:, :TAG_COUNT] *= plant.cal_gain
    out[:, :TAG_COUNT] += plant.cal_offset
    gas, turb = par("gas"), par("turb")
    out[:, FEED_NOISE] = (1.0 + turb) * (1.0 + 90.0 * gas)
    # A diaphragm pump that delivers less also pulses less.
    out[:, FEED_NOISE][:, 3] *= 1.0 - 3.0 * np.minimum(par("slip")[:, 3], 0.3)
    out[:, STUCK] = par("stuck")
    out[:, OFF] = par("probe_off")
    return out


def _feeds(
    out: Array,
    rpm: Array,
    line_flow: Array,
    ambient: Array,
    plug: Array,
    par: _Get,
    plant: Plant,
) -> None:
    share = line_flow / _DESIGN
    viscosity = np.exp(-_THICKER * (ambient[:, None] - 20.0))
    opening = 1.0 + plant.line_area + par("area")
    pressure = _STATIC * plant.line_head * (1.0 - par("head"))
    pressure = pressure + _LINEAR * share * viscosity * (1.0 + plug)
    pressure = pressure + _SQUARE * (share / opening) ** 2 * (1.0 + plug)
    speed = rpm / _SPEED
    out[:, _FEED_TAGS["SIC"]] = rpm
    out[:, _FEED_TAGS["SC"]] = rpm * _HZ_RPM * plant.gear[:4] / (1.0 - par("vfd"))
    out[:, _FEED_TAGS["PI"]] = pressure
    out[:, _FEED_TAGS["II"]] = (
        (_IDLE_A + _LOAD_A * speed * pressure) * plant.current[:4] * (1.0 - 0.8 * par("gas"))
    )


def _return_loop(
    out: Array, rpm: Array, flow: Array, density: Array, par: _Get, plant: Plant
) -> None:
    resistance = plant.return_head * (1.0 + par("thickener"))
    pressure = 0.75 + 0.92 * (flow / 6.6) ** 2 * (density / 1000.0) * resistance
    pressure = pressure * (1.0 - _HOSE_OPEN * par("hose"))
    out[:, INDEX["SIC-107.PV"]] = rpm
    out[:, INDEX["SC-107.OUT"]] = rpm * _RETURN_HZ_RPM * plant.gear[5]
    out[:, INDEX["II-107.PV"]] = (4.9 + 1.96 * pressure) * plant.current[5]
    out[:, INDEX["PI-107.PV"]] = pressure
    out[:, INDEX["FI-107.PV"]] = flow
    ripple = _HOSE_BAR * plant.return_ripple * (1.0 + par("hose_ripple"))
    out[:, RIPPLE] = ripple * rpm / 32.0
