"""Residual nets for 32×32 images, of 6·n + 2 layers, with shortcuts that have no parameters.

Reference: He et al. 2016, "Deep residual learning for image recognition", section 4.2: three stages of 16, 32 and 64
channels, n two-layer blocks each. Where the shape changes the shortcut is the paper's option A: every second pixel, and
zeros for the new channels, here half of them before and half behind the old ones, as in the checkpoints published for
``akamaster/pytorch_resnet_cifar10``. Parameters have that project's names, ``layer1.0.conv1`` as ``layer1_0/conv1`` and
``linear`` as ``head``.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from dalib.core.types import Array, Outputs
from dalib.encoders.checkpoints.rules import (
    STEP_COUNTER,
    RuleTable,
    batch_norm_rules,
    convolution,
    linear,
)
from dalib.encoders.layers.inputs import check_images
from dalib.encoders.layers.layers import batch_norms, convolutions, leave
from dalib.encoders.layers.published import PublishedNet, published_head

he_normal = nn.initializers.variance_scaling(2.0, "fan_in", "normal")


class _Block(nn.Module):
    channels: int
    stride: int
    conv: str
    bn_momentum: float
    dtype: Any

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        convolve = partial(convolutions(self, he_normal), self.channels, 3, padding=1)
        norm = batch_norms(self, train)
        y = nn.relu(norm(convolve(stride=self.stride, name="conv1")(x), name="bn1"))
        y = norm(convolve(name="conv2")(y), name="bn2")
        if self.stride != 1 or x.shape[-1] != self.channels:
            new = self.channels - x.shape[-1]
            x = x[:, :: self.stride, :: self.stride]
            x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (new // 2, new - new // 2)))
        return nn.relu(x + y)


class CIFARResNet(PublishedNet):
    """A residual net for small images up to its global average pool.

    Attributes (others: :class:`PublishedNet`):
        depth: blocks a stage, the paper's n: 3 is ResNet-20, 5 ResNet-32, 7 ResNet-44, 9 ResNet-56.
        width: channels of the first stage.
    """

    depth: int = 3
    width: int = 16

    @nn.compact
    def __call__(self, inputs: Array, *, train: bool = False) -> Outputs:
        """Maps images ``[n, h, w, c]`` of at least 8×8 pixels to features ``[n, 4 · width]``.

        Returns:
            ``Outputs``; ``hidden`` holds ``stem`` and ``layer1`` (full side), ``layer2`` (1/2), ``layer3`` (1/4).
            Logits ``[n, num_classes]``, or None without a head.

        Raises:
            InputError: on other than floating images of at least 8×8.
        """
        check_images(inputs, smallest=8, net="CIFARResNet")
        x = convolutions(self, he_normal)(self.width, 3, padding=1, name="conv1")(inputs)
        x = nn.relu(batch_norms(self, train)(x, name="bn1"))
        hidden = {"stem": x}
        block = nn.remat(_Block, static_argnums=(2,)) if self.remat else _Block
        for stage in range(3):
            for i in range(self.depth):
                x = block(
                    channels=self.width * 2**stage,
                    stride=2 if stage > 0 and i == 0 else 1,
                    conv=self.conv,
                    bn_momentum=self.bn_momentum,
                    dtype=self.dtype,
                    name=f"layer{stage + 1}_{i}",
                )(x, train)
            hidden[f"layer{stage + 1}"] = x
        features = jnp.mean(leave(x), axis=(1, 2))
        return Outputs(features, published_head(features, self.num_classes, dtype=self.dtype), hidden)


cifar_resnet20: Callable[..., CIFARResNet] = partial(CIFARResNet, depth=3)
cifar_resnet32: Callable[..., CIFARResNet] = partial(CIFARResNet, depth=5)
cifar_resnet44: Callable[..., CIFARResNet] = partial(CIFARResNet, depth=7)
cifar_resnet56: Callable[..., CIFARResNet] = partial(CIFARResNet, depth=9)


# CIFAR ResNets as ``akamaster/pytorch_resnet_cifar10`` publishes them.


_BLOCK = r"layer([1-3])\.(\d+)"

TABLES = {
    "akamaster/cifar_resnet": RuleTable(
        "cifar_resnet",
        1,
        (
            *convolution("conv1", "conv1"),
            *batch_norm_rules("bn1", "bn1"),
            *convolution(rf"{_BLOCK}\.conv([12])", r"layer\1_\2/conv\3"),
            *batch_norm_rules(rf"{_BLOCK}\.bn([12])", r"layer\1_\2/bn\3"),
            *linear("linear", "head"),
        ),
        (STEP_COUNTER,),
    ),
}
