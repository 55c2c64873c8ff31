"""The commissioning table against a simulated line on real servers."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge.cli import tags
from edge.config.types import Appliance, Line
from edge.core.codec import Encoding
from edge.runtime.clock import LoopClock
from edge.twin.serve import BAD, NodeStatus, TwinServer
from tests.twin.small_line import SmallPlant, modbus, small_line

Virtual = Callable[[Coroutine[Any, Any, Any]], Any]
Port = Callable[[], int]
Capture = pytest.CaptureFixture[str]
EPOCH_S = 1_800_000_000.0


def appliance(*lines: Line) -> Appliance:
    return Appliance(
        name="test", state_dir=Path(), runtime_dir=Path(), provider="cpu", lines=lines,
        config_sha256="0" * 64,
    )  # fmt: skip


async def table(
    line: Line, break_it: Callable[[TwinServer], None] = lambda twin: None, **options: bool
) -> int:
    clock = LoopClock(EPOCH_S)
    async with TwinServer(line, SmallPlant(), clock=clock) as twin:
        await twin.advance()
        break_it(twin)
        await twin.advance()
        return await tags.show(appliance(line), clock=clock, **options)


def test_a_healthy_line_is_shown_in_full(
    virtual: Virtual, free_port: Port, capsys: Capture
) -> None:
    line = small_line(free_port)
    assert virtual(table(line)) == 0
    out = capsys.readouterr().out
    rows = {row.split()[0]: row for row in out.splitlines() if row.strip()}
    assert "plc unit 1 input 0 (1-based 1)" in rows["SIC-1.PV"]
    assert "0014" in rows["SIC-1.PV"]  # 2.0 rpm at 0.1 rpm a count
    assert "AB* 2" in rows["SIC-1.PV"]
    assert "dcs s=AIT-1.PV" in rows["AIT-1.PV"]
    assert "11.2" in rows["AIT-1.PV"]
    assert rows["FIC-1.SP"].split()[1:4] == ["200", "kg/h", "good"]
    assert "6 of 6 tags good" in out
    assert f"link plc: 127.0.0.1:{line.links[0].port}, connected" in out


def test_errors_come_with_a_reason_and_the_number_that_was_refused(
    virtual: Virtual, free_port: Port, capsys: Capture
) -> None:
    def break_it(twin: TwinServer) -> None:
        twin.show("SIC-1.PV", 600.0)
        twin.show("FIC-1.PV", math.nan)
        twin.set_status("TIC-1.PV", BAD)
        twin.set_status("AIT-1.PV", NodeStatus(age_s=3600.0))

    assert virtual(table(small_line(free_port), break_it, errors=True)) == 1
    out = capsys.readouterr().out
    rows = {row.split()[1]: row for row in out.splitlines() if row.lstrip().startswith("!")}
    assert set(rows) == {"SIC-1.PV", "FIC-1.PV", "TIC-1.PV", "AIT-1.PV"}
    assert "600  rpm" in rows["SIC-1.PV"]
    assert "outside the instrument range 0..500 rpm" in rows["SIC-1.PV"]
    assert "no number" in rows["FIC-1.PV"]
    assert "server says Bad" in rows["TIC-1.PV"]
    assert "3600." in rows["AIT-1.PV"]
    assert "source time stamp differs by more than 10 s" in rows["AIT-1.PV"]
    assert "2 of 6 tags good" in out


def test_a_wrong_word_order_is_seen_side_by_side(
    virtual: Virtual, free_port: Port, capsys: Capture
) -> None:
    line = small_line(free_port)
    wrong = replace(line.tags[1], source=modbus(1, Encoding(type="float32", word_order="little")))
    misread = replace(line, tags=(line.tags[0], wrong, *line.tags[2:]))

    async def main() -> int:
        async with TwinServer(line, SmallPlant()) as twin:
            twin.show("FIC-1.PV", 206.5)
            await twin.advance()
            return await tags.show(appliance(misread), as_json=True)

    assert virtual(main()) == 1
    (document,) = json.loads(capsys.readouterr().out)
    flow = next(tag for tag in document["tags"] if tag["name"] == "FIC-1.PV")
    assert flow["quality"] == "bad" or not 100 < flow["value"] < 400
    assert flow["orders"]["ABCD"] == 206.5
    assert "CDAB*" in flow["orders"]
    assert flow["readings"]["float32 ABCD"] == 206.5
    assert "uint32 DCBA" in flow["readings"]


def test_an_absent_plc_costs_three_seconds_and_only_its_own_tags(
    virtual: Virtual, free_port: Port, capsys: Capture
) -> None:
    line = small_line(free_port)

    async def main() -> tuple[int, float]:
        clock = LoopClock(EPOCH_S)
        async with TwinServer(line, SmallPlant(), clock=clock) as twin:
            await twin.stop_link("plc")
            code = await tags.show(appliance(line), clock=clock)
            return code, asyncio.get_running_loop().time()

    code, took_s = virtual(main())
    out = capsys.readouterr().out
    assert code == 1
    assert took_s < 5.0
    assert "NOT CONNECTED; last error: " in out
    assert out.count("link is not connected") == 4
    assert "2 of 6 tags good" in out


def test_watching_goes_on_until_stopped(virtual: Virtual, free_port: Port, capsys: Capture) -> None:
    line = small_line(free_port)

    async def main() -> None:
        async with TwinServer(line, SmallPlant()) as twin:
            going = asyncio.create_task(twin.run())
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(5.0):
                    await tags.show(appliance(line), watch=True)
            going.cancel()
            await asyncio.gather(going, return_exceptions=True)

    virtual(main())
    assert capsys.readouterr().out.count("tags good") >= 4
