"""The step sizes of a training of known length."""

from __future__ import annotations

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

# Share of the steps in which they grow.
_WARM_UP = 0.1


def one_cycle(optimizer: Optimizer, steps: int) -> LambdaLR:
    """Step sizes that grow to that of the optimizer, and fall to nothing along half a cosine (Smith
    and Topin 2017, https://arxiv.org/abs/1708.07120); for any number of steps."""
    first = max(1, round(_WARM_UP * steps))

    def share(step: int) -> float:
        if step < first:
            return (step + 1) / first
        return 0.5 * (1.0 + math.cos(math.pi * (step + 1 - first) / max(steps - first, 1)))

    return LambdaLR(optimizer, share)
