"""The explanation of one prediction: equations that hold around it, and what is known of them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from symcompile.errors import DataError
from symcompile.explanation.contributions import Contributions, contributions
from symcompile.explanation.features import Features
from symcompile.explanation.linear import LinearLaw
from symcompile.explanation.link import Link
from symcompile.explanation.neighbourhood import Neighbourhood
from symcompile.explanation.request import Request
from symcompile.explanation.surrogate import Found, predicted
from symcompile.expressions.equation import Equation
from symcompile.expressions.evaluation import Array
from symcompile.expressions.operator_set import OperatorSet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from symcompile.compiled import Compiled
    from symcompile.explanation.report import ExplanationReport
    from symcompile.explanation.stability import Stability
    from symcompile.regression.pareto import ParetoFront

# Of surrogates, beside those of `lime_control`.
EQUATION, MEAN, RIDGE, LOGISTIC = "equation", "mean", "ridge", "logistic ridge"


@dataclass(frozen=True, eq=False)
class Fresh:
    """Points around x that nothing was fitted to: what the black box and the equations say of the
    outputs, or classes, that are told [n_points, n_classes], and weights [n_points]."""

    truth: Array
    prediction: Array
    weights: Array


@dataclass(frozen=True, eq=False)
class Explanation:
    """Equations that say around x what a black box says; see `explain`.

    Attributes:
        equations: of each output by its number, in the symbols of `features`: a closed form of the
            output itself, of a class its probability.
        told: what was searched for: of values the same equations, of classes their log-odds against
            `link.reference`, by the number of the class.
        features: of the table, and what equations call its columns.
        link: how outputs follow from what is told.
        neighbourhood: where this holds.
        output_at_x: what the black box says at x [n_outputs], of all outputs.
        fidelity: measures on fresh points of the neighbourhood, of the equation and its controls,
            by name; see `explanation.fidelity.measured`.
        effective_sample_size: how many of the `n_synthetic` points count, by the kernel.
        n_synthetic: points that constants were fitted to, and as many that chose the equation.
        linear: the weighted ridge on the same samples, of all features.
        logistic: of probabilities, the ridge of log-odds on the same samples.
        linear_is_as_good: whether the equation is no better than the better of these, beyond
            chance.
        selected: names of the features that equations may hold.
        left_out: mean deviance by which all others move what is told, by its title; and
        explained: the same of all features.
        fresh: what `fidelity` was measured on.
        request: what it was asked for; None once it was pickled.
    """

    told: Mapping[int, Found]
    features: Features
    link: Link
    neighbourhood: Neighbourhood
    operators: OperatorSet
    output_at_x: Array
    fidelity: Mapping[str, Mapping[str, float]]
    effective_sample_size: float
    n_synthetic: int
    linear: LinearLaw
    logistic: LinearLaw | None
    linear_is_as_good: bool
    selected: tuple[str, ...]
    left_out: Mapping[str, float]
    explained: Mapping[str, float]
    fresh: Fresh
    request: Request | None

    @cached_property
    def equations(self) -> dict[int, Equation]:
        told = [self.told[k].equation.sympy for k in self.link.told]
        expressions = self.link.expressions(told)
        return {
            k: Equation.of(expr, self.features.symbols, self.operators)
            for k, expr in zip(self.link.outputs, expressions, strict=True)
        }

    @property
    def fronts(self) -> dict[int, ParetoFront]:
        """Of each output, or class, the equations that what is told was chosen from, the shortest
        first: each with a lower mean deviance than all before it on the rows to choose by. `r2`
        of the front is the share that an equation explains; `max_complexity` asks for another."""
        return {k: found.front for k, found in self.told.items()}

    @property
    def log_odds(self) -> dict[int, Equation]:
        """Of each class but the reference, log(p / p_reference); empty for values."""
        return {k: found.equation for k, found in self.told.items()} if self.link.is_odds else {}

    @property
    def x(self) -> Array:
        """The row that is explained, as numbers [n_columns]."""
        return self.neighbourhood.x

    def predict(self, X: Any) -> Array:
        """What the equations say of rows of the original features.

        Args:
            X: rows as `data` holds them, [n_rows, n_features].

        Returns:
            The outputs that are explained [n_rows, n_outputs], or [n_rows] where the black box
            gives one number for a row; of classes probabilities, which add up to one where all are
            explained.

        Raises DataError for other features, or a category that data does not have.
        """
        return self.link.answer(self.chosen(self.features.encode(X, "X")))

    def chosen(self, X: Array) -> Array:
        """The same for numbers X [n_rows, n_columns], of all classes that are told."""
        return predicted(self.told, self.link, X)

    @cached_property
    def contributions(self) -> dict[int, Contributions]:
        """What each feature does to each output: slopes at x, and integrated gradients from the
        neighbourhood's mean."""
        return {
            k: contributions(equation, self.features, self.x, self.neighbourhood.mean)
            for k, equation in self.equations.items()
        }

    # --- what it shows -----------------------------------------------------------------------

    @property
    def report(self) -> ExplanationReport:
        """Prints as a table, HTML in notebooks, `to_dict()` as plain data."""
        from symcompile.explanation.report import ExplanationReport

        return ExplanationReport(self)

    def __str__(self) -> str:
        return str(self.report)

    def __repr__(self) -> str:
        lines = [f"  {self.link.title(k)} = {f.equation}" for k, f in self.told.items()]
        return "\n".join(["Explanation", *lines])

    def _repr_html_(self) -> str:
        return self.report._repr_html_()

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return self.report.to_dict()

    def latex(self, digits: int = 4) -> str:
        """What is told as LaTeX, a line for each equation."""
        from symcompile.explanation.report import latex

        return latex(self, digits)

    def plot(self, output: int | None = None, path: str | os.PathLike[str] | None = None) -> Figure:
        """What features contribute to an output, and predictions on fresh points beside the black
        box's, as a matplotlib figure.

        Args:
            output: its number; of classes the one that is most probable at x when left out.
            path: file to write as well (.png, .svg, .pdf).

        Raises DataError if the output is not explained, SymCompileError if matplotlib is missing,
        ExportError if the file can't be written.
        """
        from symcompile.explanation.plot import plot

        return plot(self, output, path)

    # --- what it does ------------------------------------------------------------------------

    def stability(self, seeds: int = 5) -> Stability:
        """Explain the same again from other points around x, `seeds` times: which features every
        explanation has, and how far contributions and predictions differ.

        Raises DataError for an explanation that has been pickled: its function is gone.
        """
        from symcompile.explanation.stability import stability

        return stability(self, seeds)

    @cached_property
    def compiled(self) -> Compiled:
        """The equations as a compiled model, a symbolic block that trains, saves, exports and
        compares as any other: its input are the numbers of `features` [n_rows, n_columns].

        Raises DataError for an explanation that has been pickled: its function is gone.
        """
        from symcompile.explanation.block import compiled

        return compiled(self)

    def export(self, path: str | os.PathLike[str], **options: Any) -> Any:
        """Write the equations as ONNX (.onnx) or manifest (.json), see `Compiled.export`."""
        return self.compiled.export(path, **options)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the equations as a `.symc` artifact, which `symcompile.load` reads as a compiled
        model; the black box is not in it."""
        return self.compiled.save(path, original=False)

    def asked(self, why: str) -> Request:
        """The function and the data that it was made with."""
        if self.request is None:
            raise DataError(
                "this explanation has been pickled, and its function is not in it:"
                f" {why} before, or explain again"
            )
        return self.request

    def __getstate__(self) -> dict[str, Any]:
        """Without the function and the data: they are the user's, and may not pickle."""
        known = {k: v for k, v in vars(self).items() if k not in ("compiled", "request")}
        return known | {"request": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
