"""What an ONNX file says of its model and its targets: a manifest's rows, and what tells the nodes
of a target in the graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from symcompile.storage.codecs import (
    FINITE,
    NAME,
    by_name,
    inside,
    integer,
    many,
    pair,
    shared,
)
from symcompile.storage.schema import ModelRow, RegionRow

_NAMES = many(NAME)
_FEATURES = many(integer(0, 100_000), 1_000)
_SIGNATURE = many(pair(NAME, integer(0, 32)), 1_000)


@dataclass(frozen=True)
class FlatCall:
    """A call of a block whose nodes stand in the graph, instead of one that calls a function.

    Attributes:
        name: of the call; the nodes' names begin with it, a slash follows.
        function: whose body it is.
        inputs, outputs: values in the graph, in the order of the function's signature.
        nodes: how many there are.
        path: of the block.
    """

    name: Annotated[str, inside(NAME, "call")]
    function: Annotated[str, NAME]
    inputs: Annotated[tuple[str, ...], _NAMES]
    outputs: Annotated[tuple[str, ...], _NAMES]
    nodes: Annotated[int, integer(1)]
    path: str = ""


@dataclass(frozen=True)
class TensorFeatures:
    """Features of the tensors that go in and come out; 0 where they have no such dimension."""

    inputs: Annotated[tuple[int, ...], _FEATURES] = ()
    outputs: Annotated[tuple[int, ...], _FEATURES] = ()


@dataclass(frozen=True)
class Reconstruction:
    """Mean [d] and components [k, d] of the projection of a block's outputs."""

    mean: Annotated[tuple[float, ...], many(FINITE)] = ()
    components: Annotated[tuple[Any, ...], many(many(FINITE))] = ()


@dataclass(frozen=True)
class TargetRow(RegionRow):
    """A region in an ONNX file; `calls` is how often the graph calls it.

    `functions` are the names of its functions, none in flat mode, `signatures` dtype and rank of
    each tensor that goes into one, `flat` the calls in flat mode.
    """

    path: Annotated[str | None, NAME] = None
    functions: Annotated[tuple[str, ...] | None, _NAMES] = None
    signatures: Annotated[Mapping[str, Any] | None, by_name(_SIGNATURE)] = None
    tensors: Annotated[TensorFeatures | None, shared(TensorFeatures)] = None
    reconstruction: Annotated[Reconstruction | None, shared(Reconstruction)] = None
    flat: Annotated[tuple[FlatCall, ...] | None, many(shared(FlatCall))] = None


@dataclass(frozen=True)
class OnnxModelRow(ModelRow):
    """The model in an ONNX file: `targets` tells what must be there, `scalars` are weights of a
    single number, which look like constants in a graph."""

    targets: Annotated[tuple[str, ...] | None, _NAMES] = None
    scalars: Annotated[tuple[str, ...] | None, _NAMES] = None


TARGET_ROW, ONNX_MODEL = shared(TargetRow), shared(OnnxModelRow)
