"""A comparison as one self-contained page: cards of the blocks, both graphs side by side.

The page loads nothing and runs nothing but its own style and script: a policy within it names
their digests. It is complete without the script, which only adds comfort.

Its templates lie in `pages`. Names and equations come from files that anybody may have made:
nothing of them is markup, and what is long is cut.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import Any

from jinja2 import Environment
from markupsafe import Markup, escape

from symcompile._version import __version__
from symcompile.diff.drawing.faces import LINE, SIGNS
from symcompile.diff.drawing.picture import Box, Picture, picture
from symcompile.diff.drawing.union import OLD, SAME
from symcompile.diff.formats import figures, words
from symcompile.diff.formats.equation_lines import sides
from symcompile.diff.formats.words import Remark
from symcompile.diff.result import CLASSES, GraphDiff, ModelDiff, NodesDiff
from symcompile.report.metrics import COMPARED_LEGEND
from symcompile.report.plain_text import count
from symcompile.report.templates import asset, environment
from symcompile.storage.schema import Node

# Of one string, in characters; a longer one says how long it is. Of an equation.
_LONGEST, _EQUATION = 1500, 4000
# Of all cards together, in bytes.
_CARDS = 500_000

# In the style sheet; marks of nodes are "changed" where they are not here.
_OF_CLASSES = ("grave", "grave", "added", "removed", "changed", "changed", "same", "same")
_COLOURS = dict(zip(CLASSES, _OF_CLASSES, strict=True))


def to_html(diff: GraphDiff, *, title: str | None = None) -> str:
    """The whole page as text; its strings are escaped, lone surrogates are gone.

    Args:
        title: of the page; "Comparison of two models" if it is not given.
    """
    blocks = words.gravest_first(diff)
    loud = [block for block in blocks if not words.quiet(block)]
    numbered = [(block, f"b{number}") for number, block in enumerate(loud)]
    cards = fitting(numbered, lambda pair: _macros("blocks").card(*pair), _CARDS)
    drawable = diff.nodes.level is not None and (diff.nodes.old_nodes or diff.nodes.new_nodes)
    drawn = picture(diff.nodes, diff.blocks) if drawable else None
    style = asset(__package__, "comparison.css") + (_sizes(drawn) if drawn else "")
    page = _templates().get_template("comparison.html.j2")
    return page.render(
        diff=diff,
        title=title or "Comparison of two models",
        style=Markup(style),
        script=Markup(asset(__package__, "comparison.js")),
        cards=cards,
        missing=len(loud) - len(cards),
        same=[block for block in blocks if words.quiet(block)],
        links={block.path: f"#{anchor}" for block, anchor in numbered[: len(cards)]},
        drawn=drawn,
        legend=COMPARED_LEGEND,
        version=__version__,
    )


def svg(drawn: Picture, side: int, label: str) -> str:
    """One side of a picture. Colours are in the style sheet of the page."""
    return str(_macros("graph").svg(drawn, side, label))


def _macros(page: str) -> Any:
    return _templates().get_template(f"{page}.html.j2").module


@cache
def _templates() -> Environment:
    """With everything that the templates call."""
    templates = environment(
        __package__,
        cut,
        cut=cut,
        digest=_digest,
        fitting=fitting,
        label=figures.label,
        number="{:,}".format,
        of=count,
        px=px,
    )
    functions: list[Callable[..., Any]] = [sides, pieces, bar_length, model_remarks]
    functions += [anchor, curve, facts_markup, marks_in, not_the_same, addresses]
    templates.globals |= {function.__name__: function for function in functions}
    templates.globals |= {"words": words, "figures": figures}
    templates.globals |= {"colours": _COLOURS, "signs": SIGNS, "line_height": LINE}
    return templates


# --- text of strangers ---------------------------------------------------------------------------


def cut(text: str, most: int = _LONGEST) -> Markup:
    """The text as HTML, also within a quoted attribute; of a longer one its first part.

    The result has about 2 * `most` bytes at most, whatever is escaped in it.
    """
    shown = text[:most]
    kept = escape(figures.plain(shown))
    while _size(kept) > 2 * most:
        shown = shown[: len(shown) // 2]
        kept = escape(figures.plain(shown))
    return kept if len(shown) == len(text) else kept + Markup(f"… ({len(text):,} characters)")


def fitting(
    items: Iterable[Any], show: Callable[..., Markup], room: int, *rest: Any
) -> list[Markup]:
    """The first items as `show` shows them that there is room for, in bytes, but at least one."""
    rows: list[Markup] = []
    for item in items:
        shown = show(item, *rest)
        room -= _size(shown)
        if room < 0 and rows:
            break
        rows.append(shown)
    return rows


def facts_markup(facts: Iterable[str], most: int) -> Markup:
    """A fact a line, as many as there is room for, in bytes."""
    lines: list[Markup] = []
    for fact in facts:
        line = cut(fact, most // 4)
        most -= _size(line) + 1
        if most < 0:
            break
        lines.append(line)
    return Markup("\n").join(lines)


def _size(text: str) -> int:
    """Bytes in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


# --- blocks and the model ------------------------------------------------------------------------


def pieces(text: str, marks: Sequence[tuple[int, int]]) -> Iterator[tuple[Markup, bool]]:
    """An equation in pieces, and whether each is marked; the end of a long one is cut."""
    end = 0
    for start, stop in marks:
        if stop > _EQUATION:
            break
        yield cut(text[end:start], _EQUATION), False
        yield cut(text[start:stop], _EQUATION), True
        end = stop
    yield cut(text[end:], _EQUATION - end), False


def bar_length(relative: float) -> float:
    """Of the bar of a relative change, logarithmic from 0.01 % to 100 %; 0 where there is none."""
    if math.isnan(relative):
        return 0.0
    size = min(abs(relative), 1.0)
    decades = math.log10(size) + 4 if size else 0.0
    return max(2.0, 10 * decades)


def model_remarks(model: ModelDiff) -> list[Remark]:
    remarks = []
    for word, size in (
        ("difference of the outputs", model.output_difference),
        ("difference of the equations", model.probe_difference),
    ):
        if size is not None:
            most = f"up to {figures.share(size)} of the largest old value" if size else "none"
            remarks.append((word, f"{most}, on inputs that both have seen"))
    return remarks + [("signature", text) for text in model.signature]


# --- graphs --------------------------------------------------------------------------------------


def _sizes(drawn: Picture) -> str:
    """A narrow window shrinks the picture a little, then it scrolls."""
    width = round(drawn.width)
    least = f"@media screen {{ .graph {{ min-width: {round(0.72 * width)}px }} }}"
    return f".graph {{ max-width: {width}px }} {least}"


def anchor(box: Box, side: int) -> str:
    """What a box is called within the page, "" where nothing is to be said of it."""
    named = box.face.name and (box.face.mark != SAME or box.face.is_block)
    return f"{'o' if side == OLD else 'n'}{box.cell}" if named else ""


def curve(points: Sequence[tuple[float, float]]) -> str:
    """Straight where it runs upright, else an S that is upright at both ends."""
    x, y = points[0]
    path = [f"M{px(x)} {px(y)}"]
    for to_x, to_y in points[1:]:
        if abs(to_x - x) < 0.5:
            path.append(f"V{px(to_y)}")
        else:
            middle = px((y + to_y) / 2)
            path.append(f"C{px(x)} {middle} {px(to_x)} {middle} {px(to_x)} {px(to_y)}")
        x, y = to_x, to_y
    return "".join(path)


def px(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def marks_in(drawn: Picture) -> set[str]:
    """What the legend has to explain."""
    faces = [box.face for boxes in drawn.boxes.values() for box in boxes]
    lines = [line for side in drawn.lines.values() for line in side]
    upward = [line for line in lines if line.points[0][1] > line.points[-1][1] and not line.stub]
    return {
        *(face.mark for face in faces),
        *(face.kind for face in faces),
        *(f"edge {line.mark}" for line in lines),
        *(["upward"] if upward else []),
    }


def not_the_same(nodes: NodesDiff) -> list[tuple[str, Node | None, Node | None, str]]:
    """Mark, both sides, and in which way."""
    return [
        *((change.change, change.old, change.new, change.what) for change in nodes.changed),
        *(("removed", node, None, words.node(node)) for node in nodes.removed),
        *(("added", None, node, words.node(node)) for node in nodes.added),
    ]


def addresses(drawn: Picture) -> dict[tuple[int, str], str]:
    """Of each box that is called something, by side and name of its node."""
    named = [(side, box) for side, boxes in drawn.boxes.items() for box in boxes]
    return {(side, box.face.name): f"#{name}" for side, box in named if (name := anchor(box, side))}
