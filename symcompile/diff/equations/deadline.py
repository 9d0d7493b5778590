"""Stop work that may not end: sympy on the difference of two laws has no bound of its own.

How, and why not otherwise: the interpreter calls a profile function at every call in this thread,
and an exception that it raises comes up in the frame that called. That works in every thread, on
every platform, at a defined place. SIGALRM needs the main thread of a Unix. An exception sent from
a second thread may arrive when the work is done, in the frames of somebody else. A child process
imports sympy anew, or forks one that has threads. The price: sympy runs up to three times slower
while it is watched. One call into C that takes long is not interrupted, so numbers have to be
bounded before sympy sees them.
"""

from __future__ import annotations

import inspect
import sys
import threading
import time
import weakref
from types import CodeType, FrameType, TracebackType
from typing import Any

# What is raised where the interpreter cleans up is dropped: in a generator that it closes, in
# __del__, in callbacks of weak references. These had better come to their end.
_RESUMED = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
_CLEANING = ("__del__", "__exit__")
_WEAK = (weakref.__file__, sys.modules[weakref.WeakSet.__module__].__file__)


class OutOfTime(BaseException):
    """The time is over. Not an Exception: sympy goes on after many of those."""


class Deadline:
    """`with Deadline(seconds):` raises OutOfTime in the block, once so many seconds have passed.

    Within another one, the earlier end counts. The profile function that was set before rests
    meanwhile and is set again at the end.
    """

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds
        self.previous: Any = None

    def __enter__(self) -> Deadline:
        self.previous = sys.getprofile()
        if isinstance(self.previous, _Watch):
            self.end = min(self.end, self.previous.end)
        self.check()
        _dropped.listen()
        _dropped.here.watch = _Watch(self.end)
        sys.setprofile(_dropped.here.watch)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        sys.setprofile(self.previous)
        _dropped.here.watch = self.previous if isinstance(self.previous, _Watch) else None
        _dropped.leave()

    def check(self) -> None:
        """Raise OutOfTime if the time is over: for between two steps, since the interpreter drops
        a profile function that has raised, and a bare `except` may have caught that."""
        if time.monotonic() >= self.end:
            raise OutOfTime


class _Watch:
    """The profile function."""

    def __init__(self, end: float) -> None:
        self.end = end

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and time.monotonic() >= self.end and _can_raise(frame.f_code):
            raise OutOfTime


def _can_raise(code: CodeType) -> bool:
    """Whether an exception at the start of this function disturbs nobody's cleaning."""
    return not (code.co_flags & _RESUMED or code.co_name in _CLEANING or code.co_filename in _WEAK)


class _Dropped:
    """Sets the watch again where the interpreter has dropped its exception all the same.

    The hook for dropped exceptions is one for all threads: it is there while any of them watches.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.count = 0
        self.previous: Any = None
        self.here = threading.local()

    def listen(self) -> None:
        with self.lock:
            self.count += 1
            if self.count == 1:
                self.previous, sys.unraisablehook = sys.unraisablehook, self.hook

    def leave(self) -> None:
        with self.lock:
            self.count -= 1
            # Somebody else may have set a hook since, who knows of this one.
            if self.count == 0 and sys.unraisablehook == self.hook:
                sys.unraisablehook = self.previous

    def hook(self, dropped: Any) -> None:
        if not issubclass(dropped.exc_type, OutOfTime):
            (self.previous or sys.__unraisablehook__)(dropped)
        elif getattr(self.here, "watch", None) is not None:
            sys.setprofile(self.here.watch)


_dropped = _Dropped()
