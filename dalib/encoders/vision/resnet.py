"""Residual nets: those of ImageNet in torchvision's layout, and those for images of 32×32 pixels.

References: He et al. 2016, "Deep residual learning for image recognition" (the stride is on the 3×3 convolution, as in
the common "v1.5"; section 4.2 for 32×32); Xie et al. 2017, "Aggregated residual transformations for deep neural
networks" (ResNeXt); Zagoruyko and Komodakis 2016, "Wide residual networks".

Parameters have the published names but for the block index, ``layer1.0.conv1`` here is ``layer1_0/conv1``, the shortcut
(``downsample.0`` and ``.1`` here are ``downsample_conv`` and ``downsample_bn``), and the classifier, which is ``head``.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from dalib.core.checks import input_error
from dalib.core.types import Array, Outputs
from dalib.encoders.checkpoints.rules import STEP_COUNTER, Rule, RuleTable, batch_norm_rules, convolution, linear
from dalib.encoders.layers.inputs import check_images
from dalib.encoders.layers.layers import BN_EPSILON, batch_norms, convolutions
from dalib.encoders.layers.pooling import max_pool
from dalib.encoders.layers.published import Block, FrozenBatchNorm, PublishedNet

fan_out = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
fan_in = nn.initializers.variance_scaling(2.0, "fan_in", "normal")


def _norms(net: Any, train: bool) -> Callable[..., Array]:
    """Return the BatchNorm of ``net``: the usual one, or one that stays as published."""
    if not net.frozen_bn:
        return partial(batch_norms(net, train), epsilon=net.bn_epsilon)

    def frozen(x: Array, *, name: str, **start: Any) -> Array:
        del start  # for a net that starts from random
        return FrozenBatchNorm(epsilon=net.bn_epsilon, dtype=net.dtype, name=name)(x)

    return frozen


class _Block(Block):
    """One residual block: two 3×3 convolutions, or 1×1 – 3×3 – 1×1 with four times the channels at the end."""

    channels: int
    stride: int
    bottleneck: bool
    zero_init_residual: bool
    groups: int = 1
    group_width: int = 64
    frozen_bn: bool = False
    bn_epsilon: float = BN_EPSILON

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        convolve = convolutions(self, fan_out)
        norm = _norms(self, train)
        last = partial(norm, scale_init=nn.initializers.zeros if self.zero_init_residual else nn.initializers.ones)
        out = self.channels * (4 if self.bottleneck else 1)
        if self.bottleneck:
            inner = self.channels * self.group_width // 64 * self.groups
            middle = convolve(inner, 3, stride=self.stride, padding=1, groups=self.groups, name="conv2")
            y = nn.relu(norm(convolve(inner, 1, name="conv1")(x), name="bn1"))
            y = nn.relu(norm(middle(y), name="bn2"))
            y = last(convolve(out, 1, name="conv3")(y), name="bn3")
        else:
            y = nn.relu(norm(convolve(out, 3, stride=self.stride, padding=1, name="conv1")(x), name="bn1"))
            y = last(convolve(out, 3, padding=1, name="conv2")(y), name="bn2")
        # Only where the shape changes does the shortcut have parameters.
        if self.stride != 1 or x.shape[-1] != out:
            x = norm(convolve(out, 1, stride=self.stride, name="downsample_conv")(x), name="downsample_bn")
        return nn.relu(x + y)


class ResNet(PublishedNet):
    """A residual net up to its global average pool; d = 8 · width (two-layer blocks) or 32 · width (three-layer ones).

    Images have at least 32×32 pixels. ``hidden`` holds ``stem`` (after the pool, 1/4 of the side) and ``layer1`` …
    ``layer4`` (1/4, 1/8, 1/16, 1/32).

    Attributes (others: :class:`PublishedNet`):
        depths: blocks in each of the four stages: (3, 4, 6, 3) is ResNet-34 or -50.
        bottleneck: three-layer blocks (ResNet-50 and deeper) instead of two-layer ones.
        width: channels of the stem and the first stage; each later stage doubles them.
        groups: groups of the 3×3 convolution (three-layer blocks only); 32 or 64 in ResNeXt.
        group_width: channels of one group in the first stage, where ``width`` is 64; one group of 128 is a "wide" net.
        zero_init_residual: the last BatchNorm scale of every block starts at 0, so that blocks start as the identity.
        frozen_bn: statistics, scale and bias of every BatchNorm are constants in ``batch_stats`` (the detectors' form).
    """

    depths: tuple[int, ...] = (3, 4, 6, 3)
    bottleneck: bool = True
    width: int = 64
    groups: int = 1
    group_width: int = 64
    zero_init_residual: bool = False
    bn_epsilon: float = BN_EPSILON
    frozen_bn: bool = False

    @nn.compact
    def __call__(self, inputs: Array, *, train: bool = False) -> Outputs:
        """Map images ``[n, h, w, c]`` to features ``[n, d]``."""
        check_images(inputs, smallest=32, net="ResNet")
        if not self.bottleneck and (self.groups, self.group_width) != (1, 64):
            raise input_error(
                "groups, group_width",
                got=f"{self.groups}, {self.group_width} with two-layer blocks",
                expected="groups=1 and group_width=64",
                todo="use bottleneck=True",
            )
        x = convolutions(self, fan_out)(self.width, 7, stride=2, padding=3, name="conv1")(inputs)
        x = max_pool(nn.relu(_norms(self, train)(x, name="bn1")), 3, 2, padding=1)
        hidden = {"stem": x}
        names = ("bottleneck", "zero_init_residual", "groups", "group_width", "frozen_bn", "bn_epsilon")
        block = partial(self.shared(_Block), **{name: getattr(self, name) for name in names})
        # The first block of every stage but the first halves the side and doubles the channels.
        for stage, depth in enumerate(self.depths):
            for i in range(depth):
                stride, name = 2 if stage > 0 and i == 0 else 1, f"layer{stage + 1}_{i}"
                x = block(channels=self.width * 2**stage, stride=stride, name=name)(x, train)
            hidden[f"layer{stage + 1}"] = x
        return self.finish(x, hidden)


class _SmallBlock(Block):
    """Two 3×3 convolutions. Where the shape changes the shortcut has no parameters, the paper's option A.

    It takes every second pixel; half of the new channels are zeros before and half after the old ones, as in the
    published checkpoints.
    """

    channels: int
    stride: int

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        convolve = partial(convolutions(self, fan_in), self.channels, 3, padding=1)
        norm = batch_norms(self, train)
        y = nn.relu(norm(convolve(stride=self.stride, name="conv1")(x), name="bn1"))
        y = norm(convolve(name="conv2")(y), name="bn2")
        if self.stride != 1 or x.shape[-1] != self.channels:
            new = self.channels - x.shape[-1]
            x = x[:, :: self.stride, :: self.stride]
            x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (new // 2, new - new // 2)))
        return nn.relu(x + y)


class CIFARResNet(PublishedNet):
    """A residual net of 6 · depth + 2 layers for small images, up to its global average pool; d = 4 · width.

    Images have at least 8×8 pixels. ``hidden`` holds ``stem`` and ``layer1`` (full side), ``layer2`` (1/2), ``layer3``
    (1/4).

    Attributes (others: :class:`PublishedNet`):
        depth: blocks a stage, the paper's n: 3 is ResNet-20, 5 ResNet-32, 7 ResNet-44, 9 ResNet-56.
        width: channels of the first stage.
    """

    depth: int = 3
    width: int = 16

    @nn.compact
    def __call__(self, inputs: Array, *, train: bool = False) -> Outputs:
        """Map images ``[n, h, w, c]`` to features ``[n, d]``."""
        check_images(inputs, smallest=8, net="CIFARResNet")
        x = convolutions(self, fan_in)(self.width, 3, padding=1, name="conv1")(inputs)
        x = nn.relu(batch_norms(self, train)(x, name="bn1"))
        hidden = {"stem": x}
        block = self.shared(_SmallBlock)
        for stage in range(3):
            for i in range(self.depth):
                stride, name = 2 if stage > 0 and i == 0 else 1, f"layer{stage + 1}_{i}"
                x = block(channels=self.width * 2**stage, stride=stride, name=name)(x, train)
            hidden[f"layer{stage + 1}"] = x
        return self.finish(x, hidden)


_50, _101 = partial(ResNet, depths=(3, 4, 6, 3)), partial(ResNet, depths=(3, 4, 23, 3))
ENCODERS: dict[str, Callable[..., nn.Module]] = {
    "resnet18": partial(ResNet, depths=(2, 2, 2, 2), bottleneck=False),
    "resnet34": partial(_50, bottleneck=False),
    "resnet50": _50,
    "resnet101": _101,
    "resnet152": partial(ResNet, depths=(3, 8, 36, 3)),
    "cifar_resnet20": partial(CIFARResNet, depth=3),
    "cifar_resnet32": partial(CIFARResNet, depth=5),
    "cifar_resnet44": partial(CIFARResNet, depth=7),
    "cifar_resnet56": partial(CIFARResNet, depth=9),
    "resnext50_32x4d": partial(_50, groups=32, group_width=4),
    "resnext101_32x8d": partial(_101, groups=32, group_width=8),
    "resnext101_64x4d": partial(_101, groups=64, group_width=4),
    "wide_resnet50_2": partial(_50, group_width=128),
    "wide_resnet101_2": partial(_101, group_width=128),
}


def body(prefix: str = "", *, ours: str = "", frozen: bool = False) -> tuple[Rule, ...]:
    """Make all rules but the classifier's: foreign names begin with ``prefix`` (a pattern), our paths with ``ours``."""
    block = r"layer([1-4])\.(\d+)"
    return (
        *convolution(rf"{prefix}conv1", f"{ours}conv1"),
        *batch_norm_rules(rf"{prefix}bn1", f"{ours}bn1", frozen=frozen),
        *convolution(rf"{prefix}{block}\.conv([1-3])", rf"{ours}layer\1_\2/conv\3"),
        *batch_norm_rules(rf"{prefix}{block}\.bn([1-3])", rf"{ours}layer\1_\2/bn\3", frozen=frozen),
        *convolution(rf"{prefix}{block}\.downsample\.0", rf"{ours}layer\1_\2/downsample_conv"),
        *batch_norm_rules(rf"{prefix}{block}\.downsample\.1", rf"{ours}layer\1_\2/downsample_bn", frozen=frozen),
    )


# Names of torchvision (and timm), and of ``akamaster/pytorch_resnet_cifar10``, which lack shortcuts.
_SMALL_BLOCK = r"layer([1-3])\.(\d+)"
TABLES = {
    "torchvision/resnet": RuleTable("resnet", 1, (*body(), *linear("fc", "head")), (STEP_COUNTER,)),
    "akamaster/cifar_resnet": RuleTable(
        "cifar_resnet",
        1,
        (
            *convolution("conv1", "conv1"),
            *batch_norm_rules("bn1", "bn1"),
            *convolution(rf"{_SMALL_BLOCK}\.conv([12])", r"layer\1_\2/conv\3"),
            *batch_norm_rules(rf"{_SMALL_BLOCK}\.bn([12])", r"layer\1_\2/bn\3"),
            *linear("linear", "head"),
        ),
        (STEP_COUNTER,),
    ),
}
