"""Rows of a batch reduced to what a screen can show: the lowest and the highest value of each span.

A minute of rows is decoded once; its two values a tag are kept, so that a whole batch costs half a
megabyte and a live one only its newest minute. Where fewer minutes than pixels are wanted, the rows
themselves are read. N rows or spans, P tags.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np

from edge.core.tags import FloatArray
from edge.runtime.store.minute import DamagedMinuteError, Times, decode
from edge.runtime.store.reader import History, StoredBatch

BATCHES = 6
"""Summaries kept in memory."""
RAW_MINUTES = 240
"""At most as many minutes are read row by row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """What a chart draws: two points a span, or the rows."""

    tags: tuple[str, ...]
    times: Times
    """Epoch s, N."""
    values: FloatArray
    """float32[P, N]; NaN where nothing is known."""
    rows: bool
    """True: these are the rows themselves."""
    damaged: int
    """Minutes that could not be read."""


@dataclass(slots=True)
class _Summary:
    """A batch, minute by minute."""

    tags: str
    last: int = 0
    """Number of the newest minute in here."""
    damaged: int = 0
    times: list[float] = field(default_factory=list)
    low: list[FloatArray] = field(default_factory=list)
    high: list[FloatArray] = field(default_factory=list)


class Reducer:
    """Keeps the summaries of the batches looked at last."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, int, float], _Summary] = OrderedDict()

    def series(
        self, history: History, batch: StoredBatch, first_s: float, last_s: float, pixels: int
    ) -> Series:
        """At most about two points a pixel between two times. Raises HistoryError."""
        first_s, last_s = max(first_s, batch.began_s), min(last_s, batch.last_s)
        if (last_s - first_s) / 60.0 <= min(pixels / 2.0, RAW_MINUTES):
            return _raw(history, batch, first_s, last_s, pixels)
        summary = self._summary(history, batch)
        times = np.array(summary.times)
        inside = np.flatnonzero((times >= first_s - 60.0) & (times <= last_s))
        low = np.stack([summary.low[i] for i in inside]) if len(inside) else _nothing(summary)
        high = np.stack([summary.high[i] for i in inside]) if len(inside) else low
        return _pairs(summary.tags, times[inside], low, high, pixels, summary.damaged)

    def _summary(self, history: History, batch: StoredBatch) -> _Summary:
        key = str(history.path), batch.key, batch.began_s
        summary = self._kept.pop(key, None)
        found = history.minutes(batch, after=0 if summary is None else summary.last)
        # Rows taken from the ring come later than their time; and a tag list may have changed.
        if summary is not None and found and summary.times:
            late = _time(found[0][1]) < summary.times[-1]
            if late or found[-1][2] != summary.tags:
                summary, found = None, history.minutes(batch)
        if summary is None:
            summary = _Summary(tags=found[-1][2] if found else "[]")
        for number, blob, tags in found:
            summary.last = max(summary.last, number)
            if tags != summary.tags:
                continue
            try:
                times, values, _, _ = decode(blob)
            except DamagedMinuteError:
                summary.damaged += 1
                continue
            if not len(times):
                continue
            summary.times.append(float(times[0]))
            summary.low.append(np.fmin.reduce(values, axis=0))
            summary.high.append(np.fmax.reduce(values, axis=0))
        self._kept[key] = summary
        while len(self._kept) > BATCHES:
            self._kept.popitem(last=False)
        return summary


def packed(series: Series, head: dict[str, object]) -> bytes:
    """For the browser: length u4, head as JSON padded to 8, times f8[N], values f4[P, N]."""
    told = {
        **head, "tags": series.tags, "count": len(series.times), "rows": series.rows,
        "damaged": series.damaged,
    }  # fmt: skip
    text = json.dumps(told).encode()
    text += b" " * (-(len(text) + 4) % 8)
    return b"".join((
        len(text).to_bytes(4, "little"), text, series.times.astype("<f8").tobytes(),
        np.ascontiguousarray(series.values, "<f4").tobytes(),
    ))  # fmt: skip


def _time(blob: bytes) -> float:
    try:
        times = decode(blob)[0]
    except DamagedMinuteError:
        return np.inf
    return float(times[0]) if len(times) else np.inf


def _names(tags: str) -> tuple[str, ...]:
    return tuple(str(name) for name, _ in json.loads(tags))


def _nothing(summary: _Summary) -> FloatArray:
    return np.empty((0, len(_names(summary.tags))), np.float32)


def _raw(
    history: History, batch: StoredBatch, first_s: float, last_s: float, pixels: int
) -> Series:
    found = history.minutes(batch, first_s=first_s, last_s=last_s)
    tags = found[-1][2] if found else "[]"
    parts, damaged = [], 0
    for _, blob, own in found:
        if own != tags:
            continue
        try:
            parts.append(decode(blob)[:2])
        except DamagedMinuteError:
            damaged += 1
    names = _names(tags)
    times = np.concatenate([p[0] for p in parts]) if parts else np.empty(0)
    values = (
        np.concatenate([p[1] for p in parts]) if parts else np.empty((0, len(names)), np.float32)
    )
    inside = (times >= first_s) & (times <= last_s)
    times, values = times[inside], values[inside]
    if len(times) <= 2 * pixels:
        return Series(tags=names, times=times, values=values.T, rows=True, damaged=damaged)
    return _pairs(tags, times, values, values, pixels, damaged)


def _pairs(
    tags: str, times: Times, low: FloatArray, high: FloatArray, pixels: int, damaged: int
) -> Series:
    """Spans of equally many, two points each."""
    every = max(1, -(-len(times) // pixels))
    starts = np.arange(0, len(times), every)
    if len(starts):
        low = np.fmin.reduceat(low, starts, axis=0)
        high = np.fmax.reduceat(high, starts, axis=0)
    at = times[starts]
    half = np.diff(at, append=at[-1:] + 60.0 * every) / 2.0 if len(at) else at
    both = np.stack([low, high], axis=1).reshape(-1, low.shape[1])
    return Series(
        tags=_names(tags), times=np.stack([at, at + half], axis=1).ravel(), values=both.T,
        rows=False, damaged=damaged,
    )  # fmt: skip
