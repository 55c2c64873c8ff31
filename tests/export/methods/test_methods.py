"""Every method of the benchmark on a small task: two lines, a fault in two of five tags."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from export.data.dataset import Batch, LineSpec
from export.judge.evaluate import auc
from export.judge.task import Task
from export.methods import METHODS, NotApplicable, method

STEPS, TAGS = 24, 5
LINE = LineSpec(
    name="small",
    tags=tuple((f"T{k}", "bar") for k in range(TAGS)),
    components=("C01", "C01", "C02", "C02", "C03"),
    spans=(10.0,) * TAGS,
    row_s=1.0,
    step_rows=10,
)
QUICK = [name for name in METHODS if name not in ("resnet50", "efficientnet-b0", "ensemble")]


def window(seed: int, domain: str, level: int, first: int = 0) -> Batch:
    draw = np.random.default_rng(seed)
    x = draw.normal(5.0 + (2.0 if domain == "new" else 0.0), 0.2, (STEPS, TAGS, 1))
    x[:, 1] += 0.5 * level
    x[:, 3] -= 0.4 * level
    features = np.concatenate([x, np.full_like(x, 0.2), x - 0.3, x + 0.3, 0 * x, 0 * x + 0.1], -1)
    return Batch(
        features=features.astype(np.float32), valid=np.ones((STEPS, TAGS), np.float32),
        severity=np.full(STEPS, level, np.int8), domain=domain, split="train",
        group=f"{domain} {seed}", fault="F" if level else "", component="C01" if level else "",
        first_step=first,
    )  # fmt: skip


@pytest.fixture(scope="module")
def task() -> Task:
    old = [window(n, "old", n % 2 * 3, n * STEPS) for n in range(40)]
    normal = [window(100 + n, "new", 0, n * STEPS) for n in range(8)]
    few = [window(200 + n, "new", 3, 500 * STEPS) for n in range(4)]
    return Task(
        name="old -> new", line=LINE, train=(*old, *normal, *few),
        reference={"old": tuple(b for b in old if not b.level), "new": tuple(normal)},
        calibrate=tuple(window(300 + n, "new", 0) for n in range(6)),
        sources=("old",), targets=("new",), step_s=10.0, simulated=True,
        unlabelled=tuple(window(400 + n, "new", n % 2 * 3) for n in range(8)),
    )  # fmt: skip


TEST = [window(500 + n, "new", n % 2 * 3) for n in range(30)]
TRUTH = np.array([b.level > 0 for b in TEST])


@pytest.mark.parametrize("name", QUICK)
def test_every_method_scores_new_samples_one_by_one_as_together(name: str, task: Task) -> None:
    torch.set_num_threads(1)
    scorer = method(name).fit(task, seed=1)
    scores = scorer.score(TEST)
    assert scores.shape == (30,)
    assert np.isfinite(scores).all()
    alone = np.concatenate([scorer.score([sample]) for sample in TEST[:3]])
    assert np.allclose(alone, scores[:3], atol=1e-3 * (1 + np.abs(scores).max()))
    if name in ("ours", "deviation", "source-only", "pooled", "one-tag", "distance", "pca",
                "gbm-source", "gbm-pooled", "minirocket"):  # fmt: skip
        assert auc(TRUTH, scores) >= 0.9


@pytest.mark.parametrize("name", ["gbm-pooled", "ours", "paper", "lstm"])
def test_the_same_seed_gives_the_same_scores(name: str, task: Task) -> None:
    torch.set_num_threads(1)
    one, two = (method(name).fit(task, seed=2).score(TEST) for _ in range(2))
    assert np.allclose(one, two, atol=1e-5)


def test_labels_without_meaning_teach_nothing(task: Task) -> None:
    import dataclasses

    draw = np.random.default_rng(0)
    shuffled = tuple(
        dataclasses.replace(b, severity=np.full(STEPS, 3 * int(draw.integers(2)), np.int8))
        for b in task.train
    )
    none = dataclasses.replace(task, train=shuffled)
    values = [auc(TRUTH, method("gbm-pooled").fit(none, seed=s).score(TEST)) for s in range(4)]
    assert 0.2 < np.mean(values) < 0.8


def test_what_a_task_lacks_is_said(task: Task) -> None:
    import dataclasses

    unlabelled = dataclasses.replace(task, train=tuple(b for b in task.train if not b.level))
    for name in ("gbm-source", "paper", "source-only", "minirocket"):
        with pytest.raises(NotApplicable, match="class"):
            method(name).fit(unlabelled, seed=1)
    # Nobody labelled a defect: ours falls back to the head that needs no label.
    assert auc(TRUTH, method("ours").fit(unlabelled, seed=1).score(TEST)) >= 0.9


def test_a_missing_library_takes_away_one_row(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises((NotApplicable, ImportError)):
        method("gbm-source").fit(task, seed=1)
    assert method("pca").fit(task, seed=1).score(TEST).shape == (30,)


def test_the_papers_pictures_networks_take_small_pictures() -> None:
    from export.methods.baselines import Picture

    for kind in ("resnet50", "efficientnet-b0"):
        with torch.no_grad():
            assert Picture(kind).eval()(torch.zeros(2, 6, TAGS)).shape == (2, 1)
