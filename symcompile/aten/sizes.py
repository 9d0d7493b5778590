"""Sizes of the tensors that go into a traced model: which are free, and which move together.

torch.export gives every free size a symbol, and sizes that the graph ties to one another the same
symbol, or an expression of it such as `2*s0`. What only values tie, as `mask[torch.arange(len(x))]`
does, has symbols of its own although the model may want equal sizes: which of them have to move
with the batch size can be told by trying alone, and `companions` gives the order.

In a file free sizes have names: "batch" is the size that the first dimensions share; others are
"size1", "size2", ... in the order of the arguments. A result may have a size that follows from
them, such as "2*batch".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import sympy
import torch
from torch import fx
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from symcompile.modules.calling import Left, result_places

Size: TypeAlias = "int | sympy.Expr"
Values = Mapping[sympy.Symbol, int]


@dataclass(frozen=True)
class Sizes:
    """Shapes of the tensors that go in, in order.

    Attributes:
        shapes: a free size is an expression of symbols.
        traced: what each symbol was in the batch that was traced.
        least: the smallest value that the graph is known to be right for, by symbol.
    """

    shapes: tuple[tuple[Size, ...], ...] = ()
    traced: Values = field(default_factory=dict)
    least: Values = field(default_factory=dict)

    @property
    def free(self) -> bool:
        return any(isinstance(size, sympy.Expr) for shape in self.shapes for size in shape)

    @property
    def batch(self) -> sympy.Symbol | None:
        """The symbol of the batch size: the first dimension of the first tensor whose first
        dimension is free; None if those of all are fixed."""
        first = [
            size for shape in self.shapes for size in shape[:1] if isinstance(size, sympy.Expr)
        ]
        inside = [one for size in first for one in sorted(size.free_symbols, key=str)]
        found = [one for one in (*first, *inside) if one in self.traced]
        return found[0] if found else None

    @property
    def others(self) -> tuple[sympy.Symbol, ...]:
        """The symbols of free sizes that have nothing to do with the batch size."""
        moving = {symbol for group in self.companions() for symbol in group}
        return tuple(symbol for symbol in self.traced if symbol not in moving)

    def values_in(self, shapes: Sequence[Sequence[int]]) -> dict[sympy.Symbol, int]:
        """What the symbols are where the tensors have these shapes."""
        return _solve(self.shapes, shapes)

    def shapes_at(self, values: Values) -> tuple[tuple[int | None, ...], ...]:
        """Shapes of the tensors for these values; None for a size that they do not decide."""
        return tuple(tuple(_at(size, values) for size in shape) for shape in self.shapes)

    def companions(self) -> list[dict[sympy.Symbol, int]]:
        """What may have to move with the batch size, likeliest first: for each symbol how many
        times the batch size it is. First dimensions of the batch's size; multiples of it;
        dimensions of that size anywhere; and none, which is always there."""
        if self.batch is None:
            return []
        count = self.traced[self.batch]
        first = self._symbols(lambda shape: shape[:1])
        anywhere = self._symbols(lambda shape: shape)
        found: list[dict[sympy.Symbol, int]] = []
        for group in (
            {s: 1 for s in first if self.traced[s] == count},
            {s: self.traced[s] // count for s in first if self.traced[s] % count == 0},
            {s: 1 for s in anywhere if self.traced[s] == count},
            {self.batch: 1},
        ):
            if group not in found:
                found.append(group)
        return found

    def _symbols(self, part: Callable[[tuple[Size, ...]], tuple[Size, ...]]) -> list[sympy.Symbol]:
        sizes = [size for shape in self.shapes for size in part(shape)]
        return [size for size in dict.fromkeys(sizes) if size in self.traced]


def read_sizes(program: ExportedProgram, traced: Sequence[torch.Tensor]) -> Sizes:
    """Sizes of the tensors that go into a program, which was traced with the tensors `traced`."""
    inputs = set(program.graph_signature.user_inputs)
    values = [
        node.meta["val"]
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in inputs
        if isinstance(node.meta["val"], torch.Tensor)
    ]
    shapes = tuple(tuple(_size(size) for size in value.shape) for value in values)
    least = {
        symbol: int(bounds.lower)
        for symbol, bounds in program.range_constraints.items()
        if isinstance(symbol, sympy.Symbol) and bounds.lower.is_Integer
    }
    return Sizes(shapes, _solve(shapes, [tensor.shape for tensor in traced]), least)


def is_free(size: int | torch.SymInt) -> bool:
    """Whether a traced size may vary; one that was fixed late is a SymInt that prints as 4."""
    return isinstance(size, torch.SymInt) and not str(size).isdigit()


def _size(size: int | torch.SymInt) -> Size:
    return size.node.expr if is_free(size) else int(size)  # type: ignore[union-attr]


def _at(size: Size, values: Values) -> int | None:
    if isinstance(size, int):
        return size
    found = size.xreplace({symbol: sympy.Integer(value) for symbol, value in values.items()})
    return int(found) if found.is_Integer else None


def _solve(
    shapes: Sequence[Sequence[Size]], known: Sequence[Sequence[int]]
) -> dict[sympy.Symbol, int]:
    """The values of symbols that stand alone somewhere, and of those inside of one expression."""
    pairs = list(_pairs(shapes, known))
    values = {size: count for size, count in reversed(pairs) if isinstance(size, sympy.Symbol)}
    for size, count in pairs:
        rest = [symbol for symbol in size.free_symbols if symbol not in values]
        if len(rest) == 1:
            values |= _solved(size, rest[0], count, values)
    return values


def _solved(size: sympy.Expr, symbol: sympy.Symbol, count: int, values: Values) -> Values:
    """The symbol's value where the size is linear in it, as `2*s0 + 1` is; else nothing."""
    zero, one = (_at(size, {**values, symbol: value}) for value in (0, 1))
    if zero is None or one is None or one == zero:
        return {}
    value = (count - zero) // (one - zero)
    return {symbol: value} if _at(size, {**values, symbol: value}) == count else {}


def _pairs(
    shapes: Sequence[Sequence[Size]], known: Sequence[Sequence[int]]
) -> Iterator[tuple[sympy.Expr, int]]:
    for shape, counts in zip(shapes, known, strict=True):
        for size, count in zip(shape, counts, strict=True):
            if isinstance(size, sympy.Expr):
                yield size, int(count)


# --- shapes as a file has them -----------------------------------------------------------------

Json = dict[str, Any]
BATCH = "batch"


def read_shapes(program: ExportedProgram, inputs: list[Json]) -> Json:
    """Dtype and sizes of each tensor that goes in, by its name, and of all that comes out.

    `inputs` are those of the graph document: node, parameter and keys of each.
    """
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    tensors = {
        place_of(row): values[row["name"]]
        for row in inputs
        if isinstance(values.get(row["name"]), torch.Tensor)
    }
    names = _names_of_sizes(list(tensors.values()))
    return {
        "inputs": {place: _described(tensor, names) for place, tensor in tensors.items()},
        "outputs": {place: _described(leaf, names) for place, leaf in _results(program)},
    }


def place_of(row: Mapping[str, Any]) -> str:
    """How a call spells an argument: x, or batch['x'] for what lies inside of one."""
    keys = "".join(f"[{key!r}]" for key in row["keys"])
    return str(row["parameter"]).lstrip("*") + keys


def plain_leaf(value: Any) -> list[str]:
    """Type and value of what is no tensor; of an object the type alone."""
    if isinstance(value, Left):
        return [value.kind]
    plain = value is None or type(value) in (bool, int, float, str)
    return [type(value).__name__, *([repr(value)[:100]] if plain else [])]


def dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _results(program: ExportedProgram) -> Iterator[tuple[str, Any]]:
    output = next(node for node in program.graph.nodes if node.op == "output")
    leaves = [
        value.meta.get("val") if isinstance(value, fx.Node) else value for value in output.args[0]
    ]
    structure = program.call_spec.out_spec
    # A tensor has no leaves of its own, whatever it is: wrapped, None keeps its place as well.
    wrapped = pytree.tree_unflatten([_Result(leaf) for leaf in leaves], structure)
    for place, leaf in result_places(wrapped):
        yield place, leaf.value


class _Result:
    def __init__(self, value: Any) -> None:
        self.value = value


def _described(value: Any, names: Mapping[sympy.Symbol, sympy.Symbol]) -> list[Any]:
    if not isinstance(value, torch.Tensor):
        return plain_leaf(value)
    return [dtype_name(value.dtype), *(_stored_size(size, names) for size in value.shape)]


def _stored_size(size: int | torch.SymInt, names: Mapping[sympy.Symbol, sympy.Symbol]) -> int | str:
    if not is_free(size):
        return int(size)
    return str(size.node.expr.xreplace(dict(names)))  # type: ignore[union-attr]


def _names_of_sizes(tensors: list[torch.Tensor]) -> dict[sympy.Symbol, sympy.Symbol]:
    """The name of each symbol that torch.export has for a free size."""
    first = [symbol for tensor in tensors for size in tensor.shape[:1] for symbol in _symbols(size)]
    every = [symbol for tensor in tensors for size in tensor.shape for symbol in _symbols(size)]
    others = [symbol for symbol in dict.fromkeys(every) if symbol not in first[:1]]
    names = {symbol: sympy.Symbol(f"size{k + 1}") for k, symbol in enumerate(others)}
    return names | {symbol: sympy.Symbol(BATCH) for symbol in first[:1]}


def _symbols(size: int | torch.SymInt) -> list[sympy.Symbol]:
    return sorted(size.node.expr.free_symbols, key=str) if is_free(size) else []  # type: ignore[union-attr]
