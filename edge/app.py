"""The composition root: configuration in, one TaskGroup out. The whole machine on one screen.

Appliance ─┬─ line ── drivers ── poll ── ring ── features ── engine ── core ── block W
           ├─ line ── ...
           ├─ history: one worker thread
           ├─ updates: the verified slot, a trial for a new one
           ├─ status file, once a second
           └─ service manager: ready, watchdog, status text
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from edge import __version__
from edge.config.types import Appliance, Line
from edge.core.conditions import Condition
from edge.core.line import LineCore, LineSetup
from edge.core.verdict import VerdictSettings
from edge.drivers import build_all
from edge.runtime import report
from edge.runtime.bundle import BundleRefused, LoadedBundle, RefusalKind, load_bundle
from edge.runtime.clock import Clock
from edge.runtime.infer import Engine, EngineRefused
from edge.runtime.line import RING, LineRunner
from edge.runtime.notify import Notifier
from edge.runtime.ringfile import open_ring
from edge.runtime.status import StatusFile
from edge.runtime.store.recorder import Recorder, model_text
from edge.runtime.store.store import DAY_S, Store
from edge.runtime.takeup import TakeUp

log = logging.getLogger("ncm-edge")

REFUSED = {
    RefusalKind.MISSING: Condition.MODEL_MISSING,
    RefusalKind.CORRUPT: Condition.MODEL_CORRUPT,
    RefusalKind.MISMATCH: Condition.MODEL_MISMATCH,
}
DEFAULT_STEP_ROWS = 60
"""Rows per model step while there is no model to say so."""
SILENT_S = 10.0
"""A line without a completed cycle for this long starves the service watchdog."""


class App:
    """Every line of the appliance, from its files and links to its place in the status file."""

    def __init__(self, appliance: Appliance, *, clock: Clock, notifier: Notifier) -> None:
        """Open rings, load models, build drivers. Nothing is connected yet.

        Raises RingBusy if another daemon already serves one of the lines.
        """
        self.appliance = appliance
        self._clock, self._notifier = clock, notifier
        self._status = StatusFile(appliance.runtime_dir, appliance.metrics_file)
        self._status_fault = ""
        history = appliance.history
        self.store = Store(
            history.directory, clock, max_bytes=history.max_mb * 10**6,
            max_age_s=history.max_age_days * DAY_S,
        )  # fmt: skip
        self._updates = TakeUp(appliance, clock, self._setup)
        self.lines = [self._line(line) for line in appliance.lines]

    async def run(self) -> None:
        """Serve until cancelled; leaves no task, no open file and no status file behind."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for line in self.lines:
                    tasks.create_task(line.run(), name=f"line {line.line.name}")
                tasks.create_task(self.store.run(self._about()), name="history")
                tasks.create_task(self._fill_history(), name="history from rings")
                tasks.create_task(self._attend(), name="attend")
                tasks.create_task(self._updates.run(self.lines), name="updates")
        finally:
            self._notifier.stopping()
            for line in self.lines:
                line.recorder.flush()
                line.ring.close()
            self.store.close()
            self._status.remove()

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
            rows = line.recorder.take_up(line.ring.ring, line.core)
            if rows:
                log.info("line %s: %d rows from the ring into the history", line.line.name, rows)

    async def _attend(self) -> None:
        """Once a second: status file, service manager, watchdog."""
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        cycles = [0] * len(self.lines)
        moved_s = [started_s] * len(self.lines)
        ready = False
        while True:
            await asyncio.sleep(1.0)
            now_s = loop.time()
            for i, line in enumerate(self.lines):
                if line.cycles != cycles[i]:
                    cycles[i], moved_s[i] = line.cycles, now_s
            document = report.document(
                self.appliance, self.lines, version=__version__, uptime_s=now_s - started_s,
                written_s=self._clock.wall_s(), history=self.store.section(),
            )  # fmt: skip
            self._note(self._status.write(document))
            if not ready and all(line.cycles for line in self.lines):
                ready = True
                self._notifier.ready(report.headline(document))
            if ready and all(now_s - moved <= SILENT_S for moved in moved_s):
                self._notifier.watchdog()
                self._notifier.status(report.headline(document))

    def _note(self, fault: str) -> None:
        if fault != self._status_fault:
            log.log(logging.ERROR if fault else logging.INFO, "status file: %s", fault or "well")
            self._status_fault = fault

    def _line(self, line: Line) -> LineRunner:
        tags = tuple((row.tag.name, row.tag.unit) for row in line.tags)
        directory = self.appliance.state_dir / line.name
        chosen = self._updates.choose(line)
        bundle = load_bundle(chosen.bundle, tags, line.row_s)
        engine, refused = self._engine(line, bundle)
        if refused is not None:
            log.error("line %s: %s: %s", line.name, *refused)
        ring = open_ring(directory / RING, tags, line.ring_rows, line.row_s)
        log.log(
            logging.INFO if ring.opened in ("new", "resumed") else logging.ERROR,
            "line %s: %s", line.name, ring.message,
        )  # fmt: skip
        runner = LineRunner(
            line,
            LineCore(self._setup(line, None if engine is None else engine.bundle)),
            build_all(line, self._clock),
            ring,
            engine,
            refused,
            self._clock,
            directory,
            Recorder(
                line, self.store, model=model_text(engine),
                config_sha256=self.appliance.config_sha256,
            ),
        )  # fmt: skip
        if chosen.fault:
            log.error("line %s: runs %s: %s", line.name, chosen.release, chosen.fault)
            runner.stand(Condition.UPDATE_FAILED, chosen.fault)
        return runner

    def _engine(
        self, line: Line, bundle: LoadedBundle | BundleRefused
    ) -> tuple[Engine | None, tuple[Condition, str] | None]:
        if isinstance(bundle, BundleRefused):
            return None, (REFUSED[bundle.kind], bundle.reason)
        try:
            engine = Engine(bundle, self.appliance.provider)
        except EngineRefused as error:
            return None, (Condition.MODEL_CORRUPT, str(error))
        log.info(
            "line %s: model %s (serial %d) on %s: %s", line.name, bundle.card.name,
            bundle.card.serial, engine.provider, engine.reason,
        )  # fmt: skip
        return engine, None

    def _setup(self, line: Line, bundle: LoadedBundle | None) -> LineSetup:
        card = None if bundle is None else bundle.card
        reasons = ["the line is a simulation or a replay"] if line.simulation else []
        if card is not None and card.simulated:
            reasons.append(f"model {card.name}: {card.notice}")
        major, minor = (int(part) for part in __version__.split(".")[:2])
        return LineSetup(
            tags=tuple(row.tag for row in line.tags),
            topology=line.topology,
            row_s=line.row_s,
            step_rows=DEFAULT_STEP_ROWS if card is None else card.step_rows,
            has_batches=line.schedule is not None,
            simulation="; ".join(reasons),
            verdict=None
            if card is None
            else VerdictSettings.of(
                card,
                warn_probability=line.model.warn_probability,
                persist_steps=line.model.persist_steps,
                clear_steps=line.model.clear_steps,
                min_valid=line.model.min_valid,
            ),
            drift=None if bundle is None else bundle.drift,
            drift_limit=0.0 if card is None else card.drift_limit,
            kinds=() if card is None else card.kinds,
            model_serial=0 if card is None else card.serial,
            model_hash=0 if bundle is None else int(bundle.model_sha256[:8], 16),
            config_hash=int(self.appliance.config_sha256[:4], 16),
            sw_version=(major, minor),
            plc_timeout_s=line.outputs.plc_timeout_s,
            trim=line.trim,
            schedule=line.schedule,
            deviation=line.deviation,
        )
