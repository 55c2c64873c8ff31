"""Looks at what the daemon writes and hands it to whoever listens; nobody is waited for.

Each listener has room for one message, the newest: one that is slow misses some, one that has
stalled is let go by its connection (`edge.page.server`). Ages are measured with this process's own
clock from when a file was seen to change, so neither a browser's clock nor a stepped one matters.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edge.page import view
from edge.runtime.clock import Clock
from edge.runtime.status import FILE_NAME

WORDS = "words.json"
"""`edge.runtime.words.FILE_NAME`; that module would bring all of the daemon with it."""
LOOK_S = 0.25
TELL_S = 1.0
"""Listeners hear at least as often, also when there is nothing new but the age."""
MOST_BYTES = 32 << 20
MOST_LISTENERS = 64


class Watched:
    """A JSON file that another process replaces."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self.path, self._clock = path, clock
        self.document: dict[str, Any] | None = None
        """The last one that could be read; it stays when the file goes."""
        self.fault = ""
        """Why the file could not be read."""
        self.there = False
        self._stamp: tuple[int, int] | None = None
        self._changed_s = 0.0

    def look(self, now_s: float) -> bool:
        """Read the file if it was replaced; True if anything is new."""
        try:
            found = self.path.stat()
        except OSError as error:
            was, self.there = self.there, False
            self.fault = "" if isinstance(error, FileNotFoundError) else f"{self.path}: {error}"
            return was
        self.there = True
        stamp = found.st_mtime_ns, found.st_ino
        if stamp == self._stamp:
            return False
        # One that lay there before we came is as old as the file says.
        lain_s = 0.0 if self._stamp else max(0.0, self._clock.wall_s() - found.st_mtime)
        self._stamp, self._changed_s = stamp, now_s - lain_s
        self.fault = self._read(found.st_size)
        return True

    def _read(self, size: int) -> str:
        if size > MOST_BYTES:
            return f"{self.path}: {size} bytes; that is not a status of ours"
        try:
            document = json.loads(self.path.read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            return f"{self.path}: cannot be read: {error}"
        if not isinstance(document, dict):
            return f"{self.path}: expected a JSON object"
        self.document = document
        return ""

    def age_s(self, now_s: float) -> float | None:
        """Since it was written; None when the file is not there."""
        return now_s - self._changed_s if self.there else None


class Listener:
    """One open page."""

    def __init__(self) -> None:
        self._newest = b""
        self._there = asyncio.Event()

    def put(self, message: bytes) -> None:
        """Hand over a message; one that was not taken yet is forgotten."""
        self._newest = message
        self._there.set()

    async def get(self) -> bytes:
        """The newest message, once."""
        await self._there.wait()
        self._there.clear()
        return self._newest


Topic = tuple[str, str]
"""("overview" | "line" | "wires", name of the line)."""


class Feed:
    """The status and the words file, and who wants to hear of them."""

    def __init__(self, runtime_dir: Path, clock: Clock) -> None:
        self._status = Watched(runtime_dir / FILE_NAME, clock)
        self._words = Watched(runtime_dir / WORDS, clock)
        self._listeners: dict[Topic, set[Listener]] = {}
        self._told_s = float("-inf")
        self.closed = asyncio.Event()

    @property
    def listeners(self) -> int:
        """How many pages are open."""
        return sum(map(len, self._listeners.values()))

    @property
    def config_sha256(self) -> str:
        """Of the configuration the daemon runs; "" if it is not known."""
        return str((self._status.document or {}).get("config_sha256", ""))

    def bundle_of(self, line: str) -> str:
        """Directory of the bundle that decides on a line; "" if it is not known."""
        with contextlib.suppress(KeyError, TypeError):
            return str((self._words.document or {})["lines"][line]["model"]["directory"])
        return ""

    async def run(self) -> None:
        """Look and tell until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            self.look(loop.time())
            await asyncio.sleep(LOOK_S)

    def look(self, now_s: float) -> None:
        """Look once; tell if there is news, or nothing was told for `TELL_S`."""
        news = self._status.look(now_s)
        news = self._words.look(now_s) or news
        if not news and now_s - self._told_s < TELL_S:
            return
        self._told_s = now_s
        for topic, listeners in self._listeners.items():
            message = self.message(topic, now_s)
            for listener in listeners:
                listener.put(message)

    def message(self, topic: Topic, now_s: float) -> bytes:
        """What is told of a topic now, as JSON."""
        kind, name = topic
        document = self._status.document
        told: dict[str, Any] = view.age(document, self._status.age_s(now_s))
        told["fault"] = self._status.fault
        try:
            told |= self._view(kind, name, document, now_s)
        except Exception as error:
            # A document of another release may hold anything; the page says so and lives on.
            told["fault"] = (
                f"{self._status.path}: not a status of this release ({type(error).__name__}: "
                f"{error}); restart ncm-edge and ncm-edge-page after an update"
            )
        return json.dumps(told, separators=(",", ":")).encode()

    def _view(
        self, kind: str, name: str, document: dict[str, Any] | None, now_s: float
    ) -> dict[str, Any]:
        if document is None:
            return {}
        out: dict[str, Any] = {
            "written_s": document["written_s"], "version": document["version"],
            "config_sha256": document["config_sha256"],
            "history": document["history"].get("fault", ""),
        }  # fmt: skip
        if kind == "overview":
            return out | {"lines": view.overview(document)}
        sections = [line for line in document["lines"] if line["name"] == name]
        if not sections:
            return out | {"absent": f"the daemon does not run line {name}"}
        age_s = self._words.age_s(now_s)
        known = self._words.document is not None and age_s is not None and age_s <= view.OLD_S
        wire = (self._words.document or {})["lines"].get(name) if known else None
        if kind == "wires":
            return out | {"wires": view.wires(sections[0], wire)}
        return out | {"line": view.line(sections[0], wire, document["uptime_s"])}

    @contextmanager
    def listen(self, topic: Topic) -> Iterator[Listener]:
        """Hear of a topic from now on; the state of now comes at once."""
        listener = Listener()
        listeners = self._listeners.setdefault(topic, set())
        listeners.add(listener)
        listener.put(self.message(topic, asyncio.get_running_loop().time()))
        try:
            yield listener
        finally:
            listeners.discard(listener)
            if not listeners:
                self._listeners.pop(topic, None)
