"""Layers of every encoder here, with their conventions written once.

Convolutions take explicit integer paddings (torch's; ``"SAME"`` only where weights come from TensorFlow). BatchNorm
keeps its statistics in float32 under ``batch_stats`` and is told its momentum.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from dalib.core.types import Array
from dalib.encoders.layers.convolution import convolution

BN_EPSILON = 1e-5


def conv(
    features: int,
    size: int,
    *,
    stride: int = 1,
    padding: int | str = 0,
    groups: int = 1,
    form: str = "library",
    **options: Any,
) -> nn.Conv:
    """Make a square convolution on NHWC inputs with ``padding`` zeros on every side; ``options`` are ``nn.Conv``'s.

    ``padding="SAME"`` is TensorFlow's: as many zeros as make the side ceil(side / stride), an odd one at the end. With
    more than one group it takes the library's form, whatever ``form`` says: patches do not serve groups.
    """
    return nn.Conv(
        features,
        (size, size),
        strides=(stride, stride),
        padding=padding if isinstance(padding, str) else ((padding, padding), (padding, padding)),
        feature_group_count=groups,
        conv_general_dilated=convolution(form if groups == 1 else "library"),
        **options,
    )


def convolutions(net: Any, kernel_init: Any, **options: Any) -> Callable[..., nn.Conv]:
    """Make :func:`conv` without bias, in the form (``conv``) and the ``dtype`` of ``net``."""
    return partial(conv, form=net.conv, kernel_init=kernel_init, dtype=net.dtype, **{"use_bias": False, **options})


def max_pool_2x2(x: Array) -> Array:
    """Take the maximum over 2×2 windows of ``[n, h, w, c]``; an odd last row or column is dropped.

    It is two maxima of neighbours, because the library's windowed maximum has a slow gradient on a CPU. Where several
    of the four are equal they share the gradient (the library gives it to one of them).
    """
    n, height, width, channels = x.shape
    # The two columns of a window are neighbours in the last axis: every slice is one piece per row.
    x = x[:, : height // 2 * 2, : width // 2 * 2].reshape(n, height // 2, 2, width // 2, 2 * channels)
    rows = jnp.maximum(x[:, :, 0], x[:, :, 1])
    return jnp.maximum(rows[..., :channels], rows[..., channels:])


def batch_norm(
    x: Array, *, train: bool, momentum: float, name: str, epsilon: float = BN_EPSILON, dtype: Any = None, **fields: Any
) -> Array:
    """Apply BatchNorm over all axes but the last; running statistics are ``momentum * old + (1 - momentum) * batch``.

    The momentum is Flax's (1 − torch's). Momentum 0 makes the running statistics those of the last batch. The running
    variance is the biased one (torch keeps the unbiased one).
    """
    norm = nn.BatchNorm(momentum=momentum, epsilon=epsilon, dtype=dtype, name=name, **fields)
    return norm(x, use_running_average=not train)


def batch_norms(net: Any, train: bool) -> Callable[..., Array]:
    """Bind :func:`batch_norm` to the ``bn_momentum`` and the ``dtype`` of ``net``."""
    return partial(batch_norm, train=train, momentum=net.bn_momentum, dtype=net.dtype)


def pooled(x: Array) -> Array:
    """Take the mean over the pixels of ``[n, h, w, c]``, summed in float32 at least."""
    return jnp.mean(x, axis=(1, 2), dtype=jnp.promote_types(x.dtype, jnp.float32))


def leave(x: Array) -> Array:
    """Cast a net's features or logits to float32 at least: losses on bfloat16 features lose most of their digits."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
