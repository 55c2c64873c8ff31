"""Minute by minute or the whole batch at once: the same numbers, offline and in the daemon."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.config.types import Appliance
from edge.core.features import batch_features
from edge.core.tags import FloatArray, Quality
from edge.core.verdict import sigmoid
from edge.runtime.bundle import LoadedBundle, load_bundle
from edge.runtime.infer import Engine, StepOutputs
from edge.twin.scenario import Scenario
from edge.twin.simulate import simulate
from tests.line import START_MIN, Rig

pytestmark = pytest.mark.system
Virtual = Callable[[Coroutine[Any, Any, Any]], Any]
LIMIT = 1e-5


@pytest.fixture(scope="module")
def engine(bundle: Path) -> Engine:
    loaded = load_bundle(bundle)
    assert isinstance(loaded, LoadedBundle)
    return Engine(loaded, "cpu")


def worst_difference(one: StepOutputs, other: StepOutputs) -> float:
    """Largest |difference| over all outputs; of numbers above 1 as a share of them (float32)."""
    worst = float(np.abs(one.probability - other.probability).max())
    for field in fields(StepOutputs):
        a, b = getattr(one, field.name), getattr(other, field.name)
        worst = max(worst, float((np.abs(a - b) / np.maximum(np.abs(b), 1.0)).max()))
    return worst


def by_steps(
    engine: Engine, features: FloatArray, valid: FloatArray, cut: list[int]
) -> StepOutputs:
    """Outputs of a batch run in the pieces that `cut` marks."""
    state, parts = engine.initial_state(), []
    for first, last in zip([0, *cut], [*cut, len(features)]):
        part, state = engine.run_blocks(state, features[first:last], valid[first:last], first)
        parts.append(part)
    joined = {
        f.name: np.concatenate([getattr(part, f.name) for part in parts], axis=1)
        for f in fields(StepOutputs)
    }
    return StepOutputs(**joined)


def test_minute_by_minute_equals_the_whole_batch(
    engine: Engine, record_property: Callable[[str, object], None]
) -> None:
    card = engine.bundle.card
    values = simulate([Scenario(seed=5, fault="F03", severity=2)])[0]
    steps = len(values) // card.step_rows
    rows = values[: steps * card.step_rows].reshape(steps, card.step_rows, -1)
    quality = np.where(np.isfinite(rows), Quality.GOOD, Quality.BAD).astype(np.uint8)
    quality[300:330, :, 20] = Quality.BAD
    quality[500:510] = Quality.BAD
    features, valid = batch_features(rows, quality)
    loc, scale = engine.bundle.reference(range(steps))
    whole, _ = engine.run(
        engine.initial_state(), features[None], valid[None], loc[None], scale[None]
    )
    single = by_steps(engine, features, valid, list(range(1, steps)))
    blocks = by_steps(engine, features, valid, [])
    draw = np.random.default_rng(3)
    random = by_steps(
        engine, features, valid, sorted(draw.choice(np.arange(1, steps), 40, replace=False))
    )
    for name, split in (("1", single), ("60", blocks), ("random", random)):
        worst = worst_difference(whole, split)
        record_property(f"max difference, {steps} steps at once against n = {name}", worst)
        print(f"{steps} steps at once against n = {name}: {worst:.1e}")  # noqa: T201
        assert worst <= LIMIT, name


def test_the_live_verdict_equals_the_rows_of_the_ring_scored_offline(
    appliance: Appliance, engine: Engine, virtual: Virtual
) -> None:
    async def main() -> None:
        async with Rig(appliance) as rig:
            await rig.start_twins()
            rig.start_app()
            live: list[float] = []
            for minute in range(5):
                await rig.run(62 if minute == 0 else 60)
                probability = rig.runner.core.finding.verdict.probability
                assert probability is not None
                live.append(probability)
            ring = rig.runner.ring.ring
            values, quality = ring.block(1, 300)
            features, valid = batch_features(values.reshape(5, 60, -1), quality.reshape(5, 60, -1))
            found, _ = engine.run_blocks(engine.initial_state(), features, valid, int(START_MIN))
            offline = [sigmoid(float(logit)) for logit in found.logit[0]]
            assert live == pytest.approx(offline, abs=LIMIT)
            in_block_w = rig.block().decision.probability
            assert in_block_w == pytest.approx(offline[-1], abs=0.0005)

    virtual(main())
