"""Values that cannot be true: bad quality rather than a number, and when that is too much."""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from edge.config.types import Appliance
from edge.core.conditions import Condition
from edge.core.registers import Ne107, Status
from edge.core.tags import Quality, Reason
from edge.twin.opcua_server import NodeStatus
from edge.twin.serve import BAD, UNCERTAIN
from tests.line import Rig

pytestmark = pytest.mark.system
Virtual = Callable[[Coroutine[Any, Any, Any]], Any]

BROKEN = {
    "PI-103.PV": Reason.FROZEN,
    "FIC-102.PV": Reason.NOT_A_NUMBER,
    "PI-107.PV": Reason.OUT_OF_RANGE,
    "NI-106.PV": Reason.NOT_A_NUMBER,
    "TI-106J1.PV": Reason.STALE,
    "SIC-106.PV": Reason.STATUS_BAD,
}


def test_six_sick_instruments_are_named_and_cost_no_verdict(
    appliance: Appliance, virtual: Virtual
) -> None:
    async def main() -> None:
        async with Rig(appliance) as rig:
            await rig.start_twins()
            rig.start_app()
            await rig.run(10)
            twin = rig.twin
            twin.freeze("PI-103.PV")
            twin.show("FIC-102.PV", math.nan)
            twin.show("PI-107.PV", 99.0)
            twin.show("NI-106.PV", math.nan)
            twin.set_status("TI-106J1.PV", NodeStatus(age_s=30.0))
            twin.set_status("SIC-106.PV", BAD)
            twin.set_status("TI-106B.PV", UNCERTAIN)
            await rig.run(3)
            frozen_after_s = 120
            assert rig.tag("PI-103.PV")[1] is Quality.GOOD  # not yet known to be frozen
            await rig.run(frozen_after_s)
            for name, reason in BROKEN.items():
                value, quality, why = rig.tag(name)
                assert (quality, why) == (Quality.BAD, reason), name
                assert math.isnan(value), name
            value, quality, _ = rig.tag("TI-106B.PV")
            assert quality is Quality.UNCERTAIN
            assert 0 < value < 150

            seen = rig.block().decision
            assert {i for i, on in enumerate(seen.tags_bad) if on} == set(map(rig.place, BROKEN))
            assert Status.OUTPUT_VALID in seen.status
            assert seen.data_quality == pytest.approx(1 - 7 / 51, abs=0.03)
            assert Condition.INPUT_BAD not in rig.raised()
            shown = {t["name"]: t for t in rig.status()["lines"][0]["tags"]}
            assert shown["PI-103.PV"]["value"] is None
            assert shown["PI-103.PV"]["reason"] == "frozen"

            for name in (*BROKEN, "TI-106B.PV"):
                twin.release(name)
            await rig.run(3)
            assert not any(rig.block().decision.tags_bad)
            assert {rig.tag(name)[1] for name in BROKEN} == {Quality.GOOD}

    virtual(main())


def test_too_few_good_tags_give_no_verdict_until_they_are_back(
    appliance: Appliance, virtual: Virtual
) -> None:
    async def main() -> None:
        async with Rig(appliance) as rig:
            await rig.start_twins()
            rig.start_app()
            await rig.run(63)
            assert Status.OUTPUT_VALID in rig.block().decision.status
            names = [row.tag.name for row in appliance.lines[0].tags][:25]
            for name in names:
                rig.twin.show(name, 1e6)  # beyond every range, and beyond 16 bits
            await rig.run(120)
            assert rig.tag("FIC-103.PV")[2] is Reason.OUT_OF_RANGE
            block = rig.block()
            seen = block.decision
            assert Status.OUTPUT_VALID not in seen.status
            assert Status.INPUT_BAD in seen.status
            assert (seen.probability, seen.severity, seen.components) == (None, None, ())
            assert rig.twin.block_w[6:8] == (0xFFFF, 0xFFFF)
            assert seen.ne107 is Ne107.FAILURE
            assert Condition.INPUT_BAD in rig.raised()
            assert "ncm-edge tags" in rig.text(Condition.INPUT_BAD)

            for name in names:
                rig.twin.release(name)
            await rig.until(lambda: Status.OUTPUT_VALID in rig.block().decision.status, 2 * 60 + 5)
            await rig.run(35)
            assert rig.raised() == {Condition.SIMULATION}

    virtual(main())
