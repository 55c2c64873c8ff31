"""The paper's baselines on its picture of parameter and time: LSTM, ResNet-50, EfficientNet-B0.

Single models without adaptation, trained on the source and scaled by it, and their ensemble (mean
of the logits), as in section 4.6. ResNet-50 and EfficientNet-B0 are MONAI's, with one input channel
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

LEARNING_RATE, WEIGHT_DECAY = 1e-3, 1e-4
PATIENCE = 15
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
        out: Tensor = self.net(x_nTP.transpose(1, 2).unsqueeze(1))
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
        """Adam, binary cross-entropy, at most `iterations`, early stop on the training loss."""
        samples = learnt(task, "source")
        torch.manual_seed(seed)
        draw = np.random.default_rng(seed)
        scale = global_scale(samples)
        pool = max(1, min(len(s.severity) for s in samples) // self.columns)
        x, y = pictures(samples, *scale, pool), labels_of(samples)
        net = Lstm(x.shape[2]) if self.kind == "lstm" else Picture(self.kind)
        optimiser = torch.optim.Adam(net.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        history: list[dict[str, float]] = []
        best, waited = float("inf"), 0
        for _ in range(self.iterations):
            rows = torch.from_numpy(draw.permutation(len(x))[: self.batch])
            loss = nn.functional.binary_cross_entropy_with_logits(net(x[rows])[:, 0], y[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            history.append({"phase": 1, "classification": float(loss.detach())})
            waited = 0 if history[-1]["classification"] < best - 1e-4 else waited + 1
            best = min(best, history[-1]["classification"])
            if waited >= PATIENCE:
                break
        return _Net(net.eval(), scale, pool, history)


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
    """Mean of the logits of the three."""

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
        """Mean logit."""
        return np.mean([m.score(samples) for m in self.members], axis=0).astype(np.float32)
