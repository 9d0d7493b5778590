"""Verify: complete what was measured of each block, and see what they do to the model together.

Values, poles and the end-to-end change, beside the mean output and a linear map, were measured by
`choose`, since they decide. Gradients, extrapolation and latency are measured here, of the blocks
as they are installed; and whether the model runs with all of them, and gives finite numbers. What
was found of an output's structure, the neural block itself is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from symcompile.assembly import Assembly, InstalledBlock
from symcompile.expressions.operator_set import OperatorSet
from symcompile.fidelity.measuring import does_not_run
from symcompile.fidelity.outcome import OVERRULED, RULE, Outcome, Refusal, Rewrite
from symcompile.modules.results import Results
from symcompile.modules.samples import Samples
from symcompile.modules.state import same_random_state
from symcompile.pipeline import Rewritten, Verified
from symcompile.regression.folds import in_words

_BREAKS_TOGETHER = (
    "Together with the equations of other targets the model's output is not finite on held-out"
    " data, where the original's is. Give a lower tolerance=, or more data, or insist with"
    " compiled.choose({path!r}, complexity=...)."
)


@dataclass(frozen=True)
class VerifyPass:
    """Measure each block, then all of them together.

    Attributes:
        seed: of the search, for the record.
    """

    seed: int = 0
    name: ClassVar[str] = "verify"

    def run(self, state: Rewritten) -> Verified:
        with same_random_state():
            blocks = {path: self._measured(state, path) for path in state.lowered}
            # Where several are finite together the model has run with them.
            if not (len(_replaced(blocks)) > 1 and state.assembly.finite()):
                _refuse_what_does_not_run(state.assembly, blocks)
                _refuse_what_breaks_together(state.assembly, blocks)
        changed = {
            "lowered": {path: block.lowered for path, block in blocks.items()},
            "assembly": replace(state.assembly, known=None),
            "results": Results(),
        }
        return Verified(**{**vars(state), **changed}, blocks=blocks)

    def _measured(self, state: Rewritten, path: str) -> InstalledBlock:
        """The block with its fidelity: what `choose` has measured to judge it, completed. Of
        equations that were refused, too."""
        assembly, choice, lowered = state.assembly, state.choices[path], state.lowered[path]
        region, fronts, judged = state.recording.regions[path], state.fronts[path], choice.judged
        engine, fidelity = state.engines[path], None
        comparison = assembly.comparison(region)
        fronts = comparison.asked(fronts)
        if judged is not None and judged.fidelity is not None:
            module = (lowered or judged.lowered).module
            fidelity = comparison.complete(judged.fidelity, module)
        known = state.known.get(path)
        described = engine.describe() if known is None else known.described
        operators = engine.operators if known is None else OperatorSet.described(described)
        provenance = _provenance(described, self.seed, state.recording.samples[path])
        rules = [front.rule for front in fronts.values() if front.rule]
        provenance |= {RULE: rules[0]} if rules else {}
        if lowered is None or fidelity is None:
            outcome: Outcome = Refusal(path, choice.refused, region, fronts, fidelity, provenance)
        else:
            provenance |= {OVERRULED: choice.overruled} if choice.overruled else {}
            outcome = assembly.rewrite(region, lowered, fidelity, fronts, provenance)
        return InstalledBlock(region, operators, outcome, lowered)


def _provenance(engine: Mapping[str, Any], seed: int, samples: Samples) -> dict[str, Any]:
    judged = {} if samples.folds is None else {"judged_by": in_words(len(samples.holdout))}
    return {
        "engine": dict(engine),
        "seed": seed,
        "n_fit": int((~samples.holdout).sum()),
        "n_holdout": int(samples.holdout.sum()),
        **judged,
    }


def _replaced(blocks: Mapping[str, InstalledBlock]) -> list[InstalledBlock]:
    return [block for block in blocks.values() if isinstance(block.outcome, Rewrite)]


def _refuse_what_does_not_run(assembly: Assembly, blocks: dict[str, InstalledBlock]) -> None:
    """A model may reach into its blocks, past their forward: such blocks stay neural."""
    for path, block in blocks.items():
        error = assembly.failure()
        if error is None:
            return
        if isinstance(block.outcome, Rewrite):
            reason = str(does_not_run(path, error))
            blocks[path] = assembly.restore(block, reason, block.outcome.fidelity)


def _refuse_what_breaks_together(assembly: Assembly, blocks: dict[str, InstalledBlock]) -> None:
    """Blocks that do no harm alone may do it together, such as two that each double what a third
    squares."""
    while True:
        replaced = _replaced(blocks)
        if len(replaced) < 2 or assembly.finite():
            return
        culprit = _culprit(assembly, replaced)
        path = culprit.region.path
        reason = _BREAKS_TOGETHER.format(path=path)
        blocks[path] = assembly.restore(culprit, reason, culprit.outcome.fidelity)


def _culprit(assembly: Assembly, replaced: list[InstalledBlock]) -> InstalledBlock:
    """The first without which the model's output is finite, by what each does alone."""

    def alone(block: InstalledBlock) -> float:
        fidelity = block.outcome.fidelity
        change = None if fidelity is None else fidelity.end_to_end
        return 0.0 if change is None else -change.equation

    ordered = sorted(replaced, key=alone)
    for block in ordered:
        installed = assembly.installed(block.region)
        assembly.put(block.region, assembly.neural(block.region.path))
        finite = assembly.finite()
        assembly.put(block.region, installed)
        if finite:
            return block
    return ordered[0]
