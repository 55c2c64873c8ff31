"""PLC and DCS absent, dying, silent and coming back, while the other one goes on."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.config.types import Appliance, OpcUaLink, OpcUaSecurity
from edge.core.conditions import Condition
from edge.core.registers import Ne107, Status
from edge.core.tags import Quality, Reason
from tests.line import Rig

pytestmark = pytest.mark.system
Virtual = Callable[[Coroutine[Any, Any, Any]], Any]

RECOVER_S = 10
"""Longest back-off 2 s, then connection, first answer, row and read-back."""
CLEAR_S = 10
"""A condition's off-delay after that."""


def assert_no_row_lost(rig: Rig, rows: int) -> None:
    """The newest `rows` rows lie one second apart."""
    times = rig.runner.ring.ring.times(rows)
    assert np.allclose(np.diff(times), 1.0, atol=1e-6)


def qualities(rig: Rig, link: str) -> set[Quality]:
    row = rig.runner.last_row
    assert row is not None
    return {Quality(int(q)) for q in row.quality[rig.on_link(link)]}


def reasons(rig: Rig, link: str) -> set[Reason]:
    row = rig.runner.last_row
    assert row is not None
    return {Reason(int(q)) for q in row.reason[rig.on_link(link)]}


def test_a_plc_absent_at_the_start_is_found_when_it_appears(
    appliance: Appliance, virtual: Virtual
) -> None:
    async def main() -> None:
        async with Rig(appliance) as rig:
            await rig.start_twins()
            await rig.twin.stop_link("plc")
            rig.start_app()
            await rig.run(30)
            assert rig.runner.cycles == pytest.approx(30, abs=1)
            assert qualities(rig, "plc") == {Quality.BAD}
            assert reasons(rig, "plc") == {Reason.NOT_CONNECTED}
            assert qualities(rig, "dcs") == {Quality.GOOD}
            assert {Condition.LINK_DOWN, Condition.WRITE_FAILED} <= rig.raised()
            assert rig.runner.ne107 is Ne107.FAILURE
            assert rig.text(Condition.LINK_DOWN).startswith("plc: No answer")
            assert set(rig.twin.block_w) == {0}

            await rig.twin.start_link("plc")
            await rig.until(lambda: rig.runner.verified_seq > 0, RECOVER_S)
            assert qualities(rig, "plc") == {Quality.GOOD}
            await rig.run(CLEAR_S)
            assert rig.raised() == {Condition.SIMULATION, Condition.WARMING_UP}
            assert rig.block().decision.ne107 is Ne107.CHECK_FUNCTION
            assert_no_row_lost(rig, 30)

    virtual(main())


def test_a_plc_that_dies_in_mid_batch_and_returns(appliance: Appliance, virtual: Virtual) -> None:
    async def main() -> None:
        async with Rig(appliance) as rig:
            await rig.start_twins()
            rig.start_app()
            await rig.run(63)
            assert Status.OUTPUT_VALID in rig.block().decision.status
            before = rig.runner.cycles
            await rig.twin.stop_link("plc")
            await rig.run(15)
            assert rig.runner.cycles == before + 15
            assert qualities(rig, "plc") == {Quality.BAD}
            assert qualities(rig, "dcs") == {Quality.GOOD}
            assert "advisor gone" in rig.twin.plc.panel.fault
            assert rig.twin.plc.panel.decision is None
            assert {
                Condition.LINK_DOWN, Condition.WRITE_FAILED, Condition.PLC_SILENT
            } <= rig.raised()  # fmt: skip
            assert rig.runner.core.finding.verdict.valid  # a short gap costs no verdict

            await rig.twin.start_link("plc")
            await rig.until(lambda: rig.twin.plc.panel.alive, RECOVER_S)
            await rig.run(CLEAR_S)
            assert rig.raised() == {Condition.SIMULATION}
            seen = rig.block().decision
            assert Status.OUTPUT_VALID in seen.status
            assert Status.INPUT_BAD not in seen.status
            assert seen.tags_bad[:51] == (False,) * 51
            await rig.run(60)
            assert rig.runner.core.finding.verdict.valid
            assert rig.runner.core.batch.batch_id == 1
            assert not rig.runner.core.batch.started  # the same batch went on
            assert_no_row_lost(rig, 140)
            counters = rig.runner.drivers["plc"].counters
            assert (counters.connects, counters.lost) == (2, 1)

    virtual(main())


def test_a_plc_that_accepts_and_never_answers(appliance: Appliance, virtual: Virtual) -> None:
    async def main() -> None:
        async with Rig(appliance) as rig:
            await rig.start_twins()
            rig.start_app()
            await rig.run(5)
            before = rig.runner.cycles
            rig.twin.hang_link("plc")
            await rig.run(30)
            # A row that waits for a silent link is delivered at the end of its slot.
            assert before + 29 <= rig.runner.cycles <= before + 30
            assert qualities(rig, "plc") == {Quality.BAD}
            assert reasons(rig, "plc") <= {Reason.TIMEOUT, Reason.NOT_CONNECTED, Reason.MISSED}
            assert qualities(rig, "dcs") == {Quality.GOOD}
            assert Condition.LINK_DOWN in rig.raised()
            assert rig.runner.drivers["plc"].counters.timeouts >= 3
            assert_no_row_lost(rig, 30)

            rig.twin.hang_link("plc", hung=False)
            await rig.until(lambda: qualities(rig, "plc") == {Quality.GOOD}, RECOVER_S)
            await rig.run(CLEAR_S)
            assert Condition.LINK_DOWN not in rig.raised()
            assert rig.twin.plc.panel.alive

    virtual(main())


def test_an_opcua_server_gone_and_back_leaves_the_plc_untouched(
    appliance: Appliance, virtual: Virtual
) -> None:
    async def main() -> None:
        async with Rig(appliance) as rig:
            await rig.start_twins()
            rig.start_app()
            await rig.run(63)
            seq, cycles = rig.block().seq, rig.runner.cycles
            await rig.twin.stop_link("dcs")
            await rig.run(20)
            assert rig.runner.cycles == cycles + 20
            block = rig.block()
            assert block.seq == seq + 20
            assert qualities(rig, "dcs") == {Quality.BAD}
            assert reasons(rig, "dcs") == {Reason.NOT_CONNECTED}
            assert qualities(rig, "plc") == {Quality.GOOD}
            bad = [i for i, on in enumerate(block.decision.tags_bad) if on]
            assert bad == rig.on_link("dcs")
            assert Condition.LINK_DOWN in rig.raised()
            assert rig.text(Condition.LINK_DOWN).startswith("dcs: No answer")
            assert Status.INPUT_BAD in block.decision.status
            assert block.decision.ne107 is Ne107.FAILURE
            # Two thirds of the tags are enough for a verdict.
            assert Status.OUTPUT_VALID in block.decision.status

            await rig.twin.start_link("dcs")
            await rig.until(lambda: qualities(rig, "dcs") == {Quality.GOOD}, RECOVER_S)
            await rig.run(CLEAR_S)
            assert rig.raised() == {Condition.SIMULATION}
            assert_no_row_lost(rig, 90)

    virtual(main())


def test_a_link_without_its_certificate_is_named_and_the_other_goes_on(
    appliance: Appliance, virtual: Virtual, tmp_path: Path
) -> None:
    (line,) = appliance.lines
    security = OpcUaSecurity(
        policy="basic256sha256",
        client_certificate=tmp_path / "gone.der",
        client_key=tmp_path / "gone.key",
        trust_dir=tmp_path,
    )
    links = tuple(
        replace(link, security=security) if isinstance(link, OpcUaLink) else link
        for link in line.links
    )
    appliance = replace(appliance, lines=(replace(line, links=links),))

    async def main() -> None:
        async with Rig(appliance) as rig:
            await rig.start_twins()
            rig.start_app()
            await rig.run(30)
            assert qualities(rig, "plc") == {Quality.GOOD}
            assert reasons(rig, "dcs") == {Reason.NOT_CONNECTED}
            assert {Condition.LINK_DOWN, Condition.CERTIFICATE_REFUSED} <= rig.raised()
            text = rig.text(Condition.CERTIFICATE_REFUSED)
            assert text.startswith(f"link dcs: {tmp_path / 'gone.der'} cannot be read")
            assert_no_row_lost(rig, 25)

    virtual(main())
