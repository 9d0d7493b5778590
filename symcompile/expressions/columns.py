"""Columns of the operator table, as rules for `fold`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, reduce
from typing import Any

import sympy

from symcompile.expressions.fold import Rules, compiled, fold
from symcompile.expressions.operators import OPERATORS

LEAVES = ("input", "slot", "number")


def column(field: str) -> dict[str, Callable[..., Any]]:
    """A column of the table by operations, for `fold`; what folds pairs takes any number."""
    rules = {op: getattr(row, field) for op, row in OPERATORS.items()}
    pairs = {op for op, row in OPERATORS.items() if row.nary and field != "build"}
    return {
        op: partial(_folded, rule) if op in pairs else rule for op, rule in rules.items() if rule
    }


def _folded(rule: Callable[[Any, Any], Any], *args: Any) -> Any:
    return reduce(rule, args)


def completed(rules: dict[str, Callable[..., Any]]) -> Rules:
    """Rules, among them one for "number", and what follows from them for the other operators."""
    for op, row in OPERATORS.items():
        if op not in rules and row.definition:
            rules[op] = partial(by_definition, rules, row.definition)
    return rules


def by_definition(rules: Rules, definition: str, *args: Any) -> Any:
    """What rules make of a definition (see `fold.compiled`) with these arguments."""
    return fold(compiled(definition), {**rules, "input": args.__getitem__})[-1]


def sympy_number(value: Any) -> sympy.Expr:
    """A `number` instruction's value, exactly."""
    if value in ("pi", "e"):
        return sympy.pi if value == "pi" else sympy.E
    if isinstance(value, tuple):
        return sympy.Rational(*value)
    return sympy.Integer(value) if type(value) is int else sympy.Float(value)


# The sympy expression of each operation.
BUILD = completed(column("build") | {"number": sympy_number})


_OTHER_HEADS: dict[Any, Callable[..., Any]] = {
    sympy.ITE: lambda *truths: sympy.ITE(*truths).to_nnf(simplify=False),
    **{other: row.build for row in OPERATORS.values() for other in row.heads},
}


def in_our_heads(expr: sympy.Basic) -> sympy.Basic:
    """The same with our classes in the place of sympy's own that mean no more and do more.

    Of a choice between truths, which sympy makes of a comparison with a Piecewise, what programs
    store: what is read from a file costs as much as what was written.
    """
    if not expr.has(*_OTHER_HEADS):  # one walk, for each of the many equations of a search
        return expr
    for other, build in _OTHER_HEADS.items():
        expr = expr.replace(other, build)
    return expr


def __getattr__(name: str) -> Any:
    """The sympy classes of our own, where pickles look for them."""
    if name in OPERATORS:
        return OPERATORS[name].build
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
