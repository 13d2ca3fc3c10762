"""Small nets for vectors and series: a multilayer perceptron, and a convolutional net over time."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from dalib.core.checks import input_error
from dalib.core.options import Count, Rate
from dalib.core.types import Array, Outputs
from dalib.encoders.layers.inputs import check_rows, check_series
from dalib.encoders.layers.layers import batch_norms, leave


class MLP(nn.Module):
    """Linear (– BatchNorm) – ReLU (– dropout) layers on vectors.

    Attributes:
        widths: units of each layer; the last is the width of the features. Empty: the features are the inputs.
        norm: BatchNorm between each linear layer and its ReLU.
        dropout: rate after each ReLU.
        bn_momentum: weight of the old running statistics.
        dtype: compute dtype; None takes that of inputs and parameters. Parameters and statistics are float32.
    """

    widths: tuple[Count, ...] = (256, 256)
    norm: bool = False
    dropout: Rate = 0.0
    bn_momentum: float = 0.9
    dtype: Any = None

    @nn.compact
    def __call__(self, inputs: Array, *, train: bool = False) -> Outputs:
        """Map floating ``[n, d]`` to features ``[n, widths[-1]]``; ``hidden`` holds ``fc1``, … after the ReLU."""
        check_rows(inputs, net="MLP")
        x, hidden = inputs, {}
        for i, width in enumerate(self.widths, start=1):
            x = nn.Dense(width, dtype=self.dtype, name=f"fc{i}")(x)
            if self.norm:
                x = batch_norms(self, train)(x, name=f"bn{i}")
            hidden[f"fc{i}"] = x = nn.relu(x)
            x = nn.Dropout(self.dropout)(x, deterministic=not train)
        return Outputs(leave(x), None, hidden)


class SeriesCNN(nn.Module):
    """Convolution over time – BatchNorm – ReLU – maximum over pairs of steps, per layer; mean over time; linear – ReLU.

    Three layers and a mean over time, after the fully convolutional net of Wang, Yan and Oates (Time series
    classification from scratch with deep neural networks, IJCNN 2017), which has no pooling between its layers and no
    linear layer after them; pooling halves the work and widens what a unit sees.

    Attributes:
        channels: of the convolutions; each layer halves the number of steps, rounded down.
        sizes: steps that each convolution spans, odd numbers.
        stride: of the first convolution; above 1 for long series such as sounds.
        width: units of the linear layer at the end, the features.
        norm: BatchNorm after each convolution.
        dropout: rate on the features in training; ``bn_momentum`` and ``dtype`` are as in :class:`MLP`.
    """

    channels: tuple[Count, ...] = (64, 128, 128)
    sizes: tuple[Count, ...] = (9, 5, 3)
    stride: Count = 1
    width: Count = 128
    norm: bool = True
    dropout: Rate = 0.0
    bn_momentum: float = 0.9
    dtype: Any = None

    @nn.compact
    def __call__(self, inputs: Array, *, train: bool = False) -> Outputs:
        """Map floating ``[n, t, c]``, t ≥ ``stride · 2^layers``, to features ``[n, width]``.

        ``hidden`` holds ``conv1``, ``conv2``, … and ``pooled``. Other inputs or sizes are an InputError.
        """
        if len(self.sizes) != len(self.channels) or not all(s % 2 for s in self.sizes) or self.stride < 1:
            raise input_error(
                "sizes",
                got=f"{self.sizes} for channels {self.channels}, stride {self.stride}",
                expected="one odd number a layer, and a stride ≥ 1",
            )
        check_series(inputs, shortest=self.stride * 2 ** len(self.channels), net="SeriesCNN")
        x, hidden = inputs, {}
        # Padding by half the window keeps the number of steps; only stride and pools make it smaller.
        for i, (channels, size) in enumerate(zip(self.channels, self.sizes, strict=True), start=1):
            stride = self.stride if i == 1 else 1
            padding = ((size // 2, size // 2),)
            options: dict[str, Any] = {"use_bias": not self.norm, "dtype": self.dtype, "name": f"conv{i}"}
            x = nn.Conv(channels, (size,), stride, padding, **options)(x)
            if self.norm:
                x = batch_norms(self, train)(x, name=f"bn{i}")
            x = nn.relu(x)
            # A reshape for the reason given in layers.max_pool_2x2.
            n, steps, _ = x.shape
            hidden[f"conv{i}"] = x = x[:, : steps // 2 * 2].reshape(n, steps // 2, 2, channels).max(axis=2)
        # A mean over time, so that series of any length give features of one width.
        hidden["pooled"] = x = jnp.mean(x, axis=1)
        x = nn.relu(nn.Dense(self.width, dtype=self.dtype, name="fc")(x))
        x = nn.Dropout(self.dropout)(x, deterministic=not train)
        return Outputs(leave(x), None, hidden)


ENCODERS: dict[str, Callable[..., nn.Module]] = {"mlp": MLP, "series_cnn": SeriesCNN}
