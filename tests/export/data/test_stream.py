"""Recordings larger than memory: read in blocks, kept file by file, gone on with after a kill."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from export.data import reader, source
from export.data.dataset import DatasetError
from export.data.plant import load_plant
from tests.export.data.conftest import rows

Plant = Callable[..., Path]


def long_file(path: Path, count: int) -> Path:
    draw = np.random.default_rng(0)
    columns = {f"T{k}": draw.normal(50, 1, count).round(4) for k in range(12)}
    table = pa.table({"t": np.arange(count, dtype=np.float64), **columns})
    pyarrow.csv.write_csv(table, path)
    return path


def peak(toml: Path, file: Path) -> int:
    """Bytes at the height of reading, numpy's and arrow's."""
    pool = pa.default_memory_pool()
    before = pool.bytes_allocated()
    highest = 0
    tracemalloc.start()

    class Watch:
        def __call__(self, _: int) -> None:
            nonlocal highest
            highest = max(highest, pool.bytes_allocated() - before)

    original = reader.read_blocks
    watch = Watch()

    def watched(*args: Any) -> Any:
        for block in original(*args):
            watch(0)
            yield block

    reader.read_blocks = watched
    try:
        load_plant(toml, file)
        return highest + tracemalloc.get_traced_memory()[1]
    finally:
        reader.read_blocks = original
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "BLOCK_BYTES", 1 << 15)
    toml = tmp_path / "plant.toml"
    toml.write_text(
        'file = "none"\ntime = "t"\ntime_format = "s"\nrow_s = 1.0\nstep_rows = 60\n'
        'auto_tags = ["T*"]\n'
    )
    short, long = long_file(tmp_path / "a.csv", 20_000), long_file(tmp_path / "b.csv", 160_000)
    peak(toml, short)
    grown = peak(toml, long) - peak(toml, short)
    more_values = (160_000 - 20_000) * 13 * 8
    assert grown < 0.2 * more_values, f"{grown} bytes more for {more_values} bytes of values more"


def test_what_was_read_before_a_kill_is_not_read_again(
    plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toml = plant({f"run-{k}.csv": rows(seed=k) for k in (1, 2, 3)})
    whole = load_plant(toml)
    good = (tmp_path / "run-3.csv").read_text()
    (tmp_path / "run-3.csv").write_text(good[:5000] + "\nbroken\n")
    with pytest.raises(DatasetError, match=r"run-3\.csv:\d+: \d fields"):
        load_plant(toml, cache=tmp_path / "cache")
    (tmp_path / "run-3.csv").write_text(good)
    opened: list[str] = []
    original = reader.read_blocks

    def counted(spec: Any, path: Path, *rest: Any) -> Any:
        opened.append(path.name)
        return original(spec, path, *rest)

    monkeypatch.setattr(reader, "read_blocks", counted)
    again = load_plant(toml, cache=tmp_path / "cache")
    assert opened == ["run-3.csv"]
    third = load_plant(toml, cache=tmp_path / "cache")
    assert opened == ["run-3.csv"]
    for dataset in (again, third):
        assert dataset.sha256 == whole.sha256
        for a, b in zip(whole.batches, dataset.batches, strict=True):
            assert np.array_equal(a.features, b.features)
            assert np.array_equal(a.severity, b.severity)
            assert set(a.notes) == set(b.notes)
    text = toml.read_text()
    toml.write_text(text.replace("step_rows = 10", "step_rows = 20"))
    assert len(load_plant(toml, cache=tmp_path / "cache").batches[0].severity) == 20


def test_a_damaged_cache_is_read_anew(plant: Plant, tmp_path: Path) -> None:
    toml = plant()
    want = load_plant(toml, cache=tmp_path / "cache")
    for file in (tmp_path / "cache").glob("*.npz"):
        file.write_bytes(file.read_bytes()[:100])
    got = load_plant(toml, cache=tmp_path / "cache")
    assert np.array_equal(got.batches[0].features, want.batches[0].features)


def test_blocks_of_any_size_give_the_same(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """A frozen run, a gap and a model step that lie across the border of two blocks."""
    table = rows()
    table.columns["Temp"][90:180] = ["60.0"] * 90
    stamps = np.array(table.time, "datetime64[s]")
    stamps[205:] += np.timedelta64(7, "s")
    table.time = [str(s) for s in stamps]
    toml = plant({"run-1.csv": table})
    want = load_plant(toml).batches[0]
    for size in (300, 1000, 4096):
        monkeypatch.setattr(source, "BLOCK_BYTES", size)
        got = load_plant(toml).batches[0]
        assert np.array_equal(got.features, want.features), size
        assert np.array_equal(got.valid, want.valid), size
        assert np.array_equal(got.notes["line"], want.notes["line"]), size
