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
a row are rows of nothing, from the first second of the batch to its last; but where the clock
jumped by more than MAX_GAP_S (1970 -> the time of the network), one row stands for the jump.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.config.types import Line
from edge.core.tags import Quality
from edge.runtime.clock import DAY_S
from edge.runtime.store.minute import Times
from edge.runtime.store.reader import History, StoredBatch, StoredRows, StoredStep

EVENTS = "events.csv"
LABELS = "labels.csv"
PLANT = "plant.toml"
EVENT_HEAD = "time,line,event,kind,component,batch,text"
LABEL_HEAD = "time,event,end,component,group,text"


MAX_GAP_S = DAY_S
"""A longer pause within a batch is a clock that was set, not as many slots without a row."""
MAX_GAP_ROWS = 1_000_000


class ArchiveError(Exception):
    """A batch cannot be exported; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written of one batch."""

    path: Path
    rows: int
    gaps: int
    """Slots among them without a row."""
    repeated: int
    """Rows left out: the clock was set back, and a later row has their slot."""
    jumps: tuple[tuple[float, float], ...]
    """Where the clock jumped forward: the last time before, the first after, epoch s."""
    size_bytes: int

    @property
    def notes(self) -> list[str]:
        """What is not as usual, in words."""
        out = [f"the clock jumped from {_utc(a)} to {_utc(b)}: closed" for a, b in self.jumps]
        if self.repeated:
            out.append(f"the clock was set back: {self.repeated} rows of a repeated time left out")
        return out


@dataclass(frozen=True, slots=True)
class _Slots:
    """Where the rows of a batch go, and the time of each slot, first to last."""

    place: npt.NDArray[np.int64]
    times_s: Times
    jumps: tuple[tuple[float, float], ...]

    @property
    def filled(self) -> int:
        return len(np.unique(self.place))


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
    # A batch that had begun before the appliance saw it keeps its place in the schedule.
    lead_s = float(int(batch.first_minute)) * 60.0 if line.schedule is not None else 0.0
    slots = _slots(batch.batch_id, rows.times, line.row_s, lead_s)
    table = _table(history, batch, line, rows, slots)
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
    return Exported(
        path, table.num_rows, gaps=table.num_rows - slots.filled,
        repeated=len(rows.times) - slots.filled, jumps=slots.jumps,
        size_bytes=path.stat().st_size,
    )  # fmt: skip


def _slots(batch_id: int, times: Times, row_s: float, lead_s: float) -> _Slots:
    """Slots `row_s` apart, `lead_s` of them before the first row. Raises ArchiveError."""
    inverse, known = np.argsort(times, kind="stable"), np.sort(times)
    after = np.flatnonzero(np.diff(known) > MAX_GAP_S) + 1
    jumps = tuple((float(known[n - 1]), float(known[n])) for n in after)
    # Seconds of a clock nobody lived through, but for the one row that stands for them.
    skipped = np.zeros(len(known))
    for n, (before_s, after_s) in zip(after, jumps):
        skipped[n:] += after_s - before_s - 2.0 * row_s
    first_s = float(known[0]) - lead_s
    sorted_place = np.rint((known - skipped - first_s) / row_s).astype(np.int64)
    count = int(sorted_place[-1]) + 1
    if count - len(known) > MAX_GAP_ROWS:
        raise ArchiveError(
            f"batch {batch_id}: {count - len(known)} slots without a row between {_utc(first_s)} "
            f"and {_utc(float(known[-1]))}; was the clock set again and again?"
        )
    times_s: Times = first_s + np.arange(count, dtype=np.float64) * row_s
    for n in after:
        times_s[sorted_place[n] :] += skipped[n] - skipped[n - 1]
    place = np.empty(len(times), np.int64)
    place[inverse] = sorted_place
    return _Slots(place, times_s, jumps)


def _table(
    history: History, batch: StoredBatch, line: Line, rows: StoredRows, slots: _Slots
) -> Any:
    import pyarrow as pa

    place, slots_s = slots.place, slots.times_s
    count, tags = len(slots_s), len(rows.tags)
    values = np.full((count, tags), np.nan, np.float32)
    quality = np.full((count, tags), Quality.BAD, np.uint8)
    values[place], quality[place] = rows.values, rows.quality
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
        "clock_jumps": [[_utc(before_s), _utc(after_s)] for before_s, after_s in slots.jumps],
        "units": dict(rows.tags),
    }  # fmt: skip
    return pa.table(columns).replace_schema_metadata({"ncm-edge": json.dumps(meta)})


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
