"""Table: all small forms over some variables, as values on a few rows, each function once.

Forms are made smallest first, a node counting one whatever an operator costs, until there are as
many as asked for. One whose values are there already, up to its sign, is another spelling. None is
made of what does not go together in its units: each form has a dimension, by the rules of
`expressions.dimensions`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import sympy

from symcompile.expressions.dimensions import FREE, UNITLESS, Dimensions, Vector
from symcompile.expressions.evaluation import VALUES, Array
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.operators import VOCABULARY

# What is beyond is no number to compute with, and what varies by less no form.
_LARGEST, _SMALLEST = 1e8, 1e-8
# Nodes of the longest form, for operators that make few.
_LONGEST = 12
# Digits in which two forms agree that are one.
_DIGITS = 8
_BY_HAND: dict[str, Callable[[Array], Array]] = {
    "inv": lambda a: 1.0 / a,
    "square": np.square,
    "cube": lambda a: a * a * a,
}
# A function of a function is mostly another form spelled anew.
_PLAIN = ("inv", "square", "cube", "sqrt", "neg", "abs")


class Form(NamedTuple):
    """An operator and the forms it takes, or where it has no name a variable or number."""

    name: str
    args: tuple[int, ...] = ()
    leaf: int = -1


@dataclass
class Table:
    """Forms over `columns` [n_variables, n_rows] that stand for `exprs`.

    Attributes:
        numbers: exact numbers that stand beside the variables.
        rules, of_columns: what goes together, and the dimension of each variable; none for any.
        values: of each form [n_forms, n_rows].
        sizes: nodes of each form [n_forms].
        vectors, kinds: dimensions of forms, each once, and which of them each form has [n_forms].
    """

    columns: Array
    exprs: Sequence[sympy.Expr]
    operators: OperatorSet
    limit: int
    numbers: Sequence[sympy.Expr] = (sympy.S.One,)
    rules: Dimensions = UNITLESS
    of_columns: Sequence[Vector] = ()
    forms: list[Form] = field(default_factory=list, init=False)
    values: Array = field(init=False)
    sizes: Array = field(init=False)
    vectors: list[Vector] = field(default_factory=list, init=False)
    kinds: list[int] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        rows = self.columns.shape[1]
        self._projection = np.random.default_rng(0).normal(size=(rows, 2))
        self._seen: set[tuple[float, ...]] = set()
        self._rows: list[Array] = []
        self._by_size: dict[int, list[int]] = {}
        self._curved: list[bool] = []
        self._exprs: dict[int, sympy.Expr] = {}
        self._known: dict[tuple[str, tuple[int, ...]], int] = {}
        n = len(self.columns)
        numbers = [np.full(rows, float(number)) for number in self.numbers]
        leaves = np.array([*self.columns, *numbers])
        self._add(leaves, [Form("", leaf=k) for k in range(n + len(numbers))], 1)
        for size in range(2, _LONGEST + 1):
            self._unary(size)
            self._binary(size)
        self.values = np.array(self._rows)
        self.sizes = np.array([s for s, places in self._by_size.items() for _ in places])

    @property
    def _full(self) -> bool:
        return len(self._rows) >= self.limit

    def _add(self, values: Array, forms: Sequence[Form], size: int) -> None:
        """Take in those forms [n, n_rows] that are numbers, and no others by other names."""
        most = np.abs(values).max(axis=1, initial=0.0)
        width = np.ptp(values, axis=1) if size > 1 else most
        sound = np.flatnonzero((most < _LARGEST) & (width > _SMALLEST))
        values = values[sound]
        scale = np.abs(values).mean(axis=1, keepdims=True)
        keys = np.column_stack([values / scale @ self._projection, np.log(scale)])
        keys = np.round(keys, _DIGITS) + 0.0
        for k, (a, b, s) in enumerate(keys.tolist()):
            if self._full:
                return
            if (a, b, s) in self._seen or (-a, -b, s) in self._seen:
                continue
            self._seen.add((a, b, s))
            form = forms[sound[k]]
            self.kinds.append(self._kind(form))
            self._by_size.setdefault(size, []).append(len(self.forms))
            self.forms.append(form)
            self._rows.append(values[k])
            curved = bool(form.name) and VOCABULARY[form.name].arity == 1
            curved = curved and form.name not in _PLAIN
            self._curved.append(curved or any(self._curved[arg] for arg in form.args))

    def dimension(self, place: int) -> Vector:
        return self.vectors[self.kinds[place]]

    def _kind(self, form: Form) -> int:
        """Which of the dimensions a form has; -1 for none, where its arguments do not go
        together."""
        if form.name:
            return self._combined(form.name, tuple(self.kinds[arg] for arg in form.args))
        if form.leaf >= len(self.columns):
            return self._number_of(self.rules.none)
        return self._number_of(self.of_columns[form.leaf] if self.of_columns else FREE)

    def _combined(self, name: str, kinds: tuple[int, ...]) -> int:
        key = name, kinds
        if key not in self._known:
            vector = self.rules.combine(name, *(self.vectors[kind] for kind in kinds))
            self._known[key] = -1 if vector is None else self._number_of(vector)
        return self._known[key]

    def _number_of(self, vector: Vector) -> int:
        if vector not in self.vectors:
            self.vectors.append(vector)
        return self.vectors.index(vector)

    def _together(self, name: str, places: Sequence[int], *first: int) -> list[int]:
        """Of places in a list those whose forms an operator takes, after `first`."""
        given = tuple(self.kinds[place] for place in first)
        good = [self._combined(name, (*given, k)) >= 0 for k in range(len(self.vectors))]
        return [k for k, place in enumerate(places) if good[self.kinds[place]]]

    def is_number(self, place: int) -> bool:
        return self.forms[place].leaf >= len(self.columns)

    def _unary(self, size: int) -> None:
        below = [p for p in self._by_size.get(size - 1, []) if not self.is_number(p)]
        for name in dict.fromkeys((*self.operators.unary, *self._inverse)):
            if VOCABULARY[name].name == "neg":
                continue
            places = below if name in _PLAIN else [p for p in below if not self._curved[p]]
            places = [p for p in places if not (name == "inv" and self.forms[p].name == "inv")]
            places = [places[k] for k in self._together(name, places)]
            if places:
                function = _BY_HAND.get(name) or VALUES[VOCABULARY[name].op]
                values = function(np.array([self._rows[p] for p in places]))
                self._add(values, [Form(name, (p,)) for p in places], size)

    @property
    def _inverse(self) -> tuple[str, ...]:
        return ("inv",) if "/" in self.operators else ()

    def _binary(self, size: int) -> None:
        for left in range(1, size // 2 + 1):
            right = size - 1 - left
            if right < left:
                break
            others = self._by_size.get(right, [])
            values = np.array([self._rows[p] for p in others])
            for place in list(self._by_size.get(left, [])):
                if self._full:
                    return
                if not others:
                    break
                first = next((k for k, p in enumerate(others) if p >= place), len(others))
                first = first if left == right else 0
                self._combine(place, others[first:], values[first:], size)

    def _combine(self, place: int, others: Sequence[int], values: Array, size: int) -> None:
        """One form with others: their sums, differences, products and quotients."""
        own = self._rows[place]
        like = self._together("+", others, place)
        alike = values if len(like) == len(others) else values[like]
        if "+" in self.operators:
            self._add(own + alike, [Form("+", (place, others[k])) for k in like], size)
        if "-" in self.operators or "*" in self.operators:
            self._add(own - alike, [Form("-", (place, others[k])) for k in like], size)
        if "*" in self.operators and not self.is_number(place):
            self._add(own * values, [Form("*", (place, p)) for p in others], size)
        if "/" in self.operators or "inv" in self.operators:
            self._add(own / values, [Form("/", (place, p)) for p in others], size)
            self._add(values / own, [Form("/", (p, place)) for p in others], size)

    def on(self, place: int, columns: Array, known: dict[int, Array]) -> Array:
        """Values of a form [n_samples] on columns [n_variables, n_samples]; `known` keeps them."""
        if place not in known:
            form = self.forms[place]
            args = [self.on(arg, columns, known) for arg in form.args]
            if form.leaf >= len(columns):
                number = float(self.numbers[form.leaf - len(columns)])
                known[place] = np.full(columns.shape[1], number)
            elif not form.name:
                known[place] = columns[form.leaf]
            else:
                function = _BY_HAND.get(form.name) or VALUES[VOCABULARY[form.name].op]
                known[place] = np.asarray(function(*args))
        return known[place]

    def expr(self, place: int) -> sympy.Expr:
        """The form in the expressions of the variables."""
        if place not in self._exprs:
            form = self.forms[place]
            if form.name:
                build = VOCABULARY[form.name].build
                self._exprs[place] = build(*map(self.expr, form.args))
            else:
                self._exprs[place] = [*self.exprs, *self.numbers][form.leaf]
        return self._exprs[place]
