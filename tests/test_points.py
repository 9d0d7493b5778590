"""Points at which two blocks are compared: probes, then seeded ones in the recorded ranges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from equations_compared import output

from symcompile.diff.equations.points import SEEDED, sample
from symcompile.diff.snapshot import Block
from symcompile.modules.region import read_features

RANGES = {"x": (0.5, 2.0), "y": (-1.0, 3.0)}


def block(
    inputs: Mapping[str, Any] = RANGES,
    probes: Any = None,
    text: str = "2.5*x*y",
    symbols: tuple[str, ...] = ("x", "y"),
    **facts: Any,
) -> Block:
    rows = np.empty((0, 0)) if probes is None else np.array(probes, dtype=float)
    outputs = {0: output(text, symbols)}
    return Block("p", "symbolic", inputs=inputs, outputs=outputs, probes=rows, **facts)


def test_probes_of_both_sides_come_first() -> None:
    found = sample(block(probes=[[1, 2]]), block(probes=[[3, 4], [5, 6]]))
    assert found[:3].tolist() == [[1, 2], [3, 4], [5, 6]]
    assert found.shape == (3 + SEEDED, 2)


def test_seeded_points_lie_in_the_recorded_ranges() -> None:
    found = sample(block(), block())
    assert found.shape == (SEEDED, 2)
    assert ((found >= [0.5, -1.0]) & (found <= [2.0, 3.0])).all()
    assert np.ptp(found, axis=0) == pytest.approx([1.5, 4.0], rel=0.1)
    assert np.array_equal(found, sample(block(), block()))


def test_both_ranges_give_points() -> None:
    wider = block({"x": (10.0, 20.0), "y": (-1.0, 3.0)})
    found = sample(block(), wider)
    assert len(found) == SEEDED
    assert ((found[:, 0] >= 10).sum(), (found[:, 0] <= 2).sum()) == (SEEDED / 2, SEEDED / 2)


def test_the_same_points_in_the_other_direction() -> None:
    one, other = block(probes=[[1, 2]]), block({"x": (0.0, 1.0), "y": (0.0, 1.0)}, [[3, 4]])
    there, back = sample(one, other), sample(other, one)
    assert sorted(there.tolist()) == sorted(back.tolist())


def test_variables_are_computed_from_features() -> None:
    features = {"r": "sqrt(x**2 + y**2)", "s": "r*x", "q": "s - r"}
    one = block(features=features, text="2.5*r*s*q", symbols=("r", "s", "q"))
    found = sample(one, one)
    assert found.shape == (SEEDED, 3)
    x, y = sample(block(), block()).T
    expected = [
        [float(e.subs({"x": a, "y": b})) for e in read_features("p", features, ("x", "y"))]
        for a, b in zip(x[:5], y[:5], strict=True)
    ]
    assert found[:5] == pytest.approx(np.array(expected))


def test_a_feature_may_take_the_name_of_an_input() -> None:
    one = block(features={"x": "2*x", "z": "x + y"}, text="x*z", symbols=("x", "z"))
    x, y = sample(block(), block()).T
    assert sample(one, one) == pytest.approx(np.column_stack([2 * x, 2 * x + y]))


@pytest.mark.parametrize(
    "features",
    [
        {"a": "import os", "b": "x"},
        {"a": "__import__('os')", "b": "x"},
        {"a": "z", "b": "x"},
        {"a": "9**9**9**9*x", "b": "x"},
        {"a": "log(-abs(x))", "b": "x"},  # finite nowhere
        {f"f{k}": "x" for k in range(1000)},
        {"a": "x"},
    ],
)
def test_odd_features_leave_the_probes(features: dict[str, str]) -> None:
    one = block(features=features, probes=[[1, 2]], text="a*b", symbols=("a", "b"))
    assert sample(one, one).tolist() == [[1, 2], [1, 2]]


def test_features_of_features_do_not_grow() -> None:
    features = {"f0": "x"} | {
        f"f{k}": f"sin(f{k - 1}) + cos(f{k - 1})*f{k - 1}" for k in range(1, 60)
    }
    one = block(features=features, text="f0", symbols=tuple(features))
    assert sample(one, one).shape == (SEEDED, 60)


@pytest.mark.parametrize(
    "facts",
    [
        {"inputs": {"x": (0.0, 1.0), "y": None}},
        {"inputs": {"x": (0.0, float("inf")), "y": (0.0, 1.0)}},
        {"inputs": {"x": (0.0, float("nan")), "y": (0.0, 1.0)}},
        {"inputs": {"x": (0.0, 1.0)}},
        {"inputs": {}},
        {"projections": {"in": "digest"}},
    ],
)
def test_without_ranges_of_the_variables_only_probes(facts: dict[str, Any]) -> None:
    one = block(probes=[[1, 2]], **facts)
    assert sample(one, one).tolist() == [[1, 2], [1, 2]]
    # The other side may know.
    assert len(sample(one, block())) > SEEDED / 2


def test_a_projection_of_outputs_is_no_hindrance() -> None:
    one = block(projections={"out": "digest"})
    assert len(sample(one, one)) == SEEDED


@pytest.mark.parametrize("probes", [[[1.0]], [1.0, 2.0], [[1.0, 2.0, 3.0]], [[np.nan, 1.0]], 3.0])
def test_odd_probes_are_left_out(probes: Any) -> None:
    one = block(probes=probes)
    assert len(sample(one, one)) == SEEDED


def test_points_are_bounded() -> None:
    one = block(probes=np.zeros((100_000, 2)))
    assert len(sample(one, one)) < 3000


def test_ranges_the_wrong_way_round_and_of_one_value() -> None:
    one = block({"x": (2.0, 0.5), "y": (3.0, 3.0)})
    found = sample(one, one)
    assert ((found[:, 0] >= 0.5) & (found[:, 0] <= 2.0)).all()
    assert (found[:, 1] == 3.0).all()


def test_blocks_without_equations() -> None:
    neural = Block("p", "neural", inputs=RANGES)
    assert sample(neural, neural).shape == (SEEDED, 2)
    assert sample(Block("p", "neural"), Block("p", "neural")).shape == (0, 0)
    assert len(sample(neural, block())) == SEEDED
