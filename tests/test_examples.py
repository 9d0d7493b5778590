"""The experiments of `examples/` run, and find the laws that the README says they find."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def pinns() -> ModuleType:
    spec = spec_from_file_location("pinns_example", EXAMPLES / "pinns.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("problem", ["heat", "wave", "oscillator"])
def test_the_law_is_chosen_automatically(pinns: ModuleType, problem: str) -> None:
    result = pinns.run(problem, 290402)
    assert result.right_form, result.equation
    # Decay, wave number and frequency, against the law fitted straight to the network.
    assert result.off < 0.01
    assert result.errors[0] <= result.errors[1]
    if problem == "oscillator":
        constants = dict(zip(pinns.FAMILIES[problem].names, result.constants, strict=True))
        assert constants["frequency"] == pytest.approx(19.8997, rel=1e-3)
        assert constants["phase"] == pytest.approx(-0.1002, abs=0.01)
        assert constants["amplitude"] != 1.0
    assert problem in pinns.table([result])


@pytest.mark.parametrize(
    "script", ["diff_benchmark.py", "lowering_benchmark.py", "review.py", "selection_study.py"]
)
def test_quick_modes_run(script: str, tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / script), "--quick"]
    environment = os.environ | {"PYTHONPATH": str(EXAMPLES.parent)}
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env=environment,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) > 3
