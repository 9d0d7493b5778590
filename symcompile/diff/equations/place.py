"""Where a constant stands, in words of the equation: "exp(#*t)", with # for the constant."""

from __future__ import annotations

from collections.abc import Sequence

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
_POWERS = ("power", "exponential")
# What needs parentheses before an operator that binds tighter.
_LOOSE = ("sum", "product", "number", *_INFIX)


def place(path: Path) -> str:
    """The term that a constant scales or stands in, and the nearest function around that."""
    inner, number = path[-1]
    text = bare = _own(inner)
    for outer, outer_number in reversed(path[:-1]):
        if outer.head == "sum":
            text += _beside(outer, [arg for k, arg in enumerate(outer.args) if k != number])
        elif outer.head != "product":
            text = _around(outer, number, text)
            return text if len(text) <= MAX_CHARACTERS else _bounded(bare)
        elif len(outer.args) > 1 or outer.constants[0].value != 1.0:
            break
        number = outer_number
    return _bounded(bare)


def _bounded(text: str) -> str:
    return text if len(text) <= MAX_CHARACTERS else text[: MAX_CHARACTERS - len(ELSE)] + ELSE


def _own(owner: Part) -> str:
    """The part with # in the place of its own constant, which stays in sight when this is cut."""
    if owner.size > 2 * _NODES and owner.head != "product":
        return f"{ELSE} + {HOLE}" if owner.head == "sum" else HOLE
    spell = _tight if owner.head in _POWERS else spelled
    text = _written(owner, [HOLE], [spell(arg) for arg in owner.args])
    long = owner.head == "sum" and len(text) > _BESIDE + len(f" + {HOLE}")
    return f"{ELSE} + {HOLE}" if long else text


def _beside(total: Part, others: Sequence[Part]) -> str:
    """The other terms of a sum."""
    joined = _written(total, _figures(total), ["", *map(spelled, others)])
    return f" + {ELSE}" if total.size > 2 * _NODES or len(joined) > _BESIDE else joined


def _around(outer: Part, number: int, text: str) -> str:
    """A function, relation or power with `text` as one of its arguments."""
    args = [text if k == number else spelled(arg) for k, arg in enumerate(outer.args)]
    if outer.head in _POWERS and not _is_root(outer):
        args = [f"({text})"]
    elif outer.head == "Piecewise" and number % 2 == 0:
        test = args[number + 1]
        return f"{text} {test}" if test == _OTHERWISE else f"{text} if {test}"
    return _written(outer, _figures(outer), args)


def spelled(part: Part) -> str:
    """A part on one line, four digits a number; "..." for one that is large."""
    if part.size > _NODES:
        return ELSE
    spell = _tight if part.head in _POWERS and not _is_root(part) else spelled
    return _written(part, _figures(part), [spell(arg) for arg in part.args])


def _written(part: Part, numbers: Sequence[str], args: Sequence[str]) -> str:
    """A part with these texts for its constants and arguments."""
    match part.head:
        case "symbol":
            return part.name
        case "number":
            return numbers[0]
        case "sum":
            return " + ".join([*args, *numbers]).replace("+ -", "- ")
        case "product":
            return _product(part, numbers[0])
        case "power":
            return f"sqrt({args[0]})" if numbers == ["0.5"] else f"{args[0]}**{numbers[0]}"
        case "exponential":
            return f"{numbers[0]}**{args[0]}"
        case "Pow":
            return f"({args[0]})**({args[1]})"
        case "BooleanTrue":
            return _OTHERWISE
        case "BooleanFalse":
            return "never"
        case head if head in _INFIX:
            return _INFIX[head].join(args)
    return f"{part.head}({', '.join([*numbers, *args])})"


def _product(part: Part, figure: str) -> str:
    above = [arg for arg in part.args if not _below(arg)]
    factors = "".join(f"*{_tight(arg)}" for arg in above)
    factors += "".join(f"/{_tight(arg.args[0])}" for arg in part.args if _below(arg))
    if figure == HOLE or abs(part.constants[0].value) != 1.0:
        return figure + factors
    if len(part.args) == len(above) == 1 and figure == "1":
        return spelled(above[0])
    return figure.removesuffix("1") + (factors[1:] if above else f"1{factors}")


def _below(part: Part) -> bool:
    return part.head == "power" and part.constants[0] == (-1.0, True, ())


def _tight(part: Part) -> str:
    """As an operand of * or **."""
    text = spelled(part)
    alone = part.head == "product" and len(part.args) == 1 and part.constants[0].value == 1.0
    loose = (part.args[0] if alone else part).head in _LOOSE and text != ELSE
    return f"({text})" if loose else text


def _is_root(part: Part) -> bool:
    return part.head == "power" and part.constants[0].value == 0.5


def _figures(part: Part) -> list[str]:
    return [f"{constant.value:.4g}" for constant in part.constants]
