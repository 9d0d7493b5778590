"""A comparison as GitHub-flavoured Markdown, for a comment on a pull request or a job summary.

What comes from files stands in code spans and fences, in which GitHub neither interprets markup
nor links names, numbers and addresses.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import NamedTuple

from symcompile.diff.formats import figures, words
from symcompile.diff.formats.equation_lines import equation_lines
from symcompile.diff.formats.figures import MetricDiff, label, plain
from symcompile.diff.formats.words import Remark
from symcompile.diff.result import BlockDiff, EquationDiff, GraphDiff, NodesDiff, Side
from symcompile.report.layout import cut
from symcompile.report.metrics import COMPARED_LEGEND

# A bot finds its own comment by this line.
MARKER = "<!-- symcompile diff -->"

_WIDTH = 110
_ROWS = 50  # of the tables of blocks and violations
_OPEN = 3  # blocks whose details are unfolded
_EQUATIONS = 12
_COEFFICIENTS = 10
_NODES = 50
_NAMES = 100
_SENTENCE = 400

# A word that Markdown and GitHub leave alone: letters, or a number.
_WORD = re.compile(
    r"\(?(?:[a-z]+(?:['-][a-z]+)*|[+-]?[0-9][0-9.,]*(?:e[+-]?[0-9]+)?|R2|L2|%|->|\.\.\.)[,;:.)]*",
    re.IGNORECASE,
)


def to_markdown(diff: GraphDiff, *, limit: int = 65_000, title: str = "Equations") -> str:
    """Verdict, a table of the blocks, details to unfold; at most `limit` characters.

    What does not fit is left out as a whole, and named at the end: lists of nodes first, then of
    identical blocks, then the details of blocks, those of the least grave first. A limit under
    1,000 can't be kept to.
    """
    return fitted([_head(diff, title), *_parts(diff)], limit)


def _parts(diff: GraphDiff) -> Iterator[PagePart]:
    for note in words.notes(diff):
        yield PagePart(f"> Note: {sentence(cut(note, _SENTENCE))}", 1, "notes")
    loud = [block for block in words.gravest_first(diff) if not words.quiet(block)]
    yield from _blocks(loud)
    yield from _violations(diff)
    if words.different(diff):
        for place, block in enumerate(loud):
            yield PagePart(_details(block, place < _OPEN and not diff.same), 6, "details of blocks")
        yield from _around(diff)


# --- leaving parts out until it fits -------------------------------------------------------------


class PagePart(NamedTuple):
    """A piece of a page that is shown as a whole or not at all.

    Attributes:
        rank: those of the highest rank go first, among them the last; 0 stays.
        what: what is missing without it, to be counted: "row", "list of nodes".
        glue: what stands between it and the part before.
    """

    text: str
    rank: int
    what: str = ""
    glue: str = "\n\n"


def fitted(parts: Sequence[PagePart], limit: int) -> str:
    """The parts on one page of at most `limit` characters, and a line on what was left out."""
    order = sorted(range(len(parts)), key=lambda k: (parts[k].rank, k))
    size = sum(len(part.text) + len(part.glue) for part in parts)
    missing: Counter[str] = Counter()
    while order and parts[order[-1]].rank and size + len(left_out(missing)) > limit:
        part = parts[order.pop()]
        size -= len(part.text) + len(part.glue)
        missing[part.what] += 1
    page = ""
    for part in (parts[k] for k in sorted(order)):
        page += (part.glue if page else "") + part.text
    return page + left_out(missing)


def left_out(missing: Counter[str]) -> str:
    if not missing:
        return ""
    words = [f"{what} ({n:,})" if n > 1 else what for what, n in sorted(missing.items())]
    return f"\n\n_Left out for want of room: {', '.join(words)}._"


# --- text in Markdown ----------------------------------------------------------------------------


def span(text: str) -> str:
    """A code span with the text as it is, also inside of a table."""
    # Entities mean nothing in a code span, and a backslash helps some readers of tables only.
    shown = plain(text).replace("|", "\N{BROKEN BAR}")
    if not shown.strip():
        shown = "(blank)"
    runs = [len(run) for run in re.findall("`+", shown)]
    mark = "`" * (max(runs, default=0) + 1)
    pad = " " if shown[0] in "` " or shown[-1] in "` " else ""
    return f"{mark}{pad}{shown}{pad}{mark}"


def sentence(text: str) -> str:
    """Plain words as they are, all others in code spans; neighbours share one."""
    shown: list[str] = []
    code = ""
    for word in plain(text).split():
        if _WORD.fullmatch(word) and not _open(code):
            shown += [*_spans(code), word.replace("->", "&rarr;")]
            code = ""
            continue
        code = f"{code} {word}" if code else word
        if word[-1] in ",;:" and not _open(code):
            shown += _spans(code)
            code = ""
    return " ".join([*shown, *_spans(code)])


def _open(code: str) -> bool:
    """Whether a bracket is open: what follows belongs to it."""
    return any(code.count(a) > code.count(b) for a, b in ("()", "[]", "{}"))


def _spans(code: str) -> list[str]:
    bare = code.rstrip(",;:")
    return [span(bare) + code[len(bare) :]] if bare else [span(code)] * bool(code)


def fence(lines: Iterable[str], kind: str = "") -> str:
    """A fenced block that no line inside of it can end."""
    text = "\n".join(lines)
    runs = [len(run) for run in re.findall("`+", text)]
    mark = "`" * max([3, *(length + 1 for length in runs)])
    return f"{mark}{kind}\n{text}\n{mark}"


def folded(head: str, body: Iterable[str], unfolded: bool = False) -> str:
    """What is shown after a click; `head` is HTML."""
    state = " open" if unfolded else ""
    inside = "\n\n".join(part for part in body if part)
    return f"<details{state}><summary>{head}</summary>\n\n{inside}\n\n</details>"


def html_code(text: str) -> str:
    """A name inside of HTML, where Markdown has no say."""
    return f"<code>{escape(plain(text))}</code>"


# --- head ----------------------------------------------------------------------------------------


def _head(diff: GraphDiff, title: str) -> PagePart:
    mark = "&#x2705;" if diff.same else "&#x274C;"
    lines = [
        MARKER,
        f"## {mark} {sentence(cut(plain(title), _NAMES))}: {sentence(words.verdict(diff))}",
        f"{_side(diff.old)} &rarr; {_side(diff.new)}",
        sentence(words.summary(diff)),
    ]
    return PagePart(f"{lines[0]}\n" + "\n\n".join(lines[1:]), 0)


def _side(side: Side) -> str:
    kind = "" if side.kind == side.source else f" ({sentence(cut(plain(side.kind), _NAMES))})"
    return span(figures.name(side.source)) + kind


def _violations(diff: GraphDiff) -> Iterator[PagePart]:
    if not diff.violations:
        return
    rules = sentence(words.rules(diff.rules))
    yield PagePart(f"**Not allowed by the rules** ({rules}):", 2, "violations")
    rows = [
        [
            sentence(cut(plain(violation.rule), _NAMES)),
            span(figures.name(violation.where)),
            span(cut(plain(violation.message), _NAMES)),
        ]
        for violation in diff.violations[:_ROWS]
    ]
    more = len(diff.violations) - _ROWS
    yield from _parted(_table(["rule", "where", "found"], rows, more), 2, "violations")


# --- tables --------------------------------------------------------------------------------------


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _table(
    heads: Sequence[str], rows: Iterable[Sequence[str]], rest: int | str = "", right: str = ""
) -> list[str]:
    """Lines: the head, the rows, and what is missing; `right` has the columns of figures."""
    sides = ("--:" if str(column) in right else ":--" for column in range(len(heads)))
    lines = [f"{_row(heads)}\n|{'|'.join(sides)}|", *map(_row, rows)]
    if isinstance(rest, int):
        rest = f"{rest:,} more" if rest > 0 else ""
    return lines + [_row([f"... {rest}", *[""] * (len(heads) - 1)])] * bool(rest)


def _parted(table: Sequence[str], rank: int, what: str) -> Iterator[PagePart]:
    """A table whose rows may be left out one by one."""
    yield PagePart(table[0], rank, what)
    yield from (PagePart(row, rank + 1, what, "\n") for row in table[1:])


# --- blocks --------------------------------------------------------------------------------------


def _blocks(blocks: Sequence[BlockDiff]) -> Iterator[PagePart]:
    if not blocks:
        return
    rows = [
        [
            span(figures.block_name(block.path)),
            words.class_title(block.change),
            *map(_judged, figures.totals(block)),
            words.largest_change(block),
        ]
        for block in blocks[:_ROWS]
    ]
    heads = ["block", "class", "R2", "complexity", "largest coefficient change"]
    yield from _parted(_table(heads, rows, len(blocks) - _ROWS, "4"), 4, "rows of the table")


def _judged(metric: MetricDiff) -> str:
    old, new = metric.old, metric.new
    shown = new if old == new else f"{old} &rarr; {new}" if old and new else old or new
    return shown + (f" ({metric.word})" if metric.word else "")


def _details(block: BlockDiff, unfolded: bool) -> str:
    was = block.renamed_from
    about = f" (was called {html_code(figures.name(was))})" if was is not None else ""
    head = f"{html_code(figures.block_name(block.path))}: {words.class_title(block.change)}{about}"
    loud, same = words.parted(block)
    body = [part for shown in loud[:_EQUATIONS] for part in _equation(shown, block.change)]
    if len(loud) > _EQUATIONS:
        body.append(f"... {len(loud) - _EQUATIONS:,} more equations")
    names = words.listed([label(equation.output) for equation in same], _EQUATIONS)
    body += [f"{names}: identical"] * bool(same)
    metrics = figures.block_metrics(block)
    body += ["**All outputs**"] * bool(metrics and len(block.equations) > 1)
    body += [_metrics(metrics), _remarks(words.block_remarks(block))]
    return folded(head, body, unfolded)


def _equation(equation: EquationDiff, said: str) -> list[str]:
    about = "" if equation.change == said else f": {words.class_title(equation.change)}"
    rows = words.coefficient_rows(equation)
    rest = words.rest_of(len(rows) - _COEFFICIENTS, len(equation.coefficients) - len(rows))
    shown = [(span(cut(row.place, _NAMES)), *row[1:4]) for row in rows[:_COEFFICIENTS]]
    heads = ["coefficient (#)", "old", "new", "change"]
    return [
        f"**{label(equation.output)}**{about}",
        fence(equation_lines(equation, _WIDTH), "diff"),
        "\n".join(_table(heads, shown, rest, "123")) if rows else "",
        _metrics(figures.equation_metrics(equation)),
        _remarks(words.equation_remarks(equation)),
    ]


def _metrics(metrics: Sequence[MetricDiff]) -> str:
    """A table of what changed, else all of it in a line."""
    # The name of a figure is ours, but may have bars.
    metrics = [metric._replace(name=metric.name.replace("|", "\\|")) for metric in metrics]
    moved = [metric for metric in metrics if metric.old and metric.new and metric.changed]
    still = [metric for metric in metrics if metric not in moved]
    rest = ", ".join(f"{metric.name} {metric.old or metric.new}" for metric in still)
    both = all(metric.old and metric.new for metric in metrics)
    rest = f"Unchanged: {rest}" if rest and both else rest[:1].upper() + rest[1:]
    rows = [(metric.name, metric.old, metric.new, metric.word) for metric in moved]
    table = "\n".join(_table(["figure", "old", "new", ""], rows, "", "12")) if rows else ""
    return "\n\n".join(part for part in (table, rest) if part)


def _remarks(remarks: Iterable[Remark]) -> str:
    shown = ((sentence(first), sentence(cut(text, _SENTENCE))) for first, text in remarks)
    return "\n".join(f"- **{first}**: {text}" for first, text in shown)


# --- around the blocks ---------------------------------------------------------------------------


def _around(diff: GraphDiff) -> Iterator[PagePart]:
    remarks = words.model_remarks(diff.model)
    if remarks:
        yield PagePart(f"**Model**\n\n{_remarks(remarks)}", 5, "facts of the model")
    if not diff.nodes.same:
        yield PagePart(_graph(diff.nodes), 8, "list of nodes")
    names = [span(figures.name(block.path)) for block in diff.blocks if words.quiet(block)]
    if names:
        more = f", ... {len(names) - _NAMES:,} more" if len(names) > _NAMES else ""
        body = ", ".join(names[:_NAMES]) + more
        yield PagePart(folded(f"{len(names):,} identical", [body]), 7, "identical blocks")
    if diff.blocks:
        yield PagePart(f"<sub>{COMPARED_LEGEND}.</sub>", 4, "legend")


def _graph(nodes: NodesDiff) -> str:
    level = f" ({html_code(nodes.level)})" if nodes.level else ""
    lines = []
    for sign in "-+~>":
        rows = [line for mark, line in words.node_lines(nodes) if mark == sign]
        # Diffs of GitHub colour lines with these three signs.
        shown = sign if sign in "-+" else "!"
        lines += [f"{shown} {line}" for line in rows[:_NODES]]
        if len(rows) > _NODES:
            lines.append(f"{shown} ... {len(rows) - _NODES:,} more")
    return folded(f"Graph{level}: {words.node_counts(nodes)}", [fence(lines, "diff")])
