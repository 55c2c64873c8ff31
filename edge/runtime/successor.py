"""What a running line goes over to when its configuration was taken anew."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from edge.config.types import Line
from edge.core.conditions import Condition
from edge.core.line import LineSetup
from edge.drivers.base import Driver
from edge.runtime.infer import Engine
from edge.runtime.ringfile import RingFile


@dataclass(slots=True, kw_only=True)
class Successor:
    """What a line runs on after a reload; prepared whole, so that the swap itself cannot fail."""

    line: Line
    setup: LineSetup
    drivers: Mapping[str, Driver]
    """By link name; those the line already runs go on untouched."""
    running: Mapping[str, asyncio.Task[None]]
    """`run()` of the new drivers, by link name: they are connected already."""
    engine: Engine | None
    refused: tuple[Condition, str] | None
    ring: RingFile | None
    """None: the rows go on in the ring at hand."""
    config_sha256: str
    """Of the configuration it comes from."""
    taken: asyncio.Future[RingFile | None]
    """Set at the swap, to the ring that is to be closed."""
