"""The ring against a plain list, and what is left after a crash."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.ring import Ring, missed_slots, row_dtype
from edge.core.tags import Quality, Reason, Row, gap_row

P = 3


def make_row(t_s: float, bad: int = -1) -> Row:
    values = np.array([t_s, -t_s, t_s / 2], np.float32)
    quality = np.zeros(P, np.uint8)
    reason = np.zeros(P, np.uint8)
    if bad >= 0:
        quality[bad], reason[bad], values[bad] = Quality.BAD, Reason.TIMEOUT, np.nan
    return Row(t_s, values, quality, reason, t_s, t_s + 0.1)


def filled(rows: int, count: int) -> Ring:
    ring = Ring.in_memory(rows, P)
    for i in range(count):
        ring.append(make_row(float(i + 1)))
    return ring


@given(
    st.integers(1, 7),
    st.lists(
        st.one_of(st.integers(-1, P - 1).map(lambda bad: ("row", bad)),
                  st.integers(0, 9).map(lambda n: ("gaps", n))),
        max_size=25,
    ),
    st.integers(0, 12),
)  # fmt: skip
def test_behaves_like_a_list_and_resumes_where_it_was(
    rows: int, steps: list[tuple[str, int]], n: int
) -> None:
    records = np.zeros(rows, row_dtype(P))
    ring = Ring(records)
    model: list[Row] = []
    for kind, number in steps:
        t_s = float(len(model) + 1)
        if kind == "row":
            assert ring.append(make_row(t_s, number)) == len(model) + 1
            model.append(make_row(t_s, number))
        else:
            ring.append_gaps(number, t_s, 1.0, Reason.NOT_CONNECTED)
            model += [gap_row(t_s + i, P, Reason.NOT_CONNECTED, 0.0) for i in range(number)]
    for again in (ring, Ring(records)):
        assert again.seq == len(model)
        assert again.count == min(len(model), rows)
        assert again.fill == again.count / rows
        assert again.dropped == 0
        held = model[-rows:][-n:] if n else []
        padding = n - len(held)
        values, quality = again.last(n)
        assert values.shape == quality.shape == (n, P)
        assert values.dtype == np.float32
        assert np.isnan(values[:padding]).all()
        assert (quality[:padding] == Quality.BAD).all()
        assert (again.reasons(n)[:padding] == Reason.MISSED).all()
        for i, row in enumerate(held):
            np.testing.assert_array_equal(values[padding + i], row.values)
            np.testing.assert_array_equal(quality[padding + i], row.quality)
            np.testing.assert_array_equal(again.reasons(n)[padding + i], row.reason)
            assert again.times(n)[padding + i] == row.t_s
        assert again.newest_t_s == (model[-1].t_s if model else None)


@given(st.integers(0, 5), st.integers(0, 10_000), st.integers(1, 255))
def test_a_damaged_record_becomes_a_gap_and_nothing_else_is_lost(
    slot: int, byte: int, flip: int
) -> None:
    records = np.zeros(6, row_dtype(P))
    ring = Ring(records)
    for i in range(9):
        ring.append(make_row(float(i + 1)))
    size = records.dtype.itemsize - records.dtype["pad"].itemsize
    raw = records.view(np.uint8).reshape(6, -1)
    before = raw.copy()
    raw[slot, byte % size] ^= flip
    ring = Ring(records)
    assert ring.dropped == (1 if records["seq"][slot] == 0 and before[slot].any() else 0)
    newest = 8 if slot == 2 else 9
    assert ring.seq == newest
    values, quality = ring.last(newest - 3)
    for i, seq in enumerate(range(4, newest + 1)):
        if (seq - 1) % 6 == slot:
            assert (quality[i] == Quality.BAD).all()
            assert np.isnan(values[i]).all()
        else:
            assert values[i][0] == seq
    assert ring.append(make_row(50.0)) == newest + 1


def test_a_bad_value_is_never_a_number() -> None:
    ring = Ring.in_memory(2, P)
    row = make_row(1.0)
    quality = np.array([Quality.BAD, Quality.UNCERTAIN, Quality.GOOD], np.uint8)
    ring.append(Row(1.0, row.values, quality, row.reason, 0.0, 0.0))
    values, _ = ring.last(1)
    assert np.isnan(values[0]).tolist() == [True, False, False]


def test_a_gap_longer_than_the_ring_costs_no_more_than_the_ring() -> None:
    ring = filled(4, 6)
    ring.append_gaps(10_000_000, 7.0, 1.0, Reason.MISSED)
    assert ring.seq == 10_000_006
    assert ring.count == 4
    assert ring.last(4)[1].tolist() == [[Quality.BAD] * P] * 4
    assert ring.newest_t_s == 10_000_006.0


def test_block_reaches_any_numbered_slot() -> None:
    ring = filled(4, 6)
    values, quality = ring.block(2, 3)
    assert np.isnan(values[0]).all()
    assert values[1:, 0].tolist() == [3.0, 4.0]
    assert quality[:, 0].tolist() == [Quality.BAD, Quality.GOOD, Quality.GOOD]
    ahead, _ = ring.block(6, 2)
    assert ahead[0, 0] == 6.0
    assert np.isnan(ahead[1]).all()


def test_clear_forgets_and_starts_again() -> None:
    ring = filled(4, 6)
    ring.clear()
    assert (ring.seq, ring.count, ring.newest_t_s) == (0, 0, None)
    assert ring.append(make_row(1.0)) == 1
    assert ring.count == 1


def test_wrong_shapes_are_refused_with_both_numbers() -> None:
    with pytest.raises(ValueError, match=r"\(3,\).*4 tags"):
        Ring.in_memory(2, 4).append(make_row(1.0))
    with pytest.raises(ValueError, match="row_dtype"):
        Ring(np.zeros(3, np.dtype([("seq", "<u8")])))
    other = np.dtype([("seq", "<u8"), ("values", "<f4", (2,))])
    with pytest.raises(ValueError, match="row_dtype"):
        Ring(np.zeros(3, other))


@pytest.mark.parametrize(
    ("previous", "now", "want"),
    [(10.0, 11.0, 0), (10.0, 10.9, 0), (10.0, 14.0, 3), (10.0, 4.0, 0), (10.0, 1e9, 64),
     (10.0, math.nan, 0)],
)  # fmt: skip
def test_missed_slots(previous: float, now: float, want: int) -> None:
    assert missed_slots(previous, now, 1.0, 64) == want
