"""A model is data: what must never reach the runtime is refused by a reader of our own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import FunctionProto, ModelProto, NodeProto, SparseTensorProto, TensorProto, helper

from edge.core.graph import MAX_BYTES, MAX_NODES, OPERATORS, GraphError, check

X, Y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "xy")


def model(*nodes: NodeProto) -> ModelProto:
    nodes = nodes or (helper.make_node("Add", ["x", "w"], ["y"]),)
    weights = helper.make_tensor("w", TensorProto.FLOAT, [2], [1.0, 2.0])
    graph = helper.make_graph(list(nodes), "g", [X], [Y], [weights])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])


def inner(node: NodeProto) -> NodeProto:
    """A node inside a branch inside a branch."""
    for _ in range(2):
        branch = helper.make_graph([node], "b", [], [Y])
        node = helper.make_node("Identity", ["x"], ["y"], body=branch)
    return node


def external(location: str) -> Callable[[ModelProto], None]:
    def change(m: ModelProto) -> None:
        tensor = m.graph.initializer[0]
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)

    return change


def external_entry_only(m: ModelProto) -> None:
    m.graph.initializer[0].external_data.add(key="location", value="x")


def external_constant(m: ModelProto) -> None:
    tensor = helper.make_tensor("c", TensorProto.FLOAT, [1], [1.0])
    tensor.external_data.add(key="location", value="x")
    m.graph.node.append(inner(helper.make_node("Constant", [], ["y"], value=tensor)))


def external_sparse(m: ModelProto) -> None:
    sparse = SparseTensorProto(dims=[2])
    sparse.values.CopyFrom(helper.make_tensor("v", TensorProto.FLOAT, [1], [1.0]))
    sparse.values.data_location = TensorProto.EXTERNAL
    m.graph.sparse_initializer.append(sparse)


def dims(*sizes: int) -> Callable[[ModelProto], None]:
    def change(m: ModelProto) -> None:
        m.graph.initializer[0].dims[:] = sizes

    return change


def function(m: ModelProto) -> None:
    m.functions.append(FunctionProto(name="f", domain="ours"))


def foreign_opset(m: ModelProto) -> None:
    m.opset_import.append(helper.make_opsetid("com.example", 1))


def adds(*args: object, **attributes: object) -> Callable[[ModelProto], None]:
    node = helper.make_node(*args, **attributes)  # type: ignore[arg-type]
    return lambda m: m.graph.node.append(node)


def deep(m: ModelProto) -> None:
    node = helper.make_node("Identity", ["x"], ["y"])
    for _ in range(6):
        node = inner(node)
    m.graph.node.append(node)


def crowded(m: ModelProto) -> None:
    m.graph.node.extend([helper.make_node("Abs", ["x"], ["y"])] * (MAX_NODES + 1))


REFUSED: dict[str, tuple[Callable[[ModelProto], None], str]] = {
    "a custom operator": (adds("Evil", ["x"], ["y"], domain="com.example"), '"Evil"'),
    "an operator of the runtime's makers": (
        adds("Gelu", ["x"], ["y"], domain="com.microsoft"), 'domain "com.microsoft"',
    ),
    "a loop": (adds("Loop", ["x"], ["y"]), '"Loop"'),
    "random numbers": (adds("RandomNormal", [], ["y"], shape=[2]), '"RandomNormal"'),
    "a forbidden operator in a branch of a branch": (
        lambda m: m.graph.node.append(inner(helper.make_node("Scan", ["x"], ["y"]))), '"Scan"',
    ),
    "weights in another file": (external("weights.bin"), "another file"),
    "weights above the folder": (external("../../etc/shadow"), "another file"),
    "weights at an absolute path": (external("/etc/shadow"), "another file"),
    "weights in the memory of the process": (external("*/_ORT_MEM_ADDR_/*"), "another file"),
    "weights beyond all memory": (dims(1 << 40), "elements"),
    "weights beyond all memory in many axes": (dims(*[1 << 13] * 5), "elements"),
    "weights of a negative size": (dims(-1), "elements"),
    "a path without the flag": (external_entry_only, "another file"),
    "a constant in another file": (external_constant, "another file"),
    "sparse weights in another file": (external_sparse, "another file"),
    "a function": (function, "functions"),
    "a foreign set of operators": (foreign_opset, 'domain "com.example"'),
    "graphs nested without end": (deep, "nested"),
    "nodes without end": (crowded, "more than"),
}  # fmt: skip


def test_an_honest_model_passes() -> None:
    assert check(model().SerializeToString()) == 1


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    change, text = REFUSED[name]
    spoilt = model()
    change(spoilt)
    with pytest.raises(GraphError, match=text.replace(".", r"\.")):
        check(spoilt.SerializeToString())


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


@pytest.mark.parametrize("beyond", [1 << 32, 1 << 34, 7 << 32])
def test_a_graph_under_a_number_that_the_runtime_would_cut_is_refused(beyond: int) -> None:
    # The parser of the runtime keeps 32 bits of the key and runs what lies under it.
    hidden = model(helper.make_node("RandomNormalLike", ["x"], ["y"])).graph.SerializeToString()
    key = varint((7 << 3 | 2) + beyond)
    with pytest.raises(GraphError, match="field number"):
        check(model().SerializeToString() + key + varint(len(hidden)) + hidden)


def test_a_number_of_no_field_is_refused() -> None:
    with pytest.raises(GraphError, match="field number"):
        check(model().SerializeToString() + b"\x00\x00")


def test_the_other_format_of_the_runtime_is_refused() -> None:
    # A field nobody knows in front puts the mark where the runtime looks for it.
    front = bytearray(varint(100 << 3 | 2) + varint(20) + bytes(20))
    front[4:8] = b"ORTM"
    honest = model().SerializeToString()
    assert check(varint(100 << 3 | 2) + varint(20) + bytes(20) + honest) == 1
    with pytest.raises(GraphError, match="own format"):
        check(bytes(front) + honest)


@pytest.mark.parametrize(
    "data", [b"", b"not a graph", b"\x3a\x00", b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
             bytes([0x3B]), b"\x80" * 50],
)  # fmt: skip
def test_what_is_no_model(data: bytes) -> None:
    with pytest.raises(GraphError):
        check(data)


def test_the_size_is_looked_at_first() -> None:
    with pytest.raises(GraphError, match="permitted are"):
        check(bytes(MAX_BYTES + 1))


@given(st.binary(max_size=300))
def test_noise_is_refused_or_read_but_never_crashes(noise: bytes) -> None:
    for data in (noise, model().SerializeToString()[: len(noise)] + noise):
        try:
            check(data)
        except GraphError:
            continue


def test_no_permitted_operator_runs_other_code_or_chance() -> None:
    forbidden = {
        "If", "Loop", "Scan", "SequenceMap", "RandomNormal", "RandomUniform", "Multinomial",
        "ImageDecoder", "Optional", "StringNormalizer", "Bernoulli",
    }  # fmt: skip
    assert not forbidden & OPERATORS
