"""Expressions as text, LaTeX and Python that can be read in one way only.

Inputs may be called as their user likes: `E` is a field, `pi` a policy. Constants make room for
them: Euler's number is `exp(1)` always, the other one `acos(-1)` beside an input of the name `pi`,
and both are read back as what they are. In LaTeX, which nobody reads back, it is the inputs that
make room: one that would look like a constant, or like another input, is set letter by letter.
"""

from __future__ import annotations

import builtins
import keyword
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

import sympy
from sympy.printing.latex import LatexPrinter
from sympy.printing.pycode import PythonCodePrinter
from sympy.printing.str import StrPrinter

# What constants, and the letter that powers of Euler's number stand on, look like.
_LATEX_CONSTANTS = (r"\pi", "e", "i", r"\infty", r"\text{NaN}")
# Constants that are no numbers, see `slots.exact`.
_LATEX_MISSING = {sympy.Symbol("nan"): r"\mathrm{nan}", sympy.Symbol("inf"): r"\infty"}
# What a printed function has beside its arguments.
_PYTHON_NAMES = {"math", "nan", "inf", "__debug__", *dir(builtins), *keyword.kwlist}


def as_text(expr: sympy.Basic, names: Collection[str]) -> str:
    """One line that `parser.parse` reads back over these names."""
    return str(_TextPrinter(names).doprint(expr))


def as_latex(expr: sympy.Basic, names: Collection[str]) -> str:
    return str(LatexPrinter({"symbol_names": _latex_names(names)}).doprint(expr))


def as_python(expr: sympy.Basic, names: Sequence[str], name: str) -> str:
    """Source of a function of these arguments; one that is called as something else in Python gets
    an underscore."""
    arguments = _python_names(names)
    renamed = expr.xreplace(
        {sympy.Symbol(a): sympy.Symbol(b) for a, b in arguments.items() if a != b}
    )
    body = _PythonPrinter({"reserved_word_suffix": ""}).doprint(renamed)
    return f"import math\n\n\ndef {name}({', '.join(arguments.values())}):\n    return {body}\n"


class _TextPrinter(StrPrinter):  # type: ignore[misc]
    def __init__(self, names: Collection[str]) -> None:
        super().__init__({"full_prec": False})
        self.pi = "acos(-1)" if "pi" in names else "pi"

    def _print_Exp1(self, expr: sympy.Expr) -> str:
        return "exp(1)"

    def _print_Pi(self, expr: sympy.Expr) -> str:
        return self.pi


class _PythonPrinter(PythonCodePrinter):  # type: ignore[misc]
    """Powers of one half as math.sqrt, everything else as sympy prints it."""

    def _print_Float(self, expr: sympy.Float) -> str:
        return repr(float(expr))

    def _print_Symbol(self, expr: sympy.Symbol) -> str:
        return {"nan": "math.nan", "inf": "math.inf"}.get(expr.name, expr.name)

    def _print_sign(self, expr: Any) -> str:
        argument = self._print(expr.args[0])
        return f"((({argument}) > 0) - (({argument}) < 0))"


def _latex_names(names: Collection[str]) -> dict[sympy.Symbol, str]:
    """How inputs are set that sympy would set like something else."""
    usual = {name: LatexPrinter().doprint(sympy.Symbol(name)) for name in names}
    count = Counter([*usual.values(), *_LATEX_CONSTANTS])
    return _LATEX_MISSING | {
        sympy.Symbol(name): r"\mathtt{" + name.replace("_", r"\_") + "}"
        for name, set_as in usual.items()
        if count[set_as] > 1
    }


def _python_names(names: Sequence[str]) -> dict[str, str]:
    renamed: dict[str, str] = {}
    for name in names:
        taken = {*_PYTHON_NAMES, *renamed.values(), *(other for other in names if other != name)}
        new = name
        while new in taken:
            new += "_"
        renamed[name] = new
    return renamed
