"""Compare the blocks of two models: pair them by name, then equation by equation."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from symcompile.diff.equations import compare_equations
from symcompile.diff.equations.points import sample
from symcompile.diff.equations.proof import Steps
from symcompile.diff.result import CLASSES, BlockDiff, BlockSide, Change, EquationDiff
from symcompile.diff.rounding import epsilon
from symcompile.diff.snapshot import Block, Snapshot
from symcompile.expressions.evaluation import Array
from symcompile.storage.schema import Span

# Comparing two equations takes some hundredths of a second.
_MOST_PAIRS = 100
# In the words of a comparison, by the key in Block.projections.
_LINEAR_PARTS = {
    "in": "the projection of the inputs",
    "out": "the projection of the outputs",
    "affine": "the affine map",
}


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


Paths = list[tuple[str, str]]


def _former_names(
    old: Snapshot, new: Snapshot, node_pairs: Iterable[tuple[str, str]], steps: Steps
) -> dict[str, str]:
    """Old name of each block that has another one now: same place in the graph, else the only one
    left with the same equations."""
    gone = {path: block for path, block in old.blocks.items() if path not in new.blocks}
    come = {path: block for path, block in new.blocks.items() if path not in old.blocks}
    before, after = ({node.name: node.region for node in side.nodes} for side in (old, new))
    former: dict[str, str] = {}

    def take(pairs: Iterable[tuple[str | None, str | None]], certain: bool = True) -> None:
        for a, b in pairs:
            if a in gone and b in come and (certain or _alike(gone[a], come[b])):
                former[b] = a
                del gone[a], come[b]

    take(((before.get(a), after.get(b)) for a, b in node_pairs), certain=False)
    take(_same_equations(gone, come))
    take(_alike_equations(gone, come, steps))
    return former


def _alike(before: Block, after: Block) -> bool:
    """Whether one can be the other under a new name."""
    return before.status == after.status and len(before.inputs) == len(after.inputs)


def _same_equations(gone: Mapping[str, Block], come: Mapping[str, Block]) -> Paths:
    """Pairs of blocks with the same equations to the last bit, where only one pair is possible."""
    paths: tuple[dict[Any, list[str]], ...] = (defaultdict(list), defaultdict(list))
    for blocks, by_equations in zip((gone, come), paths, strict=True):
        for path, block in blocks.items():
            equations = [(k, block.outputs[k].equation) for k in sorted(block.outputs)]
            key = tuple((k, equation.form, equation.constants) for k, equation in equations)
            if key:
                by_equations[key].append(path)
    before, after = paths
    shared = [key for key in before if len(before[key]) == len(after.get(key, ())) == 1]
    return [(before[key][0], after[key][0]) for key in shared]


def _alike_equations(gone: Mapping[str, Block], come: Mapping[str, Block], steps: Steps) -> Paths:
    """Pairs of blocks whose equations are the same functions or drifted, where each has one
    candidate only; none among too many to compare each with each."""
    pairs = [
        (path, other)
        for path, before in gone.items()
        for other, after in come.items()
        if before.symbolic and after.symbolic and _alike(before, after)
        if before.outputs.keys() == after.outputs.keys()
    ]
    if len(pairs) > _MOST_PAIRS:
        return []
    same_law = (Change.IDENTICAL, Change.REWRITTEN, Change.DRIFTED)
    alike = [(a, b) for a, b in pairs if _compare(gone[a], come[b], steps).change in same_law]
    counts = Counter(path for pair in alike for path in pair)
    return [(a, b) for a, b in alike if counts[a] == counts[b] == 1]


# --- one block -----------------------------------------------------------------------------------


def _compare(old: Block | None, new: Block | None, steps: Steps) -> BlockDiff:
    if old is None or new is None:
        block = _one_sided(old, new, steps)
    else:
        block = _paired(old, new, steps)
    before, after = (
        None
        if side is None
        else BlockSide(
            side.status, engine(side), side.accuracy, side.end_to_end, side.parameters_removed
        )
        for side in (old, new)
    )
    dtypes = [side.dtype for side in (old, new) if side is not None and side.dtype is not None]
    dtype = max(dtypes, key=epsilon, default=None)
    equations = tuple(replace(equation, dtype=dtype) for equation in block.equations)
    return replace(block, old=before, new=after, equations=equations, dtype=dtype)


def _paired(old: Block, new: Block, steps: Steps) -> BlockDiff:
    neural = new if not new.symbolic else old
    notes = [f"neural: {neural.reason}"] * bool(neural.reason and not neural.symbolic)
    if old.symbolic and new.symbolic:
        block = _symbolic(old, new, steps)
    elif old.symbolic or new.symbolic:
        block = _one_sided(old if old.symbolic else None, new if new.symbolic else None, steps)
    else:
        same = None in (old.digest, new.digest) or old.digest == new.digest
        block = BlockDiff(new.path, Change.IDENTICAL if same else Change.WEIGHTS)
    notes += [
        f"recorded range of {name}: {_span(old.inputs[name])} -> {_span(new.inputs[name])}"
        for name in new.inputs
        if name in old.inputs and old.inputs[name] != new.inputs[name]
    ]
    renamed = old.path if old.path != new.path else None
    return replace(block, path=new.path, renamed_from=renamed, notes=tuple(notes))


def _one_sided(old: Block | None, new: Block | None, steps: Steps) -> BlockDiff:
    block = old or new
    assert block is not None
    equations = _equations(old, new, sample(block, block), steps)
    change = Change.ADDED if old is None else Change.REMOVED
    return BlockDiff(block.path, change, equations=equations)


def _symbolic(old: Block, new: Block, steps: Steps) -> BlockDiff:
    signature = tuple(signature_changes(old, new))
    before, after = _variables(old), _variables(new)
    # Other names are taken in their order, where points of the old side say enough.
    points = sample(old, new if before[0] == after[0] else old)
    equations = _equations(old, new, points, steps)
    if before != after:
        equations = tuple(
            replace(each, change=Change.SIGNATURE) if each.old and each.new else each
            for each in equations
        )
    changes = [equation.change for equation in equations] + [Change.SIGNATURE] * bool(signature)
    # An equation that came or went inside of a block that stays is another structure of the block.
    of_block = {Change.ADDED: Change.CHANGED, Change.REMOVED: Change.CHANGED}
    changes = [of_block.get(change, change) for change in changes]
    change = min(changes, key=CLASSES.index, default=Change.IDENTICAL)
    return BlockDiff(new.path, change, equations=equations, signature=signature)


def _equations(
    old: Block | None, new: Block | None, points: Array, steps: Steps
) -> tuple[EquationDiff, ...]:
    path = (new or old or Block("", "")).path
    before, after = ({} if side is None else side.outputs for side in (old, new))
    return tuple(
        compare_equations(path, number, before.get(number), after.get(number), points, steps)
        for number in sorted({*before, *after})
    )


def _variables(block: Block) -> tuple[Any, ...]:
    """What the equations' symbols are and mean."""
    outputs = block.outputs.values()
    symbols = next((output.equation.symbols for output in outputs), tuple(block.inputs))
    return (
        symbols,
        tuple(block.inputs) if block.features else (),
        tuple(block.features.items()),
        block.projections.get("in"),
    )


def engine(block: Block) -> str:
    """Name and version of the engine, and the seed: "operon 0.6.2, seed 0"; "" where unknown."""
    searched_by = block.provenance.get("engine")
    data = searched_by if isinstance(searched_by, Mapping) else {"name": searched_by}
    words = " ".join(str(data[key]) for key in ("name", "version") if data.get(key))
    seed = block.provenance.get("seed")
    return ", ".join([words] * bool(words) + [f"seed {seed}"] * (seed is not None))


def _span(span: Span | None) -> str:
    return "unknown" if span is None else f"[{span[0]:.6g}, {span[1]:.6g}]"


# --- signature -----------------------------------------------------------------------------------


def signature_changes(old: Block, new: Block) -> Iterator[str]:
    """What of a block's inputs, features, projections, outputs and dtype is different."""
    yield from _inputs(list(old.inputs), list(new.inputs))
    yield from _features(old.features, new.features)
    for side, word in _LINEAR_PARTS.items():
        before, after = old.projections.get(side), new.projections.get(side)
        if None in (before, after) and before != after:
            yield f"{word} is {'new' if before is None else 'gone'}"
        elif before != after:
            yield f"{word} is another one"
    for name, a, b in (
        ("dtype", old.dtype, new.dtype),
        ("outputs", old.n_outputs, new.n_outputs),
    ):
        if None not in (a, b) and a != b:
            yield f"{name}: {a} -> {b}"


def _inputs(old: list[str], new: list[str]) -> Iterator[str]:
    if len(old) != len(new):
        yield f"inputs: {', '.join(old)} -> {', '.join(new)}"
    elif old != new and sorted(old) == sorted(new):
        yield f"inputs in another order: {', '.join(old)} -> {', '.join(new)}"
    else:
        pairs = zip(old, new, strict=True)
        yield from (f"input {a} is called {b} now" for a, b in pairs if a != b)


def _features(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[str]:
    for name in dict.fromkeys([*old, *new]):
        if name not in old:
            yield f"feature {name} = {new[name]} is new"
        elif name not in new:
            yield f"feature {name} = {old[name]} is gone"
        elif old[name] != new[name]:
            yield f"feature {name}: {old[name]} -> {new[name]}"
    if old == new and list(old) != list(new):
        yield "features stand in another order"
