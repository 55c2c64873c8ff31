"""Write block W once a second, and believe it only after reading it back.

::

    armed --read-back differs--> disarmed --hold_s--> armed

While disarmed nothing is written, so the heartbeat of the block stands still and the PLC takes the
appliance for gone: a second writer, a shifted address or a PLC program that alters the block must
not be answered by writing more of it. A link that is down is reported and tried again with the
next block; nothing is ever repeated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from edge.core.registers import ADVISOR_TIMEOUT_S
from edge.drivers.base import Driver, LinkError

HOLD_S = 2.0 * ADVISOR_TIMEOUT_S
"""Longer than the PLC waits for the heartbeat, so that it is certain to notice."""


class Published(Enum):
    """What became of one block."""

    VERIFIED = "written and read back"
    LINK_DOWN = "not written, or not read back"
    MISMATCH = "the PLC holds other words"
    DISARMED = "not written, after a mismatch"


@dataclass(frozen=True, slots=True)
class Outcome:
    """`kind`, and in `text` the cause for everything but VERIFIED."""

    kind: Published
    text: str = ""


@dataclass(slots=True)
class PublishCounters:
    """Diagnostics of the write path."""

    verified: int = 0
    link_errors: int = 0
    mismatches: int = 0
    suppressed: int = 0
    """Blocks not written because the publisher was disarmed."""


class Publisher:
    """The only writer of block W, and the reader of block R."""

    def __init__(
        self, writer: Driver, reader: Driver | None = None, *, hold_s: float = HOLD_S
    ) -> None:
        """`writer` is the link of block W, `reader` that of block R; None: there is no block R."""
        self.counters = PublishCounters()
        self.read_error = ""
        """Why the last `read_r` gave None."""
        self.seen: dict[str, tuple[float, tuple[int, ...]]] = {}
        """Block "W" or "R" -> loop time and words of the last time the PLC was read."""
        self._driver = writer
        self._reader = reader
        self._hold_s = hold_s
        self._disarmed: tuple[float, str] | None = None

    def take_over(self, old: Publisher) -> None:
        """Go on where `old` stops: a new configuration must not arm what a mismatch disarmed."""
        self.counters, self._disarmed = old.counters, old._disarmed

    async def publish(self, words: Sequence[int]) -> Outcome:
        """Write the block once and compare what the PLC then holds, word by word.

        Raises WriteRefused when the block is not what the write list allows: a fault of the
        configuration or the program, never of the plant.
        """
        loop = asyncio.get_running_loop()
        if self._disarmed is not None:
            until_s, why = self._disarmed
            if loop.time() < until_s:
                self.counters.suppressed += 1
                return Outcome(Published.DISARMED, why)
            self._disarmed = None
        try:
            await self._driver.write_words("W", words)
            held = await self._driver.read_words("W")
        except LinkError as exc:
            self.counters.link_errors += 1
            return Outcome(Published.LINK_DOWN, str(exc))
        self.seen["W"] = loop.time(), held
        if held == tuple(words):
            self.counters.verified += 1
            return Outcome(Published.VERIFIED)
        self.counters.mismatches += 1
        why = _difference(words, held)
        self._disarmed = (loop.time() + self._hold_s, why)
        return Outcome(Published.MISMATCH, why)

    async def read_r(self) -> tuple[int, ...] | None:
        """The words of block R, or None when there is none or the PLC could not be read."""
        if self._reader is None:
            return None
        try:
            words = await self._reader.read_words("R")
        except LinkError as exc:
            self.read_error = str(exc)
            return None
        self.read_error = ""
        self.seen["R"] = asyncio.get_running_loop().time(), words
        return words


def _difference(wrote: Sequence[int], held: Sequence[int]) -> str:
    if len(held) != len(wrote):
        return f"block W: wrote {len(wrote)} words, the PLC holds {len(held)}"
    wrong = [i for i, (a, b) in enumerate(zip(wrote, held)) if a != b]
    i = wrong[0]
    return (
        f"block W: {len(wrong)} of {len(wrote)} words differ, first word {i}: wrote {wrote[i]}, "
        f"the PLC holds {held[i]}; look for a second writer or a shifted address"
    )
