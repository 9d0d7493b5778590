"""Limits: what equations are made of, how long they may be, and until when new ones are tried."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

from symcompile.expressions.operator_set import OperatorSet


@dataclass(frozen=True)
class Limits:
    """The operators, the highest complexity, and a deadline, a value of `time.monotonic()`."""

    operators: OperatorSet
    max_complexity: int
    deadline: float = math.inf

    @property
    def late(self) -> bool:
        return time.monotonic() >= self.deadline

    @property
    def seconds(self) -> float:
        """What is left, infinite without a deadline."""
        return self.deadline - time.monotonic()

    def within(self, seconds: float) -> Limits:
        """The same for so many seconds from now on."""
        return replace(self, deadline=time.monotonic() + seconds)
