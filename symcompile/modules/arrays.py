"""Read the arrays that `distill` is given: inputs, outputs, names and weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch

from symcompile.errors import DataError, SymCompileError
from symcompile.expressions.evaluation import Array
from symcompile.modules.foreign import input_names, real_numbers
from symcompile.modules.recording import MIN_SAMPLES, Samples
from symcompile.regression.folds import SMALL
from symcompile.target import Target


def read_arrays(fn: Any, X: Any, y: Any) -> tuple[Array, Array]:
    """X [n_samples, n_inputs] and Y [n_samples, n_outputs] from (fn, X) or (X, Y).

    Raises DataError for anything that is not real, finite and of these shapes, and where the
    callable fails.
    """
    if callable(fn) and not isinstance(fn, (torch.Tensor, np.ndarray)):
        if y is not None:
            raise DataError("distill(fn, X) takes no outputs: the callable gives them")
        inputs, outputs = X, _call(fn, X)
    else:
        if y is not None:
            raise DataError("distill takes (fn, X) or (X, Y)")
        inputs, outputs = fn, X
    a, b = _array(inputs, "X"), _array(outputs, "Y")
    if len(a) != len(b):
        raise DataError(f"X has {len(a)} samples and Y {len(b)}: expected as many of both")
    return a, b


def _call(fn: Callable[[Any], Any], X: Any) -> Any:
    try:
        with torch.no_grad() if isinstance(X, torch.Tensor) else nullcontext():
            return fn(X)
    except SymCompileError:
        raise
    except Exception as error:  # whatever a user's function raises
        lines = str(error).strip().splitlines() or ["no message"]
        raise DataError(
            f"the function can't be called with X ({type(X).__name__}):"
            f" {type(error).__name__}: {lines[0][:300]}"
        ) from error


def _array(values: Any, name: str) -> Array:
    array = real_numbers(values, name)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or array.size == 0:
        raise DataError(f"{name} has shape {list(array.shape)}: expected [n_samples, n_features]")
    if not np.isfinite(array).all():
        raise DataError(f"{name} holds NaN or infinity: leave those samples out")
    return array


def read_names(names: Sequence[str] | None, count: int, given: Any = None) -> tuple[str, ...]:
    """One name for each input: those of the columns where the inputs are `given` as a data frame,
    else x0, x1, ..., where none are given."""
    if names is None:
        return input_names(given) or tuple(f"x{k}" for k in range(count))
    found = Target(".", names=names).names or ()  # type: ignore[arg-type]
    if len(found) != count:
        raise DataError(
            f"{len(found)} names ({', '.join(found)}) for {count} inputs: give one for each"
        )
    return found


def read_weights(weights: Any, count: int) -> Array | None:
    """Weights [n_samples], not negative and not all zero; None for none."""
    if weights is None:
        return None
    given = _array(weights, "weights")
    found = given[:, 0]
    if given.shape != (count, 1) or (found < 0).any() or not found.any():
        raise DataError(f"weights: expected {count} numbers from 0 up, not all 0")
    return found


def split(X: Array, Y: Array, weights: Array | None, holdout: float, seed: int) -> Samples:
    """Samples with a random share held out, of a few none."""
    if len(X) < MIN_SAMPLES:
        raise DataError(f"{len(X)} samples: at least {MIN_SAMPLES} are needed")
    if not np.ptp(X, axis=0).any():
        raise DataError(
            "the inputs never change, so there is nothing to learn: give data that varies"
        )
    held = np.zeros(len(X), dtype=bool)
    if len(X) >= SMALL:
        held[np.random.default_rng(seed).permutation(len(X))[: math.ceil(len(X) * holdout)]] = True
    return Samples(X, Y, held, weights)
