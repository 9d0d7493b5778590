"""What keeps the suite short: the slowest files start first, so that no worker is left with one of
them at the end, and what no test looks at is not done at length."""

from __future__ import annotations

import functools
import gc
import sys
from collections.abc import Iterator

import pytest

from symcompile.regression.computed import laws, solutions

SLOWEST = (
    "test_diff_matrix.py",
    "test_physics.py",
    "test_batches.py",
    "test_examples.py",
    "test_onnx_exporter.py",
    "test_workflow.py",
    "test_distill_run.py",
    "test_computed.py",
)
# Ends of the names of torch's dispatch keys.
DEVICES = ("CPU", "CUDA", "Meta")


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


@pytest.fixture(autouse=True, scope="session")
def _few_forms() -> Iterator[None]:
    """Most tests that compile a model look at no law: they look for one in the smallest table,
    of two terms."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(laws, "SMALL", laws.SMALL[:1])
        patch.setattr(laws, "THREE", ())
        patch.setattr(laws, "LARGE", ())
        yield


@pytest.fixture
def every_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """Laws are looked for in all tables, as users have it, in a `Child` too."""
    monkeypatch.setattr(laws, "SMALL", solutions.SMALL)
    monkeypatch.setattr(laws, "THREE", solutions.THREE)
    monkeypatch.setattr(laws, "LARGE", solutions.LARGE)


@pytest.fixture(autouse=True, scope="session")
def _briefly_for_several() -> Iterator[None]:
    """What several tests share is made as briefly."""
    with pytest.MonkeyPatch.context() as patch:
        _untimed(patch)
        yield


def _untimed(patch: pytest.MonkeyPatch) -> None:
    measuring = sys.modules.get("symcompile.fidelity.measuring")
    if measuring is not None:
        patch.setattr(measuring, "LATENCY_SECONDS", 0.0)


@pytest.fixture(autouse=True)
def _brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks are timed by their five calls at least and no longer; and what torch reads anew for
    every ONNX file, half of the time of a small one, is read once: some 200 functions of onnxscript
    from their sources, and their signatures. The operators that it looks up six times for a file
    are looked up once in a test, which may bring some of its own. Of these 500 get a kernel for
    each of 22 kinds of devices, four times for a file: here for those only that there are."""
    _untimed(monkeypatch)
    registration = sys.modules.get("torch.onnx._internal.exporter._registration")
    if registration is not None:
        for module, name in (
            (registration.onnxscript_apis, "get_torchlib_ops"),
            (registration._schemas, "op_signature_from_function"),
        ):
            if not hasattr(getattr(module, name), "cache_info"):
                setattr(module, name, functools.cache(getattr(module, name)))
    operators = sys.modules.get("torch._export.utils")
    if operators is not None:
        name = "_materialize_cpp_cia_ops"
        monkeypatch.setattr(operators, name, functools.cache(getattr(operators, name)))
    exported = sys.modules.get("torch.export.exported_program")
    if exported is not None:
        for name in ("_BACKEND_KEYS_TO_OVERRIDE", "_AUTOGRAD_ALIAS_BACKEND_KEYS_TO_OVERRIDE"):
            present = [key for key in getattr(exported, name) if key.name.endswith(DEVICES)]
            monkeypatch.setattr(exported, name, present)
