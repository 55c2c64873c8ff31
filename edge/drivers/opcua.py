"""OPC UA: a batched Read per poll, or a subscription checked by one; block W as a UInt16[] value.

Traps of asyncua 2.1 that shape this file and its neighbours `opcua_*`:

- `Client.connect()` starts a supervisor, a watchdog and a stale-subscription task; a link has one
  owner, `opcua_link.Connection.run`, and security is in `opcua_session`.
- `read_values` hides the status of a node and `write_value` guesses type and time stamps; `read`
  and `write_attributes` are used instead, with every status checked.
- A request during an outage may hang: each one runs under `asyncio.timeout`.
- Namespace indices differ between servers and restarts: resolved by URI at each connect.
- A subscription may die without a sign: `opcua_feed` believes it for seconds only.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from asyncua import ua
from asyncua.client.client import Client

from edge.config.types import OpcUaLink, OpcUaSource, TagRow, WordBlock
from edge.core.conditions import Condition
from edge.core.tags import Quality, Reason
from edge.drivers.base import LinkCounters, LinkError, Sample, check_write
from edge.drivers.opcua_answers import TOO_LARGE, Answers, read_request
from edge.drivers.opcua_feed import Feed
from edge.drivers.opcua_link import Connection, Failed
from edge.drivers.opcua_session import Session
from edge.runtime.clock import Clock, SystemClock


class OpcUaDriver:
    """One OPC UA link. See `edge.drivers.base.Driver`."""

    def __init__(
        self,
        link: OpcUaLink,
        rows: Sequence[TagRow],
        blocks: Mapping[str, WordBlock],
        *,
        clock: Clock | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`clock` (default: the system's) judges certificates; `jitter` gives 0..1.

        Raises ValueError when the link cannot serve a row or block.
        """
        self.name = link.name
        self.counters = LinkCounters()
        self._link = link
        self._sources = tuple(_source(link, row) for row in rows)
        self._names = tuple(row.tag.name for row in rows)
        self._ages_s = tuple(row.tag.max_age_s for row in rows)
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
        self._connection = Connection(
            link, self.counters, clock or SystemClock(), jitter, self._prepare
        )
        self._namespace = 0
        self._groups = {
            name: [i for i, row in enumerate(rows) if row.group == name]
            for name in dict.fromkeys(row.group for row in rows)
        }
        """By poll group: which rows."""
        self._reads: dict[str, tuple[tuple[list[int], ua.ReadParameters], ...]] = {}
        """By poll group: (rows, request) of each Read."""
        self._unknown: set[int] = set()
        self._chunk = link.max_nodes_per_read
        self._feed: Feed | None = None

    async def run(self) -> None:
        """Own the link until cancelled: connect, reconnect with jittered back-off, for ever."""
        await self._connection.run()

    async def _prepare(self, client: Client, session: Session) -> None:
        """Node ids, reads and the subscription of a new connection."""
        self._namespace = session.namespace
        self._chunk = min(self._link.max_nodes_per_read, session.max_nodes)
        self._plan_reads()
        self._feed = None
        if self._link.mode == "subscription":
            now = asyncio.get_running_loop().time
            feed = Feed(len(self._sources), self._link.publishing_ms, self._ages_s, now)
            nodes = [self._node(s.node) for s in self._sources]
            await feed.open(client, nodes, self._chunk, self._link.timeout_ms / 1000)
            self._feed = feed

    def _plan_reads(self) -> None:
        nodes = [self._node(s.node) for s in self._sources]
        self._reads = {
            name: tuple(
                (part, read_request([nodes[i] for i in part]))
                for at in range(0, len(where), self._chunk)
                for part in (where[at : at + self._chunk],)
            )
            for name, where in self._groups.items()
        }

    def _node(self, identifier: str) -> ua.NodeId:
        return ua.NodeId.from_string(f"ns={self._namespace};{identifier}")

    # --- the Driver protocol ---

    async def read(self, group: str | None = None) -> Sample:
        """Every node (of a group) once, as read or reported; each Read bounded by the time-out."""
        loop = asyncio.get_running_loop()
        start_s = loop.time()
        out = await self._answers(group)
        values = out.values * self._scale + self._offset
        quality, reason = out.quality.copy(), out.reason.copy()
        odd = ~np.isfinite(values) & (quality != Quality.BAD)
        reason[odd], quality[odd] = Reason.NOT_A_NUMBER, Quality.BAD
        values[quality == Quality.BAD] = np.nan
        if self.counters.connected:
            self.counters.rtt_ms = (loop.time() - start_s) * 1000
            self._unknown -= {
                i for name, w in self._groups.items() if group in (None, name) for i in w
            }
            self._unknown |= out.unknown
            self.counters.bad_addresses[:] = [
                f"{self._sources[i].node} ({self._names[i]})" for i in sorted(self._unknown)
            ]
        return Sample(
            values=values,
            quality=quality,
            reason=reason,
            source_s=out.source_s.copy(),
            start_s=start_s,
            end_s=loop.time(),
        )

    async def _answers(self, group: str | None) -> Answers:
        client, feed = self._connection.client, self._feed
        if client is None or feed is None:
            return (await self._poll(client, group))[0]
        if not feed.due() and not feed.lost:
            return feed.answers
        if not feed.lost:
            read, complete = await self._poll(client)
            if not complete:
                return read
            feed.check(read)
        if feed.lost:
            self.counters.conditions[Condition.SUBSCRIPTION_LOST] = feed.lost
            self._connection.drop(client, feed.lost, politely=True)
            return Answers(len(self._sources))
        self.counters.conditions.pop(Condition.SUBSCRIPTION_LOST, None)
        return feed.answers

    async def _poll(self, client: Client | None, group: str | None = None) -> tuple[Answers, bool]:
        """Read every node, chunk by chunk: the answers, and whether every chunk was answered."""
        out = Answers(len(self._sources))
        complete = client is not None
        reads = [r for name, rs in self._reads.items() if group in (None, name) for r in rs]
        for at, (where, params) in enumerate(reads if client is not None else ()):
            count = len(where)
            try:
                async with self._connection.request(client) as open_client:
                    answers = await open_client.uaclient.read(params)
                    if len(answers) != count:
                        raise ValueError(f"{len(answers)} values, asked for {count}")
                for i, answer in zip(where, answers, strict=True):
                    out.put(i, answer)
            except Failed as exc:
                complete = False
                out.reason[where] = exc.reason
                smaller = exc.code in TOO_LARGE and count > 1
                if smaller:
                    self._chunk = count // 2
                    self._plan_reads()
                if smaller or exc.reason is Reason.TIMEOUT:
                    for rest, _ in reads[at:]:
                        out.reason[rest] = exc.reason
                    break
        return out, complete

    async def read_words(self, block: str) -> tuple[int, ...]:
        """Read block "R" or "W": raw words. Raises LinkError."""
        where = self._blocks.get(block)
        if where is None or where.node is None:
            raise LinkError(f'link "{self.name}": no block {block} is configured here')
        try:
            async with self._connection.request() as client:
                params = read_request([self._node(where.node)])
                (answer,) = await client.uaclient.read(params)
        except Failed as exc:
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
            async with self._connection.request() as client:
                node = self._node(where.node or "")
                (status,) = await client.uaclient.write_attributes([node], [value])
        except Failed as exc:
            raise LinkError(f"{self._at(block, where)}: {exc}") from exc
        if not status.is_good():
            self.counters.exceptions += 1
            raise LinkError(f"{self._at(block, where)}: write answered with status {status.name}")

    def raw_words(self, index: int) -> tuple[int, ...]:
        """OPC UA has no registers: always empty."""
        return ()

    def _at(self, name: str, block: WordBlock) -> str:
        return f'link "{self.name}": block {name} at node {block.node}'


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
