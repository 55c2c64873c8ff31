"""The descriptions shipped, against the public recordings beside the project."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from export.data.describe import load_description
from export.data.plant import load_plant, read_plant, windows
from export.data.recording import load_recording

PLANTS = Path(__file__).resolve().parents[3] / "export" / "plants"
SHIPPED = sorted(PLANTS.glob("*.toml"))


@pytest.mark.parametrize("toml", SHIPPED, ids=lambda p: p.stem)
def test_every_description_shipped_is_sound(toml: Path) -> None:
    spec = load_description(toml)
    codes = {tag.component for tag in spec.tags}
    for fault, row in spec.faults.items():
        assert not row.component or row.component in codes, fault
    if spec.components:
        assert codes == set(spec.components)


def there(name: str) -> Path:
    toml = PLANTS / f"{name}.toml"
    data = PLANTS.parents[2] / "shared" / "data" / name
    if not data.is_dir():
        pytest.skip(f"the recording is not at {data}")
    return toml


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "stretches", "steps", "domains"),
    [
        ("tep_multimode", 115, 78481, ["mode1", "mode2", "mode3", "mode4"]),
        ("cranfield_tpff", 10, 5530, ["set1", "set2"]),
        ("boiler_sasa", None, 13406, ["boiler1", "boiler2", "boiler3"]),
        ("water_pump_rtf", 2, 1356, ["run1", "run3"]),
    ],
)
def test_a_public_set_is_read_whole(
    name: str, stretches: int | None, steps: int, domains: list[str], tmp_path: Path
) -> None:
    dataset = load_plant(there(name), cache=tmp_path)
    assert stretches is None or len(dataset.batches) == stretches
    assert sum(len(b.severity) for b in dataset.batches) == steps
    assert list(dict.fromkeys(b.domain for b in dataset.batches)) == domains
    assert len({b.group for b in dataset.batches}) == len(dataset.batches)
    assert all(b.valid.min() == 1 for b in dataset.batches), "these recordings have no bad row"


@pytest.mark.data
def test_severity_of_the_staged_rig_rises_with_the_valve() -> None:
    for b in load_plant(there("cranfield_tpff")).batches:
        stage = b.notes["stage"]
        assert np.array_equal(b.severity > 0, stage > 0), b.group
        assert (np.diff(b.severity[np.argsort(stage, kind="stable")]) >= 0).all(), b.group


@pytest.mark.data
def test_the_pump_is_labelled_by_its_last_three_days() -> None:
    for b in load_plant(there("water_pump_rtf")).batches:
        assert np.bincount(b.severity)[1:].tolist() == [144, 144, 144]
        assert b.notes["to_failure_s"][-1] < 600


@pytest.mark.data
def test_the_benchmarks_rows_and_the_files_that_repeat_each_other() -> None:
    toml = there("skab")
    dataset = load_recording(toml)
    assert len(dataset.batches) == 68
    assert all(b.level == 0 and len(b.severity) == 40 for b in dataset.batches[::2])
    repeats = [str(f) for f in read_plant(toml).findings if f.kind == "duplicate"]
    assert len(repeats) == 4
    assert any("'other/3' repeats about" in text for text in repeats)
    assert len(windows(load_plant(toml), 6, 6)) > 500
