"""symcompile: replace parts of a trained PyTorch model by closed-form equations."""

from symcompile._version import __version__
from symcompile.comparison import diff
from symcompile.compiled import Compiled
from symcompile.driver import distill, load, record, symcompile
from symcompile.engines import Engine
from symcompile.equation import Equation
from symcompile.errors import SymCompileError
from symcompile.pareto import ParetoFront
from symcompile.recording import Recording
from symcompile.target import Target

__all__ = [
    "Compiled",
    "Engine",
    "Equation",
    "ParetoFront",
    "Recording",
    "SymCompileError",
    "Target",
    "__version__",
    "diff",
    "distill",
    "load",
    "record",
    "symcompile",
]
