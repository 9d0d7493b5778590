"""symcompile: replace parts of a trained PyTorch model by closed-form equations.

Names load with their first use: the pytest plugin and the git drivers live in this package too, and
must not cost an import of torch where they have nothing to do.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from symcompile._version import __version__

if TYPE_CHECKING:
    from symcompile.compiled import Compiled
    from symcompile.diff import diff
    from symcompile.driver import distill, load, record, symcompile
    from symcompile.errors import SymCompileError
    from symcompile.explanation import Explanation, explain
    from symcompile.expressions.equation import Equation
    from symcompile.passes.select import Selection
    from symcompile.regression.engines import Engine
    from symcompile.regression.pareto import ParetoFront
    from symcompile.storage.recording import Recording
    from symcompile.target import PCA, Products, ReducedRank, Target
else:
    # Hidden from type checkers, which would take every misspelt name for one of these.
    _HOME = {
        "Compiled": "compiled",
        "Engine": "regression.engines",
        "Equation": "expressions.equation",
        "Explanation": "explanation.explanation",
        "PCA": "target",
        "ParetoFront": "regression.pareto",
        "Products": "target",
        "Recording": "storage.recording",
        "ReducedRank": "target",
        "Selection": "passes.select",
        "SymCompileError": "errors",
        "Target": "target",
        "diff": "diff.compare",
        "distill": "driver",
        "explain": "explanation.explaining",
        "load": "driver",
        "record": "driver",
        "symcompile": "driver",
    }
    # The room of this name is imported once, here: an import later on would put it in the place of
    # the function. `from symcompile.diff import ...` finds it all the same.
    import_module("symcompile.diff")
    del globals()["diff"]

    def __getattr__(name):
        """A public name, or a module of the package: `symcompile.exporters` needs no import."""
        if name in _HOME:
            value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
            globals()[name] = value
            return value
        module = f"{__name__}.{name}"
        if not name.startswith("_"):
            try:
                return import_module(module)
            except ModuleNotFoundError as error:
                if error.name != module:
                    raise
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__():
        return sorted({*globals(), *__all__})


__all__ = [
    "PCA",
    "Compiled",
    "Engine",
    "Equation",
    "Explanation",
    "ParetoFront",
    "Products",
    "Recording",
    "ReducedRank",
    "Selection",
    "SymCompileError",
    "Target",
    "__version__",
    "diff",
    "distill",
    "explain",
    "load",
    "record",
    "symcompile",
]
