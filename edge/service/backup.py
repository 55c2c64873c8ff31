"""A backup of what makes this appliance this one; taken while the daemon runs.

The update's lock is held while its files are read, so that record, keys and slots belong together;
the history is copied by SQLite itself beside the daemon's writing. Links are not followed: what the
service's account may lay down must not make root read something else. The ring and the model's
state are left out: they are hours old when they are needed, and the daemon starts without.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from edge import __version__
from edge.config.types import Appliance
from edge.runtime.store.schema import BUSY_S, FILE_NAME, HEAD_NAME
from edge.service import archive
from edge.service.actions import flush
from edge.service.archive import CHUNK, CONFIGURATION, Manifest, Writer, permitted
from edge.update.refusals import Refused
from edge.update.store import Store

_SLOTS = "/slots/"


class BackupError(Exception):
    """No backup was written; the message says why and what to do."""


def backup(
    appliance: Appliance, config: Path, target: Path, *, without: frozenset[str], wall_s: float
) -> Manifest:
    """Write the backup and read it back.

    Args:
        config: the configuration directory.
        target: the new file; it must not exist.
        without: of "configuration", "history", "slots".
        wall_s: now.

    Raises BackupError.
    """
    if target.is_dir():
        raise BackupError(f"{target} is a folder; name a file in it, e.g. {target}/ncm-edge.backup")
    if target.exists():
        raise BackupError(f"{target} is there already; choose another name")
    folder = None
    try:
        # Of one's own: nobody else may lay a link or a journal beside it.
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        partial, snapshot = folder / "backup", folder / "history"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(partial, flags, 0o600), "w+b") as stream:
            manifest = _write(appliance, config, stream, snapshot, without, wall_s)
            stream.flush()
            os.fsync(stream.fileno())
            stream.seek(0)
            archive.check(stream)  # what a medium did not keep shows now, not in need
        partial.rename(target)
        flush(target.parent)
    except (OSError, sqlite3.Error, ValueError, archive.ArchiveError) as error:
        where = str(getattr(error, "filename", None) or target)
        if f".{target.name}." in where:
            where = str(target)
        text = getattr(error, "strerror", None) or str(error)
        raise BackupError(f"{where}: {text}; no backup was written") from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
    return manifest


def _write(
    appliance: Appliance, config: Path, stream: BinaryIO, snapshot: Path,
    without: frozenset[str], wall_s: float,
) -> Manifest:  # fmt: skip
    writer = Writer(stream)
    left_out: list[str] = []
    with _update_lock(appliance.state_dir / "update"):
        names = _walk(appliance.state_dir, "update", left_out)
        for name, data, _ in names:
            if permitted(name) and not ("slots" in without and _SLOTS in name):
                writer.add(name, iter((data,)), len(data))
        floors = {line: _floor(appliance, line) for line in _lines(writer)}
    if "configuration" not in without:
        for name, data, private in _walk(config.parent, config.name, left_out):
            inside = CONFIGURATION + name.removeprefix(f"{config.name}/")
            if permitted(inside):
                writer.add(inside, iter((data,)), len(data), private=private)
            else:
                left_out.append(f"{config.parent / name}: its name has no place in a backup")
    if "history" not in without:
        _history(appliance, writer, snapshot, left_out)
    manifest = Manifest(
        appliance=appliance.name, program=__version__, made_s=wall_s, floors=floors,
        left_out=tuple(map(_shown, left_out)), files=writer.files,
    )  # fmt: skip
    writer.close(manifest)
    return manifest


def _shown(text: str) -> str:
    """Names may hold anything, and a person reads them on a terminal."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _lines(writer: Writer) -> list[str]:
    found = {name.split("/")[2] for name in writer.files if name.startswith("update/lines/")}
    return sorted(found)


def _floor(appliance: Appliance, line: str) -> str:
    try:
        return str(Store(appliance.state_dir, line, appliance.trust_root).record().floor)
    except Refused as refused:
        return refused.name


@contextlib.contextmanager
def _update_lock(folder: Path) -> Iterator[None]:
    try:
        fd = os.open(
            folder / "lock", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        )
    except FileNotFoundError:
        yield  # there was never an update
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise BackupError("an update is being installed; try again in a minute") from None
    try:
        yield
    finally:
        os.close(fd)


def _walk(base: Path, top: str, left_out: list[str]) -> Iterator[tuple[str, bytes, bool]]:
    """(name below `base`, content, private) of every plain file of base/top; follows no link."""
    if not (base / top).exists():
        return
    for folder, folders, files, fd in os.fwalk(base / top, onerror=_raised):
        folders.sort()
        left_out += [
            f"{Path(folder) / name}: is a link" for name in folders
            if stat.S_ISLNK(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode)
        ]  # fmt: skip
        for name in sorted(files):
            path = Path(folder) / name
            about = os.stat(name, dir_fd=fd, follow_symlinks=False)
            if not stat.S_ISREG(about.st_mode):
                left_out.append(f"{path}: is no plain file")
                continue
            if about.st_size > archive.MAX_BYTES:
                left_out.append(f"{path}: {about.st_size} bytes are more than a backup takes")
                continue
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            with os.fdopen(os.open(name, flags, dir_fd=fd), "rb") as stream:
                data = stream.read(archive.MAX_BYTES)
            yield path.relative_to(base).as_posix(), data, not about.st_mode & stat.S_IROTH


def _raised(error: OSError) -> None:
    raise error


def _history(appliance: Appliance, writer: Writer, snapshot: Path, left_out: list[str]) -> None:
    folder = appliance.history.directory
    path = folder / FILE_NAME
    for part in (folder, path):
        try:
            about, owner = part.lstat(), appliance.state_dir.stat().st_uid
        except FileNotFoundError:
            return
        if stat.S_ISLNK(about.st_mode) or about.st_uid != owner:
            left_out.append(f"{part}: is a link, or not the service's")
            return
    # The head first: a chain that has grown since still runs through it.
    head = folder / HEAD_NAME
    if head.is_file() and not head.is_symlink():
        data = head.read_bytes()
        writer.add(archive.HISTORY_HEAD, iter((data,)), len(data))
    copy_history(path, snapshot)
    with snapshot.open("rb") as stream:
        size = snapshot.stat().st_size
        writer.add(archive.HISTORY, iter(lambda: stream.read(CHUNK), b""), size)


def copy_history(source: Path, target: Path) -> None:
    """A whole copy of an SQLite file that may be written meanwhile. Raises sqlite3.Error."""
    target.unlink(missing_ok=True)
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
    with (
        contextlib.closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True,
                                           timeout=BUSY_S)) as old,
        contextlib.closing(sqlite3.connect(target)) as new,
    ):  # fmt: skip
        old.backup(new)
        # Without its log beside it the copy has to be a file of its own.
        new.execute("PRAGMA journal_mode=DELETE")
