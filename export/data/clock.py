"""Time stamps of a recording -> seconds that only go forwards.

Seconds are UTC since 1970 for dates, and as the file counts them for numbers. Local times need
`timezone` in the description: the hour that comes twice in autumn is told apart by its order, the
hour that is missing in spring is no gap. Without it, a clock that goes back is a fault: which of
two equal times came first cannot be known.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from export.data.dataset import DatasetError
from export.data.findings import Finding
from export.data.plantspec import TIME_UNITS_S

HOUR_S = 3600.0
_QUARTER_S = 900
"""Offsets of time zones change at quarters of an hour."""


@dataclass(slots=True)
class Clock:
    """Turns the time column of one file into seconds, block by block."""

    file: Path
    time_format: str = "iso"
    timezone: str = ""
    findings: list[Finding] = field(default_factory=list)
    _second_pass: bool = False
    _last_local: float = float("-inf")

    def seconds(self, column: Any, first_row: int) -> np.ndarray:
        """float64[N] for a pyarrow or numpy column. Raises DatasetError, naming the row."""
        if isinstance(column, np.ndarray):
            return column.astype(np.float64)
        import pyarrow as pa
        import pyarrow.compute as pc

        if column.null_count:
            row = int(np.flatnonzero(np.asarray(pc.is_null(column)))[0])
            raise DatasetError(
                f"{self.file}:{first_row + row + 2}: no time; remove the row or fill the time in"
            )
        if self.time_format in TIME_UNITS_S:
            numbers = self._cast(column, pa.float64(), first_row)
            return numbers.to_numpy(zero_copy_only=False) * TIME_UNITS_S[self.time_format]
        stamps, local = self._stamps(column, first_row)
        seconds = pc.cast(stamps, pa.int64()).to_numpy(zero_copy_only=False) / 1e6
        return self._from_local(seconds) if local and self.timezone else seconds

    def _stamps(self, column: Any, first_row: int) -> tuple[Any, bool]:
        """Microseconds, and whether they are local times (no offset in the text)."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if pa.types.is_timestamp(column.type):
            zone = column.type.tz
            return pc.cast(column, pa.timestamp("us", tz=zone), safe=False), zone is None
        if not pa.types.is_string(column.type):
            column = pc.cast(column, pa.string())
        if self.time_format != "iso":
            out = pc.strptime(column, format=self.time_format, unit="us", error_is_null=True)
            if out.null_count:
                self._refuse(column, int(np.flatnonzero(np.asarray(pc.is_null(out)))[0]), first_row)
            return out, True
        offset = pc.match_substring_regex(column, r"(Z|[+-]\d\d:?\d\d)$")
        count = pc.sum(offset).as_py() or 0
        if 0 < count < len(column):
            row = int(np.flatnonzero(np.asarray(offset) != np.asarray(offset)[0])[0])
            raise DatasetError(
                f"{self.file}:{first_row + row + 2}: times with and without an offset from UTC in "
                "one column; write all of them alike"
            )
        # "+00:00" is dropped where a date alone would look like one.
        kind = pa.timestamp("us", tz="UTC") if count else pa.timestamp("us")
        return self._cast(column, kind, first_row), not count

    def _cast(self, column: Any, kind: Any, first_row: int) -> Any:
        import pyarrow as pa
        import pyarrow.compute as pc

        try:
            return pc.cast(column, kind)
        except pa.ArrowInvalid:
            for row in range(len(column)):
                try:
                    pc.cast(column.slice(row, 1), kind)
                except pa.ArrowInvalid:
                    self._refuse(column, row, first_row)
            raise

    def _refuse(self, column: Any, row: int, first_row: int) -> None:
        raise DatasetError(
            f"{self.file}:{first_row + row + 2}: time {column[row].as_py()!r} does not fit "
            f"time_format = {self.time_format!r}; permitted are 'iso', "
            f"{', '.join(TIME_UNITS_S)} or a format of strptime"
        )

    def _from_local(self, local_s: np.ndarray) -> np.ndarray:
        zone = ZoneInfo(self.timezone)
        quarter, place = np.unique(np.floor(local_s / _QUARTER_S), return_inverse=True)
        offsets = np.array([_offsets(zone, q * _QUARTER_S) for q in quarter])
        first, second = offsets[place, 0], offsets[place, 1]
        twice = first > second
        before = np.concatenate([[self._last_local], local_s[:-1]])
        back = twice & (local_s < before)
        # From the step back on, and until the doubled hour is over, it is its second pass.
        place_of_change = np.where(back | ~twice, np.arange(len(local_s)), -1)
        last_change = np.maximum.accumulate(place_of_change)
        late = np.where(last_change >= 0, back[last_change], self._second_pass)
        self._second_pass = bool(late[-1])
        self._last_local = float(local_s[-1])
        return local_s - np.where(late & twice, second, first)


def _offsets(zone: ZoneInfo, local_s: float) -> tuple[float, float]:
    """Offset from UTC of a local time, first and second pass, s."""
    naive = datetime.fromtimestamp(local_s, UTC).replace(tzinfo=zone)
    out = []
    for fold in (0, 1):
        offset = naive.replace(fold=fold).utcoffset()
        out.append(offset.total_seconds() if offset else 0.0)
    return out[0], out[1]


def going_back(file: Path, lines: np.ndarray, t_s: np.ndarray, before_s: float) -> Finding | None:
    """The first place where the clock repeats or goes back; None if it only goes forwards.

    Args:
        lines: int[N], lines of the file. t_s: float64[N]. before_s: time of the row before.
    """
    steps = np.diff(t_s, prepend=before_s)
    bad = np.flatnonzero(~(steps > 0))
    if not len(bad):
        return None
    row = int(bad[0])
    step = float(steps[row])
    if not np.isfinite(step):
        what, remedy = "no time", "fill it in or remove the row"
    elif step == 0:
        what, remedy = "the time repeats", "remove the second row, or average the two"
    elif -1.05 * HOUR_S <= step <= -0.5 * HOUR_S:
        what = f"the clock goes back by {-step:g} s, as at the end of summer time"
        remedy = 'give timezone = "Europe/Berlin" or times with their offset from UTC'
    else:
        what = f"the clock goes back by {-step:g} s"
        remedy = "sort the rows, or put a corrected clock's rows into a file of their own"
    more = f" ({len(bad)} such rows)" if len(bad) > 1 else ""
    return Finding(str(file), int(lines[row]), "clock", f"{what}{more}; {remedy}", fault=True)
