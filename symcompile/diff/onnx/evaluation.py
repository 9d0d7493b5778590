"""Compute ONNX nodes with numpy, each value with a bound on its rounding, in bounded memory.

Made for the bodies of symbolic blocks on a few points: what symcompile writes, and the layers that
are common beside it. No file is opened and no code of the model's is run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np
from scipy import special

from symcompile.diff.onnx.rounding import UNITS, Value, exact, rounded, spread
from symcompile.diff.onnx.tensors import DTYPES, small_array
from symcompile.diff.readers.checks import printable
from symcompile.errors import ArtifactError
from symcompile.expressions.evaluation import Array

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
            values.update(zip(node.output, run.node(node, args), strict=False))
    return values


class _Run:
    """One computation."""

    def __init__(self, floor: float, budget: Budget) -> None:
        self.floor, self.spend = floor, budget.spend

    def node(self, node: Any, args: list[Value | None]) -> list[Value]:
        operator = OPERATORS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        if operator is None:
            raise NotComputedError(f"operator {printable(node.op_type, 60)} is not known here")
        self.spend(0)
        try:
            found = operator(self, attributes_of(node), *args)
        except (ArithmeticError, AttributeError, IndexError, KeyError, TypeError, ValueError) as e:
            raise NotComputedError(f"{node.op_type}: {printable(str(e), 100)}") from e
        return found if isinstance(found, list) else [found]

    def apply(self, function: Callable[..., Any], *args: Value) -> Value:
        self.spend(math.prod(np.broadcast_shapes(*(one.data.shape for one in args))))
        units = [one.unit for one in args if one.data.dtype.kind == "f"]
        return spread(function, args, max([self.floor, *units]))


def attributes_of(node: Any) -> dict[str, Any]:
    """Numbers, lists, texts and tensors among the attributes of a node."""
    found: dict[str, Any] = {}
    for one in node.attribute:
        kind = one.type
        if kind in (1, 2, 3, 4):  # AttributeProto.FLOAT, INT, STRING, TENSOR
            found[one.name] = (one.f, one.i, one.s, one.t)[kind - 1]
        elif kind in (6, 7):  # FLOATS, INTS
            found[one.name] = list(one.floats if kind == 6 else one.ints)
    return found


# --- elementwise ---------------------------------------------------------------------------------


def _divide(a: Array, b: Array) -> Array:
    if a.dtype.kind == b.dtype.kind == "i":
        return np.asarray(np.fix(a / b)).astype(np.int64)
    return np.asarray(a / b)


ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "Neg": np.negative,
    "Abs": np.abs,
    "Exp": np.exp,
    "Log": np.log,
    "Sqrt": np.sqrt,
    "Reciprocal": lambda a: 1.0 / a,
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
    "Div": _divide,
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

FOLDED: dict[str, Callable[..., Any]] = {"Min": np.minimum, "Max": np.maximum, "Sum": np.add}


def _elementwise(function: Callable[..., Any]) -> Callable[..., Value]:
    return lambda run, attributes, *args: run.apply(function, *args)


def _folded(function: Callable[..., Any]) -> Callable[..., Value]:
    return lambda run, attributes, *args: reduce(lambda a, b: run.apply(function, a, b), args)


def _clip(
    run: _Run, attributes: Attributes, x: Value, low: Value | None = None, high: Value | None = None
) -> Value:
    if low is not None:
        x = run.apply(np.maximum, x, low)
    return x if high is None else run.apply(np.minimum, x, high)


# --- matrix products -----------------------------------------------------------------------------


def _matmul(run: _Run, attributes: Attributes, a: Value, b: Value) -> Value:
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


def _gemm(run: _Run, attributes: Attributes, a: Value, b: Value, c: Value | None = None) -> Value:
    a = _each(a, np.transpose) if attributes.get("transA") else a
    b = _each(b, np.transpose) if attributes.get("transB") else b
    product = _matmul(run, attributes, a, b)
    alpha, beta = attributes.get("alpha", 1.0), attributes.get("beta", 1.0)
    if alpha != 1.0:
        product = run.apply(np.multiply, product, exact(alpha))
    if c is None:
        return product
    return run.apply(np.add, product, run.apply(np.multiply, c, exact(beta)))


# --- shapes --------------------------------------------------------------------------------------


def _each(value: Value, function: Callable[[Array], Any]) -> Value:
    """A function that only moves elements around."""
    return Value(np.asarray(function(value.data)), np.asarray(function(value.error)), value.unit)


def _whole(value: Value | None) -> list[int]:
    """Sizes, axes or positions: whole numbers, of which there are few."""
    if value is None or value.data.dtype.kind != "i" or value.data.size > 1000:
        raise ValueError("whole numbers expected")
    return [int(one) for one in value.data.reshape(-1)]


def _axes(attributes: Attributes, given: Value | None) -> list[int] | None:
    return attributes.get("axes") if given is None else _whole(given)


def _unsqueeze(run: _Run, attributes: Attributes, x: Value, axes: Value | None = None) -> Value:
    places = tuple(_axes(attributes, axes) or ())
    return _each(x, lambda a: np.expand_dims(a, places))


def _squeeze(run: _Run, attributes: Attributes, x: Value, axes: Value | None = None) -> Value:
    places = _axes(attributes, axes)
    return _each(x, lambda a: np.squeeze(a, None if places is None else tuple(places)))


def _reshape(run: _Run, attributes: Attributes, x: Value, shape: Value) -> Value:
    sizes = _whole(shape)
    if not attributes.get("allowzero"):
        sizes = [x.data.shape[k] if size == 0 else size for k, size in enumerate(sizes)]
    return _each(x, lambda a: a.reshape(sizes))


def _transpose(run: _Run, attributes: Attributes, x: Value) -> Value:
    return _each(x, lambda a: np.transpose(a, attributes.get("perm")))


def _expand(run: _Run, attributes: Attributes, x: Value, shape: Value) -> Value:
    sizes = np.broadcast_shapes(x.data.shape, tuple(_whole(shape)))
    run.spend(math.prod(sizes))
    return _each(x, lambda a: np.broadcast_to(a, sizes))


def _constant_of_shape(run: _Run, attributes: Attributes, shape: Value) -> Value:
    sizes = _whole(shape)
    run.spend(math.prod(sizes))
    tensor = attributes.get("value")
    one = exact(np.float64(0), UNITS["float32"]) if tensor is None else constant(tensor, run.floor)
    return _each(one, lambda a: np.broadcast_to(a.reshape(()), sizes))


def _shape(run: _Run, attributes: Attributes, x: Value) -> Value:
    sizes = x.data.shape[attributes.get("start", 0) : attributes.get("end")]
    return exact(np.array(sizes, dtype=np.int64))


def _gather(run: _Run, attributes: Attributes, x: Value, indices: Value) -> Value:
    axis, places = attributes.get("axis", 0), indices.data
    if places.dtype.kind != "i":
        raise ValueError("whole numbers expected")
    run.spend(x.data.size // max(x.data.shape[axis], 1) * places.size)
    return _each(x, lambda a: np.take(a, places, axis=axis))


def _slice(
    run: _Run,
    attributes: Attributes,
    x: Value,
    starts: Value,
    ends: Value,
    axes: Value | None = None,
    steps: Value | None = None,
) -> Value:
    first, last = _whole(starts), _whole(ends)
    places = list(range(len(first))) if axes is None else _whole(axes)
    step = [1] * len(first) if steps is None else _whole(steps)
    index: list[Any] = [slice(None)] * x.data.ndim
    for a, b, axis, by in zip(first, last, places, step, strict=True):
        # Backwards to the very beginning is written as an end far below zero.
        index[axis] = slice(a, None if by < 0 and b < -x.data.shape[axis] else b, by)
    return _each(x, lambda a: a[tuple(index)])


def _concat(run: _Run, attributes: Attributes, *parts: Value) -> Value:
    run.spend(sum(one.data.size for one in parts))
    data = np.concatenate([one.data for one in parts], axis=attributes["axis"])
    error = np.concatenate([one.error for one in parts], axis=attributes["axis"])
    return Value(data, error, max(one.unit for one in parts))


def _split(run: _Run, attributes: Attributes, x: Value, sizes: Value | None = None) -> list[Value]:
    axis = attributes.get("axis", 0)
    if sizes is None:
        count = attributes["num_outputs"]
        size = -(-x.data.shape[axis] // count)
        ends = [size * k for k in range(1, min(count, 1000))]
    else:
        ends = np.cumsum(_whole(sizes))[:-1].tolist()
    data, error = (np.split(a, ends, axis=axis) for a in (x.data, x.error))
    return [Value(a, b, x.unit) for a, b in zip(data, error, strict=True)]


def _flatten(run: _Run, attributes: Attributes, x: Value) -> Value:
    axis = attributes.get("axis", 1)
    rows = math.prod(x.data.shape[:axis])
    return _each(x, lambda a: a.reshape(rows, -1))


# --- types and constants -------------------------------------------------------------------------


def _cast(run: _Run, attributes: Attributes, x: Value) -> Value:
    return _as_type(run, x, DTYPES.get(attributes["to"], ""))


def _cast_like(run: _Run, attributes: Attributes, x: Value, other: Value) -> Value:
    if other.data.dtype.kind != "f":
        raise ValueError("to a type that is no floating one")
    unit = max(run.floor, other.unit)
    return Value(x.data.astype(np.float64), x.error + unit * np.abs(x.data), unit)


def _as_type(run: _Run, x: Value, name: str) -> Value:
    if name in UNITS:
        unit = max(run.floor, UNITS[name])
        return Value(x.data.astype(np.float64), x.error + unit * np.abs(x.data), unit)
    if name == "bool":
        return run.apply(lambda a: a != 0, x)
    if name not in ("int32", "int64") or x.error.any() or not np.isfinite(x.data).all():
        raise ValueError(f"to {name or 'an unknown type'}")
    return exact(np.trunc(x.data).astype(np.int64))


def constant(tensor: Any, floor: float = 0.0) -> Value:
    """Value of an onnx.TensorProto; NotComputedError if it is too large or of no known type."""
    try:
        array = small_array(tensor, MAX_ELEMENTS)
    except ArtifactError as error:
        raise NotComputedError(str(error)) from error
    if array is None:
        raise NotComputedError("a constant is too large, of an unknown type, or in another file")
    name = DTYPES.get(tensor.data_type, "")
    if name in UNITS:
        return rounded(array, max(floor, UNITS[name]))
    return exact(array if array.dtype.kind == "b" else array.astype(np.int64))


def _constant(run: _Run, attributes: Attributes) -> Value:
    if "value" in attributes:
        return constant(attributes["value"], run.floor)
    for key in ("value_float", "value_floats"):
        if key in attributes:
            return rounded(attributes[key], max(run.floor, UNITS["float32"]))
    for key in ("value_int", "value_ints"):
        if key in attributes:
            return exact(np.array(attributes[key], dtype=np.int64))
    raise ValueError("a constant without a value")


OPERATORS: dict[str, Callable[..., Value | list[Value]]] = {
    **{name: _elementwise(function) for name, function in ELEMENTWISE.items()},
    **{name: _folded(function) for name, function in FOLDED.items()},
    "Identity": lambda run, attributes, x: x,
    "Dropout": lambda run, attributes, x, *rest: x,
    "Clip": _clip,
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Reshape": _reshape,
    "Transpose": _transpose,
    "Flatten": _flatten,
    "Expand": _expand,
    "ConstantOfShape": _constant_of_shape,
    "Shape": _shape,
    "Gather": _gather,
    "Slice": _slice,
    "Concat": _concat,
    "Split": _split,
    "Cast": _cast,
    "CastLike": _cast_like,
    "Constant": _constant,
}


def constants_of(nodes: Iterable[Any]) -> Iterator[Any]:
    """The tensors of Constant nodes."""
    for node in nodes:
        if node.op_type == "Constant":
            yield from (one.t for one in node.attribute if one.HasField("t"))
