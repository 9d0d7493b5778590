"""What a comparison found: plain records that every output format shows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from symcompile.diff.rules import Rules
from symcompile.diff.snapshot import IN_MEMORY, NOT_MEASURED, Accuracy, Node
from symcompile.errors import ComparisonError
from symcompile.storage.reading import wall

IDENTICAL = "identical"
REWRITTEN = "rewritten, same function"
DRIFTED = "coefficients drifted"
CHANGED = "structure changed"
SIGNATURE = "signature changed"
ADDED, REMOVED = "added", "removed"
WEIGHTS = "weights changed"  # of a block that is neural on both sides

# The gravest first: a block has the class of the gravest of its equations.
CLASSES = (SIGNATURE, CHANGED, ADDED, REMOVED, DRIFTED, WEIGHTS, REWRITTEN, IDENTICAL)


@dataclass(frozen=True)
class Coefficient:
    """A constant on both sides.

    Attributes:
        old, new: the values.
        place: the sub-expression that it scales or stands in, with `#` for the constant itself,
            such as "exp(#*t)".
    """

    old: float
    new: float
    place: str = ""

    @property
    def relative(self) -> float:
        """Change relative to the old value's size; infinite from zero, 0 where nothing changed."""
        if self.old == self.new:
            return 0.0
        return (
            (self.new - self.old) / abs(self.old) if self.old else math.copysign(math.inf, self.new)
        )


@dataclass(frozen=True)
class EquationDiff:
    """What became of one equation.

    Attributes:
        path, output: which one, by its name on the new side if there is one.
        change: one of CLASSES.
        old, new: texts with six significant digits; None where there is none.
        old_marks, new_marks: (start, end) of the sub-expressions in the texts that are not in the
            other one, ascending and apart.
        coefficients: all constants, where the form is the same; else empty.
        difference: largest difference on the points, as a share of the old one's largest value;
            NaN where they can't be compared.
        points: on how many points that was.
        evidence: how "same function" was decided, for people; "" where it was not a question.
        old_complexity, new_complexity, old_operators, new_operators: None where there is none.
        dtype: floating type that the accuracies were measured in; None where unknown.
    """

    path: str
    output: int
    change: str
    old: str | None
    new: str | None
    old_marks: tuple[tuple[int, int], ...] = ()
    new_marks: tuple[tuple[int, int], ...] = ()
    coefficients: tuple[Coefficient, ...] = ()
    difference: float = math.nan
    points: int = 0
    evidence: str = ""
    old_complexity: int | None = None
    new_complexity: int | None = None
    old_operators: int | None = None
    new_operators: int | None = None
    old_accuracy: Accuracy = NOT_MEASURED
    new_accuracy: Accuracy = NOT_MEASURED
    dtype: str | None = None


@dataclass(frozen=True)
class BlockDiff:
    """What became of one block.

    Attributes:
        path: its qualified name; on the new side where it is on both.
        renamed_from: its name on the old side, if that was another one.
        change: the gravest class of its equations.
        equations: one for each output that has an equation on either side.
        signature: what of its inputs, features, outputs or dtype is different, in sentences.
        notes: what else is different and no reason to fail: engine, seed, recorded ranges.
        old_status, new_status: "symbolic", "neural", or None where the block is not there.
        old_engine, new_engine: name, version and seed of the search, "" where unknown.
        old_accuracy, new_accuracy: of all outputs together.
        old_end_to_end, new_end_to_end: relative L2 change of the model's output.
        dtype: floating type that these were measured in; None where unknown.
    """

    path: str
    change: str
    renamed_from: str | None = None
    equations: tuple[EquationDiff, ...] = ()
    signature: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    old_status: str | None = None
    new_status: str | None = None
    old_engine: str = ""
    new_engine: str = ""
    old_accuracy: Accuracy = NOT_MEASURED
    new_accuracy: Accuracy = NOT_MEASURED
    old_end_to_end: float | None = None
    new_end_to_end: float | None = None
    old_parameters_removed: int | None = None
    new_parameters_removed: int | None = None
    dtype: str | None = None


@dataclass(frozen=True)
class NodeChange:
    """A node on both sides that is not the same: `what` says in which way.

    `change` is "changed" (another operator, attribute or weight) or "moved" (it reads other nodes).
    """

    change: str
    old: Node
    new: Node
    what: str


@dataclass(frozen=True)
class NodesDiff:
    """The graphs around the blocks, matched by structure.

    Attributes:
        level: "aten", "fx" or "onnx"; None where the two graphs can't be compared, `note` says why.
        pairs: (old, new) name of every matched node.
        added, removed: nodes of one side only.
        changed: matched nodes that are not the same.
        renamed: matched nodes that only have another name.
        old_nodes, new_nodes: both graphs as they are.
    """

    level: str | None = None
    note: str = ""
    pairs: tuple[tuple[str, str], ...] = ()
    added: tuple[Node, ...] = ()
    removed: tuple[Node, ...] = ()
    changed: tuple[NodeChange, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    old_nodes: tuple[Node, ...] = ()
    new_nodes: tuple[Node, ...] = ()

    @property
    def same(self) -> bool:
        return not (self.added or self.removed or self.changed)


@dataclass(frozen=True)
class Fact:
    """One property of the model as text on both sides, e.g. parameters, opset, model class."""

    name: str
    old: str
    new: str


@dataclass(frozen=True)
class ModelDiff:
    """The models as wholes.

    Attributes:
        facts: class, parameters, opset of each domain: all of them, changed or not.
        signature: what of the arguments and results is different, in sentences.
        weights: what became of weights outside of the blocks: (name, "changed" | "added" |
            "removed" | a sentence about dtype or shape).
        output_difference: largest difference of the models' outputs on the same few rows, as a
            share of the old one's largest value; None where that can't be told.
        probe_difference: largest difference of any equation on its probes, likewise.
    """

    facts: tuple[Fact, ...] = ()
    signature: tuple[str, ...] = ()
    weights: tuple[tuple[str, str], ...] = ()
    output_difference: float | None = None
    probe_difference: float | None = None


@dataclass(frozen=True)
class Violation:
    """A difference that the rules don't allow: which rule, where, and what was found."""

    rule: str
    where: str
    message: str


@dataclass(frozen=True)
class Side:
    """What was compared, for headings."""

    source: str
    kind: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class GraphDiff:
    """Differences between two models: equations first, then the graph around them.

    Prints as text; `render` gives other formats.
    """

    old: Side
    new: Side
    blocks: tuple[BlockDiff, ...] = ()
    nodes: NodesDiff = field(default_factory=NodesDiff)
    model: ModelDiff = field(default_factory=ModelDiff)
    rules: Rules = field(default_factory=Rules)
    violations: tuple[Violation, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """Whether nothing was found that the rules don't allow."""
        return not self.violations

    @property
    def equations(self) -> tuple[EquationDiff, ...]:
        """The equations of all blocks."""
        return tuple(one for block in self.blocks for one in block.equations)

    def counts(self) -> dict[str, int]:
        """How many blocks there are of each class that occurs, the gravest first."""
        found = [block.change for block in self.blocks]
        return {name: found.count(name) for name in CLASSES if name in found}

    def to_dict(self) -> dict[str, Any]:
        """Plain data, see `symcompile.diff.formats.json`."""
        from symcompile.diff.formats.json import to_dict

        return to_dict(self)

    def render(self, format: str = "text", **options: Any) -> str:
        """As "text", "md", "json", "github" or "html".

        Raises ValueError for another name.
        """
        from symcompile.diff.formats import FORMATS, render

        files = [one.source for one in (self.old, self.new) if one.kind not in IN_MEMORY]
        if not files or format not in FORMATS:
            return render(self, format, **options)
        with wall("can't show the comparison of", *files, kind=ComparisonError):
            return render(self, format, **options)

    def __str__(self) -> str:
        return self.render("text")

    def _repr_markdown_(self) -> str:
        """What notebooks show."""
        return self.render("md")


def gravest(changes: Sequence[str]) -> str:
    """The class that comes first in CLASSES; identical where there is none."""
    return min(changes, key=CLASSES.index, default=IDENTICAL)
