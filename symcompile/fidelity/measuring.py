"""Measure a block of equations against the block it replaces, alone and in the model.

What is measured is the block as it gets installed, in its own dtype and on its own device. What is
refused for it is in `symcompile.fidelity.refusal`.
"""

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
from symcompile.fidelity.controls import LinearMap
from symcompile.fidelity.derivatives import of_block
from symcompile.fidelity.end_to_end import end_to_end, of_original, with_replaced
from symcompile.fidelity.latency import latency
from symcompile.fidelity.metrics import relative_l2
from symcompile.fidelity.outcome import EndToEnd, Fidelity, Latency, StandIn
from symcompile.fidelity.precision import Examined, LoweredInRange, examine
from symcompile.fidelity.reference import OptionalMeasurements, Reference
from symcompile.fidelity.stand_ins import BETWEEN, StandInBlock, stand_ins
from symcompile.fidelity.structure import with_answers_of_block
from symcompile.lowering.block import Lowered
from symcompile.modules.calling import Batch, evaluating, home, to_float64
from symcompile.modules.region_call import Rows, in_place_of, on_rows
from symcompile.modules.results import Results
from symcompile.modules.state import preserving, same_random_state
from symcompile.modules.surgery import private_copy
from symcompile.regression.pareto import ParetoFront

LATENCY_BATCHES = (1, 1024)
LATENCY_SECONDS = 0.1  # for each of them
N_PROBES = 16


@dataclass(frozen=True)
class Comparison:
    """Measures blocks in one region's place: alone against its reference, and in the model.

    Several candidates are judged for the price of their own part: what depends on none of them is
    computed once. Not for keeping, since it holds the neural block's gradients.

    Attributes:
        root, original: the captured model, and its block of the region; None where they aren't at
            hand.
        batches, batches_are: inputs of the whole model for end-to-end figures, and which they are.
        known: what the original gives on them.
        before: what was measured of another block in the same place. What controls and stand-ins do
            to the model does not depend on the block, and is taken from there.
    """

    root: nn.Module | None
    original: nn.Module | None
    reference: Reference
    batches: tuple[Batch, ...]
    batches_are: str
    known: Results = field(default_factory=Results)
    optional: OptionalMeasurements = field(default_factory=OptionalMeasurements)
    before: Fidelity | None = None

    def judge(self, equations: Mapping[int, Equation], lowered: Lowered) -> Fidelity:
        """Fidelity of a lowered block as far as a verdict needs it.

        Args:
            equations: what it computes, with the constants that it has now.

        Raises ChoiceError if the model does not run with the block in place.
        """
        block, region = lowered.module, self.reference.region
        with self._at_rest(block):
            fidelity = self.reference.measure(
                equations,
                of_block(region, block, self._device(block), constant=0.0),
                end_to_end=self._end_to_end(block),
                examined=self._examined(equations, lowered),
            )
        return replace(fidelity, unmeasured=dict(self.optional.unmeasured))

    def _examined(self, equations: Mapping[int, Equation], lowered: Lowered) -> Examined:
        if isinstance(lowered, LoweredInRange) and equations == lowered.equations:
            return lowered.examined
        region, samples = self.reference.region, self.reference.samples
        return examine(region, equations, lowered, samples, self._device(lowered.module))

    def measure(self, equations: Mapping[int, Equation], lowered: Lowered) -> Fidelity:
        """The same with what no verdict depends on: gradients, extrapolation and latency."""
        return self.complete(self.judge(equations, lowered), lowered.module)

    def complete(self, fidelity: Fidelity, block: nn.Module) -> Fidelity:
        """What `judge` has left out."""
        if self.original is None:
            return fidelity
        optional = OptionalMeasurements({**self.optional.unmeasured, **fidelity.unmeasured})
        with self._at_rest(block):
            function = of_block(self.reference.region, block, self._device(block), constant=0.0)
            completed = self.reference.complete(fidelity, function, optional)
            times = optional.get("latency", lambda: self._latency(block)) or ()
            instead = self._stand_ins(optional)
        unmeasured = optional.unmeasured
        return replace(completed, latency=times, unmeasured=unmeasured, stand_ins=instead)

    def _stand_ins(self, optional: OptionalMeasurements) -> dict[str, StandIn]:
        """What else could be in the block's place."""
        reference, found = self.reference, {}
        known = {} if self.before is None else self.before.stand_ins
        made = partial(stand_ins, reference.region, reference.samples, self._copied)
        for name, make in (optional.get("stand-ins", made) or {}).items():
            measured = None if name == BETWEEN else known.get(name)
            if measured is None:
                measured = optional.get(name, partial(self._stand_in, make))
            if measured is not None:
                found[name] = measured
        return found

    def _copied(self) -> StandInBlock:
        """The neural block once more: in the model it is what calls of it are led away from."""
        assert self.original is not None
        block = private_copy(self.original)
        return of_block(self.reference.region, block, self._device(block)).values

    def _stand_in(self, make: Callable[[], StandInBlock]) -> StandIn:
        reference, block = self.reference, make()
        error = relative_l2(block(reference.X), reference.Y)
        if self.root is None or not self.batches:
            return StandIn(error)
        rows = in_place_of(reference.region, _as_rows(block))
        return StandIn(error, self._change({"equation": rows}).equation)

    def asked(self, fronts: Mapping[int, ParetoFront]) -> dict[int, ParetoFront]:
        """Fronts with those of their findings that the original keeps; as they are where it can't
        be asked."""
        if self.original is None:
            return dict(fronts)
        with self._at_rest(self.original):
            ask = partial(with_answers_of_block, self.reference, fronts)
            found = self.optional.get("findings", ask)
        return dict(fronts) if found is None else found

    @contextmanager
    def _at_rest(self, block: nn.Module) -> Iterator[None]:
        """Evaluation mode, and random numbers that nobody misses."""
        modules = [block] if self.root is None else [block, self.root]
        with same_random_state(), evaluating(*modules):
            yield

    def _device(self, block: nn.Module) -> torch.device:
        return home(block if self.root is None else self.root)[0]

    def _end_to_end(self, block: nn.Module) -> EndToEnd | None:
        if self.root is None or not self.batches:
            return None
        controls = self._controls_end_to_end
        try:
            change = self._change({"equation": block})
        except SymCompileError:
            raise
        except Exception as error:  # whatever a user's forward raises
            raise does_not_run(self.reference.region.path, error) from error
        return replace(change, mean=controls.mean, linear=controls.linear)

    @cached_property
    def _controls_end_to_end(self) -> EndToEnd:
        """What the controls do to the whole model, each NaN where it can't stand in the model."""
        known = None if self.before is None else self.before.end_to_end
        if (
            known is not None
            and known.data == self.batches_are
            and not math.isnan(known.mean + known.linear)
        ):
            return known
        changes = EndToEnd(math.nan, math.nan, math.nan, self.batches_are)
        for name, control in self.reference.controls._asdict().items():
            stand_in = {name: in_place_of(self.reference.region, _as_block(control))}
            change = self.optional.get(f"end to end, {name}", partial(self._change, stand_in))
            if change is not None:
                changes = replace(changes, **{name: getattr(change, name)})
        return changes

    def _change(self, stand_ins: Mapping[str, Callable[..., Any]]) -> EndToEnd:
        root, region = self.root, self.reference.region
        assert root is not None
        runs = {name: with_replaced(root, region, block) for name, block in stand_ins.items()}
        original = of_original(root, self.known)
        return end_to_end(original, runs, self.batches, self.batches_are)

    def _latency(self, block: nn.Module) -> tuple[Latency, ...]:
        assert self.original is not None
        region, X, device = self.reference.region, self.reference.X, self._device(block)
        dtype = getattr(torch, region.dtype)

        def rows(batch: int) -> tuple[torch.Tensor]:
            repeated = np.ascontiguousarray(np.resize(X, (batch, X.shape[1])))
            return (torch.from_numpy(repeated).to(device, dtype),)

        neural, equation = (on_rows(region, b, kept=False) for b in (self.original, block))
        with preserving(self.original, block):
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


def _as_rows(block: StandInBlock) -> Rows:
    return lambda rows: torch.from_numpy(block(to_float64(rows))).to(rows.device)


def _as_block(control: LinearMap) -> Rows:
    def call(rows: torch.Tensor) -> torch.Tensor:
        weight, bias = (
            torch.from_numpy(np.array(a)).to(rows.device) for a in (control.weight, control.bias)
        )
        return torch.nn.functional.linear(rows.to(torch.float64), weight, bias)

    return call
