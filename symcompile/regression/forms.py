"""Forms of an equation: canonical, with a term, factor or function less, and with exact numbers in
the place of constants that are near them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction

from symcompile.expressions.canonical import UNUSABLE, Algebra, Form
from symcompile.expressions.complexity import allowed, spellable
from symcompile.expressions.equation import Equation
from symcompile.expressions.light_algebra import mul, power, rebuilt, some, with_args
from symcompile.expressions.light_code import Values, numbered, value_of
from symcompile.expressions.light_tree import MINUS_ONE, ONE, LightTree, number, parts, slot
from symcompile.expressions.operator_set import OperatorSet
from symcompile.regression.choice import ROUNDING
from symcompile.regression.dataset import Dataset

# Numbers that are believed: multiples p/q of a unit, with the largest p for each q. Simple ones
# only: whatever the constant is, some 19*pi/3 lies near.
_SIMPLE = (
    (1.0, ONE, {1: 100, 2: 20, 3: 20, 4: 20, 5: 20}),
    (math.pi, number("pi"), {1: 4, 2: 5, 3: 5, 4: 5}),
)
# float64 fits reproduce a constant to about this share of it, whatever their standard error says.
_ROUNDING = 1e-9
# A number is believed only if an interval of this many half widths holds no other of its kind.
_RARITY = 200.0


def candidate(
    tree: LightTree, algebra: Algebra, names: Sequence[str], data: Dataset
) -> Equation | None:
    """A tree in canonical form with its loss; None where the operators can't spell it, or it is not
    finite on the data."""
    try:
        for form, values in _forms(tree, algebra):
            if spellable(form, algebra.operators, names):
                equation = Equation.of_canonical(form, names, values, algebra.operators)
                equation = equation.updated(loss=data.loss_of(equation))
                return equation if math.isfinite(equation.loss) else None
    except UNUSABLE:
        pass
    return None


def _forms(tree: LightTree, algebra: Algebra) -> Iterator[Form]:
    """The canonical form, and what may go together where that does not in its dimensions.

    A constant that happens to be 1 is no factor of a canonical form, though it may have a
    dimension; and whatever finds forms adds a constant to them.
    """
    form, values = algebra.form(tree)
    yield form, values
    if algebra.operators.dimensions is not None:
        yield numbered(tree, algebra.merging.values)
        terms = parts("add", form)
        varying = [term for term in terms if not term.is_constant]
        if 0 < len(varying) < len(terms):
            inner = Algebra(values, algebra.operators, algebra.names)
            yield from _forms(some("add", varying), inner)


def least_complexity(equation: Equation, near: float) -> int:
    """What is left of the complexity where factors that are one, to within `near`, are left out."""
    ones = sum(abs(abs(value) - 1.0) < near for value in equation.constants)
    return equation.complexity - 2 * ones


def reductions(tree: LightTree) -> Iterator[LightTree]:
    """Each expression that leaves out one term of a sum, one factor of a product or one power,
    anywhere."""
    if tree.is_constant or not tree.args:
        return
    if tree.op in ("add", "mul"):
        for position in range(len(tree.args)):
            yield some(tree.op, tree.args[:position] + tree.args[position + 1 :])
    if tree.op == "pow" and tree.args[1].rational is not None:
        yield tree.args[0]
    for position, arg in enumerate(tree.args):
        for smaller in reductions(arg):
            args = *tree.args[:position], smaller, *tree.args[position + 1 :]
            try:
                form = with_args(tree, args)
            except ArithmeticError:  # 1/(c - c)
                continue
            yield form


def without_dead_terms(equation: Equation, data: Dataset, operators: OperatorSet) -> Equation:
    """The equation without terms and factors that change nothing; itself where all count.

    A search and a fit leave such terms where they stand in for the digits of others: `- 4.2e-17*V`
    in a denominator, `cos(6e-9*t)`. A term is dead if without it no value changes by more than a
    loss that counts as rounding, though no other constant moves: none has to be fitted again then.
    """
    tree, constants = equation.tree
    algebra = Algebra(constants, operators, equation.symbols)
    known, limit = Values(data.X, constants), ROUNDING * data.constant_loss
    values = known.of(tree)
    for form in reductions(tree):
        try:
            if not data.loss.mean(known.of(form) - values, None) <= limit:
                continue
            shorter = [
                with_tree(equation, *found, operators)
                for found in _forms(form, algebra)
                if allowed(found[0], operators, equation.symbols)
            ]
        except UNUSABLE:
            continue
        if shorter and shorter[0].complexity < equation.complexity:
            return without_dead_terms(shorter[0], data, operators)
    return equation


def with_tree(
    equation: Equation, tree: LightTree, constants: Sequence[float], operators: OperatorSet
) -> Equation:
    """The equation with another form; what is known of losses stays."""
    losses = {key: getattr(equation, key) for key in ("loss", "holdout_loss", "holdout_mse")}
    return Equation.of_canonical(tree, equation.symbols, constants, operators).updated(**losses)


def exact_values(value: float, half_width: float) -> Iterator[LightTree]:
    """Integers, fractions of small denominator and multiples of pi within `half_width`.

    A fraction with denominator q counts only if the interval is much narrower than the gap
    between such fractions: with a wide interval there is always one, which says nothing.
    """
    width = max(half_width, _ROUNDING * abs(value))
    if not math.isfinite(value) or not math.isfinite(width):
        return
    for unit, symbol, largest in _SIMPLE:
        for q, limit in largest.items():
            if abs(value) > (limit + 1) * unit / q:
                continue
            p = round(value / unit * q)
            if p == 0 or math.gcd(p, q) != 1 or abs(p) > limit:
                continue
            if abs(p * unit / q - value) <= width < unit / q / _RARITY:
                yield mul((number(Fraction(p, q)), symbol))


def reopen(tree: LightTree, constants: Sequence[float]) -> tuple[LightTree, tuple[float, ...]]:
    """Make exact factors and terms slots again, whose values are exact.

    A slot can be trained, and its value can drift without a change of form; it still reads as the
    exact number, see `slots.exact`. Factors of 1 and -1 and whole exponents belong to the form.
    """
    values = list(constants)

    def visit(node: LightTree) -> LightTree:
        if node.is_exact:
            return opened(node)
        if node.op in ("add", "mul"):
            numbers = [arg for arg in node.args if arg.is_exact]
            others = [visit(arg) for arg in node.args if not arg.is_exact]
            first = [opened(some(node.op, numbers))] if numbers else []
            return rebuilt(node.op, (*first, *others))
        if node.op == "pow" and node.args[1].is_exact:
            return power(visit(node.args[0]), node.args[1])
        if node.op == "where" or not node.args:
            return node
        return with_args(node, map(visit, node.args))

    def opened(exact: LightTree) -> LightTree:
        value = value_of(exact, ())
        if exact in (ONE, MINUS_ONE) or not math.isfinite(value):
            return exact
        values.append(value)
        return slot(len(values) - 1)

    return numbered(visit(tree), values)
