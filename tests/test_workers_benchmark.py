"""What `examples/workers_benchmark.py` measures: workers that find the same and hold little."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from children import Child

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "examples" / "workers_benchmark.py"
# What a worker loads: the names that a script takes, and the tasks of the scheduler.
WORKER = """
import sys
from symcompile import Target, distill, load, record, symcompile
from symcompile.regression import executors, scheduler
from symcompile.regression.engines import operon
import pyoperon
print(*sorted(sys.modules))
"""

# A run that waits for a process of its own.
LATE = f"""
import os, subprocess, sys
sys.path.insert(0, {str(SCRIPT.parent)!r})
from workers_benchmark import descendants, time_limit
sleeper = subprocess.Popen(["sleep", "1000"])
print(sleeper.pid in descendants(os.getpid()))
try:
    with time_limit(0.2, "8 processes"):
        sleeper.wait()
except RuntimeError as error:
    print(error)
print(sleeper.wait(timeout=60))
"""

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    return importlib.import_module("workers_benchmark")


@linux
def test_processes_find_what_a_thread_finds_within_their_memory() -> None:
    """By the script as it is run: what starts a process has to be importable without torch."""
    command = [sys.executable, str(SCRIPT), "--quick", "--workers", "1 thread", "2 processes"]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, check=True, timeout=300
    )
    _, _, one, two = (row.strip("| ").split(" | ") for row in done.stdout.splitlines())
    assert one[0] == "1 thread"
    assert two[4] == "2 of 2 the same"
    rss, uss = map(float, two[5:])
    assert 50.0 < uss < rss < 250.0


@linux
def test_a_run_that_does_not_end_is_an_error() -> None:
    """In a process of its own: all that it started is killed, and a test has started more."""
    with Child(LATE) as child:
        done = child.finished()
    assert done.stdout.splitlines() == ["True", "8 processes: not through after 0 s", "-9"]


def test_the_outputs_are_laws_of_some_of_the_inputs(script: ModuleType) -> None:
    X, Y = script.samples(script.Sizes(60, 50))
    assert (X.shape, Y.shape) == ((50, 5), (50, 60))
    assert np.isfinite(Y).all()
    assert len(np.unique(Y, axis=1).T) > 50


def test_a_worker_needs_no_torch() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WORKER], capture_output=True, text=True, check=True, timeout=300
    )
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert "sympy" in loaded
    assert not loaded & {"torch", "onnx", "onnxruntime", "pandas", "juliacall", "networkx"}
