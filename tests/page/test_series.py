"""Rows reduced to pixels: no peak is lost, whatever the zoom, and a live batch goes on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge.page.series import Reducer, packed
from edge.runtime.store import writer
from edge.runtime.store.reader import History
from edge.runtime.store.schema import FILE_NAME, open_for_writing
from tests.runtime.store.records import EPOCH_S, TAGS, at, minute

COUNT = 300


class Kept:
    """A history of one line, and what went into it."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / FILE_NAME
        self.connection = open_for_writing(self.path).connection

    def put(self, *numbers: int, spike: float | None = None) -> None:
        made = [minute(n, at(1, float(n + 1))) for n in numbers]
        if spike is not None:
            made[0].values[30, 1] = spike
        writer.write(self.connection, list(made))

    def read(self, reducer: Reducer, first: float, last: float, pixels: int):  # type: ignore[no-untyped-def]
        with History(self.path) as history:
            (batch,) = history.batches()
            rows = history.rows(batch)
            return rows, reducer.series(history, batch, EPOCH_S + first, EPOCH_S + last, pixels)


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


@pytest.mark.parametrize("pixels", [20, 97, 300, 4000])
@pytest.mark.parametrize("span", [(-1e9, 1e9), (600.0, 9000.0), (0.0, 299.0)])
def test_no_peak_is_lost(kept: Kept, pixels: int, span: tuple[float, float]) -> None:
    kept.put(*range(COUNT))
    kept.put(COUNT, spike=-5000.0)
    rows, series = kept.read(Reducer(), *span, pixels)
    inside = (rows.times >= EPOCH_S + span[0]) & (rows.times <= EPOCH_S + span[1])
    wanted = rows.values[inside]
    assert series.tags == tuple(name for name, _ in TAGS)
    # Whole minutes at the edges may add, never take away.
    assert (np.nanmin(series.values, axis=1) <= wanted.min(axis=0)).all()
    assert (np.nanmax(series.values, axis=1) >= wanted.max(axis=0)).all()
    assert (np.diff(series.times) > 0).all()
    assert len(series.times) <= 2 * pixels + 2
    if series.rows:
        assert np.array_equal(series.values.T, wanted)


def test_a_live_batch_costs_its_newest_minutes_only(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edge.page import series as module

    kept.put(*range(100))
    reducer, decoded = Reducer(), []
    plain = module.decode
    monkeypatch.setattr(module, "decode", lambda blob: decoded.append(1) or plain(blob))
    kept.read(reducer, -1e9, 1e9, 40)
    assert len(decoded) == 100
    kept.put(100, 101)
    decoded.clear()
    rows, series = kept.read(reducer, -1e9, 1e9, 40)
    assert len(decoded) <= 3
    assert float(np.nanmax(series.values[0])) == rows.values[:, 0].max()
    assert series.times[-1] > EPOCH_S + 100 * 60


def test_minutes_that_come_late_are_put_in_their_place(kept: Kept) -> None:
    reducer = Reducer()
    kept.put(*range(60, 120))
    kept.read(reducer, -1e9, 1e9, 30)
    connection = kept.connection
    # What only the ring kept is taken up after a restart: older rows, higher numbers.
    writer.write(connection, [minute(200, at(1, 201.0))])
    writer.write(connection, [minute(n, None) for n in range(30, 60)])
    connection.execute("UPDATE minutes SET batch = 1")
    connection.execute("UPDATE batches SET began_s = ?", (EPOCH_S + 30 * 60,))
    _, series = kept.read(reducer, -1e9, 1e9, 30)
    assert series.times[0] == EPOCH_S + 30 * 60
    assert (np.diff(series.times) > 0).all()


def test_a_damaged_minute_is_told_and_the_rest_is_shown(kept: Kept) -> None:
    kept.put(*range(50))
    kept.connection.execute("UPDATE minutes SET rows = x'00112233' WHERE id = 7")
    for pixels in (20, 1000):
        _, series = kept.read(Reducer(), -1e9, 1e9, pixels)
        assert series.damaged == 1
        assert len(series.times) > 20


def test_bad_values_are_gaps(kept: Kept) -> None:
    made = minute(0, at(1, 1.0))
    quality = made.quality.copy()
    quality[:, 2] = 2
    ones = [minute(n, at(1, n + 1.0)) for n in range(30)]
    writer.write(kept.connection, [replace(one, quality=quality) for one in ones])
    _, series = kept.read(Reducer(), -1e9, 1e9, 20)
    assert np.isnan(series.values[2]).all()
    assert np.isfinite(series.values[0]).all()


def test_the_bytes_are_aligned_for_the_browser(kept: Kept) -> None:
    kept.put(*range(40))
    _, series = kept.read(Reducer(), -1e9, 1e9, 33)
    body = packed(series, {"batch": {"name": "Ä"}})
    length = int.from_bytes(body[:4], "little")
    assert (4 + length) % 8 == 0
    head = json.loads(body[4 : 4 + length])
    n, start = head["count"], 4 + length
    assert np.array_equal(np.frombuffer(body, "<f8", n, start), series.times)
    values = np.frombuffer(body, "<f4", -1, start + 8 * n).reshape(len(TAGS), n)
    assert np.array_equal(values, series.values, equal_nan=True)
