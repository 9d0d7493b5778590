"""Comparing two equations: each pair gets its class, the same in both directions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import sympy
from children import Child
from equations_compared import OPERATORS, SYMBOLS, box, equation, output

from symcompile.diff.equations import compare_equations
from symcompile.diff.equations.proof import PROOF_STEPS, Steps
from symcompile.diff.result import Change, EquationDiff
from symcompile.diff.snapshot import Accuracy, Output
from symcompile.expressions.equation import Equation
from symcompile.expressions.evaluation import Array
from symcompile.expressions.operator import Operator
from symcompile.expressions.operators import VOCABULARY
from symcompile.expressions.slots import slot

SIGNATURE, CHANGED, ADDED, REMOVED, DRIFTED, WEIGHTS, REWRITTEN, IDENTICAL = Change

TANH = "(exp(1.5*x) - exp(-1.5*x))/(exp(1.5*x) + exp(-1.5*x))"

PAIRS = [
    # The same.
    ("0.5*y + 2.5*x", "2.5*x + 0.5*y", IDENTICAL),
    ("2.5*sin(x)*y", "y*2.5*sin(x)", IDENTICAL),
    ("exp(x)*exp(2*x)", "exp(3*x)", IDENTICAL),
    ("x*x*x", "x**3", IDENTICAL),
    ("sqrt(x)", "x**0.5", IDENTICAL),
    ("Max(x, y)", "Max(y, x)", IDENTICAL),
    ("Min(x, 0.5, y)", "Min(0.5, y, x)", IDENTICAL),
    ("2*x*y", "2.0*x*y", IDENTICAL),
    ("x/3", "0.3333333333333333*x", IDENTICAL),
    ("2.5", "2.5", IDENTICAL),
    ("sin(-1.5*x)", "-sin(1.5*x)", IDENTICAL),
    ("where(x < 0.5, 1.5*x, 2.5*y)", "where(0.5 > x, x*1.5, y*2.5)", IDENTICAL),
    # The same function in another form.
    ("x*(y + 1)", "x*y + x", REWRITTEN),
    ("1.5*x*(y + 2.5)", "1.5*x*y + 3.75*x", REWRITTEN),
    ("(x + y)**2", "x**2 + 2*x*y + y**2", REWRITTEN),
    ("2.5*x**2 + 1.5*x + 0.3", "(2.5*x + 1.5)*x + 0.3", REWRITTEN),
    ("0.1*(x + 0.2)*(y + 0.3)", "0.1*x*y + 0.03*x + 0.02*y + 0.006", REWRITTEN),
    ("sin(x + y)", "sin(x)*cos(y) + cos(x)*sin(y)", REWRITTEN),
    ("sin(x)**2 + cos(x)**2", "1", REWRITTEN),
    ("cos(2*x)", "1 - 2*sin(x)**2", REWRITTEN),
    ("exp(x)*exp(y)", "exp(x + y)", REWRITTEN),
    ("log(x*y)", "log(x) + log(y)", REWRITTEN),
    ("tanh(1.5*x)", TANH, REWRITTEN),
    ("x/2", "0.5*x", REWRITTEN),
    ("sqrt(x**2)", "abs(x)", REWRITTEN),
    ("sqrt(x*y)", "sqrt(x)*sqrt(y)", REWRITTEN),
    ("1/x + 1/y", "(x + y)/(x*y)", REWRITTEN),
    ("x/(x + 1) + y", "(x + x*y + y)/(x + 1)", REWRITTEN),
    ("Max(x, y)", "(x + y + abs(x - y))/2", REWRITTEN),
    ("x + 1e-12*sin(y)", "x", REWRITTEN),
    ("2.1*sin(3.1*x + 0.3)", "-2.1*sin(3.1*x + 0.3 + 3.141592653589793)", REWRITTEN),
    ("where(x < 0.5, 1.5*x, 2.5*y)", "where(x >= 0.5, 2.5*y, 1.5*x)", REWRITTEN),
    ("round(x)", "floor(x + 0.5)", REWRITTEN),
    ("ceil(x)", "1 + floor(x)", REWRITTEN),
    ("mod(x, 0.7)", "x - 0.7*floor(x/0.7)", REWRITTEN),
    ("sign(x - 1)", "where(x < 1, -1, 1)", REWRITTEN),
    # Other constants.
    ("2.5*x*y", "2.5000000025*x*y", DRIFTED),
    ("2.5*x*y", "2.5025*x*y", DRIFTED),
    ("2.5*x*y", "3.5*x*y", DRIFTED),
    ("0.1*x + 0.2*y", "0.3*x + 0.2*y", DRIFTED),
    ("0.1*x + 0.2*y", "0.2*x + 0.1*y", DRIFTED),
    ("2.5*x + 2.5*y", "2.5*x + 2.6*y", DRIFTED),
    ("2.5*x + y", "-2.5*x + y", DRIFTED),
    ("-x + y", "-1.001*x + y", DRIFTED),
    ("2*x*y", "2.001*x*y", DRIFTED),
    ("x*y", "1.001*x*y", DRIFTED),
    ("x*y", "2*x*y", DRIFTED),
    ("sin(x)", "sin(1.001*x)", DRIFTED),
    ("x + 1", "x + 2", DRIFTED),
    ("x + 1", "x + 1.001", DRIFTED),
    ("x**2", "x**2.001", DRIFTED),
    ("x**1.5", "x**1.6", DRIFTED),
    ("2**x", "2.1**x", DRIFTED),
    ("2.5", "2.6", DRIFTED),
    ("2", "3", DRIFTED),
    ("3.141592653589793*x", "3.1416*x", DRIFTED),
    ("x/3", "0.3334*x", DRIFTED),
    ("Max(x, 0.5)", "Max(x, 0.7)", DRIFTED),
    ("Max(x, 0)", "Max(x, 0.7)", DRIFTED),
    ("Min(x, 5)", "Min(x, 7)", DRIFTED),  # equal on all points
    ("where(x < 0.5, 1.5*x, 2.5*y)", "where(x < 0.6, 1.5*x, 2.7*y)", DRIFTED),
    ("1.5*sin(2.5*x) + 3.5*sin(0.5*x)", "3.6*sin(0.51*x) + 1.6*sin(2.6*x)", DRIFTED),
    ("2*x + 2*y", "2.001*(x + y)", DRIFTED),
    ("2.5*(x + y)*t", "2.6*x*t + 2.6*y*t", DRIFTED),
    ("x*(y + 1.5)", "x*y + 1.6*x", DRIFTED),
    ("1.5*log(x - 5)", "1.6*log(x - 5)", DRIFTED),  # no values anywhere
    # Another law.
    ("x - y", "x + y", CHANGED),
    ("x + 1", "x - 1", CHANGED),
    ("x + 1.5*y", "1.5*x*y", CHANGED),
    ("1.5*x*y", "1.5*x/y", CHANGED),
    ("1.5*sin(x)", "1.5*cos(x)", CHANGED),
    ("sin(2*x + 1.1)", "cos(2*x + 1.1)", CHANGED),
    ("y - sin(2*x + 1.1)", "y + sin(2*x + 1.1)", CHANGED),
    ("1.5*x**2", "1.5*x**3", CHANGED),
    ("x**3 + x**2", "x**3 + x**4", CHANGED),
    ("2**x", "3**x", CHANGED),
    ("x", "x**1.001", CHANGED),
    ("1.5*x", "1.5*y", CHANGED),
    ("1.5*x", "1.5*x + 0.01*y", CHANGED),
    ("1.5*x", "1.5*x + 0.01", CHANGED),
    ("1.5*sin(x)", "1.5*sin(x + 0.01)", CHANGED),
    ("sin(x)", "sin(sin(x))", CHANGED),
    ("2.5", "2.5*x", CHANGED),
    ("Min(x, y)", "Max(x, y)", CHANGED),
    # The same but next to their jumps.
    ("round(x)*y", "round(x + 0.003)*y", CHANGED),
    ("floor(x)", "floor(x + 0.0001)", CHANGED),
    ("ceil(x)", "1 + floor(1.00001*x)", CHANGED),
    ("mod(x, 0.7)", "x - 0.7*floor(x/0.70001)", CHANGED),
    ("sign(x - 1)", "where(x < 1.00001, -1, 1)", CHANGED),
    ("where(x < 1, y, t)", "where(x**2 < 1.00001, y, t)", CHANGED),
    ("where(x < 1, y, t)", "where((x < 1) | (x**2 < 1.00001), y, t)", CHANGED),
    ("atan2(x - 1, -y)", "atan2(x**2 - 1.00001, -y*(x + 1.000005))", CHANGED),
    ("abs(x - y)", "x - y", CHANGED),
    ("where(x < 0.5, x, y)", "where(y < 0.5, x, y)", CHANGED),
    ("(x + 1.5)*(y + 2.5)", "x*y + 2.4*x + 1.4*y + 3.0", CHANGED),
    ("log(x - 1)", "log(abs(x - 1))", CHANGED),  # the same where both have values
    ("exp(40*t)", "exp(40*t) + 0.001*x", CHANGED),  # a small share of the largest value
]  # fmt: skip


def compared(
    old: str, new: str, points: Array | None = None, steps: float = PROOF_STEPS
) -> EquationDiff:
    points = box() if points is None else points
    return compare_equations("p", 0, output(old), output(new), points, Steps(steps))


@pytest.mark.parametrize(("old", "new", "change"), PAIRS, ids=lambda text: str(text)[:40])
def test_each_pair_gets_its_class_both_ways(old: str, new: str, change: str) -> None:
    there, back = compared(old, new, steps=5_000), compared(new, old, steps=5_000)
    assert (there.change, back.change) == (change, change)
    assert there.both("text") == back.both("text")[::-1]
    assert there.both("marks") == back.both("marks")[::-1]
    mirrored = sorted((one.new, one.old) for one in back.coefficients)
    assert sorted((one.old, one.new) for one in there.coefficients) == mirrored


@pytest.mark.parametrize("text", sorted({text for old, new, _ in PAIRS for text in (old, new)}))
def test_every_equation_is_identical_to_itself_from_a_file(text: str) -> None:
    one = output(text)
    stored = Output(Equation.from_json(one.equation.to_json()), one.operators)
    assert compare_equations("p", 0, one, stored, box()).change == IDENTICAL
    assert compare_equations("p", 0, stored, one, np.empty((0, 3))).change == IDENTICAL


@pytest.mark.parametrize("row", VOCABULARY.values(), ids=lambda row: row.name)
def test_constants_drift_in_every_operator(row: Operator) -> None:
    call = f"{row.name}({{}})" if row.name.isidentifier() else f" {row.name} ".join(("({})", "(y)"))
    other = ", y" if row.arity == 2 and row.name.isidentifier() else ""
    old, new = (f"1.5*t + {call.format(f'{value}*x + 0.3{other}')}" for value in (0.25, 0.26))
    found = compared(old, new)
    assert found.change == DRIFTED
    assert (0.25, 0.26) in {(abs(c.old), abs(c.new)) for c in found.coefficients}
    assert compared(old, old).change == IDENTICAL


CONSTANTS = [
    ("0.1*x + 0.2*y", "0.3*x + 0.2*y", {(0.1, 0.3), (0.2, 0.2)}),
    ("2.5*x + 2.5*y", "2.5*x + 2.6*y", {(2.5, 2.5), (2.5, 2.6)}),
    ("2.5*x + 2.5*y", "2.6*x + 2.6*y", {(2.5, 2.6)}),
    ("2*x*y", "2.001*x*y", {(2.0, 2.001)}),
    ("x*y", "1.001*x*y", {(1.0, 1.001)}),
    ("2.5*x + y", "-2.5*x + y", {(2.5, -2.5)}),
    ("x**2", "x**2.001", {(2.0, 2.001)}),
    ("3.141592653589793*x", "3.1416*x", {(math.pi, 3.1416)}),
    ("2*x + 2*y", "2.001*(x + y)", {(2.0, 2.001)}),
    ("x*(y + 1.5)", "x*y + 1.6*x", {(1.5, 1.6)}),
    ("2.5*(x + y)", "2.6*x + 2.6*y", {(2.5, 2.6)}),
    ("2", "3", {(2.0, 3.0)}),
]


@pytest.mark.parametrize(("old", "new", "expected"), CONSTANTS)
def test_constants_are_listed_old_to_new(
    old: str, new: str, expected: set[tuple[float, float]]
) -> None:
    assert {(one.old, one.new) for one in compared(old, new).coefficients} == expected
    assert {(one.new, one.old) for one in compared(new, old).coefficients} == expected


def test_only_equations_of_one_form_have_coefficients() -> None:
    assert compared("1.5*x*(y + 2.5)", "1.5*x*y + 3.75*x").coefficients == ()
    assert compared("1.5*x", "1.5*sin(x)").coefficients == ()
    assert [one.new for one in compared("1.5*x", "1.5*x").coefficients] == [1.5]


EVIDENCE = [
    ("x*(y + 1)", "x*y + x", "equal on 256 points, proven symbolically"),
    ("sin(x + y)", "sin(x)*cos(y) + cos(x)*sin(y)", "equal on 256 points, proven symbolically"),
    ("tanh(1.5*x)", TANH, "equal on 256 points, proven symbolically"),
    ("log(x*y)", "log(x) + log(y)", "equal on 256 points, not proven"),
    ("x + 1e-12*sin(y)", "x", "equal on 256 points, not proven"),
    ("x/2", "0.5*x", "the same form and constants, written in another way"),
    ("1.5*x", "1.5*x**2", "not equal on 256 points"),
    ("Min(x, 5)", "Min(x, 7)", "equal on 256 points, not proven"),
    ("2.5*x", "2.6*x", ""),
    ("2.5*x", "2.5*x", ""),
]


@pytest.mark.parametrize(("old", "new", "evidence"), EVIDENCE)
def test_evidence_says_how_it_was_decided(old: str, new: str, evidence: str) -> None:
    assert compared(old, new).evidence == evidence


NOWHERE = [
    ("x*(y + 1)", "x*y + x", REWRITTEN, "no points on which both have values, proven symbolically"),
    ("x*y", "x*y*t", CHANGED, "no points on which both have values, not equal on seeded ones"),
    ("2.5*x", "2.6*x", DRIFTED, ""),
    ("2.5*x", "2.5*x", IDENTICAL, ""),
    ("Max(x, y)", "(x + y + abs(x - y))/2", CHANGED,
     "no points on which both have values, not proven"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "change", "evidence"), NOWHERE)
@pytest.mark.parametrize("points", [np.empty((0, 3)), np.empty((0, 0)), np.ones((5, 2))])
def test_without_points_a_proof_decides(
    old: str, new: str, change: str, evidence: str, points: Array
) -> None:
    found = compared(old, new, points)
    assert (found.change, found.evidence) == (change, evidence)
    assert found.points == 0
    assert math.isnan(found.difference)


def test_without_steps_nothing_is_proven() -> None:
    found = compared("sin(x + y)", "sin(x)*cos(y) + cos(x)*sin(y)", steps=0)
    assert found.change == REWRITTEN
    assert found.evidence == "equal on 256 points, not proven in so many steps"
    assert compared("x*(y + 1)", "x*y + x", np.empty((0, 3)), steps=0).change == CHANGED


FEW = [
    ("x*y", "x + y", [[2.0, 2.0, 0.0]]),
    ("x**2", "2*x", [[2.0, 1.0, 0.0], [0.0, 1.0, 0.0]]),
    ("x*y", "2*y", [[2.0, y, 0.5] for y in np.linspace(0, 1, 100)]),
    ("1.5*sin(x)", "1.5*x", [[0.0, 0.0, 0.0]] * 300),
]


@pytest.mark.parametrize(("old", "new", "rows"), FEW)
def test_a_poor_choice_of_points_makes_no_two_laws_equal(
    old: str, new: str, rows: list[list[float]]
) -> None:
    found = compared(old, new, np.array(rows))
    assert found.change == CHANGED
    assert found.points > len(set(map(tuple, rows)))


def test_difference_is_a_share_of_the_old_ones_largest_value() -> None:
    points = box()
    found = compared("2.5*x", "3.0*x", points)
    assert found.difference == pytest.approx(0.2)
    assert found.points == 256
    assert compared("3.0*x", "2.5*x", points).difference == pytest.approx(1 / 6)


def test_equations_that_come_and_go() -> None:
    one = output("2.5*x")
    added = compare_equations("p", 1, None, one, box())
    removed = compare_equations("p", 1, one, None, box())
    assert (added.change, *added.both("text")) == (ADDED, None, "2.5*x")
    assert (removed.change, *removed.both("text")) == (REMOVED, "2.5*x", None)
    assert added.both("complexity") == (None, 3)
    assert removed.both("operators") == (3, None)
    assert added.coefficients == added.new.marks == ()


def test_what_is_known_of_each_side_is_passed_on() -> None:
    old = Output(equation("2.5*x"), 1, Accuracy(r2=0.5))
    new = Output(equation("2.5*sin(x)"), 2, Accuracy(r2=0.75))
    found = compare_equations("block", 3, old, new, box())
    assert (found.path, found.output) == ("block", 3)
    assert found.both("text") == ("2.5*x", "2.5*sin(x)")
    assert found.both("complexity") == (3, 6)
    assert found.both("operators") == (1, 2)
    assert (found.old.accuracy.r2, found.new.accuracy.r2) == (0.5, 0.75)
    assert found.both("marks") == (((4, 5),), ((4, 10),))


def test_variables_of_other_names_are_taken_in_order() -> None:
    old, new = output("2.5*x/y", ("x", "y")), output("2.5*a/b", ("a", "b"))
    assert compare_equations("p", 0, old, new, box()[:, :2]).change == IDENTICAL
    turned = output("2.5*b/a", ("a", "b"))
    assert compare_equations("p", 0, old, turned, box()[:, :2]).change == CHANGED


def test_variables_in_another_order_are_taken_by_name() -> None:
    old, new = output("2.5*x/y", ("x", "y")), output("2.5*x/y", ("y", "x"))
    found = compare_equations("p", 0, old, new, box()[:, :2])
    assert (found.change, found.difference) == (IDENTICAL, 0.0)


def test_equations_of_other_variables_have_no_points() -> None:
    old, new = output("2.5*x", ("x", "y")), output("2.5*x*t")
    found = compare_equations("p", 0, old, new, box())
    assert (found.change, found.points) == (CHANGED, 256)
    assert compare_equations("p", 0, old, new, box()[:, :2]).points == 0


def test_equations_without_variables() -> None:
    found = compare_equations("p", 0, output("2.5", ()), output("2.75", ()), np.empty((0, 0)))
    assert (found.change, found.difference) == (DRIFTED, pytest.approx(0.1))


def test_values_at_which_only_one_is_defined_are_a_difference() -> None:
    points = np.array([[x, 1.0, 1.0] for x in np.linspace(-2, 2, 200)])
    assert compared("log(x**2)", "2*log(x)", points).change == CHANGED
    assert compared("log(x**2)", "2*log(abs(x))", points).change == REWRITTEN


def test_constants_beyond_float64_are_not_taken_for_the_same() -> None:
    tower = slot(0) ** (slot(0) ** slot(0))
    sides = [Output(Equation(tower * sympy.Symbol("x"), SYMBOLS, (v,), 5), 3) for v in (9.5, 9.6)]
    assert compare_equations("p", 0, *sides, box()).change == DRIFTED
    assert compare_equations("p", 0, sides[0], sides[0], box()).change == IDENTICAL


def test_equal_constants_in_one_slot_or_in_two() -> None:
    x, y = sympy.symbols("x y")
    shared = Equation(slot(0) * x + slot(0) * y, SYMBOLS, (2.5,), 5)
    apart = Equation(slot(1) * x + slot(0) * y, SYMBOLS, (2.5, 2.5), 5)
    moved = apart.with_constants((2.5, 2.6))
    sides = [Output(one, 3) for one in (shared, apart, moved)]
    assert compare_equations("p", 0, sides[0], sides[1], box()).change == IDENTICAL
    found = compare_equations("p", 0, sides[0], sides[2], box())
    assert {(c.old, c.new, c.place) for c in found.coefficients} == {
        (2.5, 2.6, "#*x"),
        (2.5, 2.5, "#*y"),
    }


def wide(terms: int, scale: float = 1.0) -> Output:
    x, y = sympy.symbols("x y")
    sines = [
        sympy.Float(k + 0.5) * sympy.sin(sympy.Float((k + 0.25) * scale) * x) for k in range(terms)
    ]
    return Output(Equation.of(sympy.Add(*sines, y), SYMBOLS, OPERATORS), 3 * terms)


def test_a_wide_equation_drifts() -> None:
    found = compare_equations("p", 0, wide(120), wide(120, 1.001), box())
    assert found.change == DRIFTED
    assert len(found.coefficients) == 240
    assert max(abs(one.relative) for one in found.coefficients) == pytest.approx(0.001)
    other = compare_equations("p", 0, wide(120), wide(119), box())
    assert (other.change, other.evidence) == (CHANGED, "not equal on 256 points")


def test_a_large_equation_is_compared_by_values_alone() -> None:
    x, y = sympy.symbols("x y")
    sines = [sympy.sin(sympy.Float(k + 0.25) * x) for k in range(120)]
    apart = Output(Equation.of(sympy.Add(*(y * one for one in sines)), SYMBOLS, OPERATORS), 1)
    taken = Output(Equation.of(y * sympy.Add(*sines), SYMBOLS, OPERATORS), 1)
    found = compare_equations("p", 0, apart, taken, box())
    assert (found.change, found.evidence) == (
        REWRITTEN,
        "equal on 256 points, not proven: too large",
    )


SEEDED = """
from equations_compared import box, output
from symcompile.diff.equations import compare_equations
for old, new in [
    ("Max(1.5*x, 2.5*y, t, 0.5)", "Max(1.6*x, 2.4*y, t, 0.6)"),
    ("Min(x, y)*Max(x, y)", "x*y"),
    ("where(x < y, 1.5*x, 2.5)", "where(x < y, 1.6*x, 2.6)"),
    ("1.5*sin(2.5*x) + 3.5*sin(0.5*x)", "3.6*sin(0.51*x) + 1.6*sin(2.6*x)"),
]:
    print(compare_equations("p", 0, output(old), output(new), box()))
"""


def test_the_same_answer_in_every_process(capsys: pytest.CaptureFixture[str]) -> None:
    """Python's hashes of names differ between processes, and with them the order of sets."""
    exec(SEEDED, {})
    here = capsys.readouterr().out
    with Child(SEEDED) as child:
        elsewhere = child.finished()
    assert (elsewhere.stdout, elsewhere.stderr) == (here, "")
    assert here.count("EquationDiff") == 4
