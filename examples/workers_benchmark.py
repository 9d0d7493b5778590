"""How much sooner workers are through with 240 fits, whether they find the same, and their memory.

`python examples/workers_benchmark.py` distills 240 outputs: textbook laws (`laws_data.py`) of five
inputs, every fourth with 1 % of noise, with a small search. One worker, and then two threads, two
processes, one and two workers of a Dask cluster on this machine (`pip install distributed`), and
eight processes on two cores; BLAS has one thread everywhere. It prints a row for each: seconds,
their share of one worker's, CPU seconds of all processes, whether every number of every equation is
the same, and the most memory that a worker held (RSS with pages that it shares, USS without). A run
that takes far longer than one worker ends with an error that says so. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

# Before numpy: eight processes with two threads of BLAS each are no measurement of eight processes.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np  # noqa: E402
from laws_data import LAWS, Array, Law  # noqa: E402

from symcompile import distill  # noqa: E402

NAMES = ("a", "b", "c", "d", "e")
OPERATORS = ("+", "-", "*", "/", "sqrt", "square", "exp", "log", "sin", "cos")
NOISE = 0.01
# Times one worker's seconds after which a run counts as one that never ends.
PATIENCE, LEAST_PATIENCE = 5.0, 120.0
# Seconds between two looks at the memory of workers.
POLL = 1.0


@dataclass(frozen=True)
class Sizes:
    outputs: int = 240
    rows: int = 500
    restarts: int = 2
    population: int = 200
    generations: int = 20


QUICK = Sizes(2, 300, restarts=1, population=50, generations=2)


def samples(sizes: Sizes) -> tuple[Array, Array]:
    """Inputs [rows, 5], and outputs [rows, outputs]: each a law of some of the inputs."""
    rng = np.random.default_rng(0)
    X = rng.uniform(1.0, 3.0, (sizes.rows, len(NAMES)))
    laws = [law for law in LAWS.values() if np.isfinite(law.values(X[:, : len(law.names)])).all()]
    Y = []
    for k in range(sizes.outputs):
        law, noise = laws[k % len(laws)], NOISE * (k % 4 == 3)
        y = law.values(columns(law, X, rng))
        Y.append(y + noise * y.std() * rng.normal(size=len(y)))
    return X, np.stack(Y, axis=1)


def columns(law: Law, X: Array, rng: np.random.Generator) -> Array:
    """As many inputs as the law has, in an order in which it is defined everywhere."""
    chosen = X[:, rng.permutation(len(NAMES))[: len(law.names)]]
    return chosen if np.isfinite(law.values(chosen)).all() else columns(law, X, rng)


@contextmanager
def dask(n: int) -> Iterator[Executor]:
    from dask.distributed import Client, LocalCluster

    options = {"n_workers": n, "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        yield client.get_executor()


def processes(n: int) -> ProcessPoolExecutor:
    """Started afresh, as everywhere but on Linux: they share nothing with this process."""
    return ProcessPoolExecutor(n, get_context("spawn"))


@contextmanager
def pinned(n: int, cores: int) -> Iterator[Executor]:
    """Processes that share the first few of this process's cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:cores])
    try:
        with processes(n) as pool:
            yield pool
    finally:
        os.sched_setaffinity(0, before)


WORKERS: dict[str, Callable[[], AbstractContextManager[Executor]]] = {
    "1 thread": lambda: ThreadPoolExecutor(1),
    "2 threads": lambda: ThreadPoolExecutor(2),
    "2 processes": lambda: processes(2),
    "1 Dask worker": lambda: dask(1),
    "2 Dask workers": lambda: dask(2),
    "8 processes on 2 cores": lambda: pinned(8, 2),
}


class Memory:
    """The most that a process started by this one held, in MiB: `rss` as the kernel counts its
    peak, `uss` where it was looked at."""

    def __init__(self) -> None:
        self.rss = self.uss = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(POLL):
            for pid in descendants(os.getpid()):
                self.rss = max(self.rss, size(pid, "status", "VmHWM"))
                self.uss = max(self.uss, size(pid, "smaps_rollup", "Private"))


def descendants(pid: int) -> list[int]:
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(child) for child in path.read_text().split()]
        except OSError:  # it has ended
            continue
        for child in children:
            found += [child, *descendants(child)]
    return found


def size(pid: int, file: str, label: str) -> float:
    """The sum of a file's rows that begin so, in MiB."""
    try:
        rows = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(row.split()[1]) for row in rows if row.startswith(label)) / 1024


@contextmanager
def time_limit(seconds: float, what: str) -> Iterator[None]:
    """Past it an error in this thread, and the end of all that it started."""

    def late(*_: object) -> None:
        for pid in descendants(os.getpid()):
            os.kill(pid, signal.SIGKILL)
        # No TimeoutError: that is an OSError, which whoever waits for a process may expect.
        raise RuntimeError(f"{what}: not through after {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def fronts(X: Array, Y: Array, sizes: Sizes, executor: Executor) -> list[Any]:
    search = {name: getattr(sizes, name) for name in ("restarts", "population", "generations")}
    found = distill(
        X,
        Y,
        names=NAMES,
        operators=OPERATORS,
        engine="operon",
        engine_options=search,
        executor=executor,
        progress=False,
    )
    return list(found.values())


class Measured(NamedTuple):
    """Seconds by the clock and of CPU, every equation to the last digit, and memory in MiB."""

    seconds: float
    cpu: float
    equations: list[str]
    rss: float
    uss: float


def measure(name: str, sizes: Sizes, limit: float) -> Measured:
    X, Y = samples(sizes)
    before = os.times()
    with time_limit(limit, name), WORKERS[name]() as executor, Memory() as memory:
        # Until all workers have started: a pool is used for more than one call.
        list(executor.map(time.sleep, [0.2] * int(name.split()[0])))
        start = time.perf_counter()
        found = fronts(X, Y, sizes, executor)
        seconds = time.perf_counter() - start
    # All but the last are of CPU, of this process and of those that have ended.
    cpu = sum(os.times()[:4]) - sum(before[:4])
    equations = [json.dumps(front.to_json(text=False)) for front in found]
    return Measured(seconds, cpu, equations, memory.rss, memory.uss)


def table(sizes: Sizes, names: list[str]) -> Iterator[str]:
    """Rows, the first of one worker."""
    yield "| workers | seconds | of one | CPU s | equations | RSS MiB | USS MiB |"
    yield 7 * "|---" + "|"
    one: Measured | None = None
    for name in names:
        limit = 3600.0 if one is None else max(PATIENCE * one.seconds, LEAST_PATIENCE)
        try:
            now = measure(name, sizes, limit)
        except ModuleNotFoundError as error:
            yield f"| {name} | no {error.name} here | | | | | |"
            continue
        one = one or now
        same = sum(a == b for a, b in zip(now.equations, one.equations, strict=True))
        held = f"{now.rss:.0f} | {now.uss:.0f}" if now.rss else "- | -"
        yield (
            f"| {name} | {now.seconds:.1f} | {now.seconds / one.seconds:.2f} | {now.cpu:.1f}"
            f" | {same} of {len(one.equations)} the same | {held} |"
        )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a few small fits, for tests")
    parser.add_argument("--outputs", type=int, default=Sizes.outputs, help="fits, 240 by default")
    parser.add_argument("--workers", nargs="*", choices=[*WORKERS], default=[*WORKERS])
    options = parser.parse_args(arguments)
    for row in table(QUICK if options.quick else Sizes(options.outputs), options.workers):
        print(row, flush=True)


if __name__ == "__main__":
    main()
