"""Drivers: one per link. The protocol library is imported only when a configuration names it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edge.config.types import Line, Link, ModbusLink, TagRow, WordBlock
from edge.drivers.base import Driver
from edge.runtime.clock import Clock, SystemClock

__all__ = ["asks", "blocks_of", "build", "build_all", "rows_of"]


def rows_of(line: Line, link_name: str) -> tuple[TagRow, ...]:
    """Tag rows of one link, process values before context, in the order the Poller expects."""
    return tuple(r for r in (*line.tags, *line.context) if r.source.link == link_name)


def blocks_of(line: Line, link_name: str) -> dict[str, WordBlock]:
    """Word blocks of one link: "W" and "R", those that live there."""
    blocks = {"W": line.outputs.block_w}
    if line.outputs.block_r is not None:
        blocks["R"] = line.outputs.block_r
    return {name: block for name, block in blocks.items() if block.link == link_name}


def build(
    link: Link,
    rows: Sequence[TagRow],
    blocks: Mapping[str, WordBlock],
    clock: Clock | None = None,
) -> Driver:
    """The driver of one link; opens nothing until its `run()` is a task.

    `clock` (default: the system's) judges the dates of certificates and nothing else.

    `rows` are the tags of this link; Sample arrays are indexed like them. Only `blocks["W"]` can
    ever be written. Raises ValueError when a row or block cannot be served by the link (two
    faults the configuration loader reports first, with file and line).
    """
    if isinstance(link, ModbusLink):
        from edge.drivers.modbus import ModbusDriver

        return ModbusDriver(link, rows, blocks)
    from edge.drivers.opcua import OpcUaDriver

    return OpcUaDriver(link, rows, blocks, clock=clock or SystemClock())


def build_all(line: Line, clock: Clock | None = None) -> dict[str, Driver]:
    """One driver per link of the line, by link name."""
    return {
        link.name: build(link, rows_of(line, link.name), blocks_of(line, link.name), clock)
        for link in line.links
    }


def asks(line: Line, link_name: str) -> tuple[object, ...]:
    """All a driver knows of its link: while it is equal, a running driver serves both lines."""
    (link,) = (link for link in line.links if link.name == link_name)
    rows = tuple((r.source, r.tag.name, r.tag.max_age_s) for r in rows_of(line, link_name))
    return link, rows, tuple(blocks_of(line, link_name).items())
