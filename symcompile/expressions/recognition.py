"""Recognition: where an expression computes what an operator of a user's own is defined as.

What does not know the operator finds its definition instead: sparse forms, a law of a user's own, a
front that was stored. With a use of it in the place the form costs what the operator does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import sympy

from symcompile.expressions.complexity import complexity, spellable
from symcompile.expressions.custom import ARGUMENTS, CustomOperator
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.slots import is_constant, rebuilt, slot, slots_of

# Ways to read one expression as one definition.
_MOST_TRIED = 32
_SYMBOLS = frozenset(map(sympy.Symbol, ARGUMENTS))
# What each argument of a definition is.
Binding = dict[sympy.Symbol, sympy.Expr]


def recognized(
    expr: sympy.Expr, operators: OperatorSet, constants: Sequence[float] = ()
) -> sympy.Expr:
    """The expression with operators of the user's own wherever that is shorter.

    Args:
        constants: value of each slot: without it a root of one is not taken.
    """
    if not operators.custom:
        return expr
    return _Recognition(operators, constants).of(expr)


class _Recognition:
    def __init__(self, operators: OperatorSet, constants: Sequence[float]) -> None:
        # Of a part of a form: what limits the whole is asked of that.
        self.operators = OperatorSet(operators.costs, custom=operators.custom)
        self.values = {slot(k): sympy.Float(value) for k, value in enumerate(constants)}

    def of(self, expr: sympy.Expr) -> sympy.Expr:
        if not expr.args or is_constant(expr):
            return expr
        whole = self.use(expr)
        args = [self.of(arg) if isinstance(arg, sympy.Expr) else arg for arg in expr.args]
        inner = rebuilt(expr, args)
        if whole is None:
            return inner
        uses = whole.func(*map(self.of, whole.args))
        # A root in its argument may be none of the operators.
        shorter = complexity(uses, self.operators) < complexity(inner, self.operators)
        return uses if shorter and spellable(uses, self.operators) else inner

    def use(self, expr: sympy.Expr) -> sympy.Expr | None:
        """The shortest use of an operator that this is.

        Any power is one of some root. To put arguments into a definition takes long, so a use is
        not looked at that would be longer even with one of its own kind found inside.
        """
        most = complexity(expr, self.operators)
        uses = [
            (cost, use)
            for operator in self.operators.custom
            if operator.expression.func is expr.func
            for binding in islice(self.unified(operator.expression, expr, {}), _MOST_TRIED)
            if (use := _applied(operator, binding)) is not None
            and (cost := complexity(use, self.operators)) < most + operator.complexity
        ]
        shortest_first = sorted(uses, key=lambda pair: pair[0])
        return next((use for _, use in shortest_first if use.definition == expr), None)

    def unified(self, pattern: sympy.Expr, expr: sympy.Expr, bound: Binding) -> Iterator[Binding]:
        """What the arguments may be for the pattern to be the expression."""
        if pattern in _SYMBOLS:
            if bound.get(pattern, expr) == expr:
                yield bound | {pattern: expr}
        elif not pattern.free_symbols & _SYMBOLS:
            if pattern == expr:
                yield bound
        elif pattern.is_Add or pattern.is_Mul:
            yield from self.of_parts(pattern, expr, bound)
        elif pattern.is_Pow and not pattern.exp.free_symbols:
            root = self.root(expr, pattern.exp)
            if root is not None:
                yield from self.unified(pattern.base, root, bound)
        elif pattern.func is expr.func and len(pattern.args) == len(expr.args):
            yield from self.of_args(list(zip(pattern.args, expr.args, strict=True)), bound)

    def of_args(
        self, pairs: Sequence[tuple[sympy.Expr, sympy.Expr]], bound: Binding
    ) -> Iterator[Binding]:
        if not pairs:
            yield bound
            return
        for binding in self.unified(*pairs[0], bound):
            yield from self.of_args(pairs[1:], binding)

    def of_parts(self, pattern: sympy.Expr, expr: sympy.Expr, bound: Binding) -> Iterator[Binding]:
        """Of a sum or product: what is constant is taken out, then each part in turn is one of the
        expression's, and the last is what is left."""
        known = [part for part in pattern.args if not part.free_symbols & _SYMBOLS]
        parts = [part for part in pattern.args if part.free_symbols & _SYMBOLS]
        rest = _without(pattern.func, expr, pattern.func(*known)) if known else expr
        if len(parts) == 1:
            yield from self.unified(parts[0], rest, bound)
            return
        # An argument alone may be anything: it comes last.
        first, *others = sorted(parts, key=lambda part: part in _SYMBOLS)
        for part in pattern.func.make_args(rest):
            for binding in self.unified(first, part, bound):
                left = _without(pattern.func, rest, part)
                yield from self.unified(pattern.func(*others), left, binding)

    def root(self, expr: sympy.Expr, exponent: sympy.Expr) -> sympy.Expr | None:
        """What this power of is the expression; None where it is not known to be real."""
        factors = []
        numbers = [factor for factor in sympy.Mul.make_args(expr) if is_constant(factor)]
        number = sympy.Mul(*numbers)
        if exponent.is_Integer and number != 1:
            value = number.xreplace(self.values)
            if slots_of(value) or not value.is_positive:
                return None
            factors.append(number ** (1 / exponent))
        elif number != 1:
            return None
        for factor in sympy.Mul.make_args(expr):
            if is_constant(factor):
                continue
            base, power = factor.as_base_exp()
            if not (2 * power / exponent).is_Integer:
                return None
            factors.append(base ** (power / exponent))
        return sympy.Mul(*factors)


def _without(function: type, expr: sympy.Expr, part: sympy.Expr) -> sympy.Expr:
    return expr - part if function is sympy.Add else expr / part


def _applied(operator: CustomOperator, binding: Binding) -> sympy.Expr | None:
    args = [binding.get(sympy.Symbol(name)) for name in ARGUMENTS[: operator.arity]]
    return None if None in args else operator.head(*args)
