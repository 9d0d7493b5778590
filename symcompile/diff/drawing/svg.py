"""A side of a picture as SVG. Colours are in the style sheet of the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from symcompile.diff.drawing.escaping import facts_markup, markup
from symcompile.diff.drawing.faces import LINE
from symcompile.diff.drawing.lines import Line
from symcompile.diff.drawing.picture import Box, Picture
from symcompile.diff.drawing.places import Point
from symcompile.diff.drawing.union import OLD, SAME
from symcompile.diff.result import BlockDiff

# In bytes: of all tooltips of a side together, and of one at most.
_TOOLTIPS, _TOOLTIP = 200_000, 1000

# The heads of edges, for the whole page.
ARROWS = (
    '<svg width="0" height="0" aria-hidden="true" class="hidden"><defs>'
    + "".join(
        f'<marker id="head-{mark}" class="head {mark}" viewBox="0 0 8 8" refX="7" refY="4"'
        ' markerWidth="7" markerHeight="7" markerUnits="userSpaceOnUse" orient="auto">'
        '<path d="M0 0.5L8 4L0 7.5z"/></marker>'
        for mark in ("same", "added", "removed")
    )
    + "</defs></svg>"
)


def svg(
    drawn: Picture, side: int, label: str, link: Callable[[BlockDiff], str] | None = None
) -> str:
    """One side. `link` gives the address of a block's description, "" for none."""
    width, height = round(drawn.width), round(drawn.height)
    parts = [
        f'<svg class="graph" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
        f' role="img" aria-label="{markup(label)}">'
    ]
    parts += [
        f'<rect class="band {band.mark}" x="0" y="{_n(band.y)}" width="{width}"'
        f' height="{_n(band.height)}" rx="6"/>'
        for band in drawn.bands
    ]
    # What changed lies on top.
    lines = sorted(drawn.lines[side], key=lambda line: line.mark != SAME)
    parts += map(_line, lines)
    boxes = drawn.boxes[side]
    room = min(_TOOLTIP, _TOOLTIPS // max(len(boxes), 1))
    parts += [_box(box, side, link, room) for box in boxes]
    return "".join(parts) + "</svg>"


# --- lines ---------------------------------------------------------------------------------------


def _line(line: Line) -> str:
    kinds = f"line {line.mark}" + (" stub" if line.stub else "") + (" arrow" if line.arrow else "")
    target = "" if line.target is None else f' data-to="{line.target}"'
    return f'<path class="{kinds}" data-from="{line.source}"{target} d="{_curve(line.points)}"/>'


def _curve(points: tuple[Point, ...]) -> str:
    """Straight where it runs upright, else an S that is upright at both ends."""
    x, y = points[0]
    found = [f"M{_n(x)} {_n(y)}"]
    for to_x, to_y in points[1:]:
        if abs(to_x - x) < 0.5:
            found.append(f"V{_n(to_y)}")
        else:
            middle = _n((y + to_y) / 2)
            found.append(f"C{_n(x)} {middle} {_n(to_x)} {middle} {_n(to_x)} {_n(to_y)}")
        x, y = to_x, to_y
    return "".join(found)


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


# --- boxes ---------------------------------------------------------------------------------------


def anchor(box: Box, side: int) -> str:
    """What a box is called within the page, "" where nothing is to be said of it."""
    told = box.face.name and (box.face.mark != SAME or box.face.is_block)
    return f"{'o' if side == OLD else 'n'}{box.cell}" if told else ""


def _box(box: Box, side: int, link: Callable[[BlockDiff], str] | None, room: int) -> str:
    one, address = box.face, anchor(box, side)
    named = f' id="{address}"' if address else ""
    parts = [
        f'<g class="cell {one.kind} {one.mark}" data-cell="{box.cell}"{named}>'
        f"<title>{facts_markup(one.facts, room)}</title>"
    ]
    parts += [_outline(box), *_texts(box)]
    group = "".join(parts) + "</g>"
    card = link(box.block) if link is not None and box.block is not None else ""
    return f'<a href="{card}">{group}</a>' if card else group


def _outline(box: Box) -> str:
    x, y, width, height = map(_n, (box.x, box.y, box.width, box.height))
    kind = box.face.kind
    round_ends = kind in ("input", "output")
    corner = _n(min(box.height / 2, 16)) if round_ends else "4"
    rect = f'<rect class="box" x="{x}" y="{y}" width="{width}" height="{height}" rx="{corner}"/>'
    if not box.face.is_block:
        return rect
    # Two upright bars, as flow charts draw a step that is defined elsewhere.
    bars = "".join(
        f"M{_n(at)} {y}V{_n(box.y + box.height)}" for at in (box.x + 7, box.x + box.width - 7)
    )
    return f'{rect}<path class="bars" d="{bars}"/>'


def _texts(box: Box) -> Iterator[str]:
    x = box.x + box.width / 2
    lines = [*box.face.lines, *([box.face.note] if box.face.note else [])]
    start = box.y + (box.height - LINE * len(lines)) / 2 + LINE - 4
    for k, text in enumerate(lines):
        kind = "title" if k == 0 else "note" if k == len(box.face.lines) else "detail"
        yield f'<text class="{kind}" x="{_n(x)}" y="{_n(start + k * LINE)}">{markup(text)}</text>'
