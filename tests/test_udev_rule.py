"""The rule for the stick, asked of udev itself about loop devices that claim to be on USB.

File system and label are what udev's own blkid finds on a real image; only the bus is claimed. No
daemon is needed, and udev's folders are those of a mount namespace that ends with the question.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

RULE = Path(__file__).parent.parent / "systemd" / "70-ncm-edge-stick.rules"
WANTS = "SYSTEMD_WANTS=ncm-edge-update.service"
TOOLS = ("udevadm", "unshare", "losetup", "mkfs.vfat", "mkfs.ext4")
ASK = """\
set -e
mount -t tmpfs none /run; mount -t tmpfs none /etc/udev; mount -t tmpfs none /usr/lib/udev/rules.d
mkdir -p /run/udev/rules.d
cp "$1"/*.rules /run/udev/rules.d/
exec udevadm test --action="$2" "/sys/block/$3"
"""


def _missing() -> str:
    if os.geteuid():
        return "needs root"
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    if absent:
        return f"not installed: {', '.join(absent)}"
    if not Path("/dev/loop-control").exists():
        return "the kernel has no loop devices"
    return ""


pytestmark = pytest.mark.skipif(bool(_missing()), reason=_missing())


@contextlib.contextmanager
def device(folder: Path, kind: str, label: str) -> Iterator[str]:
    """The name of a loop device with a file system."""
    image = folder / "image"
    make = ["mkfs.vfat", "-n", label] if kind == "vfat" else ["mkfs.ext4", "-q", "-L", label]
    with image.open("wb") as file:
        file.truncate(4 << 20)
    subprocess.run([*make, str(image)], check=True, capture_output=True)
    words = ["losetup", "--find", "--show", "--read-only", str(image)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no loop device to be had: {done.stderr.strip()}")
    try:
        yield Path(done.stdout.strip()).name
    finally:
        subprocess.run(["losetup", "--detach", done.stdout.strip()], check=True)


def asked(folder: Path, name: str, bus: str, action: str = "add", rule: str | None = None) -> str:
    """What udev makes of the device."""
    rules = folder / "rules"
    rules.mkdir(exist_ok=True)
    claim = f'SUBSYSTEM=="block", ENV{{ID_BUS}}="{bus}", IMPORT{{builtin}}="blkid"\n'
    (rules / "60-claim.rules").write_text(claim, encoding="utf-8")
    (rules / RULE.name).write_text(rule or RULE.read_text(encoding="utf-8"), encoding="utf-8")
    words = ["unshare", "--mount", "sh", "-c", ASK, "sh", str(rules), action, name]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if "SUBSYSTEM=block" not in done.stdout:
        pytest.skip(f"udevadm cannot be asked here: {done.stderr.strip()[-300:]}")
    return done.stdout + done.stderr


def test_our_stick_names_the_importer_and_nothing_runs(tmp_path: Path) -> None:
    with device(tmp_path, "vfat", "NCM-UPDATE") as name:
        said = asked(tmp_path, name, "usb")
    assert "ID_FS_LABEL=NCM-UPDATE" in said
    assert WANTS in said.splitlines()
    assert "TAGS=:systemd:" in said.splitlines()
    assert "run:" not in said
    complaints = [line for line in said.splitlines() if f"{RULE.name}:" in line]
    assert not [line for line in complaints if "Invalid" in line or "ignoring" in line]


@pytest.mark.parametrize(
    ("kind", "label", "bus", "action"),
    [
        ("vfat", "HOLIDAYS", "usb", "add"),
        ("vfat", "NCM-UPDATE", "ata", "add"),
        ("ext4", "NCM-UPDATE", "usb", "add"),
        ("vfat", "NCM-UPDATE", "usb", "change"),
        ("vfat", "NCM-UPDATE", "usb", "remove"),
        ("vfat", "NCM-UPDATE2", "usb", "add"),
    ],
)
def test_anything_else_starts_nothing(
    kind: str, label: str, bus: str, action: str, tmp_path: Path
) -> None:
    with device(tmp_path, kind, label) as name:
        assert "SYSTEMD_WANTS" not in asked(tmp_path, name, bus, action)


def test_a_broken_rule_would_be_noticed(tmp_path: Path) -> None:
    broken = RULE.read_text(encoding="utf-8").replace("ENV{ID_FS_TYPE}", "ENVV{ID_FS_TYPE}")
    with device(tmp_path, "vfat", "NCM-UPDATE") as name:
        said = asked(tmp_path, name, "usb", rule=broken)
    assert "Invalid key" in said
    assert WANTS not in said.splitlines()
