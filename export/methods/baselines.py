"""The paper's baselines on its picture of parameter and time: LSTM, ResNet-50, EfficientNet-B0.

Single models without adaptation, trained on the source and scaled by it, and their ensemble, as in
section 4.6. ResNet-50 and EfficientNet-B0 are MONAI's, with one input channel
and no pre-trained weights. `columns` says how many columns of time the picture has: 64,800 rows
would take a processor days, and are a matter of this one number.

Shape legend: n samples, T columns of time, P tags.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from export.data.dataset import Batch, FloatArray
from export.judge.task import Scorer, Task
from export.learn.paper import global_scale, labels_of, pictures
from export.methods.samples import learnt

LEARNING_RATE, WEIGHT_DECAY = 1e-3, 1e-4  # of the paper
SMALLEST = 64
"""A picture smaller than this on a side is stretched: the networks halve it five times."""
NORM_PASSES = 3
"""Passes over training pictures that settle the normalisation layers before scoring: their running
averages take hundreds of steps, and a fit here has forty."""
CLASSES = ("lstm", "resnet50", "efficientnet-b0")


class Lstm(nn.Module):
    """Two layers over time, the last state to a logit."""

    def __init__(self, tags: int, hidden: int = 64) -> None:
        super().__init__()
        self.lstm = nn.LSTM(tags, hidden, num_layers=2, batch_first=True)
        self.out = nn.Linear(hidden, 1)

    def forward(self, x_nTP: Tensor) -> Tensor:
        """[n, 1]."""
        return self.out(self.lstm(x_nTP)[0][:, -1])


class Picture(nn.Module):
    """A picture classifier of MONAI on [n, 1, P, T]."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        from monai.networks.nets import EfficientNetBN, resnet50

        self.net = (
            resnet50(spatial_dims=2, n_input_channels=1, num_classes=1)
            if kind == "resnet50"
            else EfficientNetBN(
                "efficientnet-b0", spatial_dims=2, in_channels=1, num_classes=1, pretrained=False
            )
        )

    def forward(self, x_nTP: Tensor) -> Tensor:
        """[n, 1]."""
        x = x_nTP.transpose(1, 2).unsqueeze(1)
        size = (max(SMALLEST, x.shape[2]), max(SMALLEST, x.shape[3]))
        if size != tuple(x.shape[2:]):
            x = nn.functional.interpolate(x, size=size, mode="nearest")
        out: Tensor = self.net(x)
        return out


@dataclass
class Baseline:
    """One of CLASSES, trained on the source alone."""

    kind: str = "lstm"
    columns: int = 72
    iterations: int = 100
    batch: int = 256
    family: str = "baseline"

    @property
    def name(self) -> str:
        """Row label."""
        return {"lstm": "LSTM", "resnet50": "ResNet-50", "efficientnet-b0": "EfficientNet-B0"}[
            self.kind
        ]

    def fit(self, task: Task, seed: int) -> Scorer:
        """Adam, binary cross-entropy, `iterations` steps, gradients clipped."""
        samples = learnt(task, "source")
        torch.manual_seed(seed)
        draw = np.random.default_rng(seed)
        scale = global_scale(samples)
        pool = max(1, min(len(s.severity) for s in samples) // self.columns)
        x, y = pictures(samples, *scale, pool), labels_of(samples)
        net = Lstm(x.shape[2]) if self.kind == "lstm" else Picture(self.kind)
        optimiser = torch.optim.Adam(net.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        history: list[dict[str, float]] = []
        for _ in range(self.iterations):
            rows = torch.from_numpy(draw.permutation(len(x))[: self.batch])
            loss = nn.functional.binary_cross_entropy_with_logits(net(x[rows])[:, 0], y[rows])
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            history.append({"phase": 1, "classification": float(loss.detach())})
        _settle(net, x, self.batch, draw)
        return _Net(net.eval(), scale, pool, history)


@torch.no_grad()
def _settle(net: nn.Module, x: Tensor, batch: int, draw: np.random.Generator) -> None:
    """Running averages of the normalisation layers anew, over the training pictures."""
    layers = [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not layers:
        return
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain average over what follows
    net.train()
    for _ in range(NORM_PASSES):
        net(x[torch.from_numpy(draw.permutation(len(x))[: 4 * batch])])


@dataclass
class _Net:
    net: nn.Module
    scale: tuple[np.ndarray, np.ndarray]
    pool: int
    history: list[dict[str, float]] = field(default_factory=list)

    @torch.no_grad()
    def score(self, samples: Sequence[Batch]) -> FloatArray:
        """Logits."""
        parts = [
            self.net(pictures(samples[k : k + 32], *self.scale, self.pool))[:, 0].numpy()
            for k in range(0, len(samples), 32)
        ]
        return np.concatenate(parts)


@dataclass
class Ensemble:
    """Mean of the probabilities of the three: one loud network must not speak for all."""

    options: tuple[tuple[str, int, int], ...] = ()
    name: str = "ensemble of the three"
    family: str = "baseline"

    def fit(self, task: Task, seed: int) -> Scorer:
        """Train all three."""
        return _Mean(
            [Baseline(k, iterations=n, batch=b).fit(task, seed) for k, n, b in self.options]
        )


@dataclass
class _Mean:
    members: list[Any]

    def score(self, samples: Sequence[Batch]) -> FloatArray:
        """Logit of the mean probability."""
        logits = [np.clip(m.score(samples), -15.0, 15.0) for m in self.members]
        mean = np.mean([1.0 / (1.0 + np.exp(-v)) for v in logits], axis=0)
        return np.log(mean / (1.0 - mean)).astype(np.float32)
