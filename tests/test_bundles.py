"""Equations that are alike but for their coordinates are computed at once, and give the same."""

import numpy as np
import pytest
import torch

from symcompile.expressions.equation import Equation
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.operators import VOCABULARY
from symcompile.expressions.parser import parse
from symcompile.lowering.block import lower
from symcompile.lowering.bundles import bundles_of, form_of
from symcompile.modules.region import (
    Interface,
    Parameter,
    Projection,
    Region,
    TensorInput,
    TensorOutput,
)
from symcompile.target import Target

OPERATORS = OperatorSet.of(list(VOCABULARY))


def region(n: int, outputs: int) -> Region:
    """Twelve coordinates of six inputs, `n` components of the outputs."""
    random = np.random.default_rng(0)
    face = Interface((Parameter("x"),), (TensorInput("x", (), 6),), (TensorOutput(outputs),))
    into, out = random.normal(size=(12, 6)), random.normal(size=(n, outputs))
    projection = Projection(random.normal(size=6), into, np.linalg.pinv(into).T)
    return Region(
        "block",
        Target("block"),
        face,
        tuple(f"x{k}" for k in range(6)),
        "float64",
        projection_in=projection,
        projection_out=Projection(np.zeros(outputs), np.linalg.pinv(out).T, out),
    )


def equations(of: Region, *texts: str) -> dict[int, Equation]:
    names = of.variables
    return {
        number: Equation.of(parse(text, names), names, OPERATORS)
        for number, text in enumerate(texts)
    }


PRODUCTS = [f"z{k}*z{k + 6}" for k in range(6)]
GATES = [f"z{k}*z{11 - k}*sigmoid(z{11 - k})" for k in range(6)]
CASES = {
    "slices": PRODUCTS,
    "any columns": ["z0*z7", "z3*z1", "z9*z2", "z5*z11"],
    "gates": GATES,
    "among others": ["z0 + 1.5", *PRODUCTS, "sin(z3)", *GATES, "2.5", "z1**2"],
    "with guards": [f"sqrt(z{k}**2 + 1)/(z{k + 1}**2 + 1)" for k in range(5)],
    "too few": PRODUCTS[:3],
    "with constants": [f"1.5*z{k}*z{k + 6}" for k in range(6)],
    "of two kinds": [f"z{k}*z{k + 1}" if k % 2 else f"z{k} + z{k + 1}" for k in range(8)],
}
BUNDLED = {"slices": [6], "any columns": [4], "gates": [6], "among others": [6, 6]} | {
    "with guards": [5]
}


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_those_of_the_equations(name: str) -> None:
    of = region(len(CASES[name]), 5)
    given = equations(of, *CASES[name])
    sizes = [len(bundle.numbers) for bundle in bundles_of(of, given)]
    assert sizes == BUNDLED.get(name, [])
    block = lower(of, given, dtype=torch.float64).module
    x = torch.randn((3, 4, 6), dtype=torch.float64, requires_grad=True)
    X = x.detach().numpy().reshape(-1, 6)
    V = of.variable_values(X)
    expected = of.output_values(X, np.stack([one.predict(V) for one in given.values()], axis=1))
    found = block(x)
    np.testing.assert_allclose(found.detach().numpy().reshape(-1, 5), expected, rtol=1e-12)
    weight = torch.randn(5, dtype=torch.float64)
    (slope,) = torch.autograd.grad((found @ weight).sum(), x)
    step = 1e-6 * torch.randn_like(x)
    with torch.no_grad():
        moved = ((block(x + step) - block(x - step)) @ weight).sum()
    np.testing.assert_allclose(float((slope * step).sum() * 2), float(moved), rtol=1e-5)


def test_a_bundle_knows_its_equations() -> None:
    of = region(6, 5)
    block = lower(of, equations(of, *PRODUCTS), dtype=torch.float64).module
    (product,) = [node for node in block.graph.nodes if "mul" in str(node.target)]
    assert product.meta["symcompile"]["outputs"] == tuple(range(6))


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("z10*z4", "z5*z11", True),
        ("z0*sigmoid(z1)", "sigmoid(z9)*z10", True),
        ("z0 - z1", "z1 - z0", True),
        ("z0**2*z1", "z1**2*z0", True),
        ("z0**2*z1", "z0*z1", False),
        ("z0*z0", "z0*z1", False),
        ("z0 + 2", "z0 + 3", False),
    ],
)
def test_forms(one: str, other: str, alike: bool) -> None:
    of = region(2, 5)
    a, b = (form_of(equation.program) for equation in equations(of, one, other).values())
    assert a is not None
    assert b is not None
    assert (a.text == b.text) == alike


@pytest.mark.parametrize("text", ["2.5", "1.5*z0", "z0*z1*z2*z3*z4"])
def test_what_has_no_form(text: str) -> None:
    of = region(1, 5)
    assert form_of(equations(of, text)[0].program) is None
