"""Compare two models as wholes: arguments and results, weights, opset, and what they give."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from symcompile.diff.result import BlockDiff, Fact, ModelDiff, NodesDiff
from symcompile.diff.snapshot import UNKNOWN_RANK, Snapshot
from symcompile.storage.schema import Shape, Tensor

# The domain of our own functions, which a flat file does not have.
_OWN_DOMAIN = "symcompile"
CHANGED_VALUES = "changed"


def compare_models(
    old: Snapshot, new: Snapshot, nodes: NodesDiff, blocks: Sequence[BlockDiff]
) -> ModelDiff:
    """Everything that is neither a block nor a node."""
    differences = [equation.difference for block in blocks for equation in block.equations]
    return ModelDiff(
        facts=tuple(_facts(old, new)),
        signature=tuple(_signature(old, new)),
        weights=_weights(old, new, nodes),
        output_difference=_output_difference(old, new),
        probe_difference=max((d for d in differences if not math.isnan(d)), default=None),
    )


def _facts(old: Snapshot, new: Snapshot) -> Iterator[Fact]:
    rows = [("model", old.model, new.model), ("parameters", old.parameters, new.parameters)]
    if old.level == new.level:
        rows.append(("nodes", len(old.nodes), len(new.nodes)))
    if old.opsets and new.opsets:
        domains = sorted({*old.opsets, *new.opsets} - {_OWN_DOMAIN})
        rows += [(f"opset {name}", old.opsets.get(name), new.opsets.get(name)) for name in domains]
    for name, *values in rows:
        if any(value is not None for value in values):
            yield Fact(
                name, *("-" if v is None else f"{v:,}" if v != str(v) else v for v in values)
            )


# --- arguments and results -----------------------------------------------------------------------


def _signature(old: Snapshot, new: Snapshot) -> Iterator[str]:
    if "nothing" in (old.kind, new.kind):
        return
    compare = _by_name if old.family == new.family else _by_order
    if old.inputs and new.inputs:
        yield from compare("input", old.inputs, new.inputs)
    if old.outputs and new.outputs:
        yield from compare("output", old.outputs, new.outputs)


def _by_name(word: str, old: Mapping[str, Tensor], new: Mapping[str, Tensor]) -> Iterator[str]:
    gone = [name for name in old if name not in new]
    come = [name for name in new if name not in old]
    pairs = {name: name for name in old if name in new}
    if len(gone) == len(come):
        for before, after in zip(gone, come, strict=True):
            yield f"{word} {before} is called {after} now"
            yield from _tensor(f"{word} {after}", old[before], new[after])
    else:
        yield from (f"{word} {name} is gone" for name in gone)
        yield from (f"{word} {name} is new" for name in come)
    sentences = [s for name in pairs for s in _tensor(f"{word} {name}", old[name], new[name])]
    if not (gone or come or sentences) and list(old) != list(new):
        yield f"{word}s in another order: {', '.join(old)} -> {', '.join(new)}"
    yield from sentences


def _by_order(word: str, old: Mapping[str, Tensor], new: Mapping[str, Tensor]) -> Iterator[str]:
    """Of two formats, whose names for the same thing differ."""
    if len(old) != len(new):
        yield f"{word}s: {', '.join(old)} -> {', '.join(new)}"
        return
    for (name, before), after in zip(old.items(), new.values(), strict=True):
        yield from _tensor(f"{word} {name}", before, after)


def _tensor(what: str, old: Tensor, new: Tensor) -> Iterator[str]:
    if not (old.dtype and new.dtype):  # a tracer has noted nothing of it
        return
    if old.dtype != new.dtype:
        yield f"{what}: {old.dtype} -> {new.dtype}"
    if UNKNOWN_RANK in (old.shape, new.shape):
        return
    if len(old.shape) != len(new.shape):
        yield f"{what}: shape {_shape(old.shape)} -> {_shape(new.shape)}"
        return
    for place, (before, after) in enumerate(zip(old.shape, new.shape, strict=True)):
        size = f"{what}: dimension {place} was"
        if isinstance(before, str) and isinstance(after, int):
            yield f"{size} free ({before}), is fixed to {after} now"
        elif isinstance(before, int) and isinstance(after, str):
            yield f"{size} fixed to {before}, is free ({after}) now"
        elif isinstance(before, int) and before != after:
            yield f"{size} {before}, is {after} now"


def _shape(shape: Shape) -> str:
    """For people: [batch, 3]."""
    return f"[{', '.join(map(str, shape))}]"


# --- weights -------------------------------------------------------------------------------------


def _weights(old: Snapshot, new: Snapshot, nodes: NodesDiff) -> tuple[tuple[str, str], ...]:
    """Weights are paired by the nodes that read them, so that a shifted name is no change."""
    if old.family != new.family or "nothing" in (old.kind, new.kind):
        return ()
    pairs = _paired(old, new, nodes)
    changes = [(b, _weight(old.weights[a], new.weights[b])) for a, b in pairs.items()]
    taken = set(pairs.values())
    changes += [(name, "removed") for name in old.weights if name not in pairs]
    changes += [(name, "added") for name in new.weights if name not in taken]
    return tuple(sorted(weight for weight in changes if weight[1]))


def _paired(old: Snapshot, new: Snapshot, nodes: NodesDiff) -> dict[str, str]:
    before = {node.name: node.weights for node in nodes.old_nodes}
    after = {node.name: node.weights for node in nodes.new_nodes}
    met = [
        names
        for a, b in nodes.pairs
        for names in zip(before.get(a, ()), after.get(b, ()), strict=False)
    ]
    # Names that stay go first: they are the surest sign.
    met.sort(key=lambda names: names[0] != names[1])
    pairs: dict[str, str] = {}
    taken: set[str] = set()
    for a, b in [*met, *((name, name) for name in old.weights)]:
        if a in old.weights and b in new.weights and a not in pairs and b not in taken:
            pairs[a] = b
            taken.add(b)
    return pairs


def _weight(old: Tensor, new: Tensor) -> str:
    if old.dtype != new.dtype:
        return f"{old.dtype} -> {new.dtype}"
    if old.shape != new.shape:
        return f"shape {_shape(old.shape)} -> {_shape(new.shape)}"
    return CHANGED_VALUES if old.digest != new.digest else ""


# --- what the models give ------------------------------------------------------------------------


def _output_difference(old: Snapshot, new: Snapshot) -> float | None:
    """Largest difference on rows that both have seen, as a share of the old one's largest value."""
    if old.probes is None or new.probes is None or old.probes.digest != new.probes.digest:
        return None
    before, after = (
        [value for values in probes.outputs.values() for value in values]
        for probes in (old.probes, new.probes)
    )
    if len(before) != len(after):
        return None
    pairs = list(zip(before, after, strict=True))
    if any((a is None) != (b is None) for a, b in pairs):
        return math.inf
    size = max((abs(a) for a in before if a is not None), default=0.0) or 1.0
    return (
        max((abs(a - b) for a, b in pairs if a is not None and b is not None), default=0.0) / size
    )
