"""fp16 variant of the graph, for the GPU: the trained trunk only. Whether it may be used: gate.py.

The trunk is what the training's own half precision covers: from the first trained weight to where
the pooling begins. It is cut out, converted by onnxruntime's converter with its inputs and outputs
in float32, and put back. The converter never sees the rest: asked to spare single nodes it would
still pass their inputs through fp16, and evidence, deviation, pooling and the states of both live
on differences that fp16 does not have.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from export.deliver.runtime import runtime
from export.faults import ExportError

WEIGHTED = ("MatMul", "Gemm", "Conv", "GRU")
"""Operators with trained weights; the first of each path begins the trunk."""
PREFIX = "half/"


class HalfError(ExportError):
    """The graph has no trunk to convert."""


def to_half(model: Path, target: Path) -> None:
    """Write the graph with an fp16 trunk. Raises HalfError, RuntimeUnfitError."""
    import onnx

    runtime()
    from onnxruntime.transformers.float16 import convert_float_to_float16

    whole = onnx.load(model)
    names = trunk(whole)
    if not names:
        raise HalfError(f"{model}: no trained trunk between two float64 parts; export it again")
    part = convert_float_to_float16(
        _cut(whole, names), keep_io_types=True, disable_shape_infer=True
    )
    kept = [node for node in whole.graph.node if node.name not in names]
    nodes = _sorted([*kept, *part.graph.node], whole.graph)
    del whole.graph.node[:]
    whole.graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    tables = [t for t in (*whole.graph.initializer, *part.graph.initializer) if t.name in used]
    del whole.graph.initializer[:]
    whole.graph.initializer.extend(tables)
    del whole.graph.value_info[:]
    onnx.checker.check_model(whole)
    target.write_bytes(whole.SerializeToString(deterministic=True))


def trunk(whole: Any) -> set[str]:
    """Names of the nodes between evidence and pooling, both float64, from the first weight on."""
    import onnx

    types = _types(whole)
    double = onnx.TensorProto.DOUBLE
    nodes = list(whole.graph.node)
    wide = {n.name for n in nodes if any(types.get(v) == double for v in (*n.input, *n.output))}
    after = _reached(nodes, wide, forward=True)
    before = _reached(nodes, wide, forward=False)
    between = (after & before) - wide
    first = {n.name for n in nodes if n.name in between and n.op_type in WEIGHTED}
    return _reached(nodes, first, forward=True) & between


def _types(whole: Any) -> dict[str, int]:
    """Element type of every tensor."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(whole).graph
    values = (*graph.input, *graph.output, *graph.value_info)
    types = {v.name: v.type.tensor_type.elem_type for v in values}
    return types | {t.name: t.data_type for t in graph.initializer}


def _reached(nodes: list[Any], start: set[str], forward: bool) -> set[str]:
    """`start` and all that follows it (or that it follows from); `nodes` in order."""
    found, tensors = set(start), set[str]()
    for node in nodes if forward else reversed(nodes):
        ends = (node.input, node.output) if forward else (node.output, node.input)
        if node.name in found or any(name in tensors for name in ends[0]):
            found.add(node.name)
            tensors.update(ends[1])
    return found


def _cut(whole: Any, names: set[str]) -> Any:
    """The nodes of that name as a model of their own; its constants get names of their own."""
    import onnx

    inferred = onnx.shape_inference.infer_shapes(whole)
    graph = inferred.graph
    inside = [n for n in graph.node if n.name in names]
    outside = [n for n in graph.node if n.name not in names]
    made = {name for n in inside for name in n.output}
    wanted = {name for n in outside for name in n.input} | {v.name for v in graph.output}
    constants = {t.name: t for t in graph.initializer}
    asked = dict.fromkeys(name for n in inside for name in n.input if name)
    values = {v.name: v for v in (*graph.input, *graph.output, *graph.value_info)}
    for node in inside:
        for k, name in enumerate(node.input):
            if name in constants:
                node.input[k] = PREFIX + name
    tables = []
    for name in asked:
        if name in constants:
            table = onnx.TensorProto()
            table.CopyFrom(constants[name])
            table.name = PREFIX + name
            tables.append(table)
    part = onnx.helper.make_graph(
        inside,
        "trunk",
        [values[name] for name in asked if name not in constants and name not in made],
        [values[name] for n in inside for name in n.output if name in wanted],
        tables,
        value_info=[values[name] for name in made - wanted if name in values],
    )
    return onnx.helper.make_model(
        part, opset_imports=whole.opset_import, ir_version=whole.ir_version
    )


def _sorted(nodes: Iterable[Any], graph: Any) -> list[Any]:
    """Every node after those whose outputs it takes; otherwise in the order given."""
    waiting, ready, out = list(nodes), {v.name for v in graph.input} | {""}, []
    made = {name for node in waiting for name in node.output}
    while waiting:
        later = []
        for node in waiting:
            if all(name in ready or name not in made for name in node.input):
                out.append(node)
                ready.update(node.output)
            else:
                later.append(node)
        if len(later) == len(waiting):
            raise HalfError("the converted graph has a cycle; export it again")
        waiting = later
    return out
