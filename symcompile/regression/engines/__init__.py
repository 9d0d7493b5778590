"""Symbolic-regression engines behind one protocol; each loads its package when first used."""

from __future__ import annotations

from typing import Any

from symcompile.errors import EngineError
from symcompile.expressions.operator_set import OperatorSet
from symcompile.regression.engines.base import Engine, ProgressCallback, SearchProgress

__all__ = ["Engine", "ProgressCallback", "SearchProgress", "create"]

NAMES = ("auto", "operon", "pysr")


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
        return _given(engine, options)
    if engine not in NAMES:
        raise EngineError(f"unknown engine {engine!r}: choose from {', '.join(NAMES)}")
    operator_set = OperatorSet.of(operators)
    if engine == "pysr" or (engine == "auto" and _julia_is_ready()):
        from symcompile.regression.engines.pysr import PySREngine

        return PySREngine.create(operator_set, max_complexity, options or {})
    from symcompile.regression.engines.operon import OperonEngine

    return OperonEngine.create(operator_set, max_complexity, options or {})


def _given(engine: Engine, options: dict[str, Any] | None) -> Engine:
    if not isinstance(engine, Engine):
        raise EngineError(
            f"engine is a {type(engine).__name__}: expected one of {', '.join(NAMES)}, or an object"
            " with name, operators, max_complexity, restarts, fit() and describe()"
        )
    if options:
        raise EngineError("engine_options go with an engine's name: give them to your Engine")
    return engine


def _julia_is_ready() -> bool:
    from symcompile.regression.engines.pysr import julia_is_ready

    return julia_is_ready()
