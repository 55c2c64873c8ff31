"""The HMI package as documents: faceplate sheet and alarm list. Pure: returns text.

Causes, actions and delays of the alarms are those of `edge.core.conditions`, the words those of
`edge.core.registers`; what an HMI engineer needs besides stands in the two tables here. Written by
`ncm-edge hmi`, compared by a test.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from edge.core.conditions import TABLE
from edge.core.registers import ADVISOR_TIMEOUT_S, Alarm, Status, r, w


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmRow:
    """What an alarm means to the operator; ISA-18.2 asks for each of these."""

    priority: str
    """high, medium or low."""
    respond_min: int
    """Minutes within which somebody must have begun to act."""
    consequence: str
    """What happens if nobody does."""
    deadband: str = "none: delays only"


ALARMS: Mapping[Alarm, AlarmRow] = MappingProxyType({
    Alarm.ADVISOR_FAILED: AlarmRow(
        priority="low", respond_min=480,
        consequence="No verdict and no suggestion until it is mended; the line runs on its recipe.",
    ),
    Alarm.BAD_INPUT: AlarmRow(
        priority="low", respond_min=240,
        consequence="Verdicts rest on fewer instruments, or there is none; the trim is withheld.",
    ),
    Alarm.DEFECT_WARNING: AlarmRow(
        priority="medium", respond_min=480,
        consequence="The defect grows; a failure is to be expected in about two to three days.",
        deadband="probability of the model's two thresholds, and steps in a row",
    ),
    Alarm.DEFECT_CRITICAL: AlarmRow(
        priority="high", respond_min=60,
        consequence="The component fails within about a day; the batch in the reactor may be lost.",
        deadband="probability of the model's two thresholds, and steps in a row",
    ),
    Alarm.DRIFT: AlarmRow(
        priority="low", respond_min=1440,
        consequence="Verdicts may be wrong in both directions; the trim is withheld.",
    ),
    Alarm.UPDATE_FAILED: AlarmRow(
        priority="low", respond_min=1440,
        consequence="None for the line: the version before goes on running.",
    ),
})  # fmt: skip
"""At most six; everything else is a text on the faceplate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One element of the faceplate."""

    label: str
    words: tuple[str, ...]
    """Words of block W, or of block R for a key."""
    shown_as: str
    blank_when: str
    """When it must show nothing rather than an old value."""


_GONE = "advisor gone"
_INVALID = "OUTPUT_VALID is 0"
FACEPLATE = (
    Field(label="Health", words=("NE107",), shown_as="NE 107 symbol and word, never colour alone",
          blank_when=f"{_GONE}: show *failure* and the age"),
    Field(label="Simulation", words=("STATUS",), blank_when="never",
          shown_as=f"banner SIMULATED over the whole faceplate while bit "
          f"{Status.SIMULATION.bit_length() - 1} is set; no key works"),
    Field(label="Age", words=("INFER_AGE",), shown_as="seconds beside every flag below",
          blank_when="never: it grows while the rest is blank"),
    Field(label="Defect probability", words=("DEFECT_PROB",), shown_as="bar 0..100 %, number",
          blank_when=_INVALID),
    Field(label="Severity", words=("SEVERITY",),
          shown_as="normal / D-3 / D-2 / D-1: about three, two, one day before a failure",
          blank_when=_INVALID),
    Field(label="Suspected", words=("COMP1_ID", "COMP1_SCORE", "COMP2_ID", "COMP2_SCORE",
                                    "COMP3_ID", "COMP3_SCORE"),
          shown_as="up to three names of the component list, with their shares",
          blank_when=_INVALID),
    Field(label="Drift", words=("DRIFT_SCORE",), shown_as="share of the alarm limit",
          blank_when="no value"),
    Field(label="Data quality", words=("DATA_QUALITY",), shown_as="per cent", blank_when=_GONE),
    Field(label="Batch", words=("BATCH", "PHASE"),
          shown_as="number and schedule step the outputs speak about",
          blank_when="not the batch that is running: the outputs belong to another one"),
    Field(label="Advice", words=("TRIM_BASE", "TRIM_NAOH", "TRIM_LO", "TRIM_HI", "TRIM_TTL"),
          shown_as="base → base + trim kg/h, limits, seconds left",
          blank_when="TRIM_OFFERED is 0, or TRIM_TTL is 0"),
    Field(label="Why", words=("TRIM_STATE", "TRIM_REASON"),
          shown_as="text of the code (register map): why offered, withheld or taken back",
          blank_when=_GONE),
)  # fmt: skip
KEYS = (
    ("Accept, Reject", ("CONTROL", "TRIM_SEQ_ACK"),
     "write the TRIM_SEQ shown, then the bit for one second; refused unless TRIM_OFFERED is set"),
    ("Acknowledge", ("CONTROL",),
     "the bit for one second; ends latched alarms whose cause is gone"),
    ("Shelve", ("CONTROL", "SHELVE_MIN"), "silences the two defect alarms for that many minutes"),
    ("Maintenance", ("CONTROL",), "while somebody works on the line; health shows function check"),
    ("Enter a repair", ("MAINT_COMPONENT", "MAINT_KIND", "MAINT_EVENT"),
     "component, kind, then add 1 to the counter: these two keystrokes label the training data"),
    ("Defect, False alarm", ("CONTROL",), "the operator's opinion of the verdict, for one second"),
)  # fmt: skip
"""Key, words of block R it writes, what it does."""


def alarms_markdown() -> str:
    """docs/hmi/alarms.md."""
    lines = [
        "# Alarm list",
        "",
        "Generated by `ncm-edge hmi` from `edge/core/hmi.py` and `edge/core/conditions.py`; do not "
        "edit.",
        "",
        "Six bits of word ALARMS, never more, never one a sensor. The SCADA owns acknowledgement, "
        "shelving and suppression. Delays are those of the appliance: the SCADA adds none.",
        "",
        "| bit | alarm | priority | respond within | consequence of doing nothing | dead band |",
        "|---|---|---|---|---|---|",
    ]
    for alarm, row in ALARMS.items():
        lines.append(
            f"| {_bit(alarm)} | {alarm.name} | {row.priority} | {_time(row.respond_min)} | "
            f"{row.consequence} | {row.deadband} |"
        )
    for alarm in ALARMS:
        lines += ["", f"## {alarm.name}", ""]
        lines += ["| condition | cause | action | on after s | off after s | latched |"]
        lines += ["|---|---|---|---|---|---|"]
        lines += [
            f"| {condition} | {row.cause} | {row.action} | {row.on_s:g} | {row.off_s:g} | "
            f"{'until acknowledged' if row.latch else 'no'} |"
            for condition, row in TABLE.items()
            if row.alarm is alarm
        ]
    return "\n".join(lines) + "\n"


def alarms_csv() -> str:
    """docs/hmi/alarms.csv: one row a condition that raises an alarm, for import."""
    lines = ["word,bit,alarm,priority,respond_min,condition,cause,consequence,action,on_s,off_s,"
             "latch"]  # fmt: skip
    for condition, row in TABLE.items():
        if row.alarm is Alarm.NONE:
            continue
        alarm = ALARMS[row.alarm]
        texts = (str(condition), row.cause, alarm.consequence, row.action)
        name, cause, consequence, action = ('"' + t.replace('"', '""') + '"' for t in texts)
        lines.append(
            f"ALARMS,{_bit(row.alarm)},{row.alarm.name},{alarm.priority},{alarm.respond_min},"
            f"{name},{cause},{consequence},{action},{row.on_s:g},{row.off_s:g},{int(row.latch)}"
        )
    return "\n".join(lines) + "\n"


def faceplate_markdown() -> str:
    """docs/hmi/faceplate.md."""
    lines = [
        "# Faceplate sheet",
        "",
        "Generated by `ncm-edge hmi` from `edge/core/hmi.py`; do not edit.",
        "",
        "One faceplate a line. Read block W in one request and believe it only while SEQ_HEAD = "
        "SEQ_TAIL, the CRC is right and the major number of MAP_VERSION is the expected one. "
        f"SEQ_HEAD unchanged for {ADVISOR_TIMEOUT_S} s is *{_GONE}*: every field then shows "
        "nothing but health and age. HMIs keep the last value without a mark when a device is "
        "gone, so this has to be made, and tried by unplugging the appliance.",
        "",
        "Grey, with colour only for what is abnormal, and never colour alone (ISA-101).",
        "",
        "| field | block W offset: word | shown as | shows nothing when |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {field.label} | {', '.join(f'{w(n).offset}: {n}' for n in field.words)} | "
        f"{field.shown_as} | {field.blank_when} |"
        for field in FACEPLATE
    ]
    lines += ["", "| key | block R offset: word | what it does |", "|---|---|---|"]
    lines += [
        f"| {label} | {', '.join(f'{r(n).offset}: {n}' for n in words)} | {what} |"
        for label, words, what in KEYS
    ]
    lines += [
        "",
        "No key writes a set-point, and none is needed to run the line: with the faceplate closed "
        "or the appliance switched off the line runs on its recipe.",
    ]
    return "\n".join(lines) + "\n"


def _bit(alarm: Alarm) -> int:
    return int(alarm).bit_length() - 1


def _time(minutes: int) -> str:
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:g} h"
