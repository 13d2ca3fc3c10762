"""One convolution in several forms: same parameters, same numbers up to rounding, other speed.

On GPU and TPU the library's is the right one. On a CPU XLA has one fast path, for images ``[n, h, w, c]``, kernels
``[kh, kw, c, k]`` and one feature group, and brings other layouts to it only outside loops; whatever else arrives runs
through scalar loops. The gradients of a convolution are convolutions of other layouts, so they have to be written out:
the two gradients of LeNet's second layer, 64 images of 12²×20, took 16 and 10 ms under ``jit`` and 158 and 189 ms
inside ``lax.scan`` (two cores, jax 0.10.2). A kernel batched by ``vmap`` makes a grouped convolution, which is on the
slow path always; there only ``patches`` is fast.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from dalib.core.checks import input_error, unknown_name
from dalib.core.platform import platform
from dalib.core.types import Array

CONVOLUTIONS: tuple[str, ...] = ("auto", "library", "canonical", "patches")
"""Forms of the convolution; parameters and results are the same in all. Where functions are traced for a CPU
(:func:`dalib.core.platform.platform`) ``auto`` is ``patches`` as long as these are at most :data:`CACHED` bytes and
``canonical`` above; elsewhere it is ``library``."""

CACHED = 2**24
"""Bytes of patches that a processor's cache holds; up to it patches are the faster form. The second layer of LeNet for
64 images (8 MiB), forward and both gradients, took 8.9 ms as patches and 15.2 canonical; 3×3 windows on 16 maps of
7²×512 (14 MiB) 65 and 77 ms, of 14²×256 (28 MiB) 101 and 70 ms, of 28²×128 (55 MiB) 208 and 69 ms (two cores)."""

Pads = tuple[tuple[int, int], tuple[int, int]]
FEW_CHANNELS = 4
"""Up to so many channels patches are made in two stages, and a convolution of stride 2 is rewritten as one of stride 1:
one or three neighbouring numbers are too few for fast copies and products."""


def convolution(form: str) -> Callable[..., Array] | None:
    """Return the function of a name of :data:`CONVOLUTIONS`, as ``nn.Conv(conv_general_dilated=)`` takes it."""
    table: dict[str, Callable[..., Array] | None] = {
        "auto": convolution_by_size if platform() == "cpu" else None,
        "library": None,
        "canonical": convolution_canonical,
        "patches": convolution_as_matrix,
    }
    if form not in table:
        raise unknown_name("conv", form, CONVOLUTIONS)
    return table[form]


def convolution_by_size(inputs: Array, kernel: Array, window_strides: Any, padding: Any, **options: Any) -> Array:
    """Compute ``patches`` while they are small, else ``canonical``; arguments as of :func:`convolution_canonical`."""
    # A size may be a symbol where a function is exported; how many bytes the patches have is then not known.
    if _special(options) or not all(isinstance(side, int) for side in inputs.shape):
        return convolution_canonical(inputs, kernel, window_strides, padding, **options)
    strides, pads = settle(inputs, kernel, window_strides, padding)
    sides = zip(inputs.shape[1:3], kernel.shape[:2], strides, pads, strict=True)
    places = math.prod((side + sum(pad) - size) // stride + 1 for side, size, stride, pad in sides)
    patches = inputs.shape[0] * places * math.prod(kernel.shape[:3]) * inputs.dtype.itemsize
    form = convolution_as_matrix if patches <= CACHED else convolution_canonical
    return form(inputs, kernel, strides, pads, **options)


def convolution_canonical(inputs: Array, kernel: Array, window_strides: Any, padding: Any, **options: Any) -> Array:
    """Convolve as the library: ``[n, h, w, c]``, ``[kh, kw, c, k]`` → ``[n, h', w', k]``; gradients are fast on a CPU.

    Windows of one pixel and windows side by side are a matrix product; stride 2 on few channels becomes stride 1.
    ``padding`` is ``((top, bottom), (left, right))`` or ``"SAME"``. Dilations and feature groups among ``options``,
    which Flax passes, are handed to the library as they are.
    """
    if _special(options):
        return lax.conv_general_dilated(inputs, kernel, window_strides, padding, **options)
    strides, pads = settle(inputs, kernel, window_strides, padding)
    if strides == kernel.shape[:2] or kernel.shape[:2] == (1, 1):
        return convolution_as_matrix(inputs, kernel, strides, pads, **options)
    if strides == (2, 2) and inputs.shape[-1] <= FEW_CHANNELS:
        inputs, kernel, strides, pads = *_folded(inputs, kernel, pads), (1, 1), ((0, 0), (0, 0))
    return _canonical(inputs, kernel, strides, pads, options.get("precision"))


@partial(jax.custom_jvp, nondiff_argnums=(2, 3, 4))
def _canonical(x: Array, kernel: Array, strides: tuple[int, int], pads: Pads, precision: Any) -> Array:
    layout = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, strides, pads, dimension_numbers=layout, precision=precision)


@partial(_canonical.defjvp, symbolic_zeros=True)
def _canonical_jvp(
    strides: tuple[int, int], pads: Pads, precision: Any, primals: Any, tangents: Any
) -> tuple[Array, Array]:
    # Both sums are the derivative of _canonical in odd layouts, chosen so that their transposes, which is what reverse
    # mode runs, are convolutions in the canonical one. The reordered arguments become copies outside the convolution.
    (x, kernel), (dx, dkernel) = primals, tangents
    out = _canonical(x, kernel, strides, pads, precision)
    convolve = partial(lax.conv_general_dilated, window_strides=strides, padding=pads, precision=precision)
    # Zero tangents are symbolic: a gradient of the kernel alone then costs one convolution, not two.
    slope: Any = jnp.zeros_like(out)
    if not isinstance(dx, SymbolicZero):
        slope = slope + convolve(dx, kernel.transpose(0, 1, 3, 2), dimension_numbers=("NHWC", "HWOI", "NHWC"))
    if not isinstance(dkernel, SymbolicZero):
        layout = ("CHWN", "IHWO", "HWNC")
        swapped = convolve(x.transpose(3, 1, 2, 0), dkernel.transpose(2, 0, 1, 3), dimension_numbers=layout)
        slope = slope + swapped.transpose(2, 0, 1, 3)
    return out, slope


def _folded(x: Array, kernel: Array, pads: Pads) -> tuple[Array, Array]:
    """Return inputs and kernel of a convolution of stride 1 without padding that equals this one of stride 2.

    Every 2×2 pixels become one with four times the channels; the kernel is filled up to even sides.
    """
    kh, kw, channels, features = kernel.shape
    even = [side + side % 2 for side in (kh, kw)]
    n = x.shape[0]
    fill, sides = [], []
    for side, (before, after), old, new in zip(x.shape[1:3], pads, (kh, kw), even, strict=True):
        places = (side + before + after - old) // 2 + 1
        sides.append(places + new // 2 - 1)
        fill.append((before, 2 * sides[-1] - side - before))
    # lax.pad, since an odd row that no window reaches is cut off (a negative padding).
    x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *((*pair, 0) for pair in fill), (0, 0, 0)])
    x = x.reshape(n, sides[0], 2, sides[1], 2, channels).transpose(0, 1, 3, 2, 4, 5)
    kernel = jnp.pad(kernel, ((0, even[0] - kh), (0, even[1] - kw), (0, 0), (0, 0)))
    kernel = kernel.reshape(even[0] // 2, 2, even[1] // 2, 2, channels, features).transpose(0, 2, 1, 3, 4, 5)
    return x.reshape(n, *sides, 4 * channels), kernel.reshape(even[0] // 2, even[1] // 2, 4 * channels, features)


def convolution_as_matrix(inputs: Array, kernel: Array, window_strides: Any, padding: Any, **options: Any) -> Array:
    """Compute a 2-D convolution as shifted slices, concatenated, times the kernel as one matrix.

    It stays fast under ``vmap`` over kernels on a CPU; it needs ``kh * kw`` times the memory of the input. Arguments
    and result are those of :func:`convolution_canonical`.

    Raises:
        InputError: on dilation or feature groups.
    """
    if _special(options):
        got, expected = "the form 'patches' for a dilated or grouped convolution", "no dilation and one feature group"
        raise input_error("conv", got=got, expected=expected, todo="use conv='library'")
    kh, kw, channels, features = kernel.shape
    (rows, columns), pads = settle(inputs, kernel, window_strides, padding)
    padded = jnp.pad(inputs, ((0, 0), *pads, (0, 0)))
    height = (padded.shape[1] - kh) // rows + 1
    width = (padded.shape[2] - kw) // columns + 1
    # The order within a patch (row, column, channel) is that of the kernel flattened.
    if (rows, columns) == (kh, kw):
        # Windows side by side (patch embeddings, 1×1 of stride 1): a reshape, where slices would be kh · kw of them.
        whole = padded[:, : height * kh, : width * kw].reshape(-1, height, kh, width, kw, channels)
        patches = whole.transpose(0, 1, 3, 2, 4, 5).reshape(-1, kh * kw * channels)
    else:
        # With few channels two stages, columns and then rows, are faster (LeNet's first layer under vmap: half the
        # time), as long as the compiler does not make one of them again.
        across = [padded[:, :, j : j + (width - 1) * columns + 1 : columns] for j in range(kw)]
        if channels <= FEW_CHANNELS:
            across = [lax.optimization_barrier(jnp.concatenate(across, axis=-1))]
        down = [part[:, i : i + (height - 1) * rows + 1 : rows] for i in range(kh) for part in across]
        patches = jnp.concatenate(down, axis=-1).reshape(-1, kh * kw * channels)
    product = jnp.dot(patches, kernel.reshape(-1, features), precision=options.get("precision"))
    return product.reshape(inputs.shape[0], height, width, features)


def dilations_of(options: Any) -> tuple[int, ...]:
    """Return the dilations of inputs and kernel among the options that Flax passes."""
    return (*(options.get("lhs_dilation") or ()), *(options.get("rhs_dilation") or ()))


def _special(options: Any) -> bool:
    return options.get("feature_group_count", 1) != 1 or any(d != 1 for d in dilations_of(options))


def settle(inputs: Array, kernel: Array, strides: Any, padding: Any) -> tuple[tuple[int, int], Pads]:
    """Return strides and paddings as plain integers."""
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(inputs.shape[1:3], kernel.shape[:2], strides, padding)
    (top, bottom), (left, right) = padding
    return (int(strides[0]), int(strides[1])), ((int(top), int(bottom)), (int(left), int(right)))
