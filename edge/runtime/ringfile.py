"""The ring as a memory-mapped file, so that a restart, a kill or a power cut finds its rows again.

File: one page of header (magic, version, shape, tag-list hash, CRC), then the records of
`edge.core.ring`. What happens at `open_ring`:

    file absent                       -> "new"       allocated whole, so that writing cannot fail
    file sound, same tags and shape   -> "resumed"   torn rows have become gaps
    file of another shape or damaged  -> "replaced"  set aside as <name>.bad-<n>, a new one made
    no room, no permission            -> "memory"    a ring in RAM; the message says why
    another process holds the file    -> RingBusy    two daemons must not share one ring

A ring in memory gets its file later with `open_empty` and `Ring.take_over`, without a restart.

The newest `KEEP_BAD` files set aside are kept; older ones are deleted, so that a configuration
changed every day cannot fill the disk.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import mmap
import os
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from edge.core.ring import Ring, row_dtype

MAGIC = b"NCMRING\0"
VERSION = 1
HEADER_BYTES = 4096
KEEP_BAD = 3
_HEADER = struct.Struct("<8sIIIId32s")  # magic, version, tags, rows, record bytes, row_s, tag hash
_CRC = struct.Struct("<I")

Opened = Literal["new", "resumed", "replaced", "memory"]


class RingBusy(Exception):  # noqa: N818 - a refusal, not a fault
    """Another process has the ring file open; the message names the file and the remedy."""


@dataclass(slots=True)
class RingFile:
    """An open ring and what happened when it was opened."""

    ring: Ring
    opened: Opened
    message: str
    """For the log and, unless "new" or "resumed", for the operator."""
    path: Path | None
    """None for a ring in memory."""
    _map: mmap.mmap | None = None
    _fd: int = -1

    def flush(self) -> None:
        """Write the mapped pages to disk. Blocks: call it from a worker thread. Raises OSError."""
        if self._map is not None:
            self._map.flush()

    def close(self) -> None:
        """Flush and give the file up; the ring stays readable. Calling it again does nothing."""
        if self._fd >= 0:
            self.flush()
            fcntl.flock(self._fd, fcntl.LOCK_UN)
            os.close(self._fd)
            self._fd = -1
            # The map is left to the garbage collector: the ring's arrays still point into it.
            self._map = None


def tag_hash(tags: Sequence[tuple[str, str]]) -> bytes:
    """SHA-256 over the tags' names and units, in order: 32 bytes."""
    return hashlib.sha256("\n".join(f"{name}\t{unit}" for name, unit in tags).encode()).digest()


def open_ring(path: Path, tags: Sequence[tuple[str, str]], rows: int, row_s: float) -> RingFile:
    """Open or make the ring file at `path` for `tags` (name, unit) and `rows` slots of `row_s`.

    Falls back to memory rather than fail for want of room or permission.
    Raises RingBusy if another process holds the file.
    """
    want = _header(tags, rows, row_s)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fault = None
        if path.exists():
            opened = _adopt(path, want, rows, len(tags))
            if isinstance(opened, RingFile):
                return opened
            fault = opened
            bad = _set_aside(path)
            fault = f"ring file {path}: {fault}; set aside as {bad.name}, started anew"
        return _create(path, want, rows, len(tags), fault)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            remedy = f"free {_size(rows, len(tags)) / 1e6:.0f} MB there"
        else:
            remedy = "make it writable for this user"
        return RingFile(
            Ring.in_memory(rows, len(tags)),
            "memory",
            f"ring file {path}: {error.strerror}; rows are kept in memory only until it can "
            f"be written; {remedy}",
            None,
        )


def open_empty(path: Path, tags: Sequence[tuple[str, str]], rows: int, row_s: float) -> RingFile:
    """A new ring file for rows that are in memory so far; an older file is set aside.

    Raises OSError while there is still no room or permission, RingBusy as `open_ring`.
    """
    fresh = open_beside(path, tags, rows, row_s)
    try:
        put_in_place(fresh, path)
    except OSError:
        discard(fresh)
        raise
    fresh.message = f"ring file {path}: can be written again, the rows in memory were moved there"
    return fresh


def open_beside(path: Path, tags: Sequence[tuple[str, str]], rows: int, row_s: float) -> RingFile:
    """An empty ring in a file beside `path`, for `put_in_place` or `discard`.

    Raises OSError without room or permission, RingBusy as `open_ring`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".fresh")
    return _create(beside, _header(tags, rows, row_s), rows, len(tags), None)


def put_in_place(ring: RingFile, path: Path) -> None:
    """Give a ring of `open_beside` its name; an older file is set aside. Raises OSError."""
    assert ring.path is not None
    if path.exists():
        _set_aside(path)
    ring.path.rename(path)
    ring.path = path


def discard(ring: RingFile) -> None:
    """Close a ring of `open_beside` that is not wanted after all, and delete its file."""
    ring.close()
    if ring.path is not None:
        ring.path.unlink(missing_ok=True)


def _header(tags: Sequence[tuple[str, str]], rows: int, row_s: float) -> bytes:
    record = row_dtype(len(tags)).itemsize
    head = _HEADER.pack(MAGIC, VERSION, len(tags), rows, record, row_s, tag_hash(tags))
    return head + _CRC.pack(zlib.crc32(head))


def _size(rows: int, tag_count: int) -> int:
    return HEADER_BYTES + rows * row_dtype(tag_count).itemsize


def _adopt(path: Path, want: bytes, rows: int, tag_count: int) -> RingFile | str:
    """The resumed ring, or what is wrong with the file."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        _lock(fd, path)
        got = os.pread(fd, len(want), 0)
        fault = _fault(got, want, os.fstat(fd).st_size, _size(rows, tag_count))
        if fault is not None:
            os.close(fd)
            return fault
        ring, mapped = _map(fd, rows, tag_count)
    except BaseException:
        os.close(fd)
        raise
    note = f", {ring.dropped} torn rows became gaps" if ring.dropped else ""
    message = f"ring file {path}: resumed at row {ring.seq} with {ring.count} of {rows} rows{note}"
    return RingFile(ring, "resumed", message, path, mapped, fd)


def _create(path: Path, header: bytes, rows: int, tag_count: int, fault: str | None) -> RingFile:
    """Make the file under another name and rename it, so that a half-made one is never adopted."""
    unfinished = path.with_name(path.name + ".new")
    fd = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
    try:
        _lock(fd, path)
        os.posix_fallocate(fd, 0, _size(rows, tag_count))
        os.pwrite(fd, header, 0)
        os.fsync(fd)
        ring, mapped = _map(fd, rows, tag_count)
        unfinished.rename(path)
        _sync_directory(path.parent)
    except BaseException:
        os.close(fd)
        unfinished.unlink(missing_ok=True)
        raise
    if fault is None:
        return RingFile(ring, "new", f"ring file {path}: new, {rows} rows", path, mapped, fd)
    return RingFile(ring, "replaced", fault, path, mapped, fd)


def _map(fd: int, rows: int, tag_count: int) -> tuple[Ring, mmap.mmap]:
    mapped = mmap.mmap(fd, _size(rows, tag_count))
    records = np.ndarray((rows,), row_dtype(tag_count), buffer=mapped, offset=HEADER_BYTES)
    return Ring(records), mapped


def _lock(fd: int, path: Path) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise RingBusy(
            f"ring file {path} is in use by another process; stop the other ncm-edge, or give "
            "this one another state_dir in appliance.toml"
        ) from error


def _fault(got: bytes, want: bytes, size: int, want_size: int) -> str | None:
    """What keeps a file with this header from being resumed; None if nothing does."""
    if len(got) < len(want) or got[: len(MAGIC)] != MAGIC:
        return "not a ring file (wrong magic)"
    head, crc = got[: _HEADER.size], _CRC.unpack(got[_HEADER.size :])[0]
    if zlib.crc32(head) != crc:
        return "header damaged (CRC does not fit)"
    _, version, tags, rows, _, row_s, names = _HEADER.unpack(head)
    _, _, want_tags, want_rows, _, want_row_s, want_names = _HEADER.unpack(want[: _HEADER.size])
    if version != VERSION:
        return f"format version {version}, this program writes {VERSION}"
    if (tags, rows, row_s) != (want_tags, want_rows, want_row_s):
        return (
            f"made for {tags} tags x {rows} rows of {row_s:g} s, the configuration asks for "
            f"{want_tags} x {want_rows} of {want_row_s:g} s"
        )
    if names != want_names:
        return "made for another tag list (names, units or order changed)"
    if size != want_size:
        return f"truncated or extended: {size} bytes, expected {want_size}"
    return None


def _set_aside(path: Path) -> Path:
    """Rename `path` to the next free <name>.bad-<n>, keeping the newest KEEP_BAD of them."""
    numbered = {
        int(end): other
        for other in path.parent.glob(path.name + ".bad-*")
        if (end := other.name.rpartition("-")[2]).isdigit()
    }
    bad = path.with_name(f"{path.name}.bad-{max(numbered, default=0) + 1}")
    path.rename(bad)
    for number in sorted(numbered)[: len(numbered) + 1 - KEEP_BAD]:
        numbered[number].unlink(missing_ok=True)
    return bad


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
