"""What keeps the suite short: the slowest files start first, so that no worker is left with one of
them at the end, and what no test looks at is not done at length."""

from __future__ import annotations

import functools
import sys

import pytest

SLOWEST = (
    "test_diff_matrix.py",
    "test_physics.py",
    "test_examples.py",
    "test_onnx_exporter.py",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("fuzzing")
    group.addoption("--fuzz", type=int, help="random cases of each kind, instead of a few")
    group.addoption("--fuzz-seed", type=int, default=1, help="seed of the first one")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        return SLOWEST.index(item.path.name) if item.path.name in SLOWEST else len(SLOWEST)

    items.sort(key=place)


@pytest.fixture(autouse=True)
def _brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks are timed by their five calls at least and no longer; and what torch reads anew for
    every ONNX file, some 200 functions of onnxscript from their sources, half of the time of a
    small file, is read once."""
    measuring = sys.modules.get("symcompile.fidelity.measuring")
    if measuring is not None:
        monkeypatch.setattr(measuring, "LATENCY_SECONDS", 0.0)
    registration = sys.modules.get("torch.onnx._internal.exporter._registration")
    if registration is not None:
        scripts = registration.onnxscript_apis
        if not hasattr(scripts.get_torchlib_ops, "cache_info"):
            scripts.get_torchlib_ops = functools.cache(scripts.get_torchlib_ops)
