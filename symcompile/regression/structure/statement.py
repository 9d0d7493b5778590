"""Statements: what is known of an output's structure, in words and in the names of its inputs.

A finding of samples is claimed only where it holds of what can be asked: the chosen equation, and
the function itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import sympy

from symcompile.errors import ExpressionError, one_line, shown
from symcompile.expressions.evaluation import Array
from symcompile.expressions.printing import as_text
from symcompile.regression.structure.claim import EXACT, Claim
from symcompile.regression.structure.findings import TENTATIVE, Finding, Structure
from symcompile.regression.structure.moves import Judged, asked
from symcompile.regression.structure.problem import Problem

# Of one output, and characters of a text.
MOST, LONGEST = 50, 1_000
# An equation is off by so much between two inputs that is off by one at each, at the most.
_BOTH = 2.0
_OUTPUTS = ("output", "result", "value")
_FUNCTIONS = ("G", "F", "H", "Phi", "Psi")
_DIGITS = 4


@dataclass(frozen=True)
class Statement:
    """One finding.

    Attributes:
        text: what was found, such as "v and c matter only through v/c".
        form: what the output is by this and all statements before it, such as "m*G(v/c)" for some
            function G.
        before, after: error of a smooth surrogate of the samples without and with it, as shares of
            the spread of the output.
        certain: whether samples alone tell; else the chosen equation was asked, and has it too.
        law: by how much the chosen equation breaks it, where inputs are moved so that it should
            stay; root mean square as a share of the spread. None where it was not asked.
        asked: by how much the function itself does, the network say; None where it can't be asked.
        claim: as expressions, to ask others. Not stored in artifacts.
    """

    text: str
    form: str
    before: float
    after: float
    certain: bool
    law: float | None = None
    asked: float | None = None
    claim: Claim | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, finding: Finding, before: Problem, names: Sequence[str]) -> Statement:
        claim = Claim.of(finding, before, names)
        # A poor surrogate is as good without a variable that matters.
        certain = finding.certain and finding.after <= TENTATIVE
        return cls("", "", finding.before, finding.after, certain).about(claim)

    def about(self, claim: Claim) -> Statement:
        """The same of another spelling, or with its coefficients."""
        text, form = (one_line(words, LONGEST) for words in (in_words(claim), form_of(claim)))
        return replace(self, text=text, form=form, claim=claim)

    def __str__(self) -> str:
        return f"{self.text} ({self.confidence})"

    @property
    def confidence(self) -> str:
        """How well it is borne out."""
        words = "" if self.certain else "as the equation has it; "
        if self.asked is None:
            return f"{words}samples keep it to {share(self.after)} of the spread"
        return f"{words}kept to {share(self.asked)} of the spread where that was asked"

    # --- stored ------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """Plain data with the claim."""
        stored: dict[str, Any] = {
            "text": self.text,
            "form": self.form,
            "before": self.before,
            "after": self.after,
            "certain": self.certain,
        }
        figures = {"law": self.law, "asked": self.asked}
        stored |= {name: figure for name, figure in figures.items() if figure is not None}
        if self.claim is not None:
            stored["claim"] = self.claim.to_json()
        return stored

    @classmethod
    def from_json(cls, data: Any) -> Statement:
        """Read `to_json` back; ExpressionError, KeyError, TypeError or ValueError for damage."""
        texts = data["text"], data["form"]
        if not all(type(text) is str and 0 < len(text) <= LONGEST for text in texts):
            raise ExpressionError(f"a finding says {shown(texts)}")
        if type(data["certain"]) is not bool:
            raise ExpressionError(f"certain: is {shown(data['certain'])}, expected true or false")
        figures = data["before"], data["after"], data.get("law", 0.0), data.get("asked", 0.0)
        if not all(type(value) in (int, float) and 0.0 <= value < math.inf for value in figures):
            raise ExpressionError(f"the errors of a finding are {[*map(shown, figures)]}")
        before, after, law, asked_of = map(float, figures)
        claim = Claim.from_json(data["claim"]) if "claim" in data else None
        text, form = map(one_line, texts)
        return cls(
            text,
            form,
            before,
            after,
            data["certain"],
            law if "law" in data else None,
            asked_of if "asked" in data else None,
            claim,
        )


def statements(found: Structure, names: Sequence[str]) -> tuple[Statement, ...]:
    """What was found of an output of these inputs, before anything was asked."""
    steps = zip(found.findings, found.problems, strict=False)
    return tuple(Statement.of(finding, before, names) for finding, before in steps)


def read_statements(data: Any) -> tuple[Statement, ...]:
    """Those of a stored front; errors as of `Statement.from_json`."""
    if type(data) is not list or len(data) > MOST:
        raise ExpressionError(f"the findings are {shown(data)}, expected a list of up to {MOST}")
    return tuple(map(Statement.from_json, data))


# --- asked ---------------------------------------------------------------------------------------


def borne_out(
    statements: Sequence[Statement],
    X: Array,
    law: Callable[[Array], Array],
    error: float,
    spread: float,
) -> tuple[Statement, ...]:
    """Those that an equation does not refute, with what it makes of them.

    What is not certain it must have itself; and what is certain it refutes if it breaks that by
    more than it errs. Each speaks of what those before have left, so that one that falls takes all
    behind it along.

    Args:
        X: recorded inputs [n_samples, n_inputs].
        law: values of the equation [n] for inputs [n, n_inputs].
        error: of the equation on the samples, as a share of the spread.
        spread: standard deviation of the output.
    """

    judged = _asked({0: statements}, X, lambda rows: law(rows)[:, None], {0: spread})[0]

    def kept() -> Iterator[Statement]:
        for statement, result in zip(statements, judged, strict=True):
            bound = EXACT + _BOTH * error * statement.certain
            if result is None or not result[1] <= bound:
                return
            yield replace(statement.about(result[0]), law=result[1])

    return tuple(kept())


def kept_by(
    found: Mapping[int, Sequence[Statement]],
    X: Array,
    outputs: Callable[[Array], Array],
    spreads: Mapping[int, float],
) -> dict[int, tuple[Statement, ...]]:
    """By output, those that the function itself keeps as well as a network keeps anything, and how
    well. Where inputs can't be moved nothing is said of that.

    Args:
        outputs: the function, [n, n_inputs] -> [n, n_outputs]. It is called once.
    """
    judged = _asked(found, X, outputs, spreads)

    def kept(output: int) -> Iterator[Statement]:
        for statement, result in zip(found[output], judged[output], strict=True):
            if result is not None and not result[1] <= TENTATIVE:
                return
            yield statement if result is None else replace(statement, asked=result[1])

    return {output: tuple(kept(output)) for output in found}


def _asked(
    found: Mapping[int, Sequence[Statement]],
    X: Array,
    outputs: Callable[[Array], Array],
    spreads: Mapping[int, float],
) -> dict[int, list[Judged]]:
    """What each comes to; None where there is nothing to ask."""
    places = [
        (output, place, statement.claim)
        for output, statements in found.items()
        for place, statement in enumerate(statements)
        if statement.claim is not None
    ]
    claims = [(claim, output) for output, _, claim in places]
    judged: dict[int, list[Judged]] = {k: [None] * len(of) for k, of in found.items()}
    results = asked(claims, X, outputs, spreads)
    for (output, place, _), result in zip(places, results, strict=True):
        judged[output][place] = result
    return judged


# --- words ---------------------------------------------------------------------------------------


def in_one_line(statements: Sequence[Statement]) -> str:
    """What they come to, how well that is borne out, and each of them; "" for none."""
    if not statements:
        return ""
    last = replace(statements[-1], certain=all(statement.certain for statement in statements))
    single = "; ".join(statement.text for statement in statements)
    return f"{last.form} ({last.confidence}): {single}"


def share(value: float) -> str:
    """In percent; nothing smaller than rounding."""
    return f"{100.0 * max(value, EXACT):.2g} %"


def in_words(claim: Claim) -> str:
    """The last finding alone; what those before have taken off is not spoken of."""
    subject = [as_text(expr, claim.names) for expr in claim.subject]
    match claim.kind:
        case "irrelevant":
            return f"{subject[0]} does not matter"
        case "factor":
            return f"proportional to {subject[0]}"
        case "term":
            return f"{_added(claim)} is added"
        case "group":
            group = next(reversed(claim.variables), sympy.S.One)
            return f"{listed(subject)} matter only through {as_text(group, claim.names)}"
    return f"{_left(claim)} depends only on {listed(_texts(claim, claim.variables))}"


def form_of(claim: Claim) -> str:
    """Offset plus factor times a function of the variables."""
    name = next((name for name in _FUNCTIONS if name not in claim.names), "function")
    inside = ", ".join(_texts(claim, claim.variables))
    core = f"{name}({inside})" if claim.variables else "constant"
    terms = [_multiple(claim, k) for k in range(len(claim.terms))]
    return " + ".join([*terms, _product(claim, core)]).replace("+ -", "- ")


def listed(texts: Sequence[str]) -> str:
    if len(texts) < 2:
        return "".join(texts) or "nothing"
    return f"{', '.join(texts[:-1])} and {texts[-1]}"


def _texts(claim: Claim, exprs: Collection[sympy.Expr]) -> list[str]:
    return [as_text(expr, claim.names) for expr in exprs]


def _left(claim: Claim) -> str:
    """What is left of the output once terms and factor are off."""
    name = next((name for name in _OUTPUTS if name not in claim.names), _OUTPUTS[0])
    taken = zip(claim.coefficients, claim.terms, strict=False)
    terms = sympy.Add(*(sympy.Float(a, _DIGITS) * term for a, term in taken))
    return as_text((sympy.Symbol(name) - terms) / claim.factor, (*claim.names, name))


def _product(claim: Claim, core: str) -> str:
    """The factor times what is left: a function after what stands above, a constant before it."""
    above, below = claim.factor.as_numer_denom()
    parts = [core] if above == 1 else [_factor(above, claim.names), core]
    quotient = "*".join(parts if claim.variables else reversed(parts))
    if below == 1:
        return quotient
    text = _factor(below, claim.names)
    return f"{quotient}/({text})" if below.is_Mul else f"{quotient}/{text}"


def _factor(expr: sympy.Expr, names: Sequence[str]) -> str:
    text = as_text(expr, names)
    return f"({text})" if expr.is_Add else text


def _multiple(claim: Claim, k: int) -> str:
    """Term number k with its coefficient, or some letter's place for one that nobody knows."""
    text = _factor(claim.terms[k], claim.names)
    if not claim.coefficients:
        return f"constant*{text}"
    coefficient = f"{claim.coefficients[k]:.{_DIGITS}g}"
    return {"1": text, "-1": f"-{text}"}.get(coefficient, f"{coefficient}*{text}")


def _added(claim: Claim) -> str:
    own = claim.own
    if own is None:
        return f"a multiple of {as_text(claim.subject[0], claim.names)}"
    return _multiple(claim, claim.terms.index(own))
