"""One line's rows, verdicts and changes -> records of the history.

The line tells it three things: a model step's rows are in, a step was concluded, a second was
decided. Only changes become events; the rows come from the ring, in whole model steps, so that
they belong to the batch the model saw them in. After a start the rows that the ring kept and the
history lacks (a kill, a disk that was full) are taken from the ring.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from edge.config.types import Line
from edge.core.batch import Batch, BatchState
from edge.core.conditions import Condition
from edge.core.line import LineCore, StepResult
from edge.core.outputs import PlcState
from edge.core.registers import Control, MaintKind, TrimState
from edge.core.ring import Ring
from edge.core.tags import Quality, Reason
from edge.core.trim import Held
from edge.core.verdict import NoScore
from edge.runtime.infer import Engine
from edge.runtime.store.minute import Times
from edge.runtime.store.records import BatchAt, Event, Minute, Step
from edge.runtime.store.store import Store

SHOWN_S = 600.0
"""How long a history that was begun anew is shown as a condition."""
_ANSWERS = (TrimState.ACCEPTED, TrimState.REJECTED, TrimState.APPLIED_WITH_CLAMP)
_LABELS = ((Control.LABEL_DEFECT, "defect"), (Control.LABEL_FALSE_ALARM, "false alarm"))


@dataclass(slots=True)
class _Said:
    """What was logged last of each thing that changes."""

    verdict: tuple[Any, ...] = ()
    batch: tuple[Any, ...] = ()
    trim: tuple[Any, ...] = ()
    raised: frozenset[Condition] = frozenset()
    control: Control | None = None
    maintenance: int | None = None


class Recorder:
    """The history's ear on one line; never waits for the disk."""

    def __init__(
        self, line: Line, store: Store, *, model: str = "", config_sha256: str = ""
    ) -> None:
        self.line = line
        self._store, self._put = store, store.put
        self._replaced_s: float | None = None
        self._tags = tuple((row.tag.name, row.tag.unit) for row in line.tags)
        self._numbers = {c.number: c.code for c in line.topology.components}
        self.model, self._config = model, config_sha256
        self._kept: list[Minute] = []
        """Model steps that are not yet a minute."""
        self._said = _Said()
        self._first_seq: int | None = None
        """The first row of the ring that this process records by itself."""

    def seen(self, now_s: float) -> dict[Condition, str]:
        """Conditions of the history itself, with their detail."""
        store, seen = self._store, dict[Condition, str]()
        if store.fault or store.short:
            seen[Condition.STORAGE_FAULT] = store.fault or store.short
        if store.full:
            seen[Condition.HISTORY_FULL] = store.full
        if store.replaced and self._replaced_s is None:
            self._replaced_s = now_s
        if self._replaced_s is not None and now_s - self._replaced_s < SHOWN_S:
            seen[Condition.RING_REPLACED] = store.replaced
        return seen

    def adopt(self, line: Line, engine: Engine | None, config_sha256: str) -> None:
        """The line goes on with another configuration: what was gathered belongs to the old one."""
        self.flush()
        self.line = line
        self._tags = tuple((row.tag.name, row.tag.unit) for row in line.tags)
        self._numbers = {c.number: c.code for c in line.topology.components}
        self.model, self._config = model_text(engine), config_sha256
        self._store.event(
            "configuration", line.name, config_sha256=config_sha256, model=self.model
        )

    def updated(self, release: str, outcome: str, text: str, engine: Engine | None) -> None:
        """A trial or a probation ended: log it, and file what follows under the model that decides
        now."""
        self.model = model_text(engine)
        self._store.event(
            "update", self.line.name, release=release, outcome=outcome, text=text, model=self.model
        )

    def beside(self, body: dict[str, Any]) -> None:
        """A model step as the live model and the one in shadow see it."""
        self._store.event("shadow", self.line.name, **body)

    # Rows.

    def starting(self, ring: Ring, rows_in_step: int) -> None:
        """Rows up to here are from before the start, but for those of the step under way."""
        self._first_seq = ring.seq - rows_in_step + 1

    def take_up(self, ring: Ring, core: LineCore) -> Iterator[int]:
        """The history is open: record what the ring holds from before the start and the history
        lacks, a minute for each item; yields its rows.

        A ring holds more minutes than the queue: the caller waits between two of them.
        """
        name, rows = self.line.name, max(1, round(60.0 / self.line.row_s))
        if self._said.maintenance is None:
            # What was keyed in while nobody listened is logged, too.
            self._said.maintenance = self._store.maintenance.get(name)
        last = (self._first_seq or 1) - 1
        count = min(last - (ring.seq - ring.count), ring.count)
        if count <= 0:
            return
        behind = ring.seq - last
        times = ring.times(behind + count)[:count]
        lacking = np.isfinite(times) & (times > self._store.newest_s.get(name, -np.inf))
        if not lacking.any():
            return
        start = int(np.argmax(lacking))
        times = _without_holes(times[start:], self.line.row_s)
        # Copies: the ring goes on, and may be closed, while the caller waits. So may the tags.
        values, quality = ring.block(last - count + 1 + start, count - start)
        reason, tags = ring.reasons(behind + count)[start:count], self._tags
        batch = before = self._at(core.batch, core, float(times[-1]))
        for first in range(0, len(times), rows):
            part = slice(first, first + rows)
            minute = Minute(line=name, batch=batch, tags=tags, times=times[part],
                            values=values[part], quality=quality[part],
                            reason=reason[part])  # fmt: skip
            if _holds_something(minute):
                self._put(minute)
                yield len(minute.times)
                if core.setup.has_batches:
                    # The batch has gone on meanwhile; rows of before are not those of the next.
                    now = self._at(core.batch, core, float(times[-1]))
                    batch = now if _same(before, now) else None

    def step_due(self, ring: Ring, core: LineCore, rows: int) -> None:
        """A model step's `rows` are complete, and the batch they belong to is known."""
        values, quality = ring.last(rows)
        times = _without_holes(ring.times(rows), self.line.row_s)
        chunk = Minute(
            line=self.line.name, batch=self._at(core.batch, core, float(times[-1])),
            tags=self._tags, times=times, values=values.copy(), quality=quality.copy(),
            reason=ring.reasons(rows),
        )  # fmt: skip
        if self._kept and not _same(self._kept[-1].batch, chunk.batch):
            self.flush()
        self._kept.append(chunk)
        if sum(len(c.times) for c in self._kept) * self.line.row_s >= 60.0:
            self.flush()

    def flush(self) -> None:
        """Hand over the rows gathered so far."""
        kept, self._kept = self._kept, []
        if not kept:
            return
        minute = replace(
            kept[-1],
            **{
                name: np.concatenate([getattr(chunk, name) for chunk in kept])
                for name in ("times", "values", "quality", "reason")
            },
        )
        if _holds_something(minute):
            self._put(minute)

    def _at(self, batch: Batch, core: LineCore, t_s: float) -> BatchAt | None:
        if not core.setup.has_batches:
            # A continuous process is kept day by day.
            day = int(datetime.fromtimestamp(t_s, UTC).strftime("%Y%m%d"))
            minutes = t_s % 86_400.0 / 60.0
            return self._batch_at(core, day, minutes, str(BatchState.RUNNING))
        if batch.state is BatchState.IDLE:
            return None
        return self._batch_at(core, batch.batch_id, batch.minutes, str(batch.state))

    def _batch_at(self, core: LineCore, batch_id: int, minutes: float, state: str) -> BatchAt:
        return BatchAt(batch_id=batch_id, minutes=minutes, state=state, model=self.model,
                       simulation=core.setup.simulation, config_sha256=self._config)  # fmt: skip

    # Verdicts.

    def concluded(
        self, t_s: float, batch: Batch, result: StepResult | NoScore, core: LineCore
    ) -> None:
        """A model step was concluded."""
        found = core.finding
        scored = result if isinstance(result, StepResult) else None
        verdict, limit = found.verdict, core.setup.drift_limit
        drift = found.drift.score
        self._put(
            Step(
                line=self.line.name,
                batch=self._at(batch, core, t_s),
                t_s=t_s,
                phase=batch.phase,
                probability=verdict.probability if verdict.valid else None,
                severity=verdict.severity if verdict.valid else None,
                why="" if verdict.why is None else str(verdict.why),
                drift=None if drift is None or limit <= 0 else drift / limit,
                data_quality=core.data_quality,
                demand=core.desk.advice.demand,
                cam=None if scored is None else scored.cam,
                deviation=None if scored is None else scored.deviation,
                suspects=tuple((s.component, s.part, s.score) for s in found.suspects),
            )
        )

    # Changes.

    def second(self, core: LineCore, plc: PlcState | None, t_s: float) -> None:
        """A second was decided: log what changed in it."""
        for kind, body in (
            *self._conditions(core), *self._verdict(core), *self._batch(core), *self._trim(core),
            *self._panel(plc),
        ):  # fmt: skip
            self._put(Event(t_s=t_s, line=self.line.name, kind=kind, body=body))

    def _conditions(self, core: LineCore) -> list[tuple[str, dict[str, Any]]]:
        raised, before = core.conditions.raised, self._said.raised
        if raised == before:
            return []
        self._said.raised = raised
        texts = {text.condition: text for text in core.texts}
        out = [
            ("condition", {"condition": str(c), "raised": True, "text": texts[c].cause})
            for c in sorted(raised - before)
        ]
        return out + [
            ("condition", {"condition": str(c), "raised": False}) for c in sorted(before - raised)
        ]

    def _verdict(self, core: LineCore) -> list[tuple[str, dict[str, Any]]]:
        found = core.finding.verdict
        now = (found.valid, found.severity, str(found.why or ""))
        if now == self._said.verdict:
            return []
        self._said.verdict = now
        return [(
            "verdict",
            {
                "valid": found.valid, "severity": found.severity, "why": now[2],
                "probability": found.probability,
                "suspects": [[s.component, s.part, s.score] for s in core.finding.suspects],
            },
        )]  # fmt: skip

    def _batch(self, core: LineCore) -> list[tuple[str, dict[str, Any]]]:
        batch = core.batch
        now = (batch.batch_id, str(batch.state))
        if now == self._said.batch or not core.setup.has_batches:
            return []
        self._said.batch = now
        return [("batch", {"batch_id": batch.batch_id, "state": now[1],
                           "minutes": batch.minutes, "phase": batch.phase})]  # fmt: skip

    def _trim(self, core: LineCore) -> list[tuple[str, dict[str, Any]]]:
        advice = core.desk.advice
        held = advice.outcome.reason.name if isinstance(advice.outcome, Held) else ""
        before, now = self._said.trim, (advice.seq, advice.state, held)
        if now == before:
            return []
        self._said.trim = now
        offer, open_ = advice.offer, advice.state is not TrimState.NONE
        if now[:2] == before[:2] or offer is None or not open_:
            # The dialogue stands where it stood; what is new is why nothing further is suggested.
            return [("suggestion", {"seq": advice.seq, "held": held.lower()})] if held else []
        body = {
            "seq": advice.seq, "state": advice.state.name.lower(),
            "reason": advice.reason.name.lower(), "trim_kg_h": offer.trim_kg_h,
            "base_kg_h": offer.base_kg_h, "lo_kg_h": offer.lo_kg_h, "hi_kg_h": offer.hi_kg_h,
            "predicted_ph": offer.predicted_ph, "clamped": offer.clamped,
        }  # fmt: skip
        return [("answer" if advice.state in _ANSWERS else "suggestion", body)]

    def _panel(self, plc: PlcState | None) -> list[tuple[str, dict[str, Any]]]:
        if plc is None:
            return []
        out: list[tuple[str, dict[str, Any]]] = []
        before, self._said.control = self._said.control, plc.control
        for bit, label in _LABELS:
            if before is not None and plc.control & bit and not before & bit:
                out.append(("label", {"label": label, "batch_id": plc.batch_id}))
        if not self._store.opened.is_set():
            return out
        counter, self._said.maintenance = self._said.maintenance, plc.maint_event
        # A PLC that has just started reports 0: no entry was made.
        if counter is not None and plc.maint_event not in (counter, 0):
            out.append(("maintenance", {
                "counter": plc.maint_event,
                "component": self._numbers.get(plc.maint_component, ""),
                "number": plc.maint_component,
                "kind": _maint_kind(plc.maint_kind),
                "batch_id": plc.batch_id,
            }))  # fmt: skip
        return out


def _maint_kind(number: int) -> str:
    known = {int(kind): kind.name.lower() for kind in MaintKind}
    return known.get(number, f"code {number}")


def _same(a: BatchAt | None, b: BatchAt | None) -> bool:
    if a is None or b is None:
        return a is b
    return a.batch_id == b.batch_id and b.minutes >= a.minutes


def _holds_something(minute: Minute) -> bool:
    """Slots nobody polled are not kept: their absence says the same."""
    return bool(((minute.quality != Quality.BAD) | (minute.reason != Reason.MISSED)).any())


def _without_holes(times: Times, row_s: float) -> Times:
    """Slot times with those the ring does not hold filled in from their neighbours."""
    if np.isfinite(times).all():
        return times
    known = np.flatnonzero(np.isfinite(times))
    if not len(known):
        return np.zeros(len(times))
    # A day of rows with one torn among them: nothing here may grow with their square.
    slots = np.arange(len(times))
    after = np.searchsorted(known, slots)
    left, right = known[np.maximum(after - 1, 0)], known[np.minimum(after, len(known) - 1)]
    nearest = np.where(np.abs(slots - left) <= np.abs(right - slots), left, right)
    filled: Times = times[nearest] + (slots - nearest) * row_s
    return filled


def model_text(engine: Engine | None) -> str:
    """Name, serial and hash of a model, as the history keeps them."""
    if engine is None:
        return "none"
    card = engine.bundle.card
    return f"{card.name}, serial {card.serial}, SHA-256 {engine.bundle.model_sha256}"
