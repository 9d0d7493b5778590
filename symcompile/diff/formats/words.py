"""Sentences on a comparison that several formats share, and what of it is worth showing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from symcompile.diff.formats import figures
from symcompile.diff.formats.figures import LONG, MetricDiff, name, plain
from symcompile.diff.result import (
    CLASSES,
    BlockDiff,
    Change,
    CoefficientDiff,
    EquationDiff,
    GraphDiff,
    ModelDiff,
    NodesDiff,
    Side,
)
from symcompile.diff.rules import CATEGORIES, Rules
from symcompile.diff.snapshot import NOT_MEASURED
from symcompile.report.plain_text import count
from symcompile.storage.schema import Node

_NAMES = 5

# What a sentence is about, and the sentence.
Remark = tuple[str, str]


# --- equations -----------------------------------------------------------------------------------


class CoefficientRow(NamedTuple):
    """A coefficient that changed, as text."""

    place: str
    old: str
    new: str
    change: str
    relative: float


def coefficient_rows(equation: EquationDiff) -> list[CoefficientRow]:
    """The coefficients that changed, the largest relative change first."""
    rows = []
    for moved in _moved(equation):
        texts = figures.apart(figures.figure, moved.old, moved.new, 6, 17)
        change = figures.percent(moved.relative)
        rows.append(CoefficientRow(plain(moved.place), *texts, change, moved.relative))
    return rows


def _moved(*equations: EquationDiff) -> list[CoefficientDiff]:
    """The largest relative change first, what is unknown last."""

    def size(coefficient: CoefficientDiff) -> float:
        relative = coefficient.relative
        return abs(relative) if figures.known(relative) else -1.0

    moved = [c for equation in equations for c in equation.coefficients if c.old != c.new]
    return sorted(moved, key=size, reverse=True)


def largest_change(block: BlockDiff) -> str:
    """The largest relative change of any coefficient, "" where none changed."""
    moved = _moved(*block.equations)
    return figures.percent(moved[0].relative) if moved else ""


def coefficients(equation: EquationDiff, most: int) -> tuple[list[CoefficientRow], str]:
    """The first of those rows, and what they don't show: "3 more, 2 unchanged"."""
    rows = coefficient_rows(equation)
    counts = {"more": len(rows) - most, "unchanged": len(equation.coefficients) - len(rows)}
    rest = [f"{number:,} {word}" for word, number in counts.items() if number > 0]
    return rows[:most], ", ".join(rest)


def moved_and_still(metrics: Sequence[MetricDiff]) -> tuple[list[MetricDiff], str, str]:
    """The metrics that changed; and of the others what they are, and a text of them."""
    moved = [metric for metric in metrics if metric.old and metric.new and metric.changed]
    still = [metric for metric in metrics if metric not in moved]
    word = "unchanged" if all(metric.old and metric.new for metric in still) else "figures"
    return moved, word, ", ".join(f"{metric.name} {metric.old or metric.new}" for metric in still)


def equation_remarks(equation: EquationDiff) -> list[Remark]:
    """What is to be said of an equation beside its figures."""
    remarks = []
    if figures.known(equation.difference) and equation.points and equation.old and equation.new:
        on = f"on {count(equation.points, 'point')}"
        share = figures.share(equation.difference)
        same = equation.difference == 0 or equation.change in (Change.REWRITTEN, Change.IDENTICAL)
        moved = f"differ by up to {share} of the largest old value {on}"
        remarks.append(("values", f"the same up to rounding {on}" if same else moved))
    if equation.evidence:
        remarks.append(("evidence", plain(equation.evidence)))
    accuracy = equation.new.accuracy if equation.new else NOT_MEASURED
    error, linear = accuracy.relative_l2, accuracy.linear
    if error is not None and linear is not None and error > linear:
        shown = figures.figure(linear)
        remarks.append(("warning", f"worse than a linear map, whose relative L2 is {shown}"))
    return remarks


def untouched(equation: EquationDiff) -> bool:
    """Whether there is nothing to say of an equation but that it is identical."""
    metrics = figures.equation_metrics(equation)
    return equation.change == Change.IDENTICAL and not any(metric.changed for metric in metrics)


def parted(block: BlockDiff) -> tuple[list[EquationDiff], list[EquationDiff]]:
    """Equations of which there is something to say, and those that are merely identical."""
    loud = [equation for equation in block.equations if not untouched(equation)]
    return loud, [equation for equation in block.equations if untouched(equation)]


# --- blocks --------------------------------------------------------------------------------------


def class_title(change: str) -> str:
    """A class without its comma, for lists."""
    return "rewritten (same function)" if change == Change.REWRITTEN else plain(change)


def gravest_first(diff: GraphDiff) -> list[BlockDiff]:
    """The blocks in the order of CLASSES, among themselves as they are."""
    return sorted(diff.blocks, key=lambda block: CLASSES.index(block.change))


def quiet(block: BlockDiff) -> bool:
    """Whether there is nothing to say of a block but that it is identical."""
    if block.change != Change.IDENTICAL or block.renamed_from is not None or block.signature:
        return False
    moved = any(metric.changed for metric in figures.block_metrics(block))
    old, new = block.both("engine", "")
    if moved or old != new or not all(map(untouched, block.equations)):
        return False
    # The note on a neural block says why it is neural.
    return (block.new is not None and block.new.status == "neural") or not block.notes


def block_remarks(block: BlockDiff) -> list[Remark]:
    """What is to be said of a block beside its equations."""
    remarks = [("signature", plain(sentence)) for sentence in block.signature]
    old, new = map(plain, block.both("status", ""))
    if old and new and old != new:
        remarks.append(("status", f"{old} -> {new}"))
    searched = old == new == "symbolic"
    old, new = map(plain, block.both("engine", ""))
    if (old and new) or (searched and (old or new)):
        engines = dict.fromkeys((old or "unknown", new or "unknown"))
        remarks.append(("engine", " -> ".join(engines)))
    elif old or new:
        remarks.append(("engine", old or new))
    return remarks + [("note", plain(sentence)) for sentence in block.notes]


# --- model and graph -----------------------------------------------------------------------------


def model_remarks(model: ModelDiff) -> list[Remark]:
    """What is to be said of the models as wholes."""
    remarks = [("signature", plain(sentence)) for sentence in model.signature]
    remarks += [
        (name(fact.name), f"{name(fact.old)} -> {name(fact.new)}")
        for fact in model.facts
        if fact.old != fact.new
    ]
    size = model.output_difference
    if size is not None and figures.known(size):
        moved = f"moves by up to {figures.share(size)} of its largest old value"
        remarks.append(
            ("output", f"{moved if size else 'the same'} on the rows that both have seen")
        )
    return remarks + _weights(model)


def model_differs(model: ModelDiff) -> bool:
    facts = any(fact.old != fact.new for fact in model.facts)
    return bool(facts or model.signature or model.weights or model.output_difference)


def _weights(model: ModelDiff) -> list[Remark]:
    """Names by what became of them; a sentence on one weight stands alone."""
    remarks, kinds = [], ("changed", "added", "removed")
    for kind in kinds:
        names = [weight for weight, what in model.weights if what == kind]
        if names:
            remarks.append(("weights", f"{len(names):,} {kind}: {listed(names)}"))
    rest = [f"{name(weight)}: {plain(what, LONG)}" for weight, what in model.weights
            if what not in kinds]  # fmt: skip
    if len(rest) > _NAMES:
        rest[_NAMES:] = [f"... {len(rest) - _NAMES:,} more"]
    return remarks + [("weight", sentence) for sentence in rest]


def listed(names: Sequence[str], most: int = _NAMES) -> str:
    """The first few names, and how many more there are."""
    more = [f"... {len(names) - most:,} more"] if len(names) > most else []
    return ", ".join([*map(name, names[:most]), *more])


def node(row: Node) -> str:
    """A node in one line: its name, operator, and what it reads."""
    reads = listed(row.inputs + row.weights)
    return f"{name(row.name)}: {name(row.operator)}" + (f"({reads})" if reads else "")


def node_lines(nodes: NodesDiff) -> list[tuple[str, str]]:
    """Every node that is not the same: (+, -, ~ for changed or > for moved; the node)."""
    lines = [("-", node(row)) for row in nodes.removed] + [("+", node(row)) for row in nodes.added]
    for change in nodes.changed:
        names = " -> ".join(dict.fromkeys((name(change.old.name), name(change.new.name))))
        sign = ">" if change.change == "moved" else "~"
        lines.append((sign, f"{names}: {plain(change.what, LONG)}"))
    return lines


def node_lists(nodes: NodesDiff, most: int | None) -> Iterator[tuple[str, list[str], list[str]]]:
    """By sign at most so many of these lines, and what tells of the others, if there are any."""
    lines = node_lines(nodes)
    for sign in "-+~>":
        rows = [line for mark, line in lines if mark == sign]
        shown = rows[:most]
        yield sign, shown, [f"... {len(rows) - len(shown):,} more"] * (len(rows) > len(shown))


def node_counts(nodes: NodesDiff) -> str:
    """ "2 nodes added, 1 changed"; "" where all are the same."""
    counts = [(word, number) for word, number in nodes.counts().items() if number]
    first = [f"{count(number, 'node')} {word}" for word, number in counts[:1]]
    return ", ".join([*first, *(f"{number:,} {word}" for word, number in counts[1:])])


# --- the whole -----------------------------------------------------------------------------------


def side(compared: Side) -> str:
    """What was compared: file and kind."""
    kind = "" if compared.source in (compared.kind, "") else f" ({plain(compared.kind, 40)})"
    return f"{name(compared.source)}{kind}"


def notes(diff: GraphDiff) -> list[str]:
    """What a reader has to know about either side and about the comparison."""
    sentences = [note for note in diff.notes if note]
    if diff.nodes.note and diff.nodes.note not in diff.notes:
        sentences.append(diff.nodes.note)
    for word, compared in (("old", diff.old), ("new", diff.new)):
        sentences += [f"{word} side: {note}" for note in compared.notes]
    return [plain(note) for note in sentences]


def different(diff: GraphDiff) -> bool:
    """Whether anything at all is to be reported, allowed or not."""
    blocks = not all(quiet(block) for block in diff.blocks)
    return blocks or model_differs(diff.model) or not diff.nodes.same


def verdict(diff: GraphDiff) -> str:
    """A line that can be read alone: "differs: structure (2), coefficient (1)"."""
    if diff.violations:
        counts = Counter(plain(violation.rule) for violation in diff.violations)
        return "differs: " + ", ".join(f"{rule} ({counts[rule]:,})" for rule in in_order(counts))
    if different(diff):
        return f"same within the rules ({rules(diff.rules)})"
    return "no difference found"


def in_order(broken: Iterable[str]) -> list[str]:
    """Names of rules as CATEGORIES has them."""
    names = set(broken)
    return [*(rule for rule in CATEGORIES if rule in names), *sorted(names - set(CATEGORIES))]


def rules(chosen: Rules) -> str:
    """The rules in a few words."""
    if not chosen.fail_on:
        return "nothing fails"
    every = set(chosen.fail_on) == set(CATEGORIES)
    limits = {
        "rtol": chosen.rtol,
        "atol": chosen.atol,
        "fidelity may drop by": chosen.max_fidelity_drop,
    }
    shown = [f"{word} {value:g}" for word, value in limits.items() if value]
    return "; ".join([f"fail on {'anything' if every else ', '.join(chosen.fail_on)}", *shown])


def summary(diff: GraphDiff) -> str:
    """What there is, in counts: "3 blocks: 1 structure changed, 2 identical; graph: ..."."""
    counts = [f"{number:,} {class_title(change)}" for change, number in diff.counts().items()]
    blocks = f"{count(len(diff.blocks), 'block')}: {', '.join(counts)}"
    parts = [blocks if diff.blocks else "no equations compared"]
    sizes = f"the same {count(len(diff.nodes.new_nodes), 'node')}"
    compared = diff.nodes.level is not None
    parts.append(f"graph: {(node_counts(diff.nodes) or sizes) if compared else 'not compared'}")
    if diff.model.weights:
        parts.append(f"weights: {len(diff.model.weights):,} not the same")
    if diff.model.signature:
        parts.append("inputs or outputs of the model changed")
    return "; ".join(parts)
