"""Tier 2: a stick in the USB port of an emulated PC: rule, mount and importer as they are shipped.

Simulated is the PC (QEMU, no acceleration, so times mean nothing); kernel, FAT driver, udev,
systemd and the state's ext4 are real. A boot takes minutes, so one test tells the whole story.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from edge.config.load import load
from edge.update import audit
from edge.update.manifest import Site, tag_schema
from edge.update.refusals import Code
from tests.tiers import vm
from tests.tiers.blocks import mounted
from tests.tiers.nspawn import ROOT, Unavailable
from tests.update.site import Appliance, Supplier
from tests.update.tiny import tiny_bundle

pytestmark = [pytest.mark.tier2, pytest.mark.timeout(3600)]
SPEED = 250_000
"""Bytes per second of the sticks."""
PADDING = 3_000_000
"""Bytes by which an update is made large enough to be pulled, or cut, while it is copied."""
STARTED = "Starting ncm-edge-update.service"
MOUNTING = "Mounting run-ncm"
RELEASED = "stick.mount: Deactivated successfully"
BEGAN_S = time.monotonic()


def padded(bundle: Path) -> dict[str, bytes]:
    """The files of a bundle, one of them larger than it need be; as valid as before."""
    path = bundle / "drift.npz"
    np.savez(path, **dict(np.load(path)), padding=np.zeros(PADDING, np.uint8))
    files = {file.name: file.read_bytes() for file in bundle.iterdir()}
    card = json.loads(files["card.json"])
    card["files"][path.name] = hashlib.sha256(files[path.name]).hexdigest()
    return files | {"card.json": json.dumps(card).encode()}


def test_plugged_pulled_and_cut(supplier: Supplier, tmp_path: Path) -> None:
    try:
        vm.requirements()
    except Unavailable as reason:
        pytest.skip(f"no emulated PC: {reason}")
    line = load(ROOT / "firmware_config", lines=("ncm-1",)).lines[0]
    tags = tuple((row.tag.name, row.tag.unit) for row in line.tags)
    bundle = tiny_bundle(tmp_path / "bundle", tags)
    small = {path.name: path.read_bytes() for path in bundle.iterdir()}
    large = padded(bundle)
    images = {}
    for name, seq, files, label in (
        ("foreign", 1, small, "HOLIDAYS"), ("first", 1, small, "NCM-UPDATE"),
        ("second", 2, large, "NCM-UPDATE"), ("third", 3, large, "NCM-UPDATE"),
    ):  # fmt: skip
        update = tmp_path / f"{name}.ncm"
        update.write_bytes(supplier.release(seq, files=files, schema=tag_schema(tags, line.row_s)))
        images[name] = vm.stick(tmp_path / f"{name}.img", label, update)
    disk = tmp_path / "state.img"
    with disk.open("wb") as file:
        file.truncate(64 << 20)
    subprocess.run(["mkfs.ext4", "-q", str(disk)], check=True)
    root_json = supplier.folder / "root.json"
    site = Site(line="ncm-1", tags=tags, row_s=line.row_s, app_version="0.1.0")

    with vm.booted(tmp_path / "before", disk, root_json, SPEED) as machine:
        machine.wait("Reached target basic.target")

        machine.plug(images["first"])
        machine.wait(STARTED)
        machine.wait("line ncm-1: release 1.1 is installed")
        machine.wait(RELEASED)
        told("plugged, installed")

        # Beside ours, which lies there to be mounted: if this one started anything, it would show.
        machine.plug(images["foreign"], "foreign")
        machine.wait("udev knows HOLIDAYS")
        machine.pull("foreign")
        machine.pull()

        machine.plug(images["second"])
        machine.wait(STARTED)
        assert machine.seen.count(MOUNTING) == 2, "a stick without our label started something"
        machine.read_at_least(PADDING // 2)
        machine.pull()
        machine.wait("REFUSED unreadable")
        machine.wait("ncm-edge-update.service: Failed with result")
        assert "release 1.2 is installed" not in machine.seen
        told("pulled in mid-copy: refused")

        machine.plug(images["second"])
        machine.wait(STARTED)
        machine.wait("line ncm-1: release 1.2 is installed")
        machine.wait(RELEASED)
        machine.pull()
        told("plugged in again: installed")

        machine.plug(images["third"])
        machine.wait(STARTED)
        machine.read_at_least(PADDING // 2)
        machine.cut()
        assert "release 1.3 is installed" not in machine.seen
        told("power cut in mid-copy")

    with mounted(disk, "ext4", tmp_path / "mount") as place:
        left = Appliance(state=place, pinned=root_json, site=site)
        assert left.active == 2
        assert left.store.incoming.exists(), "the cut came before the copy or after it"

    with vm.booted(tmp_path / "after", disk, root_json, SPEED) as machine:
        machine.wait("Reached target basic.target")
        machine.plug(images["third"])
        machine.wait(STARTED)
        machine.wait("line ncm-1: release 1.3 is installed")
        machine.wait(RELEASED)
        machine.cut()
        told("booted, plugged in again: installed")

    with mounted(disk, "ext4", tmp_path / "mount") as place:
        appliance = Appliance(state=place, pinned=root_json, site=site)
        assert appliance.active == 3
        assert not appliance.store.incoming.exists()
        assert audit.verify(appliance.audit.folder)[1] == []
        events = [(entry["event"], entry["verdict"], entry.get("release"))
                  for entry in audit.lines(appliance.audit.folder)]  # fmt: skip
        told(f"audit: {events}")
        # Of the third one, the try that the power cut ended could tell nobody.
        assert events == [
            ("apply", "done", "1.1"), ("apply", "unreadable", "1.2"), ("apply", "done", "1.2"),
            ("apply", "done", "1.3"),
        ]  # fmt: skip
        assert appliance.verdict(tmp_path / "first.ncm") is Code.ROLLBACK


def told(text: str) -> None:
    """The story, for `-s`; a boot and an import take minutes."""
    print(f"{time.monotonic() - BEGAN_S:5.0f} s: {text}", flush=True)
