"""The service unit: systemd accepts it, and its hardening stays inside the budget."""

from __future__ import annotations

import configparser
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

UNIT = Path(__file__).parent.parent / "systemd" / "ncm-edge.service"
ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")


@pytest.fixture
def rendered(tmp_path: Path) -> Path:
    """The unit with a command that exists here; the rest is as shipped."""
    text = UNIT.read_text(encoding="utf-8")
    unit = tmp_path / UNIT.name
    unit.write_text(
        "\n".join(
            f"ExecStart={sys.executable}" if line.startswith("ExecStart=") else line
            for line in text.splitlines()
            if not line.startswith("Documentation=")
        ),
        encoding="utf-8",
    )
    return unit


@needs_systemd
def test_systemd_understands_every_directive(rendered: Path) -> None:
    done = subprocess.run(
        [str(ANALYZE), "verify", "--recursive-errors=no", str(rendered)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    complaints = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert not complaints, complaints


@needs_systemd
def test_the_exposure_score_stays_inside_its_budget(rendered: Path) -> None:
    done = subprocess.run(
        [str(ANALYZE), "security", "--offline=true", "--threshold=13", str(rendered)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr


def test_the_directives_the_appliance_relies_on() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(UNIT, encoding="utf-8")
    service = unit["Service"]
    assert service["Type"] == "notify"
    assert service["WatchdogSec"] == "30"
    assert service["Restart"] == "always"
    assert service["User"] == "ncm-edge"
    assert "ReadWritePaths" not in service
    assert "ORT_DISABLE_TELEMETRY=1" in service["Environment"]
