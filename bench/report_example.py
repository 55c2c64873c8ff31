"""A batch report to look at: the daemon on a simulated line, then `ncm-edge report`.

The daemon runs with the shipped model on real servers, in accelerated time; the batch is cut off
after `--minutes`. With `--picture` the first screen of the page is drawn by headless Chromium.

    python bench/report_example.py --out docs/report-example.html --picture docs/figures/report.png
    python bench/report_example.py --fault none --minutes 90 --out healthy.html
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

from edge.__main__ import main as ncm_edge
from edge.app import App
from edge.cli.demo import ACKNOWLEDGE_S, EPOCH_S, on_free_ports
from edge.cli.quiet import quiet
from edge.config.load import load
from edge.config.types import Appliance
from edge.core.registers import MaintKind
from edge.runtime import virtual_time
from edge.runtime.clock import LoopClock
from edge.runtime.notify import Notifier
from edge.runtime.store.schema import FILE_NAME
from edge.twin.operator import AcceptAfter
from edge.twin.plant import LivePlant
from edge.twin.plc import PlcBlock, PlcSettings
from edge.twin.scenario import Scenario
from edge.twin.serve import TwinServer
from edge.twin.tag_table import TAGS

CONFIG = Path(__file__).resolve().parent.parent / "firmware_config"
BATCH = 42
SIZE = "1280,1600"


def main() -> int:
    """Write the page, and its picture; the report's exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--fault", default="F03", help="of the twin's library, or none")
    parser.add_argument("--severity", type=int, default=3)
    parser.add_argument("--minutes", type=int, default=150)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--size", default=SIZE, help="of the picture (default: %(default)s)")
    options = parser.parse_args()
    healthy = options.fault == "none"
    scenario = Scenario(
        seed=options.seed, fault=None if healthy else options.fault, domain="target",
        severity=0 if healthy else options.severity, start_fraction=0.05,
    )  # fmt: skip
    with (
        quiet("asyncua", "pymodbus", "ncm-edge"),
        tempfile.TemporaryDirectory(prefix="ncm-edge-report-") as scratch,
    ):
        place = Path(scratch)
        appliance = load(CONFIG, lines=("ncm-1",), state_dir=place, runtime_dir=place)
        appliance = replace(appliance, lines=(on_free_ports(appliance.lines[0]),))
        virtual_time.run(_batch(appliance, scenario, 60 * options.minutes, repaired=not healthy))
        file = appliance.history.directory / FILE_NAME
        code = ncm_edge(["report", str(BATCH), "--file", str(file), "--out", str(options.out),
                         "--config", str(CONFIG)])  # fmt: skip
    if options.picture is not None:
        subprocess.run(
            ["chromium", "--headless", "--no-sandbox", "--hide-scrollbars",
             f"--window-size={options.size}", f"--screenshot={options.picture.absolute()}",
             options.out.absolute().as_uri()],
            check=True, capture_output=True, timeout=120,
        )  # fmt: skip
    return code


async def _batch(
    appliance: Appliance, scenario: Scenario, seconds: int, *, repaired: bool
) -> None:
    """A batch that is broken off after `seconds`, its line repaired where it was defective."""
    line = appliance.lines[0]
    assert line.schedule is not None
    clock = LoopClock(EPOCH_S)
    plc = PlcBlock(PlcSettings(acknowledge_s=ACKNOWLEDGE_S), AcceptAfter(180.0))
    async with TwinServer(
        line, LivePlant(scenario, line.schedule), plc, clock=clock,
        tag_names=[tag.name for tag in TAGS], batch_id=BATCH,
    ) as server:  # fmt: skip
        app = App(appliance, clock=clock, notifier=Notifier({}))
        daemon = asyncio.create_task(app.run(), name="daemon")
        await server.run(seconds)
        server.complete = True
        await server.run(70)
        if repaired:
            plc.enter_maintenance(3, int(MaintKind.REPLACED))
        await server.run(30)
        daemon.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await daemon


if __name__ == "__main__":
    raise SystemExit(main())
