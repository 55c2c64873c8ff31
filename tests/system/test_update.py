"""The daemon and its slots: what was installed runs, what was tampered with does not."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest

import edge.runtime.takeup
from edge.app import App
from edge.config.types import Appliance
from edge.core.conditions import Condition
from edge.core.registers import Alarm, Ne107, Status
from edge.runtime.notify import Notifier
from edge.runtime.ringfile import RingBusy
from edge.runtime.store.reader import History
from edge.runtime.store.schema import FILE_NAME
from edge.runtime.track import Step
from edge.update import audit
from edge.update.audit import Audit
from edge.update.install import Installer
from edge.update.manifest import Site, tag_schema
from edge.update.refusals import Refused
from edge.update.selftest import ChildTest
from edge.update.store import Store
from tests.line import Rig
from tests.update.site import Supplier
from tests.update.tiny import tiny_bundle

pytestmark = pytest.mark.system
Virtual = Callable[[Coroutine[Any, Any, Any]], Any]


class Plant:
    """An appliance with a tiny configured model (serial 1), and a supplier of others."""

    def __init__(self, appliance: Appliance, folder: Path) -> None:
        (line,) = appliance.lines
        self.folder = folder
        self.tags = tuple((row.tag.name, row.tag.unit) for row in line.tags)
        self.row_s = line.row_s
        self.supplier = Supplier(folder / "keys")
        configured = tiny_bundle(folder / "configured", self.tags, serial=1)
        model = replace(line.model, bundle=configured, shadow_steps=2, probation_steps=2)
        self.appliance = replace(
            appliance,
            lines=(replace(line, model=model),),
            trust_root=self.supplier.folder / "root.json",
        )
        self.store = Store(appliance.state_dir, line.name, self.appliance.trust_root)
        site = Site(line=line.name, tags=self.tags, row_s=line.row_s, app_version="0.1.0")
        test = ChildTest(tags=self.tags, row_s=line.row_s, provider="cpu")
        trail = Audit(appliance.state_dir / "update" / "audit", lambda: 0.0)
        self.installer = Installer(self.store, site, test, trail)

    def install(self, seq: int, *, trap: bool = False) -> None:
        """Release `seq`, whose model has that serial, by the real way with a real self-test."""
        bundle = tiny_bundle(self.folder / f"bundle{seq}", self.tags, serial=seq, trap=trap)
        stick = self.folder / "x.ncm"
        stick.write_bytes(
            self.supplier.release(
                seq,
                files={path.name: path.read_bytes() for path in bundle.iterdir()},
                schema=tag_schema(self.tags, self.row_s),
            )
        )
        self.installer.apply(stick)

    def tamper(self, slot: str | None) -> None:
        assert slot is not None
        path = self.store.bundle(slot) / "model.onnx"
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)


@pytest.fixture
def plant(appliance: Appliance, tmp_path: Path) -> Plant:
    return Plant(appliance, tmp_path)


def test_what_was_proven_runs_and_what_was_damaged_does_not(
    plant: Plant, virtual: Virtual
) -> None:
    async def main() -> None:
        async with Rig(plant.appliance) as rig:
            await rig.start_twins()

            async def serial_after_start() -> int:
                rig.start_app()
                await rig.run(10)
                serial = rig.block().decision.model_serial
                if rig.app is not None and Condition.UPDATE_FAILED not in rig.raised():
                    await rig.stop_app()
                return serial

            assert await serial_after_start() == 1
            for seq in (2, 3):
                plant.install(seq)
                assert await serial_after_start() == seq - 1  # its trial is still to come
                plant.installer.prove(plant.store.record().active)
                assert await serial_after_start() == seq
            plant.installer.rollback()
            assert await serial_after_start() == 2
            # The active slot is damaged: the one before runs, and everybody is told.
            plant.tamper(plant.store.record().active)
            assert await serial_after_start() == 3
            await rig.run(2)
            seen = rig.block().decision
            assert Status.UPDATE_FAILED in seen.status
            assert Alarm.UPDATE_FAILED in seen.alarms
            assert "slot-damaged 76" in rig.text(Condition.UPDATE_FAILED)
            assert Status.MODEL_LOADED in seen.status
            assert seen.ne107 is Ne107.CHECK_FUNCTION  # simulation outranks maintenance

    virtual(main())


def test_a_release_that_brings_the_daemon_down_is_gone_back_from(
    plant: Plant, virtual: Virtual
) -> None:
    async def main() -> None:
        plant.install(2)
        async with Rig(plant.appliance) as rig:
            await rig.start_twins()
            for _ in range(3):  # each start ends while the release is in shadow
                rig.start_app()
                await rig.run(15)
                assert Status.UPDATE_STAGED in rig.block().decision.status
                assert Condition.UPDATE_FAILED not in rig.raised()
                await rig.stop_app()
            rig.start_app()
            await rig.run(15)
            assert "ended 3 times" in rig.text(Condition.UPDATE_FAILED)
            assert rig.block().decision.model_serial == 1
            assert plant.store.record().active is None

    virtual(main())


def test_a_second_daemon_does_not_count_against_a_release(plant: Plant, virtual: Virtual) -> None:
    async def main() -> None:
        plant.install(2)
        async with Rig(plant.appliance) as rig:
            await rig.start_twins()
            rig.start_app()
            await rig.run(15)
            assert plant.store.record().starts == 1
            for _ in range(4):
                with pytest.raises(RingBusy):
                    App(plant.appliance, clock=rig.clock, notifier=Notifier({}))
            record = plant.store.record()
            assert (record.starts, record.active) == (1, record.unproven)

    virtual(main())


def test_the_daily_look_finds_what_was_changed_meanwhile(
    plant: Plant, virtual: Virtual, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge.runtime.takeup, "DAY_S", 20.0)

    async def main() -> None:
        plant.install(2)
        plant.installer.prove(plant.store.record().active)
        async with Rig(plant.appliance) as rig:
            await rig.start_twins()
            rig.start_app()
            await rig.run(45)
            assert Condition.UPDATE_FAILED not in rig.raised()
            plant.tamper(plant.store.record().active)
            await rig.until(lambda: Condition.UPDATE_FAILED in rig.raised(), 60)
            # What runs was loaded and verified before: it goes on.
            assert rig.block().decision.model_serial == 2

    virtual(main())
    told = [line["verdict"] for line in audit.lines(plant.store.root / "audit")]
    assert told[:2] == ["done", "sound"]
    assert "slot-damaged" in told


def minutes_of(plant: Plant) -> list[float]:
    """Seconds between the model steps in the history, in order."""
    with History(plant.appliance.history.directory / FILE_NAME) as found:
        (batch,) = found.batches("ncm-1")
        times = [step.t_s for step in found.steps(batch)]
    return [later - earlier for earlier, later in itertools.pairwise(times)]


def test_a_new_model_in_shadow_then_on_probation_across_a_restart_and_not_a_minute_lost(
    plant: Plant, virtual: Virtual, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "ncm-edge")

    async def main() -> None:
        async with Rig(plant.appliance) as rig:
            await rig.start_twins()
            rig.start_app()
            await rig.run(5)
            await rig.until(lambda: Status.OUTPUT_VALID in rig.block().decision.status, 200)
            plant.install(2)
            seen = []
            batch = rig.runner.core.batch.batch_id

            def switched() -> bool:
                seen.append(rig.block())
                return rig.block().decision.model_serial == 2

            took_s = await rig.until(switched, 400)
            assert 60 <= took_s <= 240  # two whole steps, and the one under way
            await rig.run(12)
            seen.append(rig.block())
            # The heartbeat and the verdict never stopped; the batch went on.
            assert all(Status.OUTPUT_VALID in block.decision.status for block in seen)
            assert rig.runner.core.batch.batch_id == batch
            assert rig.runner.core.finding.verdict.valid
            assert Condition.UPDATE_FAILED not in rig.raised()
            assert Status.UPDATE_STAGED in rig.block().decision.status
            assert "release 1.2 on probation" in rig.status()["lines"][0]["update"]
            assert plant.store.record().on_probation
            before = rig.runner.service.before
            assert len(before) == 2
            await rig.until(lambda: len(rig.runner.service.now) == 1, 70)
            await rig.run(2)
            await rig.stop_app()
            rig.start_app()  # in the middle of it
            await rig.run(5)
            assert rig.block().decision.model_serial == 2
            assert (len(rig.runner.service.now), rig.runner.service.before) == (1, before)
            assert Status.UPDATE_STAGED in rig.block().decision.status
            await rig.until(lambda: not rig.runner.watched_over, 70)
            await rig.run(12)
            assert plant.store.record().unproven is None
            assert Status.UPDATE_STAGED not in rig.block().decision.status
            # Going back needs no shadow.
            plant.installer.rollback()
            assert await rig.until(lambda: rig.block().decision.model_serial == 1, 200) <= 80
            await rig.run(12)

    virtual(main())
    told = [(x["event"], x["verdict"]) for x in audit.lines(plant.store.root / "audit")]
    assert told[:3] == [("apply", "done"), ("trial", "passed"), ("probation", "proven")]
    assert caplog.text.count("trial of release 1.2, step") == 2
    assert "severity 0, candidate" in caplog.text
    with History(plant.appliance.history.directory / FILE_NAME) as found:
        updates = [event.body for event in found.events(kind="update")]
        beside = [event.body for event in found.events(kind="shadow")]
    assert [(event["release"], event["outcome"]) for event in updates[:2]] == [
        ("release 1.2", "passed"), ("release 1.2", "proven"),
    ]  # fmt: skip
    assert "serial 2" in updates[0]["model"]
    assert "serial 1" in updates[-1]["model"]
    assert [event["step"] for event in beside] == [1, 2]
    assert all(0.0 <= event[who] <= 1.0 for event in beside
               for who in ("probability", "candidate_probability"))  # fmt: skip
    assert minutes_of(plant) == pytest.approx(
        [60.0] * len(minutes_of(plant)), abs=1.0  # the restart begins a second of its own
    )


def test_a_model_that_does_worse_at_work_is_gone_back_from_and_not_a_minute_is_lost(
    plant: Plant, virtual: Virtual
) -> None:
    async def main() -> None:
        async with Rig(plant.appliance) as rig:
            await rig.start_twins()
            rig.start_app()
            await rig.run(5)
            await rig.until(lambda: Status.OUTPUT_VALID in rig.block().decision.status, 200)
            plant.install(2)
            await rig.until(lambda: rig.block().decision.model_serial == 2, 400)
            batch, books = rig.runner.core.batch, rig.runner.core.desk.advice.minutes

            asked = []

            async def hangs(step: Step, _: object) -> NoReturn:
                asked.append(step.last_seq)
                await asyncio.Event().wait()
                raise AssertionError

            assert rig.runner.track is not None
            rig.runner.track.conclude = hangs  # type: ignore[method-assign]
            back_s = await rig.until(lambda: rig.block().decision.model_serial == 1, 260)
            assert back_s <= 195  # its step, the time it is given, a look, and the next step
            assert len(asked) == 1  # whoever hangs is not asked again
            await rig.run(2)
            core = rig.runner.core
            assert core.finding.verdict.valid
            assert (core.batch.batch_id, core.batch.step) == (batch.batch_id, batch.step + 3)
            assert core.desk.advice.minutes > books
            decision = rig.block().decision
            assert Status.UPDATE_FAILED in decision.status
            assert Alarm.UPDATE_FAILED in decision.alarms
            assert Status.UPDATE_STAGED not in decision.status
            text = rig.text(Condition.UPDATE_FAILED)
            assert "probation 64" in text
            assert "1 of 1 model steps without a number, before 0 of" in text
            record = plant.store.record()
            assert (record.active, record.code) == (None, 64)

    virtual(main())
    told = [(x["event"], x["verdict"]) for x in audit.lines(plant.store.root / "audit")]
    assert told[:4] == [
        ("apply", "done"), ("trial", "passed"), ("probation", "returned"), ("rollback", "done"),
    ]  # fmt: skip
    with History(plant.appliance.history.directory / FILE_NAME) as found:
        outcomes = [event.body["outcome"] for event in found.events(kind="update")]
    assert outcomes[:2] == ["passed", "returned"]
    assert minutes_of(plant) == pytest.approx([60.0] * len(minutes_of(plant)))


def test_a_model_that_fails_in_shadow_is_gone_back_from(plant: Plant, virtual: Virtual) -> None:
    async def main() -> None:
        async with Rig(plant.appliance) as rig:
            await rig.start_twins()
            rig.start_app()
            await rig.run(5)
            await rig.until(lambda: Status.OUTPUT_VALID in rig.block().decision.status, 200)
            plant.install(2, trap=True)
            await rig.until(lambda: Condition.UPDATE_FAILED in rig.raised(), 200)
            assert rig.block().decision.model_serial == 1
            assert Status.OUTPUT_VALID in rig.block().decision.status
            await rig.run(20)
            assert "NaN" in rig.text(Condition.UPDATE_FAILED)
            assert plant.store.record().active is None

    virtual(main())
    told = [(x["event"], x["verdict"]) for x in audit.lines(plant.store.root / "audit")]
    assert told == [("apply", "done"), ("trial", "failed"), ("rollback", "done")]


def test_what_was_refused_is_shown_at_the_panel(plant: Plant, virtual: Virtual) -> None:
    async def main() -> None:
        plant.install(5)
        plant.installer.prove(plant.store.record().active)
        async with Rig(plant.appliance) as rig:
            await rig.start_twins()
            rig.start_app()
            await rig.run(5)
            with pytest.raises(Refused):
                plant.install(4)
            await rig.until(lambda: Condition.UPDATE_FAILED in rig.raised(), 20)
            await rig.run(2)
            assert "rollback 40: release 1.4" in rig.text(Condition.UPDATE_FAILED)
            # It stays until somebody acknowledges it.
            await rig.run(30)
            assert Alarm.UPDATE_FAILED in rig.block().decision.alarms
            assert rig.block().decision.model_serial == 5

    virtual(main())
