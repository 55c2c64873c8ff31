"""What the reader process answers: the site, batches, a batch, its rows, the envelope.

Each job takes plain arguments and returns bytes; what cannot be answered is raised as `Refused`
(the asker's mistake), `Unknown` (no such thing) or HistoryError (the file), each in words.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from edge.config.types import Appliance, Line, OpcUaSource, TagRow
from edge.page import drawing
from edge.page.reference import Reference, about, load
from edge.page.series import Reducer, Series, packed
from edge.runtime.chain import plain
from edge.runtime.store.reader import History, StoredBatch, StoredEvent, StoredStep
from edge.runtime.store.schema import FILE_NAME
from edge.runtime.store.sentences import event_words

BUSY_S = 2.0
"""Longest wait for a program that holds the history; the daemon never holds it as long."""
COLUMNS = 360
"""Model steps are shown in at most as many columns."""
BATCHES = 200
MARGIN_S = 120.0
SHOWN = ("suggestion", "answer", "verdict", "maintenance", "label", "batch", "condition")


class Refused(ValueError):  # noqa: N818 - an answer, not a fault
    """The question cannot be answered as it was put."""


class Unknown(LookupError):  # noqa: N818
    """There is no such line, batch or component."""


class Answers:
    """Answers about one appliance. Not for several threads."""

    def __init__(self, appliance: Appliance) -> None:
        self.appliance = appliance
        self._history = appliance.history.directory / FILE_NAME
        self._reducer = Reducer()
        self._references: dict[tuple[str, int], Reference | str] = {}
        self.jobs: Mapping[str, Callable[..., bytes]] = {
            "site": self.site, "batches": self.batches, "batch": self.batch,
            "series": self.series, "envelope": self.envelope, "model": self.model,
        }  # fmt: skip

    def site(self) -> bytes:
        """All that does not change while the configuration stays."""
        appliance = self.appliance
        return _json({
            "name": appliance.name,
            "config_sha256": appliance.config_sha256,
            "runtime_dir": str(appliance.runtime_dir),
            "page": {k: v if v is None or isinstance(v, int) else str(v)
                     for k, v in asdict(appliance.page).items()},
            "lines": [_line(line) for line in appliance.lines],
        })  # fmt: skip

    def batches(self, line: str) -> bytes:
        """The newest batches of a line, newest first."""
        self._line(line)
        with History(self._history, busy_s=BUSY_S) as history:
            found = history.batches(line)[-BATCHES:]
        return _json([_batch(b) for b in reversed(found)])

    def batch(self, line: str, batch: int | None = None) -> bytes:
        """Verdicts, activation map, demand and events of a batch; None: the newest."""
        known = self._line(line)
        with History(self._history, busy_s=BUSY_S) as history:
            found = self._batch(history, known, batch)
            steps = history.steps(found)
            events = list(history.events(line=line, first_s=found.began_s - MARGIN_S,
                                         last_s=found.last_s + MARGIN_S))  # fmt: skip
        return _json({
            "batch": _batch(found),
            "steps": _steps(steps),
            "cam": _map(steps, len(known.tags)),
            "events": [_event(e) for e in events if e.kind in SHOWN][-400:],
        })

    def series(
        self, line: str, batch: int | None = None, first_s: float = -math.inf,
        last_s: float = math.inf, pixels: int = 600, component: str = "",
    ) -> bytes:  # fmt: skip
        """Rows of a batch, of all tags or those of a component, as `packed`."""
        known = self._line(line)
        wanted = self._tags(known, component)
        if not 20 <= pixels <= 4000:
            raise Refused(f"pixels {pixels}: permitted is 20 to 4000")
        if not first_s < last_s:
            raise Refused("the time asked for ends before it begins")
        with History(self._history, busy_s=BUSY_S) as history:
            found = self._batch(history, known, batch)
            series = self._reducer.series(history, found, first_s, last_s, pixels)
        if component:
            places = [i for i, name in enumerate(series.tags) if name in wanted]
            series = _only(series, places)
        return packed(series, {"batch": _batch(found)})

    def envelope(
        self, line: str, component: str, directory: str, batch: int | None = None
    ) -> bytes:
        """Where good batches were, for the tags of a component along a batch."""
        known = self._line(line)
        wanted = self._tags(known, component)
        reference = self._reference(directory)
        if isinstance(reference, str):
            return _json({"source": "", "why": reference, "times": [], "tags": {}})
        card = reference.card
        names = [name for name, _ in card.tags]
        with History(self._history, busy_s=BUSY_S) as history:
            found = self._batch(history, known, batch)
            steps = [s for s in history.steps(found) if s.minute is not None]
        step_min = card.step_rows * card.row_s / 60.0
        picked = steps[:: max(1, len(steps) // COLUMNS)]
        slots = [
            # The minute of a step is that of its end.
            card.slot(round((s.minute or 0.0) / step_min) - 1, len(reference.low)) for s in picked
        ]
        return _json({
            "source": f"normal batches the model was made with: bundle {card.name}, serial "
            f"{card.serial}{', simulated' if card.simulated else ''}",
            "why": "",
            "times": [s.t_s for s in picked],
            "tags": {
                name: [reference.low[slots, names.index(name)],
                       reference.high[slots, names.index(name)]]
                for name in wanted if name in names
            },
        })  # fmt: skip

    def model(self, line: str, directory: str) -> bytes:
        """Name, thresholds and validated hit rates of the model that decides."""
        known = self._line(line)
        reference = self._reference(directory)
        if isinstance(reference, str):
            return _json({"why": reference})
        return _json(about(reference.card, known.model.warn_probability))

    def _line(self, name: str) -> Line:
        for line in self.appliance.lines:
            if line.name == name:
                return line
        names = ", ".join(line.name for line in self.appliance.lines)
        raise Unknown(f"line {name!r}: not one of this appliance; it serves {names}")

    def _tags(self, line: Line, component: str) -> list[str]:
        if component and component not in {c.code for c in line.topology.components}:
            codes = ", ".join(c.code for c in line.topology.components)
            raise Unknown(f"component {component!r}: line {line.name} has {codes}")
        return [r.tag.name for r in line.tags if component in ("", r.tag.component)]

    def _batch(self, history: History, line: Line, batch: int | None) -> StoredBatch:
        found = history.batches(line.name)
        if batch is None:
            if not found:
                raise Unknown(f"line {line.name}: the history holds no batch yet")
            return max(found, key=lambda b: (b.last_s, b.key))
        same = [b for b in found if b.batch_id == batch]
        if not same:
            near = sorted(found, key=lambda b: abs(b.batch_id - batch))[:3]
            names = ", ".join(str(b.batch_id) for b in near) or "none yet"
            raise Unknown(
                f"batch {batch}: not in the history of line {line.name}; the nearest numbers "
                f"there: {names}"
            )
        return same[-1]

    def _reference(self, directory: str) -> Reference | str:
        if not directory:
            return "the daemon does not say which bundle decides"
        path = Path(directory)
        try:
            key = directory, (path / "card.json").stat().st_mtime_ns
        except OSError as error:
            return f"{path / 'card.json'}: {error.strerror or error}"
        if key not in self._references:
            self._references = {key: load(path)}
        return self._references[key]


def _line(line: Line) -> dict[str, Any]:
    return {
        "name": line.name,
        "title": line.title,
        "simulation": line.simulation,
        "batches": line.schedule is not None,
        "tags": [_tag(row) for row in line.tags],
        "context": [_tag(row) for row in line.context],
        "components": [asdict(c) for c in line.topology.components],
        "drawing": drawing.svg(line.topology, line.title),
    }


def _tag(row: TagRow) -> dict[str, Any]:
    source = row.source
    if isinstance(source, OpcUaSource):
        where = source.node
    else:
        where = f"{source.table} {source.address}, unit {source.unit_id}"
    return {
        "name": row.tag.name, "text": row.tag.text, "unit": row.tag.unit, "low": row.tag.low,
        "high": row.tag.high, "component": row.tag.component, "part": row.tag.part,
        "where": f"{source.link} {where}",
    }  # fmt: skip


def _batch(batch: StoredBatch) -> dict[str, Any]:
    return asdict(batch)


def _event(event: StoredEvent) -> dict[str, Any]:
    body = event.body
    out = {"t_s": event.t_s, "kind": event.kind, "text": event_words(event)}
    if event.kind == "condition":
        out |= {"condition": body["condition"], "raised": body["raised"]}
    if event.kind == "answer":
        out["text"] = f"operator at the panel: {out['text']}"
    return out


def _steps(steps: list[StoredStep]) -> dict[str, list[Any]]:
    """Columns; at most two model steps short of four times `COLUMNS`."""
    every = max(1, len(steps) // (4 * COLUMNS))
    kept = steps[::-1][::every][::-1]
    return {
        name: [getattr(step, name) for step in kept]
        for name in ("t_s", "minute", "phase", "probability", "severity", "drift", "data_quality",
                     "demand")
    }  # fmt: skip


def _map(steps: list[StoredStep], tags: int) -> dict[str, Any] | None:
    """What speaks for a defect: bytes [tags, columns], 255 the most of this batch."""
    known = [s for s in steps if s.cam is not None and len(s.cam) == tags]
    if not known:
        return None
    cam = np.stack([np.nan_to_num(s.cam) for s in known if s.cam is not None]).T
    count = min(cam.shape[1], COLUMNS)
    edges = np.linspace(0, cam.shape[1], count + 1).astype(int)
    shrunk = np.stack([cam[:, a:b].max(axis=1) for a, b in pairwise(edges)], axis=1)
    top = float(max(shrunk.max(), 1e-6))
    cells = np.round(np.clip(shrunk / top, 0.0, 1.0) * 255.0).astype(np.uint8)
    return {
        "columns": count,
        "times": [known[a].t_s for a in edges[:-1]] + [known[-1].t_s],
        "top": top,
        "cells": base64.b64encode(cells.tobytes()).decode(),
    }


def _only(series: Series, places: list[int]) -> Series:
    return replace(
        series, tags=tuple(series.tags[i] for i in places), values=series.values[places]
    )


def _json(value: Any) -> bytes:
    return json.dumps(plain(_listed(value)), ensure_ascii=False, separators=(",", ":")).encode()


def _listed(value: Any) -> Any:
    """Arrays become lists; the rest stays as it is."""
    if isinstance(value, np.ndarray):
        return [float(f"{v:.6g}") for v in value.tolist()]
    if isinstance(value, dict):
        return {key: _listed(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_listed(item) for item in value]
    return value
