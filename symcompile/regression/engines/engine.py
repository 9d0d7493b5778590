"""The protocol of an engine, and the engine of a name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, is_dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Protocol, runtime_checkable

from symcompile.errors import EngineError
from symcompile.expressions.dimensions import Dimensions
from symcompile.expressions.equation import Equation
from symcompile.expressions.evaluation import Array
from symcompile.expressions.operator_set import OperatorSet
from symcompile.regression.pareto import ParetoFront

NAMES = ("auto", "operon", "pysr")


@dataclass(frozen=True)
class SearchProgress:
    """What a running search tells: the share of its work done (0 to 1), and its best so far."""

    done: float
    equation: str = ""
    loss: float = float("nan")


ProgressCallback = Callable[[SearchProgress], None]


@runtime_checkable
class Engine(Protocol):
    """One search for one output.

    An engine is an immutable, picklable value: its options are fields. `fit` is called from several
    threads or processes at once, each with its own seed, and uses one core.

    Three members are optional. `candidates`, a method like `fit`, gives equations of which no front
    was made yet, since refining may bring up one that a front would have dropped. `one_thread`,
    where it is true, keeps the searches in the calling thread, one after the other: the engine has
    threads of its own, and must heed an interrupt and its budget by itself. `varied`, a method, is
    told the number of a search and gives the engine for it, so that searches differ in more than
    their seeds.

    Attributes:
        name: what reports and manifests show.
        operators: the operators that equations may use, with their complexities.
        max_complexity: no equation of the front is more complex than this.
        restarts: how many independent searches, of different seeds, the compiler should run and
            merge for one output, unless some of them agree before, see `regression.consensus`.
    """

    @property
    def name(self) -> str: ...
    @property
    def operators(self) -> OperatorSet: ...
    @property
    def max_complexity(self) -> int: ...
    @property
    def restarts(self) -> int: ...

    def fit(
        self,
        X: Array,
        y: Array,
        *,
        weights: Array | None = None,
        names: Sequence[str],
        seed: int = 0,
        budget: float | None = None,
        progress: ProgressCallback | None = None,
        guesses: Sequence[Equation] = (),
    ) -> ParetoFront:
        """Search for equations of y [n_samples] in the columns of X [n_samples, n_inputs].

        Args:
            weights: weight of each sample's squared error [n_samples], or None.
            names: one name for each column, used as the equations' symbols.
            seed: same seed, same machine, same front, unless `budget` ends the search.
            budget: seconds of search, or None for the engine's own amount of work.
            progress: called now and then from the searching thread; what it raises ends the search.
                Where it has a method `on_stop`, an engine may give that a function which is called
                with an exception, from another thread, once nobody waits for the search any more.
            guesses: equations to start from, in `names`: of a user, of an earlier front, or such as
                need no search. They compete with what is found in any case, and only engines whose
                method has this argument are given them.

        Returns:
            A front with losses on the data given (held-out losses are measured later).

        Raises:
            EngineError: the engine can't run here or found no equation.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """Name, version and options as plain data, for the manifest."""
        ...


def create(
    engine: str | Engine = "auto",
    *,
    operators: Any = None,
    max_complexity: int = 30,
    options: dict[str, Any] | None = None,
) -> Engine:
    """The engine of a name: "operon", "pysr", or "auto" (pysr where a Julia is already set up for
    it, else operon). An Engine is handed back as it is.

    Raises EngineError for an unknown name, an unknown option, or options beside an Engine.
    """
    if not isinstance(engine, str):
        if not isinstance(engine, Engine):
            raise EngineError(
                f"engine is a {type(engine).__name__}: expected one of {', '.join(NAMES)}, or an"
                " object with name, operators, max_complexity, restarts, fit() and describe()"
            )
        if options:
            raise EngineError("engine_options go with an engine's name: give them to your Engine")
        return engine
    if engine not in NAMES:
        raise EngineError(f"unknown engine {engine!r}: choose from {', '.join(NAMES)}")
    from symcompile.regression.engines.julia import julia_is_ready

    operator_set = OperatorSet.of(operators)
    if engine == "pysr" or (engine == "auto" and julia_is_ready()):
        from symcompile.regression.engines.pysr import PySREngine

        return PySREngine(operator_set, max_complexity, options or {})
    from symcompile.regression.engines.operon import OperonEngine

    return OperonEngine.create(operator_set, max_complexity, options or {})


def with_dimensions(engine: Engine, dimensions: Dimensions) -> Engine:
    """The engine with operators that know the dimensions of inputs and output.

    Raises EngineError for one that is no dataclass.
    """
    if not is_dataclass(engine) or isinstance(engine, type):
        raise EngineError(
            f"engine {engine.name!r} can't be told of units: expected a dataclass with a field"
            " operators, or engine='operon' or 'pysr'"
        )
    operators = replace(engine.operators, dimensions=dimensions)
    return replace(engine, operators=operators)  # type: ignore[type-var]


def described(engine: Engine, package: str, **options: Any) -> dict[str, Any]:
    """What an engine that runs a package says of itself, as plain data."""
    try:
        installed = version(package)
    except PackageNotFoundError:
        installed = "not installed"
    return {
        "name": engine.name,
        "version": installed,
        "operators": engine.operators.to_dict(),
        "max_complexity": engine.max_complexity,
        **({"limits": limits} if (limits := engine.operators.limits()) else {}),
        **options,
    }
