"""Rules: which differences make a comparison fail."""

from __future__ import annotations

import math

import diffs
import pytest

from symcompile.diff.result import (
    BlockDiff,
    BlockSide,
    Change,
    CoefficientDiff,
    EquationDiff,
    EquationSide,
    Fact,
    ModelDiff,
    NodeChange,
    NodesDiff,
)
from symcompile.diff.rules import CATEGORIES, Rules, categories
from symcompile.diff.snapshot import Accuracy
from symcompile.diff.violations import violations
from symcompile.errors import ComparisonError
from symcompile.storage.schema import Node

SIGNATURE, CHANGED, ADDED, REMOVED, DRIFTED, WEIGHTS, REWRITTEN, IDENTICAL = Change

EQUATION = EquationDiff("law", 0, IDENTICAL, EquationSide("2*x"), EquationSide("2*x"))
MOVED = CoefficientDiff(1.0, 2.0)


def judged(
    block: BlockDiff | None = None,
    nodes: NodesDiff | None = None,
    model: ModelDiff | None = None,
    **rules: float,
) -> list[str]:
    found = violations(
        Rules(**rules),  # type: ignore[arg-type]
        [block] if block else [],
        nodes or NodesDiff(),
        model or ModelDiff(),
    )
    return [one.rule for one in found]


def block(change: str = IDENTICAL, **changes: object) -> BlockDiff:
    equation = diffs.altered(EQUATION, change=change, **changes)
    return BlockDiff("law", change, equations=(equation,))


def whole(change: str, old: float, new: float, dtype: str | None = None) -> BlockDiff:
    """A block of which nothing but the end-to-end error is known."""
    sides = (BlockSide("symbolic", end_to_end=error) for error in (old, new))
    return BlockDiff("law", change, None, *sides, dtype=dtype)


@pytest.mark.parametrize(
    ("found", "rules"),
    [
        (block(IDENTICAL), []),
        (block(REWRITTEN), []),
        (block(CHANGED), ["structure"]),
        (BlockDiff("law", ADDED, equations=(EQUATION,)), ["structure"]),
        (
            BlockDiff("law", REMOVED, old=BlockSide("symbolic"), new=BlockSide("neural")),
            ["structure"],
        ),
        (
            block(DRIFTED, coefficients=(CoefficientDiff(1.0, 2.0), CoefficientDiff(1, 1))),
            ["coefficient"],
        ),
        (block(DRIFTED), ["coefficient"]),
        (BlockDiff("law", SIGNATURE, signature=("dtype: a -> b",)), ["signature"]),
        (BlockDiff("law", IDENTICAL, renamed_from="old"), ["signature"]),
        (BlockDiff("law", WEIGHTS), ["weights"]),
    ],
)
def test_a_block_breaks_the_rule_of_its_class(found: BlockDiff, rules: list[str]) -> None:
    assert judged(found) == rules


@pytest.mark.parametrize(
    ("old", "new", "rtol", "atol", "fails"),
    [
        (1.0, 1.0 + 1e-9, 1e-6, 0, False),
        (1.0, 1.001, 1e-6, 0, True),
        (1.0, 1.001, 1e-2, 0, False),
        (0.0, 1e-9, 1e-2, 0, True),
        (0.0, 1e-9, 0, 1e-8, False),
        (-2.0, 2.0, 0.5, 0, True),
        (1.0, 1.0 + 1e-15, 0, 0, True),
        (1.0, 1.1, 0.0909091, 0, False),  # of the larger one, so that both directions agree
        (1.1, 1.0, 0.0909091, 0, False),
        (1.0, 1.1, 0.0909, 0, True),
    ],
)
def test_tolerances(old: float, new: float, rtol: float, atol: float, fails: bool) -> None:
    found = block(DRIFTED, coefficients=(CoefficientDiff(old, new),))
    assert judged(found, rtol=rtol, atol=atol) == ["coefficient"] * fails


@pytest.mark.parametrize(
    ("old", "new", "drop", "fails"),
    [
        (Accuracy(0.99), Accuracy(0.98), 0.0, True),
        (Accuracy(0.99), Accuracy(0.98), 0.02, False),
        (Accuracy(0.98), Accuracy(0.99), 0.0, False),
        (Accuracy(0.99), Accuracy(None), 0.0, False),
        (Accuracy(None, 0.1), Accuracy(None, 0.2), 0.0, True),
        (Accuracy(0.99, 0.1), Accuracy(0.99, 0.1001), 0.001, False),
        (Accuracy(0.99), Accuracy(math.nan), 0.0, False),
    ],
)
def test_fidelity(old: Accuracy, new: Accuracy, drop: float, fails: bool) -> None:
    found = block(old_accuracy=old, new_accuracy=new)
    assert judged(found, max_fidelity_drop=drop) == ["fidelity"] * fails


def test_the_end_to_end_error_is_fidelity_too() -> None:
    worse = whole(IDENTICAL, 0.01, 0.02)
    assert judged(worse) == ["fidelity"]
    assert judged(worse, max_fidelity_drop=0.02) == []
    assert judged(whole(IDENTICAL, 0.01, 0.005)) == []


@pytest.mark.parametrize(
    ("model", "rules"),
    [
        (ModelDiff(facts=(Fact("opset ai.onnx", "18", "20"),)), ["signature"]),
        (ModelDiff(facts=(Fact("opset ai.onnx", "18", "18"),)), []),
        (ModelDiff(facts=(Fact("parameters", "10", "20"),)), []),
        (ModelDiff(signature=("input x is gone",)), ["signature"]),
        (ModelDiff(weights=(("w", "changed"), ("v", "changed"))), ["weights"]),
        (ModelDiff(weights=(("w", "added"),)), ["structure"]),
        (ModelDiff(weights=(("w", "shape [1] -> [2]"),)), ["structure"]),
    ],
)
def test_the_model(model: ModelDiff, rules: list[str]) -> None:
    assert judged(model=model) == rules


def test_the_graph() -> None:
    node = Node("a", "relu")
    assert judged(nodes=NodesDiff(added=(node,))) == ["structure"]
    moved = NodeChange("moved", node, node, "reads b instead of c")
    (found,) = violations(Rules(), (), NodesDiff(changed=(moved,), removed=(node,)), ModelDiff())
    assert (found.where, found.message) == ("graph", "nodes: 1 removed, 1 moved")
    assert judged(nodes=NodesDiff(renamed=(("a", "b"),))) == []


def test_only_the_chosen_rules_count_in_their_order() -> None:
    found = block(CHANGED, old_accuracy=Accuracy(0.9), new_accuracy=Accuracy(0.8))
    assert judged(found) == ["structure", "fidelity"]
    assert judged(found, fail_on=("fidelity",)) == ["fidelity"]  # type: ignore[arg-type]
    assert judged(found, fail_on=()) == []  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (None, CATEGORIES),
        ("none", ()),
        ("", ()),
        ("structure, coefficient", ("structure", "coefficient")),
        (["weights", "weights"], ("weights",)),
    ],
)
def test_names_of_rules(text: str | list[str] | None, names: tuple[str, ...]) -> None:
    assert categories(text) == names


@pytest.mark.parametrize(
    "wrong",
    [{"fail_on": ("laws",)}, {"rtol": -1}, {"atol": math.inf}, {"max_fidelity_drop": "1"}],
)
def test_rules_are_checked(wrong: dict[str, object]) -> None:
    with pytest.raises(ComparisonError, match="expected"):
        Rules(**wrong)  # type: ignore[arg-type]


# --- rounding --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "same"), [("float32", True), ("float16", True), ("float64", False), (None, False)]
)
def test_what_rounding_explains_is_no_fall(dtype: str | None, same: bool) -> None:
    """Of two forms of one function, figures differ in their last digits."""
    found = whole(REWRITTEN, 1.732561928, 1.732561932, dtype)
    assert judged(found) == ([] if same else ["fidelity"])
    old, new = Accuracy(0.9996, 0.02, 0.1), Accuracy(0.9996 - 4e-9, 0.02 + 1e-8, 0.1)
    assert judged(block(dtype=dtype, old_accuracy=old, new_accuracy=new)) == (
        [] if same else ["fidelity"]
    )


@pytest.mark.parametrize("dtype", ["float32", "float64", None])
def test_what_rounding_does_not_explain_is_a_fall(dtype: str | None) -> None:
    found = whole(REWRITTEN, 0.01, 0.010001, dtype)
    assert judged(found) == ["fidelity"]
    old = Accuracy(0.9996, 0.02, 0.1)
    for new in (Accuracy(0.99959, 0.02, 0.1), Accuracy(0.9996, 0.020001, 0.1)):
        fell = judged(block(dtype=dtype, old_accuracy=old, new_accuracy=new))
        assert fell == ["fidelity"]
