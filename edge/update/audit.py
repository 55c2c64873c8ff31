"""The audit: what was inserted, judged, installed, rolled back, and when, in a chain of hashes.

One JSON object a line; each carries the SHA-256 of the line before, a number, the wall clock (worth
what it is worth), the boot and the time since it. `head.json` holds number and hash of the newest
line, so that a cut-off end is noticed too. Two files of bounded size: the older one is dropped.

Whoever may write the folder may also write a new chain: the audit finds tampering by parts, and is
to be copied elsewhere by who needs more. A disk that refuses writing never stops an update.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from edge.update.disk import Disk
from edge.update.trust import canonical, digest

LOG, OLD, HEAD, LOCK = "log.jsonl", "log.1.jsonl", "head.json", "lock"
MAX_BYTES = 512 << 10
"""Per file; about 1,000 updates."""
_PROC = Path("/proc")


class Audit:
    """Writer side. `fault` says why the last line could not be written; "" if it could."""

    def __init__(
        self,
        folder: Path,
        wall_s: Callable[[], float],
        disk: Disk | None = None,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self.folder, self.fault = folder, ""
        self._wall_s, self._disk, self._max = wall_s, disk or Disk(), max_bytes

    def append(self, event: str, verdict: str, **facts: Any) -> str:
        """Add a line and flush it; returns `fault`. Never raises."""
        try:
            self._disk.mkdir(self.folder)
            # The daemon's daily check and an importer may want to write at the same time.
            with (self.folder / LOCK).open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                self._append({"event": event, "verdict": verdict, **facts})
            self.fault = ""
        except (OSError, ValueError, KeyError, TypeError) as error:
            self.fault = f"{self.folder}: the audit cannot be written: {error}"
        return self.fault

    def _append(self, facts: dict[str, Any]) -> None:
        log = self.folder / LOG
        lines = [line for path in (self.folder / OLD, log) for line in _lines(path)]
        last = lines[-1] if lines else b""
        number = int(json.loads(last)["n"]) if last else 0
        head = _head(self.folder)
        if head is None and last:
            facts = {**facts, "head": "was lost"}
        elif head is None:
            # Before the first line, so that lines without a head are always a loss.
            self._disk.replace(self.folder / HEAD, canonical({"n": 0, "sha256": ""}))
        if head is not None and head[0] > number:
            # The end is gone. The chain goes on from what was, so that the gap stays visible.
            number, facts = head[0], {**facts, "after_loss_of": head[0] - number}
        line = canonical({
            "n": number + 1,
            "prev": digest(last) if last else "",
            "wall_s": round(self._wall_s()),
            "boot": _first_word(_PROC / "sys/kernel/random/boot_id"),
            "uptime": _first_word(_PROC / "uptime"),
            **facts,
        })  # fmt: skip
        kept = b"".join(line + b"\n" for line in _lines(log))
        if len(kept) + len(line) > self._max:
            self._disk.rename(log, self.folder / OLD)
            kept = b""
        # Rewritten as a whole: a torn line can then not be, and the file is small.
        self._disk.replace(log, kept + line + b"\n")
        self._disk.replace(self.folder / HEAD, canonical({"n": number + 1, "sha256": digest(line)}))


def verify(folder: Path) -> tuple[int, list[str]]:
    """(number of lines, everything that is wrong with the chain). Raises OSError."""
    faults: list[str] = []
    before, number, count = b"", 0, 0
    hashes = {0: ""}
    for path in (folder / OLD, folder / LOG):
        for place, line in enumerate(_lines(path), 1):
            where = f"{path}:{place}"
            count += 1
            try:
                document = json.loads(line)
                n, previous = int(document["n"]), document["prev"]
            except (ValueError, KeyError, TypeError):
                faults.append(f"{where}: is no line of an audit")
                continue
            if before and n != number + 1:
                faults.append(f"{where}: number {n} follows {number}; lines are missing")
            if previous != (digest(before) if before else "") and (before or n == 1):
                faults.append(f"{where}: the line before it was changed")
            before, number = line, n
            hashes[n] = digest(line)
    head = _head(folder)
    if head is None:
        if count:
            faults.append(f"{folder / HEAD}: is missing or damaged")
    elif hashes.get(head[0]) != head[1]:
        changed = head[0] in hashes
        faults.append(
            f"{folder / LOG}: line {head[0]} was changed" if changed
            else f"{folder / LOG}: ends at number {number}, written were {head[0]}"
        )  # fmt: skip
    elif number > head[0] + 1:
        faults.append(f"{folder / HEAD}: knows {head[0]} lines, there are {number}")
    return count, faults


def lines(folder: Path) -> Iterator[dict[str, Any]]:
    """The lines that are kept, oldest first; what is no line of an audit is passed over."""
    for path in (folder / OLD, folder / LOG):
        for line in _lines(path):
            try:
                document = json.loads(line)
                int(document["n"]), document["event"], document["verdict"]
            except (ValueError, KeyError, TypeError, RecursionError):
                continue
            yield document


def news(folder: Path, heard: int | None) -> tuple[list[dict[str, Any]], int]:
    """(lines after number `heard`, number of the newest); cheap while there are none.

    None: no lines, only the number. A folder that cannot be read, or has lost its head, raises
    OSError, ValueError, KeyError or TypeError: that nothing is new is then not known.
    """
    try:
        newest = int(json.loads((folder / HEAD).read_bytes())["n"])
    except FileNotFoundError:
        if (folder / LOG).exists():
            raise
        newest = 0
    if heard is None or newest <= heard:
        return [], newest
    return [line for line in lines(folder) if heard < int(line["n"]) <= newest], newest


def _lines(path: Path) -> list[bytes]:
    try:
        return [line for line in path.read_bytes().split(b"\n") if line]
    except FileNotFoundError:
        return []


def _head(folder: Path) -> tuple[int, str] | None:
    try:
        document = json.loads((folder / HEAD).read_bytes())
        return int(document["n"]), str(document["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _first_word(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").split()[0]
    except (OSError, ValueError, IndexError):
        return ""
