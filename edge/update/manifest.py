"""What a release says about itself, and whether it may be installed on this line.

The manifest is python-tuf's Targets document: its `targets` are the files with size and SHA-256,
its `version` is the number of the release, and our field `x-ncm` holds what it was made for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tuf.api.metadata import Targets

from edge.update.refusals import Code, Refused
from edge.update.trust import EXTENSION, TrustedRoot, canonical, digest, whole

FORMAT = 1
KIND = "model"
MAX_FILES = 64
MAX_FILE = 64 << 20
"""As `edge.runtime.bundle.MAX_FILE_BYTES`: a larger file would not be loaded."""
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_VERSION = re.compile(r"\d{1,5}\.\d{1,5}(\.\d{1,5})?")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class File:
    """A file of the release."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True, order=True)
class Floor:
    """Place in the order of releases: nothing below it is installed."""

    epoch: int
    seq: int

    def __str__(self) -> str:
        return f"{self.epoch}.{self.seq}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A release whose signature has been checked."""

    place: Floor
    model_version: str
    """What people read."""
    issued: str
    """Date of issue: shown, never judged."""
    compatible: tuple[str, ...]
    tag_schema: str
    app_min: str
    app_max: str
    """"" for no upper limit."""
    roots: tuple[str, ...]
    """SHA-256 of every root document in the file."""
    files: tuple[File, ...]
    sha256: str
    """Of the manifest document itself."""

    @property
    def slot(self) -> str:
        """Name of the folder it is installed in: the same release always finds the same one."""
        return f"{self.place.epoch}-{self.place.seq}-{self.sha256[:12]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What a release has to fit: the line and the program."""

    line: str
    tags: tuple[tuple[str, str], ...]
    """(name, unit) in model order."""
    row_s: float
    app_version: str


def tag_schema(tags: Sequence[tuple[str, str]], row_s: float) -> str:
    """SHA-256 over tag names, units, their order and the seconds per row."""
    return digest(canonical([[list(tag) for tag in tags], f"{row_s:.6g}"]))


def extension(manifest: Manifest) -> dict[str, Any]:
    """The signed field `x-ncm`; `read` is its inverse."""
    return {
        "format": FORMAT,
        "kind": KIND,
        "epoch": manifest.place.epoch,
        "model_version": manifest.model_version,
        "issued": manifest.issued,
        "compatible": list(manifest.compatible),
        "tag_schema_sha256": manifest.tag_schema,
        "app_min": manifest.app_min,
        "app_max": manifest.app_max,
        "roots": list(manifest.roots),
    }


def read(targets: Targets, data: bytes) -> Manifest:
    """The manifest of a verified document `data`. Raises Refused."""
    fields = targets.unrecognized_fields.get(EXTENSION)
    if not isinstance(fields, dict) or set(targets.unrecognized_fields) != {EXTENSION}:
        raise Refused(Code.FORMAT, f"expected the field {EXTENSION} and no other")
    if (fields.get("format"), fields.get("kind")) != (FORMAT, KIND):
        raise Refused(Code.FORMAT, f"{fields.get('kind')!r} of format {fields.get('format')!r}")
    if targets.delegations is not None:
        raise Refused(Code.BAD_MANIFEST, "delegations are not permitted")
    files = tuple(_file(name, item) for name, item in sorted(targets.targets.items()))
    if not 1 <= len(files) <= MAX_FILES:
        raise Refused(Code.BAD_MANIFEST, f"{len(files)} files, permitted are 1..{MAX_FILES}")
    if len({file.name.casefold() for file in files}) != len(files):
        raise Refused(Code.BAD_NAME, "two names differ only in case")
    return Manifest(
        place=Floor(
            whole(fields, "epoch", Code.BAD_MANIFEST),
            whole({"version": targets.version}, "version", Code.BAD_MANIFEST),
        ),
        model_version=_text(fields, "model_version"),
        issued=_text(fields, "issued"),
        compatible=_texts(fields, "compatible"),
        tag_schema=_text(fields, "tag_schema_sha256", _SHA256),
        app_min=_text(fields, "app_min", _VERSION),
        app_max=_text(fields, "app_max", re.compile(rf"|{_VERSION.pattern}")),
        roots=_texts(fields, "roots"),
        files=files,
        sha256=digest(data),
    )


def check_roots(manifest: Manifest, documents: Sequence[bytes]) -> None:
    """Refuse key documents that are not those the release was signed with."""
    if tuple(digest(document) for document in documents) != manifest.roots:
        raise Refused(Code.ROOT_MIX, f"{len(documents)} key documents")


def check_place(manifest: Manifest, floor: Floor, floor_sha256: str, root: TrustedRoot) -> None:
    """Refuse what is older than the floor, or not of the epoch of the newest root."""
    if manifest.place.epoch != root.epoch:
        raise Refused(Code.EPOCH, f"release {manifest.place}, the keys are of epoch {root.epoch}")
    least = max(floor, Floor(root.epoch, root.min_seq))
    if manifest.place < least:
        raise Refused(Code.ROLLBACK, f"release {manifest.place}, the least permitted is {least}")
    if manifest.place == floor and manifest.sha256 != floor_sha256:
        raise Refused(Code.SAME_NUMBER, f"release {manifest.place} is installed already")


def check_site(manifest: Manifest, site: Site) -> None:
    """Refuse what was made for another line or another program."""
    if site.line not in manifest.compatible:
        raise Refused(
            Code.WRONG_LINE, f"made for {', '.join(manifest.compatible)}; this is {site.line}"
        )
    if _version(site.app_version) < _version(manifest.app_min):
        raise Refused(Code.APP_TOO_OLD, f"needs {manifest.app_min}, this is {site.app_version}")
    if manifest.app_max and _version(site.app_version) > _version(manifest.app_max):
        raise Refused(Code.APP_TOO_NEW, f"up to {manifest.app_max}, this is {site.app_version}")
    if manifest.tag_schema != tag_schema(site.tags, site.row_s):
        raise Refused(
            Code.TAG_SCHEMA, f"line {site.line}: {len(site.tags)} tags, {site.row_s:g} s per row"
        )


def _file(name: str, item: Any) -> File:
    if not _NAME.fullmatch(name) or name != item.path:
        raise Refused(Code.BAD_NAME, repr(name))
    if set(item.hashes) != {"sha256"} or item.unrecognized_fields:
        raise Refused(Code.BAD_MANIFEST, f"{name}: expected length and sha256, nothing else")
    if isinstance(item.length, bool) or not 0 <= item.length <= MAX_FILE:
        raise Refused(Code.TOO_LARGE, f"{name}: {item.length} bytes, permitted are {MAX_FILE}")
    _text(item.hashes, "sha256", _SHA256)
    return File(name, item.length, item.hashes["sha256"])


def _text(fields: Any, key: str, pattern: re.Pattern[str] | None = None) -> str:
    value = fields.get(key)
    if not isinstance(value, str) or len(value) > 200 or not value.isprintable():
        raise Refused(Code.BAD_MANIFEST, f"{key} = {value!r}, permitted is a short text")
    if pattern is not None and not pattern.fullmatch(value):
        raise Refused(Code.BAD_MANIFEST, f"{key} = {value!r}, permitted is {pattern.pattern}")
    return value


def _texts(fields: dict[str, Any], key: str) -> tuple[str, ...]:
    value = fields.get(key)
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_FILES:
        raise Refused(Code.BAD_MANIFEST, f"{key} = {value!r}, permitted is a list of texts")
    return tuple(_text({key: item}, key) for item in value)


def _version(text: str) -> tuple[int, ...]:
    numbers = [int(part) for part in re.findall(r"\d+", text)[:3]]
    return (*numbers, *[0] * (3 - len(numbers)))
