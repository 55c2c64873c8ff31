"""Batches of a schedule: what training gets, what is held out, what is judged."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from export.__main__ import main
from export.data.dataset import Batch, Dataset, Split, save_dataset
from export.data.recording import HELD_FAILURE, HELD_NORMAL, beginning_and_rest, cut_recording
from tests.export.conftest import SPEC, toy_batch

DAY_S = 86_400.0


def batch(number: int, level: int, fails: float = 0.0, split: Split = "train") -> Batch:
    """Batch `number` of day `number`; `fails` is the day of the failure it leads up to."""
    made = toy_batch(number, "ncm-1", split, level)
    t_s = number * DAY_S + 60.0 * np.arange(len(made.severity))
    left_s = np.full(len(t_s), np.inf) if not level else fails * DAY_S - t_s
    steps = 0 if level else len(t_s)
    notes = {"t_s": t_s, "to_failure_s": left_s, "normal_steps": steps}
    return dataclasses.replace(made, group=f"batch {number}", notes=notes)


def dataset(*batches: Batch) -> Dataset:
    return Dataset(line=SPEC, batches=batches, simulated=True, source="archive", sha256="0" * 64)


def test_thresholds_come_from_batches_and_failures_training_has_not_seen() -> None:
    normal = [batch(n, 0) for n in range(2 * HELD_NORMAL)]
    failing = [
        batch(100 + 10 * k + day, 1 + day, 100 + 10 * k + 3)
        for k in range(HELD_FAILURE) for day in range(3)
    ]  # fmt: skip
    kept = batch(900, 0, split="test")
    cut = cut_recording(dataset(*normal, *failing, kept))
    held = {b.group for b in cut.select("calibrate")}
    last = 100 + 10 * (HELD_FAILURE - 1)
    assert held == {f"batch {n}" for n in (3, 7, last, last + 1, last + 2)}
    assert [b.group for b in cut.select("test")] == ["batch 900"]
    assert len(cut.select("train")) == 2 * HELD_NORMAL - 2 + 3 * (HELD_FAILURE - 1)


def test_few_failures_are_all_learnt_from() -> None:
    cut = cut_recording(dataset(batch(1, 0), batch(2, 3, 3), batch(5, 3, 6)))
    assert {b.split for b in cut.batches} == {"train"}


def test_nothing_of_a_tested_batch_is_learnt() -> None:
    tested = batch(1, 0, split="test")
    assert [part.split for part in beginning_and_rest(tested, scheduled=True)] == ["test"]
    assert [part.split for part in beginning_and_rest(tested)] == ["train"]


def test_a_recording_without_a_batch_to_judge_by_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = [dataclasses.replace(batch(n, 0), domain="target") for n in range(5)]
    save_dataset(dataset(*few), tmp_path / "set")
    assert main(["evaluate", str(folder), "--data", str(tmp_path / "set")]) == 2
    said = capsys.readouterr().err
    assert "no batch is left to judge by" in said
    assert "They are called batch 0, batch 1, batch 2, batch 3 ..." in said
