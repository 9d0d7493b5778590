"""Optimize a translated model as torch.onnx does, but leave every constant what it is.

The rules of onnxscript that drop `1*x` and `x + 0` take 1.00001 for 1 and 1e-8 for 0: an equation's
coefficient would go missing without a word. Here these rules want exact numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_ROUNDS = 2  # as torch.onnx does

# Passes after that, where the installed onnx_ir has them.
_FINISH = (
    "LiftSubgraphInitializersToMainGraphPass",
    "DeduplicateInitializersPass",
    "CommonSubexpressionEliminationPass",
    "OutputFixPass",
    "NameFixPass",
)

# What onnxscript applies by default, without its rules of constants.
_RULES = (
    "dropout_zero_rule",
    "dropout_inference_rule",
    "two_reshapes_matmul_reshape_rule",
    "one_reshape_matmul_reshape_rule",
    "cast_constant_of_shape_rule",
    "cast_constant_of_shape_without_value_rule",
    "collapse_slice_rule",
    "collapse_slice2_rule",
    "materialize_reshape_shape_rule",
    "min_min_rule",
    "max_max_rule",
    "min_max_rule",
    "max_min_rule",
    "successive_clip_relu_rule",
    "successive_relu_clip_rule",
    "successive_relu_rule",
    "successive_clip_rule",
    "cast_cast_rule",
    "no_op_cast_rule",
    "no_op_expand_rule",
    "flatten_to_reshape_rule",
    "reshape_reshape_rule",
    "slice_split_rule",
    "no_op_transpose_rule",
    "transpose_transpose_rule",
    "unsqueeze_unsqueeze_rule",
    "squeeze_reshape_1d_rule",
    "no_op_dynamic_scatter_nd_rule",
    "no_op_static_scatter_nd_rule",
    "normalize_pad_format_conv_rule",
    "normalize_pad_format_conv_integer_rule",
    "fuse_pad_into_conv_rule",
    "fuse_pad_into_conv_integer_rule",
    "fuse_batchnorm_into_conv_rule",
    "fuse_batchnorm_into_conv_transpose_rule",
    "fuse_batchnorm_into_gemm_rule",
    "remove_optional_bias_from_conv_rule",
    "remove_optional_bias_from_conv_transpose_rule",
    "remove_optional_bias_from_qlinear_conv_rule",
    "remove_optional_bias_from_gemm_rule",
)


def optimize(model: Any) -> None:
    """Inline functions, fold constants, simplify and name anew an onnx_ir.Model, in place."""
    import onnx_ir.passes.common as common
    from onnxscript.optimizer import fold_constants_ir
    from onnxscript.rewriter import onnx_fusions, rewrite

    common.InlinePass()(model)  # the functions that torch.onnx translates operators to
    rules = [*exact_rules(), *_other_rules()]
    for _ in range(_ROUNDS):
        fold_constants_ir(model, onnx_shape_inference=True)
        rewrite(model, rules)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    for name in _FINISH:
        if hasattr(common, name):
            getattr(common, name)()(model)
    onnx_fusions.fuse(model)


def exact_rules() -> list[Any]:
    """Rules that drop what changes nothing at all."""
    from onnxscript.rewriter import pattern

    def number(value: float) -> Any:
        return pattern.Constant(value, rel_tol=0.0, abs_tol=0.0)

    def identity(op: Any, x: Any, **_: Any) -> Any:
        return op.Identity(x)

    patterns: tuple[Callable[..., Any], ...] = (
        lambda op, x: op.Mul(x, number(1.0)),
        lambda op, x: op.Mul(number(1.0), x),
        lambda op, x: op.Div(x, number(1.0)),
        lambda op, x: op.Add(x, number(0.0)),
        lambda op, x: op.Add(number(0.0), x),
        lambda op, x: op.Sub(x, number(0.0)),
    )
    return [pattern.RewriteRule(one, identity) for one in patterns]


def _other_rules() -> list[Any]:
    from onnxscript.rewriter.rules import common

    return [getattr(common, name) for name in _RULES if hasattr(common, name)]
