"""The text of an equation as the tree that it shows, each piece with its place in the text.

Python's own grammar says where everything stands (`ast.parse` runs nothing). Only to mark parts of
a text that was printed here: names mean nothing, and nothing is computed.
"""

from __future__ import annotations

import ast
import keyword
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate

from symcompile.errors import ExpressionError

# An input may be called lambda.
_KEYWORD = re.compile(rf"\b({'|'.join(set(keyword.kwlist) - {'True', 'False'})})\b")
# An operator, behind parentheses that close before it, and what it makes.
_SIGN = re.compile(r"[)\s]*(\*\*|[-+*/&|~]|[<>=!]=?)")
_KINDS = {"**": "power", "*": "product", "/": "product", "+": "sum", "-": "sum"}
_KINDS |= {"&": "and", "|": "or", "~": "not"}
_KINDS |= dict.fromkeys(("<", "<=", ">", ">=", "==", "!="), "relation")


@dataclass(frozen=True)
class Piece:
    """A sub-expression of the text.

    Attributes:
        kind: number, name, call, list (in parentheses, with commas), or, and, relation, sum,
            product, power or not. A minus before anything makes a sum of one term.
        start, end: where it stands, parentheses around it included.
        name: of a name or call, and the text of a number.
        parts: operands or arguments.
        sign: the operator before it in what it is a part of; that stands at `at`.
    """

    kind: str
    start: int
    end: int
    name: str = ""
    parts: Sequence[Piece] = ()
    sign: str = ""
    at: int = 0

    @cached_property
    def text(self) -> str:
        """The same for pieces that are spelled alike, whatever the blanks and parentheses."""
        inside = "".join(operand.sign + operand.text for operand in self.parts)
        return f"{self.name}({inside})" if self.parts else self.name

    @cached_property
    def form(self) -> str:
        """The same for pieces that differ in numbers only."""
        name = "#" if self.kind == "number" else self.name
        inside = "".join(operand.sign + operand.form for operand in self.parts)
        return f"{name}({inside})" if self.parts else name

    @cached_property
    def words(self) -> Counter[str]:
        """How often each name and number stands in it."""
        return sum(
            (operand.words for operand in self.parts), Counter([self.name] * bool(self.name))
        )


def read(text: str) -> Piece:
    """The tree of a text; ExpressionError if it is not an expression."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python's advice on "1if"
            tree = ast.parse(_KEYWORD.sub(lambda word: f"_{word[0][1:]}", text), mode="eval")
    except (SyntaxError, ValueError, MemoryError) as error:
        raise ExpressionError(f"{text[:20]!r} is no expression: {error}") from error
    return _PieceReader(text).piece(tree.body)


class _PieceReader:
    def __init__(self, text: str) -> None:
        self.text = text
        # Python counts bytes.
        places = accumulate((len(character.encode()) for character in text), initial=0)
        self.place = {byte: place for place, byte in enumerate(places)}

    def span(self, node: ast.expr) -> tuple[int, int]:
        """Without parentheses around it."""
        return self.place[node.col_offset], self.place[node.end_col_offset or 0]

    def closed(self, operand: ast.expr) -> bool:
        """Whether it stands in parentheses of its own."""
        start, end = self.span(operand)
        return self.text[start - 1 : start] == "(" and self.text[end : end + 1] == ")"

    def sign(self, after: int) -> tuple[str, int]:
        """The next operator, and where it stands."""
        match = _SIGN.match(self.text, after)
        if match is None:
            raise ExpressionError(f"{self.text[after:][:20]!r} is not expected")
        return match[1], match.start(1)

    def piece(self, node: ast.expr) -> Piece:
        start, end = self.span(node)
        said = self.text[start:end]
        match node:
            case ast.Call(func=ast.Name() as function, args=[_, *_] as args, keywords=[]):
                name = self.text[slice(*self.span(function))]
                return Piece("call", start, end, name, self.listed(args))
            case ast.Tuple(elts=[_, *_] as items):
                return Piece("list", start, end, parts=self.listed(items))
            case ast.Name() | ast.Constant(value=True | False):
                return Piece("name", start, end, said)
            case ast.Constant(value=int() | float()):
                return Piece("number", start, end, said)
            case ast.UnaryOp(op=ast.USub() | ast.Invert(), operand=right):
                return self.joined([right], start, end)
            case ast.Compare(left=left, comparators=[right]):
                return self.joined([left, right], start, end)
            case ast.BinOp():
                return self.joined(self.operands(node), start, end)
        raise ExpressionError(f"{said!r} is not expected")

    def listed(self, nodes: Sequence[ast.expr]) -> list[Piece]:
        return [replace(self.piece(node), sign="," * (k > 0)) for k, node in enumerate(nodes)]

    def operands(self, node: ast.BinOp) -> list[ast.expr]:
        """All of a sum, product or whatever: Python has two to each operator."""
        kind, operands = self.kind(node), [node.right]
        left = node.left
        while isinstance(left, ast.BinOp) and kind != "power" and not self.closed(left):
            if self.kind(left) != kind:
                break
            operands.append(left.right)
            left = left.left
        return [left, *reversed(operands)]

    def kind(self, node: ast.BinOp) -> str:
        return _KINDS[self.sign(self.span(node.left)[1])[0]]

    def joined(self, operands: list[ast.expr], start: int, end: int) -> Piece:
        """Operands of one kind, each but the first of several behind its operator."""
        parts: list[Piece] = []
        for node in operands:
            piece, around = self.piece(node), self.closed(node)
            first = not parts and len(operands) > 1
            sign, at = ("", start) if first else self.sign(parts[-1].end if parts else start)
            left, right = piece.start - around, piece.end + around
            parts.append(replace(piece, start=left, end=right, sign=sign, at=at))
        kind = _KINDS[parts[-1].sign]
        minus = parts[0].kind == "sum" and self.text[parts[0].start] == "-"
        if not (minus and kind in ("sum", "product")):
            return Piece(kind, start, end, parts=parts)
        # For a reader -x*y + z is the sum of -(x*y) and z, for Python of (-x)*y and z.
        terms = [*parts[0].parts, *parts[1:]]
        if kind == "product":
            terms[0] = replace(terms[0], sign="")
            terms = [Piece(kind, terms[0].start, end, parts=terms, sign="-", at=start)]
        return Piece("sum", start, end, parts=terms)
