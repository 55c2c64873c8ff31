"""Which requests one poll of a Modbus link takes: the same answer for the check and the driver."""

from __future__ import annotations

from collections.abc import Sequence

from edge.config.types import ModbusLink, ModbusSource, TagRow
from edge.core.blocks import Block, Span, plan
from edge.core.codec import words_of

MAX_READ_REGISTERS = 125
MAX_READ_BITS = 2000
_BITS_PER_REGISTER = 16
"""Limits in registers, taken for coils and discrete inputs, too: as many bytes on the wire."""


def plan_reads(link: ModbusLink, rows: Sequence[TagRow]) -> tuple[Block, ...]:
    """The fewest requests that read every row once within what each unit takes.

    `Span.index` is the position in `rows`. Raises ValueError when a row cannot be read over the
    link.
    """
    spans: dict[tuple[int, bool], list[Span]] = {}
    for i, row in enumerate(rows):
        source = row.source
        if not isinstance(source, ModbusSource):
            raise ValueError(
                f'tag "{row.tag.name}": not a Modbus source, but on Modbus link '
                f'"{link.name}"; give it unit_id, table and address'
            )
        bits = source.table in ("coil", "discrete")
        count = 1 if bits else words_of(source.encoding)
        span = Span(i, source.unit_id, source.table, source.address, count)
        spans.setdefault((source.unit_id, bits), []).append(span)
    blocks: list[Block] = []
    for (unit_id, bits), group in spans.items():
        limits = link.limits(unit_id)
        scale = _BITS_PER_REGISTER if bits else 1
        most = MAX_READ_BITS if bits else MAX_READ_REGISTERS
        blocks += plan(
            group,
            max_count=min(scale * limits.max_registers, most),
            max_gap=scale * limits.max_gap,
            forbidden=link.forbidden,
        )
    return tuple(blocks)
