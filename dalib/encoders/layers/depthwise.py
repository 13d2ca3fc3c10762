"""Depthwise convolution: every channel with a kernel of its own, in two forms with the same parameters.

XLA's own form of it on a CPU is slow: 8 images of 112² pixels and 32 channels took it 155 ms for a 3×3 kernel, where
the sum of nine shifted slices took 3.4 ms and PyTorch 1.5 ms (two cores); the gradient of the kernel, if XLA derives it
from that sum, 65 ms, as the loop below 29 ms.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from dalib.core.checks import input_error, unknown_name
from dalib.core.platform import platform
from dalib.core.types import Array
from dalib.encoders.layers.convolution import CONVOLUTIONS, Pads, dilations_of, settle


def depthwise_as_taps(inputs: Array, kernel: Array, window_strides: Any, padding: Any, **options: Any) -> Array:
    """Compute a depthwise convolution as a sum over the kernel's places: ``[n, h, w, c]`` → ``[n, h', w', c]``.

    Each place is a shifted slice times one weight per channel. Equal to ``lax.conv_general_dilated`` with as many
    feature groups as channels, forward and in both modes of differentiation; sums are float32 at least. Arguments are
    those of :func:`dalib.encoders.layers.convolution.convolution_canonical`.

    Raises:
        InputError: on dilation, or other than one kernel a channel.
    """
    dilations = dilations_of(options)
    channels = inputs.shape[-1]
    one_each = kernel.shape[2:] == (1, channels) and options.get("feature_group_count") == channels
    if not one_each or any(d != 1 for d in dilations):
        raise input_error(
            "conv",
            got=f"the form 'patches' for a kernel {kernel.shape} on {channels} channels, dilations {dilations}",
            expected="one kernel a channel, no dilation",
            todo="use conv='library'",
        )
    strides, pads = settle(inputs, kernel, window_strides, padding)
    wide = jnp.promote_types(inputs.dtype, jnp.float32)
    # [kh, kw, 1, 1, 1, c]: one place's weights then broadcast over examples and pixels.
    weights = kernel.astype(wide)[:, :, None, None]
    return _taps(inputs.astype(wide), weights, strides, pads).astype(inputs.dtype)


@partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def _taps(x: Array, weights: Array, strides: tuple[int, int], pads: Pads) -> Array:
    padded = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    spans, _ = _sizes(padded, weights, strides)
    total: Any = 0.0
    for i in range(weights.shape[0]):
        for j in range(weights.shape[1]):
            part = padded[:, i : i + spans[0] : strides[0], j : j + spans[1] : strides[1]]
            total = total + part * weights[i, j]
    return total


def _sizes(padded: Any, weights: Any, strides: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Count pixels from the first to the last place of a tap, inclusive, and places, in both directions."""
    places = [(padded.shape[1 + a] - weights.shape[a]) // strides[a] + 1 for a in (0, 1)]
    spans = [(places[a] - 1) * strides[a] + 1 for a in (0, 1)]
    return (spans[0], spans[1]), (places[0], places[1])


# The two linear maps below give the same numbers as _taps. They are written so that their transposes, which is what
# reverse mode runs, are the fast forms: a sum of slices for the gradient of x (where slices would transpose to a sum of
# padded images), and a loop over reductions for that of the weights (where XLA fuses slice and reduction into one slow
# loop over columns).


def _spread(x: Array, weights: Array, strides: tuple[int, int], pads: Pads) -> Array:
    """Sum linearly in x: every place's product goes onto a canvas, shifted; the result's places are cut out."""
    kh, kw = weights.shape[:2]
    height, width = (x.shape[1 + a] + sum(pads[a]) for a in (0, 1))
    canvas: Any = 0.0
    for i in range(kh):
        for j in range(kw):
            # Pixel (r, s) of the padded image meets weight (i, j) at place (r − i, s − j): canvas row r − i + kh − 1.
            low = kh - 1 - i + pads[0][0], kw - 1 - j + pads[1][0]
            high = i + pads[0][1], j + pads[1][1]
            product = x * weights[i, j]
            canvas = canvas + jnp.pad(product, ((0, 0), (low[0], high[0]), (low[1], high[1]), (0, 0)))
    stop = height, width
    return canvas[:, kh - 1 : stop[0] : strides[0], kw - 1 : stop[1] : strides[1]]


def _weighted(weights: Array, x: Array, strides: tuple[int, int], pads: Pads) -> Array:
    """Sum linearly in the weights, by a loop over the kernel's places."""
    padded = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    spans, places = _sizes(padded, weights, strides)
    kh, kw = weights.shape[:2]
    n, channels = x.shape[0], x.shape[3]

    @partial(jax.checkpoint, prevent_cse=False)  # or the loop would keep a slice for every place
    def add(padded: Array, place: Array, weight: Array) -> Array:
        start = (0, place // kw, place % kw, 0)
        part = lax.dynamic_slice(padded, start, (n, *spans, channels))
        return part[:, :: strides[0], :: strides[1]] * weight

    def body(total: Array, tap: tuple[Array, Array]) -> tuple[Array, None]:
        return total + add(padded, *tap), None

    start = jnp.zeros((n, *places, channels), x.dtype)
    return lax.scan(body, start, (jnp.arange(kh * kw), weights.reshape(kh * kw, 1, 1, 1, channels)))[0]


@partial(_taps.defjvp, symbolic_zeros=True)
def _taps_jvp(strides: tuple[int, int], pads: Pads, primals: Any, tangents: Any) -> tuple[Array, Array]:
    (x, weights), (dx, dweights) = primals, tangents
    out = _taps(x, weights, strides, pads)
    slope: Any = jnp.zeros_like(out)
    if not isinstance(dx, SymbolicZero):
        slope = slope + _spread(dx, weights, strides, pads)
    if not isinstance(dweights, SymbolicZero):
        slope = slope + _weighted(dweights, x, strides, pads)
    return out, slope


def depthwise(
    channels: int, size: int, *, stride: int = 1, padding: int | str = 0, form: str = "auto", **options: Any
) -> nn.Conv:
    """Make a square depthwise convolution on NHWC inputs, kernel ``[size, size, 1, channels]``.

    Arguments are those of :func:`dalib.encoders.layers.layers.conv`; the forms ``"canonical"`` and ``"patches"`` are
    :func:`depthwise_as_taps` here. An unknown form is an InputError.
    """
    if form not in CONVOLUTIONS:
        raise unknown_name("conv", form, CONVOLUTIONS)
    taps = form in ("canonical", "patches") or (form == "auto" and platform() == "cpu")
    return nn.Conv(
        channels,
        (size, size),
        strides=(stride, stride),
        padding=padding if isinstance(padding, str) else ((padding, padding), (padding, padding)),
        feature_group_count=channels,
        conv_general_dilated=depthwise_as_taps if taps else None,
        **options,
    )
