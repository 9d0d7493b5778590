"""Compare the blocks of two models: pair them by name, then equation by equation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from symcompile.diff.equations import compare_equations
from symcompile.diff.equations.points import sample
from symcompile.diff.equations.proof import Steps
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
    BlockSide,
    EquationDiff,
    gravest,
)
from symcompile.diff.rounding import epsilon
from symcompile.diff.snapshot import Block, Output, Snapshot, Span
from symcompile.expressions.evaluation import Array

_REGION = "region:"
# Comparing two equations takes some hundredths of a second.
_MOST_PAIRS = 100


def compare_blocks(
    old: Snapshot, new: Snapshot, node_pairs: Iterable[tuple[str, str]], proof_steps: float
) -> tuple[BlockDiff, ...]:
    """Every block of either side, in the order of the names; none where one side's are unknown.

    Args:
        node_pairs: (old, new) names of matched nodes: a block that stands in the same place of the
            graph under another name was renamed.
        proof_steps: what symbolic proofs may take, in all.
    """
    if not (old.equations_known and new.equations_known):
        return ()
    steps = Steps(proof_steps)
    former = _former_names(old, new, node_pairs, steps)
    names = sorted({*old.blocks, *new.blocks} - set(former.values()))
    return tuple(
        _compare(old.blocks.get(former.get(name, name)), new.blocks.get(name), steps)
        for name in names
    )


# --- blocks with another name --------------------------------------------------------------------


def _former_names(
    old: Snapshot, new: Snapshot, node_pairs: Iterable[tuple[str, str]], steps: Steps
) -> dict[str, str]:
    """Old name of each block that has another one now: same place in the graph, else the only one
    left with the same equations."""
    gone = {path: block for path, block in old.blocks.items() if path not in new.blocks}
    come = {path: block for path, block in new.blocks.items() if path not in old.blocks}
    if not gone or not come:
        return {}
    found: dict[str, str] = {}
    for before, after in _places(old, new, node_pairs):
        if before in gone and after in come and _alike(gone[before], come[after]):
            found[after] = before
            del gone[before], come[after]
    for find in (_same_equations, partial(_alike_equations, steps=steps)):
        for before, after in find(gone, come):
            found[after] = before
            del gone[before], come[after]
    return found


def _places(
    old: Snapshot, new: Snapshot, node_pairs: Iterable[tuple[str, str]]
) -> list[tuple[str, str]]:
    """(old, new) path of the blocks whose nodes were matched."""
    before, after = _regions(old), _regions(new)
    found = [(before[a], after[b]) for a, b in node_pairs if a in before and b in after]
    return list(dict.fromkeys(found))


def _regions(side: Snapshot) -> dict[str, str]:
    return {
        node.name: node.operator.removeprefix(_REGION)
        for node in side.nodes
        if node.operator.startswith(_REGION)
    }


def _alike(before: Block, after: Block) -> bool:
    """Whether one can be the other under a new name."""
    return before.status == after.status and len(before.inputs) == len(after.inputs)


def _same_equations(gone: Mapping[str, Block], come: Mapping[str, Block]) -> list[tuple[str, str]]:
    """Pairs of blocks with the same equations to the last bit, where only one pair is possible."""
    before, after = (_by_equations(side) for side in (gone, come))
    shared = [key for key in before if len(before[key]) == len(after.get(key, ())) == 1]
    return [(before[key][0], after[key][0]) for key in shared]


def _by_equations(blocks: Mapping[str, Block]) -> dict[Any, list[str]]:
    found: dict[Any, list[str]] = {}
    for name, block in blocks.items():
        equations = tuple(
            (number, output.equation.form, output.equation.constants)
            for number, output in sorted(block.outputs.items())
        )
        if equations:
            found.setdefault(equations, []).append(name)
    return found


def _alike_equations(
    gone: Mapping[str, Block], come: Mapping[str, Block], steps: Steps
) -> list[tuple[str, str]]:
    """Pairs of blocks whose equations are the same functions or drifted, where each has one
    candidate only; none among too many to compare each with each."""
    pairs = [
        (name, other)
        for name, before in gone.items()
        for other, after in come.items()
        if before.symbolic and after.symbolic and _alike(before, after)
        if before.outputs.keys() == after.outputs.keys()
    ]
    if len(pairs) > _MOST_PAIRS:
        return []
    wanted = (IDENTICAL, REWRITTEN, DRIFTED)
    found = [(a, b) for a, b in pairs if _compare(gone[a], come[b], steps).change in wanted]
    counts = Counter(name for pair in found for name in pair)
    return [(a, b) for a, b in found if counts[a] == counts[b] == 1]


# --- one block -----------------------------------------------------------------------------------


def _compare(old: Block | None, new: Block | None, steps: Steps) -> BlockDiff:
    if old is None or new is None:
        found = _one_sided(old, new, steps)
    else:
        found = _paired(old, new, steps)
    dtypes = [side.dtype for side in (old, new) if side is not None and side.dtype is not None]
    dtype = max(dtypes, key=epsilon, default=None)
    equations = tuple(replace(equation, dtype=dtype) for equation in found.equations)
    return replace(found, old=_side(old), new=_side(new), equations=equations, dtype=dtype)


def _paired(old: Block, new: Block, steps: Steps) -> BlockDiff:
    if old.symbolic and new.symbolic:
        found = _symbolic(old, new, steps)
    elif old.symbolic or new.symbolic:
        found = _one_sided(old if old.symbolic else None, new if new.symbolic else None, steps)
        found = replace(found, notes=_why_neural(new if old.symbolic else old))
    else:
        same = None in (old.digest, new.digest) or old.digest == new.digest
        found = BlockDiff(new.path, IDENTICAL if same else WEIGHTS, notes=_why_neural(new))
    renamed = old.path if old.path != new.path else None
    return replace(
        found, path=new.path, renamed_from=renamed, notes=(*found.notes, *_ranges(old, new))
    )


def _side(block: Block | None) -> BlockSide | None:
    if block is None:
        return None
    return BlockSide(
        block.status, engine(block), block.accuracy, block.end_to_end, block.parameters_removed
    )


def _one_sided(old: Block | None, new: Block | None, steps: Steps) -> BlockDiff:
    block = old or new
    assert block is not None
    before, after = ({} if side is None else side.outputs for side in (old, new))
    equations = _equations(block.path, before, after, sample(block, block), steps)
    return BlockDiff(block.path, ADDED if old is None else REMOVED, equations=equations)


def _why_neural(block: Block) -> tuple[str, ...]:
    return (f"neural: {block.reason}",) if block.reason else ()


def _symbolic(old: Block, new: Block, steps: Steps) -> BlockDiff:
    signature = signature_changes(old, new)
    before, after = _variables(old), _variables(new)
    # Other names are taken in their order, where points of the old side say enough.
    points = sample(old, new if before[0] == after[0] else old)
    equations = _equations(new.path, old.outputs, new.outputs, points, steps)
    if before != after:
        equations = tuple(
            replace(equation, change=SIGNATURE) if equation.old and equation.new else equation
            for equation in equations
        )
    changes = [equation.change for equation in equations] + [SIGNATURE] * bool(signature)
    # An equation that came or went inside of a block that stays is another structure of the block.
    change = gravest([CHANGED if change in (ADDED, REMOVED) else change for change in changes])
    return BlockDiff(new.path, change, equations=equations, signature=signature)


def _equations(
    path: str,
    old: Mapping[int, Output],
    new: Mapping[int, Output],
    points: Array,
    steps: Steps,
) -> tuple[EquationDiff, ...]:
    return tuple(
        compare_equations(path, number, old.get(number), new.get(number), points, steps)
        for number in sorted({*old, *new})
    )


def _variables(block: Block) -> tuple[Any, ...]:
    """What the equations' symbols are and mean."""
    symbols = next((one.equation.symbols for one in block.outputs.values()), tuple(block.inputs))
    return (
        symbols,
        tuple(block.inputs) if block.features else (),
        tuple(block.features.items()),
        block.projections.get("in"),
    )


# --- signature -----------------------------------------------------------------------------------


def signature_changes(old: Block, new: Block) -> tuple[str, ...]:
    """What of a block's inputs, features, projections, outputs and dtype is different."""
    checks: list[Callable[[Block, Block], list[str]]] = [_inputs, _features, _projections, _rest]
    return tuple(sentence for check in checks for sentence in check(old, new))


def _inputs(old: Block, new: Block) -> list[str]:
    before, after = list(old.inputs), list(new.inputs)
    if before == after:
        return []
    if len(before) != len(after):
        return [f"inputs: {', '.join(before)} -> {', '.join(after)}"]
    if sorted(before) == sorted(after):
        return [f"inputs in another order: {', '.join(before)} -> {', '.join(after)}"]
    pairs = zip(before, after, strict=True)
    return [f"input {a} is called {b} now" for a, b in pairs if a != b]


def _features(old: Block, new: Block) -> list[str]:
    found = []
    for name in dict.fromkeys([*old.features, *new.features]):
        before, after = old.features.get(name), new.features.get(name)
        if before is None:
            found.append(f"feature {name} = {after} is new")
        elif after is None:
            found.append(f"feature {name} = {before} is gone")
        elif before != after:
            found.append(f"feature {name}: {before} -> {after}")
    if not found and list(old.features) != list(new.features):
        found.append("features stand in another order")
    return found


def _projections(old: Block, new: Block) -> list[str]:
    places = {"in": "inputs", "out": "outputs"}
    return [
        f"the projection of the {word} is another one"
        for side, word in places.items()
        if old.projections.get(side) != new.projections.get(side)
    ]


def _rest(old: Block, new: Block) -> list[str]:
    rows = (("dtype", old.dtype, new.dtype), ("outputs", old.n_outputs, new.n_outputs))
    return [f"{name}: {a} -> {b}" for name, a, b in rows if None not in (a, b) and a != b]


# --- what else is shown --------------------------------------------------------------------------


def engine(block: Block) -> str:
    """Name and version of the engine, and the seed: "operon 0.6.2, seed 0"; "" where unknown."""
    found = block.provenance.get("engine")
    data = found if isinstance(found, Mapping) else {"name": found}
    words = " ".join(str(data[key]) for key in ("name", "version") if data.get(key))
    seed = block.provenance.get("seed")
    return ", ".join([words] * bool(words) + [f"seed {seed}"] * (seed is not None))


def _ranges(old: Block, new: Block) -> list[str]:
    return [
        f"recorded range of {name}: {_span(old.inputs[name])} -> {_span(new.inputs[name])}"
        for name in new.inputs
        if name in old.inputs and old.inputs[name] != new.inputs[name]
    ]


def _span(span: Span | None) -> str:
    return "unknown" if span is None else f"[{span[0]:.6g}, {span[1]:.6g}]"
