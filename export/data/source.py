"""Files of a recording, block by block: never a whole file in memory.

CSV and CSV.gz are read as a stream, Parquet by row groups, and `rows.ring`, the appliance's own
file, by memory map. What comes out is the same: blocks of named columns with their first row.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import itertools
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import numpy as np

from edge.config.faults import suggestion
from export.data.dataset import DatasetError
from export.data.plantspec import PlantSpec

BLOCK_BYTES = 1 << 20
"""Read at a time; the reader keeps some dozen such blocks ahead."""
BLOCK_ROWS = 32_768
LOOK_AHEAD = 500
"""Rows that tell whether a column holds numbers."""
MISSING = ["", "NaN", "nan", "NAN", "None", "null", "NULL", "NA", "N/A", "#N/A"]
"""Texts that mean that there is no value."""
RING_TIME = "t_s"


@dataclass(slots=True)
class Block:
    """Some rows of a file. N rows."""

    first_row: int
    """Data rows of the file before these; row 0 of a CSV is line 2."""
    numbers: dict[str, np.ndarray]
    """float64[N]; NaN where there is no value."""
    texts: dict[str, Any]
    """Column -> pyarrow array of text, of time stamps or of numbers, as the file has it."""
    rows: int


def files_of(spec: PlantSpec, instead: Path | None) -> list[Path]:
    """The files the description names, sorted. Raises DatasetError when there is none."""
    if instead is not None:
        if instead.is_dir():
            found = sorted(p for p in instead.iterdir() if p.is_file() and known(p))
            if not found:
                raise DatasetError(f"{instead}: holds no CSV, CSV.gz, Parquet or .ring file")
            return found
        return [instead]
    found = []
    for pattern in spec.files:
        base = spec.path.parent / pattern
        if any(sign in pattern for sign in "*?["):
            root = spec.path.parent
            matched = sorted(Path(os.path.normpath(p)) for p in _glob(root, pattern))
            if not matched:
                raise DatasetError(
                    f"{spec.path}: no file matches '{pattern}'; the pattern is relative to the "
                    "TOML file, or give the files with --file"
                )
            found += matched
        else:
            found.append(Path(os.path.normpath(base)))
    return found


def known(path: Path) -> bool:
    """Whether the name looks like a file of rows."""
    return path.name.endswith((".csv", ".csv.gz", ".parquet", ".ring"))


def stem(path: Path) -> str:
    """The file's name without its endings."""
    for ending in (".csv.gz", ".csv", ".parquet", ".ring"):
        if path.name.endswith(ending):
            return path.name.removesuffix(ending)
    return path.stem


def sha256_of(path: Path) -> str:
    """Hash of the file's bytes."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read: {error.strerror or error}") from None


def columns_of(spec: PlantSpec, path: Path) -> list[str]:
    """Names in the file's head."""
    try:
        if path.suffix == ".parquet":
            import pyarrow.parquet as pq

            return list(pq.read_schema(path).names)
        if path.suffix == ".ring":
            return [RING_TIME, *(tag.column for tag in spec.tags)]
        with _text(path) as stream:
            return next(csv.reader(stream, delimiter=spec.delimiter), [])
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValueError as error:  # UnicodeDecodeError, ArrowInvalid
        raise DatasetError(f"{path}: not a {_kind(path)} file ({error}); save it as such") from None


def number_columns(spec: PlantSpec, path: Path) -> list[str]:
    """Columns whose first values are numbers."""
    if path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        fields = pq.read_schema(path)
        return [
            f.name for f in fields if pa.types.is_integer(f.type) or pa.types.is_floating(f.type)
        ]
    head = columns_of(spec, path)
    text: set[str] = set()
    with _text(path) as stream:
        for row in itertools.islice(csv.reader(stream, delimiter=spec.delimiter), 1, LOOK_AHEAD):
            text |= {n for n, v in zip(head, row) if v not in MISSING and not _is_number(spec, v)}
    return [name for name in head if name not in text]


def _is_number(spec: PlantSpec, text: str) -> bool:
    try:
        float(text.replace(spec.decimal, "."))
    except ValueError:
        return False
    return True


def check_columns(path: Path, have: Sequence[str], wanted: dict[str, str]) -> list[str]:
    """Messages for the columns of `wanted` (column -> what it is) that the file lacks."""
    out = []
    spare = [name for name in have if name not in wanted]
    for column, what in wanted.items():
        if column not in have:
            hint = suggestion(column, spare) if spare else f"it has {', '.join(have)}"
            out.append(
                f"column '{column}' ({what}) is missing; {hint}; if it was renamed, map it with "
                "`columns` in the description"
            )
    return out


def read_blocks(
    spec: PlantSpec,
    path: Path,
    numbers: Sequence[str],
    texts: Sequence[str],
    progress: Callable[[int], object] = lambda _: None,
) -> Iterator[Block]:
    """The rows of one file. `numbers` become floats, `texts` stay what they are.

    `progress` is told the bytes read since it was told last. Raises DatasetError.
    """
    if path.suffix == ".ring":
        yield from _ring_blocks(spec, path)
        return
    import pyarrow as pa

    row = 0
    try:
        with path.open("rb") as raw:
            before = 0
            opened = _parquet if path.suffix == ".parquet" else _csv
            for batch in opened(spec, path, raw, numbers, texts):
                yield Block(
                    first_row=row,
                    numbers={n: _floats(path, row, n, batch.column(n)) for n in numbers},
                    texts={n: batch.column(n) for n in texts},
                    rows=batch.num_rows,
                )
                row += batch.num_rows
                if not raw.closed:
                    progress(max(0, raw.tell() - before))
                    before = max(before, raw.tell())
    except pa.ArrowInvalid as error:
        raise DatasetError(_bad_cell(spec, path, numbers) or f"{path}: {error}") from None
    except OSError as error:
        raise DatasetError(
            f"{path}: cannot be read: {error.strerror or error}; is it whole?"
        ) from None
    if row == 0:
        raise DatasetError(f"{path}: holds no data rows")


def _csv(
    spec: PlantSpec, path: Path, raw: BinaryIO, numbers: Sequence[str], texts: Sequence[str]
) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.csv as pc

    stream = pa.PythonFile(raw, "r")
    if path.suffix == ".gz":
        stream = pa.CompressedInputStream(stream, "gzip")
    reader = pc.open_csv(
        stream,
        read_options=pc.ReadOptions(block_size=BLOCK_BYTES, use_threads=False),
        parse_options=pc.ParseOptions(delimiter=spec.delimiter),
        convert_options=pc.ConvertOptions(
            column_types={
                **{name: pa.string() for name in texts},
                **{name: pa.float64() for name in numbers},
            },
            include_columns=list(dict.fromkeys([*numbers, *texts])),
            null_values=MISSING,
            strings_can_be_null=True,
            decimal_point=spec.decimal,
        ),
    )
    yield from reader


def _parquet(
    spec: PlantSpec, path: Path, raw: BinaryIO, numbers: Sequence[str], texts: Sequence[str]
) -> Iterator[Any]:
    import pyarrow.parquet as pq

    wanted = list(dict.fromkeys([*numbers, *texts]))
    with pq.ParquetFile(raw) as file:
        yield from file.iter_batches(batch_size=BLOCK_ROWS, columns=wanted)


def _floats(path: Path, row: int, name: str, column: Any) -> np.ndarray:
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        return np.asarray(pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False), np.float64)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DatasetError(f"{path}:{row + 2}: column '{name}': {error}") from None


def _bad_cell(spec: PlantSpec, path: Path, numbers: Sequence[str]) -> str:
    """Second look at a CSV that would not be read: the line at fault."""
    if path.suffix == ".parquet":
        return ""
    try:
        with _text(path) as stream:
            reader = csv.reader(stream, delimiter=spec.delimiter)
            head = next(reader, [])
            places = [(head.index(n), n) for n in numbers if n in head]
            for row in reader:
                at = f"{path}:{reader.line_num}"
                if len(row) != len(head):
                    return (
                        f"{at}: {len(row)} fields, the header has {len(head)}; "
                        "was the file cut off while it was written?"
                    )
                for place, name in places:
                    text = row[place]
                    if text not in MISSING and not _is_number(spec, text):
                        return (
                            f"{at}: column '{name}': {text!r} is not a number; empty means "
                            'missing, and decimal = "," is possible'
                        )
    except (OSError, ValueError, EOFError) as error:
        return f"{path}: not a CSV in UTF-8 ({error})"
    return ""


def _ring_blocks(spec: PlantSpec, path: Path) -> Iterator[Block]:
    """Rows of a copy of the appliance's ring, oldest first; gaps and bad values are NaN."""
    from edge.core.ring import Ring, row_dtype
    from edge.core.tags import Quality
    from edge.runtime.ringfile import HEADER_BYTES, MAGIC, tag_hash

    head = struct.Struct("<8sIIIId32s")
    raw = path.read_bytes()[:HEADER_BYTES] if path.is_file() else b""
    if raw[:8] != MAGIC:
        raise DatasetError(f"{path}: not a ring file of the appliance")
    _, _, tags, rows, _, row_s, names = head.unpack(raw[: head.size])
    own = [(tag.name, tag.unit) for tag in spec.tags]
    if tags != len(own) or names != tag_hash(own):
        raise DatasetError(
            f"{path}: made for another tag list ({tags} tags); give config and line of the "
            "appliance that wrote it"
        )
    if row_s != spec.row_s:
        raise DatasetError(f"{path}: rows of {row_s:g} s, the description says {spec.row_s:g} s")
    # Copy on write: the check of a resume zeroes torn rows, and the file is not ours to change.
    records = np.memmap(path, row_dtype(tags), "c", HEADER_BYTES, (rows,))
    ring = Ring(records)
    oldest = ring.seq - ring.count + 1
    newest = ring.newest_t_s or 0.0
    for first in range(oldest, ring.seq + 1, BLOCK_ROWS):
        count = min(BLOCK_ROWS, ring.seq + 1 - first)
        values, quality = ring.block(first, count)
        values = np.where(quality == Quality.GOOD, values, np.nan).astype(np.float64)
        numbers = {tag.column: values[:, place] for place, tag in enumerate(spec.tags)}
        numbers[RING_TIME] = newest - (ring.seq - np.arange(first, first + count)) * row_s
        yield Block(first_row=first - oldest, numbers=numbers, texts={}, rows=count)


def _text(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _glob(root: Path, pattern: str) -> list[str]:
    import glob

    return glob.glob(str(root / pattern), recursive=True)  # noqa: PTH207 - "../" in patterns


def _kind(path: Path) -> str:
    return "Parquet" if path.suffix == ".parquet" else "CSV (UTF-8)"
