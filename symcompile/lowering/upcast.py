"""A block that computes in a wider type than that of the model around it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn
from torch.fx.graph_module import reduce_graph_module

from symcompile.lowering.layers import is_layer

_INNER = "symcompile.inner"


class Upcast(fx.GraphModule):
    """Equations that cast their inputs up, compute, and cast the results back.

    Its constants need the wider type as well: 6.7e-48 is no float32. So `.to(dtype)`, `.half()` and
    `.float()`, which convert a model for what it is given and gives, never make them narrower than
    `inner`.
    """

    def __init__(
        self,
        root: nn.Module | dict[str, Any],
        graph: fx.Graph,
        class_name: str = "Equations",
        inner: torch.dtype | None = None,
    ) -> None:
        super().__init__(root, graph, class_name)
        if inner is not None:
            self.meta[_INNER] = inner  # torch.fx copies that, and no other attribute

    @property
    def inner(self) -> torch.dtype:
        """The floating type that it computes in."""
        return self.meta[_INNER]  # type: ignore[no-any-return]

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Upcast:
        def wide(tensor: torch.Tensor) -> torch.Tensor:
            moved = fn(tensor)
            if not moved.is_floating_point() or _bits(moved.dtype) >= _bits(self.inner):
                return moved
            return tensor.to(moved.device, self.inner)

        if recurse:
            for name, child in self.named_children():
                child._apply(wide if is_layer(name) else fn)
        super()._apply(wide, recurse=False)
        return self

    def __reduce__(self) -> Any:
        _, (body, imports) = super().__reduce__()
        return _restored, (body, imports)


def _restored(body: dict[Any, Any], imports: str) -> Upcast:
    """A pickled block: torch.fx would make a plain GraphModule of it."""
    plain: Any = reduce_graph_module(body, imports)
    return Upcast(plain, plain.graph, "Equations", body["meta"][_INNER])


def _bits(dtype: torch.dtype) -> int:
    return torch.finfo(dtype).bits
