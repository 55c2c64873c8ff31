"""A backup back onto an appliance: all of it checked first, then in an order that survives a cut.

    archive        read to its end, every byte against the manifest, before anything is written
    floor, keys    merged upwards: what this appliance knows that is newer stays
    slots          only what its keys sign today
    history        what is here is set aside, unless it already goes on from the one in the backup
    configuration  replaced as a whole; the one before is kept beside it

Whatever lies in the state directory is read and written as its owner: what the service's account
may lay down there must not lead root astray. Run again after a cut, it completes.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from edge.runtime import status
from edge.runtime.line import RING
from edge.runtime.store.schema import FILE_NAME
from edge.service import archive
from edge.service.account import SELF, Owner, owner_of
from edge.service.archive import CONFIGURATION, Manifest
from edge.service.restore_config import put_configuration
from edge.service.restore_history import put_history
from edge.service.restore_update import Refusal, put_updates
from edge.service.shipped import STATE

APPLIANCE = CONFIGURATION + "appliance.toml"
TRUST_ROOT = CONFIGURATION + "trust/root.json"
_RUNTIME = Path("/run/ncm-edge")


class RestoreError(Exception):
    """Nothing was restored, or it was cut short; the message says why and what to do."""


class RunningError(RestoreError):
    """The daemon runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """Where it goes."""

    config: Path
    state: Path
    history: Path
    runtime: Path
    owner: Owner


def restore(
    file: Path, config: Path, *, state: Path | None, without: frozenset[str], dry_run: bool,
    wall_s: float,
) -> tuple[Manifest, list[str]]:  # fmt: skip
    """Restore `file`; returns its manifest and what was done (with `dry_run`: would be), in words.

    Args:
        config: the configuration directory.
        state: instead of the state_dir of the restored configuration.
        without: of "configuration", "history", "slots": what stays as it is.
        wall_s: now, for the audit.

    Raises RestoreError, ArchiveError, Refusal.
    """
    try:
        with file.open("rb") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise archive.ArchiveError("is no plain file")
            manifest, kept = archive.check(stream, frozenset({APPLIANCE, TRUST_ROOT}))
            names = {name for name in manifest.files if not _unwanted(name, without)}
            target = _target(config, state, kept if APPLIANCE in names else {}, dry_run=dry_run)
            pinned = _pinned(config, kept.get(TRUST_ROOT), taken=TRUST_ROOT in names)
            with contextlib.ExitStack() as held:
                held.enter_context(_stopped(target))
                if not dry_run:
                    _room(target, manifest, names)
                return manifest, _restore(stream, manifest, names, target, pinned, held,
                                          dry_run=dry_run, wall_s=wall_s)  # fmt: skip
    except OSError as error:
        where = error.filename2 or error.filename or file
        raise RestoreError(f"{where}: {error.strerror or error}") from error


def _unwanted(name: str, without: frozenset[str]) -> bool:
    return (
        name.split("/")[0] in without
        or ("slots" in without and "/slots/" in name)
    )  # fmt: skip


def _target(
    config: Path, state: Path | None, kept: dict[str, bytes], *, dry_run: bool
) -> _Target:
    text = kept.get(APPLIANCE)
    try:
        values = tomllib.loads((text or (config / "appliance.toml").read_bytes()).decode())
        settings = values.get("history", {})
        home = state or Path(values.get("state_dir", STATE))
        history = Path(settings.get("directory", home / "history"))
        runtime = Path(values.get("runtime_dir", _RUNTIME))
    except (ValueError, TypeError, AttributeError) as error:
        raise RestoreError(f"appliance.toml cannot be read: {error}") from None
    if state is not None:
        history, runtime = state / "history", state
    # A trial may be made by anybody and before there is an account.
    owner = SELF if dry_run else owner_of(home)
    return _Target(config=config, state=home, history=history, runtime=runtime, owner=owner)


def _pinned(config: Path, archived: bytes | None, *, taken: bool) -> bytes | None:
    """The root of trust that counts afterwards; `taken`: the backup's comes with it."""
    try:
        present = (config / "trust" / "root.json").read_bytes()
    except FileNotFoundError:
        return archived if taken else None
    if archived is not None and archived != present:
        raise Refusal(
            f"the backup has another root of trust than {config / 'trust' / 'root.json'}; if the "
            "backup's is the right one, remove that file first"
        )
    return present


@contextlib.contextmanager
def _stopped(target: _Target) -> Iterator[None]:
    """Make sure that no daemon runs on this state, and that none begins meanwhile."""
    remedy = "systemctl stop ncm-edge, and start it again afterwards"
    try:
        pid = int(status.read(target.runtime)["pid"])
        if "edge" in Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace"):
            raise RunningError(f"the daemon runs (process {pid}): {remedy}")
    except (OSError, ValueError, KeyError, TypeError):
        pass
    held = []
    try:
        with target.owner.acting():
            for ring in sorted(target.state.glob(f"*/{RING}")):
                fd = os.open(ring, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
                held.append(fd)
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise RunningError(f"the daemon runs (it holds {ring}): {remedy}") from None
        yield
    finally:
        for fd in held:
            os.close(fd)


def _room(target: _Target, manifest: Manifest, names: set[str]) -> None:
    """Raise RestoreError if the disk of the state cannot take it."""
    needed = sum(entry.size for name, entry in manifest.files.items() if name in names)
    folder = next(path for path in (target.state, *target.state.parents) if path.is_dir())
    space = os.statvfs(folder)
    free = space.f_bavail * space.f_frsize
    if free < needed + (16 << 20):
        raise RestoreError(
            f"{folder}: {free / 1e6:.0f} MB are free, {needed / 1e6:.0f} MB and some are needed"
        )


def _restore(
    stream: BinaryIO, manifest: Manifest, names: set[str], target: _Target, pinned: bytes | None,
    held: contextlib.ExitStack, *, dry_run: bool, wall_s: float,
) -> list[str]:  # fmt: skip
    owner = target.owner
    if dry_run:
        scratch = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="ncm-restore-")))
        update, history, config = scratch / "state", None, None
        update.mkdir()
    else:
        owner.make(target.state)
        update = target.state / "restore.incoming"
        history = update / FILE_NAME
        config = target.config.with_name(f".{target.config.name}.restore")
        shutil.rmtree(config, ignore_errors=True)
        with owner.acting():
            shutil.rmtree(update, ignore_errors=True)
            update.mkdir(mode=0o700)
        held.callback(_clear, owner, update)
    _unpack(stream, manifest, names, owner, update, history, config)
    with owner.acting():
        told = put_updates(
            update, target.state, pinned, sha256=_of(stream), dry_run=dry_run, wall_s=wall_s,
        )  # fmt: skip
        if archive.HISTORY in names:
            if history is None:
                told.append(f"history: into {target.history}")
            else:
                told += put_history(update, target.history)
    if any(name.startswith(CONFIGURATION) for name in names):
        told.append(put_configuration(config, target.config))
    return told


def _clear(owner: Owner, folder: Path) -> None:
    with owner.acting():
        shutil.rmtree(folder, ignore_errors=True)


def _unpack(
    stream: BinaryIO, manifest: Manifest, names: set[str], owner: Owner, update: Path,
    history: Path | None, config: Path | None,
) -> None:  # fmt: skip
    """Write the files where they wait; every byte is checked once more."""
    stream.seek(0)
    for name, _, content in archive.read(stream):
        entry = manifest.files.get(name)
        place, private = None, False
        if name not in names or entry is None:
            pass
        elif name.startswith(CONFIGURATION):
            place = config and config / name.removeprefix(CONFIGURATION)
            private = entry.private
        elif name.startswith("history/"):
            place = history and history.with_name(name.removeprefix("history/"))
        else:
            place = update / name
        sha256 = hashlib.sha256()
        if place is None:
            for _chunk in content:
                pass
            continue
        ours = name.startswith(CONFIGURATION)
        with contextlib.nullcontext() if ours else owner.acting():
            # A key is for root and the service, like every file that was not for everybody.
            mode = (0o640 if private else 0o644) if ours else 0o640
            for folder in reversed(place.parents):
                if not folder.exists():
                    folder.mkdir(mode=0o755 if ours else 0o750)
                    folder.chmod(0o755 if ours else 0o750)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(place, flags, 0o600), "wb") as out:
                for chunk in content:
                    sha256.update(chunk)
                    out.write(chunk)
                out.flush()
                if private and os.geteuid() == 0:
                    os.fchown(out.fileno(), -1, owner.gid)
                os.fchmod(out.fileno(), mode)
                os.fsync(out.fileno())
        if sha256.hexdigest() != manifest.files[name].sha256:
            raise archive.ArchiveError(f"{name} changed while it was read")


def _of(stream: BinaryIO) -> str:
    stream.seek(0)
    sha256 = hashlib.sha256()
    while chunk := stream.read(archive.CHUNK):
        sha256.update(chunk)
    return sha256.hexdigest()
