"""Any plant's recording -> stretches of labelled step features. One interface for all.

    dataset = load_plant(Path("export/plants/tep_multimode.toml"))
    samples = windows(dataset, steps=60, stride=20)

A `Batch` of the result is a whole stretch (run, file, episode), its `group` is unique and its
`first_step` is 0. Notes that are arrays have one value per step: `t_s`, `line` (of the file),
`rows`, `defective_rows`, `age_s`, and where known `stage` and `to_failure_s`. Other notes:
`file`, `first_line`, `day`, `normal_steps` (first steps known to be normal).
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np

from export.data import labels
from export.data.cut import cut_episodes, piece_of, windows
from export.data.dataset import Batch, Dataset, DatasetError, LineSpec
from export.data.describe import load_description
from export.data.findings import Finding, PlantError, refuse_faults
from export.data.lines import line_spec
from export.data.plantspec import PlantSpec
from export.data.quality import copied_rows, findings_over_all
from export.data.reader import read_group_of_files
from export.data.source import files_of, sha256_of
from export.data.stretch import Counts
from export.data.units import other_units


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A recording and what was found in it."""

    dataset: Dataset
    findings: tuple[Finding, ...]
    counts: Counts
    """Over all files."""
    files: tuple[Path, ...]


def load_plant(
    toml: Path, file: Path | None = None, *, cache: Path | None = None, quiet: bool = False
) -> Dataset:
    """The recording a TOML file describes (keys: export/data/describe.py).

    Args:
        toml: description of the plant.
        file: a file, or a folder of files, instead of those the description names.
        cache: folder that keeps the features of each file, so that a second or an interrupted
            reading goes on where the first ended.
        quiet: no progress bar (it is only shown on a terminal, after two seconds).

    Raises:
        DatasetError: every fault found, with file, row and remedy.
        ConfigError: the line's configuration is wrong.
    """
    loaded = read_plant(toml, file, cache=cache, quiet=quiet)
    refuse_faults(loaded.findings)
    return loaded.dataset


def read_plant(
    toml: Path, file: Path | None = None, *, cache: Path | None = None, quiet: bool = False
) -> Loaded:
    """As `load_plant`, but faults of the data are in `findings` beside what could be read."""
    spec = load_description(toml)
    files = files_of(spec, file)
    sets = [files] if spec.join_files else [[one] for one in files]
    reads = list(read_group_of_files(spec, sets, cache, quiet))
    findings = [f for read in reads for f in read.findings]
    tags = reads[0].tags
    counts = Counts.of(len(tags))
    for read in reads:
        counts.add(read.counts)
    stretches = [s for read in reads for s in read.stretches]
    events, log_findings = _events(spec)
    findings += log_findings
    batches = []
    spans: list[tuple[str, float, float]] = []
    levels: list[tuple[Batch, np.ndarray | None]] = []
    prints: list[tuple[Batch, np.ndarray | None, np.ndarray | None]] = []
    for stretch in stretches:
        if any(fnmatch(stretch.group, pattern) for pattern in spec.skip):
            continue
        spans.append((stretch.group, float(stretch.notes["t_s"][0]) - spec.row_s * spec.step_rows,
                      float(stretch.notes["t_s"][-1])))  # fmt: skip
        levels.append((stretch, stretch.notes.pop("raw_level", None)))
        prints.append((stretch, stretch.notes.pop("prints", None),
                       stretch.notes.pop("print_lines", None)))  # fmt: skip
        mine = labels.events_of(events, stretch.group)
        findings += [f for f in labels.conflicts(mine) if f not in findings]
        pieces = cut_episodes(_labelled(spec, stretch, mine), spec.episode_rest_steps)
        batches += [_blamed(piece, mine) for piece in pieces]
    if not batches:
        refuse_faults(findings, spec.tolerate)
        names = ", ".join(str(f) for f in files[:3])
        raise DatasetError(
            f"{toml}: no stretch of {names} is left after `skip`, or none is as long as a model "
            f"step of {spec.step_rows} rows"
        )
    findings += copied_rows(prints)
    findings += other_units(tags, levels)
    findings += labels.outside(events, spans)
    findings += findings_over_all(spec, batches, counts, tags)
    findings = [_tolerated(spec, f) for f in findings]
    return Loaded(
        dataset=Dataset(
            line=_line(spec, tags, batches),
            batches=tuple(batches),
            simulated=spec.simulated,
            source=_source(spec, files),
            sha256=_hash(spec, files),
        ),
        findings=tuple(sorted(set(findings))),
        counts=counts,
        files=tuple(files),
    )


def _labelled(spec: PlantSpec, stretch: Batch, events: Sequence[labels.Event]) -> Batch:
    """Marks of the rows -> severity of the steps."""
    rule = spec.label
    mark = stretch.notes.pop("mark")
    notes = stretch.notes
    component = stretch.component
    if rule.kind == "log":
        severity, left_s = labels.label_times(
            notes["t_s"], events, between=rule.between, normal_h=rule.normal_h
        )
        notes["to_failure_s"] = left_s
    elif rule.kind == "countdown":
        severity = labels.countdown_level(mark)
        if rule.between == "unused":
            severity[severity == 0] = -1
        severity[mark < 0] = -1
        notes["to_failure_s"] = np.where(mark < 0, np.inf, mark).astype(np.float64)
    elif rule.kind == "rank":
        top = max(float(mark.max()), 1.0)
        scaled = np.ceil(mark * 3.0 / top) if rule.stages == "scale" else np.minimum(mark, 3)
        severity = np.where(mark < 0, -1, scaled).astype(np.int8)
        notes["stage"] = mark.astype(np.int32)
    elif rule.kind:
        severity = np.where(mark > 0, rule.level, mark).astype(np.int8)
    else:
        severity = np.zeros(len(mark), np.int8)
    normal = spec.normal_rows // spec.step_rows
    if normal:
        severity[:normal] = 0
    bad = np.flatnonzero(severity > 0)
    other = np.flatnonzero(severity != 0)
    notes["normal_steps"] = normal or (int(other[0]) if len(other) else len(severity))
    fault = stretch.fault if len(bad) else ""
    row = next((r for name, r in spec.faults.items() if fnmatch(fault, name)), None)
    return dataclasses.replace(
        stretch,
        severity=severity,
        fault=fault or ("recorded" if len(bad) else ""),
        component=(row.component if row else component) if len(bad) else "",
        expected=row.expected if row else (),
        split="train" if _matches(stretch.group, spec.labelled) else "test",
    )


def _blamed(piece: Batch, events: Sequence[labels.Event]) -> Batch:
    """With the component of the failure it leads up to, where the log alone knows it."""
    bad = np.flatnonzero(piece.severity > 0)
    if piece.component or not len(bad):
        return piece
    first_s = float(piece.notes["t_s"][bad[0]])
    ahead = [e for e in sorted(events) if e.kind == "failure" and e.time_s >= first_s]
    return dataclasses.replace(piece, component=ahead[0].component if ahead else "")


def _events(spec: PlantSpec) -> tuple[list[labels.Event], list[Finding]]:
    if spec.label.log is None:
        return [], []
    try:
        text = spec.label.log.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{spec.label.log}: cannot be read: {error}") from None
    return labels.parse_log(text, str(spec.label.log), spec.timezone)


def _line(spec: PlantSpec, tags: Sequence[Any], batches: Sequence[Batch]) -> LineSpec:
    if spec.line is not None:
        return line_spec(spec.line, spec.step_rows)
    spans = []
    for place, tag in enumerate(tags):
        span = tag.high - tag.low
        spans.append(span if math.isfinite(span) else _observed_span(batches, place))
    return LineSpec(
        name=spec.name,
        tags=tuple((tag.name, tag.unit) for tag in tags),
        components=tuple(tag.component for tag in tags),
        spans=tuple(float(s) for s in spans),
        row_s=spec.row_s,
        step_rows=spec.step_rows,
    )


def _observed_span(batches: Sequence[Batch], place: int) -> float:
    """Of a tag without a range: what it covered in normal steps; 1 for a constant one."""
    means = [b.features[(b.severity == 0) & (b.valid[:, place] > 0), place, 0] for b in batches]
    every = np.concatenate(means) if means else np.zeros(0)
    span = float(every.max() - every.min()) if len(every) else 0.0
    return span if span > 0 else 1.0


def _tolerated(spec: PlantSpec, finding: Finding) -> Finding:
    if finding.fault and finding.kind in spec.tolerate:
        return dataclasses.replace(finding, fault=False)
    return finding


def _matches(group: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(group, pattern) for pattern in patterns)


def _source(spec: PlantSpec, files: Sequence[Path]) -> str:
    what = files[0].name if len(files) == 1 else f"{len(files)} files, {files[0].name} first"
    return f"recording {what} as described by {spec.path.name}"


def _hash(spec: PlantSpec, files: Sequence[Path]) -> str:
    text = "".join(sha256_of(file) for file in files).encode() + spec.sha256_text
    return hashlib.sha256(text).hexdigest()


__all__ = ["Loaded", "PlantError", "load_plant", "piece_of", "read_plant", "windows"]
