"""Symbolic proofs: what they find, and that they end."""

from __future__ import annotations

import itertools

import pytest
import sympy
from equations_compared import OPERATORS, SYMBOLS, law_pair

from symcompile.diff.equations import proof
from symcompile.diff.equations.law import Law, laws
from symcompile.diff.equations.proof import (
    NOT_PROVEN,
    PROOF_STEPS,
    PROVEN,
    Steps,
    drifted_when_expanded,
    prove,
)
from symcompile.expressions.equation import Equation
from symcompile.expressions.slots import slot

x, y = sympy.symbols("x y")

TRUE = [
    ("x*(y + 1)", "x*y + x"),
    ("1.5*x*(y + 2.5)", "1.5*x*y + 3.75*x"),
    ("(x + y)**3", "x**3 + 3*x**2*y + 3*x*y**2 + y**3"),
    ("0.1*(x + 0.2)", "0.1*x + 0.02"),
    ("0.3*x", "0.1*x + 0.2*x"),
    ("sin(x + y)", "sin(x)*cos(y) + cos(x)*sin(y)"),
    ("sin(0.3*x)", "sin(0.1*x + 0.2*x)"),
    ("sin(x)**2 + cos(x)**2", "1"),
    ("cos(2*x)", "1 - 2*sin(x)**2"),
    ("exp(x)*exp(y)", "exp(x + y)"),
    ("exp(1.5*x + 0.5)", "1.6487212707001282*exp(1.5*x)"),
    ("tanh(x)", "(exp(x) - exp(-x))/(exp(x) + exp(-x))"),
    ("1/x + 1/y", "(x + y)/(x*y)"),
    ("x/(x + 1) + y", "(x + x*y + y)/(x + 1)"),
    ("sqrt(x**2)", "abs(x)"),
    ("2.1*sin(3.1*x)", "-2.1*sin(3.1*x + 3.141592653589793)"),
    # Functions that sympy lacks, by their definitions.
    ("gauss(x)*gauss(y)", "exp(-x**2 - y**2)"),
    ("gauss(1.5*x + y)", "exp(-2.25*x**2 - 3*x*y - y**2)"),
    ("exp(log1p(x))", "1 + x"),
    ("log2(3.0*x)", "log(3.0*x)/log(2)"),
    ("hypot(x, y)", "sqrt(x**2 + y**2)"),
    ("y*relu(x) + relu(x)", "(1 + y)*max(x, 0)"),
]

FALSE = [
    ("x*(y + 1)", "x*y + 1.0001*x"),
    ("sin(x)", "cos(x)"),
    ("gauss(x)", "exp(x**2)"),
    ("hypot(x, y)", "x + y"),
    ("sqrt(x**2)", "x"),
    ("log(x*y)", "log(x) + log(y)"),  # not for all real numbers
    ("x", "x + 1e-11"),
    ("2", "2 + 1e-8"),
    # Coefficients beyond the range of float64, or so large that all else is a small share.
    ("exp((t**2 + 7.8)**3)", "exp((t**2 + 9.1)**3)"),
    ("exp((t**2 + 8.9)**3)", "exp((t**2 + 9.1)**3)"),
    ("1e90*exp(x) + y", "1e90*exp(x) + t"),
    ("1e-20*x", "2e-20*x"),
    ("1e-20*x + y", "2e-20*x + y"),
]


@pytest.mark.parametrize(("old", "new"), TRUE)
def test_proven(old: str, new: str) -> None:
    one, other = law_pair(old, new)
    assert prove(one, other, Steps()) == PROVEN
    assert prove(other, one, Steps()) == PROVEN


@pytest.mark.parametrize(("old", "new"), FALSE)
def test_what_is_not_true_is_not_proven(old: str, new: str) -> None:
    one, other = law_pair(old, new)
    assert prove(one, other, Steps()) == NOT_PROVEN
    assert prove(other, one, Steps()) == NOT_PROVEN


def law(form: sympy.Expr, *constants: float) -> Law:
    one = Equation(form, SYMBOLS, constants, 1)
    return laws(one, one)[0]


def of(expr: sympy.Expr) -> Law:
    one = Equation.of(expr, SYMBOLS, OPERATORS)
    return laws(one, one)[0]


TOWER = ((slot(0) ** slot(0)) ** slot(0)) ** slot(0)

TOO_MUCH = {
    "many terms": of(sympy.Add(*(sympy.sin(sympy.Float(k + 0.5) * x) for k in range(200)))),
    "high power": of((x + y) ** 500),
    "power of powers": law(x * TOWER, 999.0),
    "fitted power": law((2 * x) ** slot(0), 1e9),
    "tiny constant": law(slot(0) * x, 1e-300),
    "large constant": law(slot(0) * x, 1e300),
}


@pytest.mark.parametrize("name", TOO_MUCH)
def test_what_is_too_large_is_not_begun(name: str) -> None:
    other = of(x + y)
    assert prove(TOO_MUCH[name], other, Steps()) == f"{NOT_PROVEN}: too large"
    assert prove(other, TOO_MUCH[name], Steps()) == f"{NOT_PROVEN}: too large"
    assert drifted_when_expanded(TOO_MUCH[name], other, Steps()) is None


def test_many_terms_are_not_multiplied_out() -> None:
    product = sympy.Mul(*((x + k + y) ** 2 for k in range(1, 20)))
    assert prove(of(product), of(product + x), Steps()).startswith(NOT_PROVEN)
    assert drifted_when_expanded(of(1.5 * product), of(1.6 * product + 1.5 * x), Steps()) is None


def test_no_steps_no_proof() -> None:
    pair = law_pair("x*(y + 1)", "x*y + x")
    assert prove(*pair, Steps(0)) == f"{NOT_PROVEN} in so many steps"
    assert prove(*pair, Steps(10)) == f"{NOT_PROVEN} in so many steps"


def test_proofs_share_steps_and_take_as_many_every_time_both_ways() -> None:
    old, new = law_pair(*TRUE[5])
    steps = Steps()
    left = [steps.left]
    for pair in ((old, new), (new, old), (old, new)):
        assert prove(*pair, steps) == PROVEN
        left.append(steps.left)
    taken = {before - after for before, after in itertools.pairwise(left)}
    assert len(taken) == 1
    few = Steps(2.5 * taken.pop())
    assert [prove(old, new, few) for _ in range(3)] == [
        PROVEN,
        PROVEN,
        f"{NOT_PROVEN} in so many steps",
    ]
    # What is over is over, so that a cheap equation after a dear one has no luck either.
    assert prove(*law_pair("x", "y"), few) == f"{NOT_PROVEN} in so many steps"


def test_to_multiply_out_takes_steps() -> None:
    pair, steps = law_pair("x*(y + 1.5)", "x*y + 1.6*x"), Steps()
    assert drifted_when_expanded(*pair, steps) is not None
    taken = PROOF_STEPS - steps.left
    assert taken > 0
    few = Steps(1.5 * taken)
    assert drifted_when_expanded(*pair, few) is not None
    assert drifted_when_expanded(*pair, few) is None
    assert few.left == 0


@pytest.mark.parametrize("error", [RecursionError, MemoryError, KeyError, NotImplementedError])
def test_what_sympy_raises_is_no_error(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(sympy, "expand", fail)
    monkeypatch.setattr(proof, "canonical", fail)
    monkeypatch.setattr(sympy, "simplify", fail)
    assert prove(*law_pair("x*(y + 1)", "x*y + x"), Steps()) == NOT_PROVEN
    assert drifted_when_expanded(*law_pair("x*(y + 1.5)", "x*y + 1.6*x"), Steps()) is None


HOSTILE = {
    "sines in each other": "sin(" * 20 + "x" + ")" * 20,
    "tangents in each other": "tan(" * 9 + "x" + ")" * 9,
    "powers of powers": "((((x + 1.5)**64)**64)**64)**64",
    "a power in a fitted power": "(((1.5*x)**60.5 + y)**60.5 + t)**60.5",
    "a sine of many terms": f"sin({'+'.join(f'{k}.5*x**{k}' for k in range(1, 90))})",
    "a multiple angle": "sin(1000000*x)",
    "a large power of waves": "(sin(x) + cos(y) + tan(t))**24",
    "fractions of fractions": "1/(x + 1.5/(y + " * 12 + "t" + "))" * 12,
    "logarithms of products": "log(1/(6*y))**2*log(1.5*y**3)**2*log(2.5/y)**2*log(t*x/7)**4*"
    "log(9*x**2*log(x)**2)**4",
    "a broken power of a power": "((x + y + t + sin(x) + log(y) + exp(t) + 1.5*x*y)**3)**1.7",
    "choices among choices": "Max(x + y, Max(x, t)*y, x*y*t + 1.5) + Max(y + Min(x, t)**2, t - 2*x,"
    "Max(t, x*y)**3, sin(Max(x, y - t)))",
    "tangents of a number": "x*tan(log(2 + tan(tan(tan(8)))**2))",
    "lengths in each other": "hypot(y, " * 15 + "x" + ")" * 15,
    "bells in each other": "gauss(" * 30 + "x" + ")" * 30,
    "remainders in each other": "mod(" * 12 + "x" + ", y + 1.5)" * 12,
    "extremes": "Max(" * 20 + "x*y" + ", t - 0.5)" * 20,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_made_to_take_long_ends(name: str) -> None:
    """Sympy is asked to do what is measured beforehand, and nothing else."""
    one, other = law_pair(HOSTILE[name], f"1.5*y + {HOSTILE[name]}")
    steps = Steps()
    assert prove(one, other, steps).startswith(NOT_PROVEN)
    assert 0 <= steps.left <= PROOF_STEPS
    assert drifted_when_expanded(one, other, Steps()) is None


DRIFTS = [
    ("x*(y + 1.5)", "x*y + 1.6*x", {(1.5, 1.6)}),
    ("(x + 1.5)**2", "x**2 + 3.2*x + 2.56", None),  # two constants there, one here
    ("x*(y + 1.5)", "x*y + 1.5*x", None),  # the same
    ("x*(y + 1)", "x*y + 1.5*x", None),  # fitted on one side only
    ("x*(y + 1.5)", "x*y + 1.6*t", None),
    ("x*(sin(1.5*y) + sin(2.5*y))", "x*sin(1.6*y) + x*sin(2.6*y)", None),  # in two ways
    ("y - sin(2*x + 1.1)", "y + sin(2*x + 1.1)", None),
    ("sin(2*x + 1.1)", "cos(2*x + 1.1)", None),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "expected"), DRIFTS)
def test_drift_of_what_is_one_form_when_multiplied_out(
    old: str, new: str, expected: set[tuple[float, float]] | None
) -> None:
    one, other = law_pair(old, new)
    for before, after, turn in ((one, other, 1), (other, one, -1)):
        found = drifted_when_expanded(before, after, Steps())
        if expected is None:
            assert found is None
        else:
            assert found is not None
            pairs = {(c.old, c.new)[::turn] for c in found.coefficients()}
            assert pairs == expected
