"""The HMI package as documents: faceplate sheet and alarm list. Pure: returns text.

Causes, actions and delays of the alarms are those of `edge.core.conditions`, the words those of
`edge.core.registers`; what an HMI engineer needs besides stands in the two tables here. Written by
`ncm-edge hmi`, compared by a test.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from edge.core import verdict
from edge.core.conditions import TABLE, Condition, Row
from edge.core.registers import ADVISOR_TIMEOUT_S, BLOCK_R_WORDS, Alarm, Ne107, Status, r, w

_AHEAD = ("", ": about three days before a failure", ": about two days before a failure",
          ": about one day before a failure")  # fmt: skip
SEVERITY = tuple(name + ahead for name, ahead in zip(verdict.SEVERITY, _AHEAD, strict=True))
"""Text of SEVERITY 0..3 on the faceplate."""
SHELVE_MAX_MIN = 480
"""Longest time for which a key shelves: one shift. Longer is a matter for the SCADA."""


@dataclass(frozen=True, slots=True)
class Symbol:
    """How an NE 107 status is drawn: shape and letter say it without the colour."""

    letter: str
    shape: str


HEALTH: Mapping[Ne107, Symbol] = MappingProxyType({
    Ne107.NORMAL: Symbol("", "none"),
    Ne107.FAILURE: Symbol("F", "circle"),
    Ne107.CHECK_FUNCTION: Symbol("C", "triangle-down"),
    Ne107.OFF_SPEC: Symbol("S", "triangle-up"),
    Ne107.MAINTENANCE_REQUIRED: Symbol("M", "diamond"),
})  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmRow:
    """What an alarm means to the operator; ISA-18.2 asks for each of these."""

    text: str
    """Message text, at most 40 characters: what SCADA lists have room for."""
    priority: str
    """high, medium or low."""
    respond_min: int
    """Minutes within which somebody must have begun to act."""
    cause: str
    """What is wrong, whichever of its conditions raised it."""
    consequence: str
    """What happens if nobody does."""
    action: str
    """What the operator does first; the condition's own text on the faceplate says more."""
    deadband: str = "none: delays only"


ALARMS: Mapping[Alarm, AlarmRow] = MappingProxyType({
    Alarm.ADVISOR_FAILED: AlarmRow(
        text="NCM Edge: advisor failed",
        priority="low", respond_min=480,
        cause="The appliance cannot judge the line or cannot tell the PLC.",
        consequence="No verdict and no suggestion until it is mended; the line runs on its recipe.",
        action="Run the line on its recipe and call maintenance of the control system.",
    ),
    Alarm.BAD_INPUT: AlarmRow(
        text="NCM Edge: input bad",
        priority="low", respond_min=240,
        cause="A link or too many instruments are down, or the PLC program stands still.",
        consequence="Verdicts rest on fewer instruments, or there is none; the trim is withheld.",
        action="Check the named link or instruments; run the line on its recipe.",
    ),
    Alarm.DEFECT_WARNING: AlarmRow(
        text="NCM Edge: defect developing",
        priority="medium", respond_min=480,
        cause="A component wears (severity 1 or 2), or the NaOH demand left its own history.",
        consequence="The defect grows; a failure is to be expected in about two to three days.",
        action="Inspect the named component within the shift and enter the finding.",
        deadband="probability of the model's two thresholds, and steps in a row",
    ),
    Alarm.DEFECT_CRITICAL: AlarmRow(
        text="NCM Edge: defect about to fail",
        priority="high", respond_min=60,
        cause="A component is about to fail (severity 3).",
        consequence="The component fails within about a day; the batch in the reactor may be lost.",
        action="Inspect the named component now; decide whether the next batch may start.",
        deadband="probability of the model's two thresholds, and steps in a row",
    ),
    Alarm.DRIFT: AlarmRow(
        text="NCM Edge: input drift",
        priority="low", respond_min=1440,
        cause="The input has left the range the model was adapted to.",
        consequence="Verdicts may be wrong in both directions; the trim is withheld.",
        action="Ask what was recalibrated, repaired or newly supplied; have the model adapted.",
    ),
    Alarm.UPDATE_FAILED: AlarmRow(
        text="NCM Edge: update failed",
        priority="low", respond_min=1440,
        cause="An update was refused or rolled back.",
        consequence="None for the line: the version before goes on running.",
        action="Nothing at the line; hand the medium back to whoever brought it.",
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
          shown_as="text of the code: why offered, withheld or taken back", blank_when=_GONE),
)  # fmt: skip
KEYS = (
    ("Accept, Reject", ("CONTROL", "TRIM_SEQ_ACK"),
     "the bit and the TRIM_SEQ shown, in one request; dead unless TRIM_OFFERED is set"),
    ("Acknowledge", ("CONTROL",), "the bit; ends latched alarms whose cause is gone"),
    ("Shelve", ("CONTROL", "SHELVE_MIN"), "silences the two defect alarms for that many minutes"),
    ("Maintenance", ("CONTROL",),
     "turns maintenance on or off, while somebody works on the line: health shows function check"),
    ("Enter a repair", ("MAINT_COMPONENT", "MAINT_KIND", "MAINT_EVENT"),
     "component, kind and 1; the program adds it to its counter: two keystrokes that label data"),
    ("Defect, False alarm", ("CONTROL",), "the operator's opinion of the verdict"),
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
        "shelving and suppression. Delays are those of the appliance: the SCADA adds none. Where "
        "several conditions raise an alarm, each has its own delays: see below.",
        "",
        "| bit | alarm | message | priority | respond within | on after s | off after s | latched "
        "|",
        "|---|---|---|---|---|---|---|---|",
    ]
    for alarm, row in ALARMS.items():
        on, off, latch = delays(alarm)
        lines.append(
            f"| {_bit(alarm)} | {alarm.name} | {row.text} | {row.priority} | "
            f"{_time(row.respond_min)} | {_span(on)} | {_span(off)} | {latch} |"
        )
    for alarm, row in ALARMS.items():
        lines += ["", f"## {alarm.name}", ""]
        lines += [
            f"- cause: {row.cause}",
            f"- consequence of doing nothing: {row.consequence}",
            f"- action: {row.action}",
            f"- dead band: {row.deadband}",
            "",
            "| condition | cause | action | on after s | off after s | latched |",
            "|---|---|---|---|---|---|",
        ]
        lines += [
            f"| {condition} | {found.cause} | {found.action} | {found.on_s:g} | {found.off_s:g} | "
            f"{'until acknowledged' if found.latch else 'no'} |"
            for condition, found in _conditions(alarm)
        ]
    return "\n".join(lines) + "\n"


def alarms_csv() -> str:
    """docs/hmi/alarms.csv: one row an alarm bit, for import into a SCADA."""
    lines = ["word,bit,alarm,message,priority,respond_min,cause,consequence,action,deadband,"
             "on_s_least,on_s_most,off_s_least,off_s_most,latch"]  # fmt: skip
    for alarm, row in ALARMS.items():
        on, off, latch = delays(alarm)
        texts = ",".join(map(_quoted, (row.cause, row.consequence, row.action, row.deadband)))
        lines.append(
            f"ALARMS,{_bit(alarm)},{alarm.name},{_quoted(row.text)},{row.priority},"
            f"{row.respond_min},{texts},{on[0]:g},{on[1]:g},{off[0]:g},{off[1]:g},{latch}"
        )
    return "\n".join(lines) + "\n"


def conditions_csv() -> str:
    """docs/hmi/alarm_conditions.csv: one row a condition that raises an alarm."""
    lines = ["word,bit,alarm,condition,cause,action,on_s,off_s,latch"]
    for alarm in ALARMS:
        lines += [
            f"ALARMS,{_bit(alarm)},{alarm.name},{_quoted(str(condition))},{_quoted(row.cause)},"
            f"{_quoted(row.action)},{row.on_s:g},{row.off_s:g},{'yes' if row.latch else 'no'}"
            for condition, row in _conditions(alarm)
        ]
    return "\n".join(lines) + "\n"


def delays(alarm: Alarm) -> tuple[tuple[float, float], tuple[float, float], str]:
    """On and off delay in s, (least, most) over the alarm's conditions; latched: yes, no, some.

    Delays and latches are those of `edge.core.conditions`, where they are carried out.
    """
    rows = [row for _, row in _conditions(alarm)]
    on, off, latched = [x.on_s for x in rows], [x.off_s for x in rows], sum(x.latch for x in rows)
    latch = "no" if not latched else "yes" if latched == len(rows) else "some"
    return (min(on), max(on)), (min(off), max(off)), latch


def _conditions(alarm: Alarm) -> list[tuple[Condition, Row]]:
    return [(condition, row) for condition, row in TABLE.items() if row.alarm is alarm]


def _span(seconds: tuple[float, float]) -> str:
    least, most = seconds
    return f"{least:g}" if least == most else f"{least:g} to {most:g}"


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


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
        "A block that was left standing looks like any other: after the panel starts, nothing is "
        "shown before SEQ_HEAD was seen to move.",
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
    lines += [
        "",
        f"A key is a request to the PLC's program and never goes to the appliance. Block R has one "
        f"writer, the program; a panel writes to {BLOCK_R_WORDS} key words of its own, laid out as "
        "block R, in one request (offset 1 to 2 for an answer). The program takes and clears them "
        "in its next scan, checks them (is this suggestion still shown, is its base still the "
        "base?) and only then sets the bit in block R, for one second or until the appliance has "
        "taken note. What the faceplate shows afterwards comes from the blocks, not from the key.",
        "",
        "| key | key word offset: word | what it does |",
        "|---|---|---|",
    ]
    lines += [
        f"| {label} | {', '.join(f'{r(n).offset}: {n}' for n in words)} | {what} |"
        for label, words, what in KEYS
    ]
    lines += [
        "",
        "`node-red-flow.json` is this faceplate for Node-RED 4 with `@flowfuse/node-red-dashboard` "
        "and `node-red-contrib-modbus`: import it, set address and port of the PLC in its "
        "connection node, and unplug the appliance to see it say NO ADVICE. "
        "`ncm-edge hmi --line NAME` takes addresses and component names from a configuration.",
        "",
        "No key writes a set-point, and none is needed to run the line: with the faceplate closed "
        "or the appliance switched off the line runs on its recipe.",
    ]
    return "\n".join(lines) + "\n"


def _bit(alarm: Alarm) -> int:
    return int(alarm).bit_length() - 1


def _time(minutes: int) -> str:
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:g} h"
