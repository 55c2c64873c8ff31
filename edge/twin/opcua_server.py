"""An OPC UA server built from the tag rows of one link: a real asyncua server on loopback.

Values go straight into the server's address space (`Server.write_attribute_value`), which still
notifies subscribers and costs about 2 microseconds a node; `Node.write_value` goes through a
session and costs twenty times as much. Nodes are Float and read-only; block W is the only one a
client may write.
"""

from __future__ import annotations

import datetime
import gc
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from asyncua import ua
from asyncua.server.server import Server

from edge.config.types import OpcUaLink, OpcUaSource, WordBlock
from edge.runtime.clock import Clock

_FLOAT = ua.VariantType.Float
_WORDS = ua.VariantType.UInt16


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """What the server says about one node instead of "good, now"."""

    code: int = 0
    """OPC UA status code: 0 Good, 0x40000000 Uncertain, 0x80000000 Bad."""
    age_s: float = 0.0
    """How far the source timestamp lies in the past."""


class OpcUaServer:
    """The server behind one OPC UA link. Values come in engineering units."""

    def __init__(
        self,
        link: OpcUaLink,
        names: Sequence[str],
        sources: Sequence[OpcUaSource],
        clock: Clock,
        block_w: WordBlock | None = None,
        block_r: WordBlock | None = None,
    ) -> None:
        self.link = link
        self.running = False
        """True while it listens."""
        self.status: list[NodeStatus] = [NodeStatus()] * len(sources)
        """One per tag of the link; faults are put here."""
        self._names = names
        self._sources = sources
        self._clock = clock
        self._blocks = {"W": block_w, "R": block_r}
        self._server: Server | None = None
        self._ids: list[ua.NodeId] = []
        self._block_ids: dict[str, ua.NodeId] = {}
        self._scale = np.array([s.scale for s in sources])
        self._offset = np.array([s.offset for s in sources])

    async def start(self) -> None:
        """Listen on the link's URL. Raises OSError naming link and address."""
        if self._server is None:
            self._server = await self._build()
        logger = logging.getLogger("asyncua.server.server")
        level = logger.level
        # asyncua logs the stack of a port that is taken; the caller gets it as one sentence.
        logger.setLevel(logging.CRITICAL)
        try:
            await self._server.start()
        except OSError as error:
            raise OSError(
                f"link {self.link.name!r}: cannot listen on {self.link.url}: {error.strerror}; "
                "is another twin running, is the address this machine's?"
            ) from error
        finally:
            logger.setLevel(level)
        self.running = True

    async def stop(self) -> None:
        """The server goes away: sessions drop, the port is closed. The nodes keep their values."""
        if self._server is not None and self.running:
            self.running = False
            await self._server.stop()

    async def _build(self) -> Server:
        server = Server()
        # 6,000 nodes are made here; collecting garbage in between doubles the time.
        collecting = gc.isenabled()
        gc.disable()
        try:
            await server.init()
        finally:
            if collecting:
                gc.enable()
        server.set_endpoint(self.link.url)
        server.set_server_name("NCM line (simulated)")
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        server.disable_clock()
        index = await server.register_namespace(self.link.namespace)
        folder = await server.nodes.objects.add_folder(index, "Line")
        self._ids = [ua.NodeId.from_string(f"ns={index};{s.node}") for s in self._sources]
        for node_id, name in zip(self._ids, self._names, strict=True):
            await folder.add_variable(node_id, name, 0.0, _FLOAT)
        for label, block in self._blocks.items():
            if block is not None and block.node is not None:
                node_id = ua.NodeId.from_string(f"ns={index};{block.node}")
                node = await folder.add_variable(
                    node_id, f"Block{label}", [0] * block.count, _WORDS
                )
                if label == "W":
                    await node.set_writable()
                self._block_ids[label] = node_id
        return server

    async def write(self, values: npt.NDArray[np.float64]) -> None:
        """Set every node of the link, float64[n] in the order of `sources`; NaN is sent as NaN."""
        if self._server is None:
            return
        wall_s = self._clock.wall_s()
        now = ua.DateTime.fromtimestamp(wall_s, datetime.UTC)
        raw = ((values - self._offset) / self._scale).tolist()
        put = self._server.write_attribute_value
        for node_id, value, status in zip(self._ids, raw, self.status, strict=True):
            then = now
            if status.age_s:
                then = ua.DateTime.fromtimestamp(wall_s - status.age_s, datetime.UTC)
            code = ua.StatusCode(ua.UInt32(status.code))
            await put(node_id, ua.DataValue(ua.Variant(value, _FLOAT), code, then, now))

    def block_w(self) -> list[int]:
        """The words of block W as they stand in the node."""
        value = self._running_server().read_attribute_value(self._block_ids["W"])
        return [] if value.Value is None else list(value.Value.Value)

    async def write_block_r(self, words: Sequence[int]) -> None:
        """Set the words of block R."""
        await self._running_server().write_attribute_value(
            self._block_ids["R"], ua.DataValue(ua.Variant(list(words), _WORDS))
        )

    def _running_server(self) -> Server:
        if self._server is None:
            raise RuntimeError(f"link {self.link.name!r}: start the server first")
        return self._server
