"""Measure a rewrite against the block it replaces, beside its controls, and refuse what fails.

Everything here takes what it measures as arguments and changes nothing. What is measured on the
whole model is in `symcompile.end_to_end` and `symcompile.latency`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from symcompile.domain_check import check
from symcompile.equation import Equation
from symcompile.errors import DataError
from symcompile.evaluation import Array, input_jacobian
from symcompile.fidelity import ROUNDING, Controls, agreement, controls, relative_l2
from symcompile.region import Region
from symcompile.rewrite import (
    Agreement,
    DomainIssue,
    EndToEnd,
    Fidelity,
    Latency,
    OutputFidelity,
)

Rows = Callable[[Array], Array]

# How far beyond the recorded range inputs are drawn, as a share of each input's span.
BEYOND = 0.2
_EXTRAPOLATION_ROWS = 1024
_GRADIENT_ROWS = 512
_GRADIENT_ENTRIES = 20_000_000
_MOVES = 256


class Samples(NamedTuple):
    """Raw inputs X [n_samples, n_inputs] and outputs Y [n_samples, n_outputs] of a region."""

    X: Array
    Y: Array


def measure(
    region: Region,
    equations: Mapping[int, Equation],
    fit: Samples,
    holdout: Samples,
    *,
    neural: Rows | None = None,
    neural_gradient: Rows | None = None,
    baseline: Controls | None = None,
    end_to_end: EndToEnd | None = None,
    latency: Sequence[Latency] = (),
    seed: int = 0,
) -> Fidelity:
    """Fidelity of the equations of one region.

    Args:
        equations: by number of the equation; where the region projects its outputs these give
            components, and `outputs` of the result compares components, `total` real outputs.
        fit: what equations and controls were fitted to.
        holdout: what neither has seen.
        neural: the block on raw rows, [n, n_inputs] -> [n, n_outputs]; without it there is no
            extrapolation. See `autograd`.
        neural_gradient: its derivatives, [n, n_inputs] -> [n, n_outputs, n_inputs].
        baseline: the controls, where they are at hand already.

    Raises:
        DataError: a holdout without rows, or arrays that do not fit the region.
    """
    X, Y = holdout
    if len(X) == 0:
        raise DataError(
            f"target {region.path!r}: no held-out samples: raise holdout= or n_samples="
        )
    baseline = baseline or controls(fit.X, fit.Y)
    recorded = np.concatenate([fit.X, X])
    parts = (
        _on_holdout(region, equations, X, Y, baseline),
        _extrapolations(region, equations, recorded, neural, seed),
        _gradients(region, equations, X, recorded, neural_gradient),
    )
    rows = {key: _row(key, *parts) for key in (*sorted(equations), _TOTAL)}
    total = rows.pop(_TOTAL)
    issues: list[DomainIssue] = []
    for output, equation in sorted(equations.items()):
        issues.extend(check(equation, region, recorded, output, seed=seed))
    removed = region.parameters if set(equations) == set(range(region.n_equations)) else 0
    return Fidelity(rows, end_to_end, removed, tuple(issues), tuple(latency), total)


# Key of the row that takes all replaced outputs together.
_TOTAL = -1


def _row(
    key: int,
    held_out: Mapping[int, tuple[Agreement, Agreement, Agreement]],
    extrapolations: Mapping[int, Agreement],
    gradients: Mapping[int, float],
) -> OutputFidelity:
    beyond = extrapolations.get(key, Agreement())
    return OutputFidelity(*held_out[key], beyond, gradients.get(key, math.nan))


def _compare(
    region: Region, keys: Sequence[int], predicted: Array, Y: Array
) -> dict[int, Agreement]:
    """Agreement by equation, and of the real outputs they stand for together.

    Args:
        predicted: what each equation of `keys` gives [n, n_keys]. Y: real outputs [n, n_outputs].
    """
    wanted = region.equation_values(Y)[:, list(keys)]
    found = {
        key: agreement(predicted[:, column], wanted[:, column]) for column, key in enumerate(keys)
    }
    found[_TOTAL] = agreement(*_real(region, keys, predicted, Y))
    return found


def _real(region: Region, keys: Sequence[int], predicted: Array, Y: Array) -> tuple[Array, Array]:
    """Predictions and truth in the block's real outputs; components left neural are exact."""
    if region.projection_out is None:
        return predicted, Y[:, list(keys)]
    components = region.equation_values(Y).copy()
    components[:, list(keys)] = predicted
    return region.projection_out.reconstruct(components), Y


def _predict(region: Region, equations: Mapping[int, Equation], X: Array) -> Array:
    """Value of every equation, by ascending number, [n, n_equations], for raw rows."""
    variables = region.variable_values(X)
    return np.stack([equations[key].predict(variables) for key in sorted(equations)], axis=1)


def _on_holdout(
    region: Region, equations: Mapping[int, Equation], X: Array, Y: Array, baseline: Controls
) -> dict[int, tuple[Agreement, Agreement, Agreement]]:
    """Equation, mean and linear map, by equation and in total."""
    keys = sorted(equations)
    found = [_compare(region, keys, _predict(region, equations, X), Y)]
    for control in baseline:
        predicted = region.equation_values(control.predict(X))[:, keys]
        found.append(_compare(region, keys, predicted, Y))
    return {key: (found[0][key], found[1][key], found[2][key]) for key in found[0]}


def shell(X: Array, n_samples: int, seed: int = 0) -> Array:
    """Inputs just beyond the recorded range [up to n_samples, n_inputs].

    Recorded rows are moved straight away from their mean until at least one input is beyond its
    recorded range, and none by more than 20 % of its span. So inputs keep the relations that are
    linear in the data, and those that never vary keep their value: with correlated inputs, a plain
    sample of the widened box would mostly ask about inputs that can't occur.
    """
    rng = np.random.default_rng(seed)
    low, high, centre = X.min(axis=0), X.max(axis=0), X.mean(axis=0)
    span = high - low
    moves = np.resize(rng.permutation(X), (n_samples, X.shape[1])) - centre
    moves[:, span <= ROUNDING * np.abs(X).max(axis=0)] = 0.0
    moves = moves[np.abs(moves).max(axis=1, initial=0.0) > 0]
    near = _steps_to(moves, low - centre, high - centre)
    far = _steps_to(moves, low - BEYOND * span - centre, high + BEYOND * span - centre)
    depth = 1.0 - 0.999 * rng.random(len(moves))  # never quite at the border
    return np.asarray(centre + (near + depth * (far - near))[:, None] * moves)


def _steps_to(moves: Array, low: Array, high: Array) -> Array:
    """How many times each move can be made before it leaves the box, [n_samples]."""
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.where(moves > 0, high / moves, low / moves)
    return np.where(moves == 0, np.inf, steps).min(axis=1, initial=np.inf)


def _extrapolations(
    region: Region,
    equations: Mapping[int, Equation],
    recorded: Array,
    neural: Rows | None,
    seed: int,
) -> dict[int, Agreement]:
    if neural is None:
        return {}
    X = shell(recorded, _EXTRAPOLATION_ROWS, seed)
    if len(X) == 0:
        return {}
    Y = np.asarray(neural(X), dtype=np.float64)
    usable = np.isfinite(Y).all(axis=1)
    return _compare(region, sorted(equations), _predict(region, equations, X[usable]), Y[usable])


def equation_gradients(region: Region, equations: Mapping[int, Equation], X: Array) -> Array:
    """Derivatives of the equations, by ascending number, by the raw inputs of their region.

    Returns:
        [n_samples, n_equations, n_inputs] for X [n_samples, n_inputs], by the chain rule through
        features and projection.
    """
    base = X if region.projection_in is None else region.projection_in.project(X)
    variables = region.variable_values(X)
    by_variable = np.concatenate(
        [
            input_jacobian(equations[key].program, variables, equations[key].constants)
            for key in sorted(equations)
        ],
        axis=1,
    )
    if region.target.features:
        by_variable = by_variable @ input_jacobian(region.feature_program, base, ())
    if region.projection_in is not None:
        by_variable = by_variable @ region.projection_in.components
    return np.asarray(by_variable)


def _spread(X: Array) -> Array:
    """Moves [n_inputs, n_moves] whose squares add up to the inputs' covariance.

    Derivatives times these are changes of the output for moves as the data makes them. That frees
    the comparison from the inputs' units, and from directions in which no recorded input ever
    moves: there the block's derivatives mean nothing. For many inputs the moves are those of some
    recorded rows from their mean.
    """
    if X.shape[1] > _MOVES:
        X = X[np.unique(np.linspace(0, len(X) - 1, _MOVES).astype(int))]
        return np.asarray((X - X.mean(axis=0)).T / np.sqrt(len(X)))
    unit = np.maximum(np.abs(X).max(axis=0), np.finfo(np.float64).tiny)
    covariance = np.atleast_2d(np.cov(X / unit, rowvar=False, bias=True))
    squares, vectors = np.linalg.eigh(covariance)
    squares = np.where(squares > ROUNDING * squares[-1], squares, 0.0)
    return np.asarray(unit[:, None] * vectors * np.sqrt(squares))


def _gradients(
    region: Region,
    equations: Mapping[int, Equation],
    X: Array,
    recorded: Array,
    neural_gradient: Rows | None,
) -> dict[int, float]:
    if neural_gradient is None:
        return {}
    width = max(region.interface.n_outputs * X.shape[1], 1)
    X = X[: max(1, min(_GRADIENT_ROWS, _GRADIENT_ENTRIES // width))]
    keys, spread = sorted(equations), _spread(recorded)
    predicted = equation_gradients(region, equations, X) @ spread
    true = np.asarray(neural_gradient(X), dtype=np.float64) @ spread
    usable = np.isfinite(true).all(axis=(1, 2))
    predicted, true = predicted[usable], true[usable]
    wanted = true
    if region.projection_out is not None:
        wanted = np.einsum("ko,noi->nki", region.projection_out.components, true)
    found = {
        key: relative_l2(predicted[:, column], wanted[:, key]) for column, key in enumerate(keys)
    }
    found[_TOTAL] = relative_l2(*_real_gradients(region, keys, predicted, wanted, true))
    return found


def _real_gradients(
    region: Region, keys: Sequence[int], predicted: Array, wanted: Array, true: Array
) -> tuple[Array, Array]:
    if region.projection_out is None:
        return predicted, true[:, keys]
    components = wanted.copy()
    components[:, keys] = predicted
    return np.einsum("ko,nki->noi", region.projection_out.components, components), true


def autograd(
    call: Callable[[torch.Tensor], torch.Tensor],
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> tuple[Rows, Rows]:
    """`neural` and `neural_gradient` of a block, from `call`: [n, n_inputs] -> [n, n_outputs].

    Each row of the output must depend on its own row of the input only, as a region's does; in a
    block that mixes rows the derivatives by other rows are added in. A block that has no
    derivatives, or that torch can't differentiate, gives an array of NaN.
    """

    def values(X: Array) -> Array:
        with torch.no_grad():
            return _to_array(call(torch.as_tensor(X, dtype=dtype, device=device)))

    def gradient(X: Array) -> Array:
        with torch.enable_grad():
            rows = torch.as_tensor(X, dtype=dtype, device=device).clone().requires_grad_()
            try:
                outputs = call(rows.clone())  # a block may write into its inputs
                slopes = [_slope(outputs, column, rows) for column in range(outputs.shape[1])]
            except RuntimeError:
                return np.full((len(X), values(X[:1]).shape[1], X.shape[1]), np.nan)
        return np.stack([_to_array(slope) for slope in slopes], axis=1)

    return values, gradient


def _slope(outputs: torch.Tensor, column: int, rows: torch.Tensor) -> torch.Tensor:
    (slope,) = torch.autograd.grad(
        outputs[:, column].sum(), rows, retain_graph=True, allow_unused=True
    )
    return torch.zeros_like(rows) if slope is None else slope


def _to_array(tensor: torch.Tensor) -> Array:
    return np.asarray(tensor.detach().cpu().to(torch.float64).numpy())


def refusal_reason(
    fidelity: Fidelity, tolerance: float | None, beat_linear: bool, *, region: Region
) -> str | None:
    """Why a rewrite must not be made, with the figures and what to type; None if it may be.

    Refused are equations undefined on recorded samples or not finite on held-out ones, always;
    those above `tolerance` (relative L2, held out) where one is given; and those worse than a
    linear map under `beat_linear`. Each output counts for itself; after a projection of the
    outputs, the real outputs count together.
    """
    rows = {f"output {key}": row for key, row in fidelity.outputs.items()}
    if region.projection_out is not None and fidelity.total is not None:
        rows = {"outputs": fidelity.total}
    for problems, advice in (
        (_undefined(fidelity), _OTHER_FORM),
        (_not_finite(rows), _OTHER_FORM),
        (_above(rows, tolerance), _ABOVE.format(tolerance=tolerance)),
        (_worse_than_linear(rows) if beat_linear else [], _WORSE),
    ):
        if problems:
            insist = f"or insist with compiled.choose({region.path!r}, complexity=...)"
            return f"{_listed(problems)}. {advice}, {insist}."
    return None


_OTHER_FORM = (
    "Try operators= without the one in trouble, features= that stay clear of it, another seed="
)
_SEARCH_MORE = "a larger max_complexity=, more operators=, features=, a longer budget="
_ABOVE = "Tolerance is {tolerance}: raise tolerance=, try " + _SEARCH_MORE
_WORSE = "Try " + _SEARCH_MORE + ", leave out beat_linear="


def _undefined(fidelity: Fidelity) -> list[str]:
    return [
        f"output {issue.output} is undefined on recorded samples: in {_short(issue.operation)}"
        f" {issue.problem} at {_point(issue.where)}"
        for issue in fidelity.domain
        if issue.on_data
    ]


def _not_finite(rows: Mapping[str, OutputFidelity]) -> list[str]:
    return [
        f"{name} is not finite on held-out samples"
        for name, row in rows.items()
        if not math.isfinite(row.equation.max_error)
    ]


def _above(rows: Mapping[str, OutputFidelity], tolerance: float | None) -> list[str]:
    if tolerance is None:
        return []
    return [
        f"{name}: relative L2 {row.equation.relative_l2:.3g} on held-out samples"
        for name, row in rows.items()
        if not row.equation.relative_l2 <= tolerance
    ]


def _worse_than_linear(rows: Mapping[str, OutputFidelity]) -> list[str]:
    return [
        f"{name} is worse than a linear map of the same inputs: relative L2"
        f" {row.equation.relative_l2:.3g} against {row.linear.relative_l2:.3g}"
        for name, row in rows.items()
        if not row.beats_linear
    ]


def _listed(problems: list[str], most: int = 3) -> str:
    more = [f"and {len(problems) - most} more"] if len(problems) > most else []
    text = "; ".join(problems[:most] + more)
    return text[0].upper() + text[1:]


def _short(text: str, most: int = 60) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."


def _point(where: Mapping[str, float], most: int = 4) -> str:
    shown = [f"{name} = {value:.4g}" for name, value in list(where.items())[:most]]
    return ", ".join(shown + ["..."] * (len(where) > most)) or "every input"
