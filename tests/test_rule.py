"""Which equation of a front is chosen: by a rule, or by what equations are for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_driver import QUICK
from test_pareto import HEAT, front
from torch import nn

from symcompile import Compiled, ParetoFront, SymCompileError, Target, distill, load, symcompile
from symcompile.errors import ChoiceError, ExpressionError, TargetError
from symcompile.regression.choice import PREFERENCES, RULES
from symcompile.regression.pareto import check_front

X = np.random.default_rng(0).normal(size=(300, 2))
Y = X[:, 0] * X[:, 1] + 0.02 * X[:, 0] ** 2 + 0.01 * np.random.default_rng(1).normal(size=300)


def given(**options: Any) -> ParetoFront:
    return distill(X, Y, **QUICK, **options)[0]


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_chooses(rule: str) -> None:
    chosen = replace(front(HEAT), rule=rule)
    assert chosen.best == chosen.select(rule)
    assert chosen.law == front(HEAT).best
    assert chosen.runner_up is None


def test_a_rule_goes_before_what_the_block_completed() -> None:
    completed = front(HEAT).described([3.0, 2.0, 0.0, *[1.0] * 5])
    assert replace(completed, rule="accuracy").best.complexity == 29
    assert completed.best.complexity == 12


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({}, ""),
        ({"prefer": "law"}, ""),
        ({"prefer": "accuracy"}, PREFERENCES["accuracy"]),
        ({"rule": "score"}, "score"),
    ],
)
def test_distill(options: dict[str, Any], rule: str) -> None:
    result = given(**options)
    assert result.rule == rule
    assert result.best == (result.select(rule) if rule else result.law)
    assert replace(result, rule="") == given()


def test_a_journal_serves_any_rule(tmp_path: Path) -> None:
    before = given(run_dir=tmp_path)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}
    after = given(run_dir=tmp_path, rule="accuracy")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")} == files
    assert after == replace(before, rule="accuracy")


def test_plain_data() -> None:
    chosen = replace(front(HEAT), rule="plateau")
    stored = json.loads(json.dumps(chosen.to_json()))
    assert ParetoFront.from_json(stored).rule == "plateau"
    assert "rule" not in front(HEAT).to_json()
    for other in ("best", 3, None, ["plateau"]):
        with pytest.raises(ExpressionError, match="unknown rule"):
            ParetoFront.from_json(stored | {"rule": other})
    with pytest.raises(ExpressionError, match="rule: is 'best', expected one of description"):
        check_front(replace(chosen, rule="best"))


class Model(nn.Module):
    """Two blocks of one law, with what is too small to be a part of it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Product(), Product()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.first(x) + self.second(x))


class Product(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        small = 0.02 * x[:, :1] ** 2 + 0.003 * torch.sin(40 * x[:, 1:])
        return x[:, :1] * x[:, 1:] + small


@pytest.fixture(scope="module")
def compiled() -> Compiled:
    data = torch.tensor(X, dtype=torch.float32)
    targets = ["first", Target("second", rule="score")]
    return symcompile(Model(), targets, data, prefer="accuracy", **QUICK)


def test_compile(compiled: Compiled, tmp_path: Path) -> None:
    rules = {path: fronts[0].rule for path, fronts in compiled.fronts.items()}
    assert rules == {"first": "plateau", "second": "score"}
    compiled.save(tmp_path / "model.symc")
    for model in (compiled, load(tmp_path / "model.symc")):
        for path, rule in rules.items():
            assert model.equations[path][0].form == model.fronts[path][0].select(rule).form
            assert model.outcomes[path].provenance["rule"] == rule
        assert {path: fronts[0].rule for path, fronts in model.fronts.items()} == rules
    first, second = compiled.equations["first"][0], compiled.equations["second"][0]
    assert first.complexity > second.complexity


def test_the_report_tells(compiled: Compiled) -> None:
    report = " ".join(str(compiled.report).split())
    assert "'plateau' of ParetoFront.select chose" in report
    assert "'score' of ParetoFront.select chose" in report
    assert "the choice without a rule" in report


def test_what_makes_no_sense() -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"rule": "best"}, "unknown rule 'best': choose from description, knee"),
        ({"rule": 3}, "unknown rule 3: choose from"),
        ({"prefer": "speed"}, "prefer is 'speed': expected law or accuracy"),
        ({"rule": "knee", "prefer": "law"}, "rule='knee' and prefer='law' both choose"),
    ]
    for options, message in cases:
        with pytest.raises(ChoiceError, match=message):
            given(**options)
        with pytest.raises(TargetError, match="target 'first': " + message):
            Target("first", **options)
        with pytest.raises(SymCompileError, match=message):
            symcompile(Model(), "first", torch.tensor(X), **options)
