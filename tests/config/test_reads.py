"""Which requests a poll takes: every transport, units with limits of their own, forbidden areas."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.config.reads import plan_reads
from edge.config.tables import LINK
from edge.config.types import (
    RTU_GAP,
    ModbusLink,
    ModbusProtocol,
    ModbusSource,
    OpcUaSource,
    TagRow,
    UnitLimits,
)
from edge.core.codec import Encoding, words_of
from edge.core.tags import Tag

DEFAULT_GAP: dict[ModbusProtocol, int] = {
    "modbus-tcp": 120, "modbus-tls": 120, "modbus-rtu-over-tcp": RTU_GAP, "modbus-rtu": RTU_GAP,
}  # fmt: skip
KINDS: tuple[Any, ...] = ("uint16", "float32", "float64", "bcd16", "bcd32", "string", "bit")


def tag_row(unit_id: int, table: Any, address: int, kind: Any) -> TagRow:
    name = f"{unit_id}-{table}-{address}"
    encoding = Encoding(type=kind, length=5 if kind == "string" else 0)
    return TagRow(
        tag=Tag(name=name, text=name, unit="", low=0, high=1, component="", part=""),
        source=ModbusSource(
            link="x", unit_id=unit_id, table=table, address=address, encoding=encoding
        ),
    )


def span_of(row: TagRow) -> tuple[int, str, int, int]:
    """(unit, table, first, end)."""
    s = row.source
    assert isinstance(s, ModbusSource)
    wide = 1 if s.table in ("coil", "discrete") else words_of(s.encoding)
    return s.unit_id, s.table, s.address, s.address + wide


rows = st.lists(
    st.builds(
        tag_row, st.integers(1, 3), st.sampled_from(["coil", "input", "holding"]),
        st.integers(0, 400), st.sampled_from(KINDS),
    ),
    max_size=40,
)  # fmt: skip
protocols = st.sampled_from(sorted(DEFAULT_GAP))
walls = st.lists(
    st.tuples(
        st.sampled_from(["coil", "input", "holding"]), st.integers(0, 400), st.integers(0, 5)
    ).map(lambda w: (w[0], w[1], w[1] + w[2])),
    max_size=4,
)
limits = st.lists(
    st.builds(
        UnitLimits, unit_id=st.integers(1, 3), max_registers=st.integers(5, 125),
        max_gap=st.integers(0, 125), pause_between_requests_ms=st.just(0),
    ),
    max_size=2, unique_by=lambda u: u.unit_id,
)  # fmt: skip


@given(rows, protocols, walls, limits)
def test_every_row_once_within_what_each_unit_takes(
    tags: list[TagRow], protocol: ModbusProtocol, forbidden: list[Any], units: list[UnitLimits]
) -> None:
    def hit(table: str, first: int, end: int) -> bool:
        return any(t == table and a < end and b >= first for t, a, b in forbidden)

    tags = [row for row in tags if not hit(*span_of(row)[1:])]
    link = ModbusLink(
        name="x", protocol=protocol, max_gap=DEFAULT_GAP[protocol], forbidden=tuple(forbidden),
        units=tuple(units),
    )  # fmt: skip
    blocks = plan_reads(link, tags)
    assert sorted(s.index for b in blocks for s in b.spans) == list(range(len(tags)))
    for b in blocks:
        scale = 16 if b.table == "coil" else 1
        own = link.limits(b.unit_id)
        assert b.count <= scale * own.max_registers
        assert not hit(b.table, b.address, b.address + b.count)
        reached = b.address
        for s in b.spans:
            assert (b.unit_id, b.table, s.address, s.end) == span_of(tags[s.index])
            assert b.address <= s.address
            assert s.end <= b.address + b.count, "no value is split between two requests"
            assert s.address - reached <= scale * own.max_gap
            reached = max(reached, s.end)
    # Fewest: the first row of the next block could not have been taken along. That this suffices
    # is what tests/core/test_blocks.py proves against exhaustive search.
    for one, two in pairwise(blocks):
        if (one.unit_id, one.table) != (two.unit_id, two.table):
            continue
        first = two.spans[0]
        scale = 16 if one.table == "coil" else 1
        own = link.limits(one.unit_id)
        end = one.address + one.count
        assert (
            first.end - one.address > scale * own.max_registers
            or first.address - end > scale * own.max_gap
            or hit(one.table, one.address, first.end)
        )


@pytest.mark.parametrize(("protocol", "gap"), DEFAULT_GAP.items())
def test_a_hole_is_bridged_where_a_request_costs_more(protocol: ModbusProtocol, gap: int) -> None:
    keys = [k for k in LINK.keys if k.name == "max_gap" and k.spoken(protocol)]
    assert [k.default for k in keys] == [gap]
    link = ModbusLink(name="x", protocol=protocol, max_gap=gap)
    for hole, requests in ((RTU_GAP, 1), (RTU_GAP + 1, 1 if gap > RTU_GAP else 2)):
        tags = [tag_row(1, "holding", a, "uint16") for a in (0, 1 + hole)]
        assert len(plan_reads(link, tags)) == requests


def test_a_row_of_another_protocol_is_named() -> None:
    row = TagRow(tag=tag_row(1, "input", 0, "bit").tag, source=OpcUaSource(link="x", node="i=1"))
    with pytest.raises(ValueError, match="not a Modbus source"):
        plan_reads(ModbusLink(name="x"), [row])
