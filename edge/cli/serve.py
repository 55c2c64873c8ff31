"""`ncm-edge twin` and `ncm-edge replay`: a simulated line or a recording behind real servers, for
commissioning, demonstrations and tests of an appliance that runs as its own process."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from edge.cli.quiet import quiet
from edge.config.types import Appliance, Line, ModbusLink
from edge.core.registers import Ne107, Status
from edge.twin.operator import AcceptAfter
from edge.twin.plc import Panel, PlcBlock
from edge.twin.replay import Recording, RecordingError, ReplayPlant
from edge.twin.serve import Plant, TwinServer

USER_MISTAKE = 2
_Play = Callable[[TwinServer, Callable[[TwinServer], None]], Awaitable[None]]


def replay(appliance: Appliance, recording: Path, *, where: str | None, speed: float) -> int:
    """Serve a recording as the PLC of the one configured line, until its last row.

    The first row stands until somebody reads it, so that nothing is played to nobody.
    """
    line = _one_line(appliance)
    if line is None:
        return USER_MISTAKE
    tags = [row.tag.name for row in line.tags]
    context = [row.tag.name for row in line.context]
    try:
        rows = Recording.load(recording, tags, where, optional=context)
    except RecordingError as error:
        print(error, file=sys.stderr)
        return USER_MISTAKE
    for message in rows.messages:
        print(message, file=sys.stderr)
    if rows.bad_cells:
        print(f"{rows.bad_cells} cells hold no number, shown as NaN", file=sys.stderr)
    print(f"replay of {len(rows)} rows of {recording}{f' with {where}' if where else ''}")
    plant = ReplayPlant(rows, tags, line.row_s)

    async def play(twin: TwinServer, on_second: Callable[[TwinServer], None]) -> None:
        print("waiting for the first reader", flush=True)
        await twin.first_read.wait()
        await twin.run(len(rows), on_second)
        print(f"end of the recording after {len(rows)} rows")

    return _serve(line, plant, PlcBlock(), speed, play)


def twin(
    appliance: Appliance, *, seed: int, fault: str, severity: int, speed: float,
    panel_port: int | None = None,
) -> int:  # fmt: skip
    """Serve one simulated batch of the one configured line; the servers stay up afterwards."""
    line = _one_line(appliance)
    if line is None:
        return USER_MISTAKE
    if line.schedule is None:
        print(f"line {line.name}: no schedule is configured, so there is no batch to simulate; "
              "use ncm-edge replay for a continuous process", file=sys.stderr)  # fmt: skip
        return USER_MISTAKE
    from edge.twin.plant import LivePlant
    from edge.twin.scenario import Scenario
    from edge.twin.tag_table import TAGS

    try:
        none = fault.lower() == "none"
        scenario = Scenario(
            seed=seed,
            fault=None if none else fault,
            severity=0 if none else severity,
            # The line after its repair: what the shipped model was adapted to.
            domain="target",
        )
    except ValueError as error:
        print(error, file=sys.stderr)
        return USER_MISTAKE
    end_s = round(line.schedule.end_min * 60.0)
    what = "healthy" if none else f"fault {fault} at severity {severity}"
    print(f"SIMULATED batch of {end_s / 3600:g} h, seed {seed}, {what}, at {speed:g} x real time")
    plant = LivePlant(scenario, line.schedule)

    async def play(server: TwinServer, on_second: Callable[[TwinServer], None]) -> None:
        await server.run(end_s, on_second)
        server.complete = True
        print("batch complete; the servers go on until stopped")
        await server.run(None, on_second)

    names = [tag.name for tag in TAGS]
    plc = PlcBlock(operator=AcceptAfter(30.0))
    return _serve(line, plant, plc, speed, play, names, panel_port)


def panel_text(panel: Panel, line: Line) -> str:
    """The faceplate as one line of text; nothing of a block that is not believed."""
    decision = panel.decision
    if decision is None:
        return f"NO ADVICE: {panel.fault}"
    parts = [Ne107(decision.ne107).name.lower().replace("_", " ")]
    if decision.status & Status.OUTPUT_VALID and decision.probability is not None:
        parts.append(f"defect probability {decision.probability:.2f}, severity {decision.severity}")
        names = {c.number: f"{c.code} {c.name}" for c in line.topology.components}
        if decision.components and decision.severity:
            parts.append(names.get(decision.components[0][0], "unknown component"))
    else:
        parts.append("output not valid")
    if panel.offer is not None:
        parts.append(f"suggestion {panel.offer.seq}: NaOH {panel.offer.trim_kg_h:+.1f} kg/h")
    if panel.trim_kg_h:
        parts.append(f"trim in force {panel.trim_kg_h:+.1f} kg/h")
    return "; ".join(parts)


class _Reporter:
    """Prints what changed at the panel, not what stayed."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._last: object = None

    def __call__(self, twin: TwinServer) -> None:
        panel = twin.plc.panel
        decision = panel.decision
        key: object = panel.fault.partition(":")[0]  # the rest counts seconds
        if decision is not None:
            first = decision.components[0][0] if decision.severity and decision.components else 0
            valid = bool(decision.status & Status.OUTPUT_VALID)
            offered = panel.offer.seq if panel.offer else 0
            key = (decision.ne107, valid, decision.severity, first, offered, panel.note)
        if key != self._last:
            self._last = key
            minute = twin.latest.minute if twin.latest else 0.0
            note = f" [{panel.note}]" if panel.note else ""
            print(
                f"{minute:8.1f} min  PLC panel: {panel_text(panel, self._line)}{note}", flush=True
            )


def _serve(
    line: Line,
    plant: Plant,
    plc: PlcBlock,
    speed: float,
    play: _Play,
    tag_names: list[str] | None = None,
    panel_port: int | None = None,
) -> int:
    async def main() -> None:
        async with TwinServer(
            line, plant, plc, tag_names=tag_names, speed=speed, panel_port=panel_port
        ) as server:
            if panel_port is not None:
                print(f"panel: serving an HMI on 127.0.0.1:{panel_port}", flush=True)
            for link in line.links:
                at = link.at if isinstance(link, ModbusLink) else link.url
                print(f"link {link.name}: serving on {at}", flush=True)
            await play(server, _Reporter(line))

    try:
        with quiet("asyncua", "pymodbus"):
            asyncio.run(main())
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1 if isinstance(error, OSError) else USER_MISTAKE
    return 0


def _one_line(appliance: Appliance) -> Line | None:
    if len(appliance.lines) == 1:
        return appliance.lines[0]
    names = ", ".join(line.name for line in appliance.lines)
    print(f"one line at a time: add --line NAME; configured are {names}", file=sys.stderr)
    return None
