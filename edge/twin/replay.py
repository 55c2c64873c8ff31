"""A recording as a plant: its rows, one after the other, behind the same servers as the twin's.

A recording is a table with one column per tag, named like the tags of the line; every other column
(time stamps, labels) is ignored. What is no number becomes NaN and is reported with file and line:
the PLC then shows NaN, and the appliance must call it bad.
"""

from __future__ import annotations

import csv
import difflib
import gzip
import io
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

MESSAGES = 20
"""Bad cells that are reported one by one; the rest is counted."""
_MISSING = frozenset({"", "nan", "null", "none", "n/a", "na", "-"})


class RecordingError(Exception):
    """The recording does not fit the line; the message says everything that is wrong with it."""


@dataclass(frozen=True, slots=True)
class Recording:
    """The rows of one recording that belong to the line."""

    path: Path
    names: tuple[str, ...]
    values: npt.NDArray[np.float64]
    """float64[T, P]; NaN where the cell holds no number."""
    ignored: tuple[str, ...]
    """Columns that are no tag of the line."""
    bad_cells: int
    """Cells that held text instead of a number."""
    messages: tuple[str, ...]
    """file:line of the first bad cells."""

    def __len__(self) -> int:
        return len(self.values)

    @classmethod
    def load(
        cls,
        path: Path,
        names: Sequence[str],
        where: str | None = None,
        optional: Sequence[str] = (),
    ) -> Recording:
        """Read CSV, CSV.gz or Parquet. `where` ("file=valve1/0") keeps the rows with that value.

        `names` must all be columns, `optional` may be. Raises RecordingError naming every missing
        column, a filter that matches nothing, or the package a Parquet file needs.
        """
        try:
            if path.suffix == ".parquet":
                header, rows = _parquet(path)
            else:
                header, rows = _csv(path)
        except (OSError, UnicodeDecodeError, EOFError, zlib.error) as error:
            raise RecordingError(f"{path}: cannot be read: {error}") from error
        faults = _header_faults(path, header, names)
        column, wanted = _filter(path, header, where, faults)
        if faults:
            raise RecordingError("\n".join(faults))
        names = (*names, *(name for name in optional if name in header))
        places = [header.index(name) for name in names]
        bad = _BadCells(path)
        kept: list[list[float]] = []
        others: dict[str, None] = {}
        try:
            for line, cells in rows:
                if column is not None:
                    value = str(cells[column]).strip() if column < len(cells) else ""
                    if value != wanted:
                        others[value] = None
                        continue
                kept.append([bad.number(line, n, cells, at) for n, at in zip(names, places)])
        except csv.Error as error:
            raise RecordingError(f"{path}: cannot be read to its end: {error}") from error
        if not kept:
            hint = f"; the column holds {_some(others)}" if column is not None else ""
            what = f"no row with {where}" if where else "no row"
            raise RecordingError(f"{path}: {what}{hint}")
        return cls(
            path=path,
            names=tuple(names),
            values=np.array(kept, np.float64),
            ignored=tuple(name for name in header if name not in names),
            bad_cells=bad.count,
            messages=tuple(bad.messages),
        )


@dataclass(frozen=True, slots=True)
class ReplaySecond:
    """One row of the recording."""

    values: npt.NDArray[np.float64]
    context: Mapping[str, float]
    minute: float
    step: int = 0
    base_kg_h: float = 0.0


class ReplayPlant:
    """Plays a recording once; afterwards every value is NaN, because nobody measures any more."""

    def __init__(self, recording: Recording, tags: Sequence[str], row_s: float = 1.0) -> None:
        """`tags` are the process values of the line; other names of the recording are context."""
        self.row = 0
        """Rows played so far."""
        self._values = recording.values
        self._row_s = row_s
        self._places = [recording.names.index(name) for name in tags]
        self._context = [(n, i) for i, n in enumerate(recording.names) if n not in tags]

    def second(self, trim_kg_h: float, held: bool) -> ReplaySecond:
        """The next row; a recording takes no trim and cannot be held."""
        row = self.row
        self.row += 1
        minute = row * self._row_s / 60.0
        if row >= len(self._values):
            return ReplaySecond(np.full(len(self._places), math.nan), {}, minute)
        values = self._values[row]
        context = {name: float(values[i]) for name, i in self._context}
        return ReplaySecond(values[self._places], context, minute)


@dataclass(slots=True)
class _BadCells:
    path: Path
    count: int = 0
    messages: list[str] = field(default_factory=list)

    def number(self, line: int, name: str, cells: Sequence[object], place: int) -> float:
        if place >= len(cells):
            return self._note(line, f"tag {name!r}: the row ends after {len(cells)} columns")
        cell = cells[place]
        if isinstance(cell, (int, float)):
            return float(cell)
        text = "" if cell is None else str(cell).strip()
        try:
            return float(text)
        except ValueError:
            if text.lower() in _MISSING:
                return math.nan
            return self._note(line, f"tag {name!r}: {text!r} is no number")

    def _note(self, line: int, text: str) -> float:
        self.count += 1
        if len(self.messages) < MESSAGES:
            self.messages.append(f"{self.path}:{line}: {text}; shown as NaN")
        return math.nan


def _csv(path: Path) -> tuple[list[str], Iterator[tuple[int, Sequence[object]]]]:
    raw = path.read_bytes()
    if raw[:2] == b"\x1f\x8b":
        raw = gzip.decompress(raw)
    lines = io.StringIO(raw.decode("utf-8-sig"), newline="")
    first = lines.readline()
    delimiter = max(",;\t", key=first.count)
    header = [name.strip() for name in next(csv.reader([first], delimiter=delimiter), [])]

    def rows() -> Iterator[tuple[int, Sequence[object]]]:
        reader = csv.reader(lines, delimiter=delimiter)
        for cells in reader:
            if cells:
                if delimiter == ";":  # then the comma is the decimal point
                    cells = [cell.replace(",", ".") for cell in cells]
                yield reader.line_num + 1, cells

    return header, rows()


def _parquet(path: Path) -> tuple[list[str], Iterator[tuple[int, Sequence[object]]]]:
    try:
        import pyarrow.parquet as pq
    except ImportError:
        raise RecordingError(
            f"{path}: reading Parquet needs the package pyarrow (pip install pyarrow); "
            "or save the recording as CSV"
        ) from None
    try:
        table = pq.read_table(path)
    except ValueError as error:  # pyarrow's own errors derive from it
        raise RecordingError(f"{path}: cannot be read: {error}") from error
    columns = [column.to_pylist() for column in table.columns]
    return list(table.column_names), enumerate(zip(*columns), start=1)


def _header_faults(path: Path, header: list[str], names: Sequence[str]) -> list[str]:
    faults = []
    for name in names:
        if name not in header:
            near = difflib.get_close_matches(name, header, n=1)
            remedy = f"did you mean {near[0]!r}?" if near else f"columns are {_some(header)}"
            faults.append(f"{path}:1: no column for tag {name!r}; {remedy}")
    twice = sorted({name for name in names if header.count(name) > 1})
    return faults + [
        f"{path}:1: column {name!r} appears {header.count(name)} times; permitted: 1"
        for name in twice
    ]


def _filter(
    path: Path, header: list[str], where: str | None, faults: list[str]
) -> tuple[int | None, str]:
    """Column number and value to keep; None without a filter."""
    if where is None:
        return None, ""
    name, equals, wanted = where.partition("=")
    name, wanted = name.strip(), wanted.lstrip("=").strip()
    if not equals:
        faults.append(f"filter {where!r} is not of the form COLUMN=VALUE")
    elif name not in header:
        faults.append(f"{path}:1: no column {name!r} to filter by; columns are {_some(header)}")
    else:
        return header.index(name), wanted
    return None, ""


def _some(names: Iterable[str], most: int = 8) -> str:
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
