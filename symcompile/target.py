"""What a user names for replacement, and with which options."""

from __future__ import annotations

import keyword
import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from symcompile.errors import TargetError
from symcompile.expressions.operator_set import OperatorSet


@dataclass(frozen=True)
class Target:
    """A part of the model to replace, and how.

    Attributes:
        path: a module path (`"layers.0.mlp"`), a glob over module paths (`"layers.*.mlp"`), a range
            of nodes of the traced graph (`"first:last"`, both included), or `"."` for the whole
            model.
        names: names of the target's input features, in order; x0, x1, ... when left out.
        domain: range of each input feature, `{"x": (0, 1), "t": (0, 1)}`; its keys serve as names.
            Samples are drawn uniformly from it where no data is given.
        features: named expressions of the inputs that the search sees instead of the inputs,
            `{"dx": "x0 - x6", "r": "sqrt(dx**2 + 1)"}`; later ones may use earlier ones.
        reduce: number of principal components to project the inputs, and, as a second number,
            the outputs to, before the search; None leaves them as they are.
        outputs: which output features to replace; the others stay neural. None means all.
        operators: operators for this target, see `OperatorSet.of`.
        max_complexity: the most complex equation allowed for this target.
        tolerance: refuse an equation whose held-out relative L2 error is above it, or by which the
            model's output moves by more than that (relative L2, end to end).
    """

    path: str
    names: tuple[str, ...] | None = None
    domain: Mapping[str, tuple[float, float]] | None = None
    features: Mapping[str, str] | None = None
    reduce: int | tuple[int | None, int | None] | None = None
    outputs: tuple[int, ...] | None = None
    operators: OperatorSet | Iterable[str] | Mapping[str, int] | None = None
    max_complexity: int | None = None
    tolerance: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.path, str) or not self.path:
            raise TargetError(
                f"target path is {self.path!r}: expected a module path such as 'encoder.mlp',"
                " a glob, a node range 'first:last', or '.' for the whole model"
            )
        self._set("names", self._read_names())
        self._set("domain", self._read_domain())
        self._set("features", self._read_features())
        self._set("outputs", self._read_outputs())
        self._set("reduce", self._read_reduce())
        if self.operators is not None:
            self._set("operators", OperatorSet.of(self.operators))
        if self.max_complexity is not None and not _is_count(self.max_complexity):
            raise self._bad("max_complexity", self.max_complexity, "a whole number from 1")
        if self.tolerance is not None and not _is_positive(self.tolerance):
            raise self._bad("tolerance", self.tolerance, "a number above 0, such as 0.05")

    @property
    def is_node_range(self) -> bool:
        return ":" in self.path

    @property
    def is_glob(self) -> bool:
        return any(mark in self.path for mark in "*?[")

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _tuple(self, option: str, value: Any) -> tuple[Any, ...]:
        if isinstance(value, (set, frozenset)):
            raise self._bad(option, value, "a tuple: a set has no order")
        try:
            return tuple(value)
        except TypeError:
            raise self._bad(option, value, "a tuple") from None

    def _bad(self, option: str, found: object, expected: str) -> TargetError:
        return TargetError(f"target {self.path!r}: {option} is {found!r}, expected {expected}")

    def _read_names(self) -> tuple[str, ...] | None:
        if self.names is None:
            return tuple(self.domain) if isinstance(self.domain, Mapping) else None
        names = (self.names,) if isinstance(self.names, str) else self._tuple("names", self.names)
        if not names or not all(is_name(n) for n in names):
            raise self._bad("names", names, "identifiers such as ('x', 't')")
        # Python's grammar, and so ours, takes the micro sign for the Greek letter mu.
        if len({unicodedata.normalize("NFKC", name) for name in names}) < len(names):
            raise self._bad("names", names, "each name once")
        if self.domain is not None and set(names) != set(self.domain):
            raise self._bad("names", names, f"the names of domain, {', '.join(self.domain)}")
        return tuple(map(str, names))

    def _read_domain(self) -> dict[str, tuple[float, float]] | None:
        if self.domain is None:
            return None
        if not isinstance(self.domain, Mapping) or not self.domain:
            raise self._bad("domain", self.domain, "{'x': (0, 1), ...}")
        return {name: self._read_range(name, span) for name, span in self.domain.items()}

    def _read_range(self, name: str, span: Any) -> tuple[float, float]:
        expected = f"two finite numbers, the lower first, for {name!r}"
        if not is_name(name):
            raise self._bad("domain", name, "names that are identifiers")
        try:
            low, high = (float(value) for value in span)
        except (TypeError, ValueError):
            raise self._bad("domain", span, expected) from None
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise self._bad("domain", span, expected)
        return low, high

    def _read_features(self) -> dict[str, str] | None:
        if self.features is None:
            return None
        if not isinstance(self.features, Mapping) or not self.features:
            raise self._bad("features", self.features, "{'dx': 'x0 - x6', ...}")
        for name, text in self.features.items():
            if not is_name(name) or not isinstance(text, str):
                raise self._bad("features", {name: text}, "an identifier and an expression as text")
        return dict(self.features)

    def _read_outputs(self) -> tuple[int, ...] | None:
        if self.outputs is None:
            return None
        one = isinstance(self.outputs, int)
        given = (self.outputs,) if one else self._tuple("outputs", self.outputs)
        if not given or not all(type(o) is int and o >= 0 for o in given):
            raise self._bad("outputs", self.outputs, "numbers of output features, such as (0, 2)")
        return tuple(sorted(set(given)))

    def _read_reduce(self) -> tuple[int | None, int | None] | None:
        if self.reduce is None:
            return None
        given: Sequence[Any] = (
            (self.reduce, None)
            if isinstance(self.reduce, int)
            else self._tuple("reduce", self.reduce)
        )
        if len(given) != 2 or not all(n is None or _is_count(n) for n in given):
            raise self._bad("reduce", self.reduce, "a number of components, or (inputs, outputs)")
        return given[0], given[1]


def as_targets(targets: str | Target | Iterable[str | Target]) -> tuple[Target, ...]:
    """What a user passed as `targets`, as Target objects."""
    if isinstance(targets, (str, Target)):
        targets = [targets]
    try:
        given = list(targets)
    except TypeError:
        raise TargetError(
            f"targets is {targets!r}: expected a path, a Target, or several"
        ) from None
    if not given:
        raise TargetError("targets is empty: name at least one part of the model, or '.' for all")
    for one in given:
        if not isinstance(one, (str, Target)):
            raise TargetError(f"targets holds {one!r}: expected module paths or Target objects")
    return tuple(one if isinstance(one, Target) else Target(str(one)) for one in given)


def is_name(value: object) -> bool:
    """Whether equations, and the Python code printed of them, can use it as a symbol."""
    return isinstance(value, str) and value.isidentifier() and not keyword.iskeyword(value)


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 1


def _is_positive(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf
