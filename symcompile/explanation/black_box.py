"""The black box: a torch module, an estimator, one of its methods, or any function of rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from symcompile.errors import DataError
from symcompile.explanation.features import Features
from symcompile.expressions.evaluation import Array
from symcompile.modules.arrays import called, is_frame, real_numbers

# Rows of one call.
_ROWS = 10_000
# Below this share of their spread two answers to the same row are the same.
_SAME = 1e-4


@dataclass(frozen=True)
class BlackBox:
    """What is explained, as a function of numbers.

    Attributes:
        call: gets rows as its user holds them.
        rows: makes these of numbers [n_rows, n_columns].
        classes: names of the outputs, if it has such.
    """

    call: Callable[[Any], Any]
    rows: Callable[[Array], Any]
    classes: tuple[str, ...] = ()

    @classmethod
    def of(cls, fn: Any, features: Features, data: Any) -> BlackBox:
        """Raises DataError for what can't be called."""
        call, owner = _callable(fn)
        classes = getattr(owner, "classes_", ())
        if isinstance(fn, nn.Module):
            return cls(fn, _tensors(fn, features))
        # An estimator that was fitted to arrays would warn of names.
        plain = hasattr(owner, "n_features_in_") and not hasattr(owner, "feature_names_in_")
        named = is_frame(data) and not plain
        return cls(call, _rows_like(data, features, named), tuple(map(str, classes)))

    def __call__(self, X: Array, outputs: int | None = None) -> Array:
        """Outputs [n_rows, n_outputs] of rows X [n_rows, n_columns], of which fn is asked for ten
        thousand at a time.

        Raises DataError where fn raises, gives something else than a number for each row or, if
        that is known, for each of its `outputs`, or NaN.
        """
        parts = [self._asked(X[start : start + _ROWS]) for start in range(0, len(X), _ROWS)]
        columns = [part if part.ndim == 2 else part[:, None] for part in parts]
        first = outputs or columns[0].shape[1]
        other = next((c.shape[1] for c in columns if c.shape[1] != first), None)
        if other is not None:
            raise DataError(f"fn gave {other} outputs, and {first} when it was called first")
        return np.vstack(columns)

    def is_flat(self, x: Array) -> bool:
        """Whether fn gives one number for a row [n_columns], and not a list of one."""
        return self._asked(np.vstack([x, x])).ndim == 1

    def _asked(self, X: Array) -> Array:
        """As fn gives it: [n_rows] or [n_rows, n_outputs]."""
        result = called(self.call, self.rows(X), f"fn can't be called with {len(X)} rows")
        Y = real_numbers(result, "what fn gives")
        if Y.ndim not in (1, 2) or len(Y) != len(X) or not Y.size:
            raise DataError(
                f"fn gave {list(Y.shape)} for {len(X)} rows: expected [{len(X)}] or"
                f" [{len(X)}, n_outputs]"
            )
        bad = int((~np.isfinite(Y)).reshape(len(Y), -1).any(axis=1).sum())
        if bad:
            raise DataError(f"fn gives NaN or infinity for {bad} of {len(X)} rows around x")
        return Y

    def check_repeats(self, X: Array, Y: Array) -> None:
        """DataError where fn answers differently when it is asked the same again."""
        again = self(X[:2], Y.shape[1])
        spread = float(np.abs(Y).max())
        if float(np.abs(again - Y[:2]).max()) > _SAME * max(spread, 1e-300):
            raise DataError(
                "fn gives different outputs for the same rows: a torch module that has dropout or"
                " batch norm wants model.eval(), anything random a seed"
            )


def _callable(fn: Any) -> tuple[Callable[[Any], Any], Any]:
    """How fn is called, and whose method it is, if any."""
    for method in ("predict_proba", "predict"):
        if not isinstance(fn, nn.Module) and hasattr(fn, method):
            return getattr(fn, method), fn
    if not callable(fn):
        raise DataError(
            f"fn is a {type(fn).__name__}: expected a function of rows, a torch.nn.Module, or an"
            " estimator with predict or predict_proba"
        )
    return fn, getattr(fn, "__self__", None)


def _tensors(module: Any, features: Features) -> Callable[[Array], Any]:
    """Rows as a module wants them, in the dtype and on the device of its parameters."""
    text = [column.name for column in features.columns if column.levels is not None]
    if text:
        raise DataError(
            f"column {text[0]!r} of data holds text or codes, which a torch module can't take:"
            " give a function that turns rows into tensors"
        )
    floating = (p for p in module.parameters() if p.is_floating_point())
    like = next(floating, torch.zeros(0))
    return lambda X: torch.from_numpy(np.ascontiguousarray(X)).to(like.device, like.dtype)


def _rows_like(data: Any, features: Features, named: bool) -> Callable[[Array], Any]:
    """Rows as the user's own are: as a data frame with its types, a tensor, or an array."""
    if named:
        return partial(_frame_of, data[:0] if hasattr(data, "iloc") else None, type(data), features)
    if isinstance(data, torch.Tensor):
        like = data[:0].detach()
        return lambda X: torch.from_numpy(_stacked(features, X)).to(like)
    dtype = np.asarray(data).dtype if isinstance(data, np.ndarray) else np.dtype(float)

    def array(X: Array) -> Any:
        if dtype.kind in "OUS":
            columns = [np.asarray(column, dtype=object) for column in features.decode(X)]
            return np.stack(columns, axis=1)
        return _stacked(features, X).astype(dtype if dtype.kind in "iuf" else float)

    return array


def _stacked(features: Features, X: Array) -> Array:
    """Columns of numbers and codes [n_rows, n_features]."""
    return np.column_stack([column.astype(float) for column in features.decode(X)])


def _frame_of(like: Any, kind: Any, features: Features, X: Array) -> Any:
    """A data frame of a kind; of pandas with the types that one without rows has."""
    keys = [column.key for column in features.columns]
    columns = dict(zip(keys, features.decode(X), strict=True))
    if like is None:
        return getattr(kind, "from_pydict", kind)(columns)
    return kind(columns).astype(dict(zip(keys, like.dtypes, strict=True)))
