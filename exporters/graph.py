"""Give a hybrid as one differentiable fx.GraphModule."""

from __future__ import annotations

import copy
import inspect
import operator
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

from torch import fx, nn
from torch.fx.node import map_arg

from symcompile.aten.export import export_program
from symcompile.aten.opaque import block_calls
from symcompile.errors import ExportError, described
from symcompile.fidelity.outcome import Hybrid, Rewrite
from symcompile.modules.agreement import Tracer, disagreement, learn_alike
from symcompile.modules.arguments import bind, build_arguments
from symcompile.modules.calling import submodule_path
from symcompile.modules.region import Parameter, Region
from symcompile.modules.state import deepcopy, same_random_state


@same_random_state()
def graph_module(hybrid: Hybrid, *, inline: bool = True) -> fx.GraphModule:
    """A hybrid as an fx.GraphModule that computes the same, is differentiable and trains.

    Traced by torch.fx where the trace agrees with the hybrid on its example, else the module of a
    `torch.export` program, which keeps the hybrid's present mode (evaluation or training) for good;
    `.meta["symcompile"]` tells which, and why. Parameters and buffers are those of the hybrid, not
    copies: training one trains the other, until one of them is moved or converted by `.to()`.

    Args:
        inline: put the nodes of each symbolic block into the graph, each with its region and
            equation in `node.meta["symcompile"]`. False leaves a block one `call_module` node.

    Raises ExportError if neither torch.fx nor torch.export can follow the forward.
    """
    regions = [o.region for o in hybrid.outcomes.values() if isinstance(o, Rewrite)]
    traced, note = _traced(hybrid, regions)
    how = "fx"
    if traced is None:
        traced, how = _exported(hybrid, regions, note), "torch.export"
        note = _warn_of_other_gradients(hybrid, traced, note)
    if inline:
        # By identity: a block may be reachable under several names.
        blocks = {id(hybrid.module.get_submodule(submodule_path(r.path))): r for r in regions}
        _inline_blocks(traced, blocks)
    traced.graph.lint()
    traced.recompile()
    traced.meta["symcompile"] = {"capture": how, "note": note}
    return traced


# --- by torch.fx -------------------------------------------------------------------------------


def _traced(hybrid: Hybrid, regions: Iterable[Region]) -> tuple[fx.GraphModule | None, str]:
    """A traced copy that shares all parameters, or None with the reason."""
    module = hybrid.module
    if isinstance(module, fx.GraphModule):  # a trace that the compiler has compared already
        return _share(module, copy.deepcopy(module.graph), type(module).__name__), ""
    if hybrid.example is None:
        raise ExportError(
            "there is no example batch to prove a traced graph with: compile with data=, then"
            " export"
        )
    try:
        blocks = [module.get_submodule(submodule_path(region.path)) for region in regions]
        graph = Tracer(blocks).trace(module)
        traced = _share(module, graph, type(module).__name__)
    except Exception as error:  # any failure of a user's forward under tracing is an answer
        return None, f"torch.fx can't trace it: {described(error)}"
    # On copies: a forward may write into its parameters.
    problem = disagreement(*deepcopy((module, traced), module, traced), hybrid.example)
    return (None, f"the graph traced by torch.fx {problem}") if problem else (traced, "")


def _share(root: nn.Module, graph: fx.Graph, name: str) -> fx.GraphModule:
    shared = fx.GraphModule(root, graph, name)
    shared.training = root.training
    return shared


_OTHER_GRADIENTS = (
    "the exported graph trains otherwise than the model: an autograd.Function with a backward of"
    " its own, torch.inference_mode, or a forward that switches gradients on, is the usual cause"
)


def _warn_of_other_gradients(hybrid: Hybrid, exported: fx.GraphModule, note: str) -> str:
    """The note, with what the graph of torch.export has lost in training."""
    assert hybrid.example is not None
    both = deepcopy((hybrid.module, exported), hybrid.module, exported)
    if learn_alike(*both, hybrid.example):
        return note
    warnings.warn(_OTHER_GRADIENTS, stacklevel=4)
    return f"{note}; {_OTHER_GRADIENTS}"


# --- by torch.export -----------------------------------------------------------------------------


def _exported(hybrid: Hybrid, regions: Iterable[Region], note: str) -> fx.GraphModule:
    """The module of an exported program, each opaque node a call of its block."""
    assert hybrid.example is not None
    regions = list(regions)
    try:
        exported = export_program(hybrid.module, hybrid.example, regions)
    except ExportError as error:
        raise ExportError(f"{note}; {error}") from error
    # Older versions of torch have no guards on the example's sizes to switch off.
    unguarded = "check_guards" in inspect.signature(exported.program.module).parameters
    module = exported.program.module(**({"check_guards": False} if unguarded else {}))
    assert isinstance(module, fx.GraphModule)
    by_path = {region.path: region for region in regions}
    for call in list(block_calls(module)):
        region, path = by_path[call.path], submodule_path(call.path)
        module.add_submodule(path, hybrid.module.get_submodule(path))
        args, kwargs = build_arguments(region.interface, call.node.args[0])  # type: ignore[arg-type]
        with module.graph.inserting_before(call.node):
            node = module.graph.call_module(path, args, kwargs)
            outputs = _leaves(module.graph, node, region.interface.structure)
        _replace(call.node, [outputs[number] for number in sorted(outputs)])
        module.graph.erase_node(call.node)
    return module


def _leaves(graph: fx.Graph, node: fx.Node, structure: Any) -> dict[int, fx.Node]:
    """Nodes that take a block's result apart: each tensor output by its number."""
    if isinstance(structure, int):
        return {structure: node}
    keys = structure if isinstance(structure, Mapping) else range(len(structure))
    nodes: dict[int, fx.Node] = {}
    for key in keys:
        item = graph.call_function(operator.getitem, (node, key))
        nodes |= _leaves(graph, item, structure[key])
    return nodes


# --- inlining ------------------------------------------------------------------------------------


def _inline_blocks(module: fx.GraphModule, blocks: Mapping[int, Region]) -> None:
    for node in list(module.graph.nodes):
        if node.op != "call_module":
            continue
        block = module.get_submodule(node.target)
        if id(block) in blocks and isinstance(block, fx.GraphModule):
            _inline(module.graph, node, block, blocks[id(block)])


def _inline(graph: fx.Graph, call: fx.Node, block: fx.GraphModule, region: Region) -> None:
    """The block's nodes in the place of its call, with its constants read where they are."""
    placeholders = [node for node in block.graph.nodes if node.op == "placeholder"]
    parameters = [Parameter(str(node.target)) for node in placeholders]
    bound = bind(parameters, call.args, call.kwargs)
    values: dict[fx.Node, Any] = {
        node: bound.get(str(node.target), node.args[0] if node.args else None)
        for node in placeholders
    }
    with graph.inserting_before(call):
        result = graph.graph_copy(block.graph, values)
    for node, inner in values.items():
        if node.op != "placeholder":
            if node.op in ("get_attr", "call_module"):
                inner.target = f"{call.target}.{node.target}"
            inner.meta.setdefault("symcompile", {"region": region.path})
    _replace(call, result)
    graph.erase_node(call)


def _replace(node: fx.Node, result: Any) -> None:
    """Let all users of a node use `result`: a node, or nested tuples, lists and dicts of nodes."""
    if isinstance(result, fx.Node):
        node.replace_all_uses_with(result)
        return
    for user in list(node.users):
        if user.target is operator.getitem and user.args[0] is node:
            _replace(user, result[user.args[1]])
            user.graph.erase_node(user)
        else:
            user.args = map_arg(user.args, lambda n: result if n is node else n)
            user.kwargs = map_arg(user.kwargs, lambda n: result if n is node else n)
