"""An archive of `ncm-edge archive` and a plant's own maintenance log -> one log of failures.

What becomes of an entry keyed in at the panel (block R), and of the plant's log:

    cleaned, calibrated                       a maintenance
    repaired, replaced, after a failure that  a maintenance: the one that ends it
      the plant's log has, not yet repaired
    repaired, replaced, otherwise             a failure at that time, and its maintenance: nobody
                                              repairs what has not failed
    any of them during a maintenance that     nothing: it is the same work
      the plant's log has
    label "defect" or "false alarm"           nothing: an opinion of a batch is no time of failure

What the plant's log says stands. Entries that contradict each other are listed with file and row,
and both stay in the result, where they leave the rows they touch unused; nothing is guessed.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge.config.faults import suggestion
from export.data import labels
from export.data.dataset import DatasetError
from export.data.findings import Finding
from export.data.labels import Event, seconds_of

FloatArray = npt.NDArray[np.float64]
EVENTS, LABELS = "events.csv", "labels.csv"
_COLUMNS = ("time", "line", "event", "kind", "component", "batch", "text")
_KINDS = {"repaired": True, "replaced": True, "cleaned": False, "calibrated": False}
"""Kind of maintenance -> whether something had failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of events.csv."""

    time_s: float
    event: str
    kind: str
    component: str
    batch: str
    file: str
    row: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """One archived batch and how many of its minutes have which label."""

    file: str
    minutes: dict[int, int]
    """Severity (-1 not used) -> minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """What the log of an archive comes to."""

    events: tuple[Event, ...]
    findings: tuple[Finding, ...]
    stretches: tuple[Stretch, ...]


def label_archive(
    folder: Path, log: Path | None, *, timezone: str = "", line: str = "", normal_h: float = 72.0
) -> Labelled:
    """Read the archive and the plant's log, merge them, and say what follows for each batch.

    Raises DatasetError when there is no archive or the log cannot be opened.
    """
    entries, findings = read_entries(folder / EVENTS, line)
    own: list[Event] = []
    if log is not None:
        own, faults = labels.parse_log(_text(log), str(log), timezone)
        findings += faults
    events, said = merge(own, entries)
    findings += said + labels.conflicts(events)
    spans = _spans(folder, line)
    if not spans:
        raise DatasetError(f"{folder}: holds no batches; export them with `ncm-edge archive`")
    findings += labels.outside(events, [("", t[0], t[-1]) for _, t in spans])
    # As they will be read from the written log: there each event has a line of its own.
    written, _ = labels.parse_log(log_text(events), LABELS)
    stretches = []
    for name, times in spans:
        severity, _ = labels.label_times(times, written, normal_h=normal_h)
        values, counts = np.unique(severity, return_counts=True)
        minutes = dict(zip(values.tolist(), counts.tolist()))
        stretches.append(Stretch(file=name, minutes=minutes))
    findings += _gaps(stretches, entries, events)
    return Labelled(events=tuple(events), findings=tuple(findings), stretches=tuple(stretches))


def read_entries(path: Path, line: str = "") -> tuple[list[Entry], list[Finding]]:
    """Entries keyed in at the panel of a line, and what cannot be read, by row."""
    reader = csv.DictReader(io.StringIO(_text(path)))
    head, out, faults = reader.fieldnames or [], list[Entry](), list[Finding]()
    for name in _COLUMNS:
        if name not in head:
            text = f"column '{name}' is missing; {suggestion(name, head)}"
            faults.append(Finding(str(path), 1, "log", text, fault=True))
    if faults:
        return [], faults
    for row in reader:
        try:
            time_s = seconds_of(row["time"] or "")
        except ValueError:
            text = f"time '{row['time']}': write it like 2026-03-02T14:10:00+00:00"
            faults.append(Finding(str(path), reader.line_num, "log", text, fault=True))
            continue
        if line and row["line"] != line:
            continue
        out.append(
            Entry(
                time_s=time_s, event=row["event"] or "", kind=row["kind"] or "",
                component=row["component"] or "", batch=row["batch"] or "", file=str(path),
                row=reader.line_num,
            )
        )  # fmt: skip
    return sorted(out, key=lambda entry: entry.time_s), faults


def merge(own: Sequence[Event], entries: Sequence[Entry]) -> tuple[list[Event], list[Finding]]:
    """The plant's events and what the panel adds to them: the table at the top of this module."""
    events, findings = sorted(own), list[Finding]()
    for entry in entries:
        if entry.event != "maintenance":
            continue
        if entry.kind not in _KINDS:
            text = f"maintenance '{entry.kind}': {suggestion(entry.kind, tuple(_KINDS))}; not used"
            findings.append(Finding(entry.file, entry.row, "log", text, fault=True))
            continue
        during = next(
            (e for e in own if e.kind == "maintenance" and e.time_s <= entry.time_s <= e.end_s
             and entry.component in ("", e.component or entry.component)),
            None,
        )  # fmt: skip
        if during is not None:
            text = f"{entry.kind} {entry.component} is the maintenance of {during.file}:" \
                   f"{during.line}; counted once"  # fmt: skip
            findings.append(Finding(entry.file, entry.row, "log", text, fault=False))
            continue
        repair = Event(
            time_s=entry.time_s, kind="maintenance", end_s=entry.time_s, component=entry.component,
            text=f"{entry.kind}, keyed in at the panel", file=entry.file, line=entry.row,
        )  # fmt: skip
        before = [e for e in events if e.time_s <= entry.time_s]
        if _KINDS[entry.kind] and not (before and before[-1].kind == "failure"):
            events.append(replace(repair, kind="failure"))
        events.append(repair)
        events.sort()
    return events, findings


def log_text(events: Sequence[Event]) -> str:
    """The events as a log that `export.data.labels.parse_log` reads."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("time", "event", "end", "component", "group", "text"))
    for event in events:
        end = _utc(event.end_s) if event.kind == "maintenance" else ""
        text = event.text or f"{Path(event.file).name}:{event.line}"
        writer.writerow((_utc(event.time_s), event.kind, end, event.component, event.group, text))
    return out.getvalue()


def _gaps(
    stretches: Sequence[Stretch], entries: Sequence[Entry], events: Sequence[Event]
) -> list[Finding]:
    """What could be labelled if somebody knew more: said, never filled in."""
    out = [
        Finding(s.file, 0, "log", "no minute has a label: it is neither within three days before a "
                "failure nor after a maintenance; add what is known of it to the log",
                fault=False)
        for s in stretches if set(s.minutes) <= {labels.UNUSED}
    ]  # fmt: skip
    reach = labels.DAYS * labels.DAY_S
    for entry in entries:
        near = any(0 <= e.time_s - entry.time_s <= reach for e in events if e.kind == "failure")
        if entry.event == "label" and entry.kind == "defect" and not near:
            text = (f"the operator calls batch {entry.batch} defective, but no failure follows "
                    f"within {labels.DAYS} days; add the repair to the log")  # fmt: skip
            out.append(Finding(entry.file, entry.row, "log", text, fault=False))
    failures = [e for e in events if e.kind == "failure"]
    if failures and not any(e.kind == "maintenance" and e >= failures[-1] for e in events):
        last = failures[-1]
        text = f"{last} has no maintenance after it: nothing later is labelled; add the repair"
        out.append(Finding(last.file, last.line, "log", text, fault=False))
    return out


def _spans(folder: Path, line: str) -> list[tuple[str, FloatArray]]:
    """(file, last second of each of its minutes) of every batch, whatever its clock did."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = []
    for path in sorted(folder.glob(f"{line or '*'}/*.parquet")):
        try:
            column = pq.read_table(path, columns=["time"]).column("time")
            times = column.cast(pa.timestamp("us", tz="UTC")).cast("int64").to_numpy() / 1e6
        except (OSError, KeyError, pa.ArrowException) as error:
            raise DatasetError(f"{path}: not a batch of `ncm-edge archive`: {error}") from None
        if len(times):
            minute = (times - times[0]) // 60.0
            ends = np.append(np.flatnonzero(np.diff(minute)), len(times) - 1)
            out.append((str(path), times[ends]))
    return sorted(out, key=lambda span: float(span[1][0]))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: not UTF-8 ({error.reason}); save it as UTF-8") from None


def _utc(t_s: float) -> str:
    return datetime.fromtimestamp(t_s, UTC).isoformat()
