"""What a file says of an equation must be true of it: every spelling of the same, and no other."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import numpy as np
import pytest
import sympy

from symcompile.errors import ArtifactError, SymCompileError
from symcompile.errors import shown as shown_in_messages
from symcompile.expressions.equation import Equation
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.operators import OPERATORS as TABLE
from symcompile.storage import equations
from symcompile.storage.codecs import without_nan
from symcompile.storage.equations import (
    EQUATION_ROW,
    EquationRow,
    check_complexity,
    check_probes,
    check_work,
)

NAMES = ("x0", "x1", "theta")
SYMBOLS = [sympy.Symbol(name) for name in NAMES]
OPERATORS = OperatorSet.of(["+", "-", "*", "/", "sin", "exp", "pow", "min", "max", "abs"])
COSTS = OPERATORS.to_dict()
_NAMES = "neg exp log sqrt sin cos tan atan sinh cosh tanh erf abs sign floor ceil"
FUNCTIONS = [TABLE[op].build for op in _NAMES.split(" ")]


def equation(text: str) -> Equation:
    return Equation.of(sympy.sympify(text), NAMES, OPERATORS)


def stored(one: Equation, **changes: Any) -> dict[str, Any]:
    """What files say of an equation."""
    said = without_nan(EQUATION_ROW.write(EquationRow.for_people(one))) | {"form": str(one.form)}
    return json.loads(json.dumps(said)) | changes


def read(row: dict[str, Any], costs: Any = COSTS) -> Equation:
    found: EquationRow = EQUATION_ROW.read(row)
    made = found.checked()
    check_complexity(found, made, {"operators": costs})
    return made


class Expressions:
    """Random expressions over all operators."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def number(self) -> sympy.Expr:
        exact = [sympy.Integer(3), sympy.Rational(-2, 7), sympy.pi, sympy.E]
        value = self.random.gauss(0, 1) * 10 ** self.random.randint(-9, 9)
        return self.random.choice([*exact, *[sympy.Float(value)] * 4])

    def test(self, depth: int) -> Any:
        relation = self.random.choice([sympy.Lt, sympy.Ge, sympy.Eq, sympy.Ne])
        a, b = self.of(depth - 1), self.of(depth - 1)
        found = relation(a, b + 1 if a == b else b)
        if depth > 0 and self.random.random() < 0.4:
            join = self.random.choice([sympy.And, sympy.Or])
            return join(found, sympy.Not(self.test(depth - 1)))
        return found

    def of(self, depth: int) -> sympy.Expr:
        if depth <= 0 or self.random.random() < 0.15:
            return self.random.choice([*SYMBOLS, *SYMBOLS, self.number()])

        def x() -> sympy.Expr:
            return self.of(depth - 1)

        # Only the one that is taken is built.
        choices = [lambda: x() + x() - x(), lambda: x() * x() * x(), lambda: x() / x()]
        choices += [lambda: x() ** 2, lambda: sympy.sqrt(x()), lambda: x() ** 2.5]
        choices += [lambda: 1 / x(), lambda: x() ** x(), lambda: sympy.Min(x(), x())]
        choices += [lambda: sympy.Max(x(), x(), x())]
        choices += [lambda: sympy.Rational(4, 7) * (x() + x()) / x()]
        choices += [lambda: self.random.choice(FUNCTIONS)(x())] * 4
        choices += [lambda: sympy.Piecewise((x(), self.test(depth - 1)), (x(), True))]
        return self.random.choice(choices)()


@pytest.mark.parametrize("seed", range(4))
def test_whatever_we_write_is_read(seed: int) -> None:
    expressions, count = Expressions(seed), 0
    while count < 40:
        try:
            one = Equation.of(expressions.of(3), NAMES, OPERATORS)
            said = stored(one)
        except (SymCompileError, TypeError, ValueError, RecursionError):
            continue  # what no equation can hold: 1/0, or the comparison of complex numbers
        if not all(map(np.isfinite, one.constants)) or "nan" in said["equation"]:
            continue
        found = read(said)
        points = np.random.default_rng(0).uniform(0.5, 2.0, (20, 3))
        np.testing.assert_allclose(found.predict(points), one.predict(points), rtol=1e-9)
        count += 1


LAW = "1.23456789*sin(0.25*x0) + x1**2/(theta - 7.5) + Max(0.5, x0)"


@pytest.mark.parametrize(
    "text",
    [
        "x1**2/(theta - 7.5) + 1.23457*sin(0.25*x0) + Max(0.5, x0)",
        "Max(x0, 0.5) + sin(x0*0.25)*1.23457 + x1**2/(-7.5 + theta)",
        "Max(5.0e-1, x0) + sin(0.250000*x0)*1.234568 + x1**2*(theta - 7.5)**(-1)",
    ],
)
def test_spellings_of_the_same(text: str) -> None:
    found = read(stored(equation(LAW), equation=text))
    assert found.constants == equation(LAW).constants


@pytest.mark.parametrize(
    "text",
    [
        "1.2346*sin(0.25*x0) + x1**2/(theta - 7.5) + Max(0.5, x0)",
        "1.23457*sin(0.25*x1) + x1**2/(theta - 7.5) + Max(0.5, x0)",
        "1.23457*sin(0.25*x0) + x1**2/(theta + 7.5) + Max(0.5, x0)",
        "1.23457*sin(0.25*x0) + x1**2/(theta - 7.5) + Min(0.5, x0)",
        "1.23457*sin(0.25*x0) + x1**3/(theta - 7.5) + Max(0.5, x0)",
        "1.23457*sin(0.25*x0) + x1**2/(theta - 7.5)",
        "1.23457*sin(0.25*x0) + x1**2/(theta - 7.5) + Max(0.5, x0) + 0.0000001",
        "",
        "x0.__class__",
    ],
)
def test_texts_of_something_else(text: str) -> None:
    with pytest.raises(ArtifactError, match=r"^was edited: its text says .*, its program comput"):
        read(stored(equation(LAW), equation=text))


def test_a_case_that_no_sample_meets_is_seen() -> None:
    """The program does something else beyond 1e9, which the text does not say."""
    hidden = Equation.of(
        sympy.Piecewise((5.0, SYMBOLS[0] > 1.0e9), (SYMBOLS[0], True)), NAMES, OPERATORS
    )
    with pytest.raises(ArtifactError, match="was edited"):
        read(stored(hidden, equation="x0"))


def test_slots_of_a_form_are_no_names_of_variables() -> None:
    one = Equation.of(2.5 * sympy.Symbol("slot0") + 0.5, ("slot0", "slot_"), OPERATORS)
    said = stored(one, form="c[1]*slot0 + c[0]")
    assert read(said).form == one.form
    with pytest.raises(ArtifactError, match="its form says"):
        read(said | {"form": "slot0*slot1 + slot0"})


def test_complexity_is_that_of_the_search() -> None:
    one = equation(LAW)
    with pytest.raises(ArtifactError, match=f"its program has {one.complexity}"):
        read(stored(one, complexity=one.complexity - 1))
    other = stored(one, complexity=one.complexity - 1)
    assert read(other, {"an operator of its own": 2}).complexity == one.complexity - 1


def test_all_equations_of_a_file_share_one_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    program = equation(LAW).program.to_json()
    check_work([("it", program)] * 50)
    monkeypatch.setattr(equations, "MAX_WORK", 500)
    with pytest.raises(ArtifactError, match="more than 500 steps"):
        check_work([("it", program)] * 50)


def numbers(values: list[float | None]) -> list[float]:
    return [math.nan if value is None else value for value in values]


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_values_at_the_probes(scale: float) -> None:
    one = Equation.of(scale * sympy.log(SYMBOLS[0]), NAMES, OPERATORS)
    points = np.array([[1.0, 0, 0], [3.0, 0, 0], [-1.0, 0, 0]])
    values: list[float | None] = [0.0, scale * math.log(3.0), None]
    check_probes(numbers(values), one, points)
    check_probes(numbers([1e-10 * scale, values[1], None]), one, points)
    first, second, _ = values
    others = [[1e-6 * scale, second, None], [None, second, None], [first, second, 0.0], values[:2]]
    for wrong in others:
        with pytest.raises(ArtifactError, match=r"^(was edited|has 2 values)"):
            check_probes(numbers(wrong), one, points)


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        ([1] * 10**6, "a list of 1000000"),
        ({"a": 1}, "an object of 1"),
        ("x" * 100, "'" + "x" * 60 + "'..."),
        (10**1000, "a number of 3322 bits"),
        (None, "null"),
        ("\x1b[0m", r"'\x1b[0m'"),
        (1.5, "1.5"),
    ],
)
def test_values_in_messages_are_short(data: Any, shown: str) -> None:
    assert shown_in_messages(data) == shown
