"""Which registers to read together.

Three ideas, all pure:

1. `plan` covers every tag once with the fewest requests. Per unit and table, the window that starts
   at the first uncovered tag and takes every tag that fits is optimal: any other window holding
   that tag could be shifted to start there without losing a tag (property-tested against search).
2. A device that refuses a block (exception 2 or 3) is asked again in two halves, split at the
   widest hole first, because unmapped holes are the usual cause. What was learnt is kept.
3. A single tag that is refused is remembered as bad, reported, and asked again now and then: the
   neighbours never pay for it, and a PLC program that brings the register back is noticed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Table = Literal["coil", "discrete", "input", "holding"]
Forbidden = tuple[Table, int, int]
"""(table, first, last): addresses that must never be part of a request, both ends included."""


@dataclass(frozen=True, slots=True)
class Span:
    """The registers (or bits) of one tag."""

    index: int
    """Position of the tag in the caller's table."""
    unit_id: int
    table: Table
    address: int
    """0-based, as on the wire."""
    count: int

    @property
    def end(self) -> int:
        """First address after the span."""
        return self.address + self.count


@dataclass(frozen=True, slots=True)
class Block:
    """One read request and the tags it serves, ordered by address."""

    unit_id: int
    table: Table
    address: int
    count: int
    spans: tuple[Span, ...]

    def __hash__(self) -> int:
        # The spans follow from these, and hashing them all costs more than a request.
        return hash((self.unit_id, self.table, self.address, self.count))

    def __str__(self) -> str:
        last = self.address + self.count - 1
        return f"unit {self.unit_id} {self.table} {self.address}..{last}"


def plan(
    spans: Iterable[Span], *, max_count: int, max_gap: int, forbidden: Sequence[Forbidden] = ()
) -> tuple[Block, ...]:
    """The fewest reads that cover every span once.

    No read is longer than `max_count`, spans a hole of more than `max_gap` unused addresses, or
    touches a forbidden address. Raises ValueError for a span that no request can address, is longer
    than `max_count` or lies on a forbidden address.
    """
    todo: dict[tuple[int, Table], list[Span]] = {}
    for s in spans:
        _check(s, max_count, forbidden)
        todo.setdefault((s.unit_id, s.table), []).append(s)
    blocks: list[Block] = []
    for (_, table), group in todo.items():
        walls = sorted(first for t, first, _ in forbidden if t == table)
        rest = sorted(group, key=lambda s: (s.address, s.end))
        while rest:
            start = rest[0]
            limit = start.address + max_count
            limit = min([limit, *(w for w in walls if w >= start.address)])
            taken: list[Span] = []
            left: list[Span] = []
            end = start.address
            for s in rest:
                fits = s.end <= limit and s.address - end <= max_gap
                (taken if fits else left).append(s)
                if fits:
                    end = max(end, s.end)
            blocks.append(_block(taken))
            rest = left
    return tuple(blocks)


def _check(s: Span, max_count: int, forbidden: Sequence[Forbidden]) -> None:
    where = f"unit {s.unit_id} {s.table} {s.address}..{s.end - 1}"
    if not (0 <= s.unit_id <= 255 and s.address >= 0 and s.end <= 0x10000):
        raise ValueError(f"{where}: permitted: unit 0..255, addresses 0..65535")
    if s.count > max_count:
        raise ValueError(
            f"{where}: {s.count} registers, permitted per request: {max_count}; "
            "raise max_registers of the link"
        )
    for table, first, last in forbidden:
        if table == s.table and s.address <= last and s.end > first:
            raise ValueError(
                f"{where}: overlaps the forbidden range {table} {first}..{last}; "
                "remove the tag or the range"
            )


def _block(spans: Sequence[Span]) -> Block:
    first = spans[0]
    end = max(s.end for s in spans)
    return Block(first.unit_id, first.table, first.address, end - first.address, tuple(spans))


def bisect(block: Block) -> tuple[Block, Block] | None:
    """Two blocks that together serve the same spans; None for a single span (or one address).

    Splits at the widest hole, else where the number of spans is halved.
    """
    spans = block.spans
    if len(spans) < 2:
        return None
    middle = len(spans) // 2
    best, widest, end = middle, 0, spans[0].end
    for i in range(1, len(spans)):
        if spans[i].address - end > widest:
            best, widest = i, spans[i].address - end
        end = max(end, spans[i].end)
    return _block(spans[:best]), _block(spans[best:])


class ReadPlan:
    """The plan in force for one link, and what the device has taught us about it."""

    def __init__(self, blocks: Iterable[Block]) -> None:
        self._original = tuple(blocks)
        self.blocks: tuple[Block, ...] = self._original
        """Read these each poll."""
        self.bad: tuple[Block, ...] = ()
        """Single-tag blocks the device refuses; not polled."""
        self._probe = 0

    def refuse(self, block: Block) -> tuple[Block, ...]:
        """The device refused `block`: put its halves in force and return them to be read now.

        Returns () when the block holds one tag, which is then known as bad, and for a block that
        is no longer in force because the plan was reset meanwhile.
        """
        if block not in self.blocks:
            return ()
        halves = bisect(block) or ()
        at = self.blocks.index(block)
        self.blocks = (*self.blocks[:at], *halves, *self.blocks[at + 1 :])
        if not halves:
            self.bad = (*self.bad, block)
        return halves

    def probe(self) -> Block | None:
        """The bad block to ask again next, in turn; None when there is none."""
        if not self.bad:
            return None
        self._probe = (self._probe + 1) % len(self.bad)
        return self.bad[self._probe]

    def reset(self) -> None:
        """Forget what was learnt: the device has changed (new connection, answered probe)."""
        self.blocks, self.bad = self._original, ()
