"""Forces are the gradients of their potentials, whatever they are computed with."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import sympy
import torch

FILE = Path(__file__).parents[1] / "examples" / "force_laws.py"
NAMES = ("r^-1", "r^-2", "spring", "charge")


@pytest.fixture(scope="module")
def laws() -> ModuleType:
    spec = spec_from_file_location("force_laws", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def pairs(n: int = 50) -> dict[str, Any]:
    """Positions [n, 2] of two particles, their masses and charges [n]."""
    rng = np.random.default_rng(0)
    receiver, sender = rng.normal(size=(2, n, 2))
    m1, m2 = np.exp(rng.normal(size=(2, n)))
    q1, q2 = np.sign(rng.normal(size=(2, n)))
    return {"receiver": receiver, "sender": sender, "own": (m1, m2, q1, q2)}


def potential(name: str, d: Any, m1: Any, m2: Any, q1: Any, q2: Any) -> Any:
    """Written out a second time, so that a wrong sign or a swapped name shows."""
    return {
        "r^-1": lambda: m1 * m2 * torch.log(d),
        "r^-2": lambda: -m1 * m2 / d,
        "spring": lambda: (d - 1) ** 2,
        "charge": lambda: q1 * q2 / d,
    }[name]()


def test_the_four_laws_are_there(laws: ModuleType) -> None:
    assert tuple(laws.LAWS) == NAMES
    assert all(laws.LAWS[name].name == name for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_force_is_the_negative_gradient_of_the_potential(laws: ModuleType, name: str) -> None:
    drawn = pairs()
    receiver = torch.tensor(drawn["receiver"], requires_grad=True)
    delta = receiver - torch.tensor(drawn["sender"])
    d = delta.norm(dim=1) + laws.SOFTENING
    own = [torch.tensor(value) for value in drawn["own"]]
    (gradient,) = torch.autograd.grad(potential(name, d, *own).sum(), receiver)
    force = torch.stack(laws.LAWS[name].force(delta[:, 0], delta[:, 1], d, *own), dim=1)
    torch.testing.assert_close(force, -gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_arrays_and_expressions_agree(laws: ModuleType, name: str) -> None:
    drawn = pairs()
    delta = drawn["receiver"] - drawn["sender"]
    d = np.hypot(*delta.T) + laws.SOFTENING
    law = laws.LAWS[name]
    values = [*delta.T, d, *drawn["own"]]
    symbols = sympy.symbols(laws.FEATURES)
    for expr, force in zip(law.force(*symbols), law.force(*values), strict=True):
        assert np.allclose(sympy.lambdify(symbols, expr)(*values), force, rtol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_textbook_form_differs_by_the_softening_alone(laws: ModuleType, name: str) -> None:
    law, symbols = laws.LAWS[name], sympy.symbols(laws.FEATURES)
    r = symbols[2]
    for exact, textbook in zip(law.force(*symbols), law.expressions(), strict=True):
        ratio = sympy.nsimplify(sympy.simplify(textbook / exact))
        assert sympy.simplify(ratio - (1 - sympy.Rational(1, 100) / r)) == 0


DX, R, M1, M2, Q1, Q2 = sympy.symbols("dx r m1 m2 q1 q2")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("r^-1", -DX * M1 * M2 / R**2),
        ("r^-2", -DX * M1 * M2 / R**3),
        ("spring", -2 * DX * (R - 1) / R),
        ("charge", DX * Q1 * Q2 / R**3),
    ],
)
def test_textbook_form(laws: ModuleType, name: str, expected: sympy.Expr) -> None:
    assert sympy.simplify(laws.LAWS[name].expressions()[0] - expected) == 0
