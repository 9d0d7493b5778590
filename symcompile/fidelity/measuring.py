"""Measure one region's equations: everything that the report says about them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import nn

from symcompile.errors import ChoiceError, SymCompileError, described
from symcompile.expressions.equation import Equation
from symcompile.fidelity.comparison import Asides, Reference, measure, with_asides
from symcompile.fidelity.controls import Controls, controls
from symcompile.fidelity.derivatives import Function, autograd
from symcompile.fidelity.end_to_end import Remembered, end_to_end
from symcompile.fidelity.latency import latency
from symcompile.fidelity.outcome import EndToEnd, Fidelity, Latency
from symcompile.fidelity.precision import Examined, LoweredInRange, examine
from symcompile.lowering import Lowered
from symcompile.modules.calling import Batch, evaluating, home, run, without_gradients
from symcompile.modules.region import Region
from symcompile.modules.region_call import Rows, in_place_of, on_rows, replaced
from symcompile.modules.samples import Samples
from symcompile.modules.state import preserving, same_random_state

LATENCY_BATCHES = (1, 1024)
LATENCY_SECONDS = 0.1  # for each of them
N_PROBES = 16


@dataclass(frozen=True)
class Comparison:
    """One region's neural block, and everything that blocks in its place are compared with.

    Several candidates are judged for the price of their own part: what depends on none of them is
    computed once. Not for keeping, since it holds the neural block's gradients.

    Attributes:
        root: the captured original; None where it isn't at hand.
        samples: what the region was recorded to receive and give.
        controls: that the equations have to beat, see `controls_of`.
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
        runs = {name: partial(_replaced, root, region, f) for name, f in stand_ins.items()}
        return end_to_end(self._results, runs, self.batches, self.batches_are)

    @cached_property
    def _results(self) -> Remembered:
        """What the original gives on the batches."""
        assert self.root is not None
        return Remembered(partial(_call, self.root))

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


def controls_of(samples: Samples) -> Controls:
    """The mean output and the linear map that the equations of a region have to beat."""
    return controls(samples.X_fit, samples.Y_fit, samples.weights_fit)


def change_of_whole(
    original: nn.Module, hybrid: nn.Module, batches: tuple[Batch, ...], batches_are: str
) -> EndToEnd:
    """What all targets together do to the model's output; NaN without batches."""
    with same_random_state(), evaluating(original, hybrid):
        runs = {"equation": partial(_call, hybrid)}
        return end_to_end(partial(_call, original), runs, batches, batches_are)


def _call(module: nn.Module, batch: Batch) -> Any:
    with preserving(module):
        return without_gradients(lambda: run(module, batch))


def _replaced(root: nn.Module, region: Region, function: Callable[..., Any], batch: Batch) -> Any:
    if region.path == ".":
        return without_gradients(lambda: function(*batch.args, **batch.kwargs))
    with preserving(root):
        return without_gradients(
            lambda: replaced(root, {region.path: function}, lambda: run(root, batch))
        )


def _linear(control: Any) -> Rows:
    def call(rows: torch.Tensor) -> torch.Tensor:
        weight, bias = (
            torch.from_numpy(np.array(a)).to(rows.device) for a in (control.weight, control.bias)
        )
        return torch.nn.functional.linear(rows.to(torch.float64), weight, bias)

    return call
