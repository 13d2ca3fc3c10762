"""Backbones of detectors: ResNet with a feature pyramid and YOLOv5, with the rule tables of their published weights.

References: Lin et al. 2017, "Feature pyramid networks for object detection"; Ren et al. 2015, "Faster R-CNN"; Jocher et
al., "YOLOv5 by Ultralytics", release 6.0, 2021 (no paper; the configuration files are its description); Wang et al.
2020, "CSPNet" (cross-stage blocks). A detector's other parts (region proposals, boxes, YOLO's neck) are not
here.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from dalib.core.types import Array, Outputs
from dalib.encoders.checkpoints.rules import STEP_COUNTER, RuleTable, batch_norm_rules, convolution, unused
from dalib.encoders.layers.inputs import check_images
from dalib.encoders.layers.layers import batch_norm, conv, leave
from dalib.encoders.layers.pooling import max_pool
from dalib.encoders.layers.published import Block, PublishedNet, published_head
from dalib.encoders.vision.resnet import ResNet, body

he_uniform = nn.initializers.variance_scaling(1.0, "fan_in", "uniform")
YOLO_EPSILON = 1e-3


def nearest(x: Array, height: int, width: int) -> Array:
    """Enlarge ``[n, h, w, c]`` to ``[n, height, width, c]``: pixel i is the old one ⌊i · h / height⌋, as in torch."""
    rows = jnp.arange(height) * x.shape[1] // height
    columns = jnp.arange(width) * x.shape[2] // width
    return x[:, rows][:, :, columns]


class ResNetFPN(PublishedNet):
    """The trunk of torchvision's Faster R-CNN: a residual net and its feature pyramid.

    Features ``[n, 4 · channels]`` are the means over space of the levels p2, p3, p4 and p5 in a row. ``hidden`` holds
    the levels ``p2`` … ``p5`` (1/4 … 1/32 of the side), ``pool`` (every second pixel of p5), and the residual net's
    ``layer1`` … ``layer4``. Parameters have torchvision's names, ``fpn.inner_blocks.0.0`` as ``inner_blocks_0``.

    Attributes (others: :class:`PublishedNet`):
        depths: blocks in each of the four stages of the residual net.
        width: channels of its first stage.
        channels: channels of every level of the pyramid.
        num_classes: classes of a linear head on the features; there is no published one, so it starts from random.
        frozen_bn: statistics, scale and bias of every BatchNorm are constants in ``batch_stats``, in training too, as
            in the published detector.
        bn_epsilon: added to the variances. The published detector (COCO, first version) was trained with 0, and
            torchvision sets 0 when it loads those weights; elsewhere torchvision uses 1e-5.
    """

    depths: tuple[int, ...] = (3, 4, 6, 3)
    width: int = 64
    channels: int = 256
    frozen_bn: bool = True
    bn_epsilon: float = 0.0

    @nn.compact
    def __call__(self, inputs: Array, *, train: bool = False) -> Outputs:
        """Map images ``[n, h, w, c]`` of at least 32×32 pixels to features ``[n, 4 · channels]``."""
        check_images(inputs, smallest=32, net="ResNetFPN")
        names = ("depths", "width", "frozen_bn", "bn_epsilon", "bn_momentum", "conv", "dtype", "remat")
        stages = ResNet(name="body", **{name: getattr(self, name) for name in names})(inputs, train=train).hidden
        convolve = partial(conv, self.channels, form=self.conv, kernel_init=he_uniform, dtype=self.dtype)
        hidden = {f"layer{i}": stages[f"layer{i}"] for i in (1, 2, 3, 4)}
        above = None
        # From the coarsest level down, since each one adds the enlarged level above it.
        for i in (3, 2, 1, 0):
            inner = convolve(1, name=f"inner_blocks_{i}")(stages[f"layer{i + 1}"])
            above = inner if above is None else inner + nearest(above, *inner.shape[1:3])
            hidden[f"p{i + 2}"] = convolve(3, padding=1, name=f"layer_blocks_{i}")(above)
        hidden["pool"] = hidden["p5"][:, ::2, ::2]
        features = jnp.concatenate([jnp.mean(leave(hidden[f"p{i}"]), axis=(1, 2)) for i in (2, 3, 4, 5)], axis=-1)
        return Outputs(features, published_head(features, self.num_classes, dtype=self.dtype), hidden)


class _Conv(Block):
    """Convolution, BatchNorm, SiLU."""

    channels: int
    size: int
    stride: int = 1
    padding: int | None = None

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        padding = self.size // 2 if self.padding is None else self.padding
        options: dict[str, Any] = {"stride": self.stride, "padding": padding, "form": self.conv, "use_bias": False}
        x = conv(self.channels, self.size, **options, dtype=self.dtype, name="conv")(x)
        norm = partial(batch_norm, momentum=self.bn_momentum, epsilon=YOLO_EPSILON, dtype=self.dtype, name="bn")
        return nn.silu(norm(x, train=train))


class _C3(nn.Module):
    """Cross-stage block: bottlenecks (1×1, 3×3, the input added) on half of the channels; the rest goes past them."""

    channels: int
    depth: int
    make: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        half = self.channels // 2
        y = self.make(channels=half, size=1, name="cv1")(x, train)
        for i in range(self.depth):
            y = _Bottleneck(self.make, name=f"m_{i}")(y, train)
        past = self.make(channels=half, size=1, name="cv2")(x, train)
        return self.make(channels=self.channels, size=1, name="cv3")(jnp.concatenate([y, past], axis=-1), train)


class _Bottleneck(nn.Module):
    make: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        y = self.make(channels=x.shape[-1], size=1, name="cv1")(x, train)
        return x + self.make(channels=x.shape[-1], size=3, name="cv2")(y, train)


class _SPPF(nn.Module):
    """Spatial pyramid pooling by a row of three 5×5 maxima."""

    channels: int
    make: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        parts = [self.make(channels=x.shape[-1] // 2, size=1, name="cv1")(x, train)]
        for _ in range(3):
            parts.append(max_pool(parts[-1], 5, 1, padding=2))
        return self.make(channels=self.channels, size=1, name="cv2")(jnp.concatenate(parts, axis=-1), train)


class YOLOv5(PublishedNet):
    """The backbone of YOLOv5 (releases 6.0 and later), with the mean of its last map as features.

    Images are RGB in [0, 1]. ``hidden`` holds the maps that the detector's neck takes: ``p3``, ``p4`` (1/8 and 1/16 of
    the side, layers 4 and 6) and ``p5`` (1/32, layer 9). Parameters have the published numbers: ``model.2.cv1.conv`` is
    ``model_2/cv1/conv``.

    Attributes (others: :class:`PublishedNet`):
        depth_multiple: of the numbers of bottlenecks 3, 6, 9 and 3.
        width_multiple: of the channels 64 … 1024, which are then rounded up to multiples of 8.
        num_classes: classes of a linear head on the features; there is no published one, so it starts from random.
        bn_momentum: weight of the old running statistics (the published training has 0.03 on the new ones).
    """

    depth_multiple: float = 0.33
    width_multiple: float = 0.5
    bn_momentum: float = 0.97

    @nn.compact
    def __call__(self, inputs: Array, *, train: bool = False) -> Outputs:
        """Map images ``[n, h, w, c]`` of at least 32×32 pixels to features ``[n, d]``, d = 512 for "s"."""
        check_images(inputs, smallest=32, net="YOLOv5")
        make = partial(_Conv, conv=self.conv, bn_momentum=self.bn_momentum, dtype=self.dtype)
        block = nn.remat(_C3, static_argnums=(2,)) if self.remat else _C3
        channels = [-(-int(c * self.width_multiple) // 8) * 8 for c in (64, 128, 256, 512, 1024)]
        depths = [max(round(n * self.depth_multiple), 1) for n in (3, 6, 9, 3)]
        x = make(channels=channels[0], size=6, stride=2, padding=2, name="model_0")(inputs, train)
        hidden = {}
        for i, (c, depth) in enumerate(zip(channels[1:], depths, strict=True), start=1):
            x = make(channels=c, size=3, stride=2, name=f"model_{2 * i - 1}")(x, train)
            x = block(c, depth, make, name=f"model_{2 * i}")(x, train)
            hidden[f"p{i + 1}"] = x
        hidden["p5"] = x = _SPPF(channels[-1], make, name="model_9")(x, train)
        # The neck of the detector takes p3 to p5 only.
        del hidden["p2"]
        return self.finish(x, hidden)


ENCODERS: dict[str, Callable[..., nn.Module]] = {
    "fasterrcnn_resnet50_fpn": ResNetFPN,
    "yolov5n": partial(YOLOv5, depth_multiple=0.33, width_multiple=0.25),
    "yolov5s": partial(YOLOv5, depth_multiple=0.33, width_multiple=0.5),
    "yolov5m": partial(YOLOv5, depth_multiple=0.67, width_multiple=0.75),
    "yolov5l": partial(YOLOv5, depth_multiple=1.0, width_multiple=1.0),
    "yolov5x": partial(YOLOv5, depth_multiple=1.33, width_multiple=1.25),
}

# The trunks out of the whole detectors' files (or the backbone's alone). YOLOv5's published checkpoints pickle model
# objects, which are passed over unread; its table is for the ``state_dict`` of such a model, saved once where its own
# code is installed: ``torch.save(model.float().state_dict(), path)``.
_START = r"(?:backbone\.)?"
_YOLO = (
    (r"model\.([01357])", r"model_\1"),
    (r"model\.([24689])\.(cv[123])", r"model_\1/\2"),
    (r"model\.([2468])\.m\.(\d+)\.(cv[12])", r"model_\1/m_\2/\3"),
)
TABLES = {
    "torchvision/fasterrcnn": RuleTable(
        "fpn",
        1,
        (
            *body(rf"{_START}body\.", ours="body/", frozen=True),
            # Files of the pyramid's first version say ``inner_blocks.0.weight``, later ones ``….0.0.weight``.
            *convolution(rf"{_START}fpn\.(inner|layer)_blocks\.([0-3])(?:\.0)?", r"\1_blocks_\2", bias=True),
        ),
        (
            STEP_COUNTER,
            unused(r"rpn\.", "the detector's region proposals; only the trunk is an encoder"),
            unused(r"roi_heads\.", "the detector's box heads; only the trunk is an encoder"),
        ),
    ),
    "ultralytics/yolov5": RuleTable(
        "yolo",
        1,
        tuple(
            rule
            for theirs, ours in _YOLO
            for rule in (
                *convolution(rf"{theirs}\.conv", f"{ours}/conv"),
                *batch_norm_rules(rf"{theirs}\.bn", f"{ours}/bn"),
            )
        ),
        (
            STEP_COUNTER,
            unused(r"model\.(?:1[0-9]|2[0-4])\.", "the detector's neck and head; only the backbone is an encoder"),
        ),
    ),
}
