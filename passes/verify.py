"""Verify: measure what was installed against the original, and refuse what fails.

Values, gradients, extrapolation, poles, latency and the end-to-end change, beside the mean output
and a linear map; and whether the model runs with all blocks in place, and gives finite numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from symcompile.assembly import Assembly, InstalledBlock
from symcompile.fidelity.measuring import does_not_run
from symcompile.fidelity.outcome import Refusal, Rewrite
from symcompile.modules.state import same_random_state
from symcompile.pipeline import Rewritten, Verified

_BREAKS_TOGETHER = (
    "Together with the equations of other targets the model's output is not finite on held-out"
    " data, where the original's is. Give a lower tolerance=, or more data, or insist with"
    " compiled.choose({path!r}, complexity=...)."
)


@dataclass(frozen=True)
class VerifyPass:
    """Measure each block, then all of them together."""

    name: ClassVar[str] = "verify"

    def run(self, state: Rewritten) -> Verified:
        with same_random_state():
            blocks = {path: self._measured(state, path) for path in state.blocks}
            _refuse_what_does_not_run(state.assembly, blocks)
            _refuse_what_breaks_together(state.assembly, blocks)
        return Verified(**vars(replace(state, blocks=blocks)))

    def _measured(self, state: Rewritten, path: str) -> InstalledBlock:
        """The block with what its judge has left out; of what was refused, too."""
        block, choice, fidelity = state.blocks[path], state.choices[path], None
        if choice.judged is not None and choice.judged.fidelity is not None:
            module = (block.lowered or choice.judged.lowered).module
            comparison = state.assembly.comparison(block.region)
            fidelity = comparison.complete(choice.judged.fidelity, module)
        region, before = block.region, block.outcome
        refusal = Refusal(path, choice.refused, region, before.fronts, fidelity, before.provenance)
        block = replace(block, outcome=refusal)
        if block.lowered is None or fidelity is None:
            return block
        return state.assembly.measured(block, block.lowered, fidelity, choice.moved)


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
        replaced = [block for block in blocks.values() if isinstance(block.outcome, Rewrite)]
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
