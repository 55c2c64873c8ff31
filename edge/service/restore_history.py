"""The history of a backup into place; what is there is set aside, unless it goes on from it.

A file from elsewhere is looked at before the daemon may open it: SQLite's own check, and exactly
our tables, for a foreign trigger would run with the daemon's rights.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sqlite3
from pathlib import Path

from edge.runtime.chain import Broken
from edge.runtime.store.reader import History, HistoryError
from edge.runtime.store.schema import FILE_NAME, HEAD_NAME, SCHEMA, VERSION
from edge.service.actions import flush

_SIDES = ("", "-wal", "-shm")
_STATISTICS = {
    ("table", "sqlite_stat1", "CREATE TABLE sqlite_stat1(tbl,idx,stat)"),
    ("table", "sqlite_stat4", "CREATE TABLE sqlite_stat4(tbl,idx,neq,nlt,ndlt,sample)"),
}
"""What SQLite's ANALYZE adds; anything else of a name like these is somebody's."""


def put_history(staged: Path, folder: Path) -> list[str]:
    """Move `staged`/history.sqlite into `folder`; returns what was done. Raises OSError."""
    new, path = staged / FILE_NAME, folder / FILE_NAME
    fault = foreign(new)
    if fault:
        return [f"history: NOT restored: {fault}"]
    told = _chain(new)
    folder.mkdir(mode=0o750, parents=True, exist_ok=True)
    if path.exists():
        if _goes_on(path, new):
            return ["history: unchanged; the present one already goes on from the backup's"]
        number = 1
        while folder.joinpath(f"{FILE_NAME}.before-restore-{number}").exists():
            number += 1
        aside = folder / f"{FILE_NAME}.before-restore-{number}"
        for side in _SIDES:
            with contextlib.suppress(FileNotFoundError):
                path.with_name(path.name + side).rename(aside.with_name(aside.name + side))
        told.append(f"history: the present one is kept as {aside}")
    with contextlib.suppress(FileNotFoundError):
        (folder / HEAD_NAME).unlink()
    _move(new, path)
    if (staged / HEAD_NAME).exists():
        _move(staged / HEAD_NAME, folder / HEAD_NAME)
    flush(folder)
    return [*told, f"history: {path}"]


def _move(source: Path, target: Path) -> None:
    """Rename; onto another disk by way of a copy there."""
    try:
        source.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        partial = target.with_name(f"{target.name}.new")
        shutil.copyfile(source, partial)
        with partial.open("rb") as stream:
            os.fsync(stream.fileno())
        partial.rename(target)


def _reading(path: Path, more: str = "") -> contextlib.closing[sqlite3.Connection]:
    return contextlib.closing(
        sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro{more}", uri=True)
    )


def foreign(path: Path) -> str:
    """Why a file is no sound history of this program; "" if it is one."""
    try:
        with _reading(path, "&immutable=1") as found:
            found.execute("PRAGMA trusted_schema=OFF")
            version = int(found.execute("PRAGMA user_version").fetchone()[0])
            if version != VERSION:
                return f"format {version}, this program reads {VERSION}"
            if _tables(found) != _expected():
                return "its tables are not those of a history"
            (verdict,) = found.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        return f"damaged ({error})"
    return "" if verdict == "ok" else f"damaged ({verdict})"


def _tables(connection: sqlite3.Connection) -> set[tuple[str, str, str]]:
    rows = connection.execute("SELECT type, name, coalesce(sql, '') FROM sqlite_master")
    return set(rows.fetchall()) - _STATISTICS


def _expected() -> set[tuple[str, str, str]]:
    with contextlib.closing(sqlite3.connect(":memory:")) as empty:
        empty.executescript(SCHEMA)
        return _tables(empty)


def _chain(path: Path) -> list[str]:
    try:
        with History(path) as found:
            head = found.verify(found.noted_head())
    except HistoryError as error:
        return [f"history: {error}"]
    return [f"history: event {head.number} {head.why}"] if isinstance(head, Broken) else []


def _goes_on(present: Path, new: Path) -> bool:
    """Whether the present log runs through the newest event of the other one."""
    query = "SELECT id, link FROM events ORDER BY id DESC LIMIT 1"
    try:
        with _reading(new) as one:
            newest = one.execute(query).fetchone()
        if newest is None:
            return False
        with _reading(present) as one:
            found = one.execute("SELECT link FROM events WHERE id = ?", (newest[0],)).fetchone()
    except sqlite3.Error:
        return False
    return found is not None and found[0] == newest[1]
