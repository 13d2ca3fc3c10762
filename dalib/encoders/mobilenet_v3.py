"""MobileNetV3, small and large, in torchvision's layout.

Reference: Howard et al. 2019, "Searching for MobileNetV3", tables 1 and 2. Blocks have torchvision's numbers,
``features.2`` here is ``features_2``; inside, the layers have names instead of numbers: ``expand``, ``depthwise``,
``se``, ``project``. The first and last convolutions are ``stem`` and ``last``; the classifier's two linear layers,
``classifier.0`` and ``classifier.3``, are ``fc`` and ``head``.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn

from dalib.encoders.inputs import check_images
from dalib.encoders.inverted_residual import Convention, ConvNorm, block_class, divisible, last_of_stages, pooled
from dalib.encoders.layers import leave
from dalib.encoders.published import published_head
from dalib.types import Array, Outputs


class Block(NamedTuple):
    """A row of the paper's tables: kernel size, expansion size, channels, squeeze-excitation, hard swish, stride."""

    size: int
    expanded: int
    channels: int
    se: bool
    hard_swish: bool
    stride: int


LARGE = (
    Block(3, 16, 16, False, False, 1),
    Block(3, 64, 24, False, False, 2),
    Block(3, 72, 24, False, False, 1),
    Block(5, 72, 40, True, False, 2),
    Block(5, 120, 40, True, False, 1),
    Block(5, 120, 40, True, False, 1),
    Block(3, 240, 80, False, True, 2),
    Block(3, 200, 80, False, True, 1),
    Block(3, 184, 80, False, True, 1),
    Block(3, 184, 80, False, True, 1),
    Block(3, 480, 112, True, True, 1),
    Block(3, 672, 112, True, True, 1),
    Block(5, 672, 160, True, True, 2),
    Block(5, 960, 160, True, True, 1),
    Block(5, 960, 160, True, True, 1),
)

SMALL = (
    Block(3, 16, 16, True, False, 2),
    Block(3, 72, 24, False, False, 2),
    Block(3, 88, 24, False, False, 1),
    Block(5, 96, 40, True, True, 2),
    Block(5, 240, 40, True, True, 1),
    Block(5, 240, 40, True, True, 1),
    Block(5, 120, 48, True, True, 1),
    Block(5, 144, 48, True, True, 1),
    Block(5, 288, 96, True, True, 2),
    Block(5, 576, 96, True, True, 1),
    Block(5, 576, 96, True, True, 1),
)


class MobileNetV3(nn.Module):
    """MobileNetV3 up to the layer before its classes: pool, linear layer, hard swish.

    Attributes:
        blocks: rows of the paper's table.
        features: units of the linear layer after the pool.
        num_classes: classes of the published head; 0 has no head and no logits.
        dropout: rate before the published head.
        conv: form of the convolutions, a name of ``CONVOLUTIONS`` (same parameters, same result).
        bn_momentum: weight of the old running statistics.
        dtype: compute dtype; None takes that of inputs and parameters. Parameters and statistics are float32.
        remat: activations inside the blocks are computed again in the backward pass instead of being kept.
    """

    blocks: tuple[Block, ...] = LARGE
    features: int = 1280
    num_classes: int = 0
    dropout: float = 0.2
    conv: str = "auto"
    bn_momentum: float = 0.99
    dtype: Any = None
    remat: bool = False

    @nn.compact
    def __call__(self, inputs: Array, *, train: bool = False) -> Outputs:
        """Maps images ``[n, h, w, c]`` of at least 32×32 pixels to features ``[n, features]``.

        Returns:
            ``Outputs``; ``hidden`` holds ``stem`` (1/2 of the side), ``stage1`` … the last blocks of each resolution
            (large: 1/2 … 1/32, small: 1/4 … 1/32, the first stage being one block), ``last``, the convolution before
            the pool, and ``pool`` ``[n, 960]`` or ``[n, 576]``. Logits ``[n, num_classes]``, or None without a head.

        Raises:
            InputError: on other than floating images of at least 32×32.
        """
        check_images(inputs, smallest=32, net="MobileNetV3")
        swish = Convention(
            "hard_swish", bn_epsilon=1e-3, bn_momentum=self.bn_momentum, conv=self.conv, dtype=self.dtype
        )
        block = block_class(self.remat)
        ends = last_of_stages([row.stride for row in self.blocks])
        x = ConvNorm(16, 3, swish, stride=2, name="stem")(inputs, train)
        hidden = {"stem": x}
        for i, row in enumerate(self.blocks):
            x = block(
                expanded=row.expanded,
                features=row.channels,
                size=row.size,
                stride=row.stride,
                convention=swish if row.hard_swish else replace(swish, activation="relu"),
                squeeze=divisible(row.expanded // 4) if row.se else 0,
                gate="hard_sigmoid",
                name=f"features_{i + 1}",
            )(x, train)
            if i in ends:
                hidden[ends[i]] = x
        x = ConvNorm(6 * x.shape[-1], 1, swish, name="last")(x, train)
        hidden["last"] = x
        x = hidden["pool"] = pooled(x).astype(x.dtype)
        features = leave(nn.hard_swish(nn.Dense(self.features, dtype=self.dtype, name="fc")(x)))
        dropped = nn.Dropout(self.dropout)(features, deterministic=not train or not self.num_classes)
        return Outputs(features, published_head(dropped, self.num_classes, dtype=self.dtype), hidden)


mobilenet_v3_large: Callable[..., MobileNetV3] = partial(MobileNetV3, blocks=LARGE, features=1280)
mobilenet_v3_small: Callable[..., MobileNetV3] = partial(MobileNetV3, blocks=SMALL, features=1024)
