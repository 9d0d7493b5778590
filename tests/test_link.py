"""Links: deviances against their definition, parabolas in their place, probabilities and back."""

from __future__ import annotations

import numpy as np
import pytest
import sympy
from scipy.special import expit, softmax

from symcompile.errors import DataError
from symcompile.explanation.link import EPSILON, REST, Link, Part, are_probabilities, link_of
from symcompile.expressions.evaluation import Array
from symcompile.regression.losses import SQUARED

RNG = np.random.default_rng(0)
# Probabilities of all sizes, certain ones among them, and log-odds for each.
CERTAIN = np.array([0.0, 1.0, 1e-12, 1.0 - 1e-12, 1e-7, 1.0 - 1e-7])
PROBABILITIES = np.r_[RNG.uniform(0.01, 0.99, 60), CERTAIN]
ETAS = [-40.0, -15.0, -3.0, -1e-3, 0.0, 0.5, 4.0, 15.0, 40.0]
THREE = softmax(2.0 * RNG.normal(size=(50, 3)), axis=1)


def part(y: Array, share: Array | None = None) -> Part:
    return Part(y, np.ones(len(y)) if share is None else share, is_odds=True)


def values(y: Array) -> Part:
    return Part(y, np.ones(len(y)), is_odds=False)


def twice_kullback_leibler(p: float, q: float) -> float:
    pairs = ((p, q), (1.0 - p, 1.0 - q))
    return 2.0 * sum(a * np.log(a / b) for a, b in pairs if a > 0.0)


# --- the deviance --------------------------------------------------------------------------------


def test_the_deviance_is_twice_the_divergence_from_the_black_box() -> None:
    for eta in (-3.0, 0.0, 0.5, 4.0):
        expected = [twice_kullback_leibler(p, float(expit(eta))) for p in PROBABILITIES]
        found = part(PROBABILITIES).deviance(np.full(len(PROBABILITIES), eta))
        np.testing.assert_allclose(found, expected, atol=1e-13)


def test_the_deviance_of_one_row_by_hand() -> None:
    # 2 * (0.8 ln(0.8 / 0.5) + 0.2 ln(0.2 / 0.5))
    assert part(np.array([0.8])).deviance(np.zeros(1))[0] == pytest.approx(0.3854895, abs=1e-7)
    assert part(np.array([1.0])).deviance(np.zeros(1))[0] == pytest.approx(2.0 * np.log(2.0))
    assert part(np.array([0.0])).deviance(np.array([-800.0]))[0] == 0.0
    assert part(np.array([0.0])).deviance(np.array([800.0]))[0] == pytest.approx(1600.0)


def test_what_is_exact_has_no_deviance() -> None:
    exact = part(PROBABILITIES)
    np.testing.assert_allclose(exact.deviance(exact.target), 0.0, atol=2.1 * EPSILON)


# --- its parabola --------------------------------------------------------------------------------


@pytest.mark.parametrize("eta", ETAS)
def test_the_parabola_has_the_value_and_the_slope_of_the_deviance(eta: float) -> None:
    etas = np.full(len(PROBABILITIES), eta)
    found = part(PROBABILITIES)
    target, weights = found.working(etas)
    assert np.isfinite(target).all()
    assert np.isfinite(weights).all()
    assert (weights > 0.0).all()
    np.testing.assert_allclose(
        weights * (etas - target) ** 2, found.deviance(etas), rtol=1e-3, atol=1e-9
    )
    step = 1e-4
    slope = (found.deviance(etas + step) - found.deviance(etas - step)) / (2 * step)
    np.testing.assert_allclose(2.0 * weights * (etas - target), slope, rtol=1e-5, atol=1e-7)


def test_the_parabola_has_the_right_slope_next_to_the_truth() -> None:
    """There both value and slope are rounding."""
    exact = part(PROBABILITIES[:60])
    for step in (0.0, 1e-9, 1e-6, 1e-4, 1e-2):
        etas = exact.target + step
        target, weights = exact.working(etas)
        slope = expit(etas) - exact.y
        np.testing.assert_allclose(weights * (etas - target), slope, atol=1e-12)
        curvature = exact.y * (1.0 - exact.y)
        np.testing.assert_allclose(weights, curvature, rtol=0.02)


def test_values_are_their_own_targets() -> None:
    y = RNG.normal(size=9)
    target, weights = values(y).working(np.full(9, 3.0))
    np.testing.assert_array_equal(target, y)
    np.testing.assert_array_equal(weights, 1.0)
    np.testing.assert_array_equal(values(y).target, y)
    np.testing.assert_allclose(values(y).deviance(np.full(9, 3.0)), (3.0 - y) ** 2)
    assert values(y).loss is SQUARED


def test_the_nearest_constant_is_that_of_the_weighted_mean() -> None:
    y, weights, share = np.array([0.2, 0.9]), np.array([3.0, 1.0]), np.array([1.0, 2.0])
    # (3 * 0.2 + 2 * 0.9) / 5
    start = part(y, share).start(weights)
    assert expit(start) == pytest.approx(0.48)
    around = [np.average(part(y).deviance(np.full(2, start + d)), weights=[3, 2]) for d in (-1, 1)]
    assert np.average(part(y).deviance(np.full(2, start)), weights=[3, 2]) < min(around)
    assert values(y).start(weights) == pytest.approx((3 * 0.2 + 0.9) / 4)
    assert np.isfinite(part(np.zeros(3)).start(np.ones(3)))


# --- the deviance as a loss ----------------------------------------------------------------------


def test_the_loss_is_the_deviance_of_an_error_in_log_odds() -> None:
    found = part(PROBABILITIES)
    for error in (-3.0, 0.0, 1e-8, 2.0):
        expected = found.deviance(found.target + error)
        np.testing.assert_allclose(found.loss.of(np.full(len(PROBABILITIES), error)), expected)
    assert not found.loss.is_squared
    assert found.loss.mean(np.zeros(len(PROBABILITIES)), None) < 1e-5


@pytest.mark.parametrize("error", [-20.0, -2.0, -1e-7, 1e-7, 1e-5, 0.3, 8.0])
def test_the_gradient_of_the_loss_is_that_of_the_deviance(error: float) -> None:
    found, step = part(PROBABILITIES), 1e-5
    errors = np.full(len(PROBABILITIES), error)
    slope = (found.loss.of(errors + step) - found.loss.of(errors - step)) / (4.0 * step)
    # Of certain rows the log-odds that are aimed at are those of EPSILON.
    np.testing.assert_allclose(
        found.loss.weights(errors) * errors, slope, rtol=1e-4, atol=1.1 * EPSILON
    )


def test_weights_of_the_loss_are_finite_and_not_negative() -> None:
    found = part(PROBABILITIES)
    for error in (-1e300, -50.0, 0.0, 1e-7, 50.0, 1e300):
        weights = found.loss.weights(np.full(len(PROBABILITIES), error))
        assert np.isfinite(weights).all()
        assert (weights >= 0.0).all()


# --- which link it is ----------------------------------------------------------------------------

TWO = np.column_stack([1.0 - PROBABILITIES, PROBABILITIES])


def test_of_two_classes_the_second_is_told_against_the_first() -> None:
    link = link_of("auto", TWO, TWO[0], (0, 1), ("no", "yes"))
    assert (link.reference, link.classes, link.told) == (0, (0, 1), (1,))
    assert link.title(1) == "log(p[yes] / p[no])"
    (only,) = link.parts(TWO)
    np.testing.assert_allclose(only.y, PROBABILITIES)
    np.testing.assert_allclose(only.share, 1.0)


def test_of_three_classes_all_are_told_against_the_one_at_x() -> None:
    for likely in range(3):
        at_x = np.eye(3)[likely] * 0.5 + 1 / 6
        link = link_of("auto", THREE, at_x, (0, 1, 2), ("a", "b", "c"))
        assert link.reference == likely
        assert link.classes == (0, 1, 2)
        assert link.told == tuple(k for k in range(3) if k != likely)
        for k, one in zip(link.told, link.parts(THREE), strict=True):
            both = THREE[:, k] + THREE[:, likely]
            np.testing.assert_allclose(one.y, THREE[:, k] / both)
            np.testing.assert_allclose(one.share, both)


@pytest.mark.parametrize("outputs", [(1,), (2, 0)])
def test_of_some_classes_all_others_are_one(outputs: tuple[int, ...]) -> None:
    link = link_of("auto", THREE, THREE[0], outputs, ("a", "b", "c"))
    assert link.reference == REST
    assert link.classes == (*outputs, REST)
    assert link.told == outputs
    assert link.title(outputs[0]) == f"log(p[{'abc'[outputs[0]]}] / p[any other])"
    chosen = link.chosen(THREE)
    np.testing.assert_allclose(chosen[:, :-1], THREE[:, list(outputs)])
    np.testing.assert_allclose(chosen.sum(axis=1), 1.0)
    np.testing.assert_array_equal(link.outputs_of(chosen), chosen[:, :-1])
    np.testing.assert_array_equal(link.answer(chosen), chosen[:, :-1])


def test_answers_are_as_the_black_box_gives_them() -> None:
    """One number for a row, or a list of one; of a probability alone not the other one."""
    Y = PROBABILITIES[:, None]
    for kind in ("identity", "logit"):
        flat, listed = (link_of(kind, Y, Y[0], (0,), ("p",), flat=flat) for flat in (True, False))
        np.testing.assert_array_equal(flat.answer(flat.chosen(Y)), PROBABILITIES)
        np.testing.assert_array_equal(listed.answer(listed.chosen(Y)), Y)


def test_one_column_is_a_probability_where_that_is_said() -> None:
    column = PROBABILITIES[:, None]
    link = link_of("logit", column, column[0], (0,), ("p",))
    assert (link.reference, link.told) == (REST, (0,))
    np.testing.assert_allclose(link.chosen(column), TWO[:, ::-1])
    assert not link_of("auto", column, column[0], (0,), ("p",)).is_odds


@pytest.mark.parametrize("kind", ["identity", "auto"])
def test_values_are_told_as_they_are(kind: str) -> None:
    Y = RNG.normal(size=(20, 3))
    link = link_of(kind, Y, Y[0], (2, 0), ("a", "b", "c"))
    assert not link.is_odds
    assert (link.reference, link.classes, link.told) == (None, (2, 0), (2, 0))
    assert [link.title(k) for k in link.told] == ["c", "a"]
    np.testing.assert_array_equal(link.chosen(Y), Y[:, [2, 0]])
    np.testing.assert_array_equal(link.inverse([Y[:, 2], Y[:, 0]]), Y[:, [2, 0]])
    for k, one in zip(link.told, link.parts(Y), strict=True):
        np.testing.assert_array_equal(one.y, Y[:, k])


def test_probabilities_are_values_where_that_is_said() -> None:
    assert not link_of("identity", THREE, THREE[0], (0, 1, 2), ("a", "b", "c")).is_odds


def test_probabilities_are_two_or_more_that_add_up_to_one() -> None:
    assert are_probabilities(THREE)
    assert are_probabilities(THREE.astype(np.float32).astype(float))
    assert are_probabilities(np.eye(4))
    assert not are_probabilities(THREE[:, :1])
    assert not are_probabilities(THREE[:, :2])
    assert not are_probabilities(np.array([[1.2, -0.2], [0.5, 0.5]]))
    assert not are_probabilities(np.vstack([THREE, [[0.5, 0.4, 0.0]]]))


# --- probabilities and back ----------------------------------------------------------------------


def links() -> dict[str, tuple[Link, Array]]:
    four = softmax(RNG.normal(size=(50, 4)), axis=1)
    named = ("a", "b", "c", "d")
    return {
        "two classes": (link_of("auto", TWO, TWO[0], (0, 1), named[:2]), TWO),
        "three classes": (link_of("auto", THREE, THREE[0], (0, 1, 2), named[:3]), THREE),
        "in another order": (link_of("auto", THREE, THREE[0], (2, 0, 1), named[:3]), THREE),
        "some of four": (link_of("auto", four, four[0], (3, 1), named), four),
        "one of two": (link_of("auto", TWO, TWO[0], (1,), named[:2]), TWO),
        "one column": (link_of("logit", TWO[:, 1:], TWO[0, 1:], (0,), named[:1]), TWO[:, 1:]),
    }


LINKS = links()


@pytest.mark.parametrize("name", LINKS)
def test_what_is_told_exactly_gives_the_probabilities_back(name: str) -> None:
    link, Y = LINKS[name]
    found = link.inverse([one.target for one in link.parts(Y)])
    np.testing.assert_allclose(found, link.chosen(Y), atol=1.1 * EPSILON)


@pytest.mark.parametrize("name", LINKS)
def test_whatever_is_told_gives_probabilities(name: str) -> None:
    link, _ = LINKS[name]
    for size in (1.0, 30.0, 1e4, 1e300):
        P = link.inverse([size * RNG.normal(size=40) for _ in link.told])
        assert P.shape == (40, len(link.classes))
        assert P.min() >= 0.0
        assert P.max() <= 1.0
        np.testing.assert_allclose(P.sum(axis=1), 1.0)


@pytest.mark.parametrize("name", LINKS)
def test_closed_forms_are_what_follows_from_the_equations(name: str) -> None:
    link, _ = LINKS[name]
    x, y = sympy.symbols("x y")
    told = [(k + 1) * x - 0.5 * y**2 + 0.3 * k for k in range(len(link.told))]
    at = RNG.normal(size=(2, 30))
    etas = [sympy.lambdify((x, y), expr)(*at) for expr in told]
    expected = link.outputs_of(link.inverse(etas))
    forms = link.expressions(told)
    assert len(forms) == len(link.outputs)
    for form, column in zip(forms, expected.T, strict=True):
        np.testing.assert_allclose(sympy.lambdify((x, y), form)(*at), column, rtol=1e-12)


def test_closed_forms_of_values_are_the_equations() -> None:
    x = sympy.Symbol("x")
    assert Link((1,), ("a", "b")).expressions([x**2]) == [x**2]


def test_what_does_not_add_up_is_refused_or_made_to() -> None:
    with pytest.raises(DataError, match=r"fn gives .* to 2\.9"):
        link_of("logit", 3.0 * THREE, THREE[0], (0, 1, 2), ("a", "b", "c"))
    link = link_of("logit", THREE, THREE[0], (0, 1, 2), ("a", "b", "c"))
    np.testing.assert_allclose(link.chosen(0.5 * THREE), THREE)
    np.testing.assert_allclose(link.chosen(THREE - [[0.0, 0.0, 2.0]])[:, 2], 0.0)
