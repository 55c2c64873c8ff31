"""Every system call with which the installer changes the disk, in the order that survives a cut.

What is renamed has been flushed before, and the folder it is renamed in is flushed afterwards:
without that, a power cut on XFS leaves files of zero bytes under their final names. Each call is
announced to `watch` first, which is where the tests pull the plug.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from edge.update.refusals import Code, Refused

Watch = Callable[[str, Path, Path | None], None]
"""(operation, path, second path of a rename), called before it happens."""
CHUNK = 1 << 18
_ERRORS = {
    errno.ENOSPC: Code.DISK_FULL,
    errno.EDQUOT: Code.DISK_FULL,
    errno.EFBIG: Code.DISK_FULL,
    errno.EROFS: Code.READ_ONLY,
    errno.EACCES: Code.READ_ONLY,
    errno.EPERM: Code.READ_ONLY,
}


@contextlib.contextmanager
def refusing() -> Iterator[None]:
    """An OSError of the state directory becomes the refusal that names it."""
    try:
        yield
    except OSError as error:
        code = _ERRORS.get(error.errno or 0, Code.STORAGE)
        where = error.filename2 or error.filename
        text = error.strerror or str(error)
        raise Refused(code, f"{where}: {text}" if where else text) from error


def _nobody(operation: str, path: Path, target: Path | None) -> None:
    """Nobody watches."""


class Disk:
    """Changes of the state directory; raises OSError."""

    def __init__(self, watch: Watch = _nobody) -> None:
        self._watch = watch

    def mkdir(self, path: Path) -> None:
        """Make a folder (and its parents) that survives a cut; one that is there is fine."""
        if path.is_dir():
            return
        self.mkdir(path.parent)
        self._watch("mkdir", path, None)
        path.mkdir(mode=0o750, exist_ok=True)
        self.flush(path.parent)

    def write(self, path: Path, chunks: Iterator[bytes]) -> None:
        """Write a new file and flush it; its name is only safe once the folder is flushed."""
        self._watch("create", path, None)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(path, flags, 0o640), "wb", buffering=0) as stream:
            for chunk in chunks:
                self._watch("write", path, None)
                view = memoryview(chunk)
                while view:
                    view = view[stream.write(view) :]
            self._watch("fsync", path, None)
            os.fsync(stream.fileno())

    def replace(self, path: Path, data: bytes) -> None:
        """The whole new content of a file, or the whole old one."""
        partial = path.with_name(path.name + ".new")
        self.write(partial, iter((data,)))
        self.rename(partial, path)

    def rename(self, source: Path, target: Path) -> None:
        """Rename inside one folder, and flush the folder."""
        self._watch("rename", source, target)
        source.rename(target)
        self.flush(target.parent)

    def flush(self, folder: Path) -> None:
        """Make the names in a folder safe."""
        self._watch("fsync", folder, None)
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def remove(self, path: Path) -> None:
        """Remove a file or a folder with all that is in it; what is not there is fine."""
        if path.is_dir() and not path.is_symlink():
            for child in sorted(path.iterdir()):
                self.remove(child)
            self._watch("rmdir", path, None)
            path.rmdir()
        elif path.exists() or path.is_symlink():
            self._watch("unlink", path, None)
            path.unlink()


class Stick:
    """The update file, opened once and read once: a device may answer differently the second time.

    Raises Refused; the file is never written, no link is followed, a pipe is not waited for.
    `ended`: asked before every read whether the reader was told to end.
    """

    def __init__(self, path: Path, ended: Callable[[], bool] = lambda: False) -> None:
        self.path, self._ended = path, ended
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            # Looked at before it is opened: opening a device node can already do something.
            plain = stat.S_ISREG(path.lstat().st_mode)
            self._fd = os.open(path, flags) if plain else -1
            self.size = os.fstat(self._fd).st_size if plain else 0
            plain = plain and stat.S_ISREG(os.fstat(self._fd).st_mode)
        except FileNotFoundError:
            raise Refused(Code.NO_BUNDLE, str(path)) from None
        except OSError as error:
            code = Code.NOT_A_FILE if error.errno == errno.ELOOP else Code.UNREADABLE
            raise Refused(code, f"{path}: {error.strerror}") from None
        if not plain:
            self.close()
            raise Refused(Code.NOT_A_FILE, str(path))

    def read(self, count: int) -> bytes:
        """Exactly `count` bytes unless the file ends."""
        parts = []
        while count:
            if self._ended():
                raise Refused(Code.UNREADABLE, f"{self.path}: told to end while it was read")
            try:
                part = os.read(self._fd, count)
            except OSError as error:
                raise Refused(Code.UNREADABLE, f"{self.path}: {error.strerror}") from None
            if not part:
                break
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def chunks(self, count: int) -> Iterator[bytes]:
        """The next `count` bytes in pieces. Raises Refused where the file ends early."""
        while count:
            part = self.read(min(count, CHUNK))
            if not part:
                raise Refused(Code.TRUNCATED, f"{self.path}: {count} bytes are missing")
            count -= len(part)
            yield part

    def close(self) -> None:
        """Let go of the stick."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Stick:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


SUFFIX = ".ncm"


def find(path: Path) -> Path:
    """The update meant by `path`: a file, or a stick with exactly one. Raises Refused.

    What macOS and Windows leave behind on a stick (`._name`, hidden files) does not count.
    """
    if path.is_symlink() or not path.is_dir():
        return path
    try:
        found = sorted(
            entry for entry in path.iterdir()
            if entry.suffix.lower() == SUFFIX and not entry.name.startswith(".")
        )  # fmt: skip
    except OSError as error:
        raise Refused(Code.UNREADABLE, f"{path}: {error.strerror}") from None
    if len(found) > 1:
        raise Refused(Code.TWO_BUNDLES, ", ".join(entry.name for entry in found[:5]))
    if not found:
        raise Refused(Code.NO_BUNDLE, str(path))
    return found[0]
