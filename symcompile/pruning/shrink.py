"""Shrink: take output dimensions out of a block for good.

The rows of the block's last nn.Linear that gave them are removed. What reads the block still gets
tensors of the old width, with zeros in their place: the block at `path` becomes a `Shrunk`, whose
submodule `path.live` is the smaller block. That one gives the live dimensions alone, and is a
target for the compiler.

Which nn.Linear it is has to be proven: nn.Linear itself, nn.Sequential, and forwards that torch.fx
traces alike in training and in evaluation mode count, with nothing but elementwise functions after
the layer.
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Sequence

import torch
from torch import fx, nn
from torch.nn import functional as F

from symcompile.errors import PruningError
from symcompile.modules.agreement import attempt
from symcompile.modules.calling import Batch, evaluating, same
from symcompile.modules.state import preserving

_MODULES = (
    *(nn.CELU, nn.ELU, nn.GELU, nn.Hardshrink, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh),
    *(nn.LeakyReLU, nn.LogSigmoid, nn.Mish, nn.ReLU, nn.ReLU6, nn.SELU, nn.SiLU, nn.Sigmoid),
    *(nn.Softplus, nn.Softshrink, nn.Softsign, nn.Tanh, nn.Tanhshrink, nn.Threshold),
    *(nn.Identity, nn.Dropout),
)

_WORDS = """
abs acos acosh asin asinh atan atanh celu clamp clip cos cosh dropout elu erf exp expm1 gelu
hardshrink hardsigmoid hardswish hardtanh leaky_relu log log1p logsigmoid mish neg negative pow
reciprocal relu relu6 rsqrt selu sigmoid silu sin sinh softplus softshrink softsign sqrt square
tan tanh tanhshrink threshold
add div mul multiply sub subtract true_divide truediv
"""
_NAMES = frozenset(_WORDS.split())
_FUNCTIONS = {
    getattr(home, name) for home in (torch, F, operator) for name in _NAMES if hasattr(home, name)
}


class Scatter(nn.Module):
    """Puts the columns of [..., n_live] among zeros: [..., width]."""

    index: torch.Tensor

    def __init__(self, columns: Sequence[int], width: int) -> None:
        super().__init__()
        # Each column is one of the live ones, or the column of zeros that is put after them.
        index = torch.full((width,), len(columns))
        index[list(columns)] = torch.arange(len(columns))
        self.register_buffer("index", index)

    def forward(self, live: torch.Tensor) -> torch.Tensor:
        return nn.functional.pad(live, (0, 1)).index_select(-1, self.index)


class Shrunk(nn.Module):
    """A block that lost output columns, and what gives its readers the width that they expect."""

    def __init__(self, live: nn.Module, scatter: Scatter) -> None:
        super().__init__()
        self.live = live
        self.scatter = scatter
        self.training = scatter.training = live.training

    def forward(self, *args: object, **kwargs: object) -> torch.Tensor:
        return self.scatter(self.live(*args, **kwargs))


def shrink(
    model: nn.Module, path: str, columns: Sequence[int], *, example: Batch | None = None
) -> None:
    """Keep the given output columns of the block at `path`, in place; the others become zeros.

    The parameters of the last layer are new tensors: build the optimizer anew. To load a checkpoint
    of a shrunk model, build the model, shrink it to the same columns, then `load_state_dict`.

    Args:
        columns: indices of the output columns to keep, rising.
        example: arguments of the block; where given, the outputs before and after are compared.

    Raises PruningError, with the model as it was, if `columns` makes no sense, if no layer is known
    to give the outputs row by row (`last_affine`), or if the comparison fails.
    """
    linear = last_affine(model, path)
    block, width, kept = model.get_submodule(path), linear.out_features, list(columns)
    inside = all(isinstance(c, int) and 0 <= c < width for c in kept)
    if not kept or not inside or kept != sorted(set(kept)):
        raise PruningError(
            f"block {path!r} of {width} outputs can't keep columns {kept}: expected at"
            f" least one index from 0 to {width - 1}, each once, rising"
        )
    shrunk = Shrunk(block, Scatter(kept, width).to(linear.weight.device))
    before, parameters = _outputs(block, example), dict(linear._parameters)
    for name, rows in parameters.items():
        if rows is not None:
            fewer = nn.Parameter(rows.detach()[kept].clone(), requires_grad=rows.requires_grad)
            linear._parameters[name] = fewer
    linear.out_features = len(kept)
    if not _agree(before, _outputs(shrunk, example), kept):
        linear._parameters.update(parameters)
        linear.out_features = width
        raise PruningError(
            f"block {path!r} can't be made smaller: it would give other values. Something else than"
            " its last nn.Linear has a say in them, such as a hook: prune that nn.Linear itself"
        )
    _replace(model, block, shrunk)


def _replace(model: nn.Module, block: nn.Module, other: nn.Module) -> None:
    """Put another module in the block's place, under every name that it has in the model."""
    for parent in list(model.modules()):
        for name, child in parent._modules.items():
            if child is block:
                parent._modules[name] = other


def _outputs(block: nn.Module, example: Batch | None) -> object:
    with evaluating(block):
        return None if example is None else attempt(block, example)


def _agree(before: object, after: object, columns: list[int]) -> bool:
    """Whether the outputs are those before, with zeros in all other columns; a block that failed
    before proves nothing."""
    if not isinstance(before, torch.Tensor):
        return True
    expected = torch.zeros_like(before)
    expected[..., columns] = before[..., columns]
    return same(expected, after)


# --- the layer that gives the outputs ------------------------------------------------------------


def last_affine(model: nn.Module, path: str) -> nn.Linear:
    """The nn.Linear whose rows give the output columns of the block at `path`, one by one.

    Raises PruningError if there is none, or if its rows serve something else as well.
    """
    block = model.get_submodule(path)
    try:
        with preserving(block), evaluating(block):
            linear = _last(block)
            block.train()  # `evaluating` puts every mode back
            if _last(block) is not linear:
                raise _UnprovenError("other layers come last in training than in evaluation")
        _refuse_shared(model, block, linear)
    except _UnprovenError as reason:
        inner = [name for name, child in block.named_modules() if name and type(child) is nn.Linear]
        advice = f"; or name that layer, for example {path + '.' + inner[-1]!r}" if inner else ""
        raise PruningError(
            f"block {path!r} can't be made smaller: {reason}. Expected a block that ends in an"
            f" nn.Linear, with at most elementwise functions after it{advice}"
        ) from None
    return linear


class _UnprovenError(Exception):
    """Why no layer is known to give the outputs row by row."""


def _last(module: nn.Module) -> nn.Linear:
    kind = type(module).__name__
    if "forward" in module.__dict__:
        raise _UnprovenError(f"the forward of a {kind} was replaced")
    if isinstance(module, nn.Linear):
        # A subclass, or one of torch.nn.utils, may compute its weight anew at each call.
        if type(module) is not nn.Linear or "weight" not in module._parameters:
            raise _UnprovenError(f"the weight of a {kind} is not a plain parameter of its own")
        return module
    if type(module) is not nn.Sequential:
        return _last(_last_called(module))
    for child in reversed(module):
        if type(child) not in _MODULES:
            return _last(child)
    raise _UnprovenError("it holds no nn.Linear")


def _last_called(module: nn.Module) -> nn.Module:
    """The submodule that gives the module's output, elementwise functions aside."""
    if type(module).__module__.startswith("torch.nn.modules."):
        raise _UnprovenError(f"its output comes from a {type(module).__name__}")
    graph = _trace(module)
    called = {n: module.get_submodule(str(n.target)) for n in graph.nodes if n.op == "call_module"}
    (result,) = graph.output_node().args
    node: object = result
    while isinstance(node, fx.Node) and len(node.users) == 1:
        child = called.get(node)
        if child is not None and type(child) not in _MODULES:
            if sum(other is child for other in called.values()) > 1:
                raise _UnprovenError(f"{node.target} is called more than once")
            return child
        if child is None and not _is_elementwise(node):
            name = node.target if isinstance(node.target, str) else None
            name = name or getattr(node.target, "__name__", "?")
            source = "its input" if node.op == "placeholder" else f"{name}()"
            raise _UnprovenError(f"its output comes from {source}")
        (node,) = node.all_input_nodes
    raise _UnprovenError("what its last layer gives is used more than once, or is no tensor")


class _Shallow(fx.Tracer):
    """Follows one forward: what it calls is looked into afterwards."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True


def _trace(module: nn.Module) -> fx.Graph:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _Shallow().trace(module)
    except Exception as error:  # any failure of a user's forward under tracing is an answer
        kind = type(module).__name__
        raise _UnprovenError(f"torch.fx can't trace a {kind} ({type(error).__name__})") from None


def _is_elementwise(node: fx.Node) -> bool:
    """Whether column k of the result depends on column k of the one tensor that goes in."""
    elementwise = {"call_function": _FUNCTIONS, "call_method": _NAMES}.get(node.op, ())
    # Parameters and constant tensors are nodes, too; all else that goes in are numbers.
    return node.target in elementwise and len(node.all_input_nodes) == 1


def _refuse_shared(model: nn.Module, block: nn.Module, linear: nn.Linear) -> None:
    own = {id(parameter) for parameter in linear._parameters.values() if parameter is not None}
    for module in model.modules():
        held = {id(parameter) for parameter in module._parameters.values()}
        if module is not linear and own & held:
            raise _UnprovenError(f"a {type(module).__name__} shares the weights of its last layer")
    named = [module for _, module in model.named_modules(remove_duplicate=False)]
    if sum(m is linear for m in named) != sum(m is block for m in named):
        raise _UnprovenError("its last layer serves in another place as well")
