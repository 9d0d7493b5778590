"""Columns of a table, or of a row, as it is given: a data frame, dict, array, tensor or list.

What is no number is a level of a category. What is missing is refused, and never filled in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from symcompile.errors import DataError, shown
from symcompile.expressions.evaluation import Array
from symcompile.modules.arrays import as_array, column_names, is_frame, real_numbers

# Levels that an error lists.
_LISTED = 8


@dataclass(frozen=True)
class Given:
    """Columns as they are given.

    Attributes:
        values: of each column [n_rows].
        keys: what the table calls them; None where it has no names.
        coded: which of them are categories by their own word.
    """

    values: list[Array]
    keys: list[Any] | None = None
    coded: frozenset[int] = frozenset()

    @property
    def by_name(self) -> bool:
        return self.keys is not None and any(isinstance(key, str) for key in self.keys)

    @classmethod
    def of(cls, rows: Any, what: str) -> Given:
        """Of a table, or a row as a series, a dict or a list; DataError for what is neither."""
        if hasattr(rows, "index") and hasattr(rows, "to_dict") and getattr(rows, "ndim", 2) == 1:
            rows = rows.to_dict()  # a row of a data frame
        if isinstance(rows, Mapping):
            rows = {key: np.atleast_1d(_plain(value)) for key, value in rows.items()}
        if is_frame(rows):
            return cls._of_frame(rows, what)
        if _holds_objects(rows):
            array = np.asarray(rows, dtype=object)
        else:
            array = real_numbers(as_array(rows, what), what)
        array = np.atleast_2d(array)
        if array.ndim != 2 or array.size == 0:
            raise DataError(f"{what} has shape {list(array.shape)}: expected [n_rows, n_features]")
        return cls(list(array.T))

    @classmethod
    def _of_frame(cls, frame: Any, what: str) -> Given:
        keys = list(column_names(frame))
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise DataError(f"{what} has two columns {twice!r}: rename one")
        columns = [frame[key] for key in keys]
        values = [np.asarray(_plain(column)) for column in columns]
        sizes = {value.shape for value in values}
        if len(sizes) != 1 or not values[0].size or values[0].ndim != 1:
            listed = ", ".join(str(list(size)) for size in sorted(sizes)) or "none"
            raise DataError(
                f"the columns of {what} have shapes {listed}: expected [n_rows] of each"
            )
        coded = (k for k, column in enumerate(columns) if _is_categorical(column))
        return cls(values, keys, frozenset(coded))


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: its own, else "x" and its number.
        key: what the table calls it.
        levels: what it holds, where that is text or codes of a category; None for numbers.
    """

    name: str
    key: Any
    levels: tuple[Any, ...] | None = None

    @property
    def width(self) -> int:
        return 1 if self.levels is None else len(self.levels)

    def titles(self) -> list[str]:
        if self.levels is None:
            return [self.name]
        return [f"{self.name}={level}" for level in self.levels]

    def encoded(self, values: Array, what: str) -> Array:
        """Its numbers [n_rows, width]; DataError for what it has never held."""
        name = f"column {self.name!r} of {what}"
        if self.levels is None:
            numbers = real_numbers(values, name)
            bad = int((~np.isfinite(numbers)).sum())
            if bad:
                raise DataError(
                    f"{name} holds NaN or infinity in {bad} of {len(numbers)} rows: leave these"
                    " rows out, or fill them in"
                )
            return numbers[:, None]
        found = np.asarray(values, dtype=object).tolist()
        places = [self._place(value, name) for value in found]
        return np.asarray(np.eye(len(self.levels))[places])

    def _place(self, value: Any, name: str) -> int:
        levels = self.levels or ()
        if not is_missing(value) and value in levels:
            return levels.index(value)
        listed = ", ".join(map(repr, levels[:_LISTED])) + ", ..." * (len(levels) > _LISTED)
        raise DataError(
            f"{name} holds {shown(value)}, which data does not have: expected one of {listed}"
        )

    def decoded(self, numbers: Array) -> Array:
        """Its values [n_rows] from its numbers."""
        if self.levels is None:
            return numbers[:, 0]
        levels = np.empty(len(self.levels), dtype=object)
        levels[:] = self.levels
        return np.asarray(levels[numbers.argmax(axis=1)])


def levels_of(values: Array, name: str, *, coded: bool) -> tuple[Any, ...] | None:
    """What a column of text or codes holds; None for one of numbers and truth values.

    Raises DataError for dates, and where a level is missing.
    """
    if values.dtype.kind in "mM":
        raise DataError(f"column {name!r} of data holds dates or times: give them as numbers")
    if not coded and values.dtype.kind in "biufc":
        return None
    found = np.asarray(values, dtype=object).tolist()
    missing = sum(map(is_missing, found))
    if not coded and all(is_missing(value) or _is_number(value) for value in found):
        return None
    if missing:
        raise DataError(
            f"column {name!r} of data has missing values in {missing} of {len(found)} rows: leave"
            " these rows out, or fill them in, for example as a level of its own"
        )
    return tuple(sorted(set(found), key=lambda level: (str(type(level)), level)))


def is_missing(value: Any) -> bool:
    """None, NaN, and what pandas has in their place, which has no truth value."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, (float, np.floating)) and bool(np.isnan(value))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, complex, np.number, np.bool_))


def _plain(column: Any) -> Any:
    """A column without the library that holds it."""
    if hasattr(column, "to_numpy"):
        return column.to_numpy()
    return column.detach().cpu().numpy() if hasattr(column, "detach") else column


def _is_categorical(column: Any) -> bool:
    return getattr(getattr(column, "dtype", None), "categories", None) is not None


def _holds_objects(rows: Any) -> bool:
    """Whether rows are of text and other objects, which no array of numbers is made of."""
    if isinstance(rows, np.ndarray):
        return rows.dtype.kind in "OUS"
    if not isinstance(rows, (list, tuple)):
        return False
    try:
        return any(isinstance(value, str) for value in np.ravel(np.asarray(rows, dtype=object)))
    except ValueError:  # rows of different lengths, which are refused by name
        return False
