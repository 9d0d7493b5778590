"""Both graphs side by side, and the list of what is not the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from symcompile.diff.drawing.escaping import fitting, markup
from symcompile.diff.drawing.faces import SIGNS
from symcompile.diff.drawing.picture import Picture, picture
from symcompile.diff.drawing.svg import ARROWS, anchor, svg
from symcompile.diff.drawing.union import NEW, OLD
from symcompile.diff.formats.words import node, node_counts
from symcompile.diff.result import BlockDiff, GraphDiff, NodesDiff
from symcompile.report.notes import count

# A list of up to this many rows is open.
_OPEN = 40
# In pixels; what is wider does not fit into half of a usual window.
_WIDE = 1000
# Of the list, in bytes.
_LIST = 160_000

Link = Callable[[BlockDiff], str]


def graphs(diff: GraphDiff, link: Link) -> tuple[str, str]:
    """The section on the graphs, and the style that this picture needs."""
    nodes = diff.nodes
    if nodes.level is None or not (nodes.old_nodes or nodes.new_nodes):
        return _without_picture(nodes), ""
    drawn = picture(nodes, diff.blocks)
    counts = node_counts(nodes) or "the same on both sides"
    parts = [
        f'<h2 id="graph">Graph <span class="quiet">{markup(nodes.level)}: {counts}</span></h2>'
    ]
    parts += [_legend(drawn), ARROWS, '<div class="sides">']
    sides = ((OLD, "old", diff.old.source), (NEW, "new", diff.new.source))
    for side, word, source in sides:
        about = _drawn(drawn, side, nodes)
        parts.append(
            f'<div class="head"><b>{word}</b> <code>{markup(source, 200)}</code>'
            f' <span class="quiet">{about}</span></div>'
        )
    for side, word, source in sides:
        label = f"{word} graph, {source[:200]}"
        parts.append(f'<div class="side">{svg(drawn, side, label, link)}</div>')
    parts += ["</div>", *_node_list(nodes, drawn)]
    width = round(drawn.width)
    return "".join(parts), _sizes(width)


def _sizes(width: int) -> str:
    """A narrow window shrinks the picture a little, then it scrolls."""
    least = f"@media screen {{ .graph {{ min-width: {round(0.72 * width)}px }} }}"
    return f".graph {{ max-width: {width}px }} {least}"


def _without_picture(nodes: NodesDiff) -> str:
    note = nodes.note or "there are no graphs to compare"
    return f'<h2 id="graph">Graph</h2><p class="quiet">{markup(note)}</p>'


def _drawn(drawn: Picture, side: int, nodes: NodesDiff) -> str:
    total = count(len(nodes.old_nodes if side == OLD else nodes.new_nodes), "node")
    return f"{total}, {drawn.folded[side]:,} of them folded" if drawn.folded[side] else total


# --- legend --------------------------------------------------------------------------------------


def _legend(drawn: Picture) -> str:
    boxes = [box.face for side in drawn.boxes.values() for box in side]
    there = {one.mark for one in boxes} | {one.kind for one in boxes}
    words = [
        ("block", "block", "block with equations"),
        ("neural", "neural", "neural block"),
        ("fold", "fold", "folded"),
        ("added", "node added", f"{SIGNS['added']} added"),
        ("removed", "node removed", f"{SIGNS['removed']} removed"),
        ("changed", "node changed", f"{SIGNS['changed']} changed"),
        ("moved", "node moved", f"{SIGNS['moved']} reads other nodes"),
    ]
    shown = [_sample(kinds, text) for what, kinds, text in words if what in there]
    lines = [line for side in drawn.lines.values() for line in side]
    marks = {line.mark for line in lines}
    shown += [_line_sample(mark, f"edge {mark}") for mark in ("removed", "added") if mark in marks]
    if any(line.points[0][1] > line.points[-1][1] for line in lines if not line.stub):
        shown.append("<span>upward: the new side has it in another order</span>")
    if drawn.stubs:
        shown.append(f"<span>{drawn.stubs:,} long edges are drawn as short ends only</span>")
    if drawn.width > _WIDE:
        shown.append("<span>wider than the window: both sides scroll sideways together</span>")
    shown.append("<span>what is on both sides stands at the same height</span>")
    return f'<div class="legend">{"".join(shown)}</div>'


def _sample(kinds: str, text: str) -> str:
    bars = '<path class="bars" d="M6 2V16M28 2V16"/>' if kinds in ("block", "neural") else ""
    box = f'<rect class="box" x="2" y="2" width="30" height="14" rx="3"/>{bars}'
    return (
        '<span><svg width="34" height="18" aria-hidden="true">'
        f'<g class="cell {kinds}">{box}</g></svg>{text}</span>'
    )


def _line_sample(mark: str, text: str) -> str:
    return (
        '<span><svg width="34" height="18" aria-hidden="true">'
        f'<path class="line {mark} arrow" d="M2 9H32"/></svg>{text}</span>'
    )


# --- the list ------------------------------------------------------------------------------------


def _node_list(nodes: NodesDiff, drawn: Picture) -> Iterator[str]:
    total = len(nodes.added) + len(nodes.removed) + len(nodes.changed)
    if not total:
        return
    rows = fitting(_rows(nodes, _anchors(drawn)), _LIST)
    opened = " open" if total <= _OPEN else ""
    yield f"<details{opened}><summary>{count(total, 'node')} not the same</summary>"
    yield '<label class="filter" hidden>Filter <input type="search"></label>'
    yield '<div class="scroll"><table class="wide"><thead><tr><th>what</th><th>old</th><th>new</th>'
    yield f"<th>in which way</th></tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    if len(rows) < total:
        yield f'<p class="quiet">and {total - len(rows):,} more</p>'
    yield "</details>"


def _anchors(drawn: Picture) -> dict[tuple[int, str], str]:
    """Address of each box that is called something, by side and name of its node."""
    found = {}
    for side, boxes in drawn.boxes.items():
        for box in boxes:
            if anchor(box, side):
                found[side, box.face.name] = f"#{anchor(box, side)}"
    return found


def _rows(nodes: NodesDiff, anchors: dict[tuple[int, str], str]) -> Iterator[str]:
    for change in nodes.changed:
        yield _row(
            change.change,
            _linked(change.old.name, anchors.get((OLD, change.old.name))),
            _linked(change.new.name, anchors.get((NEW, change.new.name))),
            markup(change.what, 400),
        )
    for one in nodes.removed:
        yield _row(
            "removed", _linked(one.name, anchors.get((OLD, one.name))), "", markup(node(one))
        )
    for one in nodes.added:
        yield _row("added", "", _linked(one.name, anchors.get((NEW, one.name))), markup(node(one)))


def _row(mark: str, *cells: str) -> str:
    kind = mark if mark in ("added", "removed") else "changed"
    shown = "".join(f"<td>{cell}</td>" for cell in cells)
    sign = SIGNS.get(mark, SIGNS["changed"])
    return f'<tr><td><span class="badge {kind}">{sign} {markup(mark)}</span></td>{shown}</tr>'


def _linked(name: str, address: str | None) -> str:
    text = f"<code>{markup(name, 160)}</code>"
    return f'<a href="{address}">{text}</a>' if address else text
