"""What a comparison knows of one side: the same facts, whatever they were read from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from symcompile.expressions.equation import Equation
from symcompile.expressions.evaluation import Array
from symcompile.storage.schema import ModelProbes, Node, Shape, Span, Tensor

UNKNOWN_RANK: Shape = ("...",)

IN_MEMORY = ("Compiled", "GraphModule")


@dataclass(frozen=True)
class Accuracy:
    """How well an equation, or a whole block, does on held-out samples; None if not measured."""

    r2: float | None = None
    relative_l2: float | None = None
    max_error: float | None = None
    extrapolation: float | None = None  # relative L2 up to 20 % beyond the recorded range
    linear: float | None = None  # relative L2 of a linear map in its place


NOT_MEASURED = Accuracy()


@dataclass(frozen=True)
class Output:
    """One equation of a block.

    Attributes:
        equation: built from the stored program; its text is written anew, never read.
        operators: how many operators it has.
    """

    equation: Equation
    operators: int
    accuracy: Accuracy = NOT_MEASURED


@dataclass(frozen=True)
class Block:
    """A region: symbolic, or neural with a reason.

    Attributes:
        path: qualified name; "." is the whole model.
        status: "symbolic" or "neural".
        reason: why it is neural.
        dtype: floating type that it works in; None where unknown.
        inputs: recorded range of each input by name, in order; None where it is not known.
        n_outputs: columns that the block gives; None where unknown.
        features: definitions of the variables, where they are not the inputs themselves.
        projections: digests of the projections of inputs and outputs, and of the affine map, by
            "in", "out" and "affine".
        outputs: the equations by number.
        probes: values of the equations' variables, [n_probes, n_variables] in float64.
        digest: of the weights of a neural block.
        accuracy: of all outputs together.
        end_to_end: relative L2 change of the model's output when the block is replaced.
        provenance: engine, its version and options, seed, sample counts, as plain data.
    """

    path: str
    status: str
    reason: str = ""
    dtype: str | None = None
    inputs: Mapping[str, Span | None] = field(default_factory=dict)
    n_outputs: int | None = None
    features: Mapping[str, str] = field(default_factory=dict)
    projections: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[int, Output] = field(default_factory=dict)
    probes: Array = field(default_factory=lambda: np.empty((0, 0)))
    digest: str | None = None
    accuracy: Accuracy = NOT_MEASURED
    end_to_end: float | None = None
    parameters_removed: int | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def symbolic(self) -> bool:
        return self.status == "symbolic"


@dataclass(frozen=True)
class Snapshot:
    """One side of a comparison.

    Attributes:
        source: name of the file, or the type of the object.
        kind: "Compiled", "artifact", "manifest", "ONNX", "GraphModule" or "nothing" (/dev/null).
        family: "torch" or "onnx": names of weights and arguments compare within one family only.
        equations_known: False for a plain GraphModule and a foreign ONNX file.
        blocks: by qualified name.
        model: name of the model's class.
        inputs, outputs: of the model, by name, in order.
        parameters: scalars in the model's parameters; None where unknown.
        opsets: version of each ONNX operator domain.
        weights: those outside of the blocks, by qualified name.
        level: "aten", "fx" or "onnx", what `nodes` are nodes of; None where there is no graph.
        nodes: in an order in which every node stands after those it reads.
        notes: what a reader of the comparison has to know about this side.
    """

    source: str
    kind: str
    family: str = "torch"
    equations_known: bool = True
    blocks: Mapping[str, Block] = field(default_factory=dict)
    model: str | None = None
    inputs: Mapping[str, Tensor] = field(default_factory=dict)
    outputs: Mapping[str, Tensor] = field(default_factory=dict)
    parameters: int | None = None
    opsets: Mapping[str, int] = field(default_factory=dict)
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    level: str | None = None
    nodes: tuple[Node, ...] = ()
    probes: ModelProbes | None = None
    notes: tuple[str, ...] = ()

    @property
    def from_file(self) -> bool:
        """Whether anyone may have written it."""
        return self.kind not in IN_MEMORY
