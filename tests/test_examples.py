"""The scripts of `examples/` that make no physics run in their quick modes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


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
