"""Memory of many explanations, one after the other through the workers of an executor.

    python examples/slime_memory.py     200 explanations on two threads, 200 on two processes, and
                                        200 one by one whose searches are on two threads

What is printed is the resident memory of all processes together, in MiB, whenever some explanations
more are done; each is dropped once its fidelity was looked at.
"""

from __future__ import annotations

import argparse
import gc
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context
from typing import Any

from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from workers_benchmark import descendants, size

from symcompile import Explanation, explain

COUNT, PART = 200, 25
SHORT = {"n_synthetic": 100, "engine_options": {"restarts": 1, "population": 50}}
# Executors, and whether explanations are their tasks, or searches.
MODES: dict[str, tuple[Callable[[], Executor], bool]] = {
    "threads": (partial(ThreadPoolExecutor, 2), True),
    "processes": (partial(ProcessPoolExecutor, 2, mp_context=get_context("spawn")), True),
    "searches on threads": (partial(ThreadPoolExecutor, 2), False),
}


def memory() -> float:
    """Resident memory of this process and of its children, in MiB."""
    gc.collect()
    pids = [os.getpid(), *descendants(os.getpid())]
    return sum(size(pid, "status", "VmRSS") for pid in pids)


def explanations(
    pool: Executor, count: int, given: Mapping[str, Any], *, whole: bool
) -> Iterator[Explanation]:
    """So many, each a task of the executor, or with its searches as tasks."""
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    model = make_pipeline(StandardScaler(), PolynomialFeatures(2), LogisticRegression(max_iter=500))
    model.fit(X, y)
    options = {"lime": False, "extrapolate": True, **given}
    if not whole:
        for k in range(count):
            yield explain(model, X.iloc[k], X, executor=pool, **options)
        return
    waiting = {pool.submit(explain, model, X.iloc[k], X, **options) for k in range(count)}
    for future in as_completed(waiting):
        waiting.discard(future)
        yield future.result()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two short ones, none on processes")
    parser.add_argument("--count", type=int, default=COUNT)
    options = parser.parse_args(arguments)
    count, part, given = (2, 1, SHORT) if options.quick else (options.count, PART, {})
    for name, (executor, whole) in MODES.items():
        if options.quick and name == "processes":
            continue
        start, sizes = time.perf_counter(), []
        with executor() as pool:
            for done, explanation in enumerate(explanations(pool, count, given, whole=whole), 1):
                assert explanation.fidelity
                if done % part == 0:
                    sizes.append(memory())
        seconds = time.perf_counter() - start
        after = ", ".join(f"{mib:.0f}" for mib in sizes)
        print(f"{name}: {count} explanations in {seconds:.0f} s; MiB after each {part}: {after}")


if __name__ == "__main__":
    main()
