"""The hybrid at work: what stands in each region's place, and how another block gets there."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import numpy as np
import sympy
import torch
from torch import nn

from symcompile.aten.hybrid import called
from symcompile.errors import ArtifactError, ChoiceError, ExpressionError
from symcompile.expressions.equation import Equation
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.parser import parse
from symcompile.fidelity.controls import Controls, controls
from symcompile.fidelity.derivatives import of_block
from symcompile.fidelity.end_to_end import change_of_whole
from symcompile.fidelity.measuring import N_PROBES, Comparison
from symcompile.fidelity.outcome import EndToEnd, Fidelity, Outcome, Refusal, Rewrite
from symcompile.fidelity.precision import lower_in_range
from symcompile.fidelity.reference import Reference
from symcompile.lowering.block import Lowered, inner_types, lower, read_constants
from symcompile.lowering.layers import with_layers_of
from symcompile.modules.calling import (
    dtype_name,
    evaluating,
    home,
    run,
    submodule_path,
    without_gradients,
)
from symcompile.modules.region import Region
from symcompile.modules.results import Results
from symcompile.modules.samples import Samples
from symcompile.modules.state import preserving, same_random_state
from symcompile.modules.surgery import copy_block, install
from symcompile.regression.losses import SQUARED
from symcompile.regression.pareto import ParetoFront
from symcompile.storage.artifact import Loaded
from symcompile.storage.older import as_layers
from symcompile.storage.recording import Recording


@dataclass(frozen=True)
class InstalledBlock:
    """What stands in a region's place now.

    Attributes:
        operators: what equations of one's own are counted by.
        lowered: the equations as they are installed; None where the neural block stands there.
    """

    region: Region
    operators: OperatorSet
    outcome: Outcome
    lowered: Lowered | None = None

    @property
    def equations(self) -> dict[int, Equation]:
        """As they were measured: `Assembly.equations` has the constants of now."""
        return dict(self.outcome.equations) if isinstance(self.outcome, Rewrite) else {}


@dataclass(frozen=True)
class Assembly:
    """A hybrid, and what its blocks are made of and measured against.

    Attributes:
        module: the hybrid. Installing and restoring change it in place.
        root: the captured original; None where it isn't at hand.
        recording: what the equations were fitted to.
        controls: by region path, as far as they have been needed.
        known: what the original gives on the batches of the recording; None where that is not worth
            its memory.
    """

    module: nn.Module
    root: nn.Module | None
    recording: Recording
    controls: dict[str, Controls] = field(default_factory=dict)
    known: Results | None = None

    # --- blocks ------------------------------------------------------------------------------

    def lower(
        self, region: Region, equations: Mapping[int, Equation], inner: torch.dtype | None = None
    ) -> Lowered:
        """Lower with this floating type inside; without one in the narrowest that holds what was
        recorded. Outputs without an equation stay neural."""
        device = home(self.module if self.root is None else self.root)[0]
        complete = set(equations) == set(range(region.n_equations))
        neural = None if complete else self.neural(region.path)
        if inner is None:
            samples = self._samples(region)
            return lower_in_range(region, equations, samples, device=device, neural=neural)
        dtype = getattr(torch, region.dtype)
        return lower(region, equations, dtype=dtype, inner=inner, device=device, neural=neural)

    def installed(self, region: Region) -> nn.Module:
        """The block in the region's place."""
        return self.module.get_submodule(submodule_path(region.path))

    def put(self, region: Region, block: nn.Module) -> None:
        install(self.module, region, block)

    def rewrite(
        self,
        region: Region,
        lowered: Lowered,
        fidelity: Fidelity,
        fronts: Mapping[int, ParetoFront],
        provenance: Mapping[str, Any],
    ) -> Rewrite:
        """The outcome of a region that these equations are in the place of."""
        samples = self._samples(region)
        usual = lowered.dtype == _usual(region)
        return Rewrite(
            region,
            dict(lowered.equations),
            fronts,
            fidelity,
            provenance,
            samples.ranges,
            tuple(tuple(map(float, row)) for row in samples.X[samples.judged][:N_PROBES]),
            "" if usual else dtype_name(lowered.dtype),
        )

    def measured_again(self, block: InstalledBlock) -> InstalledBlock:
        """The same after its constants or its layers were trained; as it is where they were not."""
        now, equations = self.as_trained(block), self.equations(block)
        if block.lowered is None or (now is block and equations == block.equations):
            return block
        assert isinstance(block.outcome, Rewrite)
        comparison = self.comparison(now.region, block.outcome.fidelity)
        fidelity = comparison.measure(equations, block.lowered)
        outcome = replace(block.outcome, region=now.region, equations=equations, fidelity=fidelity)
        return replace(now, outcome=outcome)

    def as_trained(self, block: InstalledBlock) -> InstalledBlock:
        """The block with projections and affine map as they are now; the same where nothing has
        changed them."""
        if block.lowered is None:
            return block
        region = with_layers_of(block.region, block.lowered.module)
        return block if region is block.region else replace(block, region=region)

    def restore(
        self, block: InstalledBlock, reason: str, fidelity: Fidelity | None = None
    ) -> InstalledBlock:
        """Put a copy of the neural block back; `reason` is why the region stays neural."""
        region, before = block.region, block.outcome
        self.put(region, self.neural(region.path))
        outcome = Refusal(region.path, reason, region, before.fronts, fidelity, before.provenance)
        return replace(block, outcome=outcome, lowered=None)

    def neural(self, path: str) -> nn.Module:
        """A copy of the neural block. Raises ChoiceError where it isn't at hand."""
        if self.root is None:
            raise ChoiceError(f"the neural block of {path!r} is not at hand: it was not saved")
        return copy_block(self.root, path, self.module)

    # --- what they do ------------------------------------------------------------------------

    def equations(self, block: InstalledBlock) -> dict[int, Equation]:
        """The equations in a region's place, with constants as trained."""
        if block.lowered is None:
            return {}
        constants, now = read_constants(block.lowered), self.as_trained(block)
        trained = {
            output: equation.with_constants(constants[output])
            for output, equation in block.equations.items()
            if now is not block
            or not np.array_equal(constants[output], equation.constants, equal_nan=True)
        }
        return block.equations | self.scored(now, trained)

    def scored(
        self, block: InstalledBlock, equations: Mapping[int, Equation]
    ) -> dict[int, Equation]:
        """Equations with their losses on recorded samples, by the losses of their fronts."""
        if not equations:
            return {}
        samples = block.region.equation_samples(self._samples(block.region))
        fronts, found = block.outcome.fronts, {}
        for output, equation in equations.items():
            loss = fronts[output].loss if output in fronts else SQUARED
            fit, judged = samples.datasets(output, loss)
            holdout, squares = judged.losses_of(equation)
            fitted = fit.loss_of(equation)
            found[output] = replace(
                equation, loss=fitted, holdout_loss=holdout, holdout_mse=squares
            )
        return found

    def comparison(self, region: Region, before: Fidelity | None = None) -> Comparison:
        """With the region's neural block; `before` is what was measured of another block in its
        place."""
        path, samples, recording = region.path, self._samples(region), self.recording
        if path not in self.controls:
            self.controls[path] = controls(samples.X_fit, samples.Y_fit, samples.weights_fit)
        original = neural = None
        if self.root is not None:
            original = self.root if path == "." else self.root.get_submodule(path)
            neural = of_block(region, original, home(self.root)[0])
        reference = Reference(region, samples, self.controls[path], neural, recording.seed)
        batches, known = (recording.batches, recording.batches_are), self.known or Results()
        return Comparison(self.root, original, reference, *batches, known, before=before)

    def change(self) -> EndToEnd | None:
        """What the hybrid gives beside the original; None where that can't be told."""
        recording = self.recording
        if self.root is None or not recording.batches:
            return None
        try:
            batches = recording.batches, recording.batches_are
            return change_of_whole(self.root, self.module, *batches, self.known)
        except Exception:  # whatever a user's forward raises
            return None

    def finite(self) -> bool:
        """Whether the hybrid runs, and gives finite numbers wherever the original does."""
        change = self.change()
        unknown = self.root is None or not self.recording.batches
        return unknown or (change is not None and change.finite)

    def failure(self) -> Exception | None:
        """What the hybrid raises on the example."""
        try:
            with same_random_state(), preserving(self.module), evaluating(self.module):
                for example in self.recording.batches[:1]:
                    without_gradients(lambda: run(self.module, example))  # noqa: B023
        except Exception as error:  # whatever a user's forward raises
            return error
        return None

    def _samples(self, region: Region) -> Samples:
        return self.recording.samples[region.path]


def _usual(region: Region) -> torch.dtype:
    return inner_types(getattr(torch, region.dtype))[0]


def as_equation(block: InstalledBlock, choice: Equation | sympy.Expr | str) -> Equation:
    """What `choose` is given as an equation; ExpressionError says what it takes."""
    names = block.region.variables
    if isinstance(choice, Equation):
        choice = choice.sympy
    expr = parse(choice, names) if isinstance(choice, str) else _expression(choice)
    return Equation.of(expr, names, block.operators)


def _expression(value: object) -> sympy.Expr:
    number = isinstance(value, (numbers.Real, Decimal)) and not isinstance(value, (bool, np.bool_))
    if not number and not isinstance(value, sympy.Expr):
        raise ExpressionError(
            f"a {type(value).__name__} is no equation: expected an Equation of the front, a sympy"
            " expression, a number, or text such as '2*x0 + x1'"
        )
    expr = sympy.sympify(value)
    unknown = sorted(expr.atoms(sympy.NumberSymbol) - {sympy.pi, sympy.E}, key=str)
    if unknown:
        raise ExpressionError(
            f"{unknown[0]} is no constant that equations know, pi and E are: give its value,"
            f" {float(unknown[0])!r}"
        )
    # Of a symbol with assumptions, and of a dummy, the name is meant.
    return expr.xreplace({symbol: sympy.Symbol(symbol.name) for symbol in expr.atoms(sympy.Symbol)})


# --- from an artifact ----------------------------------------------------------------------------


def reassembled(loaded: Loaded) -> tuple[Assembly, dict[str, InstalledBlock], dict[str, Refusal]]:
    """The hybrid of an artifact, its blocks, and what can't be exchanged in it.

    Raises ArtifactError if the parts do not fit each other.
    """
    if loaded.recording is None:
        raise ArtifactError("it holds no recording: it was not made by save()")
    assembly = Assembly(loaded.module, loaded.root, loaded.recording)
    exchangeable = called(loaded.module, loaded.outcomes)
    blocks, refused = {}, {}
    for path, outcome in loaded.outcomes.items():
        if isinstance(outcome, Rewrite):
            blocks[path] = _lowered_again(assembly, outcome, loaded.blocks[path])
        elif outcome.region is None or path not in exchangeable:
            refused[path] = outcome
        else:
            blocks[path] = InstalledBlock(outcome.region, _operators(outcome), outcome)
    return assembly, blocks, refused


def _lowered_again(
    assembly: Assembly, stored: Rewrite, constants: Mapping[str, torch.Tensor]
) -> InstalledBlock:
    """The block of a rewrite as it was saved, in its place."""
    equations = {k: equation.with_exact_exponents() for k, equation in stored.equations.items()}
    usual = _usual(stored.region)
    inner = getattr(torch, stored.computes_in) if stored.computes_in else usual
    lowered = assembly.lower(stored.region, equations, inner)
    # Earlier versions stored whole exponents among them.
    kept = as_layers(constants).items()
    used = {name: value for name, value in kept if name not in lowered.unplaced}
    try:
        lowered.module.load_state_dict(used)
    except RuntimeError as error:
        raise ArtifactError(
            f"constants of {stored.path!r} do not fit its equations: {' '.join(str(error).split())}"
        ) from None
    assembly.put(stored.region, lowered.module)
    outcome = replace(stored, equations=equations)
    return InstalledBlock(stored.region, _operators(stored), outcome, lowered)


def _operators(outcome: Outcome) -> OperatorSet:
    return OperatorSet.described(outcome.provenance.get("engine", {}))
