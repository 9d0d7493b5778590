"""Rewrite: lower the chosen equations and put them in the regions' places, in a copy of the model.

The hybrid keeps no parameter of a replaced block alive, except where another part of the model, or
an output of the block that stays neural, uses it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from symcompile.assembly import Assembly, InstalledBlock
from symcompile.fidelity.outcome import Refusal
from symcompile.modules.assemble import Vacant, root_for, vacate
from symcompile.modules.samples import Samples
from symcompile.modules.state import same_random_state
from symcompile.pipeline import Chosen, Rewritten
from symcompile.regression.folds import in_words


@dataclass(frozen=True)
class RewritePass:
    """Make the hybrid. A region that nothing was chosen for gets a copy of its neural block.

    Attributes:
        seed: of the search, for the record.
    """

    seed: int = 0
    name: ClassVar[str] = "rewrite"

    def run(self, state: Chosen) -> Rewritten:
        with same_random_state():
            root, regions = state.root, state.recording.regions
            if "." in regions:
                hybrid: nn.Module = root_for(regions["."], Vacant(), type(root).__name__)
            else:
                hybrid = vacate(root, regions)
            assembly = Assembly(hybrid, root, state.recording, dict(state.controls))
            blocks = {path: self._installed(state, assembly, path) for path in state.choices}
        return Rewritten(**vars(state), assembly=assembly, blocks=blocks)

    def _installed(self, state: Chosen, assembly: Assembly, path: str) -> InstalledBlock:
        region, choice, lowered = state.recording.regions[path], state.choices[path], None
        if choice.refused or choice.judged is None:
            assembly.put(region, assembly.neural(path))
        else:
            # Lowered anew: what stays neural in it has to share with the rest of the hybrid.
            inner = choice.judged.lowered.dtype
            lowered = assembly.lower(region, choice.judged.equations, inner)
            assembly.put(region, lowered.module)
        engine, fronts = state.engines[path], state.fronts[path]
        provenance = _provenance(engine.describe(), self.seed, state.recording.samples[path])
        refusal = Refusal(path, "not measured yet", region, fronts, provenance=provenance)
        return InstalledBlock(region, engine.operators, refusal, lowered)


def _provenance(engine: Mapping[str, Any], seed: int, samples: Samples) -> dict[str, Any]:
    judged = {} if samples.folds is None else {"judged_by": in_words(len(samples.holdout))}
    return {
        "engine": dict(engine),
        "seed": seed,
        "n_fit": int((~samples.holdout).sum()),
        "n_holdout": int(samples.holdout.sum()),
        **judged,
    }
