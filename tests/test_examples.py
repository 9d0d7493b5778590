"""The scripts of `examples/` that make no physics run in their quick modes."""

from __future__ import annotations

from pathlib import Path

import pytest
from children import Child

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.parametrize(
    "script",
    [
        "diff_benchmark.py",
        "language_functions.py",
        "lowering_benchmark.py",
        "review.py",
        "selection_study.py",
        "small_tables.py",
        "transformer_mlps.py",
        "units_study.py",
    ],
)
def test_quick_modes_run(script: str, tmp_path: Path) -> None:
    with Child(EXAMPLES / script, "--quick", folder=tmp_path) as child:
        done = child.finished(timeout=600)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) > 3
