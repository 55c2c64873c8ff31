"""`ncm-edge replay` and the text of the PLC's panel."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pymodbus.client import ModbusTcpClient

from edge.cli import serve
from edge.config.types import Appliance, Line
from edge.core import codec
from edge.core.codec import Encoding
from edge.core.outputs import Decision
from edge.core.registers import Ne107, Status
from edge.twin.operator import Offer
from edge.twin.plc import Panel
from tests.twin.small_line import small_line

Port = Callable[[], int]
Capture = pytest.CaptureFixture[str]


def appliance(*lines: Line) -> Appliance:
    return Appliance(
        name="test",
        state_dir=Path(),
        runtime_dir=Path(),
        provider="cpu",
        lines=lines,
        config_sha256="0" * 64,
    )


def modbus_only(port: Port) -> Line:
    line = small_line(port)
    return replace(line, tags=line.tags[1:3], links=line.links[:1])


def recording(tmp_path: Path, rows: int) -> Path:
    path = tmp_path / "rig.csv"
    text = "".join(f"{200 + k},{4000 - k},ok\n" for k in range(rows))
    path.write_text("FIC-1.PV,WI-1.PV,label\n" + text, encoding="utf-8")
    return path


def test_a_recording_is_played_to_its_reader_and_then_the_program_ends(
    tmp_path: Path, free_port: Port, capsys: Capture
) -> None:
    line = modbus_only(free_port)
    codes: list[int] = []
    path = recording(tmp_path, 40)
    server = threading.Thread(
        target=lambda: codes.append(
            serve.replay(appliance(line), path, where="label=ok", speed=100.0)
        )
    )
    server.start()
    seen: list[float] = []
    client = ModbusTcpClient("127.0.0.1", port=line.links[0].port, timeout=2, retries=0)
    while not client.connect():
        assert server.is_alive()
    try:
        while True:
            words = client.read_input_registers(1, count=2).registers
            seen.append(codec.decode(words, Encoding(type="float32"))[0])
    except Exception:
        assert seen[0] == 200.0  # the first row stood until it was read
    finally:
        client.close()
    server.join(30.0)
    assert codes == [0]
    assert seen == sorted(seen)
    assert seen[-1] > 230.0
    out = capsys.readouterr().out
    assert "replay of 40 rows" in out
    assert "NO ADVICE: block W was never published" in out
    assert "end of the recording after 40 rows" in out


def test_mistakes_are_told_and_cost_exit_code_2(
    tmp_path: Path, free_port: Port, capsys: Capture
) -> None:
    line = modbus_only(free_port)
    path = recording(tmp_path, 3)
    wrong = replace(line, tags=small_line(free_port).tags[:2])
    assert serve.replay(appliance(wrong), path, where=None, speed=1.0) == 2
    assert "no column for tag 'SIC-1.PV'" in capsys.readouterr().err
    assert serve.replay(appliance(line, line), path, where=None, speed=1.0) == 2
    assert "add --line NAME; configured are small, small" in capsys.readouterr().err
    assert serve.replay(appliance(line), path, where=None, speed=0.0) == 2
    assert "speed 0.0 is not above 0" in capsys.readouterr().err
    assert serve.twin(appliance(line), seed=1, fault="none", severity=1, speed=1.0) == 2
    assert "no schedule is configured" in capsys.readouterr().err


def test_the_panel_shows_nothing_of_a_block_it_does_not_believe(free_port: Port) -> None:
    line = small_line(free_port)
    assert serve.panel_text(Panel(fault="advisor gone"), line) == "NO ADVICE: advisor gone"
    decision = Decision(
        status=Status.OUTPUT_VALID,
        ne107=Ne107.NORMAL,
        probability=0.93,
        severity=2,
        components=((1, 0.8),),
    )
    offer = Offer(seq=7, trim_kg_h=-3.2, base_kg_h=200.0, ttl_s=60.0, shown_s=2.0)
    panel = Panel(alive=True, fault="", decision=decision, offer=offer, trim_kg_h=1.5)
    assert serve.panel_text(panel, line) == (
        "normal; defect probability 0.93, severity 2; C01 NaOH feed; "
        "suggestion 7: NaOH -3.2 kg/h; trim in force +1.5 kg/h"
    )
    invalid = replace(panel, decision=replace(decision, status=Status.NONE), offer=None)
    assert "output not valid" in serve.panel_text(invalid, line)
