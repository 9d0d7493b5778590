"""Read the text of an equation as the tree that it shows, each piece with its place in the text.

Only to mark parts of a text that was printed here: names mean nothing, and nothing is computed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property

from symcompile.errors import ExpressionError

_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<name>[^\W\d]\w*)"
    r"|(?P<sign>\*\*|<=|>=|==|!=|[-+*/<>&|~(),]))"
)
# How tight each operator binds; those on one line make one piece of any number of operands.
_BINDING = {"|": 1, "&": 2, "+": 4, "-": 4, "*": 5, "/": 5, "**": 7}
_BINDING |= dict.fromkeys(("<", "<=", ">", ">=", "==", "!="), 3)
_KINDS = {1: "or", 2: "and", 3: "relation", 4: "sum", 5: "product", 7: "power"}


@dataclass
class Operand:
    """A part of a piece: `sign` is the operator before it, which stands at `at`."""

    sign: str
    piece: Piece
    at: int


@dataclass
class Piece:
    """A sub-expression of the text.

    Attributes:
        kind: number, name, call, list (in parentheses, with commas), or, and, relation, sum,
            product, power or not. A minus before anything makes a sum of one term.
        start, end: where it stands, parentheses around it included.
        name: of a name or call, and the text of a number.
        parts: operands or arguments.
        closed: whether it stands in parentheses.
    """

    kind: str
    start: int
    end: int
    name: str = ""
    parts: list[Operand] = field(default_factory=list)
    closed: bool = False

    @cached_property
    def text(self) -> str:
        """The same for pieces that are spelled alike, whatever the blanks and parentheses."""
        return self._written(self.name, [one.piece.text for one in self.parts])

    @cached_property
    def form(self) -> str:
        """The same for pieces that differ in numbers only."""
        name = "#" if self.kind == "number" else self.name
        return self._written(name, [one.piece.form for one in self.parts])

    def _written(self, name: str, parts: list[str]) -> str:
        signs = [one.sign for one in self.parts]
        inside = "".join(f"{sign}{part}" for sign, part in zip(signs, parts, strict=True))
        return f"{name}({inside})" if self.parts else name

    @cached_property
    def words(self) -> dict[str, int]:
        """How often each name and number stands in it."""
        found = {self.name: 1} if self.name else {}
        for one in self.parts:
            for word, count in one.piece.words.items():
                found[word] = found.get(word, 0) + count
        return found


def read(text: str) -> Piece:
    """The tree of a text; ExpressionError if it is not an expression."""
    reader = _Reader(text)
    piece = reader.expression(0)
    if reader.kind:
        raise ExpressionError(f"{reader.value!r} at {reader.start} is not expected")
    return piece


class _Reader:
    """Reads operators by how tight they bind; always one token ahead."""

    def __init__(self, text: str) -> None:
        self.text = text.rstrip()
        self.kind, self.value, self.start, self.end = "", "", 0, 0
        self.next()

    def next(self) -> None:
        """Go to the next token; `kind` is empty at the end of the text."""
        self.kind, self.value = "", ""
        if self.end == len(self.text):
            return
        match = _TOKEN.match(self.text, self.end)
        if match is None:
            raise ExpressionError(f"{self.text[self.end :][:20]!r} is not expected")
        self.kind = str(match.lastgroup)
        self.value = match[self.kind]
        self.start, self.end = match.span(self.kind)

    def expression(self, loosest: int) -> Piece:
        """Operands joined by operators that bind tighter than `loosest`."""
        left = self.operand()
        while self.kind == "sign" and _BINDING.get(self.value, 0) > loosest:
            sign, at, binding = self.value, self.start, _BINDING[self.value]
            self.next()
            # Powers are read from the right, everything else from the left.
            right = self.expression(binding - (binding == _BINDING["**"]))
            left = _joined(left, Operand(sign, right, at), _KINDS[binding])
        return left

    def operand(self) -> Piece:
        kind, value, start, end = self.kind, self.value, self.start, self.end
        self.next()
        if kind in ("number", "name") and not (kind == "name" and self.value == "("):
            return Piece(kind, start, end, value)
        if kind == "name":
            arguments = self.parenthesised()
            return Piece("call", start, arguments.end, value, arguments.parts)
        if value in ("-", "~"):
            inner = self.operand() if value == "~" else self.expression(_BINDING["-"])
            whole = "not" if value == "~" else "sum"
            return Piece(whole, start, inner.end, parts=[Operand(value, inner, start)])
        if value == "(":
            return self.group(start)
        raise ExpressionError(f"{value!r} at {start} is not expected")

    def parenthesised(self) -> Piece:
        start = self.start
        self.next()
        return self.group(start, call=True)

    def group(self, start: int, call: bool = False) -> Piece:
        """What stands between parentheses: one expression, or a list."""
        parts: list[Operand] = []
        while not parts or self.value == ",":
            at = self.start
            if parts:
                self.next()
            parts.append(Operand("," if parts else "", self.expression(0), at))
        if self.value != ")":
            raise ExpressionError(f"{self.value!r} at {self.start}: expected )")
        end = self.end
        self.next()
        if call or len(parts) > 1:
            return Piece("list", start, end, parts=parts, closed=True)
        piece = parts[0].piece
        piece.start, piece.end, piece.closed = start, end, True
        return piece


def _joined(left: Piece, right: Operand, kind: str) -> Piece:
    """One more operand for a piece of that kind; a power has two."""
    if left.kind == kind and not left.closed and kind not in ("power", "relation"):
        left.parts.append(right)
        left.end = right.piece.end
        return left
    first = Operand("", left, left.start)
    return Piece(kind, left.start, right.piece.end, parts=[first, right])
