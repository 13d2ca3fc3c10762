"""What MobileNets and EfficientNets are made of: convolution – BatchNorm – activation, squeeze-excitation, the block.

References: Sandler et al. 2018, "MobileNetV2: inverted residuals and linear bottlenecks"; Hu et al. 2018,
"Squeeze-and-excitation networks"; Huang et al. 2016, "Deep networks with stochastic depth".
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from dalib.core.checks import choose
from dalib.core.types import Array
from dalib.encoders.layers.depthwise import depthwise
from dalib.encoders.layers.layers import BN_EPSILON, batch_norm, conv

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "none": lambda x: x,
    "relu": nn.relu,
    "relu6": nn.relu6,
    "silu": nn.silu,
    "hard_swish": nn.hard_swish,
    "sigmoid": nn.sigmoid,
    "hard_sigmoid": nn.hard_sigmoid,
}

he_normal = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


def divisible(channels: float, divisor: int = 8) -> int:
    """``channels`` rounded to a multiple of ``divisor``, at least ``divisor``, and never by more than 10 % down."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


@dataclass(frozen=True)
class Convention:
    """What all layers of one net have in common.

    Attributes:
        activation: a name of ``ACTIVATIONS``.
        same: TensorFlow's ``"SAME"`` padding instead of (size − 1) / 2 zeros on every side.
        bn_epsilon: added to BatchNorm's variance.
        bn_momentum: weight of the old running statistics.
        conv: form of the convolutions.
        dtype: compute dtype.
    """

    activation: str
    same: bool = False
    bn_epsilon: float = BN_EPSILON
    bn_momentum: float = 0.9
    conv: str = "auto"
    dtype: Any = None

    def padding(self, size: int) -> int | str:
        """Padding of a convolution of this size."""
        return "SAME" if self.same else (size - 1) // 2


class ConvNorm(nn.Module):
    """Convolution without bias (``conv``), BatchNorm (``bn``), activation.

    Attributes:
        features: channels; 0: depthwise, as many as come in.
        size: of the square kernel.
        convention: see :class:`Convention`.
        stride: of the convolution.
        activation: a name of ``ACTIVATIONS`` instead of the convention's.
    """

    features: int
    size: int
    convention: Convention
    stride: int = 1
    activation: str | None = None

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Maps ``[n, h, w, c]`` to ``[n, h', w', features]``."""
        c = self.convention
        shared: dict[str, Any] = {"stride": self.stride, "padding": c.padding(self.size), "form": c.conv}
        shared |= {"use_bias": False, "kernel_init": he_normal, "dtype": c.dtype, "name": "conv"}
        if self.features == 0:
            x = depthwise(x.shape[-1], self.size, **shared)(x)
        else:
            x = conv(self.features, self.size, **shared)(x)
        x = batch_norm(x, train=train, momentum=c.bn_momentum, epsilon=c.bn_epsilon, dtype=c.dtype, name="bn")
        return choose("activation", self.activation or c.activation, ACTIVATIONS)(x)


class SqueezeExcite(nn.Module):
    """Channels scaled by gate(fc2(activation(fc1(mean over pixels)))).

    Attributes:
        squeeze: channels between the two linear layers.
        activation: after the first, a name of ``ACTIVATIONS``.
        gate: after the second.
        dtype: compute dtype.
    """

    squeeze: int
    activation: str
    gate: str
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps ``[n, h, w, c]`` to the same shape."""
        scale = jnp.mean(x, axis=(1, 2), dtype=jnp.promote_types(x.dtype, jnp.float32)).astype(x.dtype)
        activation = choose("activation", self.activation, ACTIVATIONS)
        scale = activation(nn.Dense(self.squeeze, dtype=self.dtype, name="fc1")(scale))
        scale = nn.Dense(x.shape[-1], dtype=self.dtype, name="fc2")(scale)
        return x * choose("gate", self.gate, ACTIVATIONS)(scale)[:, None, None]


def drop_path(x: Array, rate: float, *, train: bool) -> Array:
    """Stochastic depth: in training each example's branch is 0 with probability ``rate``, else divided by 1 − rate.

    To be called inside a module's compact method; it draws from the ``dropout`` key.
    """
    return nn.Dropout(rate, broadcast_dims=tuple(range(1, x.ndim)))(x, deterministic=not train)


class InvertedResidual(nn.Module):
    """1×1 expansion, depthwise convolution, (squeeze-excitation,) 1×1 projection; plus the input where shapes agree.

    Attributes:
        expanded: channels of the depthwise convolution; equal to the input's: no expansion layer.
        features: channels of the output.
        size: of the depthwise kernel.
        stride: of the depthwise convolution.
        convention: see :class:`Convention`.
        squeeze: channels inside the squeeze-excitation; 0: there is none.
        squeeze_activation: inside it, a name of ``ACTIVATIONS``.
        gate: at its end, a name of ``ACTIVATIONS``.
        drop_path: rate of stochastic depth on the branch, where there is a shortcut.
    """

    expanded: int
    features: int
    size: int
    stride: int
    convention: Convention
    squeeze: int = 0
    squeeze_activation: str = "relu"
    gate: str = "sigmoid"
    drop_path: float = 0.0

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Maps ``[n, h, w, c]`` to ``[n, h', w', features]``."""
        y = x
        if self.expanded != x.shape[-1]:
            y = ConvNorm(self.expanded, 1, self.convention, name="expand")(y, train)
        y = ConvNorm(0, self.size, self.convention, stride=self.stride, name="depthwise")(y, train)
        if self.squeeze:
            dtype = self.convention.dtype
            y = SqueezeExcite(self.squeeze, self.squeeze_activation, self.gate, dtype, name="se")(y)
        y = ConvNorm(self.features, 1, self.convention, activation="none", name="project")(y, train)
        if self.stride != 1 or x.shape[-1] != self.features:
            return y
        return x + drop_path(y, self.drop_path, train=train)


def block_class(remat: bool) -> Callable[..., nn.Module]:
    """:class:`InvertedResidual`, or the same with its inside computed again in the backward pass."""
    return nn.remat(InvertedResidual, static_argnums=(2,)) if remat else InvertedResidual


def pooled(x: Array) -> Array:
    """Mean over the pixels, summed in float32 at least: in bfloat16 49 terms already lose digits."""
    return jnp.mean(x, axis=(1, 2), dtype=jnp.promote_types(x.dtype, jnp.float32))


def last_of_stages(strides: Sequence[int]) -> dict[int, str]:
    """Names the last block before each change of resolution: index of the block → ``stage1``, ``stage2`` …"""
    ends = [i - 1 for i, stride in enumerate(strides) if stride > 1 and i > 0] + [len(strides) - 1]
    return {index: f"stage{number}" for number, index in enumerate(ends, start=1)}
