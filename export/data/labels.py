"""A maintenance log -> the paper's labels: the last three days before a failure, by day.

    time,event,end,component,group,text
    2026-03-02 14:10,failure,,C03,run-1,feed line blocked
    2026-03-03 06:00,maintenance,2026-03-03 11:30,C03,run-1,line flushed

`event` is failure or maintenance; the other columns are optional. `end` is the end of a
maintenance; `group` (a pattern) says which stretches an event belongs to, empty means all.

What a time t is labelled, by the events in their order:

    maintenance under way, or failed and not yet repaired      -1  not used
    less than a day before a failure, D-1                       3
    D-2                                                         2
    D-3                                                         1
    up to `normal_h` hours after the end of a maintenance       0
    everything else                                  `between`: -1 not used, or 0 normal

Events that contradict each other are listed with their line and the rows they touch stay -1:
which of two entries is right cannot be known here. Pure: text and numbers in, values out.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatch
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from edge.config.faults import suggestion
from export.data.findings import Finding

DAY_S = 86_400.0
DAYS = 3
"""Days before a failure that are labelled (paper, 2.2)."""
UNUSED = -1
LATEST_S = 253_402_300_800.0
"""The year 10000: no log speaks of it."""
EVENTS = ("failure", "maintenance")
_COLUMNS = ("time", "event", "end", "component", "group", "text")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Event:
    """One line of the log."""

    time_s: float
    """Start, s as the recording counts."""
    kind: str
    end_s: float
    """End of a maintenance; equal to `time_s` where none is given."""
    component: str = ""
    group: str = ""
    text: str = ""
    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        return f"{self.kind} of {utc_text(self.time_s)}"


def parse_log(text: str, file: str, timezone: str = "") -> tuple[list[Event], list[Finding]]:
    """Events in the order of time, and what cannot be read, by line.

    Columns are apart by what the first line has: commas, or the semicolons and tabs of a
    spreadsheet. Empty lines do not count.
    """
    text = text.lstrip("\ufeff")
    first = text.partition("\n")[0]
    reader = csv.DictReader(io.StringIO(text), delimiter=max(",;\t", key=first.count))
    head = reader.fieldnames or []
    faults: list[Finding] = []

    def fault(line: int, message: str) -> None:
        faults.append(Finding(file, line, "log", message, fault=True))

    for name in ("time", "event"):
        if name not in head:
            fault(1, f"column '{name}' is missing; {suggestion(name, head)}")
    for name in head:
        if name not in _COLUMNS:
            fault(1, f"unknown column '{name}'; {suggestion(name, _COLUMNS)}")
    if faults:
        return [], faults
    events = []
    for row in reader:
        line = reader.line_num
        if not any(isinstance(word, str) and word.strip() for word in row.values()):
            continue
        kind = (row["event"] or "").strip().casefold()
        if kind not in EVENTS:
            fault(line, f"event '{row['event']}': {suggestion(kind, EVENTS)}")
            continue
        times: list[float] = []
        for name in ("time", "end"):
            word = (row.get(name) or "").strip()
            if not word and name == "end":
                times.append(times[0] if times else 0.0)
                continue
            try:
                times.append(seconds_of(word, timezone))
            except ValueError:
                fault(line, f"{name} '{word}': write it like 2026-03-02 14:10")
                break
        if len(times) < 2:
            continue
        if times[1] < times[0]:
            fault(line, f"{kind} ends at '{row['end']}', before it begins at '{row['time']}'")
            continue
        events.append(
            Event(
                time_s=times[0],
                kind=kind,
                end_s=times[1],
                component=(row.get("component") or "").strip(),
                group=(row.get("group") or "").strip(),
                text=(row.get("text") or "").strip(),
                file=file,
                line=line,
            )
        )
    return sorted(events), faults


def seconds_of(text: str, timezone: str = "") -> float:
    """Seconds UTC since 1970, or the number itself. Raises ValueError."""
    try:
        number = float(text)
    except ValueError:
        moment = datetime.fromisoformat(text)
    else:
        if not abs(number) < LATEST_S:  # nor is it NaN
            raise ValueError(text)
        return number
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=ZoneInfo(timezone) if timezone else UTC)
    return moment.timestamp()


def events_of(events: Sequence[Event], group: str) -> list[Event]:
    """The events that belong to a stretch."""
    return [e for e in events if not e.group or fnmatch(group, e.group)]


def conflicts(events: Sequence[Event]) -> list[Finding]:
    """Events of one stretch that contradict each other, named by line."""
    out = []

    def at(event: Event, other: Event) -> str:
        return f"line {other.line}" if other.file == event.file else f"{other.file}:{other.line}"

    def say(event: Event, message: str) -> None:
        out.append(Finding(event.file, event.line, "log", message, fault=True))

    failed: Event | None = None
    repaired: Event | None = None
    for event in sorted(events):
        if event.kind == "maintenance":
            if repaired is not None and event.time_s < repaired.end_s:
                say(event, f"{event} begins before the one of {at(event, repaired)} has ended; "
                    "correct the times or join the two")  # fmt: skip
            failed, repaired = None, event
            continue
        if repaired is not None and event.time_s < repaired.end_s:
            say(event, f"{event} lies within the maintenance of {at(event, repaired)}; "
                "correct one of the times")  # fmt: skip
        elif repaired is not None and event.time_s - repaired.end_s < DAYS * DAY_S:
            hours = (event.time_s - repaired.end_s) / 3600.0
            say(event, f"{event} comes {hours:.1f} h after the maintenance of "
                f"{at(event, repaired)}: rows before it would be D-{DAYS} of a failure and "
                "repaired at once; say which event is wrong, or remove the failure")  # fmt: skip
        if failed is not None:
            days = (event.time_s - failed.time_s) / DAY_S
            near = f", {days:.1f} days later" if days < DAYS else ""
            say(event, f"{event} follows the failure of {at(event, failed)}{near} without "
                "maintenance between them; add the repair or remove one")  # fmt: skip
        failed = event
    return out


def outside(events: Sequence[Event], spans: Sequence[tuple[str, float, float]]) -> list[Finding]:
    """Events that no stretch (group, first and last second) holds or leads up to."""
    out = []
    for event in events:
        mine = [(a, b) for group, a, b in spans if not event.group or fnmatch(group, event.group)]
        # A failure just after the last row is why the recording ends; a repair just before the
        # first row is why it begins.
        reach = DAYS * DAY_S
        if not any(a - reach <= event.time_s <= b + reach for a, b in mine):
            where = (
                f"rows from {utc_text(min(a for a, _ in mine))} to "
                f"{utc_text(max(b for _, b in mine))}"
                if mine
                else f"no stretch named '{event.group}'"
            )
            out.append(
                Finding(event.file, event.line, "log", f"{event} lies outside the recording, which "
                        f"has {where}; check the year and the time zone", fault=True)
            )  # fmt: skip
    return out


def label_times(
    t_s: npt.NDArray[np.float64],
    events: Sequence[Event],
    *,
    between: str = "unused",
    normal_h: float = 72.0,
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float64]]:
    """(severity int8[N], seconds to the next failure float64[N], inf without one).

    The table at the top of this module. Rows that conflicting events touch are -1.
    """
    severity = np.full(len(t_s), 0 if between == "normal" else UNUSED, np.int8)
    left_s = np.full(len(t_s), np.inf)
    ordered = sorted(events)
    for event in (e for e in ordered if e.kind == "maintenance"):
        severity[(t_s >= event.end_s) & (t_s <= event.end_s + normal_h * 3600.0)] = 0
    for place, event in enumerate(ordered):
        if event.kind != "failure":
            continue
        before = event.time_s - t_s
        nearer = (before >= 0) & (before < left_s)
        left_s[nearer] = before[nearer]
        level = countdown_level(before)
        severity[(before >= 0) & (level > 0)] = level[(before >= 0) & (level > 0)]
        repair = next((e for e in ordered[place:] if e.kind == "maintenance"), None)
        down_end = repair.end_s if repair is not None else np.inf
        severity[(t_s > event.time_s) & (t_s < down_end)] = UNUSED
    for event in ordered:
        if event.kind == "maintenance" and event.end_s > event.time_s:
            severity[(t_s >= event.time_s) & (t_s < event.end_s)] = UNUSED
    for finding in conflicts(ordered):
        event = next(e for e in ordered if e.line == finding.line)
        touched = (t_s >= event.time_s - DAYS * DAY_S) & (t_s <= event.end_s)
        severity[touched] = UNUSED
    return severity, left_s


def countdown_level(left_s: npt.NDArray[np.float64]) -> npt.NDArray[np.int8]:
    """Seconds to failure -> 3 on the last day, 2, 1, and 0 before those."""
    with np.errstate(invalid="ignore"):
        level = DAYS - np.floor(left_s / DAY_S)
    level = np.where(np.isfinite(left_s), level, 0)
    return np.clip(level, 0, DAYS).astype(np.int8)


def utc_text(t_s: float) -> str:
    """A time for a message; a plain number of seconds if it is no date."""
    if not np.isfinite(t_s) or not 1e8 < t_s < 1e11:
        return f"{t_s:g} s"
    return datetime.fromtimestamp(t_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
