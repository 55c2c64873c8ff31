"""A bundle that must not run: the heartbeat goes on, no output is valid, and people read why."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge.config.types import Appliance
from edge.core.conditions import Condition
from edge.core.registers import Ne107, Status
from tests.line import Rig

pytestmark = pytest.mark.system
Virtual = Callable[[Coroutine[Any, Any, Any]], Any]


def with_card(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    card = json.loads((path / "card.json").read_text())
    change(card)
    (path / "card.json").write_text(json.dumps(card))


def absent(path: Path) -> None:
    shutil.rmtree(path)


def one_file_missing(path: Path) -> None:
    (path / "reference.npz").unlink()


def flipped(path: Path) -> None:
    """One bit on the medium."""
    data = bytearray((path / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (path / "model.onnx").write_bytes(bytes(data))


def card_cut(path: Path) -> None:
    text = (path / "card.json").read_text()
    (path / "card.json").write_text(text[: len(text) // 2])


def no_graph(path: Path) -> None:
    """Every hash right, and yet no network."""
    (path / "model.onnx").write_bytes(b"not a graph")
    digest = hashlib.sha256(b"not a graph").hexdigest()
    with_card(path, lambda card: card["files"].update({"model.onnx": digest}))


def order(path: Path) -> None:
    def swap(card: dict[str, Any]) -> None:
        card["tags"][0], card["tags"][1] = card["tags"][1], card["tags"][0]

    with_card(path, swap)


def unit(path: Path) -> None:
    def kelvin(card: dict[str, Any]) -> None:
        card["tags"][39][1] = "K"

    with_card(path, kelvin)


def row_time(path: Path) -> None:
    with_card(path, lambda card: card.update(row_s=2.0))


Case = tuple[Callable[[Path], None], tuple[str, ...]]
CASES: dict[Condition, tuple[Case, ...]] = {
    Condition.MODEL_MISSING: (
        (absent, ("no bundle directory", "install a bundle")),
        (one_file_missing, ("reference.npz", "copy the whole bundle")),
    ),
    Condition.MODEL_CORRUPT: (
        (flipped, ("model.onnx: SHA-256 is", "copy the bundle again")),
        (card_cut, ("card.json",)),
        (no_graph, ("cannot load the graph",)),
    ),
    Condition.MODEL_MISMATCH: (
        (order, ("order differs from position 1", "SIC-101.PV")),
        (unit, ('"TIC-106.PV" is in "°C"', 'expects "K"')),
        (row_time, ("expects 2 s per row, the line has 1",)),
    ),
}


@pytest.mark.parametrize("condition", CASES)
def test_a_bundle_that_must_not_run(
    appliance: Appliance, bundle: Path, tmp_path: Path, virtual: Virtual, condition: Condition
) -> None:
    path = tmp_path / "bundle"
    (line,) = appliance.lines
    spoilt = replace(appliance, lines=(replace(line, model=replace(line.model, bundle=path)),))

    async def main() -> None:
        async with Rig(spoilt) as rig:
            await rig.start_twins()
            for spoil, words in CASES[condition]:
                shutil.copytree(bundle, path)
                spoil(path)
                rig.start_app()
                await rig.run(10)
                await no_output_but_a_heartbeat(rig, condition, words)
                await rig.stop_app()
                shutil.rmtree(path, ignore_errors=True)
            # The bundle is put right: the next start has a model.
            shutil.copytree(bundle, path)
            rig.start_app()
            await rig.run(10)
            assert Status.MODEL_LOADED in rig.block().decision.status
            assert condition not in rig.raised()

    virtual(main())


async def no_output_but_a_heartbeat(rig: Rig, condition: Condition, words: tuple[str, ...]) -> None:
    seq = rig.block().seq
    await rig.run(5)
    block = rig.block()
    assert block.seq == seq + 5
    seen = block.decision
    assert Status.RUNNING in seen.status
    assert not seen.status & (
        Status.OUTPUT_VALID | Status.MODEL_LOADED | Status.WARMING_UP | Status.TRIM_OFFERED
    )
    assert rig.twin.block_w[6:14] == (0xFFFF, 0xFFFF, 0, 0, 0, 0, 0, 0)
    assert seen.ne107 is Ne107.FAILURE
    assert (seen.model_serial, seen.model_hash) == (0, 0)
    assert not any(seen.tags_bad)  # rows are kept for the day a bundle comes
    assert rig.raised() == {condition, Condition.SIMULATION}
    section = rig.status()["lines"][0]
    assert section["verdict"]["text"] == "no verdict: no model"
    for word in words:
        assert word in section["provider_reason"]
        assert word in rig.text(condition)
