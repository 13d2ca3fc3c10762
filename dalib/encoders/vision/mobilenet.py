"""MobileNetV2 and MobileNetV3 in torchvision's layout, and the rule tables of their published weights.

References: Sandler et al. 2018, "MobileNetV2: inverted residuals and linear bottlenecks", table 2; Howard et al. 2019,
"Searching for MobileNetV3", tables 1 and 2.

Blocks have torchvision's numbers, ``features.2`` here is ``features_2``; inside, the layers have names instead of
numbers: ``expand``, ``depthwise``, ``se``, ``project``. The first and last convolutions are ``stem`` and ``last``; the
classifier's layers are ``fc`` (V3) and ``head``.
"""

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
from dalib.encoders.layers.inverted_residual import (
    Convention,
    ConvNorm,
    Stage,
    StagedNet,
    block_class,
    divisible,
    last_of_stages,
)
from dalib.encoders.layers.layers import leave, pooled
from dalib.encoders.layers.published import PublishedNet, published_head

STAGES = (
    Stage(1, 3, 1, 16, 1),
    Stage(6, 3, 2, 24, 2),
    Stage(6, 3, 2, 32, 3),
    Stage(6, 3, 2, 64, 4),
    Stage(6, 3, 1, 96, 3),
    Stage(6, 3, 2, 160, 3),
    Stage(6, 3, 1, 320, 1),
)


class MobileNetV2(StagedNet):
    """MobileNetV2 up to its global average pool; 1280 features, more where ``width`` is above 1."""

    stages: tuple[Stage, ...] = STAGES

    @nn.compact
    def __call__(self, inputs: Array, *, train: bool = False) -> Outputs:
        """Map images ``[n, h, w, c]`` to features ``[n, 1280]``."""
        return self.run(
            inputs,
            train,
            Convention("relu6", bn_momentum=self.bn_momentum, conv=self.conv, dtype=self.dtype),
            stem=divisible(32 * self.width),
            last=lambda _: divisible(1280 * max(1.0, self.width)),
            counts=[stage.blocks for stage in self.stages],
            name=lambda done, *_: f"features_{done + 1}",
        )


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
    *2 * (Block(5, 120, 40, True, False, 1),),
    Block(3, 240, 80, False, True, 2),
    Block(3, 200, 80, False, True, 1),
    *2 * (Block(3, 184, 80, False, True, 1),),
    Block(3, 480, 112, True, True, 1),
    Block(3, 672, 112, True, True, 1),
    Block(5, 672, 160, True, True, 2),
    *2 * (Block(5, 960, 160, True, True, 1),),
)
SMALL = (
    Block(3, 16, 16, True, False, 2),
    Block(3, 72, 24, False, False, 2),
    Block(3, 88, 24, False, False, 1),
    Block(5, 96, 40, True, True, 2),
    *2 * (Block(5, 240, 40, True, True, 1),),
    Block(5, 120, 48, True, True, 1),
    Block(5, 144, 48, True, True, 1),
    Block(5, 288, 96, True, True, 2),
    *2 * (Block(5, 576, 96, True, True, 1),),
)


class MobileNetV3(PublishedNet):
    """MobileNetV3 up to the layer before its classes: pool, linear layer, hard swish.

    Images have at least 32×32 pixels. ``hidden`` holds ``stem`` (1/2 of the side), ``stage1`` … the last blocks of each
    resolution (large: 1/2 … 1/32, small: 1/4 … 1/32, the first stage being one block), ``last``, the convolution before
    the pool, and ``pool`` ``[n, 960]`` or ``[n, 576]``.

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
        """Map images ``[n, h, w, c]`` to features ``[n, features]``."""
        check_images(inputs, smallest=32, net="MobileNetV3")
        shared = {"bn_momentum": self.bn_momentum, "conv": self.conv, "dtype": self.dtype}
        swish = Convention("hard_swish", bn_epsilon=1e-3, **shared)
        block = block_class(self.remat)
        ends = last_of_stages([row.stride for row in self.blocks])
        x = ConvNorm(16, 3, swish, stride=2, name="stem")(inputs, train)
        hidden = {"stem": x}
        # The paper's table row by row; early rows use ReLU, where hard swish would cost time on large maps.
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
        hidden["last"] = x = ConvNorm(6 * x.shape[-1], 1, swish, name="last")(x, train)
        hidden["pool"] = x = pooled(x).astype(x.dtype)
        features = leave(nn.hard_swish(nn.Dense(self.features, dtype=self.dtype, name="fc")(x)))
        logits = published_head(features, self.num_classes, dtype=self.dtype, dropout=self.dropout, train=train)
        return Outputs(features, logits, hidden)


ENCODERS: dict[str, Callable[..., PublishedNet]] = {
    "mobilenet_v2": partial(MobileNetV2),
    "mobilenet_v3_small": partial(MobileNetV3, blocks=SMALL, features=1024),
    "mobilenet_v3_large": partial(MobileNetV3, blocks=LARGE, features=1280),
}


def conv_norm(foreign: str, ours: str, *, conv: str = r"\.0", norm: str = r"\.1") -> tuple[Rule, ...]:
    """Make rules for a convolution and its BatchNorm, children ``0`` and ``1`` of ``foreign``."""
    return (*convolution(foreign + conv, f"{ours}/conv"), *batch_norm_rules(foreign + norm, f"{ours}/bn"))


def squeeze_excite(foreign: str, ours: str) -> tuple[Rule, ...]:
    """Make rules for torchvision's squeeze-excitation, two 1×1 convolutions ``fc1`` and ``fc2``."""
    return (*pointwise(rf"{foreign}\.fc1", f"{ours}/fc1"), *pointwise(rf"{foreign}\.fc2", f"{ours}/fc2"))


# torchvision numbers the layers of a block. A number means another layer where the block has no expansion (only the
# first) or no squeeze-excitation, so these rules tell layers apart by what they hold.
_BLOCK = r"features\.([2-9]|1\d)"
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
