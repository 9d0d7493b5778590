"""Units in what is computed: what they leave is asked first, nothing that breaks them is made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import sympy
from known_laws import Known

from symcompile.expressions.canonical import Algebra
from symcompile.expressions.dimensions import FREE, UNITLESS, Dimensions
from symcompile.expressions.equation import Equation
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.units import Units
from symcompile.regression.computed import Computed, computed_laws
from symcompile.regression.computed.inner import with_inner_constants
from symcompile.regression.computed.solutions import EXACT, solutions
from symcompile.regression.computed.table import Table
from symcompile.regression.computed.transforms import TRANSFORMS
from symcompile.regression.dataset import Dataset
from symcompile.regression.forms import candidate
from symcompile.regression.limits import Limits
from symcompile.regression.structure import Structure, structure
from symcompile.regression.structure.powers import products
from symcompile.regression.structure.problem import Problem

OPERATORS = OperatorSet.of(["+", "-", "*", "/", "square", "sqrt", "exp", "log", "sin"])
EXAMPLES = Path(__file__).parents[1] / "examples"


def rules(units: dict[str, str], output: str | None, pure: bool = False) -> Dimensions:
    dimensions, (result,) = Units(units, output, pure).of_inputs(tuple(units), 1)
    return dimensions.for_output(result)


def problem(law: Known, dimensions: Dimensions, n: int = 300, noise: float = 0.0) -> Problem:
    return Problem.of(*law.samples(n, noise), law.names, None, dimensions)


def of(law: Known, dimensions: Dimensions | None, noise: float = 0.0) -> Computed:
    operators = replace(OPERATORS, dimensions=dimensions)
    with np.errstate(all="ignore"):
        return computed_laws(Dataset(*law.samples(500, noise)), law.names, Limits(operators, 30))


# --- the table -----------------------------------------------------------------------------------

FALL = rules({"x": "m", "t": "s", "g": "m/s**2", "k": "1"}, "m")
COLUMNS = np.random.default_rng(0).uniform(0.5, 3.0, (4, 40))


def table(dimensions: Dimensions, limit: int = 600) -> Table:
    names = [name for name, _ in dimensions.inputs]
    vectors = [dimensions.of_input(name) for name in names]
    with np.errstate(all="ignore"):
        exprs = [*map(sympy.Symbol, names)]
        return Table(COLUMNS, exprs, OPERATORS, limit, rules=dimensions, of_columns=vectors)


def test_no_form_of_a_table_breaks_them_and_each_has_its_dimension() -> None:
    """By the rules that equations are judged by."""
    found = table(FALL)
    assert len(found.forms) == 600
    for place in range(len(found.forms)):
        assert FALL.of(found.expr(place)) == found.dimension(place), found.expr(place)


def test_forms_that_go_together_are_all_there() -> None:
    """Those that a table without units has and that do not break them."""
    with np.errstate(all="ignore"):
        plain = Table(COLUMNS, sympy.symbols("x t g k"), OPERATORS, 300)
    made = table(FALL).values
    for place in range(300):
        if FALL.check(plain.expr(place)) is None or FALL.go_together(plain.expr(place)):
            row = plain.values[place]
            near = np.minimum(np.ptp(made - row, axis=1), np.ptp(made + row, axis=1))
            assert near.min() < 1e-9, plain.expr(place)


def test_without_units_everything_goes_together() -> None:
    names = sympy.symbols("x t g k")
    with np.errstate(all="ignore"):
        plain = Table(COLUMNS, names, OPERATORS, 300)
    assert plain.vectors == [FREE]
    assert set(plain.kinds) == {0}
    broken = [FALL.check(plain.expr(place)) for place in range(300)]
    assert sum(problem is not None for problem in broken) > 100


# --- solutions -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("of_sum", "constant", "expected"),
    [
        ("y", False, FREE), ("1/y**2", True, FREE), ("sqrt y", False, FREE),
        ("log y", True, FREE), ("log y", False, (0, 0)), ("exp y", True, (0, 0)),
    ],
)  # fmt: skip
def test_what_a_transform_gives_of_multiples(
    of_sum: str, constant: bool, expected: tuple[int, ...]
) -> None:
    """The constant in an exponential is a factor before it, that of a logarithm is none."""
    given = rules({"x": "m", "t": "s"}, "m")
    (transform,) = (one for one in TRANSFORMS if one.name == of_sum)
    assert transform.dimension(FREE, constant, given) == expected
    assert transform.dimension((12, 0), False, given) == {
        "y": (12, 0), "1/y**2": (-6, 0), "sqrt y": (24, 0), "log y": None, "exp y": None
    }[of_sum]  # fmt: skip


GAS = Known("3*exp(-a*b)*c", 0, {"a": (0.5, 2), "b": (0.5, 2), "c": (1, 3)})
BOLTZMANN = {"a": "J", "b": "1/J", "c": "m"}


@pytest.mark.parametrize("pure", [False, True])
def test_no_solution_breaks_them(pure: bool) -> None:
    given = rules(BOLTZMANN, "m", pure)
    found = solutions(problem(GAS, given, 200), OPERATORS, (400,))
    assert min(one.error for one in found) < EXACT
    for one in found:
        operators = replace(OPERATORS, dimensions=given)
        assert fits(one.build(), GAS, operators), one.build()


def fits(expr: sympy.Expr, law: Known, operators: OperatorSet) -> bool:
    """Whether an expression is an equation of these operators, its floats constants."""
    tree, constants = Equation.of(expr, law.names, operators).tree
    data = Dataset(*law.samples(50))
    with np.errstate(all="ignore"):
        algebra = Algebra(constants, operators, law.names)
        return candidate(tree, algebra, law.names, data) is not None


def test_a_rate_is_that_of_what_may_have_one() -> None:
    """Pure constants leave no rate of a time."""
    law = Known("3*exp(-2*t)", 0, {"t": (0, 2)})
    for pure, found in ((False, True), (True, False)):
        given = problem(law, rules({"t": "s"}, "1", pure), 100)
        assert bool(list(with_inner_constants(given, OPERATORS))) is found


def test_a_rate_below_the_line_is_found() -> None:
    law = Known("2/(exp(7*t) - 1)", 0, {"t": (0.1, 2)})
    assert of(law, rules({"t": "s"}, "m")).exact
    assert of(law, None).exact


# --- structure -----------------------------------------------------------------------------------


def told(found: Structure) -> list[tuple[str, set[str]]]:
    return [
        (one.hypothesis.kind, {str(part.expr) for part in one.hypothesis.subject})
        for one in found.findings
    ]


MASS = Known("m/sqrt(1 - v**2/c**2)", 1, {"m": (1, 5), "v": (1, 2), "c": (3, 10)})
KG = {"m": "kg", "v": "m/s", "c": "m/s"}


def test_what_units_leave_is_asked_at_once() -> None:
    found = structure(problem(MASS, rules(KG, "kg")))
    assert told(found) == [("scaling", {"m", "v/c"})]
    assert found.certain == 1
    assert len(structure(problem(MASS, UNITLESS)).findings) > 1


def test_sums_of_one_dimension_come_before() -> None:
    law = Known(
        "d*(1 - exp(-a*(r - s)))**2", 1, {"d": (1, 5), "a": (1, 2), "r": (2, 3), "s": (1, 1.5)}
    )
    given = rules({"d": "J", "a": "1/m", "r": "m", "s": "m"}, "J")
    assert told(structure(problem(law, given, 500)))[0] == ("group", {"r - s"})


def test_a_constant_with_a_unit_is_no_obstacle() -> None:
    """Then units leave nothing that holds, and no finding adds unlike ones."""
    law = Known("9.81*t + 3*x", 0, {"t": (1, 3), "x": (1, 2)})
    found = structure(problem(law, rules({"t": "s", "x": "m"}, "m/s")))
    assert found.error < 1e-9
    assert all(kind in ("term", "factor") for kind, _ in told(found))


def test_no_finding_adds_what_is_unlike() -> None:
    law = Known("sin(a + b)", 1, {"a": (0, 3), "b": (0, 3)})
    alike, unlike = (rules({"a": "m", "b": unit}, "1") for unit in ("m", "s"))
    assert ("group", {"a + b"}) in told(structure(problem(law, alike)))
    assert ("group", {"a + b"}) not in told(structure(problem(law, unlike)))


def test_pure_constants_leave_no_choice() -> None:
    """Whatever samples say: with constants that are pure numbers nothing else is a law."""
    law = Known("m/sqrt(1 - v**2/100) + 0*c", 1, MASS.ranges)
    first = told(structure(problem(law, rules(KG, "kg", pure=True))))[0]
    assert first == ("scaling", {"m", "v/c"})
    assert told(structure(problem(law, rules(KG, "kg"))))[0] != first


def test_products_of_any_dimension_are_none() -> None:
    assert products(((12, 0), FREE), (12, 0), (False, False)) == ((), ())
    assert products(((12, 0), (0, 12)), FREE, (False, False)) == ((), ())
    scales, groups = products(((12,), (12,)), (24,), (False, True))
    assert scales[0] == (2, 0)
    assert groups == ((-1, 1),)


# --- laws ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", [0.0, 0.01])
@pytest.mark.parametrize(
    ("text", "ranges", "units", "output"),
    [
        (MASS.text, MASS.ranges, KG, "kg"),
        (
            "8.9875e9*p*q/r**2",
            {"p": (2e-19, 2e-18), "q": (2e-19, 2e-18), "r": (5e-11, 5e-10)},
            {"p": "C", "q": "C", "r": "m"},
            "N",
        ),
        (
            "m*v/sqrt(1 - v**2/8.98755e16)",
            {"m": (1e-30, 2e-27), "v": (1e8, 2.8e8)},
            {"m": "kg", "v": "m/s"},
            "kg*m/s",
        ),
        (
            "6.6743e-11*m*n/r**2",
            {"m": (1e24, 1e25), "n": (1e22, 1e23), "r": (1e8, 1e9)},
            {"m": "kg", "n": "kg", "r": "m"},
            "N",
        ),
    ],
)
def test_laws_in_magnitudes_of_the_si(
    text: str, ranges: Any, units: dict[str, str], output: str, noise: float
) -> None:
    law, given = Known(text, 0, ranges), rules(units, output)
    found = of(law, given, noise)
    assert found.complete
    assert found.exact is (noise == 0.0)
    assert all(given.check(equation.form) is None for equation in found.equations)
    X = law.inputs(100, seed=3)
    errors = [np.std(one.predict(X) - law.on(X)) / law.on(X).std() for one in found.equations]
    assert min(errors) < (0.01 if noise else 1e-7)


# --- the study -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def study() -> Iterator[SimpleNamespace]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLES))
        import units_laws
        import units_study

        yield SimpleNamespace(laws=units_laws, script=units_study)


def test_the_laws_of_the_study_go_together(study: SimpleNamespace) -> None:
    """But for constants of nature that are no inputs, which have units."""
    assert len(study.laws.TEXTBOOK) == 33
    for name, given in study.laws.GIVEN.items():
        y = given.law.samples(0, 200)[1]
        assert np.isfinite(y).all(), name
        assert tuple(given.inputs) == given.law.names
        if name in study.laws.TEXTBOOK and name != "waveguide":
            assert rules(given.inputs, given.output).check(given.law.expression) is None, name


def test_the_study_counts_what_breaks_them(study: SimpleNamespace) -> None:
    given = study.laws.GIVEN["lorentz mass"]
    right, wrong = (
        Equation.of(sympy.sympify(text, locals={}), given.law.names, OPERATORS)
        for text in ("m/sqrt(1 - v**2/c**2)", "m + v")
    )
    assert study.script.broken([right, wrong, right], study.script.dimensions(given)) == 1


def test_the_table_of_the_study(study: SimpleNamespace) -> None:
    rows = [
        study.script.Outcome("yukawa", "direct", seed, units, found, cpu, broken, "g")
        for seed in (0, 1)
        for units, found, cpu, broken in ((False, seed == 0, 2.0, 3), (True, True, 0.5, 0))
    ]
    lines = [line.split("|")[1:-1] for line in study.script.table(rows).splitlines()]
    cells = {line[0].strip(): [cell.strip() for cell in line[1:]] for line in lines}
    assert cells["yukawa"] == ["1 of 2, 2.0 s", "2 of 2, 0.5 s"]
    assert cells["share of that without"] == ["1.00", "0.25"]
    assert cells["broken dimensions"] == ["6", "0"]
