"""Room kept on the disk for the moment when there is none: a file that is given up then.

SQLite cannot drop a row on a full disk, because it writes its log first. With the reserve gone it
can, and once enough rows are dropped the reserve is laid in again.
"""

from __future__ import annotations

import os
from pathlib import Path

FILE_NAME = "history.reserve"
BYTES = 2_000_000
"""Twice what the log of a change may take."""


class Reserve:
    """The file in `directory`."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE_NAME

    def give_up(self) -> None:
        """Free its room. Raises OSError."""
        self._path.unlink(missing_ok=True)

    def keep(self) -> bool:
        """Whether it is on the disk, after laying it in if need be."""
        if self._path.exists():
            return True
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
            try:
                # Allocated, not only declared: a sparse file would keep no room.
                os.posix_fallocate(fd, 0, BYTES)
            finally:
                os.close(fd)
        except OSError:
            self._path.unlink(missing_ok=True)
            return False
        return True
