"""A minute of rows as a blob: not one bit is lost, and damage is noticed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge.core.tags import Quality
from edge.runtime.store.minute import DamagedMinuteError, decode, encode

floats = st.floats(width=32, allow_nan=True, allow_infinity=True)
decimals = st.integers(-(10**7), 10**7).map(lambda n: float(np.float32(n / 1000)))


@given(st.data())
def test_every_row_comes_back_bit_for_bit(data: st.DataObject) -> None:
    shape = data.draw(st.tuples(st.integers(1, 70), st.integers(1, 6)))
    values = data.draw(hnp.arrays(np.float32, shape, elements=floats | decimals))
    quality = data.draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, 2)))
    reason = data.draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, 12)))
    times = data.draw(hnp.arrays(np.float64, shape[0], elements=st.floats(0, 4e9, allow_nan=False)))
    got = decode(encode(times, values, quality, reason))
    # No number without a good or doubtful reading: NaN, and nothing else, where it is BAD.
    bad = (quality == Quality.BAD) | ~np.isfinite(values)
    assert np.array_equal(got[0], times)
    assert np.isnan(got[1][bad]).all()
    assert np.array_equal(got[1][~bad].view(np.int32), values[~bad].view(np.int32))
    assert np.array_equal(got[2], np.where(bad, Quality.BAD, quality))
    assert np.array_equal(got[3], reason)


def rows(n: int = 60, p: int = 51) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(1)
    values = np.round(10 + rng.normal(size=(n, p)).cumsum(axis=0), 2).astype(np.float32)
    nothing = np.zeros((n, p), np.uint8)
    return 1.78e9 + np.arange(float(n)), values, nothing, nothing


def test_a_minute_of_an_instrument_with_a_resolution_is_small() -> None:
    times, values, quality, reason = rows()
    assert len(encode(times, values, quality, reason)) < 0.35 * values.nbytes


@pytest.mark.parametrize(
    "spoil", [lambda b: b[:-9], lambda b: b"", lambda b: b[:40] + b"x" + b[41:]]
)
def test_a_damaged_blob_is_refused(spoil) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DamagedMinuteError):
        decode(spoil(encode(*rows())))
