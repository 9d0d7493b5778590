"""Passes keep their contracts, and a broken one is found after the pass that broke it."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from symcompile import Target, symcompile
from symcompile.options import Options
from symcompile.passes import compiling_passes, recording_passes
from symcompile.pipeline import (
    Instrumented,
    PassError,
    Refined,
    Request,
    Rewritten,
    Verified,
    run_passes,
)
from symcompile.regression.pareto import ParetoFront

QUICK: dict[str, Any] = {
    "operators": ["+", "*"],
    "max_complexity": 6,
    "engine": "operon",
    "engine_options": {"restarts": 1, "population": 100, "generations": 3},
    "progress": False,
}
STAGES = [
    "capture",
    "partition",
    "instrument",
    "reduce",
    "distill",
    "refine",
    "choose",
    "rewrite",
    "verify",
]
ROOT = Path(__file__).parents[1]


def start() -> Request:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1))
    return Request(model, (Target("0"), Target("2")), torch.randn(100, 2))


@functools.cache
def states() -> dict[str, Any]:
    """The state after each pass, by its name."""
    found: dict[str, Any] = {}
    passes = compiling_passes(Options(**QUICK)).passes
    run_passes(passes, start(), lambda entry, state: found.update({entry.name: state}))
    return found


def test_every_pass_is_logged_in_order() -> None:
    seen: list[str] = []
    passes = compiling_passes(Options(**QUICK)).passes
    state, log = run_passes(passes, start(), lambda entry, _: seen.append(entry.name))
    assert seen == STAGES
    assert [entry.name for entry in log] == seen
    unchanged = [entry.name for entry in log if not entry.changed]
    assert unchanged == ["partition", "reduce"]
    assert all(entry.seconds >= 0 for entry in log)
    assert isinstance(state, Verified)
    assert set(state.blocks) == {"0", "2"}


def test_a_range_and_a_projection_are_changes() -> None:
    request = replace(start(), targets=(Target("_0:_2", reduce=1),))
    _, log = compiling_passes(Options(**QUICK)).run(request)
    assert all(entry.changed for entry in log)


def test_recording_is_the_first_part() -> None:
    recording = recording_passes(Options(**QUICK)).passes
    assert [step.name for step in recording] == STAGES[: len(recording)] == STAGES[:3]


def test_the_readme_lists_the_passes_in_their_order() -> None:
    table = (ROOT / "README.md").read_text(encoding="utf-8").split("## How it works")[1]
    rows = re.findall(r"^\| (\w+) \|.*?\| `([\w/.]+)`", table, flags=re.MULTILINE)
    files = dict(rows)
    assert [stage for stage, _ in rows if stage in STAGES] == STAGES
    assert {stage: files[stage] for stage in STAGES} == {s: f"passes/{s}.py" for s in STAGES}


def test_the_compiled_model_knows_its_passes() -> None:
    given = start()
    compiled = symcompile(given.model, list(given.targets), given.data, **QUICK)
    assert [entry.name for entry in compiled.log] == STAGES


def test_a_pass_out_of_order_is_named() -> None:
    distill = compiling_passes(Options(**QUICK)).passes[STAGES.index("distill")]
    with pytest.raises(PassError, match=r"'distill' needs .*recording"):
        run_passes([distill], start())


def test_a_pass_that_breaks_its_promise_is_named() -> None:
    class Lazy:
        name = "lazy"

        def run(self, state: Instrumented) -> Refined:
            return state  # type: ignore[return-value]

    with pytest.raises(PassError, match=r"'lazy' did not provide .*fronts"):
        run_passes([Lazy()], states()["instrument"])


@dataclass(frozen=True)
class Broken:
    """A pass that spoils something on the way."""

    name: str

    def run(self, state: Request) -> Request:
        return replace(state, **spoiled(self.name, state))


def spoiled(name: str, state: Any) -> dict[str, Any]:
    recording = state.recording
    held = {
        path: replace(samples, holdout=samples.holdout | True)
        for path, samples in recording.samples.items()
    }
    if name == "renamed":
        names = lambda front: tuple(replace(e, symbols=("a", "b")) for e in front)  # noqa: E731
        renamed = {
            path: {k: ParetoFront(names(front), front.variance) for k, front in fronts.items()}
            for path, fronts in state.fronts.items()
        }
        return {"fronts": renamed}
    if name == "neural":
        blocks = {path: replace(one, lowered=None) for path, one in state.blocks.items()}
        return {"blocks": blocks}
    changes: dict[str, Any] = {
        "places": {"places": {**state.places, "9": Target("9")}},
        "regions": {"recording": replace(recording, regions={}, samples={})},
        "samples": {"recording": replace(recording, samples={})},
        "holdout": {"recording": replace(recording, samples=held)},
        "searches": {"searches": replace(state.searches, fits=state.searches.fits[1:])}
        if hasattr(state, "searches")
        else {},
        "fronts": {"fronts": {path: {} for path in recording.regions}},
        "choices": {"choices": {}},
        "lowered": {"lowered": {}},
        "blocks": {"blocks": {}},
    }
    return changes[name]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("stage", "name", "problem"),
    [
        ("instrument", "places", r"\['9'\] are no submodules"),
        ("instrument", "regions", r"\['0', '2'\] are lost"),
        ("instrument", "samples", "region '0' has no samples"),
        ("instrument", "holdout", "nothing to fit"),
        ("distill", "searches", r"no search for outputs \[0\]"),
        ("refine", "fronts", "no front for outputs"),
        ("refine", "renamed", "in other variables"),
        ("choose", "choices", "no choice"),
        ("rewrite", "lowered", "no block"),
        ("verify", "blocks", "no outcome"),
        ("verify", "neural", "an outcome that its block is not"),
    ],
)
def test_what_a_pass_spoils_is_found_right_after_it(stage: str, name: str, problem: str) -> None:
    with pytest.raises(PassError, match=f"after pass '{name}'.*{problem}"):
        run_passes([Broken(name)], states()[stage])


def test_a_block_that_is_not_in_its_place_is_found() -> None:
    passes = compiling_passes(Options(**QUICK)).passes
    state, _ = run_passes(passes[: STAGES.index("rewrite") + 1], start())
    assert isinstance(state, Rewritten)
    region = state.recording.regions["0"]
    state.assembly.put(region, state.assembly.neural("0"))
    assert list(state.problems()) == ["region '0' has another block in its place"]


class Tied(nn.Module):
    """Two layers with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(2, 2), nn.Linear(2, 2)
        self.second.weight = self.first.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.second(torch.tanh(self.first(x)))
        return found


def test_what_stays_neural_shares_its_weights_with_the_hybrid() -> None:
    request = Request(Tied(), (Target("second", outputs=1),), torch.randn(100, 2))
    state, _ = compiling_passes(Options(**QUICK)).run(request)
    assert state.blocks["second"].lowered is not None
    module: Any = state.assembly.module
    root: Any = state.root
    assert module.second.neural.weight is module.first.weight
    assert module.first.weight is not root.first.weight
