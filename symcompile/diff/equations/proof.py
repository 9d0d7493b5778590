"""Prove that two laws are the same function, or find that they are one law once expanded.

Each attempt writes both sides anew and compares them term by term, coefficients up to rounding.
Before sympy sees a constant it is rounded to fourteen digits and made a fraction, so that the same
number computed in two ways is the same number. All algebra is measured beforehand and paid for in
steps, so that a verdict depends on the equations alone, not on the machine. What is too dear is not
proven; that is not an error, and neither is anything that sympy raises on the way.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import sympy

from symcompile.diff.equations.law import SAME, Law
from symcompile.diff.equations.pairing import Pairing, pair
from symcompile.diff.equations.shape import constant_value, shape
from symcompile.errors import ExpressionError
from symcompile.expressions.canonical import canonical
from symcompile.expressions.evaluation import trace
from symcompile.expressions.expansion import terms_made
from symcompile.expressions.fold import LEAVES, Code, completed, fold
from symcompile.expressions.operator import Head
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.operators import OPERATORS, VOCABULARY
from symcompile.expressions.program import WITH_VALUE, Program
from symcompile.expressions.size_limits import check_program
from symcompile.expressions.slots import is_constant, slot

PROVEN, NOT_PROVEN = "proven symbolically", "not proven"
# For all equations of a comparison: a second or so, and some twenty for what is made to be dear.
PROOF_STEPS = 20_000

# Nodes of an equation, terms and nodes of an expanded one, and exponents, multiplied where powers
# stand in each other, beyond which sympy is not asked: 9.0**1e9 has a billion digits.
_NODES = 400
_TERMS = 1_000
_WRITTEN = 20_000
_EXPONENT = 64
_DIGITS = 14
# How often its argument stands in a function that is written with exponentials.
_COPIES = {"tan": 4, "tanh": 4} | dict.fromkeys(("sin", "cos", "sinh", "cosh"), 2)

_CHOICES = (sympy.Min, sympy.Max, sympy.Piecewise)

# Functions of our own that are written by their definitions. Those that choose stay symbols.
_DEFINED = {
    op
    for op, row in OPERATORS.items()
    if row.definition and issubclass(row.build, Head) and "where" not in row.definition
}

_OPERATORS = OperatorSet.of(list(VOCABULARY))


class Steps:
    """How much work is left for proofs: terms written out, and what sympy needs for each node."""

    def __init__(self, count: float = PROOF_STEPS) -> None:
        self.left = count

    def take(self, count: float) -> None:
        """Before it is done; _StepsOverError, now and ever after, if that is more than is left."""
        enough = count <= self.left
        self.left = self.left - count if enough else 0
        if not enough:
            raise _StepsOverError


class _StepsOverError(BaseException):
    """Not an Exception, which code of sympy's may catch."""


def prove(old: Law, new: Law, steps: Steps) -> str:
    """PROVEN, or NOT_PROVEN with the reason if that is size or work."""
    work = sum(_work(law, _spelled_out(law.program)) for law in (old, new))
    if math.isinf(work):
        return f"{NOT_PROVEN}: too large"
    try:
        steps.take(work)
        for attempt in (_by_canonical_form, _by_exponentials):
            with suppress(Exception):  # sympy raises what it likes, RecursionError among it
                if attempt(old, new, steps):
                    return PROVEN
    except _StepsOverError:
        return f"{NOT_PROVEN} in so many steps"
    return NOT_PROVEN


def drifted_when_expanded(old: Law, new: Law, steps: Steps) -> Pairing | None:
    """The constants of two laws that are one form once products are multiplied out: 2.5*(x + y)
    and 2.6*x + 2.6*y. None unless that is unambiguous, with as many constants on both sides."""
    work = sum(_work(law, law.program) for law in (old, new))
    if len(set(old.constants)) != len(set(new.constants)) or math.isinf(work):
        return None
    try:
        steps.take(work)
        pairing = pair(*(shape(_multiplied_out(law, steps)) for law in (old, new)))
    except (Exception, _StepsOverError):  # sympy raises what it likes
        return None
    if pairing is None or pairing.ambiguous or pairing.largest <= SAME:
        return None
    return pairing if all(old.exact == new.exact for old, new, _ in pairing.pairs) else None


def _multiplied_out(law: Law, steps: Steps) -> sympy.Expr:
    filled = law.form.xreplace({slot(k): sympy.Float(v) for k, v in enumerate(law.constants)})
    return _expand(filled, steps, power_exp=False, power_base=False)


# --- what sympy may be asked ---------------------------------------------------------------------


def _spelled_out(program: Program) -> Program:
    """The same with definitions in the place of the functions that sympy lacks."""
    code = Code()

    def written(op: str, *args: Any) -> int:
        *places, value = args if op in WITH_VALUE else (*args, None)
        return code.add(op, places, value)

    kept = (op for op in (*LEAVES, *OPERATORS) if op not in _DEFINED)
    places = fold(program.instructions, completed({op: partial(written, op) for op in kept}))
    outputs = tuple(places[k] for k in program.outputs)
    return replace(program, instructions=tuple(code.instructions), outputs=outputs)


def _work(law: Law, program: Program) -> float:
    """Steps that sympy needs to build it anew, as this program; infinite where it can't be let
    near: a large tree, a long number."""
    plain = all(value == 0.0 or 1e-100 < abs(value) < 1e100 for value in law.constants)
    nodes, exponent = _extent(program, law.constants)
    if not plain or nodes > _NODES or exponent > _EXPONENT:
        return math.inf
    try:
        return check_program(program, law.constants)
    except ExpressionError:
        return math.inf


def _extent(program: Program, constants: Sequence[float]) -> tuple[int, float]:
    """Nodes of its tree, where functions are written with exponentials, and the largest exponent,
    those of powers in each other multiplied."""
    anywhere = np.full((1, program.n_inputs), math.nan)
    with np.errstate(all="ignore"):
        values = trace(program, anywhere, constants)
    sizes, reached = list[int](), list[float]()
    for op, args, value in program.instructions:
        sizes.append(1 + sum(sizes[a] for a in args) * _COPIES.get(op, 1))
        exponent = value if op == "power" else np.max(values[args[1]]) if op == "pow" else 1.0
        inside = max((reached[a] for a in args), default=1.0)
        reached.append(inside * max(1.0, abs(float(exponent))))
    return sizes[program.outputs[0]], max(reached)


# --- proofs --------------------------------------------------------------------------------------


def _by_canonical_form(old: Law, new: Law, steps: Steps) -> bool:
    forms = [canonical(law.form, law.constants, _OPERATORS) for law in (old, new)]
    if not all(value and math.isfinite(value) for _, values in forms for value in values):
        return False  # constants that were merged beyond the range of float64
    pairing = pair(*(shape(form, values) for form, values in forms))
    return pairing is not None and pairing.largest <= SAME


def _by_exponentials(old: Law, new: Law, steps: Steps) -> bool:
    """As fractions of exponentials, in which every rule of waves is one of powers, multiplied
    crosswise, and compared term by term."""
    sides = [_expand(_exact(law).rewrite(sympy.exp), steps) for law in (old, new)]
    (p, q), (r, s) = [sympy.fraction(sympy.together(side)) for side in sides]
    ours, theirs = (_coefficients(_expand(side, steps)) for side in (p * s, r * q))
    # What cancels has to cancel exactly: there is no telling beside what it would be small.
    return all(
        cmath.isclose(ours.get(term, 0.0), theirs.get(term, 0.0), rel_tol=SAME)
        for term in {*ours, *theirs}
    )


def _exact(law: Law) -> Any:
    """With fractions for constants, over real symbols, and in functions that sympy knows; a choice
    between values is a symbol, too, since sympy would compare them at every step."""

    def exact(node: sympy.Basic) -> Any:
        if isinstance(node, sympy.Expr) and is_constant(node):
            if not node.free_symbols and not node.has(sympy.Float, sympy.Function):
                return node
            return sympy.Rational(f"{constant_value(node, law.constants):.{_DIGITS}g}")
        if type(node).__name__ in _DEFINED:
            return exact(node.definition)
        if isinstance(node, _CHOICES):
            return sympy.Symbol(shape(node, law.constants).content, real=True)
        if node.is_Symbol:
            return sympy.Symbol(node.name, real=True)
        return node.func(*map(exact, node.args)) if node.args else node

    return exact(law.form)


def _expand(expr: sympy.Expr, steps: Steps, **hints: bool) -> sympy.Expr:
    made = terms_made(expr)
    if made > _TERMS:
        raise ArithmeticError("too many terms")
    steps.take(made)
    # A logarithm of a product would be a sum, which was not counted.
    expanded = sympy.expand(expr, log=False, **hints)
    if sum(1 for _ in islice(sympy.preorder_traversal(expanded), _WRITTEN)) == _WRITTEN:
        raise ArithmeticError("too many nodes")
    return expanded


def _coefficients(expr: sympy.Expr) -> dict[sympy.Expr, complex]:
    """The constant factor of each term, by the rest of the term; ArithmeticError if one is beyond
    the range of float64."""
    coefficients: dict[sympy.Expr, complex] = {}
    symbols = expr.free_symbols
    for term in sympy.Add.make_args(expr):
        number, rest = term.as_independent(*symbols, as_Add=False)
        exact = number.evalf(20)
        value = complex(exact)
        if not cmath.isfinite(value) or (value == 0.0) != (exact == 0):
            raise ArithmeticError(f"coefficient {exact}")
        coefficients[rest] = coefficients.get(rest, 0.0) + value
    return coefficients
