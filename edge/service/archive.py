"""The file of a backup: a plain tar of plain files, its manifest last, read by stricter rules than
tar's own.

    configuration/...            the configuration directory, keys and passwords included
    update/trust/N.root.json     accepted keys
    update/lines/LINE/...        record (the floor) and slots
    update/audit/...             the audit
    history/history.sqlite       a copy that SQLite made, and the head of its chain
    manifest.json                size, SHA-256, mode of each file above, and a check sum of itself

Only regular files, only these names, each once, nothing after the end: a reader that meets a link,
a device, a path that leads elsewhere or one byte that was changed refuses all of it. Not signed:
what in it is to be believed is signed itself (keys, releases) or was typed in by the plant.
"""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, BinaryIO

from edge.update.trust import canonical

FORMAT = 1
MANIFEST = "manifest.json"
CONFIGURATION = "configuration/"
HISTORY = "history/history.sqlite"
HISTORY_HEAD = "history/history.head"
BLOCK = tarfile.BLOCKSIZE
CHUNK = 1 << 20
MAX_FILES = 5000
MAX_BYTES = 64 << 20
"""Of one file but the history."""
_USTAR_BYTES = 8 << 30
_LATEST_S = 2.0**36
"""Year 4147."""
_WORD = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}"
_SEGMENT = r"(?!\.{1,2}(?:/|\Z))[^/\\\x00-\x1f\x7f]{1,100}"
_NAME = re.compile(
    rf"configuration/(?:{_SEGMENT}/){{0,8}}{_SEGMENT}"
    r"|update/trust/[1-9]\d{0,5}\.root\.json"
    rf"|update/lines/{_WORD}/record\.[01]\.json"
    rf"|update/lines/{_WORD}/slots/{_WORD}/(?:manifest\.json|[1-9]\d{{0,5}}\.root\.json"
    rf"|bundle/{_WORD})"
    r"|update/audit/(?:log|log\.1)\.jsonl|update/audit/head\.json"
    r"|history/history\.(?:sqlite|head)",
)


class ArchiveError(Exception):
    """The file is no whole backup of ours; the message says where and why."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What the manifest says of a file."""

    size: int
    sha256: str
    private: bool = False
    """Not for everybody on the machine: a key, a password."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a backup is of."""

    appliance: str
    program: str
    made_s: float
    """Wall clock, epoch seconds."""
    floors: Mapping[str, str]
    """Line -> floor, or why it is not known."""
    left_out: tuple[str, ...] = ()
    files: Mapping[str, Entry] = field(default_factory=dict)

    def data(self) -> bytes:
        """As it stands in the archive."""
        body = {"format": FORMAT, **asdict(self)}
        return canonical(body | {"check": hashlib.sha256(canonical(body)).hexdigest()})


def permitted(name: str) -> bool:
    """Whether a file of this name may be in a backup."""
    return _NAME.fullmatch(name) is not None


class Writer:
    """Writes a backup to a stream. Raises OSError."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.files: dict[str, Entry] = {}

    def add(self, name: str, chunks: Iterator[bytes], size: int, *, private: bool = False) -> None:
        """A file of exactly `size` bytes. Raises ValueError for a name that is not permitted."""
        if not permitted(name) or name in self.files:
            raise ValueError(f"{name}: not a name of a backup")
        sha256 = hashlib.sha256()
        self._header(name, size)
        for chunk in chunks:
            sha256.update(chunk)
            self._stream.write(chunk)
        self._pad(size)
        self.files[name] = Entry(size, sha256.hexdigest(), private)

    def close(self, manifest: Manifest) -> None:
        """The manifest and the end."""
        data = manifest.data()
        self._header(MANIFEST, len(data))
        self._stream.write(data)
        self._pad(len(data))
        self._stream.write(bytes(2 * BLOCK))

    def _header(self, name: str, size: int) -> None:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = size, 0o600
        large = size >= _USTAR_BYTES  # more than eleven octal digits
        header = (
            entry.tobuf(tarfile.GNU_FORMAT, "utf-8", "strict") if large
            else entry.tobuf(tarfile.USTAR_FORMAT, "utf-8", "strict")
        )  # fmt: skip
        if len(header) != BLOCK:
            raise ValueError(f"{name}: the name is too long")
        self._stream.write(header)

    def _pad(self, size: int) -> None:
        self._stream.write(bytes(-size % BLOCK))


def read(stream: BinaryIO) -> Iterator[tuple[str, int, Iterator[bytes]]]:
    """(name, size, content) of every file, the manifest's included; each content is to be read.

    Raises ArchiveError.
    """
    seen: set[str] = set()
    while True:
        header = _exactly(stream, BLOCK)
        if not any(header):
            if any(_exactly(stream, BLOCK)):
                raise ArchiveError("something follows the end")
            break
        name, size = _entry(header)
        if name in seen:
            raise ArchiveError(f"{name} is in it twice")
        if MANIFEST in seen:
            raise ArchiveError(f"{name} comes after the manifest")
        seen.add(name)
        if len(seen) > MAX_FILES:
            raise ArchiveError(f"more than {MAX_FILES} files")
        folders = {name[:at] for at, char in enumerate(name) if char == "/"}
        if folders & seen:
            raise ArchiveError(f"{name}: {min(folders & seen)} is a file")
        yield name, size, _content(stream, size)
        if any(_exactly(stream, -size % BLOCK)):
            raise ArchiveError(f"{name}: something is hidden behind its end")
    while rest := stream.read(CHUNK):
        if any(rest):
            raise ArchiveError("something follows the end")
    if MANIFEST not in seen:
        raise ArchiveError("no manifest: the file was cut off, or is no backup of ncm-edge")


def _entry(header: bytes) -> tuple[str, int]:
    try:
        entry = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
    except (tarfile.HeaderError, UnicodeError, ValueError) as error:
        raise ArchiveError(f"no backup of ncm-edge, or damaged ({error})") from None
    if entry.type != tarfile.REGTYPE or entry.linkname:
        raise ArchiveError(f"{entry.name!r} is no plain file (type {entry.type!r})")
    if entry.name != MANIFEST and not permitted(entry.name):
        raise ArchiveError(f"{entry.name!r} does not belong into a backup")
    if entry.size < 0 or (entry.name != HISTORY and entry.size > MAX_BYTES):
        raise ArchiveError(f"{entry.name}: {entry.size} bytes; permitted: 0..{MAX_BYTES}")
    return entry.name, entry.size


def _exactly(stream: BinaryIO, count: int) -> bytes:
    data = stream.read(count)
    if len(data) != count:
        raise ArchiveError("the file ends early; was it copied to its end?")
    return data


def _content(stream: BinaryIO, size: int) -> Iterator[bytes]:
    while size:
        chunk = _exactly(stream, min(size, CHUNK))
        size -= len(chunk)
        yield chunk


def check(
    stream: BinaryIO, keep: frozenset[str] = frozenset()
) -> tuple[Manifest, dict[str, bytes]]:
    """Read all of it once and compare it with its manifest; also the content of the files `keep`.

    Raises ArchiveError.
    """
    found: dict[str, tuple[int, str]] = {}
    kept: dict[str, bytes] = {}
    for name, size, content in read(stream):
        sha256 = hashlib.sha256()
        for chunk in content:
            sha256.update(chunk)
            if name == MANIFEST or name in keep:
                kept[name] = kept.get(name, b"") + chunk
        if name != MANIFEST:
            found[name] = size, sha256.hexdigest()
    manifest = parse(kept.pop(MANIFEST, b""))
    for name in sorted({*found, *manifest.files}):
        entry = manifest.files.get(name)
        if entry is None:
            raise ArchiveError(f"{name} is not in the manifest")
        if found.get(name) != (entry.size, entry.sha256):
            why = "is not what the manifest says" if name in found else "is missing"
            raise ArchiveError(f"{name} {why}")
    return manifest, kept


def parse(text: bytes) -> Manifest:
    """The manifest of its text. Raises ArchiveError."""
    try:
        body: dict[str, Any] = json.loads(text)
        claimed = body.pop("check")
        if hashlib.sha256(canonical(body)).hexdigest() != claimed:
            raise ArchiveError("the manifest was changed")
        if body["format"] != FORMAT:
            raise ArchiveError(
                f"format {body['format']}, this program reads {FORMAT}; restore with ncm-edge "
                f"{body['program']}"
            )
        # A person sees these on a terminal, after everything is done.
        shown = [body["appliance"], body["program"], *body["floors"], *body["floors"].values(),
                 *body["left_out"]]  # fmt: skip
        if not all(isinstance(text, str) and text.isprintable() for text in shown):
            raise ArchiveError("the manifest holds what cannot be shown")
        if not 0.0 <= float(body["made_s"]) <= _LATEST_S:
            raise ArchiveError(f"the manifest was made at no time: {body['made_s']!r}")
        return Manifest(
            appliance=str(body["appliance"]), program=str(body["program"]),
            made_s=float(body["made_s"]), floors=dict(body["floors"]),
            left_out=tuple(body["left_out"]),
            files={name: Entry(**entry) for name, entry in body["files"].items()},
        )  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ArchiveError(f"the manifest cannot be read ({error!r})") from None
