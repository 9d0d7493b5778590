"""Translate a hybrid to an onnx_ir.Model by torch.onnx, its blocks as functions, names as a user
knows them."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from symcompile._version import __version__
from symcompile.aten.export import Exported, export_program
from symcompile.aten.opaque import BlockCall, as_block, block_calls
from symcompile.errors import ExportError, described
from symcompile.exporters.onnx_functions import (
    Together,
    as_function,
    insert_functions,
    one_call_each,
    own_outputs,
    small_example,
    take_apart,
    unique_names,
)
from symcompile.exporters.onnx_metadata import function_metadata
from symcompile.exporters.onnx_operators import Signature, translations
from symcompile.fidelity.outcome import Rewrite
from symcompile.modules.calling import submodule_path

_ROUNDS = 2  # of optimization, as torch.onnx does
_NOISY = ("torch.onnx._internal.exporter", "onnxscript", "onnx_ir")


def assemble(
    module: nn.Module, exported: Exported, rewrites: Mapping[str, Rewrite], opset: int
) -> tuple[Any, dict[str, Signature]]:
    """The onnx_ir.Model with its functions, and what each of them serves, by its name."""
    calls = one_call_each(block_calls(exported.program.graph_module))
    names = unique_names(calls)
    model = _translated(exported, names, opset)
    functions = _functions(module, calls, names, rewrites, opset)
    insert_functions(model, functions)
    _rename_inputs(model.graph, exported)
    _rename_outputs(model.graph)
    _rename_sizes(model.graph)
    model.producer_name, model.producer_version = "symcompile", __version__
    return model, {name: signature for signature, name in names.items()}


def _functions(
    module: nn.Module,
    calls: Mapping[Signature, BlockCall],
    names: Mapping[Signature, str],
    rewrites: Mapping[str, Rewrite],
    opset: int,
) -> dict[str, Any]:
    """An onnx_ir.Function for each signature, by name."""
    if not calls:
        return {}
    blocks, interfaces = [], []
    for call in calls.values():
        region = rewrites[call.path].region
        block = module.get_submodule(submodule_path(call.path))
        blocks.append((block, as_block(block, region), len(region.interface.inputs)))
        interfaces.append(region.interface)
    together = Together(blocks).eval()
    model = _translated(export_program(together, small_example(calls.values())), {}, opset)
    functions = {}
    bodies = zip(calls.items(), take_apart(model, interfaces), interfaces, strict=True)
    for (signature, call), graph, interface in bodies:
        name, provenance = names[signature], function_metadata(rewrites[call.path])
        functions[name] = as_function(graph, name, interface, provenance)
    return functions


def _translated(exported: Exported, names: Mapping[Signature, str], opset: int) -> Any:
    """torch.onnx's translation of a program, optimized."""
    with quiet():
        try:
            program = torch.onnx.export(
                exported.program,
                dynamo=True,
                opset_version=opset,
                custom_translation_table=translations(names),  # type: ignore[arg-type]
                optimize=False,
                verbose=False,
            )
            assert program is not None
            _optimize(program.model)
        except ExportError:
            raise
        except Exception as error:  # torch's exporter lets everything through
            cause = error  # the innermost reason: the outer ones say how to report a bug to torch
            while isinstance(cause.__cause__, Exception):
                cause = cause.__cause__
            said = described(cause)
            raise ExportError(f"torch.onnx can't translate the model: {said}") from error
    _forget_origin(program.model)
    return program.model


def _forget_origin(model: Any) -> None:
    """Drop torch's notes: stack traces with paths of this machine, different at every export."""
    import onnx_ir

    graph = model.graph
    noted: list[Any] = [model, graph, *graph.inputs, *graph.initializers.values()]
    for node in onnx_ir.traversal.RecursiveGraphIterator(graph):
        noted += [node, *node.outputs]
    for place in noted:
        place.metadata_props.clear()


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the exporter's progress notes and torch's warnings about its own internals."""
    levels = {logger: logger.level for logger in map(logging.getLogger, _NOISY)}
    try:
        for logger in levels:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
            warnings.filterwarnings(
                "ignore", category=DeprecationWarning, module=r"onnxscript|copyreg"
            )
            yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)


def _rename_inputs(graph: Any, exported: Exported) -> None:
    """The names of the forward's parameters, also for an input that the forward hands through."""
    inputs = set(exported.program.graph_signature.user_inputs)
    names = [
        node.name
        for node in exported.program.graph.nodes
        if node.op == "placeholder" and node.name in inputs
        if isinstance(node.meta["val"], torch.Tensor)
    ]
    if len(names) == len(graph.inputs):
        for value in graph.outputs:
            value.name = f"{value.name}/output"
        for value, name in zip(graph.inputs, names, strict=True):
            value.name = name


def _rename_outputs(graph: Any) -> None:
    """`output`, or `output_0`, ...; never a name that an input has."""
    own_outputs(graph)
    taken = {value.name for value in graph.inputs}
    for place, value in enumerate(graph.outputs):
        name = "output" if len(graph.outputs) == 1 else f"output_{place}"
        value.name = name if name not in taken else f"{name}_"


def _rename_sizes(graph: Any) -> None:
    """Call the free sizes `batch` and `<input>_<axis>` instead of torch's s17 and s27, and give
    sizes that the model fixes as numbers: torch writes them as symbols called "4"."""
    import onnx_ir

    names: dict[str, str] = {}
    for value in graph.inputs:
        for axis, size in enumerate(_symbols(value.shape)):
            if size and not size.isdigit():
                new = f"{value.name}_{axis}" if axis or "batch" in names.values() else "batch"
                names.setdefault(size, new)
    pattern = re.compile("|".join(rf"\b{re.escape(name)}\b" for name in names) or r"(?!)")

    def renamed(size: Any, symbol: str | None) -> Any:
        if symbol is None:
            return size
        return int(symbol) if symbol.isdigit() else pattern.sub(lambda m: names[m[0]], symbol)

    for value in (*graph.inputs, *(o for node in graph for o in node.outputs)):
        if value.shape is not None:
            pairs = zip(value.shape, _symbols(value.shape), strict=True)
            value.shape = onnx_ir.Shape([renamed(*pair) for pair in pairs])


def _symbols(shape: Any) -> list[str | None]:
    """Name of each size, None for numbers and for sizes without a name."""
    return [None if isinstance(size, int) else size.value for size in shape or ()]


# --- optimization --------------------------------------------------------------------------------


def _optimize(model: Any) -> None:
    """Inline functions, fold constants, simplify and name anew an onnx_ir.Model, in place."""
    import onnx_ir.passes.common as common
    from onnxscript.optimizer import fold_constants_ir
    from onnxscript.rewriter import onnx_fusions, rewrite

    common.InlinePass()(model)  # the functions that torch.onnx translates operators to
    rules = exact_rules()
    for _ in range(_ROUNDS):
        fold_constants_ir(model, onnx_shape_inference=True)
        rewrite(model, rules)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    finish = (
        common.LiftSubgraphInitializersToMainGraphPass(),
        common.DeduplicateInitializersPass(),
        common.CommonSubexpressionEliminationPass(),
        common.OutputFixPass(),
        common.NameFixPass(),
    )
    for finishing in finish:
        finishing(model)
    onnx_fusions.fuse(model)


def exact_rules() -> list[Any]:
    """What onnxscript applies by default, but every constant stays what it is.

    Its own rules that drop `1*x` and `x + 0` take 1.00001 for 1 and 1e-8 for 0: an equation's
    coefficient would go missing without a word. Those here want exact numbers.
    """
    from onnxscript import rewriter
    from onnxscript.rewriter import pattern
    from onnxscript.rewriter.rules import common

    def number(value: float) -> Any:
        return pattern.Constant(value, rel_tol=0.0, abs_tol=0.0)

    patterns: tuple[Callable[..., Any], ...] = (
        lambda op, x: op.Mul(x, number(1.0)),
        lambda op, x: op.Mul(number(1.0), x),
        lambda op, x: op.Div(x, number(1.0)),
        lambda op, x: op.Add(x, number(0.0)),
        lambda op, x: op.Add(number(0.0), x),
        lambda op, x: op.Sub(x, number(0.0)),
    )
    exact = [pattern.RewriteRule(same, lambda op, x, **_: op.Identity(x)) for same in patterns]
    tolerant = {id(rule) for rule in common._no_op.rules}
    others = [rule for rule in rewriter._DEFAULT_REWRITE_RULES if id(rule) not in tolerant]
    return [*exact, common.dropout_zero_rule, common.dropout_inference_rule, *others]
