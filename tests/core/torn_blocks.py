"""A reader of block W against a device that tears it: words move in pieces, in any order.

The device stores a write in `writer_pieces` and hands out a read in `reader_pieces`, ranges of any
length in any order; between two pieces of the read the writer gets on by any number of pieces of
its own, over several publications if it likes. One publication in ten repeats the sequence number
of the one before, as an appliance may that has just been restarted: then only the CRC is left.

`accepted` counts torn blocks that passed everything register_map.md asks of a reader. It must be 0.
`head_tail` counts those that two compares alone (no CRC) would have let through.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from edge.core.outputs import BlockError, Decision, decode_block_w, encode_block_w, next_seq
from edge.core.registers import BLOCK_W_WORDS, Status, crc16, w

CRC = w("CRC").offset
RECENT = 64
"""Publications a read may span; a mixture equal to one of them is not torn."""


@dataclass(slots=True)
class Tally:
    """What came of the reads."""

    reads: int = 0
    torn: int = 0
    head_tail: int = 0
    accepted: int = 0


def _bodies(rng: random.Random) -> list[tuple[int, ...]]:
    return [
        encode_block_w(
            Decision(
                status=Status.RUNNING | Status.OUTPUT_VALID,
                probability=rng.random(),
                severity=rng.randrange(4),
                data_quality=rng.random(),
                infer_age_s=rng.randrange(120),
                newest_s=1.8e9 + rng.randrange(100),
                batch_id=7,
                plc_age_s=rng.randrange(3),
                tags_bad=tuple(rng.random() < 0.05 for _ in range(51)),
            ),
            1,
        )
        for _ in range(256)
    ]


def _pieces(rng: random.Random, count: int) -> list[range]:
    """The block as `count` ranges, in any order."""
    cuts = sorted(rng.sample(range(1, BLOCK_W_WORDS), count - 1))
    found = [range(a, b) for a, b in zip([0, *cuts], [*cuts, BLOCK_W_WORDS])]
    rng.shuffle(found)
    return found


def duel(reads: int, *, writer_pieces: int, reader_pieces: int, seed: int = 1) -> Tally:
    """Read `reads` times while somebody writes."""
    rng, tally = random.Random(seed), Tally()
    bodies = _bodies(rng)
    recent: deque[tuple[int, ...]] = deque(maxlen=RECENT)
    memory = [0] * BLOCK_W_WORDS

    def stores() -> Iterator[None]:
        """One piece of a publication after the other, for ever."""
        seq = 0
        while True:
            seq = seq if seq and rng.random() < 0.1 else next_seq(seq)
            block = list(rng.choice(bodies))
            block[0] = block[-1] = seq
            block[CRC] = crc16(block[:CRC])
            recent.append(tuple(block))
            for piece in _pieces(rng, writer_pieces):
                memory[piece.start : piece.stop] = block[piece.start : piece.stop]
                yield

    writer = stores()
    for _ in range(writer_pieces):
        next(writer)
    for _ in range(reads):
        words = [0] * BLOCK_W_WORDS
        for piece in _pieces(rng, reader_pieces):
            words[piece.start : piece.stop] = memory[piece.start : piece.stop]
            for _ in range(rng.choice((0, 0, 1, 1, 2, writer_pieces, 2 * writer_pieces + 1))):
                next(writer)
        tally.reads += 1
        if tuple(words) in recent:
            continue
        tally.torn += 1
        tally.head_tail += words[0] == words[-1]
        try:
            decode_block_w(words)
        except BlockError:
            continue
        tally.accepted += 1
    return tally
