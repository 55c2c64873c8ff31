"""The composition root: configuration in, one TaskGroup out. The whole machine on one screen.

Appliance ─┬─ line ── drivers ── poll ── ring ── features ── engine ── core ── block W
           ├─ line ── ...
           ├─ history: one worker thread
           ├─ updates: the verified slot, a trial for a new one
           ├─ status file, once a second; words file, every two
           ├─ MQTT: rows, words and events to a broker, where one is configured
           ├─ reload, when asked: a new configuration beside the old one, then instead of it
           └─ service manager: ready, watchdog, status text
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from typing import Any

from edge import __version__
from edge.config.types import Appliance, Line
from edge.core.conditions import Condition
from edge.runtime import assemble, report
from edge.runtime.clock import DAY_S, Clock
from edge.runtime.line import LineRunner
from edge.runtime.mqtt.outlet import Outlet
from edge.runtime.notify import Notifier
from edge.runtime.reload import Reloaded, ReloadRefused, reload
from edge.runtime.ringfile import RingFile
from edge.runtime.status import StatusFile
from edge.runtime.store.store import Store
from edge.runtime.takeup import TakeUp
from edge.runtime.words import WordsFile

log = logging.getLogger("ncm-edge")

SILENT_S = 10.0
"""A line without a completed cycle for this long starves the service watchdog."""
CATCH_UP = 100
"""Records that may wait for the disk while more come from a ring."""


class App:
    """Every line of the appliance, from its files and links to its place in the status file."""

    def __init__(
        self,
        appliance: Appliance,
        *,
        clock: Clock,
        notifier: Notifier,
        load: Callable[[], Appliance] | None = None,
    ) -> None:
        """Open rings, load models, build drivers. Nothing is connected yet.

        `load` finds the configuration again for a reload; without it there is none to be had.
        Raises RingBusy if another daemon already serves one of the lines.
        """
        self.appliance = appliance
        self._clock, self._notifier, self._load = clock, notifier, load
        self._status = StatusFile(appliance.runtime_dir, appliance.metrics_file)
        self._status_fault = ""
        self._words = WordsFile(appliance.runtime_dir, clock)
        self._ready, self._reload_asked = asyncio.Event(), asyncio.Event()
        self._reload: dict[str, object] = {"outcome": "none", "text": ""}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        history = appliance.history
        self.store = Store(
            history.directory, clock, max_bytes=history.max_mb * 10**6,
            max_age_s=history.max_age_days * DAY_S,
        )  # fmt: skip
        self._updates = TakeUp(appliance, clock)
        self._mqtt = Outlet(appliance, clock, self.store, lambda: self.lines)
        # First, and all: a second daemon ends here, before its start counts against a release.
        rings = [assemble.ring_of(appliance, line) for line in appliance.lines]
        self.lines = [self._line(line, ring) for line, ring in zip(appliance.lines, rings)]

    async def run(self) -> None:
        """Serve until cancelled; leaves no task, no open file and no status file behind."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for k, line in enumerate(self.lines):
                    # Many lines share the second instead of all beginning at once.
                    self._start(line, tasks, after_s=line.line.row_s * k / len(self.lines))
                tasks.create_task(self.store.run(self._about()), name="history")
                tasks.create_task(self._fill_history(), name="history from rings")
                tasks.create_task(self._attend(), name="attend")
                tasks.create_task(self._words.run(lambda: self.lines), name="words")
                tasks.create_task(self._updates.run(lambda: self.lines), name="updates")
                tasks.create_task(self._mqtt.run(), name="mqtt")
                if self._load is not None:
                    tasks.create_task(self._reloads(self._load, tasks), name="reloads")
        finally:
            self._notifier.stopping()
            for line in self.lines:
                line.recorder.flush()
                line.ring.close()
            self.store.close()
            self._status.remove()
            self._words.remove()

    def _about(self) -> dict[str, Any]:
        """What the log says of this start."""
        return {
            "appliance": self.appliance.name,
            "version": __version__,
            "config_sha256": self.appliance.config_sha256,
            "models": {line.line.name: line.recorder.model for line in self.lines},
        }

    async def _fill_history(self) -> None:
        """Once the history is open: give it what only the rings kept."""
        await self.store.opened.wait()
        for line in self.lines:
            rows, minutes = 0, line.recorder.take_up(line.ring.ring, line.core)
            try:
                for taken in minutes:
                    rows += taken
                    # Most of a ring would fall out of the queue if it were put at once.
                    await self.store.eased(CATCH_UP)
            except Exception:
                # What only the ring kept is worth less than the line itself.
                log.exception("line %s: the history lacks what the ring holds", line.line.name)
            finally:
                # A stop in between: the last write takes what the queue holds.
                rows += sum(minutes)
            if rows:
                log.info("line %s: %d rows from the ring into the history", line.line.name, rows)

    def ask_reload(self) -> None:
        """Take the configuration anew as soon as possible; asking again meanwhile is one more."""
        self._reload_asked.set()

    def _start(self, line: LineRunner, tasks: asyncio.TaskGroup, after_s: float = 0.0) -> None:
        async def run() -> None:
            await asyncio.sleep(after_s)
            await line.run()

        self._tasks[line.line.name] = tasks.create_task(run(), name=f"line {line.line.name}")

    async def _attend(self) -> None:
        """Once a second: status file, service manager, watchdog."""
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        moved: dict[LineRunner, tuple[int, float]] = {}
        while True:
            await asyncio.sleep(1.0)
            now_s = loop.time()
            for line in self.lines:
                if line not in moved or line.cycles != moved[line][0]:
                    moved[line] = line.cycles, now_s if line in moved else started_s
            moved = {line: moved[line] for line in self.lines}
            head = report.head(
                self.appliance, version=__version__, uptime_s=now_s - started_s,
                written_s=self._clock.wall_s(), history=self.store.section(),
            )  # fmt: skip
            head |= {"pid": os.getpid(), "reload": self._reload, "mqtt": self._mqtt.section()}
            self._mqtt.tell()
            self._note(await self._status.write(head, map(report.line_section, (*self.lines,))))
            if not self._ready.is_set() and all(line.cycles for line in self.lines):
                self._ready.set()
                self._notifier.ready(report.headline(self.lines))
            if self._ready.is_set() and all(now_s - s <= SILENT_S for _, s in moved.values()):
                self._notifier.watchdog()
                self._notifier.status(report.headline(self.lines))

    async def _reloads(self, load: Callable[[], Appliance], tasks: asyncio.TaskGroup) -> None:
        """One reload after the other, whenever somebody asks."""
        await self._ready.wait()
        while True:
            await self._reload_asked.wait()
            self._reload_asked.clear()
            started_s = self._clock.wall_s()
            self._notifier.reloading()
            await self._updates.hold(self.lines)
            try:
                found = await reload(
                    self.appliance, self.lines, load, self._clock, self.store, self._updates.bundle
                )
            except ReloadRefused as refused:
                outcome, text = "refused", str(refused)
                log.error("reload refused, the old configuration goes on: %s", text)
            else:
                outcome, text = "accepted", found.text
                await self._take(found, tasks)
                log.info("reload: %s", text)
            self._updates.go_on(self.appliance, self.lines)
            self._reload = {"outcome": outcome, "text": text, "started_s": started_s}
            self._notifier.ready(f"reload {outcome}: {text}")

    async def _take(self, found: Reloaded, tasks: asyncio.TaskGroup) -> None:
        """Start the lines that came, stop those that are gone."""
        gone = [line for line in self.lines if line not in found.lines]
        self.appliance, self.lines = found.appliance, list(found.lines)
        for line in self.lines:
            if line.line.name not in self._tasks:
                self._start(line, tasks)
        self._mqtt.adopt(found.appliance)
        for line in gone:
            task = self._tasks.pop(line.line.name)
            task.cancel()
            await asyncio.wait([task])
            line.recorder.flush()
            line.ring.close()

    def _note(self, fault: str) -> None:
        if fault != self._status_fault:
            log.log(logging.ERROR if fault else logging.INFO, "status file: %s", fault or "well")
            self._status_fault = fault

    def _line(self, line: Line, ring: RingFile) -> LineRunner:
        chosen = self._updates.choose(line)
        bundle = assemble.bundle_of(line, chosen.bundle)
        engine, refused = assemble.build_engine(bundle, self.appliance.provider)
        before = None if refused is None else self._updates.unfit(line, chosen, refused[1])
        if before is not None:
            chosen = before
            bundle = assemble.bundle_of(line, chosen.bundle)
            engine, refused = assemble.build_engine(bundle, self.appliance.provider)
        runner = assemble.build_runner(
            self.appliance, line, ring, engine, refused, self._clock, self.store
        )
        if chosen.fault:
            log.error("line %s: runs %s: %s", line.name, chosen.release, chosen.fault)
            runner.stand(Condition.UPDATE_FAILED, chosen.fault)
        self._updates.started(runner)
        return runner
