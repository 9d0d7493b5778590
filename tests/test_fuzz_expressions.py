"""Any expression is refused in our own words, or shown, stored and computed as what it is: at once.

A short run that is the same every time; `pytest tests/test_fuzz_expressions.py --fuzz 20000` draws
so many others. No call may take more than five seconds of one core, and the process no more than
512 MiB beside what it had.
"""

from __future__ import annotations

import json
import math
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from expressions import Drawn, expressions
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded

from symcompile import Equation, SymCompileError
from symcompile.errors import ExpressionError
from symcompile.expressions.canonical import UNUSABLE, canonical
from symcompile.expressions.complexity import complexity
from symcompile.expressions.evaluation import Array, jacobian, trace, value_rules
from symcompile.expressions.fold import fold
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.parser import parse
from symcompile.expressions.size_limits import check_equation
from symcompile.lowering.block import lower, trainable
from symcompile.modules.region import Interface, Parameter, Region, TensorInput, TensorOutput
from symcompile.target import Target

SECONDS, MEMORY = 5.0, 512 * 2**20
PRODUCTS = ("mul", "div", "power", "pow", "exp")
# torch squares their arguments for a slope, which then is 0 where the square is infinite.
SQUARING = ("asinh", "acosh")
POINTS = np.random.default_rng(0).uniform(-3.0, 3.0, (24, 4))


@contextmanager
def at_once(what: str) -> Iterator[None]:
    """Fails after the time of one core, also where nothing would ever come back."""

    def late(*_: object) -> None:
        pytest.fail(f"{what} took more than {SECONDS} s")  # nothing catches what this raises

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGPROF, before)


def read(drawn: Drawn) -> Equation | None:
    """None where it is refused."""
    operators = OperatorSet.of(list(drawn.operators))
    try:
        with at_once("reading"):
            return Equation.of(parse(drawn.text, drawn.names), drawn.names, operators)
    except SymCompileError:
        return None


def points(equation: Equation) -> Array:
    return POINTS[:, : len(equation.symbols)]


def values(equation: Equation) -> Array:
    return equation.predict(points(equation))


def known(equation: Equation) -> Array:
    """Values where float64 knows them: they are the same where each step is rounded otherwise. NaN
    elsewhere."""
    found = values(equation)
    sound = np.isfinite(found) & ~out_of_range(equation)
    for seed in (0, 1):
        near = rounded_otherwise(equation, np.random.default_rng(seed))
        with np.errstate(all="ignore"):
            sound &= np.abs(near - found) <= 1e-8 * np.abs(found)
    return np.where(sound, found, np.nan)


def rounded_otherwise(equation: Equation, random: np.random.Generator) -> Array:
    """Values [n_points] where the result of every operation is off by up to 1e-13 of itself."""
    program = equation.program

    def off(rule: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any) -> Any:
            value, factor = rule(*args), 1.0 + 1e-13 * random.uniform(-1.0, 1.0)
            return value if np.asarray(value).dtype == bool else value * factor

        return step

    rules = value_rules(points(equation), equation.constants)
    with np.errstate(all="ignore"):
        steps = fold(program.instructions, {op: off(rule) for op, rule in rules.items()})
    return np.broadcast_to(steps[program.outputs[0]], len(POINTS))


def out_of_range(equation: Equation) -> Array:
    """Where a number on the way is so small that digits are lost, or could be, or so large that it
    is infinite, in a product of the same factors in another order: that decides on the rest, also
    where nothing is left of it."""
    program = equation.program
    with np.errstate(all="ignore"):
        steps = trace(program, points(equation), equation.constants)
    lost = np.zeros(len(POINTS), dtype=bool)
    for one, value in zip(program.instructions, steps, strict=True):
        gone = one.op in PRODUCTS and all(np.all(steps[k] != 0) for k in one.args)
        lost |= (np.abs(value) < np.finfo(np.float64).tiny) & ((value != 0) | gone)
        if one.op in SQUARING:
            lost |= np.abs(steps[one.args[0]]) > 1e150
        if one.op == "mul":
            sizes = [np.abs(steps[k]) for k in one.args]
            small = [np.where((size == 0) | (size > 1), 1.0, size) for size in sizes]
            with np.errstate(all="ignore"):
                lost |= math.prod(small) < np.finfo(np.float64).tiny
                lost |= np.isinf(math.prod(np.maximum(size, 1.0) for size in sizes))
    return lost


def assert_same(found: Array, expected: Array, size: float = 0.0) -> None:
    """Where both are known. Digits may cancel in few places where rounding has not shown it."""
    both = np.isfinite(found) & np.isfinite(expected)
    with np.errstate(all="ignore"):
        room = 1e-6 * np.maximum(np.abs(expected[both]), size) + 1e-300
        same = np.abs(found[both] - expected[both]) <= room
    assert same.sum() >= 0.8 * len(same)


def is_canonical(equation: Equation, drawn: Drawn) -> None:
    operators = OperatorSet.of(list(drawn.operators))
    try:
        form, constants = canonical(equation.form, equation.constants, operators)
        found = known(Equation(form, equation.symbols, constants, 1))
    except UNUSABLE:  # what callers expect
        return
    assert complexity(form, operators) <= equation.complexity
    assert_same(found, known(equation))


def is_shown(equation: Equation, drawn: Drawn) -> None:
    try:
        again = Equation.of(
            parse(equation.text(17), equation.symbols),
            equation.symbols,
            OperatorSet.of(list(drawn.operators)),
        )
    except ExpressionError:  # longer with all digits than a text may be
        return
    assert_same(known(again), known(equation))
    equation.latex()
    equation.to_python()


def is_stored(equation: Equation, drawn: Drawn) -> None:
    stored = json.loads(json.dumps(equation.to_json()))
    try:
        check_equation(stored)
    except ExpressionError:
        return
    assert_same(values(Equation.from_json(stored)), known(equation))


def is_lowered(equation: Equation, drawn: Drawn) -> None:
    n = len(equation.symbols)
    interface = Interface((Parameter("x"),), (TensorInput("x", (), n),), (TensorOutput(1),))
    region = Region("part", Target("part"), interface, equation.symbols)
    try:
        lowered = lower(region, {0: equation}, dtype=torch.float64)
    except SymCompileError:
        return
    trainable(lowered.module, True)
    value = lowered.module(torch.tensor(points(equation)))[:, 0]
    expected = known(equation)
    assert_same(value.detach().numpy(), expected)
    # Where two arguments of a min are equal, either slope is right, and so is any between them.
    kinks = any(one.op in ("min", "max") for one in equation.program.instructions)
    if value.requires_grad and not kinks:
        value.sum().backward()
        _, slopes = jacobian(equation.program, points(equation), equation.constants)
        for (_, index), place in lowered.places.items():
            gradient = lowered.module.get_parameter(place.tensor).grad
            found = np.zeros(1) if gradient is None else gradient.reshape(-1)[[place.position]]
            column = slopes[:, index]
            # Where one sample is at a pole, so is the sum.
            if np.isfinite(column).all() and np.isfinite(expected).all():
                size = size_of(column, expected, equation.constants[index])
                assert_same(np.asarray(found), column.sum(keepdims=True), size)


@np.errstate(all="ignore")
def size_of(slopes: Array, values_: Array, constant: float) -> float:
    """Of what a slope by a constant is the sum of: parts are as large as the value by the constant,
    however small they come to be together."""
    parts = np.abs(values_).sum() / np.float64(abs(constant) or 1.0)
    return float(np.abs(slopes).sum() + 1e-6 * parts)


CHECKS: tuple[Callable[[Equation, Drawn], None], ...] = (
    is_canonical,
    is_shown,
    is_stored,
    is_lowered,
)


def memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_expressions(request: pytest.FixtureRequest) -> None:
    many, before = request.config.getoption("--fuzz"), memory()

    @seeded(request.config.getoption("--fuzz-seed"))
    @settings(
        max_examples=many or 100,
        derandomize=not many,
        database=None,
        deadline=None,
        # What fails in a long run is worth its own look, more than minutes of shrinking.
        phases=[Phase.generate] if many else list(Phase),
        suppress_health_check=list(HealthCheck),
    )
    @given(expressions())
    def each(drawn: Drawn) -> None:
        equation = read(drawn)
        for check in CHECKS if equation is not None else ():
            with at_once(check.__name__):
                check(equation, drawn)

    each()
    assert memory() - before < MEMORY


@pytest.mark.parametrize("levels", [4, 30])
def test_the_longest_towers(levels: int) -> None:
    """Each shape of a tower by itself, as high as it gets."""
    from expressions import TOWERS

    for shape in TOWERS:
        text = "x"
        for k in range(levels):
            longer = shape.format(text, ["y", "0.7", "x", "1.3"][k % 4])
            if len(longer) > 5_000:
                break
            text = longer
        drawn = Drawn(text, ("x", "y"), ("+", "*", "-", "/", "square", "sqrt", "sin", "exp"))
        equation = read(drawn)
        for check in CHECKS if equation is not None else ():
            with at_once(f"{check.__name__} of {shape}"):
                check(equation, drawn)
