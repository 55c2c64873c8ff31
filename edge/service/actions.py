"""The few things an installation does to a machine, as values that can be shown or performed.

Every file is written whole under another name, flushed and renamed: a machine that loses power has
the old file or the new one, and running the installation again completes it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

State = Literal["new", "same", "changed", "altered"]
ALTERED = ".altered"
"""Ending under which a file that was changed on this machine is kept."""


class FailedError(Exception):
    """An action could not be completed; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Write:
    """A file with this content."""

    path: PurePosixPath
    data: bytes
    state: State
    mode: int = 0o644
    group: str | None = None
    """Group it belongs to, a name of the machine it is written on; None: root's."""

    def __str__(self) -> str:
        text = {
            "new": "write    ", "same": "as it is ", "changed": "replace  ", "altered": "replace  ",
        }[self.state] + str(self.path)  # fmt: skip
        if self.state == "altered":
            text += f"  (altered on this machine: kept as {self.path.name}{ALTERED})"
        return text


@dataclass(frozen=True, slots=True)
class Remove:
    """No such file any more; `altered`: what is there is kept under another name."""

    path: PurePosixPath
    altered: bool = False

    def __str__(self) -> str:
        kept = f"  (altered on this machine: kept as {self.path.name}{ALTERED})"
        return f"remove   {self.path}{kept if self.altered else ''}"


@dataclass(frozen=True, slots=True)
class RemoveFolder:
    """A folder goes if nothing else is in it."""

    path: PurePosixPath

    def __str__(self) -> str:
        return f"remove   {self.path}/ if empty"


@dataclass(frozen=True, slots=True)
class Run:
    """A command of the system; `optional`: its failure is told and nothing more."""

    argv: tuple[str, ...]
    optional: bool = False

    def __str__(self) -> str:
        return f"run      {shlex.join(self.argv)}"


@dataclass(frozen=True, slots=True)
class Note:
    """Something to know; nothing is done."""

    text: str

    def __str__(self) -> str:
        return self.text


Action = Write | Remove | RemoveFolder | Run | Note


def sha256(data: bytes) -> str:
    """Hexadecimal digest."""
    return hashlib.sha256(data).hexdigest()


def below(root: Path, place: PurePosixPath) -> Path:
    """`place` inside `root`. Raises FailedError where a link leads out of it, or for a link."""
    path = root / place.relative_to("/")
    if not path.parent.resolve().is_relative_to(root.resolve()):
        raise FailedError(f"{path.parent} leads out of {root}; replace the link by a folder")
    if path.is_symlink():
        target = str(path.readlink())
        raise FailedError(
            f"{path} is masked; systemctl unmask {path.name}" if target == "/dev/null"
            else f"{path} is a link to {target}; remove it"
        )  # fmt: skip
    return path


def perform(action: Action, root: Path) -> str:
    """Do it; returns what is to be told besides, or "". Raises FailedError."""
    try:
        match action:
            case Write():
                _write(action, root)
            case Remove(path=place, altered=altered):
                path = below(root, place)
                if altered:
                    _aside(path)
                else:
                    path.unlink(missing_ok=True)
            case RemoveFolder(path=place):
                with contextlib.suppress(OSError):
                    below(root, place).rmdir()
            case Run():
                return _run(action)
            case Note():
                pass
    except OSError as error:
        where = error.filename2 or error.filename or ""
        raise FailedError(f"{action}: {where}: {error.strerror or error}") from None
    return ""


def _write(action: Write, root: Path) -> None:
    path = below(root, action.path)
    if action.state == "same":
        if path.stat().st_mode & 0o7777 != action.mode:
            path.chmod(action.mode)
        return
    _folders(path.parent)
    if action.state == "altered":
        _aside(path)
    replace(path, action.data, action.mode, gid(action.group, root) if action.group else None)


def _aside(path: Path) -> None:
    """Keep what was altered; one that was kept before stays too."""
    kept, number = path.with_name(path.name + ALTERED), 1
    while kept.exists():
        number += 1
        kept = path.with_name(f"{path.name}{ALTERED}-{number}")
    path.rename(kept)


def gid(group: str, root: Path) -> int:
    """Number of a group of the machine whose file system is `root`. Raises FailedError."""
    with (root / "etc/group").open(encoding="utf-8") as lines:
        for line in lines:
            name, _, rest = line.partition(":")
            if name == group:
                return int(rest.split(":")[1])
    raise FailedError(f"{root / 'etc/group'}: no group {group}; systemd-sysusers should make it")


def replace(path: Path, data: bytes, mode: int, group: int | None = None) -> None:
    """The whole new content of a file, or the whole old one. Raises OSError."""
    partial = path.with_name(f".{path.name}.new")
    partial.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(partial, flags, 0o600), "wb") as stream:
        stream.write(data)
        stream.flush()
        if group is not None:
            os.fchown(stream.fileno(), -1, group)
        os.fchmod(stream.fileno(), mode)
        os.fsync(stream.fileno())
    partial.replace(path)
    flush(path.parent)


def flush(folder: Path) -> None:
    """Make the names in a folder safe. Raises OSError."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _folders(path: Path) -> None:
    if not path.is_dir():
        _folders(path.parent)
        path.mkdir()
        path.chmod(0o755)  # whatever the umask of who installs: the service must get through


def _run(action: Run) -> str:
    try:
        done = subprocess.run(action.argv, capture_output=True, text=True, check=False, timeout=120)
    except (OSError, subprocess.TimeoutExpired) as error:
        text = str(error)
    else:
        if done.returncode == 0:
            return ""
        text = (done.stderr or done.stdout).strip() or f"exit code {done.returncode}"
    if action.optional:
        return f"{shlex.join(action.argv)}: {text}; not needed for the rest"
    raise FailedError(f"{shlex.join(action.argv)}: {text}")
