"""The importer killed for real: SIGKILL at a system call, not at a step that it announces itself.

strace counts the calls of the installer that change the disk and kills before the n-th of them.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.update.site import Appliance, Supplier
from tests.update.story import finished

CALLS = ("openat", "write", "fsync", "rename", "mkdir", "unlink", "rmdir", "close")
SAMPLE = int(os.environ.get("NCM_EDGE_KILLS", "4"))
"""Places for each kind of call; a large number means all of them."""
STRACE = shutil.which("strace")


class Kills:
    """An appliance with releases 4 and 5, and release 6 with new keys in front of it."""

    def __init__(self, supplier: Supplier, folder: Path) -> None:
        self.folder, self.pinned = folder, supplier.folder / "root.json"
        self.stick, self.base = folder / "x.ncm", folder / "base"
        for seq in (4, 5):
            self.stick.write_bytes(supplier.release(seq))
            self.on(self.base).apply(self.stick)
        supplier.revoke("release-2")
        self.stick.write_bytes(supplier.release(6))
        self.state = folder / "state"

    def on(self, state: Path) -> Appliance:
        return Appliance(state=state, pinned=self.pinned)

    def traced(self, *options: str) -> tuple[int, str]:
        """(how a child that updates a fresh copy ended, what strace wrote)."""
        shutil.rmtree(self.state, ignore_errors=True)
        shutil.copytree(self.base, self.state)
        appliance = self.on(self.state)
        child = os.fork()
        if child == 0:
            try:
                os.kill(os.getpid(), signal.SIGSTOP)
                appliance.installer.apply(self.stick)
            finally:
                os._exit(0)
        os.waitpid(child, os.WUNTRACED)
        log = self.folder / "strace.log"
        tracer = subprocess.Popen(
            [str(STRACE), "-qq", "-o", str(log), *options, "-p", str(child)],
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        while f"TracerPid:\t{tracer.pid}\n" not in _status(child):
            if tracer.poll() is not None:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                assert tracer.stderr is not None
                pytest.skip(f"strace may not trace here: {tracer.stderr.read().strip()}")
        os.kill(child, signal.SIGCONT)
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        tracer.communicate()
        return ended, log.read_text(encoding="utf-8", errors="replace")


def _status(pid: int) -> str:
    return Path(f"/proc/{pid}/status").read_text(encoding="utf-8")


@pytest.mark.skipif(STRACE is None, reason="strace is not installed")
def test_killed_at_system_calls(
    supplier: Supplier, memory: Path, record_property: Callable[[str, object], None]
) -> None:
    kills = Kills(supplier, memory)
    ended, log = kills.traced("-e", "trace=" + ",".join(CALLS))
    assert ended == 0
    counts = {call: len(re.findall(rf"^{call}\(", log, re.MULTILINE)) for call in CALLS}
    assert counts["fsync"] >= 20
    assert counts["rename"] >= 5
    ends = []
    for call, count in counts.items():
        places = {round(1 + n * (count - 1) / max(1, SAMPLE - 1)) for n in range(SAMPLE)}
        for place in sorted(places if count > SAMPLE else range(1, count + 1)):
            ended, _ = kills.traced(
                "-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={place}"
            )
            assert ended == -signal.SIGKILL, f"{call} {place} of {count}"
            ends.append(finished(kills.on(kills.state), kills.stick, 5))
    assert set(ends) == {"old", "new"}
    record_property("kills", len(ends))
