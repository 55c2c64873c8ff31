"""A repaired line: its own normal is learnt anew, labels only count where they help."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from export.__main__ import main
from export.data.dataset import Dataset, save_dataset
from export.deliver.pack import save_trained
from export.judge.evaluate import auc
from export.learn.adapt import AdaptError, adapt
from export.learn.recipe import Recipe
from export.learn.train import Trained, train
from export.model.fit import held_logit, score


@pytest.fixture(scope="module")
def source(toy: Dataset, recipe: Recipe) -> Trained:
    """Trained without a single batch of the target."""
    torch.set_num_threads(1)
    alone = dataclasses.replace(toy, batches=tuple(toy.select(domain="source")))
    return train(alone, dataclasses.replace(recipe, target_domain="source"), quiet=True)


def peaks(model: Trained, toy: Dataset, domain: str) -> tuple[np.ndarray, np.ndarray]:
    batches = [dataclasses.replace(b, domain=domain) for b in toy.select("test")]
    outs = score(model.network, batches, model.references, model.recipe)
    return (
        np.array([b.level > 0 for b in batches]),
        np.array([held_logit(o["logit"], model.recipe.persist_steps).max() for o in outs]),
    )


@pytest.mark.parametrize("labels", ["none", "few"])
def test_false_alarms_of_a_shifted_line_go_and_its_defects_stay_apart(
    source: Trained, toy: Dataset, labels: str
) -> None:
    truth, before = peaks(source, toy, "source")
    limit = np.log(source.thresholds.threshold / (1 - source.thresholds.threshold))
    assert (before[~truth] > limit).any()  # the shift alone raises the alarm
    done = adapt(
        source.network, source.references, source.recipe, source.notes["kinds"], toy, "target",
        labels, quiet=True,
    )  # fmt: skip
    truth, after = peaks(done, toy, "target")
    limit = np.log(done.thresholds.threshold / (1 - done.thresholds.threshold))
    assert not (after[~truth] > limit).any()
    assert auc(truth, after) >= 0.9
    assert done.recipe.target_domain == "target"
    assert any("reference" in said for said in done.notes["adapted"])
    if labels == "few":
        assert any("AUC on held-out batches" in said for said in done.notes["adapted"])


def test_the_source_model_is_left_as_it_was(source: Trained, toy: Dataset) -> None:
    before = {k: v.clone() for k, v in source.network.state_dict().items()}
    adapt(source.network, source.references, source.recipe, source.notes["kinds"], toy, "target",
          "few", quiet=True)  # fmt: skip
    assert all(torch.equal(v, before[k]) for k, v in source.network.state_dict().items())
    assert list(source.references) == ["source"]


def test_without_labels_no_defective_batch_is_looked_at(source: Trained, toy: Dataset) -> None:
    arguments = (source.network, source.references, source.recipe, source.notes["kinds"])
    normal = dataclasses.replace(toy, batches=tuple(b for b in toy.batches if b.level == 0))
    with_bad = adapt(*arguments, toy, "target", quiet=True)
    without = adapt(*arguments, normal, "target", quiet=True)
    for (name, a), b in zip(
        with_bad.network.state_dict().items(), without.network.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b), name
    assert with_bad.thresholds.threshold == without.thresholds.threshold


def test_without_held_out_defects_one_half_judges_the_other(source: Trained, toy: Dataset) -> None:
    arguments = (source.network, source.references, source.recipe, source.notes["kinds"])
    blind = dataclasses.replace(
        toy, batches=tuple(b for b in toy.batches if b.split == "train" or b.level == 0)
    )
    done = adapt(*arguments, blind, "target", "few", quiet=True)
    assert "AUC on held-out batches" in done.notes["adapted"][1]
    defects = [b for b in blind.batches if b.level and b.domain == "target"]
    single = dataclasses.replace(
        blind,
        batches=(*(b for b in blind.batches if b.level == 0 or b.domain == "source"), defects[0]),
    )
    done = adapt(*arguments, single, "target", "few", quiet=True)
    assert "too few to train on one half" in done.notes["adapted"][1]


def test_what_is_missing_is_named(source: Trained, toy: Dataset) -> None:
    arguments = (source.network, source.references, source.recipe, source.notes["kinds"])
    bad = dataclasses.replace(
        toy, batches=tuple(b for b in toy.batches if b.domain == "source" or b.level)
    )
    with pytest.raises(AdaptError, match='"target" has no normal training batch; record some'):
        adapt(*arguments, bad, "target")
    with pytest.raises(AdaptError, match=r"needs 30 labelled defective batches .*--labels few"):
        adapt(*arguments, toy, "target", "all")


def test_the_command_writes_a_folder_and_says_what_was_gained(
    source: Trained, toy: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    save_trained(source, toy, tmp_path / "a")
    save_dataset(toy, tmp_path / "data")
    monkeypatch.setattr("export.judge.folder.compare_folders", lambda *a: f"compared {a[4]}")
    arguments = ["adapt", str(tmp_path / "a"), "--data", str(tmp_path / "data"), "--out",
                 str(tmp_path / "b")]  # fmt: skip
    assert main(arguments) == 2
    assert "choose one with --domain" in capsys.readouterr().err
    assert main([*arguments, "--domain", "target"]) == 0
    assert "compared target" in capsys.readouterr().out
    assert '"adapted_from"' in (tmp_path / "b" / "trained.json").read_text()
