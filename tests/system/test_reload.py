"""A reload in mid-batch with a model at work: verdict and state go on, and no model is lost."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge.config.types import Appliance
from edge.core.registers import Status
from tests.line import Rig

pytestmark = pytest.mark.system
Virtual = Callable[[Coroutine[Any, Any, Any]], Any]


def changed(appliance: Appliance, **fields: Any) -> Appliance:
    """The same appliance with these fields of its line."""
    return replace(appliance, lines=(replace(appliance.lines[0], **fields),))


def test_a_limit_changes_in_mid_batch_and_the_verdict_goes_on(
    appliance: Appliance, virtual: Virtual
) -> None:
    first, *rest = appliance.lines[0].tags
    tighter = (replace(first, tag=replace(first.tag, high=first.tag.high + 1.0)), *rest)

    async def main() -> None:
        async with Rig(appliance) as rig:
            await rig.start_twins()
            rig.start_app()
            await rig.run(63)
            assert Status.OUTPUT_VALID in rig.block().decision.status
            engine, step = rig.runner.engine, rig.runner.core.batch.step
            assert await rig.reload(changed(appliance, tags=tighter)) == (
                "accepted", "line ncm-1: tags changed",
            )  # fmt: skip
            assert Status.OUTPUT_VALID in rig.block().decision.status, "not even for a second"
            assert rig.runner.engine is engine
            await rig.run(62)
            assert rig.runner.core.batch.step == step + 1
            assert Status.OUTPUT_VALID in rig.block().decision.status
            assert rig.twin.plc.panel.alive

    virtual(main())


def test_another_ring_leaves_a_model_its_figures(appliance: Appliance, virtual: Virtual) -> None:
    line = appliance.lines[0]

    async def main() -> None:
        async with Rig(appliance) as rig:
            await rig.start_twins()
            rig.start_app()
            await rig.run(63)
            service, ring = rig.runner.service, rig.runner.ring
            assert len(service.now) == 1
            longer = changed(appliance, ring_rows=line.ring_rows * 2)
            assert (await rig.reload(longer))[0] == "accepted"
            assert rig.runner.ring is not ring
            assert rig.runner.service == service, "judged against itself, no model is ever worse"

    virtual(main())


def test_a_line_is_not_robbed_of_its_model(appliance: Appliance, virtual: Virtual) -> None:
    async def main() -> None:
        async with Rig(appliance) as rig:
            await rig.start_twins()
            rig.start_app()
            await rig.run(5)
            outcome, text = await rig.reload(changed(appliance, tags=appliance.lines[0].tags[:-1]))
            assert outcome == "refused"
            assert "give a bundle made for these tags, or restart to run without one" in text
            model = replace(appliance.lines[0].model, bundle=Path("nowhere"))
            outcome, text = await rig.reload(changed(appliance, model=model))
            assert outcome == "refused"
            assert "line ncm-1: model missing: nowhere" in text
            assert rig.runner.engine is not None

    virtual(main())


def test_another_bundle_takes_its_state_from_the_ring(
    appliance: Appliance, bundle: Path, virtual: Virtual, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    caplog.set_level("INFO", "ncm-edge")
    other = tmp_path / "other"
    shutil.copytree(bundle, other)
    model = replace(appliance.lines[0].model, bundle=other)

    async def main() -> None:
        async with Rig(appliance) as rig:
            await rig.start_twins()
            rig.start_app()
            await rig.run(130)
            engine, rows = rig.runner.engine, rig.runner.ring.ring.seq
            assert (await rig.reload(changed(appliance, model=model)))[0] == "accepted"
            assert rig.runner.engine is not engine
            assert rig.runner.ring.ring.seq > rows
            await rig.run(62)
            assert "replaying" in caplog.text
            assert Status.OUTPUT_VALID in rig.block().decision.status
            assert rig.twin.plc.panel.alive

    virtual(main())
