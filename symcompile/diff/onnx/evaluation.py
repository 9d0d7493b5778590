"""Compute ONNX nodes with numpy, exactly or as a machine of fewer digits might, in little memory.

For the bodies of symbolic blocks on a few points: the operators that symcompile writes there. No
file is opened and no code of the model's is run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial, reduce
from typing import Any

import numpy as np

from symcompile.diff.onnx.tensors import dtype_of, small_array
from symcompile.errors import ArtifactError
from symcompile.expressions.evaluation import Array
from symcompile.expressions.operators import OPERATORS
from symcompile.storage.codecs import printable

MAX_ELEMENTS = 500_000  # of one value
MAX_WORK = 120_000_000  # elements of all values of a file together: some seconds
COST_OF_NODE = 500  # what a node costs beside its elements

# What one rounding may amount to, relative to the value: library functions are good to a few units
# in the last place, and constants may have been combined before they were stored.
UNITS = {
    "float64": 4 * 2.0**-53,
    "float32": 4 * 2.0**-24,
    "float16": 4 * 2.0**-11,
    "bfloat16": 4 * 2.0**-8,
}

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


class Machine:
    """Computes nodes in float64, every floating-point result off by a rounding, up or down as the
    seed has it; seed 0 computes as exactly as float64 can.

    How far several machines are apart tells how far rounding can move a result, whatever cancels or
    grows on the way (Monte Carlo arithmetic, Parker 1997).
    """

    def __init__(self, unit: float, budget: Budget, seed: int = 0) -> None:
        """`unit` is the least rounding of an operation, relative to its result."""
        self.unit, self.spend, self.exact = unit, budget.spend, seed == 0
        # Two and two are each other's opposite, so that either falls on the other side of a jump.
        self.random, self.sign = np.random.default_rng((seed + 1) // 2), (-1.0) ** seed

    def moved(self, data: Array, error: Any) -> Array:
        """By up to this error."""
        if self.exact:
            return data
        return np.asarray(data + self.sign * error * self.random.uniform(-1.0, 1.0, data.shape))

    def rounded(self, data: Any, unit: float = 0.0) -> Array:
        """Of another type, too, if it has a coarser `unit`; whole numbers and truths are exact."""
        data = np.asarray(data)
        floating = data.dtype.kind == "f"
        return self.moved(data, max(unit, self.unit) * np.abs(data)) if floating else data

    def compute(self, nodes: Sequence[Any], read: Mapping[str, Array]) -> dict[str, Array]:
        """All values of nodes (onnx.NodeProto) that stand in an order in which they can be run;
        `read` are those that they read, by name.

        Raises NotComputedError for an operator that is not known here, shapes that do not fit, and
        whatever would take too much memory or time.
        """
        values = dict(read)
        with np.errstate(all="ignore"):
            for node in nodes:
                if any(name and name not in values for name in node.input):
                    raise NotComputedError("a node reads a value that is not there")
                args = [values.get(name) if name else None for name in node.input]
                values.update(zip(node.output, [self.node(node, args)], strict=False))
        return values

    def node(self, node: Any, args: list[Array | None]) -> Array:
        operator = NODES.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        if operator is None:
            raise NotComputedError(f"operator {printable(node.op_type, 60)} is not known here")
        self.spend(0)
        kinds = {1: "f", 2: "i", 4: "t", 7: "ints"}  # AttributeProto.FLOAT, INT, TENSOR and INTS
        attributes = {a.name: getattr(a, kinds[a.type]) for a in node.attribute if a.type in kinds}
        try:
            return operator(self, attributes, *args)
        except (ArithmeticError, AttributeError, IndexError, KeyError, TypeError, ValueError) as e:
            raise NotComputedError(f"{node.op_type}: {printable(str(e), 100)}") from e

    def apply(self, function: Callable[..., Any], *args: Array) -> Array:
        """An elementwise function."""
        self.spend(math.prod(np.broadcast_shapes(*(value.shape for value in args))))
        result = self.rounded(function(*args))
        if result.dtype.kind == "f" and all(value.dtype.kind == "i" for value in args):
            raise ValueError("of whole numbers, which are divided otherwise")
        return result


# --- elementwise ---------------------------------------------------------------------------------

# The table of operators has them; the exporter and its optimizer write some besides.
ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "Reciprocal": lambda a: 1.0 / a,
    "Relu": lambda a: np.maximum(a, 0),
    "Round": np.rint,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    **{row.onnx: row.numpy for row in OPERATORS.values() if row.onnx and row.numpy},
}


def _elementwise(
    function: Callable[..., Any], machine: Machine, attrs: Attributes, *args: Array
) -> Array:
    return machine.apply(function, *args)


def _folded(
    function: Callable[..., Any], machine: Machine, attrs: Attributes, *args: Array
) -> Array:
    return reduce(partial(machine.apply, function), args)


def _clip(machine: Machine, attrs: Attributes, x: Array, *bounds: Array | None) -> Array:
    for function, bound in zip((np.maximum, np.minimum), bounds, strict=False):
        x = x if bound is None else machine.apply(function, x, bound)
    return x


def _mod(machine: Machine, attrs: Attributes, a: Array, b: Array) -> Array:
    return machine.apply(np.fmod if attrs.get("fmod") else np.mod, a, b)


# --- matrix products -----------------------------------------------------------------------------


def _matmul(machine: Machine, attrs: Attributes, a: Array, b: Array) -> Array:
    columns = b.shape[-1] if b.ndim > 1 else 1
    # A multiplication costs less than what is done for an element elsewhere.
    machine.spend(a.size * columns // 20)
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    machine.spend(math.prod(batch) * (a.shape[-2] if a.ndim > 1 else 1) * columns)
    return machine.moved(np.asarray(a @ b), machine.unit * (np.abs(a) @ np.abs(b)))


def _gemm(machine: Machine, attrs: Attributes, a: Array, b: Array, c: Array | None = None) -> Array:
    a, b = (a.T if attrs.get("transA") else a), (b.T if attrs.get("transB") else b)
    product = machine.rounded(_matmul(machine, attrs, a, b) * attrs.get("alpha", 1.0))
    return product if c is None else machine.apply(np.add, product, c * attrs.get("beta", 1.0))


# --- shapes --------------------------------------------------------------------------------------


def _integers(value: Array) -> list[int]:
    """Sizes, axes or positions: whole numbers, of which there are few."""
    if value.dtype.kind != "i" or value.size > 1000:
        raise ValueError("whole numbers expected")
    return [int(number) for number in value.reshape(-1)]


def _reshaped(attrs: Attributes, x: Array, sizes: list[int]) -> Array:
    if not attrs.get("allowzero"):
        sizes = [x.shape[k] if size == 0 else size for k, size in enumerate(sizes)]
    return x.reshape(sizes)


# Of attributes, an array and lists of whole numbers. Expand alone makes anything larger, and takes
# no memory as long as nothing is done with what it gives.
MOVES: dict[str, Callable[..., Array]] = {
    "Identity": lambda attrs, x: x,
    "Transpose": lambda attrs, x: np.transpose(x, attrs.get("perm")),
    "Unsqueeze": lambda attrs, x, axes: np.expand_dims(x, axes),
    "Squeeze": lambda attrs, x, axes: np.squeeze(x, tuple(axes)),
    "Reshape": _reshaped,
    "Expand": lambda attrs, x, sizes: np.broadcast_to(x, np.broadcast_shapes(x.shape, sizes)),
    "Shape": lambda attrs, x: np.array(x.shape[attrs.get("start", 0) : attrs.get("end")], np.int64),
}


def _moved(
    move: Callable[..., Array], machine: Machine, attrs: Attributes, x: Array, *places: Array
) -> Array:
    result = move(attrs, x, *map(_integers, places))
    machine.spend(result.size)
    return result


def _gather(machine: Machine, attrs: Attributes, x: Array, places: Array) -> Array:
    axis = attrs.get("axis", 0)
    if places.dtype.kind != "i":
        raise ValueError("whole numbers expected")
    machine.spend(x.size // max(x.shape[axis], 1) * places.size)
    return np.asarray(np.take(x, places, axis=axis))


def _concat(machine: Machine, attrs: Attributes, *tensors: Array) -> Array:
    machine.spend(sum(tensor.size for tensor in tensors))
    return np.concatenate(tensors, axis=attrs["axis"])


# --- types and constants -------------------------------------------------------------------------


def _cast(machine: Machine, attrs: Attributes, x: Array) -> Array:
    name = dtype_of(attrs["to"])
    if name in UNITS:
        return machine.rounded(x.astype(np.float64), UNITS[name])
    if name == "bool":
        return np.asarray(x != 0)
    if name not in ("int32", "int64") or not np.isfinite(x).all():
        raise ValueError(f"to {name}")
    return np.trunc(x).astype(np.int64)


def constant(machine: Machine, tensor: Any) -> Array:
    """Value of an onnx.TensorProto; NotComputedError if it is too large or of no known type."""
    try:
        array = small_array(tensor, MAX_ELEMENTS)
    except ArtifactError as error:
        raise NotComputedError(str(error)) from error
    if array is None:
        raise NotComputedError("a constant is too large, of an unknown type, or in another file")
    if array.dtype.kind == "f":
        return machine.rounded(array.astype(np.float64), UNITS.get(dtype_of(tensor.data_type), 0.0))
    return array if array.dtype.kind == "b" else array.astype(np.int64)


def _constant(machine: Machine, attrs: Attributes) -> Array:
    if "value" not in attrs:
        raise ValueError("a constant without a value")
    return constant(machine, attrs["value"])


NODES: dict[str, Callable[..., Array]] = {
    **{name: partial(_elementwise, function) for name, function in ELEMENTWISE.items()},
    "Min": partial(_folded, np.minimum),
    "Max": partial(_folded, np.maximum),
    **{name: partial(_moved, move) for name, move in MOVES.items()},
    "Clip": _clip,
    "Mod": _mod,
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Gather": _gather,
    "Concat": _concat,
    "Cast": _cast,
    "Constant": _constant,
}


def constants_of(nodes: Iterable[Any]) -> Iterator[Any]:
    """The tensors of Constant nodes."""
    for node in nodes:
        if node.op_type == "Constant":
            yield from (attribute.t for attribute in node.attribute if attribute.HasField("t"))
