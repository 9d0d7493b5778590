"""Python processes of tests: forks of one process that has all imported, and waited for.

An import of torch and of what it brings takes seconds. What has to import by itself is a plain
`subprocess`. Names have other hashes here than in the process of the tests, and stand in another
order in sets.
"""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from multiprocessing import forkserver, get_context
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from symcompile.regression.computed import laws

_FORKS = get_context("forkserver")
_FORKS.set_forkserver_preload(
    ["pyoperon", "scipy.optimize", "symcompile.passes", "symcompile.driver"]
)
_HASHES = "8" if os.environ.get("PYTHONHASHSEED") == "7" else "7"


def forks() -> ForkServerContext:
    """For pools too. The process that they are forked from has started no thread."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONHASHSEED", _HASHES)
        forkserver.ensure_running()
    return _FORKS


class Child:
    """A script of a file, or given as text, in a process of its own, while the block runs.

    It looks for laws in the tables that this process does."""

    def __init__(self, script: str | Path, *arguments: str, folder: Path | None = None) -> None:
        self._said = tempfile.TemporaryDirectory(prefix="symcompile-")
        self._streams = [Path(self._said.name, name) for name in ("out", "err")]
        for stream in self._streams:
            stream.touch()
        place = folder or Path.cwd()
        call = (script, arguments, place, self._streams, (laws.SMALL, laws.THREE, laws.LARGE))
        self._process = forks().Process(target=_run, args=call)

    def __enter__(self) -> Child:
        self._process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()
        self._said.cleanup()

    def send_signal(self, number: int) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def finished(self, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """What it printed and its exit status, TimeoutError where it takes longer."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise TimeoutError
        return subprocess.CompletedProcess([], self._process.exitcode, *self.said())

    def said(self) -> tuple[str, str]:
        """What it has printed so far."""
        out, err = (stream.read_text(encoding="utf-8") for stream in self._streams)
        return out, err


def _run(
    script: str | Path,
    arguments: Sequence[str],
    folder: Path,
    streams: Sequence[Path],
    tables: tuple[Sequence[int], ...],
) -> None:
    laws.SMALL, laws.THREE, laws.LARGE = tables
    # A shell starts what is in its background deaf to interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for descriptor, stream in enumerate(streams, start=1):
        os.dup2(os.open(stream, os.O_WRONLY), descriptor)
    os.chdir(folder)
    sys.argv = [str(script), *arguments]
    if isinstance(script, Path):
        sys.path.insert(0, str(script.parent))
        runpy.run_path(str(script), run_name="__main__")
    else:
        exec(script, {"__name__": "__main__"})


def wait_until(holds: Callable[[], bool]) -> None:
    """TimeoutError after a minute."""
    for _ in range(6000):
        if holds():
            return
        time.sleep(0.01)
    raise TimeoutError
