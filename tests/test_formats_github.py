"""A comparison as workflow commands of GitHub."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import diffs
import pytest
import torch
from hybrids import Fake, hybrid_of
from torch import nn

from symcompile.diff.formats.github import to_annotations
from symcompile.diff.result import GraphDiff, Side, Violation
from symcompile.exporters import manifest
from symcompile.modules.calling import Batch

# As GitHub's runner reads a line: properties end at the first ::, pairs at commas.
COMMAND = re.compile(r"::(error|warning|notice) ([^:\r\n]*)::([^\r\n]*)")


def read(text: str) -> list[tuple[str, dict[str, str], str]]:
    found = []
    for line in text.split("\n"):
        match = COMMAND.fullmatch(line)
        assert match is not None, line
        pairs = dict(pair.split("=", 1) for pair in match[2].split(","))
        found.append((match[1], {k: unquote(v) for k, v in pairs.items()}, unquote(match[3])))
    return found


def test_nothing_different_is_one_notice() -> None:
    assert to_annotations(diffs.same()) == (
        "::notice file=model.manifest.json,title=no difference found"
        "::2 blocks: 2 identical; graph: the same 2 nodes"
    )


def test_a_violation_is_an_error_with_both_equations() -> None:
    first, *rest = read(to_annotations(diffs.everything()))
    assert first == (
        "error",
        {"file": "model.onnx", "title": "structure: encoder.edge[0]"},
        "another form: sin -> cos\n"
        "- 1.5*x0*sin(2*x1) + 0.3\n"
        "+ 1.5*x0*cos(2*x1) + 0.3*x2**2 + exp(-x0)",
    )
    assert [kind for kind, _, _ in rest] == ["error"] * 6 + ["warning"] * 2 + ["notice"] * 3


def test_a_message_does_not_repeat_the_equations() -> None:
    one = diffs.changed().equations[0]
    message = f"another form: {one.old.text} -> {one.new.text}"
    diff = replace(
        diffs.everything(), violations=(Violation("structure", "encoder.edge[0]", message),)
    )
    assert read(to_annotations(diff))[0][2].split("\n")[0] == "another form"


def test_what_the_rules_allow_is_a_notice() -> None:
    (found,) = [one for one in read(to_annotations(diffs.allowed())) if one[0] == "notice"]
    assert found[1]["title"] == "edge: coefficients drifted"
    assert found[2].startswith("y[0]: coefficients drifted, by up to +4 %\n- 2.5*x0")
    kinds = {one[0] for one in read(to_annotations(diffs.structure_only()))}
    assert kinds == {"warning", "notice"}


def test_what_was_not_compared_is_a_warning() -> None:
    warning, notice = read(to_annotations(diffs.not_compared()))
    assert warning[0] == "warning"
    assert warning[2] == "graphs not compared: ATen operators against ONNX operators"
    assert notice[1]["title"] == "no difference found"


@pytest.mark.parametrize("limit", [1, 2, 10, 1000])
def test_there_are_so_many_of_each_kind_and_the_last_says_how_many_more(limit: int) -> None:
    found = read(to_annotations(diffs.many(), limit=limit))
    errors = [one for one in found if one[0] == "error"]
    assert len(errors) == min(limit, 160)
    if limit < 160:
        assert errors[-1][1]["title"] == f"{160 - limit + 1} more"
    for kind in ("warning", "notice"):
        assert sum(one[0] == kind for one in found) <= limit


@pytest.mark.parametrize("poison", diffs.POISONS, ids=lambda text: ascii(text[:12]))
def test_a_line_is_one_command_whatever_is_in_the_names(poison: str) -> None:
    base = [(kind, sorted(found)) for kind, found, _ in read(to_annotations(diffs.everything()))]
    found = read(to_annotations(diffs.with_text(diffs.everything(), poison)))
    assert [(kind, sorted(properties)) for kind, properties, _ in found][:7] == base[:7]
    assert all(len(one[2]) < 5_000 for one in found)


def test_percent_signs_and_commas_are_escaped() -> None:
    diff = GraphDiff(
        diffs.OLD,
        Side("a,b:c%.json", "manifest"),
        violations=(Violation("weights", "w,x", "5%0A"),),
    )
    assert to_annotations(diff) == ("::error file=a%2Cb%3Ac%25.json,title=weights%3A w%2Cx::5%250A")


# --- files and lines -----------------------------------------------------------------------------


def test_an_object_has_no_file() -> None:
    diff = replace(diffs.same(), new=Side("Compiled", "Compiled"))
    assert to_annotations(diff).startswith("::notice title=")
    assert to_annotations(diff, file="x.json").startswith("::notice file=x.json,title=")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest in which two equations have the same text."""
    model = nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 2))
    fakes = {"0": Fake(["2.5*x0", "2.5*x0"], 3), "2": Fake(["x0*x1", "2.5*x0"], 2)}
    path = tmp_path_factory.mktemp("github") / "model.manifest.json"
    manifest(hybrid_of(model, fakes, Batch((torch.rand(4, 3),), {})), path)
    return path


def drifted_in(path: str) -> GraphDiff:
    """Output 1 of block "2", and block "0" as a whole, are not allowed."""
    blocks = (
        diffs.block("0", "identical", diffs.equation("0", "identical", "2.5*x0", "2.5*x0")),
        diffs.block(
            "2",
            "coefficients drifted",
            diffs.equation("2", "identical", "x0*x1", "x0*x1"),
            diffs.equation("2", "coefficients drifted", "2.4*x0", "2.5*x0", 1),
        ),
    )
    found = (
        Violation("coefficient", "2[1]", "2.4 -> 2.5"),
        Violation("fidelity", "2", "R2 0.9 -> 0.8"),
        Violation("structure", "graph", "nodes: 1 added"),
        Violation("fidelity", "0", "R2 0.9 -> 0.8"),
    )
    return GraphDiff(diffs.OLD, Side(path, "manifest"), blocks, violations=found)


def test_errors_point_at_the_equations_of_a_manifest(
    written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(written.parent)
    found = read(to_annotations(drifted_in(str(written))))
    assert {one[1]["file"] for one in found} == {written.name}
    lines = written.read_text(encoding="utf-8").split("\n")
    numbers = [one[1].get("line") for one in found]
    assert numbers[2] is None
    assert numbers[0] == numbers[1]
    assert lines[int(numbers[0] or 0) - 1].strip() == '"equation": "2.5*x0",'
    data = json.loads(written.read_text(encoding="utf-8"))
    data["regions"]["2"]["equations"]["1"]["equation"] = "here"
    data["regions"]["0"]["equations"]["0"]["equation"] = "there"
    again = written.with_name("again.json")
    again.write_text(json.dumps(data, indent=1), encoding="utf-8")
    found = read(to_annotations(drifted_in(str(again))))
    lines = again.read_text(encoding="utf-8").split("\n")
    assert lines[int(found[0][1]["line"]) - 1].strip() == '"equation": "here",'
    assert lines[int(found[3][1]["line"]) - 1].strip() == '"equation": "there",'


@pytest.mark.parametrize(
    "content", ["", "{", '{"regions": {"2": 1}}', '{\n"\\x": 1\n', "PK\x03", "[]"]
)
def test_other_files_have_no_lines(tmp_path: Path, content: str) -> None:
    path = tmp_path / "model.manifest.json"
    path.write_text(content, encoding="utf-8")
    assert "line=" not in to_annotations(drifted_in(str(path)))
    assert "line=" not in to_annotations(drifted_in(str(tmp_path)))
    assert "line=" not in to_annotations(drifted_in("\0"))
