"""The front's order, its rules of choice, and reading it back."""

import json
import math
from dataclasses import replace

import pytest
import sympy

from symcompile.errors import ChoiceError, ExpressionError
from symcompile.expressions.equation import Equation
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.parser import parse
from symcompile.regression.choice import RULES, credible
from symcompile.regression.losses import Loss
from symcompile.regression.pareto import ParetoFront, check_front

X = sympy.Symbol("x")
OPERATORS = OperatorSet.of(None)


def front(table: dict[int, float], variance: float = 1.0) -> ParetoFront:
    """Equations of the given complexity and held-out loss."""
    rows = [Equation(X, ("x",), (), complexity, loss, loss) for complexity, loss in table.items()]
    return ParetoFront.of(rows, variance)


# Complexity: 1 - R2, as searches of physics-informed networks gave them.
HEAT = {1: 1.0, 5: 0.56, 12: 0.288, 13: 1.25e-4, 15: 7.6e-5, 19: 6.9e-5, 23: 4.6e-5, 29: 4e-5}
WAVE = {1: 1.0, 5: 0.34, 12: 0.0232, 15: 4.7e-4, 17: 4.5e-4, 19: 3e-4, 25: 1.95e-4, 29: 1.89e-4}
OSCILLATOR = {1: 1.0, 8: 0.65, 10: 0.256, 12: 0.0305, 15: 1.03e-4, 17: 3.8e-5, 26: 6e-6, 30: 5e-6}


@pytest.mark.parametrize(("table", "law"), [(HEAT, {13}), (WAVE, {15}), (OSCILLATOR, {15, 17})])
def test_the_default_choice_is_the_law(table: dict[int, float], law: set[int]) -> None:
    assert front(table).best.complexity in law


@pytest.mark.parametrize("noise", [1e-8, 1e-4, 1e-2])
def test_a_linear_map_comes_out_whole_though_no_term_buys_half_a_nat(noise: float) -> None:
    table = {1 + 4 * k: (5 - k) / 5 + noise for k in range(6)}
    table |= {23: noise * 0.99, 25: noise * 0.985, 29: noise * 0.98}
    assert front(table).best.complexity == 21


@pytest.mark.parametrize("noise", [1e-8, 1e-2])
def test_a_linear_map_that_needs_the_whole_front(noise: float) -> None:
    table = {1 + 4 * k: (10 - k) / 10 + noise for k in range(11)}
    assert front(table).best.complexity == 41


def test_a_law_in_two_steps_of_like_steepness_is_finished() -> None:
    assert front({1: 1.0, 10: 0.32, 12: 0.0232, 15: 5e-4, 17: 4e-4}).best.complexity == 15


# Messages of a graph network, and the Lorenz equations in mixed coordinates: the first terms make
# the steepest step, and most of what the front gains comes after it.
SPRING = {1: 0.94, 3: 0.54, 5: 0.454, 7: 0.2295, 14: 0.037, 16: 0.032, 18: 0.0292}
LORENZ = {1: 1.0, 9: 0.2, 11: 0.012, 19: 0.006, 29: 2e-4, 31: 2e-6, 35: 1.9e-6}


@pytest.mark.parametrize(("table", "law"), [(SPRING, 14), (LORENZ, 31)])
def test_a_corner_that_leaves_most_to_gain_is_not_the_end(
    table: dict[int, float], law: int
) -> None:
    assert front(table).best.complexity == law


def test_a_constant_stays_a_constant() -> None:
    table = {1: 1.0, 3: 0.9995, 9: 0.998, 15: 0.996, 29: 0.99}
    assert front(table).best.complexity == 1


def test_exact_data_ends_at_rounding() -> None:
    table = {1: 1.0, 5: 0.3, 9: 1e-25, 13: 1e-29, 29: 1e-31}
    assert front(table).best.complexity == 9


def test_the_choice_is_what_nothing_is_before() -> None:
    """Of eight equations, whose knee is the fourth."""
    found = front(HEAT).described([500.0, 40.0, 0.0, 1.2, math.inf, 2.5, 3.5, 9.0])
    assert found.best.complexity == found.law.complexity == found.select().complexity == 12
    assert found.select("knee").complexity == 13
    assert found.runner_up is not None
    assert found.runner_up.equation.complexity == 13
    assert found.runner_up.odds == pytest.approx(math.exp(1.2))
    assert [(other.equation.complexity, other.margin) for other in found.undecided] == [
        (13, 1.2),
        (19, 2.5),
        (23, 3.5),
    ]
    marks = {line.split()[0]: line.partition(" <- ")[2] for line in str(found).splitlines()}
    assert (marks["12"], marks["13"], marks["19"]) == ("chosen", "odds 3.3 to 1", "odds 12 to 1")
    assert marks[str(max(HEAT))] == ""
    assert front(HEAT).runner_up is None
    assert front(HEAT).undecided == ()
    assert replace(found, rule="knee").undecided == ()


def test_a_front_that_grows_has_to_be_described_anew() -> None:
    found = front(HEAT).described([9.0, 0.0, *[5.0] * 6])
    assert found.grown([]).behind == ()
    assert found.grown([]).equations == found.equations
    assert found.only([0, 2, 3]).behind == (4.0, 0.0, 0.0)
    assert found.only([2]).best == found[2]


def few(*rows: tuple[int, float]) -> ParetoFront:
    equations = [
        Equation(X, ("x",), (float(k),), cost, loss, loss) for k, (cost, loss) in enumerate(rows)
    ]
    return ParetoFront.of(equations, 1.0, left_out=9)


def test_few_rows_keep_what_they_cannot_tell_from_the_choice() -> None:
    """Leaving rows out has put two before the choice and two behind, of which one is near."""
    every = few((1, 1.0), (3, 0.2), (5, 0.3), (5, 0.4), (7, 0.1), (9, 0.5))
    assert len(every) == 6
    found = every.described([9.0, 1.0, 0.0, 2.9, 5.0, 9.0])
    assert [e.loss for e in found] == [1.0, 0.2, 0.3, 0.4, 0.1]
    assert found.best.loss == 0.3
    assert [other.equation.loss for other in found.undecided] == [0.2, 0.4]
    for rule in RULES:
        picked = found.select(rule)
        assert picked.loss in ({0.3} if rule == "description" else {1.0, 0.2, 0.1})
    stored = json.loads(json.dumps(found.to_json()))
    assert ParetoFront.from_json(stored) == found
    check_front(found)
    assert found.at(5).loss == 0.3
    assert len(found.grown([])) == 5


def test_what_is_named_holds_nearly_all_of_the_probability() -> None:
    """Many that are far behind count for as much as one that is near."""
    assert credible([0.0]) == [0]
    assert credible([5.0, 0.0]) == [1]
    assert credible([4.0, 0.0, math.inf]) == [1, 0]
    assert credible([5.0, 0.0, *[5.5] * 9]) == [1, 0, 2, 3, 4, 5, 6, 7, 8]
    for level in (0.5, 0.9, 0.999):
        behind = [3.0, 0.0, 1.0, 2.0, 7.0, math.inf]
        shares = {k: math.exp(-nats) for k, nats in enumerate(behind)}
        named = credible(behind, level)
        assert sum(shares[k] for k in named) >= level * sum(shares.values())
        assert sum(shares[k] for k in named[:-1]) < level * sum(shares.values())


@pytest.mark.parametrize(
    "wrong",
    [
        {"behind": [0.0] * 3},
        {"behind": [1.0] * 8},
        {"behind": [-1.0, *[0.0] * 7]},
        {"behind": [math.nan, *[0.0] * 7]},
        {"behind": ["a"] * 8},
        {"behind": 3},
        {"left_out": -1},
        {"left_out": 0.5},
        {"left_out": 10**400},
    ],
)
def test_what_is_behind_nothing_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ExpressionError, match="not a stored Pareto front"):
        ParetoFront.from_json(front(HEAT).to_json() | wrong)


def test_other_rules() -> None:
    heat = front(HEAT)
    assert heat.best_score.complexity == 13
    assert heat.most_accurate.complexity == 29
    assert heat.select("pysr").complexity in {23, 29}
    assert heat.select("fixed").complexity == 13
    assert heat.select("price").complexity == 13
    with pytest.raises(ChoiceError, match="unknown rule 'best'"):
        heat.select("best")


@pytest.mark.parametrize(
    ("table", "edge"),
    [
        ({1: 1.0, 21: 5e-3, 23: 2e-3, 29: 7e-4, 31: 2.4e-4, 33: 2.39e-4, 35: 2.38e-4}, 31),
        ({1: 1.0, 9: 0.1, 13: 0.01}, 13),
        ({1: 1.0, 5: 1e-20, 9: 1e-25}, 5),
    ],
)
def test_the_plateau_is_entered_at_its_edge(table: dict[int, float], edge: int) -> None:
    assert front(table).select("plateau").complexity == edge


def test_of_keeps_what_nothing_simpler_beats() -> None:
    kept = front({1: 1.0, 3: 1.5, 5: math.nan, 7: 0.5, 9: math.inf, 11: 0.5})
    assert kept.complexities == (1, 7)


def test_equal_complexity_keeps_the_better() -> None:
    rows = [Equation(X, ("x",), (), 3, loss, loss) for loss in (0.5, 0.2)]
    assert [e.loss for e in ParetoFront.of(rows, 1.0)] == [0.2]


def test_an_empty_front_says_so() -> None:
    with pytest.raises(ChoiceError, match="empty"):
        _ = ParetoFront((), 1.0).best


def test_at_lists_what_there_is() -> None:
    assert front(HEAT).at(13).complexity == 13
    with pytest.raises(ChoiceError, match="1, 5, 12"):
        front(HEAT).at(2)


def test_json_round_trip() -> None:
    equation = Equation.of(2.5 * X + sympy.sin(sympy.pi * X), ["x"], OPERATORS, 0.5, 0.25)
    before = ParetoFront.of([equation], 2.0)
    after = ParetoFront.from_json(json.loads(json.dumps(before.to_json())))
    assert after == before
    with pytest.raises(ExpressionError, match="not a stored Pareto front"):
        ParetoFront.from_json({"variance": 1.0})


def test_r2_and_table() -> None:
    heat = front(HEAT)
    assert heat.r2(heat.at(13)) == pytest.approx(1 - 1.25e-4)
    assert "<- chosen" in str(heat)
    assert str(heat).splitlines()[0].split() == ["complexity", "R2", "equation"]


def robust(table: dict[int, float], squares: float) -> ParetoFront:
    """A front ranked by a Cauchy loss, every equation of it with the same squared error."""
    found = [replace(one, holdout_mse=squares) for one in front(table)]
    return ParetoFront.of(found, 50.0, loss=Loss("cauchy", 0.25), constant_loss=1.0)


def test_a_robust_loss_has_its_own_name_beside_r2() -> None:
    found = robust(HEAT, 45.0)
    assert found.r2(found.at(13)) == pytest.approx(0.1)
    head, *rows = str(found).splitlines()
    assert head.split() == ["complexity", "R2", "cauchy", "loss", "equation"]
    assert rows[3].split()[:3] == ["13", "0.100000", "0.000125"]
    assert found.best == replace(front(HEAT).best, holdout_mse=45.0)
    unmeasured = replace(found, equations=front(HEAT).equations)
    assert math.isnan(unmeasured.r2(unmeasured.at(13)))  # a robust loss is no squared error


def test_a_front_that_grows_keeps_its_loss() -> None:
    found = robust(HEAT, 45.0)
    better = Equation(X, ("x",), (), 14, 1e-6, 1e-6, 40.0)
    grown = found.grown([better])
    assert better in grown.equations
    assert (grown.loss, grown.variance, grown.constant_loss) == (found.loss, 50.0, 1.0)


def test_a_robust_front_is_stored_and_an_older_one_read() -> None:
    found = robust(HEAT, 45.0)
    data = json.loads(json.dumps(found.to_json()))
    assert ParetoFront.from_json(data) == found
    huge = {"name": "cauchy", "scale": 10**400}
    for loss in (huge, {"name": "cauchy", "scale": 0}, {"name": "l7", "scale": 1.0}, {}, 3):
        with pytest.raises(ExpressionError, match="not a stored Pareto front"):
            ParetoFront.from_json({**data, "loss": loss})
    old = front(HEAT).to_json()
    for row in old["equations"]:
        del row["holdout_mse"]
    assert ParetoFront.from_json(old) == front(HEAT)


def front_of(*rows: tuple[str, float]) -> ParetoFront:
    """Equations of x by text, with losses; the variance is 1."""
    operators = OperatorSet.of(["+", "*", "exp", "cos"])
    equations = [
        Equation.of(parse(text, ["x"]), ["x"], operators, loss, loss) for text, loss in rows
    ]
    return ParetoFront.of(equations, 1.0)


def test_a_constant_of_the_same_form_is_taken_if_it_halves_the_loss() -> None:
    law = [("1.1", 0.9), ("exp(-2.1*x)*cos(20.1*x - 0.1)", 1e-4)]
    tail = [("exp(-2.1*x)*cos(20.1*x - 0.1) + 0.3*x*x*x", 3e-5)]
    for loss, complexity in ((4e-5, 17), (6e-5, 15)):
        front = front_of(*law, ("1.01*exp(-2.1*x)*cos(20.1*x - 0.1)", loss), *tail)
        assert front.best.complexity == complexity


def test_each_factor_pays_for_itself() -> None:
    """The second factor gains nothing: what the first one gained does not pay for it."""
    law = [("1.1", 0.9), ("exp(-2.1*x)*cos(20.1*x - 0.1)", 1e-4)]
    front = front_of(
        *law,
        ("1.01*exp(-2.1*x)*cos(20.1*x - 0.1)", 1e-5),
        ("1.01*exp(-2.1*x)*cos(1.2*exp(0.3*x) + 20.1*x - 0.1)", 4e-6),
        ("1.01*(1.1*exp(-2.1*x))*cos(20.1*x - 0.1) + 0.3*x*x*x", 2e-6),
    )
    assert front.best.text() == "1.01*exp(-2.1*x)*cos(20.1*x - 0.1)"


@pytest.mark.parametrize(
    "offset",
    [
        "exp(-2.1*x)*cos(20.1*x - 0.1) + 0.002",
        "(exp(-2.1*x) + 0.002)*cos(20.1*x - 0.1)",
        "exp(-2.1*x)*(cos(20.1*x - 0.1) + 0.002)",
    ],
)
def test_an_offset_is_a_new_term(offset: str) -> None:
    law = [("1.1", 0.9), ("exp(-2.1*x)*cos(20.1*x - 0.1)", 1e-4)]
    assert front_of(*law, (offset, 6e-5)).best.text() == law[1][0]


def test_constants_that_leave_nothing_to_gain_are_taken() -> None:
    """Noise: after all coefficients are fitted, nothing else lowers the loss."""
    front = front_of(("1.1", 1.0), ("exp(x) + x", 2e-2), ("1.2*exp(x) + 0.8*x", 1e-2))
    assert front.best.complexity == front[-1].complexity


def test_a_later_form_is_not_taken_for_its_constants() -> None:
    front = front_of(("1.1", 1.0), ("exp(1.2*x)", 1e-4), ("exp(1.2*x) + 0.01*cos(3.1*x)", 4e-5))
    assert front.best.text() == "exp(1.2*x)"
