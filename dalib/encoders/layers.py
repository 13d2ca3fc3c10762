"""The layers that every encoder here is made of, with their conventions written once.

Convolutions take explicit integer paddings (torch's; ``"SAME"`` only where weights come from TensorFlow) and come in
two forms with the same parameters; BatchNorm always keeps its statistics in float32 under ``batch_stats`` and is told
its momentum.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import lax

from dalib.backend import platform
from dalib.checks import input_error, unknown_name
from dalib.types import Array

BN_EPSILON = 1e-5


def convolution_as_matrix(inputs: Array, kernel: Array, window_strides: Any, padding: Any, **options: Any) -> Array:
    """A 2-D convolution written as shifted slices, concatenated, times the kernel as one matrix.

    Equal to ``lax.conv_general_dilated`` on NHWC inputs and an HWIO kernel. On a CPU it is the faster form for small
    images and stays so inside ``lax.scan`` and under ``vmap`` over kernels; it needs ``kh * kw`` times the memory of
    the input.

    Args:
        inputs: ``[n, h, w, c]``.
        kernel: ``[kh, kw, c, k]``.
        window_strides: two integers.
        padding: two pairs of integers, ``((top, bottom), (left, right))``, or ``"SAME"``.
        **options: what Flax also passes; only no dilation and one feature group are served.

    Returns:
        ``[n, h', w', k]``.

    Raises:
        InputError: on dilation or feature groups.
    """
    dilations = (*(options.get("lhs_dilation") or ()), *(options.get("rhs_dilation") or ()))
    if options.get("feature_group_count", 1) != 1 or any(d != 1 for d in dilations):
        raise input_error(
            "conv",
            got="the form 'patches' for a dilated or grouped convolution",
            expected="no dilation and one feature group",
            todo="use conv='library'",
        )
    kh, kw, channels, features = kernel.shape
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(inputs.shape[1:3], (kh, kw), window_strides, padding)
    padded = jnp.pad(inputs, ((0, 0), *padding, (0, 0)))
    rows, columns = window_strides
    height = (padded.shape[1] - kh) // rows + 1
    width = (padded.shape[2] - kw) // columns + 1
    # The order within a patch (row, column, channel) is that of the kernel flattened.
    if (rows, columns) == (kh, kw):
        # Windows side by side (patch embeddings, 1×1): a reshape, where slices would be kh · kw of them.
        whole = padded[:, : height * kh, : width * kw].reshape(-1, height, kh, width, kw, channels)
        patches = whole.transpose(0, 1, 3, 2, 4, 5).reshape(-1, kh * kw * channels)
    else:
        slices = [
            padded[:, i : i + (height - 1) * rows + 1 : rows, j : j + (width - 1) * columns + 1 : columns]
            for i in range(kh)
            for j in range(kw)
        ]
        patches = jnp.concatenate(slices, axis=-1).reshape(-1, kh * kw * channels)
    product = jnp.dot(patches, kernel.reshape(-1, features), precision=options.get("precision"))
    return product.reshape(inputs.shape[0], height, width, features)


CONVOLUTIONS: tuple[str, ...] = ("auto", "library", "patches")
"""Forms of the convolution; parameters and results are the same in all. ``auto`` is ``patches`` where functions
are traced for a CPU (:func:`dalib.backend.platform`) and ``library`` elsewhere."""


def _convolution(form: str) -> Callable[..., Array] | None:
    if form == "auto":
        form = "patches" if platform() == "cpu" else "library"
    table: dict[str, Callable[..., Array] | None] = {"library": None, "patches": convolution_as_matrix}
    if form not in table:
        raise unknown_name("conv", form, CONVOLUTIONS)
    return table[form]


def conv(
    features: int,
    size: int,
    *,
    stride: int = 1,
    padding: int | str = 0,
    groups: int = 1,
    form: str = "library",
    use_bias: bool = True,
    kernel_init: Any = nn.linear.default_kernel_init,
    dtype: Any = None,
    name: str | None = None,
) -> nn.Conv:
    """A square convolution on NHWC inputs, padded with ``padding`` zeros on every side.

    ``padding="SAME"`` is TensorFlow's: as many zeros as make the side ceil(side / stride), an odd one behind.

    With more than one group it takes the library's form, whatever ``form`` says: patches do not serve groups.
    """
    return nn.Conv(
        features,
        (size, size),
        strides=(stride, stride),
        padding=padding if isinstance(padding, str) else ((padding, padding), (padding, padding)),
        use_bias=use_bias,
        kernel_init=kernel_init,
        feature_group_count=groups,
        conv_general_dilated=_convolution(form if groups == 1 else "library"),
        dtype=dtype,
        name=name,
    )


def max_pool_2x2(x: Array) -> Array:
    """Maximum over 2×2 windows of ``[n, h, w, c]``; an odd last row or column is dropped.

    A reshape, because the gradient of the library's windowed maximum is slow on a CPU. Where several of the four are
    equal they share the gradient (the library gives it to one of them).
    """
    n, height, width, channels = x.shape
    x = x[:, : height // 2 * 2, : width // 2 * 2]
    return x.reshape(n, height // 2, 2, width // 2, 2, channels).max(axis=(2, 4))


def batch_norm(
    x: Array,
    *,
    train: bool,
    momentum: float,
    epsilon: float = BN_EPSILON,
    dtype: Any = None,
    name: str | None = None,
    zero_scale: bool = False,
) -> Array:
    """BatchNorm over all axes but the last; running statistics are ``momentum * old + (1 - momentum) * batch``.

    The momentum is Flax's (1 − torch's). Momentum 0 makes the running statistics those of the last batch. The running
    variance is the biased one (torch keeps the unbiased one).
    """
    norm = nn.BatchNorm(
        momentum=momentum,
        epsilon=epsilon,
        dtype=dtype,
        scale_init=nn.initializers.zeros if zero_scale else nn.initializers.ones,
        name=name,
    )
    return norm(x, use_running_average=not train)


def leave(x: Array) -> Array:
    """Features and logits leave a net in float32 at least: losses on bfloat16 features lose most of their digits."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
