"""An evaluator of IEC 61131-3 Structured Text, for tests only: no certified compiler, no product.

The text is parsed with the grammar of `blark`; the tree is turned into a Python function whose
types are those of the standard. What a strict compiler refuses is refused here as well: an unknown
name, an assignment to an input or a constant, two types in one operation without a conversion.
What stops a controller stops the run: an index outside its array, a division by zero, a conversion
of a number that does not fit, a BOOL that is none.

Integers wrap, REAL is rounded to 32 bits after every operation, AND and OR evaluate both sides, a
conversion from REAL or LREAL rounds half to even. Only what the product's text uses is known.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import blark
from blark import transform as tree

BITS = {"BOOL": 1, "WORD": 16, "DWORD": 32}
SIGNED = {"INT": 16, "DINT": 32}
UNSIGNED = {"UINT": 16, "UDINT": 32}
REALS = ("REAL", "LREAL")
INTEGERS = (*SIGNED, *UNSIGNED)
LITERAL = "a whole literal"
REAL_LITERAL = "a literal with a point"


class TextError(Exception):
    """The text is not what a strict compiler would take."""


class ControllerStopError(Exception):
    """What would stop a real controller."""


@dataclass
class Ton:
    """Timer on-delay of the standard: Q once IN has been TRUE for PT without a break."""

    Q: bool = False
    ET: int = 0
    _since_ms: int | None = None

    def call(self, now_ms: int, IN: bool, PT: int) -> None:
        """IN BOOL, PT ms."""
        if not IN:
            self._since_ms, self.ET, self.Q = None, 0, False
            return
        if self._since_ms is None:
            self._since_ms = now_ms
        self.ET = min(now_ms - self._since_ms, PT)
        self.Q = self.ET >= PT


def f32(x: float) -> float:
    """`x` as a REAL holds it."""
    try:
        return float(struct.unpack("<f", struct.pack("<f", x))[0])
    except OverflowError:
        return float("inf") if x > 0.0 else float("-inf")


def at(index: int, length: int) -> int:
    """`index` if it lies in the array."""
    if not 0 <= index < length:
        raise ControllerStopError(f"index {index} of an array of {length}")
    return index


def whole(kind: str, x: float) -> int:
    """REAL or LREAL to an integer type."""
    if not x == x or x in (float("inf"), float("-inf")):
        raise ControllerStopError(f"{x} has no {kind}")
    return fits(kind, round(x))


def fits(kind: str, x: int) -> int:
    """`x` if the type can hold it."""
    if x != wrap(kind, x):
        raise ControllerStopError(f"{x} does not fit {kind}")
    return x


def wrap(kind: str, x: int) -> int:
    """`x` modulo the size of an integer type."""
    bits = {**SIGNED, **UNSIGNED, **BITS}[kind]
    x &= (1 << bits) - 1
    return x - (1 << bits) if kind in SIGNED and x >> (bits - 1) else x


_HELP: dict[str, Any] = {"f32": f32, "at": at, "whole": whole, "fits": fits, "wrap": wrap,
                         "Stop": ControllerStopError}  # fmt: skip


@dataclass(frozen=True)
class Expr:
    """Python text and IEC type."""

    py: str
    kind: str


@dataclass
class Block:
    """One instance of a function block."""

    inputs: dict[str, str]
    outputs: dict[str, str]
    values: dict[str, Any]
    _run: Callable[[dict[str, Any], int], None]

    def call(self, now_ms: int, **inputs: Any) -> None:
        """One call in a cyclic task; inputs that are not given keep their value."""
        for name, value in inputs.items():
            if name not in self.inputs:
                raise TextError(f"no input {name}")
            self.values[name] = value
        self._run(self.values, now_ms)

    def __getitem__(self, output: str) -> Any:
        return self.values[output]


@dataclass
class _Names:
    kinds: dict[str, str] = field(default_factory=dict)
    lengths: dict[str, int] = field(default_factory=dict)
    start: dict[str, Any] = field(default_factory=dict)
    fixed: set[str] = field(default_factory=set)
    inputs: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)


def parse(text: str) -> tree.FunctionBlock:
    """The one function block in `text`."""
    parsed = blark.parse_source_code(text)
    if parsed.exception is not None:
        raise TextError(str(parsed.exception))
    blocks = [b for b in parsed.transform().items if isinstance(b, tree.FunctionBlock)]
    if len(blocks) != 1:
        raise TextError(f"{len(blocks)} function blocks")
    return blocks[0]


class Program:
    """A function block as Python; `instance` makes one to run.

    `real`: what stands in for LREAL, to try the text on a controller that knows only REAL.
    """

    def __init__(self, block: tree.FunctionBlock, real: str = "LREAL") -> None:
        self._real = real
        self.name = str(block.name)
        self._names = _Names()
        for part in block.declarations:
            self._declare(part)
        body = block.body
        lines = self._statements(body.statements if body else [], 1)
        self.python = "\n".join(["def run(s, now):", *lines])
        space = dict(_HELP)
        exec(compile(self.python, self.name, "exec"), space)
        self._run = space["run"]

    def instance(self) -> Block:
        """A new instance with its initial values."""
        names = self._names
        values = {
            name: list(value) if isinstance(value, list) else value() if callable(value) else value
            for name, value in names.start.items()
        }
        return Block(names.inputs, names.outputs, values, self._run)

    # Declarations.

    def _declare(self, part: Any) -> None:
        names = self._names
        for item in part.items:
            initial = item.init.value
            spec = item.init.spec
            length = None
            if isinstance(spec, tree.ArraySpecification):
                (limits,) = spec.subranges
                if self._constant(limits.start, "INT") != 0:
                    raise TextError("arrays begin at 0")
                length = self._constant(limits.stop, "INT") + 1
                kind = str(spec.type.type_name)
            else:
                kind = str(spec.type).replace("LREAL", self._real)
            for declared in item.variables:
                name = str(declared.variable.name)
                if name in names.kinds:
                    raise TextError(f"{name} declared twice")
                names.kinds[name] = kind
                if length is not None:
                    names.lengths[name] = length
                names.start[name] = self._start(kind, length, initial)
                if isinstance(part, tree.InputDeclarations):
                    names.inputs[name] = kind
                    names.fixed.add(name)
                elif isinstance(part, tree.OutputDeclarations):
                    names.outputs[name] = kind
                elif part.attrs is not None and "constant" in str(part.attrs).lower():
                    names.fixed.add(name)

    def _start(self, kind: str, length: int | None, initial: Any) -> Any:
        if kind == "TON":
            return Ton
        if kind not in (*BITS, *INTEGERS, *REALS):
            raise TextError(f"type {kind} is not known")
        zero: Any = False if kind == "BOOL" else 0.0 if kind in REALS else 0
        if length is None:
            return zero if initial is None else self._constant(initial, kind)
        if initial is None:
            return [zero] * length
        found = [self._constant(e, kind) for e in _elements(initial)]
        if len(found) != length:
            raise TextError(f"{len(found)} values for an array of {length}")
        return found

    def _constant(self, node: Any, kind: str) -> Any:
        return eval(self._as(self._expr(node), kind).py, dict(_HELP), {})

    # Statements.

    def _statements(self, nodes: Any, depth: int) -> list[str]:
        nodes = nodes.statements if isinstance(nodes, tree.StatementList) else nodes
        lines: list[str] = []
        for node in nodes or []:
            lines += self._statement(node, depth)
        return lines or ["    " * depth + "pass"]

    def _statement(self, node: Any, depth: int) -> list[str]:
        pad = "    " * depth
        if isinstance(node, tree.AssignmentStatement):
            (variable,) = node.variables
            target = self._target(variable)
            return [f"{pad}{target.py} = {self._as(self._expr(node.expression), target.kind).py}"]
        if isinstance(node, tree.IfStatement):
            lines = [f"{pad}if {self._bool(node.if_expression)}:",
                     *self._statements(node.statements, depth + 1)]  # fmt: skip
            for clause in node.else_ifs:
                lines.append(f"{pad}elif {self._bool(clause.if_expression)}:")
                lines += self._statements(clause.statements, depth + 1)
            if node.else_clause is not None:
                lines += [f"{pad}else:", *self._statements(node.else_clause.statements, depth + 1)]
            return lines
        if isinstance(node, tree.ForStatement):
            control = self._target(node.control)
            low = self._as(self._expr(node.from_), control.kind).py
            high = self._as(self._expr(node.to), control.kind).py
            if node.step is not None:
                raise TextError("FOR with BY")
            head = f"{pad}for {control.py} in range({low}, {high} + 1):"
            return [head, *self._statements(node.statements, depth + 1)]
        if isinstance(node, tree.FunctionCallStatement):
            name = str(node.name.name)
            if self._names.kinds.get(name) != "TON":
                raise TextError(f"{name} is no instance of a block")
            given = {str(p.name.name): self._expr(p.value) for p in node.parameters}
            if set(given) != {"IN", "PT"}:
                raise TextError(f"{name} wants IN and PT")
            on, delay = self._as(given["IN"], "BOOL").py, self._as(given["PT"], "TIME").py
            return [f"{pad}s[{name!r}].call(now, {on}, {delay})"]
        raise TextError(f"{type(node).__name__} is not known")

    def _target(self, node: Any) -> Expr:
        target = self._expr(node)
        name = str(node.name if isinstance(node, tree.SimpleVariable) else node.name.name)
        if name in self._names.fixed:
            raise TextError(f"{name} is an input or a constant")
        if self._names.kinds[name] == "TON":
            raise TextError(f"{name} is a timer")
        return target

    # Expressions.

    def _bool(self, node: Any) -> str:
        return self._as(self._expr(node), "BOOL").py

    def _as(self, e: Expr, kind: str) -> Expr:
        """`e` where `kind` is wanted: the same type, or a literal that fits."""
        if e.kind == kind:
            return e
        if e.kind == LITERAL and kind in (*INTEGERS, *BITS) and kind != "BOOL":
            number = int(eval(e.py))
            if wrap(kind, number) != number:
                raise TextError(f"{number} does not fit {kind}")
            return Expr(e.py, kind)
        if e.kind == REAL_LITERAL and kind in REALS:
            return Expr(repr(f32(eval(e.py))) if kind == "REAL" else e.py, kind)
        raise TextError(f"{e.kind} where {kind} is wanted: {e.py}")

    def _expr(self, node: Any) -> Expr:
        simple = {tree.Integer: LITERAL, tree.HexInteger: LITERAL, tree.Real: REAL_LITERAL}
        if type(node) in simple:
            base = 16 if isinstance(node, tree.HexInteger) else 10
            text = str(node.value).replace("_", "")
            py = text if isinstance(node, tree.Real) else str(int(text, base))
            return Expr(py, simple[type(node)])
        if isinstance(node, tree.Boolean):
            return Expr(str(str(node.value).upper() in ("TRUE", "1")), "BOOL")
        if isinstance(node, tree.Duration):
            parts = (("hours", 3_600_000), ("minutes", 60_000), ("seconds", 1000),
                     ("milliseconds", 1))  # fmt: skip
            ms = sum(float(getattr(node, name) or 0) * size for name, size in parts)
            return Expr(str(int(ms)), "TIME")
        if isinstance(node, tree.ParenthesizedExpression):
            inner = self._expr(node.expr)
            return Expr(f"({inner.py})", inner.kind)
        if isinstance(node, tree.SimpleVariable):
            name = str(node.name)
            if name not in self._names.kinds:
                raise TextError(f"{name} is not declared")
            return Expr(f"s[{name!r}]", self._names.kinds[name])
        if isinstance(node, tree.MultiElementVariable):
            return self._element(node)
        if isinstance(node, tree.UnaryOperation):
            return self._unary(str(node.op).upper(), self._expr(node.expr))
        if isinstance(node, tree.BinaryOperation):
            return self._binary(str(node.op).upper(), self._expr(node.left), self._expr(node.right))
        if isinstance(node, tree.FunctionCall):
            return self._function(
                str(node.name.name).upper(), [self._expr(p.value) for p in node.parameters]
            )
        raise TextError(f"{type(node).__name__} is not known")

    def _element(self, node: Any) -> Expr:
        name, (element,) = str(node.name.name), node.elements
        kind = self._names.kinds.get(name)
        if kind is None:
            raise TextError(f"{name} is not declared")
        if isinstance(element, tree.SubscriptList):
            (subscript,) = element.subscripts
            index = self._as(self._expr(subscript), "INT").py
            return Expr(f"s[{name!r}][at({index}, {self._names.lengths[name]})]", kind)
        what = str(element.field.name).upper()
        if kind != "TON" or what not in ("Q", "ET"):
            raise TextError(f"{name}.{what} is not known")
        return Expr(f"s[{name!r}].{what}", "BOOL" if what == "Q" else "TIME")

    def _unary(self, op: str, e: Expr) -> Expr:
        if op == "NOT" and e.kind == "BOOL":
            return Expr(f"(not {e.py})", "BOOL")
        if op == "-" and e.kind in (*REALS, REAL_LITERAL, LITERAL):
            return Expr(f"(-{e.py})", e.kind)
        raise TextError(f"{op} of {e.kind}")

    def _pair(self, left: Expr, right: Expr) -> tuple[Expr, Expr, str]:
        literal = (LITERAL, REAL_LITERAL)
        if left.kind in literal and right.kind in literal:
            raise TextError("two literals")
        kind = right.kind if left.kind in literal else left.kind
        return self._as(left, kind), self._as(right, kind), kind

    def _binary(self, op: str, left: Expr, right: Expr) -> Expr:
        a, b, kind = self._pair(left, right)
        if op in ("=", "<>", "<", ">", "<=", ">="):
            if kind in BITS and op not in ("=", "<>"):
                raise TextError(f"{op} of {kind}")
            python = {"=": "==", "<>": "!="}.get(op, op)
            return Expr(f"({a.py} {python} {b.py})", "BOOL")
        if op in ("AND", "OR", "XOR", "&"):
            if kind not in BITS:
                raise TextError(f"{op} of {kind}")
            python = {"AND": "&", "&": "&", "OR": "|", "XOR": "^"}[op]
            return Expr(f"({a.py} {python} {b.py})", kind)
        if op in "+-*" and kind in INTEGERS:
            return Expr(f"wrap({kind!r}, {a.py} {op} {b.py})", kind)
        if op in "+-*" and kind in REALS:
            return _rounded(f"({a.py} {op} {b.py})", kind)
        if op == "/" and kind in REALS:  # Python stops at a division by zero, as a controller may
            return _rounded(f"({a.py} / {b.py})", kind)
        raise TextError(f"{op} of {kind}")

    def _function(self, name: str, args: list[Expr]) -> Expr:
        name = name.replace("LREAL", self._real)
        if name in ("MIN", "MAX"):
            a, b, kind = self._pair(*args)
            if kind not in (*INTEGERS, *REALS):
                raise TextError(f"{name} of {kind}")
            return Expr(f"{name.lower()}({a.py}, {b.py})", kind)
        if name == "ABS" and args[0].kind in (*INTEGERS, *REALS):
            return Expr(f"abs({args[0].py})", args[0].kind)
        if name == "SHR" and args[0].kind in ("WORD", "DWORD"):
            return Expr(f"({args[0].py} >> {self._as(args[1], 'INT').py})", args[0].kind)
        source, _, target = name.partition("_TO_")
        if not target:
            raise TextError(f"{name} is not known")
        x = self._as(args[0], source).py
        sizes = {**SIGNED, **UNSIGNED, **BITS}
        if source in BITS and target in BITS and sizes[target] <= sizes[source]:
            return Expr(f"wrap({target!r}, {x})", target)
        if (source in BITS) != (target in BITS) and sizes.get(source) == sizes.get(target):
            return Expr(f"wrap({target!r}, {x})", target)  # the same bits
        if source in INTEGERS and target in INTEGERS:
            return Expr(f"fits({target!r}, {x})", target)
        if source in INTEGERS and target in REALS:
            return _rounded(f"float({x})", target)
        if source in REALS and target in INTEGERS:
            return Expr(f"whole({target!r}, {x})", target)
        raise TextError(f"{name} is not known")


def _rounded(py: str, kind: str) -> Expr:
    return Expr(f"f32({py})" if kind == "REAL" else py, kind)


def _elements(initial: Any) -> list[Any]:
    """The single values of an array's initialisation."""
    if isinstance(initial, tree.ArrayInitialization):
        return [value for one in initial.elements for value in _elements(one)]
    if isinstance(initial, tree.ArrayInitialElement):
        if initial.count is not None:
            raise TextError("repeated values")
        return _elements(initial.element)
    return [initial]
