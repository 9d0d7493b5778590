"""An explanation as a compiled model: a symbolic block that trains, saves and exports as any other.

The black box is wrapped as a module whose whole forward is the target; what the compiler's passes
would search for is known.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from symcompile.compiled import Compiled
from symcompile.explanation.black_box import BlackBox
from symcompile.explanation.request import Case
from symcompile.fidelity.outcome import Refusal
from symcompile.options import Options
from symcompile.passes import recording_passes
from symcompile.passes.choose import ChoosePass
from symcompile.passes.distill import Asked, fits_of
from symcompile.passes.reduce import ReducePass
from symcompile.passes.rewrite import RewritePass
from symcompile.passes.verify import VerifyPass
from symcompile.pipeline import Reduced, Refined
from symcompile.pipeline import Request as CompileRequest
from symcompile.regression.distillation import Searches
from symcompile.regression.pareto import ParetoFront
from symcompile.storage.journal import Journal
from symcompile.target import Target

if TYPE_CHECKING:
    from symcompile.explanation.explanation import Explanation

# Points that the block is measured on, for each that constants were fitted to.
_POINTS = 2


class _Box(nn.Module):
    """The outputs that are explained, of numbers [n_rows, n_columns]."""

    def __init__(self, black_box: BlackBox, outputs: tuple[int, ...]) -> None:
        super().__init__()
        # A function is no part of a copy: the user's model is not copied with this.
        self.ask = lambda X: black_box(X)[:, list(outputs)]

    def forward(self, x: Tensor) -> Tensor:
        Y = self.ask(x.detach().double().numpy())
        return torch.from_numpy(np.ascontiguousarray(Y)).to(x)


@dataclass(frozen=True)
class _Told:
    """A pass in the place of distilling and refining: what would be searched for is there."""

    explanation: Explanation
    options: Options
    name: ClassVar[str] = "told"

    def run(self, state: Reduced) -> Refined:
        samples, region = state.recording.samples["."], state.recording.regions["."]
        fronts = {}
        for number, equation in enumerate(self.explanation.equations.values()):
            _, held_out = samples.datasets(number)
            loss = held_out.loss_of(equation)
            known = replace(equation, loss=loss, holdout_loss=loss, holdout_mse=loss)
            fronts[number] = ParetoFront((known,), held_out.variance)
        engines = {".": self.options.search}
        asked = Asked(self.options.search)
        fits = fits_of(".", fronts, samples, region.variables, asked, self.options)
        searches = Searches(fits, Journal(None))
        return Refined(**vars(state), engines=engines, searches=searches, fronts={".": fronts})


def compiled(explanation: Explanation) -> Compiled:
    """See `Explanation.compiled`."""
    request = explanation.asked("use compiled or export()")
    case = Case.of(request)
    count = _POINTS * request.n_synthetic
    sample = explanation.neighbourhood.draw(count, np.random.default_rng(request.seed))
    options = Options(engine=request.search, n_samples=count, seed=request.seed)
    target = Target(".", names=explanation.features.symbols)
    passes = (
        recording_passes(options)
        .then(ReducePass())
        .then(_Told(explanation, options))
        .then(ChoosePass())
        .then(RewritePass())
        .then(VerifyPass(request.seed))
    )
    box = _Box(case.black_box, explanation.link.outputs)
    state, log = passes.run(CompileRequest(box, (target,), torch.from_numpy(sample.X)))
    refused = {path: Refusal(path, reason) for path, reason in state.recording.refused.items()}
    return Compiled(state.assembly, state.blocks, refused, log)
