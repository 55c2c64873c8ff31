"""The tables of the history; how the file is opened, checked, and set aside when it is damaged.

    file absent                        -> "new"
    file sound                         -> "resumed"
    damaged, or of another version     -> "replaced": set aside as <name>.bad-<n>, a new one begun
    no room, no permission, locked     -> the error is raised; the caller tries again later

The newest `KEEP_BAD` files set aside are kept. They can still be read: `ncm-edge history --file`.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

FILE_NAME = "history.sqlite"
HEAD_NAME = "history.head"
"""Beside the file: the head of the event chain, so that a log cut short is noticed."""
VERSION = 1
PAGE_BYTES = 16384
KEEP_BAD = 3
BUSY_S = 5.0
"""Longest wait for another process that writes."""

SCHEMA = """
CREATE TABLE tagsets (
    id INTEGER PRIMARY KEY, line TEXT NOT NULL, tags TEXT NOT NULL, UNIQUE (line, tags));
CREATE TABLE batches (
    id INTEGER PRIMARY KEY, line TEXT NOT NULL, batch_id INTEGER NOT NULL,
    began_s REAL NOT NULL, ended_s REAL, last_s REAL NOT NULL, first_minute REAL NOT NULL,
    minutes REAL NOT NULL, state TEXT NOT NULL, severity INTEGER NOT NULL DEFAULT 0,
    simulation TEXT NOT NULL, model TEXT NOT NULL, config_sha256 TEXT NOT NULL, exported_s REAL);
CREATE INDEX batches_by_line ON batches (line, id);
CREATE TABLE minutes (
    id INTEGER PRIMARY KEY, line TEXT NOT NULL, t_s REAL NOT NULL, end_s REAL NOT NULL,
    batch INTEGER, tagset INTEGER NOT NULL, rows BLOB NOT NULL);
CREATE INDEX minutes_by_line ON minutes (line, t_s);
CREATE INDEX minutes_by_batch ON minutes (batch);
CREATE TABLE steps (
    id INTEGER PRIMARY KEY, line TEXT NOT NULL, t_s REAL NOT NULL, batch INTEGER, minute REAL,
    phase INTEGER NOT NULL, probability REAL, severity INTEGER, why TEXT NOT NULL, drift REAL,
    data_quality REAL NOT NULL, demand REAL, cam BLOB, deviation BLOB, suspects TEXT NOT NULL);
CREATE INDEX steps_by_batch ON steps (batch);
CREATE TABLE events (
    id INTEGER PRIMARY KEY, t_s REAL NOT NULL, line TEXT NOT NULL, kind TEXT NOT NULL,
    body TEXT NOT NULL, link BLOB NOT NULL);
CREATE INDEX events_by_kind ON events (kind, line, id);
CREATE TRIGGER events_stay BEFORE DELETE ON events
    BEGIN SELECT RAISE(ABORT, 'the event log is append-only'); END;
CREATE TRIGGER events_are_final BEFORE UPDATE ON events
    BEGIN SELECT RAISE(ABORT, 'the event log is append-only'); END;
"""

Opened = Literal["new", "resumed", "replaced"]


@dataclass(slots=True)
class OpenFile:
    """An open history and what happened when it was opened."""

    connection: sqlite3.Connection
    opened: Opened
    message: str


def open_for_writing(path: Path) -> OpenFile:
    """Open or make the history at `path`. Blocks while every page is checked.

    Raises OSError or sqlite3.OperationalError while there is no room, no permission or the file is
    locked.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fault = ""
    there = path.exists() and path.stat().st_size > 0
    if there:
        found = _adopt(path)
        if isinstance(found, sqlite3.Connection):
            return OpenFile(found, "resumed", f"history {path}: resumed")
        bad = set_aside(path)
        fault = f"history {path}: {found}; set aside as {bad.name}, a new one begun"
    connection = _connect(path)
    try:
        connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        _settings(connection)
        connection.executescript(f"BEGIN;{SCHEMA}PRAGMA user_version={VERSION};COMMIT;")
    except BaseException:
        connection.close()
        raise
    if fault:
        return OpenFile(connection, "replaced", fault)
    return OpenFile(connection, "new", f"history {path}: new")


def is_damage(error: Exception) -> bool:
    """Whether the error means that the file itself is damaged, not the disk full or locked."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def is_full(error: Exception) -> bool:
    """Whether the disk has no room (or the file may not grow)."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL


def set_aside(path: Path) -> Path:
    """Rename the file, its log included, to the next free <name>.bad-<n>; keeps `KEEP_BAD`."""
    numbered = {
        int(end): other
        for other in path.parent.glob(path.name + ".bad-*")
        if (end := other.name.rpartition("-")[2]).isdigit()
    }
    bad = path.with_name(f"{path.name}.bad-{max(numbered, default=0) + 1}")
    for ending in ("", "-wal", "-shm"):
        part = path.with_name(path.name + ending)
        if part.exists():
            part.rename(bad.with_name(bad.name + ending))
    for number in sorted(numbered)[: len(numbered) + 1 - KEEP_BAD]:
        for ending in ("", "-wal", "-shm"):
            old = numbered[number]
            old.with_name(old.name + ending).unlink(missing_ok=True)
    return bad


def _adopt(path: Path) -> sqlite3.Connection | str:
    """The checked file, or what is wrong with it."""
    connection = _connect(path)
    try:
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if version != VERSION:
            connection.close()
            return f"format version {version}, this program writes {VERSION}"
        _settings(connection)
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            connection.close()
            return f"damaged ({verdict.splitlines()[-1].strip()})"
        # A table that is not there is a version of nobody.
        for table in ("tagsets", "batches", "minutes", "steps", "events"):
            connection.execute(f"SELECT 1 FROM {table} LIMIT 1")
    except sqlite3.Error as error:
        connection.close()
        if is_damage(error) or "no such table" in str(error):
            return f"damaged ({error})"
        raise
    return connection


def _connect(path: Path) -> sqlite3.Connection:
    # One worker at a time uses it, but not always the same thread.
    return sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)


def _settings(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    # An event that was said to be logged must survive a power cut; this costs one fsync a commit,
    # a few a minute, in a thread nobody waits for.
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA wal_autocheckpoint=64")
    connection.execute("PRAGMA journal_size_limit=4194304")
