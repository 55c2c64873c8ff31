"""Alignment losses: each brings a shifted target back, and none breaks a mini-batch of one side."""

from __future__ import annotations

import pytest
import torch

from export.learn.recipe import RecipeError, load_recipe
from export.model.align import ALIGNMENTS, Alignment

ACTIVE = ALIGNMENTS[1:]


def two_sides() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(features [B, D] whose target side is moved by 1.5, defective [B], source [B])."""
    draw = torch.Generator().manual_seed(3)
    source = torch.arange(256) < 128
    bad = torch.arange(256) % 2 == 1
    x = torch.randn(256, 4, generator=draw) + 3.0 * bad[:, None] + 1.5 * (~source)[:, None]
    return x, bad, source


@pytest.mark.parametrize("kind", ACTIVE)
def test_an_alignment_takes_a_shift_out(kind: str) -> None:
    torch.manual_seed(1)
    x, bad, source = two_sides()
    alignment = Alignment(kind, 4)
    moved = torch.zeros(4, requires_grad=True)
    parts = [{"params": [moved], "lr": 0.05}]
    if alignment.critic is not None:
        parts.append({"params": list(alignment.parameters()), "lr": 0.05})
    optimiser = torch.optim.Adam(parts)
    path = []
    for _ in range(400):
        optimiser.zero_grad()
        there = x + moved * (~source)[:, None]
        alignment(there, bad, there.sum(-1) - 6.0, source).backward()
        optimiser.step()
        path.append(moved.detach().clone())
    # An adversary circles around its aim: the mean of the last half tells.
    assert torch.stack(path[200:]).mean(0) == pytest.approx(torch.full((4,), -1.5), abs=0.5)


@pytest.mark.parametrize("kind", ALIGNMENTS)
def test_one_side_alone_costs_nothing_but_has_a_gradient(kind: str) -> None:
    x, bad, _ = two_sides()
    x.requires_grad_(True)
    loss = Alignment(kind, 4)(x, bad, x.sum(-1), torch.ones(256, dtype=torch.bool))
    loss.backward()
    assert loss.detach().item() == 0.0
    assert x.grad is not None
    assert not x.grad.any()


def test_an_unknown_alignment_is_refused(tmp_path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('kind = "ours"\n[training]\nalign = "magic"\n')
    with pytest.raises(RecipeError, match="'magic': permitted are 'none', 'mmd'"):
        load_recipe(str(file))
