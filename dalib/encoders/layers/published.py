"""What nets with published weights have in common: the head that came with them, BatchNorm that stays as published."""

from typing import Any

import flax.linen as nn
from jax import lax

from dalib.core.checks import input_error
from dalib.core.types import Array
from dalib.encoders.layers.layers import leave


class PublishedNet(nn.Module):
    """Fields that all image nets with published weights have.

    Attributes:
        num_classes: classes of the published head; 0 has no head and no logits.
        conv: form of the convolutions, a name of ``CONVOLUTIONS`` (same parameters, same result).
        bn_momentum: weight of the old running statistics, where the net has BatchNorm.
        dtype: compute dtype; None takes that of inputs and parameters. Parameters and statistics are float32.
        remat: compute activations inside the blocks again in the backward pass instead of keeping them.
    """

    num_classes: int = 0
    conv: str = "auto"
    bn_momentum: float = 0.9
    dtype: Any = None
    remat: bool = False


def published_head(
    features: Array, num_classes: int, *, dtype: Any = None, dropout: float | None = None, train: bool = False
) -> Array | None:
    """Logits ``[n, num_classes]`` of one linear layer named ``head``; None for 0 classes (no head, no parameters).

    Args:
        features: ``[n, d]``.
        num_classes: classes of the head.
        dtype: compute dtype.
        dropout: rate on the features in training; None for a net without it.
        train: whether in training mode.

    Raises:
        InputError: on a negative or non-integer ``num_classes``.
    """
    if check_num_classes(num_classes) == 0:
        return None
    if dropout is not None:
        features = nn.Dropout(dropout)(features, deterministic=not train)
    return leave(nn.Dense(num_classes, dtype=dtype, name="head")(features))


def check_num_classes(num_classes: Any) -> int:
    """Gives ``num_classes`` back if it is an integer ≥ 0.

    Raises:
        InputError: otherwise.
    """
    if isinstance(num_classes, bool) or not isinstance(num_classes, int) or num_classes < 0:
        raise input_error(
            "num_classes",
            got=repr(num_classes),
            expected="the number of classes of the published head",
            todo="0 builds the encoder without a head",
        )
    return num_classes


class FrozenBatchNorm(nn.Module):
    """BatchNorm as a fixed affine map per channel: running statistics, scale and bias are all constants.

    All four are kept in ``batch_stats`` (``mean``, ``var``, ``scale``, ``bias``) and not among the parameters, as the
    detectors keep them among their buffers: no optimiser sees them, and weight decay does not move them.

    Attributes:
        epsilon: added to the variance.
        dtype: compute dtype; None takes that of the input.
    """

    epsilon: float = 1e-5
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps ``[..., c]`` to ``[..., c]``."""
        shape = (x.shape[-1],)
        along = (1,) * (x.ndim - 1) + shape
        start = {"mean": nn.initializers.zeros, "var": nn.initializers.ones}
        start |= {"scale": nn.initializers.ones, "bias": nn.initializers.zeros}
        mean, var, scale, bias = (
            self.variable("batch_stats", name, init, None, shape, "float32").value for name, init in start.items()
        )
        factor = scale * lax.rsqrt(var + self.epsilon)
        dtype = self.dtype or x.dtype
        factor, shift = (a.astype(dtype).reshape(along) for a in (factor, bias - mean * factor))
        return x.astype(dtype) * factor + shift
