"""Find the affine layer whose rows are the output columns of a block.

Only what can be proven counts: nn.Linear itself, nn.Sequential, and forwards that torch.fx traces
alike in training and in evaluation mode, with nothing but elementwise functions after the layer.
"""

from __future__ import annotations

import operator
import warnings

import torch
from torch import fx, nn
from torch.nn import functional as F

from symcompile.errors import PruningError
from symcompile.modules.calling import evaluating
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
