"""Features of files already read, so that a second or an interrupted reading goes on from there.

One .npz and one .json per file (or set of joined files), named by a hash over the description, the
file's name, size and time of change; the .json is written last, so that it names only whole files.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from edge.core.features import FEATURES
from export.data.dataset import Batch
from export.data.findings import Finding
from export.data.plantspec import PlantSpec, TagRow
from export.data.stretch import Counts, FileRead

VERSION = 3
_ARRAYS = ("features", "valid", "severity")


def save_read(spec: PlantSpec, files: Sequence[Path], read: FileRead, cache: Path) -> None:
    """Keep what was read."""
    cache.mkdir(parents=True, exist_ok=True)
    name = _key(spec, files, read.tags)
    arrays: dict[str, np.ndarray] = {}
    rows = []
    for number, batch in enumerate(read.stretches):
        for field in _ARRAYS:
            arrays[f"{number}/{field}"] = getattr(batch, field)
        plain: dict[str, Any] = {}
        for note, value in batch.notes.items():
            if isinstance(value, np.ndarray):
                arrays[f"{number}/note/{note}"] = value
            else:
                plain[note] = value
        rows.append(
            {"domain": batch.domain, "group": batch.group, "fault": batch.fault, "notes": plain}
        )
    for count in fields(Counts):
        arrays[f"counts/{count.name}"] = np.asarray(getattr(read.counts, count.name))
    # Not compressed: that would take longer than to read the file again.
    np.savez(cache / f"{name}.npz", **arrays)  # type: ignore[arg-type]
    index = {"stretches": rows, "findings": [asdict(f) for f in read.findings]}
    unfinished = cache / f"{name}.json.new"
    unfinished.write_text(json.dumps(index, ensure_ascii=False))
    unfinished.rename(cache / f"{name}.json")


def load_read(
    spec: PlantSpec, files: Sequence[Path], tags: tuple[TagRow, ...], cache: Path
) -> FileRead | None:
    """What was kept; None if nothing was, or if it cannot be read any more."""
    name = _key(spec, files, tags)
    try:
        index = json.loads((cache / f"{name}.json").read_text())
        # Opened here, because numpy leaves its own handle open on a damaged archive.
        with (
            (cache / f"{name}.npz").open("rb") as stream,
            np.load(stream, allow_pickle=False) as archive,
        ):
            arrays = {key: archive[key] for key in archive.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
    stretches = []
    for number, row in enumerate(index["stretches"]):
        start = f"{number}/note/"
        notes = row["notes"] | {
            key.removeprefix(start): value for key, value in arrays.items() if key.startswith(start)
        }
        stretches.append(
            Batch(
                **{field: arrays[f"{number}/{field}"] for field in _ARRAYS},
                domain=row["domain"],
                group=row["group"],
                fault=row["fault"],
                split="test",
                notes=notes,
            )
        )
    counts = Counts(**{
        field.name: arrays[f"counts/{field.name}"].copy()
        if arrays[f"counts/{field.name}"].ndim
        else arrays[f"counts/{field.name}"].item()
        for field in fields(Counts)
    })  # fmt: skip
    findings = [Finding(**f) for f in index["findings"]]
    return FileRead(stretches, findings, counts, tags)


def _key(spec: PlantSpec, files: Sequence[Path], tags: Sequence[TagRow]) -> str:
    state = [(str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns) for f in files]
    text = json.dumps([VERSION, FEATURES, state, [repr(tag) for tag in tags]])
    return hashlib.sha256(text.encode() + spec.sha256_text).hexdigest()[:24]
