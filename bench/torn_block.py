"""Torn reads of block W: how often a reader gets one, and how often it would believe it.

    python bench/torn_block.py              # 20,000 reads a row, a few seconds
    python bench/torn_block.py 200000

A model without sockets (tests/core/torn_blocks.py): the device stores and hands out the 64 words in
pieces, in any order, and the writer gets on between any two. "believed" is a torn block that passed
the checks of docs/register_map.md; rows *against the map* split the block into several reads.
A 16-bit CRC lets about one in 40,000 mixtures with equal head and tail through (the row "word by
word" has one such mixture, read six times over): the real protection is that one FC16 is stored,
and one request answered, in one piece.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.core.torn_blocks import duel

ROWS = (
    ("one FC16, one request", 1, 1),
    ("device stores in two, one request", 2, 1),
    ("device stores in eight, one request", 8, 1),
    ("device stores word by word, one request", 64, 1),
    ("*against the map:* one FC16, panel reads in two", 1, 2),
    ("*against the map:* one FC16, panel reads in eight", 1, 8),
    ("*against the map:* stored in eight, read in eight", 8, 8),
)


def main() -> None:
    """Print the table."""
    reads = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    print("| writer and reader | reads | torn | head = tail only: believed | with CRC: believed |")
    print("|---|---|---|---|---|")
    for name, writer, reader in ROWS:
        found = duel(reads, writer_pieces=writer, reader_pieces=reader)
        counts = (found.reads, found.torn, found.head_tail, found.accepted)
        print("|", name, "|", " | ".join(f"{count:,}" for count in counts), "|")


if __name__ == "__main__":
    main()
