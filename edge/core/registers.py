"""The contract with the PLC: every word of block W and block R, every bit and code, in one place.

Block W (appliance -> PLC) is 64 holding registers written by ONE FC16 a second; block R (PLC ->
appliance) is 16 registers read by one FC3. Rules a reader may rely on:

1. Every word is 16 bits; a 32-bit value is two words, high word first. There are no floats.
2. All output is invalid by default: 0xFFFF where the table says so, or STATUS bit OUTPUT_VALID 0.
3. SEQ_HEAD is the heartbeat. It moves with every publication, skips 0, and equals SEQ_TAIL in a
   block that was not torn. The CRC catches what two compares cannot (a reader's chunks straddling
   a writer's) and a wrong offset.
4. A PLC refuses a block whose MAP_VERSION has another major number.

`edge.core.register_map` renders these tables as Markdown and CSV; nothing else may number a word.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Literal

BLOCK_W_WORDS = 64
BLOCK_R_WORDS = 16
MAP_VERSION = 0x0100
"""major * 256 + minor."""
INVALID = 0xFFFF
"""Says "no value" in every unsigned word whose row has `invalid` set."""
TAGS_BAD_BITS = 64
"""Tags shown in TAGS_BAD; a line with more tags shows its first 64 there and all on the page."""
CRC_POLYNOMIAL = 0xA001
"""0x8005 reflected."""
ADVISOR_TIMEOUT_S = 5
"""Seconds without a change of SEQ_HEAD after which the PLC treats the appliance as gone."""

Kind = Literal["uint16", "int16", "uint32", "bits", "code", "bitmap"]


@dataclass(frozen=True, slots=True)
class Word:
    """One named value of a block, one or more words long."""

    offset: int
    """0-based from the start of the block, as on the wire."""
    name: str
    kind: Kind
    scale: float
    """value = raw * scale, in `unit`."""
    unit: str
    meaning: str
    words: int = 1
    invalid: bool = False
    """True: 0xFFFF means "no value"."""


BLOCK_W: tuple[Word, ...] = (
    Word(0, "SEQ_HEAD", "uint16", 1, "", "heartbeat: +1 every publication, skips 0; unchanged "
         "for 5 s means the appliance is gone"),
    Word(1, "MAP_VERSION", "uint16", 1, "", "major * 256 + minor; refuse another major"),
    Word(2, "INFER_AGE", "uint16", 1, "s", "since the last finished inference", invalid=True),
    Word(3, "STATUS", "bits", 1, "", "see STATUS bits"),
    Word(4, "NE107", "code", 1, "", "see NE 107 codes"),
    Word(5, "DATA_QUALITY", "uint16", 0.001, "1", "good share of the required tag-seconds in the "
         "window", invalid=True),
    Word(6, "DEFECT_PROB", "uint16", 0.001, "1", "defect probability", invalid=True),
    Word(7, "SEVERITY", "uint16", 1, "", "0 normal, 1/2/3 = 3/2/1 days before a failure",
         invalid=True),
    Word(8, "COMP1_ID", "uint16", 1, "", "most suspect component, id of components.toml; 0 none"),
    Word(9, "COMP1_SCORE", "uint16", 0.001, "1", "its score"),
    Word(10, "COMP2_ID", "uint16", 1, "", "second suspect component; 0 none"),
    Word(11, "COMP2_SCORE", "uint16", 0.001, "1", "its score"),
    Word(12, "COMP3_ID", "uint16", 1, "", "third suspect component; 0 none"),
    Word(13, "COMP3_SCORE", "uint16", 0.001, "1", "its score"),
    Word(14, "DRIFT_SCORE", "uint16", 0.001, "1", "input drift as a share of its alarm limit",
         invalid=True),
    Word(15, "ALARMS", "bits", 1, "", "see ALARM bits"),
    Word(16, "TRIM_SEQ", "uint16", 1, "", "id of the trim suggestion, changes only with a new one; "
         "0 none yet"),
    Word(17, "TRIM_NAOH", "int16", 0.1, "kg/h", "suggested NaOH flow minus TRIM_BASE"),
    Word(18, "TRIM_BASE", "uint16", 0.1, "kg/h", "NaOH flow the suggestion was computed from; "
         "reject if the real flow has moved away", invalid=True),
    Word(19, "TRIM_LO", "int16", 0.1, "kg/h", "lowest TRIM_NAOH in force"),
    Word(20, "TRIM_HI", "int16", 0.1, "kg/h", "highest TRIM_NAOH in force"),
    Word(21, "TRIM_TTL", "uint16", 1, "s", "seconds the suggestion stays valid; 0 expired"),
    Word(22, "TRIM_STATE", "code", 1, "", "see TRIM_STATE codes"),
    Word(23, "TRIM_REASON", "code", 1, "", "see TRIM_REASON codes"),
    Word(24, "TAGS_BAD", "bitmap", 1, "", "bit 0 of the first word = first tag of the tag list, "
         "bit 0 of the second = 17th; 1 = bad", words=4),
    Word(28, "TS", "uint32", 1, "s", "UTC epoch seconds of the newest row used; 0 none", words=2),
    Word(30, "BATCH", "uint32", 1, "", "batch the block speaks about (echo)", words=2),
    Word(32, "PHASE", "uint16", 1, "", "schedule step the block speaks about (echo)"),
    Word(33, "MODEL_SERIAL", "uint16", 1, "", "number of the installed model; 0 none"),
    Word(34, "MODEL_HASH", "uint32", 1, "", "first 32 bits of the model file's SHA-256", words=2),
    Word(36, "SW_VERSION", "uint16", 1, "", "major * 256 + minor of the appliance's software"),
    Word(37, "CONFIG_HASH", "uint16", 1, "", "first 16 bits of the configuration's SHA-256"),
    Word(38, "INFER_MS", "uint16", 1, "ms", "duration of the last inference", invalid=True),
    Word(39, "BUFFER_FILL", "uint16", 0.001, "1", "share of the ring that holds rows"),
    Word(40, "PLC_AGE", "uint16", 1, "s", "since PLC_HEARTBEAT last changed", invalid=True),
    Word(41, "RESERVED", "uint16", 1, "", "written 0", words=21),
    Word(62, "CRC", "uint16", 1, "", "CRC-16/Modbus over words 0..61, each high byte first"),
    Word(63, "SEQ_TAIL", "uint16", 1, "", "equals SEQ_HEAD"),
)  # fmt: skip

BLOCK_R: tuple[Word, ...] = (
    Word(0, "PLC_HEARTBEAT", "uint16", 1, "", "changes at least once a second"),
    Word(1, "CONTROL", "bits", 1, "", "see CONTROL bits"),
    Word(2, "TRIM_SEQ_ACK", "uint16", 1, "", "suggestion that ACCEPT or REJECT answers; "
         "an answer to another number is ignored"),
    Word(3, "TRIM_APPLIED", "int16", 0.1, "kg/h", "trim in force after the PLC's clamp and ramp"),
    Word(4, "BATCH", "uint32", 1, "", "batch id", words=2),
    Word(6, "BATCH_STATE", "code", 1, "", "PackML state, see PACKML codes"),
    Word(7, "PHASE", "uint16", 1, "", "running schedule step, 1-based; 0 none"),
    Word(8, "BATCH_MINUTES", "uint16", 1, "min", "minutes since the batch started"),
    Word(9, "MAINT_EVENT", "uint16", 1, "", "counter of maintenance entries"),
    Word(10, "MAINT_COMPONENT", "uint16", 1, "", "component id the last entry is about"),
    Word(11, "MAINT_KIND", "code", 1, "", "see MAINT_KIND codes"),
    Word(12, "SHELVE_MIN", "uint16", 1, "min", "how long the operator shelves the alarms"),
    Word(13, "RESERVED", "uint16", 1, "", "ignored", words=3),
)  # fmt: skip


class Status(IntFlag):
    """Bits of word STATUS."""

    NONE = 0
    RUNNING = 1 << 0
    WARMING_UP = 1 << 1
    OUTPUT_VALID = 1 << 2
    INPUT_BAD = 1 << 3
    MODEL_LOADED = 1 << 4
    CPU_FALLBACK = 1 << 5
    DRIFT = 1 << 6
    SHADOW_MODE = 1 << 7
    UPDATE_STAGED = 1 << 8
    UPDATE_FAILED = 1 << 9
    TRIM_OFFERED = 1 << 10
    TRIM_CLAMPED = 1 << 11
    SIMULATION = 1 << 12
    FUNCTION_CHECK = 1 << 13
    CLOCK_NOT_SYNCHRONISED = 1 << 14
    STORAGE_FAULT = 1 << 15


class Alarm(IntFlag):
    """Bits of word ALARMS: never more than these six, the SCADA owns everything else."""

    NONE = 0
    ADVISOR_FAILED = 1 << 0
    BAD_INPUT = 1 << 1
    DEFECT_WARNING = 1 << 2
    DEFECT_CRITICAL = 1 << 3
    DRIFT = 1 << 4
    UPDATE_FAILED = 1 << 5


class Control(IntFlag):
    """Bits of word CONTROL in block R."""

    NONE = 0
    ADVICE_ENABLED = 1 << 0
    ACCEPT = 1 << 1
    REJECT = 1 << 2
    ACKNOWLEDGE = 1 << 3
    SHELVE = 1 << 4
    MAINTENANCE = 1 << 5
    BATCH_ACTIVE = 1 << 6
    HELD = 1 << 7
    LABEL_DEFECT = 1 << 8
    LABEL_FALSE_ALARM = 1 << 9


class Ne107(IntEnum):
    """NAMUR NE 107 status, numbered as in OPC 10000-100 DeviceHealthEnumeration."""

    NORMAL = 0
    FAILURE = 1
    CHECK_FUNCTION = 2
    OFF_SPEC = 3
    MAINTENANCE_REQUIRED = 4


class TrimState(IntEnum):
    """Word TRIM_STATE: where the dialogue about the suggestion TRIM_SEQ stands."""

    NONE = 0
    OFFERED = 1
    ACCEPTED = 2
    REJECTED = 3
    EXPIRED = 4
    WITHDRAWN = 5
    APPLIED_WITH_CLAMP = 6


class TrimReason(IntEnum):
    """Word TRIM_REASON: why a trim is suggested (1..31), withheld (32..95) or taken back (96..)."""

    NONE = 0
    PH_LOW = 1
    PH_HIGH = 2
    NICKEL_UNPRECIPITATED = 3
    """pH below the permitted band: nickel stays dissolved."""
    LOCAL_SUPERSATURATION = 4
    """pH above the permitted band: local supersaturation, oversized particles."""
    SCHEDULE_DEVIATION = 5
    """The measured metal flow deviates from the schedule and NaOH has to follow it."""

    ON_TARGET = 32
    """Reagent error inside the dead zone, or the move too small to be worth showing."""
    NO_LIMITS = 33
    """The plant's engineer has entered no limits: there is no default."""
    ADVICE_DISABLED = 34
    NO_BATCH = 35
    FEEDS_HELD = 36
    PLC_SILENT = 37
    STALE_INPUT = 38
    PH_PROBES_FEW = 39
    PH_PROBES_SPREAD = 40
    NAOH_DEVICE_FAULT = 41
    """FE-103, P-103 or a pH probe reports NE 107 failure or function check."""
    NAOH_FLOW_OFF_SP = 42
    NAOH_WEIGHT_MISMATCH = 43
    TEMPERATURE_OUT = 44
    NAOH_DEMAND_ANOMALY = 45
    """The reactor needs more or less NaOH than in its own last hours: a leak may be hidden."""
    DEFECT_SUSPECTED = 46
    """The verdict suspects the NaOH path or the pH probes."""
    PREDICTED_PH_HIGH = 47
    """Raising NaOH would lift the predicted pH too far above the set-point."""
    NO_FEEDFORWARD = 48
    """No metal or NaOH flow to build the suggestion on."""
    DRIFT = 49
    """Input drift: the verdict that guards the suggestion is off-spec."""
    WARMING_UP = 50
    """Too little history in this batch for volume, ammonia and the demand reference."""
    NO_VERDICT = 51
    """No valid verdict guards the suggestion."""
    OUTSIDE_AUTHORITY = 52
    """The NaOH flow is already as far from schedule x metal flow as the advisor may ever go."""
    AWAITING_EFFECT = 53
    """The last suggestion was just answered; its effect is awaited."""

    TTL_ELAPSED = 96
    BASE_MOVED = 97
    HEARTBEAT_LOST = 98
    REJECTED_BY_OPERATOR = 99
    SUPERSEDED = 100


class PackML(IntEnum):
    """PackML state numbers the appliance distinguishes in BATCH_STATE."""

    UNDEFINED = 0
    CLEARING = 1
    STOPPED = 2
    STARTING = 3
    IDLE = 4
    SUSPENDED = 5
    EXECUTE = 6
    STOPPING = 7
    ABORTING = 8
    ABORTED = 9
    HOLDING = 10
    HELD = 11
    UNHOLDING = 12
    SUSPENDING = 13
    UNSUSPENDING = 14
    RESETTING = 15
    COMPLETING = 16
    COMPLETE = 17


class MaintKind(IntEnum):
    """Word MAINT_KIND: what was done to MAINT_COMPONENT."""

    NONE = 0
    REPAIRED = 1
    CLEANED = 2
    CALIBRATED = 3
    REPLACED = 4


_W = {word.name: word for word in BLOCK_W}
_R = {word.name: word for word in BLOCK_R}


def w(name: str) -> Word:
    """The row of block W with this name; KeyError if there is none."""
    return _W[name]


def r(name: str) -> Word:
    """The row of block R with this name; KeyError if there is none."""
    return _R[name]


def crc16(words: Iterable[int]) -> int:
    """CRC-16/Modbus (reflected 0x8005, initial 0xFFFF) of 16-bit words, each high byte first."""
    crc = 0xFFFF
    for word in words:
        for byte in (word >> 8 & 0xFF, word & 0xFF):
            crc = _CRC_TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ CRC_POLYNOMIAL if crc & 1 else crc >> 1
        table.append(crc)
    return tuple(table)


_CRC_TABLE = _crc_table()
