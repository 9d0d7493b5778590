"""Batches of other sizes, with values within the recorded range, for comparing two models on, and
how much memory the values of an ONNX graph take with one, told before it runs.

The shapes of all values are inferred by ONNX; a value is alive from the node that makes it to the
last one that reads it, and those of the graph's outputs to the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch

from symcompile.aten.sizes import Sizes
from symcompile.exporters.onnx_functions import graphs_in
from symcompile.modules.calling import Batch, map_tensors, tensors


def batch_size(batch: Batch, sizes: Sizes) -> int | None:
    """Rows of a batch, None where the model fixes them."""
    return None if sizes.batch is None else _values(batch, sizes).get(sizes.batch)


def _values(batch: Batch, sizes: Sizes) -> dict[str, int]:
    """What each free size is in a batch, by its symbol."""
    return sizes.values_in([tensor.shape for tensor in tensors(batch)])


def of_size(example: Batch, sizes: Sizes, size: int) -> Iterator[Batch]:
    """The example with `size` rows, in several versions to be tried in turn: what the graph does
    not tie to the batch size may or may not have to move with it, see `Sizes.companions`."""
    for companions in sizes.companions():
        moved = {symbol: times * size for symbol, times in companions.items()}
        shapes = sizes.shapes_at(_values(example, sizes) | moved)
        if all(count is None or count >= 0 for shape in shapes for count in shape):
            yield resized(example, shapes)


def largest_that_fits(
    example: Batch, sizes: Sizes, size: int, fits: Callable[[Batch], bool]
) -> int:
    """The largest number of rows up to `size` that fits, and 1 if none does."""

    def fitting(rows: int) -> bool:
        batch = next(of_size(example, sizes, rows), None)
        return batch is None or fits(batch)

    if fitting(size):
        return size
    low, high = 1, size  # the first does, or has to do; the second does not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fitting(middle) else (low, middle)
    return low


def with_one_row_more(example: Batch, sizes: Sizes) -> Iterator[Batch]:
    """One row more in every tensor of as many rows as the batch, where the graph fixes any."""
    shapes = [tuple(tensor.shape) for tensor in tensors(example)]
    count = batch_size(example, sizes)
    in_graph = zip(shapes, sizes.shapes, strict=True)
    if any(shape[:1] == (count,) and isinstance(free[0], int) for shape, free in in_graph):
        more = [(s[0] + 1, *s[1:]) if s[:1] == (count,) else s for s in shapes]
        yield resized(example, more)


def shorter(example: Batch, sizes: Sizes) -> Iterator[Batch]:
    """The example with all free sizes but the batch's about halved, where that changes anything."""
    values = _values(example, sizes)
    halved = {s: max(-(-values[s] // 2), sizes.least.get(s, 1)) for s in sizes.others}
    changed = {symbol: size for symbol, size in halved.items() if size < values[symbol]}
    if changed:
        yield resized(example, sizes.shapes_at(values | changed))


def resized(example: Batch, shapes: Sequence[Sequence[int | None]]) -> Batch:
    """The example with its tensors in these shapes, in order; None keeps a size.

    First dimensions grow by mixtures of two rows each, which stay within the recorded range of
    every value, others by repetition.
    """
    which = iter(shapes)

    def resize(tensor: torch.Tensor) -> torch.Tensor:
        for axis, size in enumerate(next(which)):
            if size is None or size == tensor.shape[axis]:
                continue
            if size < tensor.shape[axis]:
                tensor = tensor.narrow(axis, 0, size)
            elif axis == 0:
                tensor = _with_more_rows(tensor, size)
            else:
                index = torch.arange(size) % tensor.shape[axis]
                tensor = tensor.index_select(axis, index)
        return tensor

    return map_tensors(resize, example)


def _with_more_rows(tensor: torch.Tensor, size: int) -> torch.Tensor:
    """The same rows are mixed, in the same shares, in all tensors that have as many."""
    generator = torch.Generator().manual_seed(0)
    count = tensor.shape[0]
    extra = size - count
    first = torch.randint(count, (extra,), generator=generator)
    second = (first + torch.randint(1, max(count, 2), (extra,), generator=generator)) % count
    share = torch.rand(extra, generator=generator)
    if not tensor.is_floating_point():
        return torch.cat([tensor, tensor[first]])
    weight = share.to(tensor.dtype).reshape(-1, *[1] * (tensor.ndim - 1))
    if count == 1:  # nothing to mix with: shrink by up to a tenth, so that rows differ
        mixed = tensor[first] * (1.0 - 0.1 * weight)
    else:
        mixed = weight * tensor[first] + (1.0 - weight) * tensor[second]
    return torch.cat([tensor, mixed])


# --- memory --------------------------------------------------------------------------------------


def peak_bytes(proto: Any, inputs: Mapping[str, Sequence[int]]) -> int:
    """The most bytes that inputs and values of a graph take at once; weights do not count.

    Args:
        proto: an onnx.ModelProto, whose weights may be elsewhere.
        inputs: the shape of each input of the graph, by name.
    """
    import onnx

    sized = onnx.ModelProto()
    sized.CopyFrom(proto)
    del sized.graph.value_info[:]  # what was known of other values by symbols
    for value in (*sized.graph.input, *sized.graph.output):
        kind = value.type.tensor_type
        kind.ClearField("shape")
        for size in inputs.get(value.name, ()):
            kind.shape.dim.add(dim_value=size)
    graph = onnx.shape_inference.infer_shapes(sized, data_prop=True).graph
    values = (*graph.input, *graph.value_info, *graph.output)
    sizes = {value.name: _bytes_of(value.type.tensor_type) for value in values}
    return _peak(graph, {name: size for name, size in sizes.items() if size is not None})


def _bytes_of(kind: Any) -> int | None:
    """Of a value of this type; None where its shape is not known."""
    import onnx

    if not kind.HasField("shape") or not all(d.HasField("dim_value") for d in kind.shape.dim):
        return None
    try:
        width = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).itemsize
    except KeyError:
        return None
    return width * math.prod(d.dim_value for d in kind.shape.dim)


def _peak(graph: Any, sizes: Mapping[str, int]) -> int:
    last = {name: place for place, node in enumerate(graph.node) for name in _read_by(node)}
    forever = {value.name for value in (*graph.input, *graph.output)}
    fixed = {initializer.name for initializer in graph.initializer}
    taken = {value.name: sizes.get(value.name, 0) for value in graph.input}
    alive = most = sum(taken.values())
    for place, node in enumerate(graph.node):
        made = [name for name in node.output if name]
        if set(_read_by(node)) <= fixed | {""}:  # computed once, from weights
            fixed.update(made)
            continue
        # One of unknown shape is taken to be as large as the largest that it is made from.
        largest = max((taken.get(name, 0) for name in node.input), default=0)
        taken |= {name: sizes.get(name, largest) for name in made}
        alive += sum(taken[name] for name in made)
        most = max(most, alive)
        done = {name for name in {*_read_by(node), *made} if last.get(name, place) == place}
        alive -= sum(taken.get(name, 0) for name in done - forever)
    return most


def _read_by(node: Any) -> Iterable[str]:
    """What a node reads, graphs inside of it included."""
    yield from node.input
    for graph in graphs_in(node):
        for inner in graph.node:
            yield from _read_by(inner)
