"""Where a constant stands, in words of the equation: "exp(#*t)", with # for the constant."""

from __future__ import annotations

from collections.abc import Sequence

from symcompile.diff.equations.shape import POWERS, FormNode

# (node, its number among the arguments of the one before), from the root to the constant's owner.
Path = tuple[tuple[FormNode, int], ...]

HOLE = "#"
ELSE = "..."
MAX_CHARACTERS = 60
# Of other terms beside the constant's own.
_BESIDE = 30
# What has more nodes is not spelled out.
_NODES = 20

_OTHERWISE = "otherwise"
_INFIX = {"Lt": " < ", "Le": " <= ", "Eq": " == ", "Ne": " != ", "And": " & ", "Or": " | "}
# Of the arguments, then the constants.
_SPELLED = {"power": "{0}**{1}", "exponential": "{1}**{0}", "Pow": "({0})**({1})"}
_SPELLED |= {"BooleanTrue": _OTHERWISE, "BooleanFalse": "never"}
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


def _own(owner: FormNode) -> str:
    """The node with # in the place of its own constant, which stays in sight when this is cut."""
    if owner.size > 2 * _NODES and owner.head != "product":
        return f"{ELSE} + {HOLE}" if owner.head == "sum" else HOLE
    spell = _tight if owner.head in POWERS else spelled
    text = _written(owner, [HOLE], [spell(arg) for arg in owner.args])
    long = owner.head == "sum" and len(text) > _BESIDE + len(f" + {HOLE}")
    return f"{ELSE} + {HOLE}" if long else text


def _beside(total: FormNode, others: Sequence[FormNode]) -> str:
    """The other terms of a sum."""
    joined = _written(total, _figures(total), ["", *map(spelled, others)])
    return f" + {ELSE}" if total.size > 2 * _NODES or len(joined) > _BESIDE else joined


def _around(outer: FormNode, number: int, text: str) -> str:
    """A function, relation or power with `text` as one of its arguments."""
    args = [text if k == number else spelled(arg) for k, arg in enumerate(outer.args)]
    if outer.head in POWERS and not _is_root(outer):
        args = [f"({text})"]
    elif outer.head == "Piecewise" and number % 2 == 0:
        test = args[number + 1]
        return f"{text} {test}" if test == _OTHERWISE else f"{text} if {test}"
    return _written(outer, _figures(outer), args)


def spelled(node: FormNode) -> str:
    """A node on one line, four digits a number; "..." for one that is large."""
    if node.size > _NODES:
        return ELSE
    spell = _tight if node.head in POWERS and not _is_root(node) else spelled
    return _written(node, _figures(node), [spell(arg) for arg in node.args])


def _written(node: FormNode, numbers: Sequence[str], args: Sequence[str]) -> str:
    """A node with these texts for its constants and arguments."""
    match node.head:
        case "symbol":
            return node.name
        case "number":
            return numbers[0]
        case "sum":
            return " + ".join([*args, *numbers]).replace("+ -", "- ")
        case "product":
            return _product(node, numbers[0])
        case "power" if numbers == ["0.5"]:
            return f"sqrt({args[0]})"
        case head if head in _INFIX:
            return _INFIX[head].join(args)
        case head if head in _SPELLED:
            return _SPELLED[head].format(*args, *numbers)
    return f"{node.head}({', '.join([*numbers, *args])})"


def _product(node: FormNode, figure: str) -> str:
    above = [arg for arg in node.args if not _below(arg)]
    factors = "".join(f"*{_tight(arg)}" for arg in above)
    factors += "".join(f"/{_tight(arg.args[0])}" for arg in node.args if _below(arg))
    if figure == HOLE or abs(node.constants[0].value) != 1.0:
        return figure + factors
    if len(node.args) == len(above) == 1 and figure == "1":
        return spelled(above[0])
    return figure.removesuffix("1") + (factors[1:] if above else f"1{factors}")


def _below(node: FormNode) -> bool:
    return node.head == "power" and node.constants[0] == (-1.0, True, ())


def _tight(node: FormNode) -> str:
    """As an operand of * or **."""
    text = spelled(node)
    alone = node.head == "product" and len(node.args) == 1 and node.constants[0].value == 1.0
    loose = (node.args[0] if alone else node).head in _LOOSE and text != ELSE
    return f"({text})" if loose else text


def _is_root(node: FormNode) -> bool:
    return node.head == "power" and node.constants[0].value == 0.5


def _figures(node: FormNode) -> list[str]:
    return [f"{constant.value:.4g}" for constant in node.constants]
