"""What became of a region: a rewrite with its measured fidelity, or a refusal with its reason.

Loads no torch. These are the rows that report, manifest and diff show.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from symcompile.errors import SymCompileError, one_line
from symcompile.expressions.equation import Equation
from symcompile.modules.region import Region
from symcompile.regression.pareto import ParetoFront

if TYPE_CHECKING:
    from torch import nn

    from symcompile.modules.calling import Batch

# Keys in a provenance: why equations are not the default choice of their fronts, and the rule that
# this follows, where it is one of the user's.
OVERRULED = "moved"
RULE = "rule"
# Relative L2 that rounding makes in a block of single precision.
_ROUNDED = 1e-6


def not_above(error: float, other: float) -> bool:
    """Whether a relative L2 error is not above another, but for rounding."""
    return not error > other + _ROUNDED


@dataclass(frozen=True)
class Agreement:
    """How well predictions agree with the neural block on samples that no fit has seen.

    Attributes:
        r2: coefficient of determination, 1 is perfect; NaN if the output does not vary.
        relative_l2: |prediction - output|_2 / |output|_2.
        max_error: largest absolute difference, in units of the output.
    """

    r2: float = math.nan
    relative_l2: float = math.nan
    max_error: float = math.nan


@dataclass(frozen=True)
class OutputFidelity:
    """Fidelity of one output of a region, beside its controls on the same held-out samples.

    Attributes:
        equation: agreement of the equation with the neural block.
        mean: agreement of the constant mean output.
        linear: agreement of the best honest linear map of the block's own inputs to its own
            outputs, see `symcompile.fidelity.controls`. Of a component, that map projected onto it.
        extrapolation: agreement of the equation on inputs up to 20 % beyond their recorded range.
        gradient: relative L2 difference of the derivatives by the inputs, each direction weighed by
            how far the recorded inputs vary along it.
        beats_linear: whether the equation's held-out error is not above the linear map's, but for
            the rounding of single precision.
    """

    equation: Agreement
    mean: Agreement = field(default_factory=Agreement)
    linear: Agreement = field(default_factory=Agreement)
    extrapolation: Agreement = field(default_factory=Agreement)
    gradient: float = math.nan

    @property
    def beats_linear(self) -> bool:
        return not_above(self.equation.relative_l2, self.linear.relative_l2)


@dataclass(frozen=True)
class EndToEnd:
    """Relative L2 change of the whole model's output when the region is replaced.

    Attributes:
        equation, mean, linear: by what it was replaced.
        data: "held-out batches", "held-out rows", or "recorded batches" where nothing could be
            held out.
        finite: whether the output with equations is finite wherever it was.
        beats_linear: as for OutputFidelity.
    """

    equation: float
    mean: float
    linear: float
    data: str
    finite: bool = True

    @property
    def beats_linear(self) -> bool:
        return not_above(self.equation, self.linear)


@dataclass(frozen=True)
class StandIn:
    """What else could be in the place of a wide block.

    Attributes:
        relative_l2: of the block's outputs.
        end_to_end: relative L2 change of the whole model's output; NaN where there is no data.
    """

    relative_l2: float
    end_to_end: float = math.nan


@dataclass(frozen=True)
class DomainIssue:
    """An operation of an equation that is undefined somewhere inside the recorded range.

    Attributes:
        output: number of the equation.
        operation: e.g. "1/(x0 - 0.5)" or "log(x1)".
        problem: e.g. "the denominator changes sign".
        where: a point of the recorded box next to the trouble, by input name.
        on_data: whether recorded samples themselves show it; such an equation is refused.
    """

    output: int
    operation: str
    problem: str
    where: Mapping[str, float]
    on_data: bool

    def __str__(self) -> str:
        return f"in {one_line(self.operation, 60)} {self.problem}"

    @property
    def point(self) -> str:
        """The first few inputs of `where`, "" if there are none."""
        inputs = [f"{name} = {value:.4g}" for name, value in list(self.where.items())[:4]]
        return ", ".join(inputs + ["..."] * (len(self.where) > 4))


OVERFLOWS = "overflows"
UNDERFLOWS = "underflows to zero"
LOSES_DIGITS = "loses its digits"


@dataclass(frozen=True)
class Shortfall:
    """An equation that its block does not compute: the floating type has not the range or digits.

    Attributes:
        output: number of the equation; None for all of them, where outputs are projected.
        problem: OVERFLOWS, UNDERFLOWS or LOSES_DIGITS.
        dtype: that the block works in, in words.
        count, n_samples: on how many of the recorded samples.
        error: relative L2 of the equation itself on them, in float64.
    """

    output: int | None
    problem: str
    dtype: str
    count: int
    n_samples: int
    error: float

    def __str__(self) -> str:
        return (
            f"{self.problem} in {self.dtype} on {self.count} of {self.n_samples} recorded samples"
        )


@dataclass(frozen=True)
class Projected:
    """What a projection of a region's inputs or outputs keeps of them, on held-out samples.

    Attributes:
        variance: share of their variance that the components hold.
        relative_l2: error of the neural block itself if the projection were all that is lost. Of
            outputs: of the true ones, put together from their own components; no equations of
            these can be closer. Of inputs: of the block on inputs put together from theirs, NaN
            where that was not measured; equations that were fitted to components can be closer.
    """

    variance: float
    relative_l2: float = math.nan


@dataclass(frozen=True)
class Latency:
    """Median seconds of one call at a batch size, on `threads` threads."""

    batch: int
    neural: float
    equation: float
    threads: int = 1


@dataclass(frozen=True)
class Fidelity:
    """Everything that was measured about one rewrite.

    Attributes:
        outputs: by number of the equation. After a projection of the outputs these are its
            components; without one they are the block's own output columns.
        total: all replaced output columns of the block together, after reconstruction where there
            is a projection, its controls without any; None where nothing was measured.
        unmeasured: why a side measurement has no figure, by what could not be measured.
        projections: what is lost by projecting "inputs" and "outputs", as far as the region does,
            and beside an "affine" map what that explains of the outputs by itself.
        shares: after a projection of the outputs, the variance that each equation adds to them, as
            a share of all that they have.
        shortfalls: equations that the block itself does not compute; none for most blocks.
        stand_ins: of a block with projections or an affine map, what else could be in its place,
            by name.
    """

    outputs: Mapping[int, OutputFidelity]
    end_to_end: EndToEnd | None = None
    parameters_removed: int = 0
    domain: tuple[DomainIssue, ...] = ()
    latency: tuple[Latency, ...] = ()
    total: OutputFidelity | None = None
    unmeasured: Mapping[str, str] = field(default_factory=dict)
    projections: Mapping[str, Projected] = field(default_factory=dict)
    shortfalls: tuple[Shortfall, ...] = ()
    shares: Mapping[int, float] = field(default_factory=dict)
    stand_ins: Mapping[str, StandIn] = field(default_factory=dict)


@dataclass(frozen=True)
class Rewrite:
    """A region replaced by equations.

    Attributes:
        region: what was replaced.
        equations: the chosen equation of each replaced output.
        fronts: all equations that can be chosen instead.
        fidelity: how well they do.
        provenance: engine, its version and options, seed, sample counts, as plain data; `moved`
            tells why the equations are not the default choice, where the compiler chose others.
        ranges: recorded (lowest, highest) of each input column.
        probes: a few recorded inputs [n_probes, n_inputs] as nested lists, for `diff`.
        computes_in: floating type inside of the block where it is wider than usual, else "".
    """

    region: Region
    equations: Mapping[int, Equation]
    fronts: Mapping[int, ParetoFront]
    fidelity: Fidelity
    provenance: Mapping[str, Any]
    ranges: tuple[tuple[float, float], ...] = ()
    probes: tuple[tuple[float, ...], ...] = ()
    computes_in: str = ""

    @property
    def path(self) -> str:
        return self.region.path


@dataclass(frozen=True)
class Refusal:
    """A target that stays neural, and why.

    Attributes:
        path: the region's qualified name.
        reason: what was found and what would help, in one or two sentences.
        region, fronts, fidelity: what is known of it, so that `choose` can still be used.
    """

    path: str
    reason: str
    region: Region | None = None
    fronts: Mapping[int, ParetoFront] = field(default_factory=dict)
    fidelity: Fidelity | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)


Outcome = Rewrite | Refusal


class Hybrid(Protocol):
    """A model some of whose submodules are equations, as exporters and artifacts see it.

    Attributes:
        module: the hybrid; the block of region "a.b" is `module.get_submodule("a.b")`, that of the
            whole model (".") is `module.body`. Each symbolic block is a flat fx.GraphModule.
        outcomes: by path. A region that was restored counts as a refusal.
        example: a batch for tracing, held-out rows where there are any; None if the compiler never
            saw data for the model itself.
        capture: "fx", "module boundaries" or "artifact".
    """

    @property
    def module(self) -> nn.Module: ...
    @property
    def outcomes(self) -> Mapping[str, Outcome]: ...
    @property
    def example(self) -> Batch | None: ...
    @property
    def capture(self) -> str: ...


def check_constants(outcomes: Mapping[str, Outcome], error: type[SymCompileError]) -> None:
    """Raise `error` if a constant of an installed equation is no number any more: training can do
    that, and nothing that is written down could say what such an equation computes."""
    for path, outcome in outcomes.items():
        for output, equation in outcome.equations.items() if isinstance(outcome, Rewrite) else ():
            for k, value in enumerate(equation.constants):
                if not math.isfinite(value):
                    raise error(
                        f"block {path!r}, output {output}: constant {k} of {equation} is {value},"
                        f" after training or loading a state: choose({path!r}, ...) an equation"
                        f" again, or restore({path!r})"
                    )
