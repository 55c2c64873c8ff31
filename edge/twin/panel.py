"""The panel's connection to the PLC: an HMI reads the blocks here and writes its keys.

A port of its own, as the HMI port of a PLC: on the appliance's port every write beside block W is
still refused and counted. Block W, block R and the key words stand at the addresses an HMI is told
by `ncm-edge hmi`. The keys are a request (docs/hmi/faceplate.md): they lie in 16 words laid out as
block R until the PLC's next scan takes them; what came of them stands in block R.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from edge.config.types import Outputs
from edge.core.outputs import PlcState, decode_block_r
from edge.core.registers import BLOCK_R_WORDS, BLOCK_W_WORDS, Control
from edge.twin.operator import Answer, Offer

W_ADDRESS, R_ADDRESS = 1000, 1100
"""Where the blocks stand if the line's own are not in holding registers."""
PULSE_S = 2
"""Seconds a key bit stays in block R, so that a poll once a second sees it."""
_PULSES = (
    Control.ACKNOWLEDGE | Control.SHELVE | Control.LABEL_DEFECT | Control.LABEL_FALSE_ALARM
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """A repair keyed in."""

    component: int
    kind: int


class Keys:
    """The key words: an operator of flesh and blood behind an HMI. Takes part as `Operator`.

    One key lives for one scan. An answer to another suggestion than the one shown is dropped.
    """

    def __init__(self) -> None:
        self.held = Control.NONE
        """Bits of CONTROL that the keys hold now."""
        self.shelve_min = 0
        self._words = [0] * BLOCK_R_WORDS
        self._answer: tuple[int, Answer] | None = None
        self._left_s: dict[Control, int] = {}

    def write(self, offset: int, words: Sequence[int]) -> None:
        """The HMI wrote key words."""
        self._words[offset : offset + len(words)] = words

    def take(self) -> Repair | None:
        """Once a scan, before the program looks: take and clear the words; a repair, if any."""
        keys, self._words = decode_block_r(self._words), [0] * BLOCK_R_WORDS
        self._answer = _answer(keys)
        self._left_s = {bit: left - 1 for bit, left in self._left_s.items() if left > 1}
        for bit in _PULSES & keys.control:
            self._left_s[bit] = PULSE_S
        if keys.control & Control.SHELVE:
            self.shelve_min = keys.shelve_min
        held = self.held & Control.MAINTENANCE
        if keys.control & Control.MAINTENANCE:
            held ^= Control.MAINTENANCE
        for bit in self._left_s:
            held |= bit
        self.held = held
        if not keys.maint_event:
            return None
        return Repair(component=keys.maint_component, kind=keys.maint_kind)

    def answer(self, offer: Offer) -> Answer | None:
        """The answer keyed in since the last scan, if it is to this suggestion."""
        if self._answer is None or self._answer[0] != offer.seq:
            return None
        return self._answer[1]


def _answer(keys: PlcState) -> tuple[int, Answer] | None:
    # Both at once is a fault of the HMI; the answer that moves nothing wins.
    if keys.control & Control.REJECT:
        return keys.trim_seq_ack, Answer.REJECT
    if keys.control & Control.ACCEPT:
        return keys.trim_seq_ack, Answer.ACCEPT
    return None


class PanelServer:
    """Modbus TCP server for HMIs. Everything but the key words is read-only."""

    def __init__(
        self,
        port: int,
        outputs: Outputs,
        keys: Keys,
        block_w: Callable[[], Sequence[int]],
        block_r: Callable[[], Sequence[int]],
    ) -> None:
        self.refused_writes = 0
        self._port, self._keys = port, keys
        w, r = outputs.block_w, outputs.block_r
        w_at = W_ADDRESS if w.address is None else w.address
        r_at = R_ADDRESS if r is None or r.address is None else r.address
        self._keys_at = r_at + BLOCK_R_WORDS
        self._areas: tuple[tuple[int, int, Callable[[], Sequence[int]]], ...] = (
            (w_at, BLOCK_W_WORDS, block_w),
            (r_at, BLOCK_R_WORDS, block_r),
            (self._keys_at, BLOCK_R_WORDS, lambda: [0] * BLOCK_R_WORDS),
        )
        self._first = min(at for at, _, _ in self._areas)
        self._unit = w.unit_id
        self._server: ModbusTcpServer | None = None

    async def start(self) -> None:
        """Listen on 127.0.0.1. Raises OSError naming the port."""
        count = max(at + words for at, words, _ in self._areas) - self._first
        memory = SimData(self._first, values=[0] * count, datatype=DataType.REGISTERS)
        bits = SimData(0, values=[False] * 16, datatype=DataType.BITS)
        nothing = SimData(0, datatype=DataType.INVALID)
        device = SimDevice(
            self._unit, ([bits], [bits], [memory], [nothing]), action=self._serve
        )  # fmt: skip
        server = ModbusTcpServer([device], address=("127.0.0.1", self._port))
        if not await server.listen():
            raise OSError(f"panel: cannot listen on 127.0.0.1:{self._port}; choose another port")
        self._server = server

    async def stop(self) -> None:
        """Drop every HMI and close the port."""
        if self._server is not None:
            await self._server.shutdown()  # type: ignore[no-untyped-call]
            self._server = None

    async def _serve(
        self,
        function: int,
        _start: int,
        address: int,
        count: int,
        current: list[int],
        new: list[int] | list[bool] | None,
    ) -> ExcCodes | None:
        if function not in (3, 6, 16):
            return ExcCodes.ILLEGAL_FUNCTION
        end = address + count
        area = next((a for a in self._areas if a[0] <= address and end <= a[0] + a[1]), None)
        if area is None:
            self.refused_writes += new is not None
            return ExcCodes.ILLEGAL_ADDRESS
        at, _, read = area
        if new is None:
            place = address - self._first
            current[place : place + count] = list(read())[address - at :][:count]
        elif at == self._keys_at:
            self._keys.write(address - at, [int(word) for word in new])
        else:
            self.refused_writes += 1
            return ExcCodes.ILLEGAL_ADDRESS
        return None
