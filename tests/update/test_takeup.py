"""What the daemon makes of a record and an audit that others write meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

import edge.runtime.takeup
from edge.config.types import Line
from edge.core.conditions import Condition
from edge.runtime.clock import LoopClock
from edge.runtime.line import LineRunner
from edge.runtime.takeup import LOOK_S, TakeUp
from edge.runtime.trial import Outcome, Report
from edge.update.audit import HEAD, LOG
from edge.update.refusals import Code, Refused
from tests.update.site import TAGS, Appliance, Supplier

Stick = Callable[[bytes], Path]
FAILED = Condition.UPDATE_FAILED


@dataclass
class Runner:
    """What the take-up sees of a line."""

    line: Any
    standing: dict[Condition, str] = field(default_factory=dict)
    engine: object = "an engine"
    trial: Any = None
    told: Callable[[Report], None] = print
    watching: str = ""

    def __post_init__(self) -> None:
        self.core = SimpleNamespace(setup=SimpleNamespace(step_rows=60))
        self.history: list[tuple[str, str]] = []
        self.recorder = SimpleNamespace(
            updated=lambda release, outcome, *_: self.history.append((release, outcome))
        )

    def track_of(self, engine: object) -> object:
        return engine

    def stand(self, condition: Condition, detail: str) -> bool:
        new = self.standing.get(condition) != detail
        self.standing[condition] = detail
        return new

    def settle(self, condition: Condition) -> None:
        self.standing.pop(condition, None)

    def try_out(self, trial: Any, told: Callable[[Report], None]) -> None:
        self.trial = trial
        if trial is not None:
            self.told, self.watching = told, ""

    def watch_over(self, release: str, told: Callable[[Report], None]) -> None:
        self.watching, self.told = release, told

    @property
    def watched_over(self) -> bool:
        return bool(self.watching)

    def end(self, outcome: Outcome) -> None:
        """The trial or the probation ends, as the line would say it."""
        release = self.watching if self.trial is None else self.trial.release
        self.trial, self.watching = None, ""
        self.told(Report(release, outcome, "so it was"))


class Bench:
    """A take-up and one line, without a model that computes."""

    def __init__(self, site: Appliance, supplier: Supplier, stick: Stick) -> None:
        self.site, self._supplier, self._stick = site, supplier, stick
        self.line = cast(Line, SimpleNamespace(
            name="ncm-1", row_s=1.0, model=SimpleNamespace(
                bundle=Path("configured"), shadow_steps=30, probation_steps=60
            ),
            tags=[SimpleNamespace(tag=SimpleNamespace(name=n, unit=u)) for n, u in TAGS],
        ))  # fmt: skip
        self.appliance = cast(Any, SimpleNamespace(
            state_dir=site.state, trust_root=site.pinned, provider="cpu", lines=(self.line,)
        ))  # fmt: skip

    async def start(self) -> None:
        self.clock = LoopClock(1.8e9)
        self.takeup = TakeUp(self.appliance, self.clock)
        self.runner = Runner(self.line)
        chosen = self.takeup.choose(self.line)
        if chosen.fault:
            self.runner.stand(FAILED, chosen.fault)
        self.takeup.started(cast(LineRunner, self.runner))
        self.task = asyncio.create_task(
            self.takeup.run(lambda: [cast(LineRunner, self.runner)]), name="takeup"
        )

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])

    def install(self, seq: int) -> str:
        """Returns its slot."""
        return self.site.installer.apply(self._stick(self._supplier.release(seq))).slot

    @property
    def active(self) -> str | None:
        return self.site.store.record().active

    @property
    def trial(self) -> str | None:
        """What is in shadow or about to take over."""
        return None if self.runner.trial is None else str(self.runner.trial.release)

    async def looks(self, count: int = 1) -> None:
        """Until so many looks are over."""
        await asyncio.sleep(LOOK_S * count + 1.0)
        assert not self.task.done(), self.task


@pytest.fixture
def bench(
    appliance: Appliance, supplier: Supplier, stick: Stick, monkeypatch: pytest.MonkeyPatch
) -> Bench:
    made = SimpleNamespace(bundle=None)
    setup = SimpleNamespace(step_rows=60)
    monkeypatch.setattr(TakeUp, "_engine", lambda *_: made)
    monkeypatch.setattr(edge.runtime.takeup, "setup_of", lambda *_: setup)
    monkeypatch.setattr(
        edge.runtime.takeup, "Trial",
        lambda release, _track, _setup, steps: SimpleNamespace(release=release, steps=steps),
    )  # fmt: skip
    return Bench(appliance, supplier, stick)


@pytest.fixture
def at(bench: Bench, virtual: Any) -> Callable[[Callable[[], Any]], None]:
    """Runs a test with a take-up at work."""

    def run(body: Callable[[], Any]) -> None:
        async def main() -> None:
            await bench.start()
            try:
                await body()
            finally:
                await bench.stop()

        virtual(main())

    return run


Run = Callable[[Callable[[], Any]], None]


def test_an_audit_that_cannot_be_read_ends_nothing_and_makes_no_old_news(
    bench: Bench, at: Run, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "ncm-edge")
    bench.site.apply(bench._stick(bench._supplier.release(5)))
    with pytest.raises(Refused):
        bench.install(4)
    head = bench.site.audit.folder / HEAD
    data = head.read_bytes()

    async def body() -> None:
        await bench.looks()
        head.unlink()
        head.mkdir()  # EISDIR, for root too
        await bench.looks(3)
        assert caplog.text.count("the audit cannot be read") == 1
        head.rmdir()
        head.write_bytes(data)
        await bench.looks(2)
        assert FAILED not in bench.runner.standing

    at(body)


def test_a_line_that_is_none_of_an_audit_ends_nothing(bench: Bench, at: Run) -> None:
    async def body() -> None:
        bench.site.apply(bench._stick(bench._supplier.release(5)))
        log = bench.site.audit.folder / LOG
        log.write_bytes(b'{"n":"x"}\n[]\n' + log.read_bytes())
        await bench.looks(2)

    at(body)


def test_going_back_within_the_look_after_a_take_over_is_heeded(bench: Bench, at: Run) -> None:
    async def body() -> None:
        bench.install(5)
        await bench.looks()
        assert bench.trial == "release 1.5"
        bench.runner.end(Outcome.PASSED)  # the line runs it from here on
        bench.site.installer.rollback()
        await bench.looks()
        assert bench.active is None
        assert bench.trial == "configured bundle"
        assert bench.runner.trial.steps == 0

    at(body)


def test_what_was_activated_since_is_not_gone_back_from(bench: Bench, at: Run) -> None:
    async def body() -> None:
        bench.install(5)
        await bench.looks()
        newer = bench.install(6)
        bench.runner.end(Outcome.FAILED)
        await bench.looks()
        assert bench.active == newer
        assert bench.trial == "release 1.6"

    at(body)


def test_a_trial_that_ends_while_its_line_is_looked_at(
    bench: Bench, at: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body() -> None:
        bench.install(5)
        await bench.looks()
        asked = TakeUp._pending

        def ends_meanwhile(self: TakeUp, runner: LineRunner) -> bool:
            if bench.runner.trial is not None:
                bench.runner.end(Outcome.PASSED)
            return asked(self, runner)

        monkeypatch.setattr(TakeUp, "_pending", ends_meanwhile)
        bench.site.installer.rollback()
        await bench.looks()
        monkeypatch.setattr(TakeUp, "_pending", asked)
        await bench.looks()
        assert bench.trial == "configured bundle"

    at(body)


def spoil(bench: Bench, slot: str) -> None:
    (bench.site.store.bundle(slot) / "model.onnx").write_bytes(b"other")


def test_a_failed_trial_is_shown_for_one_look(bench: Bench, at: Run) -> None:
    async def body() -> None:
        bench.install(5)
        await bench.looks()
        bench.runner.end(Outcome.FAILED)
        await bench.looks()
        assert bench.runner.standing[FAILED].startswith("release 1.5: trial 63: ")
        assert "so it was" in bench.runner.standing[FAILED]
        assert bench.active is None
        await bench.looks()
        assert FAILED not in bench.runner.standing
        assert bench.trial is None
        # The same stick again is another try.
        bench.install(5)
        await bench.looks()
        assert bench.trial == "release 1.5"

    at(body)


def test_a_refusal_is_shown_for_one_look(bench: Bench, at: Run) -> None:
    bench.site.apply(bench._stick(bench._supplier.release(5)))

    async def body() -> None:
        await bench.looks()
        with pytest.raises(Refused):
            bench.install(4)
        await bench.looks()
        assert bench.runner.standing[FAILED].startswith(f"rollback {int(Code.ROLLBACK)}")
        await bench.looks()
        assert FAILED not in bench.runner.standing

    at(body)


def test_a_slot_that_was_damaged_is_taken_up_when_it_is_healed(bench: Bench, at: Run) -> None:
    for seq in (4, 5):
        bench.site.apply(bench._stick(bench._supplier.release(seq)))
    active = bench.active
    assert active is not None
    spoil(bench, active)

    async def body() -> None:
        await bench.looks(3)
        assert "slot-damaged" in bench.runner.standing[FAILED]
        assert bench.trial is None
        bench.install(5)
        await bench.looks()
        assert bench.trial == "release 1.5"
        assert FAILED not in bench.runner.standing
        bench.runner.end(Outcome.PASSED)
        await bench.looks(2)
        assert FAILED not in bench.runner.standing

    at(body)


def test_a_record_that_can_be_read_again_is_no_fault_any_more(bench: Bench, at: Run) -> None:
    bench.site.apply(bench._stick(bench._supplier.release(5)))
    copies = {path: path.read_bytes() for path in bench.site.store.line.glob("record.*")}

    async def body() -> None:
        await bench.looks()
        for path in copies:
            path.write_bytes(b"")
        await bench.looks()
        assert "state-lost" in bench.runner.standing[FAILED]
        for path, data in copies.items():
            path.write_bytes(data)
        await bench.looks()
        assert FAILED not in bench.runner.standing

    at(body)


def test_the_daily_look_settles_what_it_has_raised(
    bench: Bench, at: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge.runtime.takeup, "DAY_S", 30.0)
    bench.site.apply(bench._stick(bench._supplier.release(5)))

    async def body() -> None:
        slot = bench.active
        assert slot is not None
        log = bench.site.audit.folder / LOG
        spoil(bench, slot)
        await bench.looks(4)
        assert "slot-damaged" in bench.runner.standing[FAILED]
        bench.install(5)  # heals it
        await bench.looks()
        assert FAILED not in bench.runner.standing
        data = log.read_bytes()
        log.unlink()
        log.mkdir()
        await bench.looks(4)
        assert "audit cannot be written" in bench.runner.standing[Condition.STORAGE_FAULT]
        log.rmdir()
        log.write_bytes(data)
        await bench.looks()
        assert not bench.runner.standing

    at(body)


def test_the_same_stick_once_more_does_not_begin_the_trial_anew(bench: Bench, at: Run) -> None:
    async def body() -> None:
        bench.install(5)
        await bench.looks()
        trial = bench.runner.trial
        with pytest.raises(Refused):
            bench.install(5)
        await bench.looks()
        assert bench.runner.trial is trial

    at(body)
