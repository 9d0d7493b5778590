"""What exporters and artifacts see of a compiled model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import nn

from symcompile.fidelity.outcome import Outcome
from symcompile.modules.calling import Batch


class Hybrid(Protocol):
    """A model some of whose submodules are equations.

    Attributes:
        module: the hybrid itself; the block of region "a.b" is `module.get_submodule("a.b")`, that
            of the whole model (".") is `module.body`. Each symbolic block is a flat fx.GraphModule.
        outcomes: rewrite or refusal of each region, by path. A region that was restored counts as
            a refusal.
        example: a batch for tracing, held-out rows where there are any; None if the compiler never
            saw data for the model itself.
        capture: "fx", "module boundaries" or "artifact".
    """

    @property
    def module(self) -> nn.Module: ...
    @property
    def outcomes(self) -> Mapping[str, Outcome]: ...
    @property
    def example(self) -> Batch | None: ...
    @property
    def capture(self) -> str: ...
