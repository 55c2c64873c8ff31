"""A trained model for a repaired or new line: what can be learnt anew with few labels, or none.

none   the line's own reference, the spreads of evidence and deviation, thresholds and drift, all
       from its normal batches. The relations and the trained part stay.
few    the same, then the heads are trained on the line's labelled batches, the encoder stays; kept
       only if it ranks held-out batches of the line better.
all    everything is trained on, at a tenth of the rate; kept on the same condition.

The gate is the point: with a handful of labels a training can only too easily forget what the
source knew, and a model that is worse than before must not leave this house.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch

from export.data.dataset import Batch, Dataset
from export.data.ondisk import Shelf
from export.faults import ExportError
from export.judge.evaluate import auc
from export.learn.crops import make_crops
from export.learn.device import repeatable
from export.learn.recipe import Recipe
from export.learn.train import Trained, fit_classifier
from export.model.fit import (
    Reference,
    fit_deviation,
    fit_fusion,
    fit_thresholds,
    held_logit,
    normals,
    score,
)
from export.model.network import Network
from export.model.reference import build_reference
from export.model.relations import fit_spreads

Labels = Literal["none", "few", "all"]
HEADS = ("head", "severity_head", "gru_head.weight", "bias", "severity_gaps")
MANY = 30
"""Defective batches from which on everything may be trained."""
SLOWER = 0.1


class AdaptError(ExportError):
    """The line cannot be adapted to; the text says what is missing."""


def adapt(
    network: Network,
    references: dict[str, Reference],
    recipe: Recipe,
    kinds: Sequence[str],
    dataset: Dataset,
    domain: str,
    labels: Labels = "none",
    quiet: bool = False,
    device: torch.device | str = "cpu",
) -> Trained:
    """Adapt to `domain` of `dataset`; `network` and `references` are the source's and stay as is.

    Computed on `device`; the adapted model is on the CPU.

    Raises:
        AdaptError: no normal batch to learn the line's own normal from, or no label where labels
            are asked for.
    """
    own = normals(dataset, domain)
    if not own:
        known = sorted({b.domain for b in dataset.batches})
        raise AdaptError(
            f'domain "{domain}" has no normal training batch; record some after the maintenance '
            f"(the data has the domains {known})"
        )
    labelled = [b for b in dataset.select("train", domain=domain) if (b.severity > 0).any()]
    needed = {"none": 0, "few": 1, "all": MANY}[labels]
    if len(labelled) < needed:
        raise AdaptError(
            f'--labels {labels} needs {needed} labelled defective batches of "{domain}", there '
            f"are {len(labelled)}; use --labels {'few' if labelled else 'none'}"
        )
    recipe = dataclasses.replace(recipe, target_domain=domain)
    repeatable(torch.device(device))
    base = copy.deepcopy(network).eval().to(device)
    known_references = {**references, domain: _reference(own, references, recipe, dataset)}
    held = normals(dataset, domain, "calibrate")
    fit_spreads(base, [*own, *held], known_references, recipe)
    fit_deviation(base, own, held, known_references, recipe, keep_map=True)
    said = ["own reference, spreads and thresholds"]
    if labels != "none":
        tuned = _tuned(base, dataset, domain, known_references, recipe, kinds, labels, quiet)
        judged = dataset.select("calibrate", domain=domain) or labelled
        before, after = (_auc(n, judged, known_references, recipe) for n in (base, tuned))
        keep = after > before
        said.append(
            f"training on {len(labelled)} labelled batches {'kept' if keep else 'dropped'}: AUC on "
            f"held-out batches {before:.3f} without, {after:.3f} with"
        )
        base = tuned if keep else base
    judged = dataset.select("calibrate", domain=domain)
    if any(b.level for b in judged):
        said.append(fit_fusion(base, judged, known_references, recipe))
    thresholds, drift = fit_thresholds(base, judged or own, known_references, recipe)
    return Trained(
        network=base.cpu(),
        references=known_references,
        thresholds=thresholds,
        drift=drift,
        recipe=recipe,
        notes={
            "kinds": list(kinds),
            "adapted": said,
            "parameters": base.parameter_count(),
            "normal_batches": {domain: len(own)},
            "threshold_from_normals": sum(1 for b in judged or own if b.level == 0),
        },
    )


def _reference(
    own: Sequence[Batch], references: dict[str, Reference], recipe: Recipe, dataset: Dataset
) -> Reference:
    """The line's own normal; the source's scale is a floor, for a few batches know little."""
    source = references.get(recipe.source_domain) or next(iter(references.values()))
    return build_reference(
        [b.features for b in own],
        [b.valid for b in own],
        np.asarray(dataset.line.spans, np.float32),
        recipe.reference,
        dataset.line.schedule_steps or None,
        source[1],
    )


def _tuned(
    base: Network,
    dataset: Dataset,
    domain: str,
    references: dict[str, Reference],
    recipe: Recipe,
    kinds: Sequence[str],
    labels: Labels,
    quiet: bool,
) -> Network:
    tuned = copy.deepcopy(base)
    for name, parameter in tuned.named_parameters():
        parameter.requires_grad_(labels == "all" or name in HEADS)
    rate = recipe.training.learning_rate * (SLOWER if labels == "all" else 3 * SLOWER)
    short = dataclasses.replace(
        recipe,
        training=dataclasses.replace(
            recipe.training,
            learning_rate=rate,
            iterations=max(1, recipe.training.iterations // 4),
            target_share=1.0,
        ),
    )
    some = dataset.select("train", domain=domain)
    with Shelf() as shelf:
        crops = make_crops(tuned, some, kinds, references, short, shelf, quiet)
        fit_classifier(tuned, crops, short, quiet)
    return tuned.eval()


@torch.no_grad()
def _auc(
    network: Network,
    batches: Sequence[Batch],
    references: dict[str, Reference],
    recipe: Recipe,
) -> float:
    outs = score(network, batches, references, recipe, keep=("classifier",))
    peaks = np.array([held_logit(o["classifier"], recipe.persist_steps).max() for o in outs])
    value = auc(np.array([b.level > 0 for b in batches]), peaks)
    return 0.0 if np.isnan(value) else value
