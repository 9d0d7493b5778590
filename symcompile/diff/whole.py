"""Compare two models as wholes: arguments and results, weights, opset, and what they give."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from symcompile.diff.result import BlockDiff, Fact, ModelDiff, NodesDiff
from symcompile.diff.snapshot import UNKNOWN_RANK, Shape, Snapshot, Tensor

# The domain of our own functions, which a flat file does not have.
_OWN_DOMAIN = "symcompile"
CHANGED_VALUES = "changed"


def compare_models(
    old: Snapshot, new: Snapshot, nodes: NodesDiff, blocks: Sequence[BlockDiff]
) -> ModelDiff:
    """Everything that is neither a block nor a node."""
    return ModelDiff(
        facts=_facts(old, new),
        signature=_signature(old, new),
        weights=_weights(old, new, nodes),
        output_difference=_output_difference(old, new),
        probe_difference=_largest(one.difference for block in blocks for one in block.equations),
    )


def _facts(old: Snapshot, new: Snapshot) -> tuple[Fact, ...]:
    rows = [("model", old.model, new.model), ("parameters", old.parameters, new.parameters)]
    if old.level == new.level:
        rows.append(("nodes", len(old.nodes), len(new.nodes)))
    found = [Fact(name, _shown(a), _shown(b)) for name, a, b in rows if (a, b) != (None, None)]
    return (*found, *opset_facts(old, new))


def opset_facts(old: Snapshot, new: Snapshot) -> tuple[Fact, ...]:
    """The version of each ONNX operator domain, if both are ONNX files."""
    if not (old.opsets and new.opsets):
        return ()
    domains = sorted({*old.opsets, *new.opsets} - {_OWN_DOMAIN})
    return tuple(
        Fact(f"opset {name}", _shown(old.opsets.get(name)), _shown(new.opsets.get(name)))
        for name in domains
    )


def _shown(value: object) -> str:
    return "-" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


# --- arguments and results -----------------------------------------------------------------------


def _signature(old: Snapshot, new: Snapshot) -> tuple[str, ...]:
    if "nothing" in (old.kind, new.kind):
        return ()
    sides = (("input", old.inputs, new.inputs), ("output", old.outputs, new.outputs))
    compare = _by_name if old.family == new.family else _by_order
    return tuple(s for word, a, b in sides if a and b for s in compare(word, a, b))


def _by_name(word: str, old: Mapping[str, Tensor], new: Mapping[str, Tensor]) -> list[str]:
    found = []
    gone = [name for name in old if name not in new]
    come = [name for name in new if name not in old]
    if len(gone) == len(come):
        for a, b in zip(gone, come, strict=True):
            found += [f"{word} {a} is called {b} now", *_tensor(f"{word} {b}", old[a], new[b])]
    else:
        found += [f"{word} {name} is gone" for name in gone]
        found += [f"{word} {name} is new" for name in come]
    for name in old:
        if name in new:
            found += _tensor(f"{word} {name}", old[name], new[name])
    if not found and list(old) != list(new):
        found.append(f"{word}s in another order: {', '.join(old)} -> {', '.join(new)}")
    return found


def _by_order(word: str, old: Mapping[str, Tensor], new: Mapping[str, Tensor]) -> list[str]:
    """Of two formats, whose names for the same thing differ."""
    if len(old) != len(new):
        return [f"{word}s: {', '.join(old)} -> {', '.join(new)}"]
    pairs = zip(old.items(), new.items(), strict=True)
    return [s for (name, a), (_, b) in pairs for s in _tensor(f"{word} {name}", a, b)]


def _tensor(what: str, old: Tensor, new: Tensor) -> list[str]:
    if not (old.dtype and new.dtype):  # a tracer has noted nothing of it
        return []
    found = []
    if old.dtype != new.dtype:
        found.append(f"{what}: {old.dtype} -> {new.dtype}")
    if UNKNOWN_RANK in (old.shape, new.shape):
        return found
    if len(old.shape) != len(new.shape):
        found.append(f"{what}: shape {shown(old.shape)} -> {shown(new.shape)}")
        return found
    for place, (a, b) in enumerate(zip(old.shape, new.shape, strict=True)):
        if isinstance(a, str) and isinstance(b, int):
            found.append(f"{what}: dimension {place} was free ({a}), is fixed to {b} now")
        elif isinstance(a, int) and isinstance(b, str):
            found.append(f"{what}: dimension {place} was fixed to {a}, is free ({b}) now")
        elif isinstance(a, int) and a != b:
            found.append(f"{what}: dimension {place} was {a}, is {b} now")
    return found


def shown(shape: Shape) -> str:
    """A shape for people: [batch, 3]."""
    return "[" + ", ".join(map(str, shape)) + "]"


# --- weights -------------------------------------------------------------------------------------


def _weights(old: Snapshot, new: Snapshot, nodes: NodesDiff) -> tuple[tuple[str, str], ...]:
    """Weights are paired by the nodes that read them, so that a shifted name is no change."""
    if old.family != new.family or "nothing" in (old.kind, new.kind):
        return ()
    pairs = _paired(old, new, nodes)
    found = [
        (b, what) for a, b in pairs.items() if (what := _weight(old.weights[a], new.weights[b]))
    ]
    found += [(name, "removed") for name in old.weights if name not in pairs]
    taken = set(pairs.values())
    found += [(name, "added") for name in new.weights if name not in taken]
    return tuple(sorted(found))


def _paired(old: Snapshot, new: Snapshot, nodes: NodesDiff) -> dict[str, str]:
    before = {node.name: node.weights for node in nodes.old_nodes}
    after = {node.name: node.weights for node in nodes.new_nodes}
    pairs: dict[str, str] = {}
    taken: set[str] = set()
    matched = [
        names
        for a, b in nodes.pairs
        for names in zip(before.get(a, ()), after.get(b, ()), strict=False)
    ]
    # Names that stay go first: they are the surest sign.
    matched = sorted(matched, key=lambda names: names[0] != names[1])
    matched += [(name, name) for name in old.weights]
    for a, b in matched:
        if a in old.weights and b in new.weights and a not in pairs and b not in taken:
            pairs[a] = b
            taken.add(b)
    return pairs


def _weight(old: Tensor, new: Tensor) -> str:
    if old.dtype != new.dtype:
        return f"{old.dtype} -> {new.dtype}"
    if old.shape != new.shape:
        return f"shape {shown(old.shape)} -> {shown(new.shape)}"
    return CHANGED_VALUES if old.digest != new.digest else ""


# --- what the models give ------------------------------------------------------------------------


def _output_difference(old: Snapshot, new: Snapshot) -> float | None:
    """Largest difference on rows that both have seen, as a share of the old one's largest value."""
    a, b = old.probes, new.probes
    if a is None or b is None or a.digest != b.digest:
        return None
    before = [value for values in a.outputs.values() for value in values]
    after = [value for values in b.outputs.values() for value in values]
    if len(before) != len(after):
        return None
    pairs = list(zip(before, after, strict=True))
    if any((x is None) != (y is None) for x, y in pairs):
        return math.inf
    size = max((abs(x) for x in before if x is not None), default=0.0) or 1.0
    return (
        max((abs(x - y) for x, y in pairs if x is not None and y is not None), default=0.0) / size
    )


def _largest(values: Iterable[float]) -> float | None:
    return max((value for value in values if not math.isnan(value)), default=None)
