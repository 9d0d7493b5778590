"""The canonical form of an expression: constants merged, signs and scales where readers look.

A search returns `0.5*exp(-2.0*t + 0.1)*sin(-(3.1*x))` with a constant on every leaf. Each rule here
rewrites to an equal function with no more nodes, and merges constants that can't be told apart
(`c0*(c1*x)`), so that a least-squares fit of the constants is well posed. The rules work on sympy
expressions with numbered slots; sympy's own `simplify` is not called: its time is unbounded.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence

import sympy

from symcompile.errors import SymCompileError
from symcompile.expressions import slots
from symcompile.expressions.complexity import complexity
from symcompile.expressions.expansion import collected, expanded
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.operators import ROWS
from symcompile.expressions.recognition import recognized
from symcompile.expressions.slots import is_constant, rebuilt

_ODD = tuple(row.build for row in ROWS if row.odd)
_TRIG = (sympy.sin, sympy.cos)
# Expanding products is tried only below this many nodes, and where it makes no more terms: what is
# shorter once it is multiplied out has a dozen of them.
_EXPAND_NODES, _EXPAND_TERMS = 60, 60
# Whenever one of these is built anew, sympy asks for the sign of everything below: with more of
# them a form is merged, and nothing else.
_COMPARED = (sympy.Min, sympy.Max, sympy.Piecewise)
_COMPARISONS = 4

# What sympy and evaluation raise where an expression makes no sense: Min of a complex number.
UNUSABLE = (SymCompileError, ArithmeticError, ValueError, TypeError, RecursionError)

Form = tuple[sympy.Expr, tuple[float, ...]]


def canonical(expr: sympy.Expr, constants: Sequence[float], operators: OperatorSet) -> Form:
    """An equal expression, its constants merged, in its cheapest spelling that we know.

    Args:
        expr: form with slots `c[0]`, `c[1]`, ...; floats in it count as constants too.
        constants: value of each slot.

    Returns:
        The new form, with slots numbered in the order of a walk, and their values.
    """

    def with_factors_out(form: Form) -> Form:
        return slots.renumber(collected(form[0], operators), form[1])

    expr = recognized(expr, operators, constants)
    merged = _merge(expr, constants, operators)
    spellings = [merged]
    nodes = list(slots.walk(merged[0]))
    if sum(isinstance(node, _COMPARED) for node in nodes) <= _COMPARISONS:
        if any(map(_is_sum_of_products, nodes)):
            spellings.append(with_factors_out(merged))
        if len(nodes) <= _EXPAND_NODES and any(map(_is_product_of_sums, nodes)):
            out = expanded(merged[0], _EXPAND_TERMS, power_exp=False, log=False)
            if out is not None:
                form = _merge(out, merged[1], operators)
                spellings += [form, with_factors_out(form)]
    floats = sorted(expr.atoms(sympy.Float), key=float)
    own = {value: slots.slot(len(constants) + k) for k, value in enumerate(floats)}
    unmerged = slots.renumber(expr.xreplace(own), (*constants, *map(float, floats)))
    # 1e-200*(1e-200*x) has no spelling with one constant.
    in_range = [form for form in (*spellings, unmerged) if all(map(_is_number, form[1]))]
    spellings = in_range if unmerged in in_range else [*spellings, unmerged]
    return min(spellings, key=lambda form: (complexity(form[0], operators), len(form[1])))


def _merge(expr: sympy.Expr, constants: Sequence[float], operators: OperatorSet) -> Form:
    """Merge until nothing changes (two rounds are nearly always enough)."""
    form, values = expr, tuple(constants)
    for _ in range(4):
        before = form
        merging = _Round(values, operators)
        form, values = slots.renumber(merging.of(form), merging.values)
        if form == before:
            break
    return form, values


def _is_sum_of_products(node: sympy.Basic) -> bool:
    return bool(node.is_Add) and sum(not is_constant(term) for term in node.args) > 1


def _is_product_of_sums(node: sympy.Basic) -> bool:
    return node.has(sympy.Add) and bool(node.is_Mul or (node.is_Pow and node.exp.is_Integer))


class _Round:
    """One bottom-up round of the rules; constants made on the way get new slots."""

    def __init__(self, constants: Sequence[float], operators: OperatorSet) -> None:
        self.either_wave = "sin" in operators and "cos" in operators
        self.values = [float(value) for value in constants]

    def of(self, expr: sympy.Expr) -> sympy.Expr:
        if is_constant(expr):
            return self.constant(expr)
        if expr.is_Symbol:
            return expr
        args = [self.of(arg) if isinstance(arg, sympy.Expr) else arg for arg in expr.args]
        if all(isinstance(arg, sympy.Expr) and is_constant(arg) for arg in args):
            return self.constant(rebuilt(expr, args))  # the inputs had a factor that became zero
        if expr.is_Add:
            return self.sum(args)
        if expr.is_Mul:
            return self.product(args)
        if expr.is_Pow:
            return self.power(*args)
        if isinstance(expr, (sympy.re, sympy.im)):
            # sympy takes symbols for complex and turns Abs(exp(x)) into exp(re(x)).
            return args[0] if isinstance(expr, sympy.re) else sympy.S.Zero
        rule = getattr(self, "of_" + expr.func.__name__.lower(), None)
        return rule(args[0]) if rule else rebuilt(expr, args)

    # Constants

    def value(self, expr: sympy.Expr) -> float:
        """The number that an expression of slots and numbers stands for."""
        if expr.is_Number:
            return float(expr)
        index = slots.slot_index(expr)
        if index is not None:
            return self.values[index]
        filled = expr.xreplace(
            {slots.slot(i): sympy.Float(self.values[i]) for i in slots.slots_of(expr)}
        )
        try:
            return float(filled.evalf())
        except (TypeError, ValueError, OverflowError):
            return math.nan

    def new(self, value: float) -> sympy.Expr:
        self.values.append(float(value))
        return slots.slot(len(self.values) - 1)

    def constant(self, expr: sympy.Expr) -> sympy.Expr:
        """Exact numbers stay; anything with a slot or a float in it becomes one slot."""
        if slots.slot_index(expr) is not None or not (expr.free_symbols or expr.has(sympy.Float)):
            return expr
        return self.new(self.value(expr))

    def split(self, term: sympy.Expr) -> tuple[sympy.Expr, sympy.Expr]:
        """A term as (constant factor, rest)."""
        if is_constant(term):
            return term, sympy.S.One
        if not term.is_Mul:
            return sympy.S.One, term
        numbers, rest = _apart(term.args)
        return sympy.Mul(*numbers), sympy.Mul(*rest)

    # Sums

    def sum(self, args: Iterable[sympy.Expr]) -> sympy.Expr:
        """Like terms merged; a constant before an inner sum is multiplied in."""
        groups: dict[sympy.Expr, sympy.Expr] = {}
        for number, rest in self.terms(args):
            groups[rest] = groups.get(rest, sympy.S.Zero) + number
        total = []
        for rest, number in groups.items():
            if self.leaves_range(number):
                total.append(number * rest)
                continue
            coefficient = self.constant(number)
            if self.value(coefficient) != 0.0:
                total.append(sympy.Mul(coefficient, rest))
        return sympy.Add(*total)

    def leaves_range(self, number: sympy.Expr) -> bool:
        """Whether a product of numbers is none of float64's: what it stands before may make up."""
        parts = map(self.value, number.args)
        return number.is_Mul and not _is_number(self.value(number)) and all(map(_is_number, parts))

    def terms(self, args: Iterable[sympy.Expr]) -> Iterable[tuple[sympy.Expr, sympy.Expr]]:
        for arg in args:
            if arg.is_Add:
                yield from self.terms(arg.args)
                continue
            number, rest = self.split(arg)
            if rest.is_Add:
                for inner, innermost in self.terms(rest.args):
                    yield number * inner, innermost
            else:
                yield number, rest

    def scaled(self, factor: float, expr: sympy.Expr) -> sympy.Expr:
        """`factor * expr`, with the factor multiplied into the constants of a sum."""
        terms = []
        for number, rest in self.terms([expr]):
            product = self.value(number) * factor
            coefficient = sympy.Integer(product) if abs(product) == 1.0 else self.new(product)
            terms.append(coefficient * rest)
        return sympy.Add(*terms)

    def leading(self, expr: sympy.Expr) -> float:
        """Constant factor of an expression; of a sum, that of its first varying term."""
        return next(self.value(number) for number, rest in self.terms([expr]) if rest != 1)

    def pulled(self, expr: sympy.Expr, positive: bool = False) -> tuple[float, sympy.Expr]:
        """Write an expression as factor * rest, where the first term of rest has no constant.

        With `positive` the factor is above zero, and a sign may stay in the rest.
        """
        if not self.is_scaled(expr):
            return 1.0, expr
        factor = self.leading(expr)
        factor = abs(factor) if positive else factor
        if factor == 0.0 or not math.isfinite(factor):
            return 1.0, expr
        return factor, self.scaled(1.0 / factor, expr)

    def is_scaled(self, expr: sympy.Expr) -> bool:
        """Whether a factor can be moved in and out of an expression at no cost."""
        number, rest = self.split(expr)
        if not rest.is_Add:
            return number != 1
        return all(number != 1 for number, _ in self.terms([rest]))

    # Products and powers

    def product(self, args: Sequence[sympy.Expr]) -> sympy.Expr:
        number, exact, exponent, factors = 1.0, sympy.S.One, [], []
        parts = [part for arg in args for part in sympy.Mul.make_args(arg)]
        for factor in parts:
            if is_constant(factor):
                inexact = factor.free_symbols or factor.has(sympy.Float)
                number *= self.value(factor) if inexact else 1.0
                exact *= sympy.S.One if inexact else factor
            elif isinstance(factor, sympy.exp):
                exponent.append(factor.args[0])
            else:
                scale, rest = self.pull_factor(factor)
                number *= scale
                factors.append(rest)
        if exponent:
            scale, rest = self.exponential(self.sum(exponent))
            number *= scale
            factors.append(rest)
        constants = (self.value(part) for part in parts if is_constant(part))
        if not _is_number(number) and all(map(_is_number, constants)):
            return sympy.Mul(*args)
        return self.assemble(number, exact, factors)

    def pull_factor(self, factor: sympy.Expr) -> tuple[float, sympy.Expr]:
        if factor.is_Add:
            return self.pulled(factor)
        if factor.is_Pow and factor.base.is_Add and factor.exp.is_Integer:
            scale, rest = self.pulled(factor.base)
            outer = _power(scale, int(factor.exp))
            if outer is not None:
                return outer, rest**factor.exp
        return 1.0, factor

    def assemble(self, number: float, exact: sympy.Expr, factors: list[sympy.Expr]) -> sympy.Expr:
        rest = sympy.Mul(*factors)
        if number == 1.0:
            return exact * rest
        number *= float(exact)
        if rest.is_Mul or isinstance(rest, (*_ODD, sympy.cos)):
            number, rest = self.positive_waves(number, rest)
        if rest.is_Add and sum(n == 1 for n, _ in self.terms([rest])) <= 1:
            return self.scaled(number, rest)
        if number in (1.0, -1.0):
            return sympy.Integer(round(number)) * rest
        return self.new(number) * rest

    def positive_waves(self, number: float, rest: sympy.Expr) -> tuple[float, sympy.Expr]:
        """Odd functions with a positive leading constant; then a positive amplitude."""
        factors = []
        for factor in sympy.Mul.make_args(rest):
            if isinstance(factor, _ODD) and self.turns(factor.args[0]):
                number = -number
                factor = factor.func(self.scaled(-1.0, factor.args[0]))
            factors.append(factor)
        for index, factor in enumerate(factors):
            phase = self.phase(factor)
            if number < 0 and phase is not None:
                number, factors[index] = -number, self.shifted(factor, phase, math.pi)
        return number, sympy.Mul(*factors)

    def phase(self, wave: sympy.Expr) -> sympy.Expr | None:
        """The constant term within a sine or cosine."""
        if isinstance(wave, _TRIG) and wave.args[0].is_Add:
            numbers, _ = _apart(wave.args[0].args)
            if numbers and slots.slot_index(numbers[0]) is not None:
                return numbers[0]
        return None

    def shifted(self, wave: sympy.Expr, phase: sympy.Expr, by: float) -> sympy.Expr:
        """A wave with its phase moved, kept within (-pi, pi]."""
        value = math.remainder(self.value(phase) + by, 2 * math.pi)
        return wave.func(wave.args[0] - phase + self.new(value))

    def power(self, base: sympy.Expr, exponent: sympy.Expr) -> sympy.Expr:
        if isinstance(base, sympy.exp) and is_constant(exponent):
            return self.of_exp(self.product([exponent, base.args[0]]))
        if isinstance(base, sympy.Abs) and exponent.is_Integer and int(exponent) % 2 == 0:
            return self.power(base.args[0], exponent)
        if not is_constant(exponent) or is_constant(base):
            return base**exponent
        exponent = slots.exact_exponent(exponent, self.values)
        is_whole = bool(exponent.is_Integer)
        scale, rest = self.pulled(base, positive=not is_whole)
        outer = _power(scale, int(exponent) if is_whole else self.value(exponent))
        if scale == 1.0 or outer is None:
            return base**exponent
        return self.assemble(outer, sympy.S.One, [rest**exponent])

    # Functions

    def exponential(self, argument: sympy.Expr) -> tuple[float, sympy.Expr]:
        """exp(a + c) as (exp(c), exp(a))."""
        numbers, rest = _apart(sympy.Add.make_args(argument))
        shift = sum(map(self.value, numbers))
        if not numbers or abs(shift) > 300:
            return 1.0, sympy.exp(argument)
        return math.exp(shift), sympy.exp(sympy.Add(*rest))

    def of_exp(self, argument: sympy.Expr) -> sympy.Expr:
        if is_constant(argument):
            return self.constant(sympy.exp(argument))
        scale, rest = self.exponential(argument)
        return self.assemble(scale, sympy.S.One, [rest])

    def of_sin(self, argument: sympy.Expr) -> sympy.Expr:
        wave = sympy.sin(argument)
        phase = self.phase(wave)
        if phase is not None and self.turns(argument):
            turned = self.new(math.pi - self.value(phase))
            wave = sympy.sin(self.scaled(-1.0, argument - phase) + turned)
        return self.in_range(wave)

    def of_cos(self, argument: sympy.Expr) -> sympy.Expr:
        if self.turns(argument):
            argument = self.scaled(-1.0, argument)
        return self.in_range(sympy.cos(argument))

    def turns(self, argument: sympy.Expr) -> bool:
        """Whether a wave's argument runs backwards, and may be reversed at no cost."""
        return self.is_scaled(argument) and self.leading(argument) < 0

    def in_range(self, wave: sympy.Expr) -> sympy.Expr:
        """A phase within (-pi, pi]; sine or cosine, whichever has the smaller phase."""
        phase = self.phase(wave)
        if phase is None:
            return wave
        value = math.remainder(self.value(phase), 2 * math.pi)
        quarter, half = math.pi / 4, math.pi / 2
        rest = wave.args[0] - phase
        if self.either_wave and isinstance(wave, sympy.sin) and quarter < value <= 3 * quarter:
            return sympy.cos(rest + self.new(value - half))
        if self.either_wave and isinstance(wave, sympy.cos) and -3 * quarter < value < -quarter:
            return sympy.sin(rest + self.new(value + half))
        if abs(self.value(phase)) <= math.pi:
            return wave
        return self.shifted(wave, phase, 0.0)

    def of_abs(self, argument: sympy.Expr) -> sympy.Expr:
        scale, rest = self.pulled(argument)
        size = rest if isinstance(rest, (sympy.exp, sympy.Abs)) else sympy.Abs(rest)
        return self.assemble(abs(scale), sympy.S.One, [size])

    def of_log(self, argument: sympy.Expr) -> sympy.Expr:
        scale, rest = self.pulled(argument, positive=True)
        if scale == 1.0:
            return sympy.log(argument)
        return sympy.log(rest) + self.new(math.log(scale))


def _is_number(value: float) -> bool:
    """Whether a constant that others were merged into is still one: (1e-200*x)**2 stays as it is,
    since 1e-400 is zero."""
    return math.isfinite(value) and abs(value) >= sys.float_info.min


def _power(base: float, exponent: float) -> float | None:
    try:
        value = base**exponent
    except (OverflowError, ZeroDivisionError):
        return None
    return value if _is_number(value) else None


def _apart(args: Iterable[sympy.Expr]) -> tuple[list[sympy.Expr], list[sympy.Expr]]:
    """Those that are constant, and the others."""
    numbers: list[sympy.Expr] = []
    others: list[sympy.Expr] = []
    for arg in args:
        (numbers if is_constant(arg) else others).append(arg)
    return numbers, others
