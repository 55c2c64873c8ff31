"""Labelled step features: what `simulate` writes, a recording becomes and `train` reads.

Only step features are stored (a batch of 18 h is about 1 MB), never raw rows: the same seed gives
the same rows again. A *domain* is whatever shares one normal reference: the twin's source or
target, or one file of a recording that was made after its own maintenance.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from edge.core.features import FEATURES
from export.data.ondisk import DatasetError, Member, unreadable

FloatArray = npt.NDArray[np.float32]
Split = Literal["train", "calibrate", "test"]
INDEX = "dataset.json"
FORMAT = 1
NOTE = "note-"
"""In front of the name of a note that is an array over the steps, in a batch's .npz."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineSpec:
    """What the model must know about a line."""

    name: str
    tags: tuple[tuple[str, str], ...]
    """(name, unit) in model order."""
    components: tuple[str, ...]
    """Component code of each tag."""
    spans: tuple[float, ...]
    """Instrument range, high - low, of each tag."""
    row_s: float
    step_rows: int
    schedule_steps: tuple[int, ...] = ()
    """Schedule step number of each model step of a batch; empty for a continuous process."""

    def sha256(self) -> str:
        """Hash over everything above, for provenance."""
        text = json.dumps(_spec_to_dict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One batch, or one stretch of a continuous process. S model steps, P tags, F features.

    `features` and `valid` of a dataset on the disk are read where they are used (ondisk.py).
    """

    features: FloatArray
    """[S, P, F], engineering units."""
    valid: FloatArray
    """[S, P], share of good rows."""
    severity: npt.NDArray[np.int8]
    """[S]: 0 normal, 1..3 defective, -1 not to be used for training."""
    domain: str
    split: Split
    group: str
    """Unit of the split: seed, failure or file. Never on two sides."""
    fault: str = ""
    component: str = ""
    """Code of the component that is truly at fault; empty if normal or unknown."""
    expected: tuple[str, ...] = ()
    """Tags that ought to show the fault first, where the recording's documents tell."""
    first_step: int = 0
    """Model steps from the start of the batch to the first of these."""
    notes: dict[str, Any] = field(default_factory=dict)
    """Whatever else is known; an array has one value per step (meaning: export/data/plant.py)."""

    @property
    def level(self) -> int:
        """Highest severity of the batch, 0..3."""
        return int(max(0, self.severity.max(initial=0)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Batches of one line."""

    line: LineSpec
    batches: tuple[Batch, ...]
    simulated: bool
    source: str
    """Where the data came from, in words."""
    sha256: str
    """Hash of the data (recording) or of everything that made it (simulation)."""

    def select(self, split: Split | None = None, **having: Any) -> list[Batch]:
        """Batches of a split whose attributes equal `having`."""
        return [
            batch
            for batch in self.batches
            if (split is None or batch.split == split)
            and all(getattr(batch, name) == value for name, value in having.items())
        ]


def save_dataset(dataset: Dataset, directory: Path) -> None:
    """Write one .npz per batch and the index; the index last, so that it names only whole files."""
    directory.mkdir(parents=True, exist_ok=True)
    rows = [save_batch(directory, number, batch) for number, batch in enumerate(dataset.batches)]
    save_index(
        directory,
        rows,
        line=dataset.line,
        simulated=dataset.simulated,
        source=dataset.source,
        sha256=dataset.sha256,
    )


def batch_file(number: int) -> str:
    """Name of the file of batch `number`."""
    return f"batch-{number:04d}.npz"


def save_batch(directory: Path, number: int, batch: Batch) -> dict[str, Any]:
    """Write one batch, whole or not at all; its row of the index."""
    over_steps = {
        NOTE + note: value for note, value in batch.notes.items() if isinstance(value, np.ndarray)
    }
    partial = directory / f".{batch_file(number)}"
    with partial.open("wb") as file:
        np.savez_compressed(
            file,
            features=np.asarray(batch.features),
            valid=np.asarray(batch.valid).astype(np.float16),
            severity=batch.severity,
            **over_steps,  # type: ignore[arg-type]
        )
    partial.replace(directory / batch_file(number))
    return {
        "file": batch_file(number),
        "domain": batch.domain,
        "split": batch.split,
        "group": batch.group,
        "fault": batch.fault,
        "component": batch.component,
        "first_step": batch.first_step,
        "expected": batch.expected,
        "notes": {n: v for n, v in batch.notes.items() if NOTE + n not in over_steps},
    }


def save_index(
    directory: Path,
    rows: list[dict[str, Any]],
    *,
    line: LineSpec,
    simulated: bool,
    source: str,
    sha256: str,
) -> None:
    """Write the index over `rows` of `save_batch`."""
    index = {
        "format": FORMAT,
        "features": list(FEATURES),
        "line": _spec_to_dict(line),
        "simulated": simulated,
        "source": source,
        "sha256": sha256,
        "batches": rows,
    }
    (directory / INDEX).write_text(json.dumps(index, indent=1, ensure_ascii=False) + "\n")


def load_dataset(directory: Path, keep: bool = False) -> Dataset:
    """Inverse of `save_dataset`. Raises DatasetError.

    `keep`: hold features and validity in memory, 1.5 MB for a batch of 18 h, instead of reading
    them where they are used.
    """
    path = directory / INDEX
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DatasetError(
            f"{path}: no such file; make one with `ncm-export simulate --out {directory}`"
        ) from None
    except ValueError as error:
        raise DatasetError(f"{path}: not valid JSON ({error}); simulate again") from None
    if index.get("format") != FORMAT or index.get("features") != list(FEATURES):
        raise DatasetError(
            f"{path}: made by another release (format {index.get('format')}, features "
            f"{index.get('features')}); simulate again"
        )
    line = dict(index["line"])
    spec = LineSpec(
        name=line["name"],
        tags=tuple((name, unit) for name, unit in line["tags"]),
        components=tuple(line["components"]),
        spans=tuple(line["spans"]),
        row_s=line["row_s"],
        step_rows=line["step_rows"],
        schedule_steps=tuple(line["schedule_steps"]),
    )
    return Dataset(
        line=spec,
        batches=tuple(
            _load_batch(directory, row, len(spec.tags), keep) for row in index["batches"]
        ),
        simulated=bool(index["simulated"]),
        source=index["source"],
        sha256=index["sha256"],
    )


def _load_batch(directory: Path, row: dict[str, Any], tags: int, keep: bool) -> Batch:
    file = directory / row.pop("file")
    row["expected"] = tuple(row.get("expected", ()))
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            row["notes"] |= {
                name.removeprefix(NOTE): arrays[name]
                for name in arrays.files
                if name.startswith(NOTE)
            }
            severity = arrays["severity"].astype(np.int8)
            if missing := {"features", "valid"} - set(arrays.files):
                raise KeyError(*missing)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error) as error:
        raise unreadable(file, error) from error
    features = Member(file, "features", (len(severity), tags, len(FEATURES)))
    valid = Member(file, "valid", (len(severity), tags))
    return Batch(
        features=features.read() if keep else features,  # type: ignore[arg-type]
        valid=valid.read() if keep else valid,  # type: ignore[arg-type]
        severity=severity,
        **row,
    )


def relabelled(batch: Batch, **changes: Any) -> Batch:
    """A copy with other labels (domain, split, ...)."""
    return replace(batch, **changes)


def _spec_to_dict(line: LineSpec) -> dict[str, Any]:
    return {
        "name": line.name,
        "tags": [list(tag) for tag in line.tags],
        "components": list(line.components),
        "spans": list(line.spans),
        "row_s": line.row_s,
        "step_rows": line.step_rows,
        "schedule_steps": list(line.schedule_steps),
    }
