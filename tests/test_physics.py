"""The physics experiments run in their quick modes, find their laws, and leave their results."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
from children import Child

EXAMPLES = Path(__file__).parents[1] / "examples"


def results(name: str, folder: Path) -> Any:
    """Run one experiment and read what it leaves."""
    with Child(EXAMPLES / f"{name}.py", "--quick", "--output", str(folder)) as child:
        done = child.finished(timeout=600)
    assert done.returncode == 0, done.stderr
    facts = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    assert facts["experiment"] == name
    assert facts["quick"] is True
    assert {"torch", "pyoperon", "symcompile"} <= set(facts["versions"])
    assert facts["seeds"]
    assert (folder / f"{name}.md").read_text(encoding="utf-8").strip() in done.stdout
    assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    return facts["results"]


@pytest.mark.usefixtures("every_table")
def test_networks_laws_are_chosen_automatically(tmp_path: Path) -> None:
    networks = results("pinns", tmp_path)
    assert [one["problem"] for one in networks] == ["heat", "wave", "oscillator"]
    for one in networks:
        assert one["right_form"], one["equation"]
        assert one["mse"]["equation"] <= one["mse"]["network"]
    frequency = networks[2]["constants"]
    assert frequency["frequency"] == pytest.approx(19.8997, rel=1e-3)
    assert frequency["phase"] == pytest.approx(-0.1002, abs=0.01)


def test_lorenz_becomes_quadratic_and_beats_its_network(tmp_path: Path) -> None:
    found = results("lorenz", tmp_path)
    assert [one["degrees"] for one in found["seeds"]] == [[2, 2, 2]]
    stages = found["seeds"][0]["stages"]
    network = stages.pop("network")
    # The rule that the default choice follows cuts dense polynomials short: see the README.
    stages.pop("equations, default choice")
    for one in stages.values():
        assert one["test_mse"] < network["test_mse"]
        assert one["rollout_error"] < network["rollout_error"]


def test_a_force_law_is_read_off_a_graph_network(tmp_path: Path) -> None:
    (found,) = results("forces", tmp_path)
    assert [message["settled"]["right"] for message in found["messages"]] == [True, True]
    assert found["errors"]["settled"] < found["errors"]["network"]


def test_laws_are_found_in_fewer_samples(tmp_path: Path) -> None:
    found = results("robustness", tmp_path)
    assert [(one["law"], one["hit"]) for one in found] == [("spring", True)]


def test_the_readme_shows_the_results_that_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    summary = importlib.import_module("physics_summary")
    readme = (EXAMPLES.parent / "README.md").read_text(encoding="utf-8")
    shown = readme.split("<!-- physics -->\n")[1].split("\n\n")[0]
    assert shown == summary.table()
