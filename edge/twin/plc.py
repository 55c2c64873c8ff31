"""FB_EdgeAdvisor: what the program in the plant's PLC does with block W, once a second.

Pure: `scan` takes the words that stand in the PLC's memory and the state of the process, and
returns the words of block R and the trim to add to the recipe's NaOH set-point. The safety of the
trim rests on it and not on the appliance. `edge.core.structured_text` is the same block in
Structured Text, for a real PLC; tests/plc runs both side by side.

Is the block believed?          Head = tail, CRC, map version (`decode_block_w`), and a heartbeat
                                that moved within 5 s. Otherwise every flag is masked and the offer
                                vanishes at once.
Is the advisor gone?            No believable block with a new heartbeat for 5 s: an accepted trim
                                is ramped back to the recipe. One torn block does not move the trim.
Is an offer shown to the panel? Block believed, TRIM_STATE offered, TTL above 0, advice enabled,
                                batch running. An answered number is never shown again. The limits
                                of the PLC are entered and possible.
Does an ACCEPT act?             The base it was computed from is still the base (tolerance), and the
                                SIMULATION bit is clear or this PLC is itself simulated.
                                Otherwise the PLC answers REJECT for the operator.
How does the trim act?          As a ratio of the base, clamped to the PLC's own authority, ramped
                                at the PLC's own rate: schedule steps carry it along, and it stays
                                (bumpless) until replaced, until the advisor goes or is switched off
                                (ramped back), or until the batch ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edge.core.outputs import BlockError, Decision, PlcState, decode_block_w, encode_block_r
from edge.core.registers import (
    ADVISOR_TIMEOUT_S,
    Control,
    PackML,
    Status,
    TrimReason,
    TrimState,
)
from edge.core.structured_text import (
    ANSWER_MIN_S,
    ANSWER_S,
    AUTHORITY_MAX,
    BASE_MAX_KG_H,
    RATE_MAX_KG_H_MIN,
    SAFE_KG_H_MIN,
    TOLERANCE_MAX,
)
from edge.twin.operator import AcceptAfter, Answer, Offer, Operator


@dataclass(frozen=True, slots=True, kw_only=True)
class PlcSettings:
    """Limits entered in the PLC, independent of the appliance's own."""

    authority: float = 0.15
    """Largest |trim| as a share of the base."""
    ramp_kg_h_min: float = 20.0
    """Fastest change of the trim, kg/h per minute."""
    fallback_kg_h_min: float = 4.0
    """Rate at which the trim goes back to the recipe when the advisor is gone, kg/h per minute."""
    base_tolerance: float = 0.02
    """Share of the base by which TRIM_BASE may differ from the PLC's own."""
    act_on_simulation: bool = True
    """Obey a block with the SIMULATION bit. True only because this PLC is simulated as well."""
    acknowledge_s: int | None = None
    """Seconds after which the operator has looked for a suspected leak and acknowledges, so that
    the pH is held again until the line can be stopped; None: never."""

    @property
    def possible(self) -> bool:
        """All four limits are entered and none is absurd; without them nothing acts."""
        return (
            0.0 < self.authority <= AUTHORITY_MAX
            and 0.0 < self.ramp_kg_h_min <= RATE_MAX_KG_H_MIN
            and 0.0 < self.fallback_kg_h_min <= RATE_MAX_KG_H_MIN
            and 0.0 < self.base_tolerance <= TOLERANCE_MAX
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """What the PLC knows about its own line in this second."""

    base_kg_h: float = 0.0
    """NaOH set-point of the recipe, without trim; 0 on a line that doses no NaOH. What is no number
    or more than TRIM_BASE can say carries no trim."""
    minute: float = 0.0
    phase: int = 0
    """Running schedule step, 1-based; 0 none."""
    state: PackML = PackML.EXECUTE
    batch_id: int = 0

    @property
    def doses(self) -> bool:
        """There is a base that a trim can be a share of."""
        return 0.0 < self.base_kg_h <= BASE_MAX_KG_H


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """The faceplate: what the operator sees. Masked, so that nothing stale looks fresh."""

    alive: bool = False
    fault: str = "no block yet"
    """Why the block is not believed; "" while it is."""
    age_s: int = 0
    """Seconds since the heartbeat last moved."""
    decision: Decision | None = None
    """The block's content; None whenever it is not believed."""
    offer: Offer | None = None
    """The suggestion that waits for an answer."""
    trim_kg_h: float = 0.0
    """Trim in force."""
    note: str = ""
    """Last thing that happened to a suggestion, in words."""


class PlcBlock:
    """One instance per line; call `scan` once a second."""

    def __init__(
        self, settings: PlcSettings | None = None, operator: Operator | None = None
    ) -> None:
        self.settings = settings or PlcSettings()
        self.operator = operator or AcceptAfter()
        self.advice_enabled = True
        self.controls = Control.NONE
        """Keys held down at the panel besides accept and reject (maintenance, shelve, labels)."""
        self.shelve_min = 0
        """Minutes keyed in with the shelve key."""
        self.panel = Panel()
        self.accepted: list[int] = []
        """TRIM_SEQ of every suggestion the PLC acted on, oldest first."""
        self.rejected: list[int] = []
        self._plc = PlcState()
        self._heartbeat = 0
        self._seq: int | None = None
        self._age_s = ADVISOR_TIMEOUT_S
        self._shown: tuple[int, int] = (0, 0)
        self._answered = 0
        self._pulse = Control.NONE
        self._pulse_s = 0
        self._suspected_s = 0
        self._target = 0.0
        self._ratio = 0.0

    def enter_maintenance(self, component: int, kind: int) -> None:
        """Two keys at the panel: this component was repaired, cleaned, calibrated or replaced."""
        event = (self._plc.maint_event + 1) & 0xFFFF
        self._plc = replace(
            self._plc, maint_event=event, maint_component=component, maint_kind=kind
        )

    def scan(self, words: Sequence[int], process: Process) -> tuple[tuple[int, ...], float]:
        """One PLC second: 64 words of block W -> (16 words of block R, trim in kg/h)."""
        decision, fault = self._believe(words)
        running = process.state is PackML.EXECUTE
        limited = self.settings.possible
        offer = self._offer(decision) if running and self.advice_enabled and limited else None
        note = self.panel.note
        if offer is not None:
            answer = self.operator.answer(offer)
            if answer is not None and decision is not None:
                note = self._answer(answer, offer, decision, process)
                offer = None
        gone = self._age_s >= ADVISOR_TIMEOUT_S
        if self._target and (gone or not self.advice_enabled or not limited):
            self._target = 0.0
            cause = (
                "advisor gone"
                if gone
                else (
                    "limits missing or impossible" if self.advice_enabled else "advice switched off"
                )
            )
            note = f"{cause}: trim goes back to the recipe"
        if limited:
            # A limit that was lowered holds for the trim in force as well.
            limit = self.settings.authority
            self._target = min(max(self._target, -limit), limit)
        if process.state in (PackML.COMPLETE, PackML.ABORTED, PackML.IDLE):
            self._target = self._ratio = 0.0
        trim_kg_h = self._ramp(process, gone=gone)
        self._fade_pulse(decision)
        self._acknowledge(decision)
        self.panel = Panel(
            alive=decision is not None,
            fault=fault,
            age_s=self._age_s,
            decision=decision,
            offer=offer,
            trim_kg_h=trim_kg_h,
            note=note,
        )
        return self._block_r(process, trim_kg_h), trim_kg_h

    def _believe(self, words: Sequence[int]) -> tuple[Decision | None, str]:
        try:
            block = decode_block_w(words)
        except BlockError as error:
            self._silent()  # a torn or damaged block is no sign of life
            return None, str(error)
        if block.seq != self._seq:
            self._age_s = 0
        else:
            self._silent()
        self._seq = block.seq
        if self._age_s >= ADVISOR_TIMEOUT_S:
            return None, f"advisor gone: heartbeat {block.seq} unchanged for {self._age_s} s"
        return block.decision, ""

    def _silent(self) -> None:
        self._age_s = min(self._age_s + 1, 0xFFFF)

    def _offer(self, decision: Decision | None) -> Offer | None:
        if decision is None or decision.trim_state is not TrimState.OFFERED:
            return None
        if decision.trim_ttl_s <= 0 or decision.trim_base_kg_h is None:
            return None
        if decision.trim_seq in (0, self._answered):
            return None
        seq, shown_s = self._shown
        self._shown = (decision.trim_seq, shown_s + 1 if seq == decision.trim_seq else 0)
        return Offer(
            seq=decision.trim_seq,
            trim_kg_h=decision.trim_kg_h,
            base_kg_h=decision.trim_base_kg_h,
            ttl_s=decision.trim_ttl_s,
            shown_s=self._shown[1],
        )

    def _answer(self, answer: Answer, offer: Offer, decision: Decision, process: Process) -> str:
        cause = "by the operator"
        if answer is Answer.ACCEPT:
            cause = self._refusal(offer, decision, process)
        accepted = answer is Answer.ACCEPT and not cause
        self._answered = offer.seq
        self._pulse, self._pulse_s = (Control.ACCEPT if accepted else Control.REJECT), 0
        if not accepted:
            self.rejected.append(offer.seq)
            return f"suggestion {offer.seq} rejected {cause}"
        self.accepted.append(offer.seq)
        wanted = offer.trim_kg_h / offer.base_kg_h
        limit = self.settings.authority
        self._target = min(max(wanted, -limit), limit)
        clamp = "" if self._target == wanted else f", clamped to {self._target:+.1%} of the base"
        return f"suggestion {offer.seq} accepted{clamp}"

    def _refusal(self, offer: Offer, decision: Decision, process: Process) -> str:
        """Why the PLC may not act on an accepted suggestion; "" if it may."""
        if decision.status & Status.SIMULATION and not self.settings.act_on_simulation:
            return "by the PLC: SIMULATION bit set"
        if not process.doses or offer.base_kg_h <= 0.0:
            return "by the PLC: no NaOH set-point"
        moved = abs(offer.base_kg_h - process.base_kg_h)
        if moved > self.settings.base_tolerance * process.base_kg_h:
            return (
                f"by the PLC: base {process.base_kg_h:.1f} kg/h has moved away from "
                f"{offer.base_kg_h:.1f} kg/h"
            )
        return ""

    def _ramp(self, process: Process, *, gone: bool) -> float:
        base_kg_h = process.base_kg_h
        if not process.doses:
            return 0.0
        rate = self.settings.fallback_kg_h_min if gone else self.settings.ramp_kg_h_min
        if not self.settings.possible:
            rate = SAFE_KG_H_MIN
        step = rate / 60.0 / base_kg_h
        self._ratio += min(max(self._target - self._ratio, -step), step)
        return self._ratio * base_kg_h

    def _fade_pulse(self, decision: Decision | None) -> None:
        """Take ACCEPT or REJECT back once the appliance took note, or when its time is over."""
        if not self._pulse:
            return
        self._pulse_s += 1
        noted = decision is not None and (
            decision.trim_seq != self._answered or decision.trim_state is not TrimState.OFFERED
        )
        if self._pulse_s > ANSWER_S or (noted and self._pulse_s > ANSWER_MIN_S):
            self._pulse = Control.NONE

    def _acknowledge(self, decision: Decision | None) -> None:
        """Press ACKNOWLEDGE once per suspicion, for as long as an answer stands."""
        after_s = self.settings.acknowledge_s
        suspected = decision is not None and decision.trim_reason is TrimReason.NAOH_DEMAND_ANOMALY
        self._suspected_s = self._suspected_s + 1 if suspected else 0
        if after_s is not None and self._suspected_s == after_s:
            self._pulse, self._pulse_s = Control.ACKNOWLEDGE, 0

    def _block_r(self, process: Process, trim_kg_h: float) -> tuple[int, ...]:
        self._heartbeat = (self._heartbeat + 1) & 0xFFFF
        control = self.controls | self._pulse
        if self.advice_enabled:
            control |= Control.ADVICE_ENABLED
        if process.state in (PackML.EXECUTE, PackML.HELD):
            control |= Control.BATCH_ACTIVE
        if process.state is PackML.HELD:
            control |= Control.HELD
        self._plc = replace(
            self._plc,
            heartbeat=self._heartbeat,
            control=control,
            trim_seq_ack=self._answered,
            trim_applied_kg_h=trim_kg_h,
            batch_id=process.batch_id,
            batch_state=int(process.state),
            phase=process.phase,
            batch_minutes=int(process.minute),
            shelve_min=self.shelve_min,
        )
        return encode_block_r(self._plc)
