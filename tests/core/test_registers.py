"""The register contract: complete, without overlaps, and what the documents print."""

from __future__ import annotations

import pytest

from edge.core import registers as reg


@pytest.mark.parametrize(
    ("block", "length"), [(reg.BLOCK_W, reg.BLOCK_W_WORDS), (reg.BLOCK_R, reg.BLOCK_R_WORDS)]
)
def test_every_word_of_a_block_belongs_to_exactly_one_row(
    block: tuple[reg.Word, ...], length: int
) -> None:
    owners = [word.offset + i for word in block for i in range(word.words)]
    assert owners == list(range(length))
    assert len({word.name for word in block}) == len(block)


def test_a_row_is_as_long_as_its_kind() -> None:
    for word in (*reg.BLOCK_W, *reg.BLOCK_R):
        assert (word.kind == "uint32") <= (word.words == 2), word.name
        assert word.meaning, word.name


def test_crc_is_crc16_modbus() -> None:
    # The published check value of CRC-16/MODBUS is 0x4B37 over the ASCII digits 1..9; an even
    # number of bytes is needed here, so the example frame of the Modbus specification follows.
    assert reg.crc16([0x0207]) == 0x1241
    message = b"123456789"
    crc = reg.crc16([message[i] << 8 | message[i + 1] for i in range(0, 8, 2)])
    crc = reg._CRC_TABLE[(crc ^ message[8]) & 0xFF] ^ (crc >> 8)
    assert crc == 0x4B37


def test_bits_and_codes_fit_one_word() -> None:
    for flags in (reg.Status, reg.Alarm, reg.Control):
        assert max(flags) <= 0x8000
    assert len(reg.Alarm) == 6
    assert list(reg.Ne107) == [0, 1, 2, 3, 4]


def test_lookup_by_name() -> None:
    assert reg.w("TRIM_NAOH").offset == 17
    assert reg.r("TRIM_APPLIED").offset == 3
    with pytest.raises(KeyError):
        reg.w("TRIM_APPLIED")
