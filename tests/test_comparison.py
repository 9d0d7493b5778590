"""`diff` of live models: what became of each equation, and of the graph around them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from searches import QUICK
from torch import fx, nn

from symcompile import Compiled, SymCompileError, Target, diff, exporters, symcompile


def build(names: tuple[str, str] | None = ("a", "b"), engine_seed: int = 0) -> Compiled:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1))
    return symcompile(
        model,
        Target("2", names=names),
        torch.randn(200, 2),
        engine="operon",
        **QUICK,
        seed=engine_seed,
    )


@pytest.fixture(scope="module")
def shared() -> Compiled:
    compiled = build()
    compiled.choose("2", "2.5*a*(b + 1.5)")
    return compiled


def changed(shared: Compiled, expression: str) -> Compiled:
    other = copy.deepcopy(shared)
    other.choose("2", expression)
    return other


@pytest.mark.parametrize(
    ("expression", "change"),
    [
        ("2.5*a*(b + 1.5)", "identical"),
        ("2.5*a*b + 3.75*a", "rewritten, same function"),
        ("2.6*a*(b + 1.5)", "coefficients drifted"),
        ("2.500000001*a*(b + 1.5)", "coefficients drifted"),
        ("2.5*a*(b*b + 1.5)", "structure changed"),
        ("2.5*a", "structure changed"),
    ],
)
def test_classes(shared: Compiled, expression: str, change: str) -> None:
    other = changed(shared, expression)
    there, back = diff(shared, other, fail_on="structure"), diff(other, shared)
    assert [one.change for one in there.blocks] == [change]
    assert [one.change for one in back.equations] == [change]
    assert there.same is (change != "structure changed")


def test_coefficients_are_listed_with_their_change(shared: Compiled) -> None:
    found = diff(shared, changed(shared, "2.6*a*(b + 1.5)"))
    (equation,) = found.equations
    assert [(c.old, c.new) for c in equation.coefficients if c.old != c.new] == [(2.5, 2.6)]
    assert equation.coefficients[0].relative == pytest.approx(0.04)
    assert equation.difference == pytest.approx(0.04)
    assert "+4" in str(found)


@pytest.mark.parametrize(("rtol", "same"), [(0.05, True), (0.03, False)])
def test_tolerances_judge_and_do_not_class(shared: Compiled, rtol: float, same: bool) -> None:
    found = diff(shared, changed(shared, "2.6*a*(b + 1.5)"), rtol=rtol, fail_on="coefficient")
    assert found.counts() == {"coefficients drifted": 1}
    assert found.same is same


def test_a_restored_block_is_removed(shared: Compiled) -> None:
    neural = copy.deepcopy(shared)
    neural.restore("2")
    assert [one.change for one in diff(shared, neural).blocks] == ["removed"]
    assert [one.change for one in diff(neural, shared).equations] == ["added"]
    assert diff(neural, neural).same


def test_other_names_are_another_signature(shared: Compiled) -> None:
    found = diff(shared, build(names=None))
    assert [one.change for one in found.equations] == ["signature changed"]
    assert found.blocks[0].signature == (
        "input a is called x0 now",
        "input b is called x1 now",
    )


def test_the_search_is_told(shared: Compiled) -> None:
    other = build(engine_seed=1)
    other.choose("2", "2.5*a*(b + 1.5)")
    (block,) = diff(shared, other).blocks
    assert block.change == "identical"
    assert block.old.engine.startswith("operon ")
    assert (block.old.engine[-6:], block.new.engine[-6:]) == ("seed 0", "seed 1")


def test_trained_constants_drift(shared: Compiled) -> None:
    other = copy.deepcopy(shared).trainable_constants(True)
    with torch.no_grad():
        next(other.module.get_submodule("2").parameters()).mul_(1.01)
    found = diff(shared, other)
    assert found.counts() == {"coefficients drifted": 1}
    assert "fidelity" in {one.rule for one in found.violations}


def test_files_are_compared_like_what_they_hold(shared: Compiled, tmp_path: Path) -> None:
    files = [shared.save(tmp_path / "a.symc"), shared.export(tmp_path / "a.onnx"), tmp_path / "a"]
    exporters.manifest(shared, files[2])
    for path in files:
        assert diff(path, shared).same
        found = diff(str(path), changed(shared, "3.5*a"), fail_on="structure")
        assert [one.change for one in found.equations] == ["structure changed"]


def test_a_traced_model_has_structure_only(shared: Compiled) -> None:
    graph = fx.symbolic_trace(nn.Sequential(nn.Linear(2, 2), nn.Tanh()))
    other = fx.symbolic_trace(nn.Sequential(nn.Linear(2, 2), nn.ReLU()))
    found = diff(graph, other)
    assert (len(found.nodes.changed), found.blocks) == (1, ())
    assert "structure only" in str(found)
    assert diff(graph, graph).same
    assert "structure only" in str(diff(shared, graph))


@pytest.mark.parametrize("wrong", [3, "nowhere.symc", None, nn.Linear(2, 2)])
def test_what_can_not_be_compared_is_named(shared: Compiled, wrong: Any) -> None:
    for pair in ((shared, wrong), (wrong, shared)):
        with pytest.raises(SymCompileError):
            diff(*pair)


@pytest.mark.parametrize(
    "options", [{"fail_on": "structures"}, {"rtol": -1.0}, {"atol": float("nan")}, {"fail_on": 3}]
)
def test_rules_that_make_no_sense(shared: Compiled, options: dict[str, Any]) -> None:
    with pytest.raises(SymCompileError, match="expected"):
        diff(shared, shared, **options)


def test_no_rule_passes_everything(shared: Compiled) -> None:
    assert diff(shared, changed(shared, "3.5*a"), fail_on="none").same
    assert diff(shared, changed(shared, "3.5*a"), fail_on=[]).same
