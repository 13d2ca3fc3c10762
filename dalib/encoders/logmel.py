"""A small convolutional net on log-mel spectra, for short sounds such as spoken digits."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from dalib.checks import input_error
from dalib.encoders.inputs import check_waveforms
from dalib.encoders.layers import batch_norm, conv, leave, max_pool_2x2
from dalib.encoders.spectrum import log_mel, mel_filterbank
from dalib.types import Array, Outputs


class LogMelCNN(nn.Module):
    """Log-mel spectrum, standardised per example; 3×3 convolutions – BatchNorm – ReLU – 2×2 max pool; mean over time.

    Recordings of different lengths are filled up with zeros on the right; frames of zeros count neither in the
    standardisation nor in the mean over time. (BatchNorm sees them.) The level of a recording does not matter.

    Attributes:
        sample_rate: of the waveforms, in Hz.
        window: of a frame, in seconds; the transform has the next power of two of samples.
        hop: from one frame to the next, in seconds.
        bands: mel bands.
        low: lower end of the bands in Hz.
        high: upper end in Hz; None: half the sample rate.
        channels: of the convolutions; each halves time and bands.
        width: units of the linear layer – BatchNorm – ReLU at the end, the features.
        dropout: rate on the features in training.
        conv: form of the convolution, a name of ``CONVOLUTIONS`` (same parameters, same result).
        bn_momentum: weight of the old running statistics.
        dtype: compute dtype after the spectrum; None takes float32. Parameters and statistics are float32.
    """

    sample_rate: int = 16000
    window: float = 0.025
    hop: float = 0.010
    bands: int = 40
    low: float = 60.0
    high: float | None = None
    channels: tuple[int, ...] = (32, 64, 128)
    width: int = 256
    dropout: float = 0.0
    conv: str = "auto"
    bn_momentum: float = 0.9
    dtype: Any = None

    @nn.compact
    def __call__(self, inputs: Array, *, train: bool = False) -> Outputs:
        """Maps waveforms ``[n, samples]`` to features ``[n, width]``.

        Returns:
            ``Outputs``; ``hidden`` holds ``logmel`` ``[n, frames, bands]``, ``conv1``, ``conv2``, … ``[n, frames',
            bands', channels]`` after the pool, and ``pooled`` ``[n, d]``, the mean over time.

        Raises:
            InputError: on other than floating ``[n, samples]``, too few samples or bands for the pools, or band limits
                that the sample rate does not allow.
        """
        halvings = 2 ** len(self.channels)
        window, hop = round(self.window * self.sample_rate), round(self.hop * self.sample_rate)
        check_waveforms(inputs, shortest=window + (halvings - 1) * hop, net=f"LogMelCNN at {self.sample_rate} Hz")
        high = self.sample_rate / 2 if self.high is None else self.high
        if not 0 <= self.low < high <= self.sample_rate / 2:
            raise input_error(
                "low, high", got=f"{self.low} and {high} Hz", expected=f"0 ≤ low < high ≤ {self.sample_rate / 2} Hz"
            )
        if self.bands < halvings:
            raise input_error("bands", got=self.bands, expected=f"at least {halvings} for {len(self.channels)} pools")
        size = 1 << (window - 1).bit_length()
        filters = mel_filterbank(size // 2 + 1, self.bands, sample_rate=self.sample_rate, low=self.low, high=high)
        spectrum, heard = log_mel(inputs, jnp.asarray(filters), window=window, hop=hop, size=size)
        x = spectrum if self.dtype is None else spectrum.astype(self.dtype)
        hidden = {"logmel": x}
        x = x[..., None]
        for i, channels in enumerate(self.channels, start=1):
            x = conv(channels, 3, padding=1, form=self.conv, use_bias=False, dtype=self.dtype, name=f"conv{i}")(x)
            x = batch_norm(x, train=train, momentum=self.bn_momentum, dtype=self.dtype, name=f"bn{i}")
            x = max_pool_2x2(nn.relu(x))
            pairs = heard.shape[1] // 2
            heard = heard[:, : 2 * pairs].reshape(-1, pairs, 2).any(axis=2)
            hidden[f"conv{i}"] = x
        weight = heard.astype(jnp.float32)[:, :, None]
        x = leave(x.reshape(*x.shape[:2], -1))
        pooled = jnp.sum(x * weight, axis=1) / jnp.maximum(jnp.sum(weight, axis=1), 1)
        hidden["pooled"] = pooled if self.dtype is None else pooled.astype(self.dtype)
        x = nn.Dense(self.width, dtype=self.dtype, name="fc")(pooled)
        x = nn.relu(batch_norm(x, train=train, momentum=self.bn_momentum, dtype=self.dtype, name="bn_fc"))
        return Outputs(leave(nn.Dropout(self.dropout)(x, deterministic=not train)), None, hidden)
