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

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import sympy
import torch
from torch import fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.utils import _pytree as pytree

from symcompile.aten.signature import Json, traced_inputs
from symcompile.modules.calling import Left, dtype_name, result_places

BATCH = "batch"

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
        first = [size for shape in self.shapes for size in shape[:1]]
        return next((s for s in (*first, *_symbols(first)) if s in self.traced), None)

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
        count, traced = self.traced[self.batch], self.traced
        first, anywhere = (
            [size for size in dict.fromkeys(sizes) if size in traced]
            for sizes in (
                [size for shape in self.shapes for size in shape[:1]],
                [size for shape in self.shapes for size in shape],
            )
        )
        groups: list[dict[sympy.Symbol, int]] = [
            {symbol: 1 for symbol in first if traced[symbol] == count},
            {symbol: traced[symbol] // count for symbol in first if traced[symbol] % count == 0},
            {symbol: 1 for symbol in anywhere if traced[symbol] == count},
            {self.batch: 1},
        ]
        return [group for k, group in enumerate(groups) if group not in groups[:k]]


def read_sizes(program: ExportedProgram, traced: Sequence[torch.Tensor]) -> Sizes:
    """Sizes of the tensors that go into a program, which was traced with the tensors `traced`."""
    inputs = (n for n, spec in traced_inputs(program) if spec.kind is InputKind.USER_INPUT)
    values = [node.meta.get("val") for node in inputs]
    tensors = [value for value in values if isinstance(value, torch.Tensor)]
    shapes = tuple(tuple(_size(size) for size in value.shape) for value in tensors)
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
    number = size.xreplace({symbol: sympy.Integer(value) for symbol, value in values.items()})
    return int(number) if number.is_Integer else None


def _symbols(sizes: Iterable[Size]) -> list[sympy.Symbol]:
    free = (size for size in sizes if isinstance(size, sympy.Expr))
    return [symbol for size in free for symbol in sorted(size.free_symbols, key=str)]


def _solve(
    shapes: Sequence[Sequence[Size]], counts: Sequence[Sequence[int]]
) -> dict[sympy.Symbol, int]:
    """The values of symbols that stand alone somewhere, and of those inside of one expression."""
    pairs = [
        (size, int(count))
        for shape, sizes in zip(shapes, counts, strict=True)
        for size, count in zip(shape, sizes, strict=True)
        if isinstance(size, sympy.Expr)
    ]
    values = {size: count for size, count in reversed(pairs) if isinstance(size, sympy.Symbol)}
    for size, count in pairs:
        rest = [symbol for symbol in size.free_symbols if symbol not in values]
        if len(rest) != 1:
            continue
        # Linear in the symbol, as `2*s0 + 1` is, or left open.
        at_zero, at_one = (_at(size, {**values, rest[0]: value}) for value in (0, 1))
        if at_zero is not None and at_one is not None and at_one != at_zero:
            value = (count - at_zero) // (at_one - at_zero)
            if _at(size, {**values, rest[0]: value}) == count:
                values[rest[0]] = value
    return values


# --- shapes as a file has them -----------------------------------------------------------------


def read_shapes(program: ExportedProgram, inputs: list[Json]) -> Json:
    """Dtype and sizes of each tensor that goes in, by its name, and of all that comes out.

    `inputs` are those of the graph document: node, parameter and keys of each.
    """
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    received = {place_of(row): values.get(row["name"]) for row in inputs}
    tensors = {place: value for place, value in received.items() if isinstance(value, torch.Tensor)}
    batch = _symbols(_size(size) for value in tensors.values() for size in value.shape[:1])[:1]
    every = _symbols(_size(size) for value in tensors.values() for size in value.shape)
    others = [symbol for symbol in dict.fromkeys(every) if symbol not in batch]
    names = {symbol: sympy.Symbol(f"size{k + 1}") for k, symbol in enumerate(others)}
    names |= {symbol: sympy.Symbol(BATCH) for symbol in batch}

    def described(value: Any) -> list[Any]:
        value = value.meta.get("val") if isinstance(value, fx.Node) else value
        if not isinstance(value, torch.Tensor):
            return plain_leaf(value)
        sizes = [_size(size) for size in value.shape]
        return [
            dtype_name(value.dtype),
            *(size if isinstance(size, int) else str(size.xreplace(names)) for size in sizes),
        ]

    # A node has no leaves of its own, whatever stands for it, and None keeps its place.
    returned = program.graph.output_node().args[0]
    outputs = pytree.tree_unflatten(returned, program.call_spec.out_spec)
    return {
        "inputs": {place: described(tensor) for place, tensor in tensors.items()},
        "outputs": {place: described(leaf) for place, leaf in result_places(outputs)},
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
