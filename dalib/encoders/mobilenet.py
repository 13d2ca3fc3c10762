"""MobileNetV2 in torchvision's layout.

Reference: Sandler et al. 2018, "MobileNetV2: inverted residuals and linear bottlenecks", table 2. Blocks have
torchvision's numbers, ``features.2`` here is ``features_2``; inside a block the layers have names instead of numbers:
``expand``, ``depthwise``, ``project``, each with ``conv`` and ``bn``. Its first and last convolutions, ``features.0``
and ``features.18``, are ``stem`` and ``last``, the classifier's linear layer is ``head``.
"""

from typing import Any, NamedTuple

import flax.linen as nn

from dalib.encoders.inputs import check_images
from dalib.encoders.inverted_residual import Convention, ConvNorm, block_class, divisible, pooled
from dalib.encoders.published import published_head
from dalib.types import Array, Outputs


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


class MobileNetV2(nn.Module):
    """MobileNetV2 up to its global average pool; 1280 features.

    Attributes:
        stages: rows of the paper's table.
        width: factor on all channels (but the last convolution's if < 1).
        num_classes: classes of the published head; 0 has no head and no logits.
        dropout: rate before the published head.
        conv: form of the convolutions, a name of ``CONVOLUTIONS`` (same parameters, same result).
        bn_momentum: weight of the old running statistics.
        dtype: compute dtype; None takes that of inputs and parameters. Parameters and statistics are float32.
        remat: activations inside the blocks are computed again in the backward pass instead of being kept.
    """

    stages: tuple[Stage, ...] = STAGES
    width: float = 1.0
    num_classes: int = 0
    dropout: float = 0.2
    conv: str = "auto"
    bn_momentum: float = 0.9
    dtype: Any = None
    remat: bool = False

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
        dropped = nn.Dropout(self.dropout)(features, deterministic=not train or not self.num_classes)
        return Outputs(features, published_head(dropped, self.num_classes, dtype=self.dtype), hidden)


mobilenet_v2 = MobileNetV2
