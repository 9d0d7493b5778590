"""How single torch operators become ONNX where torch's own translation won't do.

- Symbolic blocks become operators of a domain of their own, for functions to take their place.
- Numbers: torch.onnx rounds every Python number to float32 on its way into a float64 model, so that
  pi has 7 digits in the file. Here a constant is made in its own type.
- ONNX Runtime's CPU kernels have no float64 tan, asin, acos, atan, sinh, cosh and erf. All but erf
  are composed of operators that it has, to within a few roundings over the whole line.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

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
    table: dict[Any, Callable[..., Any]] = {
        torch.ops.symcompile.block.default: _block_translation(names)
    }
    table |= _number_table()
    for operator, (single, composed) in _float64_table().items():
        table[operator] = _by_dtype(single, composed)
    return table


def signature_of(path: str, inputs: Sequence[torch.Tensor]) -> Signature:
    kinds = ((str(one.dtype).removeprefix("torch."), one.ndim) for one in inputs)
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
        kinds = tuple((_ONNX_TYPES[one.dtype.name], one.shape.rank()) for one in inputs)
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


def _number_table() -> dict[Any, Callable[..., Any]]:
    aten = torch.ops.aten
    return {
        aten.scalar_tensor.default: _scalar_tensor,
        aten.full.default: _full,
        aten.full_like.default: _full_like,
        aten.pow.Scalar: _power_of_number,
    }


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

    if dtype in (-1, None):
        value = fill_value
    else:
        value = _scalar_tensor(fill_value, dtype)
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


# --- float64 -------------------------------------------------------------------------------------


def _by_dtype(single: str, composed: Callable[..., Any]) -> Callable[..., Any]:
    from onnxscript import opset18

    def translate(x: Any) -> Any:
        if x.dtype is not None and x.dtype.name == "DOUBLE":
            return composed(opset18, x)
        return getattr(opset18, single)(x)

    return translate


def _float64_table() -> dict[Any, tuple[str, Callable[..., Any]]]:
    aten = torch.ops.aten
    return {
        aten.tan.default: ("Tan", _tan),
        aten.asin.default: ("Asin", _asin),
        aten.acos.default: ("Acos", _acos),
        aten.atan.default: ("Atan", _atan),
        aten.sinh.default: ("Sinh", _sinh),
        aten.cosh.default: ("Cosh", _cosh),
    }


# pi/2 in three parts of 33 bits (fdlibm's pio2_1, pio2_2, pio2_2t): whole multiples are exact.
_HALF_PI = (1.57079632673412561417e00, 6.07710050630396597660e-11, 2.02226624879595063154e-21)


def _tan(op: Any, x: Any) -> Any:
    """sin / cos of what is left of x after whole quarter turns, or -cos / sin after an odd number
    of them. The kernels' own reduction leaves no digit of a cosine next to its zero."""
    turns = op.Round(op.Div(x, _number(math.pi / 2)))
    left = x
    for part in _HALF_PI:
        left = op.Sub(left, op.Mul(turns, _number(part)))
    two = _number(2.0)
    odd = op.Sub(turns, op.Mul(op.Floor(op.Div(turns, two)), two))
    sine, cosine = op.Sin(left), op.Cos(left)
    return op.Where(
        op.Greater(odd, _number(0.5)), op.Neg(op.Div(cosine, sine)), op.Div(sine, cosine)
    )


def _cosh(op: Any, x: Any) -> Any:
    # By halves, since e^x overflows before cosh(x) = e^x / 2 does.
    half = _number(0.5)
    root = op.Exp(op.Mul(x, half))
    return op.Add(op.Mul(op.Mul(half, root), root), op.Div(op.Div(half, root), root))


def _sinh(op: Any, x: Any) -> Any:
    # Not (e^x - e^-x) / 2, which loses all digits near 0.
    return op.Mul(op.Tanh(x), _cosh(op, x))


def _atan(op: Any, x: Any) -> Any:
    """The float32 kernel gives y, then atan(x) = y + atan((x - tan y) / (1 + x tan y)), whose
    argument d is below 1e-6: there atan(d) = d - d^3/3 to the last digit of float64."""
    from onnx import TensorProto

    # 1e300 is as good as infinity here, and infinity would give infinity / infinity.
    bounded = op.Max(op.Min(x, _number(1e300)), _number(-1e300))
    y = op.Cast(op.Atan(op.Cast(bounded, to=TensorProto.FLOAT)), to=TensorProto.DOUBLE)
    sine, cosine = op.Sin(y), op.Cos(y)
    top = op.Sub(op.Mul(bounded, cosine), sine)
    d = op.Div(top, op.Add(cosine, op.Mul(bounded, sine)))
    cube = op.Mul(op.Mul(d, d), d)
    return op.Add(y, op.Sub(d, op.Div(cube, _number(3.0))))


def _asin(op: Any, x: Any) -> Any:
    one = _number(1.0)
    below = op.Sqrt(op.Mul(op.Sub(one, x), op.Add(one, x)))
    return op.Mul(_atan(op, op.Div(x, op.Add(one, below))), _number(2.0))


def _acos(op: Any, x: Any) -> Any:
    # At -1 the quotient is infinite and the result pi.
    one = _number(1.0)
    ratio = op.Div(op.Sub(one, x), op.Add(one, x))
    return op.Mul(_atan(op, op.Sqrt(ratio)), _number(2.0))
