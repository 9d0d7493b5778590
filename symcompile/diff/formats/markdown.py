"""A comparison as GitHub-flavoured Markdown, for a comment on a pull request or a job summary.

Its pieces are those of `pages/comment.md.j2`. What comes from files stands in code spans and
fences, in which GitHub neither interprets markup nor links names, numbers and addresses.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from html import escape
from typing import Any, NamedTuple

from markupsafe import Markup

from symcompile.diff.formats import figures, words
from symcompile.diff.formats.equation_lines import equation_lines
from symcompile.diff.formats.figures import label, plain
from symcompile.diff.result import GraphDiff, NodesDiff
from symcompile.report.metrics import COMPARED_LEGEND
from symcompile.report.plain_text import cut
from symcompile.report.templates import environment

# A bot finds its own comment by this line.
MARKER = "<!-- symcompile diff -->"

_OPEN = 3  # blocks whose details are unfolded
_NODES = 50

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
    parts = [part._replace(text=str(part.text).strip("\n")) for part in _parts(diff, title)]
    return fitted(parts, limit)


def _parts(diff: GraphDiff, title: str) -> Iterator[PagePart]:
    show = _templates().get_template("comment.md.j2").module
    yield PagePart(show.head(diff, title), 0)
    yield from (PagePart(show.note(note), 1, "notes") for note in words.notes(diff))
    loud = [block for block in words.gravest_first(diff) if not words.quiet(block)]
    if loud:
        yield from _table(show.blocks(loud), 4, "rows of the table")
    if diff.violations:
        yield PagePart(show.rules(diff.rules), 2, "violations")
        yield from _table(show.violations(diff.violations), 2, "violations")
    if not words.different(diff):
        return
    for place, block in enumerate(loud):
        unfolded = place < _OPEN and not diff.same
        yield PagePart(show.details(block, unfolded), 6, "details of blocks")
    if remarks := words.model_remarks(diff.model):
        yield PagePart(show.model(remarks), 5, "facts of the model")
    if not diff.nodes.same:
        yield PagePart(show.graph(diff.nodes), 8, "list of nodes")
    if names := [figures.name(block.path) for block in diff.blocks if words.quiet(block)]:
        yield PagePart(show.identical(names), 7, "identical blocks")
    if diff.blocks:
        yield PagePart(show.legend(), 4, "legend")


def _table(table: str, rank: int, what: str) -> Iterator[PagePart]:
    """A table whose rows may be left out one by one."""
    head, sides, *rows = table.strip("\n").split("\n")
    yield PagePart(f"{head}\n{sides}", rank, what)
    yield from (PagePart(row, rank + 1, what, "\n") for row in rows)


@cache
def _templates() -> Any:
    """With everything that the templates call."""
    templates = environment(
        __package__,
        lambda text: Markup(sentence(text)),
        barred=lambda text: Markup(text.replace("|", "\\|")),
        code=lambda text: Markup(span(text)),
        cut=cut,
        html_code=html_code,
        label=label,
        ours=Markup,
        paragraphs=paragraphs,
        plain=plain,
    )
    templates.globals |= {"words": words, "figures": figures, "fence": fence}
    templates.globals |= {"equation_lines": equation_lines, "node_lines": _node_lines}
    templates.globals |= {"marker": Markup(MARKER), "metrics_legend": Markup(COMPARED_LEGEND)}
    return templates


def _node_lines(nodes: NodesDiff) -> Iterator[str]:
    for sign, lines, rest in words.node_lists(nodes, _NODES):
        # Diffs of GitHub colour lines with these three signs.
        shown = sign if sign in "-+" else "!"
        yield from (f"{shown} {line}" for line in [*lines, *rest])


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


def fence(lines: Iterable[str], kind: str = "") -> Markup:
    """A fenced block that no line inside of it can end."""
    text = "\n".join(lines)
    runs = [len(run) for run in re.findall("`+", text)]
    mark = "`" * max([3, *(length + 1 for length in runs)])
    return Markup(f"{mark}{kind}\n{text}\n{mark}")


def paragraphs(text: str) -> Markup:
    """With a blank line between two of them, however many a template has left."""
    return Markup(re.sub("\n{3,}", "\n\n", text.strip("\n")))


def html_code(text: str) -> Markup:
    """A name inside of HTML, where Markdown has no say."""
    return Markup(f"<code>{escape(plain(text))}</code>")
