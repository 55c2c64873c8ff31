"""OPC UA: one batched Read per poll, block W as one UInt16[] value.

Traps of asyncua 2.1 that shape this file:

- `Client.connect()` starts a supervisor, a watchdog and a stale-subscription task. Here `run` is
  the one owner of the connection: it opens channel and session with the public calls `connect` is
  made of, renews the channel itself, and on any doubt throws the Client away for a new one.
- `read_values` hides the status of a node and `write_value` guesses type and time stamps; `read`
  and `write_attributes` are used instead, with every status checked.
- A request during an outage may hang: each one runs under `asyncio.timeout`.
- Namespace indices differ between servers and restarts: resolved by URI at each connect.

Security policy None only, so far: see `opcua_session`, the one place where a Client is made.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import numpy as np
from asyncua import ua
from asyncua.client.client import Client
from asyncua.client.ua_client import UaClientState
from asyncua.ua.uaerrors import UaStatusCodeError

from edge.config.types import OpcUaLink, OpcUaSource, TagRow, WordBlock
from edge.core.tags import Quality, Reason
from edge.drivers.base import LinkCounters, LinkError, Sample, check_write
from edge.drivers.opcua_answers import TOO_LARGE, Answers, describe, read_request
from edge.drivers.opcua_session import (
    close_session,
    new_client,
    open_session,
    renew_after_s,
    renew_channel,
)

_log = logging.getLogger(__name__)

BACKOFF_S = (0.1, 2.0)
"""First and longest pause before another connection attempt; jitter takes up to half of it."""
TIMEOUTS_TO_DROP = 3
"""Time-outs in a row after which the connection is given up."""


class OpcUaDriver:
    """One OPC UA link. See `edge.drivers.base.Driver`."""

    def __init__(
        self,
        link: OpcUaLink,
        rows: Sequence[TagRow],
        blocks: Mapping[str, WordBlock],
        *,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`jitter` gives 0..1. Raises ValueError when the link cannot serve a row or block."""
        self.name = link.name
        self.counters = LinkCounters()
        self._link = link
        self._timeout_s = link.timeout_ms / 1000
        self._sources = tuple(_source(link, row) for row in rows)
        self._names = tuple(row.tag.name for row in rows)
        self._scale = np.array([s.scale for s in self._sources])
        self._offset = np.array([s.offset for s in self._sources])
        self._blocks = dict(blocks)
        for name, block in self._blocks.items():
            if block.node is None or block.count < 1:
                raise ValueError(
                    f'link "{self.name}": block {name} with node {block.node!r} and {block.count} '
                    "words; permitted: a node of type UInt16[] and at least 1 word"
                )
            _check_node(f'link "{self.name}": block {name}', block.node)
        self._jitter = jitter
        self._client: Client | None = None
        self._turn = asyncio.Lock()  # fair: a write waits for one request, never for a poll
        self._namespace = 0
        self._reads: tuple[ua.ReadParameters, ...] = ()
        self._chunk = link.max_nodes_per_read
        self._timeouts_in_a_row = 0
        self._why = ""
        self._said: str | None = None

    # --- the connection ---

    async def run(self) -> None:
        """Own the link until cancelled: connect, reconnect with jittered back-off, for ever."""
        pause_s = BACKOFF_S[0]
        while True:
            client = new_client(self._link)
            try:
                async with client.subscribe_state() as states:
                    why = await self._open(client)
                    if not why:
                        pause_s = BACKOFF_S[0]
                        why = await self._stay(client, states.wait_for_state)
                        self.counters.lost += 1
            finally:
                self._client = None
                self.counters.connected = False
                await close_session(client, self._timeout_s)
            self._say(f"{self._link.url}: {why}")
            await asyncio.sleep(pause_s * (1 - 0.5 * self._jitter()))
            pause_s = min(2 * pause_s, BACKOFF_S[1])

    async def _open(self, client: Client) -> str:
        """Open the session and resolve every node; "" or what went wrong."""
        try:
            self._namespace, limit = await open_session(client, self._link)
        except Exception as exc:  # asyncua raises anything, down to a bare AssertionError
            return describe(exc)
        self._chunk = min(self._link.max_nodes_per_read, limit)
        self._plan_reads()
        self._why, self._timeouts_in_a_row = "", 0
        self._client = client
        self.counters.connected = True
        self.counters.connects += 1
        self._say("")
        return ""

    async def _stay(
        self, client: Client, wait_for_state: Callable[[UaClientState], Awaitable[None]]
    ) -> str:
        """Keep the open channel alive until the connection is lost; returns why."""
        while True:
            try:
                async with asyncio.timeout(renew_after_s(client)):
                    await wait_for_state(UaClientState.DISCONNECTED)
            except TimeoutError:
                try:
                    async with self._turn, asyncio.timeout(self._timeout_s):
                        await renew_channel(client)
                except Exception as exc:
                    return f"the secure channel could not be renewed: {describe(exc)}"
            else:
                return self._why or "the server closed the connection"

    def _say(self, error: str) -> None:
        """Log a change of state once, not its repeats; "" is the state connected."""
        self.counters.last_error = error or self.counters.last_error
        if error == self._said:
            return
        self._said = error
        if error:
            _log.warning("link %s: %s", self.name, error)
        else:
            _log.info("link %s: connected", self.name)

    def _plan_reads(self) -> None:
        nodes = [self._node(s.node) for s in self._sources]
        self._reads = tuple(
            read_request(nodes[i : i + self._chunk]) for i in range(0, len(nodes), self._chunk)
        )

    def _node(self, identifier: str) -> ua.NodeId:
        return ua.NodeId.from_string(f"ns={self._namespace};{identifier}")

    @asynccontextmanager
    async def _request(self, only: Client | None = None) -> AsyncIterator[Client]:
        """The open client, for one request bounded by the link's time-out. Raises _Failed.

        `only`: fail when the connection is no longer this one. Node ids hold a namespace index
        that may mean another namespace after a reconnect.
        """
        async with self._turn:
            client = self._client
            if client is None or (only is not None and client is not only):
                raise _Failed(Reason.NOT_CONNECTED, "not connected")
            try:
                async with asyncio.timeout(self._timeout_s):
                    yield client
            except Exception as exc:
                raise self._failed(client, exc) from exc
            self.counters.ok += 1
            self._timeouts_in_a_row = 0

    def _failed(self, client: Client, exc: Exception) -> _Failed:
        """Count one failed request and drop the connection where it can no longer be trusted."""
        counters = self.counters
        text = describe(exc)
        if isinstance(exc, _Failed):
            return exc
        if isinstance(exc, TimeoutError):
            # Request ids tell a late answer apart, so one slow answer does not cost the session.
            text = f"no answer in {self._link.timeout_ms} ms"
            counters.timeouts += 1
            self._timeouts_in_a_row += 1
            if self._timeouts_in_a_row >= TIMEOUTS_TO_DROP:
                self._drop(client, f"{TIMEOUTS_TO_DROP} requests in a row without an answer")
            reason = Reason.TIMEOUT
        elif isinstance(exc, UaStatusCodeError):
            counters.exceptions += 1
            if exc.code not in TOO_LARGE:
                self._drop(client, text)
            reason = Reason.EXCEPTION
        elif isinstance(exc, OSError):
            self._drop(client, text)
            reason = Reason.NOT_CONNECTED
        else:
            counters.bad_answers += 1
            self._drop(client, text)
            reason = Reason.BAD_ANSWER
        counters.last_error = text
        return _Failed(reason, text, getattr(exc, "code", 0))

    def _drop(self, client: Client, why: str) -> None:
        self._why = why
        self._client = None
        client.disconnect_socket()

    # --- the Driver protocol ---

    async def read(self) -> Sample:
        """Poll every node once, chunk by chunk; each Read bounded by the time-out; never raises."""
        loop = asyncio.get_running_loop()
        start_s = loop.time()
        n = len(self._sources)
        out = Answers(n)
        at = 0
        connection = self._client
        for params in self._reads if connection is not None else ():
            count = len(params.NodesToRead)
            try:
                async with self._request(connection) as client:
                    answers = await client.uaclient.read(params)
                    if len(answers) != count:
                        raise ValueError(f"{len(answers)} values, asked for {count}")
                for i, answer in enumerate(answers, at):
                    out.put(i, answer)
            except _Failed as exc:
                out.reason[at : at + count] = exc.reason
                if exc.code in TOO_LARGE and count > 1:
                    self._chunk = count // 2
                    self._plan_reads()
                    out.reason[at:] = exc.reason
                    break
                if exc.reason is Reason.TIMEOUT:
                    out.reason[at:] = exc.reason
                    break
            at += count
        values = out.values * self._scale + self._offset
        quality, reason = out.quality, out.reason
        odd = ~np.isfinite(values) & (quality != Quality.BAD)
        reason[odd], quality[odd] = Reason.NOT_A_NUMBER, Quality.BAD
        values[quality == Quality.BAD] = np.nan
        if self.counters.connected:
            self.counters.rtt_ms = (loop.time() - start_s) * 1000
            self.counters.bad_addresses[:] = [
                f"{self._sources[i].node} ({self._names[i]})" for i in out.unknown
            ]
        return Sample(
            values=values,
            quality=quality,
            reason=reason,
            source_s=out.source_s,
            start_s=start_s,
            end_s=loop.time(),
        )

    async def read_words(self, block: str) -> tuple[int, ...]:
        """Read block "R" or "W": raw words. Raises LinkError."""
        where = self._blocks.get(block)
        if where is None or where.node is None:
            raise LinkError(f'link "{self.name}": no block {block} is configured here')
        try:
            async with self._request() as client:
                params = read_request([self._node(where.node)])
                (answer,) = await client.uaclient.read(params)
        except _Failed as exc:
            raise LinkError(f"{self._at(block, where)}: {exc}") from exc
        status, value = answer.StatusCode or ua.StatusCode(), answer.Value
        if not status.is_good():
            raise LinkError(f"{self._at(block, where)}: status {status.name}")
        words = value.Value if value and value.VariantType is ua.VariantType.UInt16 else None
        if not isinstance(words, list) or len(words) != where.count:
            self.counters.bad_answers += 1
            raise LinkError(f"{self._at(block, where)}: the node holds no UInt16[{where.count}]")
        return tuple(int(w) for w in words)

    async def write_words(self, block: str, words: Sequence[int]) -> None:
        """Write block "W" as one UInt16[] value without time stamps, in one request, once.

        Raises WriteRefused before anything is sent when the block is not on the write list or the
        words do not fit it, and LinkError when the write failed or its outcome is unknown.
        """
        where = check_write(self.name, self._blocks, block, words)
        value = ua.DataValue(ua.Variant(list(words), ua.VariantType.UInt16), StatusCode=None)
        try:
            async with self._request() as client:
                node = self._node(where.node or "")
                (status,) = await client.uaclient.write_attributes([node], [value])
        except _Failed as exc:
            raise LinkError(f"{self._at(block, where)}: {exc}") from exc
        if not status.is_good():
            self.counters.exceptions += 1
            raise LinkError(f"{self._at(block, where)}: write answered with status {status.name}")

    def raw_words(self, index: int) -> tuple[int, ...]:
        """OPC UA has no registers: always empty."""
        return ()

    def _at(self, name: str, block: WordBlock) -> str:
        return f'link "{self.name}": block {name} at node {block.node}'


class _Failed(Exception):  # noqa: N818 - private, caught in this file
    """One request failed: what its tags become, and the server's status code where it sent one."""

    def __init__(self, reason: Reason, text: str, code: int = 0) -> None:
        super().__init__(text)
        self.reason = reason
        self.code = code


def _source(link: OpcUaLink, row: TagRow) -> OpcUaSource:
    if not isinstance(row.source, OpcUaSource):
        raise ValueError(
            f'tag "{row.tag.name}": not an OPC UA source, but on OPC UA link "{link.name}"; '
            "give it a node"
        )
    _check_node(f'tag "{row.tag.name}"', row.source.node)
    return row.source


def _check_node(where: str, node: str) -> None:
    try:
        if node[:2] not in ("s=", "i=", "g=", "b="):
            raise ValueError(node)
        ua.NodeId.from_string(f"ns=1;{node}")
    except Exception as exc:
        raise ValueError(
            f'{where}: node "{node}"; permitted: an identifier such as "s=TIC-106.PV" or "i=2001", '
            "without ns="
        ) from exc
