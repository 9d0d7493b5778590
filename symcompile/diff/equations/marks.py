"""What to mark in the texts of two equations: the sub-expressions that the other one has not.

Both texts are read as trees. Terms and factors are matched whatever their order: first those that
are spelled alike, then those that are most alike, which are compared in their turn. What has no
counterpart is marked as a whole. So a mark is a whole sub-expression, or the name of a function
that became another one of the same arguments, or a term with the operator that changed before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from symcompile.diff.equations.spelling import Operand, Piece, read
from symcompile.errors import ExpressionError

Spans = list[tuple[int, int]]
Marks = tuple[tuple[int, int], ...]

# Beyond this the whole text is marked.
_CHARACTERS = 100_000
# Pairs of terms whose likeness is looked at; of more, those of one form are paired in their order.
_PAIRS = 2_500
# Share of words that two terms have to have in common to be the same term, changed.
_ALIKE = 0.5

_ANY_ORDER = ("sum", "product", "and", "or")
_COMMUTATIVE = ("Max", "Min", "Eq", "Ne")


def marks(old: str, new: str) -> tuple[Marks, Marks]:
    """(start, end) of the changed sub-expressions in each text, ascending and apart.

    A text that can't be read, or is very long, is marked as a whole; equal ones are not marked.
    """
    if old == new:
        return (), ()
    if max(len(old), len(new)) <= _CHARACTERS:
        try:
            found = _differences(read(old), read(new))
        except (ExpressionError, RecursionError):
            pass
        else:
            return _ascending(found[0]), _ascending(found[1])
    return _all_of(old), _all_of(new)


def _ascending(spans: Spans) -> Marks:
    return tuple(sorted(spans))


def _all_of(text: str) -> Marks:
    return ((0, len(text)),) if text else ()


def _differences(old: Piece, new: Piece) -> tuple[Spans, Spans]:
    if old.text == new.text:
        return [], []
    kind = _common_kind(old, new)
    if kind in _ANY_ORDER:
        return _in_any_order(_parts(old, kind), _parts(new, kind), old, new)
    if old.kind != new.kind:
        return _whole(old), _whole(new)
    if kind == "call":
        return _of_calls(old, new)
    if kind in ("number", "name") or len(old.parts) != len(new.parts):
        return _whole(old), _whole(new)
    return _in_order(old, new)


def _common_kind(old: Piece, new: Piece) -> str:
    """What both can be read as: a term is a sum of one term."""
    kinds = {old.kind, new.kind}
    return next((kind for kind in ("or", "and", "sum", "product") if kind in kinds), old.kind)


def _parts(piece: Piece, kind: str) -> list[Operand]:
    return piece.parts if piece.kind == kind else [Operand("", piece, piece.start)]


def _whole(piece: Piece) -> Spans:
    return [(piece.start, piece.end)]


# --- calls and powers ----------------------------------------------------------------------------


def _of_calls(old: Piece, new: Piece) -> tuple[Spans, Spans]:
    if old.name != new.name:
        if [one.piece.text for one in old.parts] != [one.piece.text for one in new.parts]:
            return _whole(old), _whole(new)
        return [(old.start, old.start + len(old.name))], [(new.start, new.start + len(new.name))]
    if len(old.parts) != len(new.parts) or old.name in _COMMUTATIVE:
        return _in_any_order(_arguments(old), _arguments(new), old, new)
    return _in_order(old, new)


def _arguments(call: Piece) -> list[Operand]:
    return [Operand("", one.piece, one.at) for one in call.parts]


def _in_order(old: Piece, new: Piece) -> tuple[Spans, Spans]:
    """Of arguments, of base and exponent, of both sides of a relation."""
    if [one.sign for one in old.parts] != [one.sign for one in new.parts]:
        return _whole(old), _whole(new)
    found = [_differences(a.piece, b.piece) for a, b in zip(old.parts, new.parts, strict=True)]
    named = bool(old.name)
    return (
        _merged(old, old.parts, [one for one, _ in found], named),
        _merged(new, new.parts, [other for _, other in found], named),
    )


# --- terms, factors and whatever has no order ----------------------------------------------------


def _in_any_order(
    olds: Sequence[Operand], news: Sequence[Operand], old: Piece, new: Piece
) -> tuple[Spans, Spans]:
    left: list[Spans] = [[_span(one, False)] for one in olds]
    right: list[Spans] = [[_span(one, False)] for one in news]
    for i, j in _matched(olds, news):
        a, b = olds[i], news[j]
        if _sign(a) == _sign(b):
            left[i], right[j] = _differences(a.piece, b.piece)
        else:
            left[i], right[j] = [_span(a, True)], [_span(b, True)]
    named = old.kind == "call"
    return _merged(old, olds, left, named), _merged(new, news, right, named)


def _sign(one: Operand) -> str:
    """The operator, where it says something: + and * are the same as none."""
    return one.sign if one.sign in ("-", "/") else ""


def _span(one: Operand, changed: bool) -> tuple[int, int]:
    """A term with its minus, and with any operator that changed."""
    with_sign = one.sign and (changed or one.sign == "-")
    return one.at if with_sign else one.piece.start, one.piece.end


def _matched(olds: Sequence[Operand], news: Sequence[Operand]) -> list[tuple[int, int]]:
    """Positions of counterparts: spelled alike, then the most alike."""
    found = _spelled_alike(olds, news, lambda one: (_sign(one), one.piece.text))
    left = sorted({*range(len(olds))} - {i for i, _ in found})
    right = sorted({*range(len(news))} - {j for _, j in found})
    if len(left) * len(right) > _PAIRS:
        form = _spelled_alike(
            [olds[i] for i in left], [news[j] for j in right], lambda one: one.piece.form
        )
        return found + [(left[i], right[j]) for i, j in form]
    return found + _most_alike(olds, news, left, right)


def _spelled_alike(
    olds: Sequence[Operand], news: Sequence[Operand], spelled: Callable[[Operand], object]
) -> list[tuple[int, int]]:
    waiting: dict[object, list[int]] = {}
    for j, one in enumerate(news):
        waiting.setdefault(spelled(one), []).append(j)
    found = []
    for i, one in enumerate(olds):
        positions = waiting.get(spelled(one))
        if positions:
            found.append((i, positions.pop(0)))
    return found


def _most_alike(
    olds: Sequence[Operand], news: Sequence[Operand], left: list[int], right: list[int]
) -> list[tuple[int, int]]:
    """The most alike first. Of equals those that stand first, so that it is the same both ways."""
    scored = [(_likeness(olds[i].piece, news[j].piece), i, j) for i in left for j in right]
    scored.sort(key=lambda one: (-one[0], one[1] + one[2], abs(one[1] - one[2])))
    found: list[tuple[int, int]] = []
    rows, columns = set(left), set(right)
    for score, i, j in scored:
        if score >= _ALIKE and i in rows and j in columns:
            found.append((i, j))
            rows.remove(i)
            columns.remove(j)
    return found


def _likeness(old: Piece, new: Piece) -> float:
    """From 0 to 1 by words in common, 1 more where only numbers differ."""
    common = sum(min(count, new.words.get(word, 0)) for word, count in old.words.items())
    total = sum(old.words.values()) + sum(new.words.values())
    return 2 * common / max(total, 1) + (old.form == new.form)


def _merged(piece: Piece, parts: Sequence[Operand], spans: Sequence[Spans], named: bool) -> Spans:
    """Marks of the parts; neighbours that are marked as a whole become one mark, and so does the
    piece if all of it is marked and it has no name of its own."""
    found: Spans = []
    joins = False
    complete = not named
    for one, inside in zip(parts, spans, strict=True):
        full = len(inside) == 1 and inside[0] in (_span(one, False), _span(one, True))
        if joins and full:
            found[-1] = (found[-1][0], inside[0][1])
        else:
            found += inside
        joins, complete = full, complete and full
    return _whole(piece) if complete and len(parts) > 1 else found
