"""Export a hybrid as an ATen graph in which every symbolic block is one opaque node.

`torch.export` flattens a model: what belonged to which block could only be guessed from metadata
afterwards. Here each block is replaced, in a copy of the module tree, by a call of the custom
operator `symcompile::block`, so that the graph around the blocks and the blocks stay apart:

    symcompile::block(Tensor[] inputs, str path, int[] input_features, int[] output_features,
                      str dtype) -> Tensor[]

`inputs` and the result have the order of `Interface.inputs` and `Interface.outputs`; a feature
count of 0 marks a tensor without a feature dimension. Shapes follow from the arguments alone, so a
graph with such nodes can be re-traced anywhere. To run one, bind the blocks: `with bound(blocks)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import reduce
from types import MethodType
from typing import Any

import torch
from torch import fx, nn

from symcompile.errors import ExportError
from symcompile.modules.arguments import build_arguments, pick_tensors
from symcompile.modules.calling import (
    dtype_name,
    evaluating,
    home,
    quiet_call,
    submodule_path,
    tensors,
)
from symcompile.modules.region import Region
from symcompile.modules.region_call import build_structure

OPERATOR = "symcompile::block"

_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)

# What runs in the place of a block: tensors in the order of Interface.inputs, to those of outputs.
Block = Callable[[Sequence[torch.Tensor]], Sequence[torch.Tensor]]

_blocks: ContextVar[Mapping[str, Block] | None] = ContextVar("symcompile_blocks", default=None)


@dataclass(frozen=True)
class BlockCall:
    """One opaque node: the call of the block at `path`."""

    node: fx.Node
    path: str
    input_features: tuple[int, ...]
    output_features: tuple[int, ...]
    dtype: torch.dtype


def block_calls(graph_module: fx.GraphModule) -> Iterator[BlockCall]:
    """The opaque nodes of a graph, in order, those of nested graphs included."""
    for module in graph_module.modules():
        for node in module.graph.nodes if isinstance(module, fx.GraphModule) else ():
            if node.op == "call_function" and node.target is torch.ops.symcompile.block.default:
                _, path, inputs, outputs, dtype = node.args
                yield BlockCall(node, path, tuple(inputs), tuple(outputs), getattr(torch, dtype))


@contextmanager
def bound(blocks: Mapping[str, Block]) -> Iterator[None]:
    """Run opaque nodes inside with these blocks, by path. Each thread has its own."""
    token = _blocks.set({**(_blocks.get() or {}), **blocks})
    try:
        yield
    finally:
        _blocks.reset(token)


def as_block(module: nn.Module, region: Region) -> Block:
    """A module that is called as a region is, as a function of its flat tensors."""
    run = quiet_call(module)

    def call(inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        args, kwargs = build_arguments(region.interface, inputs, region.settings)
        return tensors(run(*args, **kwargs))

    return call


# --- the operator --------------------------------------------------------------------------


@torch.library.custom_op(
    OPERATOR,
    mutates_args=(),
    schema="(Tensor[] inputs, str path, int[] input_features, int[] output_features, str dtype)"
    " -> Tensor[]",
)
def _block(inputs: Sequence[torch.Tensor], path: str, *_: object) -> list[torch.Tensor]:
    block = (_blocks.get() or {}).get(path)
    if block is None:
        raise ExportError(
            f"the graph calls symbolic block {path!r}, which is not bound:"
            " run it inside `with symcompile.aten.opaque.bound({path: block})`"
        )
    # An operator may return neither its inputs nor one tensor twice; an equation `x0` does.
    return [output.clone() for output in block(inputs)]


@_block.register_fake
def _block_shapes(
    inputs: Sequence[torch.Tensor],
    path: str,
    input_features: Sequence[int],
    output_features: Sequence[int],
    dtype: str,
) -> list[torch.Tensor]:
    pairs = zip(inputs, input_features, strict=True)
    shapes = [t.shape[:-1] if features else t.shape for t, features in pairs]
    samples = reduce(torch.broadcast_shapes, shapes)
    return [
        inputs[0].new_empty((*samples, count) if count else samples, dtype=getattr(torch, dtype))
        for count in output_features
    ]


# --- a module tree with opaque blocks --------------------------------------------------------


class _Opaque(nn.Module):
    """Stands in a block's place and calls the operator."""

    def __init__(self, region: Region, block: nn.Module) -> None:
        super().__init__()
        self.path, self.interface = region.path, region.interface
        self.dtypes = _result_dtypes(region, block)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        interface = self.interface
        inputs = pick_tensors(interface, args, kwargs)
        for tensor, spec in zip(inputs, interface.inputs, strict=True):
            if not spec.scalar:
                torch._check(tensor.shape[-1] == spec.features)
        dtype = reduce(torch.promote_types, (tensor.dtype for tensor in inputs))
        if dtype not in self.dtypes:
            raise ExportError(f"block {self.path!r} does not accept inputs of {dtype}")
        outputs = torch.ops.symcompile.block(
            inputs,
            self.path,
            [0 if spec.scalar else spec.features for spec in interface.inputs],
            [0 if spec.scalar else spec.features for spec in interface.outputs],
            dtype_name(self.dtypes[dtype]),
        )
        return build_structure(interface.structure, outputs)


def with_opaque_blocks(module: nn.Module, regions: Iterable[Region]) -> nn.Module:
    """The module with opaque blocks: what leads to a block is copied, all else is shared."""
    swaps: dict[int, nn.Module] = {}
    for region in regions:
        block = module.get_submodule(submodule_path(region.path))
        swaps[id(block)] = _Opaque(region, block)
    return with_modules(module, swaps)


def with_modules(module: nn.Module, swaps: dict[int, nn.Module]) -> nn.Module:
    """The module tree with other modules in the place of some, by id, wherever they are reached.

    What leads to one of them is copied, all else is shared; `swaps` also takes up the copies.
    """
    if id(module) in swaps:
        return swaps[id(module)]
    before = module._modules
    children = {
        n: child if child is None else with_modules(child, swaps) for n, child in before.items()
    }
    if all(children[name] is child for name, child in before.items()):
        return module
    clone = shallow_copy(module)
    clone._modules = children
    forward = module.__dict__.get("forward")
    if isinstance(forward, MethodType) and forward.__self__ is module:  # patched by the user
        clone.__dict__["forward"] = MethodType(forward.__func__, clone)
    swaps[id(module)] = clone
    return clone


def shallow_copy(module: nn.Module, kind: type[nn.Module] | None = None) -> nn.Module:
    """Not copy.copy: a user's __copy__ must not run, and that of a GraphModule recompiles."""
    clone: nn.Module = object.__new__(kind or type(module))
    clone.__dict__.update(module.__dict__)
    return clone


def _result_dtypes(region: Region, block: nn.Module) -> dict[torch.dtype, torch.dtype]:
    """Dtype of the outputs by dtype of the inputs, found by calling the block on two samples."""
    call, device = as_block(block, region), home(block)[0]
    shapes = [(2,) if spec.scalar else (2, spec.features) for spec in region.interface.inputs]
    dtypes = {}
    for dtype in _DTYPES:
        try:
            with torch.no_grad(), evaluating(block):
                outputs = call([torch.ones(s, dtype=dtype, device=device) for s in shapes])
        except (RuntimeError, TypeError):  # not every block works in every dtype
            continue
        dtypes[dtype] = outputs[0].dtype
    return dtypes
