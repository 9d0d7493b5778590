"""The operators, one row each: all that the package knows of them.

`OPERATORS` has a row for every operation of a program, by what programs and files call it ("add"),
`VOCABULARY` one for every operator that a search may use, by what users type ("+"); what the fields
of a row mean, `operator.Operator` tells. What other modules know of operators they take from its
columns, see `fold`, but for rules of one operator alone. torch, ONNX, operon and PySR are named,
not imported; lowering, exporters and engines resolve the names.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np
import sympy
from scipy import special
from sympy.codegen import cfunctions

from symcompile.expressions import intervals, spellings
from symcompile.expressions.intervals import decreasing, excludes_zero, increasing
from symcompile.expressions.operator import Edge, Hazard, Operator, above, within_one

# Where a size may be 0 that something is divided by.
_TINY = 5e-324


def _whole(exponent: Any) -> Any:
    return np.equal(np.floor(exponent), exponent)


def _at_place(place: int, args: Sequence[Any], value: Any) -> Any:
    return np.equal(args[place], value).astype(float)


def _product_of_others(place: int, args: Sequence[Any], value: Any) -> Any:
    return reduce(np.multiply, [a for k, a in enumerate(args) if k != place])


def _turn(along: Any, a: Any, b: Any) -> Any:
    """`along / (a*a + b*b)`, whose squares are none of float64's where the arguments are small."""
    size = np.maximum(np.hypot(a, b), 1e-300)
    return along / size / size


def _condition(*_: Any) -> intervals.Interval:
    return intervals.TRUTH


def _piecewise(test: Any, yes: Any, no: Any) -> Any:
    rest = no.args if isinstance(no, sympy.Piecewise) else ((no, True),)
    return sympy.Piecewise((yes, test), *rest)


_POWERS = (
    Hazard(
        "nonnegative",
        lambda a, e: np.where(_whole(e), 1.0, a),
        lambda a, e: a[0] >= 0 or (e[0] == e[1] and bool(_whole(e[0]))),
        "broken power of a negative number",
    ),
    Hazard(
        "nonzero",
        lambda a, e: np.where(np.less(e, 0), a, 1.0),
        lambda a, e: e[0] >= 0 or excludes_zero(a),
        "negative power of zero",
    ),
)
_TAN = Hazard(
    "nonzero",
    np.cos,
    lambda a: a[1] - a[0] < math.pi and excludes_zero((math.cos(a[0]), math.cos(a[1]))),
    "tan has a pole",
)
_LOG = above(0.0, "log of zero or a negative number")
_ROOT = above(0.0, "square root of a negative number", closed=True)

_NO_FLOAT64 = ("float64",)
_FLAT = (lambda a, v: 0.0,)
# Of two that are as near, the even one.
_ROUND = "r = mod(a, 1); f = a - r; where(r == 0.5, f + mod(f, 2), where(r < 0.5, f, f + 1))"

ROWS: tuple[Operator, ...] = (
    Operator(
        name="+", op="add", aliases=("add", "plus"), arity=2, nary=True, complexity=1,
        build=sympy.Add, numpy=np.add, slopes=lambda place, args, v: 1.0, interval=intervals.add,
        torch="operator.add", onnx="Add", operon=("Add",),
    ),
    Operator(
        name="-", op="sub", aliases=("sub", "minus"), arity=2, complexity=1,
        build=lambda a, b: a - b, numpy=np.subtract,
        slopes=(lambda a, b, v: 1.0, lambda a, b, v: -1.0), interval=intervals.subtract,
        torch="operator.sub", onnx="Sub", operon=("Sub",),
    ),
    Operator(
        name="*", op="mul", aliases=("mul", "mult", "times"), arity=2, nary=True, complexity=1,
        build=sympy.Mul, numpy=np.multiply, slopes=_product_of_others, interval=intervals.multiply,
        torch="operator.mul", onnx="Mul", operon=("Mul",), zero="any",
    ),
    Operator(
        name="/", op="div", aliases=("div",), arity=2, complexity=1, build=lambda a, b: a / b,
        numpy=np.divide, slopes=(lambda a, b, v: 1.0 / b, lambda a, b, v: -v / b),
        interval=intervals.divide, torch="operator.truediv", harmless=(1, 1.0), onnx="Div",
        operon=("Div",), zero="first",
    ),
    Operator(
        name="pow", aliases=("^", "**"), arity=2, complexity=3, build=lambda a, b: sympy.Pow(a, b),
        numpy=np.power, slopes=(lambda a, b, v: b * a ** (b - 1.0), lambda a, b, v: v * np.log(a)),
        interval=intervals.powers, domain=_POWERS, torch="torch.pow", harmless=(0, 1.0),
        onnx="Pow", operon=("Pow",), pysr="^", nesting="root",
    ),
    Operator(
        name="min", arity=2, nary=True, complexity=1, build=sympy.Min, numpy=np.minimum,
        slopes=_at_place, interval=lambda a, b: (min(a[0], b[0]), min(a[1], b[1])),
        torch="torch.minimum", onnx="Min", operon=("Fmin",),
    ),
    Operator(
        name="max", arity=2, nary=True, complexity=1, build=sympy.Max, numpy=np.maximum,
        slopes=_at_place, interval=lambda a, b: (max(a[0], b[0]), max(a[1], b[1])),
        torch="torch.maximum", onnx="Max", operon=("Fmax",),
    ),
    Operator(name="inv", op="", complexity=1, build=lambda a: 1 / a, operon=("Div",)),
    Operator(
        name="neg", complexity=1, build=lambda a: -a, numpy=np.negative,
        slopes=(lambda a, v: -1.0,), interval=lambda a: (-a[1], -a[0]), torch="operator.neg",
        onnx="Neg", operon=("Mul",), zero="first",
    ),
    Operator(name="square", op="", complexity=1, build=lambda a: a**2, operon=("Square",)),
    Operator(name="cube", op="", complexity=1, build=lambda a: a**3, operon=("Mul", "Square")),
    Operator(
        name="sqrt", complexity=1, build=sympy.sqrt, heads=(cfunctions.Sqrt,), numpy=np.sqrt,
        slopes=(lambda a, v: 0.5 / v,), interval=increasing(math.sqrt, low=0.0), domain=(_ROOT,),
        torch="torch.sqrt", edge=Edge(0.0, math.inf, 1.0), harmless=(0, 1.0), onnx="Sqrt",
        operon=("Sqrt",), nesting="root", zero="first",
    ),
    Operator(
        name="abs", complexity=1, build=sympy.Abs, numpy=np.abs, slopes=(lambda a, v: np.sign(a),),
        interval=intervals.absolute, torch="torch.abs", onnx="Abs", operon=("Abs",), zero="first",
    ),
    Operator(
        name="exp", complexity=3, build=sympy.exp, numpy=np.exp, slopes=(lambda a, v: v,),
        interval=increasing(np.exp), torch="torch.exp", harmless=(0, 0.0), onnx="Exp",
        operon=("Exp",), nesting="function", parts=2, zero="never",
    ),
    Operator(
        name="log", aliases=("ln",), complexity=3, build=sympy.log, numpy=np.log,
        slopes=(lambda a, v: 1.0 / a,), interval=increasing(np.log, low=0.0), domain=(_LOG,),
        torch="torch.log", harmless=(0, 1.0), onnx="Log", operon=("Log",), nesting="function",
    ),
    Operator(
        name="sin", complexity=3, build=sympy.sin, numpy=np.sin, slopes=(lambda a, v: np.cos(a),),
        interval=intervals.sine, odd=True, torch="torch.sin", onnx="Sin", operon=("Sin",),
        nesting="function", parts=2,
    ),
    Operator(
        name="cos", complexity=3, build=sympy.cos, numpy=np.cos, slopes=(lambda a, v: -np.sin(a),),
        interval=intervals.cosine, torch="torch.cos", onnx="Cos", operon=("Cos",),
        nesting="function", parts=2,
    ),
    Operator(
        name="tan", complexity=3, build=sympy.tan, odd=True, numpy=np.tan,
        slopes=(lambda a, v: 1.0 + v * v,), interval=intervals.tangent, domain=(_TAN,),
        torch="torch.tan", onnx="Tan", onnx_lacks=_NO_FLOAT64, onnx_spelled=spellings.TAN,
        operon=("Tan",), nesting="root", parts=6,
    ),
    Operator(
        name="tanh", complexity=3, build=sympy.tanh, odd=True, numpy=np.tanh,
        slopes=(lambda a, v: 1.0 - v * v,), interval=increasing(math.tanh), torch="torch.tanh",
        onnx="Tanh", operon=("Tanh",), nesting="hyperbolic", parts=4,
    ),
    Operator(
        name="asin", complexity=3, build=sympy.asin, odd=True, numpy=np.arcsin,
        slopes=(lambda a, v: 1.0 / np.sqrt(1.0 - a * a),),
        interval=increasing(math.asin, -1.0, 1.0), domain=(within_one("asin"),),
        torch="torch.asin", edge=Edge(1.0, math.inf, 0.0), harmless=(0, 0.0), onnx="Asin",
        onnx_lacks=_NO_FLOAT64, onnx_spelled=spellings.ASIN, operon=("Asin",), nesting="inverse",
    ),
    Operator(
        name="acos", complexity=3, build=sympy.acos, numpy=np.arccos,
        slopes=(lambda a, v: -1.0 / np.sqrt(1.0 - a * a),),
        interval=decreasing(lambda a: math.pi / 2 - math.asin(a), -1.0, 1.0),
        domain=(within_one("acos"),), torch="torch.acos", edge=Edge(1.0, -math.inf, 0.0),
        harmless=(0, 0.0), onnx="Acos", onnx_lacks=_NO_FLOAT64, onnx_spelled=spellings.ACOS,
        operon=("Acos",), nesting="inverse",
    ),
    Operator(
        name="atan", complexity=3, build=sympy.atan, odd=True, numpy=np.arctan,
        slopes=(lambda a, v: 1.0 / (1.0 + a * a),), interval=increasing(math.atan),
        torch="torch.atan", onnx="Atan", onnx_lacks=_NO_FLOAT64, onnx_spelled=spellings.ATAN,
        operon=("Atan",), nesting="inverse",
    ),
    Operator(
        name="sinh", complexity=3, build=sympy.sinh, odd=True, numpy=np.sinh,
        slopes=(lambda a, v: np.cosh(a),), interval=increasing(np.sinh), torch="torch.sinh",
        harmless=(0, 0.0), onnx="Sinh", onnx_lacks=_NO_FLOAT64, onnx_spelled=spellings.SINH,
        operon=("Sinh",), nesting="hyperbolic", parts=4,
    ),
    Operator(
        name="cosh", complexity=3, build=sympy.cosh, numpy=np.cosh,
        slopes=(lambda a, v: np.sinh(a),), interval=intervals.even(np.cosh), torch="torch.cosh",
        harmless=(0, 0.0), onnx="Cosh", onnx_lacks=_NO_FLOAT64, onnx_spelled=spellings.COSH,
        operon=("Cosh",), nesting="hyperbolic", parts=4, zero="never",
    ),
    Operator(
        name="erf", complexity=3, build=sympy.erf, odd=True, numpy=special.erf,
        slopes=(lambda a, v: 2.0 / np.sqrt(np.pi) * np.exp(-a * a),),
        interval=increasing(special.erf), torch="torch.erf", onnx="Erf", onnx_lacks=_NO_FLOAT64,
        nesting="hyperbolic", parts=4,
    ),
    Operator(
        name="sign", complexity=3, build=sympy.sign, odd=True, numpy=np.sign, slopes=_FLAT,
        piece=np.sign, interval=increasing(np.sign), torch="torch.sign", onnx="Sign",
    ),
    Operator(
        name="floor", complexity=3, build=sympy.floor, numpy=np.floor, slopes=_FLAT,
        interval=increasing(np.floor), piece=np.floor, torch="torch.floor", onnx="Floor",
        operon=("Floor",),
    ),
    Operator(
        name="ceil", complexity=3, build=sympy.ceiling, numpy=np.ceil, slopes=_FLAT,
        interval=increasing(np.ceil), piece=np.ceil, torch="torch.ceil", onnx="Ceil",
        operon=("Ceil",),
    ),
    Operator(
        name="asinh", complexity=3, build=sympy.asinh, odd=True, numpy=np.arcsinh,
        slopes=(lambda a, v: 1.0 / np.hypot(a, 1.0),), interval=increasing(np.arcsinh),
        torch="torch.asinh", onnx="Asinh", onnx_lacks=_NO_FLOAT64, onnx_spelled=spellings.ASINH,
        nesting="inverse",
    ),
    Operator(
        name="acosh", complexity=3, build=sympy.acosh, numpy=np.arccosh,
        slopes=(lambda a, v: 1.0 / (np.sqrt(a - 1.0) * np.sqrt(a + 1.0)),),
        interval=increasing(np.arccosh, low=1.0),
        domain=(above(1.0, "acosh of a number below 1", closed=True),), torch="torch.acosh",
        edge=Edge(1.0, math.inf, 2.0), harmless=(0, 2.0), onnx="Acosh", onnx_lacks=_NO_FLOAT64,
        onnx_spelled=spellings.ACOSH, nesting="inverse",
    ),
    Operator(
        name="atanh", complexity=3, build=sympy.atanh, odd=True, numpy=np.arctanh,
        slopes=(lambda a, v: 1.0 / ((1.0 - a) * (1.0 + a)),),
        interval=increasing(np.arctanh, -1.0, 1.0), domain=(within_one("atanh", closed=False),),
        torch="torch.atanh", harmless=(0, 0.0), onnx="Atanh", onnx_lacks=_NO_FLOAT64,
        onnx_spelled=spellings.ATANH, nesting="inverse",
    ),
    Operator(
        name="log1p", complexity=3, definition="log(1 + a)", heads=(cfunctions.log1p,),
        numpy=np.log1p, slopes=(lambda a, v: 1.0 / (1.0 + a),),
        interval=increasing(np.log1p, low=-1.0),
        domain=(above(-1.0, "log1p of -1 or less"),), torch="torch.log1p", harmless=(0, 0.0),
        onnx_spelled=spellings.LOG1P, operon=("Log1p",), nesting="function",
    ),
    Operator(
        name="log2", complexity=3, definition="log(a) / log(2)", heads=(cfunctions.log2,),
        numpy=np.log2, slopes=(lambda a, v: 1.0 / (a * math.log(2.0)),),
        interval=increasing(np.log2, low=0.0), domain=(_LOG,), torch="torch.log2",
        harmless=(0, 1.0),
        onnx_spelled="log(a) / 0.6931471805599453", operon=("Log",),
        operon_spelled="log(2) * log2(a)", nesting="function",
    ),
    Operator(
        name="log10", complexity=3, definition="log(a) / log(10)", heads=(cfunctions.log10,),
        numpy=np.log10, slopes=(lambda a, v: 1.0 / (a * math.log(10.0)),),
        interval=increasing(np.log10, low=0.0), domain=(_LOG,), torch="torch.log10",
        harmless=(0, 1.0),
        onnx_spelled="log(a) / 2.302585092994046", operon=("Log",),
        operon_spelled="log(10) * log10(a)", nesting="function",
    ),
    Operator(
        name="cbrt", complexity=1, definition="where(a < 0, -((-a) ** (1 / 3)), a ** (1 / 3))",
        heads=(cfunctions.Cbrt,), numpy=np.cbrt, slopes=(lambda a, v: 1.0 / (3.0 * v * v),),
        interval=increasing(np.cbrt), odd=True, operon=("Cbrt",), nesting="function",
        zero="first",
    ),
    Operator(
        name="hypot", arity=2, complexity=1, definition="sqrt(a ** 2 + b ** 2)",
        heads=(cfunctions.hypot,), numpy=np.hypot,
        slopes=(lambda a, b, v: a / np.maximum(v, _TINY), lambda a, b, v: b / np.maximum(v, _TINY)),
        interval=intervals.even(np.hypot), torch="torch.hypot", edge=Edge(0.0, 0.0, 1.0),
        onnx_spelled=spellings.HYPOT, nesting="function",
    ),
    Operator(
        name="atan2", arity=2, complexity=3, build=sympy.atan2, numpy=np.arctan2,
        slopes=(lambda a, b, v: _turn(b, a, b), lambda a, b, v: -_turn(a, a, b)),
        interval=lambda a, b: (-math.pi, math.pi), piece=lambda a, b: np.signbit(a),
        torch="torch.atan2", onnx_spelled=spellings.ATAN2, pysr="atan2(y, x) = atan(y, x)",
        nesting="inverse",
    ),
    Operator(
        name="sigmoid", complexity=3,
        definition="where(a < 0, exp(a) / (1 + exp(a)), 1 / (1 + exp(-a)))", numpy=special.expit,
        slopes=(lambda a, v: v * special.expit(-a),), interval=increasing(special.expit),
        onnx="Sigmoid", operon=("Tanh",),
        operon_spelled="2 * sigmoid(2 * a) - 1", pysr="sigmoid(x) = 1 / (1 + exp(-x))",
        nesting="function", zero="never",
    ),
    Operator(
        name="softplus", complexity=3,
        definition="where(a < 0, log1p(exp(a)), a + log1p(exp(-a)))",
        numpy=lambda a: np.logaddexp(0.0, a), slopes=(lambda a, v: special.expit(a),),
        interval=increasing(lambda a: np.logaddexp(0.0, a)),
        pysr="softplus(x) = x > 0 ? x + log1p(exp(-x)) : log1p(exp(x))", nesting="function",
        zero="never",
    ),
    Operator(
        name="gauss", complexity=3, definition="exp(-(a**2))", pysr="gauss(x) = exp(-x^2)",
        nesting="function", zero="never",
    ),
    Operator(
        name="relu", complexity=1, definition="max(a, 0)",
        numpy=lambda a: np.where(np.less(a, 0.0), 0.0, a),
        slopes=(lambda a, v: np.greater(a, 0).astype(float),),
        interval=increasing(lambda a: max(a, 0.0)), torch="torch.relu", onnx="Relu",
    ),
    Operator(
        name="round", complexity=3, definition=_ROUND, python="round({0})", numpy=np.rint,
        slopes=_FLAT, interval=increasing(np.rint), piece=np.rint, torch="torch.round",
        onnx="Round",
    ),
    Operator(
        name="mod", arity=2, complexity=3, definition="a - b * floor(a / b)", heads=(sympy.Mod,),
        python="(({0}) % ({1}))", numpy=np.mod, piece=np.floor_divide, interval=intervals.remainder,
        slopes=(lambda a, b, v: 1.0, lambda a, b, v: -np.floor_divide(a, b)),
        domain=(Hazard("nonzero", lambda a, b: b, lambda a, b: excludes_zero(b), "mod by zero"),),
        torch="torch.remainder", harmless=(1, 1.0), onnx_spelled=spellings.MOD, operon=("Floor",),
        operon_spelled="a - mod(a, 1)",
    ),
    # What programs are made of besides.
    Operator(
        op="power", build=lambda a, n: a**n, numpy=lambda a, n: a**n,
        slopes=(lambda a, n, v: n * a ** (n - 1),), interval=intervals.power, harmless=(0, 1.0),
        nesting="root", zero="first",
    ),
    Operator(
        op="where", arity=3, build=_piecewise, numpy=np.where,
        slopes=(
            lambda test, a, b, v: 0.0,
            lambda test, a, b, v: np.where(test, 1.0, 0.0),
            lambda test, a, b, v: np.where(test, 0.0, 1.0),
        ),
        interval=lambda test, a, b: (min(a[0], b[0]), max(a[1], b[1])), onnx="Where",
    ),
    Operator(
        op="lt", arity=2, truth=True, build=sympy.StrictLessThan, numpy=np.less,
        interval=_condition, torch="operator.lt", onnx="Less",
    ),
    Operator(
        op="le", arity=2, truth=True, build=sympy.LessThan, numpy=np.less_equal,
        interval=_condition, torch="operator.le", onnx="LessOrEqual",
    ),
    Operator(
        op="eq", arity=2, truth=True, build=sympy.Eq, numpy=np.equal, interval=_condition,
        torch="operator.eq", onnx="Equal",
    ),
    Operator(
        op="and", arity=2, nary=True, truth=True, logic=True, build=sympy.And,
        numpy=np.logical_and, interval=_condition, torch="torch.logical_and", onnx="And",
    ),
    Operator(
        op="or", arity=2, nary=True, truth=True, logic=True, build=sympy.Or, numpy=np.logical_or,
        interval=_condition, torch="torch.logical_or", onnx="Or",
    ),
    Operator(
        op="not", truth=True, logic=True, build=sympy.Not, numpy=np.logical_not,
        interval=_condition, torch="torch.logical_not", onnx="Not",
    ),
)  # fmt: skip

OPERATORS: dict[str, Operator] = {row.op: row for row in ROWS if row.op}
VOCABULARY: dict[str, Operator] = {row.name: row for row in ROWS if row.complexity}
ALIASES = {alias: row.name for row in VOCABULARY.values() for alias in row.aliases}
