"""A region: one resolved target, with everything needed to call it and to replace it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np
import sympy

from symcompile.errors import ExpressionError
from symcompile.expressions.evaluation import Array, evaluate
from symcompile.expressions.parser import parse_measured
from symcompile.expressions.program import Program, from_sympy
from symcompile.expressions.size_limits import Gauge, Size
from symcompile.modules.samples import Samples
from symcompile.target import Target

Key = int | str


@dataclass(frozen=True)
class Parameter:
    """One parameter of the region's forward, as `inspect` names them.

    `name` carries the stars of `*args` and `**kwargs`. `default` is a literal (None, a number, a
    string) or None where the original default can't be written down.
    """

    name: str
    has_default: bool = False
    default: Any = None


@dataclass(frozen=True)
class TensorInput:
    """One tensor that the region receives.

    Attributes:
        parameter: the forward parameter that holds it.
        keys: the way to it inside the parameter's value, for tuples, lists and dicts.
        features: how many columns of X it fills.
        scalar: its shape is that of the samples, without a feature dimension (it fills one column).
    """

    parameter: str
    keys: tuple[Key, ...]
    features: int
    scalar: bool = False


@dataclass(frozen=True)
class TensorOutput:
    """One tensor that the region returns; the fields are those of TensorInput."""

    features: int
    scalar: bool = False


# A leaf is the number of a TensorOutput, or None; tuples, lists and dicts hold structures.
Structure = Any


def leaves(value: Any, keys: tuple[Key, ...] = ()) -> list[tuple[tuple[Key, ...], Any]]:
    """Everything in nested tuples, lists and dicts, and nothing else, with the way to each."""
    if type(value) in (tuple, list):
        value = dict(enumerate(value))
    elif type(value) is not dict:
        return [(keys, value)]
    return [leaf for key, item in value.items() for leaf in leaves(item, (*keys, key))]


@dataclass(frozen=True)
class Interface:
    """How a region is called and what it returns.

    Everything before the last dimension of a tensor counts as samples. X [n_samples, n_inputs] has
    the features of all inputs side by side, Y [n_samples, n_outputs] those of all outputs.

    Attributes:
        parameters: of the forward.
        inputs, outputs: the tensors, in order.
        structure: what is returned, with the number of a TensorOutput at each tensor's place.
        sample_dims: how many dimensions stand before the features; some blocks insist on it.
        one_by_one: whether the block takes a single sample at a time.
    """

    parameters: tuple[Parameter, ...]
    inputs: tuple[TensorInput, ...]
    outputs: tuple[TensorOutput, ...]
    structure: Structure = 0
    sample_dims: int = 1
    one_by_one: bool = False

    @property
    def n_inputs(self) -> int:
        return sum(spec.features for spec in self.inputs)

    @property
    def n_outputs(self) -> int:
        return sum(spec.features for spec in self.outputs)

    @property
    def input_columns(self) -> tuple[tuple[int, int], ...]:
        """For every column of X: number of the input, and feature within it."""
        return tuple((n, k) for n, spec in enumerate(self.inputs) for k in range(spec.features))

    @property
    def input_slices(self) -> tuple[slice, ...]:
        """For every input: its columns of X."""
        return _slices(self.inputs)

    @property
    def output_slices(self) -> tuple[slice, ...]:
        """For every output: its columns of Y."""
        return _slices(self.outputs)

    @property
    def output_keys(self) -> tuple[tuple[Key, ...], ...]:
        """For every output: the way to its tensor inside of what is returned."""
        ways = {number: keys for keys, number in leaves(self.structure)}
        return tuple(ways[number] for number in range(len(self.outputs)))


def _slices(tensors: Sequence[TensorInput | TensorOutput]) -> tuple[slice, ...]:
    ends = accumulate(tensor.features for tensor in tensors)
    pairs = zip(tensors, ends, strict=True)
    return tuple(slice(end - tensor.features, end) for tensor, end in pairs)


@dataclass(frozen=True)
class Projection:
    """A linear map to a few coordinates, and the one that goes back.

    Coordinates are `(v - mean) @ components.T + offset`, reconstruction is
    `(z - offset) @ basis + mean`, for v [n, d], mean [d], components and basis [k, d], offset [k].

    Attributes:
        basis: left out where it is the components, which are orthonormal then: those of a principal
            component analysis.
        offset: left out where it is zero.
    """

    mean: Array
    components: Array
    basis: Array | None = None
    offset: Array | None = None

    @property
    def directions(self) -> Array:
        """What a unit of each coordinate adds to the reconstruction [k, d]."""
        return self.components if self.basis is None else self.basis

    def project(self, values: Array) -> Array:
        z = np.asarray((values - self.mean) @ self.components.T)
        return z if self.offset is None else z + self.offset

    def reconstruct(self, coordinates: Array) -> Array:
        z = coordinates if self.offset is None else coordinates - self.offset
        return np.asarray(z @ self.directions + self.mean)


@dataclass(frozen=True)
class LowRankMap:
    """An affine map of low rank: `x @ down.T @ up.T + bias`, for x [n, n_inputs], down
    [rank, n_inputs], up [n_outputs, rank], bias [n_outputs]."""

    down: Array
    up: Array
    bias: Array

    @property
    def rank(self) -> int:
        return len(self.down)

    def predict(self, X: Array) -> Array:
        return np.asarray(X @ self.down.T @ self.up.T + self.bias)


@dataclass(frozen=True)
class Region:
    """A resolved target.

    Attributes:
        path: qualified name of the submodule in the captured model; "." is the whole model.
        target: what the user asked for.
        interface: call signature, inputs and outputs.
        names: one name for each column of X.
        dtype: name of the floating type that the block works in, e.g. "float32".
        parameters: scalars in the neural block's parameters.
        calls: how often one forward of the model calls it.
        settings: arguments that are no tensors, by parameter, as every recorded call had them.
        projection_in: reduces X before the features are computed, or None.
        projection_out: Y is reconstructed from the equations' outputs by it, or None.
        affine: what the equations are added to, before or without a projection of Y; or None.
    """

    path: str
    target: Target
    interface: Interface
    names: tuple[str, ...]
    dtype: str = "float32"
    parameters: int = 0
    calls: int = 1
    settings: Mapping[str, Any] = field(default_factory=dict)
    projection_in: Projection | None = None
    projection_out: Projection | None = None
    affine: LowRankMap | None = None

    @cached_property
    def base_names(self) -> tuple[str, ...]:
        """What features are expressions of: the names, or z0, z1, ... after a projection."""
        if self.projection_in is None:
            return self.names
        return tuple(f"z{k}" for k in range(len(self.projection_in.components)))

    @cached_property
    def variables(self) -> tuple[str, ...]:
        """The symbols of the region's equations: its features, else its inputs."""
        features = self.target.features
        return tuple(features) if features else self.base_names

    @cached_property
    def features(self) -> tuple[sympy.Expr, ...]:
        """One expression over `base_names` for each variable."""
        return read_features(self.path, self.target.features or {}, self.base_names)

    @cached_property
    def feature_program(self) -> Program:
        return from_sympy(self.features, self.base_names, 0)

    @property
    def n_equations(self) -> int:
        """How many outputs have an equation of their own (components, after a projection)."""
        if self.projection_out is not None:
            return len(self.projection_out.components)
        return self.interface.n_outputs

    @property
    def equation_outputs(self) -> tuple[int, ...]:
        """The outputs that the target asks equations for."""
        chosen = self.target.outputs
        return tuple(range(self.n_equations)) if chosen is None else chosen

    def variable_values(self, X: Array) -> Array:
        """Values of the variables [n_samples, n_variables] for inputs X [n_samples, n_inputs]."""
        if self.projection_in is not None:
            X = self.projection_in.project(X)
        return evaluate(self.feature_program, X, ()) if self.target.features else X

    def equation_values(self, X: Array, Y: Array) -> Array:
        """What the equations have to give [n_samples, n_equations] for inputs X and outputs Y."""
        rest = Y if self.affine is None else Y - self.affine.predict(X)
        return rest if self.projection_out is None else self.projection_out.project(rest)

    def output_values(self, X: Array, values: Array) -> Array:
        """Outputs [n_samples, n_outputs] where the equations give `values` [n_samples, n_equations]
        for inputs X."""
        Y = values if self.projection_out is None else self.projection_out.reconstruct(values)
        return Y if self.affine is None else Y + self.affine.predict(X)

    def equation_samples(self, samples: Samples) -> Samples:
        """Samples of the variables, and of what the equations have to give."""
        V, Y = self.variable_values(samples.X), self.equation_values(samples.X, samples.Y)
        return replace(samples, X=V, Y=Y)


def read_features(
    path: str, definitions: Mapping[str, str], names: Sequence[str]
) -> tuple[sympy.Expr, ...]:
    """Features over `names`; without definitions the names themselves.

    A feature may use those defined before it. ExpressionError names target and feature.
    """
    if not definitions:
        return tuple(sympy.Symbol(name) for name in names)
    expressions: dict[str, sympy.Expr] = {}
    sizes: dict[str, Size] = {}
    gauge = Gauge()
    for name, text in definitions.items():
        try:
            expr, sizes[name] = parse_measured(text, [*names, *expressions], sizes, gauge)
        except ExpressionError as error:
            raise ExpressionError(f"target {path!r}, feature {name!r}: {error}") from None
        expressions[name] = expr.xreplace(
            {sympy.Symbol(n): value for n, value in expressions.items()}
        )
    gauge.done(sum(len(text) for text in definitions.values()) // 4)
    return tuple(expressions.values())
