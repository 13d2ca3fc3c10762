"""MobileNetV2 and MobileNetV3, and the rule tables of their published weights."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import flax.linen as nn

from dalib.core.types import Array, Outputs
from dalib.encoders.checkpoints.rules import (
    STEP_COUNTER,
    Rule,
    RuleTable,
    batch_norm_rules,
    convolution,
    linear,
    pointwise,
)
from dalib.encoders.layers.inputs import check_images
from dalib.encoders.layers.inverted_residual import Convention, ConvNorm, block_class, divisible, last_of_stages, pooled
from dalib.encoders.layers.layers import leave
from dalib.encoders.layers.published import PublishedNet, published_head

# MobileNetV2 in torchvision's layout.
#
# Reference: Sandler et al. 2018, "MobileNetV2: inverted residuals and linear bottlenecks", table 2. Blocks have
# torchvision's numbers, ``features.2`` here is ``features_2``; inside a block the layers have names instead of numbers:
# ``expand``, ``depthwise``, ``project``, each with ``conv`` and ``bn``. Its first and last convolutions, ``features.0``
# and ``features.18``, are ``stem`` and ``last``, the classifier's linear layer is ``head``.


class Stage(NamedTuple):
    """A row of the paper's table: expansion factor t, channels c, blocks n, stride s of the first block."""

    t: int
    c: int
    n: int
    s: int


STAGES = (
    Stage(1, 16, 1, 1),
    Stage(6, 24, 2, 2),
    Stage(6, 32, 3, 2),
    Stage(6, 64, 4, 2),
    Stage(6, 96, 3, 1),
    Stage(6, 160, 3, 2),
    Stage(6, 320, 1, 1),
)


class MobileNetV2(PublishedNet):
    """MobileNetV2 up to its global average pool; 1280 features.

    Attributes (others: :class:`PublishedNet`):
        stages: rows of the paper's table.
        width: factor on all channels (but the last convolution's if < 1).
        dropout: rate before the published head.
    """

    stages: tuple[Stage, ...] = STAGES
    width: float = 1.0
    dropout: float = 0.2

    @nn.compact
    def __call__(self, inputs: Array, *, train: bool = False) -> Outputs:
        """Maps images ``[n, h, w, c]`` of at least 32×32 pixels to features ``[n, 1280]``.

        Returns:
            ``Outputs``; ``hidden`` holds ``stem``, the ends of the rows ``stage1`` … ``stage7`` (1/2, 1/4, 1/8, 1/16,
            1/16, 1/32, 1/32 of the side) and ``last``, the convolution before the pool. Logits ``[n, num_classes]``, or
            None without a head.

        Raises:
            InputError: on other than floating images of at least 32×32.
        """
        check_images(inputs, smallest=32, net="MobileNetV2")
        convention = Convention("relu6", bn_momentum=self.bn_momentum, conv=self.conv, dtype=self.dtype)
        block = block_class(self.remat)
        x = ConvNorm(divisible(32 * self.width), 3, convention, stride=2, name="stem")(inputs, train)
        hidden, index = {"stem": x}, 0
        for number, stage in enumerate(self.stages, start=1):
            for i in range(stage.n):
                index += 1
                x = block(
                    expanded=stage.t * x.shape[-1],
                    features=divisible(stage.c * self.width),
                    size=3,
                    stride=stage.s if i == 0 else 1,
                    convention=convention,
                    name=f"features_{index}",
                )(x, train)
            hidden[f"stage{number}"] = x
        x = ConvNorm(divisible(1280 * max(1.0, self.width)), 1, convention, name="last")(x, train)
        hidden["last"] = x
        features = pooled(x)
        logits = published_head(features, self.num_classes, dtype=self.dtype, dropout=self.dropout, train=train)
        return Outputs(features, logits, hidden)


mobilenet_v2 = MobileNetV2


# MobileNetV3, small and large, in torchvision's layout.
#
# Reference: Howard et al. 2019, "Searching for MobileNetV3", tables 1 and 2. Blocks have torchvision's numbers,
# ``features.2`` here is ``features_2``; inside, the layers have names instead of numbers: ``expand``, ``depthwise``,
# ``se``, ``project``. The first and last convolutions are ``stem`` and ``last``; the classifier's two linear layers,
# ``classifier.0`` and ``classifier.3``, are ``fc`` and ``head``.


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


class MobileNetV3(PublishedNet):
    """MobileNetV3 up to the layer before its classes: pool, linear layer, hard swish.

    Attributes (others: :class:`PublishedNet`):
        blocks: rows of the paper's table.
        features: units of the linear layer after the pool.
        dropout: rate before the published head.
    """

    blocks: tuple[Block, ...] = LARGE
    features: int = 1280
    dropout: float = 0.2
    bn_momentum: float = 0.99

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
        logits = published_head(features, self.num_classes, dtype=self.dtype, dropout=self.dropout, train=train)
        return Outputs(features, logits, hidden)


mobilenet_v3_large: Callable[..., MobileNetV3] = partial(MobileNetV3, blocks=LARGE, features=1280)
mobilenet_v3_small: Callable[..., MobileNetV3] = partial(MobileNetV3, blocks=SMALL, features=1024)


# MobileNetV2 and V3 as torchvision stores them: layers by number, so the rules tell them apart by what they hold.
#
# A number inside a block means another layer where the block has no expansion or no squeeze-excitation; in V2 and V3
# only the first block has no expansion.


def conv_norm(foreign: str, ours: str, *, conv: str = r"\.0", norm: str = r"\.1") -> tuple[Rule, ...]:
    """Rules for a convolution and its BatchNorm, children ``0`` and ``1`` of ``foreign``."""
    return (*convolution(foreign + conv, f"{ours}/conv"), *batch_norm_rules(foreign + norm, f"{ours}/bn"))


def squeeze_excite(foreign: str, ours: str) -> tuple[Rule, ...]:
    """Rules for torchvision's squeeze-excitation, two 1×1 convolutions ``fc1`` and ``fc2``."""
    return (*pointwise(rf"{foreign}\.fc1", f"{ours}/fc1"), *pointwise(rf"{foreign}\.fc2", f"{ours}/fc2"))


_BLOCK = r"features\.([2-9]|1\d)"  # all but the first block
_V2_BLOCK = r"features\.([2-9]|1[0-7])\.conv"

V2 = (
    *conv_norm(r"features\.0", "stem"),
    *conv_norm(r"features\.1\.conv\.0", "features_1/depthwise"),
    *conv_norm(r"features\.1\.conv", "features_1/project", conv=r"\.1", norm=r"\.2"),
    *conv_norm(rf"{_V2_BLOCK}\.0", r"features_\1/expand"),
    *conv_norm(rf"{_V2_BLOCK}\.1", r"features_\1/depthwise"),
    *conv_norm(_V2_BLOCK, r"features_\1/project", conv=r"\.2", norm=r"\.3"),
    *conv_norm(r"features\.18", "last"),
    *linear(r"classifier\.1", "head"),
)

V3 = (
    *conv_norm(r"features\.0", "stem"),
    *conv_norm(r"features\.1\.block\.0", "features_1/depthwise"),
    *squeeze_excite(r"features\.1\.block\.1", "features_1/se"),
    *conv_norm(r"features\.1\.block\.[12]", "features_1/project"),
    *conv_norm(rf"{_BLOCK}\.block\.0", r"features_\1/expand"),
    *conv_norm(rf"{_BLOCK}\.block\.1", r"features_\1/depthwise"),
    *squeeze_excite(rf"{_BLOCK}\.block\.2", r"features_\1/se"),
    *conv_norm(rf"{_BLOCK}\.block\.[23]", r"features_\1/project"),
    # The last convolution: number 12 of the small net, 16 of the large one.
    *conv_norm(r"features\.1[26]", "last"),
    *linear(r"classifier\.0", "fc"),
    *linear(r"classifier\.3", "head"),
)

TABLES = {
    "torchvision/mobilenet_v2": RuleTable("mobilenet_v2", 1, V2, (STEP_COUNTER,)),
    "torchvision/mobilenet_v3": RuleTable("mobilenet_v3", 1, V3, (STEP_COUNTER,)),
}
