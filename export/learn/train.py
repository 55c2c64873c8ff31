"""Train the streaming network on a dataset: references, deviation head, classifier, calibration.

Shape legend: B crops, N model steps, P tags.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from export.data.dataset import Batch, Dataset
from export.faults import ExportError
from export.learn.recipe import Recipe
from export.model.align import class_mmd
from export.model.fit import (
    DriftFit,
    Reference,
    Thresholds,
    fit_deviation,
    fit_fusion,
    fit_references,
    fit_thresholds,
    normals,
    tensors,
)
from export.model.network import OUTPUTS, Network, NetworkConfig

CLASSIFIER, SEVERITY, CAM, POOLED = (
    OUTPUTS.index(name) for name in ("classifier", "severity", "cam", "pooled")
)
WARM_CROP = 20
"""Steps of a crop without loss: the states start at zero."""


class TrainingError(ExportError):
    """The dataset cannot train this recipe; the text says what is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A trained model, before packing."""

    network: Network
    references: dict[str, Reference]
    thresholds: Thresholds
    drift: DriftFit
    recipe: Recipe
    notes: dict[str, Any]


def train(dataset: Dataset, recipe: Recipe, quiet: bool = False) -> Trained:
    """Train on splits "train" and "calibrate"; "test" is never looked at.

    Raises:
        TrainingError: a domain has no normal training batch, or there is nothing to learn from.
    """
    torch.manual_seed(recipe.seed)
    torch.use_deterministic_algorithms(True)
    draw = np.random.default_rng(recipe.seed)
    sizes = recipe.network
    tags = len(dataset.line.tags)
    network = Network(
        NetworkConfig(
            tags=tags,
            channels=sizes.channels,
            dilations=sizes.dilations,
            gru_in=sizes.gru_in,
            gru=sizes.gru,
            pool_steps=sizes.pool_steps,
            deviation_steps=sizes.deviation_steps,
            fast_steps=sizes.fast_steps,
            clamp=sizes.clamp,
            top_k=min(sizes.top_k, tags),
        )
    )
    try:
        references = fit_references(dataset, recipe)
    except ValueError as error:
        raise TrainingError(str(error)) from error
    domains = list(references)
    fitting = [b for d in domains for b in normals(dataset, d)]
    holding = [b for d in domains for b in normals(dataset, d, "calibrate")]
    fit_deviation(network, fitting, holding, references, recipe)
    history: list[float] = []
    defective = [b for b in dataset.select("train") if (b.severity > 0).any()]
    if recipe.training.iterations > 0 and defective:
        history = _fit_classifier(network, dataset, references, recipe, draw, quiet)
    network.eval()
    held = dataset.select("calibrate")
    fusing = held if held else dataset.select("train")
    how = fit_fusion(network, fusing if history else fitting, references, recipe)
    target = [b for b in held if b.domain == recipe.target_domain]
    judged = target or held or fitting
    thresholds, drift = fit_thresholds(network, judged, references, recipe)
    notes = {
        "parameters": network.parameter_count(),
        "final_loss": history[-1] if history else None,
        "fusion": how,
        "normal_batches": {d: len(normals(dataset, d)) for d in domains[:8]},
        "threshold_from_normals": sum(1 for b in judged if b.level == 0),
    }
    return Trained(
        network=network,
        references=references,
        thresholds=thresholds,
        drift=drift,
        recipe=recipe,
        notes=notes,
    )


def _fit_classifier(
    network: Network,
    dataset: Dataset,
    references: dict[str, Reference],
    recipe: Recipe,
    draw: np.random.Generator,
    quiet: bool,
) -> list[float]:
    settings = recipe.training
    network.train()
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    plan = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.learning_rate, total_steps=settings.iterations, pct_start=0.1
    )
    pools = _pools(dataset, recipe)
    history = []
    bar = tqdm(range(settings.iterations), desc="training", unit="step", disable=quiet or None)
    for _ in bar:
        block, severity, source = _minibatch(pools, references, recipe, draw)
        states = network.zero_states(len(severity))
        out = network(**block, states=states)
        loss = _loss(out, severity, settings.cam_sparsity)
        if settings.align == "class-mmd" and source.any() and (~source).any():
            last, y = out[POOLED][:, -1], (severity[:, -1] > 0).long()
            loss = loss + settings.align_weight * class_mmd(
                last[source], y[source], last[~source], y[~source]
            )
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        plan.step()
        history.append(float(loss.detach()))
        bar.set_postfix(loss=f"{np.mean(history[-20:]):.3f}")
    return history


def _loss(out: tuple[Tensor, ...], severity_BN: Tensor, sparsity: float) -> Tensor:
    use = severity_BN >= 0
    use[:, :WARM_CROP] = False
    label = (severity_BN > 0).float()
    cross = nn.functional.binary_cross_entropy_with_logits(out[CLASSIFIER], label, reduction="none")
    ordinal = torch.stack([(severity_BN >= k).float() for k in (1, 2, 3)], dim=-1)
    level = nn.functional.binary_cross_entropy(
        out[SEVERITY].clamp(1e-6, 1 - 1e-6), ordinal, reduction="none"
    ).mean(-1)
    count = use.sum().clamp(min=1)
    loss = ((cross + level) * use).sum() / count
    return loss + sparsity * out[CAM].abs().sum(-1).mean()


Pools = dict[tuple[bool, bool], list[Batch]]


def _pools(dataset: Dataset, recipe: Recipe) -> Pools:
    """Training batches by (of the target domain, defective)."""
    pools: Pools = {}
    for batch in dataset.select("train"):
        key = (batch.domain == recipe.target_domain, bool((batch.severity > 0).any()))
        pools.setdefault(key, []).append(batch)
    return pools


def _minibatch(
    pools: Pools, references: dict[str, Reference], recipe: Recipe, draw: np.random.Generator
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Random crops, half defective, of one common length; (inputs, severity [B,N], is source)."""
    settings = recipe.training
    chosen = []
    for place in range(settings.batch):
        defective = place % 2 == 1
        target = bool(draw.random() < settings.target_share)
        pool = pools.get((target, defective)) or pools.get((not target, defective))
        if not pool:
            pool = next(p for p in pools.values() if p)
        chosen.append(pool[int(draw.integers(len(pool)))])
    length = min(settings.crop_steps, *(len(b.features) for b in chosen))
    blocks: list[dict[str, Tensor]] = []
    labels = []
    for batch in chosen:
        first = int(draw.integers(len(batch.features) - length + 1))
        part = slice(first, first + length)
        block = tensors(batch, references[batch.domain], recipe, part)
        block["valid"] = block["valid"].clone()
        _hide(block["valid"], settings.mask_tag, settings.gap, draw)
        blocks.append(block)
        labels.append(torch.from_numpy(batch.severity[part].astype(np.int64)))
    joined = {name: torch.stack([b[name] for b in blocks]) for name in blocks[0]}
    source = torch.tensor([b.domain != recipe.target_domain for b in chosen])
    return joined, torch.stack(labels), source


def _hide(valid_NP: Tensor, mask_tag: float, gap: float, draw: np.random.Generator) -> None:
    """Take tags away for a stretch, and all of them for a while, as a plant does."""
    steps, tags = valid_NP.shape
    for tag in np.flatnonzero(draw.random(tags) < mask_tag):
        first = int(draw.integers(steps))
        valid_NP[first : first + int(draw.integers(5, steps + 1)), int(tag)] = 0.0
    if draw.random() < gap:
        first = int(draw.integers(steps))
        valid_NP[first : first + int(draw.integers(2, 30))] = 0.0
