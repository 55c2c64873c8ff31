"""What the shell may ask of a PLC: read every tag once, read a block, write the one allowed block.

A driver never raises for a plant that is down: a read that fails comes back as BAD quality with its
reason, so that one dead PLC costs the others nothing. Only writes raise, because a write that did
not happen must be seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edge.config.types import WordBlock
from edge.core.conditions import Condition
from edge.core.histogram import Histogram


class LinkError(Exception):
    """The link or the device failed; the message names link, address, cause. Retrying may help."""


class WriteRefused(Exception):  # noqa: N818 - a refusal, not a fault
    """The write is not on the write list. Nothing was sent; retrying never helps."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One poll of one link. Arrays are indexed like the tag rows given to the driver."""

    values: npt.NDArray[np.float64]
    """float64[n], engineering units; NaN exactly where quality is BAD."""
    quality: npt.NDArray[np.uint8]
    reason: npt.NDArray[np.uint8]
    source_s: npt.NDArray[np.float64]
    """Source timestamp, epoch seconds; NaN where the protocol has none (Modbus)."""
    start_s: float
    end_s: float


@dataclass(slots=True)
class RequestCounters:
    """What became of the requests to one unit, or over one link."""

    ok: int = 0
    timeouts: int = 0
    lost: int = 0
    """Unit: requests that the end of the connection left without an answer. Link: connections
    lost after they had answered."""
    bad_answers: int = 0
    exceptions: int = 0
    rtt: Histogram = field(default_factory=Histogram)
    """Request sent to answer complete, for every request that was answered."""


@dataclass(slots=True)
class LinkCounters(RequestCounters):
    """Diagnostics of one link, shown by `ncm-edge status`."""

    connected: bool = False
    connects: int = 0
    last_error: str = ""
    rtt_ms: float = 0.0
    """Duration of the last complete poll, ms."""
    conditions: dict[Condition, str] = field(default_factory=dict)
    """What is wrong beyond up and down (certificates, say), with its detail."""
    bad_addresses: list[str] = field(default_factory=list)
    """Addresses the device refuses (exception 2), learnt by bisection."""
    units: dict[int, RequestCounters] = field(default_factory=dict)
    """By Modbus unit id; empty where the protocol has no units."""

    def unit(self, unit_id: int) -> RequestCounters:
        """The counters of one unit, made when it is first asked."""
        found = self.units.get(unit_id)
        if found is None:
            found = self.units[unit_id] = RequestCounters()
        return found


def heed_cancellation() -> None:
    """Raise CancelledError if this task was asked to stop; called when a request has ended.

    `asyncio.wait_for` of Python 3.11, inside both protocol libraries, hands out an answer (or the
    end of the connection) that comes in the same instant as a cancellation, and forgets the latter:
    the task would then go on for ever, and the daemon could not stop.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def check_write(
    link: str, blocks: Mapping[str, WordBlock], block: str, words: Sequence[int]
) -> WordBlock:
    """The write list: the one gate every driver passes before it sends a write.

    Returns the block to write. Raises WriteRefused, naming what is permitted, unless `block` is
    "W", lies on this link, and `words` are exactly its count of 0..65535.
    """
    where = blocks.get("W") if block == "W" else None
    if where is None:
        raise WriteRefused(
            f'link "{link}": block "{block}" is not on the write list; permitted: '
            + ('"W"' if "W" in blocks else "nothing, block W is on another link")
        )
    if len(words) != where.count or not all(0 <= w <= 0xFFFF for w in words):
        raise WriteRefused(
            f'link "{link}": block W: {len(words)} words from {min(words, default=0)} to '
            f"{max(words, default=0)}; permitted: {where.count} words of 0..65535"
        )
    return where


class Driver(Protocol):
    """One link to one device."""

    name: str
    counters: LinkCounters

    async def run(self) -> None:
        """Own the link until cancelled: connect, reconnect with jittered back-off, for ever."""

    async def read(self, group: str | None = None) -> Sample:
        """Poll every tag of the link once, bounded by the link's timeout; no LinkError.

        With a poll `group`, only its tags are asked for, and nothing said of others means anything.
        """

    async def read_words(self, block: str) -> tuple[int, ...]:
        """Read a configured word block ("R", or "W" for the read-back). Raises LinkError."""

    async def write_words(self, block: str, words: Sequence[int]) -> None:
        """Write block "W" in one request, exactly once. Raises WriteRefused or LinkError."""

    def raw_words(self, index: int) -> tuple[int, ...]:
        """Registers of tag row `index` in the last good read; empty where there are none."""
