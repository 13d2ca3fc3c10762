"""SqueezeNet 1.1: fire modules, no BatchNorm, 1.2 million parameters.

Reference: Iandola et al. 2016, "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and < 0.5 MB model size";
version 1.1 is the authors' later, cheaper one. Layers have the paper's names: ``conv1``, ``fire2`` … ``fire9``; the 1×1
convolution ``conv10`` here is ``head``. Published weights come in two kinds: torchvision's (RGB, scaled and
standardised) and the authors' Caffe weights (BGR in 0 … 255 minus the mean), which the same net takes.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from dalib.core.types import Array, Outputs
from dalib.encoders.checkpoints.rules import Rule, RuleTable, convolution
from dalib.encoders.layers.inputs import check_images
from dalib.encoders.layers.layers import conv, leave
from dalib.encoders.layers.pooling import max_pool
from dalib.encoders.layers.published import PublishedNet, check_num_classes

he_uniform = nn.initializers.variance_scaling(2.0, "fan_in", "uniform")


class _Fire(nn.Module):
    """Squeeze to few channels by 1×1, then expand by 1×1 and 3×3 side by side."""

    squeeze: int
    expand: int
    conv: str
    dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        convolve = partial(conv, form=self.conv, kernel_init=he_uniform, dtype=self.dtype)
        x = nn.relu(convolve(self.squeeze, 1, name="squeeze")(x))
        one = convolve(self.expand, 1, name="expand1x1")(x)
        three = convolve(self.expand, 3, padding=1, name="expand3x3")(x)
        return nn.relu(jnp.concatenate([one, three], axis=-1))


class SqueezeNet(PublishedNet):
    """SqueezeNet 1.1 up to the global average pool of its last fire module.

    Attributes (others: :class:`PublishedNet`):
        width: channels of the stem; all others are in proportion (multiples of 16 give the published proportions).
        num_classes: classes of the published head; 0 has no head and no logits. The head is a 1×1 convolution with a
            ReLU before the pool, so that the published logits are never negative.
        dropout: rate on the last map before the head, in training.
        bn_momentum: not used, there is no BatchNorm.
        remat: activations inside the fire modules are computed again in the backward pass instead of being kept.
    """

    width: int = 64
    dropout: float = 0.5

    @nn.compact
    def __call__(self, inputs: Array, *, train: bool = False) -> Outputs:
        """Maps images ``[n, h, w, c]`` of at least 17×17 pixels to features ``[n, 8 · width]``.

        Returns:
            ``Outputs``: features are the mean of ``fire9`` over space (512 wide); ``hidden`` holds ``conv1`` (after its
            ReLU) and ``fire3``, ``fire5``, ``fire9``, each before the pool that follows. Logits ``[n, num_classes]``,
            or None without a head.

        Raises:
            InputError: on other than floating images of at least 17×17.
        """
        check_images(inputs, smallest=17, net="SqueezeNet")
        check_num_classes(self.num_classes)
        fire = nn.remat(_Fire) if self.remat else _Fire
        convolve = partial(conv, form=self.conv, dtype=self.dtype)
        x = nn.relu(convolve(self.width, 3, stride=2, kernel_init=he_uniform, name="conv1")(inputs))
        hidden = {"conv1": x}
        # (sixteenths of the width in "squeeze", multiple of the width in each "expand") of two pairs and a quadruple
        for i, (squeeze, expand) in enumerate([(4, 1), (4, 1), (8, 2), (8, 2), (12, 3), (12, 3), (16, 4), (16, 4)], 2):
            if i in (2, 4, 6):
                x = max_pool(x, 3, 2, ceil=True)
            x = fire(self.width * squeeze // 16, self.width * expand, self.conv, self.dtype, name=f"fire{i}")(x)
            if i in (3, 5, 9):
                hidden[f"fire{i}"] = x
        features = jnp.mean(leave(x), axis=(1, 2))
        if not self.num_classes:
            return Outputs(features, None, hidden)
        x = nn.Dropout(self.dropout)(x, deterministic=not train)
        x = convolve(self.num_classes, 1, kernel_init=nn.initializers.normal(0.01), name="head")(x)
        return Outputs(features, jnp.mean(leave(nn.relu(x)), axis=(1, 2)), hidden)


squeezenet1_1 = SqueezeNet


# SqueezeNet 1.1 as torchvision stores it, and with the authors' layer names and kernels ``[h, w, in, out]``.
#
# The second layout is that of the Caffe weights as Keras ports carry them (the package ``ndf`` has them as a pickle of
# numpy arrays): a kernel and a bias for each layer, ``fire2/squeeze1x1`` and so on. Its network wants BGR.


# torchvision counts pools and ReLUs among the members of "features".
_FIRES = {3: 2, 4: 3, 6: 4, 7: 5, 9: 6, 10: 7, 11: 8, 12: 9}


def _caffe(foreign: str, ours: str) -> tuple[Rule, ...]:
    return (
        Rule(rf"{foreign}[./](?:0|kernel)", f"params/{ours}/kernel"),
        Rule(rf"{foreign}[./](?:1|bias)", f"params/{ours}/bias"),
    )


TABLES = {
    "torchvision/squeezenet": RuleTable(
        "squeezenet",
        1,
        (
            *convolution(r"features\.0", "conv1", bias=True),
            *(
                rule
                for theirs, ours in _FIRES.items()
                for rule in convolution(
                    rf"features\.{theirs}\.(squeeze|expand1x1|expand3x3)", rf"fire{ours}/\1", bias=True
                )
            ),
            *convolution(r"classifier\.1", "head", bias=True),
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
