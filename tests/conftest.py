"""The slowest files start first, so that no worker is left with one of them at the end."""

from __future__ import annotations

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
