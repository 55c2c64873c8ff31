"""An in-memory PLC behind the Driver protocol: what-if runs and tests without a socket.

It keeps the rules of the real links: rows in order, BAD is NaN, only block "W" can be written, and
a PLC that is down gives BAD quality on reads and LinkError on word blocks.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence

import numpy as np

from edge.config.types import TagRow, WordBlock
from edge.core.tags import Quality, Reason
from edge.drivers.base import LinkCounters, LinkError, Sample, check_write


class SoftDriver:
    """One link to a PLC that lives in this object. See `edge.drivers.base.Driver`."""

    def __init__(
        self, name: str, rows: Sequence[TagRow], blocks: Mapping[str, WordBlock] | None = None
    ) -> None:
        self.name = name
        self.counters = LinkCounters()
        self._blocks = dict(blocks or {})
        self.words: dict[str, list[int]] = {k: [0] * b.count for k, b in self._blocks.items()}
        """The PLC's word blocks, as its program sees them."""
        self.up = True
        """False: the PLC is switched off."""
        self.answer_s = 0.0
        """Seconds the PLC takes to answer a poll."""
        self._index = {row.tag.name: i for i, row in enumerate(rows)}
        n = len(rows)
        self._values = np.zeros(n)
        self._quality = np.zeros(n, np.uint8)
        self._reason = np.zeros(n, np.uint8)
        self._source_s = np.full(n, np.nan)

    def set(
        self,
        tag: str,
        value: float,
        quality: Quality = Quality.GOOD,
        reason: Reason = Reason.NONE,
        source_s: float = math.nan,
    ) -> None:
        """Set a process value in engineering units; a BAD value reads as NaN. Raises KeyError."""
        i = self._index[tag]
        if quality == Quality.GOOD and not math.isfinite(value):
            quality, reason = Quality.BAD, Reason.NOT_A_NUMBER
        self._values[i] = math.nan if quality == Quality.BAD else value
        self._quality[i], self._reason[i], self._source_s[i] = quality, reason, source_s

    async def run(self) -> None:
        """Own the link until cancelled."""
        try:
            self.counters.connected = self.up
            self.counters.connects += self.up
            await asyncio.Event().wait()
        finally:
            self.counters.connected = False

    async def read(self, group: str | None = None) -> Sample:
        """Poll every tag once, whatever the group: memory is free; never raises."""
        loop = asyncio.get_running_loop()
        start_s = loop.time()
        if self.answer_s:
            await asyncio.sleep(self.answer_s)
        n = len(self._values)
        self.counters.connected = self.up
        self.counters.ok += self.up
        self.counters.rtt_ms = (loop.time() - start_s) * 1000
        if self.up:
            self.counters.rtt.add(loop.time() - start_s)
        down = Sample(
            values=np.full(n, np.nan),
            quality=np.full(n, Quality.BAD, np.uint8),
            reason=np.full(n, Reason.NOT_CONNECTED, np.uint8),
            source_s=np.full(n, np.nan),
            start_s=start_s,
            end_s=loop.time(),
        )
        if not self.up:
            return down
        return Sample(
            values=self._values.copy(),
            quality=self._quality.copy(),
            reason=self._reason.copy(),
            source_s=self._source_s.copy(),
            start_s=start_s,
            end_s=loop.time(),
        )

    async def read_words(self, block: str) -> tuple[int, ...]:
        """Read block "R" or "W": raw words. Raises LinkError."""
        if block not in self.words:
            raise LinkError(f'link "{self.name}": no block {block} is configured here')
        self._need_up(block)
        return tuple(self.words[block])

    async def write_words(self, block: str, words: Sequence[int]) -> None:
        """Write block "W". Raises WriteRefused or LinkError."""
        check_write(self.name, self._blocks, block, words)
        self._need_up(block)
        self.words["W"] = [int(w) for w in words]

    def raw_words(self, index: int) -> tuple[int, ...]:
        """A PLC in memory has no registers behind its tags: always empty."""
        return ()

    def _need_up(self, block: str) -> None:
        self.counters.connected = self.up
        if not self.up:
            self.counters.last_error = "not connected"
            raise LinkError(f'link "{self.name}": block {block}: not connected')
        self.counters.ok += 1
