"""Shapes of a model's arguments and results, with names in the places of sizes that are free.

"batch" is the size that the first dimensions share; other free sizes are "size1", "size2", ... in
the order of the arguments. A result may have a size that follows from them, such as "2*batch".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import sympy
import torch
from torch import fx
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from symcompile.aten.opaque import is_free
from symcompile.modules.results import Left, result_places

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
    wrapped = pytree.tree_unflatten([_Leaf(leaf) for leaf in leaves], structure)
    for place, leaf in result_places(wrapped):
        yield place, leaf.value


class _Leaf:
    def __init__(self, value: Any) -> None:
        self.value = value


def _described(value: Any, names: Mapping[sympy.Symbol, sympy.Symbol]) -> list[Any]:
    if not isinstance(value, torch.Tensor):
        return plain_leaf(value)
    return [dtype_name(value.dtype), *(_size(size, names) for size in value.shape)]


def _size(size: int | torch.SymInt, names: Mapping[sympy.Symbol, sympy.Symbol]) -> int | str:
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
