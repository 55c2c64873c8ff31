"""Tier 1: the shipped units under a real systemd, in a guest made of this machine's own root.

What is real: the units as shipped, their accounts, directories, namespaces and system-call filters,
readiness, watchdog and restart, the importer bound to its mount. What is not: the kernel's FAT
driver and the plugging (the content of the stick's image is bound where the mount would be), the
device list and the address filter, which need a kernel of the guest's own (tier 2).
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.config.load import load
from edge.update.manifest import tag_schema
from edge.update.refusals import Code
from tests.tiers.nspawn import ROOT, Machine, Unavailable, booted
from tests.update.site import Supplier
from tests.update.tiny import tiny_bundle

DAEMON, IMPORTER = "ncm-edge.service", "ncm-edge-update.service"
MOUNT = "run-ncm\\x2dedge\\x2dstick.mount"
STICK = "srv/stick"
STATE = "/var/lib/ncm-edge"
WATCHDOG_S = 4
"""In the place of the unit's 30 s, so that nobody waits for it."""
BOUND = f"""\
[Mount]
What=/{STICK}
Type=none
Options=
Options=bind,ro,nosuid,nodev,noexec
"""

pytestmark = [pytest.mark.tier1, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def supplier(tmp_path_factory: pytest.TempPathFactory) -> Supplier:
    return Supplier(tmp_path_factory.mktemp("supplier") / "keys")


@pytest.fixture(scope="module")
def machine(supplier: Supplier, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    def prepare(root: Path) -> None:
        trust = root / "etc" / "ncm-edge" / "trust"
        trust.mkdir(exist_ok=True)
        shutil.copy(supplier.folder / "root.json", trust / "root.json")
        (root / STICK).mkdir(parents=True)
        sooner = root / "etc" / "systemd" / "system" / f"{DAEMON}.d"
        sooner.mkdir(exist_ok=True)
        (sooner / "watchdog.conf").write_text(f"[Service]\nWatchdogSec={WATCHDOG_S}\n", "utf-8")

    try:
        with booted(tmp_path_factory.mktemp("guest") / "guest", prepare) as found:
            yield found
    except Unavailable as reason:
        pytest.skip(f"no guest with a systemd of its own: {reason}")


@pytest.fixture(scope="module")
def release(supplier: Supplier, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A release with a model that the self-test in the sandbox can run."""
    line = load(ROOT / "firmware_config", lines=("ncm-1",)).lines[0]
    tags = tuple((row.tag.name, row.tag.unit) for row in line.tags)
    bundle = tiny_bundle(tmp_path_factory.mktemp("tiny") / "bundle", tags)
    files = {path.name: path.read_bytes() for path in bundle.iterdir()}
    return supplier.release(1, files=files, schema=tag_schema(tags, line.row_s))


def plug(machine: Machine, data: bytes, image: Path) -> None:
    """A FAT image with the file, made and read by mtools, and its content where it is mounted."""
    for tool in ("mkfs.vfat", "mcopy"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    update = image.with_suffix(".ncm")
    update.write_bytes(data)
    image.unlink(missing_ok=True)
    stick = machine.root / STICK
    shutil.rmtree(stick)
    stick.mkdir()
    for words in (
        ["mkfs.vfat", "-C", "-n", "NCM-UPDATE", str(image), "16384"],
        ["mcopy", "-i", str(image), str(update), "::update.ncm"],
        ["mcopy", "-i", str(image), "::*", str(stick)],
    ):
        subprocess.run(words, check=True, capture_output=True)
    (stick / "update.ncm").chmod(0o444)
    machine.drop_in(MOUNT, BOUND)


def test_the_daemon_is_ready_behind_its_walls(machine: Machine) -> None:
    machine("systemctl", "start", DAEMON)  # Type=notify: ends when the daemon says READY
    assert machine.show(DAEMON, "ActiveState") == "active"
    assert "ncm-1: check function, no verdict" in machine.show(DAEMON, "StatusText")
    pid = machine.show(DAEMON, "MainPID")
    status = machine("cat", f"/proc/{pid}/status").stdout
    facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    account = str(machine.account("ncm-edge"))
    assert set(facts["Uid"].split()) == {account} != {"0"}
    assert int(facts["CapEff"], 16) == int(facts["CapBnd"], 16) == 0
    assert (facts["NoNewPrivs"], facts["Seccomp"]) == ("1", "2")
    # Not even root could write there, seen from where the daemon stands.
    inside = ("nsenter", "--target", pid, "--mount")
    for place in ("/etc/ncm-edge/x", "/usr/x", "/opt/ncm-edge/x", "/x"):
        assert "Read-only file system" in machine(*inside, "touch", place, check=False).stderr
    assert machine(*inside, "ls", "-A", "/root").stdout == ""
    machine(*inside, "touch", f"{STATE}/touched")
    owner = machine("stat", "-c", "%U %a", STATE).stdout
    assert owner == "ncm-edge 750\n"
    assert machine("ss", "-Htlnp").stdout.count(f"pid={pid},") == 0, "a port is open"
    assert machine("ss", "-Huanp").stdout.count(f"pid={pid},") == 0


def test_a_hanging_daemon_is_ended_and_started_again(machine: Machine) -> None:
    machine("systemctl", "start", DAEMON)
    before = machine.show(DAEMON, "MainPID")
    restarts = machine.show(DAEMON, "NRestarts")
    machine("kill", "-STOP", before)
    machine.until(DAEMON, "NRestarts", lambda text: text != restarts)
    machine.until(DAEMON, "ActiveState", lambda text: text == "active")
    assert machine.show(DAEMON, "MainPID") not in ("0", before)
    journal = machine.journal(DAEMON)
    assert f"Watchdog timeout (limit {WATCHDOG_S}s)!" in journal
    assert "Fatal Python error: Aborted" in journal
    assert "in _run_once" in journal, "where it hung"
    assert "Failed with result 'watchdog'" in journal


def test_the_importer_works_while_the_daemon_crash_loops(
    machine: Machine, release: bytes, tmp_path: Path
) -> None:
    machine.drop_in(DAEMON, "[Service]\nType=exec\nExecStart=\nExecStart=/bin/false\n")
    machine("systemctl", "restart", DAEMON, check=False)
    machine.until(DAEMON, "NRestarts", lambda text: int(text) > 0)

    # The model spoilt on its way: refused with the number of the refusal.
    plug(machine, release[:-1] + bytes([release[-1] ^ 1]), tmp_path / "stick.img")
    assert machine("systemctl", "start", IMPORTER, check=False).returncode
    assert machine.show(IMPORTER, "ExecMainStatus") == str(int(Code.HASH))
    assert "hash 21: A file of the update is not the one that was signed." in machine.journal(
        IMPORTER
    )
    machine.until(MOUNT, "ActiveState", lambda text: text == "inactive")

    plug(machine, release, tmp_path / "stick.img")
    # Pulled while it is being read: the importer goes with its mount, nothing is active.
    machine("systemctl", "start", "--no-block", IMPORTER)
    # Held at its work, so that it cannot have ended before the stick is gone.
    machine("kill", "-STOP", machine.until(IMPORTER, "MainPID", lambda text: text != "0"))
    machine("systemctl", "stop", MOUNT)
    machine.until(IMPORTER, "ActiveState", lambda text: text != "activating")
    assert machine.show(MOUNT, "ActiveState") == "inactive"
    assert not list((machine.root / "var/lib/ncm-edge/update").glob("lines/ncm-1/slots/*"))

    machine("systemctl", "start", IMPORTER)  # oneshot: ends when the importer has ended
    assert machine.show(IMPORTER, "ExecMainStatus") == "0"
    machine.until(MOUNT, "ActiveState", lambda text: text == "inactive")
    update = machine.root / "var/lib/ncm-edge/update"
    (slot,) = (update / "lines" / "ncm-1" / "slots").iterdir()
    assert slot.name.startswith("1-1-")
    assert (update / "audit" / "log.jsonl").is_file()
    owners = {path.stat().st_uid for path in update.rglob("*")}
    assert owners == {machine.account("ncm-edge")}
    assert not [path for path in update.rglob("*") if path.stat().st_mode & 0o007]
    machine("systemctl", "stop", DAEMON)
    machine.drop_in(DAEMON, "")


def test_the_exposure_of_the_started_units(machine: Machine) -> None:
    said = machine("systemd-analyze", "security", DAEMON, IMPORTER, "--no-pager").stdout
    levels = dict(re.findall(r"^(ncm-edge\S*)\s+([\d.]+)", said, re.MULTILINE))
    assert float(levels[DAEMON]) <= 1.5
    assert float(levels[IMPORTER]) <= 0.5
