"""A comparison as one self-contained page: cards of the blocks, both graphs side by side.

The page loads nothing and runs nothing but its own style and script: a policy within it names
their digests. It is complete without the script.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Sequence

from symcompile._version import __version__
from symcompile.diff.drawing.cards import badge, brief, card, remarks
from symcompile.diff.drawing.escaping import fitting, markup
from symcompile.diff.drawing.graphs import graphs
from symcompile.diff.drawing.style import SCRIPT, STYLE
from symcompile.diff.formats.figures import LEGEND, share
from symcompile.diff.formats.words import (
    Remark,
    gravest_first,
    node_counts,
    notes,
    quiet,
    rules,
    verdict,
)
from symcompile.diff.result import BlockDiff, GraphDiff, ModelDiff, Side, Violation
from symcompile.report.notes import count as of

# Of all cards together, and of any list, in bytes.
_CARDS, _LIST, _NOTES = 500_000, 80_000, 20_000
# Shown at once; the rest is folded.
_VIOLATIONS = 12


def to_html(diff: GraphDiff, *, title: str | None = None) -> str:
    """The whole page as text; its strings are escaped, lone surrogates are gone.

    Args:
        title: of the page; "Comparison of two models" if it is not given.
    """
    blocks = gravest_first(diff)
    anchors = {id(block): f"b{k}" for k, block in enumerate(blocks)}
    loud = [block for block in blocks if not quiet(block)]
    cards = fitting((card(block, anchors[id(block)]) for block in loud), _CARDS)
    linked = {anchors[id(block)] for block in loud[: len(cards)]}

    def link(block: BlockDiff) -> str:
        anchor = anchors.get(id(block), "")
        return f"#{anchor}" if anchor in linked else ""

    picture, style = graphs(diff, link)
    addresses = {block.path: link(block) for block in blocks}
    body = [
        *_head(diff, title or "Comparison of two models"),
        *_violations(diff, addresses),
        *_blocks(cards, len(loud) - len(cards), [block for block in blocks if quiet(block)]),
        picture,
        *_model(diff.model),
        f'<footer class="quiet">{_legend(cards)}<p>symcompile {__version__}</p></footer>',
    ]
    return _page(title or "Comparison of two models", STYLE + style, "".join(body))


def _page(title: str, style: str, body: str) -> str:
    policy = (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(SCRIPT)}';"
        " base-uri 'none'; form-action 'none'"
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{markup(title)}</title><style>{style}</style></head>\n"
        f"<body>{body}<script>{SCRIPT}</script></body></html>\n"
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _legend(cards: Sequence[str]) -> str:
    return f"<p>{markup(LEGEND)}.</p>" if cards else ""


# --- head ----------------------------------------------------------------------------------------


def _head(diff: GraphDiff, title: str) -> Iterator[str]:
    yield f"<header><h1>{markup(title)}</h1>"
    yield f'<p>{_side(diff.old)}<span class="arrow-word">→</span>{_side(diff.new)}</p>'
    kind, sign = ("good", "✓") if diff.same else ("bad", "✗")
    yield f'<p><span class="verdict {kind}">{sign} {markup(verdict(diff))}</span></p>'
    chips = [badge(change, count) for change, count in diff.counts().items()]
    counts = node_counts(diff.nodes)
    if counts:
        chips.append(f'<a class="badge changed" href="#graph">graph: {counts}</a>')
    yield f'<div class="chips">{"".join(chips)}</div>' if chips else ""
    yield f'<p class="quiet">Rules: {markup(rules(diff.rules))}.</p></header>'
    told = fitting((f"<p>{markup(note)}</p>" for note in notes(diff)), _NOTES)
    if told:
        yield f'<div class="notes">{"".join(told)}</div>'


def _side(side: Side) -> str:
    return (
        f"<code>{markup(side.source, 300)}</code>"
        f' <span class="quiet">({markup(side.kind, 40)})</span>'
    )


def _violations(diff: GraphDiff, addresses: dict[str, str]) -> Iterator[str]:
    if not diff.violations:
        return
    count = len(diff.violations)
    yield f'<h2>Not allowed by the rules <span class="quiet">{count:,}</span></h2>'
    rows = [_violation(one, addresses) for one in diff.violations]
    heads = ("rule", "where", "what")
    yield _listed(heads, rows[:_VIOLATIONS], min(count, _VIOLATIONS))
    if count > _VIOLATIONS:
        rest = _listed(heads, rows[_VIOLATIONS:], count - _VIOLATIONS)
        yield f"<details><summary>{count - _VIOLATIONS:,} more</summary>{rest}</details>"


def _violation(one: Violation, addresses: dict[str, str]) -> str:
    where = f"<code>{markup(one.where, 200)}</code>"
    address = addresses.get(one.where) or addresses.get(one.where.rpartition("[")[0])
    address = "#graph" if one.where == "graph" and not address else address
    linked = f'<a href="{address}">{where}</a>' if address else where
    return f"<tr><td>{markup(one.rule)}</td><td>{linked}</td><td>{markup(one.message)}</td></tr>"


# --- blocks --------------------------------------------------------------------------------------


def _blocks(cards: Sequence[str], missing: int, same: Sequence[BlockDiff]) -> Iterator[str]:
    if not (cards or same):
        return
    yield '<h2 id="blocks">Blocks</h2>'
    yield from cards
    if missing:
        yield f'<p class="quiet">and {missing:,} more blocks that are not identical</p>'
    if same:
        yield f"<details><summary>{of(len(same), 'identical block')}</summary>"
        yield _listed(("block", "equation"), map(brief, same), len(same))
        yield "</details>"


# --- the model -----------------------------------------------------------------------------------


def _model(model: ModelDiff) -> Iterator[str]:
    rows = [_fact(fact.name, fact.old, fact.new) for fact in model.facts]
    told = [*_differences(model), *(("signature", text) for text in model.signature)]
    if not (rows or told or model.weights):
        return
    yield '<h2 id="model">Model</h2>'
    if rows:
        yield _listed(("", "old", "new"), rows, len(rows))
    yield remarks(told)
    yield from _weights(model)


def _differences(model: ModelDiff) -> Iterator[Remark]:
    for word, size in (
        ("difference of the outputs", model.output_difference),
        ("difference of the equations", model.probe_difference),
    ):
        if size is not None:
            most = f"up to {share(size)} of the largest old value" if size else "none"
            yield word, f"{most}, on inputs that both have seen"


def _fact(name: str, old: str, new: str) -> str:
    kind = ' class="moved"' if old != new else ""
    sign = " ≠" if old != new else ""
    return (
        f"<tr{kind}><td>{markup(name)}{sign}</td><td>{markup(old)}</td><td>{markup(new)}</td></tr>"
    )


def _weights(model: ModelDiff) -> Iterator[str]:
    if not model.weights:
        return
    count = len(model.weights)
    opened = " open" if count <= 12 else ""
    rows = (
        f"<tr><td><code>{markup(name, 200)}</code></td><td>{markup(what, 400)}</td></tr>"
        for name, what in model.weights
    )
    yield f"<details{opened}><summary>{of(count, 'weight')} not the same</summary>"
    yield _listed(("weight", "what"), rows, count)
    yield "</details>"


def _listed(heads: Sequence[str], rows: Iterable[str], count: int) -> str:
    """A table with the rows that there is room for."""
    shown = fitting(rows, _LIST)
    head = "".join(f"<th>{one}</th>" for one in heads)
    more = count - len(shown)
    rest = f'<p class="quiet">and {more:,} more</p>' if more > 0 else ""
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(shown)}</tbody></table></div>{rest}"
    )
