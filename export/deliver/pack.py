"""A trained model <-> its folder; a trained model -> a bundle the edge accepts.

The folder of `train` holds weights.pt, references.npz and trained.json. `bundle` turns it into
card.json, model.onnx, its variants, reference.npz, golden.npz and drift.npz. Nothing in a bundle
depends on the time or the place it was made.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import platform
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import edge
from edge.core.card import FORMAT, ModelCard, StateTensor, to_dict
from edge.core.features import FEATURES
from edge.runtime import bundle as names
from edge.runtime.bundle import BundleRefused, load_bundle
from edge.runtime.infer import Engine
from export.data.dataset import Batch, Dataset, FloatArray, LineSpec
from export.deliver.onnx_graph import export_in_fresh_process, load_weights, save_weights
from export.deliver.quantize import Stream, run_stream
from export.deliver.runtime import session
from export.deliver.variants import VARIANTS, active, make_variants
from export.faults import ExportError
from export.learn.recipe import Recipe
from export.learn.train import Trained
from export.model.fit import Reference, tensors
from export.model.network import OUTPUTS

SIMULATED_NOTICE = "trained on simulated data, not for production"
RECORDED_NOTICE = "trained on a public recording, for demonstration, not for production"
FP32 = "model.fp32.onnx"
"""The graph as trained, where a variant took its place as model.onnx."""
GOLDEN_STEPS = 12


class PackError(ExportError):
    """The folder is not what `train` writes, or the bundle made from it is not accepted."""


def save_trained(
    trained: Trained, dataset: Dataset, folder: Path, source: Path | None = None
) -> None:
    """Write what `bundle` and `evaluate` need; `source`: the folder it was adapted from."""
    folder.mkdir(parents=True, exist_ok=True)
    save_weights(trained.network, folder / "weights.pt")
    arrays = {"drift.mean": trained.drift.mean, "drift.whitening": trained.drift.whitening}
    for domain, (loc, scale) in trained.references.items():
        arrays[f"loc:{domain}"], arrays[f"scale:{domain}"] = loc, scale
    np.savez_compressed(folder / "references.npz", **arrays)  # type: ignore[arg-type]
    line = dataset.line
    document = {
        "line": {"name": line.name, "tags": [list(t) for t in line.tags]},
        "row_s": line.row_s,
        "step_rows": line.step_rows,
        "line_sha256": line.sha256(),
        "simulated": dataset.simulated,
        "source": dataset.source,
        "data_sha256": dataset.sha256,
        "target_domain": trained.recipe.target_domain,
        "thresholds": dataclasses.asdict(trained.thresholds),
        "notes": trained.notes
        | ({"adapted_from": _sha256(source / "weights.pt")} if source is not None else {}),
        "recipe": trained.recipe.to_dict(),
        "slot_steps": trained.recipe.reference.slot_steps,
    }
    (folder / "trained.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def load_trained(folder: Path) -> tuple[dict[str, Any], dict[str, FloatArray]]:
    """(trained.json, references.npz). Raises PackError."""
    try:
        document = json.loads((folder / "trained.json").read_text(encoding="utf-8"))
        with np.load(folder / "references.npz", allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError) as error:
        raise PackError(
            f"{folder}: not the output of `ncm-export train` ({error}); train first"
        ) from error
    return document, arrays


def references_of(arrays: dict[str, FloatArray]) -> dict[str, Reference]:
    """Domain -> (loc, scale)."""
    domains = [name[4:] for name in arrays if name.startswith("loc:")]
    return {d: (arrays[f"loc:{d}"], arrays[f"scale:{d}"]) for d in domains}


def make_graph(folder: Path) -> Path:
    """The fp32 graph of a trained folder; exported once and kept beside the weights."""
    graph, weights = folder / names.MODEL, folder / "weights.pt"
    if not graph.is_file() or graph.stat().st_mtime < weights.stat().st_mtime:
        load_weights(weights)
        export_in_fresh_process(weights, graph)
    return graph


def make_bundle(
    folder: Path,
    out: Path,
    *,
    serial: int = 1,
    name: str | None = None,
    domain: str | None = None,
    streams: Sequence[Stream] = (),
    metrics: dict[str, Any] | None = None,
) -> ModelCard:
    """Pack a trained folder for one domain; the bundle is then loaded as the edge would load it.

    Args:
        folder: output of `train`.
        out: bundle directory, made if needed; files of the same names are replaced.
        serial: monotone model number, 1..65535.
        name: of the bundle; default line and domain.
        domain: whose reference goes in; default the recipe's target domain.
        streams: stretches for the variants and their gates; none: no variants. The active graph
            is chosen by gate and speed (gate.py).
        metrics: figures for the card, e.g. from `evaluate`.

    Raises:
        PackError: unknown domain, or the edge refuses the result.
    """
    document, arrays = load_trained(folder)
    references = references_of(arrays)
    domain = domain if domain is not None else document["target_domain"]
    if domain not in references:
        raise PackError(
            f"{folder}: domain '{domain}' is unknown; permitted are {sorted(references)}"
        )
    graph = make_graph(folder)
    with _whole(out) as partial:
        return _write(
            folder, partial, document, arrays, domain, graph, streams, serial, name,
            dict(metrics or {}),
        )  # fmt: skip


@contextlib.contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """A folder beside `out` that takes its place when it is complete: a bundle is never half new.

    Raises PackError where nothing can be written.
    """
    partial, old = out.with_name(f".{out.name}.partial"), out.with_name(f".{out.name}.old")
    try:
        for left_over in (partial, old):
            shutil.rmtree(left_over, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        if out.exists():
            out.rename(old)
        partial.rename(out)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise PackError(
            f"{out}: cannot be written: {error.strerror or error}; what was there is unchanged"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write(
    folder: Path,
    out: Path,
    document: dict[str, Any],
    arrays: dict[str, FloatArray],
    domain: str,
    graph: Path,
    streams: Sequence[Stream],
    serial: int,
    name: str | None,
    figures: dict[str, Any],
) -> ModelCard:
    loc, scale = references_of(arrays)[domain]
    chosen = graph
    np.savez_compressed(out / names.REFERENCE, loc=loc, scale=scale)
    np.savez_compressed(
        out / names.DRIFT, mean=arrays["drift.mean"], whitening=arrays["drift.whitening"]
    )
    files = [names.MODEL, names.REFERENCE, names.DRIFT, names.GOLDEN]
    if streams:
        gates = make_variants(graph, out, streams)
        for variant, judged in gates.items():
            figures[f"{variant}_gates"] = {k: v for k, v in judged.items() if k != "table"}
        name_of_active, why = active(gates)
        figures["active"] = {"variant": name_of_active, "why": why}
        files += [variant.file for variant in VARIANTS]
        for variant in VARIANTS:
            if variant.name == name_of_active:
                chosen = out / variant.file
                (out / FP32).write_bytes(graph.read_bytes())
                files.append(FP32)
    (out / names.MODEL).write_bytes(chosen.read_bytes())
    golden = _golden(chosen, loc, scale)
    np.savez_compressed(out / names.GOLDEN, **golden)  # type: ignore[arg-type]
    limits = document["thresholds"]
    network = load_weights(folder / "weights.pt")
    card = ModelCard(
        format=FORMAT,
        name=name or f"{document['line']['name']} ({domain})",
        serial=serial,
        notice=SIMULATED_NOTICE if document["simulated"] else RECORDED_NOTICE,
        simulated=document["simulated"],
        tags=tuple((tag, unit) for tag, unit in document["line"]["tags"]),
        features=FEATURES,
        row_s=document["row_s"],
        step_rows=document["step_rows"],
        slot_steps=document["slot_steps"],
        states=tuple(
            StateTensor(name=state, shape=shape) for state, shape in network.config.states().items()
        ),
        kinds=tuple(document["notes"]["kinds"]),
        threshold=limits["threshold"],
        clear_threshold=limits["clear_threshold"],
        severity_thresholds=tuple(limits["severity"]),  # type: ignore[arg-type]
        drift_limit=limits["drift_limit"],
        files={file: _sha256(out / file) for file in files},
        metrics=figures,
        provenance=_provenance(document, domain),
    )
    (out / names.CARD).write_text(
        json.dumps(to_dict(card), indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    )
    loaded = load_bundle(out, card.tags, card.row_s)
    if isinstance(loaded, BundleRefused):
        raise PackError(f"the bundle just made is refused: {loaded.reason}")
    Engine(loaded, "cpu")
    return card


def stream_of(batch: Batch, reference: Reference, recipe: Recipe) -> Stream:
    """One batch as graph inputs."""
    arrays = {k: v.numpy() for k, v in tensors(batch, reference, recipe).items()}
    return Stream(**arrays, defective=batch.level > 0)


def check_line(document: dict[str, Any], line: LineSpec, folder: Path) -> None:
    """Raise PackError if the trained folder was made for another line than `line`."""
    if document["line_sha256"] != line.sha256():
        raise PackError(
            f"{folder}: trained for another line or another release of its tags than the data"
        )


def _golden(graph: Path, loc: FloatArray, scale: FloatArray) -> dict[str, FloatArray]:
    """Inputs around the reference, a masked tag and a real deviation; outputs of the graph."""
    draw = np.random.default_rng(7)
    slots = np.minimum(np.arange(GOLDEN_STEPS), len(loc) - 1)
    loc_N, scale_N = loc[slots], scale[slots]
    features = loc_N + scale_N * draw.standard_normal(loc_N.shape)
    features[GOLDEN_STEPS // 2 :, 0] += 4.0 * scale_N[GOLDEN_STEPS // 2 :, 0]
    valid = np.ones(loc_N.shape[:2], np.float32)
    valid[3:6, -1] = 0.0
    stream = Stream(features=features.astype(np.float32), valid=valid, loc=loc_N, scale=scale_N)
    out = run_stream(session(graph), stream)
    fields = [field.name for field in dataclasses.fields(Stream) if field.name != "defective"]
    golden = {name: getattr(stream, name) for name in fields}
    golden |= {name: out[name] for name in OUTPUTS}
    return {name: array[None].astype(np.float32) for name, array in golden.items()}


def _provenance(document: dict[str, Any], domain: str) -> dict[str, Any]:
    import onnx
    import onnxruntime
    import torch

    return {
        "source": document["source"],
        "data_sha256": document["data_sha256"],
        "line_sha256": document["line_sha256"],
        "reference_domain": domain,
        "recipe": document["recipe"],
        "training": document["notes"],
        "versions": {
            "ncm-edge": edge.__version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "torch": torch.__version__,
            "onnx": onnx.__version__,
            "onnxruntime": onnxruntime.__version__,
        },
    }


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
