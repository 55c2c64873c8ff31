"""Localisation and the check of CAM against integrated gradients, on the small invented line."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from edge.core.tags import Tag
from edge.core.topology import Component, Topology
from export.data.dataset import Dataset
from export.judge.explain import agreement, heat_map, localisation_table, locate
from export.learn.train import Trained


@pytest.fixture(scope="module")
def line(toy: Dataset) -> Any:
    tags = [
        Tag(name=n, text="", unit=u, low=0, high=100, component=c, part="pipe")
        for (n, u), c in zip(toy.line.tags, toy.line.components)
    ]
    parts = [Component(code=f"C0{k}", number=k, name=f"C0{k}", parts=("pipe",)) for k in (1, 2, 3)]
    return SimpleNamespace(
        tags=[SimpleNamespace(tag=tag) for tag in tags],
        topology=Topology(components=tuple(parts), edges=()),
        trim=None,
    )


def test_the_faulty_component_is_located_in_every_way(
    toy: Dataset, trained: Trained, line: Any
) -> None:
    torch.set_num_threads(1)
    batches = [b for b in toy.select("test") if b.level]
    found = locate(trained.network, batches, trained.references, trained.recipe, line, 0.5,
                   trained.notes["kinds"])  # fmt: skip
    assert len(found) >= 3
    assert np.mean([f.hits["shown"][0] for f in found]) >= 0.75
    assert all(f.hits["deviation"][1] >= f.hits["deviation"][0] for f in found)
    table = localisation_table(found)
    assert [row.split()[0] for row in table.splitlines()[1:4]] == ["severity"] * 3
    assert any(row.split()[1:3] == ["at", "D-1"] for row in table.splitlines()[4:])
    assert "deviation 3" in table
    figure: Any = heat_map(found[0], line, "F (simulated)")
    assert figure.axes[0].get_title() == "F (simulated)"


def test_normal_and_unflagged_batches_are_not_located(
    toy: Dataset, trained: Trained, line: Any
) -> None:
    found = locate(trained.network, toy.select("test"), trained.references, trained.recipe, line,
                   1.0 - 1e-12, trained.notes["kinds"])  # fmt: skip
    assert found == []


def test_cam_and_integrated_gradients_agree_on_what_matters(toy: Dataset, trained: Trained) -> None:
    pytest.importorskip("captum", reason="captum is in the extra `benchmark`")
    batch = next(b for b in toy.select("test") if b.level == 3)
    rho, top = agreement(trained.network, batch, trained.references, trained.recipe, 80)
    assert -1.0 <= rho <= 1.0
    assert top >= 2 / 3
    blind = dataclasses.replace(batch, valid=np.zeros_like(batch.valid))
    rho, _ = agreement(trained.network, blind, trained.references, trained.recipe, 80)
    assert np.isnan(rho) or abs(rho) <= 1.0
