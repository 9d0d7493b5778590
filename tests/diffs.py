"""Comparisons written by hand, for the tests of the formats that show them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any

from symcompile.diff.result import (
    BlockDiff,
    BlockSide,
    Change,
    CoefficientDiff,
    EquationDiff,
    EquationSide,
    Fact,
    GraphDiff,
    ModelDiff,
    NodeChange,
    NodesDiff,
    Side,
    Violation,
)
from symcompile.diff.rules import Rules
from symcompile.diff.snapshot import Accuracy
from symcompile.storage.schema import Node

SIGNATURE, CHANGED, ADDED, REMOVED, DRIFTED, WEIGHTS, REWRITTEN, IDENTICAL = Change

OLD, NEW = Side("v1/model.manifest.json", "manifest"), Side("model.manifest.json", "manifest")
GOOD = Accuracy(0.99912, 0.0297, 0.11, 0.101, 0.4)
BETTER = Accuracy(0.99953, 0.0216, 0.08, 0.31, 0.4)
ENGINE = "operon 0.6.2, seed 0"

# Fields whose values are words of ours, never taken from a file.
FIXED = {"change", "rule", "fail_on", "kind", "level", "status"}


def block(path: str, change: str, *equations: EquationDiff, **rest: Any) -> BlockDiff:
    """A symbolic block on both sides, unless told otherwise; `old_status=None` is no old side."""
    side = BlockSide("symbolic", ENGINE, GOOD)
    return altered(BlockDiff(path, change, old=side, new=side, equations=equations), **rest)


def equation(
    path: str, change: str, old: str | None, new: str | None, output: int = 0, **rest: Any
) -> EquationDiff:
    sides = [None if text is None else EquationSide(text, (), 11, 5, GOOD) for text in (old, new)]
    return altered(EquationDiff(path, output, change, *sides), **rest)  # type: ignore[arg-type]


def altered(record: Any, **changes: Any) -> Any:
    """A copy with other fields; `old_accuracy` is the accuracy of the old side."""
    for word in ("old", "new"):
        inside = {key: value for key, value in changes.items() if key.startswith(f"{word}_")}
        changes = {key: value for key, value in changes.items() if key not in inside}
        fields = {key.removeprefix(f"{word}_"): value for key, value in inside.items()}
        side = getattr(record, word)
        if "status" in fields and fields["status"] is None:
            changes[word] = None
        elif fields and side is not None:
            changes[word] = replace(side, **fields)
    return replace(record, **changes)


def spans(text: str, *parts: str) -> tuple[tuple[int, int], ...]:
    """Where the parts stand in a text, each behind the one before."""
    found, start = [], 0
    for part in parts:
        start = text.index(part, start)
        found.append((start, start + len(part)))
        start += len(part)
    return tuple(found)


# --- one block of each class ---------------------------------------------------------------------


def identical(path: str = "decoder") -> BlockDiff:
    return block(path, IDENTICAL, equation(path, IDENTICAL, "2.5*x0*x1", "2.5*x0*x1"))


def drifted(path: str = "edge") -> BlockDiff:
    old, new = "2.5*x0*(x1 + 1.5) + 0.3", "2.6*x0*(x1 + 1.5) + 0.29"
    one = equation(
        path,
        DRIFTED,
        old,
        new,
        old_marks=spans(old, "2.5", "0.3"),
        new_marks=spans(new, "2.6", "0.29"),
        coefficients=(
            CoefficientDiff(2.5, 2.6, "#*x0*(x1 + 1.5)"),
            CoefficientDiff(1.5, 1.5, "x1 + #"),
            CoefficientDiff(0.3, 0.29, "... + #"),
        ),
        difference=0.04,
        points=256,
        new_accuracy=BETTER,
    )
    return block(path, DRIFTED, one, new_accuracy=BETTER, old_end_to_end=0.01, new_end_to_end=0.012)


def changed(path: str = "encoder.edge") -> BlockDiff:
    old, new = "1.5*x0*sin(2*x1) + 0.3", "1.5*x0*cos(2*x1) + 0.3*x2**2 + exp(-x0)"
    first = equation(
        path,
        CHANGED,
        old,
        new,
        old_marks=spans(old, "sin", "0.3"),
        new_marks=spans(new, "cos", "0.3*x2**2 + exp(-x0)"),
        difference=0.731,
        points=256,
        new_complexity=19,
        new_operators=11,
        new_accuracy=BETTER,
    )
    second = equation(path, IDENTICAL, "x0 + x1", "x0 + x1", 1)
    third = equation(path, ADDED, None, "0.5*x2 - 1.25*x0", 2)
    return block(
        path,
        CHANGED,
        first,
        second,
        third,
        new_engine="operon 0.6.3, seed 1",
        notes=("recorded range of x0: [0, 1] -> [0, 2]",),
        new_accuracy=Accuracy(0.9990, 0.0311, 0.11, 0.101, 0.4),
        old_end_to_end=0.01,
        new_end_to_end=0.01,
        old_parameters_removed=1234,
        new_parameters_removed=1234,
    )


def rewritten(path: str = "gate") -> BlockDiff:
    old, new = "x0*x1 + x0", "x0*(x1 + 1)"
    one = equation(
        path,
        REWRITTEN,
        old,
        new,
        old_marks=spans(old, "x0*x1 + x0"),
        new_marks=spans(new, "x0*(x1 + 1)"),
        difference=0.0,
        points=256,
        evidence="equal on 256 points, proven symbolically",
        new_complexity=5,
        new_operators=2,
    )
    return block(path, REWRITTEN, one)


def other_signature(path: str = "head") -> BlockDiff:
    old, new = "x0 + 2.5*x1", "x0 + 2.5*v"
    one = equation(path, SIGNATURE, old, new, old_marks=spans(old, "x1"), new_marks=spans(new, "v"))
    return block(
        path,
        SIGNATURE,
        one,
        signature=("input x1 is called v now", "dtype: float32 -> float64"),
        renamed_from="old_head",
    )


def added(path: str = "new_block") -> BlockDiff:
    one = equation(path, ADDED, None, "sin(x0)")
    return block(path, ADDED, one, old_status=None, new_parameters_removed=4321)


def removed(path: str = "restored") -> BlockDiff:
    one = equation(path, REMOVED, "exp(-x0)", None)
    return block(
        path, REMOVED, one, new_status="neural", new_engine="", new_accuracy=Accuracy(),
        notes=("neural: restored by hand",),
    )  # fmt: skip


def neural(path: str = "attention", change: str = WEIGHTS) -> BlockDiff:
    return BlockDiff(
        path, change, old=BlockSide("neural"), new=BlockSide("neural"),
        notes=("neural: relative L2 error 0.4 is above the tolerance 0.1",),
    )  # fmt: skip


BLOCKS: dict[str, Callable[[], BlockDiff]] = {
    IDENTICAL: identical,
    DRIFTED: drifted,
    CHANGED: changed,
    REWRITTEN: rewritten,
    SIGNATURE: other_signature,
    ADDED: added,
    REMOVED: removed,
    WEIGHTS: neural,
}


# --- whole comparisons ---------------------------------------------------------------------------


def graph() -> NodesDiff:
    """A layer inserted, an activation swapped, a skip connection moved."""
    source = Node("x", "input")
    linear = Node("linear", "aten.linear", ("x",), ("0.weight", "0.bias"), "%, @, @")
    relu, tanh = Node("relu", "aten.relu", ("linear",)), Node("tanh", "aten.tanh", ("linear",))
    total = Node("add", "aten.add.Tensor", ("relu", "x"), (), "%, %")
    wide = Node("linear_1", "aten.linear", ("tanh",), ("1.weight", "1.bias"), "%, @, @")
    moved = replace(total, name="add_1", inputs=("linear_1", "x"))
    dropped = Node("dropout", "aten.dropout", ("add",), (), "%, 0.5, False")
    return NodesDiff(
        level="aten",
        pairs=(("x", "x"), ("linear", "linear"), ("relu", "tanh"), ("add", "add_1")),
        added=(wide,),
        removed=(dropped,),
        changed=(
            NodeChange("changed", relu, tanh, "operator aten.relu -> aten.tanh"),
            NodeChange("moved", total, moved, "reads linear_1 instead of relu"),
        ),
        renamed=(("y", "y_1"),),
        old_nodes=(source, linear, relu, total, dropped),
        new_nodes=(source, linear, tanh, wide, moved),
    )


def whole() -> ModelDiff:
    return ModelDiff(
        facts=(
            Fact("model", "Heat", "Heat"),
            Fact("parameters", "1,234", "1,300"),
            Fact("opset ai.onnx", "18", "20"),
        ),
        signature=("input x: dimension 0 was free (batch), is fixed to 8 now",),
        weights=(
            *((f"layers.{k}.weight", "changed") for k in range(7)),
            ("1.bias", "added"),
            ("1.weight", "added"),
            ("norm.scale", "shape [3] -> [4]"),
            ("old.weight", "removed"),
        ),
        output_difference=0.0123,
        probe_difference=0.731,
    )


def everything() -> GraphDiff:
    """Every class of block, and all that can be different around them."""
    return GraphDiff(
        OLD,
        Side("model.onnx", "ONNX", ("function call 2 was inlined by another tool",)),
        tuple(make() for make in BLOCKS.values()),
        graph(),
        whole(),
        Rules(rtol=1e-4),
        (
            Violation("structure", "encoder.edge[0]", "another form: sin -> cos"),
            Violation("structure", "graph", "nodes: 1 added, 1 removed, 1 changed, 1 moved"),
            Violation("coefficient", "edge[0]", "2.5 -> 2.6, and 1 more"),
            Violation("fidelity", "encoder.edge", "R2 0.99912 -> 0.999"),
            Violation("signature", "head", "input x1 is called v now"),
            Violation("signature", "model", "opset ai.onnx: 18 -> 20"),
            Violation("weights", "attention", "the weights of the neural block changed"),
        ),
        ("names of arguments and weights not compared: the formats differ",),
    )


def same() -> GraphDiff:
    """Two sides without any difference."""
    nodes = (Node("x", "input"), Node("decoder", "region:decoder", ("x",)))
    level = NodesDiff(
        level="aten",
        pairs=(("x", "x"), ("decoder", "decoder")),
        old_nodes=nodes,
        new_nodes=nodes,
    )
    model = ModelDiff(facts=(Fact("parameters", "12", "12"),), output_difference=0.0)
    return GraphDiff(OLD, NEW, (identical(), neural("stem", IDENTICAL)), level, model)


def allowed() -> GraphDiff:
    """A drift that the rules allow."""
    return replace(same(), blocks=(drifted(), identical()), rules=Rules(("structure",)))


def structure_only() -> GraphDiff:
    note = "structure only: no equations of symcompile in other.onnx (ONNX)"
    old, new = Side("other.onnx", "ONNX"), Side("model.onnx", "ONNX")
    return GraphDiff(old, new, nodes=graph(), model=whole(), notes=(note,))


def not_compared() -> GraphDiff:
    """Two levels of graph, which nothing can be said of."""
    note = "graphs not compared: ATen operators against ONNX operators"
    return GraphDiff(OLD, NEW, (identical(),), NodesDiff(note=note), notes=(note,))


def many(blocks: int = 160, nodes: int = 200) -> GraphDiff:
    """More of everything than a page holds."""
    makers = list(BLOCKS.values())
    made = tuple(makers[k % len(makers)](f"layers.{k}.block") for k in range(blocks))
    extra = tuple(Node(f"mul_{k}", "aten.mul.Tensor", ("x", "x")) for k in range(nodes))
    found = tuple(Violation("structure", f"{one.path}[0]", "another form") for one in made)
    weights = tuple((f"layers.{k}.weight", "changed") for k in range(nodes))
    model = replace(whole(), weights=weights)
    return GraphDiff(OLD, NEW, made, replace(graph(), added=extra), model, violations=found)


COMPARISONS: dict[str, Callable[[], GraphDiff]] = {
    "everything": everything,
    "same": same,
    "allowed": allowed,
    "structure only": structure_only,
    "not compared": not_compared,
    "empty": lambda: GraphDiff(OLD, NEW),
    "many": many,
    "odd figures": lambda: with_figures(everything(), math.nan),
}


# --- what a stranger's file may hold -------------------------------------------------------------


def with_text(value: Any, poison: str, name: str = "") -> Any:
    """A copy in which every string that could come from a file has `poison` at both ends."""
    if isinstance(value, str):
        return value if name in FIXED else f"{poison}{value}{poison}"
    if isinstance(value, tuple):
        return tuple(with_text(one, poison, name) for one in value)
    return _copy(value, lambda one, field: with_text(one, poison, field))


def with_figures(value: Any, figure: float | None, name: str = "") -> Any:
    """A copy in which every floating-point number is another one."""
    if isinstance(value, float):
        return figure
    if isinstance(value, tuple):
        return tuple(with_figures(one, figure, name) for one in value)
    return _copy(value, lambda one, field: with_figures(one, figure, field))


def _copy(value: Any, change: Callable[[Any, str], Any]) -> Any:
    if not is_dataclass(value) or isinstance(value, (type, Rules)):
        return value
    return replace(
        value,
        **{field.name: change(getattr(value, field.name), field.name) for field in fields(value)},
    )


# Text that breaks out of a terminal, a log, a page or a file, if it is let.
POISONS = (
    "\x1b[31m",
    "\r",
    "\n\n# head\n",
    "\n::error::made up\n",
    "##[add-mask]x",
    "\x00\x7f\x9b",
    "\u202e\u2066\u200b\ufeff",
    "\u2028\x85\x0b",
    "\ud800",
    "</details></code></pre><script>alert(1)</script>",
    "| a | b |",
    "`` ``` ````",
    "\n```\n",
    "@team #12 GH-1",
    "![x](https://example.com/x.png) www.example.com a@example.com",
    "<!-- symcompile diff --> -->",
    "%0A::warning::x,y:z",
    "\\|\\",
    "**_~~[^1]$x$:smile:",
    "1. ",
    "- [ ] ",
    "x" * 10_000,
)
