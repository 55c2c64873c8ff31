"""The generated flow in a real Node-RED, looked at and pressed in a real browser.

Twin, PLC and daemon run in this process; Node-RED reads the PLC's panel port over Modbus TCP as any
HMI does; Chromium shows its dashboard. Everything between the plant and the pixels is real.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from pymodbus.client import AsyncModbusTcpClient

from edge.cli.hmi import flow_text, panel_line
from edge.config.types import Appliance, Line, ModbusLink
from edge.core import registers as reg
from edge.core.outputs import Decision, decode_block_w, encode_block_w
from edge.core.registers import Ne107, TrimState
from edge.core.tags import Quality, Reason, Row
from edge.runtime.ringfile import open_ring
from edge.twin.scenario import Scenario
from edge.twin.simulate import simulate
from edge.twin.tag_table import TAGS
from tests.browser import SIZE, Browser
from tests.hmi import node_red as hmi
from tests.line import CONFIG, EPOCH_S, Rig, appliance_of

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(bool(hmi.missing), reason=hmi.missing),
]
Virtual = Callable[[Coroutine[Any, Any, Any]], Any]
T = TypeVar("T")

OFFERING = Scenario(seed=7, fault=None)
OFFER_MIN, OFFER_S = 400.0, 1400
CORRODING = Scenario(seed=7, fault="F03", severity=3, domain="target", start_fraction=0.05)
CORRODED_MIN = 160
"""The NaOH line of this batch corrodes since minute 54; the appliance is started now."""
LOOK_S = 0.1
"""Real seconds a plant second takes while somebody looks."""
PICTURE = Path(os.environ.get("HMI_PICTURE", ""))
"""Where to keep a picture of the faceplate (docs/figures/hmi.png); nowhere by default."""


@dataclass
class Panel:
    """Node-RED on the panel port of a twin."""

    line: Line
    appliance: Appliance
    port: int
    server: hmi.NodeRed


@pytest.fixture
def panel(
    tmp_path: Path, free_port: Callable[[], int], chromium: Any
) -> Iterator[Panel]:  # chromium first: it skips where there is none
    appliance = appliance_of(tmp_path, free_port, bundle=CONFIG / "models" / "ncm-1")
    line = replace(appliance.lines[0], ring_rows=16384)
    appliance = replace(appliance, lines=(line,))
    port = free_port()
    about = panel_line(line, twin_port=port)
    assert about is not None
    folder = tmp_path / "node-red"
    folder.mkdir()
    with hmi.node_red(folder, flow_text([about]), free_port()) as server:
        yield Panel(line, appliance, port, server)


class Eyes:
    """A browser in a thread of its own, while the plant goes on in real time."""

    def __init__(self, browser: Browser, rig: Rig) -> None:
        self._browser, self._rig = browser, rig
        self._thread = ThreadPoolExecutor(1)

    async def look(self, what: Callable[[Browser], T]) -> T:
        seen: Future[T] = self._thread.submit(what, self._browser)
        while not seen.done():
            await self._rig.run(1)
            await asyncio.to_thread(wait, [seen], LOOK_S)
        return seen.result()

    async def see(self, field: str, text: str) -> None:
        """Wait until this field of the faceplate contains the text."""
        await self.look(lambda browser: browser.until(
            "const e = document.querySelector(arguments[0]);"
            "return e && e.innerText.toLowerCase().includes(arguments[1].toLowerCase())",
            at(field), text,
        ))  # fmt: skip

    async def read(self, field: str) -> str:
        return await self.look(lambda browser: browser.text(at(field)))

    async def open(self, panel: Panel) -> None:
        await asyncio.to_thread(panel.server.wait)
        await self.look(lambda browser: browser.open(panel.server.url("ncm-1")))


def at(field: str) -> str:
    return f'[data-field="{field}"]'


def button(name: str) -> str:
    """The script that says whether this key can be pressed."""
    return (
        "return [...document.querySelectorAll('main.fp button')]"
        f".filter(b => b.innerText.trim().startsWith('{name}')).some(b => !b.disabled)"
    )


def test_a_suggestion_is_accepted_with_a_click_and_applied(
    panel: Panel, browser: Browser, virtual: Virtual
) -> None:
    async def main() -> None:
        async with Rig(
            panel.appliance, scenario=OFFERING, start_minute=OFFER_MIN, panel_port=panel.port
        ) as rig:
            eyes = Eyes(browser, rig)
            await rig.start_twins()
            rig.start_app()
            await eyes.open(panel)
            await eyes.see("health", "check function")
            await eyes.see("simulated", "SIMULATED")
            offered = rig.until(
                lambda: rig.block().decision.trim_state is TrimState.OFFERED, OFFER_S
            )
            await offered
            await eyes.see("offer", "→")
            seen = rig.block().decision
            assert seen.trim_base_kg_h is not None
            shown = await eyes.read("offer")
            assert f"{seen.trim_base_kg_h:.1f} → " in shown
            assert f"{abs(seen.trim_kg_h):.1f}" in shown
            await eyes.see("trim_state", "offered")
            assert rig.twin.plc.accepted == []
            await eyes.look(lambda b: b.until(button("Accept")))
            await eyes.look(lambda b: b.click('[data-key="accept"]'))
            await eyes.see("trim_state", "accepted")
            assert rig.twin.plc.accepted == [seen.trim_seq]
            assert rig.twin.plc.rejected == []
            assert rig.block().decision.trim_seq == seen.trim_seq
            await rig.run(30)
            applied = rig.twin.plc.panel.trim_kg_h
            assert applied == pytest.approx(seen.trim_kg_h, abs=0.3)
            await eyes.see("applied", f"{abs(seen.trim_kg_h):.1f} kg/h")
            assert not await eyes.look(lambda b: b.run(button("Accept")))

            await eyes.look(lambda b: b.click('[data-key="maintenance"]'))
            await eyes.look(lambda b: b.until(
                "return document.querySelector('[aria-pressed=true]') !== null"))  # fmt: skip
            assert rig.block().decision.ne107 is Ne107.CHECK_FUNCTION
            assert rig.twin.refused_writes == 0
            assert rig.twin.panel is not None
            assert rig.twin.panel.refused_writes == 0

            serious = await eyes.look(lambda b: b.run(FACEPLATE_ONLY) or b.accessibility())
            assert not serious
            assert not await eyes.look(lambda b: b.elsewhere())
            assert not panel.server.complaints()

    virtual(main())


FACEPLATE_ONLY = (
    "const m = document.querySelector('main.fp'); document.body.replaceChildren(m.cloneNode(true))"
)
"""The frame around the faceplate is the dashboard's own and not ours to judge."""


def test_the_corroding_line_is_flagged_and_nothing_old_or_torn_is_ever_shown(
    panel: Panel, browser: Browser, virtual: Virtual
) -> None:
    remember(panel.line, panel.appliance.state_dir, CORRODING, CORRODED_MIN)

    async def main() -> None:
        async with Rig(
            panel.appliance, scenario=CORRODING, start_minute=CORRODED_MIN, panel_port=panel.port
        ) as rig:
            eyes = Eyes(browser, rig)
            await rig.start_twins()
            rig.start_app()
            await rig.until(
                lambda: rig.twin.seconds > 60 and bool(rig.block().decision.severity), 600
            )
            await eyes.open(panel)
            await eyes.see("severity", "D-1")
            await eyes.see("suspect1", "C03 NaOH feed line")
            await eyes.see("health", "check function")
            await eyes.see("alarm", "defect about to fail")
            probability = rig.block().decision.probability
            assert probability is not None
            assert (await eyes.read("probability")) == f"{round(probability * 100)} %"
            bottom = "return document.querySelector('.alarms').getBoundingClientRect().bottom"
            assert 300 < await eyes.look(lambda b: b.run(bottom)) <= SIZE[1]
            if PICTURE.name:
                await eyes.look(lambda b: b.picture(PICTURE))

            # The appliance dies: its last words stand in the PLC, and nobody may believe them.
            await rig.stop_app()
            last = rig.twin.block_w
            assert decode_block_w(last).decision.severity == 3
            await eyes.see("fault", "NO ADVICE")
            await eyes.see("fault", "heartbeat stands still")
            await nothing_shown(eyes)
            assert "failure" in await eyes.read("health")
            # A second HMI that is started only now has never seen this block move either.
            await eyes.look(lambda b: b.open(panel.server.url("ncm-1")))
            await eyes.see("fault", "NO ADVICE")
            await nothing_shown(eyes)

            # Blocks that no reader may believe, each with a heartbeat that moves.
            wrong = replace(decode_block_w(last).decision, severity=1, components=((9, 0.9),))
            for spoil, why in SPOILT:
                await write_blocks(eyes, rig, wrong, spoil)
                await eyes.see("fault", why)
                await nothing_shown(eyes)
            # The same words unspoilt are shown: it was the check that hid them.
            seq = await write_blocks(eyes, rig, wrong, list)
            await eyes.look(lambda b: b.run("return 1"))
            await write_until(eyes, rig, wrong, seq, "suspect1", "C09 pH probes")

            # The PLC's panel port goes away.
            assert rig.twin.panel is not None
            await rig.twin.panel.stop()
            await eyes.see("fault", "no answer from the PLC")
            await nothing_shown(eyes)
            # The HMI's own server goes away: the page has to notice by itself.
            await asyncio.to_thread(panel.server.stop)
            await eyes.see("fault", "no connection with the server of this page")
            await nothing_shown(eyes)

    virtual(main())


async def nothing_shown(eyes: Eyes) -> None:
    for field in ("severity", "suspect1", "probability", "offer", "infer", "trim_state"):
        assert (await eyes.read(field)).strip() == "—", field
    assert not await eyes.look(lambda b: b.run(button("Accept")))
    assert "not known" in await eyes.look(lambda b: b.text(".alarms"))


def torn(words: list[int]) -> list[int]:
    return [*words[:-1], words[-1] - 1]


def damaged(words: list[int]) -> list[int]:
    at = reg.w("SEVERITY").offset
    return [*words[:at], 3, *words[at + 1 :]]


def foreign(words: list[int]) -> list[int]:
    words = list(words)
    words[reg.w("MAP_VERSION").offset] = 0x0200
    words[reg.w("CRC").offset] = reg.crc16(words[: reg.w("CRC").offset])
    return words


SPOILT = ((torn, "torn"), (damaged, "damaged"), (foreign, "map version 2"))


async def write_blocks(
    eyes: Eyes, rig: Rig, decision: Decision, spoil: Callable[[list[int]], list[int]],
    first: int = 100, count: int = 8,
) -> int:  # fmt: skip
    """Write block W as the appliance would, `count` seconds long; the sequence number reached."""
    (port,) = (link.port for link in rig.appliance.lines[0].links if isinstance(link, ModbusLink))
    client = AsyncModbusTcpClient("127.0.0.1", port=port)
    assert await client.connect()
    try:
        for seq in range(first, first + count):
            words = spoil(list(encode_block_w(decision, seq)))
            answer = await client.write_registers(1000, words, device_id=1)
            assert not answer.isError()
            await eyes.look(lambda b: b.run("return 1"))
    finally:
        client.close()
    return first + count


async def write_until(
    eyes: Eyes, rig: Rig, decision: Decision, seq: int, field: str, text: str
) -> None:
    """Go on writing whole blocks until the field shows the text."""
    for _ in range(40):
        seq = await write_blocks(eyes, rig, decision, list, seq)
        if text in await eyes.read(field):
            return
    raise AssertionError(f"{field} never showed {text!r}")


def remember(line: Line, state_dir: Path, scenario: Scenario, minutes: int) -> None:
    """The ring as if the appliance had watched the batch's first minutes and was then restarted."""
    rows = simulate([scenario], line.schedule, rows=minutes * 60)[0]
    names = [tag.name for tag in TAGS]
    rows = rows[:, [names.index(row.tag.name) for row in line.tags]].astype(np.float32)
    tags = [(row.tag.name, row.tag.unit) for row in line.tags]
    file = open_ring(state_dir / line.name / "rows.ring", tags, line.ring_rows, line.row_s)
    for second, values in enumerate(rows):
        good = np.isfinite(values)
        file.ring.append(Row(
            t_s=EPOCH_S - len(rows) + second,
            values=values,
            quality=np.where(good, Quality.GOOD, Quality.BAD).astype(np.uint8),
            reason=np.where(good, Reason.NONE, Reason.MISSED).astype(np.uint8),
            start_s=0.0,
            end_s=0.0,
        ))  # fmt: skip
    file.close()


