"""A trained folder and a dataset -> the report, and the stretches int8 is judged on."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edge.core.verdict import VerdictSettings
from export.data.dataset import Batch, Dataset, DatasetError
from export.data.lines import load_line
from export.deliver.onnx_graph import load_weights
from export.deliver.pack import check_line, load_trained, references_of, stream_of
from export.deliver.quantize import Stream
from export.judge import evaluate as ev
from export.judge.calibration import Share
from export.learn.recipe import recipe_of
from export.model.fit import score_one


def evaluate_folder(
    folder: Path, dataset: Dataset, config: Path, device: torch.device | str = "cpu"
) -> tuple[str, dict[str, Any]]:
    """(report, figures) on the test batches of the dataset, decided as the edge decides.

    The network runs on `device`, batch by batch: their outputs together would not fit into memory.

    Raises PackError if folder and dataset do not belong together, DatasetError if training had all.
    """
    document, arrays = load_trained(folder)
    check_line(document, dataset.line, folder)
    references = references_of(arrays)
    batches = [b for b in dataset.select("test") if b.domain in references]
    if not batches:
        groups = list(dict.fromkeys(b.group for b in dataset.batches))
        raise DatasetError(
            f"{dataset.source}: no batch is left to judge by; name only those training may use in "
            "`labelled` of the description (a list of names or patterns) and train again; the "
            f"others are judged. They are called {', '.join(groups[:4])}"
            + (" ..." if len(groups) > 4 else "")
        )
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
    network.eval().to(device)
    judged = []
    for batch in batches:
        whole, lead = _with_lead_in(batch, dataset)
        out = score_one(network, whole, references, recipe)
        seen = {k: v[lead:] for k, v in out.items()}
        judged.append(ev.judge(batch, seen, line, settings, document["notes"]["kinds"]))
    step_minutes = dataset.line.row_s * dataset.line.step_rows / 60.0
    if dataset.line.schedule_steps:
        figures = ev.summary(judged)
        figures["by_fault"] = ev.by_fault(judged)
        figures["budget"] = _budget(document, figures["false_alarms"])
        text = ev.table(judged, dataset.simulated, step_minutes)
        text += "\n" + figures["budget"]["said"]
    else:
        text, figures = ev.rows_table(batches, judged)
        text = "Recorded data: thresholds from the training part only\n" + text
    figures["simulated"] = dataset.simulated
    return text, figures


def _budget(document: dict[str, Any], false: dict[str, Any]) -> dict[str, Any]:
    """Whether the false-alarm budget is honoured, in numbers and in words."""
    allowed = document["recipe"]["false_alarms"]
    normals = document["notes"].get("threshold_from_normals", 0)
    unseen = document["notes"].get("threshold_held_out", True)
    share = Share(false["k"], false["n"])
    low = share.interval[0]
    verdict = (
        "kept" if share.n and share.k <= allowed * share.n
        else "exceeded" if low > allowed
        else "not kept here, but within chance"
    )  # fmt: skip
    return {
        "allowed": allowed,
        "from_normals": normals,
        "verdict": verdict,
        "said": f"false-alarm budget 1 in {1 / allowed:.0f} normal batches, threshold from "
        f"{normals} {'held-out ones' if unseen else 'that training has seen'}: {verdict}",
    }


def compare_folders(
    before: Path,
    after: Path,
    dataset: Dataset,
    config: Path,
    domain: str,
    device: torch.device | str = "cpu",
) -> str:
    """What an adaptation gained on the test batches of `domain`, as text.

    A source that never saw the domain is judged with the reference of its own target, as it would
    run if nothing were adapted.
    """
    some = dataclasses.replace(
        dataset, batches=tuple(b for b in dataset.select("test") if b.domain == domain)
    )
    if not some.batches:
        return "no test batches: nothing to compare on"
    document, arrays = load_trained(before)
    known = domain if f"loc:{domain}" in arrays else document["target_domain"]
    there = dataclasses.replace(
        some, batches=tuple(dataclasses.replace(b, domain=known) for b in some.batches)
    )
    columns = [
        evaluate_folder(folder, data, config, device)[1]
        for folder, data in ((before, there), (after, some))
    ]
    lines = [f"{'':<24}{'before':>44}{'after':>44}"]
    for name, key in (("accuracy", "accuracy"), ("false alarms of normals", "false_alarms")):
        cells = [str(Share(c[key]["k"], c[key]["n"])) if key in c else "-" for c in columns]
        lines.append(f"{name:<24}" + "".join(f"{cell:>44}" for cell in cells))
    for level in ("3", "2", "1"):
        shares = [c.get("caught", {}).get(level) for c in columns]
        if all(shares):
            cells = [str(Share(s["k"], s["n"])) for s in shares]
            name = f"severity {level} (D-{4 - int(level)})"
            lines.append(f"{name:<24}" + "".join(f"{cell:>44}" for cell in cells))
    lines += [
        f"{key:<24}" + "".join(f"{c[key]!s:>44}" for c in columns)
        for key in ("auc", "f1", "false_alarm_rate")
        if all(key in c for c in columns)
    ]
    return "\n".join(lines)


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
    """A stretch that continues another is scored with the state carried on."""
    if batch.first_step == 0:
        return batch, 0
    for other in dataset.select(domain=batch.domain, group=batch.group):
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
