"""Physical parameters that faults, confounders and operators act on.

One column of numbers per lane and 10 s step. A fault or confounder never touches a tag: it adds to
one of these, and the model does the rest. Feeds are numbered 0 core, 1 shell, 2 NaOH, 3 NH4OH.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


class Param(NamedTuple):
    """A block of physical parameters."""

    name: str
    rows: int
    default: float
    unit: str
    text: str


PARAMS: tuple[Param, ...] = (
    Param("slip", 4, 0.0, "-", "share of a feed pump's displacement that is not delivered"),
    Param("leak", 4, 0.0, "-", "share of a feed lost between its flow meter and the vessel"),
    Param("meter", 4, 0.0, "-", "gain error of a feed's flow meter"),
    Param("area", 4, 0.0, "-", "relative growth of the cross-section that ends a feed line"),
    Param("head", 4, 0.0, "-", "share of a feed line's static back pressure that is lost"),
    Param("plug", 4, 0.0, "-", "relative rise of a feed line's flow resistance"),
    Param("turb", 4, 0.0, "-", "relative rise of a feed line's pressure noise"),
    Param("gas", 4, 0.0, "-", "gas share in a feed"),
    Param("vfd", 4, 0.0, "-", "slip between a feed's VFD frequency and its speed"),
    Param("stuck", 4, 0.0, "-", "1: a tank scale holds its last weight"),
    Param("rate", 4, 1.0, "-", "factor on a feed's set-point"),
    Param("strength", 4, 1.0, "-", "factor on the concentration in a feed tank"),
    Param("refill", 4, 0.0, "kg/s", "weight put into a feed tank"),
    Param("kg_rev", 5, 1.0, "-", "factor on a pump's delivery per revolution; [4] return pump"),
    Param("probe_offset", 4, 0.0, "pH", "error of a pH probe"),
    Param("probe_lag", 4, 0.0, "s", "time constant added to a pH probe"),
    Param("probe_off", 4, 0.0, "-", "1: a pH probe is out of the vessel (cleaning)"),
    Param("hose", 1, 0.0, "-", "share of the return pump's displacement that flows back"),
    Param("hose_ripple", 1, 0.0, "-", "relative rise of the return pump's pressure pulsation"),
    Param("impeller", 1, 0.0, "-", "relative loss of the agitator's power number"),
    Param("vibration", 1, 0.0, "-", "relative rise of the agitator's vibration"),
    Param("friction", 1, 0.0, "-", "relative rise of the agitator's current by bearing friction"),
    Param("bearing_heat", 1, 0.0, "K", "temperature rise of the agitator's bearing"),
    Param("stiction", 1, 0.0, "-", "dead band of the jacket valve, share of its travel"),
    Param("ua", 1, 0.0, "-", "relative loss of the jacket's heat transfer"),
    Param("n2", 1, 0.0, "-", "relative loss of the N2 blanket flow"),
    Param("outlet", 1, 0.0, "-", "relative loss of the premixer outlet's cross-section"),
    Param("thickener", 1, 0.0, "-", "relative rise of the thickener's resistance"),
    Param("run", 1, 1.0, "-", "1: feeds run, 0: held by the operator"),
    Param("ph_shift", 1, 0.0, "pH", "operator's change of the pH set-point"),
    Param("rpm_shift", 1, 0.0, "rpm", "operator's change of the agitator speed"),
    Param("ambient", 1, 0.0, "K", "season: change of the mean ambient temperature"),
    Param("freeze", 1, 0.0, "-", "rise of the NaOH line's resistance by crystals in frost"),
)

_START: dict[str, int] = dict(
    zip(
        (p.name for p in PARAMS),
        np.cumsum([0, *(p.rows for p in PARAMS)])[:-1].tolist(),
        strict=True,
    )
)
_COUNT = {p.name: p.rows for p in PARAMS}
TOTAL = sum(p.rows for p in PARAMS)
"""Rows of a parameter array."""
DEFAULTS: Array = np.repeat([p.default for p in PARAMS], [p.rows for p in PARAMS])
"""float64[TOTAL]: the healthy plant."""


def span(name: str) -> slice:
    """Rows of the parameter `name`; KeyError if there is none."""
    return slice(_START[name], _START[name] + _COUNT[name])


def frozen(p: Array, ambient_c: Array) -> Array:
    """Rise of the NaOH line's resistance [..., L] by caustic that crystallises in the cold.

    `p` [..., TOTAL, L], `ambient_c` [..., L]. 48 % caustic freezes near 14 °C (process note 1.4);
    a line without trace heating begins to plug below 12 °C and does so fully at 4 °C.
    """
    cold = np.clip((_FREEZES_C - ambient_c) / (_FREEZES_C - _FROZEN_C), 0.0, 1.0)
    rise: Array = p[..., _FREEZE, :] * cold
    return rise


def row(name: str, index: int = 0) -> int:
    """Row of element `index` of the parameter `name`; KeyError or IndexError if there is none."""
    if not 0 <= index < _COUNT[name]:
        raise IndexError(f"parameter {name}[{index}]: permitted 0..{_COUNT[name] - 1}")
    return _START[name] + index


_FREEZE = row("freeze")
_FREEZES_C = 12.0
_FROZEN_C = 4.0
