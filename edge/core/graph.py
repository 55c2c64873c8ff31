"""What is in an ONNX file, before the runtime sees it: a model is data and stays data.

A small reader of the protobuf wire format, enough to visit every node, however deeply nested. It
refuses operators that no model of ours uses (custom ones above all), functions, tensors that live
in another file or claim more than they hold room for, and whatever is too large or not protobuf.
The runtime's own parser comes after, and must not see what this one has passed over: a field number
beyond 29 bits, which it would cut, and the mark of the runtime's other format are refused.
"""

from __future__ import annotations

from collections.abc import Iterator

MAX_BYTES = 64 << 20
MAX_NODES = 20_000
MAX_DEPTH = 8
MAX_ELEMENTS = 16 << 20
"""Of one tensor: 64 MB of float32, as much as the whole file may have."""
_MAX_KEY = 0xFFFF_FFFF
_ORT_MARK = b"ORTM"
DOMAINS = frozenset({"", "ai.onnx"})
OPERATORS = frozenset({
    "Abs", "Add", "And", "AveragePool", "Cast", "Ceil", "Clip", "Concat", "Constant",
    "ConstantOfShape", "Conv", "CumSum", "DequantizeLinear", "Div", "Dropout", "Einsum", "Elu",
    "Equal", "Erf", "Exp", "Expand", "Flatten", "Floor", "GRU", "Gather", "GatherElements",
    "GatherND", "Gelu", "Gemm", "GlobalAveragePool", "Greater", "GreaterOrEqual", "Identity",
    "LayerNormalization", "LeakyRelu", "Less", "LessOrEqual", "Log", "LogSoftmax", "MatMul", "Max",
    "MaxPool", "Min", "Mul", "Neg", "Not", "Or", "Pad", "Pow", "QuantizeLinear", "Range",
    "Reciprocal", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "Relu",
    "Reshape", "Round", "Shape", "Sigmoid", "Sign", "Slice", "Softmax", "Softplus", "Split", "Sqrt",
    "Squeeze", "Sub", "Tanh", "Tile", "TopK", "Transpose", "Unsqueeze", "Where",
})  # fmt: skip
"""No control flow, no strings, no random numbers, no operator that opens a file."""

# Field numbers of onnx.proto.
_MODEL_GRAPH, _MODEL_OPSET, _MODEL_TRAINING, _MODEL_FUNCTIONS = 7, 8, 20, 25
_GRAPH_NODE, _GRAPH_TENSOR, _GRAPH_SPARSE = 1, 5, 15
_NODE_OPERATOR, _NODE_ATTRIBUTE, _NODE_DOMAIN = 4, 5, 7
_ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS, _ATTRIBUTE_SPARSE = (5, 10), (6, 11), (22, 23)
_TENSOR_DIMS, _TENSOR_EXTERNAL, _TENSOR_LOCATION = 1, 13, 14

Field = tuple[int, int, memoryview]
"""Number, value if it is a number, bytes if it is not."""


class GraphError(ValueError):
    """The file must not be given to the runtime; the text says why."""


def check(data: bytes) -> int:
    """Raise GraphError unless `data` is an ONNX model of permitted operators; returns its nodes."""
    if len(data) > MAX_BYTES:
        raise GraphError(f"{len(data)} bytes; permitted are {MAX_BYTES}")
    if data[4:8] == _ORT_MARK:
        raise GraphError("is in the runtime's own format; permitted is ONNX")
    counter = _Counter()
    graphs = 0
    for number, _, part in _fields(memoryview(data)):
        if number == _MODEL_GRAPH:
            graphs += 1
            _graph(part, 1, counter)
        elif number == _MODEL_OPSET:
            for inner, _, text in _fields(part):
                if inner == 1:
                    _domain(text)
        elif number in (_MODEL_FUNCTIONS, _MODEL_TRAINING):
            raise GraphError("holds functions or training information; permitted are neither")
    if not graphs or not counter.nodes:
        raise GraphError("holds no graph")
    return counter.nodes


class _Counter:
    nodes = 0


def _graph(data: memoryview, depth: int, counter: _Counter) -> None:
    if depth > MAX_DEPTH:
        raise GraphError(f"graphs are nested deeper than {MAX_DEPTH}")
    for number, _, part in _fields(data):
        if number == _GRAPH_NODE:
            counter.nodes += 1
            if counter.nodes > MAX_NODES:
                raise GraphError(f"more than {MAX_NODES} nodes")
            _node(part, depth, counter)
        elif number == _GRAPH_TENSOR:
            _tensor(part)
        elif number == _GRAPH_SPARSE:
            _sparse(part)


def _node(data: memoryview, depth: int, counter: _Counter) -> None:
    for number, _, part in _fields(data):
        if number == _NODE_OPERATOR:
            name = _text(part)
            if name not in OPERATORS:
                raise GraphError(f'operator "{name[:60]}" is not permitted')
        elif number == _NODE_DOMAIN:
            _domain(part)
        elif number == _NODE_ATTRIBUTE:
            for inner, _, value in _fields(part):
                if inner in _ATTRIBUTE_TENSORS:
                    _tensor(value)
                elif inner in _ATTRIBUTE_GRAPHS:
                    _graph(value, depth + 1, counter)
                elif inner in _ATTRIBUTE_SPARSE:
                    _sparse(value)


def _tensor(data: memoryview) -> None:
    elements = 1
    for number, value, packed in _fields(data):
        if number == _TENSOR_EXTERNAL or (number == _TENSOR_LOCATION and value):
            raise GraphError("a tensor lives in another file; permitted is inside the model only")
        if number == _TENSOR_DIMS:
            at = 0
            while at < len(packed):
                value, at = _varint(packed, at)
                elements = _times(elements, value)
            if not packed:
                elements = _times(elements, value)


def _times(elements: int, size: int) -> int:
    """Negative sizes, 64-bit on the wire, are too large as well."""
    if size > MAX_ELEMENTS or elements * size > MAX_ELEMENTS:
        raise GraphError(f"a tensor of more than {MAX_ELEMENTS} elements")
    return elements * size


def _sparse(data: memoryview) -> None:
    for number, _, part in _fields(data):
        if number in (1, 2):
            _tensor(part)


def _domain(data: memoryview) -> None:
    name = _text(data)
    if name not in DOMAINS:
        raise GraphError(f'operators of domain "{name[:60]}" are not permitted')


def _text(data: memoryview) -> str:
    try:
        return bytes(data).decode("utf-8")
    except UnicodeDecodeError:
        raise GraphError("a name is not UTF-8") from None


def _fields(data: memoryview) -> Iterator[Field]:
    at, empty = 0, data[:0]
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if not 7 < key <= _MAX_KEY:
            raise GraphError("is no ONNX file: a field number that there is not")
        if kind == 0:
            value, at = _varint(data, at)
            yield key >> 3, value, empty
            continue
        if kind == 2:
            length, at = _varint(data, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise GraphError("is no ONNX file")
        if length > len(data) - at:
            raise GraphError("is no ONNX file, or cut off")
        yield key >> 3, 0, data[at : at + length] if kind == 2 else empty
        at += length


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise GraphError("is no ONNX file, or cut off")
