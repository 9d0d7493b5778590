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

# `call(function, *args, guard=k)` adds a node. A guard is a `where` that matters for gradients
# only: its value is that of its argument k wherever that argument is well behaved.
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
        return _from_zero(call, u, lambda safe: call(torch.pow, safe, exponent))
    if positive or not (isinstance(u, fx.Node) and isinstance(exponent, fx.Node)):
        return call(torch.pow, u, exponent)
    zero = call(operator.eq, u, 0.0)
    regular = call(torch.pow, call(torch.where, zero, 1.0, u, guard=2), exponent)
    fixed = call(torch.detach, exponent)
    nearby = call(torch.pow, _TINY, call(operator.sub, fixed, 1.0))
    slope = call(torch.clamp, call(operator.mul, fixed, nearby), -STEEP, STEEP)
    value = call(torch.pow, 0.0, fixed)
    edge = call(operator.add, value, call(operator.mul, u, slope))
    return call(torch.where, zero, edge, regular, guard=2)


def _from_zero(call: Call, u: Any, root: Callable[[Any], Any]) -> Any:
    zero = call(operator.eq, u, 0.0)
    regular = root(call(torch.where, zero, 1.0, u, guard=2))
    return call(torch.where, zero, call(operator.mul, u, STEEP), regular, guard=2)
