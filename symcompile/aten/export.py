"""Export a hybrid by torch.export, its shapes as free as the model allows."""

from __future__ import annotations

import inspect
import io
import logging
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Literal

import torch
from torch import fx, nn
from torch.export import Dim, ExportedProgram, ShapesCollection

from symcompile.aten.opaque import shallow_copy, with_opaque_blocks
from symcompile.aten.sizes import Sizes, read_sizes
from symcompile.errors import ExportError, described, first_line
from symcompile.modules.calling import Batch, left_out, map_tensors, storable, tensors
from symcompile.modules.region import Region

# A traced size of 0 or 1 is baked into the graph, so smaller batches are repeated up to this.
_ROWS = 3
_LOGS = ("torch.fx.experimental.symbolic_shapes", "torch.export", "torch._export")


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


def export_program(
    module: nn.Module,
    example: Batch,
    regions: Iterable[Region] = (),
    *,
    dynamic: bool | Literal["batch"] = True,
) -> Exported:
    """`torch.export` of a hybrid; the blocks of `regions` become opaque nodes, one a call.

    The module is left as it was and is exported in its present mode, dtype and device. Shapes are
    made as free as the model allows; `dynamic` of "batch" frees first dimensions only.
    Raises ExportError if torch.export can't follow the model's forward.
    """
    larger = _enlarged(example)
    attempts = [(larger, "all"), (larger, "batch"), (example, "static")]
    attempts = attempts[{True: 0, "batch": 1, False: 2}[dynamic] :]
    failures: list[Exception] = []
    trials = product(_candidates(with_opaque_blocks(module, regions), example), attempts)
    for (candidate, missing), (batch, freedom) in trials:
        try:
            program = _export(candidate, batch, freedom)
        except ExportError:
            raise
        except Exception as error:  # whatever a forward raises under tracing is an answer
            failures.append(error)
            continue
        sizes = read_sizes(program, tensors(batch))
        free = _freedom(sizes, freedom, bool(dynamic), failures)
        return Exported(program, batch, *free, sizes, tuple(dict.fromkeys(missing)))
    raise _explained(module, failures[-1]) from failures[-1]


def _candidates(module: nn.Module, example: Batch) -> Iterator[tuple[nn.Module, list[str]]]:
    """The module as torch.export can take it: keywords that go into its `**kwargs` are parameters
    of their own, without which their sizes can't be free, and its results are without what is no
    tensor or number; the list notes these by place whenever the module runs.

    Of a GraphModule torch.export reads the graph, past its forward: it is tried as it is first.
    """
    forward, kind = module.forward, type(module)
    signature = inspect.signature(forward)
    plain = {n: p for n, p in signature.parameters.items() if p.kind is not p.VAR_KEYWORD}
    extra = [name for name in example.kwargs if name not in plain]
    spelled = bool(extra) and len(plain) < len(signature.parameters)
    if spelled:
        added = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in extra]
        signature = signature.replace(parameters=[*plain.values(), *added])
    if isinstance(module, fx.GraphModule):
        yield _with_forward(module, forward, signature, kind) if spelled else module, []
        kind = nn.Module
    missing: list[str] = []

    def stored(*args: Any, **kwargs: Any) -> Any:
        result = forward(*args, **kwargs)
        missing.extend(left_out(result))
        return storable(result)

    yield _with_forward(module, stored, signature, kind), missing


def _with_forward(
    module: nn.Module, forward: Any, signature: inspect.Signature, kind: type[nn.Module]
) -> nn.Module:
    def called(*args: Any, **kwargs: Any) -> Any:
        return forward(*args, **kwargs)

    called.__signature__ = signature  # type: ignore[attr-defined]
    clone = shallow_copy(module, kind)
    clone.__dict__["forward"] = called
    return clone


def _export(module: nn.Module, batch: Batch, freedom: str) -> ExportedProgram:
    shapes: Any = ShapesCollection()
    for tensor in tensors(batch):
        free = {"all": tensor.ndim, "batch": 1, "static": 0}[freedom]
        shapes[tensor] = {
            axis: Dim.AUTO if axis < free and size > 1 else Dim.STATIC
            for axis, size in enumerate(tensor.shape)
        }
    with warnings.catch_warnings(), _without_logs():
        # torch's own use of its own deprecated class, when an exported program is copied.
        warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
        # And of recurrent layers and weight_norm, whose weights are put back after the trace.
        warnings.filterwarnings("ignore", r"The tensor attributes? .* assigned during", UserWarning)
        return torch.export.export(
            module,
            tuple(batch.args),
            dict(batch.kwargs),
            dynamic_shapes=None if freedom == "static" else shapes,
            strict=False,
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
    single = all(tensor.shape[0] == 1 for tensor in tensors(example) if tensor.ndim)

    def grow(tensor: torch.Tensor) -> torch.Tensor:
        alone = tensor.detach()
        grows = single and tensor.ndim
        return alone.expand(_ROWS, *tensor.shape[1:]).clone() if grows else alone

    return map_tensors(grow, example)


def _freedom(
    sizes: Sizes, freedom: str, dynamic: bool, failures: Sequence[Exception]
) -> tuple[str, str]:
    """How free the shapes really became, and why: Dim.AUTO gives in without a word."""
    reason = f": {first_line(failures[0], 'no message')}" if failures else ""
    if not dynamic:
        return "static", "static shapes were asked for"
    if not sizes.free:
        return "static", f"the model works for the shapes of the example only{reason}"
    if sizes.batch is None:
        return freedom, f"the model fixes its batch size{reason}"
    return freedom, f"only the batch size is free{reason}" if freedom == "batch" else ""


def _explained(module: nn.Module, error: Exception) -> ExportError:
    name, text = type(module).__name__, described(error)
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
