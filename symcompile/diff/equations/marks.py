"""What to mark in the texts of two equations: the sub-expressions that the other one has not.

Both texts are read as trees. Terms and factors are matched whatever their order: first those that
are spelled alike, then those that are most alike, which are compared in their turn. What has no
counterpart is marked as a whole. So a mark is a whole sub-expression, or the name of a function
that became another one of the same arguments, or a term with the operator that changed before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from symcompile.diff.equations.spelling import Piece, read
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
