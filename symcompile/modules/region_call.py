"""Call a region: between rows of X, tensors in the order of its interface, and its arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from symcompile.modules.arguments import build_arguments, pick_tensors
from symcompile.modules.calling import tensors
from symcompile.modules.region import Interface, Region
from symcompile.modules.state import preserving

Rows = Callable[[torch.Tensor], torch.Tensor]


def build_structure(structure: Any, outputs: Sequence[Any]) -> Any:
    """What a region returns: outputs in the nested tuples, lists and dicts of `structure`."""
    return pytree.tree_map(lambda number: None if number is None else outputs[number], structure)


def on_rows(region: Region, module: nn.Module, *, kept: bool = True) -> Rows:
    """The block as a function of rows [n_samples, n_inputs], giving [n_samples, n_outputs].

    Each call starts from the state that the module has now, unless `kept` is False.
    """
    return rows_of(region.interface, region.settings, module, kept=kept)


def rows_of(
    interface: Interface, settings: Mapping[str, Any], module: nn.Module, *, kept: bool = True
) -> Rows:
    """The same for a block that is not a region yet; settings are as they were recorded."""

    def call(rows: torch.Tensor) -> torch.Tensor:
        args, kwargs = row_arguments(interface, settings, rows)
        with preserving(module) if kept else nullcontext():
            outputs = tensors(module(*args, **kwargs))
        return torch.cat([t.reshape(len(rows), -1) for t in outputs], dim=-1)

    def one_by_one(rows: torch.Tensor) -> torch.Tensor:
        return torch.cat([call(row) for row in rows.split(1)])

    return one_by_one if interface.one_by_one else call


def row_arguments(
    interface: Interface, settings: Mapping[str, Any], rows: torch.Tensor
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments of the block for rows [n_samples, n_inputs], in the rank that it takes."""
    dims = interface.sample_dims if interface.one_by_one else max(1, interface.sample_dims)
    samples = (len(rows), *[1] * (dims - 1))[:dims]
    # Not by torch.split: what that gives, a block may not write into.
    inputs = [
        rows[:, columns].reshape(samples if spec.scalar else (*samples, spec.features))
        for spec, columns in zip(interface.inputs, interface.input_slices, strict=True)
    ]
    return build_arguments(interface, inputs, settings)


def in_place_of(region: Region, function: Rows) -> Callable[..., Any]:
    """A function of rows as something that can be called with the block's own arguments."""

    interface = region.interface

    def call(*args: Any, **kwargs: Any) -> Any:
        inputs = pick_tensors(interface, args, kwargs)
        pairs = zip(inputs, interface.inputs, strict=True)
        wide = [t.unsqueeze(-1) if spec.scalar else t for t, spec in pairs]
        samples = torch.broadcast_shapes(*(t.shape[:-1] for t in wide))
        rows = torch.cat([t.expand(*samples, t.shape[-1]) for t in wide], dim=-1)
        values = function(rows.reshape(-1, rows.shape[-1]))
        values = values.to(inputs[0].dtype).reshape(*samples, -1)
        outputs = [
            values[..., columns.start if spec.scalar else columns]
            for spec, columns in zip(interface.outputs, interface.output_slices, strict=True)
        ]
        return build_structure(interface.structure, outputs)

    return call


def replaced(
    root: nn.Module, paths: Mapping[str, Callable[..., Any]], run: Callable[[], Any]
) -> Any:
    """Run `root` with functions in the place of the forwards of some submodules, which do not run;
    they are put back afterwards."""
    with ExitStack() as stack:
        for path, function in paths.items():
            stack.enter_context(_diverted(root.get_submodule(path), function))
        return run()


@contextmanager
def _diverted(module: nn.Module, function: Callable[..., Any]) -> Iterator[None]:
    # What torch fuses past a module's forward, it calls where there are hooks, as in a recording.
    hook = module.register_forward_hook(lambda *_: None)
    own = module.__dict__.get("forward")
    module.__dict__["forward"] = function
    try:
        yield
    finally:
        hook.remove()
        if own is None:
            del module.__dict__["forward"]
        else:
            module.__dict__["forward"] = own
