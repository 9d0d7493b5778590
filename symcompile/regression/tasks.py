"""Tasks: what a worker is handed, what it gives back for an error, and how it is stopped."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from threadpoolctl import threadpool_limits

from symcompile.errors import SymCompileError
from symcompile.regression.engines import ProgressCallback, SearchProgress

# Characters of the reason for a failure.
_LONGEST = 300
_WORDS = {
    "compute": "what needs no search",
    "search": "its search",
    "refine": "its refinement",
    "share": "the trial of other outputs' forms",
    "complete": "the trial of other outputs' terms",
}


class Task(NamedTuple):
    """Of the fit `key`: "compute", "search" number `restart`, "refine", "share" or "complete"."""

    key: str
    stage: str
    restart: int = 0

    def __str__(self) -> str:
        return _WORDS[self.stage]


@dataclass(frozen=True)
class Failure:
    """What a worker gives back in place of an exception, which may not survive the way back."""

    reason: str


class Stopped(BaseException):
    """Raised in searching threads whose result nobody waits for. No engine catches it as one of
    its own errors."""


class Watch:
    """What a search in this process tells its progress, and by what it is stopped."""

    def __init__(self, tell: ProgressCallback) -> None:
        self.tell = tell
        self.stopped = False
        self.halt: Callable[[BaseException], None] | None = None

    def __call__(self, progress: SearchProgress) -> None:
        if self.stopped:
            raise Stopped
        self.tell(progress)

    def on_stop(self, halt: Callable[[BaseException], None]) -> None:
        """See `Engine.fit`; the last one given counts."""
        self.halt = halt
        if self.stopped:
            halt(Stopped())

    def stop(self) -> None:
        self.stopped = True
        if self.halt is not None:
            with suppress(Exception):  # whatever an engine does
                self.halt(Stopped())


def attempt(work: Callable[..., Any], *arguments: Any) -> Any:
    """What a worker runs: the result, or the Failure in its place."""
    try:
        return work(*arguments)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit too: it is not for a search to end the program
        return Failure(failure_reason(error))


def attempt_elsewhere(work: Callable[..., Any], *arguments: Any) -> Any:
    """What a worker of another process runs, see `one_thread`."""
    with one_thread():
        return attempt(work, *arguments)


def one_thread() -> threadpool_limits:
    """Inside, linear algebra of this process has one thread, as long as no other sets it.

    There are as many tasks at a time as there are cores for them: with threads of their own, eight
    processes on two cores mostly wait for each other. And sums by two threads differ from sums by
    one in their last digit, so that equations would depend on where they are fitted.
    """
    return threadpool_limits(1, "blas")


def failure_reason(error: BaseException) -> str:
    """An error in one line; errors of our family speak for themselves."""
    lines = traceback.format_exception_only(error)
    text = str(error) if isinstance(error, SymCompileError) else "".join(lines)
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
