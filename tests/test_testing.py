"""`assert_same_equations` under pytest and other runners: verdicts, messages, and golden files."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from children import Child
from repositories import DRIFTED, OTHER, ROOT, content, hybrid
from torch import nn

from symcompile import Target, symcompile, testing
from symcompile.errors import ArtifactError, ComparisonError
from symcompile.testing import assert_same_equations


@pytest.fixture(autouse=True)
def nothing_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the runner nor the environment of these tests asks for an update."""
    monkeypatch.setattr(testing, "updating", None)
    monkeypatch.setattr(testing, "written", [])
    monkeypatch.delenv(testing.VARIABLE, raising=False)


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    path = tmp_path / "golden.json"
    path.write_bytes(content(".json"))
    return path


def model(folder: Path, equation: str, suffix: str = ".json") -> Path:
    """A model to compare with the golden file."""
    path = folder / f"model{suffix}"
    path.write_bytes(content(suffix, equation))
    return path


def failure(*arguments: Any, **options: Any) -> str:
    with pytest.raises(AssertionError) as caught:
        assert_same_equations(*arguments, **options)
    return str(caught.value)


# --- verdicts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".json", ".symc", ".onnx"])
def test_the_same_equations_pass(golden: Path, suffix: str) -> None:
    assert_same_equations(model(golden.parent, "2.5*x0*x1", suffix), golden)


@pytest.mark.parametrize(
    ("options", "passes"),
    [
        ({}, False),
        ({"rtol": 0.11}, True),
        ({"rtol": 0.09}, False),
        ({"atol": 0.26}, True),
        ({"fail_on": ("structure", "signature")}, True),
        ({"fail_on": "coefficient"}, False),
        ({"fail_on": "none"}, True),
    ],
)
def test_rules_decide(golden: Path, options: dict[str, Any], passes: bool) -> None:
    drifted = model(golden.parent, DRIFTED)
    if passes:
        assert_same_equations(drifted, golden, **options)
    else:
        assert "coefficients drifted" in failure(drifted, golden, **options)


def test_the_message_is_the_comparison_and_what_to_type(golden: Path) -> None:
    said = failure(model(golden.parent, OTHER), golden)
    assert said.startswith(f"the equations are not those of {str(golden)!r}\n")
    assert "structure changed" in said
    assert "2.5*x0*x1" in said
    assert "2.5*x0 + exp(x1)" in said
    assert "\x1b" not in said
    test = "tests/test_testing.py::test_the_message_is_the_comparison_and_what_to_type"
    assert said.endswith(f"commit it:\n\n    SYMCOMPILE_UPDATE=1 pytest {test}\n")


def test_a_missing_golden_file_fails_and_says_how_to_write_it(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "golden.json"
    said = failure(model(tmp_path, OTHER), path)
    assert said.startswith(f"there is no golden file {str(path)!r}")
    assert "SYMCOMPILE_UPDATE=1 pytest " in said
    assert not path.parent.exists()


@pytest.mark.parametrize(
    ("plugin", "test", "expected"),
    [
        (False, "t/a.py::test[a b] (call)", "pytest --update-equations 't/a.py::test[a b]'"),
        (None, "a.py::t (1) (setup)", "SYMCOMPILE_UPDATE=1 pytest 'a.py::t (1)'"),
        (None, None, "SYMCOMPILE_UPDATE=1 python run.py 'a b'"),
    ],
)  # fmt: skip
def test_what_to_type_is_of_the_runner(
    monkeypatch: pytest.MonkeyPatch, plugin: bool | None, test: str | None, expected: str
) -> None:
    monkeypatch.setattr(testing, "updating", plugin)
    monkeypatch.setattr(sys, "argv", ["run.py", "a b"])
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    if test is not None:
        monkeypatch.setenv("PYTEST_CURRENT_TEST", test)
    assert f"\n    {expected}\n" in failure("model.json", "nowhere.json")


def test_a_damaged_golden_file_is_no_difference(golden: Path) -> None:
    golden.write_text("{")
    with pytest.raises(ArtifactError, match=r"golden\.json"):
        assert_same_equations(model(golden.parent, OTHER), golden)


def test_rules_that_make_no_sense_are_no_difference(golden: Path) -> None:
    with pytest.raises(ComparisonError, match="fail_on"):
        assert_same_equations(golden, golden, fail_on="colour")


# --- golden files --------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["argument", "variable", "plugin"])
def test_an_update_writes_instead_of_comparing(
    golden: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, how: str
) -> None:
    if how == "variable":
        monkeypatch.setenv(testing.VARIABLE, "1")
    monkeypatch.setattr(testing, "updating", how == "plugin")
    update = {"update": True} if how == "argument" else {}
    assert_same_equations(hybrid(OTHER), golden, **update)
    assert golden.read_bytes() == content(".json", OTHER)
    assert testing.written == [f"{golden} (changed)"]
    assert f"wrote {golden} (changed), nothing was compared" in capsys.readouterr().err
    assert_same_equations(hybrid(OTHER), golden, **update)
    assert len(testing.written) == 1, "the same bytes are not written"
    assert os.listdir(golden.parent) == ["golden.json"]


@pytest.mark.parametrize("value", ["", "0", "false", "No"])
def test_a_variable_that_says_no(golden: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(testing.VARIABLE, value)
    failure(model(golden.parent, OTHER), golden)


def test_an_argument_that_says_no_overrules(golden: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(testing.VARIABLE, "1")
    monkeypatch.setattr(testing, "updating", True)
    failure(model(golden.parent, OTHER), golden, update=False)


def test_a_missing_golden_file_is_written_with_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "new" / "golden.json"
    assert_same_equations(hybrid(), path, update=True)
    assert path.read_bytes() == content(".json")
    assert testing.written == [f"{path} (new)"]


@pytest.mark.parametrize("suffix", [".json", ".symc", ".onnx"])
def test_a_file_becomes_a_golden_file_of_its_kind(tmp_path: Path, suffix: str) -> None:
    fresh = model(tmp_path, OTHER, suffix)
    assert_same_equations(fresh, tmp_path / f"golden{suffix}", update=True)
    assert_same_equations(fresh, tmp_path / f"golden{suffix}")


@pytest.mark.parametrize(
    ("compiled", "name", "message"),
    [
        ("model.json", "golden.symc", "a copy keeps its format"),
        (nn.Linear(1, 1), "golden.json", "golden file of a Linear"),
        (None, "golden.txt", "a golden file that ends in '.txt': end it in .symc"),
    ],
)
def test_what_can_not_become_a_golden_file(
    tmp_path: Path, compiled: Any, name: str, message: str
) -> None:
    with pytest.raises(ComparisonError, match=re.escape(message)):
        assert_same_equations(compiled or hybrid(), tmp_path / name, update=True)
    assert os.listdir(tmp_path) == []


def test_a_golden_file_that_can_not_be_written(golden: Path) -> None:
    with pytest.raises(ArtifactError, match=r"can't write .*/golden\.json/golden\.json'"):
        assert_same_equations(model(golden.parent, OTHER), golden / "golden.json", update=True)


class Product(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2.5 * x[..., :1] * x[..., 1:]


def test_a_compiled_model_is_written_and_compared(tmp_path: Path) -> None:
    target = Target(".", domain={"x": (-1, 1), "t": (0, 1)})
    compiled = symcompile(
        Product(), target, max_complexity=7, n_samples=200, budget=1, progress=False
    )
    goldens = [tmp_path / f"golden{suffix}" for suffix in (".json", ".symc", ".onnx")]
    for golden in goldens:
        assert_same_equations(compiled, golden, update=True)
        assert_same_equations(compiled, golden)
    compiled.choose(".", "x + 2.5*t")
    for golden in goldens:
        assert "2.5*t + x" in failure(compiled, golden, fail_on="structure")


# --- where a relative path starts ----------------------------------------------------------------


def called_from(file: str, *arguments: Any) -> None:
    """Call the assertion from code that has this file name."""
    code = compile("assert_same_equations(*arguments)", file, "exec")
    exec(code, {"assert_same_equations": assert_same_equations, "arguments": arguments})


def test_a_relative_path_starts_at_the_file_of_the_test(
    golden: Path, tmp_path_factory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    file = golden.parent / "test_model.py"
    file.touch()
    called_from(str(file), golden, "golden.json")
    with pytest.raises(AssertionError, match="no golden file"):
        called_from(__file__, golden, "golden.json")


def test_without_a_file_it_starts_at_the_current_folder(
    golden: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(golden.parent)
    called_from("<stdin>", golden, "golden.json")


# --- runs of pytest and unittest -----------------------------------------------------------------

SUITE = """
from symcompile.testing import assert_same_equations

def test_equations():
    assert_same_equations({fresh!r}, "golden.json")

def test_others():
    pass
"""


def suite(folder: Path, equation: str = OTHER) -> Path:
    """A project with one test of a model."""
    text = SUITE.format(fresh=str(model(folder, equation)))
    (folder / "tests").mkdir()
    (folder / "tests" / "test_model.py").write_text(text)
    return folder / "tests" / "golden.json"


RUNS = """
import json, os, runpy, sys
runner, environment = sys.argv[1], json.loads(sys.argv[2])
for name in ("PYTEST_ADDOPTS", "PYTEST_CURRENT_TEST"):
    os.environ.pop(name, None)
os.environ.update(environment)
sys.path.insert(0, "")
sys.argv[:3] = [runner]
runpy.run_module(runner, run_name="__main__", alter_sys=True)
"""


def run(runner: str, folder: Path, *options: str, **env: str) -> subprocess.CompletedProcess[str]:
    """`python -m runner`, in a process of its own."""
    with Child(RUNS, runner, json.dumps(env), *options, folder=folder) as child:
        return child.finished()


def pytest_run(folder: Path, *options: str, **env: str) -> subprocess.CompletedProcess[str]:
    """pytest with our plugin, as its entry point would load it."""
    given = {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"} | env
    plugin = ("-p", "symcompile.cli.pytest_plugin", "-W", "error")
    return run("pytest", folder, *plugin, *options, **given)


def test_a_run_without_the_option_writes_nothing(tmp_path: Path) -> None:
    golden = suite(tmp_path)
    missing = pytest_run(tmp_path, CI="true")
    assert missing.returncode == 1
    assert "pytest --update-equations tests/test_model.py::test_equations" in missing.stdout
    assert not golden.exists()
    golden.write_bytes(content(".json"))
    differs = pytest_run(tmp_path)
    assert differs.returncode == 1
    assert "structure changed" in differs.stdout
    assert "__tracebackhide__" not in differs.stdout
    assert golden.read_bytes() == content(".json")


@pytest.mark.parametrize("workers", [(), ("-p", "xdist", "-n", "1")])
def test_a_run_with_the_option_writes_and_says_so(tmp_path: Path, workers: tuple[str, ...]) -> None:
    golden = suite(tmp_path)
    done = pytest_run(tmp_path, "--update-equations", *workers, CI="true")
    assert done.returncode == 0, done.stdout
    assert golden.read_bytes() == content(".json", OTHER)
    assert done.stdout.count(f"wrote equations, compared nothing: {golden} (new)\n") == 1
    again = pytest_run(tmp_path, *workers)
    assert again.returncode == 0
    assert "wrote equations" not in again.stdout


def test_unittest_writes_with_the_variable(tmp_path: Path) -> None:
    golden = tmp_path / "golden.json"
    text = SUITE.format(fresh=str(model(tmp_path, OTHER))).replace("def ", "def _")
    (tmp_path / "test_model.py").write_text(
        f"import unittest\n{text}\nload_tests = lambda *_: unittest.TestSuite("
        "[unittest.FunctionTestCase(_test_equations)])\n"
    )
    outcomes = []
    for value in ("", "1", ""):
        done = run("unittest", tmp_path, "test_model", **{testing.VARIABLE: value})
        outcomes.append((done.returncode, "SYMCOMPILE_UPDATE=1 python" in done.stderr))
    assert outcomes == [(1, True), (0, False), (0, False)]
    assert golden.read_bytes() == content(".json", OTHER)
