"""Tier 2: the power cut in an update, on real file systems; nothing is ever half installed.

Simulated is the disk, not the file system: its writes are recorded once and played back up to the
cut, which is cheaper than a machine that boots a hundred times and finds more. Asked for with
`-m tier2`.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.update.refusals import Refused
from tests.tiers.blocks import Write, cut, made, mounted, recorded, requirements, sound
from tests.tiers.nspawn import Unavailable
from tests.update.site import Appliance, Supplier
from tests.update.story import finished

pytestmark = [pytest.mark.tier2, pytest.mark.timeout(1200)]
CUTS = int(os.environ.get("NCM_EDGE_CUTS", "40"))
"""Places of the recording for each of the ways in which unflushed writes are lost."""
MOUNT = "mount"
WAYS = ("nothing", "some", "all", "torn")


@pytest.fixture
def memory() -> Iterator[Path]:
    """Where images lie: in memory if there is room, because no disk is being tested."""
    shared = Path("/dev/shm")
    room = shared.is_dir() and shutil.disk_usage(shared).free > 4 << 30
    with tempfile.TemporaryDirectory(dir=shared if room else None) as folder:
        yield Path(folder)


class Recording:
    """An appliance with releases 4 and 5 on a disk of its own, and release 6 with new keys put in.

    `base` is the disk before it, `writes` is what came to the disk until it was unmounted.
    """

    def __init__(self, supplier: Supplier, kind: str, folder: Path) -> None:
        self.kind, self.folder, self.pinned = kind, folder, supplier.folder / "root.json"
        self.stick, self.place = folder / "x.ncm", folder / MOUNT
        disk, self.base = made(kind, folder / "disk.img"), folder / "base.img"
        with mounted(disk, kind, self.place) as place:
            for seq in (4, 5):
                self.stick.write_bytes(supplier.release(seq))
                self.on(place).apply(self.stick)
        shutil.copy(disk, self.base)
        supplier.revoke("release-2")
        self.stick.write_bytes(supplier.release(6))
        with recorded(disk, folder) as (export, writes), mounted(export, kind, self.place) as place:
            self.on(place).apply(self.stick)
        self.writes: list[Write] = writes

    def on(self, place: Path) -> Appliance:
        return Appliance(state=place / "state", pinned=self.pinned)

    def judged(self, at: int, lost: str, rng: random.Random) -> str:
        """What is found after a cut; raises AssertionError, or what the appliance raises."""
        image = cut(self.base, self.writes, at, lost, rng, self.folder / "cut.img")
        with mounted(image, self.kind, self.place) as place:
            end = finished(self.on(place), self.stick, 5)
        assert sound(image, self.kind) == ""
        return end


@pytest.fixture
def recording(
    request: pytest.FixtureRequest, supplier: Supplier, memory: Path
) -> Recording:
    try:
        requirements(request.param)
        return Recording(supplier, request.param, memory)
    except Unavailable as reason:
        pytest.skip(f"no power cuts on {request.param} here: {reason}")


both = pytest.mark.parametrize("recording", ["ext4", "xfs"], indirect=True)


@both
def test_the_power_is_cut_anywhere(recording: Recording) -> None:
    rng, ends = random.Random(1), Counter[str]()
    count = len(recording.writes)
    assert sum(write.flush for write in recording.writes) >= 20
    places = sorted({round(n * count / CUTS) for n in range(CUTS + 1)})
    for lost in WAYS:
        order = []
        for at in places:
            order.append(recording.judged(at, lost, rng))
            ends[order[-1]] += 1
        assert (order[0], order[-1]) == ("old", "new")
        # The activation is one moment: before it everything is old, after it everything is new.
        assert lost == "some" or order == sorted(order, reverse=True)
    print(f"{recording.kind}: {sum(ends.values())} cuts in {count} writes and flushes: {ends}")
    assert sum(ends.values()) >= 50



@pytest.fixture
def careless() -> Iterator[None]:
    """An installer that flushes the wrong file: names reach the disk before what they name."""
    flush = os.fsync

    def elsewhere(fd: int) -> None:
        path = Path(f"/proc/self/fd/{fd}").readlink()
        for place in (parent for parent in path.parents if parent.name == MOUNT):
            with (place / "bystander").open("ab", buffering=0) as stream:
                stream.write(b"x")
                flush(stream.fileno())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", elsewhere)
        yield


@pytest.mark.usefixtures("careless")
@both
def test_without_its_flushes_it_would_break(recording: Recording) -> None:
    """The proof of the test."""
    rng = random.Random(1)
    for at in range(0, len(recording.writes), 3):
        try:
            recording.judged(at, "nothing", rng)
        except (AssertionError, Refused):
            return
    pytest.fail("an installer without flushes survives every cut: the cuts prove nothing")
