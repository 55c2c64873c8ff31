"""Train the streaming network on a dataset: references, deviation head, classifier, calibration.

Shape legend: B crops, N model steps, P tags.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from export.data.dataset import Dataset
from export.data.ondisk import Shelf
from export.faults import ExportError
from export.learn import engine
from export.learn.crops import UNKNOWN, Crop, draw_crops, kinds_of, make_crops, pools_of, stack
from export.learn.device import autocast, repeatable
from export.learn.recipe import Recipe
from export.model.align import Alignment
from export.model.fit import (
    DriftFit,
    Reference,
    Thresholds,
    fit_deviation,
    fit_fusion,
    fit_references,
    fit_thresholds,
    normals,
)
from export.model.network import Network, NetworkConfig
from export.model.relations import fit_evidence

WARM_CROP = 10
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


def train(
    dataset: Dataset,
    recipe: Recipe,
    quiet: bool = False,
    checkpoint: Path | None = None,
    device: torch.device | str = "cpu",
) -> Trained:
    """Train on splits "train" and "calibrate"; "test" is never looked at.

    `checkpoint`: file to resume the gradient training from, and to keep it in meanwhile; of
    whichever device. The trained model is on the CPU.

    Raises:
        TrainingError: a domain has no normal training batch, or there is nothing to learn from.
    """
    torch.manual_seed(recipe.seed)
    repeatable(torch.device(device))
    sizes = recipe.network
    tags = len(dataset.line.tags)
    defective = [b for b in dataset.select("train") if (b.severity > 0).any()]
    kinds = kinds_of(dataset.line.components, defective)
    network = Network(
        NetworkConfig(
            tags=tags,
            kinds=len(kinds),
            **{**dataclasses.asdict(sizes), "top_k": min(sizes.top_k, tags)},
        )
    ).to(device)
    try:
        references = fit_references(dataset, recipe)
    except ValueError as error:
        raise TrainingError(str(error)) from error
    domains = list(references)
    fitting = [b for d in domains for b in normals(dataset, d)]
    holding = [b for d in domains for b in normals(dataset, d, "calibrate")]
    fit_deviation(network, fitting, holding, references, recipe)
    history: list[float] = []
    if recipe.training.iterations > 0 and defective:
        fit_evidence(network, [*fitting, *holding], references, recipe)
        some = dataset.select("train")
        with Shelf() as shelf:
            crops = make_crops(network, some, kinds, references, recipe, shelf, quiet)
            fingerprint = hashlib.sha256(
                json.dumps([recipe.to_dict(), dataset.sha256, len(crops)], sort_keys=True).encode()
            ).hexdigest()
            history = fit_classifier(network, crops, recipe, quiet, checkpoint, fingerprint)
    network.eval()
    held = dataset.select("calibrate")
    unseen = any(b.level for b in held)
    fusing = held if unseen else [*dataset.select("train"), *held]
    how = fit_fusion(network, fusing if history else fitting, references, recipe)
    if history and not unseen:
        how = how.replace("held-out batches", "batches that training has seen: too few failures")
    target = [b for b in held if b.domain == recipe.target_domain]
    judged = target or held
    if not any(b.level == 0 for b in judged):
        judged = fitting
    thresholds, drift = fit_thresholds(network, judged, references, recipe)
    notes = {
        "parameters": network.parameter_count(),
        "kinds": list(kinds),
        "final_loss": float(np.mean(history[-20:])) if history else None,
        "loss_history": [round(float(v), 4) for v in history[:: max(1, len(history) // 60)]],
        "fusion": how,
        "normal_batches": {d: len(normals(dataset, d)) for d in domains[:8]},
        "threshold_from_normals": sum(1 for b in judged if b.level == 0),
        "threshold_held_out": judged is not fitting,
    }
    return Trained(
        network=network.cpu(),
        references=references,
        thresholds=thresholds,
        drift=drift,
        recipe=recipe,
        notes=notes,
    )


def fit_classifier(
    network: Network,
    crops: list[Crop],
    recipe: Recipe,
    quiet: bool,
    checkpoint: Path | None = None,
    fingerprint: str = "",
) -> list[float]:
    """Gradient training of the trained part on crops; the loss of every step."""
    settings = recipe.training
    network.train()
    with torch.no_grad():
        # Severity is learnt here; only without labels does it follow the deviation head.
        network.severity_deviation.fill_(-20.0)
    pools = pools_of(crops)
    alignment = Alignment(settings.align, network.config.pooled).to(network.bias.device)
    return engine.fit(
        nn.ModuleList([network, alignment]),
        lambda step, part: _loss(
            network, alignment, draw_crops(pools, recipe, step), recipe, step, part
        ),
        engine.Schedule(
            iterations=settings.iterations,
            batch=settings.batch,
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            seed=recipe.seed,
        ),
        checkpoint=checkpoint,
        fingerprint=fingerprint,
        quiet=quiet,
    )


def _loss(
    network: Network,
    alignment: Alignment,
    crops: list[Crop],
    recipe: Recipe,
    step: int,
    part: slice = slice(None),
) -> Tensor:
    """Kind of defect, defect at all, ordinal severity, sparse cam; alignment if the recipe asks."""
    settings = recipe.training
    device = network.device
    x, mask, severity_BN = stack(crops, recipe, step, part, device)
    crops = crops[part]
    *states, pool = network.zero_states(len(crops))[: len(network.convs) + 2]
    # The heads add up in float64 whatever the trunk is computed in.
    with autocast(settings.precision, device):
        h, gru_out, g, _ = network.trunk(x, mask, states)
    scores, severity_logit, cam, pooled, _ = network.heads(h, gru_out, g, pool)
    use = severity_BN >= 0
    use[:, : min(WARM_CROP, use.shape[1] // 2)] = False
    bad = severity_BN > 0
    kind = torch.tensor([c.kind for c in crops], device=device)
    logit = torch.logsumexp(scores[..., 1:], dim=-1) - scores[..., 0]
    defect = nn.functional.binary_cross_entropy_with_logits(logit, bad.float(), reduction="none")
    wanted = torch.where(bad, kind[:, None].clamp(min=1), 0)
    named = nn.functional.cross_entropy(scores.transpose(1, 2), wanted, reduction="none")
    named = named * ~(bad & (kind == UNKNOWN)[:, None])
    gaps = torch.cumsum(nn.functional.softplus(network.severity_gaps), 0)
    steps = torch.stack([severity_logit, severity_logit - gaps[0], severity_logit - gaps[1]], -1)
    ordinal = torch.stack([(severity_BN >= k).float() for k in (1, 2, 3)], dim=-1)
    level = nn.functional.binary_cross_entropy_with_logits(steps, ordinal, reduction="none")
    loss = ((defect + named + level.mean(-1)) * use).sum() / use.sum().clamp(min=1)
    loss = loss + settings.cam_sparsity * cam.abs().sum(-1).mean()
    if settings.align != "none":
        source = torch.tensor([not c.of_target for c in crops], device=device)
        loss = loss + settings.align_weight * alignment(
            pooled[:, -1], bad[:, -1], logit[:, -1], source
        )
    return loss
