"""Rules by which constants merge, and signs, scales and phases come to stand where readers look.

Each rewrites to an equal function with no more nodes, bottom up over light trees with slots.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import is_

from symcompile.expressions import slots
from symcompile.expressions.light_algebra import (
    add,
    function,
    mul,
    power,
    rebuilt,
    some,
    times,
    with_args,
)
from symcompile.expressions.light_code import value_of
from symcompile.expressions.light_tree import ONE, LightTree, number, parts, slot
from symcompile.expressions.operators import OPERATORS

_ODD = frozenset(op for op, row in OPERATORS.items() if row.odd)
_TRUTHS = frozenset(op for op, row in OPERATORS.items() if row.truth)
_WAVES = ("sin", "cos")
# Two rounds of the rules are nearly always enough.
_ROUNDS = 4


class Merging:
    """The rules, for trees over the same constants: what they have in common is done once.

    Attributes:
        values: those of the slots; constants made on the way get new ones.
    """

    def __init__(self, constants: Iterable[float], either_wave: bool) -> None:
        """With `either_wave` a sine may become a cosine, and the other way round."""
        self.either_wave = either_wave
        self.values = [float(value) for value in constants]
        self.known: dict[LightTree, LightTree] = {}

    def merged(self, tree: LightTree) -> LightTree:
        for _ in range(_ROUNDS):
            before, tree = tree, self.of(tree)
            if tree == before:
                break
        return tree

    def of(self, tree: LightTree) -> LightTree:
        """One bottom-up round of the rules."""
        if not tree.args:
            return tree
        found = self.known.get(tree)
        if found is None:
            found = self.constant(tree) if tree.is_constant else self.node(tree)
            self.known[tree] = found
        return found

    def node(self, tree: LightTree) -> LightTree:
        args = [self.of(arg) if arg.args else arg for arg in tree.args]
        if all(arg.is_constant for arg in args):
            return self.constant(with_args(tree, args))  # the inputs had a factor of zero
        if tree.op in _OF_ALL:
            return _OF_ALL[tree.op](self, args)
        rule = _RULES.get(tree.op)
        return rule(self, *args) if rule else with_args(tree, args)

    # Constants

    def value(self, tree: LightTree) -> float:
        """The number that a constant tree stands for."""
        return self.values[tree.value] if tree.op == "slot" else value_of(tree, self.values)

    def new(self, value: float) -> LightTree:
        self.values.append(float(value))
        return slot(len(self.values) - 1)

    def constant(self, tree: LightTree) -> LightTree:
        """Exact numbers stay; anything with a slot in it becomes one slot."""
        if tree.op == "slot" or not tree.slots or tree.op in _TRUTHS:
            return tree
        return self.new(self.value(tree))

    def split(self, term: LightTree) -> tuple[LightTree, LightTree]:
        """A term as (constant factor, rest)."""
        if term.is_constant:
            return term, ONE
        if term.op != "mul":
            return ONE, term
        numbers, rest = _apart(term.args)
        return (some("mul", numbers), some("mul", rest)) if numbers else (ONE, term)

    # Sums

    def sum(self, args: Iterable[LightTree]) -> LightTree:
        """Like terms merged; a constant before an inner sum is multiplied in."""
        args = tuple(args)
        if self.is_merged(args):
            return add(args)
        groups: dict[LightTree, LightTree] = {}
        for coefficient, rest in self.terms(args):
            groups[rest] = add((groups[rest], coefficient)) if rest in groups else coefficient
        total = []
        for rest, coefficient in groups.items():
            if coefficient is not ONE:
                if self.leaves_range(coefficient):
                    total.append(mul((coefficient, rest)))
                    continue
                coefficient = self.constant(coefficient)
                if self.value(coefficient) == 0.0:
                    continue
                rest = times(coefficient, rest)
            total.append(rest)
        return add(total)

    def is_merged(self, args: Sequence[LightTree]) -> bool:
        """Whether these terms stay as they are: no sums, none like another, none of nothing."""
        rests = set()
        for arg in args:
            coefficient, rest = self.split(arg)
            plain = coefficient is ONE or (coefficient.op == "slot" and self.value(coefficient))
            if not plain or rest.op == "add":
                return False
            rests.add(rest)
        return len(rests) == len(args)

    def leaves_range(self, coefficient: LightTree) -> bool:
        """Whether a product of numbers is none of float64's: what it stands before may make up."""
        if coefficient.op != "mul" or is_number(self.value(coefficient)):
            return False
        return all(is_number(self.value(factor)) for factor in coefficient.args)

    def terms(self, args: Iterable[LightTree]) -> Iterator[tuple[LightTree, LightTree]]:
        for arg in args:
            if arg.op == "add":
                yield from self.terms(arg.args)
                continue
            coefficient, rest = self.split(arg)
            if rest.op == "add":
                for inner, innermost in self.terms(rest.args):
                    yield mul((coefficient, inner)), innermost
            else:
                yield coefficient, rest

    def scaled(self, factor: float, tree: LightTree) -> LightTree:
        """`factor * tree`, with the factor multiplied into the constants of a sum."""
        terms = []
        for coefficient, rest in self.terms([tree]):
            product = self.value(coefficient) * factor
            scale = number(int(product)) if abs(product) == 1.0 else self.new(product)
            terms.append(times(scale, rest))
        return add(terms)

    def leading(self, tree: LightTree) -> float:
        """Constant factor of an expression; of a sum, that of its first varying term."""
        return next(self.value(n) for n, rest in self.terms([tree]) if rest is not ONE)

    def pulled(self, tree: LightTree, positive: bool = False) -> tuple[float, LightTree]:
        """Write an expression as factor * rest, where the first term of rest has no constant.

        With `positive` the factor is above zero, and a sign may stay in the rest.
        """
        if not self.is_scaled(tree):
            return 1.0, tree
        factor = self.leading(tree)
        factor = abs(factor) if positive else factor
        if factor in (0.0, 1.0) or not math.isfinite(factor):
            return 1.0, tree
        return factor, self.scaled(1.0 / factor, tree)

    def is_scaled(self, tree: LightTree) -> bool:
        """Whether a factor can be moved in and out of an expression at no cost."""
        coefficient, rest = self.split(tree)
        if rest.op != "add":
            return coefficient is not ONE
        return all(term.is_constant or self.is_scaled(term) for term in rest.args)

    # Products and powers

    def product(self, args: Sequence[LightTree]) -> LightTree:
        whole = mul(args)
        if whole.op == "add":
            return self.sum(whole.args)
        numbers, others = _apart(parts("mul", whole))
        exact = mul(part for part in numbers if not part.slots)
        inexact = [part for part in numbers if part.slots]
        scale = math.prod(map(self.value, inexact)) if inexact else 1.0
        factors = []
        for factor in others:
            pulled, rest = self.pull_factor(factor)
            scale *= pulled
            factors.append(rest)
        if all(map(is_, factors, others)) and (not inexact or _is_assembled(numbers, others)):
            return whole
        if not is_number(scale) and all(is_number(self.value(part)) for part in numbers):
            return whole
        return self.assemble(scale, exact, factors, inexact)

    def pull_factor(self, factor: LightTree) -> tuple[float, LightTree]:
        if factor.op == "exp":
            scale, rest = self.exponential(self.sum(factor.args))
            return scale, factor if rest == factor else rest
        if factor.op == "add":
            return self.pulled(factor)
        if factor.op == "pow" and factor.args[0].op == "add":
            exponent = factor.args[1]
            if type(exponent.rational) is int:
                scale, rest = self.pulled(factor.args[0])
                outer = _power(scale, exponent.rational)
                if outer is not None:
                    return outer, power(rest, exponent)
        return 1.0, factor

    def assemble(
        self,
        scale: float,
        exact: LightTree,
        factors: Iterable[LightTree],
        given: Sequence[LightTree] = (),
    ) -> LightTree:
        """The product; a slot that was given is kept where it is the factor already."""
        rest = mul(factors)
        if scale == 1.0:
            return mul((exact, rest))
        scale *= self.value(exact)
        if rest.op in ("mul", "cos") or rest.op in _ODD:
            scale, rest = self.positive_waves(scale, rest)
        if rest.op == "add" and sum(n is ONE for n, _ in self.terms([rest])) <= 1:
            return self.scaled(scale, rest)
        if scale in (1.0, -1.0):
            return mul((number(int(scale)), rest))
        kept = len(given) == 1 and given[0].op == "slot" and self.value(given[0]) == scale
        return times(given[0] if kept else self.new(scale), rest)

    def positive_waves(self, scale: float, rest: LightTree) -> tuple[float, LightTree]:
        """Odd functions with a positive leading constant; then a positive amplitude."""
        factors = list(parts("mul", rest))
        for index, factor in enumerate(factors):
            if factor.op in _ODD and self.turns(factor.args[0]):
                scale = -scale
                factors[index] = function(factor.op, (self.scaled(-1.0, factor.args[0]),))
        for index, factor in enumerate(factors):
            phase = self.phase(factor) if scale < 0 else None
            if phase is not None:
                scale, factors[index] = -scale, self.shifted(factor, phase, math.pi)
        return scale, mul(factors)

    def power(self, base: LightTree, exponent: LightTree) -> LightTree:
        if not exponent.is_constant or base.is_constant:
            return power(base, exponent)
        if exponent.slots and (exact := slots.whole_or_half(self.value(exponent))) is not None:
            exponent = number(exact)
        whole = power(base, exponent)
        if whole.op != "pow":
            return whole if whole.op != "mul" else self.product(whole.args)
        is_whole = type(exponent.rational) is int
        scale, rest = self.pulled(base, positive=not is_whole)
        outer = _power(scale, self.value(exponent))
        if scale == 1.0 or outer is None:
            return whole
        return self.assemble(outer, ONE, [power(rest, exponent)])

    # Functions

    def exponential(self, argument: LightTree) -> tuple[float, LightTree]:
        """exp(a + c) as (exp(c), exp(a))."""
        numbers, rest = _apart(parts("add", argument))
        shift = sum(map(self.value, numbers))
        if not numbers or not abs(shift) <= 300:
            return 1.0, function("exp", (argument,))
        return math.exp(shift), function("exp", (add(rest),))

    def exp(self, argument: LightTree) -> LightTree:
        scale, rest = self.exponential(argument)
        return self.assemble(scale, ONE, [rest])

    def sin(self, argument: LightTree) -> LightTree:
        wave = function("sin", (argument,))
        phase = self.phase(wave)
        if phase is not None and self.turns(argument):
            turned = self.new(math.pi - self.value(phase))
            backwards = self.scaled(-1.0, _without(argument, phase))
            wave = function("sin", (add((backwards, turned)),))
        return self.in_range(wave)

    def cos(self, argument: LightTree) -> LightTree:
        if self.turns(argument):
            argument = self.scaled(-1.0, argument)
        return self.in_range(function("cos", (argument,)))

    def turns(self, argument: LightTree) -> bool:
        """Whether a wave's argument runs backwards, and may be reversed at no cost."""
        return self.is_scaled(argument) and self.leading(argument) < 0

    def phase(self, wave: LightTree) -> LightTree | None:
        """The constant term within a sine or cosine."""
        if wave.op in _WAVES and wave.args[0].op == "add":
            return next((term for term in wave.args[0].args if term.op == "slot"), None)
        return None

    def shifted(self, wave: LightTree, phase: LightTree, by: float) -> LightTree:
        """A wave with its phase moved, kept within (-pi, pi]."""
        value = math.remainder(self.value(phase) + by, 2 * math.pi)
        return function(wave.op, (add((_without(wave.args[0], phase), self.new(value))),))

    def in_range(self, wave: LightTree) -> LightTree:
        """A phase within (-pi, pi]; sine or cosine, whichever has the smaller phase."""
        phase = self.phase(wave)
        if phase is None:
            return wave
        value = math.remainder(self.value(phase), 2 * math.pi)
        quarter, half = math.pi / 4, math.pi / 2
        rest = _without(wave.args[0], phase)
        if self.either_wave and wave.op == "sin" and quarter < value <= 3 * quarter:
            return function("cos", (add((rest, self.new(value - half))),))
        if self.either_wave and wave.op == "cos" and -3 * quarter < value < -quarter:
            return function("sin", (add((rest, self.new(value + half))),))
        if abs(self.value(phase)) <= math.pi:
            return wave
        return self.shifted(wave, phase, 0.0)

    def abs(self, argument: LightTree) -> LightTree:
        scale, rest = self.pulled(argument)
        return self.assemble(abs(scale), ONE, [function("abs", (rest,))])

    def log(self, argument: LightTree) -> LightTree:
        scale, rest = self.pulled(argument, positive=True)
        if scale == 1.0:
            return function("log", (argument,))
        return add((function("log", (rest,)), self.new(math.log(scale))))

    def least(self, args: Sequence[LightTree]) -> LightTree:
        return self.extreme("min", args)

    def largest(self, args: Sequence[LightTree]) -> LightTree:
        return self.extreme("max", args)

    def extreme(self, op: str, args: Sequence[LightTree]) -> LightTree:
        numbers, others = _apart(args)
        if len(numbers) > 1:
            numbers = [self.constant(rebuilt(op, tuple(numbers)))]
        return function(op, (*numbers, *others))


# Of all arguments at once, and of one after the other.
_OF_ALL: dict[str, Callable[[Merging, Sequence[LightTree]], LightTree]] = {
    "add": Merging.sum,
    "mul": Merging.product,
    "min": Merging.least,
    "max": Merging.largest,
}
_RULES: dict[str, Callable[..., LightTree]] = {
    "pow": Merging.power,
    "exp": Merging.exp,
    "sin": Merging.sin,
    "cos": Merging.cos,
    "abs": Merging.abs,
    "log": Merging.log,
}


def _is_assembled(numbers: Sequence[LightTree], others: Sequence[LightTree]) -> bool:
    """Whether a constant stands before factors that don't care for its sign or take it in."""
    if len(numbers) > 1 or numbers[0].op != "slot" or len(others) < 2:
        return False
    return not any(factor.op in _ODD or factor.op in _WAVES for factor in others)


def is_number(value: float) -> bool:
    """Whether a constant that others were merged into is still one: (1e-200*x)**2 stays as it is,
    since 1e-400 is zero."""
    return math.isfinite(value) and abs(value) >= sys.float_info.min


def _power(base: float, exponent: float) -> float | None:
    try:
        value = base**exponent
    except (OverflowError, ZeroDivisionError):
        return None
    return value if is_number(value) else None


def _apart(args: Iterable[LightTree]) -> tuple[list[LightTree], list[LightTree]]:
    """Those that are constant, and the others."""
    numbers: list[LightTree] = []
    others: list[LightTree] = []
    for arg in args:
        (numbers if arg.is_constant else others).append(arg)
    return numbers, others


def _without(total: LightTree, term: LightTree) -> LightTree:
    return some("add", [other for other in parts("add", total) if other is not term])
