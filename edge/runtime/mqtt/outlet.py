"""The task that tells the broker: connect, say so, hand over what is owed, and try again.

    .../APPLIANCE/connection      online or offline; the broker itself says the latter (will)
    .../LINE/status, verdict, trim, conditions, tags     the newest, retained, when they change
    .../LINE/row                  every row, in order; the newest is retained
    .../LINE/log, .../APPLIANCE/log                      every event of the history, in order

It reads rings and the status document and is waited for by nobody: a broker that is dead, slow or
talks nonsense costs the lines nothing. It takes nothing from the broker.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import logging
import random
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edge import __version__
from edge.config import topic
from edge.config.check import NO_LIBRARY
from edge.config.types import Appliance, MqttSettings
from edge.runtime import report
from edge.runtime.clock import Clock
from edge.runtime.line import LineRunner
from edge.runtime.mqtt import backlog, messages
from edge.runtime.mqtt.backlog import Handful, LogCursor, RowCursor
from edge.runtime.mqtt.messages import SECTIONS, Message
from edge.runtime.store.store import Store

if TYPE_CHECKING:
    from edge.runtime.mqtt.broker import Broker

log = logging.getLogger("ncm-edge")

TICK_S = 0.25
"""How often new rows are looked for."""
BREATH_S = 0.02
"""Pause between two handfuls while rows wait: the lines come first."""
HANDFUL = 10
KEEP_S = 60.0
"""How often the cursors are written to disk: most of what a kill makes be sent twice."""
STEADY_S = 60.0
"""A connection that held for so long begins the pauses anew."""
RETRY_S, MOST_S = 1.0, 30.0
"""First and longest pause after a failure."""
LOGIN_RETRY_S, LOGIN_MOST_S = 30.0, 300.0
"""The same after a refused login, so that no account is locked."""
FAREWELL_S = 2.0


class Outlet:
    """Owns the connection and the cursors. Built and used on the event loop."""

    def __init__(
        self, appliance: Appliance, clock: Clock, store: Store,
        lines: Callable[[], Sequence[LineRunner]],
    ) -> None:  # fmt: skip
        """Nothing is connected or read yet. `lines`: those that run now."""
        self._appliance, self._clock, self._store, self._lines = appliance, clock, store, lines
        self._cursors = backlog.Cursors(appliance.state_dir / backlog.FILE_NAME)
        self._saved = ""
        self._loaded = False
        self._news = False
        self._told: dict[str, Any] = {}
        """Topic -> what was last handed over, whether it arrived or not."""
        self._due: set[str] = set()
        """Topics told on this connection."""
        self._connected, self._last_error = False, ""
        self._connects = self._sent = self._resent = 0
        self._changed = asyncio.Event()

    # The daemon's side: never waits.

    def tell(self) -> None:
        """A second has passed: there may be new words."""
        self._news = True

    def adopt(self, appliance: Appliance) -> None:
        """Go on with another configuration; a changed [mqtt] means another connection."""
        same = appliance.mqtt == self._appliance.mqtt
        self._appliance = appliance
        if not same:
            self._changed.set()

    def section(self) -> dict[str, Any]:
        """For the status document; empty where no broker is configured."""
        settings = self._appliance.mqtt
        if settings is None:
            return {}
        return {
            "broker": settings.at,
            "connected": self._connected,
            "connects": self._connects,
            "sent": self._sent,
            "resent": self._resent,
            "waiting": self._waiting(settings),
            "dropped": self._cursors.dropped,
            "last_error": self._last_error,
        }

    def _waiting(self, settings: MqttSettings) -> int:
        rows = 0
        if settings.rows:
            for line in self._lines():
                cursor = self._cursors.rows.get(line.line.name)
                rows += 0 if cursor is None else cursor.owed(line.ring.ring)
        events = self._cursors.log
        behind = 0 if events is None else self._store.head.number - events.number
        return rows + max(0, behind)

    async def run(self) -> None:
        """Until cancelled; leaves no task and no connection."""
        while True:
            serving = asyncio.create_task(self._serve_on(), name="mqtt broker")
            try:
                await self._changed.wait()
                self._changed.clear()
            finally:
                serving.cancel()
                await asyncio.wait((serving,))
            self._last_error = ""

    # One configuration.

    async def _serve_on(self) -> None:
        """A fault outside any connection (a library of another release) is told, not silent."""
        while True:
            try:
                await self._serve()
            except Exception as error:
                text = f"a fault of this program, in the journal: {error!r}"
                if text != self._last_error:
                    log.exception("mqtt: a fault of this program")
                self._fault(text)
            else:
                return
            await asyncio.sleep(MOST_S)

    async def _serve(self) -> None:
        settings = self._appliance.mqtt
        if settings is None:
            return
        if importlib.util.find_spec("paho") is None:
            self._fault(f"{NO_LIBRARY}, then systemctl restart ncm-edge")
            return
        if not self._loaded:
            self._cursors = await asyncio.to_thread(backlog.load, self._cursors.path)
            self._loaded = True
        self._begin(settings)
        try:
            await self._keep_trying(settings)
        finally:
            self._connected = False
            await asyncio.to_thread(self._keep, self._cursors.text())

    def _begin(self, settings: MqttSettings) -> None:
        """From when on everything is owed, whether the broker can be reached or not."""
        if self._cursors.log is None and self._store.opened.is_set():
            first = LogCursor(0, "") if self._cursors.unsure else LogCursor.at(self._store.head)
            self._cursors.log = first
        if settings.rows:
            for line in self._lines():
                self._cursors.line(line.line.name, line.ring.ring)

    async def _keep_trying(self, settings: MqttSettings) -> None:
        from edge.runtime.mqtt.broker import BrokerError, connected

        loop = asyncio.get_running_loop()
        failures, login, since_s = 0, False, loop.time()
        while True:
            try:
                async with connected(settings, self._connection(settings, online=False)) as broker:
                    since_s = loop.time()
                    await self._attend(broker, settings)
            except BrokerError as error:
                self._fault(str(error))
                login = error.login
            except Exception as error:
                # Ours, not the broker's; the lines go on without it.
                log.exception("mqtt: a fault of this program")
                self._fault(f"a fault of this program, in the journal: {error!r}")
                login = False
            if self._connected and loop.time() - since_s > STEADY_S:
                failures = 0
            self._connected = False
            first_s, most_s = (LOGIN_RETRY_S, LOGIN_MOST_S) if login else (RETRY_S, MOST_S)
            pause_s = min(most_s, first_s * 2 ** min(failures, 10))
            failures += 1
            # Boxes that lost one broker together must not come back together.
            await self._pause(pause_s * random.uniform(0.5, 1.0), settings)

    async def _pause(self, seconds: float, settings: MqttSettings) -> None:
        """Wait, and count what falls out of the rings meanwhile."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + seconds
        while (left_s := until_s - loop.time()) > 0:
            self._begin(settings)
            await asyncio.sleep(min(left_s, RETRY_S))

    async def _attend(self, broker: Broker, settings: MqttSettings) -> None:
        """One connection, until it fails or the daemon stops."""
        loop = asyncio.get_running_loop()
        await self._publish(broker, [self._connection(settings, online=True)])
        self._connected, self._connects = True, self._connects + 1
        log.info("mqtt: connected to %s, %d wait", settings.at, self._waiting(settings))
        self._last_error = ""
        self._due.clear()
        self._news = True
        self._live_from_here(settings)
        kept_s = loop.time()
        try:
            while True:
                more = await self._sections(broker, settings)
                if settings.rows:
                    for line in self._lines():
                        more |= await self._rows(broker, line)
                more |= await self._events(broker)
                if loop.time() - kept_s >= KEEP_S:
                    kept_s = loop.time()
                    await asyncio.to_thread(self._keep, self._cursors.text())
                await asyncio.sleep(BREATH_S if more else TICK_S)
        except asyncio.CancelledError:
            await self._farewell(broker, settings)
            raise

    async def _farewell(self, broker: Broker, settings: MqttSettings) -> None:
        from edge.runtime.mqtt.broker import BrokerError

        body = {"online": False, "reason": "stopped", "t_s": self._clock.wall_s()}
        leaving = self._message(settings, self._appliance.name, messages.CONNECTION, body)
        try:
            await asyncio.wait_for(broker.publish([leaving]), FAREWELL_S)
        except (TimeoutError, BrokerError) as error:
            log.info("mqtt: no farewell: %s", error)

    def _live_from_here(self, settings: MqttSettings) -> None:
        """What was made before this moment was not sent live."""
        if settings.rows:
            for line in self._lines():
                ring = line.ring.ring
                self._cursors.line(line.line.name, ring).live_from = ring.seq + 1
        if self._cursors.log is not None:
            self._cursors.log.live_from = 0
            if self._store.opened.is_set():
                self._cursors.log.live_from = self._store.head.number + 1

    # What is told. Each returns whether more waits.

    async def _sections(self, broker: Broker, settings: MqttSettings) -> bool:
        """The newest words of each line, where they changed or this connection has not had them."""
        if not self._news:
            return False
        self._news = False
        for runner in self._lines():
            name, words = runner.line.name, report.line_words(runner)
            bodies = {leaf: messages.section(words, leaf) for leaf in SECTIONS}
            bodies["tags"] = {"tags": [
                {"name": x.tag.name, "unit": x.tag.unit, "low": x.tag.low, "high": x.tag.high}
                for x in runner.line.tags
            ]}  # fmt: skip
            fresh = []
            for leaf, body in bodies.items():
                place = self._place(settings, name, leaf)
                if place in self._due and self._told.get(place) == body:
                    continue
                again = self._told.get(place) == body
                self._told[place] = body
                self._due.add(place)
                about = {"line": name, "t_s": self._clock.wall_s(),
                         "simulation": runner.core.setup.simulation, "resent": again}  # fmt: skip
                fresh.append(Message(place, messages.encode(about | body), True, again))
            if fresh:
                await self._publish(broker, fresh)
        return False

    async def _rows(self, broker: Broker, line: LineRunner) -> bool:
        name, ring = line.line.name, line.ring.ring
        cursor = self._cursors.line(name, ring)
        if not cursor.owed(ring):
            return False
        taken = cursor.next(ring, HANDFUL)
        found = [self._row(line, cursor, taken, i, ring.seq) for i in taken.held]
        if found:
            await self._publish(broker, found)
        cursor.took(taken)
        return cursor.owed(ring) > 0

    def _row(
        self, line: LineRunner, cursor: RowCursor, taken: Handful, i: int, newest: int
    ) -> Message:
        settings, seq, first = self._appliance.mqtt, taken.first_seq + i, i == taken.held[0]
        assert settings is not None
        resent = seq < cursor.live_from
        body = {
            "line": line.line.name, "seq": seq, "resent": resent,
            "missed": taken.gap_before(i) + (cursor.missed if first else 0),
            "dropped": cursor.dropped if first else 0,
            "simulation": line.core.setup.simulation,
            **messages.row([x.tag.name for x in line.line.tags], taken.slots, i),
        }  # fmt: skip
        # What is kept at the broker is the newest, also while older rows are on their way.
        return self._message(settings, line.line.name, messages.ROW, body, retain=seq == newest)

    async def _events(self, broker: Broker) -> bool:
        cursor, settings = self._cursors.log, self._appliance.mqtt
        assert settings is not None
        if cursor is None:
            self._begin(settings)  # the history was not open when this connection was made
            return False
        head = self._store.head.number
        if not self._store.opened.is_set() or head == cursor.number:
            return False
        try:
            found, dropped = await asyncio.to_thread(cursor.read, self._store.path, HANDFUL)
        except sqlite3.Error as error:
            log.debug("mqtt: %s: %s", self._store.path, error)  # the history says what is wrong
            return False
        if dropped:
            log.warning("mqtt: %d events are given up before the broker had them", dropped)
            self._cursors.dropped += dropped
        if not found:
            return False
        cursor.live_from = cursor.live_from or head + 1
        simulated = {line.line.name: line.core.setup.simulation for line in self._lines()}
        await self._publish(broker, [
            self._message(settings, line or self._appliance.name, messages.LOG, {
                "line": line, "seq": number, "t_s": t_s, "resent": number < cursor.live_from,
                "kind": kind, "simulation": simulated.get(line, ""), "link": bytes(link).hex(),
                "body": json.loads(body),
            }, retain=False)
            for number, t_s, line, kind, body, link in found
        ])  # fmt: skip
        cursor.took(found[-1][0], found[-1][5])
        return cursor.number < self._store.head.number

    # Messages.

    def _place(self, settings: MqttSettings, name: str, leaf: str) -> str:
        place = topic.fill(
            settings.topic, site=settings.site, area=settings.area, line=name,
            appliance=self._appliance.name,
        )  # fmt: skip
        return f"{place}/{leaf}"

    def _message(
        self, settings: MqttSettings, name: str, leaf: str, body: Mapping[str, Any],
        *, retain: bool = True,
    ) -> Message:  # fmt: skip
        return Message(
            self._place(settings, name, leaf), messages.encode(body), retain,
            bool(body.get("resent")),
        )  # fmt: skip

    def _connection(self, settings: MqttSettings, *, online: bool) -> Message:
        body: dict[str, Any] = {"online": online, "t_s": self._clock.wall_s()}
        if online:
            body |= {
                "version": __version__, "config_sha256": self._appliance.config_sha256,
                "lines": [line.line.name for line in self._lines()],
            }  # fmt: skip
        else:
            # Written now, sent by the broker when this connection is lost.
            body = {"online": False, "reason": "connection lost", "connected_s": body["t_s"]}
        return self._message(settings, self._appliance.name, messages.CONNECTION, body)

    async def _publish(self, broker: Broker, found: Sequence[Message]) -> None:
        await broker.publish(found)
        again = sum(message.resent for message in found)
        self._resent += again
        self._sent += len(found) - again

    # What is said and kept.

    def _fault(self, text: str) -> None:
        if text != self._last_error:
            log.warning("mqtt: %s", text)
        self._last_error = text

    def _keep(self, text: str) -> None:
        """Write the cursors, if they moved. Blocks."""
        if text == self._saved:
            return
        try:
            backlog.save(self._cursors.path, text)
            self._saved = text
        except OSError as error:
            log.warning("mqtt: %s: %s", self._cursors.path, error.strerror)
