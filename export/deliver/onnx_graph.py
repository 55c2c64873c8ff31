"""Weights -> ONNX graph, in a process of its own.

The exporter silently turns a dynamic number of steps into a constant on the second export with a
GRU in one process, and with an example of one step. So: one export per fresh process, string names
for the dynamic axes, an example of two lines and three steps, and the dynamic axes are asserted
afterwards. Stack traces and stale shapes are stripped: the file then depends only on the weights.

    python -m export.deliver.onnx_graph weights.pt model.onnx
"""

from __future__ import annotations

import subprocess
import sys
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from export.faults import ExportError
from export.model.network import OUTPUTS, Network, NetworkConfig

OPSET = 20


class GraphError(ExportError):
    """The exported graph is not what the network is."""


def save_weights(network: Network, path: Path) -> None:
    """Weights with the configuration they belong to."""
    torch.save({"config": asdict(network.config), "weights": network.state_dict()}, path)


def load_weights(path: Path) -> Network:
    """Inverse of `save_weights`. Raises GraphError if the file is not one of ours."""
    try:
        saved = torch.load(path, weights_only=True)
        config = dict(saved["config"])
        config["dilations"] = tuple(config["dilations"])
        network = Network(NetworkConfig(**config))
        network.load_state_dict(saved["weights"])
    except FileNotFoundError:
        raise GraphError(f"{path}: no such file; run `ncm-export train` first") from None
    except Exception as error:
        raise GraphError(f"{path}: not a weights file of ncm-export ({error})") from error
    return network.eval()


def export_in_fresh_process(weights: Path, target: Path) -> None:
    """Export and verify. Raises GraphError with the child's message."""
    done = subprocess.run(
        [sys.executable, "-m", "export.deliver.onnx_graph", str(weights.absolute()),
         str(target.absolute())],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    if done.returncode != 0:
        raise GraphError(f"exporting {weights} failed:\n{done.stderr.strip()[-2000:]}")


def main(weights: str, target: str) -> None:
    """Export one weights file, verify the graph against torch."""
    torch.set_num_threads(1)
    network = load_weights(Path(weights))
    _export(network, Path(target))
    _strip(Path(target))
    verify(network, Path(target))


def _example(network: Network, lines: int, steps: int, seed: int = 0) -> dict[str, Any]:
    config = network.config
    draw = torch.Generator().manual_seed(seed)
    row = (lines, steps, config.tags)
    return {
        "features": torch.randn(*row, config.features, generator=draw) * 3.0,
        "valid": (torch.rand(*row, generator=draw) * 1.5).clamp(max=1.0),
        "loc": torch.randn(*row, config.features, generator=draw),
        "scale": torch.rand(*row, config.features, generator=draw) + 0.5,
        "states": network.zero_states(lines),
    }


def _export(network: Network, target: Path) -> None:
    states = list(network.config.states())
    axes = {0: "B", 1: "N"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            kwargs=_example(network, 2, 3),
            f=target,
            dynamo=True,
            opset_version=OPSET,
            input_names=["features", "valid", "loc", "scale", *states],
            output_names=[*OUTPUTS, *(f"{name}_next" for name in states)],
            dynamic_shapes={
                "features": axes,
                "valid": axes,
                "loc": axes,
                "scale": axes,
                "states": [{0: "B"} for _ in states],
            },
            external_data=False,
            verbose=False,
        )


def _strip(path: Path) -> None:
    import onnx

    model = onnx.load(path)
    del model.metadata_props[:]
    model.doc_string = ""
    model.producer_name, model.producer_version = "ncm-export", ""
    graph = model.graph
    del graph.value_info[:]
    del graph.metadata_props[:]
    graph.doc_string = ""
    for item in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        item.doc_string = ""
        del item.metadata_props[:]
    del model.functions[:]
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString(deterministic=True))


def verify(network: Network, path: Path) -> float:
    """Compare graph and network for several N and B, and the axes' names; returns the worst |d|.

    Raises:
        GraphError: an axis is not dynamic, or an output differs by more than 1e-4.
    """
    import onnx
    import onnxruntime

    model = onnx.load(path)
    for item in (*model.graph.input, *model.graph.output):
        dims = item.type.tensor_type.shape.dim
        wanted = ["B"] if item.name.removesuffix("_next") in network.config.states() else ["B", "N"]
        for place, name in enumerate(wanted):
            if dims[place].dim_param != name:
                raise GraphError(f'{path}: axis {place} of "{item.name}" is not the dynamic {name}')
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_outputs()]
    worst = 0.0
    for lines, steps in ((1, 1), (3, 2), (1, 7), (2, 60)):
        example = _example(network, lines, steps, seed=steps)
        draw = torch.Generator().manual_seed(steps)
        example["states"] = [
            torch.randn(state.shape, generator=draw) * 0.3 for state in example["states"]
        ]
        with torch.no_grad():
            expected = network(**example)
        feed = {k: v.numpy() for k, v in example.items() if k != "states"}
        feed |= {k: v.numpy() for k, v in zip(network.config.states(), example["states"])}
        for name, theirs, ours in zip(names, session.run(None, feed), expected):
            if theirs.shape != tuple(ours.shape):
                raise GraphError(f'{path}: "{name}" has shape {theirs.shape} at N={steps}')
            worst = max(worst, float(np.abs(theirs - ours.numpy()).max()))
    if not worst <= 1e-4:
        raise GraphError(f"{path}: the graph differs from the network by {worst:.3g}")
    return worst


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m export.deliver.onnx_graph WEIGHTS.pt MODEL.onnx")
    main(sys.argv[1], sys.argv[2])
