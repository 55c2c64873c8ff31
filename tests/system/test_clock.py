"""Wall clocks that jump: time stamps move, rows, heartbeat and verdicts do not."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest

from edge.config.types import Appliance
from edge.core.conditions import Condition
from edge.core.registers import Status
from edge.core.tags import Quality, Reason
from tests.line import Rig

pytestmark = pytest.mark.system
Virtual = Callable[[Coroutine[Any, Any, Any]], Any]
HOUR_S = 3600.0


@pytest.mark.parametrize("step_s", [-HOUR_S, HOUR_S], ids=["back", "forward"])
def test_a_clock_that_steps_loses_no_row_and_no_verdict(
    appliance: Appliance, virtual: Virtual, step_s: float
) -> None:
    async def main() -> None:
        async with Rig(appliance) as rig:
            await rig.start_twins()
            rig.start_app()
            await rig.run(63)
            seq, rows = rig.block().seq, rig.runner.ring.ring.seq
            rig.step_both_clocks(step_s)
            await rig.run(60)
            block, ring = rig.block(), rig.runner.ring.ring
            assert block.seq == seq + 60
            assert ring.seq == rows + 60
            steps = np.diff(ring.times(100))
            assert (np.abs(steps - 1.0) < 1e-6).sum() == 98
            assert steps[np.abs(steps - 1.0) > 1e-6] == pytest.approx([1.0 + step_s])
            values, quality = ring.last(100)
            # The one row between the jump and the server's next time stamps may be doubted.
            doubted = (quality != Quality.GOOD).any(axis=1)
            assert doubted.sum() <= 1
            assert np.isfinite(values[~doubted]).all()
            assert Condition.CLOCK_STEPPED in rig.raised()
            assert "time service" in rig.text(Condition.CLOCK_STEPPED)
            assert Status.CLOCK_NOT_SYNCHRONISED in block.decision.status
            assert Status.OUTPUT_VALID in block.decision.status
            assert rig.runner.core.finding.infer_ms is not None
            assert block.decision.infer_age_s is not None
            assert block.decision.infer_age_s <= 60
            assert block.decision.newest_s == pytest.approx(rig.clock.wall_s(), abs=2)

    virtual(main())


def test_clocks_that_differ_cost_the_stamped_tags_until_they_agree_again(
    appliance: Appliance, virtual: Virtual
) -> None:
    async def main() -> None:
        async with Rig(appliance) as rig:
            await rig.start_twins()
            rig.start_app()
            await rig.run(5)
            rig.clock.step(HOUR_S)  # as seen from here, everything with a time stamp is old
            await rig.run(5)
            assert rig.tag("TIC-106.PV")[1:] == (Quality.BAD, Reason.STALE)
            assert rig.tag("FIC-103.PV")[1] is Quality.GOOD  # Modbus has no time stamps
            rig.clock.step(-2 * HOUR_S)  # and now it comes from the future
            await rig.run(5)
            assert rig.tag("TIC-106.PV")[1:] == (Quality.UNCERTAIN, Reason.STALE)
            assert np.isfinite(rig.tag("TIC-106.PV")[0])
            rig.clock.step(HOUR_S)
            await rig.run(5)
            assert rig.tag("TIC-106.PV")[1] is Quality.GOOD
            assert not any(rig.block().decision.tags_bad)

    virtual(main())


def test_a_restart_with_a_clock_behind_the_newest_row(
    appliance: Appliance, virtual: Virtual, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with Rig(appliance) as rig:
            await rig.start_twins()
            rig.start_app()
            await rig.run(125)
            rows = rig.runner.ring.ring.seq
            await rig.stop_app()
            rig.step_both_clocks(-HOUR_S)
            rig.start_app()
            await rig.run(63)
            assert "behind the newest row" in caplog.text
            assert Condition.CLOCK_STEPPED in rig.raised()
            assert rig.runner.ring.ring.seq == pytest.approx(rows + 63, abs=1)
            assert Status.OUTPUT_VALID in rig.block().decision.status

    virtual(main())
