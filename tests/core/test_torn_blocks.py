"""A reader that follows register_map.md never takes a torn block W, whatever tears it."""

from __future__ import annotations

import pytest

from tests.core.torn_blocks import duel

READS = 20_000


def test_one_write_and_one_read_are_never_torn() -> None:
    assert duel(READS, writer_pieces=1, reader_pieces=1).torn == 0


@pytest.mark.parametrize("pieces", [2, 8])
def test_a_block_the_device_tears_is_never_accepted(pieces: int) -> None:
    found = duel(READS, writer_pieces=pieces, reader_pieces=1)
    assert found.torn > READS // 4, "the adversary must do its work"
    assert found.head_tail > 0, "without the CRC some would pass"
    assert found.accepted == 0


def test_a_panel_that_splits_its_read_is_protected_by_the_crc() -> None:
    # Against the map, and only as good as 16 bits are: the benchmark has one in 20,000.
    found = duel(READS, writer_pieces=1, reader_pieces=2)
    assert found.torn > READS // 4
    assert found.accepted == 0
