"""What may go wrong on an OPC UA link, as a table that any client can be run against.

Each row plays one misbehaviour of a real server or network in virtual time while a client polls
once a second. The world knows at every moment which value is true and what quality it deserves. A
value is WRONG when a client vouches for it more than the world does: another number, a number where
there is none, a good one where the server itself has doubts. `late_s` forgives what was true a
moment ago, for subscriptions. Nothing is ever done to a client.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from asyncua import ua

from edge.config.types import OpcUaLink, OpcUaSource
from edge.core.conditions import Condition
from edge.core.tags import Quality, Reason
from edge.drivers.opcua_feed import CHECK_S
from edge.runtime.clock import LoopClock
from edge.twin.opcua_server import NodeStatus, OpcUaServer
from tests.drivers.opcua_clients import Reading, Subject, is_number, loop_time, small_reads
from tests.drivers.pki import EPOCH_S, NAMESPACE, Pair, Site, add_nodes, pair, secured_server
from tests.drivers.relay import Relay

NAMES = ("A", "B", "C")
GOOD, UNCERTAIN, BAD = Quality.GOOD, Quality.UNCERTAIN, Quality.BAD
Truth = list[tuple[float, Quality]]
Make = Callable[..., Subject]
Port = Callable[[], int]
PATIENCE_S = 60.0
"""Time a client has to be back after a fault: generous, because libraries back off for long."""


@dataclass
class Outcome:
    """What one client made of one row of the table."""

    wrong: int = 0
    """Values it vouched for more than the world does."""
    missed: int = 0
    """Good values of the plant it did not deliver."""
    worst_s: float = 0.0
    """Longest poll."""
    readings: list[Reading] = field(default_factory=list)
    """What it said of tag A during the fault."""
    conditions: list[set[Condition]] = field(default_factory=list)
    back_s: float | None = None
    """Seconds from the end of the fault to the first poll with all values good; None: not in
    `PATIENCE_S`, or the fault does not end."""


class World:
    """A plant with its truth, and one client in front of it."""

    def __init__(self, stack: AsyncExitStack, make: Make, free_port: Port, folder: Path) -> None:
        self.stack, self.free_port, self.folder = stack, free_port, folder
        self.clock = LoopClock(EPOCH_S)
        self.outcome = Outcome()
        self.truth: Truth = [(10.0, GOOD), (20.0, GOOD), (30.0, GOOD)]
        self.late_s = 0.0
        self._make = make
        self._before: list[tuple[float, Truth]] = []
        self._client: Subject | None = None

    async def plc(self, names: Sequence[str] = NAMES) -> OpcUaServer:
        """An unsecured server showing the truth, running."""
        link = OpcUaLink(
            name="plc", url=f"opc.tcp://127.0.0.1:{self.free_port()}/plc", namespace=NAMESPACE
        )
        sources = [OpcUaSource(link="plc", node=f"s={n}") for n in names]
        server = OpcUaServer(link, names, sources, self.clock)
        await server.start()
        self.stack.push_async_callback(server.stop)
        await self.show(server)
        return server

    async def show(self, server: OpcUaServer) -> None:
        await server.write(np.array([value for value, _ in self.truth]))

    async def client(self, port: int, names: Sequence[str] = NAMES, **how: Any) -> None:
        """Start the client and let it settle."""
        self._client = self._make(port, names, NAMESPACE, self.clock, **how)
        await self._client.start()
        self.stack.push_async_callback(self._client.stop)
        await settle(2.0)

    async def becomes(self, *truth: tuple[float, Quality]) -> None:
        now_s = asyncio.get_running_loop().time()
        self._before.append((now_s, self.truth))
        self.truth = list(truth)

    async def poll(self, times: int = 5, *, fault: bool = True) -> list[Reading]:
        """Poll once a second and hold every reading against the truth."""
        assert self._client is not None
        loop, out = asyncio.get_running_loop(), self.outcome
        readings: list[Reading] = []
        for _ in range(times):
            await settle(1.0)
            start_s = loop.time()
            readings = await self._client.poll()
            out.worst_s = max(out.worst_s, loop.time() - start_s)
            for i, reading in enumerate(readings):
                _, quality = self.truth[i]
                if reading.value is not None:
                    out.wrong += not self._vouched(i, reading)
                out.missed += quality is GOOD and reading.quality is not GOOD
            if fault:
                out.readings.append(readings[0])
                out.conditions.append(self._client.conditions())
        return readings

    async def recover(self, server: OpcUaServer | None = None) -> None:
        """The fault is over: poll until all values are good, with the plant running on."""
        loop = asyncio.get_running_loop()
        start_s = loop.time()
        while loop.time() - start_s < PATIENCE_S:
            if server is not None:
                await self.show(server)
            readings = await self.poll(1, fault=False)
            if all(r.quality is GOOD and self._vouched(i, r) for i, r in enumerate(readings)):
                self.outcome.back_s = loop.time() - start_s
                return

    def _vouched(self, i: int, reading: Reading) -> bool:
        now_s = asyncio.get_running_loop().time()
        recent = [truth for until_s, truth in self._before if now_s - until_s <= self.late_s]
        return any(
            is_number(reading.value)
            and math.isclose(reading.value, truth[i][0], rel_tol=1e-6)
            and reading.quality >= truth[i][1]
            for truth in (self.truth, *recent)
        )


NO_VALUE = (math.nan, BAD)
ALL_BAD = (NO_VALUE, NO_VALUE, NO_VALUE)
REST = ((20.0, GOOD), (30.0, GOOD))
NEW = ((11.0, GOOD), (21.0, GOOD), (31.0, GOOD))


async def settle(seconds: float) -> None:
    done = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(seconds, done.set_result, None)
    await done


async def _status(world: World, code: int, age_s: float, quality: Quality) -> None:
    server = await world.plc()
    await world.client(_port(server))
    await world.poll(2, fault=False)
    await world.becomes((10.0, quality), *REST)
    server.status[0] = NodeStatus(code, age_s)
    for _ in range(5):
        await world.show(server)
        await world.poll(1)
    server.status[0] = NodeStatus()
    await world.becomes((10.0, GOOD), *REST)
    await world.recover(server)


def _port(server: OpcUaServer) -> int:
    return int(server.link.url.rpartition(":")[2].partition("/")[0])


async def bad_status(world: World) -> None:
    await _status(world, 0x808B0000, 0.0, BAD)


async def uncertain_status(world: World) -> None:
    await _status(world, 0x40930000, 0.0, UNCERTAIN)


async def stale_source(world: World) -> None:
    await _status(world, 0, 3600.0, BAD)


async def not_a_number(world: World) -> None:
    server = await world.plc()
    await world.client(_port(server))
    await world.becomes(NO_VALUE, *REST)
    await world.show(server)
    await world.poll()
    await world.becomes(*NEW)
    await world.recover(server)


async def many_nodes(world: World) -> None:
    names = [f"T{i}" for i in range(25)]
    world.truth = [(float(i), GOOD) for i in range(25)]
    server = await world.plc(names)
    world.stack.enter_context(small_reads(10))
    await world.client(_port(server), names)
    await world.poll(3)
    await world.recover(server)


async def unknown_node(world: World) -> None:
    await world.client(_port(await world.plc()), ("gone", "B", "C"))
    await world.becomes(NO_VALUE, *REST)
    await world.poll()


async def wrong_type(world: World) -> None:
    port = world.free_port()
    values = {"A": "10", "B": 20.0, "C": 30.0}
    server = await secured_server(port, None, values)
    await world.stack.enter_async_context(server)
    await world.client(port)
    await world.becomes(NO_VALUE, *REST)
    await world.poll()


async def restart(world: World) -> None:
    server = await world.plc()
    await world.client(_port(server))
    await world.poll(2, fault=False)
    await server.stop()
    await world.becomes(*ALL_BAD)
    await world.poll(10)
    await world.becomes(*NEW)
    await server.start()
    await world.recover(server)


async def namespace_moved(world: World) -> None:
    """A download to the PLC put another namespace in front; its nodes have the same names."""
    port = world.free_port()
    server = await secured_server(port, None, {"A": 10.0, "B": 20.0, "C": 30.0})
    async with server:
        await world.client(port)
        await world.poll(2, fault=False)
    await world.becomes(*ALL_BAD)
    await world.poll(2)
    other = await secured_server(port, None, {})
    await other.get_node(ua.ObjectIds.Server_NamespaceArray).write_value(
        ["http://opcfoundation.org/UA/", "urn:test:server", "urn:test:other", NAMESPACE]
    )
    for index, values in ((2, (666.0, 667.0, 668.0)), (3, (11.0, 21.0, 31.0))):
        await add_nodes(other, index, dict(zip(NAMES, values)))
    await world.becomes(*NEW)
    await world.stack.enter_async_context(other)
    await world.recover()


async def stall(world: World) -> None:
    server = await world.plc()
    relay = await world.stack.enter_async_context(Relay(world.free_port(), _port(server)))
    await world.client(relay.port)
    await world.poll(2, fault=False)
    relay.flowing.clear()
    await world.becomes(*ALL_BAD)
    asyncio.get_running_loop().call_later(60.0, relay.flowing.set)
    start_s = asyncio.get_running_loop().time()
    while asyncio.get_running_loop().time() < start_s + 55.0:
        await world.poll(1)
    await settle(max(0.0, start_s + 60.0 - asyncio.get_running_loop().time()))
    await world.becomes(*NEW)
    await world.recover(server)


async def _subscribed(world: World) -> tuple[OpcUaServer, Any]:
    world.late_s = CHECK_S + 1.0
    server = await world.plc()
    await world.client(_port(server), subscription=True)
    await world.poll(5, fault=False)
    return server, server._running_server().iserver.subscription_service


async def _changes(world: World, server: OpcUaServer) -> None:
    await world.becomes(*NEW)
    for _ in range(15):
        await world.show(server)
        await world.poll(1)
    await world.recover(server)


async def lost_subscription(world: World) -> None:
    server, service = await _subscribed(world)
    await service.delete_subscriptions(list(service.subscriptions))
    await _changes(world, server)


async def lost_items(world: World) -> None:
    server, service = await _subscribed(world)
    for one in service.subscriptions.values():
        one.monitored_item_srv.delete_all_monitored_items()
    await _changes(world, server)


async def _shown(world: World, plc: Pair, *, trusted: bool, **values: float) -> int:
    """A secured server that must not be believed; returns its port."""
    port = world.free_port()
    site = Site(world.folder)
    if trusted:
        site.trust(plc)
    await world.becomes(*ALL_BAD)
    server = await secured_server(port, plc, values or {"A": 10.0, "B": 20.0, "C": 30.0})
    await world.stack.enter_async_context(server)
    await world.client(port, site=site)
    await world.poll()
    return port


async def untrusted(world: World) -> None:
    await _shown(world, pair("stranger"), trusted=False, A=666.0, B=667.0, C=668.0)


async def expired(world: World) -> None:
    await _shown(world, pair(end_days=-1.0), trusted=True)


async def swapped(world: World) -> None:
    """Something else answers at the address of a PLC that was trusted."""
    port, site, plc = world.free_port(), Site(world.folder), pair()
    site.trust(plc)
    async with await secured_server(port, plc, {"A": 10.0, "B": 20.0, "C": 30.0}):
        await world.client(port, site=site)
        await world.poll(2, fault=False)
    await world.becomes(*ALL_BAD)
    values = {"A": 666.0, "B": 667.0, "C": 668.0}
    other = await secured_server(port, pair("stranger"), values)
    await world.stack.enter_async_context(other)
    await settle(5.0)
    await world.poll(20)


@dataclass(frozen=True)
class Fault:
    """One row: what happens, and what tag A must look like while it does."""

    name: str
    what: str
    play: Callable[[World], Awaitable[None]]
    quality: Quality
    reason: Reason
    condition: Condition | None = None
    recovers: bool = True
    """The fault ends, and all values must be back at the end of the play."""


_DOWN, _REFUSED = Condition.LINK_DOWN, Condition.CERTIFICATE_REFUSED
_LOST = Condition.SUBSCRIPTION_LOST

TABLE = (
    Fault("bad status", "a value with status Bad", bad_status, BAD, Reason.STATUS_BAD),
    Fault("uncertain status", "a value with status Uncertain", uncertain_status,
          UNCERTAIN, Reason.STATUS_UNCERTAIN),
    Fault("not a number", "NaN with status Good", not_a_number, BAD, Reason.NOT_A_NUMBER),
    Fault("stale source", "a source time stamp one hour old, status Good", stale_source,
          BAD, Reason.STALE),
    Fault("unknown node", "a node the server does not have", unknown_node,
          BAD, Reason.STATUS_BAD, recovers=False),
    Fault("wrong type", "a text where a number belongs", wrong_type,
          BAD, Reason.BAD_ANSWER, recovers=False),
    Fault("MaxNodesPerRead 10", "Reads of more than 10 nodes are refused; the link has 25",
          many_nodes, GOOD, Reason.NONE),
    Fault("server restart", "down for 10 s, back with new values", restart,
          BAD, Reason.NOT_CONNECTED, _DOWN),
    Fault("namespace moved", "after a restart the index belongs to another namespace",
          namespace_moved, BAD, Reason.NOT_CONNECTED, _DOWN),
    Fault("60 s stall", "the network holds every answer back for 60 s", stall,
          BAD, Reason.TIMEOUT, _DOWN),
    Fault("lost subscription", "the server drops it without a word; reads go on",
          lost_subscription, BAD, Reason.NOT_CONNECTED, _LOST),
    Fault("lost items", "the server stops watching the nodes; keep-alives go on", lost_items,
          BAD, Reason.NOT_CONNECTED, _LOST),
    Fault("untrusted certificate", "a stranger answers at the address", untrusted,
          BAD, Reason.NOT_CONNECTED, _REFUSED, recovers=False),
    Fault("expired certificate", "the trusted certificate ended yesterday", expired,
          BAD, Reason.NOT_CONNECTED, _REFUSED, recovers=False),
    Fault("certificate swap", "a restart brings another certificate, and other values", swapped,
          BAD, Reason.NOT_CONNECTED, _REFUSED, recovers=False),
)  # fmt: skip


async def run(fault: Fault, make: Make, free_port: Port, folder: Path) -> Outcome:
    """Play one row against one client, in virtual time. `folder` is empty, for certificates."""
    with loop_time():
        async with AsyncExitStack() as stack:
            world = World(stack, make, free_port, folder)
            await fault.play(world)
            return world.outcome
