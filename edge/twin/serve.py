"""A line's PLC and DCS, simulated, on real servers: everything is built from the line's own
configuration, so the appliance and the twin cannot disagree about an address.

`TwinServer` moves one plant second per second of loop time: the plant gives values, the servers
show them, the PLC's function block reads block W and writes block R, and its trim goes back into
the plant. On a `VirtualTimeLoop` an 18 h batch takes as long as its computing takes.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edge.config.types import Line, Link, ModbusLink, ModbusSource, OpcUaSource, TagRow, WordBlock
from edge.core.registers import BLOCK_R_WORDS, PackML
from edge.runtime.clock import Clock, SystemClock
from edge.twin.modbus_server import ModbusServer
from edge.twin.opcua_server import NodeStatus, OpcUaServer
from edge.twin.panel import Keys, PanelServer
from edge.twin.plc import PlcBlock, Process

log = logging.getLogger(__name__)

BAD = NodeStatus(0x80000000)
UNCERTAIN = NodeStatus(0x40000000)


class Second(Protocol):
    """What a plant shows in one second."""

    @property
    def values(self) -> npt.NDArray[np.float64]:
        """float64[P], engineering units, in the order of the plant's tags."""

    @property
    def context(self) -> Mapping[str, float]:
        """Set-points and the like by tag name."""

    @property
    def minute(self) -> float:
        """Batch minute."""

    @property
    def step(self) -> int:
        """Running schedule step, 1-based; 0 none."""

    @property
    def base_kg_h(self) -> float:
        """NaOH set-point of the recipe, without trim; 0 on a line that doses no NaOH."""


class Plant(Protocol):
    """Anything that can stand behind the servers: the digital twin, or a recording."""

    def second(self, trim_kg_h: float, held: bool) -> Second:
        """The next second, with this trim on the NaOH recipe; `held` stops all feeds."""


class TwinServer:
    """The servers of one line, its plant and its PLC. Use as an async context manager.

    `speed` is plant seconds per second of loop time. Faults of instruments and servers are put in
    with `freeze`, `show`, `set_status`, `hang_link`, `stop_link`, and taken back with `release`
    and `start_link`.
    """

    def __init__(
        self,
        line: Line,
        plant: Plant,
        plc: PlcBlock | None = None,
        *,
        tag_names: Sequence[str] | None = None,
        clock: Clock | None = None,
        batch_id: int = 1,
        speed: float = 1.0,
        panel_port: int | None = None,
    ) -> None:
        """`tag_names`: what the plant's values are, in its order; None if that is the line's.
        `panel_port`: serve an HMI there; who presses its keys is then the operator of the PLC.

        Raises ValueError for tags of the line that the plant does not have, and a bad speed.
        """
        if not speed > 0:
            raise ValueError(f"speed {speed} is not above 0 plant seconds per second")
        self.line = line
        self.plc = plc or PlcBlock()
        self.held = False
        """Set to hold the batch: all feeds stop together."""
        self.complete = False
        """Set when the batch is over; the plant then stands still and the servers go on."""
        self.seconds = 0
        """Plant seconds so far."""
        self.latest: Second | None = None
        own = [row.tag.name for row in line.tags]
        names = own if tag_names is None else list(tag_names)
        unknown = [name for name in own if name not in names]
        if unknown:
            raise ValueError(
                f"line {line.name!r}: the plant behind the servers has no {', '.join(unknown)}; "
                f"it has {', '.join(names[:8])} ..."
            )
        self._order = np.array([names.index(name) for name in own], np.intp)
        self._plant = plant
        self.first_read = asyncio.Event()
        """Set once a client has read a tag over Modbus (at once where there is no Modbus link)."""
        if not any(isinstance(link, ModbusLink) for link in line.links):
            self.first_read.set()
        self._speed = speed
        self._said_late = False
        self.batch_id = batch_id
        """Number of the running batch; may be changed at any time."""
        self._trim_kg_h = 0.0
        self._rows = (*line.tags, *line.context)
        self._index = {row.tag.name: i for i, row in enumerate(self._rows)}
        self._shown: npt.NDArray[np.float64] = np.full(len(self._rows), np.nan)
        self._instead: dict[int, float] = {}
        self._servers: dict[str, ModbusServer | OpcUaServer] = {}
        self._places: dict[str, npt.NDArray[np.intp]] = {}
        for link in line.links:
            places = [i for i, row in enumerate(self._rows) if row.source.link == link.name]
            self._places[link.name] = np.array(places, np.intp)
            rows = [self._rows[i] for i in places]
            self._servers[link.name] = self._server(link, rows, clock or SystemClock())
        w, r = line.outputs.block_w, line.outputs.block_r
        self._w_server = self._servers[w.link]
        self._r_server = None if r is None else self._servers[r.link]
        self._block_r: Sequence[int] = (0,) * BLOCK_R_WORDS
        self.panel: PanelServer | None = None
        """The HMI's port, if there is one."""
        self._keys = Keys()
        if panel_port is not None:
            self.plc.operator = self._keys
            self.panel = PanelServer(
                panel_port, line.outputs, self._keys, self._w_server.block_w, lambda: self._block_r
            )

    async def __aenter__(self) -> TwinServer:
        """Start every server and show the first second. Raises OSError naming link and address."""
        try:
            for server in self._servers.values():
                await server.start()
            if self.panel is not None:
                await self.panel.start()
            await self.advance()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop every server."""
        if self.panel is not None:
            await self.panel.stop()
        for server in self._servers.values():
            await server.stop()

    async def run(
        self, seconds: int | None = None, on_second: Callable[[TwinServer], None] | None = None
    ) -> None:
        """Move the plant on `seconds` plant seconds, or until cancelled.

        New values appear half-way between the whole seconds of loop time, so that a poll on the
        whole second sees every plant second exactly once.
        """
        loop = asyncio.get_running_loop()
        period = self.line.row_s / self._speed
        due = math.floor(loop.time()) + 0.5
        while due <= loop.time():
            due += period
        done = 0
        while seconds is None or done < seconds:
            late_s = loop.time() - due
            if late_s > max(1.0, 10.0 * period):
                if not self._said_late:
                    log.warning(
                        "line %s: %.1f s behind, %g plant seconds a second are too many for this "
                        "machine; going on at its own pace", self.line.name, late_s, self._speed,
                    )  # fmt: skip
                self._said_late = True
                due = loop.time()
            await asyncio.sleep(max(0.0, due - loop.time()))
            await self.advance()
            done += 1
            due += period
            if on_second is not None:
                on_second(self)

    async def advance(self) -> None:
        """One plant second: block W is read, the trim acts, new values and block R are shown."""
        if not self.complete or self.latest is None:
            self.latest = self._plant.second(self._trim_kg_h, self.held)
            self.seconds += 1
        now = self.latest
        self._take_keys()
        block_r, trim_kg_h = self.plc.scan(self._w_server.block_w(), self._process(now))
        self._trim_kg_h, self._block_r = trim_kg_h, block_r
        count = len(self.line.tags)
        self._shown[:count] = now.values[self._order]
        for i, row in enumerate(self.line.context, start=count):
            self._shown[i] = now.context.get(row.tag.name, np.nan)
        for i, value in self._instead.items():
            self._shown[i] = value
        for name, server in self._servers.items():
            await server.write(self._shown[self._places[name]])
        if self._r_server is not None:
            await self._r_server.write_block_r(block_r)

    def _take_keys(self) -> None:
        if self.panel is None:
            return
        repair = self._keys.take()
        self.plc.controls, self.plc.shelve_min = self._keys.held, self._keys.shelve_min
        if repair is not None:
            self.plc.enter_maintenance(repair.component, repair.kind)

    def _process(self, now: Second) -> Process:
        state = PackML.EXECUTE
        if self.complete:
            state = PackML.COMPLETE
        elif self.held:
            state = PackML.HELD
        return Process(
            base_kg_h=now.base_kg_h,
            minute=now.minute,
            phase=now.step,
            state=state,
            batch_id=self.batch_id,
        )

    def _server(self, link: Link, rows: list[TagRow], clock: Clock) -> ModbusServer | OpcUaServer:
        outputs = self.line.outputs
        block_w, block_r = _on(link.name, outputs.block_w), _on(link.name, outputs.block_r)
        if isinstance(link, ModbusLink):
            modbus = [row.source for row in rows if isinstance(row.source, ModbusSource)]
            return ModbusServer(link, modbus, block_w, block_r, first_read=self.first_read)
        names = [row.tag.name for row in rows]
        opcua = [row.source for row in rows if isinstance(row.source, OpcUaSource)]
        return OpcUaServer(link, names, opcua, clock, block_w, block_r)

    # Faults of instruments and servers.

    def show(self, tag: str, value: float) -> None:
        """The instrument shows `value` from the next second on; NaN is "no value"."""
        self._instead[self._place(tag)] = value

    def freeze(self, tag: str) -> None:
        """The instrument keeps showing what it shows now."""
        self.show(tag, float(self._shown[self._place(tag)]))

    def set_status(self, tag: str, status: NodeStatus) -> None:
        """OPC UA status code and age of the source timestamp. ValueError for a Modbus tag."""
        server, place = self._opcua(tag)
        server.status[place] = status

    def release(self, tag: str) -> None:
        """The instrument is well again."""
        self._instead.pop(self._place(tag), None)
        if isinstance(self._rows[self._place(tag)].source, OpcUaSource):
            self.set_status(tag, NodeStatus())

    async def stop_link(self, name: str) -> None:
        """The device behind the link dies: connections drop, its port is closed."""
        await self._servers[name].stop()

    async def start_link(self, name: str) -> None:
        """The device comes back with the values of now."""
        await self._servers[name].start()

    def hang_link(self, name: str, hung: bool = True) -> None:
        """The Modbus device keeps its connections and answers nothing. ValueError for OPC UA."""
        server = self._servers[name]
        if not isinstance(server, ModbusServer):
            raise ValueError(f"link {name!r} is OPC UA; permitted: a Modbus link")
        server.hang(hung)

    @property
    def block_w(self) -> tuple[int, ...]:
        """Block W as it stands in the PLC now."""
        return tuple(self._w_server.block_w())

    @property
    def refused_writes(self) -> int:
        """Writes outside block W so far, over all Modbus links."""
        servers = self._servers.values()
        return sum(s.refused_writes for s in servers if isinstance(s, ModbusServer))

    def _place(self, tag: str) -> int:
        try:
            return self._index[tag]
        except KeyError:
            raise KeyError(f"line {self.line.name!r} has no tag {tag!r}") from None

    def _opcua(self, tag: str) -> tuple[OpcUaServer, int]:
        place = self._place(tag)
        link = self._rows[place].source.link
        server = self._servers[link]
        if not isinstance(server, OpcUaServer):
            raise ValueError(f"tag {tag!r} is on link {link!r}, which is Modbus: no status codes")
        return server, int(np.flatnonzero(self._places[link] == place)[0])


def _on(link: str, block: WordBlock | None) -> WordBlock | None:
    return block if block is not None and block.link == link else None
