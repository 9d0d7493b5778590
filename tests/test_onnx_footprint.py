"""The memory that the values of an ONNX graph take, told before it runs."""

import onnx
import pytest
from onnx import TensorProto, helper

from symcompile.exporters.onnx_batches import peak_bytes

FLOAT = TensorProto.FLOAT


def model_of(nodes, inputs, outputs, weights=()) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs],
        [helper.make_tensor(name, FLOAT, shape, [0.0] * size) for name, shape, size in weights],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


def test_values_are_alive_as_long_as_they_are_read() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "wide"], ["hidden"]),  # 8 bytes become 400
        helper.make_node("Relu", ["hidden"], ["active"]),
        helper.make_node("MatMul", ["active", "narrow"], ["y"]),
    ]
    weights = [("wide", (2, 100), 200), ("narrow", (100, 3), 300)]
    model = model_of(nodes, {"x": ["n", 2]}, ["y"], weights)
    # The input, and both sides of the activation: never the result beside them.
    assert peak_bytes(model, {"x": (1, 2)}) == 8 + 400 + 400
    assert peak_bytes(model, {"x": (1000, 2)}) == 1000 * (8 + 400 + 400)


def test_results_stay_and_weights_do_not_count() -> None:
    nodes = [
        helper.make_node("Transpose", ["weight"], ["turned"]),  # of weights alone: computed once
        helper.make_node("MatMul", ["x", "turned"], ["first"]),
        helper.make_node("Neg", ["first"], ["second"]),
        helper.make_node("Neg", ["second"], ["third"]),
    ]
    model = model_of(nodes, {"x": ["n", 2]}, ["first", "third"], [("weight", (50, 2), 100)])
    assert peak_bytes(model, {"x": (3, 2)}) == 3 * (8 + 3 * 200)


@pytest.mark.parametrize("known", [True, False])
def test_a_value_of_unknown_shape_is_as_large_as_what_it_is_made_from(known) -> None:
    """A reshape to sizes that are computed: ONNX knows them where it can compute along."""
    nodes = [
        helper.make_node("Shape", ["x" if known else "y"], ["shape"]),
        helper.make_node("Reshape", ["x", "shape"], ["z"]),
    ]
    model = model_of(nodes, {"x": ["n", 2], "y": None}, ["z"])
    assert peak_bytes(model, {"x": (5, 2)}) >= 2 * 40


def test_the_model_itself_stays_as_it_is() -> None:
    model = model_of([helper.make_node("Neg", ["x"], ["y"])], {"x": ["n", 2]}, ["y"])
    before = model.SerializeToString()
    peak_bytes(model, {"x": (5, 2)})
    assert model.SerializeToString() == before
