"""A disk that refuses every write: rows and write-back go on, and so does the disk's return.

The limit is the kernel's own (RLIMIT_FSIZE): the very write calls fail, with "File too large" in
place of "No space left on device". It binds this process only and is lifted again in the test.
"""

from __future__ import annotations

import resource
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from edge.config.types import Appliance
from edge.core.conditions import Condition
from edge.core.registers import Ne107, Status
from tests.line import Rig

pytestmark = pytest.mark.system
Virtual = Callable[[Coroutine[Any, Any, Any]], Any]


@contextmanager
def full_disk() -> Iterator[None]:
    """Files can be made and named, but nothing can be written into them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_fills_in_mid_batch_and_is_freed(
    appliance: Appliance, virtual: Virtual
) -> None:
    checkpoint = appliance.state_dir / "ncm-1" / "model.state.npz"

    async def main() -> None:
        async with Rig(appliance) as rig:
            await rig.start_twins()
            rig.start_app()
            await rig.run(63)
            kept = checkpoint.read_bytes()
            seq, rows = rig.block().seq, rig.runner.ring.ring.seq
            with full_disk():
                await rig.run(60)
                block = rig.block()
                assert block.seq == seq + 60
                assert rig.runner.ring.ring.seq == rows + 60
                assert Condition.STORAGE_FAULT in rig.raised()
                assert Status.STORAGE_FAULT in block.decision.status
                assert Status.OUTPUT_VALID in block.decision.status
                assert checkpoint.read_bytes() == kept  # the old one is whole
                detail = [t for t in rig.runner.core.texts if t.condition == "storage fault"]
                assert "model.state.npz" in detail[0].cause
                assert "Free space" in detail[0].action
            await rig.run(60)
            assert Condition.STORAGE_FAULT not in rig.raised()
            assert rig.raised() == {Condition.SIMULATION}
            assert checkpoint.read_bytes() != kept
            assert rig.status()["lines"][0]["ne107_text"] == "check function"
            # The rows of the bad minute are in the file, too.
            await rig.stop_app()
            rig.start_app()
            assert rig.runner.ring.opened == "resumed"
            assert rig.runner.ring.ring.seq == rows + 120

    virtual(main())


def test_a_disk_that_is_full_at_the_start(appliance: Appliance, virtual: Virtual) -> None:
    path = appliance.state_dir / "ncm-1" / "rows.ring"

    async def main() -> None:
        async with Rig(appliance) as rig:
            await rig.start_twins()
            with full_disk():
                rig.start_app()
                assert rig.runner.ring.opened == "memory"
                await rig.run(63)
                seen = rig.block().decision
                assert Status.STORAGE_FAULT in seen.status
                assert Status.OUTPUT_VALID in seen.status
                assert seen.ne107 is Ne107.CHECK_FUNCTION  # a simulation outranks the disk
                assert not path.exists()
            await rig.run(60)
            assert rig.raised() == {Condition.SIMULATION}
            assert rig.runner.ring.path == path
            rows = rig.runner.ring.ring.seq
            assert rows == pytest.approx(123, abs=1)
            await rig.stop_app()
            rig.start_app()
            assert rig.runner.ring.opened == "resumed"
            assert rig.runner.ring.ring.seq == rows  # those kept in memory meanwhile included
            await rig.run(5)

    virtual(main())
