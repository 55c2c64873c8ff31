"""Decisions -> block W (sequence, CRC); block R -> what the PLC and its operator say.

Encoding is the last guard before the PLC, so it is total: whatever numbers it is given (NaN,
infinities, values outside 16 bits) it produces 64 valid words and errs towards "no value".
In particular it keeps these promises whatever the caller asks for:

- OUTPUT_VALID, DEFECT_PROB, SEVERITY and the components stand or fall together;
- a trim is shown as offered only with a finite delta and base, inside its own limits, unexpired;
- SEQ_HEAD = SEQ_TAIL, and the CRC covers everything before it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edge.core import registers as reg
from edge.core.registers import Alarm, Control, Ne107, Status, TrimReason, TrimState
from edge.core.words import clamp, finite, load, number, put, share, value_or_none, whole

_OPEN = (TrimState.OFFERED, TrimState.ACCEPTED, TrimState.APPLIED_WITH_CLAMP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Everything block W shows about one line; the defaults say "nothing is known"."""

    status: Status = Status.NONE
    """OUTPUT_VALID and TRIM_OFFERED are requests: cleared if the rest contradicts them."""
    ne107: Ne107 = Ne107.NORMAL
    alarms: Alarm = Alarm.NONE
    infer_age_s: float | None = None
    """Seconds since the last finished inference; None before the first."""
    data_quality: float | None = None
    """Good share of the required tag-seconds in the window, 0..1."""
    probability: float | None = None
    """Defect probability, 0..1."""
    severity: int | None = None
    """0..3."""
    components: tuple[tuple[int, float], ...] = ()
    """(component id, score 0..1), best first; at most three are shown."""
    drift: float | None = None
    """Drift score as a share of its alarm limit."""
    trim_seq: int = 0
    trim_kg_h: float = 0.0
    """Suggested NaOH flow minus the base."""
    trim_base_kg_h: float | None = None
    trim_lo_kg_h: float = 0.0
    trim_hi_kg_h: float = 0.0
    trim_ttl_s: float = 0.0
    trim_state: TrimState = TrimState.NONE
    trim_reason: TrimReason = TrimReason.NONE
    tags_bad: tuple[bool, ...] = ()
    """One per tag of the line; the first 64 are shown."""
    newest_s: float | None = None
    """UTC epoch seconds of the newest row used."""
    batch_id: int = 0
    phase: int = 0
    model_serial: int = 0
    model_hash: int = 0
    """First 32 bits of the model file's SHA-256."""
    sw_version: tuple[int, int] = (0, 0)
    """(major, minor)."""
    config_hash: int = 0
    """First 16 bits of the configuration's SHA-256."""
    infer_ms: float | None = None
    buffer_fill: float = 0.0
    """0..1."""
    plc_age_s: float | None = None
    """Seconds since the PLC's heartbeat changed; None if it was never seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockW:
    """A block W that passed every check of a reader."""

    seq: int
    map_version: int
    decision: Decision


@dataclass(frozen=True, slots=True, kw_only=True)
class PlcState:
    """Block R: what the PLC reports and its operator asks for."""

    heartbeat: int = 0
    control: Control = Control.NONE
    trim_seq_ack: int = 0
    trim_applied_kg_h: float = 0.0
    batch_id: int = 0
    batch_state: int = 0
    """PackML number; may be one that `PackML` does not name."""
    phase: int = 0
    batch_minutes: int = 0
    maint_event: int = 0
    maint_component: int = 0
    maint_kind: int = 0
    shelve_min: int = 0


class BlockError(ValueError):
    """The words are not a whole, current block: torn, damaged, shifted or of another version."""


def next_seq(seq: int) -> int:
    """The sequence number after `seq`: 1..65535, never 0, so that 0 can mean "never published"."""
    return seq % 0xFFFF + 1


def encode_block_w(decision: Decision, seq: int) -> tuple[int, ...]:
    """Encode one publication as 64 words, each 0..65535. Never raises for any numbers.

    Scaled values are rounded to the nearest raw step and clamped to their range.
    """
    out = [0] * reg.BLOCK_W_WORDS
    d = decision
    status, severity = int(d.status), whole(d.severity)
    probability = finite(d.probability)
    valid = (
        bool(status & Status.OUTPUT_VALID)
        and probability is not None
        and severity is not None
        and 0 <= severity <= 3
    )
    status = _with(status, Status.OUTPUT_VALID, valid)
    status = _encode_trim(out, d, status)

    _put(out, "SEQ_HEAD", seq)
    _put(out, "MAP_VERSION", reg.MAP_VERSION)
    _put(out, "INFER_AGE", d.infer_age_s)
    _put(out, "STATUS", status & 0xFFFF)
    _put(out, "NE107", d.ne107)
    _put(out, "DATA_QUALITY", share(d.data_quality))
    _put(out, "DEFECT_PROB", share(probability) if valid else None)
    _put(out, "SEVERITY", severity if valid else None)
    shown = [c for c in d.components if 0 < (whole(c[0]) or 0) < reg.INVALID][:3] if valid else []
    for place, (component, score) in enumerate(shown, start=1):
        _put(out, f"COMP{place}_ID", component)
        _put(out, f"COMP{place}_SCORE", share(score))
    _put(out, "DRIFT_SCORE", d.drift)
    _put(out, "ALARMS", int(d.alarms) & 0xFFFF)
    first = reg.w("TAGS_BAD").offset
    for bit, bad in enumerate(d.tags_bad[: reg.TAGS_BAD_BITS]):
        out[first + bit // 16] |= bool(bad) << bit % 16
    _put(out, "TS", d.newest_s)
    _put(out, "BATCH", d.batch_id)
    _put(out, "PHASE", d.phase)
    _put(out, "MODEL_SERIAL", d.model_serial)
    _put(out, "MODEL_HASH", d.model_hash)
    major, minor = d.sw_version
    _put(out, "SW_VERSION", clamp(major, 0, 255) << 8 | clamp(minor, 0, 255))
    _put(out, "CONFIG_HASH", d.config_hash)
    _put(out, "INFER_MS", d.infer_ms)
    _put(out, "BUFFER_FILL", share(d.buffer_fill))
    _put(out, "PLC_AGE", d.plc_age_s)
    _put(out, "CRC", reg.crc16(out[: reg.w("CRC").offset]))
    _put(out, "SEQ_TAIL", seq)
    return tuple(out)


def _encode_trim(out: list[int], d: Decision, status: int) -> int:
    """Write the trim words; return the status word with TRIM_OFFERED made true to them."""
    delta, base = finite(d.trim_kg_h), finite(d.trim_base_kg_h)
    lo, hi, ttl = finite(d.trim_lo_kg_h), finite(d.trim_hi_kg_h), finite(d.trim_ttl_s)
    state = d.trim_state
    sound = (
        delta is not None and base is not None and lo is not None and hi is not None
        and ttl is not None and lo <= hi and base >= 0.0
    )  # fmt: skip
    if state in _OPEN and not sound:
        state = TrimState.WITHDRAWN
    elif state is TrimState.OFFERED and (ttl is None or ttl < 1.0):
        state = TrimState.EXPIRED
    is_open = state in _OPEN
    if sound and is_open and delta is not None and lo is not None and hi is not None:
        clipped = min(max(delta, lo), hi)
        status = _with(status, Status.TRIM_CLAMPED, clipped != delta, keep=True)
        _put(out, "TRIM_NAOH", clipped)
    _put(out, "TRIM_SEQ", d.trim_seq)
    _put(out, "TRIM_BASE", base)
    _put(out, "TRIM_LO", lo)
    _put(out, "TRIM_HI", hi)
    _put(out, "TRIM_TTL", math.floor(ttl) if is_open and ttl is not None else 0)
    _put(out, "TRIM_STATE", state)
    _put(out, "TRIM_REASON", d.trim_reason)
    return _with(status, Status.TRIM_OFFERED, state is TrimState.OFFERED)


def decode_block_w(words: Sequence[int]) -> BlockW:
    """Decode 64 words as the PLC and its panels should.

    Raises `BlockError` naming the check that failed: length, map version, head/tail, CRC.
    """
    if len(words) != reg.BLOCK_W_WORDS:
        raise BlockError(f"block W has {len(words)} words, expected {reg.BLOCK_W_WORDS}")
    head, tail = _raw(words, "SEQ_HEAD"), _raw(words, "SEQ_TAIL")
    if head == 0:
        raise BlockError("block W was never published: SEQ_HEAD is 0")
    if head != tail:
        raise BlockError(
            f"block W is torn: SEQ_HEAD {head}, SEQ_TAIL {tail}; read it in one request"
        )
    crc = reg.crc16(words[: reg.w("CRC").offset])
    if crc != _raw(words, "CRC"):
        raise BlockError(
            f"block W is damaged: CRC {_raw(words, 'CRC'):#06x}, expected {crc:#06x}; "
            "check the first address and read it in one request"
        )
    version = _raw(words, "MAP_VERSION")
    if version >> 8 != reg.MAP_VERSION >> 8:
        raise BlockError(
            f"block W has map version {version >> 8}.{version & 255}, this reader knows "
            f"{reg.MAP_VERSION >> 8}.x; update the PLC block"
        )
    severity = _value(words, "SEVERITY")
    bitmap = reg.w("TAGS_BAD").offset
    sw = _raw(words, "SW_VERSION")
    components = tuple(
        (_raw(words, f"COMP{place}_ID"), _number(words, f"COMP{place}_SCORE"))
        for place in (1, 2, 3)
        if _raw(words, f"COMP{place}_ID")
    )
    decision = Decision(
        status=Status(_raw(words, "STATUS")),
        ne107=Ne107(min(_raw(words, "NE107"), max(Ne107))),
        alarms=Alarm(_raw(words, "ALARMS")),
        infer_age_s=_value(words, "INFER_AGE"),
        data_quality=_value(words, "DATA_QUALITY"),
        probability=_value(words, "DEFECT_PROB"),
        severity=None if severity is None else int(severity),
        components=components,
        drift=_value(words, "DRIFT_SCORE"),
        trim_seq=_raw(words, "TRIM_SEQ"),
        trim_kg_h=_number(words, "TRIM_NAOH"),
        trim_base_kg_h=_value(words, "TRIM_BASE"),
        trim_lo_kg_h=_number(words, "TRIM_LO"),
        trim_hi_kg_h=_number(words, "TRIM_HI"),
        trim_ttl_s=_number(words, "TRIM_TTL"),
        trim_state=TrimState(min(_raw(words, "TRIM_STATE"), max(TrimState))),
        trim_reason=_code(TrimReason, _raw(words, "TRIM_REASON")),
        tags_bad=tuple(
            bool(words[bitmap + bit // 16] >> bit % 16 & 1) for bit in range(reg.TAGS_BAD_BITS)
        ),
        newest_s=_raw(words, "TS") or None,
        batch_id=_raw(words, "BATCH"),
        phase=_raw(words, "PHASE"),
        model_serial=_raw(words, "MODEL_SERIAL"),
        model_hash=_raw(words, "MODEL_HASH"),
        sw_version=(sw >> 8, sw & 0xFF),
        config_hash=_raw(words, "CONFIG_HASH"),
        infer_ms=_value(words, "INFER_MS"),
        buffer_fill=_number(words, "BUFFER_FILL"),
        plc_age_s=_value(words, "PLC_AGE"),
    )
    return BlockW(seq=head, map_version=version, decision=decision)


def encode_block_r(plc: PlcState) -> tuple[int, ...]:
    """Encode 16 words as the PLC would: for the twin's PLC and for tests. Never raises."""
    out = [0] * reg.BLOCK_R_WORDS
    for name, value in (
        ("PLC_HEARTBEAT", plc.heartbeat),
        ("CONTROL", int(plc.control) & 0xFFFF),
        ("TRIM_SEQ_ACK", plc.trim_seq_ack),
        ("TRIM_APPLIED", plc.trim_applied_kg_h),
        ("BATCH", plc.batch_id),
        ("BATCH_STATE", plc.batch_state),
        ("PHASE", plc.phase),
        ("BATCH_MINUTES", plc.batch_minutes),
        ("MAINT_EVENT", plc.maint_event),
        ("MAINT_COMPONENT", plc.maint_component),
        ("MAINT_KIND", plc.maint_kind),
        ("SHELVE_MIN", plc.shelve_min),
    ):
        put(out, reg.r(name), value)
    return tuple(out)


def decode_block_r(words: Sequence[int]) -> PlcState:
    """Decode 16 words of the PLC. Raises `BlockError` if there are not 16 words of 16 bits."""
    if len(words) != reg.BLOCK_R_WORDS or not all(0 <= word <= 0xFFFF for word in words):
        raise BlockError(
            f"block R needs {reg.BLOCK_R_WORDS} words of 0..65535, got {len(words)}: {list(words)}"
        )
    raw = {word.name: load(words, word) for word in reg.BLOCK_R}
    return PlcState(
        heartbeat=raw["PLC_HEARTBEAT"],
        control=Control(raw["CONTROL"]),
        trim_seq_ack=raw["TRIM_SEQ_ACK"],
        trim_applied_kg_h=raw["TRIM_APPLIED"] * reg.r("TRIM_APPLIED").scale,
        batch_id=raw["BATCH"],
        batch_state=raw["BATCH_STATE"],
        phase=raw["PHASE"],
        batch_minutes=raw["BATCH_MINUTES"],
        maint_event=raw["MAINT_EVENT"],
        maint_component=raw["MAINT_COMPONENT"],
        maint_kind=raw["MAINT_KIND"],
        shelve_min=raw["SHELVE_MIN"],
    )


def _put(out: list[int], name: str, value: float | None) -> None:
    put(out, reg.w(name), value)


def _raw(words: Sequence[int], name: str) -> int:
    return load(words, reg.w(name))


def _number(words: Sequence[int], name: str) -> float:
    return number(words, reg.w(name))


def _value(words: Sequence[int], name: str) -> float | None:
    return value_or_none(words, reg.w(name))


def _with(status: int, bit: Status, on: bool, *, keep: bool = False) -> int:
    """`status` with `bit` set to `on`; with `keep` a bit that is already set stays."""
    return status | bit if on or (keep and status & bit) else status & ~bit


def _code(codes: type[TrimReason], raw: int) -> TrimReason:
    return codes(raw) if raw in {int(code) for code in codes} else codes.NONE
