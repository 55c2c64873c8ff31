"""From the slot to the line: a newly activated release gets its trial in the running daemon.

    activated -- shadow --> takes over -- probation --> proven
                   |                          |
                   +--------- fails ----------+--> the release before, by itself

Every few seconds the record of each line is read, because an importer or a technician may have
activated something. A newer release runs in shadow first, then on probation; going back is taken
up at once. A daemon that starts runs a release only once it has taken over, goes on with its
probation, and counts: a model that brings the process down cannot do it for ever. Once a day every
byte of the slots that run is verified.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from edge import __version__
from edge.config.types import Appliance, Line
from edge.core.conditions import Condition
from edge.runtime.assemble import setup_of
from edge.runtime.bundle import BundleRefused, load_bundle
from edge.runtime.clock import DAY_S, Clock
from edge.runtime.infer import Engine, EngineRefused
from edge.runtime.line import LineRunner
from edge.runtime.trial import Outcome, Report, Trial
from edge.update.audit import Audit, news
from edge.update.install import Installer
from edge.update.manifest import Site
from edge.update.refusals import Code, Refused
from edge.update.selftest import ChildTest
from edge.update.source import Source, of_slot, recheck, recorded, source
from edge.update.store import Record, Store

log = logging.getLogger("ncm-edge")

LOOK_S = 10.0
MAX_STARTS = 3
"""Starts of the daemon with a release in shadow, and again on probation: a restart and a power cut
are no fault of it."""
_LATER = (Code.BUSY, Code.DISK_FULL, Code.READ_ONLY, Code.STORAGE)
"""Refusals that pass: the change of the record is tried again at every look."""
_FAILED = {Outcome.FAILED: Code.TRIAL, Outcome.RETURNED: Code.PROBATION}


class TakeUp:
    """Follows the records of all lines; one task."""

    def __init__(self, appliance: Appliance, clock: Clock) -> None:
        self._appliance, self._clock = appliance, clock
        self._held = False
        self._running: dict[str, Source] = {}
        self._tried: dict[str, int] = {}
        """Generation of the record at the last look: what was tried once is not tried again until
        the record changes, as it does when a damaged slot is healed. Absent: look anew."""
        self._reports: list[tuple[LineRunner, Source, Report, bool]] = []
        """Ends of trials and probations that are not yet written down; True: a probation began."""
        self._heard: int | None = None
        """Number of the newest line of the audit that has been looked at; None: not known."""
        self._deaf = ""
        """Why the audit cannot be read."""
        self._news()
        self._shadow: dict[str, str | None] = {}
        """Line -> slot whose trial is under way."""
        self._faults: dict[tuple[str, str], str] = {}
        """(line, "look" or "recheck") -> what is wrong for as long as it is."""
        self._once: dict[str, tuple[str, float]] = {}
        """Line -> what is over and shown for one look, so that it latches; and since when."""
        self._owed: dict[str, Callable[[Installer], object]] = {}
        """Line -> the change of its record that was refused for now; the newest one holds."""
        self._gone_back: dict[str, Report] = {}
        """Line -> what was gone back from before the line ran."""

    def choose(self, line: Line) -> Source:
        """The bundle a line starts with."""
        at = self._place(line)
        gone_back = self._begin(line)
        chosen = source(*at, line.model.bundle)
        if gone_back:
            chosen = replace(chosen, fault="; ".join(filter(None, (gone_back, chosen.fault))))
        self._running[line.name], self._faults[line.name, "look"] = chosen, chosen.fault
        self._tried.pop(line.name, None)
        return chosen

    def _begin(self, line: Line) -> str:
        """Count the start of an unproven release; too many, and it is gone back from."""
        installer = self._installer(line)
        if not installer.store.line.is_dir():
            return ""
        try:
            starts = installer.begin()
            if starts <= MAX_STARTS:
                return ""
            live = installer.store.record().on_probation
            where = "on probation" if live else "in shadow"
            text = f"the daemon ended {MAX_STARTS} times while the new release was {where}"
            return self._return(line, Outcome.RETURNED if live else Outcome.FAILED, text)
        except Refused as refused:
            log.error("line %s: %s", line.name, refused)
            return ""

    def _return(self, line: Line, outcome: Outcome, text: str) -> str:
        """Go back from the active release before the line runs; returns what to tell."""
        installer = self._installer(line)
        slot = installer.store.record().active
        release = of_slot(*self._place(line), slot, line.model.bundle).release
        self._log_end(self._audit(), line.name, slot, outcome, text)
        if not installer.give_up(slot, _FAILED[outcome], text):
            return ""
        self._gone_back[line.name] = Report(release, outcome, text)
        return f"{release}: {Refused(_FAILED[outcome], text)}"

    def unfit(self, line: Line, chosen: Source, why: str) -> Source | None:
        """What to run instead of `chosen`, on probation, of which no engine can be built.

        None: nothing else, or nothing that can be built either.
        """
        at = self._place(line)
        try:
            record = recorded(*at)
            if not (record.unproven_active and record.active == chosen.slot):
                return None
            before = of_slot(*at, record.previous, line.model.bundle)
            if before.fault or isinstance(self._engine(line, before), str):
                return None
            gone_back = self._return(line, Outcome.RETURNED, why)
        except Refused as refused:
            log.error("line %s: %s", line.name, refused)
            return None
        if not gone_back:
            return None
        found = replace(before, fault=gone_back)
        self._running[line.name], self._faults[line.name, "look"] = found, gone_back
        return found

    def started(self, runner: LineRunner) -> None:
        """The line has been built: a probation goes on from its first step."""
        name = runner.line.name
        if name in self._gone_back:
            gone = self._gone_back.pop(name)
            runner.recorder.updated(gone.release, gone.outcome.value, gone.text, runner.engine)
        with contextlib.suppress(Refused):  # the first look will say so
            self._go_on_watching(runner, recorded(*self._place(runner.line)))

    def _go_on_watching(self, runner: LineRunner, record: Record) -> None:
        running = self._running[runner.line.name]
        under = record.unproven_active and record.on_probation and record.active == running.slot
        if under and not runner.watched_over and runner.engine is not None:
            runner.watch_over(running.release, partial(self._ended, runner, running))

    def bundle(self, line: Line) -> Path:
        """Where the bundle of a line lies now: the slot that runs, else what is configured."""
        running = self._running.get(line.name)
        if running is None:
            return self.choose(line).bundle
        return line.model.bundle if running.slot is None else running.bundle

    async def hold(self, lines: Iterable[LineRunner]) -> None:
        """Nothing takes over until `go_on`: a reload must know which model runs."""
        self._held = True
        for runner in lines:
            self._give_up_trial(runner)
        await self._settle_all()

    def go_on(self, appliance: Appliance, lines: Iterable[LineRunner]) -> None:
        """With this configuration; a trial that was under way begins again."""
        self._appliance, self._held = appliance, False
        for runner in lines:
            self._tried.pop(runner.line.name, None)

    async def _settle_all(self) -> None:
        while self._reports:
            await self._settle(*self._reports.pop(0))

    async def run(self, now: Callable[[], Sequence[LineRunner]]) -> None:
        """Look after the lines there are `now`, until cancelled."""
        loop = asyncio.get_running_loop()
        checked_s = loop.time()
        while True:
            await asyncio.sleep(LOOK_S)
            lines = now()
            await self._hear(lines)
            # First how trials ended: a look compares with what really runs.
            await self._settle_all()
            for runner in lines:
                await self._pay(runner)
            for runner in lines:
                if not self._held and runner.line.name not in self._owed:
                    await self._look(runner)
            await self._settle_all()
            due = loop.time() - checked_s >= DAY_S
            if due:
                checked_s = loop.time()
            for runner in lines:
                # Storage that refused the audit is tried again at every look.
                if due or Condition.STORAGE_FAULT in runner.standing:
                    await self._recheck(runner)

    async def _hear(self, lines: Sequence[LineRunner]) -> None:
        """Show for one look what an importer or a technician was refused; it latches."""
        now_s = asyncio.get_running_loop().time()
        for runner in lines:
            _, since_s = self._once.get(runner.line.name, ("", now_s))
            if now_s - since_s >= LOOK_S / 2.0:
                del self._once[runner.line.name]
                self._show(runner)
        for entry in await asyncio.to_thread(self._news):
            code = entry.get("code")
            if entry["event"] != "apply" or code in (None, int(Code.ALREADY_ACTIVE)):
                continue
            for runner in lines:
                if runner.line.name == entry.get("line"):
                    self._tell(runner, f"{entry['verdict']} {code}: {entry.get('detail', '')}")

    def _news(self) -> list[dict[str, Any]]:
        """What the audit has told since the last time; nothing while it cannot be read."""
        folder, fault = self._appliance.state_dir / "update" / "audit", ""
        entries: list[dict[str, Any]] = []
        try:
            entries, self._heard = news(folder, self._heard)
        except (OSError, ValueError, KeyError, TypeError) as error:
            fault = f"{folder}: the audit cannot be read, refusals are not shown: {error}"
        if fault and not self._deaf:
            log.error("%s", fault)
        self._deaf = fault
        return entries

    async def _look(self, runner: LineRunner) -> None:
        line = runner.line
        at = self._place(line)
        try:
            record = await asyncio.to_thread(recorded, *at)
        except Refused as refused:
            self._tried.pop(line.name, None)
            self._fail(runner, "look", str(refused))
            return
        if record.generation == self._tried.get(line.name) or self._pending(runner):
            return
        self._tried[line.name], active = record.generation, record.active
        running = self._running[line.name]
        if active == running.slot:
            self._give_up_trial(runner)  # gone back before its trial was over
            self._go_on_watching(runner, record)
            self._fail(runner, "look", "")
            if self._faults.get((line.name, "recheck")):
                await self._recheck(runner)  # healed, perhaps
            return
        if line.name in self._shadow and self._shadow[line.name] == active:
            return  # the same stick once more: its trial goes on
        chosen = await asyncio.to_thread(of_slot, *at, active, line.model.bundle)
        if chosen.fault:
            self._fail(runner, "look", chosen.fault)
            return
        made = await asyncio.to_thread(self._engine, line, chosen)
        if isinstance(made, str):
            await self._settle(runner, chosen, Report(chosen.release, Outcome.FAILED, made))
            return
        setup = setup_of(self._appliance, line, made.bundle)
        if setup.step_rows != runner.core.setup.step_rows:
            other = f"{chosen.release}: other rows per model step; restart the daemon"
            self._fail(runner, "look", other)
            return
        back = chosen.place is None or (
            running.place is not None and chosen.place < running.place
        )
        steps = 0 if back or runner.engine is None else line.model.shadow_steps
        if self._held or self._pending(runner):
            # A reload began or the trial before ended meanwhile: look again after it.
            self._tried.pop(line.name, None)
            return
        self._fail(runner, "look", "")
        trial = Trial(chosen.release, runner.track_of(made), setup, steps)
        log.info("line %s: %s in shadow for %d model steps", line.name, chosen.release, steps)
        self._shadow[line.name] = active
        runner.try_out(trial, partial(self._ended, runner, chosen, watch=steps > 0))

    def _ended(
        self, runner: LineRunner, chosen: Source, report: Report, *, watch: bool = False
    ) -> None:
        """`watch`: what takes over now is on probation, from its first step on."""
        self._shadow.pop(runner.line.name, None)
        watch = watch and report.outcome is Outcome.PASSED
        self._reports.append((runner, chosen, report, watch))
        if watch:
            runner.watch_over(chosen.release, partial(self._ended, runner, chosen))

    def _give_up_trial(self, runner: LineRunner) -> None:
        self._shadow.pop(runner.line.name, None)
        runner.try_out(None, lambda _: None)

    def _pending(self, runner: LineRunner) -> bool:
        """A trial of this line has ended, and what came of it is not yet written down."""
        return any(reported is runner for reported, *_ in self._reports)

    def _engine(self, line: Line, chosen: Source) -> Engine | str:
        tags = [(row.tag.name, row.tag.unit) for row in line.tags]
        bundle = load_bundle(chosen.bundle, tags, line.row_s)
        if isinstance(bundle, BundleRefused):
            return bundle.reason
        try:
            return Engine(bundle, self._appliance.provider)
        except EngineRefused as error:
            return str(error)

    async def _settle(
        self, runner: LineRunner, chosen: Source, report: Report, watch: bool = False
    ) -> None:
        """Write down how a trial or a probation ended, on the disk as well."""
        line, outcome = runner.line, report.outcome
        if outcome is Outcome.PASSED:
            self._running[line.name] = chosen
        await asyncio.to_thread(
            self._log_end, self._audit(), line.name, chosen.slot, outcome, report.text
        )
        runner.recorder.updated(report.release, outcome.value, report.text, runner.engine)
        if outcome in _FAILED:
            code = _FAILED[outcome]
            self._tell(runner, f"{report.release}: {Refused(code, report.text)}")
            await self._change(
                runner, lambda installer: installer.give_up(chosen.slot, code, report.text)
            )
            return
        if outcome is Outcome.PASSED:
            self._faults.pop((line.name, "recheck"), None)
            self._fail(runner, "look", "")
        await self._change(
            runner,
            lambda installer: (installer.take_over if watch else installer.prove)(chosen.slot),
        )

    @staticmethod
    def _log_end(audit: Audit, line: str, slot: str | None, outcome: Outcome, text: str) -> None:
        """A line of the audit."""
        facts: dict[str, object] = {"line": line, "active": slot or "configured", "detail": text}
        if outcome in _FAILED:
            facts["code"] = int(_FAILED[outcome])
        event = "probation" if outcome in (Outcome.PROVEN, Outcome.RETURNED) else "trial"
        audit.append(event, outcome.value, **facts)

    async def _change(self, runner: LineRunner, what: Callable[[Installer], object]) -> None:
        """Change the record of a line; what another update or a full disk prevents is owed."""
        name = runner.line.name
        self._owed.pop(name, None)
        try:
            await asyncio.to_thread(what, self._installer(runner.line))
        except Refused as refused:
            log.error("line %s: %s", name, refused)
            if refused.code in _LATER:
                self._owed[name] = what
            else:
                self._tell(runner, str(refused))

    async def _pay(self, runner: LineRunner) -> None:
        if what := self._owed.get(runner.line.name):
            await self._change(runner, what)

    async def _recheck(self, runner: LineRunner) -> None:
        name = runner.line.name
        slot = self._running[name].slot
        seen = await asyncio.to_thread(recheck, *self._place(runner.line), slot, self._audit())
        self._fail(runner, "recheck", seen.get(Condition.UPDATE_FAILED, ""))
        if Condition.STORAGE_FAULT in seen:
            runner.stand(Condition.STORAGE_FAULT, seen[Condition.STORAGE_FAULT])
        else:
            runner.settle(Condition.STORAGE_FAULT)

    def _fail(self, runner: LineRunner, who: str, text: str) -> None:
        """What a look or a recheck has found; "" if all is well."""
        self._faults[runner.line.name, who] = text
        self._show(runner)

    def _tell(self, runner: LineRunner, text: str) -> None:
        """What has failed and is over: shown for one look, it latches until acknowledged."""
        self._once[runner.line.name] = text, asyncio.get_running_loop().time()
        self._show(runner)

    def _show(self, runner: LineRunner) -> None:
        name = runner.line.name
        said = [self._once.get(name, ("", 0.0))[0]]
        said += [self._faults.get((name, who), "") for who in ("look", "recheck")]
        text = "; ".join(dict.fromkeys(filter(None, said)))
        if not text:
            runner.settle(Condition.UPDATE_FAILED)
        elif runner.stand(Condition.UPDATE_FAILED, text):
            log.error("line %s: %s", name, text)

    def _installer(self, line: Line) -> Installer:
        tags = tuple((row.tag.name, row.tag.unit) for row in line.tags)
        return Installer(
            Store(*self._place(line)),
            Site(line=line.name, tags=tags, row_s=line.row_s, app_version=__version__),
            ChildTest(tags=tags, row_s=line.row_s, provider=self._appliance.provider),
            self._audit(),
        )

    def _place(self, line: Line) -> tuple[Path, str, Path]:
        return self._appliance.state_dir, line.name, self._appliance.trust_root

    def _audit(self) -> Audit:
        # Asked here: a thread has no loop, and the clock may be the loop's.
        now_s = self._clock.wall_s()
        return Audit(self._appliance.state_dir / "update" / "audit", partial(float, now_s))
