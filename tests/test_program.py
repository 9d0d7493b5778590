"""Programs: flat, verified, and the same equation after every round trip."""

import json
from typing import Any

import numpy as np
import pytest
import sympy

from symcompile.errors import ExpressionError, LoweringError
from symcompile.expressions.evaluation import evaluate
from symcompile.expressions.fold import LEAVES, Instruction, number_value
from symcompile.expressions.operators import OPERATORS
from symcompile.expressions.parser import parse
from symcompile.expressions.program import (
    Program,
    count_operators,
    from_sympy,
    to_sympy,
)
from symcompile.expressions.slots import slot

x, y = sympy.symbols("x y")
c0, c1 = slot(0), slot(1)
I = Instruction  # noqa: E741

FORMS: dict[str, Any] = {
    "input": x,
    "slot": c0,
    "number": x + 2,
    "rational": x + sympy.Rational(1, 3),
    "float": x + sympy.Float(0.1),
    "pi and e": x * sympy.pi + sympy.E,
    "add": x + y + c0,
    "sub": x - y,
    "sub of sum": x + 1 - (y + c0),
    "neg": -x,
    "neg of sum": -x - y,
    "mul": x * y * c0,
    "div": x / y,
    "div of products": x * c0 / (y * c1),
    "inv": 1 / x,
    "inv of product": 1 / (x * y),
    "pow": x**y,
    "pow of a float": x ** sympy.Float(1.5),
    "negative power": x**-3,
    "inverse root": 1 / sympy.sqrt(x),
    "third root": sympy.cbrt(x),
    "power": x**5,
    "large power": x**100,
    "power of a sum": (x + c0) ** 2,
    "min": sympy.Min(x, y, c0),
    "max": sympy.Max(x, y),
    "where": sympy.Piecewise((x, x < y), (y, True)),
    "nested where": sympy.Piecewise((1, x < 0), (x, x <= 1), (2, True)),
    "gt": sympy.Piecewise((x, x > y), (y, True)),
    "ge": sympy.Piecewise((x, x >= y), (y, True)),
    "eq": sympy.Piecewise((x, sympy.Eq(x, y)), (y, True)),
    "ne": sympy.Piecewise((x, sympy.Ne(x, y)), (y, True)),
    "and": sympy.Piecewise((x, (x < y) & (y < 1)), (y, True)),
    "or": sympy.Piecewise((x, (x < y) | (y < 1)), (y, True)),
    "not": sympy.Piecewise((x, ~(sympy.Eq(x, y) & (x < 1))), (y, True)),
} | {
    op: row.build(*(x, y)[: row.arity])
    for op, row in OPERATORS.items()
    if op == row.name and op not in ("neg", "min", "max", "pow")
}


@pytest.mark.parametrize("name", FORMS)
def test_round_trip(name: str) -> None:
    form = sympy.sympify(FORMS[name])
    program = from_sympy([form], ["x", "y"], 2)
    stored = json.loads(json.dumps(program.to_json()))
    again = Program.from_json(stored)
    assert again == program
    assert to_sympy(again, ["x", "y"]) == [form]


def test_the_forms_use_every_operation() -> None:
    used = {i.op for form in FORMS.values() for i in from_sympy([form], ["x", "y"], 2).instructions}
    assert used == {*LEAVES, *OPERATORS}


def test_common_parts_stand_once_across_outputs() -> None:
    shared = sympy.sin(x * c0)
    program = from_sympy([shared + 1, shared * y], ["x", "y"], 1)
    assert [i.op for i in program.instructions].count("sin") == 1
    assert to_sympy(program, ["x", "y"]) == [shared + 1, shared * y]


def test_an_exact_number_is_not_taken_for_a_rounded_one() -> None:
    forms = [x + 2, y + sympy.Float(2.0)]
    assert sympy.srepr(to_sympy(from_sympy(forms, ["x", "y"], 0), ["x", "y"])[0]) == sympy.srepr(
        forms[0]
    )


BROKEN: dict[str, tuple[tuple[Instruction, ...], tuple[Any, ...], str]] = {
    "unknown operation": ((I("system"),), (0,), "unknown operation"),
    "too few": ((I("input", (), 0), I("add", (0,))), (1,), "expected 2 or more"),
    "wrong arity": ((I("input", (), 0), I("sin", (0, 0))), (1,), "has 2 arguments, expected 1"),
    "leaf with arguments": ((I("input", (), 0), I("input", (0,), 0)), (1,), "expected 0"),
    "refers to itself": ((I("sin", (0,)),), (0,), "do not stand before it"),
    "refers ahead": ((I("sin", (1,)), I("input", (), 0)), (0,), "do not stand before it"),
    "negative": ((I("input", (), 0), I("sin", (-1,))), (1,), "do not stand before it"),
    "bool as place": ((I("input", (), 0), I("sin", (False,))), (1,), "do not stand before it"),
    "no such column": ((I("input", (), 2),), (0,), "column 2 of 2"),
    "column is a bool": ((I("input", (), True),), (0,), "column True"),
    "no such constant": ((I("slot", (), 1),), (0,), "constant 1 of 1"),
    "power too low": ((I("input", (), 0), I("power", (0,), 1)), (1,), "exponent 1"),
    "power too high": ((I("input", (), 0), I("power", (0,), 65)), (1,), "exponent 65"),
    "power not whole": ((I("input", (), 0), I("power", (0,), 2.0)), (1,), "exponent 2.0"),
    "number is text": ((I("number", (), "tau"),), (0,), "not a finite number"),
    "number is a bool": ((I("number", (), True),), (0,), "not a finite number"),
    "number is NaN": ((I("number", (), float("nan")),), (0,), "not a finite number"),
    "number is infinite": ((I("number", (), float("inf")),), (0,), "not a finite number"),
    "number is too large": ((I("number", (), 10**400),), (0,), "not a finite number"),
    "over zero": ((I("number", (), (1, 0)),), (0,), "not a finite number"),
    "fraction of floats": ((I("number", (), (1.0, 2.0)),), (0,), "not a finite number"),
    "value not asked for": ((I("input", (), 0), I("sin", (0,), 3)), (1,), "expected none"),
    "truth as number": (
        (I("input", (), 0), I("lt", (0, 0)), I("sin", (1,))),
        (2,),
        "argument 0 is a truth value",
    ),
    "number as truth": ((I("input", (), 0), I("not", (0,))), (1,), "argument 0 is a number"),
    "number as condition": (
        (I("input", (), 0), I("where", (0, 0, 0))),
        (1,),
        "argument 0 is a number",
    ),
    "truth as output": ((I("input", (), 0), I("lt", (0, 0))), (1,), "output is a truth value"),
    "no such output": ((I("input", (), 0),), (1,), "not instructions"),
    "output is text": ((I("input", (), 0),), ("0",), "not instructions"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_verify_refuses(name: str) -> None:
    code, outputs, reason = BROKEN[name]
    with pytest.raises(ExpressionError, match=reason):
        Program(code, outputs, 2, 1)


@pytest.mark.parametrize("counts", [(-1, 0), (1.0, 0), (True, 0), (1, None)])
def test_verify_refuses_counts(counts: tuple[Any, Any]) -> None:
    with pytest.raises(ExpressionError, match="whole number from 0"):
        Program((), (), *counts)


@pytest.mark.parametrize(
    "stored",
    [
        None,
        [],
        "x + 1",
        {},
        {"code": 3, "outputs": [], "n_inputs": 0, "n_slots": 0},
        {"code": [3], "outputs": [], "n_inputs": 0, "n_slots": 0},
        {"code": [["input"]], "outputs": [], "n_inputs": 0, "n_slots": 0},
        {"code": [[["input"], [], 0]], "outputs": [0], "n_inputs": 1, "n_slots": 0},
        {"code": [["input", [], {}]], "outputs": [0], "n_inputs": 1, "n_slots": 0},
        {"code": [["number", [], [[1], 2]]], "outputs": [0], "n_inputs": 1, "n_slots": 0},
        {"code": [], "outputs": None, "n_inputs": 0, "n_slots": 0},
        {"code": [["input", [], 0]], "outputs": [0], "n_inputs": "1", "n_slots": 0},
    ],
    ids=repr,
)
def test_from_json_refuses_other_data(stored: Any) -> None:
    with pytest.raises(ExpressionError):
        Program.from_json(stored)


@pytest.mark.parametrize(
    ("form", "found"),
    [
        (sympy.gamma(x), "gamma"),
        (sympy.I * x, "I is not a real number"),
        (sympy.oo + x, "not a real number"),
        (sympy.Piecewise((x, x < 1)), "leaves a case open"),
    ],
)
def test_what_torch_has_no_counterpart_for(form: Any, found: str) -> None:
    with pytest.raises(LoweringError, match=found):
        from_sympy([form], ["x"], 0)


def test_unknown_symbols_and_truth_values() -> None:
    with pytest.raises(ExpressionError, match="unknown symbol 'z': the inputs are x, y"):
        from_sympy([sympy.Symbol("z")], ["x", "y"], 0)
    with pytest.raises(ExpressionError, match="truth value"):
        from_sympy([x < 1], ["x"], 0)


def test_number_value() -> None:
    assert number_value(3) == 3.0
    assert number_value((1, 3)) == 1 / 3
    assert number_value("pi") == np.pi
    assert number_value("e") == np.e


def test_long_programs_are_verified_and_evaluated_without_recursion() -> None:
    depth = 100_000
    code = (I("input", (), 0), *(I("neg", (k,)) for k in range(depth)))
    program = Program(code, (depth,), 1, 0)
    np.testing.assert_array_equal(evaluate(program, np.array([[2.0], [3.0]]), ()), [[2.0], [3.0]])


@pytest.mark.parametrize(
    ("text", "operators"),
    [("x0", 0), ("1.5*x0*x1", 2), ("x0 + x1 + 2.5", 2), ("sin(x0) + sin(x0)*x1", 3), ("x0**2", 1)],
)
def test_operators_are_counted_between_arguments(text: str, operators: int) -> None:
    names = ["x0", "x1"]
    assert count_operators(from_sympy([parse(text, names)], names, 0)) == operators
