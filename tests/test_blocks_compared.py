"""Blocks of two snapshots: paired by name, else by their place or their equations."""

from __future__ import annotations

import numpy as np
import pytest

from symcompile.diff.blocks import compare_blocks
from symcompile.diff.result import BlockDiff
from symcompile.diff.snapshot import Block, Output, Snapshot
from symcompile.expressions.equation import Equation
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.parser import parse
from symcompile.storage.schema import Node

NAMES = ("x0", "x1")


def block(path: str, *equations: str, **fields: object) -> Block:
    built = [Equation.of(parse(one, NAMES), NAMES, OperatorSet.of(None)) for one in equations]
    return Block(
        path,
        "symbolic" if equations else "neural",
        inputs=dict.fromkeys(NAMES, (0.5, 2.0)),
        outputs={k: Output(one, 1) for k, one in enumerate(built)},
        probes=np.empty((0, 2)),
        **fields,  # type: ignore[arg-type]
    )


def compared(
    old: list[Block], new: list[Block], pairs: tuple[tuple[str, str], ...] = ()
) -> list[tuple[str, str, str | None]]:
    """Path, class and former name of each block."""

    def side(blocks: list[Block]) -> Snapshot:
        nodes = tuple(Node(f"n_{one.path}", f"region:{one.path}") for one in blocks)
        return Snapshot("a", "manifest", blocks={one.path: one for one in blocks}, nodes=nodes)

    found = compare_blocks(side(old), side(new), pairs, 5.0)
    return [(one.path, one.change, one.renamed_from) for one in found]


def test_names_come_first() -> None:
    a, b = "2.5*x0", "sin(x1)"
    found = compared([block("p", a), block("q", b)], [block("p", b), block("q", a)])
    assert found == [("p", "structure changed", None), ("q", "structure changed", None)]


@pytest.mark.parametrize(
    ("equation", "change"),
    [
        ("2.5*x0*x1 + x0", "identical"),
        ("x0*(2.5*x1 + 1)", "rewritten, same function"),
        ("2.75*x0*x1 + x0", "coefficients drifted"),
    ],
)
def test_a_block_is_known_by_its_equations(equation: str, change: str) -> None:
    other = "sin(x0)"
    found = compared(
        [block("old", "2.5*x0*x1 + x0"), block("gone", other + "*x1")],
        [block("come", other), block("new", equation)],
    )
    assert ("new", change, "old") in found
    assert {one[:2] for one in found} == {
        ("new", change),
        ("come", "added"),
        ("gone", "removed"),
    }


def test_two_candidates_are_one_too_many() -> None:
    found = compared([block("old", "2.5*x0")], [block("a", "2.5*x0"), block("b", "2.5*x0")])
    assert found == [("a", "added", None), ("b", "added", None), ("old", "removed", None)]


def test_the_place_in_the_graph_decides_between_them() -> None:
    new = [block("a", "2.5*x0"), block("b", "3.5*x1")]
    found = compared([block("old", "2.5*x0")], new, (("n_old", "n_b"),))
    assert found == [("a", "added", None), ("b", "structure changed", "old")]


def test_many_blocks_under_other_names_are_found_by_their_equations() -> None:
    laws = [f"{k}.5*x0*x1" for k in range(60)]
    old = [block(f"old.{k}", one) for k, one in enumerate(laws)]
    new = [block(f"new.{k}", one) for k, one in enumerate(laws)]
    found = compared(old, new)
    assert len(found) == 60
    assert all(one[1] == "identical" for one in found)
    assert ("new.7", "identical", "old.7") in found


def test_neural_blocks() -> None:
    same = block("n", digest="a")
    assert compared([same], [same])[0][1] == "identical"
    assert compared([same], [block("n", digest="b")])[0][1] == "weights changed"
    assert compared([same], [block("n")])[0][1] == "identical"  # ONNX has no digest of a block
    assert compared([same], [block("n", "x0")])[0][1] == "added"
    assert compared([block("n", "x0")], [same])[0][1] == "removed"


def only(old: Block, new: Block) -> BlockDiff:
    sides = (Snapshot("a", "manifest", blocks={one.path: one}) for one in (old, new))
    (found,) = compare_blocks(*sides, (), 5.0)
    return found


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ({"dtype": "float32"}, {"dtype": "float64"}, "dtype: float32 -> float64"),
        ({"n_outputs": 1}, {"n_outputs": 2}, "outputs: 1 -> 2"),
        (
            {"projections": {"in": "a"}},
            {"projections": {"in": "b"}},
            "the projection of the inputs is another one",
        ),
        ({"features": {"r": "x0"}}, {"features": {"r": "x1"}}, "feature r: x0 -> x1"),
        ({}, {"features": {"r": "x1"}}, "feature r = x1 is new"),
        ({"features": {"r": "x1"}}, {}, "feature r = x1 is gone"),
    ],
)
def test_signatures(old: dict[str, object], new: dict[str, object], sentence: str) -> None:
    found = only(block("p", "x0", **old), block("p", "x0", **new))
    assert found.change == "signature changed"
    assert found.signature == (sentence,)


def test_an_unknown_dtype_is_no_other_dtype() -> None:
    assert only(block("p", "x0", dtype="float32"), block("p", "x0")).change == "identical"


def test_what_is_no_reason_to_fail_is_noted() -> None:
    engine = {"engine": {"name": "operon", "version": "1"}, "seed": 3}
    found = only(block("p", "x0"), block("p", "x0", provenance=engine))
    assert found.both("engine") == ("", "operon 1, seed 3")
    wider = block("p", "x0")
    wider = Block(**{**wider.__dict__, "inputs": {"x0": (0.5, 9.0), "x1": (0.5, 2.0)}})
    assert only(block("p", "x0"), wider).notes == ("recorded range of x0: [0.5, 2] -> [0.5, 9]",)


def test_an_equation_that_came_is_another_structure_of_its_block() -> None:
    found = only(block("p", "x0"), block("p", "x0", "x1"))
    assert found.change == "structure changed"
    assert [one.change for one in found.equations] == ["identical", "added"]


def test_blocks_of_one_side_only_are_not_compared_where_the_other_knows_none() -> None:
    old = Snapshot("a", "manifest", blocks={"p": block("p", "x0")})
    new = Snapshot("b", "GraphModule", equations_known=False)
    assert compare_blocks(old, new, (), 5.0) == ()
