"""The history read-only: batches, rows, verdicts, events. Never in the daemon's way.

A reader has a connection of its own; SQLite's write-ahead log lets it read while the daemon writes.
A batch's rows are found by its key, whatever their time: a clock may step back. Those of no batch
are found by time: rows that were taken from the ring after a kill belong to it even if nobody knew
the batch then.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from edge.core.tags import ByteArray, FloatArray, Quality, Reason
from edge.runtime.chain import Broken, Head, canonical, verify
from edge.runtime.store.minute import DamagedMinuteError, Times, decode
from edge.runtime.store.schema import BUSY_S, HEAD_NAME, VERSION
from edge.runtime.store.writer import event_text


class HistoryError(Exception):
    """The history cannot be read; the message names the file and the remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredBatch:
    """One row of the table of batches."""

    key: int
    """Unique in this history; a PLC's batch id may come again."""
    line: str
    batch_id: int
    began_s: float
    ended_s: float | None
    last_s: float
    first_minute: float
    """Batch time when it was first seen, min: above 0 if it had begun before the appliance."""
    minutes: float
    state: str
    severity: int
    """Worst level, 0..3."""
    simulation: str
    model: str
    """Every one that judged it, in the order they came."""
    config_sha256: str
    exported_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredStep:
    """What was concluded from one model step."""

    t_s: float
    minute: float | None
    phase: int
    probability: float | None
    severity: int | None
    why: str
    drift: float | None
    data_quality: float
    demand: float | None
    cam: FloatArray | None
    deviation: FloatArray | None
    suspects: tuple[tuple[str, str, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """One entry of the log."""

    number: int
    t_s: float
    line: str
    kind: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRows:
    """Rows in the order of time, N of them, P tags."""

    tags: tuple[tuple[str, str], ...]
    times: Times
    values: FloatArray
    quality: ByteArray
    reason: ByteArray
    damaged: int
    """Minutes that could not be read."""


class History:
    """A context manager over one history file. Raises HistoryError from every method."""

    def __init__(self, path: Path, *, write: bool = False, busy_s: float = BUSY_S) -> None:
        """`write` is for `ncm-edge archive` alone, which notes what it exported; `busy_s` is the
        longest wait for another program that holds the file.
        """
        self.path, self._busy_s = path, busy_s
        if not path.is_file():
            raise HistoryError(
                f"{path}: no such history; is this the directory the daemon uses ([history] in "
                "appliance.toml), and has it run?"
            )
        self.connection = self._open("rw" if write else "ro")
        try:
            if not write and not self._answers():
                # A read-only medium: SQLite may not make its log there, and nobody writes either.
                self.connection.close()
                self.connection = self._open("ro&immutable=1")
            version = int(self._rows("PRAGMA user_version")[0][0])
        except BaseException:
            self.connection.close()
            raise
        if version != VERSION:
            self.connection.close()
            raise HistoryError(f"{path}: format {version}, this program reads {VERSION}")

    def _answers(self) -> bool:
        try:
            self.connection.execute("PRAGMA user_version").fetchone()
        except sqlite3.OperationalError as error:
            log_there = self.path.with_name(self.path.name + "-wal").exists()
            # The words depend on which part of the log SQLite wants to make first.
            return log_there or not any(w in str(error) for w in ("unable to open", "readonly"))
        except sqlite3.Error:
            return True
        return True

    def _open(self, mode: str) -> sqlite3.Connection:
        try:
            return sqlite3.connect(f"{self.path.absolute().as_uri()}?mode={mode}", uri=True,
                                   timeout=self._busy_s, isolation_level=None)  # fmt: skip
        except sqlite3.Error as error:
            raise self._fault(error) from error

    def __enter__(self) -> History:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.connection.close()

    def _rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        try:
            with closing(self.connection.execute(sql, values)) as cursor:
                return cursor.fetchall()
        except sqlite3.Error as error:
            raise self._fault(error) from error

    def _fault(self, error: sqlite3.Error) -> HistoryError:
        remedy = "look whether the disk and the permissions are in order"
        if "locked" in str(error):
            remedy = "another program holds it; close that and try again"
        elif "malformed" in str(error) or "not a database" in str(error):
            remedy = "it is damaged: the daemon sets it aside at its next start and begins anew"
        return HistoryError(f"{self.path}: {error}; {remedy}")

    def batches(self, line: str = "") -> list[StoredBatch]:
        """All batches, oldest first."""
        rows = self._rows(
            "SELECT id, line, batch_id, began_s, ended_s, last_s, first_minute, minutes, state, "
            "severity, simulation, model, config_sha256, exported_s FROM batches "
            "WHERE line = ? OR ? = '' ORDER BY began_s, id", line, line,
        )  # fmt: skip
        names = ("key", *StoredBatch.__dataclass_fields__)[1:]
        return [StoredBatch(**dict(zip(names, row))) for row in rows]

    def batch(self, batch_id: int, line: str = "", key: int | None = None) -> StoredBatch:
        """The newest batch of this id (of this `key` if given). Raises HistoryError if none."""
        known = self.batches(line)
        found = [b for b in known if b.batch_id == batch_id and key in (None, b.key)]
        lines = sorted({b.line for b in found})
        if len(lines) > 1:
            raise HistoryError(
                f"batch {batch_id}: lines {', '.join(lines)} have one of this number; say which "
                "with --line NAME"
            )
        if not found:
            near = sorted(known, key=lambda b: abs(b.batch_id - batch_id))[:3]
            names = ", ".join(str(b.batch_id) for b in near) or "none yet"
            raise HistoryError(
                f"batch {batch_id}: not in {self.path}; the nearest numbers there: {names}; "
                "`ncm-edge history list` shows all"
            )
        return found[-1]

    def minutes(
        self, batch: StoredBatch, *, after: int = 0, first_s: float = -1e300, last_s: float = 1e300
    ) -> list[tuple[int, bytes, str]]:
        """(number, blob, its tags as JSON) of the minutes of a batch that are kept.

        Only those with a number above `after` that reach into `first_s` .. `last_s`.
        """
        return [
            (row[0], bytes(row[1]), str(row[2]))
            for row in self._rows(
                "SELECT m.id, m.rows, t.tags FROM minutes m JOIN tagsets t ON t.id = m.tagset "
                "WHERE (m.batch = ? OR (m.batch IS NULL AND m.line = ? AND m.t_s >= ? AND "
                "m.end_s <= ?)) AND m.id > ? AND m.end_s >= ? AND m.t_s <= ? ORDER BY m.t_s, m.id",
                batch.key, batch.line, batch.began_s, batch.last_s + 1e-3, after, first_s, last_s,
            )
        ]  # fmt: skip

    def rows(self, batch: StoredBatch) -> StoredRows:
        """The raw rows of a batch that are kept; N may be 0."""
        found = [(blob, tags) for _, blob, tags in self.minutes(batch)]
        parts: list[tuple[Times, FloatArray, ByteArray, ByteArray]] = []
        damaged, newest = 0, found[-1][1] if found else "[]"
        for blob, tags in found:
            # A tag list changed within a batch: only the rows of the newest list fit together.
            if tags != newest:
                continue
            try:
                parts.append(decode(blob))
            except DamagedMinuteError:
                damaged += 1
        names = tuple((str(name), str(unit)) for name, unit in json.loads(newest))
        if not parts:
            empty = np.empty((0, len(names)))
            return StoredRows(tags=names, times=np.empty(0), values=empty.astype(np.float32),
                              quality=empty.astype(np.uint8), reason=empty.astype(np.uint8),
                              damaged=damaged)  # fmt: skip
        times, values, quality, reason = (
            np.concatenate([part[i] for part in parts]) for i in range(4)
        )
        return StoredRows(tags=names, times=times, values=values, quality=quality, reason=reason,
                          damaged=damaged)  # fmt: skip

    def steps(self, batch: StoredBatch) -> list[StoredStep]:
        """The verdicts of a batch, in the order of time."""
        rows = self._rows(
            "SELECT t_s, minute, phase, probability, severity, why, drift, data_quality, demand, "
            "cam, deviation, suspects FROM steps WHERE batch = ? ORDER BY t_s, id", batch.key,
        )  # fmt: skip
        return [
            StoredStep(
                t_s=row[0], minute=row[1], phase=row[2], probability=row[3], severity=row[4],
                why=row[5], drift=row[6], data_quality=row[7], demand=row[8], cam=_floats(row[9]),
                deviation=_floats(row[10]),
                suspects=tuple((c, p, float(s)) for c, p, s in json.loads(row[11])),
            )
            for row in rows
        ]  # fmt: skip

    def events(
        self, *, line: str = "", first_s: float = -np.inf, last_s: float = np.inf, kind: str = ""
    ) -> Iterator[StoredEvent]:
        """Events of a line and of the appliance as a whole, in the order of the log."""
        rows = self._rows(
            "SELECT id, t_s, line, kind, body FROM events WHERE t_s >= ? AND t_s <= ? AND "
            "(? = '' OR line = ? OR line = '') AND (? = '' OR kind = ?) ORDER BY id",
            max(first_s, -1e300), min(last_s, 1e300), line, line, kind, kind,
        )  # fmt: skip
        for number, t_s, name, what, body in rows:
            yield StoredEvent(number=number, t_s=t_s, line=name, kind=what, body=json.loads(body))

    def raised_at(self, line: str, t_s: float) -> set[str]:
        """Conditions of a line that were raised before `t_s` and not cleared by then."""
        raised: set[str] = set()
        for event in self.events(line=line, last_s=t_s):
            if event.kind == "start":
                raised.clear()
            elif event.kind == "condition" and event.line == line:
                change = raised.add if event.body["raised"] else raised.discard
                change(str(event.body["condition"]))
        return raised

    def verify(self, known: Head | None = None) -> Head | Broken:
        """Follow the chain of events through the whole log, and through a head noted earlier."""
        rows = self._rows("SELECT id, t_s, line, kind, body, link FROM events ORDER BY id")
        return verify(((row[0], event_text(*row[:5]), bytes(row[5])) for row in rows), known)

    def noted_head(self) -> Head | None:
        """The head the daemon noted beside the file; None if there is none."""
        try:
            return Head.parse((self.path.parent / HEAD_NAME).read_text(encoding="ascii"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise HistoryError(f"{self.path.parent / HEAD_NAME}: {error}") from error

    def damage(self) -> str:
        """What SQLite's own check finds; "" if the file is sound."""
        verdict = str(self._rows("PRAGMA quick_check(1)")[0][0])
        return "" if verdict == "ok" else verdict


def _floats(blob: bytes | None) -> FloatArray | None:
    return None if blob is None else np.frombuffer(blob, "<f2").astype(np.float32)


def reason_text(number: int) -> str:
    """A reason in words."""
    return Reason(number).name.lower().replace("_", " ")


def good_share(rows: StoredRows) -> float:
    """Good share of the tag-seconds kept, 0..1."""
    return float((rows.quality == Quality.GOOD).mean()) if rows.quality.size else 0.0


__all__ = ["History", "HistoryError", "StoredBatch", "StoredEvent", "StoredRows", "StoredStep",
           "canonical", "good_share", "reason_text"]  # fmt: skip
