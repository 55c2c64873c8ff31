"""A good day: what the PLC, the operator and the status file see while everything works."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest

from edge.config.types import Appliance
from edge.core.conditions import Condition
from edge.core.registers import MAP_VERSION, Ne107, Status
from edge.twin.serve import TwinServer
from tests.line import EPOCH_S, START_MIN, Rig

pytestmark = pytest.mark.system
Virtual = Callable[[Coroutine[Any, Any, Any]], Any]


def test_block_w_once_a_second_from_the_first_row_to_the_verdict(
    appliance: Appliance, virtual: Virtual
) -> None:
    async def main() -> None:
        async with Rig(appliance) as rig:
            await rig.start_twins()
            rig.start_app()
            await rig.run(5)
            first = rig.block()
            assert Status.WARMING_UP in first.decision.status
            assert Status.OUTPUT_VALID not in first.decision.status
            assert first.decision.infer_age_s is None
            assert first.decision.probability is None

            beats: list[int] = []

            def watch(twin: TwinServer) -> None:
                words = twin.block_w
                assert words[0] == words[63] != 0
                beats.append(rig.block().seq)

            await rig.run(120, watch)
            assert np.diff(beats).tolist() == [1] * 119
            block = rig.block()
            seen = block.decision
            assert block.map_version == MAP_VERSION
            assert seen.status & (
                Status.RUNNING | Status.MODEL_LOADED | Status.OUTPUT_VALID | Status.SIMULATION
                | Status.FUNCTION_CHECK
            ) == Status.RUNNING | Status.MODEL_LOADED | Status.OUTPUT_VALID | (
                Status.SIMULATION | Status.FUNCTION_CHECK
            )  # fmt: skip
            assert not seen.status & (
                Status.INPUT_BAD | Status.WARMING_UP | Status.STORAGE_FAULT | Status.CPU_FALLBACK
                | Status.CLOCK_NOT_SYNCHRONISED
            )  # fmt: skip
            assert seen.ne107 is Ne107.CHECK_FUNCTION
            assert rig.raised() == {Condition.SIMULATION}
            assert seen.probability is not None
            assert seen.severity == 0
            assert not any(seen.tags_bad)
            assert seen.data_quality == 1.0
            assert seen.infer_age_s is not None
            assert seen.infer_age_s <= 60
            assert seen.newest_s == pytest.approx(rig.clock.wall_s(), abs=2)
            assert seen.plc_age_s is not None
            assert seen.plc_age_s <= 2
            assert seen.batch_id == 1
            assert seen.phase == rig.twin.latest.step  # type: ignore[union-attr]
            assert rig.twin.refused_writes == 0
            counters = rig.runner.publisher.counters
            assert counters.verified >= 120
            assert counters.mismatches == 0
            assert counters.link_errors <= 1  # before the first connection

    virtual(main())


def test_the_status_file_tells_the_same_and_goes_away_with_the_daemon(
    appliance: Appliance, virtual: Virtual, recwarn: pytest.WarningsRecorder
) -> None:
    async def main() -> None:
        before = asyncio.all_tasks()
        async with Rig(appliance) as rig:
            await rig.start_twins()
            servers = asyncio.all_tasks()
            rig.start_app()
            await rig.run(65)
            document = rig.status()
            (line,) = document["lines"]
            assert document["written_s"] == pytest.approx(EPOCH_S + 65, abs=2)
            assert document["config_sha256"] == appliance.config_sha256
            assert line["ne107_text"] == "check function"
            assert line["verdict"]["valid"]
            assert line["verdict"]["text"].startswith("normal, defect probability")
            assert line["provider"] == "cpu"
            assert "not for production" in line["model"]
            assert line["batch"].startswith(f"1 running, minute {START_MIN:.0f}")
            assert [link["connected"] for link in line["links"]] == [True, True]
            assert len(line["tags"]) == 51
            assert {tag["quality"] for tag in line["tags"]} == {"good"}
            simulation = [c for c in line["conditions"] if c["condition"] == Condition.SIMULATION]
            assert "Never act on these outputs" in simulation[0]["text"]
            await rig.stop_app()
            assert not (appliance.runtime_dir / "status.json").exists()
            # Sessions of the servers may still be closing; the appliance's own tasks are gone.
            names = {task.get_name() for task in asyncio.all_tasks() - servers}
            assert not {name for name in names if name.startswith(("line", "ncm-1", "poll"))}
        await asyncio.sleep(5.0)
        assert asyncio.all_tasks() == before

    virtual(main())
    assert not recwarn.list
