"""What to mark in the texts of two equations: the sub-expressions that the other one has not.

Both texts are read as trees. Terms and factors are matched whatever their order: first those that
are spelled alike, then those that are most alike, which are compared in their turn. What has no
counterpart is marked as a whole. So a mark is a whole sub-expression, or the name of a function
that became another one of the same arguments, or a term with the operator that changed before it.
"""

from __future__ import annotations

import ast
import keyword
import re
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate

from symcompile.errors import ExpressionError

Spans = list[tuple[int, int]]
Marks = tuple[tuple[int, int], ...]

# Beyond this the whole text is marked.
_CHARACTERS = 100_000
# Pairs of terms whose likeness is looked at; of more, those of one form are paired in their order.
_PAIRS = 2_500
# Share of words that two terms have to have in common to be the same term, changed.
_ALIKE = 0.5

_ANY_ORDER = ("or", "and", "sum", "product")
_COMMUTATIVE = ("Max", "Min", "Eq", "Ne")


def marks(old: str, new: str) -> tuple[Marks, Marks]:
    """(start, end) of the changed sub-expressions in each text, ascending and apart.

    A text that can't be read, or is very long, is marked as a whole; equal ones are not marked.
    """
    if old == new:
        return (), ()
    try:
        if max(len(old), len(new)) <= _CHARACTERS:
            ours, theirs = _differences(read(old), read(new))
            return tuple(sorted(ours)), tuple(sorted(theirs))
    except (ExpressionError, RecursionError):
        pass
    return ((0, len(old)),) * bool(old), ((0, len(new)),) * bool(new)


def _differences(old: Piece, new: Piece) -> tuple[Spans, Spans]:
    if old.text == new.text:
        return [], []
    # A term is a sum of one term.
    joint = next((kind for kind in _ANY_ORDER if kind in (old.kind, new.kind)), "")
    if joint:
        terms, others = (
            piece.parts if piece.kind == joint else [replace(piece, sign="", at=piece.start)]
            for piece in (old, new)
        )
        return _in_any_order(terms, others, old, new)
    calls = old.kind == new.kind == "call"
    if calls and old.name != new.name:
        if [piece.text for piece in old.parts] == [piece.text for piece in new.parts]:
            return _name(old), _name(new)
    elif calls and (len(old.parts) != len(new.parts) or old.name in _COMMUTATIVE):
        return _in_any_order(old.parts, new.parts, old, new)
    elif old.kind == new.kind and old.parts and _signs(old) == _signs(new):
        # Arguments, base and exponent, both sides of a relation.
        inside = [_differences(a, b) for a, b in zip(old.parts, new.parts, strict=True)]
        ours, theirs = zip(*inside, strict=True)
        return _merged(old, old.parts, ours), _merged(new, new.parts, theirs)
    return [(old.start, old.end)], [(new.start, new.end)]


def _name(call: Piece) -> Spans:
    return [(call.start, call.start + len(call.name))]


def _signs(piece: Piece) -> list[str]:
    return [operand.sign for operand in piece.parts]


# --- terms, factors and whatever has no order ----------------------------------------------------


def _in_any_order(
    olds: Sequence[Piece], news: Sequence[Piece], old: Piece, new: Piece
) -> tuple[Spans, Spans]:
    left: list[Spans] = [[_span(piece)] for piece in olds]
    right: list[Spans] = [[_span(piece)] for piece in news]
    for i, j in _matched(olds, news):
        a, b = olds[i], news[j]
        if _sign(a) == _sign(b):
            left[i], right[j] = _differences(a, b)
        else:
            left[i], right[j] = [(a.at, a.end)], [(b.at, b.end)]
    return _merged(old, olds, left), _merged(new, news, right)


def _sign(piece: Piece) -> str:
    """The operator, where it says something: + and * are the same as none."""
    return piece.sign if piece.sign in ("-", "/") else ""


def _span(piece: Piece) -> tuple[int, int]:
    """A term with its minus."""
    return piece.at if piece.sign == "-" else piece.start, piece.end


def _matched(olds: Sequence[Piece], news: Sequence[Piece]) -> list[tuple[int, int]]:
    """Positions of counterparts: spelled alike, then the most alike."""
    pairs: list[tuple[int, int]] = []
    left, right = (dict.fromkeys(range(len(side))) for side in (olds, news))

    def pair(i: int, j: int) -> None:
        pairs.append((i, j))
        del left[i], right[j]

    def pair_alike(spelled: Callable[[Piece], object]) -> None:
        waiting: dict[object, list[int]] = {}
        for j in reversed(right):
            waiting.setdefault(spelled(news[j]), []).append(j)
        for i in list(left):
            if positions := waiting.get(spelled(olds[i])):
                pair(i, positions.pop())

    pair_alike(lambda piece: (_sign(piece), piece.text))
    if len(left) * len(right) > _PAIRS:
        pair_alike(lambda piece: piece.form)
        return pairs
    scored = [(_likeness(olds[i], news[j]), i, j) for i in left for j in right]
    # Of equals those that stand first, so that it is the same both ways.
    scored.sort(key=lambda pair: (-pair[0], pair[1] + pair[2], abs(pair[1] - pair[2])))
    for score, i, j in scored:
        if score >= _ALIKE and i in left and j in right:
            pair(i, j)
    return pairs


def _likeness(old: Piece, new: Piece) -> float:
    """From 0 to 1 by words in common, 1 more where only numbers differ."""
    common, total = (old.words & new.words).total(), old.words.total() + new.words.total()
    return 2 * common / max(total, 1) + (old.form == new.form)


def _merged(piece: Piece, parts: Sequence[Piece], spans: Sequence[Spans]) -> Spans:
    """Marks of the parts; neighbours that are marked as a whole become one mark, and so does the
    piece if all of it is marked and it has no name of its own."""
    marked: Spans = []
    joins = False
    complete = not piece.name and len(parts) > 1
    for operand, inside in zip(parts, spans, strict=True):
        full = inside in ([_span(operand)], [(operand.at, operand.end)])
        if joins and full:
            marked[-1] = (marked[-1][0], inside[0][1])
        else:
            marked += inside
        joins, complete = full, complete and full
    return [(piece.start, piece.end)] if complete else marked


# --- a text as the tree that it shows -------------------------------------------------------------


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
    """The tree of a text, by Python's own grammar (`ast.parse` runs nothing, and names mean
    nothing here); ExpressionError if it is not an expression."""
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
