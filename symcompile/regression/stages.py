"""Stages: how far a fit is, and the fits of a block that wait for each other."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from itertools import count, takewhile

from symcompile.expressions.equation import Equation
from symcompile.regression.computed.laws import Computed
from symcompile.regression.fit import Fit, Searched
from symcompile.regression.pareto import ParetoFront


@dataclass
class FitState:
    """How far a fit is.

    Attributes:
        computed: what needed no search.
        searches: how many of its searches are wanted, at most; those of higher numbers are not.
        sent: how many of them were sent for, in their order.
        found: what each search has found.
        failures: why others have failed.
        shares: of the work of each search, what is done.
        lowest: loss of the best equation that was shown.
        front: once it is refined.
        others: what other fits of its block offer it at their present stage.
        failure: why there is no front; "" where there may still be one.
    """

    fit: Fit
    computed: Computed = field(default_factory=Computed)
    searches: int = 0
    sent: int = 0
    found: dict[int, Searched] = field(default_factory=dict)
    failures: dict[int, str] = field(default_factory=dict)
    shares: dict[int, float] = field(default_factory=dict)
    lowest: float = math.inf
    front: ParetoFront | None = None
    others: list[Equation] = field(default_factory=list)
    failure: str = ""

    @property
    def in_order(self) -> list[Searched]:
        """What the first searches have found, up to the first of which nothing is known."""
        return [self.found[k] for k in takewhile(self.found.__contains__, count())]

    @property
    def asked(self) -> tuple[ParetoFront, list[Equation]]:
        """What a fit is asked to take up from others."""
        assert self.front is not None
        return self.front, self.others


@dataclass
class Block:
    """Fits that wait for each other: the keys of those that are not through with a stage, and the
    stages that are to come."""

    keys: list[str] = field(default_factory=list)
    open: set[str] = field(default_factory=set)
    stages: deque[str] = field(default_factory=lambda: deque(["share", "complete"]))
