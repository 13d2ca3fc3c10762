"""Residual nets in torchvision's layout: explicit integer paddings, stride on the 3×3 convolution, torch's names.

References: He et al. 2016, "Deep residual learning for image recognition" (the stride's place is that of the common
"v1.5"); Xie et al. 2017, "Aggregated residual transformations for deep neural networks" (ResNeXt); Zagoruyko and
Komodakis 2016, "Wide residual networks". Parameters are named as in torchvision but for the block index,
``layer1.0.conv1`` here is ``layer1_0/conv1``, the shortcut, ``downsample.0`` and ``downsample.1`` here are
``downsample_conv`` and ``downsample_bn``, and the classifier, ``fc`` here is ``head``.
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
from dalib.encoders.layers.layers import BN_EPSILON, batch_norms, convolutions, leave
from dalib.encoders.layers.pooling import max_pool
from dalib.encoders.layers.published import FrozenBatchNorm, PublishedNet, published_head

he_normal = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


def _norms(net: Any, train: bool) -> Callable[..., Array]:
    """The BatchNorm of ``net``: the usual one, or one that stays as published."""
    if not net.frozen_bn:
        return partial(batch_norms(net, train), epsilon=net.bn_epsilon)

    def frozen(x: Array, *, name: str, zero_scale: bool = False) -> Array:
        del zero_scale  # for a net that starts from random
        return FrozenBatchNorm(epsilon=net.bn_epsilon, dtype=net.dtype, name=name)(x)

    return frozen


class _Block(nn.Module):
    """One residual block: two 3×3 convolutions, or 1×1 – 3×3 – 1×1 with four times the channels at the end."""

    channels: int
    stride: int
    bottleneck: bool
    zero_init_residual: bool
    conv: str
    bn_momentum: float
    dtype: Any
    groups: int = 1
    group_width: int = 64
    frozen_bn: bool = False
    bn_epsilon: float = BN_EPSILON

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        convolve = convolutions(self, he_normal)
        norm = _norms(self, train)
        out = self.channels * (4 if self.bottleneck else 1)
        if self.bottleneck:
            inner = self.channels * self.group_width // 64 * self.groups
            middle = convolve(inner, 3, stride=self.stride, padding=1, groups=self.groups, name="conv2")
            y = nn.relu(norm(convolve(inner, 1, name="conv1")(x), name="bn1"))
            y = nn.relu(norm(middle(y), name="bn2"))
            y = norm(convolve(out, 1, name="conv3")(y), name="bn3", zero_scale=self.zero_init_residual)
        else:
            y = nn.relu(norm(convolve(out, 3, stride=self.stride, padding=1, name="conv1")(x), name="bn1"))
            y = norm(convolve(out, 3, padding=1, name="conv2")(y), name="bn2", zero_scale=self.zero_init_residual)
        if self.stride != 1 or x.shape[-1] != out:
            x = norm(convolve(out, 1, stride=self.stride, name="downsample_conv")(x), name="downsample_bn")
        return nn.relu(x + y)


class ResNet(PublishedNet):
    """A residual net up to its global average pool, with the published classifier where one is asked for.

    Attributes (others: :class:`PublishedNet`):
        depths: blocks in each of the four stages: (2, 2, 2, 2) is ResNet-18, (3, 4, 6, 3) ResNet-34 or -50,
            (3, 4, 23, 3) ResNet-101, (3, 8, 36, 3) ResNet-152.
        bottleneck: three-layer blocks (ResNet-50 and deeper) instead of two-layer ones.
        width: channels of the stem and the first stage; each later stage doubles them.
        groups: groups of the 3×3 convolution (three-layer blocks only); 32 or 64 in ResNeXt.
        group_width: channels of one group in the first stage, where ``width`` is 64; one group of 128 is a "wide" net.
        zero_init_residual: the last BatchNorm scale of every block starts at 0, so that blocks start as the identity.
        conv: form of the convolution, a name of ``CONVOLUTIONS`` (same parameters, same result);
            ``"patches"`` needs nine times the memory of a 3×3 convolution's input.
        bn_epsilon: added to the variances.
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
        """Maps images ``[n, h, w, c]`` of at least 32×32 pixels to features ``[n, d]``.

        Returns:
            ``Outputs`` with d = 8 · width (two-layer blocks: 512) or 32 · width (three-layer blocks: 2048); ``hidden``
            holds ``stem`` (after the pool, 1/4 of the side) and ``layer1`` … ``layer4`` (1/4, 1/8, 1/16, 1/32), each
            ``[n, h', w', channels]``. Logits ``[n, num_classes]``, or None without a head.

        Raises:
            InputError: on other than floating images of at least 32×32, or groups in two-layer blocks.
        """
        check_images(inputs, smallest=32, net="ResNet")
        if not self.bottleneck and (self.groups, self.group_width) != (1, 64):
            raise input_error(
                "groups, group_width",
                got=f"{self.groups}, {self.group_width} with two-layer blocks",
                expected="groups=1 and group_width=64",
                todo="use bottleneck=True",
            )
        x = convolutions(self, he_normal)(self.width, 7, stride=2, padding=3, name="conv1")(inputs)
        x = max_pool(nn.relu(_norms(self, train)(x, name="bn1")), 3, 2, padding=1)
        hidden = {"stem": x}
        block = nn.remat(_Block, static_argnums=(2,)) if self.remat else _Block
        for stage, depth in enumerate(self.depths):
            for i in range(depth):
                x = block(
                    channels=self.width * 2**stage,
                    stride=2 if stage > 0 and i == 0 else 1,
                    bottleneck=self.bottleneck,
                    zero_init_residual=self.zero_init_residual,
                    conv=self.conv,
                    bn_momentum=self.bn_momentum,
                    dtype=self.dtype,
                    groups=self.groups,
                    group_width=self.group_width,
                    frozen_bn=self.frozen_bn,
                    bn_epsilon=self.bn_epsilon,
                    name=f"layer{stage + 1}_{i}",
                )(x, train)
            hidden[f"layer{stage + 1}"] = x
        # The pool is summed in float32: in bfloat16 49 terms already lose digits.
        features = jnp.mean(leave(x), axis=(1, 2))
        return Outputs(features, published_head(features, self.num_classes, dtype=self.dtype), hidden)


resnet18: Callable[..., ResNet] = partial(ResNet, depths=(2, 2, 2, 2), bottleneck=False)
resnet34: Callable[..., ResNet] = partial(ResNet, depths=(3, 4, 6, 3), bottleneck=False)
resnet50: Callable[..., ResNet] = partial(ResNet, depths=(3, 4, 6, 3), bottleneck=True)
resnet101: Callable[..., ResNet] = partial(ResNet, depths=(3, 4, 23, 3), bottleneck=True)
resnet152: Callable[..., ResNet] = partial(ResNet, depths=(3, 8, 36, 3), bottleneck=True)
resnext50_32x4d: Callable[..., ResNet] = partial(ResNet, depths=(3, 4, 6, 3), groups=32, group_width=4)
resnext101_32x8d: Callable[..., ResNet] = partial(ResNet, depths=(3, 4, 23, 3), groups=32, group_width=8)
resnext101_64x4d: Callable[..., ResNet] = partial(ResNet, depths=(3, 4, 23, 3), groups=64, group_width=4)
wide_resnet50_2: Callable[..., ResNet] = partial(ResNet, depths=(3, 4, 6, 3), group_width=128)
wide_resnet101_2: Callable[..., ResNet] = partial(ResNet, depths=(3, 4, 23, 3), group_width=128)


# ResNet, ResNeXt and Wide ResNet as torchvision (and timm, under the same names) store them.


def body(prefix: str = "", *, ours: str = "", frozen: bool = False) -> tuple[Rule, ...]:
    """Rules for all but the classifier: foreign names begin with ``prefix`` (a pattern), our paths with ``ours``."""
    block = r"layer([1-4])\.(\d+)"
    return (
        *convolution(rf"{prefix}conv1", f"{ours}conv1"),
        *batch_norm_rules(rf"{prefix}bn1", f"{ours}bn1", frozen=frozen),
        *convolution(rf"{prefix}{block}\.conv([1-3])", rf"{ours}layer\1_\2/conv\3"),
        *batch_norm_rules(rf"{prefix}{block}\.bn([1-3])", rf"{ours}layer\1_\2/bn\3", frozen=frozen),
        *convolution(rf"{prefix}{block}\.downsample\.0", rf"{ours}layer\1_\2/downsample_conv"),
        *batch_norm_rules(rf"{prefix}{block}\.downsample\.1", rf"{ours}layer\1_\2/downsample_bn", frozen=frozen),
    )


TABLES = {
    "torchvision/resnet": RuleTable("resnet", 1, (*body(), *linear("fc", "head")), (STEP_COUNTER,)),
}
