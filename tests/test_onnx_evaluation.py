"""Nodes computed with numpy against onnx.reference, bounds on rounding, and limits."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import onnx
import onnx.reference
import pytest
from onnx import TensorProto, helper, numpy_helper

from symcompile.diff.onnx.block_check import MACHINES, SLACK
from symcompile.diff.onnx.evaluation import (
    ELEMENTWISE,
    MAX_ELEMENTS,
    NODES,
    UNITS,
    Budget,
    Machine,
    NotComputedError,
    constant,
    constants_of,
)
from symcompile.expressions.evaluation import Array

X = np.array([[-1.25, 0.5, 2.0], [0.25, -0.75, 0.125]])
UNIT = np.array([[-0.5, 0.25, 0.75], [0.125, -0.875, 0.0]])
ABOVE = np.abs(X) + 0.5
INTS = np.array([2, 0, 1], dtype=np.int64)
TRUE = X > 0.3


def defined_at(function: Any) -> Array:
    """Points at which a function of one argument has values."""
    with np.errstate(all="ignore"):
        return next(at for at in (X, ABOVE, UNIT, 1 + ABOVE) if np.isfinite(function(at)).all())


# Name of the operator: its inputs, and its attributes.
CASES: dict[str, tuple[list[Any], dict[str, Any]]] = {
    **{
        name: ([defined_at(function)], {})
        for name, function in ELEMENTWISE.items()
        if getattr(function, "nin", 1) == 1 and name not in ("Not", "Where")
    },
    "Identity": ([X], {}),
    **{name: ([X, UNIT], {}) for name in ("Add", "Sub", "Mul", "Greater", "GreaterOrEqual")},
    **{name: ([X, UNIT], {}) for name in ("Less", "LessOrEqual", "Equal")},
    **{name: ([X, UNIT, ABOVE], {}) for name in ("Min", "Max")},
    **{name: ([TRUE, ~TRUE], {}) for name in ("And", "Or")},
    "Div": ([X, ABOVE], {}),
    "Pow": ([ABOVE, X], {}),
    "Not": ([TRUE], {}),
    "Where": ([TRUE, X, UNIT], {}),
    "Clip": ([X, np.array(-0.5), np.array(1.5)], {}),
    "Mod": ([X, ABOVE], {"fmod": 1}),
    "MatMul": ([X, X.T], {}),
    "Gemm": ([X, UNIT, np.array([1.0, 2.0])], {"transB": 1, "alpha": 0.5, "beta": 2.0}),
    "Unsqueeze": ([X, np.array([0, -1])], {}),
    "Squeeze": ([X[None], np.array([0])], {}),
    "Reshape": ([X, np.array([0, 3, -1])], {}),
    "Transpose": ([X[None]], {"perm": [2, 0, 1]}),
    "Expand": ([X[:, :1], np.array([4, 1, 2])], {}),
    "Shape": ([X[None]], {"start": 1}),
    "Gather": ([X, INTS], {"axis": 1}),
    "Concat": ([X, UNIT], {"axis": -1}),
    "Cast": ([X], {"to": TensorProto.INT64}),
    "Constant": ([], {"value": numpy_helper.from_array(X)}),
}  # fmt: skip


def node_of(name: str, count: int, attributes: dict[str, Any]) -> onnx.NodeProto:
    return helper.make_node(name, [f"x{k}" for k in range(count)], ["y"], **attributes)


def computed(node: onnx.NodeProto, *given: Any) -> dict[str, Array]:
    values = {f"x{k}": np.asarray(one) for k, one in enumerate(given)}
    return Machine(UNITS["float32"], Budget()).compute([node], values)


def test_every_operator_has_a_case() -> None:
    assert set(CASES) == set(NODES)


@pytest.mark.parametrize("name", CASES)
def test_operators_against_the_reference(name: str) -> None:
    inputs, attributes = CASES[name]
    node = node_of(name, len(inputs), attributes)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info(f"x{k}", 0, None) for k in range(len(inputs))],
        [helper.make_tensor_value_info(one, 0, None) for one in node.output],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    reference = onnx.reference.ReferenceEvaluator(model)
    expected = reference.run(None, {f"x{k}": np.asarray(one) for k, one in enumerate(inputs)})
    found = computed(node, *inputs)
    for output, value in zip(node.output, expected, strict=True):
        data = found[output]
        assert data.shape == value.shape
        assert data.dtype.kind == value.dtype.kind
        # onnx.reference has an erf of single precision.
        np.testing.assert_allclose(data, value, rtol=1e-7 if name == "Erf" else 1e-12)


# --- bounds on rounding --------------------------------------------------------------------------

SINGLE = UNITS["float32"]


def spread(nodes: list[onnx.NodeProto], **given: Any) -> tuple[Array, Array]:
    """What nodes give exactly, and how far rounding in single precision may move it."""
    runs = []
    for seed in range(MACHINES + 1):
        machine = Machine(SINGLE, Budget(), seed)
        values = {name: machine.rounded(one) for name, one in given.items()}
        runs.append(machine.compute(nodes, values)["y"])
    with np.errstate(invalid="ignore"):
        return runs[0], SLACK * np.abs(np.array(runs, dtype=float) - runs[0]).max(axis=0)


def nodes_of(*lines: str) -> list[onnx.NodeProto]:
    """From "y = Add(a, b)"."""
    found = []
    for line in lines:
        output, operator, inputs = re.fullmatch(r"(\w+) = (\w+)\((.*)\)", line).groups()  # type: ignore[union-attr]
        found.append(helper.make_node(operator, inputs.split(", "), [output]))
    return found


@pytest.mark.parametrize(
    ("lines", "single", "points"),
    [
        (("y = Sub(a, b)",), lambda a, b: a - b, (1.0, 1.0 - 1e-4)),  # cancellation
        (("c = Mul(a, b)", "y = Sin(c)"), lambda a, b: np.sin(a * b), (1000.0, 3.1)),
        (("c = Sub(a, b)", "y = Reciprocal(c)"), lambda a, b: 1 / (a - b), (0.7, 0.69)),
        (("c = Exp(a)", "y = Mul(c, b)"), lambda a, b: np.exp(a) * b, (30.0, -0.3)),
        (("y = MatMul(a, b)",), lambda a, b: a @ b, (0.1, 0.3)),
    ],
)
def test_machines_span_what_single_precision_does(
    lines: tuple[str, ...], single: Any, points: tuple[float, float]
) -> None:
    a, b = (np.full((3, 3), value) / 3 for value in points)
    exact, bound = spread(nodes_of(*lines), a=a, b=b)
    apart = np.abs(exact - single(a.astype(np.float32), b.astype(np.float32)))
    assert (apart <= bound).all()
    # And they are no blank cheque.
    assert (bound <= 500 * np.maximum(apart, SINGLE * np.abs(exact))).all()


def test_an_exact_machine_rounds_nothing_and_others_are_the_same_every_time() -> None:
    given = {"x0": X, "x1": ABOVE}
    nodes = [node_of("Div", 2, {})]
    exact = Machine(SINGLE, Budget()).compute(nodes, given)["y"]
    assert np.array_equal(exact, X / ABOVE)
    found = [Machine(SINGLE, Budget(), seed).compute(nodes, given)["y"] for seed in (1, 1, 2)]
    assert np.array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])


def test_whole_numbers_and_truths_are_exact() -> None:
    machine = Machine(SINGLE, Budget(), 1)
    given = {"x0": INTS, "x1": INTS}
    assert machine.compute([node_of("Add", 2, {})], given)["y"].tolist() == [4, 0, 2]
    assert machine.compute([node_of("Equal", 2, {})], given)["y"].all()


def test_machines_see_jumps_and_poles() -> None:
    _, bound = spread(nodes_of("y = Floor(a)"), a=np.array([2.0 - 1e-9, 2.5]))
    assert bound[0] >= 1.0
    assert bound[1] < 1e-4
    _, bound = spread(nodes_of("c = Sub(a, b)", "y = Log(c)"), a=np.array([1.0]), b=np.array([1.0]))
    assert not bound[0] < 1.0


def test_a_condition_that_may_tip_over_makes_both_branches_possible() -> None:
    one = np.array([1.0, 1.0])
    nodes = nodes_of("test = Greater(a, b)", "y = Where(test, c, d)")
    _, bound = spread(nodes, a=np.array([1.0, 2.0]), b=one, c=5 * one, d=7 * one)
    assert bound[0] > 2.0
    assert bound[1] < 1e-4


def test_matrix_products_bound_the_sum_of_their_terms() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(4, 300)), rng.normal(size=(300, 5))
    exact, bound = spread(nodes_of("y = MatMul(a, b)"), a=a, b=b)
    assert (np.abs(exact - a.astype(np.float32) @ b.astype(np.float32)) <= bound).all()


# --- what is not computed ------------------------------------------------------------------------

HUGE = np.array([10**6, 10**6])


@pytest.mark.parametrize(
    ("name", "inputs", "attributes", "reason"),
    [
        ("LSTM", [X], {}, "operator LSTM is not known"),
        ("Expand", [np.array(1.0), HUGE], {}, "1000000000000 elements"),
        ("Gather", [X, np.zeros(10**6, np.int64)], {"axis": 0}, "3000000 elements"),
        ("Add", [np.zeros((1000, 1)), np.zeros((1, 1000))], {}, "1000000 elements"),
        ("MatMul", [np.zeros((1000, 1)), np.zeros((1, 1000))], {}, "1000000 elements"),
        ("Reshape", [X, np.array([4, 4])], {}, "Reshape: "),
        ("Reshape", [X, X], {}, "whole numbers expected"),
        ("Gather", [X, np.array([9])], {"axis": 1}, "Gather: "),
        ("Gather", [X, np.array([0])], {"axis": 7}, "Gather: "),
        ("Unsqueeze", [X, np.arange(100)], {}, "Unsqueeze: "),
        ("Cast", [X], {"to": TensorProto.STRING}, "Cast: to string"),
        ("Cast", [X], {"to": 999}, "Cast: to type 999"),
        ("Add", [X], {}, "Add: "),
        ("Add", [X, np.zeros((7, 7))], {}, "Add: "),
        ("Div", [INTS, INTS], {}, "of whole numbers"),
        ("Split", [X], {"num_outputs": 3}, "operator Split is not known"),
        ("Concat", [X, X], {}, "Concat: "),
        ("Constant", [], {}, "a constant without a value"),
    ],
)
def test_what_is_not_computed_is_refused_before_it_is_done(
    name: str, inputs: list[Any], attributes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(NotComputedError, match=reason):
        computed(node_of(name, len(inputs), attributes), *inputs)


def test_doubling_is_stopped() -> None:
    nodes = [
        helper.make_node("Concat", [f"x{k}", f"x{k}"], [f"x{k + 1}"], axis=0) for k in range(60)
    ]
    with pytest.raises(NotComputedError, match="too large"):
        Machine(SINGLE, Budget()).compute(nodes, {"x0": np.zeros(2)})


def test_all_bodies_of_a_file_share_one_budget() -> None:
    budget, node = Budget(), node_of("Neg", 1, {})
    given = {"x0": np.zeros(MAX_ELEMENTS)}

    def many() -> None:
        for _ in range(1000):
            Machine(SINGLE, budget).compute([node], given)

    with pytest.raises(NotComputedError, match="too much to compute"):
        many()


def test_values_that_are_not_there() -> None:
    with pytest.raises(NotComputedError, match="not there"):
        Machine(SINGLE, Budget()).compute([node_of("Neg", 1, {})], {})
    other = helper.make_node("Neg", ["x0"], ["y"], domain="custom")
    with pytest.raises(NotComputedError, match="not known"):
        computed(other, X)


def test_constants_are_as_rounded_as_their_type() -> None:
    exact, machine = Machine(0.0, Budget()), Machine(0.0, Budget(), 1)
    single = numpy_helper.from_array(np.array([0.1], dtype=np.float32))
    stored = float(np.float32(0.1))
    assert constant(exact, single).item() == stored
    apart = abs(constant(machine, single).item() - stored)
    assert 0 < apart <= 0.1 * SINGLE
    whole = constant(machine, numpy_helper.from_array(np.array([3], dtype=np.int32)))
    assert (whole.dtype.kind, whole.item()) == ("i", 3)
    large = onnx.TensorProto(name="w", data_type=1, dims=[10**9])
    with pytest.raises(NotComputedError, match="a constant"):
        constant(exact, large)
    kept = helper.make_node("Constant", [], ["y"], value=numpy_helper.from_array(X))
    assert [list(one.dims) for one in constants_of([kept, node_of("Neg", 1, {})])] == [[2, 3]]
