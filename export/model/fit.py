"""References, the label-free deviation head, calibration: everything that is fitted, not trained.

Shape legend: B lines, N model steps, P tags, F features, D pooled features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edge.core import drift as core_drift
from export.data.dataset import Batch, Dataset
from export.learn.recipe import Recipe
from export.model.network import MEAN, OUTPUTS, Network
from export.model.reference import build_reference, halves, slots_of

FloatArray = npt.NDArray[np.float32]
Reference = tuple[FloatArray, FloatArray]
WARM_STEPS = 30
"""First steps of a batch that neither train nor calibrate: the averages are still filling."""


def fit_references(dataset: Dataset, recipe: Recipe) -> dict[str, Reference]:
    """One reference per domain, from its normal training batches.

    Raises ValueError for a domain without a normal training batch.
    """
    settings = recipe.reference
    spans = np.asarray(dataset.line.spans, np.float32)
    steps = dataset.line.schedule_steps or None
    domains = dict.fromkeys(batch.domain for batch in dataset.batches)
    normal = {name: normals(dataset, name) for name in domains}
    for name, batches in normal.items():
        if not batches:
            raise ValueError(f'domain "{name}" has no normal training batch to learn from')
    usual = None
    if settings.drift_factor > 0.0:
        spread = [halves(b.features, b.valid) for batches in normal.values() for b in batches]
        usual = np.median(spread, axis=0)
    out: dict[str, Reference] = {}
    source: FloatArray | None = None
    if recipe.source_domain:
        first = [recipe.source_domain] if recipe.source_domain in domains else []
    else:
        first = []
        # Many small domains: the floor is what they share, the typical scale of one of them.
        plain = [
            build_reference([b.features for b in bs], [b.valid for b in bs], spans, settings)[1]
            for bs in normal.values()
        ]
        source = np.median(plain, axis=0).astype(np.float32) if len(plain) > 1 else None
    for name in (*first, *(d for d in domains if d not in first)):
        batches = normal[name]
        out[name] = build_reference(
            [b.features for b in batches],
            [b.valid for b in batches],
            spans,
            settings,
            steps,
            source,
            usual,
        )
        if first and name == first[0]:
            source = out[name][1]
    return out


def normals(dataset: Dataset, domain: str, split: str = "train") -> list[Batch]:
    """Normal batches of a domain and split."""
    return [
        b
        for b in dataset.batches
        if b.domain == domain and b.split == split and b.level == 0 and (b.severity == 0).any()
    ]


def tensors(
    batch: Batch,
    reference: Reference,
    recipe: Recipe,
    part: slice = slice(None),
    device: torch.device | str = "cpu",
) -> dict[str, Tensor]:
    """The graph's four inputs for a part of one batch, without the B axis."""
    loc, scale = reference
    slots = slots_of(len(batch.features), batch.first_step, recipe.reference.slot_steps, len(loc))[
        part
    ]
    arrays = {
        "features": batch.features[part],
        "valid": batch.valid[part],
        "loc": loc[slots],
        "scale": scale[slots],
    }
    return {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}


def score(
    network: Network,
    batches: Sequence[Batch],
    references: dict[str, Reference],
    recipe: Recipe,
    keep: Sequence[str] = OUTPUTS,
) -> list[dict[str, FloatArray]]:
    """The outputs named in `keep` over whole batches (`score_one`): all take half a megabyte."""
    outs = (score_one(network, batch, references, recipe) for batch in batches)
    return [{name: out[name] for name in keep} for out in outs]


@torch.no_grad()
def score_one(
    network: Network, batch: Batch, references: dict[str, Reference], recipe: Recipe
) -> dict[str, FloatArray]:
    """Every output of the network over one batch, in blocks with the state carried on."""
    states = network.zero_states(1)
    parts: list[tuple[Tensor, ...]] = []
    for first in range(0, len(batch.features), 120):
        block = tensors(
            batch, references[batch.domain], recipe, slice(first, first + 120), network.device
        )
        out = network(**{k: v[None] for k, v in block.items()}, states=states)
        parts.append(out[: len(OUTPUTS)])
        states = list(out[len(OUTPUTS) :])
    return {
        name: torch.cat([p[i] for p in parts], dim=1)[0].cpu().numpy()
        for i, name in enumerate(OUTPUTS)
    }


@torch.no_grad()
def fit_deviation(
    network: Network,
    fitting: Sequence[Batch],
    holding: Sequence[Batch],
    references: dict[str, Reference],
    recipe: Recipe,
    keep_map: bool = False,
) -> None:
    """Fit the residual map on `fitting` and the normal spreads on `holding` (normal batches only).

    `keep_map`: the map stays as it is, only the spreads are fitted (a repaired or new line).

    The map comes from the regularised precision matrix of the tags' z-scores: row p holds the
    regression of tag p on all others. The spreads come from batches the map has not seen, or the
    residuals of new batches would all look too large.
    """
    P = network.config.tags
    network.residual_spread.fill_(1.0)
    network.smooth_spread.fill_(1.0)
    network.deviation_line.copy_(torch.tensor([1.0, 0.0]))
    if not keep_map:
        network.residual_map.copy_(_residual_map(network, fitting, references, recipe))
    held = list(holding) or list(fitting)
    residuals = torch.cat([_normalised(network, b, references, recipe)[2].cpu() for b in held])
    network.residual_spread.copy_(residuals.square().mean(0).sqrt().clamp(min=0.1))
    smooth = []
    for batch in held:
        normal, _, residual = _normalised(network, batch, references, recipe)
        zero = torch.zeros(1, 4 * P, device=network.device)
        smooth.append(network.smoothed(normal[None], residual[None], zero)[0][0].cpu())
    every = torch.cat(smooth)
    # Whole batches differ more than minutes do: the spread is taken where it is widest, in the
    # worst tenth of the batches rather than over all minutes alike.
    per_batch = torch.stack([part.square().mean(0).sqrt() for part in smooth])
    spread = torch.maximum(every.square().mean(0).sqrt(), per_batch.quantile(0.9, dim=0))
    network.smooth_spread.copy_(spread.clamp(min=0.05))
    outs = score(network, held, references, recipe, keep=("deviation_score",))
    # deviation_line is (1, 0) here, so the logit is the bare score.
    scores = [out["deviation_score"] for out in outs]
    every_score = np.concatenate([s[min(WARM_STEPS, len(s) // 2) :] for s in scores])
    middle, high = np.quantile(every_score, [0.5, 0.99])
    slope = 4.0 / max(float(high - middle), 0.1)
    network.deviation_line.copy_(torch.tensor([slope, float(high)]))


def _residual_map(
    network: Network,
    fitting: Sequence[Batch],
    references: dict[str, Reference],
    recipe: Recipe,
) -> Tensor:
    network.residual_map.zero_()
    # Written to its place at once: a list, its concatenation and its doubles take four times this.
    z = torch.empty(sum(len(b.severity) for b in fitting), network.config.tags, dtype=torch.double)
    for part, batch in zip(z.split([len(b.severity) for b in fitting]), fitting):
        part.copy_(_normalised(network, batch, references, recipe)[0][..., MEAN])
    z -= z.mean(0)
    covariance = z.t() @ z / max(1, len(z) - 1)
    ridge = recipe.ridge * torch.diag(covariance).clamp(min=0.1)
    precision = torch.linalg.inv(covariance + torch.diag(ridge))
    mapping = -precision / torch.diag(precision)[:, None]
    mapping.fill_diagonal_(0.0)
    return mapping.float()


def _normalised(
    network: Network, batch: Batch, references: dict[str, Reference], recipe: Recipe
) -> tuple[Tensor, Tensor, Tensor]:
    block = tensors(batch, references[batch.domain], recipe, device=network.device)
    z, mask, residual = network.normalise(*(v[None] for v in block.values()))
    return z[0], mask[0], residual[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Decision thresholds, as they go into the card."""

    threshold: float
    clear_threshold: float
    severity: tuple[float, float, float]
    drift_limit: float


def fit_fusion(
    network: Network,
    batches: Sequence[Batch],
    references: dict[str, Reference],
    recipe: Recipe,
) -> str:
    """Calibrate logit = a classifier + b deviation + c, a, b >= 0, on held-out batches.

    Without a defective batch among them, or none whose defect lasts beyond the first steps, nothing
    can be calibrated: the deviation head then speaks alone. Returns in words what was done.
    """
    defective = [b for b in batches if (b.severity[WARM_STEPS:] > 0).any()]
    if not defective:
        network.fuse.copy_(torch.tensor([0.0, 1.0, 0.0]))
        return "no labelled defect held out: deviation head alone"
    rows, labels, weights = [], [], []
    outs = score(network, batches, references, recipe, keep=("classifier", "deviation_score"))
    for batch, out in zip(batches, outs):
        use = (batch.severity >= 0) & (np.arange(len(batch.severity)) >= WARM_STEPS)
        if use.any():
            rows.append(np.stack([out["classifier"][use], out["deviation_score"][use]], axis=1))
            labels.append((batch.severity[use] > 0).astype(np.float64))
            weights.append(np.full(int(use.sum()), 1.0 / use.sum()))
    x = np.concatenate(rows).astype(np.float64)
    y, w = np.concatenate(labels), np.concatenate(weights)
    for value in (0.0, 1.0):
        w[y == value] *= 0.5 / max(float(w[y == value].sum()), 1e-9)
    fuse = _logistic(x, y, w)
    network.fuse.copy_(torch.tensor(fuse, dtype=torch.float32))
    return "logistic on held-out batches: " + ", ".join(f"{v:.3f}" for v in fuse)


def _logistic(x: np.ndarray, y: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Weighted logistic regression with non-negative slopes and a small ridge, by Newton steps."""
    active = [0, 1]
    while True:
        design = np.column_stack([x[:, active], np.ones(len(x))])
        beta = np.zeros(design.shape[1])
        penalty = np.full(len(beta), 1e-3)
        penalty[-1] = 1e-6
        for _ in range(50):
            p = 1.0 / (1.0 + np.exp(-np.clip(design @ beta, -40, 40)))
            gradient = design.T @ (w * (p - y)) + penalty * beta
            hessian = (design * (w * p * (1 - p))[:, None]).T @ design + np.diag(penalty + 1e-9)
            step = np.linalg.solve(hessian, gradient)
            beta -= np.clip(step, -5, 5)
            if np.abs(step).max() < 1e-8:
                break
        worst = [k for i, k in enumerate(active) if beta[i] < 0]
        if not worst:
            full = np.zeros(3)
            full[active] = beta[:-1]
            full[2] = beta[-1]
            return full
        active.remove(worst[0])


def held_logit(logit: FloatArray, persist: int) -> FloatArray:
    """The highest threshold each step would have passed for `persist` steps in a row, float[N]."""
    if len(logit) < persist:
        return np.full(1, -np.inf, np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(logit, persist)
    return windows.min(axis=1)


def fit_thresholds(
    network: Network,
    held: Sequence[Batch],
    references: dict[str, Reference],
    recipe: Recipe,
) -> tuple[Thresholds, DriftFit]:
    """Thresholds for the false-alarm budget on held-out normals; drift on the same."""
    outs = score(network, held, references, recipe, keep=("logit", "pooled", "deviation"))
    normal = [(b, o) for b, o in zip(held, outs) if b.level == 0]
    peaks = np.array([held_logit(o["logit"], recipe.persist_steps).max() for _, o in normal])
    # With n normal batches a budget below 1/n cannot be resolved: the highest peak plus a margin.
    allowed = recipe.false_alarms * len(peaks)
    if recipe.step_quantile:
        every = np.concatenate([o["logit"] for _, o in normal])
        limit = float(np.quantile(every, recipe.step_quantile))
    else:
        rank = len(peaks) - 1 - int(allowed)
        limit = float(np.sort(peaks)[max(rank, 0)]) + recipe.margin
    drift = fit_drift([o["pooled"] for _, o in normal])
    scores = [_drift_peak(o, drift) for o in outs]
    ceiling = max(scores) * 1.15
    return (
        Thresholds(
            threshold=_sigmoid(limit),
            clear_threshold=_sigmoid(limit - recipe.hysteresis),
            severity=(0.5, 0.5, 0.5),
            drift_limit=float(ceiling),
        ),
        drift,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftFit:
    """drift.npz."""

    mean: FloatArray
    whitening: FloatArray


def fit_drift(pooled: Sequence[FloatArray]) -> DriftFit:
    """Mean and whitening of the pooled features on normal batches, with a floor on the spread."""
    x = np.concatenate([p[min(WARM_STEPS, len(p) // 2) :] for p in pooled]).astype(np.float64)
    mean = x.mean(axis=0)
    covariance = np.cov(x.T) + 1e-12
    values, vectors = np.linalg.eigh(covariance)
    floor = max(float(values.max()) * 1e-3, 1e-9)
    whitening = vectors / np.sqrt(np.maximum(values, floor))
    return DriftFit(mean=mean.astype(np.float32), whitening=whitening.astype(np.float32))


def _drift_peak(out: dict[str, FloatArray], fit: DriftFit) -> float:
    reference = core_drift.DriftReference(fit.mean, fit.whitening)
    state, peak = core_drift.Drift(), 0.0
    for n, (pooled, deviation) in enumerate(zip(out["pooled"], out["deviation"])):
        state = core_drift.fold(state, pooled, deviation, reference)
        if n >= WARM_STEPS and state.score is not None:
            peak = max(peak, state.score)
    return peak or float(state.score or 1.0)


def _sigmoid(x: float) -> float:
    return float(1.0 / (1.0 + np.exp(-np.clip(x, -30.0, 30.0))))
