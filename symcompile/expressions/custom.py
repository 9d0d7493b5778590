"""Operators of a user's own: a name for an expression of other operators.

While equations are searched for, a use of one is a node of its own: `lorentz(v/c)` costs what its
operator costs, and algebra leaves it whole. Whatever computes, shows or stores an equation has the
definition written out in its place (`written_out`), so that no file and no reader needs the
definition at hand; `recognition` finds its uses again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import sympy
from mpmath.libmp.libmpf import prec_to_dps

from symcompile.errors import ExpressionError
from symcompile.expressions.operator import Defined
from symcompile.expressions.operators import ALIASES, ROWS
from symcompile.expressions.parser import FUNCTIONS, parse_measured
from symcompile.expressions.printing import as_text
from symcompile.expressions.size_limits import MAX_WORK, Gauge

ARGUMENTS = ("a", "b")
_SYMBOLS = tuple(map(sympy.Symbol, ARGUMENTS))
# What an operator costs of which nobody says: as other functions do.
COMPLEXITY = 3
_TAKEN = {*FUNCTIONS, *ALIASES, *(row.name for row in ROWS), *(row.op for row in ROWS)}
# Steps that sympy may need to build one: a file may hold many.
_WORK = 1000
_MODULE = __name__
_PREFIX = "custom_"


class Custom(Defined):
    """A use of an operator of a user's own; the classes below it are one for each definition."""

    custom: str
    expression: sympy.Expr

    @property
    def definition(self) -> sympy.Expr:
        """The same in terms of other operators."""
        return self.expression.xreplace(dict(zip(_SYMBOLS, self.args, strict=False)))

    def fdiff(self, argindex: int = 1) -> sympy.Expr:
        slope = self.expression.diff(_SYMBOLS[argindex - 1])
        return slope.xreplace(dict(zip(_SYMBOLS, self.args, strict=False)))

    def _eval_evalf(self, prec: int) -> sympy.Expr:
        return self.definition.evalf(prec_to_dps(prec))


@dataclass(frozen=True)
class CustomOperator:
    """One of them.

    Attributes:
        name: what it is called in texts, constraints and searches.
        text: its definition in `a`, and `b` if it takes two arguments.
        complexity: of one node.
    """

    name: str
    text: str
    complexity: int = COMPLEXITY

    def __post_init__(self) -> None:
        if not self.name.isidentifier() or not self.name.isascii() or self.name in _TAKEN:
            raise ExpressionError(
                f"operator {self.name!r} has a definition: its name must be an identifier that is"
                " no operator or function yet"
            )
        self.head  # noqa: B018  what can't be read is refused here

    @classmethod
    def of(cls, name: str, definition: Any, complexity: int = COMPLEXITY) -> CustomOperator:
        """From a text or a sympy expression; ExpressionError says what can't be read."""
        if isinstance(definition, sympy.Expr):
            definition = as_text(definition, ARGUMENTS)
        return cls(name, " ".join(definition.split()), complexity)

    @property
    def head(self) -> Any:
        """The sympy class of its uses."""
        return _head(self.name, self.text)

    @property
    def expression(self) -> sympy.Expr:
        """Its definition over the symbols `a` and `b`."""
        return cast(sympy.Expr, self.head.expression)

    @property
    def arity(self) -> int:
        return 2 if _SYMBOLS[1] in self.expression.free_symbols else 1


@lru_cache(maxsize=1 << 10)
def _head(name: str, text: str) -> Any:
    gauge = Gauge()
    gauge.work = MAX_WORK - _WORK
    try:
        expression, _ = parse_measured(text, ARGUMENTS, {}, gauge)
    except ExpressionError as error:
        raise ExpressionError(f"operator {name!r}: {error}") from None
    if _SYMBOLS[0] not in expression.free_symbols:
        raise ExpressionError(
            f"operator {name!r} is {text}: expected an expression of a, such as '1/sqrt(1 - a**2)',"
            " or of a and b"
        )
    arity = 2 if _SYMBOLS[1] in expression.free_symbols else 1
    # Pickles find the class by its definition, see `__getattr__`: a process of a pool has not met
    # it, and two definitions of one name are two classes.
    place = _PREFIX + json.dumps([name, text]).encode().hex()
    own = {"nargs": arity, "custom": name, "expression": expression}
    return type(name, (Custom,), {**own, "__module__": _MODULE, "__qualname__": place})


def __getattr__(name: str) -> Any:
    if name.startswith(_PREFIX):
        return _head(*json.loads(bytes.fromhex(name.removeprefix(_PREFIX))))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def written_out(expr: sympy.Basic) -> sympy.Basic:
    """The same with the definition in the place of every use."""
    while expr.has(Custom):
        expr = expr.replace(lambda node: isinstance(node, Custom), lambda node: node.definition)
    return expr
