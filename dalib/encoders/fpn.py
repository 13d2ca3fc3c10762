"""The trunk of torchvision's Faster R-CNN: a ResNet-50 with frozen BatchNorm and a feature pyramid on its stages.

References: Lin et al. 2017, "Feature pyramid networks for object detection"; Ren et al. 2015, "Faster R-CNN". The
detector's own parts (region proposals, box heads) are not here. Parameters have torchvision's names, ``body.conv1`` as
``body/conv1`` and ``fpn.inner_blocks.0.0`` as ``inner_blocks_0``.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from dalib.encoders.inputs import check_images
from dalib.encoders.layers import conv, leave
from dalib.encoders.published import published_head
from dalib.encoders.resnet import ResNet
from dalib.types import Array, Outputs

he_uniform = nn.initializers.variance_scaling(1.0, "fan_in", "uniform")


def nearest(x: Array, height: int, width: int) -> Array:
    """``[n, h, w, c]`` enlarged to ``[n, height, width, c]``: pixel i is the old one ⌊i · h / height⌋, as in torch."""
    rows = jnp.arange(height) * x.shape[1] // height
    columns = jnp.arange(width) * x.shape[2] // width
    return x[:, rows][:, :, columns]


class ResNetFPN(nn.Module):
    """A residual net and its feature pyramid.

    Attributes:
        depths: blocks in each of the four stages of the residual net.
        width: channels of its first stage.
        channels: channels of every level of the pyramid.
        num_classes: classes of a linear head on the features; there is no published one, so it starts from random.
        frozen_bn: statistics, scale and bias of every BatchNorm are constants in ``batch_stats``, in training too, as
            in the published detector. Without it BatchNorm is the usual one.
        bn_epsilon: added to the variances. The published detector (COCO, first version) was trained with 0, and
            torchvision sets 0 when it loads those weights; elsewhere torchvision uses 1e-5.
        conv: form of the convolution, a name of ``CONVOLUTIONS`` (same parameters, same result).
        bn_momentum: weight of the old running statistics, where BatchNorm is not frozen.
        dtype: compute dtype; None takes that of inputs and parameters. Parameters and statistics are float32.
        remat: activations inside the blocks are computed again in the backward pass instead of being kept.
    """

    depths: tuple[int, ...] = (3, 4, 6, 3)
    width: int = 64
    channels: int = 256
    frozen_bn: bool = True
    bn_epsilon: float = 0.0
    num_classes: int = 0
    conv: str = "auto"
    bn_momentum: float = 0.9
    dtype: Any = None
    remat: bool = False

    @nn.compact
    def __call__(self, inputs: Array, *, train: bool = False) -> Outputs:
        """Maps images ``[n, h, w, c]`` of at least 32×32 pixels to features ``[n, 4 · channels]``.

        Returns:
            ``Outputs``. Features are the means over space of the levels p2, p3, p4 and p5, one after
            the other (1024 wide). ``hidden`` holds the levels ``p2`` … ``p5`` (1/4 … 1/32 of the side), ``pool`` (every
            second pixel of p5), each ``[n, h', w', channels]``, and the residual net's ``layer1`` … ``layer4``.

        Raises:
            InputError: on other than floating images of at least 32×32.
        """
        check_images(inputs, smallest=32, net="ResNetFPN")
        body = ResNet(
            depths=self.depths,
            width=self.width,
            frozen_bn=self.frozen_bn,
            bn_epsilon=self.bn_epsilon,
            bn_momentum=self.bn_momentum,
            conv=self.conv,
            dtype=self.dtype,
            remat=self.remat,
            name="body",
        )
        stages = body(inputs, train=train).hidden
        convolve = partial(conv, self.channels, form=self.conv, kernel_init=he_uniform, dtype=self.dtype)
        hidden = {f"layer{i}": stages[f"layer{i}"] for i in (1, 2, 3, 4)}
        above = None
        for i in (3, 2, 1, 0):
            inner = convolve(1, name=f"inner_blocks_{i}")(stages[f"layer{i + 1}"])
            above = inner if above is None else inner + nearest(above, *inner.shape[1:3])
            hidden[f"p{i + 2}"] = convolve(3, padding=1, name=f"layer_blocks_{i}")(above)
        hidden["pool"] = hidden["p5"][:, ::2, ::2]
        features = jnp.concatenate([jnp.mean(leave(hidden[f"p{i}"]), axis=(1, 2)) for i in (2, 3, 4, 5)], axis=-1)
        return Outputs(features, published_head(features, self.num_classes, dtype=self.dtype), hidden)


fasterrcnn_resnet50_fpn: Callable[..., ResNetFPN] = partial(ResNetFPN, depths=(3, 4, 6, 3))
