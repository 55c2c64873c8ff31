"""Stop and start: the ring, the model's state and the verdict go on where they were."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge.config.types import Appliance
from edge.core.conditions import Condition
from edge.core.features import batch_features
from edge.core.registers import Alarm, Control, Status
from edge.core.tags import Reason
from edge.runtime.bundle import LoadedBundle, load_bundle
from edge.runtime.infer import Engine
from tests.line import START_MIN, Rig
from tests.update.tiny import tiny_bundle

pytestmark = pytest.mark.system
Virtual = Callable[[Coroutine[Any, Any, Any]], Any]
Logits = list[float]


def note_logits(rig: Rig) -> Logits:
    """Every logit the daemon concludes from now on, in order."""
    said: Logits = []
    core = rig.runner.core
    conclude = core.conclude

    def noting(result: Any, t_s: float, now_s: float) -> None:
        score = getattr(result, "score", None)
        if score is not None:
            said.append(score.logit)
        conclude(result, t_s, now_s)

    core.conclude = noting  # type: ignore[method-assign]
    return said


def scored_offline(bundle: Path, rig: Rig) -> Logits:
    """The rows of the ring, whole model steps from the first row on, in one run."""
    loaded = load_bundle(bundle)
    assert isinstance(loaded, LoadedBundle)
    engine = Engine(loaded, "cpu")
    ring = rig.runner.ring.ring
    steps, rows = ring.seq // loaded.card.step_rows, loaded.card.step_rows
    values, quality = ring.block(1, steps * rows)
    features, valid = batch_features(
        values.reshape(steps, rows, -1), quality.reshape(steps, rows, -1)
    )
    found, _ = engine.run_blocks(engine.initial_state(), features, valid, int(START_MIN))
    logits: Logits = found.logit[0].tolist()
    return logits


def test_a_restart_in_mid_batch_says_what_an_unbroken_run_would(
    jumpy: Appliance, bundle: Path, virtual: Virtual, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "ncm-edge")

    async def main() -> None:
        async with Rig(jumpy) as rig:
            await rig.start_twins()
            rig.start_app()
            said = note_logits(rig)
            await rig.run(390)
            before = rig.runner.core.finding.verdict
            assert before.severity > 0
            rows, fill = rig.runner.ring.ring.seq, rig.block().decision.buffer_fill
            await rig.stop_app()
            await rig.run(100)  # the plant goes on alone
            assert "advisor gone" in rig.twin.plc.panel.fault

            rig.start_app()
            said_later = note_logits(rig)
            assert rig.runner.ring.opened == "resumed"
            await rig.run(5)
            ring = rig.runner.ring.ring
            assert ring.seq == pytest.approx(rows + 105, abs=1)
            assert rig.block().decision.buffer_fill > fill
            assert "model state of" in caplog.text
            # The flag is remembered, and nothing is claimed before the next step.
            assert rig.runner.core.finding.verdict.severity == before.severity
            assert Status.OUTPUT_VALID not in rig.block().decision.status
            await rig.run(58)
            assert Status.OUTPUT_VALID in rig.block().decision.status
            after = rig.runner.core.finding.verdict
            assert after.severity > 0
            assert after.since_s == before.since_s
            assert rig.runner.core.batch.step == int(rig.twin.seconds / 60 + START_MIN) - 1
            away = ring.reasons(ring.seq)[:, 0] == Reason.MISSED
            assert away.sum() == pytest.approx(100, abs=1)

            expected = scored_offline(bundle, rig)
            # The two steps that ended in the pause are in the state, but nobody concluded them.
            assert len(expected) == len(said) + 2 + len(said_later)
            offline = expected[: len(said)] + expected[-len(said_later) :]
            assert said + said_later == pytest.approx(offline, rel=1e-6, abs=1e-5)

    virtual(main())


def test_a_batch_that_changed_meanwhile_starts_anew(jumpy: Appliance, virtual: Virtual) -> None:
    async def main() -> None:
        async with Rig(jumpy) as rig:
            await rig.start_twins()
            rig.start_app()
            await rig.run(270)
            assert rig.runner.core.finding.verdict.severity > 0
            await rig.stop_app()
            rig.twin.batch_id = 2
            rig.start_app()
            await rig.run(63)
            assert rig.runner.core.batch.batch_id == 2
            assert rig.runner.core.finding.verdict.severity == 0  # three steps are needed again

    virtual(main())


def truncated(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def garbage(path: Path) -> None:
    path.write_bytes(b"\0" * 5000)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [(truncated, "truncated or extended"), (garbage, "not a ring file")],
    ids=["truncated", "garbage"],
)
def test_a_damaged_ring_is_set_aside(
    appliance: Appliance, virtual: Virtual, spoil: Callable[[Path], None], words: str
) -> None:
    path = appliance.state_dir / "ncm-1" / "rows.ring"

    async def main() -> None:
        async with Rig(appliance) as rig:
            await rig.start_twins()
            rig.start_app()
            await rig.run(125)
            await rig.stop_app()
            spoil(path)
            spoilt = path.read_bytes()
            rig.start_app()
            assert rig.runner.ring.opened == "replaced"
            await rig.run(63)
            assert path.with_name("rows.ring.bad-1").read_bytes() == spoilt
            assert rig.runner.ring.ring.seq == pytest.approx(63, abs=1)
            assert rig.raised() == {Condition.SIMULATION, Condition.RING_REPLACED}
            assert words in rig.text(Condition.RING_REPLACED)
            assert "rows.ring.bad-1" in rig.text(Condition.RING_REPLACED)
            assert Status.OUTPUT_VALID in rig.block().decision.status

    virtual(main())


def test_a_ring_of_another_shape_is_set_aside(appliance: Appliance, virtual: Virtual) -> None:
    path = appliance.state_dir / "ncm-1" / "rows.ring"
    (line,) = appliance.lines
    longer = replace(appliance, lines=(replace(line, ring_rows=2 * line.ring_rows),))

    async def main() -> None:
        async with Rig(appliance) as rig:
            await rig.start_twins()
            rig.start_app()
            await rig.run(65)
            await rig.stop_app()
            rig.appliance = longer
            rig.start_app()
            await rig.run(63)
            assert path.with_name("rows.ring.bad-1").exists()
            assert "x 3600 rows of 1 s, the configuration asks for 51 x 7200" in rig.text(
                Condition.RING_REPLACED
            )
            assert Status.OUTPUT_VALID in rig.block().decision.status

    virtual(main())


def test_a_damaged_checkpoint_is_a_cold_start_with_the_rows_of_the_ring(
    appliance: Appliance, bundle: Path, virtual: Virtual, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "ncm-edge")

    async def main() -> None:
        async with Rig(appliance) as rig:
            await rig.start_twins()
            rig.start_app()
            await rig.run(183)
            await rig.stop_app()
            path = appliance.state_dir / "ncm-1" / "model.state.npz"
            path.write_bytes(path.read_bytes()[:100])
            rig.start_app()
            said = note_logits(rig)
            await rig.run(62)
            assert "checkpoint is damaged" in caplog.text
            assert "replaying" in caplog.text
            assert said
            assert Status.OUTPUT_VALID in rig.block().decision.status

    virtual(main())


def with_model(appliance: Appliance, bundle: Path) -> Appliance:
    (line,) = appliance.lines
    model = replace(line.model, bundle=bundle)
    return replace(appliance, lines=(replace(line, model=model),))


@pytest.mark.parametrize("next_model", ["another", "none, then the first"])
def test_a_restart_with_another_model_forgets_nothing_but_the_model_state(
    appliance: Appliance,
    tmp_path: Path,
    virtual: Virtual,
    next_model: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "ncm-edge")
    tags = [(row.tag.name, row.tag.unit) for row in appliance.lines[0].tags]
    other = tmp_path / "no bundle"
    if next_model == "another":
        other = tiny_bundle(tmp_path / "other", tags, serial=2)

    async def main() -> None:
        async with Rig(appliance) as rig:
            await rig.start_twins()
            rig.start_app()
            await rig.run(185)
            core = rig.runner.core
            batch, advice = core.batch, core.desk.advice
            assert core.finding.drift.score is not None
            assert advice.minutes >= 3
            assert advice.reactor is not None
            await rig.stop_app()
            caplog.clear()
            rig.appliance = with_model(appliance, other)
            rig.start_app()
            await rig.run(1)
            if next_model == "none, then the first":
                await rig.run(62)
                await rig.stop_app()
                rig.appliance = appliance
                rig.start_app()
                await rig.run(1)
            core = rig.runner.core
            assert (core.batch.batch_id, core.batch.started) == (batch.batch_id, False)
            assert core.batch.step >= batch.step > 0
            after = core.desk.advice
            # The books are those of the last model step: the minute after it is booked again.
            assert after.minutes >= advice.minutes - 1
            assert after.reactor is not None
            assert after.batch_minutes >= advice.batch_minutes - 1
            assert (after.reference, after.batch_id) == (advice.reference, advice.batch_id)
            if next_model == "another":
                # In the units of the model before, so it says nothing about this one.
                assert core.finding.drift.score is None
                assert "belongs to another model" in caplog.text
            await rig.run(63)
            assert Status.OUTPUT_VALID in rig.block().decision.status
            assert "replaying" in caplog.text  # the batch so far, from the ring
            assert core.batch.step == int(rig.twin.seconds / 60 + START_MIN) - 1

    virtual(main())


def test_what_waits_for_an_acknowledgement_outlives_a_kill(
    appliance: Appliance, virtual: Virtual
) -> None:
    failed = Condition.UPDATE_FAILED
    state = appliance.state_dir / "ncm-1" / "model.state.npz"

    async def main() -> None:
        async with Rig(appliance) as rig:
            await rig.start_twins()
            rig.start_app()
            await rig.run(75)
            step = rig.runner.core.batch.step
            await rig.run(20)  # within the next model step
            rig.runner.stand(failed, "rollback 40: release 1.4")
            await rig.run(2)
            rig.runner.settle(failed)
            await rig.run(2)
            assert failed in rig.raised()
            as_killed = state.read_bytes()
            await rig.stop_app()
            state.write_bytes(as_killed)

            for _ in range(2):
                rig.start_app()
                await rig.run(5)
                assert "rollback 40: release 1.4" in rig.text(failed)
                assert Alarm.UPDATE_FAILED in rig.block().decision.alarms
                # The step it was written in the middle of did not count twice.
                assert rig.runner.core.batch.step == step
                await rig.stop_app()
            rig.start_app()
            await rig.run(5)
            rig.twin.plc.controls = Control.ACKNOWLEDGE
            await rig.run(3)
            assert failed not in rig.raised()
            await rig.stop_app()
            rig.start_app()
            await rig.run(5)
            assert failed not in rig.raised()

    virtual(main())
