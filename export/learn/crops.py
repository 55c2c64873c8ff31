"""Crops of evidence: what the trained part of the network sees, computed once before training.

The evidence of a minute needs hours of history, and nothing in it is trained. So it is computed
over whole batches, and training draws short crops of it. They lie on a shelf (ondisk.py), and a
mini-batch reads its own: a few hundred kilobytes per batch of the dataset need no memory. Shape
legend: L steps of a crop, P tags, Q quantities, B crops.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from export.data.dataset import Batch
from export.data.ondisk import Shelf, Shelved
from export.learn.recipe import Recipe
from export.model.evidence import news
from export.model.fit import Reference
from export.model.network import Network
from export.model.relations import deviations

UNKNOWN = -1
"""Kind of a defect whose component nobody recorded."""


@dataclass(frozen=True, slots=True)
class Crop:
    """One stretch of one batch."""

    x: Shelved
    """float16[L, P, Q], evidence after the dead zone."""
    mask: Shelved
    """float16[L, P]."""
    severity: Tensor
    """int8[L]."""
    kind: int
    """1..K, or UNKNOWN; of the defective steps."""
    of_target: bool


def kinds_of(components: Sequence[str], batches: Sequence[Batch]) -> tuple[str, ...]:
    """Components that are at fault in the training data, in the order of the line's tags.

    One nameless kind if none is recorded.
    """
    found = {b.component for b in batches if b.level}
    return tuple(c for c in dict.fromkeys(components) if c in found) or ("",)


@torch.no_grad()
def make_crops(
    network: Network,
    batches: Sequence[Batch],
    kinds: Sequence[str],
    references: dict[str, Reference],
    recipe: Recipe,
    shelf: Shelf,
    quiet: bool = False,
) -> list[Crop]:
    """`training.crops` crops of every batch, at places drawn from the recipe's seed."""
    settings, crops = recipe.training, []
    for number, batch in enumerate(
        tqdm(batches, desc="evidence", unit="batch", disable=quiet or None)
    ):
        draw = np.random.default_rng([recipe.seed, 17, number])
        z, mask = deviations(batch, references, recipe, network.device)
        zero = network.evidence.zero_states()
        x = news(network.evidence(z, mask, *zero)[0][0], network.config.dead_zone).half().cpu()
        mask = mask[0].half().cpu()
        length = min(settings.crop_steps, len(x))
        earliest = min(int(settings.crop_from * len(x)), len(x) - length)
        places = draw.integers(earliest, len(x) - length + 1, size=settings.crops)
        if earliest == len(x) - length:
            places = places[:1]
        kind = kinds.index(batch.component) + 1 if batch.component in kinds else UNKNOWN
        for first in places:
            part = slice(int(first), int(first) + length)
            crops.append(
                Crop(
                    shelf.put(x[part].numpy()),
                    shelf.put(mask[part].numpy()),
                    torch.from_numpy(batch.severity[part].astype(np.int8)),
                    kind,
                    batch.domain == recipe.target_domain,
                )
            )
    return crops


Pools = dict[tuple[bool, bool], list[Crop]]


def pools_of(crops: Sequence[Crop]) -> Pools:
    """Crops by (of the target domain, defective)."""
    pools: Pools = {}
    for crop in crops:
        pools.setdefault((crop.of_target, bool((crop.severity > 0).any())), []).append(crop)
    return pools


def draw_crops(pools: Pools, recipe: Recipe, step: int) -> list[Crop]:
    """The mini-batch of one step: half defective, `target_share` from the target; by seed and step.

    A number of its own per step makes a resumed training draw what it would have drawn.
    """
    settings = recipe.training
    draw = np.random.default_rng([recipe.seed, 23, step])
    chosen = []
    for place in range(settings.batch):
        defective = place % 2 == 1
        target = bool(draw.random() < settings.target_share)
        pool = pools.get((target, defective)) or pools.get((not target, defective))
        if not pool:
            pool = next(p for p in pools.values() if p)
        chosen.append(pool[int(draw.integers(len(pool)))])
    return chosen


def stack(
    crops: Sequence[Crop],
    recipe: Recipe,
    step: int,
    part: slice = slice(None),
    device: torch.device | str = "cpu",
) -> tuple[Tensor, Tensor, Tensor]:
    """(x [B,L,P,Q], mask [B,L,P], severity [B,L]) of a share of the mini-batch `crops`.

    Of equal length, with tags hidden at random: both as in the whole mini-batch, but only the share
    is read.
    """
    length = min(len(c.x) for c in crops)
    draw = np.random.default_rng([recipe.seed, 29, step])
    hidden = draw.random((len(crops), 1, crops[0].x.shape[1])) < recipe.training.mask_tag
    crops = crops[part]
    x = torch.from_numpy(np.stack([c.x[:length] for c in crops])).to(device).float()
    mask = torch.from_numpy(np.stack([c.mask[:length] for c in crops])).to(device).float()
    severity = torch.stack([c.severity[:length] for c in crops]).to(device).long()
    keep = torch.from_numpy(~hidden[part]).to(device).float()
    return x * keep.unsqueeze(-1), mask * keep, severity
