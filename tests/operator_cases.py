"""Every operator as data: an expression over x0 (and x1), points to try it at, and what to expect.

`tests/test_operators.py` holds torch to it, the tests of exporters hold other runtimes to it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import sympy
from sympy import And, Eq, Max, Min, Not, Or, Piecewise, Rational

from symcompile.expressions.operators import OPERATORS, VOCABULARY

x0, x1 = sympy.symbols("x0 x1")

Point = tuple[float, ...]


@dataclass(frozen=True)
class OperatorCase:
    """
    Attributes:
        name: of the case.
        expr: over x0, or x0 and x1.
        points: where value and gradient are finite, and those of the function.
        kinks: points without a derivative, with the subgradient that torch gives there.
        steep: points with a finite value and an infinite slope.
        poles: points where the value is infinite or NaN, with that value.
    """

    name: str
    expr: sympy.Expr
    points: tuple[Point, ...]
    kinks: dict[Point, Point] = field(default_factory=dict)
    steep: tuple[Point, ...] = ()
    poles: dict[Point, float] = field(default_factory=dict)

    @property
    def symbols(self) -> tuple[str, ...]:
        return ("x0", "x1") if x1 in self.expr.free_symbols else ("x0",)


def of(op: str, *args: sympy.Expr) -> sympy.Expr:
    """A function of the table, which sympy may not have."""
    return OPERATORS[op].build(*args)


def _line(*values: float) -> tuple[Point, ...]:
    return tuple((value,) for value in values)


_REALS = _line(-30.5, -3.25, -1.0, -1e-9, 0.0, 1e-9, 0.5, 1.0, 2.75, 41.0)
_PAIRS: tuple[Point, ...] = ((-2.5, 3.0), (0.5, -0.25), (4.0, 4.5), (1e-6, 1e6), (-7.0, -0.125))
_INF, _NAN = math.inf, math.nan
# The number next to a pole of tan.
_HALF_PI = math.pi / 2

CASES: tuple[OperatorCase, ...] = (
    OperatorCase("add", x0 + x1, (*_PAIRS, (0.0, 0.0))),
    OperatorCase("add three", x0 + x1 + sympy.sin(x0), (*_PAIRS, (0.0, 0.0))),
    OperatorCase("sub", x0 - x1, (*_PAIRS, (0.0, 0.0))),
    OperatorCase("mul", x0 * x1, (*_PAIRS, (0.0, 0.0))),
    OperatorCase("mul three", x0 * x1 * sympy.cos(x0), (*_PAIRS, (0.0, 0.0))),
    OperatorCase("div", x0 / x1, (*_PAIRS, (0.0, 2.0)), poles={(1.0, 0.0): _INF, (0.0, 0.0): _NAN}),
    OperatorCase("inv", 1 / x0, _line(-8.0, -1e-200, 1e-200, 0.3), poles={(0.0,): _INF}),
    OperatorCase("inverse square", x0**-2, _line(-8.0, -1e-9, 1e-9, 3.0), poles={(0.0,): _INF}),
    OperatorCase("inverse root", 1 / sympy.sqrt(x0), _line(1e-30, 0.3, 9.0), poles={(0.0,): _INF}),
    OperatorCase("neg", -x0, _REALS),
    OperatorCase("minus two", -x0 - x1, _PAIRS),
    OperatorCase("square", x0**2, _REALS),
    OperatorCase("cube", x0**3, _REALS),
    OperatorCase("power 5", x0**5, _REALS),
    OperatorCase("power 6", x0**6, _REALS),
    OperatorCase("power 64", x0**64, _line(-1.5, -1.0, 0.0, 0.5, 2.0)),
    OperatorCase("power 65", x0**65, _line(-1.5, -1.0, 0.0, 0.5, 2.0)),
    OperatorCase("power 0", Piecewise((x0**1, x0 > 5), (x0**0 + x0, True)), _REALS),
    OperatorCase(
        "power 3/2", x0 ** Rational(3, 2), _line(0.0, 1e-12, 0.5, 4.0, 1e8), poles={(-1.0,): _NAN}
    ),
    OperatorCase(
        "power 1/3",
        x0 ** Rational(1, 3),
        _line(1e-12, 0.5, 8.0),
        steep=((0.0,),),
        poles={(-1.0,): _NAN},
    ),
    OperatorCase("power 7/3", x0 ** Rational(7, 3), _line(0.0, 1e-12, 0.5, 8.0)),
    OperatorCase("power -2/3", x0 ** Rational(-2, 3), _line(1e-6, 0.5, 8.0), poles={(0.0,): _INF}),
    OperatorCase("power float 1.7", x0**1.7, _line(0.0, 1e-6, 0.5, 8.0)),
    OperatorCase("power float 1.0", x0 ** sympy.Float(1.0) + x0, _line(-1.0, 0.0, 2.0)),
    OperatorCase("power float 2.0", x0 ** sympy.Float(2.0), _line(-2.0, 0.0, 0.5)),
    OperatorCase("power float 0.4", x0**0.4, _line(1e-6, 0.5, 8.0), steep=((0.0,),)),
    OperatorCase("power float -0.4", x0**-0.4, _line(1e-6, 0.5, 8.0), poles={(0.0,): _INF}),
    OperatorCase("number to the power", 2**x0, _REALS),
    OperatorCase("float to the power", 0.7**x0, _REALS),
    OperatorCase(
        "pow",
        x0**x1,
        ((0.5, 2.5), (3.0, -1.25), (2.0, 0.0), (1e-3, 3.0), (0.0, 2.0)),
        poles={(0.0, -1.0): _INF, (-1.0, 0.5): _NAN},
    ),
    OperatorCase(
        "sqrt",
        sympy.sqrt(x0),
        _line(1e-300, 1e-9, 0.5, 1e12),
        steep=((0.0,),),
        poles={(-1.0,): _NAN},
    ),
    OperatorCase("sqrt of a square", sympy.sqrt(x0**2), _line(-3.0, 2.0), kinks={(0.0,): (0.0,)}),
    OperatorCase("sqrt of a fourth power", sympy.sqrt(x0**4), _line(-3.0, 0.0, 2.0)),
    OperatorCase("root times zero", sympy.sin(x0) * sympy.sqrt(x0), _line(0.0, 0.5, 2.0)),
    OperatorCase("distance", sympy.sqrt(x0**2 + x1**2), _PAIRS, kinks={(0.0, 0.0): (0.0, 0.0)}),
    OperatorCase("softened distance", sympy.sqrt(x0**2 + x1**2 + 1), (*_PAIRS, (0.0, 0.0))),
    OperatorCase("exp", sympy.exp(x0), (*_REALS, (-745.0,), (709.5,)), poles={(710.0,): _INF}),
    OperatorCase("exp of minus square", sympy.exp(-(x0**2)), (*_REALS, (1e200,))),
    OperatorCase(
        "log",
        sympy.log(x0),
        _line(5e-300, 1e-12, 0.5, 1.0, 1e300),
        poles={(0.0,): -_INF, (-1.0,): _NAN},
    ),
    OperatorCase("sin", sympy.sin(x0), _REALS),
    OperatorCase("cos", sympy.cos(x0), _REALS),
    OperatorCase(
        "tan", sympy.tan(x0), (*_REALS, (_HALF_PI - 1e-6,), (_HALF_PI + 1e-6,), (_HALF_PI,))
    ),
    OperatorCase(
        "asin",
        sympy.asin(x0),
        _line(-0.99, -0.5, 0.0, 0.75),
        steep=_line(-1.0, 1.0),
        poles={(1.5,): _NAN},
    ),
    OperatorCase(
        "acos",
        sympy.acos(x0),
        _line(-0.99, -0.5, 0.0, 0.75),
        steep=_line(-1.0, 1.0),
        poles={(1.5,): _NAN},
    ),
    OperatorCase("atan", sympy.atan(x0), (*_REALS, (1e12,))),
    OperatorCase("sinh", sympy.sinh(x0), (*_REALS, (-700.0,)), poles={(711.0,): _INF}),
    OperatorCase("cosh", sympy.cosh(x0), (*_REALS, (-700.0,)), poles={(711.0,): _INF}),
    OperatorCase("tanh", sympy.tanh(x0), _line(-19.0, -1.0, -1e-9, 0.0, 0.5, 3.0, 15.0)),
    OperatorCase("erf", sympy.erf(x0), _line(-5.0, -1.0, -1e-9, 0.0, 0.5, 3.0)),
    OperatorCase("abs", sympy.Abs(x0), _line(-3.0, -1e-300, 1e-300, 2.0), kinks={(0.0,): (0.0,)}),
    OperatorCase("sign", sympy.sign(x0), _line(-3.0, 2.0), kinks={(0.0,): (0.0,)}),
    OperatorCase("floor", sympy.floor(x0), _line(-3.5, 2.25), kinks={(2.0,): (0.0,)}),
    OperatorCase("ceil", sympy.ceiling(x0), _line(-3.5, 2.25), kinks={(2.0,): (0.0,)}),
    OperatorCase("asinh", sympy.asinh(x0), (*_REALS, (-1e200,))),
    OperatorCase(
        "acosh",
        sympy.acosh(x0),
        _line(1.01, 1.5, 30.0, 1e200),
        steep=((1.0,),),
        poles={(point,): _NAN for point in (0.5, -1.0, -3e7, -1e20, -1e200)},
    ),
    OperatorCase(
        "atanh",
        sympy.atanh(x0),
        _line(-0.999, -1e-9, 0.0, 0.5),
        poles={(1.0,): _INF, (-1.0,): -_INF, (1.5,): _NAN},
    ),
    OperatorCase(
        "log1p",
        of("log1p", x0),
        _line(-0.999, -1e-20, 0.0, 1e-9, 3.0, 1e300),
        poles={(-1.0,): -_INF, (-2.0,): _NAN},
    ),
    OperatorCase("log2", of("log2", x0), _line(1e-300, 0.5, 8.0), poles={(0.0,): -_INF}),
    OperatorCase("log10", of("log10", x0), _line(1e-300, 0.5, 1000.0), poles={(-1.0,): _NAN}),
    OperatorCase("cbrt", of("cbrt", x0), _line(-27.0, -1e-9, 1e-9, 8.0, 1e300), steep=((0.0,),)),
    OperatorCase(
        "hypot",
        of("hypot", x0, x1),
        (*_PAIRS, (0.0, 2.0), (1e200, -1e200)),
        kinks={(0.0, 0.0): (0.0, 0.0)},
    ),
    OperatorCase(
        "atan2",
        sympy.atan2(x0, x1),
        (
            *(*_PAIRS, (0.0, 2.0), (2.0, 0.0), (-2.0, 0.0), (1.0, -3.0)),
            # Their squares are 0 or infinite.
            *(
                (3e-170, -4e-170),
                (-2e-300, -1e-300),
                (1e-170, 5e-200),
                (-3e160, 2e160),
                (2.0, 1e300),
            ),
        ),
        kinks={(0.0, 0.0): (0.0, 0.0)},
    ),
    OperatorCase(
        "sigmoid", of("sigmoid", x0), (*_REALS, *_line(-1000.0, -700.0, -50.0, 50.0, 700.0, 1000.0))
    ),
    OperatorCase("softplus", of("softplus", x0), (*_REALS, (-1000.0,), (1000.0,))),
    OperatorCase("gauss", of("gauss", x0), (*_REALS, (1e200,))),
    OperatorCase("relu of its own", of("relu", x0), _line(-3.0, 2.0), kinks={(0.0,): (0.0,)}),
    OperatorCase(
        "round",
        of("round", x0),
        _line(-2.75, 0.25, 7.6, 0.49999999999999994),
        kinks={(point,): (0.0,) for point in (-3.5, -2.5, -0.5, 0.5, 1.5, 2.5)},
    ),
    OperatorCase(
        "mod",
        of("mod", x0, x1),
        ((7.5, 2.0), (-7.5, 2.0), (7.5, -2.0), (-7.5, -2.0), (0.3, 2.0), (-0.3, 2.0)),
        kinks={(4.0, 2.0): (1.0, -2.0)},
        poles={(1.0, 0.0): _NAN},
    ),
    OperatorCase("min", Min(x0, x1), _PAIRS, kinks={(2.0, 2.0): (0.5, 0.5)}),
    OperatorCase("max", Max(x0, x1), _PAIRS, kinks={(2.0, 2.0): (0.5, 0.5)}),
    OperatorCase("min three", Min(x0, x1, x0 * x1), _PAIRS),
    OperatorCase("max three", Max(x0, x1, x0 * x1), _PAIRS),
    OperatorCase("relu", Max(x0, 0), _line(-3.0, 2.0), kinks={(0.0,): (1.0,)}),
    OperatorCase("clip", Min(Max(x0, -1), 2.5), _line(-3.0, 0.5, 4.0)),
    OperatorCase("where lt", Piecewise((x0**2, x0 < 1), (2 * x0 + 3, True)), _line(-2.0, 0.5, 4.0)),
    OperatorCase("where le", Piecewise((sympy.sin(x0), x0 <= x1), (x1, True)), _PAIRS),
    OperatorCase("where gt", Piecewise((x0, x0 > x1), (x1**2, True)), _PAIRS),
    OperatorCase(
        "where ge",
        Piecewise((x0, x0 >= 0), (-2 * x0, True)),
        _line(-3.0, 2.0),
        kinks={(0.0,): (1.0,)},
    ),
    OperatorCase(
        "where eq",
        Piecewise((x0 * 3, Eq(x0, x1)), (x1 * x0, True)),
        _PAIRS,
        kinks={(2.0, 2.0): (3.0, 0.0)},
    ),
    OperatorCase("where and", Piecewise((x0**2, And(x0 > 0, x1 > 0)), (x1, True)), _PAIRS),
    OperatorCase("where or", Piecewise((x0**2, Or(x0 > 0, x1 > 0)), (x1, True)), _PAIRS),
    OperatorCase("where not", Piecewise((x0**2, Not(And(x0 > 0, x1 > 0))), (x1, True)), _PAIRS),
    OperatorCase(
        "where not eq", Piecewise((x0**2, Not(Eq(x0, x1))), (x1 * 0 + x0 * 4, True)), _PAIRS
    ),
    OperatorCase("where of numbers", Piecewise((2, x0 < 1), (3, True)), _line(-2.0, 4.0)),
    OperatorCase(
        "where of three",
        Piecewise((x0, x0 < -1), (x0**3, x0 < 1), (sympy.exp(x0), True)),
        _line(-2.0, 0.5, 4.0),
    ),
    OperatorCase(
        "log where it is defined",
        Piecewise((sympy.log(x0), x0 > 0), (x0, True)),
        _line(-2.0, 4.0),
        kinks={(0.0,): (1.0,)},
    ),
    OperatorCase(
        "root where it is defined",
        Piecewise((sympy.sqrt(x0 - 1), x0 > 1), (0, True)),
        _line(-2.0, 0.5, 4.0),
    ),
    OperatorCase(
        "sinc",
        Piecewise((sympy.sin(x0) / x0, x0 > 0), (sympy.sin(x0) / x0, x0 < 0), (1, True)),
        _line(-3.0, -0.5, 0.0, 0.5, 9.0),
    ),
    OperatorCase(
        "exp where it is small",
        Piecewise((sympy.exp(x0), x0 < 100), (x0, True)),
        _line(-3.0, 5.0, 1e4),
    ),
    OperatorCase(
        "nested where",
        Piecewise((Piecewise((sympy.log(x0 - 1), x0 > 1), (1 / x0, True)), x0 > 0), (x0**3, True)),
        _line(-2.0, 0.5, 3.0),
        kinks={(0.0,): (0.0,), (1.0,): (-1.0,)},
    ),
    OperatorCase(
        "where of a where",
        Piecewise((x0**2, Piecewise((x0, x1 < 0), (x1, True)) < 1), (x1 * 3, True)),
        ((-2.0, -1.0), (2.0, -1.0), (3.0, 0.5), (0.5, 4.0)),
    ),
    OperatorCase("pi and e", sympy.pi * x0 + sympy.E * x1 + Rational(1, 3), _PAIRS),
    OperatorCase(
        "functions of numbers", x0 * sympy.sin(1) + sympy.sqrt(2) * x1 + sympy.log(3), _PAIRS
    ),
)


def vocabulary_cases() -> tuple[OperatorCase, ...]:
    """The operators that searches build expressions of and no case above is called as, at points
    inside of their domains."""
    known = {case.name for case in CASES}
    return tuple(
        OperatorCase(
            f"vocabulary {row.name}", row.build(*(x0, x1)[: row.arity]), ((0.75, 1.5)[: row.arity],)
        )
        for row in VOCABULARY.values()
        if row.name not in known
    )
