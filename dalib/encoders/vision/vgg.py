"""VGG nets with 11 to 19 layers, with and without BatchNorm, in torchvision's layout.

Reference: Simonyan and Zisserman 2015, "Very deep convolutional networks for large-scale image recognition"; BatchNorm
is torchvision's addition. The convolutions that the paper calls conv1-1, conv1-2 … are ``stage1/conv1``,
``stage1/conv2`` …, with ``stage1/bn1`` …; the fully connected layers are ``fc6``, ``fc7`` and ``head``.
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax.numpy as jnp

from dalib.core.checks import input_error, unknown_name
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
from dalib.encoders.layers.inputs import check_images
from dalib.encoders.layers.layers import batch_norms, convolutions, leave, max_pool_2x2
from dalib.encoders.layers.pooling import adaptive_average_pool
from dalib.encoders.layers.published import Block, PublishedNet, published_head

he_normal = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
FEATURES = ("fc7", "fc6", "pool")
SIDE = 7  # of the pooled map before the fully connected layers


class _Stage(Block):
    """3×3 convolutions with ReLUs; the pool that follows belongs to the net."""

    depth: int
    channels: int
    norm: bool

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        convolve = convolutions(self, he_normal, use_bias=True)
        for i in range(1, self.depth + 1):
            x = convolve(self.channels, 3, padding=1, name=f"conv{i}")(x)
            if self.norm:
                x = batch_norms(self, train)(x, name=f"bn{i}")
            x = nn.relu(x)
        return x


class VGG(PublishedNet):
    """A VGG net up to its last hidden fully connected layer.

    Images have at least 32×32 pixels. ``hidden`` holds ``stage1`` … ``stage5``, each after its pool (1/2 … 1/32 of the
    side), and ``fc6``, ``fc7`` as far as they exist.

    Attributes (others: :class:`PublishedNet`):
        depths: convolutions in each of the five stages.
        norm: BatchNorm after every convolution.
        width: channels of the first stage; later ones double them up to eight times. ``fc6``, ``fc7`` have ``units``.
        features: source of the features. ``"fc7"``: the second hidden fully connected layer after its ReLU (and dropout
            in training), 4096 wide, the adaptation literature's choice. ``"fc6"``: the first. ``"pool"``: the mean of
            the last stage over space, 512 wide, without 119 of the 138 million parameters. A head needs fc7.
        dropout: rate after ``fc6`` and ``fc7`` in training.
    """

    depths: tuple[int, ...] = (2, 2, 3, 3, 3)
    norm: bool = False
    width: int = 64
    units: int = 4096
    features: str = "fc7"
    dropout: float = 0.5

    @nn.compact
    def __call__(self, inputs: Array, *, train: bool = False) -> Outputs:
        """Map images ``[n, h, w, c]`` to features ``[n, d]``; an unknown ``features`` is an InputError."""
        check_images(inputs, smallest=32, net="VGG")
        if self.features not in FEATURES:
            raise unknown_name("features", self.features, FEATURES)
        if self.num_classes and self.features != "fc7":
            raise input_error(
                "num_classes",
                got=f"{self.num_classes} with features={self.features!r}",
                expected="features='fc7', which the published head was trained on",
                todo="use num_classes=0 for other features",
            )
        x, hidden = inputs, {}
        stage = partial(self.shared(_Stage), norm=self.norm)
        for i, depth in enumerate(self.depths, start=1):
            module = stage(depth=depth, channels=self.width * min(2 ** (i - 1), 8), name=f"stage{i}")
            hidden[f"stage{i}"] = x = max_pool_2x2(module(x, train))
        # Without the fully connected layers, which hold most of the parameters.
        if self.features == "pool":
            return Outputs(jnp.mean(leave(x), axis=(1, 2)), None, hidden)
        # Any size of image gives 7×7 cells, the size that fc6 was trained for.
        x = adaptive_average_pool(x, SIDE).reshape(x.shape[0], -1)
        for name in ("fc6", "fc7"):
            x = nn.relu(nn.Dense(self.units, dtype=self.dtype, name=name)(x))
            x = nn.Dropout(self.dropout)(x, deterministic=not train)
            hidden[name] = x
            if name == self.features:
                break
        return Outputs(leave(x), published_head(x, self.num_classes, dtype=self.dtype), hidden)


DEPTHS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
NETS = {f"vgg{layers}{'_bn' * norm}": (depths, norm) for layers, depths in DEPTHS.items() for norm in (False, True)}
ENCODERS: dict[str, Callable[..., VGG]] = {
    name: partial(VGG, depths=depths, norm=norm) for name, (depths, norm) in NETS.items()
}


def _table(depths: tuple[int, ...], norm: bool) -> RuleTable:
    """Make a net's table: torchvision's ``features`` counts convolutions, BatchNorms, ReLUs and pools in one row."""
    rules: list[Rule] = []
    member = 0
    # torchvision counts the layers without parameters too: 3 for each convolution with BatchNorm, 2 without, 1 a pool.
    for stage, depth in enumerate(depths, start=1):
        for i in range(1, depth + 1):
            rules += convolution(rf"features\.{member}", f"stage{stage}/conv{i}", bias=True)
            if norm:
                rules += batch_norm_rules(rf"features\.{member + 1}", f"stage{stage}/bn{i}")
            member += 3 if norm else 2
        member += 1
    for theirs, ours in ((0, "fc6"), (3, "fc7"), (6, "head")):
        rules += linear(rf"classifier\.{theirs}", ours)
    return RuleTable("vgg", 1, tuple(rules), (STEP_COUNTER,) if norm else (), _channels_last)


def _channels_last(arrays: Arrays) -> Arrays:
    """Reorder the inputs of the first linear layer from (channel, row, column) to (row, column, channel)."""
    kernel = arrays.get("classifier.0.weight")
    if kernel is None or kernel.ndim != 2 or kernel.shape[1] % SIDE**2:
        return arrays  # assembly says what is wrong
    cells = kernel.reshape(len(kernel), -1, SIDE, SIDE)
    return {**arrays, "classifier.0.weight": cells.transpose(0, 2, 3, 1).reshape(kernel.shape)}


TABLES = {f"torchvision/{name}": _table(*net) for name, net in NETS.items()}
