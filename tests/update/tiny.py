"""A bundle in milliseconds: the smallest graph that keeps the contract of the engine.

Its verdict is the mean deviation from the reference; nothing is learned. `bias` makes two models
tell themselves apart.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from edge.core.card import FORMAT, ModelCard, to_dict
from edge.core.features import FEATURES

STEPS = 4


def tiny_graph(tags: int, bias: float = 0.0, trap: bool = False) -> bytes:
    """An ONNX model of P = `tags` tags without state.

    `trap`: right on its golden vectors, not a number on the values of a plant.
    """
    node, shape = helper.make_node, ["B", "N", tags, len(FEATURES)]
    nodes = [
        node("Sub", ["features", "loc"], ["off"]),
        node("Div", ["off", "scale"], ["spread"]),
        node("ReduceMean", ["spread", "last"], ["mean"], keepdims=0),
        node("Mul", ["mean", "valid"], ["deviation"]),
        node("ReduceMean", ["deviation", "last"], ["level"], keepdims=0),
        node("Add", ["level", "bias"], ["safe"]),
        node("Sub", ["room", "level"], ["left"]),
        node("Log" if trap else "Abs", ["left"], ["trap"]),
        node("Mul", ["trap", "nothing"], ["zero"]),
        node("Add", ["safe", "zero"], ["logit"]),
        node("Identity", ["logit"], ["classifier"]),
        node("Identity", ["logit"], ["deviation_score"]),
        node("Softmax", ["deviation"], ["cam"], axis=-1),
        node("Identity", ["deviation"], ["pooled"]),
        node("Unsqueeze", ["logit", "last"], ["column"]),
        node("Sigmoid", ["column"], ["kinds"]),
        node("Concat", ["kinds", "kinds", "kinds"], ["severity"], axis=-1),
    ]
    tensor, real = helper.make_tensor_value_info, TensorProto.FLOAT
    names = ("logit", "classifier", "deviation_score", "cam", "deviation", "pooled", "kinds",
             "severity")  # fmt: skip
    graph = helper.make_graph(
        nodes, "tiny",
        [tensor(name, real, shape) for name in ("features", "loc", "scale")]
        + [tensor("valid", real, shape[:3])],
        [tensor(name, real, None) for name in names],
        [helper.make_tensor("last", TensorProto.INT64, [1], [-1]),
         helper.make_tensor("bias", real, [1], [bias]),
         helper.make_tensor("room", real, [1], [3.0]),
         helper.make_tensor("nothing", real, [1], [0.0])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return bytes(model.SerializeToString())


def tiny_bundle(
    folder: Path,
    tags: Sequence[tuple[str, str]],
    *,
    serial: int = 1,
    row_s: float = 1.0,
    bias: float = 0.0,
    trap: bool = False,
) -> Path:
    """Write a bundle that every check of the edge accepts."""
    import onnxruntime  # not before edge has switched its telemetry off

    folder.mkdir(parents=True)
    count = len(tags)
    draw = np.random.default_rng(serial)
    loc = draw.normal(size=(1, count, len(FEATURES))).astype(np.float32)
    feed = {
        "features": draw.normal(size=(1, STEPS, *loc.shape[1:])).astype(np.float32),
        "valid": np.ones((1, STEPS, count), np.float32),
        "loc": np.repeat(loc[None], STEPS, axis=1),
        "scale": np.ones((1, STEPS, *loc.shape[1:]), np.float32),
    }
    graph = tiny_graph(count, bias, trap)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    out = dict(zip([item.name for item in session.get_outputs()], session.run(None, feed)))
    (folder / "model.onnx").write_bytes(graph)
    np.savez(folder / "golden.npz", **feed, **out)
    np.savez(folder / "reference.npz", loc=loc, scale=np.ones_like(loc))
    np.savez(folder / "drift.npz", mean=np.zeros(count), whitening=np.eye(count))
    card = ModelCard(
        format=FORMAT, name="tiny", serial=serial, notice="for tests", simulated=True,
        tags=tuple(tags), features=FEATURES, row_s=row_s, step_rows=60, slot_steps=0, states=(),
        kinds=("",), threshold=0.9, clear_threshold=0.5, severity_thresholds=(0.9, 0.95, 0.99),
        drift_limit=1e9,
        files={
            path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()
        },
    )  # fmt: skip
    (folder / "card.json").write_text(json.dumps(to_dict(card)))
    return folder
