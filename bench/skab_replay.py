"""Replay SKAB, a real water-circulation rig with pump and valve faults, into the real daemon.

For each file: its first 400 rows teach the reference (the benchmark convention), the whole file is
served row by row as a PLC over Modbus TCP, the daemon runs on it, and the defect flag is read each
second from block W as the PLC holds it. Precision and recall are counted on the rows after the
first 400, against the recording's own `anomaly` column. Thresholds come from the training part.

    python bench/skab_replay.py                       all 34 files, a table
    python bench/skab_replay.py valve1/0 other/9      some of them
    python bench/skab_replay.py --data PATH/skab.csv.gz

The data (GPL-3.0) is not part of this repository; without it the script says so and exits with 2.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import csv
import gzip
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

from edge.app import App
from edge.cli.demo import on_free_ports
from edge.cli.quiet import quiet
from edge.config.load import load
from edge.config.types import Appliance
from edge.core.outputs import BlockError, decode_block_w
from edge.core.registers import Status
from edge.runtime import virtual_time
from edge.runtime.clock import LoopClock
from edge.runtime.notify import Notifier
from edge.twin.replay import Recording, ReplayPlant
from edge.twin.serve import TwinServer
from export.learn.quick import bundle_from_recording

ROOT = Path(__file__).resolve().parent.parent
DESCRIPTION = ROOT / "export" / "plants" / "skab.toml"
DATA = ROOT.parent / "shared" / "data" / "skab" / "skab.csv.gz"
TRAINED_ROWS = 400
EPOCH_S = 1_780_000_000.0


@dataclass(frozen=True, slots=True)
class Score:
    """Rows after the trained part, by flag and label."""

    true: int
    false: int
    missed: int
    quiet: int
    without_output: int
    """Rows without a valid output; they count as not flagged."""

    @property
    def precision(self) -> float:
        """Flagged rows that are anomalous; NaN without a flagged row."""
        flagged = self.true + self.false
        return self.true / flagged if flagged else float("nan")

    @property
    def recall(self) -> float:
        """Anomalous rows that are flagged."""
        return self.true / max(self.true + self.missed, 1)

    @property
    def false_alarm(self) -> float:
        """Normal rows that are flagged."""
        return self.false / max(self.false + self.quiet, 1)

    def __add__(self, other: Score) -> Score:
        return Score(
            self.true + other.true,
            self.false + other.false,
            self.missed + other.missed,
            self.quiet + other.quiet,
            self.without_output + other.without_output,
        )


def labels(data: Path) -> dict[str, list[bool]]:
    """File of the recording -> its anomaly label row by row."""
    found: dict[str, list[bool]] = defaultdict(list)
    with gzip.open(data, "rt", encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            found[row["file"]].append(float(row["anomaly"]) > 0)
    return dict(found)


async def replay(appliance: Appliance, data: Path, name: str) -> list[bool | None]:
    """Flag of every row as read from the PLC's registers; None where the output was not valid."""
    line = appliance.lines[0]
    tags = [row.tag.name for row in line.tags]
    recording = Recording.load(data, tags, f"file={name}")
    plant = ReplayPlant(recording, tags, line.row_s)
    clock = LoopClock(EPOCH_S)
    flags: list[bool | None] = []

    def note(server: TwinServer) -> None:
        try:
            decision = decode_block_w(server.block_w).decision
        except BlockError:
            flags.append(None)
            return
        valid = bool(decision.status & Status.OUTPUT_VALID)
        flags.append(bool(decision.severity) if valid else None)

    async with TwinServer(line, plant, clock=clock) as server:
        daemon = asyncio.create_task(App(appliance, clock=clock, notifier=Notifier({})).run())
        try:
            await server.run(len(recording), note)
        finally:
            daemon.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await daemon
    return flags


def score(flags: list[bool | None], truth: list[bool]) -> Score:
    """Compare after the trained rows. What stands in the PLC at row t is judged at row t."""
    pairs = list(zip(flags, truth))[TRAINED_ROWS:]
    return Score(
        true=sum(bool(flag) and label for flag, label in pairs),
        false=sum(bool(flag) and not label for flag, label in pairs),
        missed=sum(not flag and label for flag, label in pairs),
        quiet=sum(not flag and not label for flag, label in pairs),
        without_output=sum(flag is None for flag, _ in pairs),
    )


def run(names: list[str], data: Path) -> dict[str, Score]:
    """Train once, then replay every file named; file -> score."""
    truth = labels(data)
    scores: dict[str, Score] = {}
    with tempfile.TemporaryDirectory(prefix="skab-") as scratch:
        work = Path(scratch)
        bundles = {name: work / "models" / name.replace("/", "-") for name in names}
        bundle_from_recording(DESCRIPTION, bundles, data=data)
        for name in names:
            state = work / "state" / name.replace("/", "-")
            state.mkdir(parents=True)
            appliance = load(
                ROOT / "firmware_config", lines=("skab",), state_dir=state, runtime_dir=state
            )
            line = on_free_ports(appliance.lines[0])
            line = replace(line, model=replace(line.model, bundle=bundles[name]))
            flags = virtual_time.run(replay(replace(appliance, lines=(line,)), data, name))
            scores[name] = score(flags, truth[name])
            print(row(name, scores[name]), flush=True)
    return scores


def row(name: str, found: Score) -> str:
    """One line of the table."""
    return (
        f"{name:14} {found.precision:10.3f} {found.recall:8.3f} {found.false_alarm:12.3f} "
        f"{found.without_output:15d}"
    )


def main() -> int:
    """Print the table; 0, or 2 without the data."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="*", help="e.g. valve1/0; default: all with a fault")
    parser.add_argument("--data", type=Path, default=DATA)
    options = parser.parse_args()
    if not options.data.is_file():
        print(f"{options.data}: not there; give the recording with --data PATH", file=sys.stderr)
        return 2
    known = [name for name in labels(options.data) if not name.startswith("anomaly-free")]
    names = options.files or known
    unknown = sorted(set(names) - set(known))
    if unknown:
        print(f"no such file: {', '.join(unknown)}; known: {', '.join(known)}", file=sys.stderr)
        return 2
    print("SKAB, recorded data; flags read from block W after a replay over Modbus TCP")
    print(f"{'file':14} {'precision':>10} {'recall':>8} {'false alarm':>12} {'rows no output':>15}")
    with quiet("ncm-edge", "asyncua", "pymodbus"):
        scores = run(names, options.data)
    total = sum(scores.values(), Score(0, 0, 0, 0, 0))
    print(row("all", total))
    f1 = 2 * total.true / max(2 * total.true + total.false + total.missed, 1)
    print(f"F1 {f1:.3f}, false-alarm rate {total.false_alarm:.1%}, missed {1 - total.recall:.1%}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
