"""Two compiled models compared, equation by equation."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from symcompile import Compiled, SymCompileError, Target, diff, symcompile


@pytest.fixture(scope="module")
def shared() -> Compiled:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1))
    compiled = symcompile(
        model,
        Target("2", names=("a", "b")),
        torch.randn(200, 2),
        operators=["+", "*"],
        engine="operon",
        engine_options={"restarts": 1, "population": 100, "generations": 3},
        progress=False,
    )
    compiled.choose("2", "2.5*a*(b + 1.5)")
    return compiled


def changed(shared: Compiled, expression: str) -> Compiled:
    other = copy.deepcopy(shared)
    other.choose("2", expression)
    return other


@pytest.mark.parametrize(
    ("expression", "change", "same"),
    [
        ("2.5*a*(b + 1.5)", "identical", True),
        ("2.5*a*b + 3.75*a", "rewritten, same function", True),
        ("2.6*a*(b + 1.5)", "coefficients drifted", False),
        ("2.500000001*a*(b + 1.5)", "coefficients drifted", False),
        ("2.5*a*(b*b + 1.5)", "structure changed", False),
        ("-2.5*a*b + 3.75*a", "structure changed", False),
    ],
)
def test_classes(shared: Compiled, expression: str, change: str, same: bool) -> None:
    found = diff(shared, changed(shared, expression))
    assert [one.change for one in found.equations] == [change]
    assert found.same is same
    assert diff(changed(shared, expression), shared).same is same


def test_coefficients_are_listed_with_their_change(shared: Compiled) -> None:
    found = diff(shared, changed(shared, "2.6*a*(b + 1.5)"))
    assert (2.5, 2.6) in found.equations[0].coefficients
    assert "2.5 -> 2.6 (+4.000%)" in str(found)
    assert found.to_dict()["equations"][0]["difference"] == pytest.approx(0.04)


def test_a_restored_block_is_removed(shared: Compiled) -> None:
    neural = copy.deepcopy(shared)
    neural.restore("2")
    assert [one.change for one in diff(shared, neural).equations] == ["removed"]
    assert [one.change for one in diff(neural, shared).equations] == ["added"]
    assert str(diff(neural, neural)) == "no equations in either"


def test_other_names_are_another_signature(shared: Compiled) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1))
    other = symcompile(
        model, "2", torch.randn(100, 2), operators=["+", "*"], engine="operon", progress=False,
        engine_options={"restarts": 1, "population": 50, "generations": 2},
    )  # fmt: skip
    assert diff(shared, other).equations[0].change == "signature changed"


def test_artifacts_are_compared_like_what_they_hold(shared: Compiled, tmp_path: Path) -> None:
    path = shared.save(tmp_path / "a.symc")
    assert diff(path, shared).same
    assert diff(str(path), changed(shared, "3.5*a")).equations[0].change == "structure changed"


@pytest.mark.parametrize("wrong", [3, "nowhere.symc", None])
def test_what_can_not_be_compared_is_named(shared: Compiled, wrong: Any) -> None:
    with pytest.raises(SymCompileError):
        diff(shared, wrong)
