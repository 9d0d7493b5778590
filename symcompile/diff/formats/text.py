"""A comparison as text for a terminal."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from symcompile.diff.formats.equation_lines import Paint, equation_lines
from symcompile.diff.formats.figures import (
    EXPLAINED,
    MetricDiff,
    block_metrics,
    block_name,
    equation_metrics,
    label,
    name,
    plain,
)
from symcompile.diff.formats.words import (
    Remark,
    Row,
    block_remarks,
    class_title,
    coefficient_rows,
    different,
    equation_remarks,
    gravest_first,
    in_order,
    listed,
    model_remarks,
    node_counts,
    node_lines,
    notes,
    parted,
    quiet,
    rest_of,
    rules,
    side,
    summary,
    verdict,
)
from symcompile.diff.result import (
    ADDED,
    CHANGED,
    DRIFTED,
    IDENTICAL,
    REMOVED,
    REWRITTEN,
    SIGNATURE,
    WEIGHTS,
    BlockDiff,
    EquationDiff,
    GraphDiff,
    NodesDiff,
)
from symcompile.report.metrics import COMPARED_LEGEND as LEGEND
from symcompile.report.notes import cut

_NODES = 20  # of each kind: added, removed, changed, moved
_COEFFICIENTS = 10
_OUTPUTS = 12
_VIOLATIONS = 30

_KEPT = "\xa0"  # a blank that no line is broken at

_CODES = {
    "title": "1",
    "old": "31",
    "new": "32",
    "old mark": "1;4;31",
    "new mark": "1;4;32",
    "bad": "1;31",
    "good": "1;32",
    "middling": "33",
}
_STYLES = {
    SIGNATURE: "bad",
    CHANGED: "bad",
    ADDED: "new",
    REMOVED: "old",
    DRIFTED: "middling",
    WEIGHTS: "middling",
    REWRITTEN: "good",
    IDENTICAL: "good",
}
_SIGNS = {"-": "old", "+": "new", "~": "middling", ">": "middling"}


def to_text(
    diff: GraphDiff, *, color: bool = False, width: int = 100, all_nodes: bool = False
) -> str:
    """For people: verdict, counts, each block that is not identical, the model, the violations.

    Args:
        color: with ANSI colours; without them carets mark what changed in an equation.
        width: of the lines, as far as they can be broken; at least 60.
        all_nodes: every node that is not the same, not only the first few of each kind.
    """
    page = _Page(max(width, 60), color)
    lines = list(_head(page, diff))
    if different(diff):
        for block in gravest_first(diff):
            lines += [] if quiet(block) else _block(page, block)
        lines += _legend(page, diff)
        lines += _quiet_blocks(page, diff)
        lines += _model(page, diff)
        lines += _graph(page, diff.nodes, all_nodes)
    lines += _notes(page, diff)
    lines += _violations(page, diff)
    return "\n".join(_harmless(line.rstrip()) for line in lines)


def _kept(text: str) -> str:
    """A list that is broken between its items only."""
    return re.sub(r"(?<![,;:]) ", _KEPT, text)


def _harmless(line: str) -> str:
    """Logs of CI take a line that begins with :: for a command."""
    return line.replace("::", ": :", 1) if line.lstrip().startswith("::") else line


class _Page(NamedTuple):
    """What a text is written on."""

    width: int
    color: bool

    def paint(self, style: str, text: str) -> str:
        code = _CODES.get(style)
        return f"\x1b[{code}m{text}\x1b[0m" if self.color and code and text else text

    def wrapped(self, text: str, first: str = "", rest: str = "") -> list[str]:
        lines = textwrap.wrap(
            text, self.width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False
        )
        return [line.replace(_KEPT, " ") for line in lines]

    def heading(self, words: str, style: str, about: str = "") -> list[str]:
        """A title with a line below it; only its words have a colour."""
        line = cut(words + about, self.width)
        shown = self.paint(style, line[: len(words)]) + line[len(words) :]
        return ["", shown, "-" * len(line)]


# --- head and tail -------------------------------------------------------------------------------


def _head(page: _Page, diff: GraphDiff) -> Iterator[str]:
    yield from page.wrapped(f"{side(diff.old)} -> {side(diff.new)}", rest="  ")
    yield page.paint("good" if diff.same else "bad", verdict(diff))
    yield from page.wrapped(_kept(summary(diff)), rest="  ")


def _notes(page: _Page, diff: GraphDiff) -> list[str]:
    found = [line for note in notes(diff) for line in page.wrapped(note, "note: ", "  ")]
    return ["", *found] if found and different(diff) else found


def _violations(page: _Page, diff: GraphDiff) -> Iterator[str]:
    if diff.violations:
        yield from page.heading("not allowed by the rules", "bad", f" ({rules(diff.rules)})")
    for rule in in_order(one.rule for one in diff.violations):
        found = [one for one in diff.violations if one.rule == rule]
        for place, one in enumerate(found[:_VIOLATIONS]):
            lead = plain(rule) if place == 0 else ""
            yield cut(f"  {lead:<12} {name(one.where)}: {plain(one.message)}", page.width)
        if len(found) > _VIOLATIONS:
            yield f"  {'':12} ... {len(found) - _VIOLATIONS:,} more"


# --- blocks --------------------------------------------------------------------------------------


def _block(page: _Page, block: BlockDiff) -> Iterator[str]:
    was = f" (was called {name(block.renamed_from)})" if block.renamed_from is not None else ""
    path = block_name(block.path) if block.path == "." else f"block {name(block.path)}"
    words = f"{path}: {class_title(block.change)}"
    yield from page.heading(words, _STYLES[block.change], was)
    loud, same = parted(block)
    for one in loud:
        yield from _equation(page, one, block.change)
    if same:
        yield f"  {listed([label(one.output) for one in same], _OUTPUTS)}: identical"
    metrics = block_metrics(block)
    together = bool(metrics and len(block.equations) > 1)
    yield from ["  all outputs"] * together
    yield from _rows(page, "    " if together else "  ", block_remarks(block), metrics)


def _legend(page: _Page, diff: GraphDiff) -> list[str]:
    """What the figures are, if any are shown."""
    loud = [block for block in diff.blocks if not quiet(block)]
    every = [m for block in loud for one in block.equations for m in equation_metrics(one)]
    every += [m for block in loud for m in block_metrics(block)]
    shown = {one.name for one in every} & set(EXPLAINED)
    return ["", *page.wrapped(LEGEND)] if shown else []


def _quiet_blocks(page: _Page, diff: GraphDiff) -> list[str]:
    """The identical ones on one line."""
    names = [name(block.path) for block in diff.blocks if quiet(block)]
    if not names:
        return []
    room, shown = page.width - len("identical: , ... 9,999 more"), 0
    while shown < len(names) and room >= len(names[shown]):
        room -= len(names[shown]) + len(", ")
        shown += 1
    line = cut(f"identical: {listed(names, max(shown, 1))}", page.width)
    return ["", line.replace("identical", page.paint("good", "identical"), 1)]


def _equation(page: _Page, one: EquationDiff, said: str) -> Iterator[str]:
    about = "" if one.change == said else f": {class_title(one.change)}"
    yield f"  {label(one.output)}{about}"
    paint = _painted(page) if page.color else None
    for line in equation_lines(one, page.width - 2, paint):
        yield f"  {line}"
    yield from _coefficients(page, one)
    yield from _rows(page, "    ", equation_remarks(one), equation_metrics(one))


def _painted(page: _Page) -> Paint:
    words = {"-": "old", "+": "new"}

    def paint(sign: str, text: str, marked: bool) -> str:
        style = words.get(sign, "")
        return page.paint(f"{style} mark" if marked else style, text)

    return paint


def _coefficients(page: _Page, one: EquationDiff) -> Iterator[str]:
    rows = coefficient_rows(one)
    if not rows:
        return
    shown = [Row("coefficient (#)", "old", "new", "change", 0.0), *rows[:_COEFFICIENTS]]
    sizes = [max(len(row[:4][k]) for row in shown) for k in range(4)]
    place = min(sizes[0], max(page.width - sum(sizes[1:]) - 10, 15))
    for row in shown:
        cells = (row.old.rjust(sizes[1]), row.new.rjust(sizes[2]), row.change.rjust(sizes[3]))
        yield f"    {cut(row.place, place).ljust(place)}  {'  '.join(cells)}"
    rest = rest_of(len(rows) - _COEFFICIENTS, len(one.coefficients) - len(rows))
    if rest:
        yield f"    ... {rest}"


# --- remarks and figures -------------------------------------------------------------------------


def _rows(
    page: _Page, indent: str, remarks: Sequence[Remark], metrics: Sequence[MetricDiff] = ()
) -> Iterator[str]:
    """Names in a column, what is to be said beside them; of the metrics those that moved first."""
    moved = [one for one in metrics if one.old and one.new and one.changed]
    rest = [one for one in metrics if one not in moved]
    word = "unchanged" if rest and rest[0].old and rest[0].new else "figures"
    said = [(word, _kept(", ".join(f"{m.name} {m.old or m.new}" for m in rest)))] * bool(rest)
    rows = [*said, *remarks]
    wide = max([len(one.name) for one in moved] + [len(row[0]) for row in rows], default=0)
    sizes = [max((len(side) for side in sides), default=0) for sides in _sides(moved)]
    for one in moved:
        figures = f"{one.old.rjust(sizes[0])} -> {one.new.ljust(sizes[1])}"
        style = "" if one.good is None else "good" if one.good else "bad"
        yield f"{indent}{one.name:<{wide}}  {figures}  {page.paint(style, one.word)}"
    last = ""
    for first, text in rows:
        lead = f"{indent}{'' if first == last else first:<{wide}}  "
        yield from page.wrapped(text, lead, " " * len(lead))
        last = first


def _sides(metrics: Sequence[MetricDiff]) -> tuple[list[str], list[str]]:
    return [one.old for one in metrics], [one.new for one in metrics]


# --- the model and its graph ---------------------------------------------------------------------


def _model(page: _Page, diff: GraphDiff) -> list[str]:
    remarks = model_remarks(diff.model)
    return [*page.heading("model", "title"), *_rows(page, "  ", remarks)] if remarks else []


def _graph(page: _Page, nodes: NodesDiff, all_nodes: bool) -> Iterator[str]:
    if nodes.same:
        return
    level = f" ({plain(nodes.level)})" if nodes.level else ""
    yield from page.heading(f"graph{level}", "title", f": {node_counts(nodes)}")
    lines = node_lines(nodes)
    for sign, style in _SIGNS.items():
        found = [line for mark, line in lines if mark == sign]
        most = len(found) if all_nodes else _NODES
        for line in found[:most]:
            yield "  " + page.paint(style, cut(f"{sign} {line}", page.width - 2))
        if len(found) > most:
            yield f"  {sign} ... {len(found) - most:,} more"
