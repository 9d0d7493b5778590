"""Arrays that users hand in, of whatever library: frames, series, masked and sparse arrays, lists.

Nothing of those libraries is imported: a frame is what has named columns and a shape. What is no
real number (text, dates, complex numbers, masked and missing entries) is refused by name; it is
never turned into one.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from decimal import Decimal
from typing import Any

import numpy as np
import torch

from symcompile.errors import DataError, SymCompileError, described
from symcompile.expressions.evaluation import Array
from symcompile.modules.samples import MIN_SAMPLES, Samples, random_holdout
from symcompile.target import Target, is_name

_KINDS = {"U": "text", "S": "text", "T": "text", "M": "dates", "m": "spans of time", "V": "records"}


def real_numbers(values: Any, name: str) -> Array:
    """Anything that holds real numbers as float64, in its shape; DataError names the rest."""
    array = as_array(values, name)
    if array.dtype.kind == "c":
        raise DataError(
            f"{name} is complex ({array.dtype}), and equations are of real numbers: give its real"
            f" and imaginary parts as two columns, numpy.stack([{name}.real, {name}.imag], 1)"
        )
    with np.errstate(over="ignore"):  # too large for float64: infinite, which is refused later
        return array.astype(np.float64)


def as_array(values: Any, name: str) -> Array:
    """The same as an array of numbers in their own dtype, complex ones among them."""
    if isinstance(values, torch.Tensor):
        return _of_tensor(values, name)
    if is_frame(values):
        return _of_frame(values, name)
    if isinstance(values, (list, tuple)) and any(isinstance(v, np.ma.MaskedArray) for v in values):
        values = np.ma.array(values)  # numpy would join them without their masks
    if isinstance(values, np.ma.MaskedArray):
        if count := int(np.ma.count_masked(values)):
            raise DataError(
                f"{name} is a masked array with {count} masked entries: leave those samples out,"
                f" for example numpy.ma.compress_rows({name}), or fill them in"
            )
        values = np.asarray(values.data)
    for convert in ("toarray", "to_numpy"):  # of scipy's sparse matrices; of series
        if hasattr(values, convert) and not isinstance(values, np.ndarray):
            values = getattr(values, convert)()
    numeric = isinstance(values, (np.ndarray, list, tuple, numbers.Number, np.generic))
    if not numeric and not hasattr(values, "__array__"):
        raise DataError(f"{name} is a {type(values).__name__}: expected an array of numbers")
    try:
        array = np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{name} is not numeric: {error}") from None
    kind = array.dtype.kind
    if kind == "O":
        return _of_objects(array, name)
    if kind not in "biufc":
        raise DataError(f"{name} holds {_KINDS.get(kind, array.dtype)}: expected numbers")
    return array


def _of_objects(array: Array, name: str) -> Array:
    """Numbers of Python, each checked: numpy would read text and call None not a number."""
    values = np.empty(array.shape, dtype=np.float64)
    for place in np.ndindex(array.shape):
        value = array[place]
        where = f"{name}{list(place) if place else ''}"
        if isinstance(value, numbers.Complex) and not isinstance(value, numbers.Real):
            raise DataError(f"{where} is complex ({value}): expected real numbers")
        if not isinstance(value, (numbers.Real, Decimal)):
            raise DataError(f"{where} is {value!r}, of {type(value).__name__}: expected a number")
        try:
            values[place] = float(value)
        except OverflowError:
            raise DataError(f"{where} is larger than any float64") from None
    return values


def _of_tensor(values: torch.Tensor, name: str) -> Array:
    values = usable(values, name).detach()
    if values.layout is not torch.strided:
        values = values.to_dense()
    if values.is_quantized:
        values = values.dequantize()
    values = values.cpu().resolve_conj().resolve_neg()
    if values.dtype in (torch.bfloat16, torch.float16) or str(values.dtype).startswith("float8"):
        values = values.to(torch.float64)
    return values.numpy()


def usable(tensor: torch.Tensor, name: str) -> torch.Tensor:
    """The tensor; DataError if it has no entries of its own, or rows of different lengths."""
    if tensor.is_nested:
        raise DataError(f"{name} is a nested tensor: expected rows of one length, pad them")
    if tensor.is_meta:
        raise DataError(f"{name} is on the meta device, so it holds no values")
    return tensor


def is_foreign(values: Any) -> bool:
    """Whether another library holds numbers in it: a data frame, a series, a sparse matrix."""
    if isinstance(values, (torch.Tensor, np.ndarray, np.generic, Mapping, type)):
        return False
    return is_frame(values) or hasattr(values, "to_numpy") or hasattr(values, "toarray")


# --- data frames -------------------------------------------------------------------------------


def is_frame(values: Any) -> bool:
    """Whether it is a table with named columns, of whatever library; or columns in a dict."""
    if isinstance(values, Mapping):
        return True
    if isinstance(values, (torch.Tensor, np.ndarray, type)):
        return False
    named = hasattr(values, "columns") or hasattr(values, "column_names")
    by_position = any(hasattr(values, way) for way in ("iloc", "to_series", "column"))
    return named and by_position and hasattr(values, "shape")


def column_names(values: Any) -> tuple[Any, ...]:
    """The names of a frame's columns, in order."""
    if isinstance(values, Mapping):
        return tuple(values)
    return tuple(values.column_names if hasattr(values, "column_names") else values.columns)


def _of_frame(frame: Any, name: str) -> Array:
    names = column_names(frame)
    columns = [
        as_array(_column(frame, position), f"column {title!r} of {name}")
        for position, title in enumerate(names)
    ]
    if not columns:
        raise DataError(f"{name} is a {type(frame).__name__} without columns")
    shapes = {column.shape for column in columns}
    if len(shapes) > 1 or columns[0].ndim != 1:
        listed = ", ".join(str(list(column.shape)) for column in columns)
        raise DataError(f"the columns of {name} have shapes {listed}: expected one length")
    return np.stack(columns, axis=1)


def _column(frame: Any, position: int) -> Any:
    """By position: names may occur twice."""
    if isinstance(frame, Mapping):
        return list(frame.values())[position]
    if hasattr(frame, "iloc"):
        return frame.iloc[:, position]
    return frame.to_series(position) if hasattr(frame, "to_series") else frame.column(position)


def input_names(values: Any) -> tuple[str, ...] | None:
    """Column names of a frame as names of inputs; None if it has none, or is no frame.

    Raises DataError for names that equations can't use.
    """
    if not is_frame(values):
        return None
    names = column_names(values)
    if not any(isinstance(name, str) for name in names):
        return None  # numbered columns
    bad = [name for name in names if not is_name(name)]
    if bad or len(set(names)) < len(names):
        which = f"column {bad[0]!r}" if bad else "a column name that occurs twice"
        raise DataError(
            f"{which} can't be the name of an input in an equation: give names=, one for each"
            " column, or rename it, df.rename(columns={...})"
        )
    return tuple(map(str, names))


# --- what `distill` is given -------------------------------------------------------------------


def read_arrays(fn: Any, X: Any, y: Any) -> tuple[Array, Array]:
    """X [n_samples, n_inputs] and Y [n_samples, n_outputs] from (fn, X) or (X, Y).

    Raises DataError for anything that is not real, finite and of these shapes, and where the
    callable fails.
    """
    calls = callable(fn) and not isinstance(fn, (torch.Tensor, np.ndarray))
    if y is not None and calls:
        raise DataError("distill(fn, X) takes no outputs: the callable gives them")
    if y is not None:
        raise DataError("distill takes (fn, X) or (X, Y)")
    inputs, outputs = (X, _call(fn, X)) if calls else (fn, X)
    a, b = _array(inputs, "X"), _array(outputs, "Y")
    if len(a) != len(b):
        raise DataError(f"X has {len(a)} samples and Y {len(b)}: expected as many of both")
    return a, b


def _call(fn: Callable[[Any], Any], X: Any) -> Any:
    return called(fn, X, "the function can't be called with X")


def called(fn: Callable[[Any], Any], X: Any, complaint: str) -> Any:
    """What a user's function gives, of tensors without gradients; a DataError with the complaint
    and its own reason where it raises."""
    try:
        with torch.no_grad() if isinstance(X, torch.Tensor) else nullcontext():
            return fn(X)
    except SymCompileError:
        raise
    except Exception as error:  # whatever a user's function raises
        raise DataError(f"{complaint} ({type(X).__name__}): {described(error)}") from error


def as_function(fn: Any, X: Any) -> Callable[[Array], Array] | None:
    """What `distill` was given as a function of rows [n, n_inputs], which gets them as X is; None
    for arrays, and where X is neither numpy nor torch, or whole numbers."""
    plain = isinstance(X, (torch.Tensor, np.ndarray)) and X.ndim == 2
    if not callable(fn) or isinstance(fn, (torch.Tensor, np.ndarray)) or not plain:
        return None
    if isinstance(X, torch.Tensor):
        if not X.is_floating_point():
            return None
        return lambda rows: _array(_call(fn, torch.from_numpy(rows).to(X)), "Y")
    if X.dtype.kind != "f":
        return None
    return lambda rows: _array(_call(fn, rows.astype(X.dtype)), "Y")


def _array(values: Any, name: str) -> Array:
    array = real_numbers(values, name)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or array.size == 0:
        raise DataError(f"{name} has shape {list(array.shape)}: expected [n_samples, n_features]")
    if not np.isfinite(array).all():
        raise DataError(f"{name} holds NaN or infinity: leave those samples out")
    return array


def read_names(names: Sequence[str] | None, count: int, inputs: Any = None) -> tuple[str, ...]:
    """One name for each input: where none are given, those of the columns if the inputs are a data
    frame, else x0, x1, ..."""
    if names is None:
        return input_names(inputs) or tuple(f"x{k}" for k in range(count))
    checked = Target(".", names=names).names or ()  # type: ignore[arg-type]
    if len(checked) != count:
        raise DataError(
            f"{len(checked)} names ({', '.join(checked)}) for {count} inputs: give one for each"
        )
    return checked


def read_weights(weights: Any, count: int) -> Array | None:
    """Weights [n_samples], not negative and not all zero; None for none."""
    if weights is None:
        return None
    column = _array(weights, "weights")
    if column.shape != (count, 1) or (column < 0).any() or not column.any():
        raise DataError(f"weights: expected {count} numbers from 0 up, not all 0")
    return column[:, 0]


def split(X: Array, Y: Array, weights: Array | None, holdout: float, seed: int) -> Samples:
    """Samples with a random share held out, of a few none."""
    if len(X) < MIN_SAMPLES:
        raise DataError(f"{len(X)} samples: at least {MIN_SAMPLES} are needed")
    if not np.ptp(X, axis=0).any():
        raise DataError(
            "the inputs never change, so there is nothing to learn: give data that varies"
        )
    return Samples(X, Y, random_holdout(len(X), holdout, seed), weights)
