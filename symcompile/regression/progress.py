"""A progress bar over all fits of a distillation."""

from __future__ import annotations

import sys
import threading
from typing import Any

_WIDTH = 72
_FORMAT = "{percentage:3.0f}%|{bar:16}| {elapsed}<{remaining}  {desc}"


class ProgressBar:
    """A tqdm bar; silent where `enabled` is false or stderr is no terminal.

    Use it as a context manager, and give it to `Searches.refined` as `progress`.
    """

    def __init__(self, fits: int, enabled: bool = True) -> None:
        self.shares: dict[str, float] = {}
        self.lock = threading.Lock()
        self.bar: Any = None
        if enabled and fits and sys.stderr is not None and sys.stderr.isatty():
            from tqdm import tqdm

            self.bar = tqdm(total=float(fits), desc="distill", bar_format=_FORMAT, leave=False)

    def __call__(self, key: str, done: float, best: str) -> None:
        """Fit `key` has done this share of its work; `best` is its best equation, or empty."""
        with self.lock:
            if self.bar is None:  # closed, perhaps while a thread that was left alone goes on
                return
            before = self.shares.get(key, 0.0)
            self.shares[key] = max(before, done)
            if best:
                self.bar.set_description_str(f"{key} = {best}"[:_WIDTH], refresh=False)
            self.bar.update(self.shares[key] - before)

    def close(self) -> None:
        with self.lock:
            if self.bar is not None:
                self.bar.close()
                self.bar = None

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
