"""Executors: where searches run, and how many of them at a time."""

from __future__ import annotations

import atexit
import math
import os
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from contextlib import suppress
from functools import partial
from typing import Any
from weakref import WeakSet

from symcompile.errors import EngineError

# Seconds that a thread gets to end after it was told to, and again before the interpreter exits: if
# one is in C++ then, the process ends with an error.
_GRACE, _LAST_GRACE = 1.0, 1.5
_started: WeakSet[threading.Thread] = WeakSet()


class InThisThread(Executor):
    """Runs each task as it is submitted: for engines that must not be called from a thread."""

    _max_workers = 1

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        # KeyboardInterrupt goes on to the caller.
        _fulfil(future, partial(fn, *args, **kwargs), Exception)
        return future


class Threads(Executor):
    """A daemon thread for each task: nobody has to wait for one that hangs, neither who gives up
    nor an interpreter that exits, which waits for the threads of a ThreadPoolExecutor.

    Tasks start as they are submitted: it is the caller who keeps to `size` at a time.
    """

    def __init__(self, size: int) -> None:
        self._max_workers = size
        self._threads: list[threading.Thread] = []

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        call = partial(fn, *args, **kwargs)
        thread = threading.Thread(target=_fulfil, args=(future, call), daemon=True)
        self._threads = [one for one in self._threads if one.is_alive()] + [thread]
        _started.add(thread)
        thread.start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait for what runs, but not for long."""
        _join(self._threads, _GRACE if wait else 0.0)


def _join(threads: Iterable[threading.Thread], seconds: float) -> None:
    """Wait for all of them, but not for longer than this."""
    deadline = time.monotonic() + seconds
    for thread in threads:
        if thread.is_alive():  # or it may never have been started
            thread.join(max(deadline - time.monotonic(), 0.0))


@atexit.register
def _before_exit() -> None:
    with suppress(KeyboardInterrupt):
        _join(list(_started), _LAST_GRACE)


def _fulfil(
    future: Future[Any], call: Callable[[], Any], caught: type[BaseException] = BaseException
) -> None:
    try:
        future.set_result(call())
    except caught as error:
        future.set_exception(error)


class Processes(Executor):
    """One process a task, each in a pool of its own: one that dies takes no other along.

    The pools are like `pool`, whose workers they stand in for. It is the caller who keeps to so
    many tasks at a time.
    """

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._max_workers = number_of_workers(pool)
        self._options: dict[str, Any] = {
            "mp_context": getattr(pool, "_mp_context", None),
            "initializer": getattr(pool, "_initializer", None),
            "initargs": getattr(pool, "_initargs", ()),
        }
        self._pools: dict[ProcessPoolExecutor, Future[Any]] = {}

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        pool = self._idle() or ProcessPoolExecutor(1, **self._options)
        self._pools[pool] = pool.submit(fn, *args, **kwargs)
        return self._pools[pool]

    def _idle(self) -> ProcessPoolExecutor | None:
        for pool, last in list(self._pools.items()):
            if not last.done():
                continue
            if not last.cancelled() and not isinstance(last.exception(), BrokenExecutor):
                return pool
            del self._pools[pool]
        return None

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes, whatever they do."""
        for pool in self._pools:
            for process in list((getattr(pool, "_processes", None) or {}).values()):
                process.kill()
            pool.shutdown(wait=False, cancel_futures=True)


def number_of_workers(executor: Executor) -> int | None:
    """How many tasks run at a time, or None where the executor does not tell."""
    dask: Any = getattr(executor, "_client", None)
    for size in (
        getattr(executor, "_max_workers", None),
        getattr(executor, "num_workers", None),  # mpi4py
        sum(dask.ncores().values()) if callable(getattr(dask, "ncores", None)) else None,
    ):
        if type(size) is int and size > 0:
            return size
    return None


def available_cores() -> int:
    """Cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


class WorkerPool:
    """The workers of an executor. A process pool that broke at work is replaced by `Processes`."""

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self.size = number_of_workers(executor) or math.inf
        self.lost: list[Future[Any]] = []
        self.worked = False

    @property
    def own(self) -> bool:
        """Whether a task starts as soon as it is submitted, and can be left alone for good."""
        return isinstance(self.executor, (Threads, Processes))

    @property
    def room(self) -> float:
        """How many tasks may be under way. A worker that hangs is no use to anybody."""
        hanging = 0 if self.own else sum(not one.done() for one in self.lost)
        return self.size - hanging

    @property
    def searches(self) -> int:
        """How many searches run at a time, as far as it is known."""
        return available_cores() if self.size == math.inf else int(self.size)

    def threads(self, tasks: int) -> int:
        """How many threads each of so many tasks may have: cores of this process that would have
        nothing else to do."""
        return max(1, self.searches // tasks) if isinstance(self.executor, Threads) else 1

    @property
    def shares_memory(self) -> bool:
        """Whether a task can be handed a callback that is alive."""
        return isinstance(self.executor, (ThreadPoolExecutor, Threads, InThisThread))

    def submit(self, *call: Any) -> Future[Any]:
        """Raises EngineError where the executor takes no more work."""
        try:
            try:
                future = self.executor.submit(*call)
            except BrokenExecutor:
                if not (self.worked and isinstance(self.executor, ProcessPoolExecutor)):
                    raise
                self.executor = Processes(self.executor)
                future = self.executor.submit(*call)
        except Exception as error:
            raise EngineError(
                f"the executor takes no more searches ({error or type(error).__name__}): give one"
                " that is open until the call returns, or leave executor out; with run_dir,"
                " finished searches are not repeated"
            ) from error
        if not isinstance(future, Future):
            raise EngineError(
                f"submit() of the executor gave a {type(future).__name__}: expected a"
                " concurrent.futures.Future, as a Dask client's get_executor() gives it"
            )
        self.worked = True
        return future

    def give_up(self, future: Future[Any]) -> None:
        future.cancel()
        self.lost.append(future)

    def close(self) -> None:
        if isinstance(self.executor, Processes):
            self.executor.shutdown()
