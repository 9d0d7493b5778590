"""The operators, one row each: all that the package knows of them.

`OPERATORS` has a row for every operation of a program, by what programs and files call it ("add"),
`VOCABULARY` one for every operator that a search may use, by what users type ("+"); what the fields
of a row mean, `operator.Operator` tells. Every table of another module is a column of this one:
`column("numpy")`, or `completed({**column("numpy"), "number": ...})`, in which whatever
a row leaves out follows from its definition. torch, ONNX, operon and PySR are named, not imported;
lowering, exporters and engines resolve the names.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Any

import numpy as np
import sympy
from scipy import special

from symcompile.expressions import intervals
from symcompile.expressions.fold import Rules, compiled, fold
from symcompile.expressions.intervals import decreasing, excludes_zero, increasing
from symcompile.expressions.operator import Edge, Hazard, Operator


def _within_one(name: str) -> Hazard:
    return Hazard(
        "nonnegative",
        lambda a: 1.0 - np.abs(a),
        lambda a: a[0] >= -1 and a[1] <= 1,
        f"{name} of a number outside of [-1, 1]",
    )


def _whole(exponent: Any) -> Any:
    return np.equal(np.floor(exponent), exponent)


def _at_place(place: int, args: Sequence[Any], value: Any) -> Any:
    return np.equal(args[place], value).astype(float)


def _product_of_others(place: int, args: Sequence[Any], value: Any) -> Any:
    return reduce(np.multiply, [a for k, a in enumerate(args) if k != place])


def _condition(*_: Any) -> intervals.Interval:
    return 0.0, 1.0


def sympy_number(value: Any) -> sympy.Expr:
    """A `number` instruction's value, exactly."""
    if value in ("pi", "e"):
        return sympy.pi if value == "pi" else sympy.E
    if isinstance(value, tuple):
        return sympy.Rational(*value)
    return sympy.Integer(value) if type(value) is int else sympy.Float(value)


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
_LOG = Hazard("positive", lambda a: a, lambda a: a[0] > 0, "log of zero or a negative number")
_ROOT = Hazard("nonnegative", lambda a: a, lambda a: a[0] >= 0, "square root of a negative number")

_NO_FLOAT64 = ("float64",)
# pi/2 in three parts of 33 bits (fdlibm's pio2_1, pio2_2, pio2_2t): whole multiples are exact. The
# kernels' own reduction leaves no digit of a cosine next to its zero.
_TAN_SPELLED = """turns = round(a / 1.5707963267948966)
left = a - turns * 1.57079632673412561417 - turns * 6.07710050630396597660e-11
left = left - turns * 2.02226624879595063154e-21
odd = turns - floor(turns / 2.0) * 2.0
where(0.5 < odd, -(cos(left) / sin(left)), sin(left) / cos(left))"""
# From the float32 kernel's y: atan(x) = y + atan((x - tan y) / (1 + x tan y)), whose argument d is
# below 1e-6: there atan(d) = d - d^3/3 to the last digit of float64. 1e300 is as good as infinity,
# which would give infinity / infinity.
_ATAN_SPELLED = """x = max(min(a, 1e300), -1e300)
y = atan32(x)
d = (x * cos(y) - sin(y)) / (cos(y) + x * sin(y))
y + (d - d * d * d / 3.0)"""
# By halves, since e^a overflows before cosh(a) = e^a / 2 does.
_COSH_SPELLED = "root = exp(a * 0.5); 0.5 * root * root + 0.5 / root / root"
# At -1 the quotient is infinite and the result pi.
_ACOS_SPELLED = "atan(sqrt((1.0 - a) / (1.0 + a))) * 2.0"
_ASIN_SPELLED = "atan(a / (1.0 + sqrt((1.0 - a) * (1.0 + a)))) * 2.0"

ROWS: tuple[Operator, ...] = (
    Operator(
        name="+", op="add", aliases=("add", "plus"), arity=2, nary=True, complexity=1, doc="a + b",
        build=sympy.Add, numpy=np.add, slopes=lambda place, args, v: 1.0, interval=intervals.add,
        torch="operator.add", onnx="Add", operon=("Add",),
    ),
    Operator(
        name="-", op="sub", aliases=("sub", "minus"), arity=2, complexity=1, doc="a - b",
        build=lambda a, b: a - b, numpy=np.subtract,
        slopes=(lambda a, b, v: 1.0, lambda a, b, v: -1.0), interval=intervals.subtract,
        torch="operator.sub", onnx="Sub", operon=("Sub",),
    ),
    Operator(
        name="*", op="mul", aliases=("mul", "mult", "times"), arity=2, nary=True, complexity=1,
        doc="a * b", build=sympy.Mul, numpy=np.multiply, slopes=_product_of_others,
        interval=intervals.multiply, torch="operator.mul", onnx="Mul", operon=("Mul",),
    ),
    Operator(
        name="/", op="div", aliases=("div",), arity=2, complexity=1, doc="a / b",
        build=lambda a, b: a / b, numpy=np.divide,
        slopes=(lambda a, b, v: 1.0 / b, lambda a, b, v: -v / b), interval=intervals.divide,
        torch="operator.truediv", harmless=(1, 1.0), onnx="Div", operon=("Div",),
    ),
    Operator(
        name="pow", aliases=("^", "**"), arity=2, complexity=3, doc="a to the power b",
        build=lambda a, b: sympy.Pow(a, b), numpy=np.power,
        slopes=(lambda a, b, v: b * a ** (b - 1.0), lambda a, b, v: v * np.log(a)),
        interval=intervals.powers, domain=_POWERS, torch="torch.pow", harmless=(0, 1.0),
        onnx="Pow", operon=("Pow",), pysr="^", nesting="root",
    ),
    Operator(
        name="min", arity=2, nary=True, complexity=1, doc="the smaller of a and b",
        build=sympy.Min, numpy=np.minimum, slopes=_at_place,
        interval=lambda a, b: (min(a[0], b[0]), min(a[1], b[1])),
        torch="torch.minimum", onnx="Min", operon=("Fmin",),
    ),
    Operator(
        name="max", arity=2, nary=True, complexity=1, doc="the larger of a and b",
        build=sympy.Max, numpy=np.maximum, slopes=_at_place,
        interval=lambda a, b: (max(a[0], b[0]), max(a[1], b[1])),
        torch="torch.maximum", onnx="Max", operon=("Fmax",),
    ),
    Operator(name="inv", op="", complexity=1, doc="1 / a", build=lambda a: 1 / a, operon=("Div",)),
    Operator(
        name="neg", complexity=1, doc="-a", build=lambda a: -a, numpy=np.negative,
        slopes=(lambda a, v: -1.0,), interval=lambda a: (-a[1], -a[0]), torch="operator.neg",
        onnx="Neg", operon=("Mul",),
    ),
    Operator(
        name="square", op="", complexity=1, doc="a**2", build=lambda a: a**2, operon=("Square",)
    ),
    Operator(
        name="cube", op="", complexity=1, doc="a**3", build=lambda a: a**3,
        operon=("Mul", "Square"),
    ),
    Operator(
        name="sqrt", complexity=1, doc="square root", build=sympy.sqrt, numpy=np.sqrt,
        slopes=(lambda a, v: 0.5 / v,), interval=increasing(math.sqrt, low=0.0), domain=(_ROOT,),
        torch="torch.sqrt", edge=Edge(0.0, math.inf, 1.0), harmless=(0, 1.0), onnx="Sqrt",
        operon=("Sqrt",), nesting="root",
    ),
    Operator(
        name="abs", complexity=1, doc="absolute value", build=sympy.Abs, numpy=np.abs,
        slopes=(lambda a, v: np.sign(a),), interval=intervals.absolute, torch="torch.abs",
        onnx="Abs", operon=("Abs",),
    ),
    Operator(
        name="exp", complexity=3, doc="e to the power a", build=sympy.exp, numpy=np.exp,
        slopes=(lambda a, v: v,), interval=increasing(np.exp), torch="torch.exp",
        harmless=(0, 0.0), onnx="Exp", operon=("Exp",), nesting="function", parts=2,
    ),
    Operator(
        name="log", aliases=("ln",), complexity=3, doc="natural logarithm", build=sympy.log,
        numpy=np.log, slopes=(lambda a, v: 1.0 / a,), interval=increasing(np.log, low=0.0),
        domain=(_LOG,), torch="torch.log", harmless=(0, 1.0), onnx="Log", operon=("Log",),
        nesting="function",
    ),
    Operator(
        name="sin", complexity=3, doc="sine, radians", build=sympy.sin, numpy=np.sin,
        slopes=(lambda a, v: np.cos(a),), interval=intervals.sine, torch="torch.sin", onnx="Sin",
        operon=("Sin",), nesting="function", parts=2,
    ),
    Operator(
        name="cos", complexity=3, doc="cosine, radians", build=sympy.cos, numpy=np.cos,
        slopes=(lambda a, v: -np.sin(a),), interval=intervals.cosine, torch="torch.cos",
        onnx="Cos", operon=("Cos",), nesting="function", parts=2,
    ),
    Operator(
        name="tan", complexity=3, doc="tangent, radians", build=sympy.tan, numpy=np.tan,
        slopes=(lambda a, v: 1.0 + v * v,), interval=intervals.tangent, domain=(_TAN,),
        torch="torch.tan", onnx="Tan", onnx_lacks=_NO_FLOAT64, onnx_spelled=_TAN_SPELLED,
        operon=("Tan",), nesting="root", parts=6,
    ),
    Operator(
        name="tanh", complexity=3, doc="hyperbolic tangent", build=sympy.tanh, numpy=np.tanh,
        slopes=(lambda a, v: 1.0 - v * v,), interval=increasing(math.tanh), torch="torch.tanh",
        onnx="Tanh", operon=("Tanh",), nesting="hyperbolic", parts=4,
    ),
    Operator(
        name="asin", doc="inverse sine", build=sympy.asin, numpy=np.arcsin,
        slopes=(lambda a, v: 1.0 / np.sqrt(1.0 - a * a),),
        interval=increasing(math.asin, -1.0, 1.0), domain=(_within_one("asin"),),
        torch="torch.asin", edge=Edge(1.0, math.inf, 0.0), harmless=(0, 0.0), onnx="Asin",
        onnx_lacks=_NO_FLOAT64, onnx_spelled=_ASIN_SPELLED, nesting="inverse",
    ),
    Operator(
        name="acos", doc="inverse cosine", build=sympy.acos, numpy=np.arccos,
        slopes=(lambda a, v: -1.0 / np.sqrt(1.0 - a * a),), interval=decreasing(
            lambda a: math.pi / 2 - math.asin(a), -1.0, 1.0
        ),
        domain=(_within_one("acos"),), torch="torch.acos", edge=Edge(1.0, -math.inf, 0.0),
        harmless=(0, 0.0), onnx="Acos", onnx_lacks=_NO_FLOAT64, onnx_spelled=_ACOS_SPELLED,
        nesting="inverse",
    ),
    Operator(
        name="atan", doc="inverse tangent", build=sympy.atan, numpy=np.arctan,
        slopes=(lambda a, v: 1.0 / (1.0 + a * a),), interval=increasing(math.atan),
        torch="torch.atan", onnx="Atan", onnx_lacks=_NO_FLOAT64, onnx_spelled=_ATAN_SPELLED,
        nesting="inverse",
    ),
    Operator(
        name="sinh", doc="hyperbolic sine", build=sympy.sinh, numpy=np.sinh,
        slopes=(lambda a, v: np.cosh(a),), interval=increasing(np.sinh), torch="torch.sinh",
        harmless=(0, 0.0), onnx="Sinh", onnx_lacks=_NO_FLOAT64,
        onnx_spelled="tanh(a) * cosh(a)",  # (e^a - e^-a) / 2 loses all digits near 0
        nesting="hyperbolic", parts=4,
    ),
    Operator(
        name="cosh", doc="hyperbolic cosine", build=sympy.cosh, numpy=np.cosh,
        slopes=(lambda a, v: np.sinh(a),), interval=intervals.even(np.cosh), torch="torch.cosh",
        harmless=(0, 0.0), onnx="Cosh", onnx_lacks=_NO_FLOAT64, onnx_spelled=_COSH_SPELLED,
        nesting="hyperbolic", parts=4,
    ),
    Operator(
        name="erf", doc="error function", build=sympy.erf, numpy=special.erf,
        slopes=(lambda a, v: 2.0 / np.sqrt(np.pi) * np.exp(-a * a),),
        interval=increasing(special.erf), torch="torch.erf", onnx="Erf", onnx_lacks=_NO_FLOAT64,
        nesting="hyperbolic", parts=4,
    ),
    Operator(
        name="sign", doc="-1, 0 or 1", build=sympy.sign, numpy=np.sign,
        slopes=(lambda a, v: 0.0,), interval=increasing(np.sign), torch="torch.sign", onnx="Sign",
    ),
    Operator(
        name="floor", doc="the next whole number below", build=sympy.floor, numpy=np.floor,
        slopes=(lambda a, v: 0.0,), interval=increasing(np.floor), torch="torch.floor",
        onnx="Floor",
    ),
    Operator(
        name="ceil", doc="the next whole number above", build=sympy.ceiling, numpy=np.ceil,
        slopes=(lambda a, v: 0.0,), interval=increasing(np.ceil), torch="torch.ceil",
        onnx="Ceil",
    ),
    # What programs are made of besides.
    Operator(
        op="power", build=lambda a, n: a**n, numpy=lambda a, n: a**n,
        slopes=(lambda a, n, v: n * a ** (n - 1),), interval=intervals.power, harmless=(0, 1.0),
        nesting="root",
    ),
    Operator(
        op="where", arity=3, build=_piecewise, numpy=np.where,
        slopes=(
            lambda test, a, b, v: 0.0,
            lambda test, a, b, v: np.where(test, True, False).astype(float),
            lambda test, a, b, v: np.where(test, False, True).astype(float),
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
        op="or", arity=2, nary=True, truth=True, logic=True, build=sympy.Or,
        numpy=np.logical_or, interval=_condition, torch="torch.logical_or", onnx="Or",
    ),
    Operator(
        op="not", truth=True, logic=True, build=sympy.Not, numpy=np.logical_not,
        interval=_condition, torch="torch.logical_not", onnx="Not",
    ),
)  # fmt: skip

OPERATORS: dict[str, Operator] = {row.op: row for row in ROWS if row.op}
VOCABULARY: dict[str, Operator] = {row.name: row for row in ROWS if row.complexity}
ALIASES = {alias: row.name for row in VOCABULARY.values() for alias in row.aliases}
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
            rules[op] = partial(_by_definition, rules, row.definition)
    return rules


def _by_definition(rules: Rules, definition: str, *args: Any) -> Any:
    return fold(compiled(definition), {**rules, "input": args.__getitem__})[-1]


BUILD = completed(column("build") | {"number": sympy_number})


def __getattr__(name: str) -> Any:
    """The sympy classes of our own, where pickles look for them."""
    if name in OPERATORS:
        return OPERATORS[name].build
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
