"""The daemon as a process of its own: service manager, signals, kill -9, a second one beside it."""

from __future__ import annotations

import configparser
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from edge.config.load import load
from edge.core.tags import Quality, Reason
from edge.runtime.ringfile import RingFile, open_ring

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0
STOP_S = 5.0
WATCHDOG_S = 30.0
"""As in the unit; `test_the_limits_are_the_units` holds them together."""

pytestmark = pytest.mark.system


class Manager:
    """The service manager's side of NOTIFY_SOCKET."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "notify"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(self.path))

    def wait(self, prefix: str, timeout_s: float = PATIENCE_S) -> str | None:
        """The next message that begins with `prefix`; None when none came in time."""
        while select.select([self.socket], [], [], timeout_s)[0]:
            message = self.socket.recv(65536).decode()
            if message.startswith(prefix):
                return message
        return None

    def drain(self) -> None:
        """Forget what has already been said."""
        while select.select([self.socket], [], [], 0)[0]:
            self.socket.recv(65536)


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    found = Manager(tmp_path)
    yield found
    found.socket.close()


@pytest.fixture
def config(tmp_path: Path, free_port: Callable[[], int]) -> Path:
    """The shipped configuration on ports where nobody answers."""
    target = tmp_path / "config"
    subprocess.run(["cp", "-r", str(ROOT / "firmware_config"), str(target)], check=True)
    line = target / "lines" / "ncm-1" / "line.toml"
    text = line.read_text(encoding="utf-8").replace("port = 5020", f"port = {free_port()}")
    line.write_text(text.replace(":4840/", f":{free_port()}/"), encoding="utf-8")
    return target


def command(name: str, config: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "edge", name, "--config", str(config), *more]


def run_command(config: Path, directory: Path, runtime: str = "run") -> list[str]:
    return command(
        "run", config, "--state", str(directory / "state"), "--runtime", str(directory / runtime)
    )


@contextmanager
def process(
    arguments: list[str], environ: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A process of ours with pipes, ended with SIGKILL if the test has not done it."""
    started = subprocess.Popen(
        arguments, cwd=ROOT, env={**os.environ, "PYTHONUNBUFFERED": "1", **(environ or {})},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield started
    finally:
        if started.poll() is None:
            started.kill()
        started.communicate()


@contextmanager
def daemon(config: Path, directory: Path, manager: Manager) -> Iterator[subprocess.Popen[str]]:
    """`ncm-edge run` under our service manager."""
    environ = {
        "NOTIFY_SOCKET": str(manager.path),
        "WATCHDOG_USEC": str(int(WATCHDOG_S * 1e6)),
        "WATCHDOG_PID": "",
    }
    with process(run_command(config, directory), environ) as started:
        yield started


class Panel:
    """What `ncm-edge twin` prints about its PLC's faceplate, line by line as it comes."""

    def __init__(self, twin: subprocess.Popen[str]) -> None:
        assert twin.stdout is not None
        self._fd, self._rest, self.seen = twin.stdout.fileno(), b"", ""

    def wait(self, text: str, timeout_s: float = PATIENCE_S) -> str:
        """The next printed line that contains `text`. Fails when none came in time."""
        end_s = time.monotonic() + timeout_s
        while (left_s := end_s - time.monotonic()) > 0:
            line, newline, rest = self._rest.partition(b"\n")
            if newline:
                self._rest = rest
                self.seen += line.decode() + "\n"
                if text in line.decode():
                    return line.decode()
            elif select.select([self._fd], [], [], left_s)[0]:
                self._rest += os.read(self._fd, 65536)
        raise AssertionError(f"the twin did not say {text!r} but:\n{self.seen}")


def ring_of(config: Path, directory: Path) -> RingFile:
    """The ring as a daemon would find it; to be closed by the caller."""
    line = load(config, lines=("ncm-1",)).lines[0]
    tags = [(row.tag.name, row.tag.unit) for row in line.tags]
    path = directory / "state" / "ncm-1" / "rows.ring"
    return open_ring(path, tags, line.ring_rows, line.row_s)


def test_the_limits_are_the_units() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    unit.read(ROOT / "systemd" / "ncm-edge.service", encoding="utf-8")
    assert unit["Service"]["UMask"] == "0027"
    assert float(unit["Service"]["WatchdogSec"]) == WATCHDOG_S
    assert float(unit["Service"]["TimeoutStopSec"]) > STOP_S


def test_the_plc_sees_a_kill_a_restart_and_a_stop(
    config: Path, tmp_path: Path, manager: Manager
) -> None:
    with process(command("twin", config)) as twin:
        panel = Panel(twin)
        panel.wait("link dcs: serving on")
        with daemon(config, tmp_path, manager) as first:
            assert manager.wait("READY=1")
            panel.wait("PLC panel: check function")
            manager.drain()
            for _ in range(3):
                assert manager.wait("WATCHDOG=1")
            first.kill()
            assert first.wait(PATIENCE_S) == -signal.SIGKILL
        found = ring_of(config, tmp_path)
        assert found.opened == "resumed"
        assert found.ring.dropped <= 1, "at most the row that was being written"
        before, times = found.ring.seq, found.ring.times(found.ring.seq)
        values, quality = found.ring.last(before)
        whole = (quality == Quality.GOOD).all(axis=1)
        assert whole.any()
        assert np.isfinite(values[whole]).all()
        assert before >= 3
        assert np.diff(times) == pytest.approx(1.0, abs=0.1)
        found.close()
        panel.wait("advisor gone")
        manager.drain()
        with daemon(config, tmp_path, manager) as second:
            assert manager.wait("READY=1")
            panel.wait("PLC panel: check function")
            status = manager.wait("STATUS=")
            assert status is not None
            assert "ncm-1: check function, no verdict: warming up" in status
            second.send_signal(signal.SIGTERM)
            assert manager.wait("STOPPING=1")
            assert second.wait(STOP_S) == 0
            assert second.stderr is not None
            log = second.stderr.read()
            assert f"resumed at row {before}" in log
            assert "Traceback" not in log
        again = ring_of(config, tmp_path)
        count = again.ring.seq
        assert count > before + 5, "the seconds of nobody's acquisition are in the ring as gaps"
        assert np.array_equal(again.ring.times(count)[: len(times)], times)
        assert np.array_equal(again.ring.last(count)[0][: len(times)], values, equal_nan=True)
        assert (again.ring.reasons(count - before)[0] == Reason.MISSED).all()
        assert (again.ring.last(count - before)[1] == Quality.GOOD).any()
        again.close()
        panel.wait("advisor gone")


def test_ready_watchdog_and_a_clean_stop_without_any_plc(
    config: Path, tmp_path: Path, manager: Manager
) -> None:
    with daemon(config, tmp_path, manager) as started:
        assert manager.wait("READY=1")
        for _ in range(3):
            message = "a dead PLC is no reason to be restarted"
            assert manager.wait("WATCHDOG=1", timeout_s=WATCHDOG_S / 2), message
        # A link may be down for a few seconds before that is a condition.
        status: str | None = "STATUS="
        while status is not None and "failure" not in status:
            status = manager.wait("STATUS=")
        assert status is not None
        document = json.loads((tmp_path / "run" / "status.json").read_text(encoding="utf-8"))
        assert document["lines"][0]["ne107"] == 1
        said = subprocess.run(
            command("status", config, "--runtime", str(tmp_path / "run")),
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert said.returncode == 1
        assert said.stdout.count("NOT CONNECTED") == 2
        started.send_signal(signal.SIGINT)
        assert manager.wait("STOPPING=1")
        assert started.wait(STOP_S) == 0
        assert not list((tmp_path / "run").iterdir())


def test_what_it_keeps_is_not_for_everybody(config: Path, tmp_path: Path, manager: Manager) -> None:
    before = os.umask(0o022)
    try:
        with daemon(config, tmp_path, manager) as started:
            assert manager.wait("READY=1")
            started.send_signal(signal.SIGTERM)
            assert started.wait(STOP_S) == 0
    finally:
        os.umask(before)
    kept = [path for path in (tmp_path / "state").rglob("*") if path.is_file()]
    assert {"history.sqlite", "rows.ring"} <= {path.name for path in kept}
    assert [path for path in kept if path.stat().st_mode & 0o027] == []


def test_reload_by_signal_and_by_command(config: Path, tmp_path: Path, manager: Manager) -> None:
    runtime = tmp_path / "run"
    tags = config / "lines" / "ncm-1" / "tags.toml"
    shipped = tags.read_text(encoding="utf-8")

    def ask() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command("reload", config, "--runtime", str(runtime)),
            cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE_S,
        )  # fmt: skip

    with daemon(config, tmp_path, manager) as started:
        assert manager.wait("READY=1")
        tags.write_text(shipped.replace("high = 1000", "high = 1001", 1), encoding="utf-8")
        said = ask()
        assert (said.returncode, said.stdout) == (0, "reloaded: line ncm-1: tags changed\n")
        assert (manager.wait("RELOADING=1") or "").split("=")[-1].isdigit()
        assert manager.wait("READY=1")
        tags.write_text(shipped.replace("low = ", "lw = ", 1), encoding="utf-8")
        said = ask()
        assert said.returncode == 2
        assert "unknown key 'lw'; did you mean 'low'?" in said.stderr
        assert "refused: the old configuration goes on" in said.stderr
        document = json.loads((runtime / "status.json").read_text(encoding="utf-8"))
        assert document["reload"]["outcome"] == "refused"
        assert document["pid"] == started.pid
        shown = subprocess.run(
            command("status", config, "--runtime", str(runtime)),
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert "! reload refused, an older configuration goes on:" in shown.stdout
        manager.drain()
        started.send_signal(signal.SIGHUP)
        started.send_signal(signal.SIGHUP)
        assert manager.wait("RELOADING=1")
        assert manager.wait("READY=1")
        assert manager.wait("WATCHDOG=1")
        tags.write_text(shipped, encoding="utf-8")
        assert ask().returncode == 0
        assert started.poll() is None
        started.send_signal(signal.SIGTERM)
        assert started.wait(STOP_S) == 0


def test_a_hung_daemon_starves_the_watchdog_and_its_abort_shows_where_it_hung(
    config: Path, tmp_path: Path, manager: Manager
) -> None:
    with daemon(config, tmp_path, manager) as started:
        assert manager.wait("WATCHDOG=1")
        started.send_signal(signal.SIGSTOP)
        os.waitpid(started.pid, os.WUNTRACED)  # until it has really stopped
        manager.drain()
        assert manager.wait("WATCHDOG=1", timeout_s=2.5) is None
        started.send_signal(signal.SIGCONT)
        assert manager.wait("WATCHDOG=1"), "a pause shorter than the limit is survived"
        started.send_signal(signal.SIGABRT)
        assert started.wait(PATIENCE_S) == -signal.SIGABRT
        assert started.stderr is not None
        stack = started.stderr.read()
        assert "Fatal Python error: Aborted" in stack
        assert "daemon.py" in stack


def test_a_second_daemon_on_the_same_state_is_refused(
    config: Path, tmp_path: Path, manager: Manager
) -> None:
    with daemon(config, tmp_path, manager) as first:
        assert manager.wait("READY=1")
        second = subprocess.run(
            run_command(config, tmp_path, runtime="run2"),
            cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE_S,
        )  # fmt: skip
        assert second.returncode == 1
        assert "rows.ring is in use by another process" in second.stderr
        assert "state_dir" in second.stderr
        assert "Traceback" not in second.stderr
        manager.drain()
        assert manager.wait("WATCHDOG=1"), "the first one goes on"
        assert first.poll() is None


@pytest.mark.parametrize("option", ["--state", "--runtime"])
def test_an_unusable_directory_is_said_with_its_remedy(
    option: str, config: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    directories = {"--state": str(tmp_path / "state"), "--runtime": str(tmp_path / "run")}
    directories[option] = str(tmp_path / "file" / "below")
    said = subprocess.run(
        command("run", config, *(word for pair in directories.items() for word in pair)),
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE_S,
    )  # fmt: skip
    assert said.returncode == 1
    assert f"{tmp_path / 'file' / 'below'}: " in said.stderr
    assert f"{option} DIR" in said.stderr
    assert "Traceback" not in said.stderr
