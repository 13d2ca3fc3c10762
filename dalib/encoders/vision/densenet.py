"""DenseNet-121 to 201 in torchvision's layout.

Reference: Huang et al. 2017, "Densely connected convolutional networks", the form "BC" (1×1 bottlenecks, halved
channels between blocks). Parameters have torchvision's names, ``features.denseblock1.denselayer1.conv1`` as
``denseblock1_denselayer1/conv1``; ``classifier`` is ``head``.
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax.numpy as jnp

from dalib.core.types import Array, Outputs
from dalib.encoders.checkpoints.rules import STEP_COUNTER, RuleTable, batch_norm_rules, convolution, linear
from dalib.encoders.layers.inputs import check_images
from dalib.encoders.layers.layers import batch_norms, convolutions
from dalib.encoders.layers.pooling import max_pool
from dalib.encoders.layers.published import Block, PublishedNet

he_normal = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
BOTTLENECK = 4  # the 1×1 convolution gives four times the growth


class _Layer(Block):
    """New channels of one layer, from all channels before it."""

    growth: int
    dropout: float

    @nn.compact
    def __call__(self, parts: tuple[Array, ...], train: bool) -> Array:
        norm = batch_norms(self, train)
        convolve = convolutions(self, he_normal)
        # Concatenated in here, so that remat does not keep the ever longer concatenations.
        x = nn.relu(norm(jnp.concatenate(parts, axis=-1), name="norm1"))
        x = nn.relu(norm(convolve(BOTTLENECK * self.growth, 1, name="conv1")(x), name="norm2"))
        x = convolve(self.growth, 3, padding=1, name="conv2")(x)
        return nn.Dropout(self.dropout)(x, deterministic=not train)


class _Transition(Block):
    """Layer that halves channels and side."""

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        channels = x.shape[-1] // 2
        x = nn.relu(batch_norms(self, train)(x, name="norm"))
        x = convolutions(self, he_normal)(channels, 1, name="conv")(x)
        return nn.avg_pool(x, (2, 2), (2, 2))


class DenseNet(PublishedNet):
    """A DenseNet up to its global average pool; d = 1024 for DenseNet-121.

    Images have at least 32×32 pixels. ``hidden`` holds ``stem`` (after the pool, 1/4 of the side), ``denseblock1`` …
    ``denseblock3`` (1/4, 1/8, 1/16; before the transition) and ``denseblock4`` (1/32; before the last BatchNorm).

    Attributes (others: :class:`PublishedNet`):
        depths: layers in each of the four dense blocks.
        growth: channels that a layer adds, the paper's k.
        width: channels of the stem.
        dropout: rate on each layer's new channels in training (the published weights were trained without).
    """

    depths: tuple[int, ...] = (6, 12, 24, 16)
    growth: int = 32
    width: int = 64
    dropout: float = 0.0

    @nn.compact
    def __call__(self, inputs: Array, *, train: bool = False) -> Outputs:
        """Map images ``[n, h, w, c]`` to features ``[n, d]``."""
        check_images(inputs, smallest=32, net="DenseNet")
        norm = batch_norms(self, train)
        stem = convolutions(self, he_normal)(self.width, 7, stride=2, padding=3, name="conv0")
        x = max_pool(nn.relu(norm(stem(inputs), name="norm0")), 3, 2, padding=1)
        hidden = {"stem": x}
        layer = partial(self.shared(_Layer), growth=self.growth, dropout=self.dropout)
        for block, depth in enumerate(self.depths, start=1):
            # Parts go to a layer unjoined: it joins them inside, where remat can drop the result.
            parts: tuple[Array, ...] = (x,)
            for i in range(1, depth + 1):
                parts = (*parts, layer(name=f"denseblock{block}_denselayer{i}")(parts, train))
            hidden[f"denseblock{block}"] = x = jnp.concatenate(parts, axis=-1)
            if block < len(self.depths):
                x = _Transition(self.conv, self.bn_momentum, self.dtype, name=f"transition{block}")(x, train)
        return self.finish(nn.relu(norm(x, name="norm5")), hidden)


ENCODERS: dict[str, Callable[..., DenseNet]] = {
    "densenet121": partial(DenseNet, depths=(6, 12, 24, 16)),
    "densenet161": partial(DenseNet, depths=(6, 12, 36, 24), growth=48, width=96),
    "densenet169": partial(DenseNet, depths=(6, 12, 32, 32)),
    "densenet201": partial(DenseNet, depths=(6, 12, 48, 32)),
}

# torchvision's names; published files say ``norm.1``, ``conv.2`` for a layer's ``norm1``, ``conv2``.
_LAYER = r"features\.denseblock(\d+)\.denselayer(\d+)"
_OURS = r"denseblock\1_denselayer\2"
TABLES = {
    "torchvision/densenet": RuleTable(
        "densenet",
        1,
        (
            *convolution(r"features\.conv0", "conv0"),
            *batch_norm_rules(r"features\.norm([05])", r"norm\1"),
            *batch_norm_rules(rf"{_LAYER}\.norm\.?([12])", rf"{_OURS}/norm\3"),
            *convolution(rf"{_LAYER}\.conv\.?([12])", rf"{_OURS}/conv\3"),
            *batch_norm_rules(r"features\.transition(\d+)\.norm", r"transition\1/norm"),
            *convolution(r"features\.transition(\d+)\.conv", r"transition\1/conv"),
            *linear("classifier", "head"),
        ),
        (STEP_COUNTER,),
    )
}
