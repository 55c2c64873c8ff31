"""Rows of one stretch, block by block -> its model steps, labels and quality counts.

A stretch is what was recorded in one go: a run, a file, an episode. Only step features are kept,
so memory grows with the steps (and slowly), not with the rows. P tags, R rows of a step.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edge.core.features import batch_features
from export.data.clock import going_back
from export.data.dataset import Batch
from export.data.findings import Finding
from export.data.plantspec import LabelRule, TagRow

PRINT_SHARE = 8
NO_LABEL = np.float32(-1)
"""A row that is not to be used."""


@dataclass(slots=True)
class Part:
    """Model steps of a stretch, or of a stretch up to a gap too long to bridge. S steps."""

    features: np.ndarray
    """float32[S, P, F]"""
    valid: np.ndarray
    """float32[S, P]"""
    mark: np.ndarray
    """float32[S]: the label of a step as the rows have it (1 defective, rank, countdown s), -1."""
    defective_rows: np.ndarray
    """int32[S]"""
    rows: np.ndarray
    """int32[S]: rows the file has of a step; the rest are gaps."""
    t_s: np.ndarray
    """float64[S]: time of the last row."""
    line: np.ndarray
    """int64[S]: line of the file of the last row, 0 in a gap."""
    raw_mean: np.ndarray
    """float32[S, P]: of all finite values, also those that were not good; NaN without one."""
    raw_std: np.ndarray
    first_line: int


@dataclass(slots=True)
class Counts:
    """Rows that were not good, by tag."""

    missing: np.ndarray
    out_of_range: np.ndarray
    frozen: np.ndarray
    low: np.ndarray
    """Smallest and largest good value, for tags without a range."""
    high: np.ndarray
    rows: int = 0
    gap_rows: int = 0
    gaps: int = 0
    longest_gap_s: float = 0.0
    longest_gap_line: int = 0
    crowded: int = 0
    """Rows that shared a time slot with the next and were left out."""

    @classmethod
    def of(cls, tags: int) -> Counts:
        """Nothing counted yet."""
        return cls(
            missing=np.zeros(tags, np.int64),
            out_of_range=np.zeros(tags, np.int64),
            frozen=np.zeros(tags, np.int64),
            low=np.full(tags, np.inf),
            high=np.full(tags, -np.inf),
        )

    def add(self, other: Counts) -> None:
        """Count the other's rows too."""
        for name in ("missing", "out_of_range", "frozen", "rows", "gap_rows", "gaps", "crowded"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.low = np.minimum(self.low, other.low)
        self.high = np.maximum(self.high, other.high)
        if other.longest_gap_s > self.longest_gap_s:
            self.longest_gap_s = other.longest_gap_s
            self.longest_gap_line = other.longest_gap_line


@dataclass(slots=True)
class FileRead:
    """What one file, or one set of joined files, gave."""

    stretches: list[Batch]
    """Not labelled yet: notes["mark"] has what the label column says, step by step."""
    findings: list[Finding]
    counts: Counts
    tags: tuple[TagRow, ...]


@dataclass(slots=True)
class StretchBuilder:
    """Takes rows in order; `finish` gives the parts."""

    file: Path
    tags: tuple[TagRow, ...]
    row_s: float
    step_rows: int
    insert_gaps: bool
    split_gap_s: float
    label: LabelRule
    counts: Counts = field(init=False)
    findings: list[Finding] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    prints: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    """(hash uint64[K], line int64[K]) of one row in PRINT_SHARE, chosen by its content."""
    _steps: list[tuple[np.ndarray, ...]] = field(default_factory=list)
    _rest: list[np.ndarray] = field(default_factory=list)
    _last_t: float = float("-inf")
    _start_t: float = 0.0
    _next_slot: int = 0
    _first_line: int = 0
    _last_line: int = 0
    _same_value: np.ndarray = field(init=False)
    _same_rows: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        n = len(self.tags)
        self.counts = Counts.of(n)
        self._same_value = np.full(n, np.nan)
        self._same_rows = np.zeros(n, np.int64)

    def add(self, t_s: np.ndarray, x: np.ndarray, mark: np.ndarray, lines: np.ndarray) -> None:
        """Rows: float64[N], float64[N, P], float32[N], int64[N]."""
        if not len(t_s):
            return
        back = going_back(self.file, lines, t_s, self._last_t)
        if back is not None:
            if not any(f.kind == "clock" for f in self.findings):
                self.findings.append(back)
            seen = np.maximum.accumulate(np.concatenate([[self._last_t], t_s]))[:-1]
            on = t_s > seen
            t_s, x, mark, lines = t_s[on], x[on], mark[on], lines[on]
            if not len(t_s):
                return
        self.counts.rows += len(t_s)
        self.counts.missing += np.isnan(x).sum(axis=0)
        self.prints.append(_prints(x, lines))
        if not self.insert_gaps:
            self._first_line = self._first_line or int(lines[0])
            self._take(t_s, x, mark, lines)
            self._last_t = float(t_s[-1])
            return
        jump = np.diff(t_s, prepend=self._last_t)
        for piece in np.split(np.arange(len(t_s)), np.flatnonzero(jump > self.split_gap_s)):
            if len(piece):
                self._on_grid(t_s[piece], x[piece], mark[piece], lines[piece])

    def finish(self) -> list[Part]:
        """The parts; rows that do not fill a last step are left out."""
        self._close()
        return self.parts

    def _on_grid(self, t_s: np.ndarray, x: np.ndarray, mark: np.ndarray, lines: np.ndarray) -> None:
        """Put rows into their time slots; slots without a row are gaps."""
        if t_s[0] - self._last_t > self.split_gap_s:
            self._close()
            self._start_t, self._next_slot = float(t_s[0]), 0
            self._first_line = int(lines[0])
        slot = np.rint((t_s - self._start_t) / self.row_s).astype(np.int64)
        keep = np.append(slot[1:] != slot[:-1], True) & (slot >= self._next_slot)
        self.counts.crowded += int((~keep).sum())
        slot, x, mark, lines, t_s = slot[keep], x[keep], mark[keep], lines[keep], t_s[keep]
        if not len(slot):
            return
        missed = np.diff(slot, prepend=self._next_slot - 1) - 1
        if missed.any():
            worst = int(missed.argmax())
            self.counts.gaps += int((missed > 0).sum())
            self.counts.gap_rows += int(missed.sum())
            if missed[worst] * self.row_s > self.counts.longest_gap_s:
                self.counts.longest_gap_s = float(missed[worst] * self.row_s)
                self.counts.longest_gap_line = int(lines[worst])
        n = int(slot[-1]) - self._next_slot + 1
        at = slot - self._next_slot
        all_t = self._start_t + (self._next_slot + np.arange(n)) * self.row_s
        all_x = np.full((n, x.shape[1]), np.nan)
        all_mark = np.full(n, np.nan, np.float32)
        all_lines = np.zeros(n, np.int64)
        all_x[at], all_mark[at], all_lines[at] = x, mark, lines
        self._take(all_t, all_x, all_mark, all_lines)
        self._next_slot += n
        self._last_t = float(t_s[-1])

    def _take(self, t_s: np.ndarray, x: np.ndarray, mark: np.ndarray, lines: np.ndarray) -> None:
        rows = [t_s, self._judged(x), mark, lines, x]
        if self._rest:
            rows = [np.concatenate([a, b]) for a, b in zip(self._rest, rows)]
        steps = len(rows[0]) // self.step_rows
        whole = steps * self.step_rows
        self._rest = [part[whole:].copy() for part in rows]
        if not steps:
            return
        t, values, marks, where, raw = (
            part[:whole].reshape(steps, self.step_rows, *part.shape[1:]) for part in rows
        )
        features, valid = batch_features(values)
        self._steps.append((
            features, valid, _mark_of_step(marks, self.label),
            (marks > 0).sum(axis=1).astype(np.int32), (where > 0).sum(axis=1).astype(np.int32),
            # A copy: a view would keep every row.
            t[:, -1].copy(), where.max(axis=1), *_raw_levels(raw),
        ))  # fmt: skip

    def _judged(self, x: np.ndarray) -> np.ndarray:
        """The appliance's rules (edge/core/quality.py): out of range or frozen is not good."""
        low = np.array([t.low for t in self.tags])
        high = np.array([t.high for t in self.tags])
        with np.errstate(over="ignore"):
            out = x.astype(np.float32)
        # NaN limits compare false: a tag without a range is never out of it.
        beyond = (out < low.astype(np.float32)) | (out > high.astype(np.float32)) | np.isinf(out)
        self.counts.out_of_range += beyond.sum(axis=0)
        stuck = self._stuck(x) & ~beyond
        self.counts.frozen += stuck.sum(axis=0)
        out[beyond | stuck] = np.nan
        good = np.isfinite(out)
        self.counts.low = np.minimum(self.counts.low, np.where(good, out, np.inf).min(axis=0))
        self.counts.high = np.maximum(self.counts.high, np.where(good, out, -np.inf).max(axis=0))
        return out

    def _stuck(self, x: np.ndarray) -> np.ndarray:
        limit = np.array([t.frozen_s / self.row_s if t.frozen_s > 0 else np.inf for t in self.tags])
        if np.isinf(limit).all():
            return np.zeros(x.shape, bool)
        before = np.vstack([self._same_value, x[:-1]])
        moved = ~(x == before)
        place = np.arange(1, len(x) + 1)[:, None]
        since = np.maximum.accumulate(np.where(moved, place, 0), axis=0)
        run = np.where(since > 0, place - since, place - 1 + self._same_rows + 1)
        self._same_value, self._same_rows = x[-1].copy(), run[-1]
        return (run >= limit) & np.isfinite(x)

    def _close(self) -> None:
        if self._steps:
            joined = [np.concatenate(column) for column in zip(*self._steps)]
            self.parts.append(Part(*joined, first_line=self._first_line))
        self._steps, self._rest = [], []


def _mark_of_step(marks: np.ndarray, label: LabelRule) -> np.ndarray:
    """Label of a step from its rows [S, R]; NaN rows are gaps.

    Countdown: the last row. Else the highest value that at least `share` of the rows reach; -1 if
    any row is not to be used or no row was recorded.
    """
    there = np.isfinite(marks)
    none = ~there.any(axis=1)
    if label.kind == "countdown":
        last = np.where(there, marks, np.inf).min(axis=1)
        return np.where(none, NO_LABEL, last).astype(np.float32)
    count = there.sum(axis=1)
    falling = -np.sort(np.where(there, -marks, np.inf), axis=1)
    place = np.maximum(np.ceil(label.share * count).astype(int) - 1, 0)
    value = np.take_along_axis(falling, place[:, None], axis=1)[:, 0]
    unused = none | (np.where(there, marks, 0) < 0).any(axis=1)
    return np.where(unused, NO_LABEL, value).astype(np.float32)


def _prints(x: np.ndarray, lines: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of some rows, the same rows wherever they turn up again."""
    draw = np.random.default_rng(0)
    odd = draw.integers(0, 1 << 63, x.shape[1], dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    bits = np.ascontiguousarray(np.nan_to_num(x)).view(np.uint64)
    bits = bits ^ (bits >> np.uint64(29))
    key = (bits * odd).sum(axis=1, dtype=np.uint64)
    key ^= key >> np.uint64(32)
    some = key % np.uint64(PRINT_SHARE) == 0
    return key[some], lines[some]


def _raw_levels(raw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation [S, P] of the finite values of [S, R, P]."""
    there = np.isfinite(raw)
    count = there.sum(axis=1)
    some = np.maximum(count, 1)
    mean = np.where(there, raw, 0.0).sum(axis=1) / some
    mean = np.where(count > 0, mean, np.nan)
    # A broken transmitter may send 1e300, whose square is no number any more.
    with np.errstate(over="ignore", invalid="ignore"):
        spread = np.where(there, raw - mean[:, None, :], 0.0)
        std = np.sqrt(np.square(spread).sum(axis=1) / some)
        return mean.astype(np.float32), std.astype(np.float32)


def common_notes(part: Part, file: Path) -> dict[str, Any]:
    """Notes of a stretch; arrays have one value per step."""
    return {
        "file": str(file),
        "first_line": part.first_line,
        "t_s": part.t_s,
        "line": part.line,
        "rows": part.rows,
        "defective_rows": part.defective_rows,
        "age_s": part.t_s - part.t_s[0],
    }
