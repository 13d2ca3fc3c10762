"""Log-mel spectrograms on device, and a small convolutional net on them."""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import lax

from dalib.core.checks import input_error
from dalib.core.types import Array, Outputs
from dalib.encoders.layers.inputs import check_waveforms
from dalib.encoders.layers.layers import batch_norms, conv, leave, max_pool_2x2

DYNAMIC_RANGE = 1e-8
"""Powers below this share of the example's largest count as that share (80 dB)."""


def mel_filterbank(bins: int, bands: int, *, sample_rate: float, low: float, high: float) -> np.ndarray:
    """Make triangular filters ``[bins, bands]``, ``low`` to ``high`` Hz, peak 1, evenly spaced on HTK's mel scale.

    The scale is 2595 · log₁₀(1 + f / 700). ``bins`` are those of a power spectrum, from 0 to half the sample rate
    inclusive; a filter narrower than their spacing may be all zeros.
    """
    first, last = (2595 * math.log10(1 + f / 700) for f in (low, high))
    corners = 700 * (10 ** (np.linspace(first, last, bands + 2) / 2595) - 1)
    frequencies = np.linspace(0, sample_rate / 2, bins)[:, None]
    left, centre, right = corners[:-2], corners[1:-1], corners[2:]
    rising, falling = (frequencies - left) / (centre - left), (right - frequencies) / (right - centre)
    return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)


def frames(waveforms: Array, window: int, hop: int) -> Array:
    """Cut waveforms ``[n, t]`` into overlapping pieces ``[n, 1 + (t − window) // hop, window]``; drop the rest."""
    count = 1 + (waveforms.shape[1] - window) // hop
    return waveforms[:, np.arange(count)[:, None] * hop + np.arange(window)]


def power_spectrum(pieces: Array, size: int) -> Array:
    """Compute |DFT|² ``[..., size // 2 + 1]`` of ``[..., window]``, periodic Hann window, filled up to ``size``."""
    window = pieces.shape[-1]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    weights = jnp.asarray(hann, jnp.float32).reshape((1,) * (pieces.ndim - 1) + (window,))
    spectrum = jnp.fft.rfft(pieces * weights, n=size)
    return jnp.real(spectrum) ** 2 + jnp.imag(spectrum) ** 2


def log_mel(waveforms: Array, filters: Array, *, window: int, hop: int, size: int) -> tuple[Array, Array]:
    """Compute log-mel spectra, standardised per example, and a mask of frames with sound.

    Mean and variance are taken over the frames that are not all zeros, so that neither the level of a recording nor
    the zeros that fill it up matter; frames of zeros come out as 0, the mean.

    Args:
        waveforms: ``[n, t]``.
        filters: ``[size // 2 + 1, B]`` from :func:`mel_filterbank`.
        window: samples of a frame; ``hop`` are those from one to the next, ``size`` those of the transform.

    Returns:
        Spectra ``[n, frames, B]`` and a boolean ``[n, frames]``.
    """
    pieces = frames(waveforms.astype(jnp.float32), window, hop)
    heard = jnp.any(pieces != 0, axis=-1)
    mel = power_spectrum(pieces, size) @ filters
    floor = lax.stop_gradient(jnp.max(mel, axis=(1, 2), keepdims=True)) * DYNAMIC_RANGE
    log = jnp.log(jnp.maximum(mel, jnp.maximum(floor, 1e-30)))
    weight = heard[..., None].astype(jnp.float32)
    count = jnp.maximum(jnp.sum(weight, axis=1, keepdims=True), 1) * filters.shape[1]
    centred = (log - jnp.sum(log * weight, axis=(1, 2), keepdims=True) / count) * weight
    variance = jnp.sum(centred**2, axis=(1, 2), keepdims=True) / count
    return centred * lax.rsqrt(variance + 1e-5), heard


class LogMelCNN(nn.Module):
    """Log-mel spectrum, standardised per example; 3×3 convolutions – BatchNorm – ReLU – 2×2 max pool; mean over time.

    Recordings of different lengths are filled up with zeros on the right; frames of zeros count neither in the
    standardisation nor in the mean over time. (BatchNorm sees them.) The level of a recording does not matter.

    Attributes:
        sample_rate: of the waveforms, in Hz.
        window: of a frame, in seconds; the transform has the next power of two of samples.
        hop: from one frame to the next, in seconds.
        bands: mel bands, from ``low`` to ``high`` in Hz; None is half the sample rate.
        channels: of the convolutions; each halves time and bands.
        width: units of the linear layer – BatchNorm – ReLU at the end, the features.
        dropout: rate on the features in training.
        dtype: compute dtype after the spectrum; None takes float32.
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
        """Map waveforms ``[n, samples]`` to features ``[n, width]``.

        ``hidden`` holds ``logmel`` ``[n, frames, bands]``, ``conv1``, ``conv2``, … ``[n, frames', bands', channels]``
        after the pool, and ``pooled`` ``[n, d]``, the mean over time. Other or too short inputs, too few bands for the
        pools, or band limits that the sample rate does not allow are an InputError.
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
        # The next power of two: a fast transform, with the window filled up by zeros.
        size = 1 << (window - 1).bit_length()
        filters = mel_filterbank(size // 2 + 1, self.bands, sample_rate=self.sample_rate, low=self.low, high=high)
        spectrum, heard = log_mel(inputs, jnp.asarray(filters), window=window, hop=hop, size=size)
        # The spectrum is computed in float32: its logarithms lose too much in half precision.
        x = spectrum if self.dtype is None else spectrum.astype(self.dtype)
        hidden = {"logmel": x}
        x = x[..., None]
        for i, channels in enumerate(self.channels, start=1):
            x = conv(channels, 3, padding=1, form=self.conv, use_bias=False, dtype=self.dtype, name=f"conv{i}")(x)
            x = batch_norms(self, train)(x, name=f"bn{i}")
            x = max_pool_2x2(nn.relu(x))
            # A pooled frame counts if one of its two frames held sound.
            pairs = heard.shape[1] // 2
            heard = heard[:, : 2 * pairs].reshape(-1, pairs, 2).any(axis=2)
            hidden[f"conv{i}"] = x
        # The mean over time leaves silence out, so that the length of the padding does not matter.
        weight = heard.astype(jnp.float32)[:, :, None]
        x = leave(x.reshape(*x.shape[:2], -1))
        pooled = jnp.sum(x * weight, axis=1) / jnp.maximum(jnp.sum(weight, axis=1), 1)
        hidden["pooled"] = pooled if self.dtype is None else pooled.astype(self.dtype)
        x = nn.Dense(self.width, dtype=self.dtype, name="fc")(pooled)
        x = nn.relu(batch_norms(self, train)(x, name="bn_fc"))
        return Outputs(leave(nn.Dropout(self.dropout)(x, deterministic=not train)), None, hidden)


ENCODERS: dict[str, Callable[..., LogMelCNN]] = {"logmel_cnn": LogMelCNN}
