"""A model as text for plain comparisons: what stands on a line, in which order, how it changes."""

from __future__ import annotations

import difflib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from symcompile.diff.snapshot import Accuracy, Block, Output, Snapshot
from symcompile.diff.textconv import lines
from symcompile.errors import one_line
from symcompile.expressions.equation import Equation
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.parser import parse
from symcompile.storage.schema import Node, Tensor

NAMES = ("x", "t")


def equation(text: str) -> Equation:
    return Equation.of(parse(text, NAMES), NAMES, OperatorSet.of(None))


def block(
    path: str = "net.law", text: str = "exp(-1.98161234567*t)*sin(3.25*x)", **more: Any
) -> Block:
    given: dict[str, Any] = {
        "dtype": "float32",
        "inputs": {"x": (-1.0, 2.0), "t": None},
        "n_outputs": 1,
        "outputs": {0: Output(equation(text), 5, Accuracy(r2=0.99987, relative_l2=0.00685))},
        "probes": np.ones((2, 2)),
        "accuracy": Accuracy(max_error=0.5),
        "end_to_end": 0.02,
        "parameters_removed": 37,
        "provenance": {"seed": 0, "engine": "operon", "options": {"restarts": 4, "ops": ["+"]}},
    }
    return Block(path, "symbolic", **(given | more))


def snapshot(**more: Any) -> Snapshot:
    given: dict[str, Any] = {
        "blocks": {"net.law": block()},
        "model": "Net",
        "inputs": {"x": Tensor("float32", ("batch", 2))},
        "outputs": {"result": Tensor("float32", ("batch", 1))},
        "parameters": 12,
        "weights": {"b": Tensor("float32", (), "0b"), "a": Tensor("float32", (3, 4), "0a")},
        "level": "aten",
        "nodes": (Node("x", "input"), Node("net_law", "region:net.law", ("x",), (), "%")),
    }
    return Snapshot("model.symc", "artifact", **(given | more))


def test_everything_on_a_line_of_its_own() -> None:
    assert (
        lines(snapshot())
        == """\
kind: artifact
model: Net
input x: float32 [batch, 2]
output result: float32 [batch, 1]
parameters: 12
graph: aten
net.law[0] = exp(-1.98161*t)*sin(3.25*x)
net.law[0] form: exp(c[0]*t)*sin(c[1]*x)
net.law[0] c[0] = -1.98161234567
net.law[0] c[1] = 3.25
net.law[0] variables: x, t
net.law[0] complexity: 13
net.law[0] operators: 5
net.law[0] R2: 0.99987
net.law[0] relative L2: 0.00685
net.law: symbolic
net.law dtype: float32
net.law outputs: 1
net.law parameters removed: 37
net.law end to end, relative L2: 0.02
net.law input x: from -1.0 to 2.0
net.law input t
net.law max |error|: 0.5
net.law engine: operon
net.law options.ops: ["+"]
net.law options.restarts: 4
net.law seed: 0
weight a: float32 [3, 4] 0a
weight b: float32 [] 0b
node x = input()
node net_law = region:net.law(%x)
"""
    )


def changed(old: Snapshot, new: Snapshot) -> list[str]:
    rows = difflib.ndiff(lines(old).splitlines(), lines(new).splitlines())
    return [row for row in rows if row[0] in "+-"]


def test_a_drifted_constant_changes_the_equation_and_the_constant() -> None:
    other = snapshot(blocks={"net.law": block(text="exp(-1.99161234567*t)*sin(3.25*x)")})
    assert changed(snapshot(), other) == [
        "- net.law[0] = exp(-1.98161*t)*sin(3.25*x)",
        "+ net.law[0] = exp(-1.99161*t)*sin(3.25*x)",
        "- net.law[0] c[0] = -1.98161234567",
        "+ net.law[0] c[0] = -1.99161234567",
    ]


def test_a_change_of_the_last_digit_is_seen() -> None:
    other = snapshot(blocks={"net.law": block(text="exp(-1.98161234568*t)*sin(3.25*x)")})
    assert changed(snapshot(), other) == [
        "- net.law[0] c[0] = -1.98161234567",
        "+ net.law[0] c[0] = -1.98161234568",
    ]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"opsets": {"": 18, "symcompile": 1}}, {"+ opset ai.onnx: 18", "+ opset symcompile: 1"}),
        ({"parameters": None}, {"- parameters: 12"}),
        ({"notes": ("weights are outside",)}, {"+ note: weights are outside"}),
        (
            {"weights": {"a": Tensor("float32", (3, 4), "ff")}},
            {"- weight a: float32 [3, 4] 0a", "+ weight a: float32 [3, 4] ff",
             "- weight b: float32 [] 0b"},
        ),
        ({"level": "fx"}, {"- graph: aten", "+ graph: fx"}),
    ],
)  # fmt: skip
def test_facts_of_the_model(change: dict[str, Any], expected: set[str]) -> None:
    assert set(changed(snapshot(), snapshot(**change))) == expected


def test_a_neural_block_has_its_reason_and_the_digest_of_its_weights() -> None:
    neural = Block("net.law", "neural", reason="no equation was good enough", digest="0123")
    text = lines(snapshot(blocks={"net.law": neural}))
    assert "net.law: neural\n" in text
    assert "net.law reason: no equation was good enough\n" in text
    assert "net.law weights: 0123\n" in text
    assert "net.law[" not in text


def test_features_and_projections_of_a_block() -> None:
    one = block(features={"dx": "x0 - x6"}, projections={"out": "0f", "in": "0e"})
    text = lines(snapshot(blocks={"net.law": one}))
    for line in ("feature dx = x0 - x6", "projection in: 0e", "projection out: 0f"):
        assert f"net.law {line}\n" in text


def test_the_order_is_that_of_the_names_not_of_the_file() -> None:
    one, two = block("a.law"), block("b.law")
    there, back = {"a.law": one, "b.law": two}, {"b.law": two, "a.law": one}
    assert lines(snapshot(blocks=there)) == lines(snapshot(blocks=back))


def test_the_name_of_the_file_is_not_in_it() -> None:
    assert lines(snapshot()) == lines(replace(snapshot(), source="/tmp/git-blob-x/model.symc"))


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (Node("y", "mul", ("a", "b"), (), "%, %"), "y = mul(%a, %b)"),
        (Node("y", "mul", ("a", "a"), ("w",), "%, @, [%], 2"), "y = mul(%a, @w, [%a], 2)"),
        (Node("y", "call_function:mul", ("a", "b")), "y = call_function:mul(%a, %b)"),
        (Node("y", "f", ("a",), ("w",), '%, @, "50%"'), 'y = f(%a, @w, %, @, "50%")'),
        (Node("y", "rand", (), (), "[2, 3]"), "y = rand([2, 3])"),
    ],
)
def test_a_node_says_what_it_reads(node: Node, expected: str) -> None:
    assert lines(Snapshot("x", "ONNX", nodes=(node,))) == f"kind: ONNX\nnode {expected}\n"


def test_a_hostile_name_stays_on_its_line_and_out_of_the_terminal() -> None:
    neural = Block("a\x1b[2J\nmodel: fake", "neural", reason="\u202e\x07\r")
    text = lines(Snapshot("x", "manifest", blocks={"a": neural}))
    assert text == "kind: manifest\na?[2J?model: fake: neural\na?[2J?model: fake reason: ???\n"
    assert one_line("Δx = 3 µm") == "Δx = 3 µm"
