"""A trained model for a repaired or new line: what can be learnt anew with few labels, or none.

none   the line's own reference, the spreads of evidence and deviation, thresholds and drift, all
       from its normal batches. The relations, the trained part and its calibration stay; no label
       of a defect is looked at.
few    the same, then the heads are trained on the line's labelled batches, the encoder stays; kept
       only if it ranks batches of the line better that it was not trained on.
all    everything is trained on, at a tenth of the rate; kept on the same condition.

The gate is the point: with a handful of labels a training can only too easily forget what the
source knew, and a model that is worse than before must not leave this house. It judges on the
held-out batches of the line; where those hold one class only, half of the labelled batches trains
and the other half judges, both ways round.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
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
MARGIN = 0.01
"""AUC by which a training must gain before it is kept: less is chance."""


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
        terms = _Terms(known_references, recipe, kinds, labels, quiet)
        some = dataset.select("train", domain=domain)
        tuned, verdict = _gated(base, some, dataset.select("calibrate", domain=domain), terms)
        said.append(f"training on {len(labelled)} labelled batches {verdict}")
        base = tuned or base
    judged = dataset.select("calibrate", domain=domain)
    if labels != "none" and any(b.level for b in judged):
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


@dataclass(frozen=True, slots=True)
class _Terms:
    """What every training of one adaptation has in common."""

    references: dict[str, Reference]
    recipe: Recipe
    kinds: Sequence[str]
    labels: Labels
    quiet: bool


def _gated(
    base: Network, batches: Sequence[Batch], held: Sequence[Batch], terms: _Terms
) -> tuple[Network | None, str]:
    """(the network trained on `batches` if that helps, why)."""
    if _both_classes(held):
        tuned = _tuned(base, batches, terms)
        pairs = [(_auc(base, held, terms), _auc(tuned, held, terms))]
    else:
        halves = _halves(batches)
        if not all(_both_classes(half) for half in halves):
            return None, "dropped: too few to train on one half and judge on the other"
        pairs = [
            (_auc(base, judged, terms), _auc(_tuned(base, some, terms), judged, terms))
            for some, judged in (halves, halves[::-1])
        ]
    before, after = np.mean(pairs, axis=0)
    keep = after > before + MARGIN
    verdict = "kept" if keep else f"dropped (it must gain {MARGIN:g})"
    text = f"{verdict}: AUC on held-out batches {before:.3f} without, {after:.3f} with"
    if not keep:
        return None, text
    return (tuned if _both_classes(held) else _tuned(base, batches, terms)), text


def _both_classes(batches: Sequence[Batch]) -> bool:
    return len({b.level > 0 for b in batches}) == 2


def _halves(batches: Sequence[Batch]) -> tuple[list[Batch], list[Batch]]:
    """Normal and defective batches dealt out in turn, a group never to both sides."""
    sides: tuple[list[Batch], list[Batch]] = ([], [])
    dealt: dict[str, int] = {}
    counts = [0, 0]
    for batch in batches:
        bad = int(batch.level > 0)
        if batch.group not in dealt:
            dealt[batch.group] = counts[bad] % 2
            counts[bad] += 1
        sides[dealt[batch.group]].append(batch)
    return sides


def _tuned(base: Network, batches: Sequence[Batch], terms: _Terms) -> Network:
    """A copy of `base`, trained on `batches`."""
    everything = terms.labels == "all"
    tuned = copy.deepcopy(base)
    for name, parameter in tuned.named_parameters():
        parameter.requires_grad_(everything or name in HEADS)
    training = terms.recipe.training
    short = dataclasses.replace(
        terms.recipe,
        training=dataclasses.replace(
            training,
            learning_rate=training.learning_rate * (SLOWER if everything else 3 * SLOWER),
            iterations=max(1, training.iterations // 4),
            target_share=1.0,
        ),
    )
    with Shelf() as shelf:
        crops = make_crops(tuned, batches, terms.kinds, terms.references, short, shelf, terms.quiet)
        fit_classifier(tuned, crops, short, terms.quiet)
    return tuned.eval()


@torch.no_grad()
def _auc(network: Network, batches: Sequence[Batch], terms: _Terms) -> float:
    outs = score(network, batches, terms.references, terms.recipe, keep=("classifier",))
    persist = terms.recipe.persist_steps
    peaks = np.array([held_logit(o["classifier"], persist).max() for o in outs])
    return auc(np.array([b.level > 0 for b in batches]), peaks)
