"""The PLC and its operator: answers to suggestions, a stopped program, somebody else who writes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest
from pymodbus.client import AsyncModbusTcpClient

from edge.config.types import Appliance
from edge.core.conditions import Condition
from edge.core.registers import Control, Ne107, Status, TrimReason, TrimState
from edge.twin.operator import AcceptAfter, Ignore, Operator, RejectAll
from edge.twin.plc import PlcBlock, Process
from edge.twin.scenario import Scenario
from tests.line import Rig

pytestmark = pytest.mark.system
Virtual = Callable[[Coroutine[Any, Any, Any]], Any]

OFFERING = Scenario(seed=7, fault=None)
OFFER_MIN = 400.0
OFFER_S = 1400
"""The trim of this batch is dropped when the test's PLC takes over, so pH leaves its target."""


def trim_state(rig: Rig) -> TrimState:
    return rig.block().decision.trim_state


async def until_offered(rig: Rig) -> int:
    """Run to the first suggestion on the panel; its number."""
    await rig.until(lambda: trim_state(rig) is TrimState.OFFERED, OFFER_S)
    seen = rig.block().decision
    assert Status.TRIM_OFFERED in seen.status
    assert seen.trim_base_kg_h is not None
    assert seen.trim_lo_kg_h <= seen.trim_kg_h <= seen.trim_hi_kg_h
    assert seen.trim_kg_h != 0.0
    assert 0 < seen.trim_ttl_s <= 900
    return seen.trim_seq


@pytest.mark.parametrize(
    ("operator", "state"),
    [(AcceptAfter(3), TrimState.ACCEPTED), (RejectAll(3), TrimState.REJECTED)],
    ids=["accepted", "rejected"],
)
def test_a_suggestion_is_answered_at_the_panel(
    appliance: Appliance, virtual: Virtual, operator: Operator, state: TrimState
) -> None:
    async def main() -> None:
        rig = Rig(appliance, scenario=OFFERING, operator=operator, start_minute=OFFER_MIN)
        async with rig:
            await rig.start_twins()
            rig.start_app()
            await rig.run(5)
            seq = await until_offered(rig)
            offered = rig.block().decision
            await rig.until(lambda: trim_state(rig) is state, 10)
            seen = rig.block().decision
            assert seen.trim_seq == seq
            assert Status.TRIM_OFFERED not in seen.status
            accepted = state is TrimState.ACCEPTED
            assert rig.twin.plc.accepted == ([seq] if accepted else [])
            assert rig.twin.plc.rejected == ([] if accepted else [seq])
            await rig.run(30)
            applied = rig.twin.plc.panel.trim_kg_h
            assert applied == pytest.approx(offered.trim_kg_h if accepted else 0.0, abs=0.3)
            assert rig.twin.refused_writes == 0  # the set-point moved, but not by our hand
            if accepted:
                await rig.stop_app()
                await rig.run(180)
                assert "advisor gone" in rig.twin.plc.panel.fault
                assert abs(rig.twin.plc.panel.trim_kg_h) < 0.05  # back to the recipe

    virtual(main())


class StoppablePlc(PlcBlock):
    """Its communication module goes on answering when the program is in STOP."""

    stopped = False
    _last: tuple[tuple[int, ...], float] = ((0,) * 16, 0.0)

    def scan(self, words: Sequence[int], process: Process) -> tuple[tuple[int, ...], float]:
        if not self.stopped:
            self._last = super().scan(words, process)
        return self._last


def test_a_plc_program_in_stop_withdraws_the_suggestion(
    appliance: Appliance, virtual: Virtual
) -> None:
    async def main() -> None:
        plc = StoppablePlc(operator=Ignore())
        async with Rig(appliance, scenario=OFFERING, plc=plc, start_minute=OFFER_MIN) as rig:
            await rig.start_twins()
            rig.start_app()
            await rig.run(5)
            await until_offered(rig)
            plc.stopped = True
            await rig.run(4)
            assert trim_state(rig) is TrimState.OFFERED  # a late scan is no alarm
            await rig.run(4)
            block = rig.block()
            seen = block.decision
            assert seen.trim_state is TrimState.WITHDRAWN
            assert seen.trim_reason is TrimReason.HEARTBEAT_LOST
            assert seen.trim_ttl_s == 0
            assert Condition.PLC_SILENT in rig.raised()
            assert seen.ne107 is Ne107.FAILURE
            assert Status.OUTPUT_VALID in seen.status  # the verdict does not need the PLC
            await rig.run(60)
            assert rig.block().seq == block.seq + 60
            assert rig.block().decision.plc_age_s == pytest.approx(68, abs=2)
            assert "PLC silent" in rig.status()["lines"][0]["trim"]["text"]
            plc.stopped = False
            await rig.run(10)
            assert Condition.PLC_SILENT not in rig.raised()
            await rig.run(60)
            assert "PLC silent" not in rig.status()["lines"][0]["trim"]["text"]

    virtual(main())


async def scribble(port: int) -> None:
    """A second writer on SEVERITY, forty times at the very moment the appliance publishes."""
    client = AsyncModbusTcpClient("127.0.0.1", port=port, timeout=0.4, retries=0, reconnect_delay=0)
    assert await client.connect()
    loop = asyncio.get_running_loop()
    try:
        while True:
            await asyncio.sleep(1.0 - loop.time() % 1.0)
            for _ in range(40):
                await client.write_register(1007, 3)
    finally:
        client.close()


def test_somebody_else_who_writes_block_w_disarms_the_appliance(
    appliance: Appliance, virtual: Virtual
) -> None:
    (port,) = (link.port for link in appliance.lines[0].links if hasattr(link, "port"))

    async def main() -> None:
        async with Rig(appliance) as rig:
            await rig.start_twins()
            rig.start_app()
            await rig.run(5)
            assert rig.runner.publisher.counters.mismatches == 0
            other = asyncio.create_task(scribble(port))
            await rig.until(lambda: rig.runner.publisher.counters.mismatches > 0, 5)
            await rig.run(8)
            # Nothing more is written: the PLC sees a dead heartbeat instead of forged flags.
            assert "advisor gone" in rig.twin.plc.panel.fault or (
                "damaged" in rig.twin.plc.panel.fault
            )
            assert rig.twin.plc.panel.decision is None
            assert rig.runner.publisher.counters.suppressed >= 5
            assert Condition.READBACK_MISMATCH in rig.raised()
            assert "the PLC holds 3" in rig.text(Condition.READBACK_MISMATCH)
            assert rig.runner.cycles == rig.twin.seconds - 1  # rows go on

            other.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await other
            await rig.until(lambda: rig.twin.plc.panel.alive, 15)
            await rig.run(35)
            # It works again, but somebody must take note that it happened.
            assert rig.block().decision.ne107 is Ne107.FAILURE
            assert Condition.READBACK_MISMATCH in rig.raised()
            rig.twin.plc.controls = Control.ACKNOWLEDGE
            await rig.run(3)
            assert Condition.READBACK_MISMATCH not in rig.raised()

    virtual(main())


def test_holding_the_batch_and_switching_advice_off_are_obeyed(
    appliance: Appliance, virtual: Virtual
) -> None:
    async def main() -> None:
        async with Rig(appliance) as rig:
            await rig.start_twins()
            rig.start_app()
            await rig.run(63)
            rig.twin.plc.advice_enabled = False
            rig.twin.plc.controls = Control.MAINTENANCE
            await rig.run(3)
            assert {Condition.ADVICE_DISABLED, Condition.MAINTENANCE} <= rig.raised()
            rig.twin.held = True
            step = rig.runner.core.batch.step
            await rig.run(120)
            assert rig.runner.core.batch.state == "held"
            assert rig.runner.core.batch.step == step  # time stands still for the batch
            assert rig.status()["lines"][0]["verdict"]["text"] == "no verdict: no batch running"
            assert Status.OUTPUT_VALID not in rig.block().decision.status
            rig.twin.held = False
            rig.twin.plc.controls = Control.NONE
            rig.twin.plc.advice_enabled = True
            await rig.run(63)
            assert rig.runner.core.batch.state == "running"
            assert Status.OUTPUT_VALID in rig.block().decision.status
            assert rig.raised() == {Condition.SIMULATION}

    virtual(main())
