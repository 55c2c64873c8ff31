"""A real broker (mosquitto) and a real consumer of it, for the tests of the MQTT outlet.

Both live beside the loop: the broker is a process, the consumer a thread. The consumer keeps its
session while the broker restarts, so that it sees everything the broker ever took.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

BINARY = shutil.which("mosquitto", path=os.environ.get("PATH", "") + os.pathsep + "/usr/sbin")
PATIENCE_S = 20.0
needs_broker = pytest.mark.skipif(BINARY is None, reason="needs mosquitto (tests/apt-packages.txt)")

COMMON = """
listener {port} 127.0.0.1
persistence true
persistence_location {place}/
max_queued_messages 0
max_queued_bytes 0
log_dest file {place}/broker.log
log_type all
user root
"""
OPEN = "allow_anonymous true\n"


class Broker:
    """mosquitto on a port; `settings` are lines of its configuration."""

    def __init__(self, place: Path, port: int, settings: str = OPEN) -> None:
        self.place, self.port = place, port
        self.log = place / "broker.log"
        place.mkdir(exist_ok=True)
        self._file = place / "broker.conf"
        self.configure(settings)
        self._process: subprocess.Popen[bytes] | None = None

    def configure(self, settings: str) -> None:
        """Take effect at the next start."""
        text = COMMON.format(place=self.place, port=self.port) + settings
        self._file.write_text(text, encoding="utf-8")

    def start(self) -> Broker:
        """Returns when it listens."""
        assert BINARY is not None
        self.log.touch()
        before = self.said().count(" running")
        self._process = subprocess.Popen([BINARY, "-c", str(self._file)])
        # With --pid the reading ends with the broker: one that cannot start is no endless wait.
        follow = ["tail", "-n", "+1", f"--pid={self._process.pid}", "-f", str(self.log)]
        with subprocess.Popen(follow, stdout=subprocess.PIPE, text=True) as tail:
            assert tail.stdout is not None
            runs = 0
            while runs <= before:
                line = tail.stdout.readline()
                assert line, f"the broker does not start: {self.said()[-1000:]}"
                runs += " running" in line
            tail.kill()
        return self

    def stop(self) -> None:
        """End it; it keeps what it has taken."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            process.wait(PATIENCE_S)

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def packets_from(self, client: str) -> set[str]:
        """Kinds of MQTT packets this client has ever sent, as the broker names them."""
        found = {
            line.split("Received ")[1].split()[0]
            for line in self.said().splitlines()
            if "Received " in line and f"from {client}" in line
        }
        return found | ({"CONNECT"} if f"as {client} " in self.said() else set())

    def packets_to(self, client: str) -> set[str]:
        return {
            line.split("Sending ")[1].split()[0]
            for line in self.said().splitlines()
            if "Sending " in line and f"to {client}" in line
        }

    def __enter__(self) -> Broker:
        return self.start()

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.stop()


@dataclass(frozen=True)
class Heard:
    """One message as the consumer got it."""

    topic: str
    body: dict[str, Any]
    retained: bool


class Consumer:
    """A plant's historian: subscribes to everything and never misses what the broker has taken."""

    def __init__(
        self, port: int, name: str = "historian", prepare: Callable[[paho.Client], object] = id
    ) -> None:
        """The historian follows the stream; anybody else gets what is retained first."""
        retain = SubscribeOptions.RETAIN_DO_NOT_SEND if name == "historian" else 0
        self.heard: list[Heard] = []
        self._had = set[tuple[str, bytes]]()
        self._fresh = threading.Condition()
        self._subscribed = threading.Event()
        self.client = paho.Client(CallbackAPIVersion.VERSION2, name, protocol=paho.MQTTv5)
        self.client.reconnect_delay_set(1, 1)
        self.client.on_connect = lambda *_: self.client.subscribe(
            "#", options=SubscribeOptions(1, retainHandling=retain)
        )
        self.client.on_subscribe = lambda *_: self._subscribed.set()
        self.client.on_message = self._on_message
        prepare(self.client)
        lasting = Properties(PacketTypes.CONNECT)
        lasting.SessionExpiryInterval = 3600
        self.client.connect("127.0.0.1", port, clean_start=False, properties=lasting)

    def _on_message(self, _client: object, _data: object, message: paho.MQTTMessage) -> None:
        sent = (message.topic, bytes(message.payload))
        if message.dup and sent in self._had:
            return  # the broker's own repetition; marked so also where the first never came
        self._had.add(sent)
        body = json.loads(message.payload)
        with self._fresh:
            self.heard.append(Heard(message.topic, body, message.retain))
            self._fresh.notify_all()

    def wait(self, true: Callable[[list[Heard]], object]) -> None:
        """Until what was heard makes it true; fails after `PATIENCE_S`."""
        with self._fresh:
            came = self._fresh.wait_for(lambda: true(self.heard), PATIENCE_S)
        assert came, f"heard {len(self.heard)} messages, last {self.heard[-1:]}"

    def on(self, end: str) -> list[dict[str, Any]]:
        """Bodies of the messages on topics that end so, in order."""
        return [m.body for m in self.heard.copy() if m.topic.endswith(end)]

    def __enter__(self) -> Consumer:
        self.client.loop_start()
        if not self._subscribed.wait(PATIENCE_S):
            self.close()
            pytest.fail("the consumer cannot subscribe")
        return self

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()
        self.client._reset_sockets()  # else left to the garbage collector, which warns

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()
