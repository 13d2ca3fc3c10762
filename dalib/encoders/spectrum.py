"""Log-mel spectra of waveforms: pure functions, differentiable, in float32."""

import math

import jax.numpy as jnp
import numpy as np
from jax import lax

from dalib.types import Array

DYNAMIC_RANGE = 1e-8
"""Powers below this share of the example's largest count as that share (80 dB)."""


def mel_filterbank(bins: int, bands: int, *, sample_rate: float, low: float, high: float) -> np.ndarray:
    """Triangular filters, evenly spaced on the mel scale of HTK, 2595 · log₁₀(1 + f / 700), with peak 1.

    Args:
        bins: of a power spectrum, from 0 to half the sample rate inclusive.
        bands: number of filters B.
        sample_rate: in Hz.
        low: lower end of the first filter in Hz.
        high: upper end of the last filter in Hz.

    Returns:
        float32 ``[bins, B]``. A filter narrower than the spacing of the bins may be all zeros.
    """
    first, last = (2595 * math.log10(1 + f / 700) for f in (low, high))
    corners = 700 * (10 ** (np.linspace(first, last, bands + 2) / 2595) - 1)
    frequencies = np.linspace(0, sample_rate / 2, bins)[:, None]
    left, centre, right = corners[:-2], corners[1:-1], corners[2:]
    rising, falling = (frequencies - left) / (centre - left), (right - frequencies) / (right - centre)
    return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)


def frames(waveforms: Array, window: int, hop: int) -> Array:
    """Overlapping pieces ``[n, 1 + (t − window) // hop, window]`` of waveforms ``[n, t]``; what is over is dropped."""
    count = 1 + (waveforms.shape[1] - window) // hop
    return waveforms[:, np.arange(count)[:, None] * hop + np.arange(window)]


def power_spectrum(pieces: Array, size: int) -> Array:
    """|DFT|² ``[..., size // 2 + 1]`` of ``[..., window]`` under a periodic Hann window, filled up to ``size``."""
    window = pieces.shape[-1]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    weights = jnp.asarray(hann, jnp.float32).reshape((1,) * (pieces.ndim - 1) + (window,))
    spectrum = jnp.fft.rfft(pieces * weights, n=size)
    return jnp.real(spectrum) ** 2 + jnp.imag(spectrum) ** 2


def log_mel(waveforms: Array, filters: Array, *, window: int, hop: int, size: int) -> tuple[Array, Array]:
    """Log-mel spectra, standardised per example, and which frames hold sound.

    Mean and variance are taken over the frames that are not all zeros, so that neither the level of a recording nor
    the zeros that fill it up matter; frames of zeros come out as 0, the mean.

    Args:
        waveforms: ``[n, t]``.
        filters: ``[size // 2 + 1, B]`` from :func:`mel_filterbank`.
        window: samples of a frame.
        hop: samples from one frame to the next.
        size: of the transform.

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
