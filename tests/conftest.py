"""What keeps the suite short: the slowest files start first, so that no worker is left with one of
them at the end, and what no test looks at is not done at length."""

from __future__ import annotations

import functools
import gc
import sys
from collections.abc import Callable
from typing import Any

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


def pytest_collection_finish() -> None:
    """What 7,000 tests and their imports take to be there is never garbage: it is not looked at."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks are timed by their five calls at least and no longer; and what torch reads anew for
    every ONNX file, half of the time of a small one, is read once."""
    measuring = sys.modules.get("symcompile.fidelity.measuring")
    if measuring is not None:
        monkeypatch.setattr(measuring, "LATENCY_SECONDS", 0.0)
    registration = sys.modules.get("torch.onnx._internal.exporter._registration")
    if registration is not None:
        # Some 200 functions of onnxscript from their sources, and their signatures.
        _once(registration.onnxscript_apis, "get_torchlib_ops")
        _once(registration._schemas, "op_signature_from_function")
    exporting = sys.modules.get("torch._export.utils")
    if exporting is not None:
        _once(exporting, "_materialize_cpp_cia_ops", _implicit_operators)


def _once(module: Any, name: str, state: Callable[[], object] | None = None) -> None:
    """The function gives for the same arguments, and the same state, what it gave before."""
    function = getattr(module, name)
    if hasattr(function, "__wrapped__"):
        return

    @functools.cache
    def kept(state: object, *arguments: Any, **options: Any) -> Any:
        return function(*arguments, **options)

    @functools.wraps(function)
    def once(*arguments: Any, **options: Any) -> Any:
        return kept(state and state(), *arguments, **options)

    setattr(module, name, once)


def _implicit_operators() -> frozenset[str]:
    """Operators of torch that its dispatcher decomposes itself; more may come."""
    import torch

    key = "CompositeImplicitAutograd"
    return frozenset(torch._C._dispatch_get_registrations_for_dispatch_key(key))
