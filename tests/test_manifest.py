"""A manifest says what a model computes, the same bytes every time, and reads well in a diff."""

import copy
import dataclasses
import difflib
import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from types import MethodType
from typing import Any

import numpy as np
import pytest
import torch
from children import Child
from hybrids import Fake, FakeHybrid, hybrid_of
from torch import nn

from symcompile.errors import ExportError
from symcompile.exporters import manifest as exported_manifest
from symcompile.exporters.manifest_json import manifest, text
from symcompile.expressions.evaluation import evaluate
from symcompile.expressions.program import Program
from symcompile.fidelity.outcome import Latency, Refusal, Rewrite
from symcompile.modules.calling import Batch

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


# --- arguments, results, and what the model gives ------------------------------------------------


class Law(nn.Module):
    def __init__(self, forward: Callable[..., Any]) -> None:
        super().__init__()
        self.law = nn.Identity()
        self.forward = MethodType(forward, self)  # type: ignore[method-assign]


def model_of(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> dict[str, Any]:
    hybrid = hybrid_of(Law(forward), {"law": Fake(["1.5*x0", "x1"], 2)}, Batch(args, kwargs))
    return json.loads(text(manifest(hybrid)))["model"]


X, ROW = torch.linspace(0, 1, 12).reshape(6, 2), torch.tensor([[0.25, 0.5]])


def plain(self: Any, x: Any) -> Any:
    return self.law(x)


def nested(self: Any, batch: Any, *more: Any, gain: float = 1.0, **other: Any) -> Any:
    return [self.law(batch["x"]) * gain + more[0], (other["z"], 3)]


def fixed(self: Any, x: Any) -> Any:
    return self.law(x) + torch.arange(6.0)[:, None]


def doubled(self: Any, x: Any) -> Any:
    return self.law(torch.cat([x, x]))


def sequence(self: Any, x: Any) -> Any:
    return self.law(x).sum(1)


def branching(self: Any, x: Any) -> Any:
    return self.law(x if x.sum() > 0 else -x)


def branching_and_fixed(self: Any, x: Any) -> Any:
    return branching(self, x).reshape(6, 2)


FREE, SIX = ["float32", "batch", 2], ["float32", 6, 2]
SHAPES: list[tuple[Any, tuple[Any, ...], dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    (plain, (X,), {}, {"x": FREE}, {"result": FREE}),
    (plain, (), {"x": X}, {"x": FREE}, {"result": FREE}),
    (plain, (ROW,), {}, {"x": FREE}, {"result": FREE}),
    (
        nested,
        ({"x": X}, X),
        {"z": ROW, "gain": 2.0},
        {"batch['x']": FREE, "more[0]": FREE, "gain": ["float", "2.0"],
         "other['z']": ["float32", 1, "size1"]},
        {"[0]": FREE, "[1][0]": ["float32", 1, "size1"], "[1][1]": ["int", "3"]},
    ),
    (fixed, (X,), {}, {"x": SIX}, {"result": SIX}),
    (doubled, (X,), {}, {"x": FREE}, {"result": ["float32", "2*batch", 2]}),
    (
        sequence,
        (X.reshape(2, 3, 2),),
        {},
        {"x": ["float32", "batch", "size1", 2]},
        {"result": ["float32", "batch", 2]},
    ),
    (branching, (X,), {}, {"x": FREE}, {"result": FREE}),
    (branching_and_fixed, (X,), {}, {"x": SIX}, {"result": SIX}),
]  # fmt: skip


@pytest.mark.parametrize(("forward", "args", "kwargs", "inputs", "outputs"), SHAPES)
def test_arguments_have_names_and_free_sizes_too(
    forward: Any, args: Any, kwargs: Any, inputs: Any, outputs: Any
) -> None:
    found = model_of(forward, *args, **kwargs)
    assert (found["inputs"], found["outputs"]) == (inputs, outputs)
    assert (found["arguments"], found["results"]) == (list(inputs), list(outputs))


def test_what_the_model_gives_on_a_few_rows() -> None:
    found = model_of(plain, X)["probes"]
    expected = (X[:4] * torch.tensor([1.5, 1.0])).reshape(-1)
    assert found["rows"] == 4
    np.testing.assert_allclose(found["outputs"]["result"], expected, rtol=1e-5)
    other = X.clone()
    other[3, 0] += 1
    assert model_of(plain, other)["probes"]["inputs"] != found["inputs"]
    other = X.clone()
    other[4:] += 1
    assert model_of(plain, other)["probes"] == found


def test_a_model_that_takes_no_fewer_rows_gives_all() -> None:
    assert model_of(fixed, X)["probes"]["rows"] == 6
    assert len(model_of(plain, torch.rand(100, 2))["probes"]["outputs"]["result"]) == 8
    wide = model_of(lambda self, x: self.law(x).repeat(1, 50), X)["probes"]
    assert len(wide["outputs"]["result"]) == 32


def noisy(self: Any, x: Any) -> Any:
    return self.law(x) + torch.rand(())


def undefined(self: Any, x: Any) -> Any:
    return self.law(x) / 0.0


def counting(self: Any, x: Any) -> Any:
    return (self.law(x) > 0).sum(1), self.law(x).to(torch.complex64)


def test_probes_of_odd_models() -> None:
    assert model_of(noisy, X) == model_of(noisy, X)
    assert model_of(undefined, X)["probes"]["outputs"]["result"] == [None] * 8
    outputs = model_of(counting, X[3:])["probes"]["outputs"]
    assert outputs["[0]"] == [2.0, 2.0, 2.0]
    assert outputs["[1]"][1] == 0.0


def broken(self: Any, x: Any) -> Any:
    raise ValueError(f"no {self!r} at {object()!r} in {__file__}")


def test_a_model_that_does_not_run_has_neither_results_nor_probes() -> None:
    found = model_of(broken, X)
    assert found["outputs"] is None
    assert "probes" not in found


def test_notes_do_not_name_places_of_the_machine() -> None:
    hybrid = hybrid_of(Law(broken), {"law": Fake(["1.5*x0", "x1"], 2)}, Batch((X,), {}))
    note = manifest(hybrid)["graph"]["note"]
    assert "0x" not in note
    assert str(Path(__file__).parent) not in note


# --- the same compile, the same bytes ------------------------------------------------------------

COMPILE = """
import sys, torch
from torch import nn
from symcompile import symcompile
from symcompile.exporters.manifest_json import manifest, text

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Sequential(nn.Linear(2, 4), nn.Tanh()), nn.Linear(4, 1)
    def forward(self, x):
        return self.b(self.a(x))

torch.manual_seed(0)
compiled = symcompile(
    Net(), sys.argv[1].split(), torch.randn(60, 2), operators=["+", "*", "max"], engine="operon",
    engine_options={"restarts": 1, "population": 30, "generations": 1}, progress=False,
)
sys.stdout.write(text(manifest(compiled)))
"""


def test_children_have_other_hashes() -> None:
    with Child("print(hash('symcompile'))") as child:
        assert int(child.finished().stdout) != hash("symcompile")


def test_order_of_targets_and_hash_seed_do_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "compile.py"
    script.write_text(COMPILE)
    monkeypatch.setattr(sys, "argv", [str(script), "a b"])
    runpy.run_path(str(script))
    here = capsys.readouterr().out
    with Child(script, "b a") as child:
        elsewhere = child.finished(timeout=600)
    assert elsewhere.stdout == here
    assert list(json.loads(here)["regions"]) == ["a", "b"]


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
