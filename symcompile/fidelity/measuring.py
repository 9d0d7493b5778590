"""Measure a block of equations against the block it replaces, beside its controls: everything that
the report says about it.

What is measured is the block as it gets installed, in its own dtype and on its own device. What is
refused for it is in `symcompile.fidelity.refusal`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from symcompile.errors import ChoiceError, SymCompileError, described
from symcompile.expressions.equation import Equation
from symcompile.expressions.evaluation import Array
from symcompile.fidelity.controls import Controls
from symcompile.fidelity.derivatives import Function, autograd
from symcompile.fidelity.domain_check import check
from symcompile.fidelity.end_to_end import Remembered, as_it_is, end_to_end, with_replaced
from symcompile.fidelity.latency import latency
from symcompile.fidelity.metrics import agreement, relative_l2
from symcompile.fidelity.outcome import Agreement, EndToEnd, Fidelity, Latency, OutputFidelity
from symcompile.fidelity.precision import Examined, LoweredInRange, examine
from symcompile.fidelity.reference import Reference
from symcompile.lowering import Lowered
from symcompile.modules.calling import Batch, evaluating, home
from symcompile.modules.region import Region
from symcompile.modules.region_call import Rows, in_place_of, on_rows
from symcompile.modules.samples import Samples
from symcompile.modules.state import preserving, same_random_state

LATENCY_BATCHES = (1, 1024)
LATENCY_SECONDS = 0.1  # for each of them
N_PROBES = 16
# Key of the row that takes all replaced outputs together.
_TOTAL = -1

T = TypeVar("T")


class Asides:
    """Makes side measurements: those that a compile can do without.

    They run a user's modules in ways in which nobody has run them before: on inputs beyond the
    recorded ones, backwards, with a linear map in the place of a block. A module may have its
    reasons not to allow that. Then the figure is missing, the report says why, and nothing else
    happens.

    Attributes:
        unmeasured: why there is no figure, by what could not be measured.
    """

    def __init__(self, unmeasured: Mapping[str, str] | None = None) -> None:
        self.unmeasured = dict(unmeasured or {})

    def get(self, what: str, measure: Callable[[], T]) -> T | None:
        """The measurement, or None where it can't be made."""
        try:
            return measure()
        except Exception as error:  # whatever a user's forward raises
            self.unmeasured.setdefault(what, described(error))
            return None


@dataclass(frozen=True)
class Comparison:
    """Measures blocks in one region's place: alone against its reference, and in the model.

    Several candidates are judged for the price of their own part: what depends on none of them is
    computed once. Not for keeping, since it holds the neural block's gradients.

    Attributes:
        root: the captured original; None where it isn't at hand.
        samples: what the region was recorded to receive and give.
        controls: that the equations have to beat, fitted to what they are fitted to.
        batches, batches_are: inputs of the whole model for end-to-end figures, and which they are.
        seed: of inputs beyond the recorded ones.
    """

    root: nn.Module | None
    region: Region
    samples: Samples
    controls: Controls
    batches: tuple[Batch, ...]
    batches_are: str
    seed: int
    asides: Asides = field(default_factory=Asides)

    def judge(self, equations: Mapping[int, Equation], lowered: Lowered) -> Fidelity:
        """Fidelity of a lowered block as far as a verdict needs it.

        Args:
            equations: what it computes, with the constants that it has now.

        Raises ChoiceError if the model does not run with the block in place.
        """
        block = lowered.module
        with self._at_rest(block):
            fidelity = measure(
                self.reference,
                equations,
                self._function(block, constant=0.0),
                end_to_end=self._end_to_end(block),
                examined=self._examined(equations, lowered),
            )
        return replace(fidelity, unmeasured=dict(self.asides.unmeasured))

    def _examined(self, equations: Mapping[int, Equation], lowered: Lowered) -> Examined:
        if isinstance(lowered, LoweredInRange) and equations == lowered.equations:
            return lowered.examined
        X, Y, device = self.samples.X, self.samples.Y, self._device(lowered.module)
        return examine(self.region, equations, lowered, X, Y, device)

    def measure(self, equations: Mapping[int, Equation], lowered: Lowered) -> Fidelity:
        """The same with what no verdict depends on: gradients, extrapolation and latency."""
        return self.complete(self.judge(equations, lowered), lowered.module)

    def complete(self, fidelity: Fidelity, block: nn.Module) -> Fidelity:
        """What `judge` has left out."""
        if self._original is None:
            return fidelity
        asides = Asides(fidelity.unmeasured)
        with self._at_rest(block):
            function = self._function(block, constant=0.0)
            found = with_asides(fidelity, self.reference, function, asides)
            times = asides.get("latency", lambda: self._latency(block)) or ()
        return replace(found, latency=times, unmeasured=asides.unmeasured)

    @cached_property
    def reference(self) -> Reference:
        neural = None if self._original is None else self._function(self._original)
        return Reference(self.region, self.samples, self.controls, neural, self.seed)

    @cached_property
    def _original(self) -> nn.Module | None:
        path = self.region.path
        if self.root is None or path == ".":
            return self.root
        return self.root.get_submodule(path)

    @contextmanager
    def _at_rest(self, block: nn.Module) -> Iterator[None]:
        """Evaluation mode, and random numbers that nobody misses."""
        modules = [block] if self.root is None else [block, self.root]
        with same_random_state(), evaluating(*modules):
            yield

    def _device(self, block: nn.Module) -> torch.device:
        return home(block if self.root is None else self.root)[0]

    def _function(self, block: nn.Module, constant: float = math.nan) -> Function:
        return autograd(
            on_rows(self.region, block),
            getattr(torch, self.region.dtype),
            self._device(block),
            n_outputs=self.region.interface.n_outputs,
            constant=constant,
        )

    def _end_to_end(self, block: nn.Module) -> EndToEnd | None:
        if self.root is None or not self.batches:
            return None
        controls = self._controls_end_to_end
        try:
            found = self._moved({"equation": block})
        except SymCompileError:
            raise
        except Exception as error:  # whatever a user's forward raises
            raise does_not_run(self.region.path, error) from error
        return replace(found, mean=controls.mean, linear=controls.linear)

    @cached_property
    def _controls_end_to_end(self) -> EndToEnd:
        """What the controls do to the whole model, each NaN where it can't stand in the model."""
        found = EndToEnd(math.nan, math.nan, math.nan, self.batches_are)
        for name, control in self.controls._asdict().items():
            stand_in = {name: in_place_of(self.region, _linear(control))}
            moved = self.asides.get(f"end to end, {name}", partial(self._moved, stand_in))
            if moved is not None:
                found = replace(found, **{name: getattr(moved, name)})
        return found

    def _moved(self, stand_ins: Mapping[str, Callable[..., Any]]) -> EndToEnd:
        root, region = self.root, self.region
        assert root is not None
        runs = {name: with_replaced(root, region, f) for name, f in stand_ins.items()}
        return end_to_end(self._results, runs, self.batches, self.batches_are)

    @cached_property
    def _results(self) -> Remembered:
        """What the original gives on the batches."""
        assert self.root is not None
        return Remembered(as_it_is(self.root))

    def _latency(self, block: nn.Module) -> tuple[Latency, ...]:
        assert self._original is not None
        device = self._device(block)
        dtype, X = getattr(torch, self.region.dtype), self.reference.X

        def rows(batch: int) -> tuple[torch.Tensor]:
            given = np.ascontiguousarray(np.resize(X, (batch, X.shape[1])))
            return (torch.from_numpy(given).to(device, dtype),)

        neural, equation = (
            on_rows(self.region, one, kept=False) for one in (self._original, block)
        )
        with preserving(self._original, block):
            return latency(neural, equation, rows, LATENCY_BATCHES, seconds=LATENCY_SECONDS)


def does_not_run(path: str, error: Exception) -> ChoiceError:
    """What to say where the rest of the model can't do with an equation at `path`."""
    text = described(error)
    why = ""
    if isinstance(error, AttributeError):
        why = "; it reads attributes of the block, past its forward"
    elif "does not require grad" in text:
        why = "; it differentiates the block, and the equation is constant"
    return ChoiceError(
        f"the model does not run with an equation in the place of {path!r} ({text}){why}"
    )


def _linear(control: Any) -> Rows:
    def call(rows: torch.Tensor) -> torch.Tensor:
        weight, bias = (
            torch.from_numpy(np.array(a)).to(rows.device) for a in (control.weight, control.bias)
        )
        return torch.nn.functional.linear(rows.to(torch.float64), weight, bias)

    return call


def measure(
    reference: Reference,
    equations: Mapping[int, Equation],
    block: Function,
    *,
    end_to_end: EndToEnd | None = None,
    examined: Examined | None = None,
) -> Fidelity:
    """Fidelity of the block that computes `equations`, as far as a verdict needs it.

    Args:
        equations: by number of the equation; where the region projects its outputs these give
            components, and `outputs` of the result compares components, `total` real outputs.
        block: gives all outputs of the region, those that it leaves neural included.
        examined: how it did on all that was recorded.
    """
    region, keys = reference.region, sorted(equations)
    given = reference.left_out(equations, block.values(reference.X))
    equation, mean, linear = (
        _compare(region, keys, values, reference.Y)
        for values in (given, *reference.control_outputs)
    )
    rows = {key: OutputFidelity(equation[key], mean[key], linear[key]) for key in (*keys, _TOTAL)}
    total = rows.pop(_TOTAL)
    domain = partial(check, region=region, X=reference.recorded, seed=reference.seed)
    if examined is not None:
        domain = partial(domain, dtype=examined.dtype, sound=examined.sound)
    issues = [issue for key in keys for issue in domain(equations[key], output=key)]
    return Fidelity(
        rows,
        end_to_end,
        region.parameters if set(keys) == set(range(region.n_equations)) else 0,
        tuple(issues),
        total=total,
        projections=reference.projections,
        shortfalls=() if examined is None else examined.shortfalls,
    )


def with_asides(
    fidelity: Fidelity, reference: Reference, block: Function, asides: Asides
) -> Fidelity:
    """The same with what no verdict depends on: extrapolation, gradients, projected inputs."""
    keys = sorted(fidelity.outputs)

    def extrapolations() -> dict[int, Agreement]:
        X, Y = reference.beyond
        return _compare(reference.region, keys, block.values(X), Y) if len(X) else {}

    beyond = asides.get("extrapolation", extrapolations) or {}
    slopes = asides.get("gradients", lambda: _gradients(reference, keys, block)) or {}

    def completed(key: int, row: OutputFidelity) -> OutputFidelity:
        far = beyond.get(key, Agreement())
        return replace(row, extrapolation=far, gradient=slopes.get(key, math.nan))

    total, projections = fidelity.total, dict(fidelity.projections)
    if "inputs" in projections:
        lost = asides.get("projected inputs", lambda: reference.lost_by_inputs)
        lost = math.nan if lost is None else lost
        projections["inputs"] = replace(projections["inputs"], relative_l2=lost)
    return replace(
        fidelity,
        projections=projections,
        outputs={key: completed(key, row) for key, row in fidelity.outputs.items()},
        total=None if total is None else completed(_TOTAL, total),
    )


def _compare(region: Region, keys: Sequence[int], values: Array, Y: Array) -> dict[int, Agreement]:
    """Agreement by equation, and of the real outputs they stand for together.

    Args:
        values, Y: outputs of a stand-in and of the neural block, [n, n_outputs].
    """
    with np.errstate(all="ignore"):
        given, wanted = region.equation_values(values), region.equation_values(Y)
    rows = {key: agreement(given[:, key], wanted[:, key]) for key in keys}
    rows[_TOTAL] = agreement(_real(region, keys, values), _real(region, keys, Y))
    return rows


def _real(region: Region, keys: Sequence[int], values: Array) -> Array:
    """The outputs that equations stand for: after a projection all of them."""
    return values[:, list(keys)] if region.projection_out is None else values


def _gradients(reference: Reference, keys: Sequence[int], block: Function) -> dict[int, float]:
    region = reference.region
    X, true = reference.slopes
    if len(X) == 0:
        return {}
    with np.errstate(all="ignore"):
        slopes = block.gradient(X) @ reference.directions
        given, wanted = slopes, true
        if region.projection_out is not None:
            components = region.projection_out.components
            given, wanted = (np.einsum("ko,noi->nki", components, a) for a in (slopes, true))
    figures = {key: relative_l2(given[:, key], wanted[:, key]) for key in keys}
    figures[_TOTAL] = relative_l2(_real(region, keys, slopes), _real(region, keys, true))
    return figures
