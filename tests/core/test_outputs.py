"""Block W and block R: total encoder, strict decoder."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core import registers as reg
from edge.core.outputs import (
    BlockError,
    Decision,
    PlcState,
    decode_block_r,
    decode_block_w,
    encode_block_r,
    encode_block_w,
    next_seq,
)
from edge.core.registers import Alarm, Control, Ne107, Status, TrimReason, TrimState

NUMBER = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.integers(-(2**40), 2**40),
    st.sampled_from([0.0, -0.0, 1.0, 65535.0, 65535.5, -3276.8, 1e308, -1e308]),
)
MAYBE = st.none() | NUMBER
SEQ = st.integers(1, 0xFFFF)

ANYTHING = st.builds(
    Decision,
    status=st.integers(0, 0xFFFF).map(Status),
    ne107=st.sampled_from(Ne107),
    alarms=st.integers(0, 63).map(Alarm),
    infer_age_s=MAYBE,
    data_quality=MAYBE,
    probability=MAYBE,
    severity=MAYBE,
    components=st.lists(st.tuples(st.integers(-2, 70000), NUMBER), max_size=5).map(tuple),
    drift=MAYBE,
    trim_seq=st.integers(-1, 70000),
    trim_kg_h=NUMBER,
    trim_base_kg_h=MAYBE,
    trim_lo_kg_h=NUMBER,
    trim_hi_kg_h=NUMBER,
    trim_ttl_s=NUMBER,
    trim_state=st.sampled_from(TrimState),
    trim_reason=st.sampled_from(TrimReason),
    tags_bad=st.lists(st.booleans(), max_size=80).map(tuple),
    newest_s=MAYBE,
    batch_id=st.integers(-5, 2**33),
    phase=st.integers(-1, 70000),
    model_serial=st.integers(-1, 70000),
    model_hash=st.integers(0, 2**32 - 1),
    sw_version=st.tuples(st.integers(-1, 300), st.integers(-1, 300)),
    config_hash=st.integers(0, 0xFFFF),
    infer_ms=MAYBE,
    buffer_fill=NUMBER,
    plc_age_s=MAYBE,
)

GOOD = Decision(
    status=Status.RUNNING | Status.OUTPUT_VALID | Status.MODEL_LOADED | Status.TRIM_OFFERED,
    ne107=Ne107.OFF_SPEC,
    alarms=Alarm.DEFECT_CRITICAL,
    infer_age_s=12.0,
    data_quality=0.997,
    probability=0.873,
    severity=3,
    components=((3, 0.91), (9, 0.4), (1, 0.05)),
    drift=0.25,
    trim_seq=7,
    trim_kg_h=-3.4,
    trim_base_kg_h=206.7,
    trim_lo_kg_h=-31.0,
    trim_hi_kg_h=31.0,
    trim_ttl_s=600.0,
    trim_state=TrimState.OFFERED,
    trim_reason=TrimReason.PH_HIGH,
    tags_bad=tuple(i in (0, 16, 50) for i in range(64)),
    newest_s=1_750_000_000,
    batch_id=70_001,
    phase=12,
    model_serial=3,
    model_hash=0xDEADBEEF,
    sw_version=(1, 4),
    config_hash=0xBEEF,
    infer_ms=4.0,
    buffer_fill=0.5,
    plc_age_s=1.0,
)


@given(ANYTHING, SEQ)
def test_any_decision_becomes_a_whole_block(decision: Decision, seq: int) -> None:
    words = encode_block_w(decision, seq)
    assert len(words) == reg.BLOCK_W_WORDS
    assert all(isinstance(word, int) and 0 <= word <= 0xFFFF for word in words)
    block = decode_block_w(words)
    shown = block.decision
    assert block.seq == seq
    valid = Status.OUTPUT_VALID in shown.status
    assert valid == (shown.probability is not None) == (shown.severity is not None)
    if not valid:
        assert shown.components == ()
    else:
        assert shown.probability is not None
        assert 0.0 <= shown.probability <= 1.0
        assert shown.severity in (0, 1, 2, 3)
    if Status.TRIM_OFFERED in shown.status:
        assert shown.trim_state is TrimState.OFFERED
        assert shown.trim_ttl_s > 0
        assert shown.trim_base_kg_h is not None
        assert shown.trim_lo_kg_h <= shown.trim_kg_h <= shown.trim_hi_kg_h
    elif shown.trim_state not in (TrimState.ACCEPTED, TrimState.APPLIED_WITH_CLAMP):
        assert shown.trim_kg_h == 0.0
    offset = reg.w("RESERVED").offset
    assert set(words[offset : offset + reg.w("RESERVED").words]) == {0}


def test_what_was_decided_is_what_the_plc_reads() -> None:
    shown = decode_block_w(encode_block_w(GOOD, 41)).decision
    for name in Decision.__dataclass_fields__:
        want, got = getattr(GOOD, name), getattr(shown, name)
        if isinstance(want, float):
            assert got == pytest.approx(want, abs=1e-9), name
        elif name == "components":
            assert [c for c, _ in got] == [3, 9, 1]
            assert [s for _, s in got] == pytest.approx([0.91, 0.4, 0.05])
        else:
            assert got == want, name


def test_words_lie_where_the_contract_says() -> None:
    words = encode_block_w(GOOD, 41)
    assert words[0] == words[63] == 41
    assert words[1] == 0x0100
    assert words[6:8] == (873, 3)
    assert words[8:14] == (3, 910, 9, 400, 1, 50)
    assert words[17] == 0x10000 - 34
    assert words[18] == 2067
    assert words[24:28] == (1, 1, 0, 4)
    assert words[28] << 16 | words[29] == 1_750_000_000
    assert words[36] == 0x0104
    assert words[62] == reg.crc16(words[:62])


def test_nothing_known_says_so_in_every_word() -> None:
    words = encode_block_w(Decision(), 1)
    for name in ("INFER_AGE", "DATA_QUALITY", "DEFECT_PROB", "SEVERITY", "DRIFT_SCORE",
                 "TRIM_BASE", "INFER_MS", "PLC_AGE"):  # fmt: skip
        assert words[reg.w(name).offset] == reg.INVALID, name
    assert not decode_block_w(words).decision.status & Status.OUTPUT_VALID


@pytest.mark.parametrize(
    "bad", [{"probability": math.nan}, {"severity": None}, {"severity": 4}, {"probability": None}]
)
def test_half_a_verdict_is_no_verdict(bad: dict[str, Any]) -> None:
    fields = {name: getattr(GOOD, name) for name in Decision.__dataclass_fields__} | bad
    shown = decode_block_w(encode_block_w(Decision(**fields), 1)).decision
    assert not shown.status & Status.OUTPUT_VALID
    assert shown.probability is None
    assert shown.severity is None
    assert shown.components == ()


def test_a_trim_beyond_its_limits_is_cut_and_marked() -> None:
    fields = {name: getattr(GOOD, name) for name in Decision.__dataclass_fields__}
    shown = decode_block_w(encode_block_w(Decision(**fields | {"trim_kg_h": 99.0}), 1)).decision
    assert shown.trim_kg_h == pytest.approx(31.0)
    assert shown.status & Status.TRIM_CLAMPED


def test_sequence_skips_zero() -> None:
    assert next_seq(0) == 1
    assert next_seq(0xFFFE) == 0xFFFF
    assert next_seq(0xFFFF) == 1


@given(SEQ, SEQ, st.integers(1, 62))
def test_a_block_torn_anywhere_is_refused(first: int, second: int, cut: int) -> None:
    if first == second:
        second = next_seq(first)
    old, new = encode_block_w(GOOD, first), encode_block_w(GOOD, second)
    with pytest.raises(BlockError, match="torn"):
        decode_block_w(new[:cut] + old[cut:])


@given(st.integers(1, 62), st.integers(1, 0xFFFF))
def test_a_damaged_word_is_refused(offset: int, flip: int) -> None:
    words = list(encode_block_w(GOOD, 5))
    words[offset] ^= flip
    with pytest.raises(BlockError, match="CRC"):
        decode_block_w(words)


def test_refusals_name_the_cause() -> None:
    words = encode_block_w(GOOD, 5)
    with pytest.raises(BlockError, match="63 words"):
        decode_block_w(words[1:])
    with pytest.raises(BlockError, match="never published"):
        decode_block_w((0,) * 64)
    other = [*words[:1], 0x0200, *words[2:62], 0, words[63]]
    other[62] = reg.crc16(other[:62])
    with pytest.raises(BlockError, match=r"map version 2\.0"):
        decode_block_w(other)


def test_block_r_round_trip() -> None:
    plc = PlcState(
        heartbeat=9, control=Control.ADVICE_ENABLED | Control.ACCEPT, trim_seq_ack=7,
        trim_applied_kg_h=-3.4, batch_id=70_001, batch_state=6, phase=12, batch_minutes=600,
        maint_event=2, maint_component=7, maint_kind=4, shelve_min=15,
    )  # fmt: skip
    got = decode_block_r(encode_block_r(plc))
    assert got.trim_applied_kg_h == pytest.approx(-3.4)
    assert {
        n: getattr(got, n) for n in PlcState.__dataclass_fields__ if n != "trim_applied_kg_h"
    } == {n: getattr(plc, n) for n in PlcState.__dataclass_fields__ if n != "trim_applied_kg_h"}


@given(st.lists(st.integers(0, 0xFFFF), min_size=16, max_size=16))
def test_any_sixteen_words_are_a_plc_state(words: list[int]) -> None:
    state = decode_block_r(words)
    assert -3276.8 <= state.trim_applied_kg_h <= 3276.7


def test_block_r_of_another_length_is_refused() -> None:
    with pytest.raises(BlockError, match="16 words"):
        decode_block_r([0] * 15)
    with pytest.raises(BlockError, match="16 words"):
        decode_block_r([70000] * 16)
