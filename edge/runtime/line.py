"""One running line: four tasks around `core.line`, so that nothing waits for anything slower.

    acquire    rows on absolute deadlines -> ring, decisions          never waits for the others
    infer      one model step after the other -> verdict              may lag (warm-up), never loses
    exchange   newest decision -> block W with read-back; block R     may lag (dead PLC), skips
    links      each driver owns its connection

The heartbeat in block W is the acquisition's own: a block is only published when `acquire` has made
a new decision, so a hang there lets the heartbeat stop, as the PLC expects.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from edge.config.types import Line
from edge.core import outputs, probation
from edge.core.batch import BatchState
from edge.core.conditions import TABLE, Condition
from edge.core.features import step_features
from edge.core.line import LineCore, StepResult, Surroundings
from edge.core.outputs import BlockError, PlcState
from edge.core.probation import Service
from edge.core.registers import Ne107
from edge.core.ring import missed_slots
from edge.core.tags import Reason, Row
from edge.core.verdict import NoScore, Verdict
from edge.drivers.base import Driver
from edge.runtime.checkpoint import Checkpoint, ColdStart, load_checkpoint, save_checkpoint
from edge.runtime.clock import Clock
from edge.runtime.history import Steps
from edge.runtime.infer import Engine, InferenceFailed
from edge.runtime.poll import Context, Poller
from edge.runtime.probation import Probation
from edge.runtime.publish import Published, Publisher
from edge.runtime.ringfile import RingBusy, RingFile, open_empty
from edge.runtime.store.recorder import Recorder
from edge.runtime.successor import Successor
from edge.runtime.track import Step, Track
from edge.runtime.trial import Outcome, Report, Trial

log = logging.getLogger("ncm-edge")

RING = "rows.ring"
CHECKPOINT = "model.state.npz"
"""Files in the state directory of a line."""
CLOCK_STEP_S = 2.0
"""A wall clock that leaves the loop's by more than this within one row has stepped."""
CLOCK_SHOWN_S = 600.0


class LineRunner:
    """Owns the tasks and the files of one line; all decisions are the core's."""

    def __init__(
        self,
        line: Line,
        core: LineCore,
        drivers: Mapping[str, Driver],
        ring: RingFile,
        engine: Engine | None,
        refused: tuple[Condition, str] | None,
        clock: Clock,
        directory: Path,
        recorder: Recorder,
    ) -> None:
        """`directory` holds the state of this line: ring file and checkpoint."""
        self.line, self.core, self.ring = line, core, ring
        self.drivers = drivers
        self.poller = Poller(line, drivers, clock)
        self.publisher = _publisher(line, drivers)
        self.plc: PlcState | None = None
        self.context: Context = {}
        self.last_row: Row | None = None
        self.cycles = 0
        """Rows decided so far; the service watchdog lives from its growth."""
        self.verified_seq = 0
        """SEQ_HEAD of the last block that was read back equal."""
        self.recorder = recorder
        self.standing: dict[Condition, str] = {}
        """Conditions that last until they are settled."""
        self._successor: Successor | None = None
        self._exchanging = self._give_way = False
        self._epoch = 0
        """Model steps of an earlier one are of other rows or another model."""
        self._tasks: asyncio.TaskGroup | None = None
        self._links: dict[str, asyncio.Task[None]] = {}
        self.refused = refused
        """Why there is no model: condition and detail."""
        self._clock = clock
        self._ring_path, self._checkpoint_path = directory / RING, directory / CHECKPOINT
        self._steps: asyncio.Queue[Step] = asyncio.Queue()
        self.track = None if engine is None else self.track_of(engine)
        self.service = Service()
        """Figures of the live model's steps, and of the model before it."""
        self._trial: Trial | None = None
        self._probation: Probation | None = None
        self._hangs: Track | None = None
        """A model on probation that gave no answer in time: it is not asked again."""
        self._on_report: Callable[[Report], None] = _unheard
        self._decision = outputs.Decision()
        self._fresh = asyncio.Event()
        self._publish_fault: tuple[Condition, str] | None = None
        self._storage_fault = ""
        self._infer_fault = ""
        self._clock_offset_s: float | None = None
        self._clock_stepped_s: float | None = None
        self._started_s = 0.0
        self._shown: frozenset[Condition] = frozenset()
        self._kept: Checkpoint | None = None
        """The checkpoint as it was read or written last."""
        self._keeping, self._latches = asyncio.Lock(), asyncio.Event()

    async def run(self) -> None:
        """Run the line until cancelled."""
        self._started_s = asyncio.get_running_loop().time()
        self._resume()
        self.recorder.starting(self.ring.ring, self.core.rows_in_step)
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            for driver in self.drivers.values():
                self._links[driver.name] = tasks.create_task(
                    driver.run(), name=f"{self.line.name} link {driver.name}"
                )
            tasks.create_task(self._infer(), name=f"{self.line.name} infer")
            tasks.create_task(self._keep_latched(), name=f"{self.line.name} latches")
            tasks.create_task(self._exchange(), name=f"{self.line.name} exchange")
            tasks.create_task(self._acquire(), name=f"{self.line.name} acquire")

    @property
    def ne107(self) -> Ne107:
        """NE 107 status of the newest decision."""
        return self._decision.ne107

    @property
    def refused_reason(self) -> str:
        """Why there is no model; "" when there is one."""
        return "" if self.refused is None else self.refused[1]

    # Reload.

    async def hand_over(self, successor: Successor) -> None:
        """Go on with `successor` from the next row; returns when it has happened.

        The swap is made when a row has been decided and no block is on its way, in one piece: no
        row and no block W is ever half of one configuration and half of the other.
        """
        self._successor = successor
        old = await successor.taken
        if old is not None:
            await asyncio.to_thread(old.close)

    def _swap(self, to: Successor) -> None:
        assert self._tasks is not None
        self._successor, self._give_way = None, False
        fresh_ring = to.ring is not None
        for name, task in self._links.copy().items():
            if to.drivers.get(name) is not self.drivers[name]:
                task.cancel()
                del self._links[name]
        for name, running in to.running.items():
            self._links[name] = self._tasks.create_task(
                _follow(running), name=f"{to.line.name} link {name}"
            )
        poller = Poller(to.line, to.drivers, self._clock)
        publisher = _publisher(to.line, to.drivers)
        poller.take_over(self.poller)
        publisher.take_over(self.publisher)
        anew = fresh_ring or to.engine is not self.engine
        if anew:
            # Steps cut from other rows, and the state of another model, mean nothing from here on.
            self._epoch += 1
        # A trial rests on the old configuration; whoever follows the slots begins it again.
        self._trial = None
        if fresh_ring:
            self.last_row, self._started_s = None, asyncio.get_running_loop().time()
        old_ring, self.ring = self.ring, to.ring or self.ring
        self.line, self.drivers, self.poller, self.publisher = (
            to.line, to.drivers, poller, publisher,
        )  # fmt: skip
        self.refused = to.refused
        self.core.adopt(to.setup)
        if anew:
            model = self._model_sha256
            self.track = None if to.engine is None else self.track_of(to.engine)
            self._probation = None
            if self._model_sha256 != model:
                # The same model on other rows is still to be judged against the one before it.
                self.service = self.service.handed_over()
        self.recorder.adopt(to.line, to.engine, to.config_sha256)
        if fresh_ring:
            self.recorder.starting(self.ring.ring, self.core.rows_in_step)
        to.taken.set_result(old_ring if fresh_ring else None)

    def stand(self, condition: Condition, detail: str) -> bool:
        """Show a condition from now on, until it is settled; False if it was shown already."""
        new = self.standing.get(condition) != detail
        self.standing[condition] = detail
        return new

    def settle(self, condition: Condition) -> None:
        """A condition that stood is over."""
        self.standing.pop(condition, None)

    @property
    def engine(self) -> Engine | None:
        """Of the live model; None without one."""
        return None if self.track is None else self.track.engine

    def track_of(self, engine: Engine) -> Track:
        """A model on this line, its state still to be found."""
        return Track(
            engine, self.line.name, self.core.setup.step_rows,
            has_batches=self.core.setup.has_batches,
        )  # fmt: skip

    def try_out(self, trial: Trial | None, on_report: Callable[[Report], None]) -> None:
        """Run a new model in shadow from the next model step on; another trial is given up.

        With it ends a probation: what is to take over decides what runs.
        """
        self._trial = trial
        if trial is not None:
            self._probation, self._on_report = None, on_report

    def watch_over(self, release: str, on_report: Callable[[Report], None]) -> None:
        """Judge the live model, which is `release`, against the one before it from now on."""
        self._probation, self._on_report = Probation(release), on_report

    @property
    def watched_over(self) -> bool:
        """The live model is on probation."""
        return self._probation is not None

    @property
    def update_text(self) -> str:
        """How the newest release stands, while it is not yet proven; "" otherwise."""
        if self._trial is not None:
            return f"{self._trial.release} in shadow: {self._trial.text or 'no model step yet'}"
        if self._probation is not None:
            return f"{self._probation.release} on probation: {self._probation.text}"
        return ""

    # Start.

    def _resume(self) -> None:
        """Mark the time the daemon was away, and go on from what was kept."""
        ring, newest_s = self.ring.ring, self.ring.ring.newest_t_s
        now_s = self._clock.wall_s()
        if newest_s is not None:
            away = missed_slots(newest_s, now_s, self.line.row_s, self.line.ring_rows)
            ring.append_gaps(away, newest_s + self.line.row_s, self.line.row_s, Reason.MISSED)
            if now_s < newest_s - CLOCK_STEP_S:
                self._clock_stepped_s = asyncio.get_running_loop().time()
                log.warning(
                    "line %s: the wall clock is %.0f s behind the newest row; rows go on without "
                    "a gap", self.line.name, newest_s - now_s,
                )  # fmt: skip
        self._take_up(now_s)

    def _take_up(self, now_s: float) -> None:
        """What an earlier run remembered; the model state only if it is of this model."""
        bundle = None if self.track is None else self.track.engine.bundle
        found = load_checkpoint(self._checkpoint_path, bundle)
        if isinstance(found, ColdStart):
            log.info("line %s: starts cold: %s", self.line.name, found.reason)
            return
        self._kept, age_s = found, now_s - found.t_s
        # Waits for a person, however long that takes and whatever the clock says meanwhile.
        away_s = max(age_s, 0.0)
        self.core.latch(found.extra.get("latched", ()), asyncio.get_running_loop().time() - away_s)
        same_model = found.model_sha256 == self._model_sha256
        with contextlib.suppress(KeyError, TypeError, ValueError):
            service = probation.from_plain(found.extra["service"])
            self.service = service if same_model else service.handed_over()
        horizon_s = self.line.ring_rows * self.line.row_s
        if not 0 <= age_s < horizon_s:
            log.info("line %s: starts cold: checkpoint is %.0f s old", self.line.name, age_s)
            return
        seq = self.ring.ring.seq
        self.core.resume(
            found.extra, seq - int(found.extra.get("seq", seq)), same_model=same_model
        )
        if self.track is not None and found.state is not None:
            self.track.resume(found)
            log.info("line %s: model state of %.0f s ago resumed", self.line.name, age_s)
        elif self.track is not None:
            log.info("line %s: model starts cold: %s", self.line.name, found.cold)

    # Acquisition: one row, one decision.

    async def _acquire(self) -> None:
        while True:
            async with contextlib.aclosing(self.poller.rows()) as rows:
                async for row, context in rows:
                    self.last_row, self.context = row, context
                    self._watch_clock(row)
                    self.ring.ring.append(row)
                    if self.core.observe(row, context):
                        self._step_due(row)
                    self._decide()
                    next_s = row.start_s + self.line.row_s
                    if self._successor is not None and next_s > asyncio.get_running_loop().time():
                        if not self._exchanging:
                            self._swap(self._successor)
                            break
                        self._give_way = True
            loop = asyncio.get_running_loop()
            await asyncio.sleep(max(0.0, next_s - loop.time()))

    def _step_due(self, row: Row) -> None:
        rows = self.core.setup.step_rows
        values, quality = self.ring.ring.last(rows)
        features, valid = step_features(values, quality)
        self._steps.put_nowait(
            Step(
                last_seq=self.ring.ring.seq,
                t_s=row.t_s + self.line.row_s,
                steps=Steps(features[None], valid[None]),
                batch=self.core.follow_batch(self.plc),
                epoch=self._epoch,
            )
        )
        self.recorder.step_due(self.ring.ring, self.core, rows)

    def _decide(self) -> None:
        loop = asyncio.get_running_loop()
        self._decision = self.core.decide(
            Surroundings(
                now_s=loop.time(),
                plc=self.plc,
                seen=self._seen(loop.time()),
                buffer_fill=self.ring.ring.fill,
                model_loaded=self.engine is not None,
                update_staged=self._trial is not None or self._probation is not None,
                context=self.context,
            )
        )
        self.cycles += 1
        self.recorder.second(self.core, self.plc, self._clock.wall_s())
        self._fresh.set()
        raised = self.core.conditions.raised
        if raised != self._shown:
            self._log_changes(raised)

    def _log_changes(self, raised: frozenset[Condition]) -> None:
        for text in self.core.texts:
            if text.condition not in self._shown:
                log.warning("line %s: %s: %s", self.line.name, text.condition, text.cause)
        for condition in self._shown - raised:
            log.info("line %s: %s: over", self.line.name, condition)
        if any(TABLE[condition].latch for condition in self._shown ^ raised):
            self._latches.set()
        self._shown = raised

    def _seen(self, now_s: float) -> dict[Condition, str]:
        """What the shell itself sees, as rows of the conditions table."""
        seen = self.standing | self.recorder.seen(now_s)
        down = [d.name for d in self.drivers.values() if not d.counters.connected]
        if down:
            seen[Condition.LINK_DOWN] = ", ".join(down)
        for driver in self.drivers.values():
            for condition, text in driver.counters.conditions.items():
                said = f"{seen[condition]}; " if condition in seen else ""
                seen[condition] = f"{said}link {driver.name}: {text}"
        if self.refused is not None:
            seen[self.refused[0]] = self.refused[1]
        if self._publish_fault is not None:
            seen[self._publish_fault[0]] = self._publish_fault[1]
        in_memory = self.ring.message if self.ring.opened == "memory" else ""
        if in_memory or self._storage_fault:
            said = f"{seen[fault]}; " if (fault := Condition.STORAGE_FAULT) in seen else ""
            seen[fault] = said + (in_memory or self._storage_fault)
        if self._infer_fault:
            seen[Condition.INFERENCE_FAILED] = self._infer_fault
        if self.ring.opened == "replaced" and now_s - self._started_s < CLOCK_SHOWN_S:
            seen[Condition.RING_REPLACED] = self.ring.message
        if self._clock_stepped_s is not None and now_s - self._clock_stepped_s < CLOCK_STEP_S:
            seen[Condition.CLOCK_STEPPED] = ""
        if self.engine is not None and self.engine.fallback:
            seen[Condition.CPU_FALLBACK] = self.engine.reason
        return seen

    def _watch_clock(self, row: Row) -> None:
        """The wall clock against the loop's: stepped clocks move time stamps, never slots."""
        offset_s = self._clock.wall_s() - asyncio.get_running_loop().time()
        if self._clock_offset_s is not None:
            moved_s = offset_s - self._clock_offset_s
            if abs(moved_s) > CLOCK_STEP_S:
                self._clock_stepped_s = asyncio.get_running_loop().time()
                log.warning("line %s: the wall clock stepped by %+.1f s", self.line.name, moved_s)
        self._clock_offset_s = offset_s

    # Inference: one step after the other; the state is host-side arrays, checkpointed each step.

    async def _infer(self) -> None:
        while True:
            step = await self._steps.get()
            result = await self._conclude(step)
            if step.epoch != self._epoch:
                continue
            before = self.core.finding.verdict
            self.core.conclude(result, step.t_s, asyncio.get_running_loop().time())
            self.recorder.concluded(step.t_s, step.batch, result, self.core)
            self._note_figures(result, before)
            if self._trial is not None:
                await self._compare(self._trial, step, result, before)
            elif self._probation is not None:
                self._judge(self._probation)
            await self._checkpoint(step)
            if self.ring.opened == "memory":
                await self._leave_memory()

    async def _conclude(self, step: Step) -> StepResult | NoScore:
        track = self.track
        if track is None:
            return NoScore.NO_MODEL
        if track is self._hangs:
            return NoScore.INFERENCE_FAILED
        limit_s = None if self._probation is None else self.core.setup.step_s
        try:
            async with asyncio.timeout(limit_s):
                result = await track.conclude(step, self.ring.ring)
        except (InferenceFailed, TimeoutError) as error:
            text = str(error)
            if isinstance(error, TimeoutError):
                # Its thread cannot be ended; another one would hang beside it.
                self._hangs, text = track, f"no answer within {limit_s:g} s"
            if not self._infer_fault:
                log.error("line %s: inference failed: %s", self.line.name, text)
            self._infer_fault = text
            return NoScore.INFERENCE_FAILED
        if step.batch.state is BatchState.RUNNING:
            self._infer_fault = ""
        return result

    def _note_figures(self, result: StepResult | NoScore, before: Verdict) -> None:
        core, engine = self.core, self.engine
        drift, limit = core.finding.drift.score, core.setup.drift_limit
        found = probation.figures(
            result, before, core.finding.verdict,
            drift=drift / limit if drift is not None and limit > 0 else None,
            cpu=engine is not None and engine.fallback,
        )  # fmt: skip
        self.service = self.service.with_step(found, self.line.model.probation_steps)

    def _judge(self, under: Probation) -> None:
        """Is the release that has taken over still as good as the model before it?"""
        steps, step_s = self.line.model.probation_steps, self.core.setup.step_s
        outcome = under.judge(self.service, steps, step_s)
        if outcome is Outcome.GOING_ON:
            return
        self._probation = None
        log.log(
            logging.INFO if outcome is Outcome.PROVEN else logging.ERROR,
            "line %s: probation of %s: %s: %s", self.line.name, under.release, outcome.value,
            under.text,
        )  # fmt: skip
        self._on_report(Report(under.release, outcome, under.text))

    async def _compare(
        self, trial: Trial, step: Step, result: StepResult | NoScore, before: Verdict
    ) -> None:
        """The same step by the model in shadow; at the end of its trial it takes over, or not."""
        now_s = asyncio.get_running_loop().time()
        outcome = await trial.step(step, self.ring.ring, self.core, result, now_s, before)
        if trial.beside:
            self.recorder.beside(trial.beside)
        if outcome is Outcome.GOING_ON or trial is not self._trial:
            return
        self._trial = None
        if outcome is Outcome.PASSED:
            # Between two model steps: the next one is the new model's, in the same batch.
            self.track, self.refused, self._infer_fault = trial.track, None, ""
            self.core.take_over(trial.core)
            self.service = self.service.handed_over()
        log.log(
            logging.INFO if outcome is Outcome.PASSED else logging.ERROR,
            "line %s: trial of %s %s: %s", self.line.name, trial.release, outcome.value, trial.text,
        )  # fmt: skip
        self._on_report(Report(trial.release, outcome, trial.text))

    async def _checkpoint(self, step: Step) -> None:
        """Keep what was concluded so far, and the model state, for a restart."""
        track, at = self.track, None if self.track is None else self.track.at
        memory = self.core.memory(step.batch) | {"seq": step.last_seq}
        memory["service"] = probation.to_plain(self.service)
        if at is not None:
            memory |= {"batch_id": at.batch_id, "state_seq": at.seq}
        await self._keep(
            Checkpoint(
                state=None if track is None or at is None else track.state,
                batch_step=0 if at is None else at.next_step,
                t_s=step.t_s,
                model_sha256=self._model_sha256,
                extra=memory,
            )
        )

    async def _keep_latched(self) -> None:
        """What waits for an acknowledgement is kept at once, not with the next model step.

        All else stays as it was at the last step: a step that is under way has half happened.
        """
        while True:
            await self._latches.wait()
            self._latches.clear()
            await self._keep(None)

    async def _keep(self, checkpoint: Checkpoint | None) -> None:
        """Write `checkpoint`, or the last one anew, with what is latched now."""
        async with self._keeping:
            kept = checkpoint or self._kept or Checkpoint(
                state=None, batch_step=0, t_s=self._clock.wall_s(), model_sha256=self._model_sha256
            )  # fmt: skip
            latched = self.core.latched(asyncio.get_running_loop().time())
            self._kept = replace(kept, extra=kept.extra | {"latched": latched})
            fault = await asyncio.to_thread(save_checkpoint, self._checkpoint_path, self._kept)
        self.note_storage(fault)

    @property
    def _model_sha256(self) -> str:
        return "" if self.track is None else self.track.engine.bundle.model_sha256

    def note_storage(self, fault: str) -> None:
        """A write to disk failed ("" if it did not): acquisition and write-back go on."""
        if fault and not self._storage_fault:
            log.error("line %s: %s", self.line.name, fault)
        self._storage_fault = fault

    async def _leave_memory(self) -> None:
        """Once a model step, while the ring has no file: try to give it one."""
        line = self.line
        tags = tuple((row.tag.name, row.tag.unit) for row in line.tags)
        try:
            held = await asyncio.to_thread(
                open_empty, self._ring_path, tags, line.ring_rows, line.row_s
            )
        except (OSError, RingBusy) as error:
            log.debug("line %s: ring stays in memory: %s", line.name, error)
            return
        if self.line is not line:  # a reload came between
            held.close()
            return
        held.ring.take_over(self.ring.ring)
        self.ring = held
        log.info("line %s: %s", line.name, held.message)

    # Exchange with the PLC.

    async def _exchange(self) -> None:
        seq = 0
        while True:
            await self._fresh.wait()
            self._fresh.clear()
            if self._give_way:
                continue  # a reload found us at work at the last row; at the next we are at rest
            self._exchanging = True
            await self._read_r()
            seq = outputs.next_seq(seq)
            outcome = await self.publisher.publish(outputs.encode_block_w(self._decision, seq))
            self._exchanging = False
            if outcome.kind is Published.VERIFIED:
                self._publish_fault, self.verified_seq = None, seq
            elif outcome.kind is Published.LINK_DOWN:
                self._publish_fault = (Condition.WRITE_FAILED, outcome.text)
            else:
                self._publish_fault = (Condition.READBACK_MISMATCH, outcome.text)

    async def _read_r(self) -> None:
        words = await self.publisher.read_r()
        if words is None:
            self.plc = None
            return
        try:
            self.plc = outputs.decode_block_r(words)
        except BlockError as error:
            self.plc = None
            log.warning("line %s: %s", self.line.name, error)


def _unheard(report: Report) -> None:
    """Nobody asked."""


def _publisher(line: Line, drivers: Mapping[str, Driver]) -> Publisher:
    w, r = line.outputs.block_w, line.outputs.block_r
    return Publisher(drivers[w.link], None if r is None else drivers[r.link])


async def _follow(running: asyncio.Task[None]) -> None:
    """Share the fate of a task that was started elsewhere: its end is ours, and ours is its."""
    await running
