"""The deadline: work stops in any thread, nothing of it stays behind, nobody can catch it."""

from __future__ import annotations

import gc
import sys
import threading
import weakref
from collections.abc import Iterator

import pytest
import sympy

from symcompile.diff.equations.deadline import Deadline, OutOfTime


def endless() -> None:
    while True:
        abs(len(str(1)))
        step()


def failing() -> None:
    raise KeyError


def step() -> int:
    return 1


def test_endless_work_is_stopped() -> None:
    with pytest.raises(OutOfTime), Deadline(0.02):
        endless()


def test_what_ends_in_time_is_left_alone() -> None:
    with Deadline(60.0):
        result = sympy.expand((sympy.Symbol("x") + 1) ** 3)
    assert len(result.args) == 4
    assert sys.getprofile() is None


def test_no_time_at_all_starts_nothing() -> None:
    started = []
    with pytest.raises(OutOfTime), Deadline(0.0):
        started.append(True)
    assert not started
    assert sys.getprofile() is None


def test_it_works_in_any_thread() -> None:
    found: list[BaseException] = []

    def work() -> None:
        try:
            with Deadline(0.02):
                endless()
        except OutOfTime as error:
            found.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    assert len(found) == 1


def test_other_threads_are_not_watched() -> None:
    seen: list[object] = []
    with Deadline(60.0):
        thread = threading.Thread(target=lambda: seen.append(sys.getprofile()))
        thread.start()
        thread.join()
    assert seen == [None]


@pytest.mark.parametrize("seconds", [0.02, 60.0])
def test_the_profiler_of_before_is_set_again(seconds: float) -> None:
    def mine(*event: object) -> None:
        pass

    sys.setprofile(mine)
    work = endless if seconds < 1 else failing
    try:
        with pytest.raises((OutOfTime, KeyError)), Deadline(seconds):
            work()
        assert sys.getprofile() is mine
    finally:
        sys.setprofile(None)


def test_the_earlier_of_two_ends_counts() -> None:
    with pytest.raises(OutOfTime), Deadline(0.02), Deadline(60.0):
        endless()
    assert sys.getprofile() is None


def test_after_an_inner_one_the_outer_one_still_watches() -> None:
    def work() -> None:
        with Deadline(60.0):
            step()
        endless()

    with pytest.raises(OutOfTime), Deadline(0.1):
        work()


def test_code_that_catches_exceptions_does_not_catch_it() -> None:
    def stubborn() -> None:
        while True:
            try:
                endless()
            except Exception:
                continue

    with pytest.raises(OutOfTime), Deadline(0.02):
        stubborn()


def numbers() -> Iterator[int]:
    try:
        while True:
            yield 1
    finally:
        step()


class Thing:
    def __del__(self) -> None:
        pass


def test_where_python_cleans_up_nothing_is_lost() -> None:
    """What is raised there is dropped with a warning, which is an error in these tests."""

    def work(closing: bool) -> None:
        keys: weakref.WeakKeyDictionary[Thing, int] = weakref.WeakKeyDictionary()
        things: weakref.WeakSet[Thing] = weakref.WeakSet()
        while True:
            thing = Thing()
            keys[thing] = 1
            things.add(thing)
            if closing:
                next(numbers())
            step()

    for milliseconds in range(1, 60):
        with pytest.raises(OutOfTime), Deadline(milliseconds / 1000):
            work(closing=bool(milliseconds % 2))
    gc.collect()


def test_sympy_is_stopped_and_works_on() -> None:
    a, b, x = sympy.symbols("a b x")
    law = sympy.sin(a + b) * sympy.tanh(x) - sympy.sin(a) * sympy.cos(b) * sympy.tan(x)

    def work() -> None:
        while True:
            sympy.core.cache.clear_cache()
            sympy.simplify(law)

    for milliseconds in (5, 20, 50):
        with pytest.raises(OutOfTime), Deadline(milliseconds / 1000):
            work()
    assert sympy.simplify(sympy.sin(x) ** 2 + sympy.cos(x) ** 2) == 1


def test_check_raises_between_steps() -> None:
    deadline = Deadline(0.0)
    with pytest.raises(OutOfTime):
        deadline.check()
    Deadline(60.0).check()


def test_other_dropped_exceptions_go_where_they_went(monkeypatch: pytest.MonkeyPatch) -> None:
    class Faulty:
        def __del__(self) -> None:
            raise KeyError("mine")

    seen: list[object] = []
    hook = lambda dropped: seen.append(dropped.exc_value)  # noqa: E731
    monkeypatch.setattr(sys, "unraisablehook", hook)
    with Deadline(60.0):
        Faulty()
    assert [str(one) for one in seen] == ["'mine'"]
    assert sys.unraisablehook is hook
