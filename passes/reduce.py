"""Reduce: bring wide inputs and outputs down to a few coordinates before the search.

Affine maps are fitted here, too, whose rest the equations explain; and sums of products, which
leave nothing to be searched for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, cast

from torch import nn

from symcompile.errors import TargetError
from symcompile.expressions.equation import Equation
from symcompile.expressions.evaluation import Array
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.parser import parse
from symcompile.modules.region import LowRankMap, Projection, Region
from symcompile.modules.samples import Samples
from symcompile.pipeline import Instrumented, Known, Reduced
from symcompile.reduction.linear import Metric, Regression, principal
from symcompile.reduction.neurons import units_of
from symcompile.reduction.products import ProductsFit, texts_of
from symcompile.regression.pareto import ParetoFront
from symcompile.target import PCA, Products, ReducedRank, Reduction

# What products and their gates are made of.
_OPERATORS = ("+", "*", "sigmoid")


@dataclass(frozen=True)
class ReducePass:
    """Reduce the regions whose targets ask for it.

    Attributes:
        seed: of what is fitted by gradient descent.
    """

    seed: int = 0
    name: ClassVar[str] = "reduce"

    def run(self, state: Instrumented) -> Reduced:
        recording, known = state.recording, dict[str, Known]()
        regions = {}
        for path, region in recording.regions.items():
            block = state.root if path == "." else state.root.get_submodule(path)
            regions[path] = reduce(region, recording.samples[path], block, self.seed)
            regions[path].features  # noqa: B018  (they may be of coordinates that are there now)
            if isinstance(asked := _reduction(region), Products):
                known[path] = _known(regions[path], recording.samples[path], asked)
        if any(regions[path] is not region for path, region in recording.regions.items()):
            recording = replace(recording, regions=regions)
        return Reduced(**{**vars(state), "recording": recording}, known=known)


def reduce(
    region: Region, samples: Samples, block: nn.Module | None = None, seed: int = 0
) -> Region:
    """The region with what its target asks for, fitted on the fit samples.

    Args:
        block: the region's module, whose own units may be a start.

    Raises TargetError if more components are asked for than there are features, or if single
    outputs are chosen as well.
    """
    asked, rank = _reduction(region), region.target.affine
    if asked is None and rank is None:
        return region
    _check(region, samples)
    metric = Metric.of(samples.metric, region.interface.n_outputs)
    X, Y = samples.X_fit, samples.Y_fit
    if isinstance(asked, Products):
        units = [] if block is None else units_of(region, block, X)
        found = ProductsFit(X, Y, asked, rank or 0, units, metric, seed).run()
        return _with(region, found.coordinates, found.directions, found.affine)
    affine = None if rank is None else Regression(X, Y, metric).of_rank(rank)
    if asked is None:
        return _with(region, None, None, affine)
    rest = Y if affine is None else Y - affine.predict(X)
    if isinstance(asked, ReducedRank):
        # Of what the linear map leaves nothing is linear: its inputs are those of the block.
        whole = Regression(X, Y, metric)
        projections = (
            None if asked.inputs is None else whole.inputs(asked.inputs),
            None if asked.outputs is None else _outputs(X, rest, metric, asked.outputs, affine),
        )
        return _with(region, *projections, affine)
    assert isinstance(asked, PCA)
    return _with(
        region,
        None if asked.inputs is None else principal(X, asked.inputs),
        None if asked.outputs is None else principal(rest, asked.outputs),
        affine,
    )


def _reduction(region: Region) -> Reduction | None:
    """What a target asks for, as it was read."""
    return cast("Reduction | None", region.target.reduce)


def _outputs(
    X: Array, rest: Array, metric: Metric, count: int, affine: LowRankMap | None
) -> Projection:
    """Directions that a linear map writes, or beside such a map those in which most is left."""
    if affine is None:
        return Regression(X, rest, metric).outputs(count)
    axes = principal(rest @ metric.root, count)
    components, basis = axes.components @ metric.root, axes.components @ metric.inverse
    return Projection(rest.mean(axis=0), components, basis)


def _with(
    region: Region,
    inputs: Projection | None,
    outputs: Projection | None,
    affine: LowRankMap | None,
) -> Region:
    return replace(region, projection_in=inputs, projection_out=outputs, affine=affine)


def _check(region: Region, samples: Samples) -> None:
    """TargetError where the target asks for what there is not."""
    asked, target, path = _reduction(region), region.target, region.path
    projected = asked is not None and (isinstance(asked, Products) or asked.outputs is not None)
    for option, given in (("reduce= of the outputs", projected), ("affine=", target.affine)):
        if given and target.outputs is not None:
            raise TargetError(f"target {path!r}: outputs= and {option} exclude each other")
    if isinstance(asked, Products) and target.features:
        raise TargetError(
            f"target {path!r}: features= are for a search, and Products({asked.terms}) needs none:"
            " leave out one of the two"
        )
    n, (n_in, n_out) = len(samples.X_fit), (samples.X.shape[1], samples.Y.shape[1])
    counts: list[tuple[str, int | None, int]] = [("affine", target.affine, min(n, n_in, n_out))]
    if isinstance(asked, PCA):
        counts += [
            ("inputs", asked.inputs, min(n, n_in)),
            ("outputs", asked.outputs, min(n, n_out)),
        ]
    elif isinstance(asked, ReducedRank):
        most = min(n, n_in, n_out)
        counts += [("inputs", asked.inputs, most), ("outputs", asked.outputs, most)]
    for what, count, limit in counts:
        if count is None or count <= limit:
            continue
        if what == "affine":
            raise TargetError(
                f"target {path!r}: affine asks for a rank of {count}, at most {limit} fits {n}"
                f" samples of {n_in} inputs and {n_out} outputs"
            )
        width = n_in if what == "inputs" else n_out
        raise TargetError(
            f"target {path!r}: reduce asks for {count} components of the {what}, at most {limit}"
            f" fit {n} samples of {width} features"
        )


def _known(region: Region, samples: Samples, products: Products) -> Known:
    """The terms of a block, each a front of one."""
    operators = OperatorSet.of(_OPERATORS)
    names, of_terms = region.variables, region.equation_samples(samples)
    fronts = {}
    for number, text in enumerate(texts_of(products)):
        equation = Equation.of(parse(text, names), names, operators)
        fit, judged = of_terms.datasets(number)
        holdout, squares = judged.losses_of(equation)
        loss = fit.loss_of(equation)
        scored = replace(equation, loss=loss, holdout_loss=holdout, holdout_mse=squares)
        fronts[number] = ParetoFront((scored,), judged.variance)
    described = {"name": "products", "operators": operators.to_dict()}
    return Known(fronts, described)
