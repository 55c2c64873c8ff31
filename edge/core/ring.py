"""The ring of rows: fixed size, explicit gaps, and torn rows are recognised after a power cut.

Rules:
1. Row number `seq` (1, 2, 3 ... for the life of the ring) lives in record (seq - 1) % rows.
2. A record is valid if its CRC-32 fits and it lies where rule 1 puts it. It is built aside and
   copied in whole, so a crash in the middle leaves a record whose CRC does not fit.
3. A slot is always delivered: whatever is not held (too old, never written, torn) comes back as a
   gap, NaN and BAD with Reason.MISSED.
4. The ring neither knows nor asks the time. `missed_slots` turns two slot times into a number of
   gaps; the caller decides whether the clock may be trusted.

The records may be plain memory or a file mapped by the shell (`edge.runtime.ringfile`).
"""

from __future__ import annotations

import math
import zlib
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edge.core.tags import ByteArray, FloatArray, Quality, Reason, Row

Records = npt.NDArray[np.void]
_CHECK_ROWS = 4096
"""Records checked at a time at a resume, so that a big ring is not copied whole."""


def row_dtype(tag_count: int) -> np.dtype[np.void]:
    """Layout of one record, little-endian, padded to 8 bytes.

    The CRC covers the whole record, itself as 0. `seq` 0 marks a record never written.
    """
    fields: list[tuple[Any, ...]] = [
        ("seq", "<u8"),
        ("t_s", "<f8"),
        ("values", "<f4", (tag_count,)),
        ("crc", "<u4"),
        ("quality", "u1", (tag_count,)),
        ("reason", "u1", (tag_count,)),
    ]
    size = np.dtype(fields).itemsize
    if size % 8:
        fields.append(("pad", "u1", (8 - size % 8,)))
    return np.dtype(fields)


def missed_slots(previous_t_s: float, t_s: float, row_s: float, limit: int) -> int:
    """Slots that passed unrecorded between two slot times, 0..`limit`.

    0 if the clock went backwards or stood still: a repeated hour is not a gap.
    """
    elapsed = (t_s - previous_t_s) / row_s
    if not math.isfinite(elapsed):
        return 0
    return min(max(round(elapsed) - 1, 0), limit)


class Slots(NamedTuple):
    """n slots in time order; shapes: P tags."""

    times: npt.NDArray[np.float64]
    """Epoch seconds, [n]; NaN where none is held."""
    values: FloatArray
    """float32[n, P]."""
    quality: ByteArray
    """[n, P]."""
    reason: ByteArray
    """[n, P]."""


class Ring:
    """`rows` newest rows of one line; shapes: n rows asked for, P tags."""

    def __init__(self, records: Records) -> None:
        """Adopt `records` (structured array[rows] of `row_dtype`) and resume where they end.

        Invalid records are counted in `dropped` and zeroed. Raises ValueError for another layout.
        """
        names = records.dtype.names
        if records.ndim != 1 or not len(records) or names is None or "values" not in names:
            raise ValueError(f"ring needs a non-empty 1-D array of row_dtype, got {records.dtype}")
        self.tag_count: int = records.dtype["values"].shape[0]
        if records.dtype != row_dtype(self.tag_count):
            raise ValueError(f"ring layout {records.dtype} is not row_dtype({self.tag_count})")
        self._records = records
        self._scratch: Records = np.zeros(1, records.dtype)
        self.dropped = 0
        """Records found torn or misplaced at the resume."""
        self.seq = 0
        """Number of the newest row; 0 while the ring is empty."""
        self._before_first = 0
        self._resume()

    @classmethod
    def in_memory(cls, rows: int, tag_count: int) -> Ring:
        """An empty ring in plain memory."""
        return cls(np.zeros(rows, row_dtype(tag_count)))

    @property
    def rows(self) -> int:
        """Capacity in rows."""
        return len(self._records)

    @property
    def count(self) -> int:
        """Rows and gaps held now, 0..rows."""
        return min(self.seq - self._before_first, self.rows)

    @property
    def fill(self) -> float:
        """Share of the ring that holds rows, 0..1."""
        return self.count / self.rows

    @property
    def newest_t_s(self) -> float | None:
        """Slot time of the newest row, epoch seconds; None while the ring is empty."""
        return float(self._records[self._slot(self.seq)]["t_s"]) if self.seq else None

    def append(self, row: Row) -> int:
        """Store `row` as the newest; returns its seq. Raises ValueError for another tag count."""
        if row.values.shape != (self.tag_count,):
            raise ValueError(
                f"row has values of shape {row.values.shape}, the ring holds {self.tag_count} tags"
            )
        return self._store(row.t_s, row.values, row.quality, row.reason)

    def append_gaps(self, count: int, t_s: float, row_s: float, reason: Reason) -> None:
        """Store `count` gaps for slots starting at `t_s`; more than the ring holds empties it."""
        first = max(count - self.rows, 0)
        self.seq += first
        bad = np.full(self.tag_count, Quality.BAD, np.uint8)
        why = np.full(self.tag_count, reason, np.uint8)
        nothing = np.full(self.tag_count, np.nan, np.float32)
        for i in range(first, count):
            self._store(t_s + i * row_s, nothing, bad, why)

    def last(self, n: int) -> tuple[FloatArray, ByteArray]:
        """The newest `n` slots in time order: values float32[n, P], quality uint8[n, P]."""
        return self.block(self.seq - n + 1, n)

    def block(self, first_seq: int, n: int) -> tuple[FloatArray, ByteArray]:
        """Slots first_seq .. first_seq + n - 1 in time order; those not held are gaps."""
        found, records = self._take(first_seq, n)
        values = np.full((n, self.tag_count), np.nan, np.float32)
        quality = np.full((n, self.tag_count), Quality.BAD, np.uint8)
        values[found] = records["values"]
        quality[found] = records["quality"]
        return values, quality

    def reasons(self, n: int) -> ByteArray:
        """Reason uint8[n, P] of the newest `n` slots in time order."""
        found, records = self._take(self.seq - n + 1, n)
        reasons = np.full((n, self.tag_count), Reason.MISSED, np.uint8)
        reasons[found] = records["reason"]
        return reasons

    def times(self, n: int) -> npt.NDArray[np.float64]:
        """Slot times float64[n] of the newest `n` slots, epoch seconds; NaN where none is held."""
        found, records = self._take(self.seq - n + 1, n)
        times = np.full(n, np.nan)
        times[found] = records["t_s"]
        return times

    def slots(self, first_seq: int, n: int) -> Slots:
        """Slots first_seq .. first_seq + n - 1 in time order; those not held are gaps."""
        found, records = self._take(first_seq, n)
        values = np.full((n, self.tag_count), np.nan, np.float32)
        quality = np.full((n, self.tag_count), Quality.BAD, np.uint8)
        reason = np.full((n, self.tag_count), Reason.MISSED, np.uint8)
        times = np.full(n, np.nan)
        values[found], quality[found] = records["values"], records["quality"]
        reason[found], times[found] = records["reason"], records["t_s"]
        return Slots(times, values, quality, reason)

    def take_over(self, other: Ring) -> None:
        """Hold what `other` holds, numbers included. Raises ValueError for another layout."""
        if other._records.shape != self._records.shape or other.tag_count != self.tag_count:
            raise ValueError(
                f"ring of {other.rows} rows x {other.tag_count} tags cannot move into one of "
                f"{self.rows} x {self.tag_count}"
            )
        self._records[:] = other._records
        self.seq, self._before_first = other.seq, other._before_first

    def clear(self) -> None:
        """Forget every row; the numbering starts again."""
        self._records[:] = np.zeros(1, self._records.dtype)
        self.seq = 0
        self._before_first = 0

    def _slot(self, seq: int) -> int:
        return (seq - 1) % self.rows

    def _store(self, t_s: float, values: FloatArray, quality: ByteArray, reason: ByteArray) -> int:
        record = self._scratch
        record["seq"] = self.seq + 1
        record["t_s"] = t_s
        record["values"] = np.where(quality == Quality.BAD, np.float32(np.nan), values)
        record["quality"] = quality
        record["reason"] = reason
        record["crc"] = 0
        record["crc"] = zlib.crc32(record.tobytes())
        self._records[self._slot(self.seq + 1)] = record[0]
        self.seq += 1
        return self.seq

    def _take(self, first_seq: int, n: int) -> tuple[npt.NDArray[np.bool_], Records]:
        """(found bool[n], records[found] in order of seq) for n numbers from `first_seq`."""
        wanted = np.arange(first_seq, first_seq + n)
        found = (wanted >= 1) & (wanted <= self.seq) & (wanted > self.seq - self.rows)
        slots = (wanted[found] - 1) % self.rows
        held = self._records["seq"][slots] == wanted[found]
        found[found] = held
        return found, self._records[slots[held]]

    def _resume(self) -> None:
        valid = np.zeros(self.rows, np.bool_)
        seqs = self._records["seq"].astype(np.int64)
        written = seqs != 0
        placed = written & ((seqs - 1) % self.rows == np.arange(self.rows)) & (seqs > 0)
        for start in range(0, self.rows, _CHECK_ROWS):
            part = self._records[start : start + _CHECK_ROWS]
            if not placed[start : start + _CHECK_ROWS].any():
                continue
            plain = part.copy()
            plain["crc"] = 0
            size, raw = plain.dtype.itemsize, plain.tobytes()
            for i in np.flatnonzero(placed[start : start + _CHECK_ROWS]):
                crc = zlib.crc32(raw[i * size : (i + 1) * size])
                valid[start + i] = crc == part["crc"][i]
        newest = int(seqs[valid].max()) if valid.any() else 0
        valid &= seqs > newest - self.rows
        self.dropped = int(np.count_nonzero(written & ~valid))
        self._records[written & ~valid] = np.zeros(1, self._records.dtype)[0]
        self.seq = newest
        self._before_first = int(seqs[valid].min()) - 1 if valid.any() else 0
