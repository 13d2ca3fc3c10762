"""ConvNeXt in torchvision's layout.

Reference: Liu et al. 2022, "A ConvNet for the 2020s". torchvision's ``features.0`` is ``stem_conv`` and ``stem_norm``
here; ``features.1``, ``.3``, ``.5``, ``.7`` are the stages, so that ``features.3.1`` is ``layer2_1``, with ``dwconv``,
``norm``, ``pwconv1``, ``pwconv2`` for ``block.0``, ``.2``, ``.3``, ``.5``; ``features.2``, ``.4``, ``.6`` are
``downsample1_norm``, ``downsample1_conv`` …; ``classifier.0`` and ``.2`` are ``norm`` and ``head``.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn

from dalib.core.checks import input_error
from dalib.core.types import Array, Outputs
from dalib.encoders.checkpoints.rules import Arrays, Rule, RuleTable, convolution, layer_norm_rules, linear
from dalib.encoders.layers.depthwise import depthwise
from dalib.encoders.layers.inputs import check_images
from dalib.encoders.layers.inverted_residual import drop_path
from dalib.encoders.layers.layers import convolutions, leave, pooled
from dalib.encoders.layers.published import PublishedNet, published_head

normal = nn.initializers.truncated_normal(0.02)
EPSILON = 1e-6


class _Block(nn.Module):
    """7×7 depthwise convolution, LayerNorm, linear to four times the channels, GELU, linear back, scaled, added."""

    conv: str
    layer_scale: float
    drop_path: float
    dtype: Any

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        width = x.shape[-1]
        dense = partial(nn.Dense, dtype=self.dtype, kernel_init=normal)
        y = depthwise(width, 7, padding=3, form=self.conv, kernel_init=normal, dtype=self.dtype, name="dwconv")(x)
        y = nn.LayerNorm(epsilon=EPSILON, dtype=self.dtype, name="norm")(y)
        y = nn.gelu(dense(4 * width, name="pwconv1")(y), approximate=False)
        y = dense(width, name="pwconv2")(y)
        scale = self.param("layer_scale", nn.initializers.constant(self.layer_scale), (width,))
        return x + drop_path(y * scale.astype(y.dtype)[None, None, None], self.drop_path, train=train)


class ConvNeXt(PublishedNet):
    """A ConvNeXt up to the LayerNorm after its global average pool; d is the last of ``widths``.

    Images have at least 32×32 pixels. ``hidden`` holds ``stem`` and ``layer1`` … ``layer4`` (1/4, 1/8, 1/16, 1/32 of
    the side; stem and downsampling drop an incomplete last patch).

    Attributes (others: :class:`PublishedNet`):
        depths: blocks in each of the stages.
        widths: channels of the stages.
        layer_scale: initial scale of every branch.
        drop_path: rate of stochastic depth at the last block; it grows linearly from 0 at the first. In training it
            needs a ``dropout`` key.
    """

    depths: tuple[int, ...] = (3, 3, 9, 3)
    widths: tuple[int, ...] = (96, 192, 384, 768)
    layer_scale: float = 1e-6
    drop_path: float = 0.1

    @nn.compact
    def __call__(self, inputs: Array, *, train: bool = False) -> Outputs:
        """Map images ``[n, h, w, c]`` to features ``[n, d]``."""
        check_images(inputs, smallest=32, net="ConvNeXt")
        if len(self.depths) != len(self.widths):
            raise input_error("depths", got=self.depths, expected=f"one for each of widths {self.widths}")
        norm = partial(nn.LayerNorm, epsilon=EPSILON, dtype=self.dtype)
        convolve = convolutions(self, normal, use_bias=True)
        kind = nn.remat(_Block, static_argnums=(2,)) if self.remat else _Block
        block = partial(kind, conv=self.conv, layer_scale=self.layer_scale, dtype=self.dtype)
        x = convolve(self.widths[0], 4, stride=4, name="stem_conv")(inputs)
        x = norm(name="stem_norm")(x)
        hidden = {"stem": x}
        # The rate of stochastic depth grows over all blocks of the net, not within a stage.
        total, done = sum(self.depths), 0
        for stage, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True), start=1):
            if stage > 1:
                x = norm(name=f"downsample{stage - 1}_norm")(x)
                x = convolve(width, 2, stride=2, name=f"downsample{stage - 1}_conv")(x)
            for i in range(depth):
                rate = self.drop_path * done / max(1, total - 1)
                x = block(drop_path=rate, name=f"layer{stage}_{i}")(x, train)
                done += 1
            hidden[f"layer{stage}"] = x
        features = leave(norm(name="norm")(pooled(x)))
        return Outputs(features, published_head(features, self.num_classes, dtype=self.dtype), hidden)


_deep = partial(ConvNeXt, depths=(3, 3, 27, 3))
ENCODERS: dict[str, Callable[..., ConvNeXt]] = {
    "convnext_tiny": partial(ConvNeXt),
    "convnext_small": partial(_deep, drop_path=0.4),
    "convnext_base": partial(_deep, widths=(128, 256, 512, 1024), drop_path=0.5),
}

_BLOCK = r"layer(\d)\.(\d+)"
_DOWN = r"downsample(\d)"
RULES = (
    *convolution(r"features\.0\.0", "stem_conv", bias=True),
    *layer_norm_rules(r"features\.0\.1", "stem_norm"),
    *convolution(rf"{_BLOCK}\.block\.0", r"layer\1_\2/dwconv", bias=True),
    *layer_norm_rules(rf"{_BLOCK}\.block\.2", r"layer\1_\2/norm"),
    *linear(rf"{_BLOCK}\.block\.3", r"layer\1_\2/pwconv1"),
    *linear(rf"{_BLOCK}\.block\.5", r"layer\1_\2/pwconv2"),
    Rule(rf"{_BLOCK}\.layer_scale", r"params/layer\1_\2/layer_scale", "squeeze"),
    *layer_norm_rules(rf"{_DOWN}\.0", r"downsample\1_norm"),
    *convolution(rf"{_DOWN}\.1", r"downsample\1_conv", bias=True),
    *layer_norm_rules(r"classifier\.0", "norm"),
    *linear(r"classifier\.2", "head"),
)


def _by_stage(arrays: Arrays) -> Arrays:
    """Rename ``features.1``, ``.3``, ``.5``, ``.7`` to ``layer1`` …; ``.2``, ``.4``, ``.6`` to ``downsample1`` …"""

    def rename(match: re.Match[str]) -> str:
        number = int(match[1])
        return f"layer{(number + 1) // 2}." if number % 2 else f"downsample{number // 2}."

    return {re.sub(r"^features\.([1-7])\.", rename, name): x for name, x in arrays.items()}


TABLES = {"torchvision/convnext": RuleTable("convnext", 1, RULES, prepare=_by_stage)}
