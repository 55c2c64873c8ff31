"""A description and files -> stretches, windows, labels; the same whatever the file format."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from edge.core.features import batch_features
from edge.core.tags import Quality, Row
from edge.runtime.ringfile import open_ring
from export.data.dataset import Dataset, DatasetError, load_dataset, save_dataset
from export.data.plant import load_plant, read_plant, windows
from export.data.recording import load_recording
from tests.export.data.conftest import rows

Plant = Callable[..., Path]


def test_rows_become_the_features_the_appliance_would_see(plant: Plant) -> None:
    dataset = load_plant(plant())
    (stretch,) = dataset.batches
    table = rows()
    x = np.array([table.columns[n] for n in ("Pressure", "Flow", "Temp")], np.float32).T
    features, valid = batch_features(x.reshape(40, 10, 3))
    np.testing.assert_allclose(stretch.features, features, rtol=1e-6)
    assert np.array_equal(stretch.valid, valid)
    assert stretch.severity.tolist() == [0] * 30 + [3] * 10
    assert (stretch.group, stretch.domain, stretch.notes["day"]) == ("run-1", "run-1", "2026-03-02")
    assert stretch.notes["line"][:2].tolist() == [11, 21]
    assert dataset.line.components == ("PUMP", "PIPE", "TANK")
    assert dataset.line.spans[0] == 10.0
    assert 0 < dataset.line.spans[1] < 10, "no range given: what the normal steps covered"


@pytest.mark.parametrize("kind", ["csv.gz", "parquet", "semicolons"])
def test_every_format_gives_the_same(plant: Plant, tmp_path: Path, kind: str) -> None:
    toml = plant()
    want = load_plant(toml)
    csv = tmp_path / "run-1.csv"
    other = tmp_path / "other"
    other.mkdir()
    if kind == "csv.gz":
        (other / "run-1.csv.gz").write_bytes(gzip.compress(csv.read_bytes()))
    elif kind == "parquet":
        table = rows()
        arrays = {n: pa.array([float(v) for v in c]) for n, c in table.columns.items()}
        stamps = pa.array(np.array(table.time, "datetime64[us]"))
        pyarrow.parquet.write_table(pa.table({"time": stamps, **arrays}), other / "run-1.parquet")
    else:
        text = csv.read_text().replace(",", ";").replace(".", ",")
        (other / "run-1.csv").write_text(text)
        toml = plant(delimiter='";"', decimal='","')
        csv.unlink()
    got = load_plant(toml, other)
    for a, b in zip(want.batches, got.batches, strict=True):
        assert np.array_equal(a.features, b.features)
        assert np.array_equal(a.severity, b.severity)
        assert np.array_equal(a.notes["t_s"], b.notes["t_s"])


def test_the_appliances_own_ring_is_a_recording(tmp_path: Path) -> None:
    tags = [("Pressure", "bar"), ("Flow", "kg/h")]
    opened = open_ring(tmp_path / "rows.ring", tags, 50, 1.0)
    for k in range(65):
        good = np.array([Quality.GOOD, Quality.BAD if k == 40 else Quality.GOOD], np.uint8)
        value = np.array([k, np.nan if k == 40 else 2 * k], np.float32)
        opened.ring.append(Row(1.78e9 + k, value, good, np.zeros(2, np.uint8), 0.0, 0.0))
    opened.close()
    before = (tmp_path / "rows.ring").read_bytes()
    (tmp_path / "plant.toml").write_text(
        'file = "rows.ring"\nrow_s = 1.0\nstep_rows = 10\n'
        'tag = [{ name = "Pressure", unit = "bar" }, { name = "Flow", unit = "kg/h" }]\n'
    )
    (stretch,) = load_plant(tmp_path / "plant.toml").batches
    assert stretch.features[:, 0, 0].tolist() == [19.5, 29.5, 39.5, 49.5, 59.5]
    assert stretch.valid[:, 1].tolist() == pytest.approx([1, 1, 0.9, 1, 1])
    assert stretch.notes["t_s"][-1] == 1.78e9 + 64
    assert (tmp_path / "rows.ring").read_bytes() == before, "a recording is never changed"


def test_missing_seconds_are_gaps_and_long_ones_end_the_stretch(plant: Plant) -> None:
    table = rows()
    stamps = np.array(table.time, "datetime64[s]")
    stamps[105:] += np.timedelta64(10, "s")
    stamps[300:] += np.timedelta64(7200, "s")
    table.time = [str(s) for s in stamps]
    loaded = read_plant(plant({"run-1.csv": table}, split_gap_h="1.0"))
    first, second = loaded.dataset.batches
    assert (first.group, second.group) == ("run-1", "run-1 part 2")
    assert first.valid[9:13, 0].tolist() == pytest.approx([1.0, 0.5, 0.5, 1.0])
    assert loaded.counts.gap_rows == 10
    texts = [str(f) for f in loaded.findings]
    assert any(":107: 'run-1': 10 rows are missing in 1 gaps" in t for t in texts), texts
    assert any("from here on the stretch is 'run-1 part 2'" in t for t in texts), texts


def test_columns_and_file_names_become_group_domain_and_fault(plant: Plant) -> None:
    table = rows()
    table.columns["shift"] = ["early"] * 200 + ["late"] * 200
    toml = plant(
        {"case7_set2.csv": table},
        file_pattern='"case(?P<case>\\\\d+)_set(?P<set>\\\\d+)"',
        group='"{stem} {shift}"', domain='"set{set}"', fault='"case{case}"',
        faults='{ case7 = { component = "PIPE", expected = ["Flow"] } }',
    )  # fmt: skip
    early, late = load_plant(toml).batches
    assert (early.group, early.domain, early.fault, early.component) == (
        "case7_set2 early", "set2", "", "")  # fmt: skip
    assert (late.group, late.fault, late.component, late.expected) == (
        "case7_set2 late", "case7", "PIPE", ("Flow",))  # fmt: skip


@pytest.mark.parametrize(
    ("label", "column", "want"),
    [
        ('{ column = "bad", kind = "rank" }', [0, 0, 2, 4, 8, 8], [0, 0, 1, 2, 3, 3]),
        ('{ column = "bad", kind = "rank", stages = "clip" }', [0, 1, 2, 4], [0, 1, 2, 3]),
        ('{ column = "bad", kind = "class", normal = ["ok"], unused = ["?"] }',
         ["ok", "leak", "?"], [0, 3, -1]),
        ('{ column = "bad", kind = "countdown", unit = "h", between = "normal" }',
         [80, 72, 71, 47, 23, 0], [0, 0, 1, 2, 3, 3]),
        ('{ column = "bad", kind = "countdown", unit = "h" }', [80, 71], [-1, 1]),
        ('{ column = "bad", level = 2 }', [0, 1], [0, 2]),
    ],
)  # fmt: skip
def test_a_label_column_of_any_kind(
    plant: Plant, label: str, column: list[object], want: list[int]
) -> None:
    table = rows(10 * len(column))
    table.columns["bad"] = [str(value) for value in column for _ in range(10)]
    loaded = read_plant(plant({"run-1.csv": table}, label=label))
    assert loaded.dataset.batches[0].severity.tolist() == want


def test_true_and_false_are_labels_and_text_is_no_tag(plant: Plant) -> None:
    table = rows()
    table.columns["bad"] = ["True" if word == "1" else "False" for word in table.columns["bad"]]
    table.columns["mode"] = ["AUTO"] * 400
    toml = plant({"run-1.csv": table}, auto_tags='["*"]')
    dataset = load_plant(toml)
    assert [name for name, _ in dataset.line.tags] == ["Pressure", "Flow", "Temp"]
    assert dataset.batches[0].severity.tolist() == [0] * 30 + [3] * 10
    table.columns["bad"][44] = "maybe"
    with pytest.raises(DatasetError, match=r"run-1.csv:46: label 'maybe' is neither a number nor"):
        load_plant(plant({"run-1.csv": table}))


def test_a_broken_transmitter_does_not_stop_the_reading(plant: Plant) -> None:
    table = rows()
    table.columns["Flow"][5:7] = ["1e300", "inf"]
    loaded = read_plant(plant({"run-1.csv": table}))
    assert loaded.counts.out_of_range.tolist() == [0, 2, 0]
    assert loaded.dataset.batches[0].valid[0, 1] == pytest.approx(0.8)


def test_a_step_with_half_its_rows_defective_is_defective(plant: Plant) -> None:
    for bad, want in ((5, 3), (4, 0)):
        table = rows(10, bad_from=10 - bad)
        assert read_plant(plant({"run-1.csv": table})).dataset.batches[0].severity[0] == want


def test_episodes_are_cut_half_way(plant: Plant) -> None:
    table = rows()
    table.columns["bad"] = ["1" if 50 <= k < 60 or 300 <= k < 350 else "0" for k in range(400)]
    first, second = load_plant(plant({"run-1.csv": table}, episode_rest_steps="5")).batches
    assert (first.group, second.group) == ("run-1 episode 1", "run-1 episode 2")
    assert len(first.severity) + len(second.severity) == 40
    assert (first.level, second.level, second.first_step) == (3, 3, 0)
    assert second.notes["normal_steps"] == 30 - len(first.severity)


def test_windows_stay_inside_and_know_their_rows(plant: Plant) -> None:
    dataset = load_plant(plant({"a.csv": rows(seed=1), "b.csv": rows(seed=2)}))
    made = windows(dataset, 8, 4)
    assert [w.first_step for w in made] == [*range(0, 33, 4)] * 2
    assert {w.group for w in made} == {"a", "b"}
    last = made[8]
    assert last.notes["lines"] == (322, 401)
    assert last.notes["t_s"] == dataset.batches[0].notes["t_s"][-1]
    assert [w.level for w in made[:9]] == [0] * 6 + [3] * 3
    assert [w.level for w in windows(dataset, 8, 4, label="last")[:9]] == [0] * 6 + [3] * 3
    with pytest.raises(DatasetError, match="no stretch is as long as a window of 41"):
        windows(dataset, 41, 1)


def test_daily_files_of_one_recording_are_joined(plant: Plant, tmp_path: Path) -> None:
    whole = rows()
    toml = plant({"run.csv": whole})
    want = load_plant(toml)
    for name, part in (("day-1.csv", slice(0, 133)), ("day-2.csv", slice(133, 400))):
        cut = rows()
        cut.time = whole.time[part]
        cut.columns = {n: c[part] for n, c in whole.columns.items()}
        cut.write(tmp_path / name)
    toml = plant({"run.csv": whole}, files='["day-*.csv"]', join_files="true", name='"all"')
    (got,) = load_plant(toml).batches
    assert got.group == "all"
    assert np.array_equal(got.features, want.batches[0].features)


def test_a_recording_for_training_is_cut_where_normal_ends(plant: Plant) -> None:
    begin, rest = load_recording(plant(normal_rows="200", labelled='["other"]')).batches
    assert (len(begin.severity), begin.split, begin.level) == (20, "train", 0)
    assert (len(rest.severity), rest.split, rest.first_step) == (20, "test", 20)


def test_a_plants_dataset_survives_the_disk(plant: Plant, tmp_path: Path) -> None:
    dataset: Dataset = load_plant(plant())
    save_dataset(dataset, tmp_path / "kept")
    again = load_dataset(tmp_path / "kept")
    for a, b in zip(dataset.batches, again.batches, strict=True):
        assert np.array_equal(a.features, b.features)
        assert a.expected == b.expected
        assert set(a.notes) == set(b.notes)
        assert np.array_equal(a.notes["t_s"], b.notes["t_s"])
