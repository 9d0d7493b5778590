"""Passes keep their contracts, and a broken one is found after the pass that broke it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from symcompile import Target, symcompile
from symcompile.options import Options
from symcompile.pipeline import Compilation, Pass, PassError, run_passes
from symcompile.regression.pareto import ParetoFront
from symcompile.stages import compiling_passes, recording_passes

QUICK: dict[str, Any] = {
    "operators": ["+", "*"],
    "max_complexity": 6,
    "engine": "operon",
    "engine_options": {"restarts": 1, "population": 100, "generations": 3},
    "progress": False,
}


def start() -> Compilation:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1))
    return Compilation(model, (Target("0"), Target("2")), torch.randn(100, 2))


def test_every_pass_is_logged_in_order() -> None:
    seen: list[str] = []
    state, log = run_passes(
        compiling_passes(Options(**QUICK)), start(), lambda entry, _: seen.append(entry.name)
    )
    assert seen == ["capture", "instrument", "reduce", "distill", "rewrite"]
    assert [entry.name for entry in log] == seen
    assert {entry.name: entry.changed for entry in log}["reduce"] is False
    assert all(entry.seconds >= 0 for entry in log)
    assert set(state.compiled.outcomes) == {"0", "2"}


def test_the_compiled_model_knows_its_passes() -> None:
    given = start()
    compiled = symcompile(given.model, list(given.targets), given.data, **QUICK)
    assert [entry.name for entry in compiled.log][-1] == "rewrite"


def test_a_pass_out_of_order_is_named() -> None:
    distill = compiling_passes(Options(**QUICK))[3]
    with pytest.raises(PassError, match="'distill' needs recording"):
        run_passes([distill], start())


def test_a_pass_that_breaks_its_promise_is_named() -> None:
    lazy = Pass("lazy", (), ("fronts",), lambda state: state)
    with pytest.raises(PassError, match="'lazy' did not provide fronts"):
        run_passes([lazy], start())


def broken(name: str) -> Pass:
    """Passes that lose or spoil something on the way."""

    def run(state: Compilation) -> Compilation:
        recording = state.recording
        assert recording is not None
        if name == "regions":
            return state.with_(recording=replace(recording, regions={}, samples={}))
        if name == "samples":
            return state.with_(recording=replace(recording, samples={}))
        if name == "holdout":
            spoiled = {
                path: replace(samples, holdout=samples.holdout | True)
                for path, samples in recording.samples.items()
            }
            return state.with_(recording=replace(recording, samples=spoiled))
        return state.with_(fronts={path: {} for path in recording.regions})

    return Pass(name, ("recording",), (), run)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("regions", r"\['0', '2'\] are lost"),
        ("samples", "region '0' has no samples"),
        ("holdout", "nothing to fit"),
        ("fronts", "no front for outputs"),
    ],
)
def test_what_a_pass_spoils_is_found_right_after_it(name: str, problem: str) -> None:
    passes = [*recording_passes(Options(**QUICK)), broken(name)]
    with pytest.raises(PassError, match=f"after pass '{name}'.*{problem}"):
        run_passes(passes, start())


def test_equations_in_foreign_variables_are_found() -> None:
    passes = compiling_passes(Options(**QUICK))[:4]
    state, _ = run_passes(passes, start())
    assert state.fronts is not None
    renamed = {
        path: {
            k: ParetoFront(tuple(replace(e, symbols=("a", "b")) for e in front), front.variance)
            for k, front in fronts.items()
        }
        for path, fronts in state.fronts.items()
    }
    rename = Pass("rename", (), (), lambda state: state.with_(fronts=renamed))
    with pytest.raises(PassError, match="in other variables"):
        run_passes([rename], state)
