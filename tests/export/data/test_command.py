"""`ncm-export data`: report, picture, exit code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from export.__main__ import main
from export.data.dataset import load_dataset
from export.data.overview import strips
from export.data.plant import load_plant
from tests.export.data.conftest import rows

Plant = Callable[..., Path]


def test_the_report_and_the_picture(
    plant: Plant, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = rows()
    table.columns["Pressure"][20:25] = [""] * 5
    toml = plant({"run-1.csv": table, "run-2.csv": rows(seed=2)})
    out, png = tmp_path / "kept", tmp_path / "overview.png"
    assert main(["data", str(toml), "--picture", str(png), "--out", str(out)]) == 0
    text = capsys.readouterr().out
    for words in (
        "plant: recorded, 3 tags, 3 components",
        "files      2 (", "rows       800 of 1 s; 0 more are missing in 0 gaps",
        "run-1                        2026-03-02 08:00:00 UTC      40       30        0        0"
        "       10        0",
        "Pressure                          5",
    ):  # fmt: skip
        assert words in text, text
    assert png.read_bytes()[:4] == b"\x89PNG"
    assert len(load_dataset(out).batches) == 4


def test_faults_end_with_2_after_the_report(
    plant: Plant, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = rows()
    table.time[50] = table.time[49]
    assert main(["data", str(plant({"run-1.csv": table}))]) == 2
    said = capsys.readouterr()
    assert "recorded, 3 tags" in said.out
    assert "run-1.csv:52: the time repeats" in said.err
    assert main(["data", str(tmp_path / "none.toml")]) == 2


def test_a_thinned_strip_keeps_the_worst(plant: Plant) -> None:
    dataset = load_plant(plant())
    dataset.batches[0].valid[7, 1] = 0.25
    valid, severity = strips(dataset.batches, columns=8)
    assert valid.shape == (3, 8)
    assert valid[1].tolist() == [1, 0.25, 1, 1, 1, 1, 1, 1]
    assert severity.tolist() == [0] * 6 + [3, 3]
    assert np.array_equal(strips(dataset.batches)[1], dataset.batches[0].severity)
