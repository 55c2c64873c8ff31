"""Stick, mount and importer: systemd understands them, and the walls around the importer stand."""

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

FOLDER = Path(__file__).parent.parent / "systemd"
MOUNT = FOLDER / "run-ncm\\x2dedge\\x2dstick.mount"
IMPORTER = FOLDER / "ncm-edge-update.service"
RULES = FOLDER / "70-ncm-edge-stick.rules"
BUDGET = 5
"""Exposure of the importer in tenths; a bare unit scores 92."""
ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")


def sections(path: Path) -> configparser.ConfigParser:
    unit = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(path, encoding="utf-8")
    return unit


@pytest.fixture
def rendered(tmp_path: Path) -> Path:
    """The units with commands that exist here."""
    for source in (MOUNT, IMPORTER, FOLDER / "ncm-edge.service"):
        text = source.read_text(encoding="utf-8")
        text = re.sub(r"^ExecStart=.*", f"ExecStart={sys.executable}", text, flags=re.MULTILINE)
        text = re.sub(r"^Documentation=.*\n", "", text, flags=re.MULTILINE)
        (tmp_path / source.name).write_text(text, encoding="utf-8")
    return tmp_path


def complaints(folder: Path) -> list[str]:
    units = [folder / path.name for path in (MOUNT, IMPORTER)]
    done = subprocess.run(
        [str(ANALYZE), "verify", "--recursive-errors=no", *map(str, units)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return [line for line in done.stderr.splitlines() if "ncm" in line]


@needs_systemd
def test_systemd_understands_every_directive(rendered: Path) -> None:
    assert not complaints(rendered)


@needs_systemd
@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("PrivateNetwork=yes", "PrivateNetwork=maybe"),
        ("TasksMax=", "TaskMax="),
        ("MemoryMax=", "MemoryMaximum="),
    ],
)
def test_what_systemd_would_ignore_is_found(good: str, bad: str, rendered: Path) -> None:
    path = rendered / IMPORTER.name
    path.write_text(path.read_text(encoding="utf-8").replace(good, bad), encoding="utf-8")
    assert complaints(rendered)


@needs_systemd
def test_the_exposure_of_the_importer(rendered: Path) -> None:
    done = subprocess.run(
        [str(ANALYZE), "security", "--offline=true", f"--threshold={BUDGET}",
         str(rendered / IMPORTER.name)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr


def test_the_stick_is_mounted_read_only_by_one_driver() -> None:
    mount = sections(MOUNT)["Mount"]
    assert mount["Type"] == "vfat"
    assert {"ro", "nosuid", "nodev", "noexec"} <= set(mount["Options"].split(","))
    # systemd wants the name of the unit to be the escaped path.
    name = mount["Where"].strip("/").replace("-", "\\x2d").replace("/", "-")
    assert f"{name}.mount" == MOUNT.name


def test_the_importer_is_bound_to_the_stick_and_has_no_network() -> None:
    unit, service = sections(IMPORTER)["Unit"], sections(IMPORTER)["Service"]
    assert unit["BindsTo"] == unit["After"] == MOUNT.name
    wanted = {
        "Type": "oneshot", "User": "ncm-edge", "PrivateNetwork": "yes", "PrivateDevices": "yes",
        "CapabilityBoundingSet": "", "ProtectSystem": "strict", "StateDirectory": "ncm-edge",
        "NoNewPrivileges": "yes", "RestrictAddressFamilies": "none",
    }  # fmt: skip
    assert {key: service.get(key) for key in wanted} == wanted
    assert "ORT_DISABLE_TELEMETRY=1" in service["Environment"]
    # It works while the daemon crash-loops: nothing makes it wait for the daemon.
    assert "ncm-edge.service" not in IMPORTER.read_text(encoding="utf-8")
    assert sections(MOUNT)["Mount"]["Where"] in service["ExecStart"]


def test_the_command_of_the_importer_is_one_of_ours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program, *words = shlex.split(sections(IMPORTER)["Service"]["ExecStart"])
    assert Path(program).name == "ncm-edge"
    words[words.index("--config") + 1] = str(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert "appliance.toml: file is missing" in capsys.readouterr().err


def test_udev_only_names_the_importer_for_a_labelled_usb_stick() -> None:
    (rule,) = [
        line for line in RULES.read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]  # fmt: skip
    terms = dict(re.findall(r'([A-Z]+(?:\{\w+\})?)(?:==|\+=)"([^"]*)"', rule))
    assert terms == {
        "ACTION": "add", "SUBSYSTEM": "block", "ENV{ID_BUS}": "usb", "ENV{ID_FS_TYPE}": "vfat",
        "ENV{ID_FS_LABEL}": "NCM-UPDATE", "TAG": "systemd",
        "ENV{SYSTEMD_WANTS}": IMPORTER.name,
    }  # fmt: skip
    assert len(terms["ENV{ID_FS_LABEL}"]) <= 11, "FAT has no room for more"
    assert sections(MOUNT)["Mount"]["What"].endswith("/" + terms["ENV{ID_FS_LABEL}"])
    for word in ("RUN", "PROGRAM", "IMPORT"):
        assert word not in rule, "udev must run nothing of the stick's"


def test_the_help_names_the_folder_the_stick_is_mounted_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    where = sections(MOUNT)["Mount"]["Where"]
    with pytest.raises(SystemExit):
        main(["--help"])
    assert f"ncm-edge update apply {where} " in capsys.readouterr().out
