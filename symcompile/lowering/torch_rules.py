"""The torch function of each operation of a program, and what keeps their gradients finite.

Everything here is importable by name (torch functions and the operator module), so a graph made of
it can be copied, pickled, traced again, compiled and exported.

Autograd multiplies: where a function's slope is infinite, `0 * inf` gives NaN although the
derivative of the whole is 0 (`sqrt(c*x)` by c at x = 0), and NaN spoils every parameter at once. So
at these points the slope is the large number STEEP instead of infinity. Values stay exact.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from functools import reduce
from typing import Any

import torch
from torch import fx

from symcompile.expressions.operators import OPERATORS

# Stands for an infinite slope: large beside everything, its square still finite in float32.
STEEP = 1e15
# Next to 0: where the slope of `u**c` at 0 is read when c is a tensor.
_TINY = 1e-30

_MODULES = {"torch": torch, "operator": operator}


def _resolved(name: str) -> Callable[..., Any]:
    module, _, function = name.partition(".")
    return getattr(_MODULES[module], function)  # type: ignore[no-any-return]


FUNCTIONS = {op: _resolved(row.torch) for op, row in OPERATORS.items() if row.torch}

# `call(function, *args, guard=k)` adds a node. A guard matters for gradients only: with its
# argument k in its place, the block has the same values.
Call = Callable[..., Any]


def guarded(call: Call, op: str, u: Any, *others: Any) -> Any:
    """A function with an edge, at which its slope is a number that autograd can work with."""
    edge, function = OPERATORS[op].edge, FUNCTIONS[op]
    assert edge is not None
    if others:
        zeros = [call(operator.eq, argument, 0.0) for argument in (u, *others)]
        there = reduce(lambda a, b: call(torch.logical_and, a, b), zeros)
        regular = call(function, call(torch.where, there, edge.instead, u, guard=2), *others)
        return call(torch.where, there, 0.0, regular, guard=2)
    if edge.at == 0.0:
        return _from_zero(call, u, lambda safe: call(function, safe))
    there = call(operator.eq, call(torch.abs, u), edge.at)
    regular = call(function, call(torch.where, there, edge.instead, u, guard=2))
    fixed = call(torch.detach, u)
    steep = call(operator.mul, call(operator.sub, u, fixed), math.copysign(STEEP, edge.slope))
    value = call(operator.add, call(function, fixed), steep)
    return call(torch.where, there, value, regular, guard=2)


def power(call: Call, u: Any, exponent: Any, positive: bool) -> Any:
    """`u**exponent` of nodes or numbers; `positive` where u is above 0 for certain.

    Where the exponent is a tensor and u = 0, the value 0**exponent with a slope by u as it is next
    to 0, and none by the exponent.
    """
    if not isinstance(exponent, fx.Node) and 0 < exponent < 1 and not positive:
        u = call(operator.add, u, 0.0, guard=0)  # a power of -0.0 is 0.0
        return _from_zero(call, u, lambda safe: call(torch.pow, safe, exponent))
    if positive or not (isinstance(u, fx.Node) and isinstance(exponent, fx.Node)):
        return call(torch.pow, u, exponent)
    zero = call(operator.eq, u, 0.0)
    regular = call(torch.pow, call(torch.where, zero, 1.0, u, guard=2), exponent)
    fixed = call(torch.detach, exponent)
    nearby = call(torch.pow, _TINY, call(operator.sub, fixed, 1.0))
    slope = call(torch.clamp, call(operator.mul, fixed, nearby), -STEEP, STEEP)
    value = call(torch.pow, call(torch.detach, u), fixed)
    edge = call(operator.add, value, call(operator.mul, u, slope))
    return call(torch.where, zero, edge, regular, guard=2)


def _from_zero(call: Call, u: Any, root: Callable[[Any], Any]) -> Any:
    zero = call(operator.eq, u, 0.0)
    regular = root(call(torch.where, zero, 1.0, u, guard=2))
    return call(torch.where, zero, call(operator.mul, u, STEEP), regular, guard=2)


def _angle(call: Call, y: Any, x: Any) -> Any:
    """atan2, whose derivative in torch divides by `y*y + x*x`, which may be 0 or infinite where the
    arguments are not.

    So both are multiplied by a power of two first, on which neither their angle nor its derivatives
    depend: of any order, since it is piecewise constant. At zeros, where they have none, and where
    the power is no number, the slopes are 0.
    """
    fixed = [call(torch.detach, argument) for argument in (y, x)]
    size = call(torch.maximum, *(call(torch.abs, argument) for argument in fixed))
    exponent = call(torch.floor, call(torch.log2, size))
    power = call(torch.exp2, call(operator.sub, 2.0, exponent))
    usual = call(operator.lt, call(operator.mul, power, size), 16.0)
    scale = call(torch.where, usual, power, 1.0)
    safe = [call(torch.where, usual, argument, 1.0, guard=1) for argument in (y, x)]
    scaled = [call(operator.mul, argument, scale, guard=0) for argument in safe]
    regular, alone = call(torch.atan2, *scaled), call(torch.atan2, *fixed)
    return call(torch.where, usual, regular, alone, guard=1)


def _cube_root(call: Call, u: Any) -> Any:
    """By a power and a step of Newton's: the rounding of 1/3 costs up to 115 units in the last
    place. At zero and at infinity, where the step has no value, a product has that of the root."""
    size = call(torch.abs, u)
    finite = call(operator.lt, size, math.inf)
    usual = call(torch.logical_and, call(operator.gt, size, 0.0), finite)
    safe = call(torch.where, usual, size, 1.0)
    rough = call(torch.pow, safe, 1 / 3)
    excess = call(
        operator.sub, rough, call(operator.truediv, safe, call(operator.mul, rough, rough))
    )
    root = call(operator.sub, rough, call(operator.truediv, excess, 3.0))
    regular = call(operator.mul, call(torch.sign, u), root)
    # In this order: see `spellings`, of ONNX Runtime's Where.
    return call(torch.where, usual, regular, call(operator.mul, u, STEEP))


def _sigmoid(call: Call, u: Any) -> Any:
    """torch's own has the slope `y*(1 - y)`, in which no digit is left where y is next to 1, and
    becomes a kernel of ONNX Runtime that is 0 too early."""
    negative, small = _decay(call, u)
    upper = call(torch.where, negative, small, 1.0)
    return call(operator.truediv, upper, call(operator.add, small, 1.0))


def _softplus(call: Call, u: Any) -> Any:
    """torch's own is `u` from 20 on."""
    negative, small = _decay(call, u)
    return call(operator.add, call(torch.where, negative, 0.0, u), call(torch.log1p, small))


def _decay(call: Call, u: Any) -> tuple[Any, Any]:
    """Whether u is below 0, and `exp(-|u|)`, which never overflows, with a slope at 0."""
    negative = call(operator.lt, u, 0.0)
    return negative, call(torch.exp, call(torch.where, negative, u, call(operator.neg, u)))


# Operations that torch has no function for, or none with a derivative that can be used everywhere.
SPELLED: dict[str, Callable[..., Any]] = {
    "atan2": _angle,
    "cbrt": _cube_root,
    "sigmoid": _sigmoid,
    "softplus": _softplus,
}
