"""Python processes of tests: with the modules of the tests, and waited for."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path


def child(script: str, *arguments: str) -> subprocess.Popen[str]:
    """Runs a script that may import what this process can import."""
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until(holds: Callable[[], bool]) -> None:
    """TimeoutError after a minute."""
    for _ in range(6000):
        if holds():
            return
        time.sleep(0.01)
    raise TimeoutError
