"""One line's decisions: rows and model outputs in, one `Decision` a second out.

Everything here is a fold over values the shell brings; the same rows, model outputs and PLC words
give the same decisions. The order of a second is:

1. `observe` a row: data quality and, once a step's worth of rows is in, the step is due;
2. `follow_batch` when a step is due: which reference slot, and whether the model starts anew;
3. `conclude` the step with what the model said, or with why it said nothing;
4. `decide`: conditions, trim and everything block W shows.

Inference may lag behind the rows (warm-up): then 3 comes later, and the age of the verdict tells.
A verdict older than `STALE_STEPS` model steps is not valid any more, whatever it said.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from edge.core import cam, conditions, drift, trim_advice, verdict
from edge.core.batch import Batch, BatchState, continuous, follow
from edge.core.conditions import Condition, Conditions, Text
from edge.core.deviation import DeviationSettings, DeviationWatch
from edge.core.drift import Drift, DriftReference
from edge.core.outputs import Decision, PlcState
from edge.core.registers import Alarm, Control, Ne107, Status
from edge.core.schedule import Schedule
from edge.core.tags import FloatArray, Quality, Row, Tag
from edge.core.topology import Topology
from edge.core.trim import TrimSettings
from edge.core.trim_advisor import Guard
from edge.core.trim_desk import Context, TrimDesk
from edge.core.verdict import NoScore, StepScore, Verdict, VerdictSettings

STALE_STEPS = 3
"""Model steps without a finished inference after which the last verdict is not valid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineSetup:
    """What the decisions of one line rest on; the parts of a model are None without one."""

    tags: tuple[Tag, ...]
    topology: Topology
    row_s: float
    step_rows: int
    has_batches: bool
    """False: a continuous process; the PLC's batch words are not followed."""
    simulation: str
    """Why nothing here may be acted on ("" on a real plant with a model for it)."""
    verdict: VerdictSettings | None
    drift: DriftReference | None
    drift_limit: float
    kinds: tuple[str, ...] = ()
    """What the classifier tells apart: component codes, or one ""."""
    model_serial: int = 0
    model_hash: int = 0
    config_hash: int = 0
    sw_version: tuple[int, int] = (0, 0)
    plc_timeout_s: float = 5.0
    trim: TrimSettings | None = None
    """None: the plant has entered no limits."""
    schedule: Schedule | None = None
    deviation: DeviationSettings | None = None
    """None: the run is not compared with its schedule."""

    @property
    def step_s(self) -> float:
        """Seconds per model step."""
        return self.row_s * self.step_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """What the model said about one step of one line. P tags, D pooled features."""

    score: StepScore
    cam: FloatArray
    """float32[P]."""
    deviation: FloatArray
    """float32[P]."""
    pooled: FloatArray
    """float32[D]."""
    kinds: FloatArray
    """float32[K], probability of each of `LineSetup.kinds`, given a defect."""
    valid: FloatArray
    """float32[P], good share of each tag in the step."""
    infer_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the shell knows beside the rows, this second."""

    now_s: float
    """Monotonic."""
    plc: PlcState | None
    """Block R as last read; None if it could not be read this second."""
    seen: Mapping[Condition, str]
    """Conditions the shell sees, with their detail."""
    buffer_fill: float
    model_loaded: bool
    update_staged: bool = False
    """A new model runs in shadow, or on probation."""
    context: Context = field(default_factory=dict)
    """Set-points as read with the newest row."""


@dataclass(slots=True)
class Finding:
    """State of the line's verdict and everything that explains it."""

    verdict: Verdict = field(default_factory=Verdict)
    drift: Drift = field(default_factory=Drift)
    suspects: tuple[cam.Suspect, ...] = ()
    infer_ms: float | None = None
    finished_s: float | None = None
    """Monotonic time of the last finished inference."""


class LineCore:
    """The decisions of one line."""

    def __init__(self, setup: LineSetup) -> None:
        self.setup = setup
        self.batch = Batch()
        self.finding = self._no_finding()
        self.conditions = Conditions()
        self.texts: tuple[Text, ...] = ()
        self.bad: tuple[bool, ...] = (True,) * len(setup.tags)
        self.newest_s: float | None = None
        self.desk = TrimDesk(
            setup.trim, setup.schedule, tuple(tag.name for tag in setup.tags), setup.row_s
        )
        self._deviation = DeviationWatch(
            setup.deviation, setup.schedule, [tag.name for tag in setup.tags], setup.row_s
        )
        self._trim_due = True
        self._good: deque[float] = deque(maxlen=setup.step_rows)
        self._rows_in_step = 0
        self._heartbeat: int | None = None
        self._acknowledge: bool | None = None
        self._heartbeat_s: float | None = None
        self._first_s: float | None = None
        self._concluded_s: float | None = None

    def _no_finding(self, finished_s: float | None = None) -> Finding:
        why = NoScore.NO_MODEL if self.setup.verdict is None else NoScore.WARMING_UP
        return Finding(Verdict(why=why), finished_s=finished_s)

    def observe(self, row: Row, context: Context) -> bool:
        """Take a row and its set-points; True when a model step is complete."""
        self._trim_due = self.desk.observe(row, context) or self._trim_due
        self._deviation.observe(row, context)
        good = row.quality == Quality.GOOD
        self.bad = tuple((row.quality == Quality.BAD).tolist())
        self._good.append(float(good.mean()) if good.size else 0.0)
        if good.any():
            self.newest_s = row.t_s
        self._rows_in_step += 1
        if self._rows_in_step < self.setup.step_rows:
            return False
        self._rows_in_step = 0
        return True

    @property
    def rows_in_step(self) -> int:
        """Rows of the model step that is under way."""
        return self._rows_in_step

    @property
    def data_quality(self) -> float:
        """Good share of the tag-seconds of the last model step's worth of rows, 0..1."""
        return sum(self._good) / len(self._good) if self._good else 0.0

    def follow_batch(self, plc: PlcState | None) -> Batch:
        """A model step is due: the batch it belongs to. A new batch starts the verdict anew."""
        if self.setup.has_batches:
            self.batch = follow(self.batch, plc, self.setup.step_s)
        else:
            self.batch = continuous(self.batch)
        if self.batch.started:
            self.finding = self._no_finding(self.finding.finished_s)
        return self.batch

    def sit_beside(self, batch: Batch) -> None:
        """Follow the batch of another core, as a model in shadow does."""
        self.batch = batch
        if batch.started:
            self.finding = self._no_finding(self.finding.finished_s)

    def start_from(self, other: Verdict) -> None:
        """Go on from the level and the votes of another model's verdict; itself it said nothing."""
        self.finding.verdict = replace(
            self.finding.verdict, severity=other.severity, since_s=other.since_s, ups=other.ups,
            downs=other.downs,
        )  # fmt: skip

    def take_over(self, other: LineCore) -> None:
        """Go on with the model and the verdict of `other`, which has seen the same steps."""
        self.setup, self.finding = other.setup, other.finding

    def conclude(self, result: StepResult | NoScore, t_s: float, now_s: float) -> None:
        """A model step is finished; `t_s` is its end, epoch seconds, `now_s` monotonic."""
        setup, finding = self.setup, self.finding
        self._concluded_s = now_s
        if setup.verdict is None:
            result = NoScore.NO_MODEL
        if isinstance(result, NoScore):
            if setup.verdict is not None:
                finding.verdict = verdict.fold(finding.verdict, result, t_s, setup.verdict)
            else:
                finding.verdict = replace(finding.verdict, valid=False, why=result)
            finding.suspects = ()
            return
        assert setup.verdict is not None
        finding.verdict = verdict.fold(finding.verdict, result.score, t_s, setup.verdict)
        finding.infer_ms, finding.finished_s = result.infer_ms, now_s
        if not finding.verdict.valid:
            finding.suspects = ()
            return
        if setup.drift is not None:
            finding.drift = drift.fold(finding.drift, result.pooled, result.deviation, setup.drift)
        # Below the lower threshold nobody is under suspicion, so nobody is named.
        probability = finding.verdict.probability or 0.0
        named = finding.verdict.flag or probability >= setup.verdict.clear_threshold
        finding.suspects = (
            cam.rank(
                result.cam,
                result.deviation,
                setup.tags,
                setup.topology,
                kinds=dict(zip(setup.kinds, result.kinds.tolist())),
                valid=result.valid,
                redundant=() if setup.trim is None else setup.trim.ph_tags,
            )
            if named
            else ()
        )

    def decide(self, around: Surroundings) -> Decision:
        """Everything block W shows this second."""
        setup, finding = self.setup, self.finding
        if self._first_s is None:
            self._first_s = around.now_s
        plc_age_s = self._plc_age(around)
        alive = plc_age_s is not None and plc_age_s <= setup.plc_timeout_s
        acknowledged = self._acknowledged(around.plc)
        self._advise(around, alive, acknowledged)
        stale = self._stale(around.now_s)
        found = finding.verdict
        valid = found.valid and not stale
        drift_share = self._drift_share()
        seen = dict(around.seen)
        seen.update(self._seen(around, plc_age_s, valid, drift_share))
        self.conditions, ne107, alarms, self.texts = conditions.fold(
            self.conditions, seen, around.now_s, acknowledge=acknowledged
        )
        raised = self.conditions.raised
        status = self._status(around, valid, raised)
        decision = Decision(
            status=status,
            ne107=ne107,
            alarms=self._shelved(alarms, around.plc),
            infer_age_s=None if finding.finished_s is None else around.now_s - finding.finished_s,
            data_quality=self.data_quality,
            probability=found.probability if valid else None,
            severity=found.severity if valid else None,
            components=tuple((s.number, s.score) for s in finding.suspects) if valid else (),
            drift=drift_share,
            tags_bad=self.bad,
            newest_s=self.newest_s,
            batch_id=self.batch.batch_id,
            phase=self.batch.phase,
            model_serial=setup.model_serial,
            model_hash=setup.model_hash,
            sw_version=setup.sw_version,
            config_hash=setup.config_hash,
            infer_ms=finding.infer_ms,
            buffer_fill=around.buffer_fill,
            plc_age_s=plc_age_s,
        )
        return self.desk.show(decision, around.now_s)

    def adopt(self, setup: LineSetup) -> None:
        """Decide by `setup` from the next row on (a reload), and keep all that still holds.

        Kept always: conditions with their latches, the PLC's heartbeat and acknowledgement. With
        the same tags and rows: the model step under way. With the same model too: verdict, drift.
        """
        old, self.setup = self.setup, setup
        self.desk = self.desk.successor(
            setup.trim, setup.schedule, tuple(tag.name for tag in setup.tags), setup.row_s
        )
        if old.has_batches != setup.has_batches:
            self.batch = Batch()
        if _rows_of(old) != _rows_of(setup):
            self.bad = (True,) * len(setup.tags)
            self._good = deque(maxlen=setup.step_rows)
            self._rows_in_step = 0
        model = (old.model_hash, old.verdict is None) == (setup.model_hash, setup.verdict is None)
        if not model or _rows_of(old) != _rows_of(setup):
            self.finding = self._no_finding(self.finding.finished_s)
        if old.topology != setup.topology:
            self.finding.suspects = ()  # may name a component that is gone

    def memory(self, batch: Batch | None = None) -> dict[str, Any]:
        """What a restart must not forget, as JSON values: batch, verdict, drift, trim books.

        `batch`: of the step that was concluded last, where inference lags behind the rows.
        """
        found = self.finding
        return {
            "batch": asdict(batch or self.batch),
            "verdict": asdict(found.verdict),
            "drift": {
                "score": found.drift.score,
                "steps": found.drift.steps,
                "deviation_sq": found.drift.deviation_sq.tolist(),
            },
            "trim": trim_advice.to_plain(self.desk.advice),
        }

    def latched(self, now_s: float) -> list[dict[str, Any]]:
        """Conditions that wait for their acknowledgement, as JSON values."""
        return conditions.to_plain(self.conditions, now_s)

    def latch(self, saved: Iterable[Mapping[str, Any]], now_s: float) -> None:
        """Take up what waited for its acknowledgement when an earlier run ended."""
        with suppress(KeyError, TypeError, ValueError):
            self.conditions = conditions.from_plain(saved, now_s)

    def resume(
        self, saved: Mapping[str, Any], rows_since: int, *, same_model: bool = True
    ) -> None:
        """Take up the `memory` of an earlier run; a part that does not fit starts anew.

        `rows_since`: rows and gaps of the ring since the model step it was taken at, so that the
        steps keep their places and the batch goes on counting over those that were missed.
        Another model keeps all but the drift, which is in the units of its model: the level of
        the verdict stands until the new one has voted it down, as at a take-over.
        """
        missed, self._rows_in_step = divmod(max(rows_since, 0), self.setup.step_rows)
        with suppress(KeyError, TypeError, ValueError):
            batch = Batch(**saved["batch"])
            batch = replace(batch, state=BatchState(batch.state), started=False)
            if batch.state is BatchState.RUNNING:
                minutes = batch.minutes + missed * self.setup.step_s / 60.0
                batch = replace(batch, step=batch.step + missed, minutes=minutes)
            self.batch = batch
        with suppress(KeyError, TypeError, ValueError):
            old = saved["verdict"]
            self.finding.verdict = Verdict(
                why=self.finding.verdict.why,
                severity=int(old["severity"]),
                since_s=None if old["since_s"] is None else float(old["since_s"]),
                ups=tuple(int(level) for level in old["ups"]),
                downs=tuple(int(level) for level in old["downs"]),
            )
        with suppress(KeyError, TypeError, ValueError):
            old = saved["drift"] if same_model else {}
            self.finding.drift = Drift(
                None if old["score"] is None else float(old["score"]),
                int(old["steps"]),
                np.array(old["deviation_sq"], np.float64),
            )
        with suppress(KeyError, TypeError, ValueError):
            self.desk.advice = trim_advice.from_plain(saved["trim"])

    def _advise(self, around: Surroundings, alive: bool, acknowledged: bool) -> None:
        finding = self.finding
        if self._trim_due:
            self._trim_due = False
            guard = Guard(
                batch=self.batch,
                plc=around.plc,
                plc_alive=alive,
                # A verdict that has gone stale guards nothing, whatever it once said.
                verdict=replace(finding.verdict, valid=False)
                if self._stale(around.now_s)
                else finding.verdict,
                suspects=finding.suspects,
                drift=Condition.DRIFT in self.conditions.raised,
            )
            self.desk.minute(guard, around.now_s)
        self.desk.second(around.plc, alive, acknowledged, around.context, around.now_s)

    def _acknowledged(self, plc: PlcState | None) -> bool:
        """The operator acknowledges in this second: ACKNOWLEDGE rises.

        A PLC that leaves the bit set acknowledges once; it must not silence what comes later. Set
        when first seen counts as left over: nobody has looked at this appliance yet.
        """
        if plc is None:
            return False
        level = bool(plc.control & Control.ACKNOWLEDGE)
        rises, self._acknowledge = level and self._acknowledge is False, level
        return rises

    def _plc_age(self, around: Surroundings) -> float | None:
        if around.plc is not None and around.plc.heartbeat != self._heartbeat:
            self._heartbeat, self._heartbeat_s = around.plc.heartbeat, around.now_s
        return None if self._heartbeat_s is None else around.now_s - self._heartbeat_s

    def _stale(self, now_s: float) -> bool:
        finished_s = self.finding.finished_s
        return finished_s is None or now_s - finished_s > STALE_STEPS * self.setup.step_s

    def _stuck(self, now_s: float) -> bool:
        """Model steps come due and none is concluded, not even with a reason: inference hangs."""
        last_s = self._first_s if self._concluded_s is None else self._concluded_s
        return last_s is not None and now_s - last_s > (STALE_STEPS + 1) * self.setup.step_s

    def _drift_share(self) -> float | None:
        score, limit = self.finding.drift.score, self.setup.drift_limit
        return None if score is None or limit <= 0 else score / limit

    def _seen(
        self,
        around: Surroundings,
        plc_age_s: float | None,
        valid: bool,
        drift_share: float | None,
    ) -> dict[Condition, str]:
        """What the core itself sees this second, as rows of the conditions table."""
        setup, found = self.setup, self.finding.verdict
        control = around.plc.control if around.plc is not None else Control.NONE
        # A PLC that was never heard gets the same time to be found as one that falls silent.
        unheard_s = around.now_s - (self._first_s or 0.0) if plc_age_s is None else plc_age_s
        silent = unheard_s > setup.plc_timeout_s
        names = ", ".join(f"{s.component} {s.part}".strip() for s in self.finding.suspects[:1])
        deviation = self._deviation.second(self.batch)
        rows = (
            (Condition.INPUT_BAD, found.why is NoScore.INPUT_BAD, ""),
            (Condition.INFERENCE_FAILED, self._stuck(around.now_s), "no model step was finished"),
            (Condition.WARMING_UP, around.model_loaded and found.why is NoScore.WARMING_UP, ""),
            (Condition.DRIFT, drift_share is not None and drift_share > 1.0, self._moved()),
            (Condition.DEFECT_WARNING, valid and found.severity in (1, 2), names),
            (Condition.DEFECT_CRITICAL, valid and found.severity == 3, names),
            (Condition.NAOH_DEMAND, self.desk.advice.anomaly, ""),
            (Condition.SCHEDULE_DEVIATION, bool(deviation), deviation),
            (Condition.SIMULATION, bool(setup.simulation), setup.simulation),
            (Condition.PLC_SILENT, setup.has_batches and silent, ""),
            (Condition.MAINTENANCE, bool(control & Control.MAINTENANCE), ""),
            (
                Condition.ADVICE_DISABLED,
                around.plc is not None and not control & Control.ADVICE_ENABLED,
                "",
            ),
        )
        return {condition: detail for condition, active, detail in rows if active}

    def _moved(self) -> str:
        return ", ".join(self.finding.drift.moved(tuple(tag.name for tag in self.setup.tags)))

    def _status(self, around: Surroundings, valid: bool, raised: frozenset[Condition]) -> Status:
        bits = (
            (Status.RUNNING, True),
            (Status.WARMING_UP, Condition.WARMING_UP in raised),
            (Status.OUTPUT_VALID, valid),
            (
                Status.INPUT_BAD,
                bool(raised & {Condition.INPUT_BAD, Condition.LINK_DOWN}),
            ),
            (Status.MODEL_LOADED, around.model_loaded),
            (Status.CPU_FALLBACK, Condition.CPU_FALLBACK in raised),
            (Status.UPDATE_STAGED, around.update_staged),
            (Status.UPDATE_FAILED, Condition.UPDATE_FAILED in raised),
            (Status.DRIFT, Condition.DRIFT in raised),
            (Status.SIMULATION, bool(self.setup.simulation)),
            (
                Status.FUNCTION_CHECK,
                any(text.ne107 is Ne107.CHECK_FUNCTION for text in self.texts),
            ),
            (Status.CLOCK_NOT_SYNCHRONISED, Condition.CLOCK_STEPPED in raised),
            (Status.STORAGE_FAULT, Condition.STORAGE_FAULT in raised),
        )
        status = Status.NONE
        for bit, on in bits:
            if on:
                status |= bit
        return status

    @staticmethod
    def _shelved(alarms: Alarm, plc: PlcState | None) -> Alarm:
        """The SCADA owns alarms; while the operator shelves, the two defect alarms are silent."""
        if plc is not None and plc.control & Control.SHELVE:
            return alarms & ~(Alarm.DEFECT_WARNING | Alarm.DEFECT_CRITICAL)
        return alarms


def _rows_of(setup: LineSetup) -> tuple[tuple[tuple[str, str], ...], float, int]:
    """What rows and model steps consist of: while it is the same, one row follows another."""
    return tuple((tag.name, tag.unit) for tag in setup.tags), setup.row_s, setup.step_rows
