"""Rewrite: lower the chosen equations and put them in the regions' places, in a copy of the model.

The hybrid keeps no parameter of a replaced block alive, except where another part of the model, or
an output of the block that stays neural, uses it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from symcompile.assembly import Assembly
from symcompile.fidelity.acceptance import Choice
from symcompile.lowering.block import Lowered
from symcompile.modules.region import Region
from symcompile.modules.state import same_random_state
from symcompile.modules.surgery import root_for, vacate
from symcompile.pipeline import Chosen, Rewritten


@dataclass(frozen=True)
class RewritePass:
    """Make the hybrid. A region that nothing was chosen for gets a copy of its neural block."""

    name: ClassVar[str] = "rewrite"

    def run(self, state: Chosen) -> Rewritten:
        with same_random_state():
            root, regions = state.root, state.recording.regions
            if "." in regions:
                hybrid: nn.Module = root_for(regions["."], root)
            else:
                hybrid = vacate(root, regions)
            assembly = Assembly(hybrid, root, state.recording, dict(state.controls), state.results)
            lowered = {
                path: _put(assembly, region, state.choices[path])
                for path, region in regions.items()
            }
        return Rewritten(**vars(state), assembly=assembly, lowered=lowered)


def _put(assembly: Assembly, region: Region, choice: Choice) -> Lowered | None:
    """What stands in the region's place now; None for a copy of its neural block."""
    if choice.refused or choice.judged is None:
        assembly.put(region, assembly.neural(region.path))
        return None
    # Lowered anew: what stays neural in it has to share with the rest of the hybrid.
    lowered = assembly.lower(region, choice.judged.equations, choice.judged.lowered.dtype)
    assembly.put(region, lowered.module)
    return lowered
