"""A recording of a real plant -> a dataset, as a small TOML file describes it.

    file = "../../data/rig.csv.gz"   # CSV (.gz) or Parquet, relative to the TOML file
    config = "../../firmware_config" # where the line's tags, units and ranges are
    line = "rig"
    group = "file"                   # column that separates the recorded stretches; optional
    label = "anomaly"                # column, > 0 where defective; optional
    step_rows = 10                   # rows per model step
    normal_rows = 400                # the first rows of each stretch are normal operation
    skip = ["trial-*"]               # stretches left out; optional
    labelled = ["run-1", "run-2"]    # stretches whose labels may be used for training; optional
    columns = { "PI-1.PV" = "Pressure" }  # tag -> column, where they differ; optional

Each stretch is its own domain: its reference is learnt from its own first rows, as it would be on
site after maintenance. Labels of stretches not listed in `labelled` are never seen by training.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np

from edge.core.features import batch_features
from export.data.dataset import Batch, Dataset, DatasetError
from export.data.lines import line_spec, load_line

_KEYS = {
    "file", "config", "line", "group", "label", "step_rows", "normal_rows", "skip", "labelled",
    "columns",
}  # fmt: skip


def load_recording(description: Path, data: Path | None = None) -> Dataset:
    """Read a recording. `data` replaces the file named in the description.

    Raises:
        DatasetError: the description or the data is wrong; the text names what and the remedy.
        ConfigError: the line's configuration is wrong.
    """
    try:
        spec = tomllib.loads(description.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DatasetError(f"{description}: no such file") from None
    except tomllib.TOMLDecodeError as error:
        raise DatasetError(f"{description}: not valid TOML: {error}") from None
    _check(description, spec)
    line = load_line(description.parent / spec["config"], spec["line"])
    step_rows, normal_rows = int(spec["step_rows"]), int(spec["normal_rows"])
    file = data if data is not None else description.parent / spec["file"]
    raw = _bytes(file)
    columns = _columns(file, raw)
    names = spec.get("columns", {})
    values = np.stack(
        [_numbers(file, columns, str(names.get(row.tag.name, row.tag.name))) for row in line.tags],
        axis=1,
    )
    count = len(values)
    label = _numbers(file, columns, spec["label"]) > 0 if "label" in spec else np.zeros(count, bool)
    groups = columns[spec["group"]] if "group" in spec else [""] * count
    batches: list[Batch] = []
    for group in dict.fromkeys(groups):
        if any(fnmatch(group, pattern) for pattern in spec.get("skip", [])):
            continue
        rows = np.array([g == group for g in groups])
        batches += _stretch(
            group or "recording",
            values[rows],
            label[rows],
            step_rows,
            normal_rows,
            any(fnmatch(group, pattern) for pattern in spec.get("labelled", [])),
        )
    if not batches:
        raise DatasetError(f"{description}: no stretch of {file} is left after `skip`")
    return Dataset(
        line=line_spec(line, step_rows),
        batches=tuple(batches),
        simulated=False,
        source=f"recording {file.name} as described by {description.name}",
        sha256=hashlib.sha256(raw + description.read_bytes()).hexdigest(),
    )


def _stretch(
    group: str,
    values: np.ndarray,
    label: np.ndarray,
    step_rows: int,
    normal_rows: int,
    labelled: bool,
) -> list[Batch]:
    steps = len(values) // step_rows
    normal = normal_rows // step_rows
    if steps <= normal:
        return []
    cut = values[: steps * step_rows].reshape(steps, step_rows, -1).astype(np.float32)
    features, valid = batch_features(cut)
    share = label[: steps * step_rows].reshape(steps, step_rows).mean(axis=1)
    truth = np.where(share >= 0.5, 3, 0).astype(np.int8)
    common: dict[str, Any] = {"domain": group, "group": group}
    return [
        Batch(
            features=features[:normal],
            valid=valid[:normal],
            severity=np.zeros(normal, np.int8),
            split="train",
            **common,
        ),
        Batch(
            features=features[normal:],
            valid=valid[normal:],
            severity=truth[normal:],
            split="train" if labelled else "test",
            first_step=normal,
            fault="recorded" if truth[normal:].any() else "",
            **common,
        ),
    ]


def _check(path: Path, spec: dict[str, Any]) -> None:
    unknown = sorted(set(spec) - _KEYS)
    if unknown:
        raise DatasetError(f"{path}: unknown key '{unknown[0]}'; permitted are {sorted(_KEYS)}")
    for key in ("file", "config", "line", "step_rows", "normal_rows"):
        if key not in spec:
            raise DatasetError(f"{path}: key '{key}' is missing")
    for key in ("step_rows", "normal_rows"):
        if not isinstance(spec[key], int) or spec[key] < 1:
            raise DatasetError(f"{path}: {key} = {spec[key]!r}: permitted is a whole number >= 1")
    if spec["normal_rows"] < 10 * spec["step_rows"]:
        raise DatasetError(
            f"{path}: normal_rows = {spec['normal_rows']}: permitted is at least ten model steps, "
            f"{10 * spec['step_rows']} rows"
        )


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise DatasetError(f"{file}: cannot be read: {error.strerror or error}") from None


def _columns(file: Path, raw: bytes) -> dict[str, list[str]]:
    if file.suffix == ".parquet":
        import pyarrow.parquet

        table = pyarrow.parquet.read_table(io.BytesIO(raw))
        return {name: [str(v) for v in table[name].to_pylist()] for name in table.column_names}
    try:
        text = (gzip.decompress(raw) if file.suffix == ".gz" else raw).decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise DatasetError(f"{file}: not a CSV in UTF-8 ({error})") from None
    rows = list(csv.reader(io.StringIO(text)))
    if len(rows) < 2:
        raise DatasetError(f"{file}: holds no data rows")
    head, body = rows[0], rows[1:]
    for number, row in enumerate(body, start=2):
        if len(row) != len(head):
            raise DatasetError(f"{file}:{number}: {len(row)} fields, the header has {len(head)}")
    return {name: list(column) for name, column in zip(head, zip(*body))}


def _numbers(file: Path, columns: dict[str, list[str]], name: str) -> np.ndarray:
    if name not in columns:
        raise DatasetError(
            f"{file}: column '{name}' is missing, it has {list(columns)}; "
            "map the tag with `columns` in the description"
        )
    out = np.full(len(columns[name]), np.nan, np.float64)
    for place, text in enumerate(columns[name]):
        if text not in ("", "None", "nan", "NaN"):
            try:
                out[place] = float(text)
            except ValueError:
                raise DatasetError(
                    f"{file}:{place + 2}: column '{name}': {text!r} is not a number"
                ) from None
    return out
