"""A comparison as text for a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from symcompile.diff.formats import figures, words
from symcompile.diff.formats.equation_lines import equation_lines
from symcompile.diff.formats.figures import MetricDiff, label, plain
from symcompile.diff.formats.words import Remark
from symcompile.diff.result import CLASSES, BlockDiff, EquationDiff, GraphDiff, NodesDiff
from symcompile.report.metrics import COMPARED_LEGEND
from symcompile.report.plain_text import aligned, cut, wrapped

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
_OF_CLASSES = ("bad", "bad", "new", "old", "middling", "middling", "good", "good")
_STYLES = dict(zip(CLASSES, _OF_CLASSES, strict=True))
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
    notes = [line for note in words.notes(diff) for line in page.wrapped(note, "note: ", "  ")]
    if words.different(diff):
        loud = [block for block in words.gravest_first(diff) if not words.quiet(block)]
        for block in loud:
            lines += _block(page, block)
        lines += _legend(page, loud)
        lines += _quiet_blocks(page, diff.blocks)
        remarks = words.model_remarks(diff.model)
        if remarks:
            lines += [*page.heading("model", "title"), *_rows(page, "  ", remarks)]
        lines += _graph(page, diff.nodes, all_nodes)
        lines += [""] * bool(notes)
    lines += [*notes, *_violations(page, diff)]
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

    def paint_piece(self, sign: str, text: str, marked: bool) -> str:
        """A piece of an equation."""
        style = {"-": "old", "+": "new"}.get(sign, "")
        return self.paint(f"{style} mark" if marked else style, text)

    def wrapped(self, text: str, first: str = "", rest: str = "") -> list[str]:
        return [line.replace(_KEPT, " ") for line in wrapped(text, first, rest, width=self.width)]

    def heading(self, title: str, style: str, about: str = "") -> list[str]:
        """A title with a line below it; only its words have a colour."""
        line = cut(title + about, self.width)
        shown = self.paint(style, line[: len(title)]) + line[len(title) :]
        return ["", shown, "-" * len(line)]


# --- head and tail -------------------------------------------------------------------------------


def _head(page: _Page, diff: GraphDiff) -> Iterator[str]:
    yield from page.wrapped(f"{words.side(diff.old)} -> {words.side(diff.new)}", rest="  ")
    yield page.paint("good" if diff.same else "bad", words.verdict(diff))
    yield from page.wrapped(_kept(words.summary(diff)), rest="  ")


def _violations(page: _Page, diff: GraphDiff) -> Iterator[str]:
    if diff.violations:
        rules = f" ({words.rules(diff.rules)})"
        yield from page.heading("not allowed by the rules", "bad", rules)
    for rule in words.in_order(violation.rule for violation in diff.violations):
        broken = [violation for violation in diff.violations if violation.rule == rule]
        lead = plain(rule)
        for violation in broken[:_VIOLATIONS]:
            where, message = figures.name(violation.where), plain(violation.message)
            yield cut(f"  {lead:<12} {where}: {message}", page.width)
            lead = ""
        if len(broken) > _VIOLATIONS:
            yield f"  {'':12} ... {len(broken) - _VIOLATIONS:,} more"


# --- blocks --------------------------------------------------------------------------------------


def _block(page: _Page, block: BlockDiff) -> Iterator[str]:
    was = block.renamed_from
    path = figures.block_name(block.path)
    yield from page.heading(
        f"{'' if block.path == '.' else 'block '}{path}: {words.class_title(block.change)}",
        _STYLES[block.change],
        "" if was is None else f" (was called {figures.name(was)})",
    )
    loud, same = words.parted(block)
    for equation in loud:
        yield from _equation(page, equation, block.change)
    if same:
        names = [label(equation.output) for equation in same]
        yield f"  {words.listed(names, _OUTPUTS)}: identical"
    metrics = figures.block_metrics(block)
    together = bool(metrics and len(block.equations) > 1)
    yield from ["  all outputs"] * together
    yield from _rows(page, "    " if together else "  ", words.block_remarks(block), metrics)


def _legend(page: _Page, blocks: Sequence[BlockDiff]) -> list[str]:
    """What the figures are, if any are shown."""
    equations = [equation for block in blocks for equation in block.equations]
    metrics = [metric for each in equations for metric in figures.equation_metrics(each)]
    metrics += [metric for block in blocks for metric in figures.block_metrics(block)]
    shown = {metric.name for metric in metrics} & figures.EXPLAINED
    return ["", *page.wrapped(COMPARED_LEGEND)] if shown else []


def _quiet_blocks(page: _Page, blocks: Sequence[BlockDiff]) -> list[str]:
    """The identical ones on one line."""
    names = [figures.name(block.path) for block in blocks if words.quiet(block)]
    if not names:
        return []
    room, shown = page.width - len("identical: , ... 9,999 more"), 0
    while shown < len(names) and room >= len(names[shown]):
        room -= len(names[shown]) + len(", ")
        shown += 1
    line = cut(f"identical: {words.listed(names, max(shown, 1))}", page.width)
    return ["", line.replace("identical", page.paint("good", "identical"), 1)]


def _equation(page: _Page, equation: EquationDiff, said: str) -> Iterator[str]:
    about = "" if equation.change == said else f": {words.class_title(equation.change)}"
    yield f"  {label(equation.output)}{about}"
    paint = page.paint_piece if page.color else None
    for line in equation_lines(equation, page.width - 2, paint):
        yield f"  {line}"
    yield from _coefficients(page, equation)
    remarks = words.equation_remarks(equation)
    yield from _rows(page, "    ", remarks, figures.equation_metrics(equation))


def _coefficients(page: _Page, equation: EquationDiff) -> Iterator[str]:
    rows, rest = words.coefficients(equation, _COEFFICIENTS)
    if not rows:
        return
    shown = [("coefficient (#)", "old", "new", "change"), *(row[:4] for row in rows)]
    beside = sum(max(map(len, column)) for column in list(zip(*shown, strict=True))[1:])
    room = max(page.width - beside - 10, 15)
    for line in aligned([(cut(place, room), *values) for place, *values in shown]):
        yield f"    {line}"
    yield from [f"    ... {rest}"] * bool(rest)


def _rows(
    page: _Page, indent: str, remarks: Sequence[Remark], metrics: Sequence[MetricDiff] = ()
) -> Iterator[str]:
    """Names in a column, what is to be said beside them; of the metrics those that moved first."""
    moved, word, still = words.moved_and_still(metrics)
    rows = [*[(word, _kept(still))] * bool(still), *remarks]
    names = [*(metric.name for metric in moved), *(name for name, _ in rows)]
    wide = max(map(len, names), default=0)
    old = max((len(metric.old) for metric in moved), default=0)
    new = max((len(metric.new) for metric in moved), default=0)
    for metric in moved:
        style = "" if metric.good is None else "good" if metric.good else "bad"
        values = f"{metric.old.rjust(old)} -> {metric.new.ljust(new)}"
        yield f"{indent}{metric.name:<{wide}}  {values}  {page.paint(style, metric.word)}"
    last = ""
    for first, text in rows:
        lead = f"{indent}{'' if first == last else first:<{wide}}  "
        yield from page.wrapped(text, lead, " " * len(lead))
        last = first


# --- the graph -----------------------------------------------------------------------------------


def _graph(page: _Page, nodes: NodesDiff, all_nodes: bool) -> Iterator[str]:
    if nodes.same:
        return
    level = f" ({plain(nodes.level)})" if nodes.level else ""
    yield from page.heading(f"graph{level}", "title", f": {words.node_counts(nodes)}")
    for sign, lines, rest in words.node_lists(nodes, None if all_nodes else _NODES):
        for line in lines:
            yield "  " + page.paint(_SIGNS[sign], cut(f"{sign} {line}", page.width - 2))
        yield from (f"  {sign} {line}" for line in rest)
