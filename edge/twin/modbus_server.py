"""A Modbus device built from the tag rows of one link: a real pymodbus server on loopback.

The twin owns the memory, one array per unit and table; pymodbus asks for it through the device's
`action`, which copies just the words of each request. So one plant second costs one encoding pass,
and a block written by the appliance is seen in one piece.
Only block W can be written: anything else is answered with exception 2 and counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pymodbus import FramerType
from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from edge.config.types import ModbusLink, ModbusSource, Table, WordBlock
from edge.core.codec import Encoding, words_of
from edge.twin.encode import BlockEncoder

_TABLE_OF_FUNCTION: dict[int, Table] = {
    1: "coil", 2: "discrete", 3: "holding", 4: "input", 5: "coil", 6: "holding", 15: "coil",
    16: "holding", 22: "holding", 23: "holding",
}  # fmt: skip
_ORDER: tuple[Table, ...] = ("coil", "discrete", "holding", "input")


@dataclass(frozen=True, slots=True)
class _Area:
    """One table of one unit; for coils and discrete inputs a word holds 16 of them."""

    first: int
    words: npt.NDArray[np.uint16]


class ModbusServer:
    """The device behind one Modbus link. Values come in engineering units."""

    def __init__(
        self,
        link: ModbusLink,
        sources: Sequence[ModbusSource],
        block_w: WordBlock | None = None,
        block_r: WordBlock | None = None,
        *,
        first_read: asyncio.Event | None = None,
    ) -> None:
        """`first_read` is set once a client has read a tag."""
        self.link = link
        self.refused_writes = 0
        """Writes into the device's memory outside block W; a test or a demo expects 0."""
        self._first_read = first_read or asyncio.Event()
        self._server: ModbusTcpServer | ModbusSerialServer | None = None
        self._awake = asyncio.Event()
        self._awake.set()
        self._w, self._r = block_w, block_r
        spans: dict[tuple[int, Table], list[tuple[int, int]]] = {}
        for source in sources:
            spans.setdefault((source.unit_id, source.table), []).append(_span(source))
        for block in (block_w, block_r):
            if block is not None and block.address is not None:
                end = block.address + block.count
                spans.setdefault((block.unit_id, "holding"), []).append((block.address, end))
        self._areas: dict[tuple[int, Table], _Area] = {}
        for key, ranges in spans.items():
            first, end = min(a for a, _ in ranges), max(b for _, b in ranges)
            if key[1] in ("coil", "discrete"):
                first, end = first // 16, (end + 15) // 16
            self._areas[key] = _Area(first, np.zeros(end - first, np.uint16))
        self._encoders = self._compile(sources)

    def _compile(
        self, sources: Sequence[ModbusSource]
    ) -> list[tuple[npt.NDArray[np.intp], BlockEncoder, _Area]]:
        encoders = []
        for (unit, table), area in self._areas.items():
            where = [i for i, s in enumerate(sources) if s.unit_id == unit and s.table == table]
            encodings, offsets = [], []
            for i in where:
                source = sources[i]
                if table in ("coil", "discrete"):
                    encodings.append(Encoding(type="bit", bit=source.address % 16))
                    offsets.append(source.address // 16 - area.first)
                else:
                    encodings.append(source.encoding)
                    offsets.append(source.address - area.first)
            if where:
                encoder = BlockEncoder(encodings, offsets)
                encoders.append((np.array(where, np.intp), encoder, area))
        return encoders

    async def start(self) -> None:
        """Listen on the link's address. Raises OSError naming link and address."""
        units = sorted({unit for unit, _ in self._areas})
        devices = [self._device(unit) for unit in units]
        link = self.link
        server: ModbusTcpServer | ModbusSerialServer
        if link.protocol == "modbus-tls":
            raise OSError(
                f"link {link.name!r}: the twin has no certificate to serve modbus-tls with; use "
                'protocol = "modbus-tcp" for a simulation'
            )
        if link.protocol == "modbus-rtu":
            server = ModbusSerialServer(
                devices, port=link.device, baudrate=link.baud, parity=link.parity[0].upper(),
                stopbits=link.stop_bits,
            )  # fmt: skip
        else:
            framer = FramerType.RTU if link.rtu else FramerType.SOCKET
            server = ModbusTcpServer(devices, framer=framer, address=(link.host, link.port))
        if not await server.listen():
            raise OSError(
                f"link {link.name!r}: cannot listen on {link.at}; "
                "is another twin running, is the port below 1024, is the address this machine's?"
            )
        self._server = server

    async def stop(self) -> None:
        """The device loses power: connections drop, the port is closed. The memory is kept."""
        self._awake.set()
        if self._server is not None:
            await self._server.shutdown()  # type: ignore[no-untyped-call]
            self._server = None
            await asyncio.sleep(0)

    @property
    def running(self) -> bool:
        """True while it listens."""
        return self._server is not None

    def hang(self, hung: bool = True) -> None:
        """Keep connections open and answer nothing (a PLC in STOP, a dead unit)."""
        if hung:
            self._awake.clear()
        else:
            self._awake.set()

    async def write(self, values: npt.NDArray[np.float64]) -> None:
        """Set every tag of the link, float64[n] in the order of `sources`; NaN is "no value"."""
        for where, encoder, area in self._encoders:
            encoder.encode_into(values[where], area.words)

    def block_w(self) -> list[int]:
        """The words of block W as they stand in the PLC's memory."""
        return [int(word) for word in self._block(self._w)]

    async def write_block_r(self, words: Sequence[int]) -> None:
        """Set the words of block R."""
        self._block(self._r)[:] = words

    def _block(self, block: WordBlock | None) -> npt.NDArray[np.uint16]:
        if block is None or block.address is None:
            raise KeyError(f"link {self.link.name!r} carries no such block")
        area = self._areas[block.unit_id, "holding"]
        start = block.address - area.first
        return area.words[start : start + block.count]

    def _device(self, unit: int) -> SimDevice:
        async def action(
            function: int,
            _start: int,
            address: int,
            count: int,
            current: list[int],
            new: list[int] | list[bool] | None,
        ) -> ExcCodes | None:
            await self._awake.wait()
            table = _TABLE_OF_FUNCTION[function]
            area = self._areas.get((unit, table))
            if area is None:
                return ExcCodes.ILLEGAL_ADDRESS
            if table in ("coil", "discrete"):
                address //= 16
            at = address - area.first
            if new is not None:
                if not _inside(self._w, unit, table, address, len(new)):
                    self.refused_writes += 1
                    return ExcCodes.ILLEGAL_ADDRESS
                area.words[at : at + count] = new
                return None
            if not any(_inside(b, unit, table, address, 1) for b in (self._w, self._r)):
                self._first_read.set()
            current[at : at + count] = area.words[at : at + count].tolist()
            return None

        blocks = [_sim_data(table, self._areas.get((unit, table))) for table in _ORDER]
        return SimDevice(unit, (blocks[0], blocks[1], blocks[2], blocks[3]), action=action)


def _inside(block: WordBlock | None, unit: int, table: Table, address: int, count: int) -> bool:
    return (
        block is not None
        and block.address is not None
        and (unit, table) == (block.unit_id, "holding")
        and block.address <= address
        and address + count <= block.address + block.count
    )


def _span(source: ModbusSource) -> tuple[int, int]:
    wide = 1 if source.table in ("coil", "discrete") else words_of(source.encoding)
    return source.address, source.address + wide


def _sim_data(table: Table, area: _Area | None) -> list[SimData]:
    """The layout pymodbus checks requests against; the values live in the area."""
    first, count = (0, 1) if area is None else (area.first, len(area.words))
    if table in ("coil", "discrete"):
        bits = [False] * 16 * count
        return [SimData(first * 16, values=bits, datatype=DataType.BITS)]
    if area is None:
        return [SimData(0, datatype=DataType.INVALID)]
    return [SimData(first, values=[0] * count, datatype=DataType.REGISTERS)]
