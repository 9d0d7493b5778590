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
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeGuard

import sympy
import torch
from torch import nn

from symcompile.canonical import UNUSABLE, canonical
from symcompile.complexity import complexity, spellable
from symcompile.equation import Equation
from symcompile.errors import ChoiceError
from symcompile.operators import OperatorSet
from symcompile.refitting import Equations, Recorded
from symcompile.slots import fill, is_constant, renumber
from symcompile.state import same_random_state

Adapt = Callable[[nn.Module], float | torch.Tensor]


@dataclass(frozen=True)
class Trial:
    """One form that was tried.

    Attributes:
        without: the term, or the name of the input, left out of each output; empty for the
            equations as they were, and for others that were tried instead.
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
    def complexity(self) -> int:
        return sum(equation.complexity for equation in self.equations.values())


def search(
    equations: Equations,
    recorded: Recorded,
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
    not enough, others are the start if they do better, see `Recorded.others`. Then inputs go, that
    which recorded samples miss least before others: what a later block computes from such an input
    may as well be computed there alone. Then constants, from all outputs at once, since each of
    them alone is rarely worth its trial; then terms of sums.
    """
    best, recorded, trials = _start(equations, recorded, build, adapt, tolerance, enough)
    lowest = best.loss

    def as_good(shorter: Equations, without: dict[int, str]) -> bool:
        nonlocal best, lowest
        trial = _adapted(shorter, build, adapt)
        allowed = lowest + tolerance * abs(lowest)
        kept = trial.loss <= (allowed if enough is None else max(allowed, enough))
        trials.append(Trial(without, trial.loss, kept))
        if kept:
            best, lowest = trial, min(lowest, trial.loss)
        return kept

    needed: set[str] = set()
    while True:
        for name, changed in recorded.fewer(best.equations, needed):
            if as_good(best.equations | changed, dict.fromkeys(changed, name)):
                break
            needed.add(name)
        else:
            break
    tried: set[tuple[Any, ...]] = set()
    while True:
        for shorter, without in _shorter(best.equations, recorded.operators):
            key = tuple((output, one.form) for output, one in sorted(shorter.items()))
            if key not in tried and as_good(shorter, without):
                break
            tried.add(key)
        else:
            return best, tuple(trials)


def _start(
    equations: Equations,
    recorded: Recorded,
    build: Callable[[Equations], nn.Module],
    adapt: Adapt,
    tolerance: float,
    enough: float | None,
) -> tuple[Adapted, Recorded, list[Trial]]:
    """The equations as they are; where they are not enough, the shortest of those that are within
    the tolerance of the best that there are; and how to fit on from them."""
    starts = [(_adapted(equations, build, adapt), recorded)]
    if enough is not None and not starts[0][0].loss <= enough:
        for fitting, others in recorded.others(equations):
            if all(_forms(others) != _forms(start.equations) for start, _ in starts):
                starts.append((_adapted(others, build, adapt), fitting))
    lowest = min(start.loss for start, _ in starts)
    good = [pair for pair in starts if pair[0].loss <= lowest + tolerance * abs(lowest)]
    chosen = min(good or starts, key=lambda pair: pair[0].complexity)
    return *chosen, [Trial({}, start.loss, start is chosen[0]) for start, _ in starts]


def _forms(equations: Equations) -> list[sympy.Expr]:
    return [equation.form for _, equation in sorted(equations.items())]


def check(adapt: object, tolerance: object, enough: object) -> None:
    """ChoiceError unless these make sense."""
    if not callable(adapt):
        raise ChoiceError(
            f"adapt is a {type(adapt).__name__}: expected a function that trains the module it is"
            " given for a while and returns a loss on held-out data"
        )
    if not _is_number(tolerance) or tolerance < 0:
        raise ChoiceError(f"tolerance is {tolerance!r}: expected a share from 0 up, such as 0.01")
    if enough is not None and not _is_number(enough):
        raise ChoiceError(f"enough is {enough!r}: expected a loss, such as the neural model's own")


def _is_number(value: object) -> TypeGuard[float]:
    """Whether it is finite, and no truth value."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    return math.isfinite(value)


def _adapted(
    equations: Equations, build: Callable[[Equations], nn.Module], adapt: Adapt
) -> Adapted:
    module = build(equations)
    with _like_the_others():
        loss = adapt(module)
    try:
        loss = float(loss)
    except (TypeError, ValueError, RuntimeError):
        raise ChoiceError(
            f"adapt returned a {type(loss).__name__}: expected a loss on held-out data, a number"
        ) from None
    return Adapted(
        equations, copy.deepcopy(module.state_dict()), math.inf if loss != loss else loss
    )


@contextmanager
def _like_the_others() -> Iterator[None]:
    """Every trial draws the same random numbers, and has gradients, whatever is around it."""
    with same_random_state(), torch.enable_grad():
        torch.manual_seed(0)
        yield


def _shorter(
    equations: Equations, operators: OperatorSet
) -> Iterator[tuple[Equations, dict[int, str]]]:
    """Equations with less, and what was left out of which output.

    Not a term that another output has: outputs that mix the same terms could each do without one
    for another, and none of them is superfluous.
    """
    constants, terms = {}, []
    forms = {output: _monomials(one, one.form) for output, one in equations.items()}
    for output, one in equations.items():
        for term in _terms(one):
            if is_constant(term):
                constants[output] = term
            elif not any(_monomials(one, term) <= forms[k] for k in forms if k != output):
                terms.append({output: term})
    several = [constants] if len(constants) > 1 else []
    for without in [*several, *({k: term} for k, term in constants.items()), *terms]:
        changed = {}
        for output, term in without.items():
            changed[output] = _without(equations[output], term, operators)
        shown = {output: _text(equations[output], term) for output, term in without.items()}
        shorter = {output: one for output, one in changed.items() if one is not None}
        if len(shorter) == len(changed):
            yield equations | shorter, shown


def _terms(equation: Equation) -> tuple[sympy.Expr, ...]:
    return equation.form.args if equation.form.is_Add else ()


def _monomials(equation: Equation, form: sympy.Expr) -> set[sympy.Expr]:
    """The terms of the expanded form without their factors."""
    terms = sympy.Add.make_args(sympy.expand(fill(form, equation.constants)))
    return {term.as_independent(*term.free_symbols)[1] for term in terms}


def _text(equation: Equation, term: sympy.Expr) -> str:
    form, constants = renumber(term, equation.constants)
    return Equation(form, equation.symbols, constants, complexity=0).text(4)


def _without(equation: Equation, term: sympy.Expr, operators: OperatorSet) -> Equation | None:
    """None where no input would be left, or nothing that the operators can spell."""
    rest = [one for one in _terms(equation) if one != term]
    if all(map(is_constant, rest)):
        return None
    try:
        form, constants = canonical(sympy.Add(*rest), equation.constants, operators)
    except UNUSABLE:
        return None
    if not spellable(form, operators):
        return None
    return Equation(form, equation.symbols, constants, complexity(form, operators))
