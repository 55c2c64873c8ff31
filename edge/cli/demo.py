"""`ncm-edge demo`: the whole appliance on the digital twin, in accelerated time, ending by itself.

Everything between the plant and the flags is the product: real Modbus TCP and OPC UA servers on
loopback, the drivers, the ring, ONNX Runtime, block W written and read back, the PLC's own function
block. Only the plant is simulated, and the clock runs faster.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

from edge.app import App
from edge.cli.quiet import quiet
from edge.cli.serve import panel_text
from edge.config.keys import PROTOCOL_NAMES
from edge.config.load import ConfigError, load
from edge.config.types import Appliance, Line, Link, ModbusLink
from edge.core.registers import ADVISOR_TIMEOUT_S, Status
from edge.runtime import report, virtual_time
from edge.runtime.clock import LoopClock
from edge.runtime.notify import Notifier
from edge.twin.operator import AcceptAfter
from edge.twin.plant import LivePlant
from edge.twin.plc import PlcBlock, PlcSettings
from edge.twin.scenario import Scenario
from edge.twin.serve import TwinServer
from edge.twin.tag_table import TAGS

EPOCH_S = 1_780_000_000.0
"""Wall time at the start of every demo, so that two runs print the same."""
FAULT_START = 0.05
"""Share of the batch that passes in good order, so that a trim is seen before the fault begins."""
SHOW_MIN = 10
AFTER_FLAG_MIN = 20
LIMIT_MIN = 480
ACCEPT_S = 180.0
ACKNOWLEDGE_S = 900
"""The operator has been to the line and knows; the pH is to be held until it can be stopped."""


@dataclass(slots=True)
class Story:
    """What happened, for the summary."""

    flagged_min: float | None = None
    severity: int = 0
    named: list[str] = field(default_factory=list)
    score: float = 0.0
    block_w: tuple[int, ...] = ()
    trim_seen: list[str] = field(default_factory=list)
    gone_s: int | None = None


def run(config: Path, *, seed: int, fault: str, severity: int, speed: float, keep: bool) -> int:
    """Run the demo. Returns 0 if the appliance behaved as it must, 1 if not, 2 on a user's mistake.

    With a fault it must flag it, name the true component first and have the flag read back from the
    PLC; without one (`--fault none`) it must stay silent.
    """
    with (
        quiet("asyncua", "pymodbus", "ncm-edge"),
        tempfile.TemporaryDirectory(prefix="ncm-edge-demo-") as scratch,
    ):
        try:
            appliance = load(
                config, lines=("ncm-1",), state_dir=Path(scratch), runtime_dir=Path(scratch)
            )
            healthy = fault.lower() == "none"
            scenario = Scenario(
                seed=seed,
                fault=None if healthy else fault,
                severity=0 if healthy else severity,
                domain="target",
                start_fraction=FAULT_START,
            )
        except (ConfigError, ValueError) as error:
            print(error, file=sys.stderr)
            return 2
        line = on_free_ports(appliance.lines[0])
        demo = Demo(replace(appliance, lines=(line,)), line, scenario, keep=keep)
        return virtual_time.run(demo.play(), max_rate=speed)


class Demo:
    """One run of the demo."""

    def __init__(self, appliance: Appliance, line: Line, scenario: Scenario, *, keep: bool) -> None:
        self._appliance, self._line, self._scenario, self._keep = appliance, line, scenario, keep
        self._story = Story()
        self._shown_min = -SHOW_MIN
        self._last = ""
        self._colour = sys.stdout.isatty()
        self._app: App | None = None

    async def play(self) -> int:
        """The story from the first second to the summary."""
        schedule = self._line.schedule
        assert schedule is not None
        clock = LoopClock(EPOCH_S)
        settings = PlcSettings(acknowledge_s=ACKNOWLEDGE_S)
        plc = PlcBlock(settings, AcceptAfter(ACCEPT_S))
        plant = LivePlant(self._scenario, schedule)
        names = [tag.name for tag in TAGS]
        self._headline()
        async with TwinServer(self._line, plant, plc, clock=clock, tag_names=names) as server:
            self._app = App(self._appliance, clock=clock, notifier=Notifier({}))
            daemon = asyncio.create_task(self._app.run(), name="daemon")
            limit_s = round(schedule.end_min if self._keep else LIMIT_MIN) * 60
            try:
                while server.seconds < limit_s and not daemon.done():
                    await server.run(60, self._watch)
                    if not self._keep and self._told_enough(server):
                        break
                if daemon.done():
                    await daemon
            finally:
                await _stop(daemon)
            await self._switch_off(server)
        return self._summary(server)

    def _told_enough(self, server: TwinServer) -> bool:
        flagged = self._story.flagged_min
        return flagged is not None and server.seconds / 60 >= flagged + AFTER_FLAG_MIN

    def _watch(self, server: TwinServer) -> None:
        """Once a plant second: note what the PLC's panel shows, print what is worth it."""
        assert self._app is not None
        panel, story, now = server.plc.panel, self._story, server.latest
        assert now is not None
        decision = panel.decision
        if decision is not None and decision.severity and decision.status & Status.OUTPUT_VALID:
            codes = {c.number: c.code for c in self._line.topology.components}
            story.severity = max(story.severity, decision.severity)
            story.named = [codes.get(number, "?") for number, _ in decision.components]
            story.score = decision.components[0][1] if decision.components else 0.0
            story.block_w = server.block_w
            if story.flagged_min is None:
                story.flagged_min = now.minute
        core = self._app.lines[0].core
        news = f"{panel.note}|{report.trim_text(core).partition(':')[0]}|{story.severity}"
        if news != self._last or now.minute >= self._shown_min + SHOW_MIN:
            if now.minute >= self._shown_min + SHOW_MIN:
                self._shown_min = int(now.minute // SHOW_MIN) * SHOW_MIN
            self._print_minute(server)
            if panel.note and panel.note != self._last.partition("|")[0]:
                story.trim_seen.append(f"minute {now.minute:.0f}: {panel.note}")
            self._last = news

    def _print_minute(self, server: TwinServer) -> None:
        assert self._app is not None
        now = server.latest
        assert now is not None
        core = self._app.lines[0].core
        values = dict(zip((tag.name for tag in TAGS), now.values))
        probability = core.finding.verdict.probability
        bar = "·" * 10 if probability is None else _bar(probability)
        where = ""
        if core.finding.suspects and core.finding.verdict.flag:
            first = core.finding.suspects[0]
            name = core.setup.topology.by_code(first.component).name
            where = f"  >> {first.component} {name}, {first.part}"
        text = (
            f"{now.minute:5.0f} min  step {now.step:2d}  pH {values['AIT-106B.PV']:5.2f}  "
            f"NaOH {values['FIC-103.PV']:5.1f} kg/h  PI-103 {values['PI-103.PV']:4.2f} bar  "
            f"defect {bar} {'  --' if probability is None else f'{probability:4.0%}'}  "
            f"sev {core.finding.verdict.severity}  trim {report.trim_text(core)}{where}"
        )
        print(self._paint(text, core.finding.verdict.severity), flush=True)

    async def _switch_off(self, server: TwinServer) -> None:
        """The promise: without the appliance the line runs as before, and the PLC says so."""
        for second in range(1, 4 * ADVISOR_TIMEOUT_S):
            await server.run(1)
            if "advisor gone" in server.plc.panel.fault:
                self._story.gone_s = second
                break
        print(f"\ndaemon stopped. PLC panel: {panel_text(server.plc.panel, self._line)}")

    def _headline(self) -> None:
        what = self._scenario.active_fault or "no fault"
        if self._scenario.active_fault:
            what = f"fault {what} at severity {self._scenario.severity}"
        print(
            f"SIMULATED plant: one batch of the digital twin after a repair (target domain), seed "
            f"{self._scenario.seed}, {what}"
        )
        for link in self._line.links:
            at = (
                f"{PROTOCOL_NAMES[link.protocol]} {link.at}"
                if isinstance(link, ModbusLink)
                else f"OPC UA {link.url}"
            )
            count = sum(row.source.link == link.name for row in self._line.tags)
            print(f"  link {link.name}: {at}, {count} tags")
        print("  model: trained on simulated data, not for production")
        print(
            f"  operator: accepts a trim after {ACCEPT_S:.0f} s, acknowledges a suspected leak "
            f"after {ACKNOWLEDGE_S // 60} min,\n  and moves nothing by hand\n"
        )

    def _summary(self, server: TwinServer) -> int:
        story, scenario = self._story, self._scenario
        checks: list[tuple[bool, str]] = []
        if scenario.active_fault:
            checks += [
                (
                    story.flagged_min is not None,
                    f"flag in the PLC at batch minute {story.flagged_min:.0f}, "
                    f"severity up to {story.severity}"
                    if story.flagged_min is not None
                    else "no flag reached the PLC",
                ),
                (
                    story.named[:1] == [scenario.component],
                    f"components named: {', '.join(story.named) or 'none'} "
                    f"(truth: {scenario.component} {scenario.part}), score {story.score:.2f}",
                ),
            ]
        else:
            checks.append((story.flagged_min is None, "no fault, and no flag was raised"))
        app = self._app
        assert app is not None
        published = app.lines[0].publisher.counters
        checks += [
            (
                published.verified > 0 and published.mismatches == 0,
                f"{published.verified} blocks W written and read back equal, "
                f"{published.mismatches} mismatches, {server.refused_writes} writes elsewhere",
            ),
            (server.refused_writes == 0, "nothing but block W was written"),
            (
                story.gone_s is not None,
                f"PLC noticed the stopped appliance after {story.gone_s} s",
            ),
        ]
        print("\nSummary (simulated plant)")
        for good, text in checks:
            print(f"  {'ok  ' if good else 'FAIL'}  {text}")
        for text in story.trim_seen[:6]:
            print(f"        trim, {text}")
        if story.block_w:
            print(f"        block W words 4..13 as the PLC read them: {list(story.block_w[4:14])}")
        print(f"        {server.seconds / 3600:.1f} h of plant time")
        return 0 if all(good for good, _ in checks) else 1

    def _paint(self, text: str, severity: int) -> str:
        if not self._colour or not severity:
            return text
        return f"\033[{(0, 33, 33, 31)[severity]}m{text}\033[0m"


def _bar(share: float, width: int = 10) -> str:
    full = round(share * width)
    return "█" * full + "░" * (width - full)


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def on_free_ports(line: Line) -> Line:
    """The line with its loopback links on ports of their own, where the configured one is taken."""
    links: list[Link] = []
    for link in line.links:
        if isinstance(link, ModbusLink):
            links.append(replace(link, port=_free_port(link.port)))
            continue
        host, _, rest = link.url.removeprefix("opc.tcp://").partition(":")
        port, slash, path = rest.partition("/")
        links.append(replace(link, url=f"opc.tcp://{host}:{_free_port(int(port))}{slash}{path}"))
    return replace(line, links=tuple(links))


def _free_port(wanted: int) -> int:
    for port in (wanted, 0):
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(sock.getsockname()[1])
    raise OSError("no free TCP port on 127.0.0.1")
