"""What a user names for replacement, and with which options."""

from __future__ import annotations

import keyword
import math
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias, TypeGuard

from symcompile.errors import ChoiceError, EngineError, ExpressionError, TargetError
from symcompile.expressions.operator_set import LIMITS, OperatorSet
from symcompile.expressions.units import check_units
from symcompile.regression.choice import rule_of
from symcompile.regression.guesses import Guesses, check_guesses


class PCA(NamedTuple):
    """Principal components: what varies most, whatever the block does with it.

    Attributes:
        inputs, outputs: number of components; None leaves that side as it is.
    """

    inputs: int | None
    outputs: int | None = None


@dataclass(frozen=True)
class ReducedRank:
    """Reduced-rank regression: the coordinates that the best linear map of that rank reads, and
    the directions that it writes (Izenman 1975, https://doi.org/10.1016/0047-259X(75)90042-1).

    Best is measured in what the model loses, where `symcompile.symcompile` is given an objective,
    else in the block's outputs as they are.

    Attributes:
        inputs, outputs: number of coordinates; None leaves that side as it is.
    """

    inputs: int | None
    outputs: int | None = None


@dataclass(frozen=True)
class Products:
    """A sum of products of coordinates, found without a search: each is of two coordinates of its
    own, and moves the outputs in a direction of its own. With `Target(affine=...)` it is added to
    an affine map, and both are fitted together.

    Coordinates start from those that the block itself reads, where it has Linear layers of its
    inputs, and are fitted together with the directions by gradient descent.

    Attributes:
        terms: number of products.
        gate: None (`a*b`), "sigmoid" (`a*sigmoid(b)`) or "silu" (`a*b*sigmoid(b)`).
        steps: of gradient descent.
    """

    terms: int
    gate: str | None = None
    steps: int = 600


Reduction: TypeAlias = PCA | ReducedRank | Products
GATES = ("sigmoid", "silu")


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
        reduce: how wide inputs and outputs are brought down to a few coordinates before the
            search: `PCA(32, 8)`, `ReducedRank(32, 8)`, or `Products(64)`, which needs no search.
            Numbers are those of principal components, of the inputs and, as a second one, of the
            outputs.
        affine: rank of an affine map of the block's own inputs that the equations are added to:
            they are then fitted to what the best such map leaves over. None for none.
        outputs: which output features to replace; the others stay neural. None means all.
        operators: operators for this target, see `OperatorSet.of`.
        max_complexity: the most complex equation allowed for this target.
        tolerance: refuse an equation whose held-out relative L2 error is above it, or by which the
            model's output moves by more than that (relative L2, end to end).
        constraints, nested_constraints, complexity_of_variables, complexity_of_constants: for this
            target, as for `symcompile.symcompile`.
        units, output_units, dimensionless_constants: of this target's inputs and outputs, as for
            `symcompile.symcompile`.
        guesses: equations to start from, as for `symcompile.symcompile`, in this target's inputs
            (its features, if it has any).
        rule, prefer: how this target's equations are chosen from their fronts, as for
            `symcompile.symcompile`; either overrules both of there.
    """

    path: str
    names: tuple[str, ...] | None = None
    domain: Mapping[str, tuple[float, float]] | None = None
    features: Mapping[str, str] | None = None
    reduce: Reduction | int | tuple[int | None, int | None] | None = None
    outputs: tuple[int, ...] | None = None
    operators: OperatorSet | Iterable[str] | Mapping[str, Any] | None = None
    max_complexity: int | None = None
    tolerance: float | None = None
    rule: str | None = None
    prefer: str | None = None
    constraints: Mapping[str, int | tuple[int, ...]] | None = None
    nested_constraints: Mapping[str, Mapping[str, int]] | None = None
    complexity_of_variables: int | Mapping[str, int] | None = None
    complexity_of_constants: int | None = None
    units: Mapping[str, str] | Iterable[str] | None = None
    output_units: str | Mapping[int, str] | Iterable[str] | None = None
    dimensionless_constants: bool | None = None
    guesses: Guesses | None = None
    affine: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.path, str) or not self.path:
            raise TargetError(
                f"target path is {self.path!r}: expected a module path such as 'encoder.mlp',"
                " a glob, a node range 'first:last', or '.' for the whole model"
            )
        for option, read in (
            ("names", self._names),
            ("domain", self._domain),
            ("features", self._features),
            ("outputs", self._outputs),
            ("reduce", self._reduce),
            ("operators", OperatorSet.of),
        ):
            value = getattr(self, option)
            object.__setattr__(self, option, None if value is None else read(value))
        if self.names is None and self.domain is not None:
            object.__setattr__(self, "names", tuple(self.domain))
        if self.max_complexity is not None and not is_count(self.max_complexity):
            raise self._bad("max_complexity", self.max_complexity, "a whole number from 1")
        if self.affine is not None and not is_count(self.affine):
            raise self._bad("affine", self.affine, "a rank, a whole number from 1")
        if self.tolerance is not None and not is_positive(self.tolerance):
            raise self._bad("tolerance", self.tolerance, "a number above 0, such as 0.05")
        try:
            rule_of(self.rule, self.prefer)
            check_units(self, whole=False)
            check_guesses(self.guesses)
            OperatorSet.of(self.operators, **{name: getattr(self, name) for name in LIMITS})
        except (ChoiceError, EngineError, ExpressionError) as error:
            raise TargetError(f"target {self.path!r}: {error}") from None

    @property
    def is_node_range(self) -> bool:
        return ":" in self.path

    @property
    def is_glob(self) -> bool:
        return any(mark in self.path for mark in "*?[")

    def _bad(self, option: str, found: object, expected: str) -> TargetError:
        return TargetError(f"target {self.path!r}: {option} is {found!r}, expected {expected}")

    def _tuple(self, option: str, value: Any) -> tuple[Any, ...]:
        if isinstance(value, (set, frozenset)):
            raise self._bad(option, value, "a tuple: a set has no order")
        try:
            return tuple(value)
        except TypeError:
            raise self._bad(option, value, "a tuple") from None

    def _names(self, value: Any) -> tuple[str, ...]:
        names = (value,) if isinstance(value, str) else self._tuple("names", value)
        if not names or not all(map(is_name, names)):
            raise self._bad("names", names, "identifiers such as ('x', 't')")
        # Python's grammar, and so ours, takes the micro sign for the Greek letter mu.
        if len({unicodedata.normalize("NFKC", name) for name in names}) < len(names):
            raise self._bad("names", names, "each name once")
        if self.domain is not None and set(names) != set(self.domain):
            raise self._bad("names", names, f"the names of domain, {', '.join(self.domain)}")
        return tuple(map(str, names))

    def _domain(self, value: Any) -> dict[str, tuple[float, float]]:
        if not isinstance(value, Mapping) or not value:
            raise self._bad("domain", value, "{'x': (0, 1), ...}")
        return {name: self._range(name, span) for name, span in value.items()}

    def _range(self, name: str, span: Any) -> tuple[float, float]:
        if not is_name(name):
            raise self._bad("domain", name, "names that are identifiers")
        try:
            low, high = (float(value) for value in span)
        except (TypeError, ValueError):
            low = high = math.nan
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise self._bad("domain", span, f"two finite numbers, the lower first, for {name!r}")
        return low, high

    def _features(self, value: Any) -> dict[str, str]:
        if not isinstance(value, Mapping) or not value:
            raise self._bad("features", value, "{'dx': 'x0 - x6', ...}")
        for name, text in value.items():
            if not is_name(name) or not isinstance(text, str):
                raise self._bad("features", {name: text}, "an identifier and an expression as text")
        return dict(value)

    def _outputs(self, value: Any) -> tuple[int, ...]:
        outputs = (value,) if isinstance(value, int) else self._tuple("outputs", value)
        if not outputs or not all(type(o) is int and o >= 0 for o in outputs):
            raise self._bad("outputs", value, "numbers of output features, such as (0, 2)")
        return tuple(sorted(set(outputs)))

    def _reduce(self, value: Any) -> Reduction:
        if isinstance(value, Products):
            counts = is_count(value.terms) and is_count(value.steps)
            if not counts or value.gate not in (None, *GATES):
                expected = f"whole numbers of terms and steps, and a gate of {', '.join(GATES)}"
                raise self._bad("reduce", value, expected)
            return value
        if not isinstance(value, (PCA, ReducedRank)):
            numbers = (value, None) if isinstance(value, int) else self._tuple("reduce", value)
            if len(numbers) != 2:
                expected = "a number of components, (inputs, outputs), or PCA(inputs, outputs)"
                raise self._bad("reduce", value, expected)
            value = PCA(*numbers)
        if not all(n is None or is_count(n) for n in (value.inputs, value.outputs)):
            raise self._bad("reduce", value, "whole numbers of components from 1, or None")
        return value


def as_targets(targets: str | Target | Iterable[str | Target]) -> tuple[Target, ...]:
    """What a user passed as `targets`, as Target objects."""
    if isinstance(targets, (str, Target)):
        targets = [targets]
    try:
        chosen = list(targets)
    except TypeError:
        raise TargetError(
            f"targets is {targets!r}: expected a path, a Target, or several"
        ) from None
    if not chosen:
        raise TargetError("targets is empty: name at least one part of the model, or '.' for all")
    for target in chosen:
        if not isinstance(target, (str, Target)):
            raise TargetError(f"targets holds {target!r}: expected module paths or Target objects")
    return tuple(t if isinstance(t, Target) else Target(str(t)) for t in chosen)


def is_name(value: object) -> bool:
    """Whether equations, and the Python code printed of them, can use it as a symbol."""
    return isinstance(value, str) and value.isidentifier() and not keyword.iskeyword(value)


def is_count(value: object) -> bool:
    """Whether it is a whole number from 1."""
    return type(value) is int and value >= 1


def is_number(value: object) -> TypeGuard[float]:
    """Whether it is a number, and no truth value."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_positive(value: object) -> bool:
    """Whether it is a number above 0, and below infinity."""
    return is_number(value) and 0 < value < math.inf
