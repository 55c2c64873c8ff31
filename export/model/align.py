"""Pulling source and target features together: five known losses behind one module.

mmd        E k(s, s') + E k(t, t') - 2 E k(s, t), k a sum of Gaussians whose bandwidths are
           multiples of the mean squared distance (as in deep adaptation networks).
class-mmd  the same for normal and defective samples apart: aligning all of them drags the classes
           onto one another when their mix differs.
coral      distance of the covariances (deep CORAL), in units of the features' own spread.
dann       a critic tells the domains apart, the features learn to mislead it (domain-adversarial
           training with a reversed gradient).
cdan       the critic also sees what the classifier thinks of the sample (conditional adversarial).

Which of them helps is a question to measurements; the model card has the answer.
Shape legend: B samples, D pooled features.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
CRITIC_WIDTH = 32


def mmd(source_BD: Tensor, target_BD: Tensor) -> Tensor:
    """Biased estimate of MMD^2, >= 0, scalar."""
    every = torch.cat([source_BD, target_BD])
    distance = torch.cdist(every, every).square()
    scale = distance.detach().mean().clamp(min=1e-9)
    kernel = torch.stack([torch.exp(-distance / (scale * b)) for b in BANDWIDTHS]).mean(0)
    n = len(source_BD)
    return kernel[:n, :n].mean() + kernel[n:, n:].mean() - 2.0 * kernel[:n, n:].mean()


def class_mmd(source_BD: Tensor, source_y: Tensor, target_BD: Tensor, target_y: Tensor) -> Tensor:
    """Mean MMD^2 over the classes that both sides hold; zero if they share none."""
    total = source_BD.sum() * 0.0
    shared = [c for c in (0, 1) if (source_y == c).sum() > 1 and (target_y == c).sum() > 1]
    for c in shared:
        total = total + mmd(source_BD[source_y == c], target_BD[target_y == c])
    return total / max(1, len(shared))


def coral(source_BD: Tensor, target_BD: Tensor) -> Tensor:
    """Mean squared difference of mean and covariance, features scaled by their joint spread."""
    spread = torch.cat([source_BD, target_BD]).detach().std(0).clamp(min=1e-6)
    means, covariances = [], []
    for side in (source_BD / spread, target_BD / spread):
        means.append(side.mean(0))
        centred = side - means[-1]
        covariances.append(centred.t() @ centred / max(1, len(side) - 1))
    return (means[0] - means[1]).square().mean() + (covariances[0] - covariances[1]).square().mean()


class _Reverse(torch.autograd.Function):
    """Identity forwards, minus the gradient backwards."""

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        return -gradient


class Alignment(nn.Module):
    """One of ALIGNMENTS on the pooled features of a mini-batch.

    It has parameters only where it has a critic, and is zero, with a gradient, where one side is
    missing.
    """

    def __init__(self, kind: str, width: int) -> None:
        """`kind` is one of ALIGNMENTS, `width` is D."""
        super().__init__()
        self.kind = kind
        self.critic: nn.Module | None = None
        if kind in ("dann", "cdan"):
            seen = 2 * width if kind == "cdan" else width
            self.critic = nn.Sequential(
                nn.Linear(seen, CRITIC_WIDTH), nn.ReLU(), nn.Linear(CRITIC_WIDTH, 1)
            )

    def forward(
        self, pooled_BD: Tensor, bad_B: Tensor, logit_B: Tensor, source_B: Tensor
    ) -> Tensor:
        """Scalar loss.

        Args:
            pooled_BD: features.
            bad_B: bool, labelled as defective.
            logit_B: what the classifier says; used by `cdan`.
            source_B: bool, of a source domain.
        """
        if self.critic is not None:
            return self._adversarial(pooled_BD, logit_B, source_B)
        source, target = pooled_BD[source_B], pooled_BD[~source_B]
        if self.kind == "none" or min(len(source), len(target)) < 2:
            return pooled_BD.sum() * 0.0
        if self.kind == "class-mmd":
            y = bad_B.long()
            return class_mmd(source, y[source_B], target, y[~source_B])
        return {"mmd": mmd, "coral": coral}[self.kind](source, target)

    def _adversarial(self, pooled_BD: Tensor, logit_B: Tensor, source_B: Tensor) -> Tensor:
        assert self.critic is not None
        seen = _Reverse.apply(pooled_BD)
        if self.kind == "cdan":
            p = torch.sigmoid(logit_B.detach()).unsqueeze(-1)
            seen = torch.cat([p * seen, (1.0 - p) * seen], dim=-1)
        said = self.critic(seen).squeeze(-1)
        # Both domains count alike, however many samples each has.
        each = nn.functional.binary_cross_entropy_with_logits(
            said, source_B.float(), reduction="none"
        )
        sides = [each[side].mean() for side in (source_B, ~source_B) if bool(side.any())]
        return torch.stack(sides).mean() if len(sides) == 2 else each.sum() * 0.0


ALIGNMENTS = ("none", "mmd", "class-mmd", "coral", "dann", "cdan")
