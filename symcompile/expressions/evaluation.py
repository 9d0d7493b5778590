"""Evaluate a program with numpy in float64: values, and derivatives by constants.

Invalid operations give NaN or infinity, never an exception: the caller decides what they mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np
from scipy import special

from symcompile.expressions.program import Program, number_value

Array = np.ndarray[Any, np.dtype[Any]]

UNARY: dict[str, Callable[..., Any]] = {
    "neg": np.negative,
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "tanh": np.tanh,
    "erf": special.erf,
    "abs": np.abs,
    "sign": np.sign,
    "floor": np.floor,
    "ceil": np.ceil,
    "not": np.logical_not,
}

FOLDS: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "mul": np.multiply,
    "min": np.minimum,
    "max": np.maximum,
    "and": np.logical_and,
    "or": np.logical_or,
    "sub": np.subtract,
    "div": np.divide,
    "pow": np.power,
    "lt": np.less,
    "le": np.less_equal,
    "eq": np.equal,
}

# Derivative of a function by its argument, given argument a and value v.
_SLOPES: dict[str, Callable[[Any, Any], Any]] = {
    "neg": lambda a, v: -1.0,
    "exp": lambda a, v: v,
    "log": lambda a, v: 1.0 / a,
    "sqrt": lambda a, v: 0.5 / v,
    "sin": lambda a, v: np.cos(a),
    "cos": lambda a, v: -np.sin(a),
    "tan": lambda a, v: 1.0 + v * v,
    "asin": lambda a, v: 1.0 / np.sqrt(1.0 - a * a),
    "acos": lambda a, v: -1.0 / np.sqrt(1.0 - a * a),
    "atan": lambda a, v: 1.0 / (1.0 + a * a),
    "sinh": lambda a, v: np.cosh(a),
    "cosh": lambda a, v: np.sinh(a),
    "tanh": lambda a, v: 1.0 - v * v,
    "erf": lambda a, v: 2.0 / np.sqrt(np.pi) * np.exp(-a * a),
    "abs": lambda a, v: np.sign(a),
    "sign": lambda a, v: 0.0,
    "floor": lambda a, v: 0.0,
    "ceil": lambda a, v: 0.0,
}


def evaluate(program: Program, X: Array, constants: Sequence[float] | Array) -> Array:
    """Values of every output, [n_samples, n_outputs], for X [n_samples, n_inputs]."""
    with np.errstate(all="ignore"):
        values = trace(program, X, constants)
    out = np.empty((X.shape[0], len(program.outputs)))
    for position, index in enumerate(program.outputs):
        out[:, position] = values[index]
    return out


def trace(program: Program, X: Array, constants: Sequence[float] | Array) -> list[Any]:
    """The value of every instruction: a scalar, or an array [n_samples]."""
    values: list[Any] = []
    for op, args, value in program.instructions:
        values.append(_step(op, [values[a] for a in args], value, X, constants))
    return values


def _step(op: str, args: list[Any], value: Any, X: Array, constants: Any) -> Any:
    if op == "input":
        return X[:, value]
    if op == "slot":
        return np.float64(constants[value])
    if op == "number":
        return np.float64(number_value(value))
    if op == "power":
        return args[0] ** value
    if op == "where":
        return np.where(*args)
    if op in UNARY:
        return UNARY[op](args[0])
    return reduce(FOLDS[op], args)


def jacobian(program: Program, X: Array, constants: Sequence[float] | Array) -> tuple[Array, Array]:
    """Value [n_samples] of the first output, and its derivative by each constant
    [n_samples, n_slots], by forward-mode differentiation."""
    values, slopes = _forward(program, X, constants)
    last = program.outputs[0]
    J = np.zeros((X.shape[0], program.n_slots))
    for column, slope in slopes[last].items():
        J[:, column] = slope
    return np.broadcast_to(values[last], (X.shape[0],)).astype(float), J


def _forward(
    program: Program, X: Array, constants: Sequence[float] | Array
) -> tuple[list[Any], list[dict[int, Any]]]:
    """Values of all instructions, and their derivatives by the constants."""
    with np.errstate(all="ignore"):
        values = trace(program, X, constants)
        slopes: list[dict[int, Any]] = []
        for position, (op, args, value) in enumerate(program.instructions):
            if op == "slot":
                slopes.append({value: 1.0})
            else:
                slopes.append(_chain(op, args, value, values, position, slopes))
    return values, slopes


def _chain(
    op: str,
    args: tuple[int, ...],
    value: Any,
    values: list[Any],
    position: int,
    slopes: list[dict[int, Any]],
) -> dict[int, Any]:
    """Sum over arguments of partial derivative times the argument's own derivative."""
    total: dict[int, Any] = {}
    for which, argument in enumerate(args):
        if not slopes[argument]:
            continue
        partial = _partial(op, which, [values[a] for a in args], values[position], value)
        for column, slope in slopes[argument].items():
            term = partial * slope
            total[column] = total[column] + term if column in total else term
    return total


def _partial(op: str, which: int, args: list[Any], result: Any, value: Any) -> Any:
    if op in _SLOPES:
        return _SLOPES[op](args[0], result)
    if op == "add":
        return 1.0
    if op == "sub":
        return 1.0 if which == 0 else -1.0
    if op == "mul":
        return reduce(np.multiply, [a for i, a in enumerate(args) if i != which])
    if op == "div":
        return 1.0 / args[1] if which == 0 else -result / args[1]
    if op == "power":
        return value * args[0] ** (value - 1)
    if op == "pow":
        base, exponent = args
        return exponent * base ** (exponent - 1.0) if which == 0 else result * np.log(base)
    if op in ("min", "max"):
        return np.equal(args[which], result).astype(float)
    if op == "where" and which > 0:
        return np.where(args[0], which == 1, which == 2).astype(float)
    return 0.0
