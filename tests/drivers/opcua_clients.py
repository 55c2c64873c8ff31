"""Two clients under the same faults: our driver, and asyncua as its examples use it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, NamedTuple, Protocol

import numpy as np
from asyncua import ua
from asyncua.client.client import Client
from asyncua.common import subscription
from asyncua.crypto import security_policies
from asyncua.server import internal_session, internal_subscription, uaprocessor

from edge.config.types import OpcUaLink, OpcUaSource, TagRow
from edge.core.conditions import Condition
from edge.core.quality import Judge
from edge.core.tags import Quality, Reason, Tag
from edge.drivers.opcua import OpcUaDriver
from edge.runtime.clock import Clock
from tests.drivers.pki import Site


class Reading(NamedTuple):
    """What a client says about one tag."""

    value: Any
    """None: it says that there is no value."""
    quality: Quality
    reason: Reason = Reason.NONE


NOTHING = Reading(None, Quality.BAD)


class Subject(Protocol):
    """A client under test."""

    async def start(self) -> None: ...

    async def poll(self) -> list[Reading]: ...

    def conditions(self) -> set[Condition]: ...

    async def stop(self) -> None: ...


class Ours:
    """`OpcUaDriver` with the judge behind it, as the daemon has them."""

    name = "ours"

    def __init__(
        self, port: int, names: Sequence[str], namespace: str, clock: Clock, *,
        subscription: bool = False, site: Site | None = None, **security: Any,
    ) -> None:  # fmt: skip
        link: dict[str, Any] = {} if site is None else {"security": site.security(**security)}
        rows = tuple(_row(name) for name in names)
        self._clock = clock
        self.driver = OpcUaDriver(
            OpcUaLink(
                name="plc", url=f"opc.tcp://127.0.0.1:{port}/plc", namespace=namespace,
                mode="subscription" if subscription else "read", **link,
            ),
            rows, {}, clock=clock, jitter=lambda: 0.0,
        )  # fmt: skip
        self._judge = Judge([row.tag for row in rows])

    async def start(self) -> None:
        self._owner = asyncio.create_task(self.driver.run())

    async def poll(self) -> list[Reading]:
        sample = await self.driver.read()
        values, quality, reason = self._judge.judge(
            sample.values, sample.quality, sample.reason, sample.source_s,
            wall_s=self._clock.wall_s(), monotonic_s=asyncio.get_running_loop().time(),
        )  # fmt: skip
        return [
            Reading(None if math.isnan(v) else float(v), Quality(int(q)), Reason(int(r)))
            for v, q, r in zip(values, quality, reason)
        ]

    def conditions(self) -> set[Condition]:
        counters = self.driver.counters
        return {*counters.conditions, *(() if counters.connected else (Condition.LINK_DOWN,))}

    async def stop(self) -> None:
        self._owner.cancel()
        await asyncio.gather(self._owner, return_exceptions=True)


def _row(name: str) -> TagRow:
    tag = Tag(name=name, text=name, unit="", low=0, high=1e3, component="C01", part="meter")
    return TagRow(tag=tag, source=OpcUaSource(link="plc", node=f"s={name}"))


class Bare:
    """asyncua as in its documentation: connect with auto_reconnect, `read_values` or a handler.

    What it does not get from those calls (status, time stamp, type) it does not know. A call that
    raises gives no values; a client that never connected is made anew at the next poll.
    """

    name = "bare asyncua"

    def __init__(
        self, port: int, names: Sequence[str], namespace: str, _clock: Clock, *,
        subscription: bool = False, site: Site | None = None, **_security: Any,
    ) -> None:  # fmt: skip
        self._url = f"opc.tcp://127.0.0.1:{port}/plc"
        self._names = names
        self._namespace = namespace
        self._subscribe = subscription
        self._site = site
        self._client: Client | None = None
        self._nodes: list[Any] = []
        self._held: dict[Any, Any] = {}

    async def start(self) -> None:
        client = Client(self._url)
        try:
            if self._site is not None:
                folder = self._site.folder
                client.application_uri = "urn:box:ncm-edge"
                await client.set_security_string(
                    f"Basic256Sha256,SignAndEncrypt,{folder / 'client.der'},{folder / 'client.key'}"
                )
            await client.connect(auto_reconnect=True)
            index = await client.get_namespace_index(self._namespace)
            self._nodes = [client.get_node(f"ns={index};s={name}") for name in self._names]
            if self._subscribe:
                made = await client.create_subscription(500, self)
                await made.subscribe_data_change(self._nodes)
        except Exception:
            await self._disconnect(client)
            return
        self._client = client

    def datachange_notification(self, node: Any, value: Any, _data: Any) -> None:
        self._held[node.nodeid] = value

    async def poll(self) -> list[Reading]:
        if self._client is None:
            await self.start()
        if self._client is None:
            return [NOTHING] * len(self._names)
        if self._subscribe:
            values = [self._held.get(node.nodeid) for node in self._nodes]
        else:
            try:
                values = await self._client.read_values(self._nodes)
            except Exception:
                return [NOTHING] * len(self._names)
        return [NOTHING if v is None else Reading(v, Quality.GOOD) for v in values]

    def conditions(self) -> set[Condition]:
        return set()

    async def stop(self) -> None:
        if self._client is not None:
            await self._disconnect(self._client)

    async def _disconnect(self, client: Client) -> None:
        try:
            await asyncio.wait_for(client.disconnect(), 5.0)
        except Exception:
            client.disconnect_socket()
        publishing = client.uaclient.session._publish_task
        if publishing is not None:
            publishing.cancel()
            await asyncio.gather(publishing, return_exceptions=True)


def _loop_time() -> float:
    return asyncio.get_running_loop().time()


@contextmanager
def loop_time() -> Iterator[None]:
    """asyncua, server and client, takes the loop's time for its time-outs, watchdogs and pacing.

    Without it they would stand still in virtual time, the watchdogs of the bare client with them.
    """
    modules = (
        subscription, security_policies, internal_session, internal_subscription, uaprocessor,
    )  # fmt: skip
    before = [module.time for module in modules]
    for module in modules:
        module.time = SimpleNamespace(monotonic=_loop_time)
    try:
        yield
    finally:
        for module, time in zip(modules, before):
            module.time = time


@contextmanager
def small_reads(most: int) -> Iterator[None]:
    """The Read service of asyncua's server takes at most this many nodes, as S7 and others do."""
    read = internal_session.InternalSession.read

    async def limited(self: Any, params: ua.ReadParameters) -> Any:
        if len(params.NodesToRead) > most:
            raise ua.UaStatusCodeError(ua.StatusCodes.BadTooManyOperations)
        return await read(self, params)

    internal_session.InternalSession.read = limited  # type: ignore[method-assign]
    try:
        yield
    finally:
        internal_session.InternalSession.read = read  # type: ignore[method-assign]


def is_number(value: Any) -> bool:
    """A finite number, and nothing that only looks like one."""
    return isinstance(value, int | float) and bool(np.isfinite(value))
