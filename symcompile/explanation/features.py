"""Features: what the columns of a table are, and its rows as numbers and back.

A black box wants rows as its user holds them: a data frame with text in it, an array, a tensor.
Equations are of numbers: a category is one column of 0 and 1 for each of its levels, whether the
table holds it as such columns already, as text, or as codes.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from keyword import iskeyword
from typing import Any

import numpy as np

from symcompile.errors import DataError, shown
from symcompile.explanation.columns import Column, Given, levels_of
from symcompile.expressions.evaluation import Array

NUMBER, WHOLE, CATEGORY = "number", "whole number", "category"
# Signs that part the name of a category from its levels; signs that tell levels apart, as parts of
# a name.
PARTING = "=_:- ."
_SIGNS = {"<=": "_le_", ">=": "_ge_", "<": "_lt_", ">": "_gt_", "%": "_percent_", "?": "_unknown_"}


@dataclass(frozen=True)
class Feature:
    """One thing that is known of every row.

    Attributes:
        name: as the table calls it; of columns of 0 and 1 what their names have in common.
        kind: NUMBER, WHOLE or CATEGORY.
        columns: its columns among the numbers.
        low, high: the lowest and highest value of a number.
    """

    name: str
    kind: str
    columns: tuple[int, ...]
    low: float = 0.0
    high: float = 1.0


@dataclass(frozen=True)
class Features:
    """The features of a table, and how its rows become numbers [n_rows, n_columns] and back.

    Attributes:
        columns: of the table as it is given.
        features: in the order of their columns.
        by_name: whether rows may be given by the names of columns.
    """

    columns: tuple[Column, ...]
    features: tuple[Feature, ...]
    by_name: bool

    @classmethod
    def of(
        cls, data: Any, names: Sequence[str] | None = None, categories: Iterable[Any] = ()
    ) -> tuple[Features, Array]:
        """The features of a table, and its numbers [n_rows, n_columns].

        Args:
            data: a data frame, an array or a tensor [n_rows, n_features].
            names: of the columns, if not those of the data frame.
            categories: columns, by name or number, that hold codes; or several columns in a list,
                which are the levels of one category. Text and truth values are categories anyhow,
                as are columns of 0 and 1, and neighbouring ones of which one is 1 in each row.

        Raises DataError for what is no table, holds NaN, or never changes in a column.
        """
        given = Given.of(data, "data")
        titles = _titles(names, given)
        coded, groups = _categories(categories, titles)
        columns = tuple(
            Column(
                title,
                given.keys[k] if given.keys else title,
                levels_of(values, title, coded=title in coded or k in given.coded),
            )
            for k, (title, values) in enumerate(zip(titles, given.values, strict=True))
        )
        pairs = zip(columns, given.values, strict=True)
        numbers = np.hstack([column.encoded(values, "data") for column, values in pairs])
        features = tuple(_features(columns, numbers, groups))
        return cls(columns, features, given.by_name), numbers

    @cached_property
    def titles(self) -> tuple[str, ...]:
        """What each column of numbers is, in the words of the table."""
        return tuple(title for column in self.columns for title in column.titles())

    @cached_property
    def symbols(self) -> tuple[str, ...]:
        """What equations call each column of numbers."""
        return _symbols(self.titles)

    def encode(self, rows: Any, what: str) -> Array:
        """Rows as numbers [n_rows, n_columns]; one row may come as a series, a dict or a list."""
        given, expected = Given.of(rows, what), [column.name for column in self.columns]
        values = given.values
        if given.keys is not None and given.by_name and self.by_name:
            keys = [column.key for column in self.columns]
            missing = [key for key in keys if key not in given.keys]
            if missing:
                raise DataError(f"{what} has no column {missing[0]!r}: data has it")
            values = [values[given.keys.index(key)] for key in keys]
        if len(values) != len(expected):
            raise DataError(
                f"{what} has {len(values)} features, and data {len(expected)}: give one value for"
                f" each of {', '.join(expected[:6])}{', ...' * (len(expected) > 6)}"
            )
        parts = zip(self.columns, values, strict=True)
        return np.hstack([column.encoded(value, what) for column, value in parts])

    def decode(self, numbers: Array) -> list[Array]:
        """The values of each column of the table [n_rows], from numbers [n_rows, n_columns]."""
        ends = np.cumsum([column.width for column in self.columns])
        parts = np.split(numbers, ends[:-1], axis=1)
        return [column.decoded(part) for column, part in zip(self.columns, parts, strict=True)]

    def feature_of(self, column: int) -> Feature:
        return next(feature for feature in self.features if column in feature.columns)


def _titles(names: Sequence[str] | None, given: Given) -> list[str]:
    count = len(given.values)
    if names is None:
        return (
            [str(k) for k in given.keys or []] if given.by_name else [f"x{k}" for k in range(count)]
        )
    titles = [str(name) for name in names]
    if len(titles) != count or len(set(titles)) < count:
        raise DataError(f"names has {len(set(titles))} different names: data has {count} features")
    return titles


def _categories(given: Iterable[Any], titles: Sequence[str]) -> tuple[set[str], list[list[str]]]:
    """Columns that hold codes, and groups of columns that are one category."""
    coded, groups = set[str](), list[list[str]]()
    for entry in [given] if isinstance(given, str) else given:
        if isinstance(entry, (list, tuple, set, frozenset)):
            groups.append([title_of(part, titles, "categories") for part in entry])
        else:
            coded.add(title_of(entry, titles, "categories"))
    return coded, groups


def title_of(entry: Any, titles: Sequence[str], option: str, what: str = "feature") -> str:
    """The one that is meant by its name or number; DataError names the option otherwise."""
    if isinstance(entry, str) and entry in titles:
        return entry
    if isinstance(entry, (int, np.integer)) and 0 <= entry < len(titles):
        return titles[int(entry)]
    listed = ", ".join(titles[:8]) + ", ..." * (len(titles) > 8)
    raise DataError(f"{option} names {shown(entry)}, which is no {what}: there are {listed}")


def _features(
    columns: Sequence[Column], numbers: Array, groups: list[list[str]]
) -> Iterator[Feature]:
    """Features in the order of their first columns."""
    ends = np.cumsum([column.width for column in columns]).tolist()
    places = [tuple(range(e - c.width, e)) for c, e in zip(columns, ends, strict=True)]
    titles = [title for column in columns for title in column.titles()]
    single = {c.name: p[0] for c, p in zip(columns, places, strict=True) if c.levels is None}
    joined = _joined(single, numbers, groups)
    for column, place in zip(columns, places, strict=True):
        if place[0] in joined:
            together = joined[place[0]]
            if place[0] == together[0]:
                yield Feature(_name_of([titles[k] for k in together], titles), CATEGORY, together)
        else:
            yield _alone(column, place, numbers)


def _joined(
    single: Mapping[str, int], numbers: Array, groups: list[list[str]]
) -> dict[int, tuple[int, ...]]:
    """Columns of 0 and 1 that are levels of one category, by each of them."""
    result: dict[int, tuple[int, ...]] = {}
    for group in groups:
        text = next((name for name in group if name not in single), None)
        if text is not None:
            raise DataError(
                f"categories joins {', '.join(group)}: {text!r} is a category by itself"
            )
        twice = next((name for name in group if single[name] in result), None)
        if twice is not None:
            raise DataError(f"categories has {twice!r} in two lists: expected it in one")
        found = tuple(sorted(single[name] for name in group))
        _check_group(group, numbers[:, found])
        result |= dict.fromkeys(found, found)
    free = [k for k in single.values() if k not in result and _is_binary(numbers[:, k])]
    for run in _one_hot_runs(free, numbers):
        result |= dict.fromkeys(run, run)
    return result


def _alone(column: Column, place: tuple[int, ...], numbers: Array) -> Feature:
    values = numbers[:, place]
    if len(values) > 1 and not np.ptp(values, axis=0).any():
        raise DataError(
            f"feature {column.name!r} is the same in all {len(values)} rows of data, so nothing"
            " can be told of it: leave the column out, and let fn fill it in; or give more rows"
        )
    if column.levels is not None or _is_binary(values):
        return Feature(column.name, CATEGORY, place)
    low, high = float(values.min()), float(values.max())
    return Feature(column.name, _number_kind(values), place, low, high)


def _is_binary(values: Array) -> bool:
    return bool(np.isin(values, (0.0, 1.0)).all())


def _number_kind(values: Array) -> str:
    return WHOLE if (values == np.round(values)).all() else NUMBER


def _check_group(names: Sequence[str], values: Array) -> None:
    if not (_is_binary(values) and (values.sum(axis=1) == 1.0).all()):
        raise DataError(
            f"categories joins {', '.join(names)}: expected one 1 among them in each row, else 0"
        )


def _one_hot_runs(binary: Sequence[int], numbers: Array) -> Iterator[tuple[int, ...]]:
    """Neighbouring columns of 0 and 1 of which one is 1 in each row, as few together as can be."""
    start = 0
    while start < len(binary):
        total, stop = np.zeros(len(numbers)), start
        while stop < len(binary) and binary[stop] - binary[start] == stop - start:
            total = total + numbers[:, binary[stop]]
            stop += 1
            if total.max() > 1.0 or total.min() == 1.0:
                break
        if stop - start > 1 and total.min() == total.max() == 1.0:
            stop = _with_empty(binary, start, stop, numbers)
            yield tuple(binary[start:stop])
            start = stop
        else:
            start += 1


def _with_empty(binary: Sequence[int], start: int, stop: int, numbers: Array) -> int:
    """Levels behind a group that no row has belong to it."""
    while (
        stop < len(binary)
        and binary[stop] - binary[start] == stop - start
        and not numbers[:, binary[stop]].any()
    ):
        stop += 1
    return stop


def _name_of(levels: Sequence[str], titles: Sequence[str]) -> str:
    """What names of levels have in common, "color" of color=red and color=rose: up to a sign that
    parts words, if nothing else is called that."""
    first, last = min(levels), max(levels)
    length = next((k for k, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), 0)
    end = max(first.rfind(sign, 0, length) for sign in PARTING)
    name = first[: max(end, 0)].rstrip(PARTING)
    return name if name and name not in titles else "/".join(levels)


def _symbols(titles: Sequence[str]) -> tuple[str, ...]:
    """Names that equations, and Python code printed of them, can use."""
    result: list[str] = []
    for title in titles:
        for sign, word in _SIGNS.items():
            title = title.replace(sign, word)
        title = unicodedata.normalize("NFKC", title)
        name = "".join(c if f"a{c}".isidentifier() else "_" for c in title)
        name = re.sub(r"_+", "_", name).strip("_") or "x"
        if not name.isidentifier() or iskeyword(name):
            name = f"x_{name}"
        number, unique = 2, name
        while unique in result:
            unique, number = f"{name}_{number}", number + 1
        result.append(unique)
    return tuple(result)
