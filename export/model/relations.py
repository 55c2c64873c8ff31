"""Relations and spreads of the evidence, learnt from normal operation (see evidence.py).

Shape legend: M samples, P tags, Q quantities.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from export.data.dataset import Batch
from export.learn.recipe import Recipe
from export.model.network import Network
from export.model.reference import ONE_SIGMA

FloatArray = npt.NDArray[np.float32]
Reference = tuple[FloatArray, FloatArray]

BLOCK_ROWS = 4096
"""Samples measured at once."""
SAMPLE_STEPS = 15
"""Model steps between two samples: the averages hardly move in between."""


@torch.no_grad()
def fit_evidence(
    network: Network,
    batches: Sequence[Batch],
    references: dict[str, Reference],
    recipe: Recipe,
) -> int:
    """Fit relations, centres and spreads on the least extreme normal `batches`; their number."""
    evidence, P = network.evidence, network.config.tags
    samples = [_samples(network, b, references, recipe) for b in batches]
    few = max(3, round(recipe.ordinary_share * len(samples)))
    order = np.argsort(_extremes([s[:, : 4 * P] for s in samples]), kind="stable")[:few]
    chosen = torch.cat([samples[int(i)] for i in sorted(order)])
    del samples
    level, slope, change = chosen[:, :P], chosen[:, 3 * P : 4 * P], chosen[:, 4 * P : 5 * P]
    evidence.relation.copy_(relation(level, recipe.relation_ridge))
    evidence.firm_relation.copy_(relation(level, recipe.firm_ridge))
    evidence.change_relation.copy_(relation(change, recipe.firm_ridge / 2.0))
    evidence.balance.copy_(relation(torch.cat([level, slope], dim=1), recipe.relation_ridge))
    _set_spreads(network, chosen)
    return few


@torch.no_grad()
def fit_spreads(
    network: Network,
    batches: Sequence[Batch],
    references: dict[str, Reference],
    recipe: Recipe,
) -> None:
    """Centres and spreads anew on the normals of another line; relations are the process's, kept.

    Few batches know little about a spread: what the source learnt is a floor of half its size.
    """
    before = network.evidence.spread.clone()
    samples = [_samples(network, b, references, recipe) for b in batches]
    _set_spreads(network, torch.cat(samples))
    network.evidence.spread.copy_(torch.maximum(network.evidence.spread, 0.5 * before))


def _set_spreads(network: Network, chosen: Tensor) -> None:
    evidence = network.evidence
    # Blocks of rows, then tag by tag: in float64, and sorted with indices, all at once takes ten
    # times what is kept.
    measured = torch.cat([
        evidence.measure(rows[None].double().to(network.device))[0].float().cpu()
        for rows in chosen.split(BLOCK_ROWS)
    ])  # fmt: skip
    centre = torch.stack([tag.median(dim=0).values for tag in measured.unbind(1)])
    evidence.centre.copy_(centre)
    measured.sub_(centre).abs_()
    spread = torch.stack([tag.quantile(ONE_SIGMA, dim=0) for tag in measured.unbind(1)])
    # A tag that never moves in normal operation would shout at its first move.
    floor = 0.1 * spread.median(dim=0).values
    evidence.spread.copy_(torch.maximum(spread, floor).clamp(min=1e-4))


def relation(x_MP: Tensor, ridge: float) -> Tensor:
    """[P, P] so that x @ it is what each column shows beyond the regression on all the others.

    Columns of the inverse of the regularised correlation, each divided by the root of its diagonal:
    the result has unit variance if the data is normal and the ridge zero. Few samples know few
    relations: the ridge grows by P / M, so that a recording of an hour does not invent them.
    """
    ridge = ridge + x_MP.shape[1] / max(1, len(x_MP))
    x = x_MP.double() - x_MP.double().mean(0)
    deviation = x.square().mean(0).sqrt().clamp(min=1e-3)
    x = (x / deviation).clamp(-6.0, 6.0)
    correlation = x.t() @ x / max(1, len(x) - 1)
    inverse = torch.linalg.inv(correlation + ridge * torch.eye(len(correlation)))
    return (inverse / torch.diag(inverse).sqrt() / deviation[:, None]).float()


def _samples(
    network: Network, batch: Batch, references: dict[str, Reference], recipe: Recipe
) -> Tensor:
    """[M, 11P] views of one batch from where its averages are filled."""
    z, mask = deviations(batch, references, recipe, network.device)
    zero = network.evidence.zero_states()
    views = network.evidence.views(z, mask, *zero)[0][0].float().cpu()
    first = min(int(network.config.slow_steps), len(views) // 2)
    return views[first::SAMPLE_STEPS] if len(views) > 2 * SAMPLE_STEPS else views[-1:]


def deviations(
    batch: Batch,
    references: dict[str, Reference],
    recipe: Recipe,
    device: torch.device | str = "cpu",
) -> tuple[Tensor, Tensor]:
    """([1, S, P, F] deviations in reference scales, masked; [1, S, P] mask), as the graph has."""
    from export.model.fit import tensors

    inputs = tensors(batch, references[batch.domain], recipe, device=device)
    block = {name: v[None] for name, v in inputs.items()}
    mask = (2.0 * block["valid"]).clamp(0.0, 1.0)
    z = (block["features"] - block["loc"]) / block["scale"]
    return z * mask.unsqueeze(-1), mask


def _extremes(samples: Sequence[Tensor]) -> npt.NDArray[np.float64]:
    """How far each batch is from the others: its ten largest mean deviations, robustly scaled."""
    means = np.stack([s.mean(0).numpy() for s in samples]).astype(np.float64)
    middle = np.median(means, axis=0)
    spread = np.quantile(np.abs(means - middle), ONE_SIGMA, axis=0) + 1e-6
    ranked: npt.NDArray[np.float64] = np.sort(np.abs(means - middle) / spread, axis=1)
    return ranked[:, -10:].mean(axis=1)
