"""Rewrite: lower the chosen equations and put them in the regions' places, in a copy of the model.

The hybrid keeps no parameter of a replaced block alive, except where another part of the model, or
an output of the block that stays neural, uses it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from symcompile.assembly import Assembly
from symcompile.modules.assemble import Vacant, vacate
from symcompile.modules.state import same_random_state
from symcompile.modules.whole_model import root_for
from symcompile.pipeline import Chosen, Rewritten
from symcompile.storage.recording import Recording


@dataclass(frozen=True)
class RewritePass:
    """Make the hybrid. A region that nothing was chosen for gets a copy of its neural block."""

    name: ClassVar[str] = "rewrite"

    def run(self, state: Chosen) -> Rewritten:
        with same_random_state():
            hybrid = _vacant(state.root, state.recording)
            assembly = Assembly(hybrid, state.root, state.recording, dict(state.controls))
            lowered = {}
            for path, region in state.recording.regions.items():
                choice = state.choices[path]
                if choice.refused or choice.judged is None:
                    assembly.put(region, assembly.neural(path))
                    continue
                # Lowered anew: what stays neural in it has to share with the rest of the hybrid.
                inner = choice.judged.lowered.dtype
                lowered[path] = assembly.lower_in(region, choice.judged.equations, inner)
                assembly.put(region, lowered[path].module)
        return Rewritten(**vars(state), assembly=assembly, lowered=lowered)


def _vacant(root: nn.Module, recording: Recording) -> nn.Module:
    """The hybrid before any block is in it."""
    if "." in recording.regions:
        return root_for(recording.regions["."], Vacant(), type(root).__name__)
    return vacate(root, recording.regions)
