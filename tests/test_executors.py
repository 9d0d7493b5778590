"""Executors: daemon threads, processes that die alone, and how many work at a time."""

import threading
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import pytest

from symcompile.errors import EngineError
from symcompile.regression.executors import (
    InThisThread,
    Threads,
    WorkerPool,
    available_cores,
    number_of_workers,
)
from symcompile.regression.threads import in_threads


def test_nobody_waits_for_a_thread_that_hangs() -> None:
    release = threading.Event()
    threads = Threads(2)
    hanging, fine = threads.submit(release.wait), threads.submit(int, "3")
    assert fine.result(60) == 3
    assert not hanging.cancel()
    threads.shutdown()
    assert not hanging.done()
    release.set()
    assert hanging.result(60)


def test_what_a_thread_raises_is_in_its_future() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with Threads(1) as threads:
        for call, kind in ((interrupted, KeyboardInterrupt), (int, None)):
            future = threads.submit(call)
            assert isinstance(future.exception(60), kind or type(None))


def test_errors_in_this_thread_are_in_the_future_and_interrupts_are_not() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    assert isinstance(InThisThread().submit(int, "x").exception(), ValueError)
    with pytest.raises(KeyboardInterrupt):
        InThisThread().submit(interrupted)


class Told(Executor):
    """An executor with attributes of its own."""

    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)


class Client:
    """Like that of Dask."""

    def ncores(self) -> dict[str, int]:
        return {"tcp://one": 4, "tcp://two": 8}


@pytest.mark.parametrize(
    ("executor", "count"),
    [
        (ThreadPoolExecutor(3), 3),
        (Threads(4), 4),
        (InThisThread(), 1),
        (Told(num_workers=5), 5),
        (Told(_client=Client()), 12),
        (Told(), None),
        (Told(_max_workers="many"), None),
        (Told(_max_workers=0, _client=object()), None),
    ],
)
def test_the_number_of_workers(executor: Executor, count: int | None) -> None:
    assert number_of_workers(executor) == count


@pytest.mark.parametrize(
    ("executor", "tasks", "threads"),
    [
        (Threads(8), 1, 8),
        (Threads(8), 3, 2),
        (Threads(2), 5, 1),
        (ThreadPoolExecutor(8), 1, 1),
        (InThisThread(), 1, 1),
        (Told(), 1, 1),
    ],
)
def test_threads_of_our_own_share_the_cores(executor: Executor, tasks: int, threads: int) -> None:
    """Whoever gives an executor has said what it may take."""
    assert WorkerPool(executor).threads(tasks) == threads


def test_what_threads_do_comes_in_order() -> None:
    meet = threading.Barrier(3)

    def together(item: int) -> int:
        meet.wait(60)
        return -item

    assert list(in_threads(together, [1, 2, 3], 3)) == [-1, -2, -3]
    assert list(in_threads(lambda item: -item, [1, 2], 1)) == [-1, -2]
    with pytest.raises(ZeroDivisionError):
        list(in_threads(lambda item: 1 / item, [1, 0], 2))


def test_a_crew_of_unknown_size_has_room_for_everything() -> None:
    pool = WorkerPool(Told())
    assert pool.room > 10**9
    assert pool.searches == available_cores()


def test_a_worker_that_hangs_takes_up_room() -> None:
    pool = WorkerPool(ThreadPoolExecutor(2))
    lost: Future[Any] = Future()
    lost.set_running_or_notify_cancel()
    pool.give_up(lost)
    assert pool.room == 1
    lost.set_result(None)
    assert pool.room == 2


def test_of_a_pool_that_is_shut_down_nothing_is_submitted() -> None:
    pool = ProcessPoolExecutor(1)
    pool.shutdown()
    with pytest.raises(EngineError, match="takes no more searches"):
        WorkerPool(pool).submit(int)
