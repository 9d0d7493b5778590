"""Leave out of equations what the rest of the model can make up for.

A network is free in how it splits its work. What one block adds to its output, the next can take
away again, so a block that has learned a law gives the law and something arbitrary: a constant, or
what it never needed to get right. Fidelity to the block cannot tell one from the other. The model
can: with a term left out and the rest trained a little, it does its task as well as before, or it
does not.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import sympy
import torch
from torch import nn

from symcompile.assembly import Assembly, InstalledBlock
from symcompile.errors import ChoiceError
from symcompile.expressions.canonical import UNUSABLE, canonical
from symcompile.expressions.complexity import complexity, spellable
from symcompile.expressions.equation import Equation
from symcompile.expressions.expansion import expanded
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.slots import fill, is_constant, renumber
from symcompile.lowering.block import trainable
from symcompile.modules.state import same_random_state
from symcompile.modules.surgery import install
from symcompile.pruning.alternatives import Alternatives, Equations
from symcompile.pruning.biases import absorb
from symcompile.target import is_number

Adapt = Callable[[nn.Module], float | torch.Tensor]

# An equation is not multiplied out to more terms than this.
_TERMS = 1000


@dataclass(frozen=True)
class Trial:
    """One form that was tried.

    Attributes:
        without: the term, or the name of the input, left out of each output; empty for the
            equations as they were, for others that were tried instead, and for completed ones.
        loss: what `adapt` returned.
        kept: whether it is gone from the result.
    """

    without: Mapping[int, str]
    loss: float
    kept: bool


@dataclass(frozen=True)
class Adapted:
    """Equations with the model that was trained around them."""

    equations: Equations
    state: dict[str, Any]
    loss: float

    @property
    def forms(self) -> dict[int, sympy.Expr]:
        return {output: equation.form for output, equation in self.equations.items()}

    @property
    def complexity(self) -> int:
        return sum(equation.complexity for equation in self.equations.values())


def simplified(
    assembly: Assembly,
    block: InstalledBlock,
    adapt: Adapt,
    tolerance: float,
    enough: float | None,
    *,
    trains: bool,
) -> tuple[Adapted, tuple[Trial, ...]]:
    """The shortest equations of a region that `adapt` finds good enough, see `search`.

    A constant that is left out goes into the biases of linear layers behind.
    """
    region, recording = block.region, assembly.recording
    fitted = Alternatives.of(
        region, recording.samples[region.path], block.operators, block.outcome.fronts
    )

    def build(equations: Equations) -> nn.Module:
        module = copy.deepcopy(assembly.module)
        lowered = assembly.lower(region, equations).module
        install(module, region, lowered)
        trainable(lowered, trains)
        return module

    def centred(equations: Equations) -> nn.Module:
        module = build(equations)
        for example in recording.batches[:1]:
            absorb(module, build(fitted.centred(equations)), example)
        return module

    now = assembly.equations(block)
    best, trials = search(now, fitted, centred, adapt, tolerance, enough)
    return replace(best, equations=assembly.scored(block, best.equations)), trials


def search(
    equations: Equations,
    recorded: Alternatives,
    build: Callable[[Equations], nn.Module],
    adapt: Adapt,
    tolerance: float,
    enough: float | None = None,
) -> tuple[Adapted, tuple[Trial, ...]]:
    """The shortest equations that `adapt` finds as good as those given, or good enough.

    Args:
        build: a fresh copy of the model with these equations in it.
        tolerance: share by which the loss may rise above the lowest one met so far.
        enough: what the loss may rise to in any case.

    Fidelity to the block may have chosen equations that are too short for the task: where they are
    not enough, others are the start if they do better (`Alternatives.others`). Then inputs go, that
    which recorded samples miss least before others: what a later block computes from such an input
    may as well be computed there alone. Then constants, from all outputs at once, since each of
    them alone is rarely worth its trial; then terms of sums. Last, outputs take up what others
    consist of where samples show it, unless somebody has chosen the equations.
    """
    shortening = _Shortening(build, adapt, tolerance, enough)
    recorded = shortening.start(equations, recorded)
    if not math.isfinite(shortening.best.loss):
        raise ChoiceError(
            f"adapt returned a loss of {shortening.best.loss}, as if the training around the"
            " equations had diverged: train with fewer steps or a lower rate; nothing was changed"
        )
    shortening.leave_out_inputs(recorded)
    shortening.leave_out_terms(recorded.operators)
    if not shortening.by_hand:
        mixed = recorded.mixed(shortening.best.equations)
        if mixed:
            shortening.takes(shortening.best.equations | mixed, {})
    return shortening.best, tuple(shortening.trials)


@dataclass
class _Shortening:
    """The shortest equations so far that are good enough, and every trial.

    Attributes:
        by_hand: whether somebody has chosen these equations: nothing is added to them.
    """

    build: Callable[[Equations], nn.Module]
    adapt: Adapt
    tolerance: float
    enough: float | None
    best: Adapted = field(init=False)
    lowest: float = math.inf
    by_hand: bool = True
    trials: list[Trial] = field(default_factory=list)

    def start(self, equations: Equations, recorded: Alternatives) -> Alternatives:
        """The equations as they are; where they are not enough, the shortest of those that are
        within the tolerance of the best that there are. Returns how to fit on from them."""
        starts = [(self.adapted(equations), recorded)]
        if self.enough is not None and not starts[0][0].loss <= self.enough:
            for fitting, others in recorded.others(equations):
                forms = {k: other.form for k, other in others.items()}
                if all(forms != start.forms for start, _ in starts):
                    starts.append((self.adapted(others), fitting))
        lowest = min(start.loss for start, _ in starts)
        good = [pair for pair in starts if pair[0].loss <= self.allowed(lowest)]
        self.best, fitting = min(good or starts, key=lambda pair: pair[0].complexity)
        self.by_hand = self.best is starts[0][0] and not recorded.automatic(equations)
        self.lowest = self.best.loss
        self.trials += [Trial({}, start.loss, start is self.best) for start, _ in starts]
        return fitting

    def leave_out_inputs(self, recorded: Alternatives) -> None:
        needed: set[str] = set()
        while True:
            for name, changed in recorded.fewer(self.best.equations, needed):
                if self.takes(self.best.equations | changed, dict.fromkeys(changed, name)):
                    break
                needed.add(name)
            else:
                return

    def leave_out_terms(self, operators: OperatorSet) -> None:
        tried: set[tuple[Any, ...]] = set()
        while True:
            for shorter, without in _shorter(self.best.equations, operators):
                key = tuple((output, shorter[output].form) for output in sorted(shorter))
                if key not in tried and self.takes(shorter, without):
                    break
                tried.add(key)
            else:
                return

    def takes(self, changed: Equations, without: dict[int, str]) -> bool:
        """Whether the model does as well with these, which then are the best."""
        trial = self.adapted(changed)
        allowed = self.allowed(self.lowest)
        kept = trial.loss <= (allowed if self.enough is None else max(allowed, self.enough))
        self.trials.append(Trial(without, trial.loss, kept))
        if kept:
            self.best, self.lowest = trial, min(self.lowest, trial.loss)
        return kept

    def allowed(self, lowest: float) -> float:
        return lowest + self.tolerance * abs(lowest)

    def adapted(self, equations: Equations) -> Adapted:
        module = self.build(equations)
        # Every trial draws the same random numbers, and has gradients, whatever is around it.
        with same_random_state(), torch.enable_grad():
            torch.manual_seed(0)
            loss = self.adapt(module)
        try:
            loss = float(loss)
        except (TypeError, ValueError, RuntimeError):
            raise ChoiceError(
                f"adapt returned a {type(loss).__name__}: expected a loss on held-out data, a"
                " number"
            ) from None
        state = copy.deepcopy(module.state_dict())
        return Adapted(equations, state, math.inf if loss != loss else loss)


def check(adapt: object, tolerance: object, enough: object) -> None:
    """ChoiceError unless these make sense."""
    if not callable(adapt):
        raise ChoiceError(
            f"adapt is a {type(adapt).__name__}: expected a function that trains the module it is"
            " given for a while and returns a loss on held-out data"
        )
    if not (is_number(tolerance) and 0 <= tolerance < math.inf):
        raise ChoiceError(f"tolerance is {tolerance!r}: expected a share from 0 up, such as 0.01")
    if enough is not None and not (is_number(enough) and math.isfinite(enough)):
        raise ChoiceError(f"enough is {enough!r}: expected a loss, such as the neural model's own")


def _shorter(
    equations: Equations, operators: OperatorSet
) -> Iterator[tuple[Equations, dict[int, str]]]:
    """Equations with less, and what was left out of which output.

    What another output has goes from all of them or stays: of outputs that mix the same terms each
    could do without one for another, and none of them is superfluous. Constants go alone, too. An
    input that goes from all has been tried before, with equations fitted anew.
    """
    cuts = [cut for output in equations for cut in _cuts(output, equations[output], operators)]
    monomials = [_monomials(equation, equation.form) for equation in equations.values()]
    constants: list[list[_Cut]] = []
    alone: list[list[_Cut]] = []
    together: list[list[_Cut]] = []
    for gone in dict.fromkeys(cut.gone for cut in cuts):
        of_each = {cut.output: cut for cut in cuts if cut.gone == gone}
        shorter = equations | {output: cut.equation for output, cut in of_each.items()}
        if gone == _CONSTANT:
            constants += [list(of_each.values())] if len(of_each) > 1 else []
            constants += [[cut] for cut in of_each.values()]
        elif sum(gone <= terms for terms in monomials) == 1:
            alone += [[cut] for cut in cuts if cut.gone == gone]
        elif _inputs(shorter) == _inputs(equations) and not any(
            gone <= _monomials(equation, equation.form) for equation in shorter.values()
        ):
            together.append(list(of_each.values()))
    for group in [*constants, *alone, *together]:
        shorter = equations | {cut.output: cut.equation for cut in group}
        yield shorter, {cut.output: cut.term for cut in group}


def _inputs(equations: Equations) -> set[str]:
    return {name for equation in equations.values() for name in equation.uses}


class _Cut(NamedTuple):
    """An equation of an output that a term was left out of.

    Attributes:
        term: what was left out, as text.
        gone: the terms that its expanded form lacks, without their factors.
    """

    output: int
    equation: Equation
    term: str
    gone: frozenset[sympy.Expr]


_CONSTANT = frozenset({sympy.Integer(1)})


def _cuts(output: int, equation: Equation, operators: OperatorSet) -> Iterator[_Cut]:
    """Where an input is left, and the operators can spell what is left."""
    for form, term in _less(equation.form):
        if is_constant(form):
            continue
        try:
            shorter, constants = canonical(form, equation.constants, operators)
        except UNUSABLE:
            continue
        if spellable(shorter, operators):
            cost = complexity(shorter, operators)
            gone = _monomials(equation, equation.form) - _monomials(equation, form)
            left_out, values = renumber(term, equation.constants)
            text = Equation(left_out, equation.symbols, values, complexity=0).text(4)
            yield _Cut(output, Equation(shorter, equation.symbols, constants, cost), text, gone)


def _less(form: sympy.Expr) -> Iterator[tuple[sympy.Expr, sympy.Expr]]:
    """The form without one term of its sum, or of a sum that is a factor; and that term."""
    if not form.is_Add and not form.is_Mul:
        return
    for position, arg in enumerate(form.args):
        before, after = form.args[:position], form.args[position + 1 :]
        if form.is_Add:
            yield form.func(*before, *after), arg
        for smaller, term in _less(arg):
            yield form.func(*before, smaller, *after), term


def _monomials(equation: Equation, form: sympy.Expr) -> frozenset[sympy.Expr]:
    """The terms of the expanded form without their factors; of the form itself where the expanded
    one would be too long."""
    filled = fill(form, equation.constants)
    out = expanded(filled, _TERMS)
    terms = sympy.Add.make_args(filled if out is None else out)
    return frozenset(term.as_independent(*term.free_symbols)[1] for term in terms)
