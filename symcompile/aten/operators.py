"""Which operators a stored graph may name: a whitelist of plain ATen operators.

A graph that was read from a file is run, so what it may name is decided here and nowhere else.
An operator is resolved only if all of this holds:

- its name stands in ALLOWED (or is the in-place form `name_` of one that does);
- its schema takes tensors, numbers, text, dtypes and devices only, has no `out` argument, and
  writes to nothing but the first argument of an in-place form.

Left out on purpose: whatever touches files (`from_file`), storage behind a tensor's back (`set_`,
`resize_`, `as_strided`), random generators, sparse, quantized and nested tensors, kernels of one
vendor, and operators that trust their arguments instead of checking them.
"""

from __future__ import annotations

import difflib
import math
import operator
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch._ops import OpOverload

from symcompile.errors import ArtifactError

_POINTWISE = """
abs absolute acos acosh add addcdiv addcmul angle asin asinh atan atan2 atanh arccos arccosh arcsin
arcsinh arctan arctan2 arctanh bitwise_and bitwise_left_shift bitwise_not bitwise_or
bitwise_right_shift bitwise_xor ceil celu clamp clamp_max clamp_min clip conj conj_physical copysign
cos cosh deg2rad digamma div divide elu eq erf erfc erfinv exp exp2 expm1 fill fix float_power floor
floor_divide fmax fmin fmod frac frexp gcd ge gelu glu greater greater_equal gt hardshrink
hardsigmoid hardswish hardtanh heaviside hypot i0 igamma igammac imag isclose isfinite isinf isnan
isneginf isposinf isreal lcm ldexp le leaky_relu lerp less less_equal lgamma log log10 log1p log2
log_sigmoid logaddexp logaddexp2 logical_and logical_not logical_or logical_xor logit lt masked_fill
maximum minimum mish mul multiply mvlgamma nan_to_num ne neg negative nextafter not_equal polar
polygamma positive pow prelu rad2deg real reciprocal relu relu6 remainder resolve_conj resolve_neg
round rrelu rsqrt rsub selu sgn sigmoid sign signbit silu sin sinc sinh softplus softshrink
special_digamma special_entr special_erf special_erfc special_erfcx special_erfinv special_exp2
special_expit special_expm1 special_gammainc special_gammaincc special_gammaln special_i0
special_i0e special_i1 special_i1e special_log1p special_log_ndtr special_logit special_multigammaln
special_ndtr special_ndtri special_polygamma special_psi special_round special_sinc special_xlog1py
special_xlogy special_zeta special_bessel_j0 special_bessel_j1 sqrt square sub subtract tan tanh
threshold true_divide trunc view_as_complex view_as_real where xlogy zero __and__ __or__ __xor__
__lshift__ __rshift__ __iand__ __ior__ __ixor__ __ilshift__ __irshift__
"""

_REDUCTIONS = """
all amax amin aminmax any argmax argmin argsort bincount count_nonzero cummax cummin cumprod cumsum
cumulative_trapezoid diff dist frobenius_norm histc kthvalue logcumsumexp logsumexp max mean median
min mode nanmean nanmedian nanquantile nansum norm nuclear_norm prod quantile softmax log_softmax
special_log_softmax special_logsumexp special_softmax sort std std_mean sum sum_to_size topk
trapezoid trapz unique_consecutive unique_dim _unique2 var var_mean searchsorted bucketize
"""

_SHAPES = """
adjoint alias atleast_1d atleast_2d atleast_3d block_diag broadcast_tensors broadcast_to
cartesian_prod cat chunk clone column_stack combinations concat concatenate constant_pad_nd
contiguous copy detach diag diag_embed diagflat diagonal diagonal_scatter dsplit dstack expand
expand_as fill_diagonal flatten flip fliplr flipud gather hsplit hstack index index_add index_copy
index_fill index_put index_reduce index_select lift lift_fresh lift_fresh_copy mH mT masked_scatter
masked_select meshgrid moveaxis movedim narrow narrow_copy nonzero nonzero_static numpy_T pad
permute put ravel reflection_pad1d reflection_pad2d reflection_pad3d repeat repeat_interleave
replication_pad1d replication_pad2d replication_pad3d reshape reshape_as roll rot90 row_stack
scatter scatter_add scatter_reduce select select_scatter slice slice_scatter split split_with_sizes
squeeze stack swapaxes swapdims t take take_along_dim tensor_split tile transpose tril triu type_as
unbind unflatten unfold unsafe_chunk unsafe_split unsafe_split_with_sizes unsqueeze view view_as
vsplit vstack channel_shuffle pixel_shuffle pixel_unshuffle col2im im2col to _to_copy _unsafe_view
_reshape_copy item sym_numel sym_size sym_stride sym_storage_offset is_nonzero
"""

_CREATION = """
arange empty empty_like empty_permuted eye full full_like linspace logspace new_empty new_full
new_ones new_zeros one_hot ones ones_like rand rand_like randint randint_like randn randn_like
randperm scalar_tensor tril_indices triu_indices vander zeros zeros_like bartlett_window
blackman_window hamming_window hann_window kaiser_window bernoulli cauchy exponential geometric
log_normal multinomial normal random uniform
"""

_LINEAR_ALGEBRA = """
addbmm addmm addmv addr baddbmm bilinear bmm cdist chain_matmul cholesky cholesky_inverse
cholesky_solve corrcoef cosine_similarity cov cross det dot einsum inner inverse kron
linalg_cholesky linalg_cholesky_ex linalg_cond linalg_cross linalg_det linalg_diagonal linalg_eig
linalg_eigh linalg_eigvals linalg_eigvalsh linalg_householder_product linalg_inv linalg_inv_ex
linalg_lstsq linalg_lu linalg_lu_factor linalg_lu_factor_ex linalg_lu_solve linalg_matmul
linalg_matrix_exp linalg_matrix_norm linalg_matrix_power linalg_matrix_rank linalg_multi_dot
linalg_norm linalg_pinv linalg_qr linalg_slogdet linalg_solve linalg_solve_ex
linalg_solve_triangular linalg_svd linalg_svdvals linalg_tensorinv linalg_tensorsolve linalg_vander
linalg_vecdot linalg_vector_norm linear logdet matmul matrix_exp matrix_power mm mv outer ger
pairwise_distance pdist pinverse slogdet tensordot trace vdot fft_fft fft_fft2 fft_fftfreq fft_fftn
fft_fftshift fft_hfft fft_ifft fft_ifft2 fft_ifftn fft_ifftshift fft_ihfft fft_irfft fft_irfft2
fft_irfftn fft_rfft fft_rfft2 fft_rfftfreq fft_rfftn stft istft
"""

# Losses and derivatives of layers among them.
_LAYERS = """
adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d
adaptive_max_pool3d affine_grid_generator alpha_dropout avg_pool1d avg_pool2d avg_pool3d batch_norm
conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d convolution dropout
embedding feature_alpha_dropout feature_dropout grid_sampler group_norm gru gru_cell instance_norm
layer_norm lstm lstm_cell max_pool1d max_pool2d max_pool3d max_pool1d_with_indices
max_pool2d_with_indices max_pool3d_with_indices native_dropout native_group_norm native_layer_norm
rms_norm rnn_relu rnn_relu_cell rnn_tanh rnn_tanh_cell scaled_dot_product_attention
upsample_bicubic2d upsample_bilinear2d upsample_linear1d upsample_nearest1d upsample_nearest2d
upsample_nearest3d upsample_trilinear3d _native_batch_norm_legit_functional
_native_batch_norm_legit_no_training _softmax _log_softmax _safe_softmax _weight_norm
binary_cross_entropy binary_cross_entropy_with_logits cosine_embedding_loss cross_entropy_loss
hinge_embedding_loss huber_loss kl_div l1_loss margin_ranking_loss mse_loss nll_loss_nd
poisson_nll_loss smooth_l1_loss soft_margin_loss triplet_margin_loss elu_backward gelu_backward
hardsigmoid_backward hardswish_backward hardtanh_backward leaky_relu_backward sigmoid_backward
silu_backward softplus_backward tanh_backward threshold_backward
"""

ALLOWED = frozenset(
    f"{_POINTWISE} {_REDUCTIONS} {_SHAPES} {_CREATION} {_LINEAR_ALGEBRA} {_LAYERS}".split()
)

# Arithmetic on sizes, and picking from what an operator returns: by name, from each library.
_FUNCTIONS: dict[Any, str] = {
    operator: "getitem add sub mul truediv floordiv mod neg lt le gt ge eq ne",
    math: "ceil floor trunc",
    torch: "sym_int sym_float sym_max sym_min sym_not sym_sum",
}
FUNCTIONS: dict[str, Callable[..., Any]] = {
    name: getattr(library, name) for library, names in _FUNCTIONS.items() for name in names.split()
}

_NAMES = {function: name for name, function in FUNCTIONS.items()}
_TYPES = {"Tensor", "int", "float", "bool", "number", "complex", "str"}
_TYPES |= {"Device", "ScalarType", "Layout", "MemoryFormat", "Generator"}
_WRAPPED = re.compile(r"(?:Optional|List)\[(.*)\]\Z")
_ATEN = re.compile(r"aten\.([A-Za-z0-9_]{1,80})\.([A-Za-z0-9_]{1,80})\Z")


def stored_name(target: Any) -> str:
    """The name under which a graph may store an operator, e.g. "aten.add.Tensor" or "getitem".

    Raises ArtifactError naming an operator that is not allowed.
    """
    if isinstance(target, OpOverload):
        resolve(str(target))
        return str(target)
    if target in _NAMES:
        return _NAMES[target]
    module, name = getattr(target, "__module__", None), getattr(target, "__name__", None)
    raise ArtifactError(
        f"the model uses operator {f'{module}.{name}' if module and name else target}, which a"
        " .symc file can't hold: only plain ATen operators are stored"
    )


@cache
def resolve(name: str) -> Callable[..., Any]:
    """The operator that a stored name stands for; ArtifactError if it is not on the whitelist."""
    if name in FUNCTIONS:
        return FUNCTIONS[name]
    match = _ATEN.match(name) if isinstance(name, str) else None
    base, overload = match.groups() if match else ("", "")
    if base not in ALLOWED and not (base.endswith("_") and base[:-1] in ALLOWED):
        near = difflib.get_close_matches(base, ALLOWED, 1, 0.8)
        hint = f" (the nearest one that is: aten.{near[0]})" if near else ""
        raise ArtifactError(f"operator {name!r} is not on the whitelist of a .symc file{hint}")
    kernel = getattr(getattr(torch.ops.aten, base, None), overload, None)
    if not isinstance(kernel, OpOverload):
        raise ArtifactError(f"operator {name!r} does not exist in torch {torch.__version__}")
    problem = _schema_problem(kernel)
    if problem:
        raise ArtifactError(f"operator {name!r} {problem}: a .symc file can't hold it")
    return kernel


def is_in_place(name: str) -> bool:
    """Whether a stored operator changes its first argument."""
    match = _ATEN.match(name)
    return match is not None and _writes(match.group(1))


def _writes(name: str) -> bool:
    """`add_` and `__iand__` do; `__and__` has underscores as Python's operators have."""
    return name.startswith("__i") if name.startswith("__") else name.endswith("_")


def _schema_problem(kernel: OpOverload) -> str | None:
    schema = kernel._schema
    in_place = _writes(schema.name.removeprefix("aten::"))
    for position, argument in enumerate(schema.arguments):
        kind = str(argument.real_type)
        while match := _WRAPPED.match(kind):  # Tensor for List[Optional[Tensor]]
            kind = match.group(1)
        if kind not in _TYPES:
            return f"takes a {argument.real_type}"
        writes = argument.alias_info is not None and argument.alias_info.is_write
        if argument.is_out or (writes and not (in_place and position == 0)):
            return f"writes to its argument {argument.name!r}"
    return None
