"""Which of the differences the rules don't allow."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from symcompile.diff import rounding
from symcompile.diff.model import CHANGED_VALUES
from symcompile.diff.result import BlockDiff, Change, EquationDiff, ModelDiff, NodesDiff, Violation
from symcompile.diff.rules import COEFFICIENT, FIDELITY, SIGNATURE, STRUCTURE, WEIGHTS, Rules
from symcompile.diff.snapshot import NOT_MEASURED

_MODEL = "model"


def violations(
    rules: Rules, blocks: Sequence[BlockDiff], nodes: NodesDiff, model: ModelDiff
) -> tuple[Violation, ...]:
    """In the order of CATEGORIES, blocks before the graph around them."""
    differences = list(_of_blocks(rules, blocks))
    counts = [f"{count:,} {word}" for word, count in nodes.counts().items() if count]
    if counts:
        differences.append(Violation(STRUCTURE, "graph", f"nodes: {', '.join(counts)}"))
    differences += _of_model(model)
    return tuple(broken for rule in rules.fail_on for broken in differences if broken.rule == rule)


# --- blocks --------------------------------------------------------------------------------------


def _of_blocks(rules: Rules, blocks: Sequence[BlockDiff]) -> Iterator[Violation]:
    for block in blocks:
        if block.change in (Change.ADDED, Change.REMOVED):
            old, new = block.both("status")
            what = f"{old}, is {new} now" if old and new else block.change
            yield Violation(STRUCTURE, block.path, f"the block was {what}")
        else:
            for equation in block.equations:
                yield from _of_equation(rules, equation)
        if block.change == Change.WEIGHTS:
            yield Violation(WEIGHTS, block.path, "the weights of the neural block changed")
        if block.renamed_from is not None:
            yield Violation(SIGNATURE, block.path, f"was called {block.renamed_from}")
        yield from (Violation(SIGNATURE, block.path, sentence) for sentence in block.signature)
        yield from _of_fidelity(block, rules.max_fidelity_drop)


def _of_equation(rules: Rules, equation: EquationDiff) -> Iterator[Violation]:
    old, new = equation.both("text", "-")
    if equation.change in (Change.CHANGED, Change.ADDED, Change.REMOVED):
        word = "another form" if equation.change == Change.CHANGED else equation.change
        yield Violation(STRUCTURE, equation.place, f"{word}: {old} -> {new}")
    moved = [c for c in equation.coefficients if not rules.allows(c.old, c.new)]
    if moved:
        worst = max(moved, key=lambda c: abs(c.relative))
        more = f", and {len(moved) - 1} more" if len(moved) > 1 else ""
        yield Violation(COEFFICIENT, equation.place, f"{worst.old:.6g} -> {worst.new:.6g}{more}")
    elif equation.change == Change.DRIFTED and not equation.coefficients:
        yield Violation(COEFFICIENT, equation.place, f"{old} -> {new}")


def _of_fidelity(block: BlockDiff, drop: float) -> Iterator[Violation]:
    measured: list[tuple[str, BlockDiff | EquationDiff]]
    measured = [(equation.place, equation) for equation in block.equations]
    if len(measured) != 1:  # else it is that equation's
        measured.append((block.path, block))
    for where, fitted in measured:
        old, new = fitted.both("accuracy", NOT_MEASURED)
        before, after = old.relative_l2, new.relative_l2
        if _rose(new.r2, old.r2, drop + rounding.of_r2(fitted.dtype, old, new)):
            yield Violation(FIDELITY, where, f"R2 {old.r2:.6g} -> {new.r2:.6g}")
        elif _rose(before, after, drop + rounding.of_error(fitted.dtype, before, after)):
            yield Violation(FIDELITY, where, f"relative L2 error {before:.6g} -> {after:.6g}")
    old, new = block.both("end_to_end")
    if _rose(old, new, drop + rounding.of_error(block.dtype, old, new)):
        yield Violation(FIDELITY, block.path, f"end-to-end error {old:.6g} -> {new:.6g}")


def _rose(old: float | None, new: float | None, limit: float) -> bool:
    return old is not None and new is not None and new - old > limit and not math.isnan(new - old)


# --- the model -----------------------------------------------------------------------------------


def _of_model(model: ModelDiff) -> Iterator[Violation]:
    for sentence in model.signature:
        yield Violation(SIGNATURE, _MODEL, sentence)
    for fact in model.facts:
        if fact.name.startswith("opset ") and fact.old != fact.new:
            yield Violation(SIGNATURE, _MODEL, f"{fact.name}: {fact.old} -> {fact.new}")
    by_change: dict[str, list[str]] = {}
    for name, what in model.weights:
        by_change.setdefault(what, []).append(name)
    for what, names in by_change.items():
        more = f", and {len(names) - 1:,} more" if len(names) > 1 else ""
        rule = WEIGHTS if what == CHANGED_VALUES else STRUCTURE
        yield Violation(rule, _MODEL, f"weight {names[0]}: {what}{more}")
