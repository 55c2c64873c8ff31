"""The connection of one OPC UA link and its only owner: opened, kept, judged, thrown away.

`run` opens channel and session with the public calls `Client.connect` is made of, renews the
channel itself, and on any doubt discards the Client for a new one; nothing else ever connects.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from asyncua.client.client import Client
from asyncua.client.ua_client import UaClientState
from asyncua.ua.uaerrors import UaStatusCodeError

from edge.config.types import OpcUaLink
from edge.core.conditions import Condition
from edge.core.tags import Reason
from edge.drivers.base import LinkCounters, heed_cancellation
from edge.drivers.opcua_answers import TOO_LARGE, describe
from edge.drivers.opcua_session import (
    Session,
    close_session,
    new_client,
    open_session,
    renew_after_s,
    renew_channel,
)
from edge.drivers.opcua_trust import Refused
from edge.runtime.clock import Clock

_log = logging.getLogger("edge.drivers.opcua")

BACKOFF_S: dict[Condition, tuple[float, float]] = {
    Condition.LINK_DOWN: (0.1, 2.0),
    # Somebody has to act; each attempt costs both sides some RSA operations and a line in a log.
    Condition.CERTIFICATE_REFUSED: (1.0, 30.0),
    # Servers lock accounts after a few wrong passwords in a row.
    Condition.LOGIN_REFUSED: (30.0, 300.0),
}
"""First and longest pause before another attempt, by what went wrong; jitter takes up to half."""
TIMEOUTS_TO_DROP = 3
"""Time-outs in a row after which the connection is given up."""

Prepare = Callable[[Client, Session], Awaitable[None]]


class Failed(Exception):  # noqa: N818 - caught by the driver
    """One request failed: what its tags become, and the server's status code where it sent one."""

    def __init__(self, reason: Reason, text: str, code: int = 0) -> None:
        super().__init__(text)
        self.reason = reason
        self.code = code


class Connection:
    """One connection at a time to the server of one link."""

    def __init__(
        self,
        link: OpcUaLink,
        counters: LinkCounters,
        clock: Clock,
        jitter: Callable[[], float],
        prepare: Prepare,
    ) -> None:
        """`prepare` is awaited with each new client, before anybody else may use it."""
        self.client: Client | None = None
        """The open client, None while there is none."""
        self._link = link
        self._counters = counters
        self._clock = clock
        self._jitter = jitter
        self._prepare = prepare
        self._timeout_s = link.timeout_ms / 1000
        self._turn = asyncio.Lock()  # fair: a write waits for one request, never for a poll
        self._timeouts_in_a_row = 0
        self._dropped = asyncio.Event()
        self._why = ""
        self._said: str | None = None

    async def run(self) -> None:
        """Own the link until cancelled: connect, reconnect with jittered back-off, for ever."""
        pause_s, last = 0.0, Condition.LINK_DOWN
        while True:
            client = new_client(self._link)
            trouble = Condition.LINK_DOWN
            try:
                session, why, trouble = await self._open(client)
                if session is not None:
                    pause_s = 0.0
                    why = await self._stay(client, session)
                    self._counters.lost += 1
            finally:
                self.client = None
                self._counters.connected = False
                await close_session(client, self._timeout_s)
            self._say(f"{self._link.url}: {why}")
            first_s, longest_s = BACKOFF_S[trouble]
            pause_s = first_s if trouble is not last else min(max(2 * pause_s, first_s), longest_s)
            last = trouble
            await asyncio.sleep(pause_s * (1 - 0.5 * self._jitter()))

    async def _open(self, client: Client) -> tuple[Session | None, str, Condition]:
        """Open the session and make it ready: the session, or what went wrong and its kind."""
        conditions = self._counters.conditions
        try:
            session = await open_session(client, self._link, self._clock.wall_s())
            await self._prepare(client, session)
        except Refused as exc:
            conditions.pop(Condition.LOGIN_REFUSED, None)
            conditions.pop(Condition.CERTIFICATE_REFUSED, None)
            conditions[exc.condition] = str(exc)
            return None, str(exc), exc.condition
        except Exception as exc:  # asyncua raises anything, down to a bare AssertionError
            return None, describe(exc), Condition.LINK_DOWN
        for condition in BACKOFF_S:
            conditions.pop(condition, None)
        self._watch_expiry(session)
        self._why, self._timeouts_in_a_row = "", 0
        self._dropped.clear()
        self.client = client
        self._counters.connected = True
        self._counters.connects += 1
        self._say("")
        return session, "", Condition.LINK_DOWN

    async def _stay(self, client: Client, session: Session) -> str:
        """Keep the open channel alive until the connection is lost or given up; returns why."""
        while not await self._left(client, renew_after_s(client)):
            try:
                async with self._turn, asyncio.timeout(self._timeout_s):
                    await renew_channel(client)
            except Exception as exc:
                return f"the secure channel could not be renewed: {describe(exc)}"
            self._watch_expiry(session)
        return self._why or "the server closed the connection"

    async def _left(self, client: Client, wait_s: float) -> bool:
        """Wait until the socket is gone or `drop` was called, `wait_s` at most."""
        async with client.subscribe_state() as states:
            ends = (
                asyncio.ensure_future(states.wait_for_state(UaClientState.DISCONNECTED)),
                asyncio.ensure_future(self._dropped.wait()),
            )
            try:
                await asyncio.wait(ends, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
                return any(end.done() for end in ends)
            finally:
                for end in ends:
                    end.cancel()
                await asyncio.gather(*ends, return_exceptions=True)

    def _watch_expiry(self, session: Session) -> None:
        """At each connect and each renewal of the channel, so a link up for months is watched."""
        self._counters.conditions.pop(Condition.CERTIFICATE_EXPIRES, None)
        ending = session.expiring(self._clock.wall_s())
        if ending:
            self._counters.conditions[Condition.CERTIFICATE_EXPIRES] = ending

    def _say(self, error: str) -> None:
        """Log a change of state once, not its repeats; "" is the state connected."""
        self._counters.last_error = error or self._counters.last_error
        if error == self._said:
            return
        self._said = error
        if error:
            _log.warning("link %s: %s", self._link.name, error)
        else:
            _log.info("link %s: connected", self._link.name)

    @asynccontextmanager
    async def request(self, only: Client | None = None) -> AsyncIterator[Client]:
        """The open client, for one request bounded by the link's time-out. Raises Failed.

        `only`: fail when the connection is no longer this one. Node ids hold a namespace index
        that may mean another namespace after a reconnect.
        """
        async with self._turn:
            client = self.client
            if client is None or (only is not None and client is not only):
                raise Failed(Reason.NOT_CONNECTED, "not connected")
            now_s = asyncio.get_running_loop().time
            sent_s = now_s()
            try:
                async with asyncio.timeout(self._timeout_s):
                    yield client
            except Exception as exc:
                raise self._failed(client, exc) from exc
            finally:
                heed_cancellation()
            self._counters.ok += 1
            self._counters.rtt.add(now_s() - sent_s)
            self._timeouts_in_a_row = 0

    def _failed(self, client: Client, exc: Exception) -> Failed:
        """Count one failed request and drop the connection where it can no longer be trusted."""
        counters = self._counters
        text = describe(exc)
        if isinstance(exc, Failed):
            return exc
        if isinstance(exc, TimeoutError):
            # Request ids tell a late answer apart, so one slow answer does not cost the session.
            text = f"no answer in {self._link.timeout_ms} ms"
            counters.timeouts += 1
            self._timeouts_in_a_row += 1
            if self._timeouts_in_a_row >= TIMEOUTS_TO_DROP:
                self.drop(client, f"{TIMEOUTS_TO_DROP} requests in a row without an answer")
            reason = Reason.TIMEOUT
        elif isinstance(exc, UaStatusCodeError):
            counters.exceptions += 1
            if exc.code not in TOO_LARGE:
                self.drop(client, text)
            reason = Reason.EXCEPTION
        elif isinstance(exc, OSError):
            self.drop(client, text)
            reason = Reason.NOT_CONNECTED
        else:
            counters.bad_answers += 1
            self.drop(client, text)
            reason = Reason.BAD_ANSWER
        counters.last_error = text
        return Failed(reason, text, getattr(exc, "code", 0))

    def drop(self, client: Client, why: str, *, politely: bool = False) -> None:
        """Give this client up; `run` makes a new one.

        `politely`: the channel is well, so the session is closed; servers have few to give away.
        """
        if client is not self.client:
            return
        self._why = why
        self.client = None
        self._counters.connected = False
        self._dropped.set()
        if not politely:
            client.disconnect_socket()
