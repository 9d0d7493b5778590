"""Transforms of an output: there and back, and what an error counts."""

from __future__ import annotations

import numpy as np
import pytest
import sympy

from symcompile.expressions.evaluation import Array
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.operators import VOCABULARY
from symcompile.regression.computed.transforms import TRANSFORMS, Transform, applicable

ALL = OperatorSet.of(list(VOCABULARY))
POSITIVE = np.linspace(0.05, 0.95, 40)
EVERY = np.linspace(-3.0, 3.0, 41)  # zero among them


def by_name(y: Array, operators: OperatorSet = ALL) -> dict[str, tuple[float, Array, Array]]:
    return {t.name: (sign, h, weight) for t, sign, h, weight in applicable(y, operators)}


@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda t: t.name)
@pytest.mark.parametrize("side", [1.0, -1.0])
def test_there_and_back(transform: Transform, side: float) -> None:
    y = side * POSITIVE
    found = by_name(y)
    if transform.name not in found:
        assert transform.domain == "positive"
        assert side < 0
        return
    sign, h, _ = found[transform.name]
    np.testing.assert_allclose(sign * transform.inverse(h), y, rtol=1e-12)
    x = sympy.Symbol("x")
    build = sympy.lambdify(x, transform.build(x), "numpy")
    np.testing.assert_allclose(sign * build(h), y, rtol=1e-12)


@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda t: t.name)
def test_weights_are_those_of_errors_of_the_output(transform: Transform) -> None:
    _, _, weight = by_name(POSITIVE)[transform.name]
    step = 1e-6
    slope = (transform.h(POSITIVE + step) - transform.h(POSITIVE - step)) / (2 * step)
    np.testing.assert_allclose(weight, 1 / np.abs(slope), rtol=1e-5)


@pytest.mark.parametrize(
    ("y", "names"),
    [
        (EVERY, {"y", "exp y"}),
        (EVERY + 0.01, {"y", "1/y", "exp y"}),
        (EVERY / 4, {"y", "exp y", "sin y", "tan y", "atanh y"}),
        (np.abs(EVERY), {"y", "y**2", "sqrt y", "exp y"}),
        (1e3 + EVERY, {"y", "1/y", "y**2", "1/y**2", "sqrt y", "log y"}),
        (-1e3 - EVERY, {"y", "1/y", "y**2", "1/y**2", "sqrt y"}),
    ],
)
def test_a_transform_is_for_what_it_is_defined_for(y: Array, names: set[str]) -> None:
    found = by_name(y)
    assert set(found) == names
    assert all(np.isfinite(h).all() and (w > 0).all() for _, h, w in found.values())


def test_a_transform_is_for_operators_that_spell_its_inverse() -> None:
    names = [transform.name for transform in TRANSFORMS]
    assert len(set(names)) == len(names)
    assert set(by_name(POSITIVE, OperatorSet.of(["+", "*"]))) <= {"y", "sqrt y"}
    for transform in TRANSFORMS[1:]:
        for name in transform.needs:
            assert transform.name in by_name(POSITIVE, OperatorSet.of([name]))
        assert transform.name not in by_name(POSITIVE, OperatorSet.of(["+"]))


def test_what_has_lost_its_sign_says_so() -> None:
    lost = {transform.name for transform in TRANSFORMS if transform.loses_sign}
    assert lost == {"y**2", "1/y**2", "sqrt y"}
