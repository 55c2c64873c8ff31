"""What the daemon makes of a probation: commit, automatic return, restarts in the middle of it."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path
from typing import cast

import pytest

from edge.runtime.line import LineRunner
from edge.runtime.takeup import MAX_STARTS, TakeUp
from edge.runtime.trial import Outcome
from edge.update import audit
from edge.update.refusals import Code, Refused
from edge.update.source import source
from tests.update.test_takeup import FAILED, Bench, Run, at, bench, spoil

__all__ = ["at", "bench"]


async def on_probation(bench: Bench, seq: int = 5) -> str:
    """Release `seq` has taken over, and the record knows; returns its slot."""
    slot = bench.install(seq)
    await bench.looks()
    assert bench.trial == f"release 1.{seq}"
    assert bench.runner.trial.steps == 30
    bench.runner.end(Outcome.PASSED)
    # From its first step on, not from the next look on.
    assert bench.runner.watching == f"release 1.{seq}"
    await bench.looks()
    record = bench.site.store.record()
    assert (record.active, record.unproven, record.on_probation) == (slot, slot, True)
    return slot


def told(bench: Bench) -> list[tuple[str, str]]:
    return [(x["event"], x["verdict"]) for x in audit.lines(bench.site.audit.folder)]


def test_a_probation_that_ends_well_is_the_commit(bench: Bench, at: Run) -> None:
    async def body() -> None:
        slot = await on_probation(bench)
        bench.runner.end(Outcome.PROVEN)
        await bench.looks()
        record = bench.site.store.record()
        assert (record.active, record.unproven, record.on_probation) == (slot, None, False)
        assert FAILED not in bench.runner.standing
        assert bench.trial is None

    at(body)
    assert told(bench) == [("apply", "done"), ("trial", "passed"), ("probation", "proven")]
    assert bench.runner.history == [("release 1.5", "passed"), ("release 1.5", "proven")]


def test_one_that_does_not_is_gone_back_from_and_everybody_is_told(
    bench: Bench, at: Run
) -> None:
    async def body() -> None:
        slot = await on_probation(bench)
        bench.runner.end(Outcome.RETURNED)
        await bench.looks()
        said = bench.runner.standing[FAILED]
        assert said.startswith(f"release 1.5: probation {int(Code.PROBATION)}: ")
        assert "so it was" in said
        # The one before takes over at the next minute, without a shadow and without a probation.
        assert (bench.active, bench.trial, bench.runner.trial.steps) == (
            None, "configured bundle", 0,
        )  # fmt: skip
        bench.runner.end(Outcome.PASSED)
        await bench.looks()
        assert bench.runner.watching == ""
        record = bench.site.store.record()
        assert (record.code, record.previous) == (Code.PROBATION, slot)
        assert "so it was" in record.why
        assert record.floor.seq == 5  # the floor stays

    at(body)
    assert told(bench)[1:] == [
        ("trial", "passed"), ("probation", "returned"), ("rollback", "done"), ("trial", "passed"),
    ]  # fmt: skip
    (line,) = (x for x in audit.lines(bench.site.audit.folder) if x["verdict"] == "returned")
    assert (line["code"], line["detail"]) == (int(Code.PROBATION), "so it was")
    assert bench.runner.history[1] == ("release 1.5", "returned")


def test_a_restart_in_the_middle_goes_on_with_it(bench: Bench, at: Run) -> None:
    async def body() -> None:
        slot = await on_probation(bench)
        for start in range(1, MAX_STARTS + 1):
            await bench.stop()
            await bench.start()
            # Armed before the first step: a model that hangs in it is found out, too.
            assert bench.runner.watching == "release 1.5"
            assert bench.takeup._running["ncm-1"].slot == slot
            assert bench.site.store.record().starts == start
            await bench.looks()
            assert bench.trial is None
        bench.runner.end(Outcome.PROVEN)
        await bench.looks()
        assert bench.site.store.record().unproven is None
        await bench.stop()
        await bench.start()
        assert bench.runner.watching == ""

    at(body)


def test_a_daemon_that_ends_again_and_again_on_probation_goes_back(
    bench: Bench, at: Run
) -> None:
    async def body() -> None:
        await on_probation(bench)
        for _ in range(MAX_STARTS + 1):
            await bench.stop()
            await bench.start()
        said = bench.runner.standing[FAILED]
        assert said.startswith("release 1.5: probation 64: ")
        assert "ended 3 times while the new release was on probation" in said
        assert bench.active is None
        assert bench.runner.watching == ""
        assert bench.runner.history == [("release 1.5", "returned")]
        await bench.looks()
        assert bench.trial is None  # what runs is what shall run

    at(body)
    assert told(bench)[-2:] == [("probation", "returned"), ("rollback", "done")]


def test_starts_in_shadow_do_not_count_on_probation(bench: Bench, at: Run) -> None:
    async def body() -> None:
        bench.install(5)
        for _ in range(MAX_STARTS - 1):
            await bench.stop()
            await bench.start()
        assert bench.site.store.record().starts == MAX_STARTS - 1
        await bench.looks()
        bench.runner.end(Outcome.PASSED)
        await bench.looks()
        assert bench.site.store.record().starts == 0

    at(body)


def test_a_return_that_another_update_prevents_is_made_up_for(bench: Bench, at: Run) -> None:
    async def body() -> None:
        slot = await on_probation(bench)
        with (bench.site.store.root / "lock").open("a") as importer:
            fcntl.flock(importer, fcntl.LOCK_EX)
            bench.runner.end(Outcome.RETURNED)
            await bench.looks(2)
            assert bench.active == slot
            assert bench.runner.watching == ""  # judged is judged
        await bench.looks()
        assert bench.active is None
        assert bench.trial == "configured bundle"

    at(body)


def test_a_commit_that_a_full_disk_prevents_is_made_up_for(
    bench: Bench, at: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body() -> None:
        await on_probation(bench)

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr("edge.update.disk.Disk.replace", full)
            bench.runner.end(Outcome.PROVEN)
            await bench.looks(2)
            assert bench.site.store.record().unproven is not None
        await bench.looks()
        assert bench.site.store.record().unproven is None

    at(body)


def test_going_back_by_hand_and_forth_again_begins_with_the_shadow(bench: Bench, at: Run) -> None:
    async def body() -> None:
        slot = await on_probation(bench)
        bench.site.installer.rollback()
        await bench.looks()
        assert (bench.trial, bench.runner.trial.steps) == ("configured bundle", 0)
        bench.runner.end(Outcome.PASSED)
        await bench.looks()
        bench.site.installer.rollback()
        record = bench.site.store.record()
        assert (record.active, record.unproven, record.on_probation) == (slot, slot, False)
        # A daemon that starts runs the proven one, as after the first installation.
        assert source(bench.site.state, "ncm-1", bench.site.pinned, Path("x")).slot is None
        await bench.looks()
        assert (bench.trial, bench.runner.trial.steps) == ("release 1.5", 30)

    at(body)


def test_a_reload_does_not_begin_it_anew(bench: Bench, at: Run) -> None:
    async def body() -> None:
        await on_probation(bench)
        await bench.takeup.hold([cast(LineRunner, bench.runner)])
        bench.takeup.go_on(bench.appliance, [cast(LineRunner, bench.runner)])
        await bench.looks()
        assert bench.runner.watching == "release 1.5"
        assert bench.trial is None

    at(body)


def test_what_ends_before_it_was_written_down_ends_all_the_same(bench: Bench, at: Run) -> None:
    async def body() -> None:
        bench.install(5)
        await bench.looks()
        bench.runner.end(Outcome.PASSED)
        bench.runner.end(Outcome.RETURNED)  # within the same look
        await bench.looks()
        record = bench.site.store.record()
        assert (record.active, record.previous, record.unproven) == (None, *[record.unproven] * 2)
        assert record.code == Code.PROBATION
        assert bench.trial == "configured bundle"

    at(body)


def test_a_model_of_which_a_restart_can_build_no_engine(
    bench: Bench, at: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body() -> None:
        slot = await on_probation(bench)
        await bench.stop()
        takeup = TakeUp(bench.appliance, bench.clock)
        chosen = takeup.choose(bench.line)
        assert chosen.slot == slot
        # Where the one before does no better, it is not the release's fault.
        with monkeypatch.context() as patch:
            patch.setattr(TakeUp, "_engine", lambda *_: "no onnxruntime")
            assert takeup.unfit(bench.line, chosen, "no onnxruntime") is None
        found = takeup.unfit(bench.line, chosen, "CUDA does not agree with the CPU")
        assert found is not None
        assert found.slot is None
        assert found.fault.startswith("release 1.5: probation 64: ")
        assert "CUDA does not agree" in found.fault
        assert bench.active is None
        # What is proven is not gone back from.
        assert takeup.unfit(bench.line, found, "x") is None
        await bench.start()

    at(body)


def test_no_way_back_is_said(bench: Bench, at: Run) -> None:
    bench.site.apply(bench._stick(bench._supplier.release(4)))

    async def body() -> None:
        slot = await on_probation(bench)
        before = bench.site.store.record().previous
        assert before is not None
        spoil(bench, before)
        bench.runner.end(Outcome.RETURNED)
        await bench.looks()
        assert "slot-damaged 76" in bench.runner.standing[FAILED]
        assert bench.active == slot

    at(body)


def test_two_bad_releases_do_not_call_one_another_back(bench: Bench) -> None:
    slot = bench.install(5)
    installer = bench.site.installer
    assert installer.give_up(slot, Code.TRIAL, "x" * 10_000)
    record = bench.site.store.record()
    assert (record.active, record.previous, record.unproven) == (None, slot, slot)
    assert len(record.why) < 1000
    # What is before it now is the release that failed.
    with pytest.raises(Refused) as refused:
        installer.give_up(None, Code.TRIAL, "y")
    assert refused.value.code is Code.NO_PREVIOUS
    assert not installer.give_up("another", Code.TRIAL, "z")
    assert bench.site.store.record() == record


def test_a_record_of_an_older_program_is_read(bench: Bench) -> None:
    from edge.update import trust

    bench.install(5)
    for path in bench.site.store.line.glob("record.*"):
        document = json.loads(path.read_bytes())
        for key in ("on_probation", "code", "why", "check"):
            del document[key]
        data = trust.canonical(document)
        path.write_bytes(trust.canonical(document | {"check": trust.digest(data)}))
    record = bench.site.store.record()
    assert record.unproven_active
    assert not record.on_probation


