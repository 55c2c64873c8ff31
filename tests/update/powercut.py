"""What a disk may hold after the power was cut: a model of a file system that keeps its word and no
more.

A file keeps what it held at its last fsync; what came later is gone (XFS leaves zero bytes). A name
made, moved or removed is kept once its folder was flushed; of later changes of names any number
from the first on may have reached the disk. `PowerCut` listens to the installer, stops it before a
given step, and can then lay out every such disk.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


class Cut(BaseException):
    """The power is gone; nothing may catch it."""


@dataclass
class Node:
    """A file (its bytes at the last fsync) or a folder (None)."""

    kept: bytes | None


Names = dict[Path, Node]
Change = tuple[str, Path, Path | None, Node | None]


class PowerCut:
    """A `Watch` that cuts before step `at`; `at` < 0 never cuts, and only counts."""

    def __init__(self, root: Path, at: int) -> None:
        self.root, self.at, self.steps = root, at, 0
        self._now: Names = {
            path: Node(None if path.is_dir() else path.read_bytes()) for path in root.rglob("*")
        }
        self._safe: Names = dict(self._now)
        self._pending: list[Change] = []
        self._announced: tuple[str, Path, Path | None] | None = None

    def __call__(self, operation: str, path: Path, target: Path | None) -> None:
        if self._announced is not None:
            self._done(*self._announced)
        if self.steps == self.at:
            self._announced = None
            raise Cut
        self.steps += 1
        self._announced = (operation, path, target)

    def disks(self) -> list[Names]:
        """Every disk the cut may leave: the flushed names, and each number of later changes."""
        found = []
        for count in range(len(self._pending) + 1):
            names = dict(self._safe)
            for change in self._pending[:count]:
                _apply(names, change)
            found.append(names)
        return found

    def lay_out(self, names: Names, folder: Path) -> None:
        """Write one of `disks` to a folder."""
        folder.mkdir(parents=True)
        for path, node in sorted(names.items()):
            place = folder / path.relative_to(self.root)
            if not place.parent.is_dir():
                continue  # its folder never reached the disk
            if node.kept is None:
                place.mkdir()
            else:
                place.write_bytes(node.kept)

    def _done(self, operation: str, path: Path, target: Path | None) -> None:
        if not path.is_relative_to(self.root):
            return
        if operation == "fsync":
            if path.is_dir():
                self._flushed(path)
            else:
                self._now[path].kept = path.read_bytes()
        elif operation == "create" and path in self._now:
            self._now[path].kept = b""  # truncated, and that may be on the disk already
        elif operation != "write":
            node = {"create": Node(b""), "mkdir": Node(None)}.get(operation)
            change = (operation, path, target, node)
            _apply(self._now, change)
            self._pending.append(change)

    def _flushed(self, folder: Path) -> None:
        later = []
        for change in self._pending:
            _, path, target, _ = change
            if folder in (path.parent, target.parent if target else None):
                _apply(self._safe, change)
            else:
                later.append(change)
        self._pending = later


def _apply(names: Names, change: Change) -> None:
    operation, path, target, node = change
    if node is not None:
        names[path] = node
    elif operation == "rename":
        assert target is not None
        moved = {old: names.pop(old) for old in list(names) if old == path or path in old.parents}
        for old, held in moved.items():
            names[target / old.relative_to(path)] = held
    else:
        names.pop(path, None)
