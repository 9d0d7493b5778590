"""What workers run: failures that survive the way back, and linear algebra in one thread."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from children import forks
from fitting import distill
from test_distill_run import Engine, fit
from threadpoolctl import threadpool_info, threadpool_limits

from symcompile.regression.tasks import Failure, attempt, attempt_elsewhere


def threads() -> set[int]:
    assert np.linalg.norm(np.ones(3)) > 0  # it is loaded
    blas = [library for library in threadpool_info() if library["user_api"] == "blas"]
    return {library["num_threads"] for library in blas}


@pytest.fixture
def two() -> Iterator[None]:
    with threadpool_limits(2, "blas"):
        assert threads() == {2}
        yield


class Told(Engine):
    """It says how many threads there are by failing."""

    def fit(self, *arguments: Any, **options: Any) -> Any:
        raise ValueError(f"threads: {threads()}")


def test_a_failure_says_why() -> None:
    assert attempt(float, "1.5") == 1.5
    assert attempt(float, "one") == Failure("ValueError: could not convert string to float: 'one'")


@pytest.mark.usefixtures("two")
def test_a_task_of_another_process_has_one_thread() -> None:
    assert attempt_elsewhere(threads) == {1}
    assert threads() == {2}


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize("workers", ["own", "threads", "processes"])
def test_searches_have_one_thread_wherever_they_run(workers: str) -> None:
    pools = {
        "threads": lambda: ThreadPoolExecutor(2),
        "processes": lambda: ProcessPoolExecutor(1, mp_context=forks()),
    }
    fits = [fit("told", Told()), fit("line", Engine())]
    if workers == "own":
        fronts = distill(fits)
    else:
        with pools[workers]() as pool:
            fronts = distill(fits, executor=pool)
    assert "threads: {1}" in fronts["told"].reason
    assert threads() == {2}
