"""A finished batch -> one Parquet file, with everything a model could learn from it.

    ARCHIVE/
      plant.toml              how to read it all: `ncm-export data ARCHIVE/plant.toml`
      LINE/00000042-20260302T0610.parquet
      events.csv              maintenance and labels keyed in at the panel, one row each
      labels.csv              failures and repairs; filled by `ncm-export label ARCHIVE`
      config/                 the configuration of the lines, so that the archive stands alone

Columns of a batch: `time`; every tag (empty unless GOOD: the model sees only good values);
`quality.TAG` (0 good, 1 uncertain, 2 bad); `uncertain.TAG` where a tag had doubtful values;
`batch_id`, `batch_minute`, `schedule_step`, `probability`, `severity`, `conditions`. Slots without
a row are rows of nothing, from the first second of the batch to its last.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from edge.config.types import Line
from edge.core.tags import Quality
from edge.runtime.store.reader import History, StoredBatch, StoredRows, StoredStep

EVENTS = "events.csv"
LABELS = "labels.csv"
PLANT = "plant.toml"
EVENT_HEAD = "time,line,event,kind,component,batch,text"
LABEL_HEAD = "time,event,end,component,group,text"


class ArchiveError(Exception):
    """A batch cannot be exported; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written of one batch."""

    path: Path
    rows: int
    gaps: int
    """Slots among them without a row."""
    size_bytes: int


def file_name(batch: StoredBatch) -> str:
    """Unique in its line's folder, in the order of the batches, and telling to people."""
    began = datetime.fromtimestamp(batch.began_s, UTC).strftime("%Y%m%dT%H%M")
    return f"{batch.batch_id:08d}-{began}.parquet"


def export(history: History, batch: StoredBatch, line: Line, folder: Path) -> Exported:
    """Write the batch below `folder`, whole or not at all.

    Raises ArchiveError, HistoryError, OSError.
    """
    import pyarrow.parquet as pq

    rows = history.rows(batch)
    if not len(rows.times):
        raise ArchiveError(
            f"batch {batch.batch_id}: none of its rows is kept any more; export earlier, or raise "
            "max_mb of [history] in appliance.toml"
        )
    table, gaps = _table(history, batch, line, rows)
    path = folder / batch.line / file_name(batch)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".new")
    try:
        # Dictionaries beat split bytes by a third: instruments send few different values.
        pq.write_table(table, unfinished, compression="zstd", compression_level=9,
                       row_group_size=65_536)  # fmt: skip
        if pq.read_metadata(unfinished).num_rows != table.num_rows:
            raise ArchiveError(f"{path}: reads back with another number of rows; is the disk well?")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return Exported(path, table.num_rows, gaps, path.stat().st_size)


def _table(history: History, batch: StoredBatch, line: Line, rows: StoredRows) -> tuple[Any, int]:
    import pyarrow as pa

    # A batch that had begun before the appliance saw it keeps its place in the schedule.
    lead_s = float(int(batch.first_minute)) * 60.0 if line.schedule is not None else 0.0
    first_s = float(rows.times[0]) - lead_s
    place = np.rint((rows.times - first_s) / line.row_s).astype(int)
    count, tags = int(place.max()) + 1, len(rows.tags)
    values = np.full((count, tags), np.nan, np.float32)
    quality = np.full((count, tags), Quality.BAD, np.uint8)
    values[place], quality[place] = rows.values, rows.quality
    slots_s = first_s + np.arange(count) * line.row_s
    columns: dict[str, Any] = {
        "time": pa.array(np.rint(slots_s * 1e6).astype(np.int64), pa.timestamp("us", tz="UTC"))
    }
    for i, (name, _) in enumerate(rows.tags):
        columns[name] = pa.array(values[:, i], mask=quality[:, i] != Quality.GOOD)
    for i, (name, _) in enumerate(rows.tags):
        columns[f"quality.{name}"] = pa.array(quality[:, i])
        doubtful = quality[:, i] == Quality.UNCERTAIN
        if doubtful.any():
            columns[f"uncertain.{name}"] = pa.array(values[:, i], mask=~doubtful)
    columns["batch_id"] = pa.array(np.full(count, batch.batch_id, np.int64))
    columns["batch_minute"] = pa.array((np.arange(count) * line.row_s / 60.0).astype(np.float32))
    columns |= _verdicts(history.steps(batch), slots_s, pa)
    columns["conditions"] = pa.array(_conditions(history, batch, slots_s))
    meta = {
        "line": batch.line, "batch_id": batch.batch_id, "state": batch.state, "model": batch.model,
        "config_sha256": batch.config_sha256, "simulation": batch.simulation,
        "worst_severity": batch.severity, "damaged_minutes": rows.damaged,
        "units": dict(rows.tags),
    }  # fmt: skip
    table = pa.table(columns).replace_schema_metadata({"ncm-edge": json.dumps(meta)})
    return table, count - len(np.unique(place))


def _verdicts(steps: Sequence[StoredStep], slots_s: np.ndarray, pa: Any) -> dict[str, Any]:
    """Schedule step, probability and severity of the model step each slot belongs to."""
    ends = np.array([step.t_s for step in steps])
    nearest = np.searchsorted(ends, slots_s, side="right")
    known = nearest < len(steps)
    nearest = np.minimum(nearest, max(len(steps) - 1, 0))

    def column(name: str, kind: Any) -> Any:
        found = [getattr(step, name) for step in steps] or [None]
        return pa.array([found[n] if ok else None for n, ok in zip(nearest, known)], kind)

    return {
        "schedule_step": column("phase", pa.int16()),
        "probability": column("probability", pa.float32()),
        "severity": column("severity", pa.int8()),
    }


def _conditions(history: History, batch: StoredBatch, slots_s: np.ndarray) -> list[str]:
    """What was raised in each slot, in words."""
    raised = history.raised_at(batch.line, float(slots_s[0]))
    out = ["; ".join(sorted(raised))] * len(slots_s)
    for event in history.events(line=batch.line, first_s=float(slots_s[0]),
                                last_s=float(slots_s[-1]), kind="condition"):  # fmt: skip
        change = raised.add if event.body["raised"] else raised.discard
        change(str(event.body["condition"]))
        first = int(np.searchsorted(slots_s, event.t_s))
        out[first:] = ["; ".join(sorted(raised))] * (len(slots_s) - first)
    return out


def write_companions(history: History, lines: Sequence[Line], folder: Path, config: Path) -> None:
    """events.csv, labels.csv if there is none, plant.toml and config/ of the archive."""
    out = [EVENT_HEAD]
    names = {line.name for line in lines}
    for kind in ("maintenance", "label"):
        for event in history.events(kind=kind):
            if event.line in names:
                body = event.body
                out.append(",".join((
                    _utc(event.t_s), event.line, kind, str(body.get("kind", body.get("label", ""))),
                    str(body.get("component", "")), str(body.get("batch_id", "")),
                    "keyed in at the panel",
                )))  # fmt: skip
    _replace(folder / EVENTS, "\n".join((out[0], *sorted(out[1:]))) + "\n")
    if not (folder / LABELS).exists():
        _replace(folder / LABELS, LABEL_HEAD + "\n")
    for line in lines:
        _copy_config(config, line, folder / "config")
        name = PLANT if len(lines) == 1 else f"{line.name}.toml"
        _replace(folder / name, plant_toml(line, any(b.simulation for b in history.batches())))


def plant_toml(line: Line, simulated: bool) -> str:
    """The description of the archive for `ncm-export` (keys: export/data/describe.py)."""
    step_rows = max(1, round(60.0 / line.row_s))
    return (
        f"# Written by `ncm-edge archive`; read by `ncm-export data` and `train --recording`.\n"
        f'name = "{line.name}"\n'
        f'files = ["{line.name}/*.parquet"]\n'
        f'time = "time"\n'
        f'config = "config"\n'
        f'line = "{line.name}"\n'
        f"step_rows = {step_rows}\n"
        f"# Each batch is a stretch of its own, named like its file; the line has one normal.\n"
        f'group = "{{stem}}"\n'
        f'domain = "{line.name}"\n'
        f"# Filled by `ncm-export label`.\n"
        f'label = {{ log = "{LABELS}" }}\n'
        f"# Whose labels training may use; name only some to judge by the others.\n"
        f'labelled = ["*"]\n'
        f"simulated = {str(simulated).lower()}\n"
    )


def _copy_config(config: Path, line: Line, target: Path) -> None:
    """The files of a line that the workshop needs; no bundles, no keys."""
    sources = [config / "appliance.toml", *sorted((config / "lines" / line.name).glob("*.toml")),
               *sorted((config / "schedules").glob("*.csv"))]  # fmt: skip
    for source in sources:
        if source.is_file():
            place = target / source.relative_to(config)
            place.parent.mkdir(parents=True, exist_ok=True)
            _replace(place, source.read_text(encoding="utf-8"))


def _replace(path: Path, text: str) -> None:
    unfinished = path.with_name(path.name + ".new")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)


def _utc(t_s: float) -> str:
    return datetime.fromtimestamp(t_s, UTC).strftime("%Y-%m-%dT%H:%M:%S+00:00")
