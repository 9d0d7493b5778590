"""Sentences on a comparison that several formats share, and what of it is worth showing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from symcompile.diff.formats.figures import (
    LONG,
    apart,
    block_metrics,
    equation_metrics,
    figure,
    known,
    name,
    percent,
    plain,
    share,
)
from symcompile.diff.result import (
    CLASSES,
    IDENTICAL,
    REWRITTEN,
    BlockDiff,
    Coefficient,
    EquationDiff,
    GraphDiff,
    ModelDiff,
    NodeChange,
    NodesDiff,
    Side,
)
from symcompile.diff.rules import CATEGORIES, Rules
from symcompile.diff.snapshot import NOT_MEASURED, Node
from symcompile.report.notes import count

_NAMES = 5

# What a sentence is about, and the sentence.
Remark = tuple[str, str]


# --- equations -----------------------------------------------------------------------------------


class Row(NamedTuple):
    """A coefficient that changed, as text."""

    place: str
    old: str
    new: str
    change: str
    relative: float


def coefficient_rows(one: EquationDiff) -> list[Row]:
    """The coefficients that changed, the largest relative change first."""
    moved = [c for c in one.coefficients if c.old != c.new]
    return [_row(c) for c in sorted(moved, key=_size, reverse=True)]


def _row(c: Coefficient) -> Row:
    old, new = apart(figure, c.old, c.new, 6, 17)
    return Row(plain(c.place), old, new, percent(c.relative), c.relative)


def rest_of(more: int, unmoved: int) -> str:
    """What a table of coefficients does not show: "3 more, 2 unchanged"."""
    words = [f"{more:,} more"] * (more > 0) + [f"{unmoved:,} unchanged"] * (unmoved > 0)
    return ", ".join(words)


def _size(c: Coefficient) -> float:
    return abs(c.relative) if known(c.relative) else -1.0


def largest_change(block: BlockDiff) -> str:
    """The largest relative change of any coefficient, "" where none changed."""
    moved = [c for one in block.equations for c in one.coefficients if c.old != c.new]
    return percent(max(moved, key=_size).relative) if moved else ""


def equation_remarks(one: EquationDiff) -> list[Remark]:
    """What is to be said of an equation beside its figures."""
    found = []
    if known(one.difference) and one.points and one.old and one.new:
        found.append(("values", _values(one)))
    if one.evidence:
        found.append(("evidence", plain(one.evidence)))
    accuracy = one.new.accuracy if one.new else NOT_MEASURED
    error, linear = accuracy.relative_l2, accuracy.linear
    if error is not None and linear is not None and error > linear:
        found.append(("warning", f"worse than a linear map, whose relative L2 is {figure(linear)}"))
    return found


def untouched(one: EquationDiff) -> bool:
    """Whether there is nothing to say of an equation but that it is identical."""
    return one.change == IDENTICAL and not any(found.changed for found in equation_metrics(one))


def parted(block: BlockDiff) -> tuple[list[EquationDiff], list[EquationDiff]]:
    """Equations of which there is something to say, and those that are merely identical."""
    loud = [equation for equation in block.equations if not untouched(equation)]
    return loud, [equation for equation in block.equations if untouched(equation)]


def _values(one: EquationDiff) -> str:
    on = f"on {count(one.points, 'point')}"
    if one.difference == 0 or one.change in (REWRITTEN, IDENTICAL):
        return f"the same up to rounding {on}"
    return f"differ by up to {share(one.difference)} of the largest old value {on}"


# --- blocks --------------------------------------------------------------------------------------


def class_title(change: str) -> str:
    """A class without its comma, for lists."""
    return "rewritten (same function)" if change == REWRITTEN else plain(change)


def gravest_first(diff: GraphDiff) -> list[BlockDiff]:
    """The blocks in the order of CLASSES, among themselves as they are."""
    return sorted(diff.blocks, key=lambda block: CLASSES.index(block.change))


def quiet(block: BlockDiff) -> bool:
    """Whether there is nothing to say of a block but that it is identical."""
    if block.change != IDENTICAL or block.renamed_from is not None or block.signature:
        return False
    moved = any(metric.changed for metric in block_metrics(block))
    old, new = block.both("engine", "")
    if moved or old != new or not all(map(untouched, block.equations)):
        return False
    # The note on a neural block says why it is neural.
    return (block.new is not None and block.new.status == "neural") or not block.notes


def block_remarks(block: BlockDiff) -> list[Remark]:
    """What is to be said of a block beside its equations."""
    found = [("signature", plain(sentence)) for sentence in block.signature]
    old, new = map(plain, block.both("status", ""))
    if old and new and old != new:
        found.append(("status", f"{old} -> {new}"))
    searched = old == new == "symbolic"
    old, new = map(plain, block.both("engine", ""))
    if (old and new) or (searched and (old or new)):
        engines = dict.fromkeys((old or "unknown", new or "unknown"))
        found.append(("engine", " -> ".join(engines)))
    elif old or new:
        found.append(("engine", old or new))
    return found + [("note", plain(sentence)) for sentence in block.notes]


# --- model and graph -----------------------------------------------------------------------------


def model_remarks(model: ModelDiff) -> list[Remark]:
    """What is to be said of the models as wholes."""
    found = [("signature", plain(sentence)) for sentence in model.signature]
    found += [
        (name(fact.name), f"{name(fact.old)} -> {name(fact.new)}")
        for fact in model.facts
        if fact.old != fact.new
    ]
    if known(model.output_difference) and model.output_difference is not None:
        size = model.output_difference
        moved = f"moves by up to {share(size)} of its largest old value"
        found.append(("output", f"{moved if size else 'the same'} on the rows that both have seen"))
    return found + _weights(model)


def model_differs(model: ModelDiff) -> bool:
    facts = any(fact.old != fact.new for fact in model.facts)
    return bool(facts or model.signature or model.weights or model.output_difference)


def _weights(model: ModelDiff) -> list[Remark]:
    """Names by what became of them; a sentence on one weight stands alone."""
    kinds = ("changed", "added", "removed")
    found = []
    for kind in kinds:
        names = [one for one, what in model.weights if what == kind]
        if names:
            found.append(("weights", f"{len(names):,} {kind}: {listed(names)}"))
    rest = [(one, what) for one, what in model.weights if what not in kinds]
    found += [("weight", f"{name(one)}: {plain(what, LONG)}") for one, what in rest[:_NAMES]]
    if len(rest) > _NAMES:
        found.append(("weight", f"... {len(rest) - _NAMES:,} more"))
    return found


def listed(names: Sequence[str], most: int = _NAMES) -> str:
    """The first few names, and how many more there are."""
    more = [f"... {len(names) - most:,} more"] if len(names) > most else []
    return ", ".join([name(one) for one in names[:most]] + more)


def node(one: Node) -> str:
    """A node in one line: its name, operator, and what it reads."""
    reads = listed(one.inputs + one.weights)
    return f"{name(one.name)}: {name(one.operator)}" + (f"({reads})" if reads else "")


def node_change(one: NodeChange) -> str:
    names = dict.fromkeys((name(one.old.name), name(one.new.name)))
    return f"{' -> '.join(names)}: {plain(one.what, LONG)}"


def node_lines(nodes: NodesDiff) -> list[tuple[str, str]]:
    """Every node that is not the same: (+, -, ~ for changed or > for moved; the node)."""
    found = [("-", node(one)) for one in nodes.removed] + [("+", node(one)) for one in nodes.added]
    signs = {"changed": "~", "moved": ">"}
    return found + [(signs.get(one.change, "~"), node_change(one)) for one in nodes.changed]


def node_counts(nodes: NodesDiff) -> str:
    """ "2 nodes added, 1 changed"; "" where all are the same."""
    changes = Counter(one.change for one in nodes.changed)
    counts = {"added": len(nodes.added), "removed": len(nodes.removed)}
    counts |= {word: changes[word] for word in ("changed", "moved")}
    words = [f"{n:,} {word}" for word, n in counts.items() if n]
    if words:
        first = next(n for n in counts.values() if n)
        words[0] = words[0].replace(" ", f" node{'s' * (first != 1)} ", 1)
    return ", ".join(words)


# --- the whole -----------------------------------------------------------------------------------


def side(one: Side) -> str:
    kind = plain(one.kind, 40)
    return name(one.source) if one.source in (one.kind, "") else f"{name(one.source)} ({kind})"


def notes(diff: GraphDiff) -> list[str]:
    """What a reader has to know about either side and about the comparison."""
    found = [plain(note) for note in diff.notes if note]
    if diff.nodes.note and diff.nodes.note not in diff.notes:
        found.append(plain(diff.nodes.note))
    for word, one in (("old", diff.old), ("new", diff.new)):
        found += [f"{word} side: {plain(note)}" for note in one.notes]
    return found


def different(diff: GraphDiff) -> bool:
    """Whether anything at all is to be reported, allowed or not."""
    blocks = not all(quiet(block) for block in diff.blocks)
    return blocks or model_differs(diff.model) or not diff.nodes.same


def verdict(diff: GraphDiff) -> str:
    """A line that can be read alone: "differs: structure (2), coefficient (1)"."""
    if diff.violations:
        counts = Counter(plain(one.rule) for one in diff.violations)
        return "differs: " + ", ".join(f"{rule} ({counts[rule]:,})" for rule in in_order(counts))
    if different(diff):
        return f"same within the rules ({rules(diff.rules)})"
    return "no difference found"


def in_order(found: Iterable[str]) -> list[str]:
    """Names of rules as CATEGORIES has them."""
    names = set(found)
    return [*(one for one in CATEGORIES if one in names), *sorted(names - set(CATEGORIES))]


def rules(chosen: Rules) -> str:
    """The rules in a few words."""
    if not chosen.fail_on:
        return "nothing fails"
    every = set(chosen.fail_on) == set(CATEGORIES)
    words = [f"fail on {'anything' if every else ', '.join(chosen.fail_on)}"]
    limits = {
        "rtol": chosen.rtol,
        "atol": chosen.atol,
        "fidelity may drop by": chosen.max_fidelity_drop,
    }
    return "; ".join(words + [f"{word} {value:g}" for word, value in limits.items() if value])


def summary(diff: GraphDiff) -> str:
    """What there is, in counts: "3 blocks: 1 structure changed, 2 identical; graph: ..."."""
    found = [_blocks(diff)]
    if diff.nodes.level is not None:
        sizes = f"the same {count(len(diff.nodes.new_nodes), 'node')}"
        found.append(f"graph: {node_counts(diff.nodes) or sizes}")
    else:
        found.append("graph: not compared")
    if diff.model.weights:
        found.append(f"weights: {len(diff.model.weights):,} not the same")
    if diff.model.signature:
        found.append("inputs or outputs of the model changed")
    return "; ".join(found)


def _blocks(diff: GraphDiff) -> str:
    if not diff.blocks:
        return "no equations compared"
    counts = ", ".join(f"{n:,} {class_title(change)}" for change, n in diff.counts().items())
    return f"{count(len(diff.blocks), 'block')}: {counts}"
