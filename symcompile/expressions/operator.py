"""What a row of the operator table holds, and the sympy classes of functions that sympy lacks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import sympy
from mpmath.libmp.libmpf import prec_to_dps

# Bits that sympy asks for where it wants a float64: some more than the 53 that it has.
_DOUBLE = 64
_TABLE = "symcompile.expressions.fold"


class Hazard(NamedTuple):
    """How one operation can be undefined.

    `margin` of the operation's arguments must stay above 0 ("positive"), at least 0 ("nonnegative",
    "finite"), or away from 0 ("nonzero"). `safe` says of the arguments' intervals whether it
    provably does.
    """

    kind: str
    margin: Callable[..., Any]
    safe: Callable[..., bool]
    problem: str


def within_one(name: str, closed: bool = True) -> Hazard:
    return Hazard(
        "nonnegative" if closed else "positive",
        lambda a: 1.0 - np.abs(a),
        lambda a: a[0] >= -1 and a[1] <= 1 if closed else a[0] > -1 and a[1] < 1,
        f"{name} of a number outside of {'[-1, 1]' if closed else '(-1, 1)'}",
    )


def above(least: float, problem: str, closed: bool = False) -> Hazard:
    return Hazard(
        "nonnegative" if closed else "positive",
        lambda a: a - least,
        lambda a: a[0] >= least if closed else a[0] > least,
        problem,
    )


class Edge(NamedTuple):
    """Where a function has a value and torch no finite slope: where all arguments are `at`, or
    minus that.

    Attributes:
        slope: what it is, infinity for one that grows.
        instead: an argument at which the function is harmless.
    """

    at: float
    slope: float
    instead: float


@dataclass(frozen=True, kw_only=True)
class Operator:
    """One operator.

    Attributes:
        name: what users type in operators=[...] and in texts; "" if they can't.
        op: what programs and files call it, by default its name; "" for what they spell by others.
        aliases: what else users may type.
        arity: how many arguments; an `nary` operator takes more, one after the other.
        truth, logic: whether it gives, and takes, truth values.
        complexity: of one node, where the user says nothing: 1 for arithmetic, 3 for transcendental
            functions (Table 2 of arXiv 2602.21307) and for steps; 0 for what no search may use.
        definition: in terms of other operators, over arguments `a` and `b`, see `fold.compiled`.
            Written so that nothing overflows or cancels on the way.
        build: the sympy expression of its arguments: sympy's own class where it has one; by default
            a class of ours.
        heads: sympy classes that mean the same, and are read as it.
        python: how Python writes it with {0} and {1}, where neither sympy nor `math` has it.
        numpy: its values in float64; of two arguments if it is nary.
        slopes: derivative by each argument, of the arguments and the value. Of an nary operator one
            function of the argument's place, all arguments and the value.
        interval: rule of `intervals`; of two arguments if it is nary.
        domain: where it is undefined.
        piece: of a function that jumps, a number of its arguments that tells one piece of it from
            the next; what gives truth values jumps where these change.
        odd: whether f(-a) = -f(a).
        torch: a function of torch or of the module `operator`.
        edge: where autograd needs help.
        harmless: place and value of an argument with which nothing can overflow or be undefined.
        onnx: operator of ONNX.
        onnx_lacks: types for which ONNX Runtime has no kernel of that.
        onnx_spelled: what stands in its place then, as a definition. It may use atan32, the float32
            kernel of Atan, and fmod, the remainder with the sign of a.
        operon: node types that spell it; none if operon can't.
        operon_spelled: what such a node, of another operator, is in terms of this one, as a
            definition; for searches that have this one only.
        pysr: PySR's name of it, by default ours, or its definition in Julia.
        nesting: how sympy behaves where it is nested in itself, see `size_limits`: as a "function",
            a "root", an "inverse" or a "hyperbolic" one.
        zero: where it is zero: "any" for where one of its arguments is, "first" for where the first
            is, "never"; by default elsewhere.
        parts: how many times longer than its argument its real part is, see `size_limits`.
    """

    name: str = ""
    op: str = None  # type: ignore[assignment]
    aliases: tuple[str, ...] = ()
    arity: int = 1
    nary: bool = False
    truth: bool = False
    logic: bool = False
    complexity: int = 0
    definition: str = ""
    build: Any = None
    heads: tuple[type, ...] = ()
    python: str = ""
    numpy: Callable[..., Any] | None = None
    slopes: Any = None
    interval: Callable[..., Any] | None = None
    domain: tuple[Hazard, ...] = ()
    piece: Callable[..., Any] | None = None
    odd: bool = False
    torch: str = ""
    edge: Edge | None = None
    harmless: tuple[int, float] | None = None
    onnx: str = ""
    onnx_lacks: tuple[str, ...] = ()
    onnx_spelled: str = ""
    operon: tuple[str, ...] = ()
    operon_spelled: str = ""
    pysr: str = ""
    nesting: str = ""
    zero: str = ""
    parts: int = 1

    def __post_init__(self) -> None:
        own: dict[str, Any] = {
            "op": self.name if self.op is None else self.op,
            "pysr": self.pysr or self.name,
        }
        if self.build is None:
            own["build"] = _head(self)
        for field, value in own.items():
            object.__setattr__(self, field, value)

    @property
    def pysr_name(self) -> str:
        """What PySR calls it in its equations."""
        return self.pysr.partition("(")[0]

    @property
    def typed(self) -> tuple[str, ...]:
        """What calls it in a text, sympy's name of it included; nothing if it is no function."""
        if not self.name.isidentifier():
            return ()
        printed = [head.__name__ for head in (self.build, *self.heads) if isinstance(head, type)]
        return tuple(filter(str.isidentifier, (self.name, *self.aliases, *printed)))

    def slope(self, place: int, args: Sequence[Any], value: Any) -> Any:
        """Derivative by the argument at a place; of steps and conditions 0."""
        if self.slopes is None:
            return 0.0
        if self.nary:
            return self.slopes(place, args, value)
        return self.slopes[place](*args, value)


class Defined(sympy.Function):  # type: ignore[misc]
    """A function that is what its `definition` says, in terms of others."""


class Head(Defined):
    """A function that sympy lacks: opaque, so that what was found or typed is what is shown and
    stored; where its value or slope is asked for, its definition is."""

    written: str
    python: str

    @property
    def definition(self) -> sympy.Expr:
        """The same in terms of other operators."""
        return self._defined(*self.args)

    def _defined(self, *args: sympy.Expr) -> sympy.Expr:
        from symcompile.expressions.fold import BUILD, by_definition

        return by_definition(BUILD, self.written, *args)

    def fdiff(self, argindex: int = 1) -> sympy.Expr:
        """The derivative by an argument: of plain symbols sympy knows none of an Abs."""
        names = [sympy.Dummy(f"x{k}", real=True) for k in range(len(self.args))]
        slope = self._defined(*names).diff(names[argindex - 1])
        return slope.xreplace(dict(zip(names, self.args, strict=True)))

    def _eval_evalf(self, prec: int) -> sympy.Expr | None:
        from symcompile.expressions.evaluation import VALUES

        if self.free_symbols or self.has(sympy.I):
            return None
        if prec > _DOUBLE:
            return self.definition.evalf(prec_to_dps(prec))
        with np.errstate(all="ignore"):
            return sympy.Float(VALUES[self.func.__name__](*map(np.float64, self.args)))

    def _pythoncode(self, printer: Any) -> str:
        name, args = self.func.__name__, [printer._print(arg) for arg in self.args]
        if self.python:
            return self.python.format(*args)
        if not hasattr(math, name):
            return self._mpmathcode(printer)
        return f"{printer._module_format(f'math.{name}')}({', '.join(args)})"

    def _mpmathcode(self, printer: Any) -> str:
        return f"({printer._print(self.definition)})"

    _numpycode = _mpmathcode


def _head(row: Operator) -> type[Head]:
    # Pickles find the class where the table is read.
    own = {"nargs": row.arity, "written": row.definition, "python": row.python}
    return type(row.name, (Head,), {**own, "__module__": _TABLE})
