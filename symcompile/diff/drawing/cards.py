"""A card for each block: what became of its equations, their constants, figures and remarks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from symcompile.diff.drawing.escaping import fitting, markup
from symcompile.diff.drawing.faces import SIGNS
from symcompile.diff.formats.equation_lines import inside_of
from symcompile.diff.formats.figures import (
    Metric,
    apart,
    block_metrics,
    block_name,
    equation_metrics,
    figure,
    known,
    label,
    percent,
)
from symcompile.diff.formats.words import (
    Remark,
    block_remarks,
    class_title,
    equation_remarks,
    untouched,
)
from symcompile.diff.result import (
    ADDED,
    CHANGED,
    IDENTICAL,
    REMOVED,
    REWRITTEN,
    SIGNATURE,
    BlockDiff,
    Coefficient,
    EquationDiff,
)

# In characters of an equation, in rows of its table, in bytes of all that is told of a block.
_EQUATION = 4000
_COEFFICIENTS = 40
_CARD, _REMARKS = 100_000, 20_000

# Classes of the style sheet; what is not listed is "changed".
_COLOURS = {
    SIGNATURE: "grave",
    CHANGED: "grave",
    ADDED: "added",
    REMOVED: "removed",
    REWRITTEN: "same",
    IDENTICAL: "same",
}

# The bars are logarithmic: from 0.01 % to 100 %.
_BAR, _DECADES = 40.0, 4.0


def card(block: BlockDiff, anchor: str) -> str:
    """The card of a block, its address within the page being `anchor`."""
    loud = [one for one in block.equations if not untouched(one)]
    parts = fitting((_equation(one, block.change) for one in loud), _CARD)
    if len(loud) > len(parts):
        parts.append(f'<p class="quiet">and {len(loud) - len(parts):,} more equations</p>')
    parts.append(_same([one for one in block.equations if untouched(one)]))
    parts.append(metrics(block_metrics(block), "all outputs"))
    parts.append(remarks(block_remarks(block)))
    return (
        f'<article class="card" id="{anchor}"><header>{badge(block.change)}'
        f"<h3><code>{markup(block_name(block.path))}</code></h3>{_was(block)}</header>"
        f'<div class="body">{"".join(parts)}</div></article>'
    )


def badge(change: str, count: int | None = None) -> str:
    """A class with its sign; how many there are of it."""
    kind = _COLOURS.get(change, "changed")
    number = "" if count is None else f" ({count:,})"
    sign = SIGNS.get(change, "")
    return f'<span class="badge {kind}">{sign} {markup(class_title(change))}{number}</span>'


def _was(block: BlockDiff) -> str:
    found = []
    if block.renamed_from is not None:
        found.append(f"was called <code>{markup(block.renamed_from)}</code>")
    if block.old_status is None and block.new_status is not None:
        found.append(f"{markup(block.new_status)}, new")
    return f'<span class="quiet">{"; ".join(found)}</span>' if found else ""


# --- equations -----------------------------------------------------------------------------------


def _equation(one: EquationDiff, said: str) -> str:
    about = "" if one.change == said else f" {badge(one.change)}"
    parts = [f"<h4><code>{label(one.output)}</code>{about}</h4>", *_texts(one)]
    figures = _coefficients(one) + metrics(equation_metrics(one))
    if figures:
        parts.append(f'<div class="figures">{figures}</div>')
    parts.append(remarks(equation_remarks(one)))
    return f'<div class="equation">{"".join(parts)}</div>'


def _texts(one: EquationDiff) -> Iterator[str]:
    if one.old == one.new:
        yield line("", "=", one.old or "")
        return
    alone = one.old is None or one.new is None
    for kind, sign, text, marks in (
        ("old", "−", one.old, one.old_marks),
        ("new", "+", one.new, one.new_marks),
    ):
        if text is not None:
            yield line(kind, sign, text, () if alone else inside_of(text, marks))


def line(kind: str, sign: str, text: str, marks: Sequence[tuple[int, int]] = ()) -> str:
    """An equation with the marked spans as <del> or <ins>."""
    tag, end, parts = ("del" if kind == "old" else "ins"), 0, []
    for start, stop in marks:
        if stop > _EQUATION:
            break
        parts.append(markup(text[end:start], _EQUATION))
        parts.append(f"<{tag}>{markup(text[start:stop], _EQUATION)}</{tag}>")
        end = stop
    parts.append(markup(text[end:], max(_EQUATION - end, 0)))
    return f'<div class="eq {kind}" data-sign="{sign}">{"".join(parts)}</div>'


def _same(equations: Sequence[EquationDiff]) -> str:
    if not equations:
        return ""
    shown = (line("", label(one.output), one.new or one.old or "") for one in equations)
    found = fitting(shown, _REMARKS)
    more = len(equations) - len(found)
    rest = f'<p class="quiet">and {more:,} more</p>' if more > 0 else ""
    names = ", ".join(label(one.output) for one in equations[:8]) + (", …" * (len(equations) > 8))
    return (
        f'<details><summary class="quiet">identical: {names}</summary>{"".join(found)}{rest}'
        "</details>"
    )


def _coefficients(one: EquationDiff) -> str:
    moved = [c for c in one.coefficients if c.old != c.new]
    if not moved:
        return ""
    moved.sort(key=lambda c: -abs(c.relative) if known(c.relative) else 1)
    rows = "".join(map(_coefficient, moved[:_COEFFICIENTS]))
    unmoved, more = len(one.coefficients) - len(moved), len(moved) - _COEFFICIENTS
    rest = [f"{more:,} more"] * (more > 0) + [f"{unmoved:,} unchanged"] * (unmoved > 0)
    foot = f'<tr><td colspan="5" class="quiet">and {", ".join(rest)}</td></tr>' if rest else ""
    return (
        '<div class="scroll"><table><thead><tr><th>coefficient #</th><th class="number">old</th>'
        '<th class="number">new</th><th class="number">change</th>'
        '<th title="logarithmic: 0.01 % at the middle, 100 % at the ends"></th></tr></thead>'
        f"<tbody>{rows}{foot}</tbody></table></div>"
    )


def _coefficient(c: Coefficient) -> str:
    old, new = apart(figure, c.old, c.new, 6, 17)
    return (
        f'<tr><td><code>{markup(c.place, 120)}</code></td><td class="number">{old}</td>'
        f'<td class="number">{new}</td><td class="number">{percent(c.relative)}</td>'
        f"<td>{_bar(c.relative)}</td></tr>"
    )


def _bar(relative: float) -> str:
    """To the right for more, to the left for less."""
    if math.isnan(relative):
        return ""
    size = abs(relative)
    decades = _DECADES if math.isinf(size) else math.log10(size) + _DECADES if size else 0.0
    length = max(2.0, _BAR * min(decades / _DECADES, 1.0))
    start = _BAR if relative > 0 else _BAR - length
    return (
        f'<svg class="bar" width="{2 * _BAR:.0f}" height="12" aria-hidden="true">'
        f'<rect class="axis" x="{_BAR - 0.5:.1f}" width="1" height="12"/>'
        f'<rect class="part" x="{start:.1f}" y="3" width="{length:.1f}" height="6"/></svg>'
    )


# --- figures and remarks -------------------------------------------------------------------------


def metrics(found: Sequence[Metric], about: str = "") -> str:
    """Old and new figures below each other, and what that means."""
    if not found:
        return ""
    heads = "".join(f'<th class="number">{markup(one.name)}</th>' for one in found)
    lines = [f"<tr><th>{about}</th>{heads}</tr>"]
    rows = [("old", [one.old for one in found]), ("new", [one.new for one in found])]
    if not any(one.changed for one in found):
        rows = [("both", rows[0][1])]
    for word, texts in rows:
        if any(texts):
            cells = "".join(f'<td class="number">{markup(text)}</td>' for text in texts)
            lines.append(f"<tr><td>{word}</td>{cells}</tr>")
    if any(one.word for one in found):
        lines.append(f"<tr><td></td>{''.join(map(_judged, found))}</tr>")
    return f'<div class="scroll"><table class="metrics">{"".join(lines)}</table></div>'


def _judged(one: Metric) -> str:
    if not one.word:
        same = "same" if one.old and one.new and not one.changed else ""
        return f'<td class="number quiet">{same}</td>'
    return f'<td class="number {"better" if one.good else "worse"}">{markup(one.word)}</td>'


def remarks(found: Sequence[Remark]) -> str:
    """What is to be said beside the figures, a remark a line."""
    rows = fitting((f"<li><b>{markup(word)}</b>{markup(text)}</li>" for word, text in found),
                   _REMARKS)  # fmt: skip
    if len(found) > len(rows):
        rows.append(f"<li>and {len(found) - len(rows):,} more</li>")
    return f'<ul class="remarks">{"".join(rows)}</ul>' if rows else ""


def brief(block: BlockDiff) -> str:
    """A row for a block of which there is nothing to say but that it is identical."""
    texts = [one.new or one.old or "" for one in block.equations]
    shown = f"<code>{markup(texts[0], 300)}</code>" if texts else markup(block.new_status or "")
    more = f' <span class="quiet">and {len(texts) - 1:,} more</span>' if len(texts) > 1 else ""
    name = markup(block_name(block.path))
    return f"<tr><td><code>{name}</code></td><td>{shown}{more}</td></tr>"
