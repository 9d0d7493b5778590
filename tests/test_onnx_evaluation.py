"""Nodes computed with numpy against onnx.reference, bounds on rounding, and limits."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx.reference
import pytest
from onnx import TensorProto, helper, numpy_helper

from symcompile.diff.onnx.evaluation import (
    MAX_ELEMENTS,
    OPERATORS,
    Budget,
    NotComputedError,
    compute,
    constant,
    constants_of,
)
from symcompile.diff.onnx.rounding import UNITS, Value, exact, rounded, spread

X = np.array([[-1.25, 0.5, 2.0], [0.25, -0.75, 0.125]])
UNIT = np.array([[-0.5, 0.25, 0.75], [0.125, -0.875, 0.0]])
ABOVE = np.abs(X) + 0.5
INTS = np.array([2, 0, 1], dtype=np.int64)
TRUE = X > 0.3

# Name of the operator: its inputs, and its attributes.
CASES: dict[str, tuple[list[Any], dict[str, Any]]] = {
    **{name: ([X], {}) for name in ("Neg", "Abs", "Exp", "Sin", "Cos", "Tan", "Atan", "Sinh")},
    **{name: ([X], {}) for name in ("Cosh", "Tanh", "Erf", "Sign", "Floor", "Ceil", "Round")},
    **{name: ([X], {}) for name in ("Sigmoid", "Softplus", "Relu", "Reciprocal", "Identity")},
    **{name: ([ABOVE], {}) for name in ("Log", "Sqrt")},
    **{name: ([UNIT], {}) for name in ("Asin", "Acos")},
    **{name: ([X, UNIT], {}) for name in ("Add", "Sub", "Mul", "Greater", "GreaterOrEqual")},
    **{name: ([X, UNIT], {}) for name in ("Less", "LessOrEqual", "Equal")},
    **{name: ([X, UNIT, ABOVE], {}) for name in ("Min", "Max")},
    **{name: ([TRUE, ~TRUE], {}) for name in ("And", "Or")},
    "Div": ([X, ABOVE], {}),
    "Pow": ([ABOVE, X], {}),
    "Not": ([TRUE], {}),
    "Where": ([TRUE, X, UNIT], {}),
    "Clip": ([X, np.array(-0.5), np.array(1.5)], {}),
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
    "CastLike": ([X, UNIT], {}),
    "Constant": ([], {"value": numpy_helper.from_array(X)}),
}  # fmt: skip


def node_of(name: str, count: int, attributes: dict[str, Any]) -> onnx.NodeProto:
    return helper.make_node(name, [f"x{k}" for k in range(count)], ["y"], **attributes)


def computed(node: onnx.NodeProto, *given: Any, floor: float = 0.0) -> dict[str, Value]:
    values = {f"x{k}": exact(one) for k, one in enumerate(given)}
    return compute([node], values, floor, Budget())


def test_every_operator_has_a_case() -> None:
    assert set(CASES) == set(OPERATORS)


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
        data = found[output].data
        assert data.shape == value.shape
        assert data.dtype.kind == value.dtype.kind
        # onnx.reference has an erf of single precision.
        np.testing.assert_allclose(data, value, rtol=1e-7 if name == "Erf" else 1e-12)
        assert found[output].error.shape == data.shape


# --- bounds on rounding --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "points"),
    [
        (lambda a, b: a - b, ((1.0, 1.0 - 1e-4),)),  # cancellation
        (lambda a, b: np.sin(a * b), ((1000.0, 3.1),)),  # a large argument
        (lambda a, b: 1.0 / (a - b), ((0.7, 0.69),)),  # next to a pole
        (lambda a, b: np.exp(a) * b, ((30.0, -0.3),)),
        (lambda a, b: a @ b if a.ndim == 2 else a * b, ((0.1, 0.3),)),
    ],
)
def test_bounds_hold_what_single_precision_does(function: Any, points: Any) -> None:
    for a, b in points:
        one, two = (np.full((3, 3), value) / 3 for value in (a, b))
        unit = UNITS["float32"]
        args = [rounded(one, unit), rounded(two, unit)]
        found = spread(function, args, unit)
        single = function(one.astype(np.float32), two.astype(np.float32))
        apart = np.abs(found.data - single.astype(np.float64))
        assert (apart <= found.error).all()
        # And they are no blank cheque.
        assert (found.error <= 100 * np.maximum(apart, unit * np.abs(found.data))).all()


def test_bounds_see_jumps_and_poles() -> None:
    near = Value(np.array([2.0 - 1e-9, 2.5]), np.array([1e-8, 1e-8]))
    found = compute([node_of("Floor", 1, {})], {"x0": near}, 0.0, Budget())["y"]
    assert found.error.tolist() == [1.0, 0.0]
    logarithm = compute(
        [node_of("Log", 1, {})], {"x0": Value(np.array([1e-9]), np.array([1e-8]))}, 0.0, Budget()
    )["y"]
    assert logarithm.error.tolist() == [np.inf]


def test_a_condition_that_may_tip_over_makes_both_branches_possible() -> None:
    given = {
        "x0": Value(np.array([1.0, 2.0]), np.array([1e-6, 1e-6])),
        "x1": exact(np.array([1.0, 1.0])),
        "a": exact(np.array([5.0, 5.0])),
        "b": exact(np.array([7.0, 7.0])),
    }
    nodes = [
        helper.make_node("Greater", ["x0", "x1"], ["test"]),
        helper.make_node("Where", ["test", "a", "b"], ["y"]),
    ]
    found = compute(nodes, given, 0.0, Budget())
    assert found["test"].error.tolist() == [1.0, 0.0]
    assert found["y"].error.tolist() == [2.0, 0.0]


def test_matrix_products_bound_the_sum_of_their_terms() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(4, 300)), rng.normal(size=(300, 5))
    unit = UNITS["float32"]
    given = {"x0": rounded(a, unit), "x1": rounded(b, unit)}
    found = compute([node_of("MatMul", 2, {})], given, unit, Budget())["y"]
    single = a.astype(np.float32) @ b.astype(np.float32)
    assert (np.abs(found.data - single) <= found.error).all()


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
        compute(nodes, {"x0": exact(np.zeros(2))}, 0.0, Budget())


def test_all_bodies_of_a_file_share_one_budget() -> None:
    budget, node = Budget(), node_of("Neg", 1, {})
    given = {"x0": exact(np.zeros(MAX_ELEMENTS))}

    def many() -> None:
        for _ in range(1000):
            compute([node], given, 0.0, budget)

    with pytest.raises(NotComputedError, match="too much to compute"):
        many()


def test_values_that_are_not_there() -> None:
    with pytest.raises(NotComputedError, match="not there"):
        compute([node_of("Neg", 1, {})], {}, 0.0, Budget())
    other = helper.make_node("Neg", ["x0"], ["y"], domain="custom")
    with pytest.raises(NotComputedError, match="not known"):
        computed(other, X)


def test_constants_know_how_they_were_rounded() -> None:
    single = constant(numpy_helper.from_array(np.array([0.1], dtype=np.float32)))
    assert single.unit == UNITS["float32"]
    assert single.error.item() == pytest.approx(0.1 * UNITS["float32"])
    whole = constant(numpy_helper.from_array(np.array([3], dtype=np.int32)))
    assert (whole.data.dtype.kind, whole.error.item()) == ("i", 0)
    large = onnx.TensorProto(name="w", data_type=1, dims=[10**9])
    with pytest.raises(NotComputedError, match="a constant"):
        constant(large)
    kept = helper.make_node("Constant", [], ["y"], value=numpy_helper.from_array(X))
    assert [list(one.dims) for one in constants_of([kept, node_of("Neg", 1, {})])] == [[2, 3]]
