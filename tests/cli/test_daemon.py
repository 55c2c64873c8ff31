"""The daemon as a process of its own: service manager, signals, kill -9, a second one beside it."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from edge.config.load import load
from edge.runtime.ringfile import open_ring

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0

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


@contextmanager
def daemon(config: Path, directory: Path, manager: Manager) -> Iterator[subprocess.Popen[str]]:
    """`ncm-edge run`; ended with SIGKILL if the test has not done it."""
    environ = {
        **os.environ,
        "NOTIFY_SOCKET": str(manager.path),
        "WATCHDOG_USEC": "30000000",
        "PYTHONUNBUFFERED": "1",
    }
    environ.pop("WATCHDOG_PID", None)
    process = subprocess.Popen(
        [
            sys.executable, "-m", "edge", "run", "--config", str(config),
            "--state", str(directory / "state"), "--runtime", str(directory / "run"),
        ],
        cwd=ROOT, env=environ, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_ready_watchdog_and_a_clean_stop_without_any_plc(
    config: Path, tmp_path: Path, manager: Manager
) -> None:
    with daemon(config, tmp_path, manager) as process:
        assert manager.wait("READY=1")
        assert manager.wait("WATCHDOG=1"), "a dead PLC is no reason to be restarted"
        # A link may be down for a few seconds before that is a condition.
        status: str | None = "STATUS="
        while status is not None and "failure" not in status:
            status = manager.wait("STATUS=")
        assert status is not None
        document = json.loads((tmp_path / "run" / "status.json").read_text(encoding="utf-8"))
        assert document["lines"][0]["ne107"] == 1
        said = subprocess.run(
            [sys.executable, "-m", "edge", "status", "--runtime", str(tmp_path / "run")],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert said.returncode == 1
        assert "NOT CONNECTED" in said.stdout
        process.send_signal(signal.SIGTERM)
        assert manager.wait("STOPPING=1")
        assert process.wait(PATIENCE_S) == 0
        assert not (tmp_path / "run" / "status.json").exists()


def test_a_hung_daemon_no_longer_feeds_the_watchdog(
    config: Path, tmp_path: Path, manager: Manager
) -> None:
    with daemon(config, tmp_path, manager) as process:
        assert manager.wait("WATCHDOG=1")
        process.send_signal(signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)  # it has stopped, not only been asked to
        manager.drain()
        assert manager.wait("WATCHDOG=1", timeout_s=2.5) is None
        process.send_signal(signal.SIGCONT)
        assert manager.wait("WATCHDOG=1")


def test_kill_9_loses_no_row_and_a_second_daemon_is_refused(
    config: Path, tmp_path: Path, manager: Manager
) -> None:
    with daemon(config, tmp_path, manager) as process:
        assert manager.wait("READY=1")
        for _ in range(3):
            assert manager.wait("WATCHDOG=1")
        second = subprocess.run(
            [
                sys.executable, "-m", "edge", "run", "--config", str(config),
                "--state", str(tmp_path / "state"), "--runtime", str(tmp_path / "run2"),
            ],
            cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE_S,
        )  # fmt: skip
        assert second.returncode == 1
        assert "rows.ring" in second.stderr
        assert "Traceback" not in second.stderr
        process.kill()
        process.wait(PATIENCE_S)
    line = load(config, lines=("ncm-1",)).lines[0]
    tags = [(row.tag.name, row.tag.unit) for row in line.tags]
    path = tmp_path / "state" / "ncm-1" / "rows.ring"
    found = open_ring(path, tags, line.ring_rows, line.row_s)
    assert found.opened == "resumed"
    rows = found.ring.seq
    assert rows >= 3
    assert found.ring.dropped <= 1
    assert np.isfinite(found.ring.times(rows)).all()
    found.close()
    with daemon(config, tmp_path, manager):
        manager.drain()
        assert manager.wait("READY=1")
    again = open_ring(path, tags, line.ring_rows, line.row_s)
    assert again.opened == "resumed"
    assert again.ring.seq > rows
    again.close()


def test_an_unusable_state_directory_is_said_with_its_remedy(config: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    said = subprocess.run(
        [
            sys.executable, "-m", "edge", "run", "--config", str(config),
            "--state", str(tmp_path / "file" / "state"), "--runtime", str(tmp_path / "run"),
        ],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE_S,
    )  # fmt: skip
    assert said.returncode == 1
    assert "--state DIR" in said.stderr
    assert "Traceback" not in said.stderr
