"""A trained folder and a dataset -> the report, and the stretches int8 is judged on."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from edge.core.verdict import VerdictSettings
from export.data.dataset import Batch, Dataset
from export.data.lines import load_line
from export.deliver.onnx_graph import load_weights
from export.deliver.pack import check_line, load_trained, references_of, stream_of
from export.deliver.quantize import Stream
from export.judge import evaluate as ev
from export.learn.recipe import recipe_of
from export.model.fit import score


def evaluate_folder(folder: Path, dataset: Dataset, config: Path) -> tuple[str, dict[str, Any]]:
    """(report, figures) on the test batches of the dataset, decided as the edge decides.

    Raises PackError if folder and dataset do not belong together.
    """
    document, arrays = load_trained(folder)
    check_line(document, dataset.line, folder)
    recipe = recipe_of(document["recipe"])
    line = load_line(config, dataset.line.name)
    limits = document["thresholds"]
    settings = VerdictSettings(
        threshold=limits["threshold"],
        clear_threshold=limits["clear_threshold"],
        severity_thresholds=tuple(limits["severity"]),
        persist_steps=line.model.persist_steps,
        clear_steps=line.model.clear_steps,
        min_valid=line.model.min_valid,
    )
    network = load_weights(folder / "weights.pt")
    network.eval()
    references = references_of(arrays)
    batches = [b for b in dataset.select("test") if b.domain in references]
    runs = [_with_lead_in(b, dataset) for b in batches]
    outs = score(network, [run for run, _ in runs], references, recipe)
    judged = [
        ev.judge(batch, {k: v[lead:] for k, v in out.items()}, line, settings)
        for batch, (_, lead), out in zip(batches, runs, outs)
    ]
    step_minutes = dataset.line.row_s * dataset.line.step_rows / 60.0
    if dataset.line.schedule_steps:
        figures = ev.summary(judged)
        figures["by_fault"] = ev.by_fault(judged)
        text = ev.table(judged, dataset.simulated, step_minutes)
    else:
        text, figures = ev.rows_table(batches, judged)
        text = "Recorded data: thresholds from the training part only\n" + text
    figures["simulated"] = dataset.simulated
    return text, figures


def streams_of(folder: Path, dataset: Dataset, count: int = 12) -> list[Stream]:
    """Stretches from the calibration side (never the test side), normal and defective in turn."""
    document, arrays = load_trained(folder)
    check_line(document, dataset.line, folder)
    recipe = recipe_of(document["recipe"])
    references = references_of(arrays)
    held = dataset.select("calibrate") or dataset.select("train")
    normal = [b for b in held if b.level == 0]
    defective = [b for b in held if b.level > 0]
    mixed = [b for pair in zip(normal, defective) for b in pair] or normal
    return [stream_of(b, references[b.domain], recipe) for b in mixed[:count]]


def _with_lead_in(batch: Batch, dataset: Dataset) -> tuple[Batch, int]:
    """A test stretch that continues a training stretch is scored with the state carried on."""
    if batch.first_step == 0:
        return batch, 0
    for other in dataset.select("train", domain=batch.domain, group=batch.group):
        if other.first_step == 0 and len(other.features) == batch.first_step:
            joined = dataclasses.replace(
                batch,
                features=np.concatenate([other.features, batch.features]),
                valid=np.concatenate([other.valid, batch.valid]),
                severity=np.concatenate([other.severity, batch.severity]),
                first_step=0,
            )
            return joined, batch.first_step
    return batch, 0
