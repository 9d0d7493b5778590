"""What a comparison found: plain records that every output format shows."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from symcompile.diff.rules import Rules
from symcompile.diff.snapshot import IN_MEMORY, NOT_MEASURED, Accuracy, Output
from symcompile.errors import ComparisonError
from symcompile.storage.equations import DIGITS
from symcompile.storage.reading import wall
from symcompile.storage.schema import Node


class Change(StrEnum):
    """What became of an equation or a block, the gravest first: a block has the class of the
    gravest of its equations."""

    SIGNATURE = "signature changed"
    CHANGED = "structure changed"
    ADDED = "added"
    REMOVED = "removed"
    DRIFTED = "coefficients drifted"
    WEIGHTS = "weights changed"  # of a block that is neural on both sides
    REWRITTEN = "rewritten, same function"
    IDENTICAL = "identical"


CLASSES = tuple(Change)


@dataclass(frozen=True)
class CoefficientDiff:
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
class EquationSide:
    """An equation on one side.

    Attributes:
        text: with six significant digits.
        marks: (start, end) of the sub-expressions in the text that are not in the other one,
            ascending and apart.
        complexity, operators: None where unknown.
    """

    text: str
    marks: tuple[tuple[int, int], ...] = ()
    complexity: int | None = None
    operators: int | None = None
    accuracy: Accuracy = NOT_MEASURED

    @classmethod
    def of(cls, output: Output) -> EquationSide:
        equation = output.equation
        text, accuracy = equation.text(DIGITS), output.accuracy
        return cls(text, (), equation.complexity, output.operators, accuracy)


@dataclass(frozen=True)
class BlockSide:
    """A block on one side.

    Attributes:
        status: "symbolic" or "neural".
        engine: name, version and seed of the search, "" where unknown.
        accuracy: of all outputs together.
        end_to_end: relative L2 change of the model's output.
    """

    status: str
    engine: str = ""
    accuracy: Accuracy = NOT_MEASURED
    end_to_end: float | None = None
    parameters_removed: int | None = None


class _TwoSided:
    """A record with a side that may be missing on the left, and one on the right."""

    old: Any
    new: Any

    def both(self, field: str, missing: Any = None) -> tuple[Any, Any]:
        """A field of the old and of the new side; `missing` where there is no such side."""
        old, new = self.old, self.new
        return (
            missing if old is None else getattr(old, field),
            missing if new is None else getattr(new, field),
        )


@dataclass(frozen=True)
class EquationDiff(_TwoSided):
    """What became of one equation.

    Attributes:
        path, output: which one, by its name on the new side if there is one.
        old, new: its sides; None where it is not there.
        coefficients: all constants, where the form is the same; else empty.
        difference: largest difference on the points, as a share of the old one's largest value;
            NaN where they can't be compared.
        points: on how many points that was.
        evidence: how "same function" was decided, for people; "" where it was not a question.
        dtype: floating type that the accuracies were measured in; None where unknown.
    """

    path: str
    output: int
    change: Change
    old: EquationSide | None
    new: EquationSide | None
    coefficients: tuple[CoefficientDiff, ...] = ()
    difference: float = math.nan
    points: int = 0
    evidence: str = ""
    dtype: str | None = None

    @property
    def place(self) -> str:
        """What the rules call it: path[output]."""
        return f"{self.path}[{self.output}]"


@dataclass(frozen=True)
class BlockDiff(_TwoSided):
    """What became of one block.

    Attributes:
        path: its qualified name; on the new side where it is on both.
        change: the gravest class of its equations.
        renamed_from: its name on the old side, if that was another one.
        old, new: its sides; None where it is not there.
        equations: one for each output that has an equation on either side.
        signature: what of its inputs, features, outputs or dtype is different, in sentences.
        notes: what else is different and no reason to fail: engine, seed, recorded ranges.
        dtype: floating type that the figures were measured in; None where unknown.
    """

    path: str
    change: Change
    renamed_from: str | None = None
    old: BlockSide | None = None
    new: BlockSide | None = None
    equations: tuple[EquationDiff, ...] = ()
    signature: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
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

    def counts(self) -> dict[str, int]:
        """How many nodes are not the same, by "added", "removed", "changed" and "moved"."""
        changes = [change.change for change in self.changed]
        moved = {change: changes.count(change) for change in ("changed", "moved")}
        return {"added": len(self.added), "removed": len(self.removed), **moved}


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
        return tuple(equation for block in self.blocks for equation in block.equations)

    def counts(self) -> dict[str, int]:
        """How many blocks there are of each class that occurs, the gravest first."""
        changes = [block.change for block in self.blocks]
        return {change: changes.count(change) for change in CLASSES if change in changes}

    def to_dict(self) -> dict[str, Any]:
        """Plain data, see `symcompile.diff.formats.json`."""
        from symcompile.diff.formats.json import to_dict

        return to_dict(self)

    def render(self, format: str = "text", **options: Any) -> str:
        """As "text", "md", "json", "github" or "html".

        Raises ValueError for another name.
        """
        from symcompile.diff.formats import FORMATS, render

        files = [side.source for side in (self.old, self.new) if side.kind not in IN_MEMORY]
        if not files or format not in FORMATS:
            return render(self, format, **options)
        with wall("can't show the comparison of", *files, kind=ComparisonError):
            return render(self, format, **options)

    def __str__(self) -> str:
        return self.render("text")

    def _repr_markdown_(self) -> str:
        """What notebooks show."""
        return self.render("md")
