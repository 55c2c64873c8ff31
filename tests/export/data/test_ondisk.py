"""Arrays on the disk are used like arrays, and whatever is read that way gives the same numbers."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from export.data import ondisk
from export.data.dataset import Dataset, DatasetError, load_dataset, save_dataset
from export.data.ondisk import Member, Shelf
from export.learn.recipe import Recipe
from export.learn.train import train
from export.model import reference


def test_a_member_is_used_like_its_array(tmp_path: Path) -> None:
    want = np.arange(24, dtype=np.float16).reshape(4, 3, 2)
    np.savez_compressed(tmp_path / "b.npz", x=want)
    member = Member(tmp_path / "b.npz", "x", want.shape)
    assert (len(member), member.shape, member.dtype) == (4, (4, 3, 2), np.float32)
    assert np.array_equal(member[1:3, ..., 0], want[1:3, ..., 0])
    assert np.asarray(member).dtype == np.float32
    assert np.array_equal(np.concatenate([member, member]), np.concatenate([want, want]))
    assert np.array_equal(np.where(want > 5, member, np.nan)[3], want[3])


def test_what_was_read_lately_is_not_read_again_and_the_rest_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ondisk, "_recent", ondisk._Recent())
    monkeypatch.setattr(ondisk, "RECENT_BYTES", 1000)
    np.savez(tmp_path / "b.npz", a=np.zeros(100, np.float32), b=np.ones(200, np.float32))
    a, b = (Member(tmp_path / "b.npz", name, (n,)) for name, n in (("a", 100), ("b", 200)))
    first = a.read()
    assert a.read() is first
    b.read()
    assert a.read() is not first


def test_a_file_that_went_bad_meanwhile_is_named(toy: Dataset, tmp_path: Path) -> None:
    save_dataset(toy, tmp_path)
    dataset = load_dataset(tmp_path)
    file = tmp_path / "batch-0003.npz"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(DatasetError, match=r"batch-0003\.npz: cannot be read .*simulate again"):
        dataset.batches[3].features[0:1]
    with pytest.raises(DatasetError, match=r"batch-0003\.npz: cannot be read"):
        load_dataset(tmp_path)
    np.savez(file, severity=np.zeros(5, np.int8))
    with pytest.raises(DatasetError, match=r"batch-0003\.npz: cannot be read"):
        load_dataset(tmp_path)


@pytest.mark.parametrize("limit", [10, 10_000_000])
def test_a_shelf_gives_back_what_lies_on_it(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ondisk, "SHELF_BYTES", limit)
    draw = np.random.default_rng(0)
    arrays = [draw.normal(size=(n, 3)).astype(np.float16) for n in (4, 1, 7)]
    with Shelf() as shelf:
        laid = [shelf.put(array) for array in arrays]
        for array, there in zip(arrays, laid):
            assert np.array_equal(there, array)
            for part in (slice(1, 3), slice(None), slice(-2, None), slice(0, 99), slice(5, 2)):
                assert np.array_equal(there[part], array[part]), part
            assert np.array_equal(there[-1], array[-1])
            assert np.array_equal(there[:, 1], array[:, 1])


def test_streamed_training_gives_the_very_weights_of_one_from_memory(
    toy: Dataset, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_dataset(toy, tmp_path)
    short = dataclasses.replace(
        recipe, training=dataclasses.replace(recipe.training, iterations=12)
    )
    torch.set_num_threads(1)
    kept = train(load_dataset(tmp_path, keep=True), short, quiet=True)
    # So little memory that nothing stays in it: every read goes to the disk, tag by tag.
    monkeypatch.setattr(ondisk, "_recent", ondisk._Recent())
    for module, name in ((ondisk, "RECENT_BYTES"), (ondisk, "SHELF_BYTES"),
                         (reference, "WORK_BYTES")):  # fmt: skip
        monkeypatch.setattr(module, name, 1)
    streamed = train(load_dataset(tmp_path), short, quiet=True)
    assert streamed.notes["loss_history"] == kept.notes["loss_history"]
    assert streamed.thresholds == kept.thresholds
    for name, value in kept.network.state_dict().items():
        assert torch.equal(value, streamed.network.state_dict()[name]), name
    for domain, pair in kept.references.items():
        assert all(np.array_equal(a, b) for a, b in zip(pair, streamed.references[domain])), domain
    assert np.array_equal(kept.drift.whitening, streamed.drift.whitening)
