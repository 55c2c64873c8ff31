"""Tier 2: a stick in the USB port of an emulated PC: rule, mount and importer as they are shipped.

Simulated is the PC (QEMU, no acceleration, so times mean nothing); kernel, FAT driver, udev,
systemd and the state's ext4 are real. A boot takes minutes, so one test tells the whole story.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

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
STARTED = "Starting ncm-edge-update.service"
RELEASED = "stick.mount: Deactivated successfully"


def test_plugged_pulled_and_cut(supplier: Supplier, tmp_path: Path) -> None:
    try:
        vm.requirements()
    except Unavailable as reason:
        pytest.skip(f"no emulated PC: {reason}")
    line = load(ROOT / "firmware_config", lines=("ncm-1",)).lines[0]
    tags = tuple((row.tag.name, row.tag.unit) for row in line.tags)
    bundle = tiny_bundle(tmp_path / "bundle", tags)
    small = {path.name: path.read_bytes() for path in bundle.iterdir()}
    schema = tag_schema(tags, line.row_s)
    # The large one is refused in the end, for its card does not know the padding; until then it
    # is copied for as long as it takes to pull it out or to cut the power.
    large = small | {"padding.bin": bytes(range(250)) * (PADDING // 250)}
    images = {}
    for name, seq, files, label in (
        ("foreign", 1, small, "HOLIDAYS"), ("first", 1, small, "NCM-UPDATE"),
        ("large", 2, large, "NCM-UPDATE"), ("second", 3, small, "NCM-UPDATE"),
    ):  # fmt: skip
        update = tmp_path / f"{name}.ncm"
        update.write_bytes(supplier.release(seq, files=files, schema=schema))
        images[name] = vm.stick(tmp_path / f"{name}.img", label, update)
    disk = tmp_path / "state.img"
    with disk.open("wb") as file:
        file.truncate(64 << 20)
    subprocess.run(["mkfs.ext4", "-q", str(disk)], check=True)

    root_json = supplier.folder / "root.json"
    with vm.booted(tmp_path, disk, root_json, SPEED) as machine:
        machine.wait("Reached target basic.target")

        machine.plug(images["foreign"])
        machine.wait("Attached SCSI")
        machine.pull()

        began_s = time.monotonic()
        machine.plug(images["first"])
        machine.wait(STARTED)
        machine.wait("line ncm-1: release 1.1 is installed")
        print(f"plugged to installed: {time.monotonic() - began_s:.0f} s")
        machine.wait(RELEASED)
        machine.pull()
        assert machine.seen.count(STARTED) == 1, "only a stick with our label starts anything"

        machine.plug(images["large"])
        machine.wait(STARTED)
        machine.read_at_least(PADDING // 2)
        machine.pull()
        machine.wait("ncm-edge-update.service: Failed with result")
        assert "release 1.2 is installed" not in machine.seen

        machine.plug(images["large"])
        machine.wait(STARTED)
        machine.read_at_least(PADDING // 2)
        machine.cut()
        (tmp_path / "console.log").write_text(machine.seen, encoding="utf-8")

    site = Site(line="ncm-1", tags=tags, row_s=line.row_s, app_version="0.1.0")
    with mounted(disk, "ext4", tmp_path / "mount") as place:
        appliance = Appliance(state=place, pinned=root_json, site=site)
        assert appliance.active == 1
        assert audit.verify(appliance.audit.folder)[1] == []
        told = audit.lines(appliance.audit.folder)
        events = [(entry["event"], entry["verdict"]) for entry in told]
        assert events[0] == ("apply", "done")
        print(f"audit after the cut: {events}")
        assert appliance.verdict(tmp_path / "second.ncm") is None
        assert appliance.active == 3
        assert appliance.verdict(tmp_path / "first.ncm") is Code.ROLLBACK
        assert not appliance.store.incoming.exists()
