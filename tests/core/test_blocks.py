"""The read planner against its rules and against exhaustive search."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.blocks import Block, Forbidden, ReadPlan, Span, bisect, plan

MAX = 12


@st.composite
def tag_lists(draw: st.DrawFn, most: int = 30, last: int = 80) -> list[Span]:
    return [
        Span(
            i,
            draw(st.integers(1, 2)),
            draw(st.sampled_from(["input", "holding"])),
            draw(st.integers(0, last)),
            draw(st.sampled_from([1, 1, 2, 4])),
        )
        for i in range(draw(st.integers(0, most)))
    ]


walls = st.lists(
    st.tuples(st.just("input"), st.integers(0, 80), st.integers(0, 3)).map(
        lambda w: (w[0], w[1], w[1] + w[2])
    ),
    max_size=4,
)


def touches(span: Span | Block, wall: Forbidden) -> bool:
    table, first, last = wall
    return table == span.table and span.address <= last and span.address + span.count > first


def longest_hole(block: Block) -> int:
    hole, end = 0, block.spans[0].end
    for s in block.spans:
        hole = max(hole, s.address - end)
        end = max(end, s.end)
    return hole


@given(tag_lists(), st.integers(0, 10), walls)
def test_the_rules(spans: list[Span], gap: int, forbidden: list[Forbidden]) -> None:
    spans = [s for s in spans if not any(touches(s, w) for w in forbidden)]
    blocks = plan(spans, max_count=MAX, max_gap=gap, forbidden=forbidden)
    covered = [s.index for b in blocks for s in b.spans]
    assert sorted(covered) == [s.index for s in spans], "every tag once"
    for b in blocks:
        assert 1 <= b.count <= MAX
        assert longest_hole(b) <= gap
        assert not any(touches(b, w) for w in forbidden)
        for s in b.spans:
            assert (s.unit_id, s.table) == (b.unit_id, b.table)
            assert b.address <= s.address
            assert s.end <= b.address + b.count, "no value is split"
        assert b.spans[0].address == b.address
        assert max(s.end for s in b.spans) == b.address + b.count, "nothing read for nothing"


def fewest(spans: frozenset[Span], gap: int, forbidden: list[Forbidden]) -> int:
    """Exhaustive search over windows: any start, any set of spans that forms a legal block."""
    if not spans:
        return 0
    first = min(spans, key=lambda s: (s.address, s.end))
    best = len(spans)
    # The first span is in some block; try every legal block that holds it.
    others = sorted(spans - {first}, key=lambda s: (s.address, s.end, s.index))
    for choice in range(1 << len(others)):
        taken = [first, *(s for i, s in enumerate(others) if choice >> i & 1)]
        taken.sort(key=lambda s: (s.address, s.end))
        end = max(s.end for s in taken)
        block = Block(1, "input", taken[0].address, end - taken[0].address, tuple(taken))
        legal = (
            block.count <= MAX
            and longest_hole(block) <= gap
            and not any(touches(block, w) for w in forbidden)
        )
        if legal:
            best = min(best, 1 + fewest(spans - frozenset(taken), gap, forbidden))
    return best


@given(
    st.lists(st.tuples(st.integers(0, 40), st.sampled_from([1, 2, 4, 9])), min_size=1, max_size=6),
    st.integers(0, 8),
    walls,
)
def test_no_plan_needs_fewer_requests(
    where: list[tuple[int, int]], gap: int, forbidden: list[Forbidden]
) -> None:
    spans = [Span(i, 1, "input", a, n) for i, (a, n) in enumerate(where)]
    spans = [s for s in spans if not any(touches(s, w) for w in forbidden)]
    blocks = plan(spans, max_count=MAX, max_gap=gap, forbidden=forbidden)
    assert len(blocks) == fewest(frozenset(spans), gap, forbidden)


def test_fifty_one_floats_in_a_row_are_one_request() -> None:
    spans = [Span(i, 1, "input", 2 * i, 2) for i in range(51)]
    (block,) = plan(spans, max_count=120, max_gap=0)
    assert str(block) == "unit 1 input 0..101"


@pytest.mark.parametrize(
    ("span", "forbidden", "message"),
    [
        (Span(0, 1, "input", 65535, 2), [], r"65535\.\.65536: permitted: .*addresses 0\.\.65535"),
        (Span(0, 256, "input", 5, 2), [], r"unit 256 .*permitted: unit 0\.\.255"),
        (Span(0, 3, "input", 5, 13), [], r"unit 3 input 5\.\.17: 13 registers, permitted .* 12"),
        (Span(0, 1, "input", 5, 2), [("input", 6, 9)], r"forbidden range input 6\.\.9"),
    ],
)
def test_what_cannot_be_read_is_named(span: Span, forbidden: list[Forbidden], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan([span], max_count=MAX, max_gap=5, forbidden=forbidden)


@given(tag_lists())
def test_bisection_ends_at_single_tags_and_loses_none(spans: list[Span]) -> None:
    todo = list(plan(spans, max_count=MAX, max_gap=MAX))
    singles: list[int] = []
    while todo:
        block = todo.pop()
        halves = bisect(block)
        if halves is None:
            singles.append(block.spans[0].index)
            continue
        left, right = halves
        assert (*left.spans, *right.spans) == block.spans
        assert left.address == block.address
        assert right.address + right.count <= block.address + block.count
        todo += halves
    assert sorted(singles) == [s.index for s in spans]


def test_a_block_is_split_at_its_widest_hole() -> None:
    spans = [Span(i, 1, "input", a, 1) for i, a in enumerate((0, 1, 2, 7, 9))]
    halves = bisect(plan(spans, max_count=MAX, max_gap=MAX)[0])
    assert halves is not None
    assert [len(h.spans) for h in halves] == [3, 2]


@given(tag_lists(), st.sets(st.integers(0, 85), max_size=5))
def test_only_tags_on_a_refused_register_are_lost(spans: list[Span], refused: set[int]) -> None:
    reads = ReadPlan(plan(spans, max_count=MAX, max_gap=MAX))
    todo = list(reads.blocks)
    while todo:
        block = todo.pop()
        if refused & set(range(block.address, block.address + block.count)):
            todo += reads.refuse(block)
    hit = {s.index for s in spans if refused & set(range(s.address, s.end))}
    assert {b.spans[0].index for b in reads.bad} == hit
    assert {s.index for b in reads.blocks for s in b.spans} == {s.index for s in spans} - hit
    asked = [reads.probe() for _ in range(2 * len(reads.bad))]
    assert all(asked.count(b) == 2 for b in reads.bad), "bad tags are asked again in turn"
    reads.reset()
    assert reads.bad == ()
    assert {s.index for b in reads.blocks for s in b.spans} == {s.index for s in spans}
    assert reads.probe() is None


def test_a_refusal_that_comes_after_a_reset_teaches_nothing() -> None:
    reads = ReadPlan(plan([Span(i, 1, "input", i, 1) for i in range(4)], max_count=MAX, max_gap=0))
    left, _ = reads.refuse(reads.blocks[0])
    reads.reset()
    assert reads.refuse(left) == ()
    assert len(reads.blocks) == 1
    assert reads.bad == ()


def test_plans_are_in_address_order() -> None:
    blocks = plan([Span(i, 1, "input", 90 - 9 * i, 2) for i in range(10)], max_count=MAX, max_gap=0)
    assert all(a.address < b.address for a, b in pairwise(blocks))
