"""Read `data`: one batch, or an iterable of batches, as calls of the model."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils import _pytree as pytree

from symcompile.errors import DataError
from symcompile.expressions.evaluation import Array
from symcompile.modules.arrays import (
    as_array,
    column_names,
    input_names,
    is_foreign,
    is_frame,
    real_numbers,
    usable,
)
from symcompile.modules.calling import Batch, home, tensors
from symcompile.target import Target

_BY_NAME = inspect.Parameter.KEYWORD_ONLY
_ONE_BATCH = (torch.Tensor, np.ndarray, tuple, Mapping)


def as_batches(data: Any, model: nn.Module) -> tuple[Batch, Iterator[Batch]]:
    """The first batch, and an iterator over all of them (the first included).

    A tensor (array, series) is the only argument, a tuple holds positional arguments, a dict
    keyword arguments; see `_of_frame` for data frames. Anything else is iterated: each item is a
    batch in one of these forms, or a list of positional arguments, as a DataLoader gives it.
    Tensors go to the model's device.

    Raises DataError for anything else, and for an empty iterable.
    """
    if isinstance(data, _ONE_BATCH) or is_foreign(data):
        first = as_batch(data, model)
        return first, iter([first])
    if not isinstance(data, Iterable) or isinstance(data, (str, bytes, set, frozenset)):
        raise DataError(
            f"data is a {type(data).__name__}: expected a tensor, a data frame, a tuple of"
            " positional arguments, a dict of keyword arguments, or an iterable of these"
        )
    items = iter(data)
    for item in items:
        first = as_batch(item, model)
        return first, chain([first], (as_batch(item, model) for item in items))
    raise DataError("data is empty: give at least one batch")


def as_batch(item: Any, model: nn.Module) -> Batch:
    """One batch; DataError if the model can't be called with it or it has no samples."""
    table = is_frame(item) and not isinstance(item, Mapping)
    device, dtype = home(model)
    batch = _arguments_of(_of_frame(item, model) if table else item)
    batch = pytree.tree_map(lambda leaf: _on_device(leaf, device, dtype), batch)
    try:
        inspect.signature(model.forward).bind(*batch.args, **batch.kwargs)
    except TypeError as error:
        raise DataError(
            f"a batch with {_describe(batch)} does not fit {type(model).__name__}.forward:"
            f" {error}; a tuple or list holds positional arguments, a dict keyword arguments"
            " (from a loader of pairs, take the inputs: ((x,) for x, _ in loader))"
        ) from None
    except ValueError:  # a compiled forward has no signature to check against
        pass
    sizes = [t.numel() for t in tensors(batch)]
    if sizes and not any(sizes):
        raise DataError(f"a batch with {_describe(batch)} holds no samples")
    return batch


def _of_frame(frame: Any, model: nn.Module) -> Any:
    """A data frame as arguments: one floating tensor [n_rows, n_columns], or one [n_rows, 1] for
    each parameter of the forward where the columns have their names."""
    values = as_array(frame, "data")
    order = _columns_in_order(frame, model)
    if order is None:  # whole numbers in a table are features as others are
        return values if values.dtype.kind == "c" else values.astype(np.float64)
    names = [str(name) for name in column_names(frame)]
    return {name: values[:, [names.index(name)]] for name in order}


def _columns_in_order(frame: Any, model: nn.Module) -> list[str] | None:
    """The columns by the parameters that take them by name; None where one takes them all."""
    names = list(map(str, column_names(frame)))
    try:
        required = [parameter.name for parameter in _required(model)]
    except ValueError:  # a compiled forward has no signature
        return None
    by_name = len(names) > 1 and sorted(required) == sorted(names)
    return required if by_name else None


@dataclass(frozen=True)
class Columns:
    """The data frame that a model's data came as: names, and rows [n_rows, n_columns]."""

    names: tuple[str, ...]
    rows: Array

    def are(self, X: Array) -> bool:
        """Whether recorded inputs are rows of the frame, just as they are."""
        if X.shape[1] != len(self.names):
            return False
        of_frame = {row.tobytes() for row in self.rows}
        return all(row.tobytes() in of_frame for row in np.ascontiguousarray(X))


def columns_of(data: Any, model: nn.Module) -> Columns | None:
    """What a target may be named after, where the data is a data frame with names that can be."""
    if isinstance(data, Mapping) or not is_frame(data):
        return None
    try:
        names = input_names(data)
    except DataError:  # the inputs are x0, x1, ... then, in the order of the columns
        return None
    if names is None:
        return None
    order = _columns_in_order(data, model) or names
    places = [names.index(name) for name in order]
    rows = torch.from_numpy(real_numbers(data, "data")[:, places]).to(home(model)[1])
    return Columns(tuple(order), rows.double().numpy())


def sampled_batch(target: Target, module: nn.Module, n_samples: int, seed: int) -> Batch:
    """Inputs drawn uniformly from the target's domain, as arguments of `module`.

    A forward with one required parameter gets one tensor [n_samples, n_inputs]; one with a required
    parameter for each name gets one tensor [n_samples, 1] each, by name where the names agree.
    Raises DataError for every other signature.
    """
    assert target.domain is not None
    device, dtype = home(module)
    low, high = np.array(list(target.domain.values())).T
    X = np.random.default_rng(seed).uniform(low, high, (n_samples, len(low)))
    values = torch.from_numpy(X).to(device, dtype)
    parameters, columns = _required(module), list(target.domain)
    names = [parameter.name for parameter in parameters]
    if len(names) == 1:
        inputs = [values]
    elif len(names) == len(columns):
        order = [columns.index(n) for n in names] if set(names) == set(columns) else range(len(low))
        inputs = [values[:, k : k + 1] for k in order]
    else:
        raise DataError(
            f"target {target.path!r}: domain has {len(low)} inputs, but forward takes"
            f" {', '.join(names) or 'nothing'}: give data= instead"
        )
    pairs = list(zip(parameters, inputs, strict=True))
    return Batch(
        tuple(value for parameter, value in pairs if parameter.kind is not _BY_NAME),
        {parameter.name: value for parameter, value in pairs if parameter.kind is _BY_NAME},
    )


def _required(module: nn.Module) -> list[inspect.Parameter]:
    """Parameters without a default, else the first one that there is."""
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    single = [
        p for p in inspect.signature(module.forward).parameters.values() if p.kind not in variadic
    ]
    return [p for p in single if p.default is p.empty] or single[:1]


def _arguments_of(item: Any) -> Batch:
    if isinstance(item, Batch):
        return item
    if isinstance(item, (tuple, list)):
        return Batch(tuple(item), {})
    if isinstance(item, Mapping) and all(isinstance(key, str) for key in item):
        return Batch((), dict(item))
    if isinstance(item, (torch.Tensor, np.ndarray)) or is_foreign(item):
        return Batch((item,), {})
    raise DataError(
        f"a batch is a {type(item).__name__}: expected a tensor, a tuple of positional arguments,"
        " or a dict of keyword arguments"
    )


def _on_device(leaf: Any, device: torch.device, dtype: torch.dtype) -> Any:
    if isinstance(leaf, torch.Tensor):
        return usable(leaf, "data").to(device)
    if not isinstance(leaf, np.ndarray) and not is_foreign(leaf):
        return leaf
    array = as_array(leaf, "data")
    # A copy where torch could not share it without a warning.
    array = np.ascontiguousarray(array) if array.flags.writeable else array.copy()
    tensor = torch.from_numpy(array)
    return tensor.to(device, dtype if tensor.is_floating_point() else None)


def _describe(batch: Batch) -> str:
    arguments = [("", value) for value in batch.args]
    arguments += [(f"{name}=", value) for name, value in batch.kwargs.items()]
    shapes = (
        start + (str(list(v.shape)) if isinstance(v, torch.Tensor) else type(v).__name__)
        for start, v in arguments
    )
    return ", ".join(shapes) or "no arguments"
