"""An equation as a tree of terms and factors, in which constants stand apart from the form.

Two equations have the same form if their trees are equal but for constants. sympy's own trees don't
say that: the order of terms depends on the numbers in them, equal numbers share a slot, a
coefficient of 1 isn't there, and c[0]*c[1] is one coefficient for a reader.

| head | constants | args |
|---|---|---|
| number | its value | - |
| symbol | - | - |
| product | its coefficient, 1 where none is written | factors, in any order |
| sum | what is added, if anything is | terms (products), in any order |
| power | exponent | base |
| exponential | base | exponent |
| Max, Min | the constant among the arguments, if there is one | the others, in any order |
| Eq, Ne, And, Or | - | in any order |
| any other function or relation | - | in their order |

Arguments are products or numbers; a sum as an argument is the one factor of a product.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
import sympy

from symcompile.expressions.evaluation import evaluate
from symcompile.expressions.program import from_sympy
from symcompile.expressions.slots import is_constant, slot_index, slots_of

# Comparing each of n arguments with each other takes n * n steps: so many at most for one group.
MAX_STEPS = 50_000
# Numbers that arguments are put in order by: the first few tell nearly all apart.
_LEADING = 8

# Exact numbers of theirs belong to the form.
POWERS = ("power", "exponential")
UNORDERED = ("product", "sum", "Max", "Min", "Eq", "Ne", "And", "Or")
# What sympy calls by two names, and what it turns around.
_HEADS = {"StrictLessThan": "Lt", "LessThan": "Le", "Equality": "Eq", "Unequality": "Ne"}
_REVERSED = (sympy.GreaterThan, sympy.StrictGreaterThan)


class Constant(NamedTuple):
    """A number in an equation.

    Attributes:
        value: in float64.
        exact: whether no fitted constant is in it.
        slots: the fitted constants that are in it, by number.
    """

    value: float
    exact: bool = True
    slots: tuple[int, ...] = ()


ONE = Constant(1.0)

# Coefficient and factors.
Term = tuple[Constant, list[sympy.Expr]]


@dataclass(frozen=True, eq=False)
class FormNode:
    """A node of the tree, see the table above.

    Attributes:
        name: of a symbol.
        form: equal for nodes that have the same form, whatever their constants.
        strict_form: the same, with the exact numbers that belong to it: x**2 against x**3.
        content: equal for nodes that are the same, constants included.
        order: what nodes of one form are sorted by: their first constants, then all of them.
        size: nodes in it.
        steps: about how many steps it takes to pair it with another one of the same form.
    """

    head: str
    constants: tuple[Constant, ...]
    args: tuple[FormNode, ...]
    name: str
    form: str
    strict_form: str
    content: str
    order: tuple[Any, ...]
    size: int
    steps: int


def form_node(
    head: str, constants: Sequence[Constant] = (), args: Iterable[FormNode] = (), name: str = ""
) -> FormNode:
    """A node; all that is said of it follows from its arguments, without recursion."""
    args, anyhow = tuple(args), head in UNORDERED
    exact = [c.value if c.exact and head in POWERS else "#" for c in constants]
    values = [(c.value, c.exact) for c in constants]

    def digest(own: Any, inside: list[str]) -> str:
        text = repr((head, name, own, sorted(inside) if anyhow else inside))
        return blake2b(text.encode(), digest_size=12).hexdigest()

    content = digest(values, [arg.content for arg in args])
    return FormNode(
        head,
        tuple(constants),
        args,
        name,
        form=digest(len(constants), [arg.form for arg in args]),
        strict_form=digest(exact, [arg.strict_form for arg in args]),
        content=content,
        order=(*_leading(constants, args, anyhow), content),
        size=1 + sum(arg.size for arg in args),
        steps=_steps(args, anyhow),
    )


def _leading(constants: Sequence[Constant], args: Sequence[FormNode], anyhow: bool) -> list[float]:
    """The first constants, in an order that does not depend on that of the arguments."""
    leading = [c.value for c in constants]
    for arg in sorted(args, key=by_form) if anyhow else args:
        if len(leading) >= _LEADING:
            break
        leading += arg.order[:-1]
    return leading[:_LEADING]


def by_form(node: FormNode) -> tuple[Any, ...]:
    """What to sort nodes of any form by."""
    return node.form, node.order


def _steps(args: Sequence[FormNode], anyhow: bool) -> int:
    """Those of one form are paired each with each, if they are not too many for that."""
    counts = Counter(arg.form for arg in args)
    each = {arg.form: arg.steps for arg in args}
    total = 1
    for form, count in counts.items():
        squared = anyhow and count * count * each[form] <= MAX_STEPS
        total += each[form] * count * (count if squared else 1)
    return total


def shape(expr: sympy.Expr, constants: Sequence[float] = (), *, spread: bool = False) -> FormNode:
    """The tree of an expression: a product or a number.

    Args:
        expr: form with slots `c[0]`, `c[1]`, ...; floats in it count as fitted constants too.
        constants: value of each slot.
        spread: multiply coefficients into sums, 2.5*(x + y) as 2.5*x + 2.5*y.
    """
    return _TreeBuilder(constants, spread).expression(expr)


class _TreeBuilder:
    def __init__(self, constants: Sequence[float], spread: bool) -> None:
        self.values, self.spread = constants, spread
        self.built: dict[sympy.Basic, FormNode] = {}

    def expression(self, expr: sympy.Basic) -> FormNode:
        """A product or a number; of several terms, the product of 1 and their sum."""
        if expr not in self.built:
            if not isinstance(expr, sympy.Expr):
                self.built[expr] = self.factor(expr)
            elif len(terms := self.terms(expr)) > 1:
                self.built[expr] = form_node("product", (ONE,), (self.sum(terms),))
            else:
                self.built[expr] = self.term(*terms[0])
        return self.built[expr]

    def term(self, coefficient: Constant, factors: Sequence[sympy.Expr]) -> FormNode:
        if not factors:
            return form_node("number", (coefficient,))
        return form_node("product", (coefficient,), map(self.factor, factors))

    def terms(self, expr: sympy.Expr, scale: Constant = ONE) -> list[Term]:
        """(coefficient, factors) of each term; of `scale * expr`, to be exact."""
        if expr.is_Add:
            return [term for arg in expr.args for term in self.terms(arg, scale)]
        factors = list(_factors(expr))
        numbers = [self.constant(factor) for factor in factors if is_constant(factor)]
        rest = [factor for factor in factors if not is_constant(factor)]
        varying = [number for number in (scale, *numbers) if number is not ONE]
        coefficient = _joined(varying or [ONE], math.prod)
        # sympy multiplies exact numbers into sums by itself, if not always.
        if len(rest) == 1 and rest[0].is_Add and (coefficient.exact or self.spread):
            return self.terms(rest[0], coefficient)
        return [(coefficient, rest)]

    def sum(self, terms: Sequence[Term]) -> FormNode:
        numbers = [coefficient for coefficient, factors in terms if not factors]
        added = (_joined(numbers, sum),) if numbers else ()
        return form_node("sum", added, [self.term(*term) for term in terms if term[1]])

    def factor(self, expr: sympy.Basic) -> FormNode:
        if isinstance(expr, _REVERSED):
            expr = expr.reversed
        head = type(expr).__name__
        match expr:
            case sympy.Symbol():
                return form_node("symbol", name=expr.name)
            case sympy.Add():
                return self.sum(self.terms(expr))
            case sympy.Pow() if is_constant(expr.exp):
                return form_node("power", (self.constant(expr.exp),), (self.expression(expr.base),))
            case sympy.Pow() if is_constant(expr.base):
                exponent = self.expression(expr.exp)
                return form_node("exponential", (self.constant(expr.base),), (exponent,))
            case sympy.Max() | sympy.Min():
                numbers = [self.constant(arg) for arg in expr.args if is_constant(arg)]
                rest = [self.expression(arg) for arg in expr.args if not is_constant(arg)]
                choose = max if head == "Max" else min
                chosen = [choose(numbers, key=lambda number: number.value)] if numbers else []
                # Their order in a set is another one in every process.
                return form_node(head, chosen, sorted(rest, key=by_form))
            case sympy.Piecewise():
                cases = [side for case in expr.args for side in case.args]
                return form_node(head, (), map(self.expression, cases))
        return form_node(_HEADS.get(head, head), (), map(self.expression, expr.args))

    def constant(self, expr: sympy.Expr) -> Constant:
        index = slot_index(expr)
        if index is not None:
            return Constant(float(self.values[index]), False, (index,))
        fitted = bool(expr.free_symbols) or expr.has(sympy.Float)
        return Constant(constant_value(expr, self.values), not fitted, tuple(slots_of(expr)))


def constant_value(expr: sympy.Expr, constants: Sequence[float]) -> float:
    """An expression of numbers and slots in float64; sympy would take its time over 9**9**9.

    NaN or infinite where it is not defined.
    """
    if expr.is_Float or expr.is_Integer:
        return float(expr)
    program = from_sympy([expr], (), len(constants))
    return float(evaluate(program, np.empty((1, 0)), constants)[0, 0])


def _factors(expr: sympy.Expr) -> Iterable[sympy.Expr]:
    if expr.is_Mul:
        for arg in expr.args:
            yield from _factors(arg)
    else:
        yield expr


def _joined(numbers: Sequence[Constant], join: Callable[[Iterable[float]], float]) -> Constant:
    """Their sum or product, to the same bit whatever their order."""
    if len(numbers) == 1:
        return numbers[0]
    value = join(sorted(number.value for number in numbers))
    slots = sorted({index for number in numbers for index in number.slots})
    return Constant(value, all(number.exact for number in numbers), tuple(slots))
