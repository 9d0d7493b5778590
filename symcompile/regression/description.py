"""Description length: what an equation costs to write down, and what it saves of its outputs.

An equation is worth its form and its constants if it takes fewer nats to name them than it spares
of the outputs (minimum message length, Wallace and Freeman 1987; Rissanen 1978). A unit of
complexity costs `PRICE`: a code in which every node of a tree is one of e. A constant costs
ln(n) / 2 (Schwarz 1978); with few rows it also uses one of them up.

The outputs are the hard part. Where errors are independent, n of them take n / 2 * ln(variance).
The errors of a network are not: they are a smooth function, and to halve them by a slope or a
factor more is no evidence of anything. What a longer equation explains of the error that a shorter
one leaves is therefore measured by what it takes to describe that error, as any function of its
smoothness, down to what the longer one leaves. That is the rate of a normal source whose variances
are the error's spectrum (reverse water-filling: Cover and Thomas, Elements of Information Theory,
10.3). Of a flat spectrum it is n / 2 * ln(ratio) as of independent errors; of one that falls off,
the first directions are cheap, and only a law that explains all of them at once is not.

The spectrum is taken over polynomials of the inputs, by degree: an error's power in each degree,
shared by the directions of that degree, and what is left by all the other rows. Errors of unlike
size, such as those near a pole, are told by a few of the rows: the log of a variance is known from
n rows of kurtosis k as from 2 n / (k - 1) normal ones (Box 1953, Biometrika 40, 318), and what is
saved counts for that share. But what makes the errors of all rows smaller is told by all of them,
whatever their sizes. Where each has a scale of its own of which nothing is known, its likelihood is
1 / |error| (Jeffreys 1946), and an equation saves the mean of ln |error|: what is saved counts for
the share that this falls by of what the logarithm of the root mean square does, if that is more.

Nothing has to be known of the noise, nor whether it is noise: errors are independent where no
degree holds more of them than chance gives it.

Studied beside other scores on 650 fronts of known laws (tables of six rows to 4,000 samples, exact,
noisy, and through networks): constants priced by their own Fisher information and size (Bartlett,
Desmond and Ferreira 2022, arXiv 2211.11461) take tiny corrections for law where six rows are exact;
a price of nodes by how the number of forms grows, 1.3 to 2.2 nats, is too dear beyond 5 % noise.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations, combinations_with_replacement

import numpy as np

from symcompile.expressions.equation import Equation
from symcompile.expressions.evaluation import Array
from symcompile.regression.choice import ROUNDING
from symcompile.regression.dataset import Dataset

# Nats for a unit of complexity.
PRICE = 1.0
# Directions that a spectrum is resolved into: at most so many, and one for so many rows. Between 60
# and 250 of them nothing changes.
_DIRECTIONS, _ROWS_EACH = 120, 4
_HIGHEST_DEGREE = 40
# Rows that are looked at, and fewer than which have no spectrum.
_MOST_ROWS, _FEW = 5000, 40


def description_length(equation: Equation, data: Dataset, price: float = PRICE) -> float:
    """Nats that it takes to write down the outputs by an equation whose errors are independent.

    n outputs to within their errors take n / 2 * ln(loss), the loss as a share of that of the best
    constant, over the rows that constants have left; below rounding there is nothing to describe.

    Args:
        equation: with constants fitted to the data.
        data: of which `folds` are not regarded.
        price: nats for a unit of complexity.
    """
    n, k = data.count, len(equation.constants)
    loss = float(np.mean(np.square(errors_of(equation, data)))) if n else math.inf
    if not math.isfinite(loss):
        return math.inf
    free = max(n - k, 0)
    share = max(loss * n / max(free, 1) / max(data.constant_loss, 1e-300), ROUNDING)
    return 0.5 * free * math.log(share) + 0.5 * k * math.log(n) + price * equation.complexity


def effective_sample_size(directions: Directions, residual: Array) -> float:
    """How many independent errors say as much as these [n_samples], which may go together with the
    inputs.

    The number of directions that share their power, (sum v)^2 / (sum v^2) over the variances of
    the spectrum (Bretherton et al. 1999, J. Climate 12, 1990): a few of a smooth function, however
    densely it is sampled. All n where the errors are independent, or too few to tell.
    """
    residual = np.asarray(residual, dtype=float)
    if not np.isfinite(residual).all() or not residual.any():
        return float(len(residual))
    spectrum = directions.spectrum(residual)
    return float(len(residual)) if spectrum.is_flat else spectrum.size


@dataclass(frozen=True)
class Spectrum:
    """Variances of errors.

    Attributes:
        variances: in each band of directions [n_bands].
        counts: how many directions a band has [n_bands]; their sum is the number of rows.
    """

    variances: Array
    counts: Array

    @property
    def size(self) -> float:
        """The number of directions that share the power."""
        power = self.variances * self.counts
        return float(power.sum() ** 2 / max(float(power @ self.variances), 1e-300))

    @property
    def is_flat(self) -> bool:
        """Whether no band that has more than the last one saves the nats that it costs to say which
        it is and how much it has."""
        rest, cost = float(self.variances[-1]), 0.5 * math.log(self.counts.sum())
        if rest <= 0.0:
            return not self.variances.any()
        above = np.maximum(self.variances[:-1] / rest, 1.0)
        saved = 0.5 * self.counts[:-1] * (above - 1.0 - np.log(above))
        return bool((saved <= cost + math.log(max(len(saved), 1))).all())

    def flattened(self) -> Spectrum:
        """The same power in all directions alike."""
        rows = self.counts.sum(keepdims=True)
        return Spectrum((self.variances @ self.counts) / rows, rows)

    def rate(self, distortion: float) -> float:
        """Nats that it takes to describe the errors to within a sum of squares: those of all
        directions above a level, down to that level."""
        order = np.argsort(-self.variances)
        variances, counts = self.variances[order], self.counts[order]
        if not np.isfinite(variances).all() or distortion >= float(variances @ counts):
            return 0.0
        below = float(variances @ counts) - np.cumsum(variances * counts)
        levels = (distortion - below) / np.cumsum(counts)
        # The level is right where it lies above all that is not described.
        last = int(np.argmax(levels >= np.append(variances[1:], 0.0)))
        described = variances[: last + 1] / max(float(levels[last]), 1e-300)
        return float(0.5 * counts[: last + 1] @ np.log(np.maximum(described, 1.0)))


@dataclass(frozen=True)
class Directions:
    """Orthonormal polynomials of the inputs.

    Attributes:
        basis: their values [n_samples, n_directions].
        band: that of each [n_directions]: constant and slopes first, then one for each degree.
    """

    basis: Array
    band: Array

    @classmethod
    def of(cls, X: Array) -> Directions:
        """As many degrees as the rows of X [n_samples, n_inputs] can tell apart; products of
        Legendre polynomials, made orthonormal on these rows."""
        n, d = X.shape
        most = min(_DIRECTIONS, n // _ROWS_EACH)
        degree = 0
        while degree < _HIGHEST_DEGREE and math.comb(d + degree + 1, d) <= most:
            degree += 1
        if degree == 0:
            return cls(np.zeros((n, 0)), np.zeros(0, dtype=int))
        low, width = X.min(axis=0), np.ptp(X, axis=0)
        legendre = np.polynomial.legendre.legvander(
            2.0 * (X - low) / np.where(width > 0, width, 1.0) - 1.0, degree
        )
        products, band = [], []
        for total in range(degree + 1):
            for inputs in combinations_with_replacement(range(d), total):
                powers = np.bincount(inputs, minlength=d) if inputs else np.zeros(d, dtype=int)
                products.append(np.prod(legendre[:, range(d), powers], axis=1))
                band.append(max(total - 1, 0))
        return cls(np.linalg.qr(np.column_stack(products))[0], np.array(band))

    @classmethod
    def that_say(cls, data: Dataset) -> Directions:
        """Those of the samples that say anything."""
        return cls.of(data.X if data.weights is None else data.X[data.weights > 0])

    def spectrum(self, residual: Array) -> Spectrum:
        """That of errors [n_samples]; the last band is what no direction has."""
        power = np.square(self.basis.T @ residual)
        counts = np.append(np.bincount(self.band), len(residual) - len(self.band))
        sums = np.bincount(self.band, weights=power, minlength=len(counts) - 1)
        rest = max(float(residual @ residual) - float(power.sum()), 0.0)
        variances = np.append(sums, rest) / np.maximum(counts, 1)
        return Spectrum(variances, counts.astype(float))


@dataclass(frozen=True)
class Comparison:
    """Each equation of a front against each longer one.

    Attributes:
        savings: [n_equations, n_equations], nats that equation j saves over the shorter i, its own
            cost taken off, above the diagonal; below it, and where one is not finite, -inf. To save
            no more than a node costs is to save nothing: what forms cost is not known any better.
    """

    savings: Array

    @classmethod
    def of(
        cls,
        equations: Sequence[Equation],
        data: Dataset,
        price: float = PRICE,
        directions: Directions | None = None,
    ) -> Comparison:
        """Of equations by ascending complexity, with constants fitted to the data. Of few rows no
        spectrum can be told: their errors are taken as independent. `directions`: of all rows of
        these data, where they are known."""
        count = len(equations)
        savings = np.full((count, count), -np.inf)
        if directions is None:
            data = _looked_at(data)
        few = data.count < _FEW
        pairs = _few(equations, data, price) if few else _many(equations, data, price, directions)
        for i, j, saved in pairs:
            longer = equations[j].complexity > equations[i].complexity
            savings[i, j] = 0.0 if longer and 0.0 < saved <= price else saved
        return cls(savings)

    @property
    def shortest(self) -> int:
        """The first equation over which no longer one saves anything."""
        return int(np.argmax(self.best_savings <= 0.0))

    @cached_property
    def best_savings(self) -> Array:
        """What the best of the longer ones saves over each equation [n_equations]."""
        return np.max(self.savings, axis=1, initial=-np.inf)

    @property
    def behind(self) -> Array:
        """Nats by which each equation is behind the shortest [n_equations], 0 for that one: for a
        shorter one what the best longer one saves over it, for a longer one what it fails to save.
        """
        chosen = self.shortest
        behind = np.concatenate([self.best_savings[:chosen], -self.savings[chosen, chosen:]])
        behind[chosen] = 0.0
        return np.asarray(behind)

    def among(self, numbers: Sequence[int]) -> Array:
        """The same where only these may be chosen, at least one; infinite for the others."""
        behind = np.full(len(self.savings), np.inf)
        behind[numbers] = Comparison(self.savings[np.ix_(numbers, numbers)]).behind
        return behind


def _few(
    equations: Sequence[Equation], data: Dataset, price: float
) -> Iterator[tuple[int, int, float]]:
    """Numbers of a shorter and of a longer equation, and what the longer one saves."""
    lengths = [description_length(equation, data, price) for equation in equations]
    for i, j in combinations(range(len(equations)), 2):
        if math.isfinite(lengths[j]):
            yield i, j, lengths[i] - lengths[j]


def _many(
    equations: Sequence[Equation], data: Dataset, price: float, directions: Directions | None
) -> Iterator[tuple[int, int, float]]:
    """The same by the spectrum of what the shorter one leaves; a flat one where what the best one
    leaves is independent."""
    errors = [errors_of(equation, data) for equation in equations]
    rounding = max(ROUNDING * data.constant_loss, 1e-300)
    floor = rounding * data.count
    left = [max(float(error @ error), floor) for error in errors]
    finite = [j for j, power in enumerate(left) if math.isfinite(power)]
    directions = directions or Directions.that_say(data)
    spectra = {j: directions.spectrum(errors[j]) for j in finite}
    best = min(finite, key=left.__getitem__, default=0)
    if finite and (left[best] <= floor or spectra[best].is_flat):
        spectra = {j: spectrum.flattened() for j, spectrum in spectra.items()}
    for i, j in combinations(range(len(equations)), 2):
        if j in spectra:
            saved = spectra[i].rate(left[j]) if i in spectra else math.inf
            # A robust loss has told errors of unlike size apart already.
            if data.loss.is_squared and 0.0 < saved < math.inf:
                saved *= _telling(errors[i], errors[j], rounding)
            yield i, j, saved - _cost(equations[j], equations[i], data.count, price)


def _cost(longer: Equation, shorter: Equation, rows: int, price: float) -> float:
    """Nats that the form and the constants of an equation cost more than another's."""
    constants = len(longer.constants) - len(shorter.constants)
    return price * (longer.complexity - shorter.complexity) + 0.5 * constants * math.log(rows)


def errors_of(equation: Equation, data: Dataset) -> Array:
    """Error on each row that says anything; their squares are the losses, weighted to mean one."""
    residual = replace(data, folds=None).residual(equation)
    with np.errstate(all="ignore"):
        errors = np.sign(residual) * np.sqrt(data.loss.of(residual))
        if data.weights is None:
            return np.asarray(errors)
        says = data.weights > 0
        return np.asarray(errors[says] * np.sqrt(data.weights[says] / data.weights[says].mean()))


def _telling(before: Array, after: Array, rounding: float) -> float:
    """The share that counts of what smaller errors save: of the rows that tell how large errors
    are, 2 / (kurtosis - 1), or of their fall what is that of a single row on average. No error is
    below `rounding`, in its square."""
    squares, others = (np.maximum(np.square(errors), rounding) for errors in (before, after))
    power, other = float(squares.mean()), float(others.mean())
    kurtosis = float(np.square(squares / power).mean())
    fall = math.log(power / other)
    typical = float(np.mean(np.log(squares / others))) / fall if fall > 0.0 else 1.0
    return min(1.0, max(2.0 / max(kurtosis - 1.0, 1e-300), typical))


def _looked_at(data: Dataset) -> Dataset:
    """All rows, or of very many as many as are looked at, evenly taken."""
    n = len(data.y)
    if n <= _MOST_ROWS:
        return data
    rows = np.linspace(0, n - 1, _MOST_ROWS).astype(int)
    weights = None if data.weights is None else data.weights[rows]
    return Dataset(data.X[rows], data.y[rows], weights, data.loss)
