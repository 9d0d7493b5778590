"""Where a constant stands, in words of the equation: "exp(#*t)", with # for the constant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from symcompile.diff.equations.shape import Part

# (part, its number among the arguments of the one before), from the root to the constant's owner.
Path = tuple[tuple[Part, int], ...]

HOLE = "#"
ELSE = "..."
MAX_CHARACTERS = 60
# Of other terms beside the constant's own.
_BESIDE = 30
# What has more nodes is not spelled out.
_NODES = 20

_OTHERWISE = "otherwise"
_INFIX = {"Lt": " < ", "Le": " <= ", "Eq": " == ", "Ne": " != ", "And": " & ", "Or": " | "}
# What needs parentheses before an operator that binds tighter.
_LOOSE = ("sum", "product", "number", *_INFIX)


def place(path: Path) -> str:
    """The term that a constant scales or stands in, and the nearest function around that."""
    inner, number = path[-1]
    text = bare = _own(inner)
    for outer, outer_number in reversed(path[:-1]):
        if outer.head == "sum":
            text = f"{text}{_beside(outer, number)}"
        elif outer.head != "product":
            text = _around(outer, number, text)
            return text if len(text) <= MAX_CHARACTERS else _bounded(bare)
        elif len(outer.args) > 1 or outer.constants[0].value != 1.0:
            break
        number = outer_number
    return _bounded(bare)


def _bounded(text: str) -> str:
    return text if len(text) <= MAX_CHARACTERS else text[: MAX_CHARACTERS - len(ELSE)] + ELSE


# --- with the hole -------------------------------------------------------------------------------


def _own(owner: Part) -> str:
    """The part with # in the place of its own constant, which stays in sight when this is cut."""
    if owner.head == "product":
        return f"{HOLE}{_factors(owner.args)}"
    if owner.size > 2 * _NODES:
        return f"{ELSE} + {HOLE}" if owner.head == "sum" else HOLE
    others = [spelled(arg) for arg in owner.args]
    if owner.head == "sum":
        terms = _terms(others)
        return f"{terms if len(terms) <= _BESIDE else ELSE} + {HOLE}"
    if owner.head == "power":
        return f"{_tight(owner.args[0])}**{HOLE}"
    if owner.head == "exponential":
        return f"{HOLE}**{_tight(owner.args[0])}"
    return _call(owner.head, [HOLE, *others]) if others else HOLE


def _beside(around: Part, number: int) -> str:
    """The other terms of a sum."""
    if around.size > 2 * _NODES:
        return f" + {ELSE}"
    terms = [spelled(arg) for k, arg in enumerate(around.args) if k != number]
    joined = _terms(["", *terms, *(_figure(c.value) for c in around.constants)])
    return joined if len(joined) <= _BESIDE else f" + {ELSE}"


def _around(outer: Part, number: int, text: str) -> str:
    """A function, relation or power with `text` as one of its arguments."""
    if outer.head == "power":
        return _powered(f"({text})", text, outer.constants[0].value)
    if outer.head == "exponential":
        return f"{_figure(outer.constants[0].value)}**({text})"
    if outer.head == "Piecewise" and number % 2 == 0:
        test = spelled(outer.args[number + 1])
        return f"{text} {test}" if test == _OTHERWISE else f"{text} if {test}"
    args = [text if k == number else spelled(arg) for k, arg in enumerate(outer.args)]
    return _spelled_with(outer, args)


# --- parts as text -------------------------------------------------------------------------------


def spelled(part: Part) -> str:
    """A part on one line, four digits a number; "..." for one that is large."""
    if part.size > _NODES:
        return ELSE
    if part.head == "symbol":
        return part.name
    if part.head == "number":
        return _figure(part.constants[0].value)
    if part.head == "product":
        return _product(part)
    if part.head == "power":
        value = part.constants[0].value
        return _powered(_tight(part.args[0]), spelled(part.args[0]), value)
    if part.head == "exponential":
        return f"{_figure(part.constants[0].value)}**{_tight(part.args[0])}"
    return _spelled_with(part, [spelled(arg) for arg in part.args])


def _spelled_with(part: Part, args: list[str]) -> str:
    numbers = [_figure(c.value) for c in part.constants]
    if part.head == "sum":
        return _terms([*args, *numbers])
    if part.head in _INFIX:
        return _INFIX[part.head].join(args)
    if part.head == "Pow":
        return f"({args[0]})**({args[1]})"
    if part.head in ("BooleanTrue", "BooleanFalse"):
        return _OTHERWISE if part.head == "BooleanTrue" else "never"
    return _call(part.head, [*numbers, *args])


def _call(name: str, args: Iterable[str]) -> str:
    return f"{name}({', '.join(args)})"


def _product(part: Part) -> str:
    value, factors = part.constants[0].value, _factors(part.args)
    if value == 1.0 and len(part.args) == 1 and not _below(part.args[0]):
        return spelled(part.args[0])
    if abs(value) != 1.0:
        return _figure(value) + factors
    sign = "-" if value < 0 else ""
    return sign + (factors[1:] if factors.startswith("*") else f"1{factors}")


def _factors(factors: Sequence[Part]) -> str:
    """ "*x*sin(y)/z": to stand after a number."""
    above = [f"*{_tight(one)}" for one in factors if not _below(one)]
    below = [f"/{_tight(one.args[0])}" for one in factors if _below(one)]
    return "".join(above + below)


def _below(part: Part) -> bool:
    return part.head == "power" and part.constants[0] == (-1.0, True, ())


def _tight(part: Part) -> str:
    """As an operand of * or **."""
    text = spelled(part)
    loose = _core(part).head in _LOOSE and text != ELSE
    return f"({text})" if loose else text


def _core(part: Part) -> Part:
    """The one factor of a product that has nothing else."""
    alone = part.head == "product" and len(part.args) == 1 and part.constants[0].value == 1.0
    return part.args[0] if alone else part


def _powered(base: str, bare: str, exponent: float) -> str:
    return f"sqrt({bare})" if exponent == 0.5 else f"{base}**{_figure(exponent)}"


def _terms(terms: Sequence[str]) -> str:
    return " + ".join(terms).replace("+ -", "- ")


def _figure(value: float) -> str:
    return f"{value:.4g}"
