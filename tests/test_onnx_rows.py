"""Graphs made by hand and by torch.onnx, as rows of a comparison."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from symcompile.diff.readers import read
from symcompile.diff.readers.onnx_file import FOREIGN
from symcompile.diff.snapshot import Snapshot
from symcompile.errors import ArtifactError
from symcompile.storage.schema import Node, Tensor

FLOAT = TensorProto.FLOAT


def value(name: str, shape: Any = ("batch", 2), dtype: int = FLOAT) -> Any:
    return helper.make_tensor_value_info(name, dtype, shape)


def weight(name: str, values: Any, dtype: str = "float32") -> Any:
    return numpy_helper.from_array(np.asarray(values, dtype=dtype), name)


def graph_of(
    nodes: list[Any],
    inputs: list[Any] | None = None,
    outputs: list[Any] | None = None,
    weights: list[Any] | None = None,
) -> Any:
    return helper.make_graph(
        nodes, "g", [value("x")] if inputs is None else inputs, outputs or [value("y")], weights
    )


def snapshot(graph: Any, path: Path, **options: Any) -> Snapshot:
    imports = options.pop("opset_imports", [helper.make_opsetid("", 18)])
    model = helper.make_model(graph, opset_imports=imports, **options)
    path.write_bytes(model.SerializeToString())
    return read(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.onnx"


def node(kind: str, inputs: list[str], outputs: list[str], **attributes: Any) -> Any:
    return helper.make_node(kind, inputs, outputs, **attributes)


def test_a_foreign_file_is_structure_only(path: Path) -> None:
    nodes = [
        node("MatMul", ["x", "layer.weight"], ["a"], name="mm"),
        node("Custom", ["a"], ["b", "c"], name="own", domain="com.example"),
        node("Add", ["c", "b"], ["y"], name="add"),
    ]
    graph = graph_of(nodes, weights=[weight("layer.weight", np.eye(2))])
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("com.example", 3)]
    found = snapshot(graph, path, opset_imports=imports)
    assert not found.equations_known
    assert found.blocks == {}
    assert found.notes == (FOREIGN,)
    assert (found.model, found.parameters, found.probes) == (None, None, None)
    assert found.opsets == {"ai.onnx": 18, "com.example": 3}
    assert found.inputs == {"x": Tensor("float32", ("batch", 2))}
    assert found.nodes == (
        Node("x", "input", attributes="x"),
        Node("mm", "MatMul", ("x",), ("layer.weight",), "%, @"),
        Node("own", "com.example::Custom", ("mm",), (), "%"),
        # Which of several outputs is read is said of the reader.
        Node("add", "Add", ("own", "own"), (), "%[1], %"),
        Node("output", "output", ("add",), (), "%"),
    )
    assert list(found.weights) == ["layer.weight"]


def test_names_that_are_empty_or_repeated_become_unique(path: Path) -> None:
    nodes = [
        node("Neg", ["x"], ["a"]),
        node("Neg", ["a"], ["b"]),
        node("Abs", ["b"], ["c"], name="x"),
        node("Abs", ["c"], ["d"], name="Neg_2"),
        node("Abs", ["d"], ["y"], name="output"),
    ]
    found = snapshot(graph_of(nodes), path)
    names = [one.name for one in found.nodes]
    assert len(set(names)) == len(names) == 7
    assert [one.inputs for one in found.nodes[1:]] == [(name,) for name in names[:-1]]


def test_control_characters_reach_nobody(path: Path) -> None:
    evil = "a\x1b[2J\u202e\nb"
    nodes = [node("Custom", ["x"], ["y"], name=evil, domain=evil, note=evil)]
    graph = graph_of(nodes, [value("x", (evil, 2))], [value("y", (evil, 2))])
    found = snapshot(graph, path, opset_imports=[helper.make_opsetid(evil, 1)])
    assert str(found).isprintable()
    assert found.nodes[1].name == "a?[2J??b"


def test_nodes_in_any_order_are_sorted(path: Path) -> None:
    nodes = [
        node("Add", ["b", "a"], ["y"], name="add"),
        node("Abs", ["x"], ["b"], name="abs"),
        node("Neg", ["x"], ["a"], name="neg"),
    ]
    found = snapshot(graph_of(nodes), path)
    assert [one.name for one in found.nodes] == ["x", "abs", "neg", "add", "output"]
    assert found.nodes[3].inputs == ("abs", "neg")


@pytest.mark.parametrize(
    ("nodes", "says"),
    [
        ([node("Add", ["x", "y"], ["y"], name="loop")], "a cycle through node 'loop'"),
        (
            [node("Neg", ["b"], ["a"]), node("Neg", ["a"], ["b"]), node("Neg", ["x"], ["y"])],
            "a cycle through node",
        ),
        ([node("Neg", ["nowhere"], ["y"], name="n")], "n reads 'nowhere', which nobody makes"),
        ([node("Neg", ["x"], ["a"])], "the graph reads 'y', which nobody makes"),
        ([node("Neg", ["x"], ["y"]), node("Abs", ["x"], ["y"])], "value 'y' twice"),
        ([node("Neg", ["x"], ["x"])], "value 'x' twice"),
        ([node("Constant", [], ["y", "z"], value_int=1)], "makes 2 values"),
    ],
)
def test_graphs_that_can_not_be(nodes: list[Any], says: str, path: Path) -> None:
    with pytest.raises(ArtifactError, match=says):
        snapshot(graph_of(nodes), path)


# --- constants and weights -----------------------------------------------------------------------


def tensor_node(name: str, values: Any, dtype: str = "float32") -> Any:
    return node("Constant", [], [name], value=weight("", values, dtype))


CONSTANTS = {
    "a number": (weight("c", 0.1), "%, 0.1"),
    "a number of another type": (weight("c", 0.1, "float64"), "%, 0.1"),
    "a node": (tensor_node("c", 1.7), "%, 1.7"),
    "a short list": (tensor_node("c", [0.5, 1.5]), "%, [0.5, 1.5]"),
    "sizes": (weight("c", [3, -1], "int64"), "%, [3, -1]"),
    "no sizes": (weight("c", [], "int64"), "%, []"),
    "truth": (weight("c", True, "bool"), "%, True"),
    "value_float": (node("Constant", [], ["c"], value_float=0.1), "%, 0.1"),
    "value_ints": (node("Constant", [], ["c"], value_ints=[1, 2]), "%, [1, 2]"),
    "value_string": (node("Constant", [], ["c"], value_string="50%"), r"%, '50\x25'"),
    "infinity": (weight("c", np.inf), "%, inf"),
}


@pytest.mark.parametrize("name", CONSTANTS)
def test_small_constants_are_attributes(name: str, path: Path) -> None:
    one, attributes = CONSTANTS[name]
    is_node = isinstance(one, onnx.NodeProto)
    nodes = [*([one] if is_node else []), node("Custom", ["x", "c"], ["y"])]
    found = snapshot(graph_of(nodes, weights=[] if is_node else [one]), path)
    assert found.weights == {}
    assert found.nodes[1].attributes == attributes
    assert found.nodes[1].inputs == ("x",)


WEIGHTS = {
    "a vector": (weight("c", [0.5, 1.5]), "float32", (2,)),
    "one number with a dimension": (weight("c", [0.5]), "float32", (1,)),
    "a parameter of a single number": (weight("gain.scale", 0.5), "float32", ()),
    "many whole numbers": (weight("c", range(17), "int64"), "int64", (17,)),
    "a long constant": (tensor_node("c", np.zeros(17)), "float32", (17,)),
    "a matrix in a node": (tensor_node("c", np.zeros((2, 2))), "float32", (2, 2)),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_other_tensors_are_weights(name: str, path: Path) -> None:
    one, dtype, shape = WEIGHTS[name]
    is_node = isinstance(one, onnx.NodeProto)
    read_as = "c" if is_node else one.name
    nodes = [*([one] if is_node else []), node("Custom", ["x", read_as], ["y"])]
    found = snapshot(graph_of(nodes, weights=[] if is_node else [one]), path)
    assert [(w.dtype, w.shape) for w in found.weights.values()] == [(dtype, shape)]
    assert found.nodes[1].attributes == "%, @"
    assert found.nodes[1].weights == (read_as,)


def test_weights_that_nobody_reads_are_none_of_the_graph(path: Path) -> None:
    graph = graph_of([node("Neg", ["x"], ["y"])], weights=[weight("unused", np.eye(2))])
    assert snapshot(graph, path).weights == {}


def test_initializers_may_stand_among_the_inputs(path: Path) -> None:
    nodes = [node("MatMul", ["x", "w"], ["y"])]
    graph = graph_of(nodes, [value("x"), value("w", (2, 2))], weights=[weight("w", np.eye(2))])
    found = snapshot(graph, path, ir_version=3)
    assert list(found.inputs) == ["x"]
    assert found.nodes[1].weights == ("w",)


def test_an_argument_that_is_left_out_keeps_its_place(path: Path) -> None:
    nodes = [tensor_node("high", 2.5), node("Clip", ["x", "", "high"], ["y"])]
    assert snapshot(graph_of(nodes), path).nodes[1].attributes == "%, none, 2.5"


# --- attributes ----------------------------------------------------------------------------------


def test_attributes_are_sorted_text(path: Path) -> None:
    given = {
        "b": 0.1,
        "a": 3,
        "text": "SAME",
        "list": [1, 2],
        "d": [0.5, 0.1],
        "t": weight("", 2.5),
    }
    found = snapshot(graph_of([node("Custom", ["x"], ["y"], **given)]), path)
    said = "%; a=3, b=0.1, d=[0.5, 0.1], list=[1, 2], t=2.5, text=SAME"
    assert found.nodes[1].attributes == said


@pytest.mark.parametrize(
    ("one", "other"),
    [("x" * 10**6, "x" * (10**6 - 1) + "y"), ([1] * 10**5, [1] * (10**5 - 1) + [2])],
)
def test_long_attributes_are_cut_and_still_tell_a_change(one: Any, other: Any, path: Path) -> None:
    found = [
        snapshot(graph_of([node("Custom", ["x"], ["y"], long=given)]), path).nodes[1].attributes
        for given in (one, other)
    ]
    assert found[0] != found[1]
    assert max(map(len, found)) < 300


def branching(inner: list[Any], around: str = "w") -> Any:
    then = helper.make_graph(inner, "then", [], [value("t")])
    other = helper.make_graph([node("Identity", [around], ["e"])], "else", [], [value("e")])
    nodes = [
        node("Greater", ["x", "limit"], ["test"], name="test"),
        node("If", ["test"], ["y"], name="if", then_branch=then, else_branch=other),
    ]
    weights = [weight("limit", 0.5), weight("w", np.eye(2))]
    return graph_of(nodes, weights=weights)


def test_graphs_inside_of_a_node_are_text_without_names(path: Path) -> None:
    first = [node("Mul", ["x", "limit"], ["m"]), node("Add", ["m", "w"], ["t"])]
    again = [node("Mul", ["x", "limit"], ["q"], name="n"), node("Add", ["q", "w"], ["t"])]
    other = [node("Mul", ["x", "limit"], ["m"]), node("Sub", ["m", "w"], ["t"])]
    found = [snapshot(branching(inner), path) for inner in (first, again, other)]
    a, b, c = (one.nodes[2] for one in found)
    assert a.operator == "If"
    # What its graphs read from around counts as read by the node.
    assert a.inputs == ("test", "x")
    assert a.weights == ("w",)
    assert a.attributes == (
        "%, @, %; else_branch={Identity($0)[]; return #0},"
        " then_branch={Mul($1, 0.5)[]; Add(#1, $0)[]; return #2}"
    )
    assert a == b
    assert a.attributes != c.attributes


def test_a_graph_inside_may_not_read_what_nobody_makes(path: Path) -> None:
    with pytest.raises(ArtifactError, match="if reads 'nowhere', which nobody makes"):
        snapshot(branching([node("Neg", ["nowhere"], ["t"])]), path)


# --- local functions -----------------------------------------------------------------------------


def with_functions(path: Path, *bodies: tuple[str, list[Any]], called: str = "outer") -> Snapshot:
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    functions = [
        helper.make_function("own", name, ["a"], ["b"], nodes, imports) for name, nodes in bodies
    ]
    graph = graph_of([node(called, ["x"], ["y"], domain="own")])
    return snapshot(graph, path, functions=functions, opset_imports=imports)


def test_a_change_in_a_local_function_is_seen_at_its_calls(path: Path) -> None:
    def of(kind: str, name: str = "h") -> str:
        outer = ("outer", [node("inner", ["a"], ["b"], domain="own")])
        inner = ("inner", [node("Abs", ["a"], [name]), node(kind, [name], ["b"])])
        return with_functions(path, outer, inner).nodes[1].attributes

    assert of("Neg") == of("Neg", "renamed")
    assert of("Neg") != of("Exp")
    assert of("Neg").startswith("%; function ")


def test_functions_that_call_themselves(path: Path) -> None:
    with pytest.raises(ArtifactError, match="inside of itself, or too deep"):
        with_functions(path, ("outer", [node("outer", ["a"], ["b"], domain="own")]))
    chain = [(f"f{k}", [node(f"f{k + 1}", ["a"], ["b"], domain="own")]) for k in range(3000)]
    with pytest.raises(ArtifactError, match="inside of itself, or too deep"):
        with_functions(path, *chain, called="f0")


# --- shapes --------------------------------------------------------------------------------------


def test_the_free_first_size_is_the_batch_whatever_it_is_called(path: Path) -> None:
    graph = graph_of(
        [node("Custom", ["x", "z"], ["y", "w"])],
        [value("x", ("s17", "s2", 3)), value("z", (None, None))],
        [value("y", ("s17", 1)), value("w", ("2*s17", "s2"))],
    )
    found = snapshot(graph, path)
    assert found.inputs["x"].shape == ("batch", "s2", 3)
    assert found.inputs["z"].shape == ("batch", "?")
    assert found.outputs["y"].shape == ("batch", 1)
    assert found.outputs["w"].shape == ("2*s17", "s2")


def test_inputs_that_are_no_plain_tensors(path: Path) -> None:
    sequence = helper.make_value_info(
        "x", helper.make_sequence_type_proto(helper.make_tensor_type_proto(FLOAT, None))
    )
    unknown = value("z", None, TensorProto.BFLOAT16)
    graph = graph_of([node("Custom", ["x", "z"], ["y"])], [sequence, unknown])
    found = snapshot(graph, path)
    assert found.inputs == {"x": Tensor("sequence", ()), "z": Tensor("bfloat16", ("...",))}


# --- written by torch ----------------------------------------------------------------------------


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> Any:
        y = torch.tanh(self.layer(x)) * 2.5
        return torch.cond(y.sum() > 0, lambda v: v * 2, lambda v: v - 1.5, (y,)), y.chunk(3, dim=1)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_file_of_torch_onnx(path: Path) -> None:
    size = ({0: torch.export.Dim("rows")},)
    program = torch.onnx.export(
        Plain().eval(), (torch.ones(4, 3),), dynamo=True, dynamic_shapes=size, verbose=False
    )
    assert program is not None
    program.save(str(path))
    found = read(path)
    assert not found.equations_known
    assert found.inputs == {"x": Tensor("float32", ("batch", 3))}
    assert {one.shape for one in found.outputs.values()} == {("batch", 3), ("batch", 1)}
    assert {"layer.weight", "layer.bias"} <= set(found.weights)
    operators = [one.operator for one in found.nodes]
    assert {"Tanh", "If", "Split"} <= set(operators)
    (scaled,) = [one for one in found.nodes if one.operator == "Mul"]
    assert scaled.attributes == "%, 2.5"
    (branch,) = [one for one in found.nodes if one.operator == "If"]
    assert "1.5" in branch.attributes
