"""A batch as one HTML page: no script, no request, everything inline, so that it can be filed.

The sections are a table of functions; each takes the batch and returns HTML. What is simulated
says so at the top, in the title and in every figure's caption.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape

import numpy as np

from edge.config.types import Line
from edge.core.tags import Quality
from edge.core.verdict import SEVERITY
from edge.runtime.store import report_svg as svg
from edge.runtime.store.reader import History, StoredBatch, StoredEvent, StoredRows, StoredStep
from edge.runtime.store.report_summary import summary

MARGIN_S = 120.0
"""What happened just before and after a batch belongs to its story."""
NOTHING = "<p>Nothing was recorded of this.</p>"

CSS = """
body{font:14px/1.5 system-ui,sans-serif;color:#222;max-width:1080px;margin:24px auto;padding:0 16px}
h1{font-size:22px;margin:0 0 4px}h2{font-size:16px;margin:28px 0 6px;border-bottom:1px solid #ccc}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:2px 10px 2px 0;
vertical-align:top;border-bottom:1px solid #eee}td:first-child{white-space:nowrap}
svg{width:100%;height:auto}
.note{background:#eee;border-left:6px solid #666;padding:8px 12px;margin:12px 0;font-weight:600}
code{font-size:12px;word-break:break-all}figcaption,.small{color:#555;font-size:12px}
figure{margin:8px 0;break-inside:avoid}ul{margin:4px 0;padding-left:20px}
@page{size:A4;margin:14mm}
@media print{body{font-size:10.5pt;max-width:none;margin:0;padding:0}h2{break-after:avoid}
tr,.note{break-inside:avoid}thead{display:table-header-group}
svg,.note{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""
"""The browser's print gives A4 pages: no figure or table row is cut, no shade is dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Everything the page is made of."""

    batch: StoredBatch
    rows: StoredRows
    steps: Sequence[StoredStep]
    events: Sequence[StoredEvent]
    raised: frozenset[str]
    """Conditions raised before the first event."""
    line: Line | None
    """None: the line is not configured here; names and schedule are then missing."""
    words: Callable[[StoredEvent], str]

    @property
    def names(self) -> dict[str, str]:
        """Component code -> name, as far as the line is configured here."""
        if self.line is None:
            return {}
        return {c.code: c.name for c in self.line.topology.components}

    @property
    def simulated(self) -> str:
        """In front of every caption."""
        return "Simulated. " if self.batch.simulation else ""


def told(
    history: History, batch: StoredBatch, line: Line | None, words: Callable[[StoredEvent], str]
) -> Told:
    """Read the batch. Raises HistoryError."""
    first_s = batch.began_s - MARGIN_S
    return Told(
        batch=batch, rows=history.rows(batch), steps=history.steps(batch), line=line, words=words,
        raised=frozenset(history.raised_at(batch.line, first_s)),
        events=list(history.events(line=batch.line, first_s=first_s,
                                   last_s=batch.last_s + MARGIN_S)),
    )  # fmt: skip


def page(report: Told, version: str) -> str:
    """The whole document."""
    batch = report.batch
    title = f"{report.simulated}Line {batch.line}, batch {batch.batch_id}"
    note = ""
    if batch.simulation:
        note = f'<p class="note">SIMULATED, never to be acted on: {escape(batch.simulation)}</p>'
    body = "".join(f"<h2>{name}</h2>{section(report)}" for name, section in SECTIONS)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        f"style-src 'unsafe-inline'\"><style>{CSS}</style></head><body>"
        f"<h1>{escape(title)}</h1><p>{_span(batch)}</p>{note}{body}"
        f'<p class="small">ncm-edge {escape(version)}. Times are UTC.</p></body></html>\n'
    )


def _span(batch: StoredBatch) -> str:
    hours = (batch.last_s - batch.began_s) / 3600.0
    worst = SEVERITY[batch.severity]
    return (
        f"{_time(batch.began_s)} to {_time(batch.last_s)}, {hours:.1f} h, {escape(batch.state)}; "
        f"worst severity {worst}."
    )


def _time(t_s: float) -> str:
    return datetime.fromtimestamp(t_s, UTC).strftime("%Y-%m-%d %H:%M")


def _hours(report: Told, t_s: float) -> float:
    return (t_s - report.batch.began_s) / 3600.0


def _figure(picture: str, caption: str, report: Told) -> str:
    return f"<figure>{picture}<figcaption>{report.simulated}{escape(caption)}</figcaption></figure>"


# Sections.


def _summary(report: Told) -> str:
    said = summary(report.batch, report.steps, report.rows, report.events, report.names)
    return "<ul>" + "".join(f"<li>{escape(sentence)}</li>" for sentence in said) + "</ul>"


def _timeline(report: Told) -> str:
    kinds = ("batch", "verdict", "maintenance", "label", "start", "stop", "configuration", "model",
             "update", "export")  # fmt: skip
    return _table(
        ("time", "what", ""),
        [
            (_time(e.t_s), e.kind, report.words(e))
            for e in report.events
            # Batch 0 is none: what block R says while nothing runs.
            if e.kind in kinds and (e.kind != "batch" or e.body.get("batch_id"))
        ],
    )  # fmt: skip


def _severity(report: Told) -> str:
    steps = [s for s in report.steps if s.probability is not None]
    if not steps:
        why = sorted({s.why for s in report.steps if s.why})
        return (
            f"<p>No valid verdict in this batch: {escape(', '.join(why) or 'no model step')}.</p>"
        )
    x = np.array([_hours(report, s.t_s) for s in report.steps])
    probability = np.array(
        [np.nan if s.probability is None else s.probability for s in report.steps]
    )
    level = np.array([np.nan if s.severity is None else s.severity for s in report.steps])
    return _figure(
        svg.lines(x, [("defect probability", probability)], low=0.0, high=1.0, unit=""),
        "Defect probability over hours of the batch; gaps are model steps without a valid verdict.",
        report,
    ) + _figure(
        svg.lines(x, [("severity", level)], low=0.0, high=3.0, unit="", steps=True,
                  labels=dict(enumerate(SEVERITY))),
        "Severity after persistence: D-3 is about three days before a failure, D-1 one day.",
        report,
    )  # fmt: skip


def _components(report: Told) -> str:
    names = report.names
    found: dict[tuple[str, str], list[float]] = {}
    for step in report.steps:
        for component, part, score in step.suspects:
            found.setdefault((component, part), []).append(score)
    rows = [
        (code, names.get(code, ""), part, str(len(scores)), f"{max(scores):.0%}",
         f"{sum(scores) / len(scores):.0%}")
        for (code, part), scores in sorted(found.items(), key=lambda item: -sum(item[1]))[:12]
    ]  # fmt: skip
    if not rows:
        return "<p>No component came under suspicion.</p>"
    head = ("component", "name", "part", "model steps", "highest share", "mean share")
    return _table(head, rows)


def _heat(report: Told) -> str:
    steps = [s for s in report.steps if s.cam is not None and len(s.cam) == len(report.rows.tags)]
    if not steps:
        return NOTHING
    cam = np.stack([s.cam for s in steps if s.cam is not None]).T
    names = [name for name, _ in report.rows.tags]
    groups = [""] * len(names)
    if report.line is not None:
        of = {row.tag.name: row.tag.component for row in report.line.tags}
        groups = [of.get(name, "") for name in names]
    x = np.array([_hours(report, s.t_s) for s in steps])
    return _figure(
        svg.heat(x, np.maximum(cam, 0.0), names, groups),
        "What speaks for a defect, tag by tag over hours of the batch (class activation map); "
        "darker is more, tags are grouped by component.",
        report,
    )


def _trim(report: Told) -> str:
    rows = [
        (_time(e.t_s), "operator" if e.kind == "answer" else "appliance", report.words(e))
        for e in report.events if e.kind in ("suggestion", "answer")
    ]  # fmt: skip
    demand = np.array([np.nan if s.demand is None else 100.0 * s.demand for s in report.steps])
    trend = ""
    if np.isfinite(demand).any():
        x = np.array([_hours(report, s.t_s) for s in report.steps])
        trend = _figure(
            svg.lines(x, [("NaOH demand", demand)], unit="%"),
            "NaOH demand above the feed-forward over hours of the batch.", report,
        )  # fmt: skip
    return _table(("time", "who", "what"), rows, "No trim was suggested.") + trend


def _schedule(report: Told) -> str:
    """Each schedule step: when it should have begun, when it did, and how long it took."""
    if report.line is None or report.line.schedule is None:
        return "<p>A process without a schedule.</p>"
    seen: dict[int, list[float]] = {}
    for step in report.steps:
        if step.minute is not None and step.phase > 0:
            seen.setdefault(step.phase, []).append(step.minute)
    rows = []
    for wanted in report.line.schedule.steps:
        minutes = seen.get(wanted.step)
        if minutes is None:
            continue
        late = min(minutes) - wanted.start_min
        lasted = max(minutes) - min(minutes) + 1.0
        first = wanted.step == min(seen)
        rows.append((
            str(wanted.step), f"{wanted.start_min:.0f}", f"{min(minutes):.0f}",
            "first one seen" if first and late > 1.5 else f"{late:+.0f}",
            f"{wanted.end_min - wanted.start_min:.0f}", f"{lasted:.0f}",
        ))  # fmt: skip
    head = ("step", "due at min", "seen at min", "late by min", "should last", "lasted")
    return _table(head, rows)


def _conditions(report: Told) -> str:
    open_: dict[str, StoredEvent | None] = dict.fromkeys(report.raised)
    rows = []
    for event in report.events:
        if event.kind != "condition":
            continue
        name = str(event.body["condition"])
        if event.body["raised"]:
            open_[name] = event
        else:
            began = open_.pop(name, None)
            rows.append(_condition_row(name, began, event.t_s))
    rows += [_condition_row(name, began, None) for name, began in open_.items()]
    head = ("raised", "cleared", "condition", "")
    return _table(head, sorted(rows), "No condition stood during this batch.")


def _condition_row(
    name: str, began: StoredEvent | None, ended_s: float | None
) -> tuple[str, str, str, str]:
    since = "before the batch" if began is None else _time(began.t_s)
    until = "not in this batch" if ended_s is None else _time(ended_s)
    return since, until, name, "" if began is None else str(began.body.get("text", ""))


def _quality(report: Told) -> str:
    rows = report.rows
    if not len(rows.times):
        return "<p>The raw rows of this batch are no longer kept.</p>"
    good = (rows.quality == Quality.GOOD).mean(axis=0)
    bad = (rows.quality == Quality.BAD).mean(axis=0)
    row_s = 1.0 if report.line is None else report.line.row_s
    slots = round((rows.times[-1] - rows.times[0]) / row_s) + 1
    missing = max(slots - len(rows.times), 0)
    text = (
        f"<p>{len(rows.times)} rows of {slots} slots, {missing} without a row"
        f"{f', {rows.damaged} minutes damaged on the disk' if rows.damaged else ''}; "
        f"{good.mean():.2%} of the tag-seconds good.</p>"
    )
    worst = [i for i in np.argsort(good) if good[i] < 1.0][:15]
    if not worst:
        return text + "<p>Every value of every tag was good.</p>"
    table = [
        (rows.tags[i][0], f"{good[i]:.2%}", f"{1.0 - good[i] - bad[i]:.2%}", f"{bad[i]:.2%}")
        for i in worst
    ]
    return text + _table(("tag", "good", "uncertain", "bad"), table)


def _hashes(report: Told) -> str:
    batch = report.batch
    changed = [e for e in report.events if e.kind in ("configuration", "model", "update")]
    rows = [
        ("model", f"<code>{escape(batch.model or 'none')}</code>"),
        ("configuration", f"<code>{escape(batch.config_sha256)}</code>"),
        ("changed during the batch", str(len(changed)) if changed else "no"),
        ("exported", _time(batch.exported_s) if batch.exported_s else "no"),
    ]
    return "<table>" + "".join(f"<tr><th>{k}</th><td>{v}</td></tr>" for k, v in rows) + "</table>"


def _table(
    head: Sequence[str], rows: Sequence[Sequence[str]], none: str = "Nothing was recorded of this."
) -> str:
    if not rows:
        return f"<p>{none}</p>"
    first = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    rest = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{first}</tr></thead><tbody>{rest}</tbody></table>"


SECTIONS: tuple[tuple[str, Callable[[Told], str]], ...] = (
    ("In short", _summary),
    ("Severity", _severity),
    ("Components", _components),
    ("Where it shows", _heat),
    ("Timeline", _timeline),
    ("Conditions", _conditions),
    ("Data quality", _quality),
    ("Schedule", _schedule),
    ("Trim dialogue", _trim),
    ("Model and configuration", _hashes),
)
"""Heading -> what stands below it, in the order of the page."""
