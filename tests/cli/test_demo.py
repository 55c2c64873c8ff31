"""`ncm-edge demo`, as `make demo` starts it: ends by itself, tells the truth, leaves nothing."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from edge.__main__ import main
from edge.cli.demo import on_free_ports
from edge.config.load import load
from edge.config.types import ModbusLink, OpcUaLink

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "firmware_config"
PATIENCE_S = 280.0
DEMO = [sys.executable, "-m", "edge", "demo", "--speed", "1e9"]


@pytest.mark.system
@pytest.mark.timeout(300)
def test_the_demo_ends_well(tmp_path: Path) -> None:
    done = subprocess.run(
        DEMO, cwd=ROOT, env={**os.environ, "TMPDIR": str(tmp_path)}, capture_output=True, text=True,
        check=False, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert done.stderr == ""
    screen = done.stdout
    assert screen.startswith("SIMULATED plant")
    assert "trained on simulated data, not for production" in screen
    assert "Modbus TCP 127.0.0.1:" in screen
    assert "OPC UA opc.tcp://127.0.0.1:" in screen
    assert re.search(r">> C03 \S.*\n", screen), "the component is named while it happens"
    summary = screen.partition("Summary (simulated plant)\n")[2]
    assert summary.count("  ok  ") == 5
    assert "FAIL" not in summary
    assert re.search(r"components named: C03.*\(truth: C03 ", summary)
    assert re.search(r"\d{4} blocks W written and read back equal, 0 mismatches", summary)
    assert "\033[" not in screen, "colours are for a terminal"
    assert not list(tmp_path.iterdir())


@pytest.mark.system
@pytest.mark.timeout(300)
def test_ctrl_c_ends_it_without_a_trace(tmp_path: Path) -> None:
    with subprocess.Popen(
        DEMO, cwd=ROOT, env={**os.environ, "TMPDIR": str(tmp_path)}, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as demo:  # fmt: skip
        assert demo.stdout is not None
        seen = b""
        while b" min  step " not in seen:
            assert select.select([demo.stdout], [], [], PATIENCE_S)[0]
            seen += os.read(demo.stdout.fileno(), 65536)
        demo.send_signal(signal.SIGINT)
        _, said = demo.communicate(timeout=PATIENCE_S)
    assert demo.returncode == 130
    assert said == b""
    assert not list(tmp_path.iterdir())


def test_a_configuration_without_the_demo_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--config", str(ROOT / "tests" / "config" / "site")]) == 2
    assert "line 'ncm-1' has no folder" in capsys.readouterr().err


def test_ports_that_are_taken_are_not_asked_for() -> None:
    line = load(CONFIG, lines=("ncm-1",)).lines[0]
    shipped = line.links[0]
    assert isinstance(shipped, ModbusLink)
    with socket.socket() as other:
        try:
            other.bind((shipped.host, shipped.port))
        except OSError:
            pass  # taken by somebody else: all the better
        else:
            other.listen()
        moved = on_free_ports(line)
    modbus, opcua = moved.links
    assert isinstance(modbus, ModbusLink)
    assert modbus.port != shipped.port
    assert isinstance(opcua, OpcUaLink)
    assert re.fullmatch(r"opc\.tcp://127\.0\.0\.1:\d+/ncm", opcua.url)
    assert moved.tags == line.tags
