"""Dataset -> training -> graph -> bundle -> the edge's own engine, on a small invented line."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from edge.core.features import FEATURES
from edge.runtime.bundle import BundleRefused, LoadedBundle, RefusalKind, load_bundle
from edge.runtime.infer import Engine, EngineRefused
from export.data.dataset import Dataset, DatasetError, load_dataset, save_dataset
from export.deliver.gate import judge_variant
from export.deliver.onnx_graph import load_weights, verify
from export.deliver.pack import PackError, make_bundle, stream_of
from export.deliver.quantize import quantize
from export.judge.evaluate import auc
from export.learn.paper import train as train_paper
from export.learn.recipe import FOLDER, Recipe, RecipeError, load_recipe, recipe_of
from export.learn.train import Trained, TrainingError, train
from export.model.align import class_mmd, mmd
from export.model.fit import score
from export.model.reference import ReferenceSettings, build_reference


def loaded(path: Path) -> LoadedBundle:
    bundle = load_bundle(path)
    assert isinstance(bundle, LoadedBundle), bundle
    return bundle


def test_a_dataset_survives_the_disk(toy: Dataset, tmp_path: Path) -> None:
    save_dataset(toy, tmp_path)
    again = load_dataset(tmp_path)
    assert again.line == toy.line
    assert again.sha256 == toy.sha256
    for a, b in zip(toy.batches, again.batches):
        assert np.array_equal(a.features, b.features)
        for name in ("domain", "split", "group", "component", "fault", "first_step"):
            assert getattr(a, name) == getattr(b, name)


def test_a_dataset_that_is_none_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="ncm-export simulate"):
        load_dataset(tmp_path)
    (tmp_path / "dataset.json").write_text("{}")
    with pytest.raises(DatasetError, match="another release"):
        load_dataset(tmp_path)


def test_training_separates_the_toy_fault_on_unseen_batches(toy: Dataset, trained: Trained) -> None:
    batches = toy.select("test")
    outs = score(trained.network, batches, trained.references, trained.recipe)
    label = np.array([b.level > 0 for b in batches])
    for head in ("logit", "deviation_score"):
        assert auc(label, np.array([o[head][30:].mean() for o in outs])) >= 0.9, head


def test_the_same_seed_gives_the_same_weights(toy: Dataset, recipe: Recipe) -> None:
    short = dataclasses.replace(recipe, training=dataclasses.replace(recipe.training, iterations=4))
    one, two = (train(toy, short, quiet=True).network.state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_the_test_split_is_never_looked_at(toy: Dataset, recipe: Recipe) -> None:
    short = dataclasses.replace(recipe, training=dataclasses.replace(recipe.training, iterations=4))
    without = dataclasses.replace(toy, batches=tuple(b for b in toy.batches if b.split != "test"))
    one, two = (train(d, short, quiet=True) for d in (toy, without))
    assert one.thresholds == two.thresholds
    assert torch.equal(one.network.fuse, two.network.fuse)


def test_a_domain_without_normal_batches_is_refused(toy: Dataset, recipe: Recipe) -> None:
    bad = dataclasses.replace(
        toy, batches=tuple(b for b in toy.batches if b.domain == "source" or b.level)
    )
    with pytest.raises(TrainingError, match='"target" has no normal'):
        train(bad, recipe, quiet=True)


def test_the_reference_keeps_schedule_steps_apart() -> None:
    x = np.zeros((40, 1, len(FEATURES)), np.float32)
    x[20:, 0, 0] = 100.0
    batches = [x + np.random.default_rng(n).normal(0, 0.1, x.shape).astype(np.float32)
               for n in range(4)]  # fmt: skip
    loc, scale = build_reference(
        batches, [np.ones((40, 1), np.float32)] * 4, np.array([100.0], np.float32),
        ReferenceSettings(slot_steps=5, floor_overall=0.0), [1] * 20 + [2] * 20,
    )  # fmt: skip
    assert loc.shape == (8, 1, len(FEATURES))
    assert loc[:4, 0, 0] == pytest.approx(0.0, abs=0.1)
    assert loc[4:, 0, 0] == pytest.approx(100.0, abs=0.1)
    assert scale[:, 0, 0].max() < 0.5


def test_a_railed_tag_keeps_a_floor_and_a_bad_one_a_number() -> None:
    x = np.zeros((10, 2, len(FEATURES)), np.float32)
    valid = np.ones((10, 2), np.float32)
    valid[:, 1] = 0.0
    loc, scale = build_reference(
        [x], [valid], np.array([10.0, 10.0], np.float32), ReferenceSettings(slot_steps=0)
    )
    assert np.isfinite(loc).all()
    assert (scale > 0).all()


def test_the_bundle_is_accepted_and_streams_like_torch(
    toy: Dataset, trained: Trained, bundle_dir: Path
) -> None:
    bundle = loaded(bundle_dir)
    assert bundle.card.serial == 5
    assert "simulated" in bundle.card.notice
    engine = Engine(bundle, "cpu")
    batch = toy.select("test")[0]
    want = score(trained.network, [batch], trained.references, trained.recipe)[0]
    out, _ = engine.run_blocks(engine.initial_state(), batch.features, batch.valid, 0)
    for name in ("logit", "severity", "cam", "deviation", "pooled"):
        assert np.abs(getattr(out, name)[0] - want[name]).max() < 1e-4, name


def test_the_graph_has_no_trace_of_where_it_was_made(folder: Path, bundle_dir: Path) -> None:
    data = (bundle_dir / "model.onnx").read_bytes()
    for word in (str(Path.cwd()).encode(), b"site-packages", b".py"):
        assert word not in data
    assert verify(load_weights(folder / "weights.pt"), bundle_dir / "model.onnx") < 1e-4


def test_bundling_twice_gives_the_same_bytes(
    folder: Path, bundle_dir: Path, tmp_path: Path
) -> None:
    make_bundle(folder, tmp_path, serial=5)
    for file in bundle_dir.iterdir():
        assert file.read_bytes() == (tmp_path / file.name).read_bytes(), file.name


def test_an_unknown_domain_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(PackError, match="permitted are \\['source', 'target'\\]"):
        make_bundle(folder, tmp_path, domain="mars")


def test_golden_vectors_catch_an_exchanged_graph(
    bundle_dir: Path, folder: Path, tmp_path: Path
) -> None:
    for file in bundle_dir.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    with np.load(tmp_path / "golden.npz") as archive:
        golden = {name: archive[name] for name in archive.files}
    golden["logit"] = golden["logit"] + 0.5
    np.savez_compressed(tmp_path / "golden.npz", **golden)
    raw = json.loads((tmp_path / "card.json").read_text())
    raw["files"]["golden.npz"] = hashlib.sha256((tmp_path / "golden.npz").read_bytes()).hexdigest()
    (tmp_path / "card.json").write_text(json.dumps(raw))
    with pytest.raises(EngineRefused, match='self-test failed: "logit" differs by'):
        Engine(loaded(tmp_path), "cpu")


def test_the_int8_graph_reports_its_gates(
    toy: Dataset, trained: Trained, bundle_dir: Path, tmp_path: Path
) -> None:
    streams = [
        stream_of(b, trained.references[b.domain], trained.recipe)
        for b in toy.select("calibrate")[:4]
    ]
    fp32, int8 = bundle_dir / "model.onnx", tmp_path / "model.int8.onnx"
    quantize(fp32, int8, streams)
    assert int8.stat().st_size > 1000
    gates = judge_variant(fp32, int8, streams)
    assert 0.0 < gates["max_probability_change"] < 0.1
    assert "speed at n = 60" in gates["table"]
    assert gates["active"] in gates["why"] or gates["active"] == "fp32"
    same = judge_variant(fp32, fp32, streams)
    assert (same["flips"], same["max_probability_change"], same["passed"]) == (0, 0.0, True)
    assert same["active"] == "fp32"  # the same speed is not worth another function


def test_a_variant_that_decides_otherwise_never_becomes_active(
    toy: Dataset, trained: Trained, bundle_dir: Path, tmp_path: Path
) -> None:
    import onnx

    model = onnx.load(bundle_dir / "model.onnx")
    for item in model.graph.initializer:
        values = onnx.numpy_helper.to_array(item)
        if values.ndim == 1 and values.dtype == np.float32:  # biases, calibration
            item.CopyFrom(onnx.numpy_helper.from_array(values - 1.0, item.name))
    other = tmp_path / "model.int8.onnx"
    onnx.save(model, other)
    streams = [stream_of(b, trained.references[b.domain], trained.recipe)
               for b in toy.select("calibrate")[:4]]  # fmt: skip
    gates = judge_variant(bundle_dir / "model.onnx", other, streams)
    assert not gates["passed"]
    assert gates["active"] == "fp32"
    assert "fails: max probability change" in gates["why"]


def test_a_bundle_is_whole_or_unchanged(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "b"
    make_bundle(folder, out, serial=5)
    before = {f.name: f.read_bytes() for f in out.iterdir()}

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("export.deliver.pack.np.savez_compressed", full)
    with pytest.raises(PackError, match="No space left on device; what was there is unchanged"):
        make_bundle(folder, out, serial=6)
    assert {f.name: f.read_bytes() for f in out.iterdir()} == before
    assert [f.name for f in tmp_path.iterdir()] == ["b"]


@pytest.mark.parametrize("loss", ["mmd", "mse"])
def test_the_papers_four_phases_run_and_report(toy: Dataset, loss: str) -> None:
    base = load_recipe("paper" if loss == "mmd" else "paper-mse")
    assert base.paper.domain_loss == loss
    short = dataclasses.replace(
        base, paper=dataclasses.replace(base.paper, iterations=5, pool=3, stop_loss=0.0)
    )
    figures = train_paper(toy, short, quiet=True).figures
    assert [figures["phases"][f"phase{n}"]["iterations"] for n in (1, 2, 3, 4)] == [5] * 4
    assert 0.0 <= figures["test"]["auc"] <= 1.0


def test_mmd_sees_a_shift_and_the_class_form_ignores_the_class_mix() -> None:
    draw = torch.Generator().manual_seed(0)
    a = torch.randn(60, 3, generator=draw)
    b = torch.randn(60, 3, generator=draw)
    assert mmd(a, b + 2.0) > 10 * mmd(a, b)
    y = torch.tensor([0] * 55 + [1] * 5)
    w = torch.tensor([0] * 5 + [1] * 55)
    s, t = a + 4.0 * y[:, None], b + 4.0 * w[:, None]
    assert class_mmd(s, y, t, w) < 0.3 * mmd(s, t)


def test_every_shipped_recipe_loads_and_comes_back_from_its_record() -> None:
    for path in FOLDER.glob("*.toml"):
        recipe = load_recipe(path.stem)
        assert recipe_of(json.loads(json.dumps(recipe.to_dict()))) == recipe


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sead = 1", "unknown key 'sead'"),
        ("[training]\niterations = 'many'", "permitted is a int"),
        ("kind = 'best'", "'ours' and 'paper'"),
        ("[paper]\ndomain_loss = 'coral'", "'mmd', 'mse'"),
        ("[training]\nalign = 'x'", "class-mmd"),
        ("kind =", "not valid TOML"),
    ],
)
def test_a_wrong_recipe_is_explained(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=says):
        load_recipe(str(path))


def test_an_unknown_recipe_lists_the_shipped_ones() -> None:
    with pytest.raises(RecipeError, match="continuous, ours, paper"):
        load_recipe("best")


def test_a_bundle_of_another_line_is_a_mismatch(bundle_dir: Path) -> None:
    refused = load_bundle(bundle_dir, (("X", "bar"),), 1.0)
    assert isinstance(refused, BundleRefused)
    assert refused.kind is RefusalKind.MISMATCH
