"""The 51 tags of the line: what the instruments do to the truth (process note section 2).

`low`..`high` is the *normal* range of a healthy batch; the instrument ranges in the configuration
are wider, so that a fault is a number and not a blank. `sigma` is the standard deviation of the
1 s white noise; an AR(1) part (time constant 30 s) of the same size is added to it.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Update = Literal["F", "M", "S"]
"""F: a new value every second; M: every 2 to 5 s, S: every 10 s or slower; held in between."""


class TwinTag(NamedTuple):
    """One instrument."""

    name: str
    text: str
    unit: str
    low: float
    high: float
    sigma: float
    """Engineering unit, or a share of the value when `relative`."""
    relative: bool
    quantum: float
    """Resolution of the transmitted value, engineering unit."""
    update: Update
    component: str
    part: str


TAGS: tuple[TwinTag, ...] = tuple(
    TwinTag(*row)
    for row in (
        # name, text, unit, low, high, sigma, relative, quantum, class, component, part
        ("SIC-101.PV", "core pump speed", "rpm", 37, 366, 0.3, False, 0.1, "F", "C01", "pump"),
        ("SC-101.OUT", "core VFD frequency", "Hz", 5.6, 55, 0.02, False, 0.01, "F", "C01", "drive"),
        ("II-101.PV", "core motor current", "A", 1.2, 2.6, 0.02, False, 0.01, "F", "C01", "drive"),
        (
            "PI-101.PV",
            "core discharge pressure",
            "bar g",
            1.5,
            2.6,
            0.02,
            False,
            0.001,
            "F",
            "C01",
            "pipe",
        ),
        ("FIC-101.PV", "core mass flow", "kg/h", 93, 916, 0.002, True, 0.01, "F", "C01", "meter"),
        ("WI-101.PV", "core tank weight", "kg", 1840, 9000, 0.5, False, 0.1, "M", "C01", "tank"),
        ("SIC-102.PV", "shell pump speed", "rpm", 69, 340, 0.3, False, 0.1, "F", "C02", "pump"),
        ("SC-102.OUT", "shell VFD frequency", "Hz", 10, 51, 0.02, False, 0.01, "F", "C02", "drive"),
        ("II-102.PV", "shell motor current", "A", 1.2, 2.4, 0.02, False, 0.01, "F", "C02", "drive"),
        (
            "PI-102.PV",
            "shell discharge pressure",
            "bar g",
            1.5,
            2.4,
            0.02,
            False,
            0.001,
            "F",
            "C02",
            "pipe",
        ),
        ("FIC-102.PV", "shell mass flow", "kg/h", 126, 619, 0.002, True, 0.01, "F", "C02", "meter"),
        ("WI-102.PV", "shell tank weight", "kg", 1850, 9000, 0.5, False, 0.1, "M", "C02", "tank"),
        ("SIC-103.PV", "NaOH pump speed", "rpm", 203, 304, 0.3, False, 0.1, "F", "C03", "pump"),
        ("SC-103.OUT", "NaOH VFD frequency", "Hz", 30, 46, 0.02, False, 0.01, "F", "C03", "drive"),
        ("II-103.PV", "NaOH motor current", "A", 1.6, 2.2, 0.02, False, 0.01, "F", "C03", "drive"),
        (
            "PI-103.PV",
            "NaOH line pressure",
            "bar g",
            2.2,
            3.2,
            0.03,
            False,
            0.001,
            "F",
            "C03",
            "pipe",
        ),
        ("FIC-103.PV", "NaOH mass flow", "kg/h", 184, 276, 0.3, False, 0.01, "F", "C03", "meter"),
        ("WI-103.PV", "NaOH tank weight", "kg", 480, 4200, 0.3, False, 0.1, "M", "C03", "tank"),
        ("SIC-104.PV", "NH4OH stroke rate", "1/min", 58, 120, 0.2, False, 0.1, "F", "C04", "pump"),
        ("SC-104.OUT", "NH4OH VFD frequency", "Hz", 29, 60, 0.02, False, 0.01, "F", "C04", "drive"),
        ("II-104.PV", "NH4OH motor current", "A", 0.6, 0.8, 0.01, False, 0.01, "F", "C04", "drive"),
        (
            "PI-104.PV",
            "NH4OH pressure (pulsating)",
            "bar g",
            2.0,
            3.5,
            0.15,
            False,
            0.001,
            "F",
            "C04",
            "pipe",
        ),
        (
            "FIC-104.PV",
            "NH4OH mass flow",
            "kg/h",
            20.8,
            43.2,
            0.15,
            False,
            0.01,
            "F",
            "C04",
            "meter",
        ),
        ("WI-104.PV", "NH4OH tank weight", "kg", 173, 750, 0.1, False, 0.1, "M", "C04", "tank"),
        ("SIC-105.PV", "premixer speed", "rpm", 238, 242, 0.5, False, 0.1, "F", "C05", "drive"),
        (
            "TI-105.PV",
            "premix temperature",
            "°C",
            22,
            34,
            0.05,
            False,
            0.01,
            "M",
            "C05",
            "instrument",
        ),
        (
            "FI-105.PV",
            "premix outlet flow",
            "kg/h",
            708,
            1063,
            0.004,
            True,
            0.01,
            "F",
            "C05",
            "meter",
        ),
        ("LI-105.PV", "premix level", "%", 57, 63, 0.2, False, 0.01, "F", "C05", "tank"),
        ("SIC-106.PV", "agitator speed", "rpm", 498, 502, 0.5, False, 0.1, "F", "C06", "drive"),
        (
            "SC-106.OUT",
            "agitator VFD frequency",
            "Hz",
            56.9,
            57.3,
            0.02,
            False,
            0.01,
            "F",
            "C06",
            "drive",
        ),
        ("II-106.PV", "agitator current", "A", 60, 74, 0.5, False, 0.1, "F", "C06", "drive"),
        ("NI-106.PV", "agitator torque", "N·m", 590, 730, 6.0, False, 0.1, "F", "C06", "drive"),
        (
            "VI-106.PV",
            "gearbox vibration, velocity RMS",
            "mm/s",
            1.6,
            2.8,
            0.1,
            False,
            0.01,
            "F",
            "C06",
            "instrument",
        ),
        (
            "TI-106B.PV",
            "agitator bearing temperature",
            "°C",
            48,
            62,
            0.1,
            False,
            0.01,
            "M",
            "C06",
            "instrument",
        ),
        ("SIC-107.PV", "return pump speed", "rpm", 28, 36, 0.1, False, 0.1, "F", "C07", "pump"),
        (
            "SC-107.OUT",
            "return VFD frequency",
            "Hz",
            42,
            54,
            0.02,
            False,
            0.01,
            "F",
            "C07",
            "drive",
        ),
        ("II-107.PV", "return motor current", "A", 7.5, 9.0, 0.1, False, 0.01, "F", "C07", "drive"),
        (
            "PI-107.PV",
            "return discharge pressure",
            "bar g",
            1.4,
            2.2,
            0.03,
            False,
            0.001,
            "F",
            "C07",
            "pump",
        ),
        (
            "FI-107.PV",
            "return slurry flow",
            "m3/h",
            5.5,
            7.0,
            0.15,
            False,
            0.001,
            "F",
            "C07",
            "meter",
        ),
        (
            "TIC-106.PV",
            "reactor temperature",
            "°C",
            47.5,
            48.5,
            0.03,
            False,
            0.01,
            "M",
            "C08",
            "instrument",
        ),
        ("TI-106J1.PV", "jacket supply", "°C", 38, 44, 0.1, False, 0.01, "M", "C08", "instrument"),
        ("TI-106J2.PV", "jacket return", "°C", 40, 46, 0.1, False, 0.01, "M", "C08", "instrument"),
        (
            "TV-106.ZI",
            "jacket valve position",
            "%",
            20,
            60,
            0.1,
            False,
            0.1,
            "M",
            "C08",
            "instrument",
        ),
        (
            "TI-001.PV",
            "ambient temperature",
            "°C",
            5,
            35,
            0.1,
            False,
            0.1,
            "S",
            "C12",
            "instrument",
        ),
        (
            "AIT-106A.PV",
            "pH near NaOH inlet",
            "pH",
            10.95,
            11.45,
            0.012,
            False,
            0.001,
            "M",
            "C09",
            "instrument",
        ),
        (
            "AIT-106B.PV",
            "pH mid height",
            "pH",
            10.95,
            11.45,
            0.012,
            False,
            0.001,
            "M",
            "C09",
            "instrument",
        ),
        (
            "AIT-106C.PV",
            "pH bottom",
            "pH",
            10.95,
            11.45,
            0.012,
            False,
            0.001,
            "M",
            "C09",
            "instrument",
        ),
        (
            "AIT-106D.PV",
            "pH return-loop side",
            "pH",
            10.95,
            11.45,
            0.012,
            False,
            0.001,
            "M",
            "C09",
            "instrument",
        ),
        (
            "AIT-106E.PV",
            "dissolved oxygen",
            "mg/L",
            0,
            0.10,
            0.01,
            False,
            0.001,
            "M",
            "C10",
            "instrument",
        ),
        ("FI-108.PV", "N2 blanket flow", "Nm3/h", 8, 12, 0.1, False, 0.01, "F", "C10", "meter"),
        ("LI-106.PV", "reactor level", "%", 26, 85, 0.2, False, 0.01, "F", "C11", "instrument"),
    )
)
"""In model order. PI-107's pulsation is a sine of its own (see rows.py), so its sigma is small."""

TAG_COUNT = len(TAGS)
NAMES: tuple[str, ...] = tuple(tag.name for tag in TAGS)
INDEX: dict[str, int] = {name: i for i, name in enumerate(NAMES)}

CONTEXT: tuple[str, ...] = (
    "FIC-101.SP",
    "FIC-102.SP",
    "FIC-103.SP",
    "FIC-104.SP",
    "TIC-106.SP",
    "AIC-106.SP",
)
"""Set-points: shown and used by the trim, never model input."""

OPC_UA_TAGS: tuple[int, ...] = (*range(28, 34), *range(39, 51))
"""Indices of the tags the plant serves over OPC UA (agitator, temperatures, pH, N2, level)."""
