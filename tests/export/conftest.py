"""A small invented line: five tags, two domains, a fault that moves two of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from edge.core.features import batch_features
from export.data.dataset import Batch, Dataset, LineSpec, Split
from export.deliver.pack import make_bundle, save_trained
from export.learn.recipe import NetworkSizes, Recipe, Training, load_recipe
from export.learn.train import Trained, train
from export.model.reference import ReferenceSettings

STEPS, ROWS = 90, 5
SPEC = LineSpec(
    name="toy",
    tags=(("F", "kg/h"), ("P", "bar"), ("T", "C"), ("L", "%"), ("S", "rpm")),
    components=("C01", "C01", "C02", "C03", "C01"),
    spans=(100.0, 5.0, 100.0, 100.0, 300.0),
    row_s=1.0,
    step_rows=ROWS,
    schedule_steps=tuple([1] * 30 + [2] * 60),
)


def toy_batch(seed: int, domain: str, split: Split, level: int) -> Batch:
    draw = np.random.default_rng(seed)
    rows = STEPS * ROWS
    level_F = np.where(np.arange(rows) < 30 * ROWS, 40.0, 30.0) * (1 + draw.normal(0, 0.01))
    shift = 2.0 if domain == "target" else 0.0
    x = np.stack([
        level_F, 0.05 * level_F + 0.2 * shift, np.full(rows, 48.0 + shift),
        np.linspace(20, 80, rows), 5 * level_F,
    ], axis=1)  # fmt: skip
    x += draw.normal(0, [0.3, 0.02, 0.1, 0.3, 0.5], x.shape)
    x[:, 1] -= 0.08 * level
    x[:, 4] -= 2.0 * level
    features, valid = batch_features(x.reshape(STEPS, ROWS, -1).astype(np.float32))
    return Batch(
        features=features, valid=valid, severity=np.full(STEPS, level, np.int8), domain=domain,
        split=split, group=f"seed {seed}", fault="F" if level else "",
        component="C01" if level else "",
    )  # fmt: skip


@pytest.fixture(scope="session")
def toy() -> Dataset:
    """24 training, 12 calibration, 8 test batches."""
    batches = []
    seed = 0
    for domain, split, count in (
        ("source", "train", 12), ("target", "train", 12), ("target", "calibrate", 12),
        ("target", "test", 8),
    ):  # fmt: skip
        for n in range(count):
            seed += 1
            batches.append(toy_batch(seed, domain, split, 0 if n % 2 else 1 + n // 2 % 3))
    return Dataset(line=SPEC, batches=tuple(batches), simulated=True, source="toy", sha256="0" * 64)


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    return dataclasses.replace(
        load_recipe("ours"),
        network=NetworkSizes(
            channels=6,
            dilations=(1, 2),
            gru_in=6,
            gru=6,
            pool_steps=4.0,
            deviation_steps=5.0,
            slow_steps=10.0,
            swing_steps=15.0,
            anchor_first=3,
            anchor_last=15,
        ),
        reference=ReferenceSettings(slot_steps=3),
        training=Training(iterations=60, crop_steps=30, crops=3),
    )


@pytest.fixture(scope="session")
def trained(toy: Dataset, recipe: Recipe) -> Trained:
    torch.set_num_threads(1)
    return train(toy, recipe, quiet=True)


@pytest.fixture(scope="session")
def folder(trained: Trained, toy: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output of train, graph exported beside it by the first bundle."""
    path = tmp_path_factory.mktemp("trained")
    save_trained(trained, toy, path)
    return path


@pytest.fixture(scope="session")
def bundle_dir(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle")
    make_bundle(folder, path, serial=5)
    return path
