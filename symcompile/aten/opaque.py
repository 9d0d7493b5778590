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

import inspect
import io
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial, reduce
from itertools import product
from types import MethodType
from typing import Any, Literal

import torch
from torch import fx, nn
from torch.export import Dim, ExportedProgram, ShapesCollection

from symcompile.errors import ExportError
from symcompile.modules.arguments import build_arguments, build_structure, pick_tensors
from symcompile.modules.batch import Batch, submodule_path
from symcompile.modules.calling import evaluating, home, map_tensors, tensors
from symcompile.modules.region import Interface, Region
from symcompile.modules.results import left_out, storable
from symcompile.modules.sizes import Sizes, read_sizes
from symcompile.modules.sizes import is_free as is_free

OPERATOR = "symcompile::block"

# A traced size of 0 or 1 is baked into the graph, so smaller batches are repeated up to this.
_ROWS = 3
_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)

# What runs in the place of a block: tensors in the order of Interface.inputs, to those of outputs.
Block = Callable[[Sequence[torch.Tensor]], Sequence[torch.Tensor]]

_blocks: ContextVar[Mapping[str, Block] | None] = ContextVar("symcompile_blocks", default=None)


@dataclass(frozen=True)
class Exported:
    """An exported program and how free its shapes are.

    Attributes:
        program: the ATen graph.
        example: the batch it was traced with; a single row was repeated.
        dynamic: "all" (every size that the model leaves free), "batch" (the first dimension only)
            or "static".
        note: why it is not "all", or which part of it is fixed; empty where nothing is.
        sizes: those of the example's tensors, with a symbol for each that is free.
        left_out: places and classes of results that are neither tensors nor numbers.
    """

    program: ExportedProgram
    example: Batch
    dynamic: str
    note: str = ""
    sizes: Sizes = field(default_factory=Sizes)
    left_out: tuple[str, ...] = ()

    @property
    def free_batch(self) -> bool:
        return self.sizes.batch is not None


@dataclass(frozen=True)
class BlockCall:
    """One opaque node: the call of the block at `path`."""

    node: fx.Node
    path: str
    input_features: tuple[int, ...]
    output_features: tuple[int, ...]
    dtype: torch.dtype


def export_program(
    module: nn.Module,
    example: Batch,
    regions: Iterable[Region] = (),
    *,
    opaque: bool = True,
    dynamic: bool | Literal["batch"] = True,
) -> Exported:
    """`torch.export` of a hybrid; the blocks of `regions` become opaque nodes, one a call.

    The module is left as it was and is exported in its present mode, dtype and device. With
    `opaque=False` the blocks are inlined. Shapes are made as free as the model allows; `dynamic` of
    "batch" frees first dimensions only.
    Raises ExportError if torch.export can't follow the model's forward.
    """
    surrogate = with_opaque_blocks(module, regions) if opaque else module
    surrogate = _spelled_out(surrogate, example)
    larger = _enlarged(example)
    attempts = [(larger, "all"), (larger, "batch"), (example, "static")]
    attempts = attempts[{True: 0, "batch": 1, False: 2}[dynamic] :]
    failures: list[Exception] = []
    for (one, missing), (batch, freedom) in product(_with_storable_results(surrogate), attempts):
        try:
            program = _export(one, batch, freedom)
        except ExportError:
            raise
        except Exception as error:  # whatever a forward raises under tracing is an answer
            failures.append(error)
            continue
        sizes = read_sizes(program, tensors((batch.args, batch.kwargs)))
        free = _freedom(sizes, freedom, bool(dynamic), failures)
        return Exported(program, batch, *free, sizes, tuple(dict.fromkeys(missing)))
    raise _explained(module, failures[-1]) from failures[-1]


def block_calls(graph_module: fx.GraphModule) -> Iterator[BlockCall]:
    """The opaque nodes of a graph, in order, those of nested graphs included."""
    for part in graph_module.modules():
        for node in part.graph.nodes if isinstance(part, fx.GraphModule) else ():
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


def as_block(
    module: nn.Module, interface: Interface, settings: Mapping[str, Any] | None = None
) -> Block:
    """A module with this interface as a function of its flat tensors.

    `settings` are the arguments that are no tensors, by parameter (`Region.settings`).
    """
    # A GraphModule's own __call__ prints what fails to stderr, before anyone can handle it.
    run = partial(nn.Module.__call__, module) if isinstance(module, fx.GraphModule) else module
    held = {one.parameter for one in interface.inputs}
    extra = {
        name: value
        for name, value in (settings or {}).items()
        if name not in held and not name.startswith("*")
    }

    def call(inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        args, kwargs = build_arguments(interface, inputs)
        return tensors(run(*args, **(kwargs if args else kwargs | extra)))

    return call


# --- the operator --------------------------------------------------------------------------


@torch.library.custom_op(
    OPERATOR,
    mutates_args=(),
    schema="(Tensor[] inputs, str path, int[] input_features, int[] output_features, str dtype)"
    " -> Tensor[]",
)
def _block(
    inputs: Sequence[torch.Tensor],
    path: str,
    input_features: Sequence[int],
    output_features: Sequence[int],
    dtype: str,
) -> list[torch.Tensor]:
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
    shapes = [one.shape[:-1] if features else one.shape for one, features in pairs]
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
        self.dtypes = _result_dtypes(
            as_block(block, region.interface, region.settings), region, block
        )

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        interface = self.interface
        inputs = pick_tensors(interface, args, kwargs)
        for tensor, one in zip(inputs, interface.inputs, strict=True):
            if not one.scalar:
                torch._check(tensor.shape[-1] == one.features)
        found = reduce(torch.promote_types, (tensor.dtype for tensor in inputs))
        if found not in self.dtypes:
            raise ExportError(f"block {self.path!r} does not accept inputs of {found}")
        outputs = torch.ops.symcompile.block(
            inputs,
            self.path,
            [0 if one.scalar else one.features for one in interface.inputs],
            [0 if one.scalar else one.features for one in interface.outputs],
            str(self.dtypes[found]).removeprefix("torch."),
        )
        return build_structure(interface.structure, outputs)


def with_opaque_blocks(module: nn.Module, regions: Iterable[Region]) -> nn.Module:
    """The module with opaque blocks: what leads to a block is copied, all else is shared."""
    swaps: dict[int, nn.Module] = {}
    for region in regions:
        block = module.get_submodule(submodule_path(region.path))
        swaps[id(block)] = _Opaque(region, block)
    return replaced(module, swaps)


def replaced(module: nn.Module, swaps: dict[int, nn.Module]) -> nn.Module:
    """The module tree with other modules in the place of some, by id, wherever they are reached.

    What leads to one of them is copied, all else is shared; `swaps` also takes up the copies.
    """
    if id(module) in swaps:
        return swaps[id(module)]
    children = {
        name: child if child is None else replaced(child, swaps)
        for name, child in module._modules.items()
    }
    if all(children[name] is child for name, child in module._modules.items()):
        return module
    clone = _shallow(module)
    clone._modules = children
    forward = module.__dict__.get("forward")
    if isinstance(forward, MethodType) and forward.__self__ is module:  # patched by the user
        clone.__dict__["forward"] = MethodType(forward.__func__, clone)
    swaps[id(module)] = clone
    return clone


def _shallow(module: nn.Module, kind: type[nn.Module] | None = None) -> nn.Module:
    """Not copy.copy: a user's __copy__ must not run, and that of a GraphModule recompiles."""
    clone: nn.Module = object.__new__(kind or type(module))
    clone.__dict__.update(module.__dict__)
    return clone


def _spelled_out(module: nn.Module, example: Batch) -> nn.Module:
    """The module with the keywords that go into its `**kwargs` as parameters of their own, without
    which torch.export can't give them free sizes."""
    signature = inspect.signature(module.forward)
    plain = {n: p for n, p in signature.parameters.items() if p.kind is not p.VAR_KEYWORD}
    extra = [name for name in example.kwargs if name not in plain]
    if not extra or len(plain) == len(signature.parameters):
        return module
    clone, forward = _shallow(module), module.forward

    def spelled_out(*args: Any, **kwargs: Any) -> Any:
        return forward(*args, **kwargs)

    added = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in extra]
    spelled_out.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*plain.values(), *added]
    )
    clone.__dict__["forward"] = spelled_out
    return clone


def _with_storable_results(module: nn.Module) -> Iterator[tuple[nn.Module, list[str]]]:
    """The module without what torch.export can't take among its results; the list notes these by
    place whenever it runs.

    Of a GraphModule torch.export reads the graph, past its forward: it is tried as it is first.
    """
    traced = isinstance(module, fx.GraphModule)
    if traced:
        yield module, []
    missing: list[str] = []
    forward = module.forward

    def stored(*args: Any, **kwargs: Any) -> Any:
        result = forward(*args, **kwargs)
        missing.extend(left_out(result))
        return storable(result)

    stored.__signature__ = inspect.signature(forward)  # type: ignore[attr-defined]
    clone = _shallow(module, nn.Module if traced else type(module))
    clone.__dict__["forward"] = stored
    yield clone, missing


def _result_dtypes(call: Block, region: Region, block: nn.Module) -> dict[torch.dtype, torch.dtype]:
    """Dtype of the outputs by dtype of the inputs, found by calling the block on two samples."""
    device = home(block)[0]
    found = {}
    for dtype in _DTYPES:
        inputs = [
            torch.ones((2,) if one.scalar else (2, one.features), dtype=dtype, device=device)
            for one in region.interface.inputs
        ]
        try:
            with torch.no_grad(), evaluating(block):
                outputs = call(inputs)
        except (RuntimeError, TypeError):  # not every block works in every dtype
            continue
        found[dtype] = outputs[0].dtype
    return found


# --- torch.export ------------------------------------------------------------------------------

_LOGS = ("torch.fx.experimental.symbolic_shapes", "torch.export", "torch._export")


def _export(module: nn.Module, batch: Batch, freedom: str) -> ExportedProgram:
    shapes = ShapesCollection()
    for tensor in tensors((batch.args, batch.kwargs)):
        free = {"all": tensor.ndim, "batch": 1, "static": 0}[freedom]
        shapes[tensor] = {
            axis: Dim.AUTO if axis < free and size > 1 else Dim.STATIC
            for axis, size in enumerate(tensor.shape)
        }
    given: Any = None if freedom == "static" else shapes
    with warnings.catch_warnings(), _without_logs():
        # torch's own use of its own deprecated class, when an exported program is copied.
        warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
        # And of recurrent layers and weight_norm, whose weights are put back after the trace.
        warnings.filterwarnings("ignore", r"The tensor attributes? .* assigned during", UserWarning)
        return torch.export.export(
            module, tuple(batch.args), dict(batch.kwargs), dynamic_shapes=given, strict=False
        )


@contextmanager
def _without_logs() -> Iterator[None]:
    """torch.export logs and prints whole graphs before it raises the error that tells the same."""
    logs = [logging.getLogger(name) for name in _LOGS]
    before = [log.disabled for log in logs]
    try:
        for log in logs:
            log.disabled = True
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        for log, disabled in zip(logs, before, strict=True):
            log.disabled = disabled


def _enlarged(example: Batch) -> Batch:
    """A batch of a single row with that row repeated; no tensor is shared by two arguments.

    Beside tensors with more rows, a first dimension of 1 is there to be broadcast, and stays.
    """
    found = tensors((example.args, example.kwargs))
    single = all(tensor.shape[0] == 1 for tensor in found if tensor.ndim)

    def grow(tensor: torch.Tensor) -> torch.Tensor:
        alone = tensor.detach()
        if tensor.ndim and single:
            return alone.expand(_ROWS, *tensor.shape[1:]).clone()
        return alone

    return Batch(*map_tensors(grow, (tuple(example.args), dict(example.kwargs))))


def _freedom(
    sizes: Sizes, freedom: str, wanted: bool, failures: Sequence[Exception]
) -> tuple[str, str]:
    """How free the shapes really became, and why: Dim.AUTO gives in without a word."""
    reason = f": {_first_line(failures[0])}" if failures else ""
    if not wanted:
        return "static", "static shapes were asked for"
    if not sizes.free:
        return "static", f"the model works for the shapes of the example only{reason}"
    if sizes.batch is None:
        return freedom, f"the model fixes its batch size{reason}"
    return freedom, f"only the batch size is free{reason}" if freedom == "batch" else ""


def _explained(module: nn.Module, error: Exception) -> ExportError:
    name = type(module).__name__
    text = f"{type(error).__name__}: {_first_line(error)}"
    advice = "rewrite that part with torch operators, or compile the submodule around it on its own"
    lowered = str(error).lower()
    if "data-dependent" in lowered or "data dependent" in lowered:
        advice = "replace `if` and `while` on tensor values by torch.where or torch.cond"
    elif "trying to backward through symcompile" in lowered:
        text = "it differentiates a block inside of its forward"
        advice = "only the derivative-free part can be exported: save or export that as a model"
    elif "not a known type" in lowered:
        advice = "return tensors in tuples, lists, dicts or named tuples"
    elif "'_opaque' object has no attribute" in lowered:
        text = text.replace("'_Opaque' object", "the equation")
        advice = "the model reads attributes of a replaced block, past its forward"
    elif "unsupported" in lowered or "not supported" in lowered:
        advice = "rewrite that part with torch operators, or export a submodule without it"
    return ExportError(f"torch.export can't follow the forward of {name} ({text}): {advice}")


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else "no message"
