"""Tag, Quality, Reason, Row: one notion of "missing" for the whole appliance.

A slot is always delivered and says what is missing. A value whose quality is BAD is NaN, so that
nobody can mistake it for a number; UNCERTAIN values are numbers that were read but are doubted.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
ByteArray = npt.NDArray[np.uint8]


class Quality(IntEnum):
    """Quality of one process value (OPC UA severity order)."""

    GOOD = 0
    UNCERTAIN = 1
    BAD = 2


class Reason(IntEnum):
    """Why a process value is not GOOD; kept beside the quality, shown by `ncm-edge tags`."""

    NONE = 0
    NOT_CONNECTED = 1
    TIMEOUT = 2
    EXCEPTION = 3
    """The device answered with an exception (Modbus) or a service fault (OPC UA)."""
    BAD_ANSWER = 4
    """The answer failed a strict check and was thrown away."""
    STATUS_BAD = 5
    STATUS_UNCERTAIN = 6
    NOT_A_NUMBER = 7
    OUT_OF_RANGE = 8
    INVALID_CODE = 9
    """The device reports "no value" with an agreed raw code."""
    STALE = 10
    """The source timestamp is older than the tag's age limit."""
    FROZEN = 11
    """The value has not moved for longer than the tag allows."""
    MISSED = 12
    """The slot passed without a poll (overrun, start-up, restart)."""
    TEXT = 13
    """The tag holds a text. It was read, but is shown only: never a number for anybody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tag:
    """One process value of the line, as the core sees it (addresses live in the configuration)."""

    name: str
    """As in the plant's tag list, e.g. ``PI-103.PV``."""
    text: str
    """What it measures, in the operator's words."""
    unit: str
    """Engineering unit."""
    low: float
    """Lower end of the instrument range, engineering unit; below it the value is BAD."""
    high: float
    """Upper end of the instrument range, engineering unit."""
    component: str
    """Component code in components.toml, e.g. ``C03``."""
    part: str
    """Sub-component: tank, pump, drive, meter, pipe or instrument."""
    max_age_s: float = 10.0
    """Age of the source timestamp beyond which the value is STALE (OPC UA only)."""
    frozen_s: float = 0.0
    """Seconds without any change after which the value is FROZEN; 0 switches the check off."""


@dataclass(frozen=True, slots=True)
class Row:
    """All process values of one line for one second, arrays indexed like the line's tag table."""

    t_s: float
    """Wall-clock start of the slot, epoch seconds UTC."""
    values: FloatArray
    """float32[P], engineering units; NaN exactly where quality is BAD."""
    quality: ByteArray
    """uint8[P] of Quality."""
    reason: ByteArray
    """uint8[P] of Reason."""
    start_s: float
    """Monotonic time when the first request of the row was sent, s."""
    end_s: float
    """Monotonic time when the last answer of the row was in, s."""

    @property
    def skew_s(self) -> float:
        """Seconds between the first request and the last answer of the row."""
        return self.end_s - self.start_s


def gap_row(t_s: float, tag_count: int, reason: Reason, monotonic_s: float) -> Row:
    """A row that delivers nothing but says so: every value NaN, BAD, with `reason`."""
    return Row(
        t_s=t_s,
        values=np.full(tag_count, np.nan, np.float32),
        quality=np.full(tag_count, Quality.BAD, np.uint8),
        reason=np.full(tag_count, reason, np.uint8),
        start_s=monotonic_s,
        end_s=monotonic_s,
    )
