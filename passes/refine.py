"""Refine: from what the searches find to a Pareto front for each output.

Dead terms go, constants are fitted jointly and snapped, and what is left is ranked on held-out data
(`symcompile.regression.refine`); then outputs of one block try each other's forms and take up each
other's terms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from symcompile.pipeline import Distilled, Refined, fit_key
from symcompile.regression.progress import ProgressBar


@dataclass(frozen=True)
class RefinePass:
    """Run the searches and refine what they find, each output as soon as its searches are done.

    Attributes:
        progress: show a progress bar where there is a terminal.
    """

    progress: bool = True
    name: ClassVar[str] = "refine"

    def run(self, state: Distilled) -> Refined:
        with ProgressBar(len(state.searches.keys), enabled=self.progress) as bar:
            fronts = state.searches.refined(bar)
        by_output = {
            path: state.known[path].fronts
            if path in state.known
            else {k: fronts[fit_key(path, k)] for k in region.equation_outputs}
            for path, region in state.recording.regions.items()
        }
        return Refined(**vars(state), fronts=by_output)
