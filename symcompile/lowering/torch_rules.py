"""One torch function for each operation of a program, and what keeps their gradients finite.

Everything here is importable by name (torch functions and the operator module), so a graph made of
it can be copied, pickled, traced again, compiled and exported.

Autograd multiplies: where a function's slope is infinite, `0 * inf` gives NaN although the
derivative of the whole is 0 (`sqrt(c*x)` by c at x = 0), and NaN spoils every parameter at once. So
at these points the slope is the large number STEEP instead of infinity. Values stay exact.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch

# Stands for an infinite slope: large beside everything, its square still finite in float32.
STEEP = 1e15
# Next to 0: where the slope of `u**c` at 0 is read when c is a tensor.
_TINY = 1e-30

UNARY: dict[str, Callable[..., Any]] = {
    "neg": operator.neg,
    "exp": torch.exp,
    "log": torch.log,
    "sin": torch.sin,
    "cos": torch.cos,
    "tan": torch.tan,
    "atan": torch.atan,
    "sinh": torch.sinh,
    "cosh": torch.cosh,
    "tanh": torch.tanh,
    "erf": torch.erf,
    "abs": torch.abs,
    "sign": torch.sign,
    "floor": torch.floor,
    "ceil": torch.ceil,
    "not": torch.logical_not,
}

BINARY: dict[str, Callable[..., Any]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
    "min": torch.minimum,
    "max": torch.maximum,
    "and": torch.logical_and,
    "or": torch.logical_or,
    "lt": operator.lt,
    "le": operator.le,
    "eq": operator.eq,
}

# Operations that overflow or are undefined somewhere: which argument to keep harmless, and with
# what value, in the branch of a `where` that is not taken.
HARMLESS: dict[str, tuple[int, float]] = {
    "log": (0, 1.0),
    "sqrt": (0, 1.0),
    "pow": (0, 1.0),
    "power": (0, 1.0),
    "div": (1, 1.0),
    "exp": (0, 0.0),
    "sinh": (0, 0.0),
    "cosh": (0, 0.0),
    "asin": (0, 0.0),
    "acos": (0, 0.0),
}

# `call(function, *args, guard=k)` adds a node. A guard is a `where` that matters for gradients
# only: its value is that of its argument k wherever that argument is well behaved.
Call = Callable[..., Any]


def sqrt(call: Call, u: Any) -> Any:
    return _from_zero(call, u, lambda safe: call(torch.sqrt, safe))


def power(call: Call, u: Any, exponent: float) -> Any:
    """`u**exponent` for a number that is no whole one."""
    if 0 < exponent < 1:
        return _from_zero(call, u, lambda safe: call(torch.pow, safe, exponent))
    return call(torch.pow, u, exponent)


def _from_zero(call: Call, u: Any, root: Callable[[Any], Any]) -> Any:
    zero = call(operator.eq, u, 0.0)
    regular = root(call(torch.where, zero, 1.0, u, guard=2))
    return call(torch.where, zero, call(operator.mul, u, STEEP), regular, guard=2)


def power_of_tensor(call: Call, u: Any, exponent: Any) -> Any:
    """`u**exponent` for an exponent that is a tensor: at u = 0 the value 0**exponent with a slope
    by u as it is next to 0, and none by the exponent."""
    zero = call(operator.eq, u, 0.0)
    regular = call(torch.pow, call(torch.where, zero, 1.0, u, guard=2), exponent)
    fixed = call(torch.detach, exponent)
    nearby = call(torch.pow, _TINY, call(operator.sub, fixed, 1.0))
    slope = call(torch.clamp, call(operator.mul, fixed, nearby), -STEEP, STEEP)
    value = call(torch.pow, 0.0, fixed)
    edge = call(operator.add, value, call(operator.mul, u, slope))
    return call(torch.where, zero, edge, regular, guard=2)


def asin(call: Call, u: Any) -> Any:
    return _to_one(call, u, torch.asin, STEEP)


def acos(call: Call, u: Any) -> Any:
    return _to_one(call, u, torch.acos, -STEEP)


def _to_one(call: Call, u: Any, function: Callable[..., Any], slope: float) -> Any:
    edge = call(operator.eq, call(torch.abs, u), 1.0)
    regular = call(function, call(torch.where, edge, 0.0, u, guard=2))
    fixed = call(torch.detach, u)
    steep = call(operator.mul, call(operator.sub, u, fixed), slope)
    return call(
        torch.where, edge, call(operator.add, call(function, fixed), steep), regular, guard=2
    )


GUARDED: dict[str, Callable[..., Any]] = {"sqrt": sqrt, "asin": asin, "acos": acos}
PLAIN: dict[str, Callable[..., Any]] = {"sqrt": torch.sqrt, "asin": torch.asin, "acos": torch.acos}
