"""The daemon and its history: rows of a real plant, a kill, a full or slow disk, the panel."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from edge.__main__ import main as edge
from edge.config.types import Appliance
from edge.core.conditions import Condition
from edge.runtime.chain import Broken
from edge.runtime.store import writer
from edge.runtime.store.reader import History
from edge.runtime.store.schema import FILE_NAME
from export.__main__ import main as export
from export.data.dataset import load_dataset
from tests.line import EPOCH_S, Rig
from tests.runtime.store.records import at, kept, minute, store
from tests.system.test_disk import full_disk

pytestmark = pytest.mark.system
ROOT = Path(__file__).parents[2]
Virtual = Callable[[Coroutine[Any, Any, Any]], Any]


def history_of(appliance: Appliance) -> History:
    return History(appliance.history.directory / FILE_NAME)


def test_every_row_of_a_batch_is_kept_as_the_ring_has_it(
    appliance: Appliance, virtual: Virtual
) -> None:
    ring: list[Any] = []

    async def main() -> None:
        async with Rig(appliance) as rig:
            await rig.start_twins()
            rig.start_app()
            await rig.run(185)
            ring.append(rig.runner.ring.ring.block(1, 180))
            assert rig.status()["history"]["fault"] == ""
            assert rig.status()["history"]["size_mb"] > 0

    virtual(main())
    with history_of(appliance) as found:
        (batch,) = found.batches()
        rows = found.rows(batch)
        values, quality = ring[0]
        assert np.array_equal(rows.values, values, equal_nan=True)
        assert np.array_equal(rows.quality, quality)
        assert rows.times[0] == EPOCH_S
        assert batch.simulation
        kinds = [event.kind for event in found.events()]
        assert kinds[0] == "start"
        assert kinds[-1] == "stop"
        assert {"condition", "verdict", "batch", "suggestion"} <= set(kinds)
        assert len(found.steps(batch)) == 3
        assert not isinstance(found.verify(found.noted_head()), Broken)


def test_what_only_the_ring_kept_is_taken_up_at_the_start(
    appliance: Appliance, virtual: Virtual
) -> None:
    async def main() -> None:
        async with Rig(appliance) as rig:
            await rig.start_twins()
            rig.start_app()
            await rig.run(130)
            await rig.stop_app()
            shutil.rmtree(appliance.history.directory)
            rig.start_app()
            await rig.run(130)

    virtual(main())
    with history_of(appliance) as found:
        rows = found.connection.execute("SELECT SUM(end_s - t_s + 1) FROM minutes").fetchone()[0]
        assert rows > 239  # the row under way at the stop is the next start's
        times = [t for (t,) in found.connection.execute("SELECT t_s FROM minutes ORDER BY t_s")]
        assert times[0] == EPOCH_S


def test_a_disk_that_fills_costs_no_row_and_no_event(
    appliance: Appliance, virtual: Virtual
) -> None:
    async def main() -> None:
        async with Rig(appliance) as rig:
            await rig.start_twins()
            rig.start_app()
            await rig.run(70)
            seq = rig.block().seq
            with full_disk():
                await rig.run(120)
                assert rig.block().seq == seq + 120  # write-back goes on
                assert Condition.STORAGE_FAULT in rig.raised()
                assert any(FILE_NAME in text.cause for text in rig.runner.core.texts)
                assert rig.app is not None
                assert rig.app.store.waiting > 0
            await rig.run(60)
            assert Condition.STORAGE_FAULT not in rig.raised()
            assert rig.status()["history"]["waiting"] == 0

    virtual(main())
    with history_of(appliance) as found:
        (batch,) = found.batches()
        assert len(found.rows(batch).times) == 240
        raised = [e.body["raised"] for e in found.events(kind="condition")
                  if e.body["condition"] == "storage fault"]  # fmt: skip
        assert raised == [True, False]
        assert not isinstance(found.verify(), Broken)


def test_a_disk_that_hangs_delays_no_row(
    appliance: Appliance, virtual: Virtual, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, release, real = threading.Event(), threading.Event(), writer.write

    def hang(*args: Any) -> Any:
        entered.set()
        assert release.wait(30.0)
        return real(*args)

    async def main() -> None:
        async with Rig(appliance) as rig:
            # Virtual time waits for a worker the loop knows; this one has to be a disk nobody
            # waits for, so it runs beside the loop.
            rig_loop = __import__("asyncio").get_running_loop()
            plain_run = super(type(rig_loop), rig_loop).run_in_executor
            await rig.start_twins()
            rig.start_app()
            await rig.run(5)
            monkeypatch.setattr(writer, "write", hang)
            monkeypatch.setattr(
                rig_loop, "run_in_executor",
                lambda pool, work, *args: (
                    plain_run(pool, work, *args)
                    if pool is rig.app.store._worker  # type: ignore[union-attr]
                    else type(rig_loop).run_in_executor(rig_loop, pool, work, *args)
                ),
            )  # fmt: skip
            seq = rig.block().seq
            await rig.run(120)
            assert entered.is_set()
            assert rig.block().seq == seq + 120
            assert rig.runner.poller.counters.overruns == 0
            release.set()

    virtual(main())
    with history_of(appliance) as found:
        assert len(found.rows(found.batches()[0]).times) == 120


def test_a_repair_keyed_in_while_nobody_listened_is_logged(
    appliance: Appliance, virtual: Virtual
) -> None:
    async def main() -> None:
        async with Rig(appliance) as rig:
            await rig.start_twins()
            rig.start_app()
            await rig.run(10)
            rig.twin.plc.enter_maintenance(3, 1)
            await rig.run(5)
            await rig.stop_app()
            rig.twin.plc.enter_maintenance(3, 4)
            await rig.run(5)
            rig.start_app()
            await rig.run(10)

    virtual(main())
    with history_of(appliance) as found:
        kinds = [(e.body["component"], e.body["kind"]) for e in found.events(kind="maintenance")]
        assert kinds == [("C03", "repaired"), ("C03", "replaced")]


SMALL_DISK = """
import asyncio, json, sys
from pathlib import Path
from edge.runtime.store.reader import History
from tests.runtime.store.records import at, event, minute, store
async def main(folder):
    history = store(folder, max_mb=50)
    task = asyncio.create_task(history.run())
    faults, n = set(), 0
    for n in range(3000):
        history.put(minute(n, at(1 + n // 500, float(n % 500)), rows=1200))
        if n % 100 == 0:
            history.put(event(n, condition=str(n), raised=True))
        for _ in range(200):
            await asyncio.sleep(0.0005)
            if not history.waiting or history.fault:
                break
        faults |= {history.fault, history.short}
        if history.fault and n > 600:
            break
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    history.close()
    with History(history.path) as found:
        rows = found.connection.execute("SELECT COUNT(*), MIN(t_s), MAX(t_s) FROM minutes")
        count, first, last = rows.fetchone()
        print(json.dumps({"n": n, "count": count, "first": first, "last": last,
                          "faults": sorted(faults), "events": len(list(found.events())),
                          "chain": str(found.verify()), "damage": found.damage()}))
asyncio.run(main(Path(sys.argv[1])))
"""


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs root to mount a small disk"
)
def test_on_a_disk_of_ten_megabytes_the_oldest_rows_make_room(tmp_path: Path) -> None:
    script = f"mount -t tmpfs -o size=10m none {tmp_path} && exec {sys.executable} - {tmp_path}"
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script], input=SMALL_DISK, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "mount" in done.stderr:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["n"] == 2999, seen  # it never stopped taking rows
    assert seen["last"] == pytest.approx(1_780_000_000.0 + 60 * 2999)
    assert seen["first"] > 1_780_000_000.0  # the oldest went
    assert seen["events"] == 31  # all of them, and the stop
    assert seen["damage"] == ""
    assert any("the disk is full; the oldest raw rows are dropped" in f for f in seen["faults"])
    assert ":" in seen["chain"]


READ_ONLY = """
import sys
from pathlib import Path
from edge.runtime.store.reader import History
with History(Path(sys.argv[1])) as found:
    print(len(found.batches()))
"""


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs root to mount a medium"
)
def test_a_history_on_a_medium_that_cannot_be_written_is_read(
    tmp_path: Path, virtual: Virtual
) -> None:
    async def main() -> None:
        history = store(tmp_path / "made")
        history.put(minute(0, at(7, 0.0)))
        await kept(history)

    virtual(main())
    stick = tmp_path / "stick"
    stick.mkdir()
    script = (
        f"mount -t tmpfs none {stick} && cp {tmp_path}/made/{FILE_NAME} {stick} && "
        f"mount -o remount,ro {stick} && exec {sys.executable} - {stick}/{FILE_NAME}"
    )
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script], input=READ_ONLY, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "mount" in done.stderr:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr


def test_from_a_running_plant_to_a_labelled_data_set(
    appliance: Appliance, virtual: Virtual, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, out = ["--config", str(ROOT / "firmware_config")], tmp_path / "archive"
    file = str(appliance.history.directory / FILE_NAME)

    async def main() -> None:
        async with Rig(appliance) as rig:
            await rig.start_twins()
            rig.start_app()
            await rig.run(300)
            rig.twin.complete = True
            await rig.run(90)
            rig.twin.plc.enter_maintenance(3, 1)
            await rig.run(30)

    virtual(main())
    assert edge(["archive", "--file", file, "--out", str(out), *config]) == 0
    assert "1 batches exported" in capsys.readouterr().out
    assert edge(["report", "1", "--file", file, "--out", str(tmp_path / "1.html"), *config]) == 0
    assert "SIMULATED" in (tmp_path / "1.html").read_text(encoding="utf-8")
    # The batch had run for 200 minutes when the appliance came: they are there, as gaps.
    (path,) = (out / "ncm-1").glob("*.parquet")
    table = pq.read_table(path)
    assert table.num_rows == 60 * 200 + 300
    assert table["FIC-103.PV"].null_count == pytest.approx(60 * 200, abs=3)  # while connecting
    assert export(["label", str(out)]) == 0
    assert "D-1" in capsys.readouterr().out
    export(["data", str(out / "plant.toml"), "--out", str(tmp_path / "set")])
    data = load_dataset(tmp_path / "set")
    (batch,) = data.batches
    assert len(batch.features) == 205
    assert (batch.component, set(batch.severity.tolist())) == ("C03", {3})
