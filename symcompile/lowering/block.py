"""The block of a region: made of its equations, its constants read, trained and exported.

The module is called as the neural block was and returns what it returned. Its constants are
buffers, or parameters after `trainable(module, True)`, under the same names:

- `y0_c1` is constant 1 of equation 0, a tensor without dimensions;
- `affine0_weight` and `affine0_bias` hold the constants of affine sums over the first input tensor,
  which are computed by one matrix product (see `affine`).

A block that works in float16 or bfloat16 computes in float32 inside, and any block in float64 where
it would not hold its way otherwise (see `symcompile.fidelity.precision`). Under autocast a matrix
product in float32 runs in the lower precision, as it does in `nn.Linear`; everything else does not.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import fx, nn

from symcompile.errors import LoweringError
from symcompile.expressions.equation import Equation
from symcompile.lowering.codegen import NEURAL, Generator, Place, name_of
from symcompile.modules.region import Region

_HALF = (torch.float16, torch.bfloat16)
_CONSTANT = re.compile(r"(y\d+_c\d+|affine\d+_(weight|bias))\Z")


@dataclass(frozen=True)
class Lowered:
    """A lowered region.

    Attributes:
        module: the block; flat, except for a submodule "neural" where outputs stay neural.
        equations: what it was lowered from.
        places: for (equation, slot) the place of the constant. A slot that the form does not use
            has none.
        dtype: that it computes in, and of its constants.
    """

    module: fx.GraphModule
    equations: Mapping[int, Equation]
    places: Mapping[tuple[int, int], Place]
    dtype: torch.dtype

    @property
    def unplaced(self) -> frozenset[str]:
        """What constants that no form uses would be called."""
        counts = {number: len(equation.constants) for number, equation in self.equations.items()}
        slots = ((number, slot) for number, count in counts.items() for slot in range(count))
        return frozenset(name_of(*key) for key in slots if key not in self.places)


def lower(
    region: Region,
    equations: Mapping[int, Equation],
    *,
    dtype: torch.dtype,
    inner: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    neural: nn.Module | None = None,
) -> Lowered:
    """Generate the block that computes `equations`.

    Args:
        equations: by number, 0 to `region.n_equations - 1`.
        dtype: floating type that the neural block works in.
        inner: floating type to compute in, the first of `inner_types(dtype)` by default.
        neural: the neural block, for outputs without an equation; dropped if there are none.

    Raises LoweringError if an equation does not fit the region, uses a function that torch lacks,
    or outputs are missing and there is no neural block.
    """
    if not dtype.is_floating_point:
        raise LoweringError(f"region {region.path!r}: dtype is {dtype}, expected a floating type")
    missing = [k for k in range(region.n_equations) if k not in equations]
    if missing and neural is None:
        raise LoweringError(
            f"region {region.path!r}: no equation for outputs {missing}, and no neural block to"
            " compute them: pass neural="
        )
    if missing and region.affine is not None:
        raise LoweringError(
            f"region {region.path!r}: no equation for outputs {missing}, which can't stay neural"
            " beside an affine map: give equations for all outputs"
        )
    wide = inner or inner_types(dtype)[0]
    generator = Generator(region, equations, dtype, wide, torch.device(device), neural)
    return Lowered(generator.run(), generator.equations, generator.places, generator.dtype)


def inner_types(dtype: torch.dtype) -> tuple[torch.dtype, ...]:
    """What a block of this type can compute in, from the cheapest to the widest."""
    narrow = torch.float32 if dtype in _HALF else dtype
    return (narrow,) if narrow == torch.float64 else (narrow, torch.float64)


def read_constants(lowered: Lowered) -> dict[int, tuple[float, ...]]:
    """Current constants of every equation, also after training.

    A constant that nothing has changed comes back as the float64 it was, not as its rounding.
    """
    tensors = dict(_tensors(lowered.module))
    result = {}
    for number, equation in lowered.equations.items():
        values = list(equation.constants)
        for slot, original in enumerate(values):
            place = lowered.places.get((number, slot))
            if place is not None:
                now = tensors[place.tensor].detach().reshape(-1)[place.position].cpu()
                values[slot] = _exact(original, now, lowered.dtype)
        result[number] = tuple(values)
    return result


def trainable(module: nn.Module, enabled: bool) -> list[nn.Parameter]:
    """Make a block's constants nn.Parameters, or buffers again, in place and under the same names.

    Returns the parameters, empty for buffers.
    """
    for name, tensor in _tensors(module):
        if enabled and not isinstance(tensor, nn.Parameter):
            delattr(module, name)
            module.register_parameter(name, nn.Parameter(tensor.detach()))
        elif not enabled and isinstance(tensor, nn.Parameter):
            delattr(module, name)
            module.register_buffer(name, tensor.detach())
    return [p for _, p in _tensors(module) if isinstance(p, nn.Parameter)]


def own_parameters(module: nn.Module) -> list[nn.Parameter]:
    """What is trained of a block: its layers, and its constants where these are parameters; nothing
    of what stays neural in it."""
    named = module.named_parameters()
    return [one for name, one in named if not name.startswith(f"{NEURAL}.") and one.requires_grad]


def without_guards(module: fx.GraphModule) -> fx.GraphModule:
    """A copy for inference: without the operators that only keep gradients finite.

    Values are the same. Guards are known by their nodes' provenance, which pickling drops.
    """
    plain = copy.deepcopy(module)
    for node in list(plain.graph.nodes):
        kept = node.meta.get("symcompile", {}).get("guard")
        if kept is not None:
            node.replace_all_uses_with(node.args[kept])
    plain.graph.eliminate_dead_code()
    plain.recompile()
    return plain


def _tensors(module: nn.Module) -> list[tuple[str, torch.Tensor]]:
    """The constants among a block's own tensors, by name."""
    own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
    return sorted((name, tensor) for name, tensor in own if _CONSTANT.match(name))


def _exact(original: float, now: torch.Tensor, dtype: torch.dtype) -> float:
    before = torch.tensor(original, dtype=torch.float64).to(dtype).to(now.dtype)
    return original if torch.equal(before, now) else float(now)
