"""A manifest says what a model computes, the same bytes every time, and reads well in a diff."""

import copy
import dataclasses
import difflib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hybrids import Fake, FakeHybrid, hybrid_of
from torch import nn

from symcompile.errors import ExportError
from symcompile.evaluation import evaluate
from symcompile.exporters import manifest as exported_manifest
from symcompile.exporters.manifest_json import manifest, text
from symcompile.hybrid import Batch
from symcompile.program import Program
from symcompile.rewrite import Latency, Refusal, Rewrite

PROBES = ((0.25, 0.5), (-1.0, 2.0), (0.0, 0.125))


class Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(3, 2)
        self.law, self.head = nn.Identity(), Head()

    def forward(self, x: torch.Tensor, bias: torch.Tensor | None = None) -> dict[str, Any]:
        hidden = self.encoder(x).tanh()
        return {"y": self.law(hidden), "head": self.head(hidden)}


def compiled(law: str = "1.5*sin(0.25*x0) + x1", seed: int = 0) -> FakeHybrid:
    torch.manual_seed(seed)
    module = Net()
    head = copy.deepcopy(module.head)
    fakes = {
        "law": Fake([law, "2.5"], 2, features={"r": "x0 + x1", "x1": "x1"} if "r" in law else None),
        "head": Fake(["x0 + x1"], 2),
    }
    hybrid = hybrid_of(module, fakes, Batch((torch.rand(4, 3),), {}))
    outcomes = dict(hybrid.outcomes)
    head_outcome = outcomes["head"]
    assert isinstance(head_outcome, Rewrite)
    module.head = head
    outcomes["head"] = Refusal("head", "does worse than linear", head_outcome.region)
    law_outcome = outcomes["law"]
    assert isinstance(law_outcome, Rewrite)
    provenance = {"engine": {"name": "operon", "options": {"b": 2, "a": (1, 2)}}, "seed": 7}
    outcomes["law"] = dataclasses.replace(law_outcome, probes=PROBES, provenance=provenance)
    return dataclasses.replace(hybrid, outcomes=outcomes)


def with_law(hybrid: FakeHybrid, **changes: Any) -> FakeHybrid:
    law = dataclasses.replace(hybrid.outcomes["law"], **changes)  # type: ignore[type-var]
    return dataclasses.replace(hybrid, outcomes={**hybrid.outcomes, "law": law})


def test_what_it_says_about_a_symbolic_region() -> None:
    data = manifest(compiled())
    assert (data["manifest"], list(data["regions"])) == (1, ["head", "law"])
    law = data["regions"]["law"]
    assert law["status"] == "symbolic"
    assert law["inputs"] == {"x0": [-1.0, 2.0], "x1": [-1.0, 2.0]}
    first = law["equations"]["0"]
    assert first["equation"] == "x1 + 1.5*sin(0.25*x0)"
    assert first["constants"] == {"c[0]": 1.5, "c[1]": 0.25}
    assert first["form"] == "c[0]*sin(c[1]*x0) + x1"
    assert first["operators"] == 4
    assert first["fidelity"]["relative_l2"] == 0.01
    assert first["fidelity"]["gradient_relative_l2"] is None
    assert law["end_to_end"]["linear"] == 0.4
    assert law["parameters_removed"] == 37
    assert law["provenance"]["engine"] == {"name": "operon", "options": {"a": [1, 2], "b": 2}}


def test_what_it_says_about_a_neural_region() -> None:
    head = manifest(compiled())["regions"]["head"]
    assert (head["status"], head["reason"]) == ("neural", "does worse than linear")
    assert "equations" not in head
    assert head["digest"] != manifest(compiled(seed=1))["regions"]["head"]["digest"]


@pytest.mark.parametrize("law", ["1.5*sin(0.25*x0) + x1", "r**2 + 0.5*x1"])
def test_probes_can_be_computed_from_the_manifest_alone(law: str) -> None:
    region = json.loads(text(manifest(compiled(law))))["regions"]["law"]
    probes, equation = region["probes"], region["equations"]["0"]
    variables = np.array(probes.get("variables", probes["inputs"]))
    constants = list(equation["constants"].values())
    found = evaluate(Program.from_json(equation["program"]), variables, constants)[:, 0]
    np.testing.assert_allclose(found, probes["outputs"]["0"], rtol=1e-15)
    x0, x1 = np.array(PROBES).T
    expected = (x0 + x1) ** 2 + 0.5 * x1 if "r" in law else 1.5 * np.sin(0.25 * x0) + x1
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_what_it_says_about_the_model() -> None:
    hybrid = compiled()
    data = manifest(hybrid)
    assert data["model"]["class"] == "Net"
    assert data["model"]["inputs"] == {"x": ["float32", "batch", 3]}
    assert data["model"]["outputs"]["['head']"] == ["float32", "batch", 1]
    assert data["model"]["parameters"] == sum(p.numel() for p in hybrid.module.parameters())
    assert list(data["weights"]) == ["encoder.bias", "encoder.weight"]
    assert data["weights"]["encoder.weight"][:2] == ["float32", [2, 3]]
    rows = {row[0]: row for row in data["graph"]["nodes"]}
    assert rows["linear"][1:] == [
        "aten.linear.default", ["x"], ["encoder.weight", "encoder.bias"], "%, @, @"
    ]  # fmt: skip
    calls = [row[1] for row in rows.values() if row[1].startswith("region:")]
    assert sorted(calls) == ["region:head", "region:law"]
    assert all(name in rows for row in rows.values() for name in row[2])


def test_a_model_without_data_or_graph_has_a_manifest_too() -> None:
    data = manifest(dataclasses.replace(compiled(), example=None))
    assert data["graph"]["nodes"] == []
    assert "no data" in data["graph"]["note"]
    assert data["model"]["inputs"] is None

    class Branching(Net):
        def forward(self, x: torch.Tensor) -> Any:  # type: ignore[override]
            return super().forward(x if x.sum() > 0 else -x)

    hybrid = compiled()
    module = Branching()
    module.__dict__.update(hybrid.module.__dict__)
    data = manifest(dataclasses.replace(hybrid, module=module))
    assert data["graph"]["level"] is None
    assert "Branching" in data["graph"]["note"]


def test_the_same_compile_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "a.json", tmp_path / "b.json"
    manifest(compiled(), first)
    hybrid = compiled()
    reordered = dict(reversed(list(hybrid.outcomes.items())))
    exported_manifest(dataclasses.replace(hybrid, outcomes=reordered), second)
    assert first.read_bytes() == second.read_bytes()
    assert json.loads(first.read_text()) == manifest(compiled())
    assert "°" not in first.read_text()


def test_it_leaves_out_what_changes_from_run_to_run() -> None:
    hybrid = compiled()
    law = hybrid.outcomes["law"]
    assert isinstance(law, Rewrite)
    timed = dataclasses.replace(law.fidelity, latency=(Latency(1, 1e-5, 2e-6),))
    assert manifest(with_law(hybrid, fidelity=timed)) == manifest(hybrid)


def test_it_leaves_the_model_as_it_was() -> None:
    hybrid = compiled()
    hybrid.module.train()
    hybrid.module.encoder.eval()
    state = torch.get_rng_state()
    manifest(hybrid)
    assert hybrid.module.training
    assert not hybrid.module.encoder.training
    assert torch.equal(torch.get_rng_state(), state)


def changed_lines(before: FakeHybrid, after: FakeHybrid) -> list[str]:
    old, new = (text(manifest(one)).splitlines() for one in (before, after))
    lines = difflib.unified_diff(old, new, n=0, lineterm="")
    return [line[1:].strip() for line in lines if line[0] == "+" and not line.startswith("+++")]


def test_a_nudged_constant_changes_its_own_lines_only() -> None:
    before, after = compiled(), compiled("1.5625*sin(0.25*x0) + x1")
    lines = changed_lines(before, after)
    assert lines[1:3] == ['"equation": "x1 + 1.5625*sin(0.25*x0)",', '"c[0]": 1.5625,']
    # And what the model gives on a few rows, and the equation at the probes.
    assert [line.split("[")[0] for line in (lines[0], *lines[3:])] == ['"', '"0": ']


def test_another_law_shows_its_new_form_on_one_line() -> None:
    lines = changed_lines(compiled(), compiled("1.5*exp(0.25*x0) + x1"))
    assert '"form": "c[0]*exp(c[1]*x0) + x1",' in lines


def test_lines_are_short_enough_to_review() -> None:
    """Tables may be wide; everything that people read is not."""
    for line in text(manifest(compiled())).splitlines():
        table = line.strip().startswith(("[", '"0": [', '"1": [', "\"['y']\": ["))
        assert len(line) <= 110 or table


def test_numbers_that_are_not_finite_are_null() -> None:
    hybrid = compiled()
    law = hybrid.outcomes["law"]
    assert isinstance(law, Rewrite)
    equations = {**law.equations, 0: dataclasses.replace(law.equations[0], loss=float("inf"))}
    found = manifest(with_law(hybrid, equations=equations))["regions"]["law"]["equations"]["0"]
    assert found["loss"] is None
    json.dumps(found, allow_nan=False)


def test_an_unwritable_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="can't write"):
        manifest(compiled(), tmp_path / "missing" / "m.json")
