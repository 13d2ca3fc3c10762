"""EfficientNet-B0…B4 in torchvision's layout, and the Lite variants.

Reference: Tan and Le 2019, "EfficientNet: rethinking model scaling for convolutional neural networks", table 1. Lite is
a variant for small devices (2020, TensorFlow's repository of TPU models): no squeeze-excitation, ReLU6 for SiLU, and
stem, last convolution and the depth of the first and last stage are not scaled. Its published weights come from
TensorFlow: ``"SAME"`` padding, BatchNorm epsilon 1e-3.

Blocks are named as in torchvision, ``features.2.1`` here is ``features_2_1``; inside, the layers have names instead of
numbers: ``expand``, ``depthwise``, ``se``, ``project``. The first and last convolutions are ``stem`` and ``last``.
"""

import math
import re
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn

from dalib.core.checks import input_error
from dalib.core.types import Array, Outputs
from dalib.encoders.checkpoints.rules import STEP_COUNTER, Arrays, RuleTable, batch_norm_rules, convolution, linear
from dalib.encoders.layers.inputs import check_images
from dalib.encoders.layers.inverted_residual import Convention, ConvNorm, block_class, divisible, pooled
from dalib.encoders.layers.published import PublishedNet, published_head
from dalib.encoders.vision.mobilenet import conv_norm, squeeze_excite


class Stage(NamedTuple):
    """A row of the paper's table: expansion, kernel size, stride of the first block, channels, blocks."""

    expansion: int
    size: int
    stride: int
    channels: int
    blocks: int


STAGES = (
    Stage(1, 3, 1, 16, 1),
    Stage(6, 3, 2, 24, 2),
    Stage(6, 5, 2, 40, 2),
    Stage(6, 3, 2, 80, 3),
    Stage(6, 5, 1, 112, 3),
    Stage(6, 5, 2, 192, 4),
    Stage(6, 3, 1, 320, 1),
)


class EfficientNet(PublishedNet):
    """An EfficientNet up to its global average pool.

    Attributes (others: :class:`PublishedNet`):
        stages: rows of B0's table.
        width: factor on the channels.
        depth: factor on the number of blocks of a stage (rounded up).
        lite: the Lite variant with TensorFlow's padding and epsilon.
        drop_path: rate of stochastic depth at the last block; it grows linearly from 0 at the first. In training it
            needs a ``dropout`` key.
        dropout: rate before the published head.
    """

    stages: tuple[Stage, ...] = STAGES
    width: float = 1.0
    depth: float = 1.0
    lite: bool = False
    drop_path: float = 0.2
    dropout: float = 0.2

    @nn.compact
    def __call__(self, inputs: Array, *, train: bool = False) -> Outputs:
        """Maps images ``[n, h, w, c]`` of at least 32×32 pixels to features ``[n, d]``.

        Returns:
            ``Outputs`` with d = 4 times the channels of the last stage (B0: 1280; Lite: always 1280); ``hidden`` holds
            ``stem``, the ends of the stages ``stage1`` … ``stage7`` (1/2, 1/4, 1/8, 1/16, 1/16, 1/32, 1/32 of the side)
            and ``last``, the convolution before the pool. Logits ``[n, num_classes]``, or None without a head.

        Raises:
            InputError: on other than floating images of at least 32×32.
        """
        check_images(inputs, smallest=32, net="EfficientNet")
        shared: dict[str, Any] = {"bn_momentum": self.bn_momentum, "conv": self.conv, "dtype": self.dtype}
        if self.lite:
            convention = Convention("relu6", same=True, bn_epsilon=1e-3, **shared)
        else:
            convention = Convention("silu", **shared)
        block = block_class(self.remat)
        stem = 32 if self.lite else divisible(32 * self.width)
        x = ConvNorm(stem, 3, convention, stride=2, name="stem")(inputs, train)
        hidden = {"stem": x}
        counts = self._blocks()
        done = 0
        for number, (stage, count) in enumerate(zip(self.stages, counts, strict=True), start=1):
            for i in range(count):
                x = block(
                    expanded=divisible(stage.expansion * x.shape[-1]),
                    features=divisible(stage.channels * self.width),
                    size=stage.size,
                    stride=stage.stride if i == 0 else 1,
                    convention=convention,
                    squeeze=0 if self.lite else max(1, x.shape[-1] // 4),
                    squeeze_activation="silu",
                    drop_path=self.drop_path * done / sum(counts),
                    name=f"features_{number}_{i}",
                )(x, train)
                done += 1
            hidden[f"stage{number}"] = x
        x = ConvNorm(1280 if self.lite else 4 * x.shape[-1], 1, convention, name="last")(x, train)
        hidden["last"] = x
        features = pooled(x)
        logits = published_head(features, self.num_classes, dtype=self.dtype, dropout=self.dropout, train=train)
        return Outputs(features, logits, hidden)

    def _blocks(self) -> list[int]:
        fixed = {0, len(self.stages) - 1} if self.lite else set()
        return [s.blocks if i in fixed else math.ceil(s.blocks * self.depth) for i, s in enumerate(self.stages)]


efficientnet_b0: Callable[..., EfficientNet] = partial(EfficientNet)
efficientnet_b1: Callable[..., EfficientNet] = partial(EfficientNet, depth=1.1)
efficientnet_b2: Callable[..., EfficientNet] = partial(EfficientNet, width=1.1, depth=1.2, dropout=0.3)
efficientnet_b3: Callable[..., EfficientNet] = partial(EfficientNet, width=1.2, depth=1.4, dropout=0.3)
efficientnet_b4: Callable[..., EfficientNet] = partial(EfficientNet, width=1.4, depth=1.8, dropout=0.4)
# Their BatchNorm momentum is that of the published training, 0.99.
efficientnet_lite0: Callable[..., EfficientNet] = partial(EfficientNet, lite=True, bn_momentum=0.99)
efficientnet_lite1: Callable[..., EfficientNet] = partial(EfficientNet, lite=True, depth=1.1, bn_momentum=0.99)
efficientnet_lite2: Callable[..., EfficientNet] = partial(
    EfficientNet, lite=True, width=1.1, depth=1.2, dropout=0.3, bn_momentum=0.99
)


# EfficientNet as torchvision stores it, and the Lite variants under the names of the EfficientNet-PyTorch project.


_FIRST = r"features\.1\.(\d+)\.block"  # the stage without expansion: the numbers are one lower
_OTHER = r"features\.([2-7])\.(\d+)\.block"

TORCHVISION = (
    *conv_norm(r"features\.0", "stem"),
    *conv_norm(rf"{_FIRST}\.0", r"features_1_\1/depthwise"),
    *squeeze_excite(rf"{_FIRST}\.1", r"features_1_\1/se"),
    *conv_norm(rf"{_FIRST}\.2", r"features_1_\1/project"),
    *conv_norm(rf"{_OTHER}\.0", r"features_\1_\2/expand"),
    *conv_norm(rf"{_OTHER}\.1", r"features_\1_\2/depthwise"),
    *squeeze_excite(rf"{_OTHER}\.2", r"features_\1_\2/se"),
    *conv_norm(rf"{_OTHER}\.3", r"features_\1_\2/project"),
    *conv_norm(r"features\.8", "last"),
    *linear(r"classifier\.1", "head"),
)

_BLOCK = r"_blocks\.(\d+_\d+)\."

LITE = (
    *convolution("_conv_stem", "stem/conv"),
    *batch_norm_rules("_bn0", "stem/bn"),
    *convolution(rf"{_BLOCK}_expand_conv", r"features_\1/expand/conv"),
    *batch_norm_rules(rf"{_BLOCK}_bn0", r"features_\1/expand/bn"),
    *convolution(rf"{_BLOCK}_depthwise_conv", r"features_\1/depthwise/conv"),
    *batch_norm_rules(rf"{_BLOCK}_bn1", r"features_\1/depthwise/bn"),
    *convolution(rf"{_BLOCK}_project_conv", r"features_\1/project/conv"),
    *batch_norm_rules(rf"{_BLOCK}_bn2", r"features_\1/project/bn"),
    *convolution("_conv_head", "last/conv"),
    *batch_norm_rules("_bn1", "last/bn"),
    *linear("_fc", "head"),
)


def by_stage(arrays: Arrays) -> Arrays:
    """Renames the blocks, numbered through the net there, by stage and place in it: ``_blocks.2.`` → ``_blocks.2_1.``.

    The stages are told apart by their numbers of blocks, which the number of all blocks decides.

    Raises:
        InputError: where that number is of no Lite variant.
    """
    numbered = re.compile(r"_blocks\.(\d+)\.(.*)")
    matches = {name: numbered.fullmatch(name) for name in arrays}
    total = 1 + max((int(m[1]) for m in matches.values() if m), default=-1)
    if total not in LITE_BLOCKS:
        raise input_error(
            "checkpoint",
            got=f"{total} blocks named _blocks.N",
            expected=f"{' or '.join(map(str, LITE_BLOCKS))}, those of EfficientNet-Lite0, and Lite1 and Lite2",
        )
    counts = LITE_BLOCKS[total]
    places = [f"{stage}_{i}" for stage, count in enumerate(counts, start=1) for i in range(count)]
    return {f"_blocks.{places[int(m[1])]}.{m[2]}" if (m := matches[name]) else name: x for name, x in arrays.items()}


LITE_BLOCKS = {16: (1, 2, 2, 3, 3, 4, 1), 21: (1, 3, 3, 4, 4, 5, 1)}
"""Blocks of each stage by the number of all blocks."""

TABLES = {
    "torchvision/efficientnet": RuleTable("efficientnet", 1, TORCHVISION, (STEP_COUNTER,)),
    "efficientnet_pytorch/efficientnet_lite": RuleTable("efficientnet_lite", 1, LITE, (STEP_COUNTER,), by_stage),
}
