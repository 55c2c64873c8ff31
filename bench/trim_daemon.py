"""The trim in closed loop through the real daemon, beside the vectorised loop. Simulated plant.

    python -m bench.trim_daemon [--minutes 180] [--seed 9000] [NAME ...]

The same plants, disturbances and operator (looks every 10 min) as bench/trim_bench.py, one lane at
a time, with everything between plant and trim real: Modbus TCP and OPC UA servers on loopback, the
daemon with drivers, ring, model and verdict, block W written and read back, the PLC's function
block, block R. Virtual time: a batch hour takes as long as its computing. What the verdict
withholds (the vectorised loop has none) is shown; the noise of the instruments is another, so the
figures are alike and not equal.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from bench.trim_bench import BAND, CONFIG, DISTURBANCES, NARROW, Disturbance
from bench.trim_lanes import ACKNOWLEDGE_MIN, Lane, Ours, Outcome, lane, ours, run
from edge.app import App
from edge.cli.demo import on_free_ports
from edge.cli.quiet import quiet
from edge.config.load import load
from edge.config.types import Appliance
from edge.core.registers import TrimState
from edge.core.schedule import Schedule
from edge.core.trim import Held
from edge.runtime import virtual_time
from edge.runtime.clock import LoopClock
from edge.runtime.notify import Notifier
from edge.twin.model import sample
from edge.twin.operator import Answer, Offer
from edge.twin.plant import LivePlant, PlantSecond
from edge.twin.plc import PlcBlock, PlcSettings
from edge.twin.scenario import Scenario
from edge.twin.serve import TwinServer
from edge.twin.tag_table import TAGS

EPOCH_S = 1_780_000_000.0
ACCEPT_MIN = 10
LOOK_S = 30
"""Seconds at the panel at every gate."""
SAMPLE = ("NaOH assay -2 %", "metal +2 %", "metal meter -1.5 %", "stack of four")


@dataclass
class Gate:
    """The operator of the vectorised loop: looks at the panel every ten minutes."""

    second: int = 0

    def answer(self, offer: Offer) -> Answer | None:
        """ACCEPT whatever stands there at the gate."""
        minute, second = divmod(self.second, 60)
        at_gate = minute and minute % ACCEPT_MIN == 0 and second < LOOK_S
        return Answer.ACCEPT if at_gate else None


@dataclass
class Run:
    """What happened in one batch, minute by minute."""

    outcome: Outcome
    accepted: int
    anomaly_min: list[int]
    held: Counter[str] = field(default_factory=Counter)
    """Minutes by the reason why nothing was suggested."""


def line_of(folder: Path) -> Appliance:
    """The shipped line on free ports, told how often the operator looks; state in `folder`."""
    appliance = load(CONFIG, lines=("ncm-1",), state_dir=folder, runtime_dir=folder)
    line = on_free_ports(appliance.lines[0])
    assert line.trim is not None
    line = replace(line, trim=replace(line.trim, accept_time_s=60.0 * ACCEPT_MIN))
    return replace(appliance, lines=(line,), provider="cpu")


def disturbed(disturbance: Disturbance, seed: int, schedule: Schedule, by: Ours) -> Lane:
    """The lane of the bench. Raises ValueError for an upset the live plant cannot show."""
    made = lane(seed, sample(schedule).steps, by, disturbance.apply)
    if made.temp_c is not None:
        raise ValueError(f"{disturbance.name!r}: the live plant has its own temperature")
    return made


def vectorised(appliance: Appliance, disturbance: Disturbance, seed: int, minutes: int) -> Run:
    """The loop of bench/trim_bench.py."""
    settings, schedule = appliance.lines[0].trim, appliance.lines[0].schedule
    assert settings is not None
    assert schedule is not None
    by = ours(settings, schedule, ACCEPT_MIN)
    outcome = run([disturbed(disturbance, seed, schedule, by)], schedule, minutes, 9000)
    return Run(outcome, by.offers, by.anomaly_min)


async def through_the_daemon(
    appliance: Appliance, disturbance: Disturbance, seed: int, minutes: int
) -> Run:
    """The same through servers, daemon, registers and PLC. Needs a virtual-time loop."""
    line = appliance.lines[0]
    settings, schedule = line.trim, line.schedule
    assert settings is not None
    assert schedule is not None
    clock, operator = LoopClock(EPOCH_S), Gate()
    own = disturbed(disturbance, seed, schedule, ours(settings, schedule, ACCEPT_MIN))
    plant = LivePlant(Scenario(seed, severity=0), schedule, course=own.course, plant=own.plant)
    plc = PlcBlock(PlcSettings(acknowledge_s=60 * ACKNOWLEDGE_MIN), operator)
    seconds = 60 * minutes
    error, flow = np.empty(seconds), np.empty(seconds)
    held: Counter[str] = Counter()
    anomaly: list[int] = []
    app = App(appliance, clock=clock, notifier=Notifier({}))

    def watch(server: TwinServer) -> None:
        operator.second = server.seconds
        now, at = server.latest, server.seconds - 1
        assert isinstance(now, PlantSecond)
        error[at] = now.ph_true - now.context["AIC-106.SP"]
        flow[at] = now.context["FIC-103.SP"]
        if at % 60 == 59:
            advice = app.lines[0].core.desk.advice
            if isinstance(advice.outcome, Held) and advice.state is not TrimState.OFFERED:
                held[advice.outcome.reason.name] += 1
            if advice.anomaly:
                anomaly.append(at // 60 + 1)

    names = [tag.name for tag in TAGS]
    async with TwinServer(line, plant, plc, clock=clock, tag_names=names) as server:
        daemon = asyncio.create_task(app.run(), name="daemon")
        watch(server)  # the first second is shown before the daemon looks
        try:
            await server.run(seconds - 1, watch)
            if daemon.done():
                await daemon
        finally:
            daemon.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await daemon
        assert server.refused_writes == 0
    by_minute = error.reshape(minutes, 60)
    worst = by_minute[np.arange(minutes), np.abs(by_minute).argmax(axis=1)]
    outcome = Outcome(worst[:, None], flow.reshape(minutes, 60).mean(axis=1)[:, None])
    return Run(outcome, len(plc.accepted), anomaly, held)


def row(name: str, done: Run) -> str:
    """One line of the table."""
    away = np.abs(done.outcome.ph_error[:, 0])
    anomaly = str(done.anomaly_min[0]) if done.anomaly_min else "-"
    held = ", ".join(f"{reason} {count}" for reason, count in done.held.most_common(4))
    return (
        f"  {name:12} {done.outcome.share_within(BAND)[0]:8.2%} "
        f"{done.outcome.share_within(NARROW)[0]:8.1%} {away.max():9.2f} {away.argmax() + 1:7d} "
        f"{done.outcome.variation()[0]:11.1f} {done.accepted:9d} {anomaly:>8}  {held}"
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", default=list(SAMPLE), help="disturbances")
    parser.add_argument("--minutes", type=int, default=180)
    parser.add_argument("--seed", type=int, default=9000)
    args = parser.parse_args(argv)
    known = {d.name: d for d in DISTURBANCES}
    unknown = [name for name in args.names if name not in known]
    if unknown:
        parser.error(f"{', '.join(unknown)}: permitted are {', '.join(known)}")
    print(f"simulated, the first {args.minutes} min of a batch, plant {args.seed}")
    print(f"  {'':12} {'±0.25':>8} {'±0.10':>8} {'worst pH':>9} {'at min':>7} {'kg/h per h':>11} "
          f"{'accepted':>9} {'anomaly':>8}  minutes without a suggestion")  # fmt: skip
    for name in args.names:
        with (
            quiet("asyncua", "pymodbus", "ncm-edge"),
            tempfile.TemporaryDirectory(prefix="ncm-edge-trim-") as scratch,
        ):
            appliance = line_of(Path(scratch))
            print(name)
            fast = vectorised(appliance, known[name], args.seed, args.minutes)
            print(row("vectorised", fast), flush=True)
            real = virtual_time.run(
                through_the_daemon(appliance, known[name], args.seed, args.minutes)
            )
            print(row("real daemon", real), flush=True)


if __name__ == "__main__":
    main()
