"""Two lines in one appliance: what happens to one is nothing to the other."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.core.conditions import Condition
from edge.core.registers import Ne107, Status
from edge.twin.serve import TwinServer
from tests.line import Rig, appliance_of

pytestmark = pytest.mark.system
Virtual = Callable[[Coroutine[Any, Any, Any]], Any]


def test_a_dead_and_a_silent_plc_never_delay_the_other_line(
    tmp_path: Path, free_port: Callable[[], int], bundle: Path, virtual: Virtual
) -> None:
    both = appliance_of(tmp_path, free_port, bundle=bundle, names=2)

    async def main() -> None:
        async with Rig(both) as rig:
            await rig.start_twins()
            rig.start_app()
            await rig.run(5)
            beats: list[int] = []

            def watch(_twin: TwinServer) -> None:
                beats.append(rig.block(0).seq)

            other = rig.twins[1]
            other.hang_link("plc")
            await rig.run(30, watch)
            await other.stop_link("plc")
            await other.stop_link("dcs")
            await rig.run(30, watch)
            assert np.diff(beats).tolist() == [1] * 59
            assert Status.OUTPUT_VALID in rig.block(0).decision.status
            assert rig.raised(0) == {Condition.SIMULATION}
            assert rig.runner_of(0).poller.counters.worst_skew_ms < 1.0
            assert {Condition.LINK_DOWN, Condition.WRITE_FAILED} <= rig.raised(1)
            first, second = rig.status()["lines"]
            assert (first["ne107"], second["ne107"]) == (Ne107.CHECK_FUNCTION, Ne107.FAILURE)
            # The second line begins half a second after the first.
            assert rig.runner_of(0).cycles - rig.runner_of(1).cycles in (0, 1)

            other.hang_link("plc", hung=False)
            await other.start_link("plc")
            await other.start_link("dcs")
            await rig.until(lambda: other.plc.panel.alive, 15)
            await rig.run(10)
            assert Condition.LINK_DOWN not in rig.raised(1)

    virtual(main())
    rings = {path.parent.name for path in tmp_path.glob("*/rows.ring")}
    assert rings == {"ncm-1", "ncm-2"}
