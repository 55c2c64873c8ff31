"""Registers <-> values, by property and by the byte strings of manuals."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.codec import (
    BCD_DIGITS,
    ORDERS,
    SWAPPED_ORDERS,
    WORDS,
    BlockDecoder,
    Encoding,
    all_orders,
    decode,
    encode,
    text,
)
from edge.core.tags import Reason

_FORMAT = {
    "int16": "h", "uint16": "H", "int32": "i", "uint32": "I", "float32": "f", "int64": "q",
    "uint64": "Q", "float64": "d",
}  # fmt: skip
types = st.sampled_from(sorted(_FORMAT))
ALL_ORDERS = ORDERS | SWAPPED_ORDERS
orders = st.sampled_from(sorted(ALL_ORDERS))


def layout(kind: Any, label: str, **more: Any) -> Encoding:
    word_order, byte_order = ALL_ORDERS[label]
    return Encoding(type=kind, word_order=word_order, byte_order=byte_order, **more)


def raw_values(kind: str) -> st.SearchStrategy[float]:
    """Raw values a float64 holds exactly."""
    if kind.startswith("float"):
        return st.floats(allow_nan=False, allow_infinity=False, width=int(kind[5:]))
    bits = min(int(kind.lstrip("uint")), 53)
    low = 0 if kind.startswith("u") else -(1 << (bits - 1))
    return st.integers(low, (1 << bits) - 1 if low == 0 else -low - 1).map(float)


@given(data=st.data(), kind=types, label=orders)
def test_what_is_encoded_is_decoded(data: st.DataObject, kind: str, label: str) -> None:
    value = data.draw(raw_values(kind))
    encoding = layout(kind, label)
    words = encode(value, encoding)
    assert len(words) == WORDS[encoding.type]
    assert all(0 <= w <= 0xFFFF for w in words)
    assert decode(words, encoding) == (value, Reason.NONE)


@given(data=st.data(), kind=types)
def test_big_big_is_the_order_of_the_wire(data: st.DataObject, kind: str) -> None:
    value = data.draw(raw_values(kind))
    number = value if kind.startswith("float") else int(value)
    wire = struct.pack(">" + _FORMAT[kind], number)
    assert encode(value, layout(kind, "ABCD")) == struct.unpack(f">{len(wire) // 2}H", wire)


def test_the_four_orders_of_a_manual() -> None:
    # 1.5 as float32 is 3F C0 00 00; A B C D are these bytes.
    words = {
        "ABCD": (0x3FC0, 0x0000), "CDAB": (0x0000, 0x3FC0),
        "BADC": (0xC03F, 0x0000), "DCBA": (0x0000, 0xC03F),
    }  # fmt: skip
    for label, registers in words.items():
        assert encode(1.5, layout("float32", label)) == registers
        assert all_orders(registers)[f"float32 {label}"] == 1.5


@given(
    st.integers(-(2**15), 2**15 - 1), st.sampled_from([0.1, 0.01, 2.0, -0.5]), st.integers(-50, 50)
)
def test_scale_and_offset(raw: int, scale: float, offset: int) -> None:
    encoding = Encoding(type="int16", scale=scale, offset=float(offset))
    value = raw * scale + offset
    assert decode(encode(value, encoding), encoding)[0] == pytest.approx(value)


@pytest.mark.parametrize("bit", range(16))
def test_bits_of_a_word(bit: int) -> None:
    encoding = Encoding(type="bit", bit=bit)
    assert encode(1.0, encoding) == (1 << bit,)
    assert decode((1 << bit,), encoding) == (1.0, Reason.NONE)
    assert decode((0xFFFF ^ 1 << bit,), encoding) == (0.0, Reason.NONE)


@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_a_number_is_not_a_value(kind: str, value: float) -> None:
    encoding = layout(kind, "CDAB")
    number, reason = decode(encode(value, encoding), encoding)
    assert math.isnan(number)
    assert reason == Reason.NOT_A_NUMBER


def test_a_number_that_overflows_when_scaled_is_not_a_value() -> None:
    encoding = Encoding(type="float64", scale=1e300)
    number, reason = decode(encode(1e300, Encoding(type="float64")), encoding)
    assert math.isnan(number)
    assert reason == Reason.NOT_A_NUMBER


@given(kind=types, label=orders, code=st.integers(0, 0xFFFF))
def test_invalid_codes_are_no_value(kind: str, label: str, code: int) -> None:
    encoding = layout(kind, label, invalid=(0x7FFF, code), scale=0.1)
    for raw in encoding.invalid:
        words = encode(math.nan, layout(kind, label, invalid=(raw,)))
        number, reason = decode(words, encoding)
        assert math.isnan(number)
        assert reason == Reason.INVALID_CODE
    assert encode(math.nan, encoding) == encode(math.nan, layout(kind, label, invalid=(0x7FFF,)))


def test_a_code_is_compared_unsigned_and_whole() -> None:
    encoding = Encoding(type="int32", invalid=(0x80000000,))
    assert decode((0x8000, 0), encoding)[1] == Reason.INVALID_CODE
    assert decode((0x8000, 1), encoding) == (-(2.0**31) + 1, Reason.NONE)


@pytest.mark.parametrize(
    ("kind", "value"),
    [("int16", 32768.0), ("uint16", -1.0), ("float32", 1e39), ("uint32", math.nan),
     ("int64", math.inf), ("uint64", 2.0**64)],
)  # fmt: skip
def test_what_a_type_cannot_hold_is_refused_not_wrapped(kind: Any, value: float) -> None:
    with pytest.raises(ValueError, match=kind):
        encode(value, Encoding(type=kind))


@st.composite
def blocks(draw: st.DrawFn) -> tuple[list[Encoding], list[int], list[int]]:
    """Encodings at random, possibly overlapping offsets of one block of random words."""
    size = draw(st.integers(4, 40))
    words = draw(st.lists(st.integers(0, 0xFFFF), min_size=size, max_size=size))
    encodings, offsets = [], []
    for _ in range(draw(st.integers(0, 25))):
        kind = draw(types | st.just("bit"))
        encodings.append(
            layout(
                kind,
                draw(orders),
                bit=draw(st.integers(0, 15)),
                scale=draw(st.sampled_from([1.0, 0.1, -2.0])),
                offset=draw(st.sampled_from([0.0, 273.15])),
                invalid=draw(st.sampled_from([(), (0x7FFF,), (0, 0xFFFF)])),
            )
        )
        offsets.append(draw(st.integers(0, size - WORDS[encodings[-1].type])))
    return encodings, offsets, words


@given(blocks())
def test_a_block_is_its_values_one_by_one(
    block: tuple[list[Encoding], list[int], list[int]],
) -> None:
    encodings, offsets, words = block
    values, reason = BlockDecoder(encodings, offsets).decode(np.array(words, np.uint16))
    assert values.dtype == np.float64
    assert reason.dtype == np.uint8
    for i, (e, at) in enumerate(zip(encodings, offsets)):
        one, why = decode(words[at : at + WORDS[e.type]], e)
        assert np.array_equal(values[i], one, equal_nan=True)
        assert reason[i] == why
        assert math.isnan(values[i]) == (why != Reason.NONE)


@given(
    st.integers(0, 2).flatmap(
        lambda k: st.lists(st.integers(0, 0xFFFF), min_size=2**k, max_size=2**k)
    )
)
def test_all_orders_shows_every_reading(words: list[int]) -> None:
    readings = all_orders(words)
    kinds = [k for k in (*_FORMAT, "bcd16", "bcd32") if WORDS[k] == len(words)]  # type: ignore[index]
    assert len(readings) == len(kinds) * {1: 2, 2: 4, 4: 8}[len(words)]
    for name, value in readings.items():
        kind, label = name.split()
        label = {"AB": "ABCD", "BA": "BADC"}.get(label, label)
        assert np.array_equal(value, decode(words, layout(kind, label))[0], equal_nan=True)


def test_all_orders_refuses_three_registers() -> None:
    with pytest.raises(ValueError, match="permitted: 1, 2 or 4"):
        all_orders([1, 2, 3])


def test_the_swapped_orders_are_two_halves() -> None:
    wire = bytes(range(1, 9))  # 01 is the most significant byte
    a, b, c, d = struct.unpack(">4H", wire)
    number = float(int.from_bytes(wire, "big"))
    for label, words in {
        "ABCD": (a, b, c, d), "CDAB": (d, c, b, a),
        "ABCD-swapped": (b, a, d, c), "CDAB-swapped": (c, d, a, b),
    }.items():  # fmt: skip
        assert decode(words, layout("uint64", label)) == (number, Reason.NONE)


bcd_types = st.sampled_from(sorted(BCD_DIGITS))


@given(data=st.data(), kind=bcd_types, label=st.sampled_from(sorted(ORDERS)))
def test_bcd_reads_as_it_is_printed(data: st.DataObject, kind: str, label: str) -> None:
    digits = BCD_DIGITS[kind]
    number = data.draw(st.integers(0, 10**digits - 1))
    words = encode(float(number), layout(kind, label))
    assert decode(words, layout(kind, label)) == (number, Reason.NONE)
    plain = encode(float(number), layout(kind, "ABCD"))
    assert "".join(f"{w:04x}" for w in plain) == f"{number:0{digits}d}"


@given(data=st.data(), kind=bcd_types, label=st.sampled_from(sorted(ORDERS)))
def test_a_digit_above_nine_is_no_number(data: st.DataObject, kind: str, label: str) -> None:
    digits = BCD_DIGITS[kind]
    good = data.draw(st.integers(0, 10**digits - 1))
    at = data.draw(st.integers(0, digits - 1))
    raw = int(str(good), 16) & ~(0xF << 4 * at) | data.draw(st.integers(10, 15)) << 4 * at
    unsigned = {1: "uint16", 2: "uint32"}[WORDS[kind]]  # type: ignore[index]
    number, reason = decode(encode(float(raw), layout(unsigned, label)), layout(kind, label))
    assert math.isnan(number)
    assert reason == Reason.NOT_A_NUMBER


@pytest.mark.parametrize(("kind", "value"), [("bcd16", 10000.0), ("bcd32", -1.0)])
def test_bcd_refuses_what_it_cannot_print(kind: Any, value: float) -> None:
    with pytest.raises(ValueError, match=kind):
        encode(value, Encoding(type=kind))


@pytest.mark.parametrize(
    ("words", "order", "says"),
    [
        ((0x4C4F, 0x542D, 0x3720), "big", "LOT-7"),
        ((0x4F4C, 0x2D54, 0x0037), "little", "LOT-7"),
        ((0x4142, 0x0043, 0x4400), "big", "AB"),
        ((0, 0, 0), "big", ""),
        ((0x4142, 0xFFFF, 0), "big", None),
        ((0x4101, 0, 0), "big", None),
    ],
)
def test_a_text_is_read_but_never_a_number(
    words: tuple[int, ...], order: Any, says: str | None
) -> None:
    encoding = Encoding(type="string", length=3, byte_order=order)
    assert text(words, encoding) == says
    block = BlockDecoder([Encoding(), encoding], [0, 1])
    values, reason = block.decode(np.array((7, *words), np.uint16))
    assert values[0] == 7
    assert math.isnan(values[1])
    assert list(reason) == [
        Reason.NONE, Reason.NOT_A_NUMBER if says is None else Reason.TEXT
    ]  # fmt: skip
    with pytest.raises(ValueError, match="holds no number"):
        encode(1.0, encoding)
