"""Choose: which equations of its fronts are to stand in each region's place.

The default choice of each output where it passes, else the simplest equation that does
(`symcompile.fidelity.acceptance`). Equations are lowered to be judged: what they do in the block's
own floating type, and to the model's output, can't be told from their values.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from symcompile.assembly import Assembly
from symcompile.fidelity.acceptance import Conditions, accepted
from symcompile.modules.state import same_random_state
from symcompile.pipeline import Chosen, Refined


@dataclass(frozen=True)
class ChoosePass:
    """Fields as the arguments of `symcompile.symcompile`; a target may have a tolerance of its
    own."""

    tolerance: float | None = None
    beat_linear: bool = False
    name: ClassVar[str] = "choose"

    def run(self, state: Refined) -> Chosen:
        # Blocks are judged in the place of the original's: there is no hybrid yet.
        original = Assembly(state.root, state.root, state.recording, known=state.results)
        choices = {}
        with same_random_state():
            for path, region in state.recording.regions.items():
                conditions = Conditions(region.target.tolerance or self.tolerance, self.beat_linear)
                comparison, lower = original.comparison(region), partial(original.lower, region)
                choices[path] = accepted(comparison, state.fronts[path], conditions, lower)
        return Chosen(**vars(state), controls=original.controls, choices=choices)
