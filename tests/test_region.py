"""Regions: names, features and projections between a block's tensors and its equations."""

import numpy as np
import pytest
import sympy

from symcompile.errors import ExpressionError
from symcompile.modules.region import (
    Interface,
    Parameter,
    Projection,
    Region,
    TensorInput,
    TensorOutput,
    read_features,
)
from symcompile.target import Target


def region(target: Target | None = None, **fields: object) -> Region:
    face = Interface(
        (Parameter("x"), Parameter("t")),
        (TensorInput("x", (), 2), TensorInput("t", (), 1, scalar=True)),
        (TensorOutput(2), TensorOutput(1, scalar=True)),
        (0, 1),
    )
    return Region("edge", target or Target("edge"), face, ("a", "b", "t"), **fields)  # type: ignore[arg-type]


def test_columns_lead_back_to_tensors() -> None:
    face = region().interface
    assert (face.n_inputs, face.n_outputs) == (3, 3)
    assert face.input_columns == ((0, 0), (0, 1), (1, 0))
    assert face.output_slices == (slice(0, 2), slice(2, 3))


def test_without_options_the_variables_are_the_inputs() -> None:
    one = region()
    X = np.arange(6.0).reshape(2, 3)
    assert one.variables == one.base_names == ("a", "b", "t")
    assert one.features == tuple(sympy.symbols("a b t"))
    np.testing.assert_array_equal(one.variable_values(X), X)
    np.testing.assert_array_equal(one.equation_values(X, X), X)
    assert one.equation_outputs == (0, 1, 2)


def test_features_build_on_each_other() -> None:
    one = region(Target("edge", features={"d": "a - b", "r": "sqrt(d**2 + 1)", "t": "t"}))
    X = np.random.default_rng(0).normal(size=(5, 3))
    expected = np.stack([X[:, 0] - X[:, 1], np.hypot(X[:, 0] - X[:, 1], 1), X[:, 2]], axis=1)
    assert one.variables == ("d", "r", "t")
    np.testing.assert_allclose(one.variable_values(X), expected, rtol=1e-14)
    a, b = sympy.symbols("a b")
    assert one.features[1] == sympy.sqrt((a - b) ** 2 + 1)


def test_projections_stand_before_features_and_after_equations() -> None:
    components = np.array([[0.6, 0.8, 0.0]])
    projection = Projection(np.array([1.0, 2.0, 3.0]), components)
    one = region(
        Target("edge", features={"s": "z0**2"}), projection_in=projection, projection_out=projection
    )
    X = np.random.default_rng(0).normal(size=(5, 3))
    z = (X - projection.mean) @ components.T
    assert (one.base_names, one.variables, one.n_equations) == (("z0",), ("s",), 1)
    np.testing.assert_allclose(one.variable_values(X), z**2, rtol=1e-14)
    np.testing.assert_allclose(one.equation_values(X, X), z, rtol=1e-14)
    np.testing.assert_allclose(projection.project(projection.reconstruct(z)), z, rtol=1e-12)


def test_chosen_outputs() -> None:
    assert region(Target("edge", outputs=(2, 0))).equation_outputs == (0, 2)


@pytest.mark.parametrize(
    ("features", "found"),
    [
        ({"d": "a - q"}, "feature 'd'.*unknown name 'q'"),
        ({"d": "later", "later": "a"}, "feature 'd'.*unknown name 'later'"),
        ({"d": "a.real"}, "feature 'd'.*Attribute"),
    ],
)
def test_wrong_features_name_target_and_feature(features: dict[str, str], found: str) -> None:
    with pytest.raises(ExpressionError, match="target 'edge', " + found):
        read_features("edge", features, ["a", "b"])
