"""Read the equations that PySR prints in its hall of fame: text in, form and constants out.

The text is SymbolicRegression.jl's: fully bracketed infix for + - * / ^, calls for all other
operators, columns named x0, x1, ..., and a number wherever a fitted constant sits. It goes through
the whitelisting parser; PySR's own reading of it by sympy (which evaluates text) is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import sympy

from symcompile.errors import EngineError, ExpressionError
from symcompile.expressions.complexity import complexity
from symcompile.expressions.equation import Equation
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.operators import VOCABULARY
from symcompile.expressions.parser import FUNCTIONS, parse
from symcompile.expressions.slots import exact_exponents, renumber, slot

# A sign that touches its digits belongs to the number: PySR puts blanks around its operators. So
# "-1.5 ^ x0" is (-1.5)^x0 here, which Python's and sympy's grammars would read as -(1.5^x0).
# Single precision prints exponents as 1.0f-5.
_NUMBER = re.compile(r"(?<![\w.)])-?\d+(?:\.\d*)?(?:[eEf][+-]?\d+)?(?![\w.])")


def columns(n_inputs: int) -> list[str]:
    """What PySR is told that the inputs are called.

    The user's own names never go there: PySR refuses those which Julia or sympy know as functions
    (beta, gamma, E, I, S, ...), and a list of them would age.
    """
    return [f"x{column}" for column in range(n_inputs)]


def read_equation(text: str, names: Sequence[str], operators: OperatorSet) -> Equation:
    """The equation over `names` that `text` spells over x0, x1, ...; its loss is not measured.

    Raises EngineError if the text holds anything but columns, numbers and the vocabulary.
    """
    constants: list[float] = []

    def hold(match: re.Match[str]) -> str:
        constants.append(float(match.group().replace("f", "e")))
        return f"c{len(constants) - 1}"

    # Constants become slots before sympy sees them: it would multiply numbers into sums, and
    # 2.5 * (x0 + x1) would come back with two constants to fit instead of one.
    held = _NUMBER.sub(hold, text)
    symbols = [*columns(len(names)), *(f"c{index}" for index in range(len(constants)))]
    try:
        expr = parse(held, symbols, functions=_FUNCTIONS)
    except ExpressionError as error:
        raise EngineError(f"can't read PySR's equation {text!r}: {error}") from error
    targets = [*map(sympy.Symbol, names), *map(slot, range(len(constants)))]
    expr = expr.xreplace(dict(zip(map(sympy.Symbol, symbols), targets, strict=True)))
    form, kept = renumber(exact_exponents(expr, constants), constants)
    return Equation(form, tuple(names), kept, complexity(form, operators))


def _real_abs(value: sympy.Expr) -> sympy.Expr:
    # For a symbol that may be complex sympy turns |x*exp(y)| into |x|*exp(re(y)).
    real = {symbol: sympy.Dummy(symbol.name, real=True) for symbol in value.free_symbols}
    return sympy.Abs(value.xreplace(real)).xreplace({new: old for old, new in real.items()})


_FUNCTIONS = {name: FUNCTIONS[name] for name in VOCABULARY if name in FUNCTIONS}
_FUNCTIONS["abs"] = _real_abs
