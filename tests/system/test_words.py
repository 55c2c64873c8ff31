"""The words file: what stands in the PLC and behind the tags, while the daemon runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest

from edge.config.types import Appliance
from tests.line import Rig

pytestmark = pytest.mark.system
Virtual = Callable[[Coroutine[Any, Any, Any]], Any]


def test_blocks_registers_and_bundle(appliance: Appliance, virtual: Virtual) -> None:
    path = appliance.runtime_dir / "words.json"

    async def main() -> None:
        async with Rig(appliance) as rig:
            await rig.start_twins()
            rig.start_app()
            await rig.run(21)
            document = json.loads(path.read_text(encoding="utf-8"))
            found = document["lines"]["ncm-1"]
            words = found["blocks"]["W"]["words"]
            # The file is up to two seconds old: the same block but for what counts.
            assert len(words) == 64
            assert 0 <= rig.block().seq - words[0] <= 3
            assert words[1] == rig.twins[0].block_w[1]
            assert 0.0 <= found["blocks"]["W"]["age_s"] <= 1.5
            assert len(found["blocks"]["R"]["words"]) == 16
            (line,) = appliance.lines
            registers = {
                row.tag.name: row.source.encoding for row in (*line.tags, *line.context)
                if row.source.link == "plc"
            }  # fmt: skip
            assert set(found["raw"]) == set(registers)
            high, low = found["raw"]["FIC-103.PV"]
            value = np.array([high << 16 | low], np.uint32).view(np.float32)[0]
            assert abs(value - rig.tag("FIC-103.PV")[0]) < 15.0
            assert found["model"]["directory"] == str(line.model.bundle.absolute())
            assert found["model"]["sha256"] == rig.runner.engine.bundle.model_sha256  # type: ignore[union-attr]
            # Nobody can write there any more: the line goes on.
            seq = rig.block().seq
            path.unlink()
            path.mkdir()
            await rig.run(6)
            assert rig.block().seq == seq + 6
            path.rmdir()
            await rig.run(4)
            assert path.is_file()

    virtual(main())
    assert not path.exists()


def test_a_fault_of_its_own_ends_no_line(
    appliance: Appliance, virtual: Virtual, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    path = appliance.runtime_dir / "words.json"

    async def main() -> None:
        async with Rig(appliance) as rig:
            await rig.start_twins()
            rig.start_app()
            await rig.run(5)
            driver = next(iter(rig.runner.drivers.values()))
            with monkeypatch.context() as broken:
                # A driver that lost count of its rows.
                broken.setattr(type(driver), "raw_words", lambda *_: [][0])
                path.unlink(missing_ok=True)
                seq = rig.block().seq
                await rig.run(10)
                assert rig.block().seq == seq + 10
                assert not path.exists()
            await rig.run(4)
            assert path.is_file()

    virtual(main())
    assert caplog.text.count("words file: a fault of this program") == 1
