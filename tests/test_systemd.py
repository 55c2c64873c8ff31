"""The service unit: systemd accepts it, and its hardening stays inside the budget."""

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
from edge.config.load import load

ROOT = Path(__file__).parent.parent
UNIT = ROOT / "systemd" / "ncm-edge.service"
BUDGET = 13
"""Exposure in tenths; a bare unit scores 92, the network alone costs 8."""
ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")


@pytest.fixture
def rendered(tmp_path: Path) -> Path:
    """The unit with a command that exists here; the rest is as shipped."""
    text = UNIT.read_text(encoding="utf-8")
    unit = tmp_path / UNIT.name
    unit.write_text(
        "\n".join(
            f"{line.partition('=')[0]}={sys.executable}" if line.startswith("Exec") else line
            for line in text.splitlines()
            if not line.startswith("Documentation=")
        ),
        encoding="utf-8",
    )
    return unit


def complaints(unit: Path) -> list[str]:
    """What systemd says against the unit."""
    done = subprocess.run(
        [str(ANALYZE), "verify", "--recursive-errors=no", str(unit)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return [line for line in done.stderr.splitlines() if UNIT.name in line]


def exposure(unit: Path, threshold: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(ANALYZE), "security", "--offline=true", f"--threshold={threshold}", str(unit)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture
def service() -> configparser.SectionProxy:
    """The directives of [Service]; of a repeated one the last."""
    unit = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(UNIT, encoding="utf-8")
    return unit["Service"]


@needs_systemd
def test_systemd_understands_every_directive(rendered: Path) -> None:
    assert not complaints(rendered)


@needs_systemd
@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("WatchdogSec=", "WatchdogSecs="),
        ("ProtectHome=yes", "ProtectHome=maybe"),
        ("RestrictAddressFamilies=AF_INET ", "RestrictAddressFamilies=AF_INTERNET "),
    ],
)
def test_what_systemd_would_ignore_is_found(good: str, bad: str, rendered: Path) -> None:
    text = rendered.read_text(encoding="utf-8")
    assert good in text
    rendered.write_text(text.replace(good, bad), encoding="utf-8")
    assert complaints(rendered)


@needs_systemd
def test_the_exposure_score_stays_inside_its_budget(rendered: Path) -> None:
    done = exposure(rendered, BUDGET)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    score = re.search(r"exposure level for .*: ([\d.]+)", done.stdout)
    assert score is not None
    assert 0.5 < float(score[1]) <= BUDGET / 10


@needs_systemd
def test_the_score_would_notice_a_missing_wall(rendered: Path) -> None:
    text = rendered.read_text(encoding="utf-8")
    walls = text.replace("CapabilityBoundingSet=\n", "").replace("ProtectSystem=strict\n", "")
    rendered.write_text(walls, encoding="utf-8")
    assert exposure(rendered, BUDGET).returncode != 0


def test_the_directives_the_appliance_relies_on(service: configparser.SectionProxy) -> None:
    wanted = {
        "Type": "notify", "Restart": "always", "User": "ncm-edge", "NoNewPrivileges": "yes",
        "ProtectSystem": "strict", "CapabilityBoundingSet": "", "StateDirectory": "ncm-edge",
        "RuntimeDirectory": "ncm-edge", "ConfigurationDirectory": "ncm-edge",
    }  # fmt: skip
    assert {key: service.get(key) for key in wanted} == wanted
    assert "ReadWritePaths" not in service
    assert "ORT_DISABLE_TELEMETRY=1" in service["Environment"]
    # Ten seconds without a cycle starve the watchdog (edge.app.SILENT_S); it must not bite sooner.
    assert 10 < float(service["WatchdogSec"]) <= 60
    assert float(service["RestartSec"]) <= 5
    text = UNIT.read_text(encoding="utf-8")
    assert "\nStartLimitIntervalSec=0\n" in text, "an appliance is never given up on"
    assert "@privileged" in text
    assert "@aio" in text, "@system-service alone lets io_uring through"


def test_the_directories_are_those_of_the_shipped_configuration(
    service: configparser.SectionProxy,
) -> None:
    appliance = load(ROOT / "firmware_config")
    assert appliance.state_dir == Path("/var/lib") / service["StateDirectory"]
    assert appliance.runtime_dir == Path("/run") / service["RuntimeDirectory"]
    assert f"--config /etc/{service['ConfigurationDirectory']}" in service["ExecStart"]


def test_the_command_of_the_unit_is_one_of_ours(
    service: configparser.SectionProxy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program, *words = shlex.split(service["ExecReload"])
    assert Path(program).name == "ncm-edge"
    words[words.index("--runtime") + 1] = str(tmp_path)
    assert main(words) == 1
    assert "is ncm-edge running" in capsys.readouterr().err
    assert f"/run/{service['RuntimeDirectory']}" in service["ExecReload"]

    program, *words = shlex.split(service["ExecStart"])
    assert Path(program).name == "ncm-edge"
    words[words.index("--config") + 1] = str(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert "appliance.toml: file is missing" in capsys.readouterr().err


SYSUSERS = shutil.which("systemd-sysusers")


@pytest.mark.skipif(SYSUSERS is None, reason="systemd-sysusers is not installed")
def test_the_account_is_made(service: configparser.SectionProxy, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    with (ROOT / "systemd" / "sysusers.conf").open(encoding="utf-8") as file:
        done = subprocess.run(
            [str(SYSUSERS), f"--root={tmp_path}", "-"],
            stdin=file, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (account,) = (tmp_path / "etc" / "passwd").read_text(encoding="utf-8").splitlines()
    name, *_, home, shell = account.split(":")
    assert name == service["User"]
    assert home == f"/var/lib/{service['StateDirectory']}"
    assert shell.endswith("nologin")
    group = (tmp_path / "etc" / "group").read_text(encoding="utf-8")
    assert group.startswith(f"{service['Group']}:")
