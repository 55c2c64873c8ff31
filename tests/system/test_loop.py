"""The loop: plant -> archive -> label -> train -> bundle -> stick -> the same plant, still running.

One daemon with its real history runs on the twin from the first second to the last, in virtual
time, while the commands are given beside it as people give them. Two batches are its own, shortened
to minutes; twelve more, of 90 minutes in place of 18 hours, are put into the history through the
store the daemon uses, so that there is enough to learn from. The shadow lasts three model steps in
place of thirty. Nothing else is shortened, and everything is simulated.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from edge.__main__ import main as edge_main
from edge.config.load import load
from edge.config.types import Appliance
from edge.core.conditions import Condition
from edge.core.registers import MaintKind, Status
from edge.core.tags import Quality
from edge.runtime.store.reader import History
from edge.runtime.store.records import BatchAt, Minute, Step
from edge.runtime.store.schema import FILE_NAME
from edge.runtime.store.store import Store
from edge.twin.plant import LivePlant, PlantSecond
from edge.twin.plc import PlcBlock
from edge.twin.scenario import Scenario
from edge.twin.serve import TwinServer
from edge.twin.simulate import simulate
from edge.twin.tag_table import TAGS
from export.__main__ import main as export_main
from tests.line import CONFIG, EPOCH_S, Rig
from tests.runtime.store.records import FixedClock

pytestmark = pytest.mark.system
Virtual = Callable[[Coroutine[Any, Any, Any]], Any]
Capture = pytest.CaptureFixture[str]

DAY_S = 86_400.0
LINE = "ncm-1"
MINUTES = 90
RELEASE = 9
"""Serial of the model that is trained here; the shipped one has another."""
OWN = (41, 42)
"""Batches the daemon itself records: a healthy one, and the one before the repair."""


@dataclass(frozen=True, slots=True)
class Past:
    """A batch before the daemon of this test came."""

    batch_id: int
    day: float
    """Its first minute, days after the daemon's start (below 0)."""
    scenario: Scenario


PAST = (
    # After the overhaul of day -13: normal.
    *(Past(1 + n, -12.9 + n / 3, Scenario(seed=301 + n, fault=None)) for n in range(7)),
    # The NaOH line fails on day -6.
    Past(11, -8.8, Scenario(seed=311, fault="F03", severity=1)),
    Past(12, -7.8, Scenario(seed=312, fault="F03", severity=2)),
    Past(13, -6.4, Scenario(seed=313, fault="F03", severity=3)),
    # And is mended.
    Past(14, -5.5, Scenario(seed=314, fault=None)),
    Past(15, -4.5, Scenario(seed=315, fault=None)),
)


def day(number: float) -> str:
    """A day after the daemon's start as a plant's log writes it, in UTC."""
    return datetime.fromtimestamp(EPOCH_S + number * DAY_S, UTC).strftime("%Y-%m-%d %H:%M")


LOG = f"""time,event,end,component,text
{day(-13.1)},maintenance,{day(-13.0)},,overhaul
{day(-6.0)},failure,,C03,NaOH line leaks
{day(-5.9)},maintenance,{day(-5.7)},C03,pipe replaced
{day(-0.6)},maintenance,{day(-0.5)},,probes calibrated
"""


class Campaign:
    """One plant after the other behind the same servers."""

    def __init__(self, *plants: LivePlant) -> None:
        self._plants = list(plants)

    def second(self, trim_kg_h: float, held: bool) -> PlantSecond:
        return self._plants[0].second(trim_kg_h, held)

    def next(self) -> None:
        self._plants.pop(0)


def configured(folder: Path, port: Callable[[], int]) -> Path:
    """The shipped configuration on free ports, its state in `folder`, no key of anybody in it."""
    config = Path(shutil.copytree(CONFIG, "etc"))
    (folder / "run").mkdir()  # systemd's RuntimeDirectory
    for name, words in (
        ("appliance.toml", {"/var/lib/ncm-edge": str(folder / "state"),
                            "/run/ncm-edge": str(folder / "run"), '"auto"': '"cpu"'}),
        (f"lines/{LINE}/line.toml", {"port = 5020": f"port = {port()}", ":4840/": f":{port()}/",
                                     "persist_steps": "shadow_steps = 3\npersist_steps"}),
    ):  # fmt: skip
        text = (config / name).read_text(encoding="utf-8")
        for old, new in words.items():
            assert old in text
            text = text.replace(old, new)
        (config / name).write_text(text, encoding="utf-8")
    return config


async def fill(appliance: Appliance, past: Sequence[Past]) -> None:
    """Put these batches into the history, as the daemon's own recorder would."""
    rows = simulate([p.scenario for p in past], rows=60 * MINUTES)
    tags = tuple((tag.name, tag.unit) for tag in TAGS)
    history = Store(appliance.history.directory, FixedClock(EPOCH_S), max_bytes=10**9,
                    max_age_s=400 * DAY_S)  # fmt: skip
    task = asyncio.create_task(history.run())
    for p, values in zip(past, rows, strict=True):
        began_s = EPOCH_S + p.day * DAY_S
        for n in range(MINUTES + 1):
            at = BatchAt(batch_id=p.batch_id, minutes=float(n), simulation="the digital twin",
                         state="running" if n < MINUTES else "complete")  # fmt: skip
            end_s = began_s + 60.0 * (n + 1)
            history.put(Step(line=LINE, batch=at, t_s=end_s, phase=1, probability=0.0, severity=0,
                             why="", drift=None, data_quality=1.0, demand=None))  # fmt: skip
            if n == MINUTES:
                continue
            part = values[60 * n : 60 * (n + 1)]
            quality = np.where(np.isfinite(part), Quality.GOOD, Quality.BAD).astype(np.uint8)
            history.put(Minute(line=LINE, batch=at, tags=tags, values=part, quality=quality,
                               times=end_s - 60.0 + np.arange(60.0),
                               reason=np.zeros_like(quality)))  # fmt: skip
        await history.eased(0)
    await asyncio.sleep(1.0)  # virtual time waits for the worker
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    history.close()
    assert (history.lost, history.fault) == (0, "")


@dataclass(frozen=True, slots=True)
class Desk:
    """Where the commands are given, and what they have said."""

    folder: Path
    config: Path
    capsys: Capture

    def edge(self, *words: object) -> str:
        """`ncm-edge ...`, which must succeed; what it printed."""
        return self._run(edge_main, [*map(str, words), "--config", str(self.config)])

    def export(self, *words: object) -> str:
        """`ncm-export ...`, which must succeed; what it printed."""
        return self._run(export_main, [*map(str, words)])

    def _run(self, main: Callable[[list[str]], int], words: list[str]) -> str:
        self.capsys.readouterr()
        code = main(words)
        said = self.capsys.readouterr()
        assert code == 0, f"{words}: {said.out}{said.err}"
        return said.out


def campaign_of(appliance: Appliance) -> Campaign:
    """A healthy batch, one with a corroding NaOH line, and one after the repair."""
    schedule = appliance.lines[0].schedule
    assert schedule is not None
    return Campaign(
        LivePlant(Scenario(seed=321, fault=None), schedule),
        LivePlant(Scenario(seed=322, fault="F03", severity=3), schedule),
        LivePlant(Scenario(seed=323, fault=None), schedule),
    )


async def record(rig: Rig, campaign: Campaign) -> None:
    """Two batches four days apart, the second ended by a repair keyed in at the panel."""
    for batch_id in OWN:
        rig.twin.batch_id, rig.twin.complete = batch_id, False
        await rig.run(360)
        rig.twin.complete = True
        await rig.run(70)
        if batch_id == OWN[0]:
            rig.step_both_clocks(4 * DAY_S)
            campaign.next()
            await rig.run(70)
    rig.twin.plc.enter_maintenance(3, int(MaintKind.REPAIRED))
    await rig.run(15)


def to_the_workshop(desk: Desk) -> None:
    """Archive to a disk, labels from the panel and from the plant's log."""
    out = desk.folder / "archive"
    said = desk.edge("archive", "--out", out)
    assert f"{len(PAST) + len(OWN)} batches exported" in said
    assert "simulated" in said
    assert "C03" in (out / "events.csv").read_text()
    table = pq.read_table(next((out / LINE).glob(f"{OWN[1]:08d}-*.parquet")))
    assert table.num_rows == pytest.approx(360, abs=3)
    (desk.folder / "maintenance.csv").write_text(LOG)
    said = desk.export("label", out, "--log", desk.folder / "maintenance.csv")
    labels = {line.split("/")[-1][:8]: line for line in said.splitlines() if ".parquet" in line}
    assert "D-3 90 min" in labels["00000011"]
    assert "D-2 90 min" in labels["00000012"]
    assert "D-1 90 min" in labels["00000013"]
    assert "D-1 6 min" in labels[f"{OWN[1]:08d}"]
    for normal in (*range(1, 8), 14, 15, OWN[0]):
        assert f"{normal:08d}" in labels
        assert "normal" in labels[f"{normal:08d}"]
    said = desk.export("data", out / "plant.toml")
    assert "simulated" in said


def to_the_stick(desk: Desk) -> Path:
    """Train, pack, sign; the smallest training that uses the labels."""
    plant, trained = desk.folder / "archive" / "plant.toml", desk.folder / "trained"
    said = desk.export("train", "--recording", plant, "--out", trained, "--iterations", "8")
    assert "recipe ours: batches of a schedule, 4 of 14 labelled defective" in said
    notes = json.loads((trained / "trained.json").read_text())["notes"]
    assert notes["kinds"] == ["C03"]
    assert notes["final_loss"] is not None
    stick, bundle = desk.folder / "stick", desk.folder / "bundle"
    said = desk.export("bundle", trained, "--out", bundle, "--serial", RELEASE)
    assert "simulated" in said
    stick.mkdir()
    key = desk.folder / "keys" / "private" / "release-1.pem"
    said = desk.export("sign", bundle, "--keys", desk.folder / "keys", "--key", key,
                       "--line", LINE, "--out", stick / "ncm-1.ncm")  # fmt: skip
    assert f"release 1.{RELEASE} for {LINE}" in said
    return stick


@pytest.mark.timeout(600)  # a dozen commands
def test_what_a_plant_recorded_comes_back_to_it_as_a_model(
    tmp_path: Path,
    free_port: Callable[[], int],
    virtual: Virtual,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)  # a desk of nobody: no path below is absolute, nor in the checkout
    desk = Desk(Path(), configured(tmp_path, free_port), capsys)
    desk.export("keys", "init", "keys")
    (desk.config / "trust").mkdir()
    shutil.copy(tmp_path / "keys" / "root.json", desk.config / "trust" / "root.json")
    appliance = load(desk.config, lines=(LINE,))

    async def main() -> None:
        await fill(appliance, PAST)
        async with Rig(appliance) as rig:
            campaign = campaign_of(appliance)
            rig.twins[0] = TwinServer(
                appliance.lines[0], campaign, PlcBlock(), clock=rig.plant_clock,
                tag_names=[tag.name for tag in TAGS],
            )  # fmt: skip
            await rig.start_twins()
            rig.start_app()
            await record(rig, campaign)
            # The daemon stays up, and its clock waits, while people are at their desks.
            shipped = rig.block().decision.model_serial
            assert shipped != RELEASE
            to_the_workshop(desk)
            stick = to_the_stick(desk)
            campaign.next()
            rig.twin.batch_id, rig.twin.complete = 43, False
            await rig.until(lambda: Status.OUTPUT_VALID in rig.block().decision.status, 200)
            assert f"may be installed on {LINE}" in desk.edge("update", "inspect", stick)
            assert "is installed" in desk.edge("update", "apply", stick)
            seen: list[int] = []

            def switched() -> bool:
                block = rig.block().decision
                seen.append(block.model_serial)
                assert Status.OUTPUT_VALID in block.status  # no minute was lost
                return block.model_serial == RELEASE

            took_s = await rig.until(switched, 400)
            assert set(seen) == {shipped, RELEASE}
            assert 120 <= took_s <= 300  # three whole model steps, and the one under way
            await rig.run(70)
            assert rig.block().decision.model_serial == RELEASE
            assert rig.runner.core.finding.verdict.valid
            assert Condition.UPDATE_FAILED not in rig.raised()
            assert f"runs release 1.{RELEASE}" in desk.edge("update", "status")

    virtual(main())
    assert "whole" in desk.edge("audit")
    # The history tells of both models, and the log is whole.
    assert "every one follows from the one before" in desk.edge("history", "verify")
    shown = desk.edge("history", "show", "43")
    assert f"serial {RELEASE}" in shown
    with History(appliance.history.directory / FILE_NAME) as found:
        kinds = {event.kind for event in found.events()}
    assert {"maintenance", "export", "update"} <= kinds
