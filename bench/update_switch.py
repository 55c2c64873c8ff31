"""What a switch of models costs: the state built anew from the ring, and minutes or batch state.

    python -m bench.update_switch [--runs N]

1. A whole batch of 18 h in the ring: the time until a model that has just taken over stands where
   it would have stood from the start, against one call of the engine over the same 1080 steps.
2. A line of the twin (simulated) in virtual time: a release in shadow, its take-over, a fault in
   its probation and the automatic return. Every model step must be in the history once, sixty
   seconds after the one before, and batch, model step and trim books must go on.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import logging
import socket
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from edge.core.batch import Batch, BatchState
from edge.core.ring import Ring, row_dtype
from edge.core.tags import Row
from edge.runtime import virtual_time
from edge.runtime.bundle import LoadedBundle, load_bundle
from edge.runtime.history import steps_between
from edge.runtime.infer import Engine, InferenceFailed
from edge.runtime.store.reader import History
from edge.runtime.store.schema import FILE_NAME
from edge.runtime.track import Step, Track
from tests.line import Rig, appliance_of
from tests.system.test_update import Plant

ROOT = Path(__file__).parent.parent
BATCH_STEPS = 1080


def whole_batch(engine: Engine, step_rows: int) -> Ring:
    """A ring that holds a batch near the reference, with its noise."""
    bundle, draw = engine.bundle, np.random.default_rng(1)
    tags = len(bundle.card.tags)
    ring = Ring(np.zeros(BATCH_STEPS * step_rows, row_dtype(tags)))
    good = np.zeros(tags, np.uint8)
    for n in range(BATCH_STEPS * step_rows):
        loc, scale = bundle.reference([n // step_rows])
        values = (loc[0, :, 0] + scale[0, :, 0] * draw.normal(size=tags)).astype(np.float32)
        ring.append(Row(float(n), values, good, good, 0, 0))
    return ring


def rewarm(runs: int) -> None:
    """Part 1."""
    bundle = load_bundle(ROOT / "firmware_config" / "models" / "ncm-1")
    assert isinstance(bundle, LoadedBundle)
    engine, rows = Engine(bundle, "cpu"), bundle.card.step_rows
    ring = whole_batch(engine, rows)
    whole = steps_between(ring, 0, ring.seq, rows)
    newest = steps_between(ring, ring.seq - rows, ring.seq, rows)
    step = Step(
        last_seq=ring.seq, t_s=0.0, steps=newest,
        batch=Batch(state=BatchState.RUNNING, batch_id=1, step=BATCH_STEPS - 1, known=True),
    )  # fmt: skip
    loc, scale = bundle.reference(range(BATCH_STEPS))
    calls, switches = [], []
    for _ in range(runs):
        started = time.perf_counter()
        _, state = engine.run(
            engine.initial_state(), whole.features[None], whole.valid[None], loc[None], scale[None]
        )
        calls.append(time.perf_counter() - started)
        track = Track(engine, "bench", rows, has_batches=True)
        started = time.perf_counter()
        asyncio.run(track.conclude(step, ring))
        switches.append(time.perf_counter() - started)
        assert track.state is not None
        for name, array in state.items():
            assert np.allclose(array, track.state[name], rtol=1e-4, atol=1e-4), name
    ratio = statistics.median(a / b for a, b in zip(switches, calls))
    print(
        f"re-warm of {BATCH_STEPS} steps from {ring.seq} rows, {runs} runs: median "
        f"{statistics.median(switches):.2f} s; one whole-batch call "
        f"{statistics.median(calls):.2f} s; ratio {ratio:.2f} (permitted 2)"
    )
    if ratio > 2.0:
        sys.exit("re-warm takes more than two whole-batch calls")


def _port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _there_and_back(plant: Plant) -> tuple[int, int]:
    """(batch id and model step) that were lost on the way; 0, 0 if all is well."""
    async with Rig(plant.appliance) as rig:
        await rig.start_twins()
        rig.start_app()
        await rig.run(65)
        core = rig.runner.core
        batch, began_s, books = core.batch, rig.twin.seconds, core.desk.advice.minutes
        plant.install(2)
        await rig.until(lambda: rig.block().decision.model_serial == 2, 400)

        def fails(*_: object) -> None:
            raise InferenceFailed("injected")

        assert rig.runner.engine is not None
        rig.runner.engine.run_blocks = fails  # type: ignore[assignment]
        await rig.until(lambda: rig.block().decision.model_serial == 1, 300)
        await rig.run(65)
        core = rig.runner.core
        minutes = int((rig.twin.seconds - began_s) / 60.0)
        print(
            f"  simulated: {minutes} minutes through shadow, take-over, fault and return; batch "
            f"{batch.batch_id} -> {core.batch.batch_id}, model step {batch.step} -> "
            f"{core.batch.step}, minutes in the trim books {books} -> {core.desk.advice.minutes}"
        )
        return core.batch.batch_id - batch.batch_id, batch.step + minutes - core.batch.step


def switch() -> None:
    """Part 2."""
    logging.getLogger("ncm-edge").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plant = Plant(appliance_of(folder / "state", _port), folder)
        lost = virtual_time.run(_there_and_back(plant))
        with History(plant.appliance.history.directory / FILE_NAME) as found:
            (batch,) = found.batches("ncm-1")
            times = [step.t_s for step in found.steps(batch)]
    gaps = [b - a for a, b in itertools.pairwise(times) if abs(b - a - 60.0) > 1.0]
    print(f"  {len(times)} model steps in the history, {len(gaps)} of them not one minute apart")
    if gaps or any(lost):
        sys.exit("a switch has lost a minute or the batch")


def main() -> None:
    """Measure and print; exit code 1 if a figure is out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=7)
    args = parser.parse_args()
    rewarm(args.runs)
    switch()


if __name__ == "__main__":
    main()
