"""Reduce: principal components of wide inputs and outputs, fitted on the fit samples."""

import numpy as np
import pytest

from symcompile.errors import TargetError
from symcompile.modules.region import Interface, Parameter, Region, TensorInput, TensorOutput
from symcompile.modules.samples import Samples
from symcompile.passes.reduce import reduce
from symcompile.target import Target


def case(target: Target, n: int = 200) -> tuple[Region, Samples]:
    """Six inputs and five outputs that are linear in two hidden coordinates."""
    random = np.random.default_rng(0)
    hidden = random.normal(size=(n, 2)) * [3.0, 1.0]
    X = hidden @ random.normal(size=(2, 6)) + 5.0
    Y = hidden @ random.normal(size=(2, 5)) - 1.0
    holdout = np.arange(n) % 5 == 0
    X[holdout] *= 10.0  # must not matter for the fit
    face = Interface((Parameter("x"),), (TensorInput("x", (), 6),), (TensorOutput(5),))
    region = Region("block", target, face, tuple(f"x{k}" for k in range(6)))
    return region, Samples(X, Y, holdout)


def test_without_the_option_nothing_changes() -> None:
    region, samples = case(Target("block"))
    assert reduce(region, samples) is region


def test_two_components_carry_everything() -> None:
    region, samples = case(Target("block", reduce=(2, 2)))
    found = reduce(region, samples)
    assert found.variables == ("z0", "z1")
    assert (found.n_equations, region.n_equations) == (2, 5)
    for projection, values in (
        (found.projection_in, samples.X_fit),
        (found.projection_out, samples.Y_fit),
    ):
        assert projection is not None
        again = projection.reconstruct(projection.project(values))
        np.testing.assert_allclose(again, values, atol=1e-10)
        np.testing.assert_allclose(
            projection.components @ projection.components.T, np.eye(2), atol=1e-12
        )
        np.testing.assert_allclose(projection.mean, values.mean(axis=0))


def test_components_are_ordered_by_variance_and_signed_alike() -> None:
    region, samples = case(Target("block", reduce=2))
    found = reduce(region, samples)
    assert found.projection_in is not None
    assert found.projection_out is None
    spread = found.projection_in.project(samples.X_fit).std(axis=0)
    assert spread[0] > spread[1]
    for row in found.projection_in.components:
        assert row[np.abs(row).argmax()] > 0
    mirrored = Samples(-samples.X, samples.Y, samples.holdout)
    again = reduce(region, mirrored).projection_in
    assert again is not None
    np.testing.assert_allclose(again.components, found.projection_in.components, atol=1e-12)


@pytest.mark.parametrize(
    ("target", "found"),
    [
        (Target("block", reduce=7), "asks for 7 components of the inputs, at most 6"),
        (Target("block", reduce=(None, 6)), "asks for 6 components of the outputs, at most 5"),
        (Target("block", reduce=(1, 1), outputs=(0,)), "exclude each other"),
    ],
)
def test_wrong_options(target: Target, found: str) -> None:
    region, samples = case(target)
    with pytest.raises(TargetError, match="target 'block': .*" + found):
        reduce(region, samples)


def test_fewer_samples_than_components() -> None:
    region, samples = case(Target("block", reduce=6), n=6)
    with pytest.raises(TargetError, match="at most 4 fit 4 samples of 6 features"):
        reduce(region, samples)
