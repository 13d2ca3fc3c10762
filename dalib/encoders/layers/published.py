"""Shared parts of nets with published weights: fields, the published head, BatchNorm that stays as it is."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import lax

from dalib.core.checks import input_error
from dalib.core.types import Array, Outputs
from dalib.encoders.layers.layers import leave


class Block(nn.Module):
    """A part of a net that has the net's form of convolution, BatchNorm momentum and compute dtype."""

    conv: str
    bn_momentum: float
    dtype: Any


class PublishedNet(nn.Module):
    """Fields that all image nets with published weights have.

    A call maps floating images ``[n, h, w, c]`` to ``Outputs`` with features ``[n, d]``, logits ``[n, num_classes]``
    (None without a head) and hidden activations by name. Other or smaller inputs raise an InputError.

    Attributes:
        num_classes: classes of the published head; 0 has no head and no logits.
        conv: form of the convolutions, a name of ``CONVOLUTIONS`` (same parameters, same result).
        bn_momentum: weight of the old running statistics; without effect on a net without BatchNorm.
        dtype: compute dtype; None takes that of inputs and parameters. Parameters and statistics are float32.
        remat: compute activations inside the blocks again in the backward pass instead of keeping them.
    """

    num_classes: int = 0
    conv: str = "auto"
    bn_momentum: float = 0.9
    dtype: Any = None
    remat: bool = False

    def shared(self, kind: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
        """Return the class of a :class:`Block` with the shared fields set, rematerialised if asked."""
        made: Any = nn.remat(kind, static_argnums=(2,)) if self.remat else kind
        return partial(made, conv=self.conv, bn_momentum=self.bn_momentum, dtype=self.dtype)

    def finish(self, x: Array, hidden: dict[str, Array]) -> Outputs:
        """Make the outputs of a net that ends with the mean over the pixels of ``x`` ``[n, h, w, d]``."""
        # Summed in float32 at least: in bfloat16 49 terms already lose digits.
        features = jnp.mean(leave(x), axis=(1, 2))
        return Outputs(features, published_head(features, self.num_classes, dtype=self.dtype), hidden)


def published_head(
    features: Array, num_classes: int, *, dtype: Any = None, dropout: float | None = None, train: bool = False
) -> Array | None:
    """Compute logits ``[n, num_classes]`` by a linear layer ``head`` on ``[n, d]``; None (no parameters) for 0 classes.

    ``dropout`` is the rate on the features in training, None for a net without it. A negative or non-integer
    ``num_classes`` is an InputError.
    """
    if check_num_classes(num_classes) == 0:
        return None
    if dropout is not None:
        features = nn.Dropout(dropout)(features, deterministic=not train)
    return leave(nn.Dense(num_classes, dtype=dtype, name="head")(features))


def check_num_classes(num_classes: Any) -> int:
    """Return ``num_classes`` if it is an integer ≥ 0; else raise an InputError."""
    if isinstance(num_classes, bool) or not isinstance(num_classes, int) or num_classes < 0:
        raise input_error(
            "num_classes",
            got=repr(num_classes),
            expected="the number of classes of the published head",
            todo="0 builds the encoder without a head",
        )
    return num_classes


class FrozenBatchNorm(nn.Module):
    """BatchNorm as a fixed affine map per channel of ``[..., c]``; ``epsilon`` is added to the variance.

    Statistics, scale and bias are constants in ``batch_stats`` (``mean``, ``var``, ``scale``, ``bias``), as detectors
    keep them among their buffers: no optimiser sees them, and weight decay does not move them.
    """

    epsilon: float = 1e-5
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        shape = (x.shape[-1],)
        along = (1,) * (x.ndim - 1) + shape
        start = {"mean": nn.initializers.zeros, "var": nn.initializers.ones}
        start |= {"scale": nn.initializers.ones, "bias": nn.initializers.zeros}
        mean, var, scale, bias = (
            self.variable("batch_stats", name, init, None, shape, "float32").value for name, init in start.items()
        )
        # One factor and one shift per channel, computed in float32 before they are cast.
        factor = scale * lax.rsqrt(var + self.epsilon)
        dtype = self.dtype or x.dtype
        factor, shift = (a.astype(dtype).reshape(along) for a in (factor, bias - mean * factor))
        return x.astype(dtype) * factor + shift
