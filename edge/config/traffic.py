"""What a link has to carry, estimated before it is asked to: requests a second, share of its time.

An estimate, for warnings only: how long a device thinks is not known before it is asked, and
`ncm-edge status` shows afterwards how long it took.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge.config.reads import plan_reads
from edge.config.types import (
    ROW_GROUP,
    SERIAL_BITS,
    Line,
    Link,
    ModbusLink,
    ModbusSource,
    OpcUaLink,
    PollGroup,
    TagRow,
    WordBlock,
)

ANSWER_S = 0.01
"""Time a device is taken to need for an answer, beyond the time on a serial line."""
FRAME_BYTES = 13
"""Of a read on a serial line, request and answer, without the registers."""
SILENCE_CHARACTERS = 7
"""Quiet time that ends both frames."""
FULL = 0.7
"""Share of its time above which a link has no room left for one lost answer."""
PATIENCE = 0.9
"""Share of a group's period that one poll may take."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """Load of one link."""

    requests_s: float
    """Requests a second."""
    busy: float
    """Share of the link's time they take; above 1 it cannot carry them."""


def request_count(link: Link, rows: Sequence[TagRow]) -> int:
    """Requests one poll of these tags costs on the link."""
    if isinstance(link, OpcUaLink):
        return -(-len(rows) // link.max_nodes_per_read)
    return len(plan_reads(link, rows))


def rates(line: Line) -> tuple[PollGroup, ...]:
    """Every rate at which tags of the line are read, the row's own first."""
    return (PollGroup(name=ROW_GROUP, poll_s=line.row_s), *line.groups)


def rows_of_group(line: Line, link: Link, group: PollGroup) -> list[TagRow]:
    """Tags of a group on a link."""
    rows = (*line.tags, *line.context)
    return [row for row in rows if row.source.link == link.name and row.group == group.name]


def estimate(line: Line, link: Link) -> Traffic:
    """All that the line asks of a link: its tags at their rates, block W read back, block R."""
    requests = busy = 0.0
    for group in rates(line):
        rows = rows_of_group(line, link, group)
        requests += request_count(link, rows) / group.poll_s
        busy += sum(_request_s(link, *one) for one in _requests(link, rows)) / group.poll_s
    w, r = line.outputs.block_w, line.outputs.block_r
    blocks = [block for block in (w, w, r) if block is not None and block.link == link.name]
    requests += len(blocks) / line.row_s
    busy += sum(_block_s(link, block) for block in blocks) / line.row_s
    return Traffic(requests, busy)


def _requests(link: Link, rows: Sequence[TagRow]) -> list[tuple[int, int]]:
    """(unit id, registers) of each request."""
    if isinstance(link, OpcUaLink):
        return [(0, 0)] * request_count(link, rows)
    return [
        (
            block.unit_id,
            -(-block.count // 16) if block.table in ("coil", "discrete") else block.count,
        )
        for block in plan_reads(link, [r for r in rows if isinstance(r.source, ModbusSource)])
    ]


def _block_s(link: Link, block: WordBlock) -> float:
    return _request_s(link, block.unit_id, block.count)


def _request_s(link: Link, unit_id: int, registers: int) -> float:
    if not isinstance(link, ModbusLink):
        return ANSWER_S
    spent_s = ANSWER_S + link.limits(unit_id).pause_between_requests_ms / 1000
    if link.protocol == "modbus-rtu":
        characters = FRAME_BYTES + SILENCE_CHARACTERS + 2 * registers
        spent_s += characters * SERIAL_BITS / link.baud
    return spent_s


def warnings(line: Line) -> list[str]:
    """Links that are asked for more than they are likely to carry."""
    found = []
    for link in line.links:
        place, load = f"line {line.name}: link {link.name}", estimate(line, link)
        if load.busy > FULL:
            found.append(
                f"{place}: about {load.requests_s:.3g} requests a second keep it busy for "
                f"{load.busy:.0%} of the time (recommended: at most {FULL:.0%}); read fewer tags, "
                "or slower (poll_group), or close gaps between registers"
            )
        found += [
            f"{place}: timeout_ms = {link.timeout_ms}, but poll_group {group.name} has "
            f"{PATIENCE * group.poll_s * 1000:g} ms for a poll (poll_s = {group.poll_s:g}): one "
            f"lost answer costs about {link.timeout_ms / 1000 / group.poll_s:.0f} of its slots; "
            "shorten timeout_ms if the device allows it"
            for group in line.groups
            if group.poll_s < line.row_s
            and rows_of_group(line, link, group)
            and link.timeout_ms > PATIENCE * group.poll_s * 1000
        ]
    return found
