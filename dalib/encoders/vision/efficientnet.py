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
from typing import Any

import flax.linen as nn

from dalib.core.checks import input_error
from dalib.core.types import Array, Outputs
from dalib.encoders.checkpoints.rules import (
    STEP_COUNTER,
    Arrays,
    Rule,
    RuleTable,
    batch_norm_rules,
    convolution,
    linear,
)
from dalib.encoders.layers.inverted_residual import Convention, Stage, StagedNet, divisible
from dalib.encoders.vision.mobilenet import conv_norm, squeeze_excite

STAGES = (
    Stage(1, 3, 1, 16, 1),
    Stage(6, 3, 2, 24, 2),
    Stage(6, 5, 2, 40, 2),
    Stage(6, 3, 2, 80, 3),
    Stage(6, 5, 1, 112, 3),
    Stage(6, 5, 2, 192, 4),
    Stage(6, 3, 1, 320, 1),
)


class EfficientNet(StagedNet):
    """An EfficientNet up to its global average pool; d = 4 times the channels of the last stage (B0 and Lite: 1280).

    Attributes (others: :class:`StagedNet`):
        depth: factor on the number of blocks of a stage (rounded up).
        lite: the Lite variant with TensorFlow's padding and epsilon.
        drop_path: rate of stochastic depth at the last block; it grows linearly from 0 at the first. In training it
            needs a ``dropout`` key.
    """

    stages: tuple[Stage, ...] = STAGES
    depth: float = 1.0
    lite: bool = False
    drop_path: float = 0.2

    @nn.compact
    def __call__(self, inputs: Array, *, train: bool = False) -> Outputs:
        """Map images ``[n, h, w, c]`` to features ``[n, d]``."""
        shared: dict[str, Any] = {"bn_momentum": self.bn_momentum, "conv": self.conv, "dtype": self.dtype}
        # Lite scales neither the first nor the last stage.
        fixed = {0, len(self.stages) - 1} if self.lite else set()
        return self.run(
            inputs,
            train,
            Convention("relu6", same=True, bn_epsilon=1e-3, **shared) if self.lite else Convention("silu", **shared),
            stem=32 if self.lite else divisible(32 * self.width),
            last=lambda channels: 1280 if self.lite else 4 * channels,
            counts=[s.blocks if i in fixed else math.ceil(s.blocks * self.depth) for i, s in enumerate(self.stages)],
            name=lambda _, stage, i: f"features_{stage}_{i}",
            squeeze=not self.lite,
            drop_path=self.drop_path,
        )


# The BatchNorm momentum of Lite is that of the published training, 0.99.
_lite = partial(EfficientNet, lite=True, bn_momentum=0.99)
ENCODERS: dict[str, Callable[..., EfficientNet]] = {
    "efficientnet_b0": partial(EfficientNet),
    "efficientnet_b1": partial(EfficientNet, depth=1.1),
    "efficientnet_b2": partial(EfficientNet, width=1.1, depth=1.2, dropout=0.3),
    "efficientnet_b3": partial(EfficientNet, width=1.2, depth=1.4, dropout=0.3),
    "efficientnet_b4": partial(EfficientNet, width=1.4, depth=1.8, dropout=0.4),
    "efficientnet_lite0": _lite,
    "efficientnet_lite1": partial(_lite, depth=1.1),
    "efficientnet_lite2": partial(_lite, width=1.1, depth=1.2, dropout=0.3),
}

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


def _pair(convolution_name: str, norm_name: str, ours: str) -> tuple[Rule, ...]:
    return (*convolution(convolution_name, f"{ours}/conv"), *batch_norm_rules(norm_name, f"{ours}/bn"))


_BLOCK = r"_blocks\.(\d+_\d+)\."
LITE = (
    *_pair("_conv_stem", "_bn0", "stem"),
    *_pair(rf"{_BLOCK}_expand_conv", rf"{_BLOCK}_bn0", r"features_\1/expand"),
    *_pair(rf"{_BLOCK}_depthwise_conv", rf"{_BLOCK}_bn1", r"features_\1/depthwise"),
    *_pair(rf"{_BLOCK}_project_conv", rf"{_BLOCK}_bn2", r"features_\1/project"),
    *_pair("_conv_head", "_bn1", "last"),
    *linear("_fc", "head"),
)
LITE_BLOCKS = {16: (1, 2, 2, 3, 3, 4, 1), 21: (1, 3, 3, 4, 4, 5, 1)}
"""Blocks of each stage, by the number of all blocks."""


def by_stage(arrays: Arrays) -> Arrays:
    """Rename the blocks, numbered through the net there, by stage and place in it: ``_blocks.2.`` → ``_blocks.2_1.``.

    The number of all blocks decides the number in each stage.

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
    # The names there say nothing of stages, so a block's stage follows from the number of all blocks.
    places = [f"{stage}_{i}" for stage, count in enumerate(LITE_BLOCKS[total], start=1) for i in range(count)]
    return {f"_blocks.{places[int(m[1])]}.{m[2]}" if (m := matches[name]) else name: x for name, x in arrays.items()}


TABLES = {
    "torchvision/efficientnet": RuleTable("efficientnet", 1, TORCHVISION, (STEP_COUNTER,)),
    "efficientnet_pytorch/efficientnet_lite": RuleTable("efficientnet_lite", 1, LITE, (STEP_COUNTER,), by_stage),
}
