"""What the history costs: bytes of a batch, time to read it back, lateness of the daemon's tick.

One 18 h batch of the twin (51 tags, 1 Hz) is written minute by minute as the daemon does it, then
read back whole. Lateness: a task on a 1 s grid, accelerated, hands over a minute at each tick; the
same task without a store stands beside it, alternating, so that both see the same machine.

    python bench/history_cost.py --ticks 600
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

import numpy as np

from edge.config.load import load
from edge.core.tags import Quality
from edge.runtime.clock import SystemClock
from edge.runtime.store import writer
from edge.runtime.store.archive import export
from edge.runtime.store.reader import History
from edge.runtime.store.records import BatchAt, Event, Minute, Record, Step
from edge.runtime.store.schema import FILE_NAME, open_for_writing
from edge.runtime.store.store import Store
from edge.twin.scenario import Scenario
from edge.twin.simulate import simulate
from edge.twin.tag_table import TAGS

TICK_S = 0.05
"""A minute of rows every 50 ms: 1200 times the load of a line."""
NAMES = tuple((tag.name, tag.unit) for tag in TAGS)
NOTHING_EXTRA = 1e-3


def main() -> int:
    """Print the table; 0."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ticks", type=int, default=600, help="ticks of each kind")
    parser.add_argument("--seed", type=int, default=101)
    options = parser.parse_args()
    values = simulate([Scenario(seed=options.seed, fault=None)])[0]
    minutes = [_records(values, n) for n in range(len(values) // 60)]
    with tempfile.TemporaryDirectory() as scratch:
        _batch(Path(scratch), minutes, values.nbytes)
        _archive(Path(scratch))
        asyncio.run(_lateness(Path(scratch) / "live", minutes, options.ticks))
    return 0


def _records(values: np.ndarray, n: int) -> list[Record]:
    batch = BatchAt(batch_id=1, minutes=float(n), state="running", simulation="the twin")
    rows = values[60 * n : 60 * (n + 1)]
    times = 1.78e9 + 60.0 * n + np.arange(60.0)
    quality = np.where(np.isfinite(rows), Quality.GOOD, Quality.BAD).astype(np.uint8)
    noise = np.random.default_rng(n).normal(size=(2, len(TAGS))).astype(np.float32)
    return [
        Minute(line="ncm-1", batch=batch, tags=NAMES, times=times, values=rows, quality=quality,
               reason=np.zeros_like(quality)),
        Step(line="ncm-1", batch=batch, t_s=float(times[-1]) + 1.0, phase=1, probability=0.1,
             severity=0, why="", drift=0.2, data_quality=1.0, demand=0.0, cam=noise[0],
             deviation=noise[1]),
        Event(t_s=float(times[-1]), line="ncm-1", kind="condition",
              body={"condition": "input drift", "raised": bool(n % 2)}),
    ]  # fmt: skip


def _batch(folder: Path, minutes: list[list[Record]], raw_bytes: int) -> None:
    connection = open_for_writing(folder / FILE_NAME).connection
    began_s = time.perf_counter()
    for records in minutes:
        writer.write(connection, records)
    write_s = time.perf_counter() - began_s
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    size = writer.size_bytes(connection)
    connection.close()
    with History(folder / FILE_NAME) as found:
        (batch,) = found.batches()
        spent = []
        for _ in range(5):
            began_s = time.perf_counter()
            rows = found.rows(batch)
            spent.append(time.perf_counter() - began_s)
    read_s = sorted(spent)[2]
    print(f"simulated batch, {len(NAMES)} tags x {len(rows.times)} rows")
    print(f"file             {size / 1e6:6.2f} MB, {size / raw_bytes:.2f} of the float32 (limit 6)")
    print(f"a minute written {write_s / len(minutes) * 1e3:6.2f} ms, with fsync")
    print(f"read back whole  {read_s:6.3f} s, median of 5 (limit 0.5)")
    print(f"a year of a line {size / 1e6 * 365 * 24 / 18:6.0f} MB (default limit 4000)")


def _archive(folder: Path) -> None:
    line = load(Path(__file__).resolve().parent.parent / "firmware_config", lines=("ncm-1",))
    with History(folder / FILE_NAME) as found:
        (batch,) = found.batches()
        began_s = time.perf_counter()
        done = export(found, batch, line.lines[0], folder)
        spent_s = time.perf_counter() - began_s
    print(f"archived         {done.size_bytes / 1e6:6.2f} MB of Parquet in {spent_s:.1f} s")


async def _lateness(folder: Path, minutes: list[list[Record]], ticks: int) -> None:
    store = Store(folder, SystemClock(), max_bytes=10**9, max_age_s=1e12)
    task = asyncio.create_task(store.run())
    await store.opened.wait()
    late: dict[bool, list[float]] = {False: [], True: []}
    loop = asyncio.get_running_loop()
    due_s = loop.time()
    for n in range(2 * ticks):
        due_s += TICK_S
        await asyncio.sleep(max(due_s - loop.time(), 0.0))
        late[bool(n // 20 % 2)].append(max(loop.time() - due_s, 0.0))
        # In blocks of twenty, so that what the store does falls into ticks of its own kind.
        if n // 20 % 2:
            for record in minutes[n % len(minutes)]:
                store.put(record)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    store.close()
    print(f"lateness of {ticks} ticks each, ms    median     p99     max")
    for on, name in ((False, "without the store"), (True, "with 20 lines' worth a second")):
        ms = np.array(late[on]) * 1e3
        print(f"  {name:32}{np.median(ms):9.2f}{np.percentile(ms, 99):8.2f}{ms.max():8.2f}")
    medians = [np.median(late[on]) + NOTHING_EXTRA * 1e-3 for on in (False, True)]
    p99 = [np.percentile(late[on], 99) + NOTHING_EXTRA * 1e-3 for on in (False, True)]
    print(f"  ratio with : without            {medians[1] / medians[0]:9.2f}{p99[1] / p99[0]:8.2f}")


if __name__ == "__main__":
    raise SystemExit(main())
