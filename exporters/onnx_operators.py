"""How single torch operators become ONNX where torch's own translation won't do.

- Symbolic blocks become operators of a domain of their own, for functions to take their place.
- Numbers: torch.onnx rounds every Python number to float32 on its way into a float64 model, so that
  pi has 7 digits in the file. Here a constant is made in its own type.
- What ONNX lacks (log1p, hypot), or ONNX Runtime's CPU kernels for a type (tan in float64), is
  spelled by operators that they have, as the operator table says, to a few roundings over the
  whole line. There is no erf in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any

import torch

from symcompile.expressions.fold import by_definition
from symcompile.expressions.operator import Operator
from symcompile.expressions.operators import OPERATORS
from symcompile.modules.calling import dtype_name

# Operators of this domain stand for blocks until their functions are put in.
OPAQUE_DOMAIN = "symcompile.opaque"

# Path, then dtype and rank of each input: what one function body serves.
Signature = tuple[str, tuple[tuple[str, int], ...]]

_FLOAT, _INT64 = 1, 7  # onnx.TensorProto.FLOAT and INT64

_ONNX_TYPES = {
    "FLOAT": "float32",
    "DOUBLE": "float64",
    "FLOAT16": "float16",
    "BFLOAT16": "bfloat16",
}


def translations(names: Mapping[Signature, str]) -> dict[Any, Callable[..., Any]]:
    """A table for `torch.onnx.export(custom_translation_table=...)`.

    Args:
        names: name of the function for each signature of a block that the graph calls.
    """
    aten = torch.ops.aten
    # Those of the operator table that ONNX, or ONNX Runtime for some type, has to spell.
    spelled = {
        overload: partial(_translated, row)
        for row in OPERATORS.values()
        if row.onnx_spelled
        for overload in _overloads(row)
    }
    return {
        torch.ops.symcompile.block.default: _block_translation(names),
        aten.scalar_tensor.default: _scalar_tensor,
        aten.full.default: _full,
        aten.full_like.default: _full_like,
        aten.pow.Scalar: _power_of_number,
        **spelled,
    }


def signature_of(path: str, inputs: Sequence[torch.Tensor]) -> Signature:
    kinds = ((dtype_name(tensor.dtype), tensor.ndim) for tensor in inputs)
    return path, tuple(kinds)


def _block_translation(names: Mapping[Signature, str]) -> Callable[..., Any]:
    from onnxscript import values

    domain = values.Opset(OPAQUE_DOMAIN, 1)

    def translate(
        inputs: Sequence[Any],
        path: str,
        input_features: Sequence[int],
        output_features: Sequence[int],
        dtype: str,
    ) -> list[Any]:
        kinds = tuple((_ONNX_TYPES[value.dtype.name], value.shape.rank()) for value in inputs)
        name = names[path, kinds]
        schema = _schema(name, len(inputs), len(output_features))
        outputs = values.Op(domain, name, schema)(*inputs)
        return list(outputs) if isinstance(outputs, Sequence) else [outputs]

    return translate


def _schema(name: str, n_inputs: int, n_outputs: int) -> Any:
    from onnx.defs import OpSchema

    tensors = ["tensor(float)", "tensor(double)", "tensor(float16)"]
    inputs = [OpSchema.FormalParameter(f"x{k}", f"T{k}") for k in range(n_inputs)]
    outputs = [OpSchema.FormalParameter(f"y{k}", "U") for k in range(n_outputs)]
    types = [(f"T{k}", tensors, "") for k in range(n_inputs)]
    return OpSchema(
        name,
        OPAQUE_DOMAIN,
        1,
        inputs=inputs,
        outputs=outputs,
        type_constraints=[*types, ("U", tensors, "")],
    )


# --- numbers -------------------------------------------------------------------------------------


def _number(value: float, dtype: Any = None) -> Any:
    """A constant of an onnx_ir.DataType, float64 by default."""
    import onnx_ir
    from onnxscript import opset18

    kind = onnx_ir.DataType.DOUBLE if dtype is None else onnx_ir.DataType(dtype)
    tensor: Any = onnx_ir.tensor(value, dtype=kind)
    return opset18.Constant(value=tensor)


# The parameters are those of the torch operators; what a file can't hold is ignored. A dtype is an
# onnx_ir.DataType as a number, -1 where none was given.


def _scalar_tensor(
    s: Any, dtype: int = -1, layout: Any = None, device: Any = None, pin_memory: Any = None
) -> Any:
    from onnxscript import opset18

    kind = _FLOAT if dtype in (-1, None) else dtype
    return _number(s, kind) if _is_number(s) else opset18.Cast(s, to=kind)


def _full(
    size: Any,
    fill_value: Any,
    dtype: int = -1,
    layout: Any = None,
    device: Any = None,
    pin_memory: Any = None,
) -> Any:
    from onnxscript import opset18

    value = fill_value if dtype in (-1, None) else _scalar_tensor(fill_value, dtype)
    shape: Any = opset18.Cast(size, to=_INT64)
    return opset18.Expand(value, shape)


def _full_like(
    self: Any,
    fill_value: Any,
    dtype: int = -1,
    layout: Any = None,
    device: Any = None,
    pin_memory: Any = None,
    memory_format: Any = None,
) -> Any:
    from onnxscript import opset18

    if dtype not in (-1, None):
        value = _scalar_tensor(fill_value, dtype)
    else:
        value = _number(fill_value) if _is_number(fill_value) else fill_value
        value = opset18.CastLike(value, self)
    return opset18.Expand(value, opset18.Shape(self))


def _power_of_number(self: Any, exponent: Any) -> Any:
    from onnxscript import opset18

    base = _number(self, exponent.dtype) if _is_number(self) else self
    return opset18.Pow(base, exponent)


def _is_number(value: Any) -> bool:
    return isinstance(value, (bool, int, float))


# --- operators -----------------------------------------------------------------------------------


def _overloads(row: Operator) -> list[Any]:
    packet = getattr(torch.ops.aten, row.torch.rpartition(".")[-1])
    names = ("default",) if row.arity == 1 else ("default", "Tensor")
    return [getattr(packet, name) for name in names if name in packet.overloads()]


def _translated(row: Operator, *args: Any) -> Any:
    dtype = next((value.dtype for value in args if value.dtype is not None), None)
    return _rules(_FLOAT if dtype is None else int(dtype))[row.op](*args)


@cache
def _rules(dtype: int) -> dict[str, Callable[..., Any]]:
    """What each operation is in ONNX for floating numbers of a type."""
    import onnx_ir
    from onnxscript import opset18

    op: Any = opset18
    name = _ONNX_TYPES.get(onnx_ir.DataType(dtype).name)
    rules: dict[str, Callable[..., Any]] = {
        "number": lambda value: _number(float(value), dtype),
        "atan32": lambda x: op.Cast(op.Atan(op.Cast(x, to=_FLOAT)), to=dtype),
        "fmod": lambda a, b: op.Mod(a, b, fmod=1),
    }
    for row in OPERATORS.values():
        if row.onnx and not (row.onnx_spelled and name in row.onnx_lacks):
            rules[row.op] = getattr(op, row.onnx)
        elif row.onnx_spelled:
            rules[row.op] = partial(by_definition, rules, row.onnx_spelled)
    return rules
