"""A machine of its own with a real systemd: nspawn on an overlay of this machine's root.

Nothing is downloaded and nothing of this machine is changed: what the guest writes goes into a
tmpfs that is gone with it. Python and the libraries are those that run the tests, bound read-only
to a place that `ProtectHome=` does not hide. It has a loopback and no other network.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
BOOT_S = 60.0
PATIENCE_S = 60.0
TOOLS = ("systemd-nspawn", "nsenter", "mount", "umount", "setpriv")
WRAPPER = """\
#!/bin/sh
export LD_LIBRARY_PATH=/opt/python/lib PYTHONPATH=/opt/ncm-edge/app:/opt/ncm-edge/packages
export PYTHONDONTWRITEBYTECODE=1
exec /opt/python/bin/{python} -m edge "$@"
"""
"""In the place of the virtual environment's command; the process is the interpreter itself."""


class Unavailable(Exception):  # noqa: N818 - the reason of a skip
    """This machine cannot; the text says why."""


def requirements() -> None:
    """Raise Unavailable unless a machine can be tried here."""
    if os.geteuid():
        raise Unavailable("needs root")
    for tool in TOOLS:
        if shutil.which(tool) is None:
            raise Unavailable(f"{tool} is not installed")
    if not Path("/usr/lib/systemd/systemd").exists():
        raise Unavailable("systemd is not installed")
    if "overlay" not in Path("/proc/filesystems").read_text(encoding="ascii"):
        raise Unavailable("the kernel has no overlay file system")


def run(*words: str | Path) -> None:
    """A tool of the host. Raises Unavailable with what it said."""
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"{words[0]}: {done.stderr.strip()[-300:]}")


@contextlib.contextmanager
def overlay(folder: Path) -> Iterator[Path]:
    """This machine's root, writable without changing it."""
    folder.mkdir(parents=True)
    run("mount", "-t", "tmpfs", "-o", "size=1g,mode=755", "ncm-edge-test", folder)
    try:
        for name in ("upper", "work", "root"):
            (folder / name).mkdir()
        root = folder / "root"
        places = f"lowerdir=/,upperdir={folder / 'upper'},workdir={folder / 'work'}"
        run("mount", "-t", "overlay", "-o", places, "ncm-edge-test", root)
        try:
            yield root
        finally:
            run("umount", "--lazy", root)
    finally:
        run("umount", "--lazy", folder)


class Machine:
    """A booted guest."""

    def __init__(self, root: Path, leader: int) -> None:
        self.root, self.leader = root, leader

    def __call__(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in the guest as root."""
        done = subprocess.run(
            ["nsenter", "--target", str(self.leader), "--all", *words],
            capture_output=True, text=True, check=False, timeout=180,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done

    def show(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self("systemctl", "show", "--value", "--property", name, unit).stdout.strip()

    def until(self, unit: str, name: str, good: Callable[[str], bool]) -> str:
        """Wait for a property; fails with the journal of the unit."""
        end_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < end_s:
            value = self.show(unit, name)
            if good(value):
                return value
        raise AssertionError(f"{unit}: {name} stays {value}\n{self.journal(unit)}")

    def journal(self, unit: str) -> str:
        """What a unit has said."""
        return self("journalctl", "--no-pager", "-o", "cat", "-u", unit).stdout

    def drop_in(self, unit: str, text: str) -> None:
        """What `systemctl edit` does; an empty text takes it away."""
        folder = self.root / "etc" / "systemd" / "system" / f"{unit}.d"
        folder.mkdir(exist_ok=True)
        (folder / "test.conf").write_text(text, encoding="utf-8")
        self("systemctl", "daemon-reload")

    def account(self, name: str) -> int:
        """The number of an account of the guest."""
        return int(self("id", "-u", name).stdout)


def furnish(root: Path) -> None:
    """The product as `ncm-edge install` puts it there, and a command in the place of its venv."""
    home = root / "opt" / "ncm-edge"
    for name in ("bin", "app", "packages"):
        (home / name).mkdir(parents=True)
    (root / "opt" / "python").mkdir()
    command = home / "bin" / "ncm-edge"
    python = Path(sys.executable).resolve().name
    command.write_text(WRAPPER.format(python=python), encoding="utf-8")
    command.chmod(0o755)
    words = [sys.executable, "-m", "edge", "install", "--root", str(root)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@contextlib.contextmanager
def booted(folder: Path, prepare: Callable[[Path], None]) -> Iterator[Machine]:
    """A running guest; `prepare(root)` puts more into it before. Raises Unavailable."""
    requirements()
    with overlay(folder) as root:
        furnish(root)
        prepare(root)
        binds = {
            ROOT: "/opt/ncm-edge/app",
            Path(sysconfig.get_path("purelib")): "/opt/ncm-edge/packages",
            Path(sys.base_prefix): "/opt/python",
        }
        log = folder / "console.log"
        with log.open("wb") as console:
            nspawn = subprocess.Popen(
                ["systemd-nspawn", "--quiet", "--directory", str(root), "--boot",
                 "--register=no", "--keep-unit", "--private-network", "--link-journal=no",
                 f"--machine=ncm-edge-{os.getpid()}",
                 *(f"--bind-ro={here}:{there}" for here, there in binds.items()),
                 "systemd.unit=basic.target"],
                stdin=subprocess.DEVNULL, stdout=console, stderr=console,
            )  # fmt: skip
        leader = 0
        try:
            leader = _leader(nspawn)
            machine = Machine(root, leader)
            _wait(machine)
            yield machine
        except Unavailable as reason:
            said = log.read_text(encoding="utf-8", errors="replace")[-500:]
            raise Unavailable(f"{reason}; the console: {said}") from None
        finally:
            # The first process of the guest takes all the others with it.
            with contextlib.suppress(ProcessLookupError):
                os.kill(leader or nspawn.pid, signal.SIGKILL)
            nspawn.wait(PATIENCE_S)


def _leader(nspawn: subprocess.Popen[bytes]) -> int:
    """The process that is number 1 in the guest: the child of the nspawn we started."""
    children = Path(f"/proc/{nspawn.pid}/task/{nspawn.pid}/children")
    end_s = time.monotonic() + BOOT_S
    while time.monotonic() < end_s and nspawn.poll() is None:
        try:
            found = children.read_text(encoding="ascii").split()
            if found and Path(f"/proc/{found[0]}/comm").read_text("ascii").strip() == "systemd":
                return int(found[0])
        except OSError:
            continue
    raise Unavailable(f"systemd-nspawn ended with {nspawn.poll()}")


def _wait(machine: Machine) -> None:
    end_s = time.monotonic() + BOOT_S
    while time.monotonic() < end_s:
        state = machine("systemctl", "is-system-running", "--wait", check=False).stdout.strip()
        if state in ("running", "degraded"):
            return
    raise Unavailable(f"the guest did not boot within {BOOT_S:g} s: {state}")
