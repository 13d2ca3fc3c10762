"""SqueezeNet 1.1: fire modules, no BatchNorm, 1.2 million parameters.

Reference: Iandola et al. 2016, "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and < 0.5 MB model size";
version 1.1 is the authors' later, cheaper one. Layers have the paper's names: ``conv1``, ``fire2`` … ``fire9``; the 1×1
convolution ``conv10`` here is ``head``. Published weights come in two kinds: torchvision's (RGB, scaled and
standardised) and the authors' Caffe weights (BGR in 0 … 255 minus the mean), which the same net takes.
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax.numpy as jnp

from dalib.core.types import Array, Outputs
from dalib.encoders.checkpoints.rules import Rule, RuleTable, convolution
from dalib.encoders.layers.inputs import check_images
from dalib.encoders.layers.layers import convolutions, leave
from dalib.encoders.layers.pooling import max_pool
from dalib.encoders.layers.published import Block, PublishedNet, check_num_classes

he_uniform = nn.initializers.variance_scaling(2.0, "fan_in", "uniform")
FIRES = ((4, 1), (4, 1), (8, 2), (8, 2), (12, 3), (12, 3), (16, 4), (16, 4))
"""Fire modules from ``fire2``: sixteenths of the net's width in "squeeze", multiple of it in each "expand"."""


class _Fire(Block):
    """Squeeze to few channels by 1×1, then expand by 1×1 and 3×3, concatenated."""

    squeeze: int
    expand: int

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        del train
        convolve = convolutions(self, he_uniform, use_bias=True)
        x = nn.relu(convolve(self.squeeze, 1, name="squeeze")(x))
        one = convolve(self.expand, 1, name="expand1x1")(x)
        three = convolve(self.expand, 3, padding=1, name="expand3x3")(x)
        return nn.relu(jnp.concatenate([one, three], axis=-1))


class SqueezeNet(PublishedNet):
    """SqueezeNet 1.1 up to the global average pool of its last fire module; d = 8 · width.

    Images have at least 17×17 pixels. ``hidden`` holds ``conv1`` (after its ReLU) and ``fire3``, ``fire5``, ``fire9``,
    each before the pool that follows.

    Attributes (others: :class:`PublishedNet`):
        width: channels of the stem; all others are in proportion (multiples of 16 give the published proportions).
        num_classes: the published head is a 1×1 convolution with a ReLU before the pool, so that its logits are never
            negative.
        dropout: rate on the last map before the head, in training.
    """

    width: int = 64
    dropout: float = 0.5

    @nn.compact
    def __call__(self, inputs: Array, *, train: bool = False) -> Outputs:
        """Map images ``[n, h, w, c]`` to features ``[n, d]``."""
        check_images(inputs, smallest=17, net="SqueezeNet")
        check_num_classes(self.num_classes)
        convolve = convolutions(self, he_uniform, use_bias=True)
        x = nn.relu(convolve(self.width, 3, stride=2, name="conv1")(inputs))
        hidden, fire = {"conv1": x}, self.shared(_Fire)
        for i, (squeeze, expand) in enumerate(FIRES, 2):
            if i in (2, 4, 6):
                x = max_pool(x, 3, 2, ceil=True)
            x = fire(squeeze=self.width * squeeze // 16, expand=self.width * expand, name=f"fire{i}")(x, train)
            if i in (3, 5, 9):
                hidden[f"fire{i}"] = x
        features = jnp.mean(leave(x), axis=(1, 2))
        if not self.num_classes:
            return Outputs(features, None, hidden)
        x = nn.Dropout(self.dropout)(x, deterministic=not train)
        # The published head is a convolution before the mean, so each pixel has logits of its own.
        x = convolutions(self, nn.initializers.normal(0.01), use_bias=True)(self.num_classes, 1, name="head")(x)
        return Outputs(features, jnp.mean(leave(nn.relu(x)), axis=(1, 2)), hidden)


ENCODERS: dict[str, Callable[..., SqueezeNet]] = {"squeezenet1_1": partial(SqueezeNet)}

# torchvision counts pools and ReLUs among the members of "features".
_FIRES = {3: 2, 4: 3, 6: 4, 7: 5, 9: 6, 10: 7, 11: 8, 12: 9}


def _caffe(foreign: str, ours: str) -> tuple[Rule, ...]:
    """Make rules for ``[h, w, in, out]`` kernels and biases, as Keras ports hold Caffe weights (``ndf``: a pickle)."""
    return (
        Rule(rf"{foreign}[./](?:0|kernel)", f"params/{ours}/kernel"),
        Rule(rf"{foreign}[./](?:1|bias)", f"params/{ours}/bias"),
    )


TABLES = {
    "torchvision/squeezenet": RuleTable(
        "squeezenet",
        1,
        tuple(
            rule
            for theirs, ours in (
                (r"features\.0", "conv1"),
                (r"classifier\.1", "head"),
                *((rf"features\.{i}\.(squeeze|expand1x1|expand3x3)", rf"fire{fire}/\1") for i, fire in _FIRES.items()),
            )
            for rule in convolution(theirs, ours, bias=True)
        ),
    ),
    "caffe/squeezenet": RuleTable(
        "squeezenet",
        1,
        (
            *_caffe("conv1", "conv1"),
            *_caffe("(fire[2-9])/squeeze1x1", r"\1/squeeze"),
            *_caffe("(fire[2-9])/(expand1x1|expand3x3)", r"\1/\2"),
            *_caffe("conv10", "head"),
        ),
    ),
}
