"""Parts of MobileNets and EfficientNets: convolution – BatchNorm – activation, squeeze-excitation, block, stages.

References: Sandler et al. 2018, "MobileNetV2: inverted residuals and linear bottlenecks"; Hu et al. 2018,
"Squeeze-and-excitation networks"; Huang et al. 2016, "Deep networks with stochastic depth".
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import flax.linen as nn

from dalib.core.checks import choose
from dalib.core.types import Array, Outputs
from dalib.encoders.layers.depthwise import depthwise
from dalib.encoders.layers.inputs import check_images
from dalib.encoders.layers.layers import BN_EPSILON, batch_norm, conv, pooled
from dalib.encoders.layers.published import PublishedNet, published_head

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
    """Round ``channels`` to a multiple of ``divisor``, at least ``divisor``, and never by more than 10 % down."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


@dataclass(frozen=True)
class Convention:
    """Settings that all layers of one net share; ``activation`` is a name of ``ACTIVATIONS``.

    ``same`` is TensorFlow's ``"SAME"`` padding instead of (size − 1) / 2 zeros on every side.
    """

    activation: str
    same: bool = False
    bn_epsilon: float = BN_EPSILON
    bn_momentum: float = 0.9
    conv: str = "auto"
    dtype: Any = None

    def padding(self, size: int) -> int | str:
        """Return the padding of a convolution of this size."""
        return "SAME" if self.same else (size - 1) // 2


class ConvNorm(nn.Module):
    """Convolution without bias (``conv``), BatchNorm (``bn``), activation (the convention's, or another's name).

    ``features`` are the channels; 0: depthwise, as many as come in.
    """

    features: int
    size: int
    convention: Convention
    stride: int = 1
    activation: str | None = None

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
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
    """Channels scaled by gate(fc2(activation(fc1(mean over pixels)))); ``squeeze`` channels are between the two."""

    squeeze: int
    activation: str
    gate: str
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        scale = pooled(x).astype(x.dtype)
        activation = choose("activation", self.activation, ACTIVATIONS)
        scale = activation(nn.Dense(self.squeeze, dtype=self.dtype, name="fc1")(scale))
        scale = nn.Dense(x.shape[-1], dtype=self.dtype, name="fc2")(scale)
        return x * choose("gate", self.gate, ACTIVATIONS)(scale)[:, None, None]


def drop_path(x: Array, rate: float, *, train: bool) -> Array:
    """Apply stochastic depth: in training an example's branch is 0 with probability ``rate``, else divided by 1 − rate.

    Call it inside a module's compact method; it draws from the ``dropout`` key.
    """
    return nn.Dropout(rate, broadcast_dims=tuple(range(1, x.ndim)))(x, deterministic=not train)


class InvertedResidual(nn.Module):
    """1×1 expansion, depthwise convolution, (squeeze-excitation,) 1×1 projection; plus the input where shapes agree.

    ``expanded`` are the channels of the depthwise convolution (equal to the input's: no expansion layer), which has the
    ``size`` and the ``stride``; ``squeeze`` are those inside the squeeze-excitation (0: there is none), and
    ``squeeze_activation`` and ``gate`` names of ``ACTIVATIONS``. ``drop_path`` is the rate of stochastic depth on the
    branch, where there is a shortcut.
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
        y = x
        if self.expanded != x.shape[-1]:
            y = ConvNorm(self.expanded, 1, self.convention, name="expand")(y, train)
        y = ConvNorm(0, self.size, self.convention, stride=self.stride, name="depthwise")(y, train)
        if self.squeeze:
            dtype = self.convention.dtype
            y = SqueezeExcite(self.squeeze, self.squeeze_activation, self.gate, dtype, name="se")(y)
        y = ConvNorm(self.features, 1, self.convention, activation="none", name="project")(y, train)
        # A shortcut needs equal shapes; without one there is no path to drop.
        if self.stride != 1 or x.shape[-1] != self.features:
            return y
        return x + drop_path(y, self.drop_path, train=train)


def block_class(remat: bool) -> Callable[..., nn.Module]:
    """Return :class:`InvertedResidual`, or the same with its inside computed again in the backward pass."""
    return nn.remat(InvertedResidual, static_argnums=(2,)) if remat else InvertedResidual


class Stage(NamedTuple):
    """A row of a paper's table: expansion, kernel size, stride of the first block, channels, blocks."""

    expansion: int
    size: int
    stride: int
    channels: int
    blocks: int


class StagedNet(PublishedNet):
    """Fields and frame of MobileNetV2 and EfficientNet: a stem, stages of blocks, a last convolution, the mean, a head.

    ``hidden`` holds ``stem``, the ends of the stages ``stage1`` … ``stage7`` (1/2, 1/4, 1/8, 1/16, 1/16, 1/32, 1/32 of
    the side) and ``last``, the convolution before the pool. Images have at least 32×32 pixels.

    Attributes (others: :class:`PublishedNet`):
        stages: rows of the paper's table.
        width: factor on the channels.
        dropout: rate before the published head.
    """

    stages: tuple[Stage, ...] = ()
    width: float = 1.0
    dropout: float = 0.2

    def run(
        self,
        inputs: Array,
        train: bool,
        convention: Convention,
        *,
        stem: int,
        last: Callable[[int], int],
        counts: Sequence[int],
        name: Callable[[int, int, int], str],
        squeeze: bool = False,
        drop_path: float = 0.0,
    ) -> Outputs:
        """Run all of the net on images ``[n, h, w, c]``.

        ``stem`` are the channels of the first convolution, ``last`` gives those of the last one from the last block's,
        ``counts`` are the blocks of each stage, and ``name`` names one from its number in the net (from 0), its stage
        (from 1) and its place there (from 0). With ``squeeze`` blocks have a squeeze-excitation, to a quarter of the
        channels that come in. ``drop_path`` is the rate that stochastic depth rises to from 0.
        """
        check_images(inputs, smallest=32, net=type(self).__name__)
        x = ConvNorm(stem, 3, convention, stride=2, name="stem")(inputs, train)
        hidden, done, block = {"stem": x}, 0, block_class(self.remat)
        # Only the first block of a stage changes the side; the rate of stochastic depth rises over the whole net.
        for number, (stage, count) in enumerate(zip(self.stages, counts, strict=True), start=1):
            for i in range(count):
                x = block(
                    expanded=divisible(stage.expansion * x.shape[-1]),
                    features=divisible(stage.channels * self.width),
                    size=stage.size,
                    stride=stage.stride if i == 0 else 1,
                    convention=convention,
                    squeeze=max(1, x.shape[-1] // 4) if squeeze else 0,
                    squeeze_activation="silu",
                    drop_path=drop_path * done / sum(counts),
                    name=name(done, number, i),
                )(x, train)
                done += 1
            hidden[f"stage{number}"] = x
        # The last convolution widens the channels just before the mean over pixels.
        hidden["last"] = x = ConvNorm(last(x.shape[-1]), 1, convention, name="last")(x, train)
        features = pooled(x)
        logits = published_head(features, self.num_classes, dtype=self.dtype, dropout=self.dropout, train=train)
        return Outputs(features, logits, hidden)


def last_of_stages(strides: Sequence[int]) -> dict[int, str]:
    """Name the last block before each change of resolution: index of the block → ``stage1``, ``stage2`` …"""
    ends = [i - 1 for i, stride in enumerate(strides) if stride > 1 and i > 0] + [len(strides) - 1]
    return {index: f"stage{number}" for number, index in enumerate(ends, start=1)}
