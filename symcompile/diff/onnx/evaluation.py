"""Compute ONNX nodes with numpy, each value with a bound on its rounding, in bounded memory.

For the bodies of symbolic blocks on a few points: the operators that symcompile writes there. No
file is opened and no code of the model's is run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial, reduce
from typing import Any

import numpy as np
from scipy import special

from symcompile.diff.onnx.rounding import UNITS, Value, exact, rounded, spread
from symcompile.diff.onnx.tensors import dtype_of, small_array
from symcompile.errors import ArtifactError
from symcompile.expressions.evaluation import Array
from symcompile.storage.codecs import printable

MAX_ELEMENTS = 500_000  # of one value
MAX_WORK = 20_000_000  # elements of all values of a file together
COST_OF_NODE = 200  # what a node costs beside its elements

Attributes = Mapping[str, Any]


class NotComputedError(Exception):
    """Why nodes were not computed; continues a sentence."""


class Budget:
    """How much may be computed for one file."""

    def __init__(self) -> None:
        self.work = 0

    def spend(self, elements: int) -> None:
        """Before it is done: refuse what would be too large."""
        if elements > MAX_ELEMENTS:
            raise NotComputedError(f"a value of {elements} elements is too large")
        self.work += COST_OF_NODE + elements
        if self.work > MAX_WORK:
            raise NotComputedError("there is too much to compute")


def compute(
    nodes: Sequence[Any], given: Mapping[str, Value], floor: float, budget: Budget
) -> dict[str, Value]:
    """All values of nodes (onnx.NodeProto) that stand in an order in which they can be run.

    Args:
        given: values that they read, by name.
        floor: least rounding of an operation, relative to its result.

    Raises NotComputedError for an operator that is not known here, shapes that do not fit, and
    whatever would take too much memory or time.
    """
    run = _Run(floor, budget)
    values = dict(given)
    with np.errstate(all="ignore"):
        for node in nodes:
            args = [values.get(name) if name else None for name in node.input]
            if any(name and one is None for name, one in zip(node.input, args, strict=True)):
                raise NotComputedError("a node reads a value that is not there")
            values.update(zip(node.output, [run.node(node, args)], strict=False))
    return values


class _Run:
    """One computation."""

    def __init__(self, floor: float, budget: Budget) -> None:
        self.floor, self.spend = floor, budget.spend

    def node(self, node: Any, args: list[Value | None]) -> Value:
        operator = OPERATORS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        if operator is None:
            raise NotComputedError(f"operator {printable(node.op_type, 60)} is not known here")
        self.spend(0)
        try:
            return operator(self, _attributes(node), *args)
        except (ArithmeticError, AttributeError, IndexError, KeyError, TypeError, ValueError) as e:
            raise NotComputedError(f"{node.op_type}: {printable(str(e), 100)}") from e

    def apply(self, function: Callable[..., Any], *args: Value) -> Value:
        """Elementwise."""
        self.spend(math.prod(np.broadcast_shapes(*(one.data.shape for one in args))))
        units = [one.unit for one in args if one.data.dtype.kind == "f"]
        return spread(function, args, max([self.floor, *units]))


def _attributes(node: Any) -> dict[str, Any]:
    """Numbers, lists of whole ones and tensors among the attributes of a node."""
    # AttributeProto.FLOAT, INT, TENSOR and INTS
    fields = {1: "f", 2: "i", 4: "t", 7: "ints"}
    return {
        one.name: getattr(one, fields[one.type]) for one in node.attribute if one.type in fields
    }


# --- elementwise ---------------------------------------------------------------------------------

ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "Neg": np.negative,
    "Abs": np.abs,
    "Exp": np.exp,
    "Log": np.log,
    "Sqrt": np.sqrt,
    "Reciprocal": np.reciprocal,
    "Sin": np.sin,
    "Cos": np.cos,
    "Tan": np.tan,
    "Asin": np.arcsin,
    "Acos": np.arccos,
    "Atan": np.arctan,
    "Sinh": np.sinh,
    "Cosh": np.cosh,
    "Tanh": np.tanh,
    "Erf": special.erf,
    "Sign": np.sign,
    "Floor": np.floor,
    "Ceil": np.ceil,
    "Round": np.rint,
    "Sigmoid": special.expit,
    "Softplus": lambda a: np.logaddexp(0.0, a),
    "Relu": lambda a: np.maximum(a, 0),
    "Not": np.logical_not,
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
    "Pow": np.power,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "Equal": np.equal,
    "And": np.logical_and,
    "Or": np.logical_or,
    "Where": np.where,
}
FOLDED: dict[str, Callable[..., Any]] = {"Min": np.minimum, "Max": np.maximum}


def _elementwise(function: Callable[..., Any], run: _Run, said: Attributes, *args: Value) -> Value:
    found = run.apply(function, *args)
    if found.data.dtype.kind == "f" and all(one.data.dtype.kind == "i" for one in args):
        raise ValueError("of whole numbers, which are divided otherwise")
    return found


def _folded(function: Callable[..., Any], run: _Run, said: Attributes, *args: Value) -> Value:
    return reduce(lambda a, b: run.apply(function, a, b), args)


def _clip(run: _Run, said: Attributes, x: Value, *bounds: Value | None) -> Value:
    for function, bound in zip((np.maximum, np.minimum), bounds, strict=False):
        x = x if bound is None else run.apply(function, x, bound)
    return x


# --- matrix products -----------------------------------------------------------------------------


def _matmul(run: _Run, said: Attributes, a: Value, b: Value) -> Value:
    length = a.data.shape[-1]
    columns = b.data.shape[-1] if b.data.ndim > 1 else 1
    # A multiplication costs less than what is done for an element elsewhere.
    run.spend(a.data.size * columns // 20)
    batch = np.broadcast_shapes(a.data.shape[:-2], b.data.shape[:-2])
    rows = a.data.shape[-2] if a.data.ndim > 1 else 1
    run.spend(math.prod(batch) * rows * columns)
    unit = max(run.floor, a.unit, b.unit)
    sizes = np.abs(a.data) @ np.abs(b.data)
    error = a.error @ np.abs(b.data) + np.abs(a.data) @ b.error + unit * length * sizes
    return Value(np.asarray(a.data @ b.data), np.asarray(error), unit)


def _gemm(run: _Run, said: Attributes, a: Value, b: Value, c: Value | None = None) -> Value:
    a, b = (
        _each(np.transpose, side) if said.get(key) else side
        for side, key in ((a, "transA"), (b, "transB"))
    )
    scale, offset = exact(said.get("alpha", 1.0)), exact(said.get("beta", 1.0))
    product = run.apply(np.multiply, _matmul(run, said, a, b), scale)
    return product if c is None else run.apply(np.add, product, run.apply(np.multiply, c, offset))


# --- shapes --------------------------------------------------------------------------------------


def _each(move: Callable[[Array], Any], x: Value) -> Value:
    """What only moves elements around."""
    return Value(np.asarray(move(x.data)), np.asarray(move(x.error)), x.unit)


def _whole(value: Value) -> list[int]:
    """Sizes, axes or positions: whole numbers, of which there are few."""
    if value.data.dtype.kind != "i" or value.data.size > 1000:
        raise ValueError("whole numbers expected")
    return [int(one) for one in value.data.reshape(-1)]


def _reshaped(a: Array, said: Attributes, sizes: list[int]) -> Array:
    if not said.get("allowzero"):
        sizes = [a.shape[k] if size == 0 else size for k, size in enumerate(sizes)]
    return a.reshape(sizes)


# Of an array, attributes and lists of whole numbers; none of them makes anything larger but Expand,
# whose result takes no memory as long as nothing is done with it.
MOVES: dict[str, Callable[..., Array]] = {
    "Identity": lambda a, said: a,
    "Transpose": lambda a, said: np.transpose(a, said.get("perm")),
    "Unsqueeze": lambda a, said, axes: np.expand_dims(a, axes),
    "Squeeze": lambda a, said, axes: np.squeeze(a, tuple(axes)),
    "Reshape": _reshaped,
    "Expand": lambda a, said, sizes: np.broadcast_to(a, np.broadcast_shapes(a.shape, sizes)),
}


def _moved(move: Callable[..., Array], run: _Run, said: Attributes, x: Value, *at: Value) -> Value:
    places = [_whole(one) for one in at]
    found = _each(lambda a: move(a, said, *places), x)
    run.spend(found.data.size)
    return found


def _gather(run: _Run, said: Attributes, x: Value, indices: Value) -> Value:
    axis, places = said.get("axis", 0), indices.data
    if places.dtype.kind != "i":
        raise ValueError("whole numbers expected")
    run.spend(x.data.size // max(x.data.shape[axis], 1) * places.size)
    return _each(lambda a: np.take(a, places, axis=axis), x)


def _concat(run: _Run, said: Attributes, *parts: Value) -> Value:
    run.spend(sum(one.data.size for one in parts))
    data = np.concatenate([one.data for one in parts], axis=said["axis"])
    error = np.concatenate([one.error for one in parts], axis=said["axis"])
    return Value(data, error, max(one.unit for one in parts))


def _shape(run: _Run, said: Attributes, x: Value) -> Value:
    sizes = x.data.shape[said.get("start", 0) : said.get("end")]
    return exact(np.array(sizes, dtype=np.int64))


# --- types and constants -------------------------------------------------------------------------


def _cast(run: _Run, said: Attributes, x: Value) -> Value:
    name = dtype_of(said["to"])
    if name in UNITS:
        return _to_floating(run, x, UNITS[name])
    if name == "bool":
        return run.apply(lambda a: a != 0, x)
    if name not in ("int32", "int64") or x.error.any() or not np.isfinite(x.data).all():
        raise ValueError(f"to {name}")
    return exact(np.trunc(x.data).astype(np.int64))


def _cast_like(run: _Run, said: Attributes, x: Value, other: Value) -> Value:
    if other.data.dtype.kind != "f":
        raise ValueError("to a type that is no floating one")
    return _to_floating(run, x, other.unit)


def _to_floating(run: _Run, x: Value, unit: float) -> Value:
    unit = max(run.floor, unit)
    return Value(x.data.astype(np.float64), x.error + unit * np.abs(x.data), unit)


def constant(tensor: Any, floor: float = 0.0) -> Value:
    """Value of an onnx.TensorProto; NotComputedError if it is too large or of no known type."""
    try:
        array = small_array(tensor, MAX_ELEMENTS)
    except ArtifactError as error:
        raise NotComputedError(str(error)) from error
    if array is None:
        raise NotComputedError("a constant is too large, of an unknown type, or in another file")
    name = dtype_of(tensor.data_type)
    if name in UNITS:
        return rounded(array, max(floor, UNITS[name]))
    return exact(array if array.dtype.kind == "b" else array.astype(np.int64))


def _constant(run: _Run, said: Attributes) -> Value:
    if "value" not in said:
        raise ValueError("a constant without a value")
    return constant(said["value"], run.floor)


OPERATORS: dict[str, Callable[..., Value]] = {
    **{name: partial(_elementwise, function) for name, function in ELEMENTWISE.items()},
    **{name: partial(_folded, function) for name, function in FOLDED.items()},
    **{name: partial(_moved, move) for name, move in MOVES.items()},
    "Clip": _clip,
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Gather": _gather,
    "Concat": _concat,
    "Shape": _shape,
    "Cast": _cast,
    "CastLike": _cast_like,
    "Constant": _constant,
}


def constants_of(nodes: Iterable[Any]) -> Iterator[Any]:
    """The tensors of Constant nodes."""
    for node in nodes:
        if node.op_type == "Constant":
            yield from (one.t for one in node.attribute if one.HasField("t"))
