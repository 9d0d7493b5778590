"""Compare two equations: identical, drifted, the same function in another form, or another law.

1. Equations of one form are identical where all constants are, else drifted; unless large changes
   cancel out (2*sin(3*x) against -2*sin(-3*x)) and that can be proven.
2. Others are the same function where their values say so; the evidence tells whether there is a
   proof, too. Without values there has to be one.
3. What is one form once multiplied out has drifted as well, if the constants pair in one way only.
4. Everything else is another law.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from symcompile.diff.equations.law import Law, Values, compare_values, differ_anywhere, laws
from symcompile.diff.equations.marks import marks
from symcompile.diff.equations.pairing import Pairing, cheapest, pair
from symcompile.diff.equations.proof import PROVEN, Steps, drifted_when_expanded, prove
from symcompile.diff.equations.shape import shape
from symcompile.diff.result import Change, CoefficientDiff, EquationDiff, EquationSide
from symcompile.diff.snapshot import Output
from symcompile.expressions import slots
from symcompile.expressions.evaluation import Array

# Constants that moved by less have drifted, even if the function is the same up to rounding.
_MOVED = 1e-6


class Classification(NamedTuple):
    change: Change
    coefficients: tuple[CoefficientDiff, ...] = ()
    evidence: str = ""


def compare_equations(
    path: str,
    number: int,
    old: Output | None,
    new: Output | None,
    points: Array,
    steps: Steps | None = None,
) -> EquationDiff:
    """What became of one equation.

    Args:
        path, number: which one.
        old, new: both sides; None where there is none, but not twice. Variables of other names are
            taken in their order.
        points: values of the variables, [n_points, n_variables], n_points may be 0.
        steps: what the symbolic proof may take, and what is left of that afterwards.
    """
    change = Change.ADDED if old is None else Change.REMOVED
    before, after = (None if output is None else EquationSide.of(output) for output in (old, new))
    compared = EquationDiff(path, number, change, before, after)
    if old is None or new is None or before is None or after is None:
        return compared
    old_law, new_law = laws(old.equation, new.equation)
    values = compare_values(old_law, new_law, points)
    verdict = _judge(old_law, new_law, values, steps or Steps())
    old_marks, new_marks = marks(before.text, after.text)
    return replace(
        compared,
        change=verdict.change,
        old=replace(before, marks=old_marks),
        new=replace(after, marks=new_marks),
        coefficients=verdict.coefficients,
        evidence=verdict.evidence,
        difference=values.difference,
        points=values.points,
    )


def _judge(old: Law, new: Law, values: Values, steps: Steps) -> Classification:
    paired = paired_as_written(old, new)
    if (old.program, old.constants, old.order) == (new.program, new.constants, new.order):
        return Classification(Change.IDENTICAL, paired.coefficients() if paired else ())
    if paired is not None and paired.same:
        if slots.fill(old.form, old.constants) == slots.fill(new.form, new.constants):
            return Classification(Change.IDENTICAL, paired.coefficients())
        return Classification(
            Change.REWRITTEN, (), "the same form and constants, written in another way"
        )
    evidence = f"{'equal' if values.same else 'not equal'} on {values.points} points"
    if values.same is None:
        evidence = "no points on which both have values"
    if paired is None or paired.largest > _MOVED:
        if values.same or (values.same is None and not differ_anywhere(old, new)):
            proof = prove(old, new, steps)
            evidence = f"{evidence}, {proof}"
            if proof == PROVEN or (paired is None and values.same):
                return Classification(Change.REWRITTEN, (), evidence)
        elif values.same is None:
            evidence = f"{evidence}, not equal on seeded ones"
    if paired is not None:
        return Classification(
            Change.DRIFTED, paired.coefficients(), evidence if values.same else ""
        )
    paired = drifted_when_expanded(old, new, steps)
    if paired is not None:
        note = "one form once multiplied out, whose constants these are"
        return Classification(Change.DRIFTED, paired.coefficients(), note)
    return Classification(Change.CHANGED, (), evidence)


def paired_as_written(old: Law, new: Law) -> Pairing | None:
    """The constants of both, if they have one form; a coefficient before a sum may be in it."""
    pairings = []
    try:
        for spread in (False, True):
            sides = (shape(law.form, law.constants, spread=spread) for law in (old, new))
            pairings.append(pair(*sides))
            if pairings[-1] is not None and pairings[-1].cost == 0.0:
                break
    except RecursionError:
        return None
    return cheapest(pairings)
