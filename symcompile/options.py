"""What a user asks of a compile, checked before any work is done."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from symcompile.errors import DataError, EngineError, SymCompileError, TargetError
from symcompile.expressions.operator_set import LIMITS, OperatorSet
from symcompile.expressions.units import Units, check_units
from symcompile.modules.samples import MIN_SAMPLES
from symcompile.regression.choice import rule_of
from symcompile.regression.engines import Engine, create
from symcompile.regression.guesses import Guesses, check_fronts, check_guesses
from symcompile.regression.losses import check_loss
from symcompile.target import Target, is_count, is_number, is_positive

Operators: TypeAlias = OperatorSet | Iterable[str] | Mapping[str, Any] | None
Constraints: TypeAlias = Mapping[str, int | tuple[int, ...]]
NestedConstraints: TypeAlias = Mapping[str, Mapping[str, int]]

# For each option: whether a value makes sense, the error where it does not, and what was expected.
# None makes sense where it is the default.
_CHECKS: dict[str, tuple[Callable[[Any], bool], type[SymCompileError], str]] = {
    "holdout": (
        lambda value: is_number(value) and 0 <= value < 1,
        DataError,
        "a share from 0 to below 1, such as 0.2",
    ),
    "n_samples": (
        lambda value: type(value) is int and value >= MIN_SAMPLES,
        DataError,
        f"a whole number from {MIN_SAMPLES} up",
    ),
    "seed": (
        lambda value: type(value) is int and value >= 0,
        DataError,
        "a whole number from 0 up",
    ),
    "max_complexity": (is_count, TargetError, "a whole number from 1"),
    "tolerance": (is_positive, TargetError, "a number above 0, such as 0.05"),
    "budget": (is_positive, EngineError, "seconds for each equation, such as 30"),
    "executor": (
        lambda value: callable(getattr(value, "submit", None)),
        EngineError,
        "a concurrent.futures.Executor, such as ThreadPoolExecutor(4) or a Dask client's"
        " get_executor()",
    ),
    "objective": (
        callable,
        DataError,
        "a function of the model's results and of what the model is called with, which gives what"
        " it is to minimise",
    ),
    "engine_options": (
        lambda value: isinstance(value, Mapping),
        EngineError,
        "a dict, such as {'population': 500}",
    ),
    "run_dir": (
        lambda value: isinstance(value, (str, os.PathLike)),
        EngineError,
        "the path of a folder",
    ),
}
# Of these the type is told, and not the value.
_BY_TYPE = ("executor", "engine_options", "objective")


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
    rule: str | None = None
    prefer: str | None = None
    constraints: Constraints | None = None
    nested_constraints: NestedConstraints | None = None
    complexity_of_variables: int | Mapping[str, int] | None = None
    complexity_of_constants: int | None = None
    units: Mapping[str, str] | Iterable[str] | None = None
    output_units: str | Mapping[int, str] | Iterable[str] | None = None
    dimensionless_constants: bool = False
    guesses: Guesses | None = None
    warm_start: Any = None
    objective: Callable[..., Any] | None = None
    search: Engine = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for name, (makes_sense, error, expected) in _CHECKS.items():
            value, default = getattr(self, name), getattr(type(self), name)
            if not (value is default is None or makes_sense(value)):
                actual = f"a {type(value).__name__}" if name in _BY_TYPE else repr(value)
                raise error(f"{name} is {actual}: expected {expected}")
        check_loss(self.loss)
        rule_of(self.rule, self.prefer)
        check_units(self, whole=True)
        check_guesses(self.guesses)
        check_fronts({} if self.warm_start is None else self.warm_start)
        given = {name: getattr(self, name) for name in LIMITS}
        operators: Operators = self.operators
        if isinstance(self.engine, str):
            operators = OperatorSet.of(operators, **given)
        elif options := [name for name, value in given.items() if value is not None]:
            raise EngineError(
                f"{options[0]} goes with an engine's name: give it to the operators of your Engine,"
                f" OperatorSet.of([...], {options[0]}=...)"
            )
        search = self._engine(self.engine, operators, self.max_complexity)
        object.__setattr__(self, "search", search)

    def engine_for(self, target: Target) -> Engine:
        """The engine with the operators and complexity that one target asks for."""
        limits = {name: getattr(target, name) for name in LIMITS}
        own = {"operators": target.operators, "max_complexity": target.max_complexity, **limits}
        if not (options := [f"{name}=" for name, value in own.items() if value is not None]):
            return self.search
        if not isinstance(self.engine, str):
            raise TargetError(
                f"target {target.path!r}: {' and '.join(options)} of a target need an engine by"
                " name: give them to your Engine, or pass engine='operon'"
            )
        operators = self.search.operators
        if target.operators is not None:
            own_set = OperatorSet.of(target.operators)
            operators = replace(operators, costs=own_set.costs, custom=own_set.custom)
        operators = OperatorSet.of(operators, **limits)
        complexity = target.max_complexity or self.search.max_complexity
        return self._engine(self.engine, operators, complexity)

    def rule_for(self, target: Target | None = None) -> str:
        """The rule that chooses from a front, "" for the default: a target's own goes first."""
        own = None if target is None else rule_of(target.rule, target.prefer)
        return (rule_of(self.rule, self.prefer) or "") if own is None else own

    def units_for(self, target: Target | None = None) -> Units | None:
        """The units of a target's inputs and outputs, its own or those for all; None for none."""
        inputs, outputs = self.units, self.output_units
        pure: bool | None = None
        if target is not None:
            if target.units is not None:  # then outputs are its own as well
                inputs, outputs = target.units, None
            outputs = outputs if target.output_units is None else target.output_units
            pure = target.dimensionless_constants
        if inputs is None:
            return None
        return Units(inputs, outputs, self.dimensionless_constants if pure is None else pure)

    def guesses_for(self, target: Target | None = None) -> Guesses | None:
        """Those of a target, else those for all."""
        return self.guesses if target is None or target.guesses is None else target.guesses

    def _engine(self, engine: str | Engine, operators: Operators, max_complexity: int) -> Engine:
        options = dict(self.engine_options or {})
        return create(engine, operators=operators, max_complexity=max_complexity, options=options)
