"""Conditions: what may be wrong, and what everybody is told about it. One table, no branches.

Each row: NE 107 status, alarm bit (six at most, registers.Alarm), text for the HMI (cause and
action), on and off delay, latch. The shell says every second which conditions it sees; `fold` turns
that into the state to publish:

    seen for `on_s` without interruption       ->  raised
    not seen for `off_s` without interruption  ->  cleared, unless the row latches
    latched                                    ->  stays until acknowledged with its cause gone

The reported NE 107 status is the most urgent raised one, F > C > S > M > normal: during maintenance
(function check) an off-spec input is expected, and a failure is never hidden by anything.
Two lines or links in the same condition share its alarm bit; the text names the object.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from edge.core.registers import Alarm, Ne107


class Condition(StrEnum):
    """Everything that may be wrong or unusual."""

    LINK_DOWN = "link down"
    CERTIFICATE_REFUSED = "certificate refused"
    LOGIN_REFUSED = "login refused"
    CERTIFICATE_EXPIRES = "certificate expires"
    SUBSCRIPTION_LOST = "subscription lost"
    INPUT_BAD = "input bad"
    ACQUISITION_DEAD = "acquisition dead"
    MODEL_MISSING = "model missing"
    MODEL_CORRUPT = "model corrupt"
    MODEL_MISMATCH = "model does not fit"
    INFERENCE_FAILED = "inference failed"
    CPU_FALLBACK = "CPU fallback"
    DRIFT = "input drift"
    DEFECT_WARNING = "defect warning"
    DEFECT_CRITICAL = "defect critical"
    NAOH_DEMAND = "NaOH demand anomaly"
    SCHEDULE_DEVIATION = "schedule deviation"
    PLC_SILENT = "PLC heartbeat lost"
    WRITE_FAILED = "write to PLC failed"
    READBACK_MISMATCH = "read-back differs"
    STORAGE_FAULT = "storage fault"
    RING_REPLACED = "ring replaced"
    HISTORY_FULL = "history full"
    CLOCK_STEPPED = "clock stepped"
    SIMULATION = "simulation or replay"
    MAINTENANCE = "maintenance mode"
    WARMING_UP = "warming up"
    ADVICE_DISABLED = "advice disabled"
    UPDATE_FAILED = "update failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What follows from one condition."""

    ne107: Ne107
    cause: str
    """For the HMI: what is wrong, one sentence."""
    action: str
    """For the HMI: what to do, one sentence."""
    alarm: Alarm = Alarm.NONE
    on_s: float = 0.0
    off_s: float = 0.0
    latch: bool = False
    """Stays raised until acknowledged, even when the cause is gone."""


_F, _C, _S, _M = (
    Ne107.FAILURE, Ne107.CHECK_FUNCTION, Ne107.OFF_SPEC, Ne107.MAINTENANCE_REQUIRED,
)  # fmt: skip

TABLE: Mapping[Condition, Row] = MappingProxyType({
    Condition.LINK_DOWN: Row(
        ne107=_F, alarm=Alarm.BAD_INPUT, on_s=5.0, off_s=5.0,
        cause="No answer from a PLC or server; its process values are bad.",
        action="Check power, network and address of the named link; the appliance reconnects by "
        "itself.",
    ),
    Condition.CERTIFICATE_REFUSED: Row(
        ne107=_F, alarm=Alarm.BAD_INPUT,
        cause="A certificate was refused, so there is no connection; its process values are bad.",
        action="Read the reason; compare fingerprints with `ncm-edge certificate --show` before "
        "anything is trusted.",
    ),
    Condition.LOGIN_REFUSED: Row(
        ne107=_F, alarm=Alarm.BAD_INPUT,
        cause="The server refused the user of the link; its process values are bad.",
        action="Correct user and password file of the link; it is tried slowly, so that no account "
        "is locked.",
    ),
    Condition.CERTIFICATE_EXPIRES: Row(
        ne107=_M,
        cause="A certificate ends within 30 days or has ended.",
        action="Renew it and have it trusted on both sides; it is used from the next connect on. "
        "`ncm-edge certificate --show` lists the days left.",
    ),
    Condition.SUBSCRIPTION_LOST: Row(
        ne107=_M, off_s=600.0,
        cause="A server stopped reporting changes without saying so; the link was made anew.",
        action='Values are not affected; where it happens again and again, set mode = "read" for '
        "the link in line.toml.",
    ),
    Condition.INPUT_BAD: Row(
        ne107=_F, alarm=Alarm.BAD_INPUT, on_s=30.0, off_s=30.0,
        cause="Too few good process values for a verdict.",
        action="Open `ncm-edge tags --errors` and check the instruments it lists.",
    ),
    Condition.ACQUISITION_DEAD: Row(
        ne107=_F, alarm=Alarm.ADVISOR_FAILED, off_s=5.0,
        cause="Rows no longer arrive from the acquisition.",
        action="Restart the service ncm-edge; send the log to the supplier if it happens again.",
    ),
    Condition.MODEL_MISSING: Row(
        ne107=_F, alarm=Alarm.ADVISOR_FAILED,
        cause="No model bundle is installed for this line.",
        action="Install the bundle of this line; no verdict is given until then.",
    ),
    Condition.MODEL_CORRUPT: Row(
        ne107=_F, alarm=Alarm.ADVISOR_FAILED,
        cause="A file of the model bundle is damaged or incomplete.",
        action="Install the bundle again from its original medium.",
    ),
    Condition.MODEL_MISMATCH: Row(
        ne107=_F, alarm=Alarm.ADVISOR_FAILED,
        cause="The model was made for other tags, units or another row time than this line has.",
        action="Install the bundle of this line, or correct tags.toml; `ncm-edge check` lists "
        "every difference.",
    ),
    Condition.INFERENCE_FAILED: Row(
        ne107=_F, alarm=Alarm.ADVISOR_FAILED, off_s=60.0,
        cause="The model could not be run or gave no number.",
        action="Wait two minutes for the automatic retry, then restart the service ncm-edge.",
    ),
    Condition.CPU_FALLBACK: Row(
        ne107=_M, on_s=5.0,
        cause="The model runs on the processor instead of the configured graphics card.",
        action="Verdicts stay valid; have driver and card checked at the next opportunity.",
    ),
    Condition.DRIFT: Row(
        ne107=_S, alarm=Alarm.DRIFT, on_s=600.0, off_s=1800.0,
        cause="The input has left the range the model was adapted to.",
        action="Look for a recalibration, repair or new raw material; have the model adapted.",
    ),
    Condition.DEFECT_WARNING: Row(
        ne107=Ne107.NORMAL, alarm=Alarm.DEFECT_WARNING, off_s=60.0,
        cause="A defect is developing (severity 1 or 2: about three or two days before a failure).",
        action="Inspect the named component within the shift and enter the finding.",
    ),
    Condition.DEFECT_CRITICAL: Row(
        ne107=Ne107.NORMAL, alarm=Alarm.DEFECT_CRITICAL, off_s=60.0, latch=True,
        cause="A defect is about to fail (severity 3: about one day).",
        action="Inspect the named component now; decide whether the next batch may start.",
    ),
    Condition.NAOH_DEMAND: Row(
        ne107=Ne107.NORMAL, alarm=Alarm.DEFECT_WARNING, off_s=300.0,
        cause="NaOH demand anomaly: the reactor needs more or less NaOH than its own history.",
        action="Inspect the NaOH line, its flow meter and the pH probes; the trim is held "
        "meanwhile.",
    ),
    Condition.SCHEDULE_DEVIATION: Row(
        ne107=_S, off_s=60.0,
        cause="The batch does not run as scheduled; the verdict compares it with one that does.",
        action="Compare recipe and schedule of this grade; look for a pump or valve off its "
        "set-point.",
    ),
    Condition.PLC_SILENT: Row(
        ne107=_F, alarm=Alarm.BAD_INPUT, off_s=5.0,
        cause="The PLC's heartbeat in block R stands still.",
        action="Check that the PLC program runs and calls the advisor block; no trim is offered.",
    ),
    Condition.WRITE_FAILED: Row(
        ne107=_F, alarm=Alarm.ADVISOR_FAILED, on_s=5.0, off_s=5.0,
        cause="Block W could not be written to the PLC.",
        action="Check the link and that the PLC permits writing the addresses of outputs.toml.",
    ),
    Condition.READBACK_MISMATCH: Row(
        ne107=_F, alarm=Alarm.ADVISOR_FAILED, on_s=3.0, off_s=30.0, latch=True,
        cause="Block W reads back differently from what was written: somebody else writes there.",
        action="Find the other writer of these registers, or move block W in outputs.toml.",
    ),
    Condition.STORAGE_FAULT: Row(
        ne107=_M,
        cause="The disk refuses writing; rows or history are kept in memory only.",
        action="Free space on the state directory's disk, or replace it; writing goes on by "
        "itself.",
    ),
    Condition.RING_REPLACED: Row(
        ne107=_M, off_s=3600.0,
        cause="The row history did not fit this configuration or was damaged; a new one was begun.",
        action="Nothing to do; verdicts need a few minutes of history. The old file was kept.",
    ),
    Condition.HISTORY_FULL: Row(
        ne107=_M,
        cause="Defective batches that were never exported fill the history beyond its limit.",
        action="Export them with `ncm-edge archive`, or raise max_mb of appliance.toml; nothing is "
        "lost meanwhile.",
    ),
    Condition.CLOCK_STEPPED: Row(
        ne107=_M, off_s=600.0,
        cause="The wall clock jumped, or is not synchronised.",
        action="Check the time service; verdicts are not affected, time stamps near the jump are.",
    ),
    Condition.SIMULATION: Row(
        ne107=_C,
        cause="The input is a simulation or a replay, not the plant.",
        action="Never act on these outputs; switch the line to its real source to leave this mode.",
    ),
    Condition.MAINTENANCE: Row(
        ne107=_C,
        cause="The operator has set maintenance; alarms of this line are expected.",
        action="Reset the maintenance key at the panel when the work is done.",
    ),
    Condition.WARMING_UP: Row(
        ne107=_C,
        cause="The model is catching up with the row history; there is no verdict yet.",
        action="Wait; this ends by itself within a few minutes.",
    ),
    Condition.ADVICE_DISABLED: Row(
        ne107=Ne107.NORMAL,
        cause="Advice is switched off at the panel; no trim is suggested.",
        action="Switch advice on at the panel when suggestions are wanted.",
    ),
    Condition.UPDATE_FAILED: Row(
        ne107=_M, alarm=Alarm.UPDATE_FAILED, latch=True,
        cause="An update was refused or rolled back; the previous version runs.",
        action="Read the reason with `ncm-edge status` and send the medium back to the supplier.",
    ),
})  # fmt: skip

_URGENCY = (_F, _C, _S, _M, Ne107.NORMAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timer:
    """How long one condition has been seen or not seen."""

    seen: bool
    since_s: float
    """When `seen` last changed."""
    raised_s: float | None = None
    """When it was raised; None while it is not."""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """One line for the HMI."""

    condition: Condition
    ne107: Ne107
    cause: str
    action: str
    since_s: float
    latched: bool
    """True: the cause is gone and only the acknowledgement is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """State of the fold."""

    timers: Mapping[Condition, Timer] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def raised(self) -> frozenset[Condition]:
        """Conditions that are raised now."""
        return frozenset(c for c, timer in self.timers.items() if timer.raised_s is not None)


def fold(
    state: Conditions,
    active: Iterable[Condition] | Mapping[Condition, str],
    now_s: float,
    *,
    acknowledge: bool = False,
) -> tuple[Conditions, Ne107, Alarm, tuple[Text, ...]]:
    """One second: what the shell sees now -> state, NE 107 status, alarm bits, texts.

    `active` may map each condition to a detail (link, tag, component) that is shown with its cause.
    `now_s` is monotonic; the on and off delays run in it. Texts come most urgent first.
    """
    details = dict(active) if isinstance(active, Mapping) else dict.fromkeys(active, "")
    timers: dict[Condition, Timer] = {}
    for condition, row in TABLE.items():
        timer = _next(state.timers.get(condition), row, condition in details, now_s, acknowledge)
        if timer is not None:
            detail = details.get(condition, timer.detail)
            timers[condition] = Timer(
                seen=timer.seen, since_s=timer.since_s, raised_s=timer.raised_s, detail=detail
            )
    texts = tuple(
        Text(
            condition=condition,
            ne107=TABLE[condition].ne107,
            cause=f"{timer.detail}: {TABLE[condition].cause}" if timer.detail
            else TABLE[condition].cause,
            action=TABLE[condition].action,
            since_s=timer.raised_s,
            latched=not timer.seen,
        )
        for condition, timer in timers.items()
        if timer.raised_s is not None
    )  # fmt: skip
    alarms = Alarm.NONE
    for text in texts:
        alarms |= TABLE[text.condition].alarm
    ne107 = min((text.ne107 for text in texts), key=_URGENCY.index, default=Ne107.NORMAL)
    texts = tuple(sorted(texts, key=lambda text: (_URGENCY.index(text.ne107), text.since_s)))
    return Conditions(timers=MappingProxyType(timers)), ne107, alarms, texts


def to_plain(state: Conditions, now_s: float) -> list[dict[str, Any]]:
    """What has to survive a restart, as JSON values: whatever waits for its acknowledgement."""
    return [
        {
            "condition": str(condition),
            "raised_for_s": now_s - timer.raised_s,
            "detail": timer.detail,
        }
        for condition, timer in state.timers.items()
        if timer.raised_s is not None and TABLE[condition].latch
    ]


def from_plain(plain: Iterable[Mapping[str, Any]], now_s: float) -> Conditions:
    """The conditions of a checkpoint, for a new process: raised, and so far not seen again.

    Rows of another version that are no condition or latch no more are passed over. Raises
    KeyError, TypeError or ValueError if `plain` is not of `to_plain`.
    """
    known = {str(condition): condition for condition, row in TABLE.items() if row.latch}
    timers = {
        known[str(kept["condition"])]: Timer(
            seen=False, since_s=now_s, raised_s=now_s - max(float(kept["raised_for_s"]), 0.0),
            detail=str(kept["detail"]),
        )
        for kept in plain
        if str(kept["condition"]) in known
    }  # fmt: skip
    return Conditions(timers=MappingProxyType(timers))


def _next(old: Timer | None, row: Row, seen: bool, now_s: float, acknowledge: bool) -> Timer | None:
    """The timer one second later; None once nothing is left to remember."""
    if old is None:
        if not seen:
            return None
        old = Timer(seen=True, since_s=now_s)
    since_s = old.since_s if old.seen == seen else now_s
    raised_s = old.raised_s
    if raised_s is None:
        if not seen:
            return None
        if now_s - since_s >= row.on_s:
            raised_s = now_s
    elif not seen and now_s - since_s >= row.off_s and (acknowledge or not row.latch):
        return None
    return Timer(seen=seen, since_s=since_s, raised_s=raised_s, detail=old.detail)
