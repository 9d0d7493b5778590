"""A comparison as GitHub-flavoured Markdown, for a comment on a pull request or a job summary.

What comes from files stands in code spans and fences, in which GitHub neither interprets markup
nor links names, numbers and addresses.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from html import escape

from symcompile.diff.formats.equation_lines import equation_lines
from symcompile.diff.formats.figures import (
    MetricDiff,
    block_metrics,
    block_name,
    equation_metrics,
    label,
    name,
    plain,
    totals,
)
from symcompile.diff.formats.fitting import Part, fitted
from symcompile.diff.formats.words import (
    Remark,
    block_remarks,
    class_title,
    coefficient_rows,
    different,
    equation_remarks,
    gravest_first,
    largest_change,
    listed,
    model_remarks,
    node_counts,
    node_lines,
    notes,
    parted,
    quiet,
    rest_of,
    rules,
    summary,
    verdict,
)
from symcompile.diff.result import BlockDiff, EquationDiff, GraphDiff, NodesDiff, Side
from symcompile.report.metrics import COMPARED_LEGEND as LEGEND
from symcompile.report.notes import cut

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


def _parts(diff: GraphDiff) -> Iterator[Part]:
    for note in notes(diff):
        yield Part(f"> Note: {sentence(cut(note, _SENTENCE))}", 1, "notes")
    loud = [block for block in gravest_first(diff) if not quiet(block)]
    yield from _table(loud)
    yield from _violations(diff)
    if different(diff):
        for place, block in enumerate(loud):
            yield Part(_details(block, place < _OPEN and not diff.same), 6, "details of blocks")
        yield from _around(diff)


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
    found: list[str] = []
    code = ""
    for word in plain(text).split():
        if _WORD.fullmatch(word) and not _open(code):
            found += [*_spans(code), word.replace("->", "&rarr;")]
            code = ""
            continue
        code = f"{code} {word}" if code else word
        if word[-1] in ",;:" and not _open(code):
            found += _spans(code)
            code = ""
    return " ".join([*found, *_spans(code)])


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


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _arrow(old: str, new: str) -> str:
    return new if old == new else f"{old} &rarr; {new}" if old and new else old or new


# --- head ----------------------------------------------------------------------------------------


def _head(diff: GraphDiff, title: str) -> Part:
    mark = "&#x2705;" if diff.same else "&#x274C;"
    lines = [
        MARKER,
        f"## {mark} {sentence(cut(plain(title), _NAMES))}: {sentence(verdict(diff))}",
        f"{_side(diff.old)} &rarr; {_side(diff.new)}",
        sentence(summary(diff)),
    ]
    return Part(f"{lines[0]}\n" + "\n\n".join(lines[1:]), 0)


def _side(side: Side) -> str:
    kind = "" if side.kind == side.source else f" ({sentence(cut(plain(side.kind), _NAMES))})"
    return span(name(side.source)) + kind


def _violations(diff: GraphDiff) -> Iterator[Part]:
    if not diff.violations:
        return
    yield Part(f"**Not allowed by the rules** ({sentence(rules(diff.rules))}):", 2, "violations")
    yield Part(f"{_row(['rule', 'where', 'found'])}\n|:--|:--|:--|", 2, "violations")
    for one in diff.violations[:_ROWS]:
        found = span(cut(plain(one.message), _NAMES))
        row = _row([sentence(cut(plain(one.rule), _NAMES)), span(name(one.where)), found])
        yield Part(row, 3, "violations", "\n")
    more = len(diff.violations) - _ROWS
    if more > 0:
        yield Part(_row([f"... {more:,} more", "", ""]), 3, "violations", "\n")


# --- blocks --------------------------------------------------------------------------------------


def _table(blocks: Sequence[BlockDiff]) -> Iterator[Part]:
    if not blocks:
        return
    heads = ["block", "class", "R2", "complexity", "largest coefficient change"]
    yield Part(f"{_row(heads)}\n|:--|:--|:--|:--|--:|", 4, "rows of the table")
    for block in blocks[:_ROWS]:
        figures = [_judged(one) for one in totals(block)]
        first = [span(block_name(block.path)), class_title(block.change)]
        yield Part(_row([*first, *figures, largest_change(block)]), 5, "rows of the table", "\n")
    more = len(blocks) - _ROWS
    if more > 0:
        yield Part(_row([f"... {more:,} more", "", "", "", ""]), 5, "rows of the table", "\n")


def _judged(one: MetricDiff) -> str:
    return _arrow(one.old, one.new) + (f" ({one.word})" if one.word else "")


def _details(block: BlockDiff, unfolded: bool) -> str:
    was = block.renamed_from
    about = f" (was called {html_code(name(was))})" if was is not None else ""
    head = f"{html_code(block_name(block.path))}: {class_title(block.change)}{about}"
    loud, same = parted(block)
    body = [part for one in loud[:_EQUATIONS] for part in _equation(one, block.change)]
    if len(loud) > _EQUATIONS:
        body.append(f"... {len(loud) - _EQUATIONS:,} more equations")
    names = listed([label(one.output) for one in same], _EQUATIONS)
    body += [f"{names}: identical"] * bool(same)
    metrics = block_metrics(block)
    body += ["**All outputs**"] * bool(metrics and len(block.equations) > 1)
    body += [_metrics(metrics), _remarks(block_remarks(block))]
    return folded(head, body, unfolded)


def _equation(one: EquationDiff, said: str) -> list[str]:
    about = "" if one.change == said else f": {class_title(one.change)}"
    lines = equation_lines(one, _WIDTH)
    return [
        f"**{label(one.output)}**{about}",
        fence(lines, "diff"),
        _coefficients(one),
        _metrics(equation_metrics(one)),
        _remarks(equation_remarks(one)),
    ]


def _coefficients(one: EquationDiff) -> str:
    rows = coefficient_rows(one)
    if not rows:
        return ""
    lines = [_row(["coefficient (#)", "old", "new", "change"]), "|:--|--:|--:|--:|"]
    lines += [_row([span(cut(row.place, _NAMES)), *row[1:4]]) for row in rows[:_COEFFICIENTS]]
    rest = rest_of(len(rows) - _COEFFICIENTS, len(one.coefficients) - len(rows))
    lines += [_row([f"... {rest}", "", "", ""])] * bool(rest)
    return "\n".join(lines)


def _metrics(metrics: Sequence[MetricDiff]) -> str:
    """A table of what changed, else all of it in a line."""
    moved = [one for one in metrics if one.old and one.new and one.changed]
    rest = ", ".join(
        f"{_safe(one.name)} {one.old or one.new}" for one in metrics if one not in moved
    )
    both = all(one.old and one.new for one in metrics)
    rest = f"Unchanged: {rest}" if rest and both else rest[:1].upper() + rest[1:]
    if not moved:
        return rest
    lines = [_row(["figure", "old", "new", ""]), "|:--|--:|--:|:--|"]
    lines += [_row([_safe(one.name), one.old, one.new, one.word]) for one in moved]
    return "\n".join(lines) + (f"\n\n{rest}" if rest else "")


def _safe(words: str) -> str:
    """The name of a figure, which is ours but may have bars."""
    return words.replace("|", "\\|")


def _remarks(remarks: Iterable[Remark]) -> str:
    shown = ((sentence(first), sentence(cut(text, _SENTENCE))) for first, text in remarks)
    return "\n".join(f"- **{first}**: {text}" for first, text in shown)


# --- around the blocks ---------------------------------------------------------------------------


def _around(diff: GraphDiff) -> Iterator[Part]:
    remarks = model_remarks(diff.model)
    if remarks:
        yield Part(f"**Model**\n\n{_remarks(remarks)}", 5, "facts of the model")
    if not diff.nodes.same:
        yield Part(_graph(diff.nodes), 8, "list of nodes")
    names = [span(name(block.path)) for block in diff.blocks if quiet(block)]
    if names:
        more = f", ... {len(names) - _NAMES:,} more" if len(names) > _NAMES else ""
        body = ", ".join(names[:_NAMES]) + more
        yield Part(folded(f"{len(names):,} identical", [body]), 7, "identical blocks")
    if diff.blocks:
        yield Part(f"<sub>{LEGEND}.</sub>", 4, "legend")


def _graph(nodes: NodesDiff) -> str:
    level = f" ({html_code(nodes.level)})" if nodes.level else ""
    lines = []
    for sign in "-+~>":
        found = [line for mark, line in node_lines(nodes) if mark == sign]
        # Diffs of GitHub colour lines with these three signs.
        shown = sign if sign in "-+" else "!"
        lines += [f"{shown} {line}" for line in found[:_NODES]]
        if len(found) > _NODES:
            lines.append(f"{shown} ... {len(found) - _NODES:,} more")
    return folded(f"Graph{level}: {node_counts(nodes)}", [fence(lines, "diff")])
