"""Maximum mean discrepancy between two sets of features, and its class-conditional form.

MMD^2 = E k(s, s') + E k(t, t') - 2 E k(s, t), k a sum of Gaussians whose bandwidths are multiples
of the mean squared distance (as in transfer-learning practice, e.g. deep adaptation networks).
"""

from __future__ import annotations

import torch
from torch import Tensor

BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)


def mmd(source_BD: Tensor, target_BD: Tensor) -> Tensor:
    """Biased estimate of MMD^2, >= 0, scalar."""
    every = torch.cat([source_BD, target_BD])
    distance = torch.cdist(every, every).square()
    scale = distance.detach().mean().clamp(min=1e-9)
    kernel = torch.stack([torch.exp(-distance / (scale * b)) for b in BANDWIDTHS]).mean(0)
    n = len(source_BD)
    return kernel[:n, :n].mean() + kernel[n:, n:].mean() - 2.0 * kernel[:n, n:].mean()


def class_mmd(source_BD: Tensor, source_y: Tensor, target_BD: Tensor, target_y: Tensor) -> Tensor:
    """Mean MMD^2 over the classes that both sides hold; zero if they share none.

    Marginal alignment drags classes onto one another when their mix differs; this does not.
    """
    total = source_BD.sum() * 0.0
    shared = [c for c in (0, 1) if (source_y == c).sum() > 1 and (target_y == c).sum() > 1]
    for c in shared:
        total = total + mmd(source_BD[source_y == c], target_BD[target_y == c])
    return total / max(1, len(shared))
