"""Killed or cut off at every single step: the old or the new release, and the stick finishes it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.update import audit
from tests.update.powercut import Cut, PowerCut
from tests.update.site import Appliance, Supplier
from tests.update.story import finished

Act = Callable[[Appliance, Path], object]


class Story:
    """An appliance before the act, what is done to it, and what it may be afterwards."""

    def __init__(
        self, supplier: Supplier, folder: Path, before: tuple[int, ...], *, rotate: bool
    ) -> None:
        self.folder, self.old = folder, before[-1] if before else None
        self.pinned = supplier.folder / "root.json"
        self.base = folder / "base"
        appliance = Appliance(state=self.base, pinned=self.pinned)
        self.stick = folder / "x.ncm"
        for seq in before:
            self.stick.write_bytes(supplier.release(seq))
            appliance.apply(self.stick)
        if rotate:
            supplier.revoke("release-2")
        self.stick.write_bytes(supplier.release(6))
        self._made = 0

    def state(self) -> Path:
        """A fresh copy of the state before the act."""
        self._made += 1
        place = self.folder / f"state{self._made}"
        if self.base.exists():
            shutil.copytree(self.base, place)
        else:
            place.mkdir()
        return place

    def on(self, state: Path) -> Appliance:
        return Appliance(state=state, pinned=self.pinned)

    def steps(self) -> int:
        """Steps of the whole act."""
        state = self.state()
        watch = PowerCut(state, -1)
        appliance = self.on(state)
        appliance.watch = watch
        appliance.apply(self.stick)
        return watch.steps

    def check(self, state: Path) -> str:
        """Old or new runs, going back is possible, and the stick finishes the job."""
        end = finished(self.on(state), self.stick, self.old)
        shutil.rmtree(state)
        return end


def _die_at(story: Story, state: Path, at: int) -> None:
    """The child: nothing of the parent's may run in it, no handler, no flush, no report."""
    try:
        appliance, left = story.on(state), [at]

        def watch(*_: object) -> None:
            if not left[0]:
                os._exit(9)
            left[0] -= 1

        appliance.watch = watch
        appliance.apply(story.stick)
    finally:
        os._exit(0)


STORIES = {
    "an update with new keys": {"before": (4, 5), "rotate": True},
    "the first installation": {"before": (), "rotate": False},
}


@pytest.fixture(params=STORIES)
def story(request: pytest.FixtureRequest, supplier: Supplier, memory: Path) -> Story:
    return Story(supplier, memory, **STORIES[request.param])  # type: ignore[arg-type]


def test_killed_before_every_step(story: Story) -> None:
    ends = []
    for at in range(story.steps()):
        state = story.state()
        child = os.fork()
        if child == 0:
            _die_at(story, state, at)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
        ends.append(story.check(state))
    # The activation is one step: before it everything is old, after it everything is new.
    assert ends == sorted(ends, reverse=True)
    assert set(ends) == {"old", "new"}


def test_power_cut_before_every_step(story: Story) -> None:
    cuts = 0
    for at in range(story.steps()):
        state = story.state()
        appliance, watch = story.on(state), PowerCut(state, at)
        appliance.watch = watch
        with pytest.raises(Cut):
            appliance.apply(story.stick)
        disks = watch.disks()
        for number in sorted({0, len(disks) // 2, len(disks) - 1}):
            cuts += 1
            after = story.folder / f"cut{cuts}"
            watch.lay_out(disks[number], after)
            story.check(after)
        shutil.rmtree(state)
    assert cuts >= 50


def test_the_model_of_the_power_cut_finds_a_missing_flush(story: Story) -> None:
    """The proof of the test: without the flushes there are disks with files of zero bytes."""
    state = story.state()
    at = story.steps() - 12
    watch = PowerCut(state, at)

    def careless(operation: str, path: Path, target: Path | None) -> None:
        if operation == "fsync":
            operation = "write"
        watch(operation, path, target)

    appliance = story.on(state)
    appliance.watch = careless
    with pytest.raises(Cut):
        appliance.apply(story.stick)
    broken = 0
    for number, disk in enumerate(watch.disks()):
        place = story.folder / f"careless{number}"
        watch.lay_out(disk, place)
        try:
            story.check(place)
        except BaseException:
            broken += 1
    assert broken


def test_rollback_cut_before_every_step(supplier: Supplier, memory: Path) -> None:
    story = Story(supplier, memory, (4, 5), rotate=False)
    at = 0
    while True:
        state = story.state()
        appliance, watch = story.on(state), PowerCut(state, at)
        appliance.watch = watch
        try:
            appliance.installer.rollback()
        except Cut:
            for number, disk in enumerate(watch.disks()):
                after = story.folder / f"cut{at}-{number}"
                watch.lay_out(disk, after)
                assert story.on(after).active in (4, 5)
                story.on(after).installer.rollback()
                assert story.on(after).active in (4, 5)
            at += 1
            continue
        break
    assert at > 5


def test_going_back_is_possible_on_a_full_disk(supplier: Supplier, memory: Path) -> None:
    story = Story(supplier, memory, (4, 5), rotate=False)
    state = story.state()
    appliance = story.on(state)

    def full(operation: str, path: Path, _: Path | None) -> None:
        # Full as long as the reserve is there: giving it up makes room for one record.
        if operation == "write" and (appliance.store.line / "reserve").exists():
            raise OSError(28, os.strerror(28), str(path))
        if operation == "write" and "audit" in str(path):
            raise OSError(28, os.strerror(28), str(path))

    appliance.watch = full
    installer = appliance.installer
    installer.rollback()
    assert appliance.active == 4
    assert "No space left" in installer._audit.fault
    assert audit.verify(appliance.audit.folder)[1] == []
