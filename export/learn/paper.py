"""The published recipe as a baseline (Seo et al. 2025, sections 2.3 and 4.6, Fig. 4).

Two models, each an image extractor (convolutions over the tag x time picture), a time-series
extractor (GRU) and a classifier; model 1 for the source, model 2 for the target. Phase 1 minimises
L_cls1, phase 2 L_cls2, phases 3 and 4 the domain loss between the features of both together with
the classification losses, until their sum falls below a threshold. Model 2 predicts.

It reads a whole batch at once and scales by source statistics, so it cannot run minute by minute:
it is trained and judged here, and never packed.

Shape legend: B batches, T columns of time, P tags, D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from export.data.dataset import Batch, Dataset
from export.judge.evaluate import auc
from export.learn.recipe import Recipe
from export.model.align import mmd


@dataclass(frozen=True, slots=True)
class PaperResult:
    """Weights of both models and what they reached."""

    weights: dict[str, Any]
    figures: dict[str, Any]


class Extractors(nn.Module):
    """Image and time-series extractor of one domain, features concatenated."""

    def __init__(self, tags: int, width: int = 16, hidden: int = 32) -> None:
        super().__init__()
        self.image = nn.Sequential(
            nn.Conv2d(1, width, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1),
            nn.ReLU(),
        )
        self.series = nn.GRU(tags, hidden, batch_first=True)
        self.size = 2 * width + hidden

    def forward(self, x_BTP: Tensor) -> Tensor:
        """Features [B, D]."""
        image = self.image(x_BTP.transpose(1, 2).unsqueeze(1)).mean(dim=(2, 3))
        _, last = self.series(x_BTP)
        return torch.cat([image, last[0]], dim=1)


class Model(nn.Module):
    """Extractors and classifier of one domain."""

    def __init__(self, tags: int) -> None:
        super().__init__()
        self.extractors = Extractors(tags)
        self.classifier = nn.Linear(self.extractors.size, 1)

    def forward(self, x_BTP: Tensor) -> tuple[Tensor, Tensor]:
        """(features [B, D], logit [B])."""
        features = self.extractors(x_BTP)
        return features, self.classifier(features).squeeze(1)


def domain_loss(source_BD: Tensor, target_BD: Tensor, kind: str) -> Tensor:
    """Section 2.3: maximum mean discrepancy; section 4.6: mean squared error of paired rows."""
    if kind == "mse":
        n = min(len(source_BD), len(target_BD))
        return (source_BD[:n] - target_BD[:n]).square().mean()
    return mmd(source_BD, target_BD)


@dataclass(frozen=True, slots=True)
class Fitted:
    """Both models after the four phases; model 2 predicts."""

    one: Model
    two: Model
    scale: tuple[np.ndarray, np.ndarray]
    pool: int
    notes: dict[str, Any]
    """Iterations and last losses of each phase."""
    history: list[dict[str, float]]
    """Per iteration: phase and its losses."""

    @torch.no_grad()
    def logit(self, samples: Sequence[Batch]) -> np.ndarray:
        """float[n] of model 2."""
        self.two.eval()
        device = self.two.classifier.weight.device
        parts = [
            self.two(pictures(samples[k : k + 64], *self.scale, self.pool).to(device))[1].cpu()
            for k in range(0, len(samples), 64)
        ]
        return np.concatenate(parts)


def fit_models(
    source: Sequence[Batch],
    target: Sequence[Batch],
    recipe: Recipe,
    quiet: bool = False,
    device: torch.device | str = "cpu",
) -> Fitted:
    """The four phases on labelled samples of equal length of both domains.

    Raises ValueError if a domain lacks one of the classes.
    """
    settings = recipe.paper
    torch.manual_seed(recipe.seed)
    draw = np.random.default_rng(recipe.seed)
    for name, some in (("source", source), ("target", target)):
        if not any(b.level for b in some) or all(b.level for b in some):
            raise ValueError(f"the paper's recipe needs both classes in the {name} domain")
    scale = global_scale(source)
    # At least 36 columns of time, however short the sample.
    pool = max(1, min(settings.pool, min(len(b.severity) for b in (*source, *target)) // 36))
    xs, ys = pictures(source, *scale, pool).to(device), labels_of(source).to(device)
    xt, yt = pictures(target, *scale, pool).to(device), labels_of(target).to(device)
    one, two = Model(xs.shape[2]).to(device), Model(xs.shape[2]).to(device)
    notes: dict[str, Any] = {}
    history: list[dict[str, float]] = []
    with tqdm(total=4 * settings.iterations, desc="paper", disable=quiet or None) as bar:
        notes["phase1"] = _classify(one, xs, ys, recipe, draw, bar, history, 1)
        notes["phase2"] = _classify(two, xt, yt, recipe, draw, bar, history, 2)
        for phase in (3, 4):
            data = (xs, ys, xt, yt)
            notes[f"phase{phase}"] = _align(one, two, data, recipe, draw, bar, history, phase)
    return Fitted(one, two, scale, pool, notes, history)


def train(
    dataset: Dataset, recipe: Recipe, quiet: bool = False, device: torch.device | str = "cpu"
) -> PaperResult:
    """The four phases; figures on the calibration and test batches of the target domain.

    Raises ValueError if a domain lacks one of the classes.
    """
    source = [b for b in dataset.select("train") if b.domain == recipe.source_domain]
    target = [b for b in dataset.select("train") if b.domain == recipe.target_domain]
    fitted = fit_models(source, target, recipe, quiet, device)
    figures: dict[str, Any] = {
        "recipe": recipe.name,
        "simulated": dataset.simulated,
        "domain_loss": recipe.paper.domain_loss,
        "phases": fitted.notes,
    }
    for split in ("calibrate", "test"):
        judged = [b for b in dataset.select(split) if b.domain == recipe.target_domain]
        if judged:
            logit, label = fitted.logit(judged), labels_of(judged).numpy() > 0
            said = logit > 0
            figures[split] = {
                "batches": len(judged),
                "auc": round(auc(label, logit), 4),
                "accuracy_at_half": round(float((said == label).mean()), 4),
                "false_alarm_rate": round(float(said[~label].mean()), 4),
            }
    weights = {
        "model1": fitted.one.cpu().state_dict(),
        "model2": fitted.two.cpu().state_dict(),
    }
    return PaperResult(weights, figures)


def _classify(
    model: Model,
    x: Tensor,
    y: Tensor,
    recipe: Recipe,
    draw: np.random.Generator,
    bar: Any,
    history: list[dict[str, float]],
    phase: int,
) -> dict[str, float]:
    settings = recipe.paper
    optimiser = torch.optim.Adam(
        model.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
    )
    best, waited, loss, used = float("inf"), 0, torch.zeros(()), 0
    for done in range(1, settings.iterations + 1):
        rows = _rows(len(x), settings.batch, draw)
        loss = nn.functional.binary_cross_entropy_with_logits(model(x[rows])[1], y[rows])
        used = done
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        bar.update()
        history.append({"phase": phase, "classification": float(loss.detach())})
        waited = 0 if float(loss.detach()) < best - 1e-4 else waited + 1
        best = min(best, float(loss.detach()))
        if waited >= settings.patience:
            break
    return {"iterations": used, "loss": round(float(loss.detach()), 4)}


def _align(
    one: Model,
    two: Model,
    data: tuple[Tensor, Tensor, Tensor, Tensor],
    recipe: Recipe,
    draw: np.random.Generator,
    bar: Any,
    history: list[dict[str, float]],
    phase: int,
) -> dict[str, float]:
    """Phase 3 moves the image extractor, phase 4 the time-series extractor of model 2."""
    settings = recipe.paper
    xs, ys, xt, yt = data
    part = two.extractors.image if phase == 3 else two.extractors.series
    parameters = [*part.parameters(), *two.classifier.parameters()]
    optimiser = torch.optim.Adam(
        parameters, settings.learning_rate, weight_decay=settings.weight_decay
    )
    entropy = nn.functional.binary_cross_entropy_with_logits
    total = distance = torch.zeros(())
    used = 0
    for done in range(1, settings.iterations + 1):
        used = done
        rs, rt = _rows(len(xs), settings.batch, draw), _rows(len(xt), settings.batch, draw)
        with torch.no_grad():
            features1, logit1 = one(xs[rs])
        features2, logit2 = two(xt[rt])
        distance = domain_loss(features1, features2, settings.domain_loss)
        second = entropy(logit2, yt[rt])
        total = entropy(logit1, ys[rs]) + second + distance
        optimiser.zero_grad()
        (second + distance).backward()
        optimiser.step()
        bar.update()
        history.append(
            {
                "phase": phase,
                "classification": float(second.detach()),
                "domain": float(distance.detach()),
            }
        )
        if float(total.detach()) < settings.stop_loss:
            break
    return {
        "iterations": used,
        "loss": round(float(total.detach()), 4),
        "domain_loss": round(float(distance.detach()), 5),
    }


def _rows(count: int, batch: int, draw: np.random.Generator) -> Tensor:
    return torch.from_numpy(draw.permutation(count)[: min(batch, count)])


def global_scale(batches: Sequence[Batch]) -> tuple[np.ndarray, np.ndarray]:
    """(mean, standard deviation) of each tag over the source, as the paper scales."""
    means = np.concatenate([b.features[..., 0] for b in batches])
    return means.mean(axis=0), np.maximum(means.std(axis=0), 1e-3)


def pictures(batches: Sequence[Batch], mean: np.ndarray, std: np.ndarray, pool: int) -> Tensor:
    """float32[B, T, P], pictures of equal length, `pool` model steps to a column."""
    length = min(len(b.features) for b in batches) // pool * pool
    x = np.stack([(b.features[-length:, :, 0] - mean) / std for b in batches])
    x = np.clip(x, -10, 10).reshape(len(batches), length // pool, pool, -1).mean(axis=2)
    return torch.from_numpy(x.astype(np.float32))


def labels_of(batches: Sequence[Batch]) -> Tensor:
    """float32[B], 1 defective."""
    return torch.tensor([float(b.level > 0) for b in batches])
