"""Small nets for digits: LeNet and DTN, as the field's adaptation benchmarks use them."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn

from dalib.core.checks import input_error
from dalib.core.options import Count, Natural, Rate
from dalib.core.types import Array, Outputs
from dalib.encoders.layers.inputs import check_images
from dalib.encoders.layers.layers import batch_norms, conv, leave, max_pool_2x2


class LeNet(nn.Module):
    """5×5 convolutions, each (– BatchNorm) – 2×2 max pool – ReLU, then one linear layer – ReLU.

    The defaults are the grey LeNet of the digit benchmarks: 28×28 gives 4×4×50 before the linear layer. Without padding
    the smallest image is 16×16, which gives 1×1×50; ``padding=(2, 0)`` (as LeCun et al. 1998 padded the first layer)
    gives 2×2×50 there and ``padding=(2, 2)`` 4×4×50, at several times the cost. Any number of input channels.

    The MNIST net of the DANN paper (Ganin et al. 2016) is ``channels=(32, 48), width=None``: its features, which its
    discriminator sees, are the flattened convolutions; its two layers of 100 belong to the head.

    Attributes:
        channels: of the convolutions, any number of them.
        padding: zeros on every side, per convolution; empty: none anywhere.
        width: units of the linear layer; None: no such layer, the features are the flattened convolutions.
        norm: BatchNorm after every convolution and the linear layer.
        dropout: rate, on whole channels after the last convolution and on the units after the linear layer.
        conv: as in :class:`PublishedNet`; so are ``bn_momentum`` and ``dtype``.
    """

    channels: tuple[Count, ...] = (20, 50)
    padding: tuple[Natural, ...] = ()
    width: Count | None = 500
    norm: bool = False
    dropout: Rate = 0.0
    conv: str = "auto"
    bn_momentum: float = 0.9
    dtype: Any = None

    @nn.compact
    def __call__(self, inputs: Array, *, train: bool = False) -> Outputs:
        """Map images ``[n, h, w, c]`` to features ``[n, width]``; other or too small ones are an InputError.

        ``hidden`` holds ``conv1``, ``conv2``, … ``[n, h', w', channels]`` after pool and ReLU, and ``fc1`` before
        dropout.
        """
        padding = self.padding or (0,) * len(self.channels)
        if len(padding) != len(self.channels):
            raise input_error(
                "padding",
                got=f"{len(padding)} paddings {padding} for {len(self.channels)} convolutions",
                expected="one padding for each of channels",
            )
        # Backwards through the net: the smallest side that leaves one pixel at the end.
        smallest = 1
        for pad in reversed(padding):
            smallest = max(2 * smallest + 4 - 2 * pad, 1)
        check_images(inputs, smallest=smallest, net=f"LeNet with padding {padding}")
        x, hidden = inputs, {}
        for i, (channels, pad) in enumerate(zip(self.channels, padding, strict=True), start=1):
            x = conv(channels, 5, padding=pad, form=self.conv, dtype=self.dtype, name=f"conv{i}")(x)
            if self.norm:
                x = batch_norms(self, train)(x, name=f"bn{i}")
            # Whole channels of the last map: neighbouring pixels are alike, so dropping single ones hides little.
            if i == len(self.channels):
                x = nn.Dropout(self.dropout, broadcast_dims=(1, 2))(x, deterministic=not train)
            hidden[f"conv{i}"] = x = nn.relu(max_pool_2x2(x))
        x = x.reshape(x.shape[0], -1)
        if self.width is not None:
            x = nn.Dense(self.width, dtype=self.dtype, name="fc1")(x)
            if self.norm:
                x = batch_norms(self, train)(x, name="bn_fc1")
            hidden["fc1"] = x = nn.relu(x)
            x = nn.Dropout(self.dropout)(x, deterministic=not train)
        return Outputs(leave(x), None, hidden)


class DTN(nn.Module):
    """Three 5×5 convolutions of stride 2, each BatchNorm – dropout – ReLU, then linear – BatchNorm – ReLU – dropout.

    The net of the SVHN → MNIST benchmarks, made for 32×32×3; convolutions are padded by 2, so a side halves (rounded
    up) at each. 16×16 works (2×2 before the linear layer).

    Attributes (others: :class:`LeNet`):
        channels: of the convolutions.
        width: units of the linear layer.
        dropout: rates on whole channels after each convolution, and last the rate after the linear layer.
    """

    channels: tuple[Count, ...] = (64, 128, 256)
    width: Count = 512
    dropout: tuple[Rate, ...] = (0.1, 0.3, 0.5, 0.5)
    conv: str = "auto"
    bn_momentum: float = 0.9
    dtype: Any = None

    @nn.compact
    def __call__(self, inputs: Array, *, train: bool = False) -> Outputs:
        """Map images ``[n, h, w, c]`` of at least 8×8 pixels to features ``[n, width]``.

        ``hidden`` holds ``conv1``, ``conv2``, ``conv3`` and ``fc1``, each after its ReLU, ``fc1`` before dropout.
        """
        if len(self.dropout) != len(self.channels) + 1:
            raise input_error(
                "dropout",
                got=f"{len(self.dropout)} rates {self.dropout} for {len(self.channels)} convolutions",
                expected="one rate for each convolution and one for the linear layer",
            )
        check_images(inputs, smallest=2 ** len(self.channels), net="DTN")
        x, hidden = inputs, {}
        for i, (channels, rate) in enumerate(zip(self.channels, self.dropout[:-1], strict=True), start=1):
            x = conv(channels, 5, stride=2, padding=2, form=self.conv, dtype=self.dtype, name=f"conv{i}")(x)
            x = batch_norms(self, train)(x, name=f"bn{i}")
            x = nn.Dropout(rate, broadcast_dims=(1, 2))(x, deterministic=not train)
            hidden[f"conv{i}"] = x = nn.relu(x)
        x = nn.Dense(self.width, dtype=self.dtype, name="fc1")(x.reshape(x.shape[0], -1))
        hidden["fc1"] = x = nn.relu(batch_norms(self, train)(x, name="bn_fc1"))
        x = nn.Dropout(self.dropout[-1])(x, deterministic=not train)
        return Outputs(leave(x), None, hidden)


ENCODERS: dict[str, Callable[..., nn.Module]] = {"lenet": LeNet, "dtn": DTN}
