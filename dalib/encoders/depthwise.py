"""Depthwise convolution: every channel with a kernel of its own, in two forms with the same parameters."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from dalib.checks import input_error, unknown_name
from dalib.encoders.layers import CONVOLUTIONS
from dalib.types import Array


def depthwise_as_taps(inputs: Array, kernel: Array, window_strides: Any, padding: Any, **options: Any) -> Array:
    """A depthwise convolution written as a sum over the kernel's places: shifted slice times one weight per channel.

    Equal to ``lax.conv_general_dilated`` on NHWC inputs with as many feature groups as channels.

    Args:
        inputs: ``[n, h, w, c]``.
        kernel: ``[kh, kw, 1, c]``.
        window_strides: two integers.
        padding: two pairs of integers, ``((top, bottom), (left, right))``, or ``"SAME"``.
        **options: what Flax also passes; only no dilation and ``feature_group_count`` = c are served.

    Returns:
        ``[n, h', w', c]``.

    Raises:
        InputError: on dilation, or other than one kernel a channel.
    """
    dilations = (*(options.get("lhs_dilation") or ()), *(options.get("rhs_dilation") or ()))
    channels = inputs.shape[-1]
    one_each = kernel.shape[2:] == (1, channels) and options.get("feature_group_count") == channels
    if not one_each or any(d != 1 for d in dilations):
        raise input_error(
            "conv",
            got=f"the form 'patches' for a kernel {kernel.shape} on {channels} channels, dilations {dilations}",
            expected="one kernel a channel, no dilation",
            todo="use conv='library'",
        )
    kh, kw = kernel.shape[:2]
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(inputs.shape[1:3], (kh, kw), window_strides, padding)
    padded = jnp.pad(inputs, ((0, 0), *padding, (0, 0)))
    rows, columns = window_strides
    height = (padded.shape[1] - kh) // rows + 1
    width = (padded.shape[2] - kw) // columns + 1
    # Summed in float32 at least, as the library does: 49 terms in bfloat16 would lose digits.
    wide = jnp.promote_types(inputs.dtype, jnp.float32)
    total = jnp.zeros((), wide)
    for i in range(kh):
        for j in range(kw):
            part = padded[:, i : i + (height - 1) * rows + 1 : rows, j : j + (width - 1) * columns + 1 : columns]
            total = total + part.astype(wide) * kernel[i, j, 0].astype(wide)
    return total.astype(inputs.dtype)


def depthwise(
    channels: int,
    size: int,
    *,
    stride: int = 1,
    padding: int | str = 0,
    form: str = "auto",
    use_bias: bool = True,
    kernel_init: Any = nn.linear.default_kernel_init,
    dtype: Any = None,
    name: str | None = None,
) -> nn.Conv:
    """A square depthwise convolution on NHWC inputs, kernel ``[size, size, 1, channels]``.

    Args:
        channels: of the input and the output.
        size: of the kernel.
        stride: in both directions.
        padding: zeros on every side, or ``"SAME"`` (TensorFlow's: an odd zero goes behind).
        form: one of ``CONVOLUTIONS``; ``"patches"`` is :func:`depthwise_as_taps` here.
        use_bias: one bias a channel.
        kernel_init: initialiser.
        dtype: compute dtype; None takes that of inputs and parameters.
        name: of the module.

    Raises:
        InputError: on an unknown form.
    """
    if form not in CONVOLUTIONS:
        raise unknown_name("conv", form, CONVOLUTIONS)
    taps = form == "patches" or (form == "auto" and jax.default_backend() == "cpu")
    return nn.Conv(
        channels,
        (size, size),
        strides=(stride, stride),
        padding=padding if isinstance(padding, str) else ((padding, padding), (padding, padding)),
        feature_group_count=channels,
        use_bias=use_bias,
        kernel_init=kernel_init,
        conv_general_dilated=depthwise_as_taps if taps else None,
        dtype=dtype,
        name=name,
    )
