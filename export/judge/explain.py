"""Does the model name the right component, and does CAM say what decided?

Localisation: the first and the first three components by CAM alone, by deviation alone and by the
ranking the operator sees, half an hour after the flag. Agreement: CAM against integrated gradients
(captum) of the classifier's logit with respect to the evidence, on a sample of flagged batches; the
heads are linear per tag and the encoder is not, so the two need not be equal, but must not disagree
about which tags matter.

Shape legend: N model steps, P tags, Q quantities.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from edge.config.types import Line
from edge.core.cam import RankSettings, rank
from export.data.dataset import Batch, FloatArray
from export.faults import ExportError
from export.judge.evaluate import spearman
from export.learn.recipe import Recipe
from export.model.evidence import news
from export.model.fit import Reference, score
from export.model.network import Network
from export.model.relations import deviations

LOOK_STEPS = 30
"""Model steps after the flag when somebody looks."""
CROP = 40
"""Last model steps of the look that the gradients go through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """Where one flagged batch was located, per ranking: (first, among three)."""

    fault: str
    component: str
    """Truly at fault."""
    level: int
    step: int
    """Model step of the look."""
    hits: dict[str, tuple[bool, bool]]
    cam: FloatArray
    """float32[N, P] up to the look."""


RANKINGS = {
    "CAM": RankSettings(deviation_weight=0.0, kind_weight=0.0),
    "deviation": RankSettings(deviation_weight=1.0, kind_weight=0.0),
    "class": RankSettings(deviation_weight=0.0, kind_weight=1.0),
    "shown": RankSettings(),
}
"""Each source of evidence by itself, and the mix the appliance shows."""


def locate(
    network: Network,
    batches: Sequence[Batch],
    references: dict[str, Reference],
    recipe: Recipe,
    line: Line,
    threshold: float,
    kinds: Sequence[str],
) -> list[Located]:
    """Flagged batches with a known component, located in the ways of RANKINGS."""
    tags = [row.tag for row in line.tags]
    limit = float(np.log(threshold / (1.0 - threshold)))
    found = []
    for batch, out in zip(batches, score(network, batches, references, recipe)):
        over = np.flatnonzero((out["logit"] > limit) & (batch.severity > 0))
        if not batch.component or not len(over):
            continue
        step = min(int(over[0]) + LOOK_STEPS, len(batch.severity) - 1)
        cam, deviation = out["cam"][step], out["deviation"][step]
        named = dict(zip(kinds, out["kinds"][step].tolist()))
        hits = {}
        for name, settings in RANKINGS.items():
            suspects = rank(
                cam, deviation, tags, line.topology, kinds=named, settings=settings,
                redundant=() if line.trim is None else line.trim.ph_tags,
            )  # fmt: skip
            codes = [s.component for s in suspects]
            hits[name] = (codes[:1] == [batch.component], batch.component in codes[:3])
        found.append(
            Located(
                fault=batch.fault,
                component=batch.component,
                level=batch.level,
                step=step,
                hits=hits,
                cam=out["cam"][: step + 1],
            )
        )
    return found


def localisation_table(found: Sequence[Located]) -> str:
    """Hits among the first and the first three, by severity and, at D-1, by fault; as text."""
    head = "".join(f"{name + ' 1':>13}{name + ' 3':>13}" for name in RANKINGS)
    lines = [f"{'':<12}{'flagged':>8}{head}"]
    groups = [(f"severity {k}", [f for f in found if f.level == k]) for k in (3, 2, 1)]
    groups += [
        (f"{name} at D-1", [f for f in found if f.fault == name and f.level == 3])
        for name in sorted({f.fault for f in found if f.fault and f.level == 3})
    ]
    for name, some in groups:
        cells = "".join(f"{sum(f.hits[n][k] for f in some):>13}" for n in RANKINGS for k in (0, 1))
        lines.append(f"{name:<12}{len(some):>8}{cells}")
    return "\n".join(lines)


def agreement(
    network: Network,
    batch: Batch,
    reference: dict[str, Reference],
    recipe: Recipe,
    step: int,
) -> tuple[float, float]:
    """(rank correlation of |CAM| and |integrated gradients| over tags, overlap of the top three).

    Raises ExportError when captum is not installed.
    """
    try:
        from captum.attr import IntegratedGradients
    except ModuleNotFoundError:
        raise ExportError("captum is missing: pip install 'ncm-edge[benchmark]'") from None
    first = max(0, step + 1 - CROP)
    with torch.no_grad():
        z, mask = deviations(batch, reference, recipe)
        zero = [torch.zeros(1, *shape) for shape in network.evidence.states().values()]
        x = news(network.evidence(z, mask, *zero)[0], network.config.dead_zone)
    x, mask = x[:, first : step + 1], mask[:, first : step + 1]
    states = network.zero_states(1)[: len(network.convs) + 2]

    def logit(part: Tensor) -> Tensor:
        wide = [s.expand(len(part), *s.shape[1:]).contiguous() for s in states]
        scores = network.classify(part, mask.expand(len(part), -1, -1), wide)[0][:, -1]
        return torch.logsumexp(scores[:, 1:], dim=-1) - scores[:, 0]

    gradients = IntegratedGradients(logit).attribute(x, n_steps=16, internal_batch_size=8)
    by_tag = gradients[0].sum((0, 2)).abs().detach().numpy()
    with torch.no_grad():
        cam = network.classify(x, mask, states)[2][0, -1].abs().numpy()
    top = len(set(np.argsort(-by_tag)[:3]) & set(np.argsort(-cam)[:3])) / 3.0
    return spearman(cam, by_tag), top


def heat_map(found: Located, line: Line, title: str) -> object:
    """CAM over time, tags grouped by component, as a matplotlib figure (paper, Fig. 6B)."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    order = sorted(range(len(line.tags)), key=lambda k: line.tags[k].tag.component)
    codes = [line.tags[k].tag.component for k in order]
    picture = found.cam[:, order].T
    figure, axis = plt.subplots(figsize=(9, 7.5), layout="constrained")
    reach = float(np.abs(picture).max()) or 1.0
    image = axis.imshow(picture, aspect="auto", cmap="PuOr_r", vmin=-reach, vmax=reach)
    axis.set_yticks(range(len(order)), [line.tags[k].tag.name for k in order], fontsize=6)
    for border in [k for k in range(1, len(codes)) if codes[k] != codes[k - 1]]:
        axis.axhline(border - 0.5, color="0.6", lw=0.5)
    own = [k for k, code in enumerate(codes) if code == found.component]
    if own:
        # Outlined and named, not only coloured.
        last = picture.shape[1] - 0.5
        axis.plot([-0.5, last, last, -0.5, -0.5],
                  [own[0] - 0.5, own[0] - 0.5, own[-1] + 0.5, own[-1] + 0.5, own[0] - 0.5],
                  color="black", lw=1.5, clip_on=False)  # fmt: skip
        axis.annotate(found.component, (0.01 * last, own[0]), va="top", fontweight="bold")
    axis.set_xlabel("model step of the batch")
    axis.set_title(title, fontsize=10)
    figure.colorbar(image, label="share in the logit (class activation map)")
    return figure
