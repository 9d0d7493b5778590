"""What a user asks of a compile, checked before any work is done."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

from symcompile.errors import DataError, EngineError, TargetError
from symcompile.expressions.operator_set import OperatorSet
from symcompile.modules.samples import MIN_SAMPLES
from symcompile.regression.engines import Engine, create
from symcompile.regression.losses import check_loss
from symcompile.target import Target

Operators = OperatorSet | Iterable[str] | Mapping[str, int] | None


@dataclass(frozen=True)
class Options:
    """The keyword arguments of `symcompile.symcompile`, by the same names; see there.

    Raises an error of our family that names the option, what was found and what was expected.
    """

    operators: Operators = None
    max_complexity: int = 30
    engine: str | Engine = "auto"
    engine_options: Mapping[str, Any] | None = None
    tolerance: float | None = None
    beat_linear: bool = False
    holdout: float = 0.2
    n_samples: int = 5000
    seed: int = 0
    budget: float | None = None
    executor: Executor | None = None
    run_dir: str | os.PathLike[str] | None = None
    progress: bool = True
    loss: str = "auto"
    search: Engine = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._check_sampling()
        self._check_search()
        search = create(
            self.engine,
            operators=self.operators,
            max_complexity=self.max_complexity,
            options=dict(self.engine_options or {}),
        )
        object.__setattr__(self, "search", search)

    def engine_for(self, target: Target) -> Engine:
        """The engine with the operators and complexity that one target asks for."""
        if target.operators is None and target.max_complexity is None:
            return self.search
        if not isinstance(self.engine, str):
            raise TargetError(
                f"target {target.path!r}: operators= and max_complexity= of a target need an engine"
                " by name: give them to your Engine, or pass engine='operon'"
            )
        return create(
            self.engine,
            operators=self.search.operators if target.operators is None else target.operators,
            max_complexity=target.max_complexity or self.search.max_complexity,
            options=dict(self.engine_options or {}),
        )

    def _check_sampling(self) -> None:
        if not _is_number(self.holdout) or not 0 <= self.holdout < 1:
            raise DataError(
                f"holdout is {self.holdout!r}: expected a share from 0 to below 1, such as 0.2"
            )
        if type(self.n_samples) is not int or self.n_samples < MIN_SAMPLES:
            raise DataError(
                f"n_samples is {self.n_samples!r}: expected a whole number from {MIN_SAMPLES} up"
            )
        if type(self.seed) is not int or self.seed < 0:
            raise DataError(f"seed is {self.seed!r}: expected a whole number from 0 up")

    def _check_search(self) -> None:
        check_loss(self.loss)
        if type(self.max_complexity) is not int or self.max_complexity < 1:
            raise TargetError(
                f"max_complexity is {self.max_complexity!r}: expected a whole number from 1"
            )
        if self.tolerance is not None and not _is_positive(self.tolerance):
            raise TargetError(
                f"tolerance is {self.tolerance!r}: expected a number above 0, such as 0.05"
            )
        if self.budget is not None and not _is_positive(self.budget):
            raise EngineError(
                f"budget is {self.budget!r}: expected seconds for each equation, such as 30"
            )
        if self.executor is not None and not callable(getattr(self.executor, "submit", None)):
            raise EngineError(
                f"executor is a {type(self.executor).__name__}: expected a"
                " concurrent.futures.Executor, such as ThreadPoolExecutor(4) or a Dask client's"
                " get_executor()"
            )
        if self.engine_options is not None and not isinstance(self.engine_options, Mapping):
            raise EngineError(
                f"engine_options is a {type(self.engine_options).__name__}: expected a dict, such"
                " as {'population': 500}"
            )
        if self.run_dir is not None and not isinstance(self.run_dir, (str, os.PathLike)):
            raise EngineError(f"run_dir is {self.run_dir!r}: expected the path of a folder")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_positive(value: object) -> bool:
    return isinstance(value, (int, float)) and _is_number(value) and 0 < value < math.inf
