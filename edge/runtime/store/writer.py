"""Records -> tables, and what goes when the history is full. Runs in the worker thread only.

What may be dropped, in this order, oldest first:

    1. raw minutes that belong to no batch, or to one that is not protected
    2. the verdicts of the model steps of the same
    never: events, batches' own rows, and a defective batch that was not exported

A batch is protected while its worst severity is above 0 and `exported_s` is empty. If nothing else
is left, the limit is exceeded rather than such a batch lost, and the caller is told.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable

import numpy as np

from edge.core.batch import BACK_MIN
from edge.runtime import chain
from edge.runtime.chain import Head
from edge.runtime.store import minute as codec
from edge.runtime.store.records import BatchAt, Event, Minute, Record, Step
from edge.runtime.store.schema import PAGE_BYTES

DROP_ROWS = 240
"""Minutes dropped at a time."""
MODELS_APART = "; "
"""Between the models of a batch that had more than one, in the order they came."""
_ACTIVE = ("running", "held")
_PROTECTED = "SELECT id FROM batches WHERE severity > 0 AND exported_s IS NULL"
_DROPPABLE = ("minutes", "steps")
_TIME = {"minutes": "end_s", "steps": "t_s"}


def write(
    connection: sqlite3.Connection,
    records: Iterable[Record],
    spoiled: list[tuple[Record, Exception]] | None = None,
) -> Head | None:
    """All of `records`, or none; returns the head of the event chain if it grew.

    With a list for `spoiled`, those that no table takes are left out and added to it.
    Raises sqlite3.Error, and what a record that no table takes raises.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        head = None
        for record in records:
            try:
                connection.execute("SAVEPOINT record")
                head = _write_one(connection, record) or head
            except Exception as error:
                if spoiled is None or not is_spoiled(error):
                    raise
                spoiled.append((record, error))
                connection.execute("ROLLBACK TO record")
            connection.execute("RELEASE record")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return head


def is_spoiled(error: Exception) -> bool:
    """Whether the error is the record's own: trying it again would end the same way."""
    if isinstance(error, sqlite3.Error):
        return isinstance(error, (sqlite3.DataError, sqlite3.IntegrityError,
                                  sqlite3.InterfaceError, sqlite3.ProgrammingError))  # fmt: skip
    return not isinstance(error, (OSError, MemoryError))


def _write_one(connection: sqlite3.Connection, record: Record) -> Head | None:
    match record:
        case Minute():
            _write_minute(connection, record)
        case Step():
            _write_step(connection, record)
        case Event():
            return append(connection, record)
    return None


def append(connection: sqlite3.Connection, event: Event) -> Head:
    """Add an event to the chain, inside a transaction of the caller's."""
    # Read each time: another process (`ncm-edge archive`) may have added one.
    before = head_of(connection)
    number, body = before.number + 1, chain.canonical(event.body)
    after = chain.link(before.link, event_text(number, event.t_s, event.line, event.kind, body))
    connection.execute(
        "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)",
        (number, event.t_s, event.line, event.kind, body, after),
    )
    return Head(number, after)


def event_text(number: int, t_s: float, line: str, kind: str, body: str) -> str:
    """What the link of an event is made of."""
    return chain.canonical([number, t_s, line, kind, body])


def head_of(connection: sqlite3.Connection) -> Head:
    """The newest event."""
    row = connection.execute("SELECT id, link FROM events ORDER BY id DESC LIMIT 1").fetchone()
    return Head() if row is None else Head(int(row[0]), bytes(row[1]))


def mark_exported(connection: sqlite3.Connection, key: int, event: Event) -> Head:
    """The batch `key` was exported: it is no longer protected, and the log says so."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute("UPDATE batches SET exported_s = ? WHERE id = ?", (event.t_s, key))
        head = append(connection, event)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return head


# One record each.


def _write_minute(connection: sqlite3.Connection, record: Minute) -> None:
    tags = chain.canonical(record.tags)
    connection.execute("INSERT OR IGNORE INTO tagsets (line, tags) VALUES (?, ?)",
                       (record.line, tags))  # fmt: skip
    (tagset,) = connection.execute(
        "SELECT id FROM tagsets WHERE line = ? AND tags = ?", (record.line, tags)
    ).fetchone()
    first_s, end_s = float(record.times[0]), float(record.times[-1])
    blob = codec.encode(record.times, record.values, record.quality, record.reason)
    connection.execute(
        "INSERT INTO minutes (line, t_s, end_s, batch, tagset, rows) VALUES (?, ?, ?, ?, ?, ?)",
        (
            record.line, first_s, end_s,
            _batch(connection, record.line, record.batch, first_s, end_s), tagset, blob,
        ),
    )  # fmt: skip


def _write_step(connection: sqlite3.Connection, record: Step) -> None:
    batch = _batch(connection, record.line, record.batch, record.t_s, record.t_s)
    if batch is not None and record.severity:
        connection.execute(
            "UPDATE batches SET severity = ? WHERE id = ? AND severity < ?",
            (record.severity, batch, record.severity),
        )
    connection.execute(
        "INSERT INTO steps (line, t_s, batch, minute, phase, probability, severity, why, drift, "
        "data_quality, demand, cam, deviation, suspects) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
        (
            record.line, record.t_s, batch,
            None if record.batch is None else record.batch.minutes, record.phase,
            record.probability, record.severity, record.why, record.drift, record.data_quality,
            record.demand, _half(record.cam), _half(record.deviation),
            chain.canonical(record.suspects),
        ),
    )  # fmt: skip


def _half(values: np.ndarray | None) -> bytes | None:
    """Three digits are enough for a picture."""
    if values is None:
        return None
    return bytes(np.clip(np.nan_to_num(values), -6e4, 6e4).astype("<f2").tobytes())


def _batch(
    connection: sqlite3.Connection, line: str, at: BatchAt | None, first_s: float, end_s: float
) -> int | None:
    """Key of the batch a record belongs to: the line's newest if it goes on, else a new one.

    Records come in order, so that whatever does not fit the newest begins another. A batch that
    was ended and is running again with later minutes is the same one.
    """
    row = connection.execute(
        "SELECT id, batch_id, minutes, ended_s, model FROM batches WHERE line = ? ORDER BY id DESC "
        "LIMIT 1", (line,),
    ).fetchone()  # fmt: skip
    same = (
        row is not None
        and at is not None
        and row[1] == at.batch_id
        and at.minutes >= row[2] - BACK_MIN
    )
    if row is not None and row[3] is None and (not same or (at and at.state not in _ACTIVE)):
        connection.execute(
            "UPDATE batches SET ended_s = last_s, state = ? WHERE id = ?",
            (at.state if same and at else "ended", row[0]),
        )
    if at is None or at.state not in _ACTIVE:
        return None
    if same:
        connection.execute(
            "UPDATE batches SET minutes = MAX(minutes, ?), state = ?, last_s = MAX(last_s, ?), "
            "ended_s = NULL WHERE id = ?",
            (at.minutes, at.state, end_s, row[0]),
        )
        if at.model and at.model not in row[4].split(MODELS_APART):
            # Its verdicts are now of both.
            models = row[4] + MODELS_APART + at.model if row[4] else at.model
            connection.execute("UPDATE batches SET model = ? WHERE id = ?", (models, row[0]))
        return int(row[0])
    found = connection.execute(
        "INSERT INTO batches (line, batch_id, began_s, last_s, first_minute, minutes, state, "
        "simulation, model, config_sha256) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            line, at.batch_id, first_s, end_s, at.minutes, at.minutes, at.state, at.simulation,
            at.model, at.config_sha256,
        ),
    )  # fmt: skip
    return found.lastrowid


# Retention.


def size_bytes(connection: sqlite3.Connection) -> int:
    """Bytes of the file, its log not counted."""
    return int(connection.execute("PRAGMA page_count").fetchone()[0]) * PAGE_BYTES


def retain(connection: sqlite3.Connection, max_bytes: int, oldest_s: float) -> tuple[int, bool]:
    """Drop what is too old, then what is too much: (rows dropped, still above the limit).

    At most a few hundred rows a call, so that the queue is never kept waiting.
    """
    dropped = 0
    for table in _DROPPABLE:
        dropped += _drop(connection, table, oldest_s)
    for table in _DROPPABLE:
        if size_bytes(connection) <= max_bytes:
            break
        dropped += _drop(connection, table)
        connection.execute(f"PRAGMA incremental_vacuum({4 * DROP_ROWS})").fetchall()
    return dropped, size_bytes(connection) > max_bytes


def make_room(connection: sqlite3.Connection) -> int:
    """The disk is full: drop the oldest raw minutes, so that new ones can use their pages."""
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    dropped = _drop(connection, "minutes")
    connection.execute(f"PRAGMA incremental_vacuum({8 * DROP_ROWS})").fetchall()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return dropped


def _drop(connection: sqlite3.Connection, table: str, before_s: float = math.inf) -> int:
    # Rows lie in the order of time, so that looking at the first few finds the oldest.
    found = connection.execute(
        f"DELETE FROM {table} WHERE id IN (SELECT id FROM (SELECT id, {_TIME[table]} AS at_s "
        f"FROM {table} WHERE batch IS NULL OR batch NOT IN ({_PROTECTED}) ORDER BY id "
        f"LIMIT {DROP_ROWS}) WHERE at_s < ?)",
        (before_s,),
    )
    return max(found.rowcount, 0)


def last_start(connection: sqlite3.Connection) -> str:
    """Body of the newest event "start", "{}" if there is none."""
    row = connection.execute(
        "SELECT body FROM events WHERE kind = 'start' ORDER BY id DESC LIMIT 1"
    ).fetchone()
    return "{}" if row is None else str(row[0])


def newest_s(connection: sqlite3.Connection) -> dict[str, float]:
    """Time of the newest row kept, by line."""
    rows = connection.execute("SELECT line, MAX(end_s) FROM minutes GROUP BY line")
    return {str(line): float(t_s) for line, t_s in rows}


def maintenance_counters(connection: sqlite3.Connection) -> dict[str, int]:
    """MAINT_EVENT of the newest maintenance logged, by line."""
    rows = connection.execute(
        "SELECT line, json_extract(body, '$.counter'), MAX(id) FROM events "
        "WHERE kind = 'maintenance' GROUP BY line"
    )
    return {str(line): int(counter) for line, counter, _ in rows if counter is not None}
