"""Every kind of change gets its class, read from a manifest, a `.symc` and an ONNX file alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from diff_models import (
    EQUATIONS,
    FORMATS,
    Elsewhere,
    Fixed,
    Law,
    Net,
    Pair,
    Renamed,
    Swapped,
    Twice,
    called,
    edited,
    law,
    made_by,
    many,
    measured,
    net,
    neural,
    probed,
    retrained,
    written,
)
from hybrids import FakeHybrid
from torch import nn

from symcompile import diff
from symcompile.diff.result import BlockDiff, Change, GraphDiff

SIGNATURE, CHANGED, ADDED, REMOVED, DRIFTED, WEIGHTS, REWRITTEN, IDENTICAL = Change

DISTRIBUTED = ("1.5*x0*(x1 + 2.5)", "1.5*x0*x1 + 3.75*x0")


@dataclass(frozen=True)
class Case:
    """`fails` names the rules that the change breaks."""

    name: str
    old: Law | str
    new: Law | str
    change: str
    fails: set[str] = field(default_factory=set)
    back: set[str] | None = None  # in the other direction, where that is something else


STRUCTURE, DRIFT, SIGNED = {"structure"}, {"coefficient"}, {"signature"}

BLOCKS = [
    Case("untouched", "2.5*x0*x1 + 0.5", "2.5*x0*x1 + 0.5", IDENTICAL),
    # Constants.
    Case("nudged_by_1e_9", "2.5*x0*x1", "2.5000000025*x0*x1", DRIFTED),
    Case("nudged_by_1e_3", "2.5*x0*x1", "2.5025*x0*x1", DRIFTED, DRIFT),
    Case("nudged_by_1", "2.5*x0*x1", "3.5*x0*x1", DRIFTED, DRIFT),
    Case("nudged_inside", "exp(-1.98*x0)*sin(3.14*x1)", "exp(-1.97*x0)*sin(3.14*x1)", DRIFTED,
         DRIFT),
    Case("all_nudged", "1.5*sin(2.5*x0) + 0.25", "1.6*sin(2.4*x0) + 0.26", DRIFTED, DRIFT),
    Case("sizes_swapped", "0.1*x0 + 0.2*x1", "0.3*x0 + 0.2*x1", DRIFTED, DRIFT),
    Case("equal_ones_part", "2.5*x0 + 2.5*x1", "2.5*x0 + 2.6*x1", DRIFTED, DRIFT),
    Case("twins_nudged", "1.5*sin(2.5*x0) + 3.5*sin(0.5*x0)", "1.5*sin(2.6*x0) + 3.5*sin(0.5*x0)",
         DRIFTED, DRIFT),
    Case("sign_flip", "2.5*x0 + x1", "-2.5*x0 + x1", DRIFTED, DRIFT),
    Case("constant_drifts", "2.5", "2.75", DRIFTED, DRIFT),
    Case("pi_unsnapped", "3.141592653589793*x0", "3.1416*x0", DRIFTED, DRIFT),
    Case("scaled", "sin(x0)", "1.005*sin(x0)", DRIFTED, DRIFT),
    # The same function.
    Case("commuted", "0.5*x1 + 2.5*x0", "2.5*x0 + 0.5*x1", IDENTICAL),
    Case("factors_commuted", "2.5*sin(x0)*x1", "x1*2.5*sin(x0)", IDENTICAL),
    Case("distributed", *DISTRIBUTED, REWRITTEN),
    Case("square_expanded", "(x0 + x1)**2", "x0**2 + 2*x0*x1 + x1**2", REWRITTEN),
    Case("exp_split", "exp(x0 + x1)", "exp(x0)*exp(x1)", REWRITTEN),
    Case("log_split", "log(x0*x1)", "log(x0) + log(x1)", REWRITTEN),
    Case("sine_of_a_sum", "sin(x0 + x1)", "sin(x0)*cos(x1) + cos(x0)*sin(x1)", REWRITTEN),
    Case("pythagoras", "x0*(sin(x1)**2 + cos(x1)**2)", "x0", REWRITTEN),
    Case("probed", Law(["x0*(x1 + 1)"], edit=probed), Law(["x0*x1 + x0"], edit=probed), REWRITTEN),
    Case("rewritten_features", Law(["r*(r + 1.5)"], features={"r": "sqrt(x0**2 + x1)"}),
         Law(["r**2 + 1.5*r"], features={"r": "sqrt(x0**2 + x1)"}), REWRITTEN),
    # Another form.
    Case("sign_of_a_term", "x0 - x1", "x0 + x1", CHANGED, STRUCTURE),
    Case("operator_swapped", "x0 + 1.5*x1", "1.5*x0*x1", CHANGED, STRUCTURE),
    Case("divided_not_multiplied", "1.5*x0*x1", "1.5*x0/x1", CHANGED, STRUCTURE),
    Case("function_swapped", "1.5*sin(x0)", "1.5*cos(x0)", CHANGED, STRUCTURE),
    Case("exponent_swapped", "1.5*x0**2", "1.5*x0**3", CHANGED, STRUCTURE),
    Case("variable_swapped", "1.5*x0", "1.5*x1", CHANGED, STRUCTURE),
    Case("term_added", "1.5*x0", "1.5*x0 + 0.01*x1", CHANGED, STRUCTURE),
    Case("constant_term_added", "1.5*x0", "1.5*x0 + 0.01", CHANGED, STRUCTURE),
    Case("nested_deeper", "sin(x0)", "sin(sin(x0))", CHANGED, STRUCTURE),
    Case("constant_to_law", "2.5", "2.5*x0", CHANGED, STRUCTURE),
    Case("smaller_of_two", "Min(x0, x1)", "Max(x0, x1)", CHANGED, STRUCTURE),
    Case("one_output_of_two", Law(["1.5*x0", "x1"]), Law(["1.5*x0", "x0*x1"]), CHANGED,
         STRUCTURE),
    Case("outputs_swapped", Law(["1.5*x0", "sin(x1)"]), Law(["sin(x1)", "1.5*x0"]), CHANGED,
         STRUCTURE),
    # What is around an equation.
    Case("engine_swapped", edited(made_by("operon")), edited(made_by("pysr")), IDENTICAL),
    Case("seed_swapped", edited(made_by("operon")), edited(made_by("operon", 1)), IDENTICAL),
    Case("range_wider", Law(["1.5*x0"]), Law(["1.5*x0"], ranges=((0.5, 9.0), (0.0, 3.0))),
         IDENTICAL),
    Case("fidelity_worse", edited(measured(0.999)), edited(measured(0.99)), IDENTICAL,
         {"fidelity"}, set()),
    Case("end_to_end_worse", edited(measured(0.9, 0.02)), edited(measured(0.9, 0.1)), IDENTICAL,
         {"fidelity"}, set()),
    Case("worse_and_drifted", edited(measured(0.999)), edited(measured(0.9), "1.6*x0*x1"), DRIFTED,
         {"fidelity", "coefficient"}, DRIFT),
    Case("inputs_renamed", edited(called("a", "b")), edited(called("a", "c")), SIGNATURE,
         SIGNED),
    Case("feature_changed", Law(["1.5*r"], features={"r": "sqrt(x0**2 + x1)"}),
         Law(["1.5*r"], features={"r": "sqrt(x0**2 + 2*x1)"}), SIGNATURE, {"signature"}),
    Case("restored", "1.5*x0*x1", edited(neural), REMOVED, STRUCTURE),
    Case("distilled", edited(neural), "1.5*x0*x1", ADDED, STRUCTURE),
    Case("neural", edited(neural), edited(neural), IDENTICAL),
]  # fmt: skip


# --- blocks --------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=FORMATS)
def sides(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp(request.param)
    # Free sizes make the export of so many blocks slow, and are tested below.
    options = {"dynamic_batch": False} if request.param == "onnx" else {}
    old, new = (
        many({case.name: law(getattr(case, side)) for case in BLOCKS}) for side in ("old", "new")
    )
    first, second = (
        written(side, request.param, folder / name, **options)
        for side, name in ((old, "old"), (new, "new"))
    )
    return first, second


@pytest.fixture(scope="module")
def there(sides: tuple[Path, Path]) -> GraphDiff:
    return diff(*sides)


@pytest.fixture(scope="module")
def back(sides: tuple[Path, Path]) -> GraphDiff:
    return diff(*reversed(sides))


def block_of(found: GraphDiff, case: Case) -> BlockDiff:
    (block,) = [one for one in found.blocks if one.path == f"blocks.{case.name}"]
    return block


def failures(found: GraphDiff, case: Case) -> set[str]:
    path = f"blocks.{case.name}"
    return {one.rule for one in found.violations if one.where.split("[")[0] == path}


@pytest.mark.parametrize("case", BLOCKS, ids=lambda case: case.name)
def test_each_change_of_a_block_gets_its_class(case: Case, there: GraphDiff) -> None:
    assert block_of(there, case).change == case.change
    assert failures(there, case) == case.fails


OTHER_WAY = {ADDED: REMOVED, REMOVED: ADDED}


@pytest.mark.parametrize("case", BLOCKS, ids=lambda case: case.name)
def test_and_its_counterpart_the_other_way_round(case: Case, back: GraphDiff) -> None:
    assert block_of(back, case).change == OTHER_WAY.get(case.change, case.change)
    assert failures(back, case) == (case.fails if case.back is None else case.back)


def test_both_directions_mirror_each_other(there: GraphDiff, back: GraphDiff) -> None:
    assert [one.path for one in there.blocks] == [one.path for one in back.blocks]
    for one, other in zip(there.equations, back.equations, strict=True):
        assert one.both("text") == other.both("text")[::-1]
        assert one.both("marks") == other.both("marks")[::-1]
        pairs = sorted((c.new, c.old) for c in other.coefficients)
        assert sorted((c.old, c.new) for c in one.coefficients) == pairs
    assert len(there.nodes.added) == len(back.nodes.removed)
    assert len(there.nodes.changed) == len(back.nodes.changed)


def test_each_file_is_the_same_as_itself(sides: tuple[Path, Path]) -> None:
    for side in sides:
        found = diff(side, side)
        assert found.same
        assert set(found.counts()) == {IDENTICAL}
        assert found.nodes.same


def test_there_are_at_least_forty_of_them() -> None:
    assert len({case.name for case in BLOCKS}) + len(MODELS) >= 50


# --- the model around the blocks -----------------------------------------------------------------


@dataclass(frozen=True)
class Model:
    """A change around the blocks; `nodes` are (added, removed, changed) in a graph of ATen."""

    name: str
    new: Callable[[], FakeHybrid]
    fails: set[str]
    classes: dict[str, str] = field(default_factory=dict)
    nodes: tuple[int, int, int] = (0, 0, 0)
    options: dict[str, Any] = field(default_factory=dict)
    only: tuple[str, ...] = FORMATS
    says: str = ""
    fails_onnx: set[str] | None = None  # where the exporter does away with the other node


MODELS = [
    Model("the_same", net, set()),
    Model("layer_inserted", lambda: net(Net(extra=True)), STRUCTURE, nodes=(1, 0, 0)),
    Model("activation_swapped", lambda: net(Net(activation=nn.Sigmoid())), STRUCTURE,
          nodes=(0, 0, 1)),
    Model("retrained", lambda: net(edit=retrained), {"weights"}, says="stem.weight"),
    Model("width_changed", lambda: net(Net(width=4)), STRUCTURE, says="shape"),
    Model("dtype_changed", lambda: net(dtype=torch.float64), {"signature", "structure"},
          {"law": SIGNATURE, "gain": SIGNATURE}, says="float32 -> float64"),
    Model("input_renamed", lambda: net(Renamed()), {"signature"}, says="signal"),
    Model("output_added", lambda: net(Pair()), {"structure", "signature"}, nodes=(1, 0, 1)),
    Model("axis_lost", lambda: net(Fixed()), {"structure", "signature"}, nodes=(1, 0, 0),
          options={"dynamic_batch": False}, says="free", fails_onnx=SIGNED),
    Model("called_twice", lambda: net(Twice()), STRUCTURE, nodes=(1, 0, 0)),
    Model("blocks_change_places", lambda: net(Swapped()), STRUCTURE),
    Model("block_renamed", lambda: net(Elsewhere(), equations={"physics": EQUATIONS["law"],
          "gain": EQUATIONS["gain"]}), SIGNED, {"physics": IDENTICAL},
          says="was called law"),
    Model("block_renamed_and_drifted", lambda: net(Elsewhere(), equations={
          "physics": ["1.75*x0*x1", "sin(2.5*x0)"], "gain": EQUATIONS["gain"]}),
          {"signature", "coefficient"}, {"physics": DRIFTED}, says="was called law"),
    Model("opset_changed", net, {"signature"}, options={"opset": 20}, only=("onnx",),
          says="18 -> 20"),
    Model("functions_inlined", net, set(), options={"functions": False}, only=("onnx",)),
]  # fmt: skip


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("plain")
    return {format: written(net(), format, folder / "net") for format in FORMATS}


@pytest.mark.parametrize(
    ("format", "case"),
    [
        pytest.param(format, case, id=f"{case.name}-{format}")
        for case in MODELS
        for format in case.only
    ],
)
def test_each_change_around_the_blocks_is_found(
    format: str, case: Model, plain: dict[str, Path], tmp_path: Path
) -> None:
    options = case.options if format == "onnx" else {}
    path = written(case.new(), format, tmp_path / "new", **options)
    found = diff(plain[format], path)
    fails = case.fails if format != "onnx" or case.fails_onnx is None else case.fails_onnx
    assert {one.rule for one in found.violations} == fails, str(found)
    expected = {"law": IDENTICAL, "gain": IDENTICAL} | case.classes
    assert len(found.blocks) == 2
    for block in found.blocks:
        assert block.change == expected[block.path]
    assert case.says in str(found)
    counts = (len(found.nodes.added), len(found.nodes.removed), len(found.nodes.changed))
    if format != "onnx" and any(case.nodes):
        assert counts == case.nodes
    mirrored = diff(path, plain[format])
    assert len(mirrored.nodes.added) == counts[1]
    assert mirrored.same == found.same


@pytest.mark.parametrize("old", FORMATS)
@pytest.mark.parametrize("new", FORMATS)
def test_formats_of_one_model_are_the_same(old: str, new: str, plain: dict[str, Path]) -> None:
    found = diff(plain[old], plain[new])
    assert found.same, str(found)
    assert found.counts() == {IDENTICAL: 2}


def test_neural_weights_that_changed_are_a_class_of_their_own(tmp_path: Path) -> None:
    def side(scale: float) -> FakeHybrid:
        torch.manual_seed(0)
        hybrid = many({"neural": edited(neural)})
        with torch.no_grad():
            hybrid.module.get_parameter("blocks.neural.weight").mul_(scale)
        return hybrid

    found = diff(
        written(side(1), "manifest", tmp_path / "a"), written(side(2), "manifest", tmp_path / "b")
    )
    assert [one.change for one in found.blocks] == [WEIGHTS]
    assert {one.rule for one in found.violations} == {"weights"}
