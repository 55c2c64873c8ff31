"""Power cuts on a real file system: every write and flush of a disk recorded, prefixes played back.

The file system of this machine's kernel stands on a loop device over a file that QEMU's storage
daemon exports; its `blklogwrites` driver writes down what reaches the disk, in the format of
dm-log-writes. `cut` makes the image a power cut would have left: everything up to the last flush,
and of what came later all, nothing, or any part, since a disk may reorder what is in its cache.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.tiers.nspawn import Unavailable, run

FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8
_SUPER, _ENTRY = struct.Struct("<QQQI"), struct.Struct("<QQQQ")
_MAGIC = 0x6A736677736872
TOOLS = ("qemu-storage-daemon", "losetup", "mount", "umount")
MAKERS = {"ext4": ("mkfs.ext4", "-q"), "xfs": ("mkfs.xfs", "-q")}
CHECKERS = {"ext4": ("e2fsck", "-fn"), "xfs": ("xfs_repair", "-n")}
SIZES = {"ext4": 64 << 20, "xfs": 320 << 20}
"""XFS is not made smaller than 300 MB."""


@dataclass(frozen=True, slots=True)
class Write:
    """One write that reached the disk, or a flush of it."""

    offset: int
    data: bytes
    flush: bool


def requirements(kind: str) -> None:
    """Raise Unavailable unless power cuts on this file system can be tried here."""
    if os.geteuid():
        raise Unavailable("needs root")
    for tool in (*TOOLS, MAKERS[kind][0], CHECKERS[kind][0]):
        if shutil.which(tool) is None:
            raise Unavailable(f"{tool} is not installed")
    kernel = Path("/proc/filesystems").read_text(encoding="ascii").split()
    for name in (kind, "fuse"):
        if name not in kernel:
            raise Unavailable(f"the kernel has no {name}")


def made(kind: str, image: Path) -> Path:
    """A new file system in a file."""
    with image.open("wb") as file:
        file.truncate(SIZES[kind])
    run(*MAKERS[kind], image)
    return image


@contextlib.contextmanager
def mounted(image: Path, kind: str, place: Path) -> Iterator[Path]:
    """The file system of an image; its journal is replayed. Raises Unavailable."""
    place.mkdir(exist_ok=True)
    run("mount", "-t", kind, "-o", "loop", image, place)
    try:
        yield place
    finally:
        run("umount", place)


def sound(image: Path, kind: str) -> str:
    """What the checker of the file system has against it; "" for nothing."""
    done = subprocess.run(
        [*CHECKERS[kind], str(image)], capture_output=True, text=True, check=False
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


@contextlib.contextmanager
def recorded(image: Path, folder: Path) -> Iterator[tuple[Path, list[Write]]]:
    """(a file with the image's content, the writes to it: filled in at the end)."""
    log, export = folder / "writes.log", folder / "export"
    with log.open("wb") as file:
        file.truncate(1 << 30)
    export.touch()
    nodes = (
        {"driver": "file", "filename": str(image), "node-name": "disk"},
        {"driver": "file", "filename": str(log), "node-name": "log"},
        {"driver": "blklogwrites", "node-name": "both", "file": "disk", "log": "log"},
    )
    fuse = {"type": "fuse", "id": "export", "node-name": "both", "mountpoint": str(export),
            "writable": True}  # fmt: skip
    before = export.stat().st_dev
    words = [word for node in nodes for word in ("--blockdev", json.dumps(node))]
    daemon = subprocess.Popen(
        ["qemu-storage-daemon", *words, "--export", json.dumps(fuse)],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    writes: list[Write] = []
    try:
        end_s = time.monotonic() + 20
        while export.stat().st_dev == before:
            if daemon.poll() is not None or time.monotonic() > end_s:
                daemon.kill()
                raise Unavailable(f"qemu-storage-daemon: {daemon.communicate()[1][-300:]}")
        yield export, writes
    finally:
        daemon.terminate()  # writes its log to the end
        daemon.communicate()
    writes += read_log(log)
    log.unlink()


def read_log(path: Path) -> list[Write]:
    """The writes of a log in the format of dm-log-writes."""
    found = []
    with path.open("rb") as file:
        magic, version, count, sector = _SUPER.unpack(file.read(_SUPER.size))
        assert (magic, version) == (_MAGIC, 1)
        place = sector
        for _ in range(count):
            file.seek(place)
            first, sectors, flags, _length = _ENTRY.unpack(file.read(_ENTRY.size))
            place += sector
            if flags & MARK:
                continue
            data = b""
            if flags & DISCARD:
                data = bytes(sectors * sector)
            elif sectors:
                file.seek(place)
                data = file.read(sectors * sector)
                place += sectors * sector
            found.append(Write(first * sector, data, bool(flags & FLUSH)))
    return found


def cut(base: Path, writes: list[Write], at: int, lost: str, rng: random.Random, to: Path) -> Path:
    """The image after a cut before write `at`.

    `lost`: of what was not flushed, "nothing" is lost, "all" is, "some" (each write for itself),
    or it is "torn": nothing but the last sectors of the last write.
    """
    to.unlink(missing_ok=True)
    subprocess.run(["cp", "--sparse=always", str(base), str(to)], check=True)
    last = max((n + 1 for n in range(at) if writes[n].flush), default=0)
    kept = writes[:last]
    late = [write for write in writes[last:at] if write.data]
    if lost == "nothing":
        kept += late
    elif lost == "some":
        kept += [write for write in late if rng.random() < 0.5]
    elif lost == "torn" and late:
        tail = late[-1]
        half = 512 * rng.randrange(len(tail.data) // 512 + 1)
        kept += [*late[:-1], Write(tail.offset, tail.data[:half], False)]
    with to.open("r+b") as file:
        for write in kept:
            file.seek(write.offset)
            file.write(write.data)
    return to
