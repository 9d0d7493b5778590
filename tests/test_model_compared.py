"""Arguments, weights and results of two models as wholes."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from symcompile.diff.model import compare_models
from symcompile.diff.result import BlockDiff, EquationDiff, NodesDiff
from symcompile.diff.snapshot import Snapshot
from symcompile.storage.schema import ModelProbes, Node, Tensor

X = Tensor("float32", ("batch", 3))
SIDE = Snapshot("a", "manifest", inputs={"x": X}, outputs={"y": Tensor("float32", ("batch",))})


def signature(new: Snapshot, old: Snapshot = SIDE) -> tuple[str, ...]:
    return compare_models(old, new, NodesDiff(), ()).signature


@pytest.mark.parametrize(
    ("inputs", "sentences"),
    [
        ({"x": X}, ()),
        ({"x": Tensor("float32", ("n", 3))}, ()),
        ({"z": X}, ("input x is called z now",)),
        ({"x": X, "z": X}, ("input z is new",)),
        ({"x": Tensor("float64", ("batch", 3))}, ("input x: float32 -> float64",)),
        (
            {"x": Tensor("float32", (6, 3))},
            ("input x: dimension 0 was free (batch), is fixed to 6 now",),
        ),
        ({"x": Tensor("float32", ("batch", 4))}, ("input x: dimension 1 was 3, is 4 now",)),
        ({"x": Tensor("float32", (3,))}, ("input x: shape [batch, 3] -> [3]",)),
        (
            {"z": Tensor("float64", ("batch", 3))},
            ("input x is called z now", "input z: float32 -> float64"),
        ),
    ],
)
def test_inputs(inputs: dict[str, Tensor], sentences: tuple[str, ...]) -> None:
    assert signature(replace(SIDE, inputs=inputs)) == sentences


def test_an_input_that_is_gone_and_another_order() -> None:
    two = replace(SIDE, inputs={"x": X, "z": X})
    assert signature(SIDE, two) == ("input z is gone",)
    swapped = replace(SIDE, inputs={"z": X, "x": X})
    assert signature(swapped, two) == ("inputs in another order: x, z -> z, x",)


def test_a_size_that_is_free_now() -> None:
    fixed = replace(SIDE, inputs={"x": Tensor("float32", (6, 3))})
    (sentence,) = signature(SIDE, fixed)
    assert sentence == "input x: dimension 0 was fixed to 6, is free (batch) now"


def test_two_formats_compare_by_order() -> None:
    other = replace(SIDE, family="onnx", inputs={"input": X}, outputs={})
    assert signature(other) == ()
    assert signature(replace(other, inputs={"a": X, "b": X})) == ("inputs: x -> a, b",)


def weights(new: dict[str, Tensor], nodes: NodesDiff | None = None) -> tuple[tuple[str, str], ...]:
    old = replace(SIDE, weights={"0.weight": tensor("a"), "2.weight": tensor("b")})
    return compare_models(old, replace(SIDE, weights=new), nodes or NodesDiff(), ()).weights


def tensor(digest: str, *shape: int) -> Tensor:
    return Tensor("float32", shape or (2, 2), digest)


def test_weights_by_name() -> None:
    same = {"0.weight": tensor("a"), "2.weight": tensor("b")}
    assert weights(same) == ()
    assert weights({**same, "2.weight": tensor("c")}) == (("2.weight", "changed"),)
    assert weights({"0.weight": tensor("a")}) == (("2.weight", "removed"),)
    assert weights({**same, "3.weight": tensor("b")}) == (("3.weight", "added"),)
    wider = {**same, "0.weight": tensor("a", 4, 2)}
    assert weights(wider) == (("0.weight", "shape [2, 2] -> [4, 2]"),)
    double = {**same, "0.weight": Tensor("float64", (2, 2), "a")}
    assert weights(double) == (("0.weight", "float32 -> float64"),)


def test_weights_whose_names_shifted_are_paired_by_their_nodes() -> None:
    """A layer was put in between: 2.weight is 3.weight now, and another 2.weight came."""
    old = (
        Node("linear", "linear", (), ("0.weight",)),
        Node("linear_1", "linear", (), ("2.weight",)),
    )
    new = (
        Node("linear", "linear", (), ("0.weight",)),
        Node("linear_1", "linear", (), ("2.weight",)),
        Node("linear_2", "linear", (), ("3.weight",)),
    )
    nodes = NodesDiff(
        pairs=(("linear", "linear"), ("linear_1", "linear_2")), old_nodes=old, new_nodes=new
    )
    now = {"0.weight": tensor("a"), "2.weight": tensor("c"), "3.weight": tensor("b")}
    assert weights(now, nodes) == (("2.weight", "added"),)


def difference(old: ModelProbes | None, new: ModelProbes | None) -> float | None:
    a, b = replace(SIDE, probes=old), replace(SIDE, probes=new)
    return compare_models(a, b, NodesDiff(), ()).output_difference


def test_the_largest_difference_of_the_outputs() -> None:
    one = ModelProbes("d", {"y": (1.0, -4.0, None)})
    assert difference(one, ModelProbes("d", {"y": (1.0, -4.4, None)})) == pytest.approx(0.1)
    assert difference(one, one) == 0
    assert difference(one, ModelProbes("e", {"y": (1.0, -4.0, None)})) is None
    assert difference(one, ModelProbes("d", {"y": (1.0, None, 2.0)})) == math.inf
    assert difference(one, ModelProbes("d", {"y": (1.0,)})) is None
    assert difference(one, None) is None


def test_the_largest_difference_of_an_equation() -> None:
    equations = [
        EquationDiff("law", k, "", None, None, difference=d) for k, d in enumerate((0.1, 0.3))
    ]
    unknown = EquationDiff("law", 2, "", None, None)
    block = BlockDiff("law", "", equations=(*equations, unknown))
    assert compare_models(SIDE, SIDE, NodesDiff(), [block]).probe_difference == 0.3
    assert compare_models(SIDE, SIDE, NodesDiff(), []).probe_difference is None


def test_facts() -> None:
    old = replace(SIDE, model="Net", parameters=1000, level="onnx", opsets={"ai.onnx": 18})
    new = replace(old, parameters=20, opsets={"ai.onnx": 20, "symcompile": 1})
    facts = {f.name: (f.old, f.new) for f in compare_models(old, new, NodesDiff(), ()).facts}
    assert facts == {
        "model": ("Net", "Net"),
        "parameters": ("1,000", "20"),
        "nodes": ("0", "0"),
        "opset ai.onnx": ("18", "20"),
    }
