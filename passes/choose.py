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
from symcompile.fidelity.acceptance import Choice, Conditions, accepted
from symcompile.modules.region import Region
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
        original = Assembly(state.root, state.root, state.recording)
        with same_random_state():
            choices = {
                path: self._choice(state, original, region)
                for path, region in state.recording.regions.items()
            }
        return Chosen(**vars(state), controls=original.controls, choices=choices)

    def _choice(self, state: Refined, original: Assembly, region: Region) -> Choice:
        conditions = Conditions(region.target.tolerance or self.tolerance, self.beat_linear)
        return accepted(
            original.comparison(region),
            state.fronts[region.path],
            conditions,
            partial(original.lower, region),
        )
