"""The unit of the operator page: it can read what the daemon leaves, and do nothing else."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edge.__main__ import main

ROOT = Path(__file__).parent.parent
UNIT = ROOT / "systemd" / "ncm-edge-page.service"
BUDGET = 13
"""Exposure in tenths, as for the daemon; the network alone costs 8."""
ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")


def section(path: Path) -> configparser.SectionProxy:
    unit = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(path, encoding="utf-8")
    return unit["Service"]


@pytest.fixture
def rendered(tmp_path: Path) -> Path:
    """The unit with a command that exists here; the rest is as shipped."""
    unit = tmp_path / UNIT.name
    unit.write_text(
        "\n".join(
            f"{line.partition('=')[0]}={sys.executable}" if line.startswith("Exec") else line
            for line in UNIT.read_text(encoding="utf-8").splitlines()
            if not line.startswith("Documentation=")
        ),
        encoding="utf-8",
    )
    return unit


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(ANALYZE), *arguments], capture_output=True, text=True, check=False)


@needs_systemd
def test_systemd_understands_it_and_its_exposure_is_inside_the_budget(rendered: Path) -> None:
    said = analyze("verify", "--recursive-errors=no", str(rendered)).stderr
    assert not [line for line in said.splitlines() if UNIT.name in line]
    done = analyze("security", "--offline=true", f"--threshold={BUDGET}", str(rendered))
    assert done.returncode == 0, done.stdout[-2500:]
    score = re.search(r"exposure level for .*: ([\d.]+)", done.stdout)
    assert score is not None
    assert 0.3 < float(score[1]) <= BUDGET / 10
    rendered.write_text(
        rendered.read_text(encoding="utf-8").replace("ProtectSystem=strict\n", "")
        .replace("CapabilityBoundingSet=\n", "").replace("DynamicUser=yes\n", ""),
        encoding="utf-8",
    )  # fmt: skip
    done = analyze("security", "--offline=true", f"--threshold={BUDGET}", str(rendered))
    assert done.returncode != 0


def test_it_reads_what_the_daemon_writes_and_writes_nothing() -> None:
    page, daemon = section(UNIT), section(UNIT.with_name("ncm-edge.service"))
    assert page["Group"] == daemon["Group"]
    assert page["DynamicUser"] == "yes"
    assert "User" not in page
    assert not [key for key in page if key.endswith("Directory") or key == "ReadWritePaths"]
    readable = page["ReadOnlyPaths"].split()
    for key, root in (("StateDirectory", "/var/lib"), ("RuntimeDirectory", "/run"),
                      ("ConfigurationDirectory", "/etc")):  # fmt: skip
        assert f"-{root}/{daemon[key]}" in readable
    # What the daemon writes must be readable for its group.
    assert int(daemon["UMask"], 8) & 0o040 == 0
    assert page["IPAddressAllow"] == "localhost"
    assert page["RestartPreventExitStatus"] == "2"
    assert 10 < float(page["WatchdogSec"]) <= 60


def test_its_command_is_one_of_ours(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    program, *words = shlex.split(section(UNIT)["ExecStart"])
    assert Path(program).name == "ncm-edge"
    words[words.index("--config") + 1] = str(tmp_path)
    assert main(words) == 2
    assert "appliance.toml: file is missing" in capfd.readouterr().err
