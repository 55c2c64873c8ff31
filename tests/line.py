"""The whole appliance against real servers, in virtual time: what every system test starts with.

A `Rig` holds one `App` with all its lines and one twin a line: Modbus TCP and OPC UA servers on
free ports, a plant, a PLC with its function block and operator. Twins and appliance start and stop
on their own, so that a test can take away either side and bring it back.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from edge.app import App
from edge.config.load import load
from edge.config.types import Appliance, Line, Link, ModbusLink
from edge.core.conditions import Condition
from edge.core.outputs import BlockW, decode_block_w
from edge.core.tags import Quality, Reason
from edge.runtime import status
from edge.runtime.clock import LoopClock
from edge.runtime.line import LineRunner
from edge.runtime.notify import Notifier
from edge.twin.operator import Operator
from edge.twin.plant import LivePlant
from edge.twin.plc import PlcBlock
from edge.twin.scenario import Scenario
from edge.twin.serve import TwinServer
from edge.twin.tag_table import TAGS

ROOT = Path(__file__).parent.parent
CONFIG = ROOT / "firmware_config"
EPOCH_S = 1_780_000_000.0
HEALTHY = Scenario(seed=101, fault=None)
START_MIN = 200.0
"""Where the plants of these tests begin: in the middle of the growth of the particles."""
RING_ROWS = 3600


def appliance_of(
    directory: Path,
    port: Callable[[], int],
    *,
    bundle: Path | None = None,
    names: int = 1,
    warn_probability: float | None = None,
) -> Appliance:
    """The shipped demo line as `names` lines on ports of their own, its state in `directory`.

    `bundle` and `warn_probability` replace what is shipped. The ring is shortened: it is made anew
    in every test.
    """
    shipped = load(CONFIG, lines=("ncm-1",), state_dir=directory, runtime_dir=directory)
    line = shipped.lines[0]
    model = replace(
        line.model, bundle=bundle or line.model.bundle, warn_probability=warn_probability
    )
    line = replace(line, model=model, ring_rows=RING_ROWS)
    lines = tuple(_on_ports(replace(line, name=f"ncm-{n}"), port) for n in range(1, names + 1))
    return replace(shipped, lines=lines, provider="cpu")


def _on_ports(line: Line, port: Callable[[], int]) -> Line:
    links: list[Link] = [
        replace(link, port=port())
        if isinstance(link, ModbusLink)
        else replace(link, url=f"opc.tcp://127.0.0.1:{port()}/{line.name}")
        for link in line.links
    ]
    return replace(line, links=tuple(links))


class Rig:
    """One appliance and its twins; an async context manager that stops whatever still runs."""

    def __init__(
        self,
        appliance: Appliance,
        *,
        scenario: Scenario = HEALTHY,
        operator: Operator | None = None,
        plc: PlcBlock | None = None,
        start_minute: float = START_MIN,
        environ: Mapping[str, str] | None = None,
        panel_port: int | None = None,
    ) -> None:
        self.appliance = appliance
        self.clock = LoopClock(EPOCH_S)
        """The appliance's wall clock."""
        self.plant_clock = LoopClock(EPOCH_S)
        """The plant's: source time stamps come from it."""
        self.app: App | None = None
        self._environ = environ or {}
        self._task: asyncio.Task[None] | None = None
        self.twins: list[TwinServer] = []
        for line in appliance.lines:
            assert line.schedule is not None
            self.twins.append(
                TwinServer(
                    line,
                    LivePlant(scenario, line.schedule, start_minute=start_minute),
                    PlcBlock(operator=operator) if plc is None else plc,
                    clock=self.plant_clock,
                    tag_names=[tag.name for tag in TAGS],
                    panel_port=panel_port,
                )
            )

    async def __aenter__(self) -> Rig:
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        await self.stop_app()
        for twin in self.twins:
            await twin.close()

    def step_both_clocks(self, seconds: float) -> None:
        """A time server that plant and appliance share makes a jump."""
        self.clock.step(seconds)
        self.plant_clock.step(seconds)

    @property
    def twin(self) -> TwinServer:
        """The first line's twin."""
        return self.twins[0]

    @property
    def runner(self) -> LineRunner:
        """The first line as the appliance runs it."""
        return self.runner_of(0)

    def runner_of(self, line: int) -> LineRunner:
        assert self.app is not None, "start_app first"
        return self.app.lines[line]

    async def start_twins(self) -> None:
        """Switch every plant on."""
        for twin in self.twins:
            await twin.__aenter__()

    def start_app(self) -> None:
        """Switch the appliance on; a second call after `stop_app` is a restart."""
        assert self._task is None, "already running"
        self.app = App(
            self.appliance, clock=self.clock, notifier=Notifier(self._environ),
            load=lambda: self.appliance,
        )  # fmt: skip
        self._task = asyncio.create_task(self.app.run(), name="daemon")

    async def reload(self, appliance: Appliance, limit_s: int = 30) -> tuple[str, str]:
        """Have the running appliance take this configuration: (outcome, text) of its answer."""
        assert self.app is not None, "start_app first"
        before, self.appliance = self.status()["reload"], appliance
        self.app.ask_reload()
        await self.until(lambda: self.status()["reload"] != before, limit_s)
        said = self.status()["reload"]
        return said["outcome"], said["text"]

    async def stop_app(self) -> None:
        """Stop the appliance as the service manager would; raises what it died of, if it did."""
        if self._task is None:
            return
        task, self._task = self._task, None
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def run(
        self, seconds: int, on_second: Callable[[TwinServer], None] | None = None
    ) -> None:
        """`seconds` plant seconds on every line; `on_second` is called with the first twin."""
        async with asyncio.TaskGroup() as tasks:
            for i, twin in enumerate(self.twins):
                tasks.create_task(twin.run(seconds, None if i else on_second))
        if self._task is not None and self._task.done():
            await self._task

    async def until(self, true: Callable[[], bool], limit_s: int) -> int:
        """Run second by second until `true()`; returns the seconds. Fails after `limit_s`."""
        for second in range(limit_s):
            if true():
                return second
            await self.run(1)
        assert true(), f"not within {limit_s} plant seconds; raised: {self.raised()}"
        return limit_s

    # What the PLC and people see.

    def block(self, line: int = 0) -> BlockW:
        """Block W as it stands in the PLC. Raises BlockError if no PLC would believe it."""
        return decode_block_w(self.twins[line].block_w)

    def raised(self, line: int = 0) -> set[Condition]:
        """Conditions raised on a line."""
        return set(self.runner_of(line).core.conditions.raised)

    def text(self, condition: Condition, line: int = 0) -> str:
        """What the status document says about a raised condition."""
        (section,) = (s for s in self.status()["lines"] if s["name"] == f"ncm-{line + 1}")
        found = [c["text"] for c in section["conditions"] if c["condition"] == str(condition)]
        return found[0] if found else ""

    def status(self) -> dict[str, Any]:
        """The status document as `ncm-edge status` reads it."""
        return status.read(self.appliance.runtime_dir)

    def tag(self, name: str, line: int = 0) -> tuple[float, Quality, Reason]:
        """Value, quality and reason of one tag in the newest row."""
        row, place = self.runner_of(line).last_row, self.place(name)
        assert row is not None, "no row yet"
        return (
            float(row.values[place]),
            Quality(int(row.quality[place])),
            Reason(int(row.reason[place])),
        )

    def place(self, name: str) -> int:
        """Position of a tag in the line's tag list: its bit of TAGS_BAD."""
        return [row.tag.name for row in self.appliance.lines[0].tags].index(name)

    def on_link(self, link: str) -> list[int]:
        """Positions of all tags of a link."""
        rows = self.appliance.lines[0].tags
        return [i for i, row in enumerate(rows) if row.source.link == link]
