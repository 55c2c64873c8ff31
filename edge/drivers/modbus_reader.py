"""Polling one group of tags over Modbus: planned blocks, bisection, a breaker per unit.

A block the device refuses (exception 2 or 3) is read again in halves within the same poll, so only
the refused tag is lost. A unit that stays silent twice while others share the link is left alone
for 2, 4 .. 30 s: a dead unit behind a gateway costs the others at most one time-out.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge.config.reads import plan_reads
from edge.config.types import ModbusLink, ModbusSource, Table, TagRow
from edge.core.blocks import Block, ReadPlan
from edge.core.codec import BlockDecoder
from edge.core.tags import Reason
from edge.drivers.base import LinkCounters
from edge.drivers.modbus_frame import DoubtError, SilenceError, WireError
from edge.drivers.modbus_wire import DeviceError

_log = logging.getLogger(__name__)

BREAKER_AFTER = 2
"""Time-outs in a row of one unit after which it is left alone for a while."""
BREAKER_S = (2.0, 30.0)
"""First and longest time for which a silent unit is left alone."""
PROBE_S = 60.0
"""Pause before a tag the device refused is asked for again."""
_REFUSED = (2, 3)
"""Exceptions that another address or a shorter request may avoid."""
_GATEWAY = (10, 11)
"""Exceptions by which a gateway says that the unit behind it is silent."""

ReadWords = Callable[[int, Table, int, int], Awaitable[npt.NDArray[np.uint16]]]
"""(unit id, table, address, count) -> uint16[count]; raises WireError."""


@dataclass(slots=True)
class Unit:
    """Breaker of one unit id; the readers of a link share it."""

    silent: int = 0
    pause_s: float = 0.0
    again_s: float = 0.0


class BlockReader:
    """Reads one poll group on one link; what the device taught us is kept between polls."""

    def __init__(
        self,
        link: ModbusLink,
        rows: Sequence[TagRow],
        counters: LinkCounters,
        read_words: ReadWords,
        units: dict[int, Unit],
    ) -> None:
        """`units` is shared by all readers of the link: one unit is silent for all of them.

        Raises ValueError when a row cannot be read over this link.
        """
        self._link = link
        self._rows = rows
        self._counters = counters
        self._read_words = read_words
        self._plan = ReadPlan(plan_reads(link, rows))
        self._units = units
        for block in self._plan.blocks:
            units.setdefault(block.unit_id, Unit())
        self._noted: list[str] = []
        self._decoders: dict[Block, tuple[npt.NDArray[np.intp], BlockDecoder]] = {}
        """Block -> which rows it serves, and how."""
        self._last: dict[Block, npt.NDArray[np.uint16]] = {}
        self._probe_s = 0.0
        self._silent: set[int] = set()
        """Units that did not answer in this poll: their other blocks are not tried."""

    def opened(self) -> None:
        """A new connection: whatever silenced the units may be over, and nobody has answered yet
        whom the silent ones could hold up."""
        self._units.update({unit_id: Unit() for unit_id in self._units})
        self.reset()

    def reset(self) -> None:
        """The device may have changed: ask for everything again."""
        self._plan.reset()
        self._note_bad()

    async def poll(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.uint8]]:
        """Read every tag once: (values float64[n], reason uint8[n]), NaN where reason is set."""
        n = len(self._rows)
        values, reason = np.full(n, np.nan), np.full(n, Reason.NOT_CONNECTED, np.uint8)
        for block in self._plan.bad:
            _mark(reason, block, Reason.EXCEPTION)
        self._silent.clear()
        await self._probe()
        # Units that answered last go first: a dead one must not use up the slot.
        for block in sorted(self._plan.blocks, key=lambda b: self._units[b.unit_id].silent):
            await self._read_block(block, values, reason)
        return values, reason

    async def _read_block(
        self, block: Block, values: npt.NDArray[np.float64], reason: npt.NDArray[np.uint8]
    ) -> None:
        unit = self._units[block.unit_id]
        now = asyncio.get_running_loop().time()
        if block.unit_id in self._silent or now < unit.again_s:
            _mark(reason, block, Reason.TIMEOUT)
            return
        try:
            words = await self._read_words(block.unit_id, block.table, block.address, block.count)
        except DeviceError as exc:
            _mark(reason, block, Reason.EXCEPTION)
            if exc.code in _GATEWAY:
                self._silence(block.unit_id)
                return
            unit.silent, unit.pause_s = 0, 0.0
            if exc.code in _REFUSED:
                for half in self._refused(block, str(exc)):
                    await self._read_block(half, values, reason)
        except SilenceError:
            self._silence(block.unit_id)
            _mark(reason, block, Reason.TIMEOUT)
        except DoubtError:
            _mark(reason, block, Reason.BAD_ANSWER)
        except WireError:
            _mark(reason, block, Reason.NOT_CONNECTED)
        else:
            unit.silent, unit.pause_s = 0, 0.0
            self._last[block] = words
            where, decoder = self._decoder(block)
            values[where], reason[where] = decoder.decode(words)

    def _silence(self, unit_id: int) -> None:
        unit = self._units[unit_id]
        self._silent.add(unit_id)
        unit.silent += 1
        if unit.silent >= BREAKER_AFTER and len(self._units) > 1:
            unit.pause_s = min(max(2 * unit.pause_s, BREAKER_S[0]), BREAKER_S[1])
            unit.again_s = asyncio.get_running_loop().time() + unit.pause_s

    def _refused(self, block: Block, why: str) -> tuple[Block, ...]:
        halves = self._plan.refuse(block)
        self._decoders.pop(block, None)
        self._last.pop(block, None)
        if not halves:
            self._probe_s = asyncio.get_running_loop().time() + PROBE_S
            self._note_bad()
            _log.warning("link %s: %s: %s", self._link.name, self._describe(block), why)
        return halves

    async def _probe(self) -> None:
        """Ask for one refused tag again now and then; an answer means the device has changed."""
        now = asyncio.get_running_loop().time()
        block = self._plan.probe() if now >= self._probe_s else None
        if block is None:
            return
        self._probe_s = now + PROBE_S
        try:
            await self._read_words(block.unit_id, block.table, block.address, block.count)
        except SilenceError:
            self._silence(block.unit_id)
        except WireError:
            return
        else:
            _log.info("link %s: %s answers again", self._link.name, self._describe(block))
            self.reset()

    def _note_bad(self) -> None:
        others = [text for text in self._counters.bad_addresses if text not in self._noted]
        self._noted = [self._describe(b) for b in self._plan.bad]
        self._counters.bad_addresses[:] = others + self._noted

    def _describe(self, block: Block) -> str:
        return f"{block} ({self._rows[block.spans[0].index].tag.name})"

    def _decoder(self, block: Block) -> tuple[npt.NDArray[np.intp], BlockDecoder]:
        found = self._decoders.get(block)
        if found is None:
            sources = [self._rows[s.index].source for s in block.spans]
            decoder = BlockDecoder(
                [s.encoding for s in sources if isinstance(s, ModbusSource)],
                [s.address - block.address for s in block.spans],
            )
            found = (np.array([s.index for s in block.spans], np.intp), decoder)
            self._decoders[block] = found
        return found

    def raw_words(self, index: int) -> tuple[int, ...]:
        """Registers of row `index` in the last good read; empty before the first one."""
        for block in self._plan.blocks:
            words = self._last.get(block)
            for s in block.spans if words is not None else ():
                if s.index == index and words is not None:
                    at = s.address - block.address
                    return tuple(int(w) for w in words[at : at + s.count])
        return ()


def _mark(reason: npt.NDArray[np.uint8], block: Block, why: Reason) -> None:
    reason[[s.index for s in block.spans]] = why
