"""Hits by variant and law, beside the paper's, and every equation."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from force_laws import LAWS
from forces_run import Outcome
from graph_network import VARIANTS
from study import markdown

# Right forms of two messages, arXiv 2602.21307: standard, bottleneck, L1, KL, pruning.
PAPER = {
    "charge": (0, 2, 1, 0, 2),
    "r^-1": (1, 2, 2, 0, 2),
    "r^-2": (1, 2, 1, 2, 2),
    "spring": (2, 2, 2, 2, 2),
}


def table(outcomes: Sequence[Outcome]) -> str:
    return "\n\n".join([_hits(outcomes), _runs(outcomes), _messages(outcomes)])


def _hits(outcomes: Sequence[Outcome]) -> str:
    """Right forms among the messages of all seeds, and the paper's of two."""
    rows = []
    for law in LAWS:
        row = [law]
        for number, variant in enumerate(VARIANTS):
            found = _final(outcomes, law, variant)
            hits = f"{sum(found)}/{len(found)}" if found else "-"
            row.append(f"{hits} ({PAPER[law][number]}/2)")
        rows.append(row)
    totals: list[object] = ["all"]
    for number, variant in enumerate(VARIANTS):
        found = [hit for law in LAWS for hit in _final(outcomes, law, variant)]
        paper = sum(counts[number] for counts in PAPER.values())
        totals.append(f"{sum(found)}/{len(found)} ({paper}/8)" if found else f"- ({paper}/8)")
    return markdown(["law (paper)", *VARIANTS], [*rows, totals])


def _final(outcomes: Sequence[Outcome], law: str, variant: str) -> list[bool]:
    return [
        message.settled["right"]
        for outcome in outcomes
        if (outcome.law, outcome.variant) == (law, variant)
        for message in outcome.messages
    ]


def _runs(outcomes: Sequence[Outcome]) -> str:
    """Errors of accelerations on test simulations, medians over seeds, and seconds."""
    columns = ["law", "variant", "R2 of messages", "network", "distilled", "settled", "training s"]
    rows = []
    for law in LAWS:
        for variant in VARIANTS:
            group = [o for o in outcomes if (o.law, o.variant) == (law, variant)]
            if not group:
                continue
            r2 = [f"{message.truth.r2:.2f}" for o in group for message in o.messages]
            errors = [_median(group, name) for name in ("network", "distilled", "settled")]
            seconds = median(o.seconds["training"] for o in group)
            rows.append([law, variant, " ".join(r2), *errors, f"{seconds:.0f}"])
    slowest = max(
        (o.seconds["compiling"] + o.seconds.get("settling", 0.0)) / len(o.messages)
        for o in outcomes
    )
    notes = (
        "R2: of the network's messages as a linear map of the true force, or of the force over the"
        " receiver's mass or charge,\nall samples. Errors: mean absolute error of accelerations,"
        f" over their mean size.\nA message was distilled and settled in at most {slowest:.0f} s."
    )
    return markdown(columns, rows) + "\n\n" + notes


def _median(group: Sequence[Outcome], name: str) -> str:
    found = [outcome.errors[name] for outcome in group if name in outcome.errors]
    return f"{median(found):.3f}" if found else "-"


def _messages(outcomes: Sequence[Outcome]) -> str:
    columns = ["law", "variant", "seed", "nearest", "as distilled", "in the end", "equation"]
    rows = [
        [
            outcome.law,
            outcome.variant,
            outcome.seed,
            message.truth.quantity + ("" if all(message.truth.components) else ", one axis"),
            _word(message.distilled),
            _word(message.settled),
            message.settled["equation"],
        ]
        for outcome in outcomes
        for message in outcome.messages
    ]
    return markdown(columns, rows)


def _word(verdict: dict[str, object]) -> str:
    if verdict["right"]:
        return "right"
    missing, spurious = verdict["missing"], verdict["spurious"]
    assert isinstance(missing, tuple)
    assert isinstance(spurious, tuple)
    if not missing and spurious == ("constant",):
        return "constant"
    return "WRONG" if len(missing) == 2 else "lacks " + missing[0] if missing else "more terms"
