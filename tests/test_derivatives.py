"""Blocks as functions of rows."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from symcompile.fidelity import derivatives
from symcompile.fidelity.derivatives import autograd, sound

X = np.random.default_rng(0).uniform(-1, 1, (37, 2))


def product(rows: torch.Tensor) -> torch.Tensor:
    return torch.stack([rows[:, 0] * rows[:, 1], rows[:, 1] ** 2, torch.ones(len(rows))], dim=1)


def test_rows_go_through_in_bounded_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def block(rows: torch.Tensor) -> torch.Tensor:
        sizes.append(len(rows))
        return product(rows)

    whole = autograd(product, n_outputs=3).values(X)
    monkeypatch.setattr(derivatives, "_ENTRIES", 50)
    np.testing.assert_array_equal(autograd(block, n_outputs=3).values(X), whole)
    assert sizes == [10, 10, 10, 7]
    assert sound(product, X, [0, 1], torch.float32).tolist() == [True] * 37


def test_values_are_those_of_the_dtype() -> None:
    found = autograd(lambda rows: rows * 1e30 * 1e30, torch.float32).values(X)
    assert np.isinf(found[X != 0]).all()
    half = autograd(lambda rows: rows, torch.bfloat16).values(X)
    np.testing.assert_allclose(half, X, rtol=2**-8)
    assert not np.array_equal(half, X)


def test_what_does_not_depend_on_inputs_has_the_derivative_that_is_asked_for() -> None:
    slopes = autograd(product, torch.float64).gradient(X)
    np.testing.assert_array_equal(slopes[:, 2], 0 * X)  # within what does depend on them
    for constant in (0.0, math.nan):
        fixed = autograd(lambda rows: rows.detach(), constant=constant).gradient(X)
        np.testing.assert_array_equal(fixed, np.full((37, 2, 2), constant))


def test_soundness_is_of_values_and_slopes_of_the_outputs_asked_for() -> None:
    """At 0 a root's slope is infinite, and a logarithm."""

    def block(rows: torch.Tensor) -> torch.Tensor:
        return torch.stack([rows[:, 0].sqrt(), rows[:, 0].detach().log()], dim=1)

    rows = np.array([[0.0], [1.0], [-1.0]])
    assert sound(block, rows, [0], torch.float64).tolist() == [False, True, False]
    assert sound(block, rows, [1], torch.float64).tolist() == [False, True, False]

    def other(rows: torch.Tensor) -> torch.Tensor:
        return torch.stack([rows[:, 0] ** 2, rows[:, 0].detach().log()], dim=1)

    assert sound(other, rows, [0], torch.float64).tolist() == [True, True, True]
