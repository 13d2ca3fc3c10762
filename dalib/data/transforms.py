"""Image transforms: ``f(image, rng) -> image`` on one image ``[height, width, channels]``.

Factories take the hyper-parameters and return the transform; those without randomness ignore ``rng``. Geometry works on
uint8 images through Pillow, which resizes with antialiasing; ``to_float`` and ``normalize`` come last. Whole views:
:mod:`dalib.data.readers.images`.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dalib.core.checks import choose, input_error

Transform = Callable[[np.ndarray, np.random.Generator], np.ndarray]

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey (ITU-R BT.601)."""

_FILTERS = {"nearest": 0, "bilinear": 2, "bicubic": 3}


def compose(*transforms: Transform) -> Transform:
    """Apply the transforms from left to right with one ``rng``."""

    def apply(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        for transform in transforms:
            image = transform(image, rng)
        return image

    return apply


def resize(size: int | tuple[int, int], *, keep_aspect: bool = False, resample: str = "bilinear") -> Transform:
    """Resize a uint8 image.

    Args:
        size: (height, width), or one number for both.
        keep_aspect: bring the shorter side to ``size`` (then one number) and let the longer one follow.
        resample: ``"bilinear"``, ``"bicubic"`` or ``"nearest"``; the first two are antialiased when they shrink.
    """
    height, width = _size(size)
    choose("resample", resample, _FILTERS)
    if keep_aspect and height != width:
        raise input_error("size", got=size, expected="one number, with keep_aspect=True")

    def apply(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        del rng
        h, w = _hwc("resize", image)[:2]
        target = (height, width)
        if keep_aspect:
            target = (height, round(w * height / h)) if h <= w else (round(h * width / w), width)
        return _resized(image, target, resample)

    return apply


def center_crop(size: int | tuple[int, int]) -> Transform:
    """Cut (height, width) out of the middle; the image must be at least as large."""
    height, width = _size(size)

    def apply(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        del rng
        h, w = _fits("center_crop", image, height, width)
        top, left = round((h - height) / 2), round((w - width) / 2)
        return image[top : top + height, left : left + width]

    return apply


def random_crop(size: int | tuple[int, int], *, padding: int = 0) -> Transform:
    """Pad every side by ``padding`` zeros, then cut (height, width) out at a uniformly random place."""
    height, width = _size(size)
    if padding < 0:
        raise input_error("padding", got=padding, expected="a number ≥ 0")

    def apply(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        _hwc("random_crop", image)
        image = np.pad(image, ((padding, padding), (padding, padding), (0, 0)))
        h, w = _fits("random_crop", image, height, width)
        top, left = rng.integers(h - height + 1), rng.integers(w - width + 1)
        return image[top : top + height, left : left + width]

    return apply


def random_resized_crop(
    size: int | tuple[int, int],
    *,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    resample: str = "bilinear",
) -> Transform:
    """Cut a random rectangle out of a uint8 image and resize it to (height, width).

    Args:
        size: (height, width), or one number for both.
        scale: the rectangle's share of the area is uniform in this interval.
        ratio: its width over height is log-uniform in this interval. When ten draws do not fit into the image, the
            largest central rectangle with a ratio in the interval is taken.
        resample: as in :func:`resize`.

    References:
        Szegedy et al., "Going deeper with convolutions", 2015, section 6 (sizes 8 % to 100 %, ratios 3/4 to 4/3).
    """
    target = _size(size)
    choose("resample", resample, _FILTERS)
    if not 0 < scale[0] <= scale[1] <= 1:
        raise input_error("scale", got=scale, expected="0 < smallest ≤ largest ≤ 1")
    if not 0 < ratio[0] <= ratio[1]:
        raise input_error("ratio", got=ratio, expected="0 < smallest ≤ largest")

    def apply(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        # Ten draws, then the largest central cut, so that very long or narrow images end the search too.
        h, w = _hwc("random_resized_crop", image)[:2]
        for _ in range(10):
            area = h * w * rng.uniform(*scale)
            aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
            width, height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < width <= w and 0 < height <= h:
                top, left = int(rng.integers(h - height + 1)), int(rng.integers(w - width + 1))
                break
        else:
            aspect = min(max(w / h, ratio[0]), ratio[1])
            width, height = (w, max(round(w / aspect), 1)) if w / h < aspect else (max(round(h * aspect), 1), h)
            top, left = (h - height) // 2, (w - width) // 2
        return _resized(image[top : top + height, left : left + width], target, resample)

    return apply


def horizontal_flip(probability: float = 0.5) -> Transform:
    """Mirror left and right with this probability."""
    if not 0 <= probability <= 1:
        raise input_error("probability", got=probability, expected="a number in [0, 1]")

    def apply(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        _hwc("horizontal_flip", image)
        return image[:, ::-1] if rng.random() < probability else image

    return apply


def grayscale() -> Transform:
    """Turn RGB to one channel by the luma weights; an image of one channel stays as it is."""

    def apply(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        del rng
        if _hwc("grayscale", image)[2] == 1:
            return image
        grey = image @ np.asarray(LUMA, np.float32)
        grey = np.rint(grey) if image.dtype == np.uint8 else grey
        return grey.astype(image.dtype)[:, :, None]

    return apply


def rgb() -> Transform:
    """Repeat one channel to three equal ones; an image of three channels stays as it is."""

    def apply(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        del rng
        return image if _hwc("rgb", image)[2] == 3 else np.repeat(image, 3, axis=2)

    return apply


def to_float() -> Transform:
    """Scale uint8 in [0, 255] to float32 in [0, 1]."""

    def apply(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        del rng
        _uint8("to_float", image)
        return image.astype(np.float32) / np.float32(255)

    return apply


def normalize(mean: float | Sequence[float], std: float | Sequence[float]) -> Transform:
    """Compute (image − mean) / std, for all channels or for each; on a floating image, so after :func:`to_float`."""
    m, s = np.asarray(mean, np.float32), np.asarray(std, np.float32)
    if not (s > 0).all():
        raise input_error("std", got=std, expected="numbers > 0")

    def apply(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        del rng
        channels = _hwc("normalize", image)[2]
        if not np.issubdtype(image.dtype, np.floating):
            raise input_error("normalize", got=f"dtype {image.dtype}", expected="a floating image", todo="to_float()")
        if any(a.shape not in ((), (channels,)) for a in (m, s)):
            raise input_error("normalize", got=f"{channels} channels", expected=f"mean {mean} and std {std} to match")
        # Rows of width · channels numbers: numpy is fifteen times slower where the innermost axis has three.
        width = image.shape[1]
        rows = image.reshape(len(image), -1) - (np.tile(m, width) if m.ndim else m)
        rows /= np.tile(s, width) if s.ndim else s
        return rows.astype(np.float32, copy=False).reshape(image.shape)

    return apply


def _resized(image: np.ndarray, size: tuple[int, int], resample: str) -> np.ndarray:
    from PIL import Image

    _uint8("resize", image)
    if image.shape[:2] == size:
        return image
    grey = image.shape[2] == 1
    pixels = np.ascontiguousarray(image[:, :, 0] if grey else image)
    out = np.asarray(Image.fromarray(pixels).resize(size[::-1], Image.Resampling(_FILTERS[resample])))
    return out[:, :, None] if grey else out


def _size(size: Any) -> tuple[int, int]:
    pair = size if isinstance(size, tuple) else (size, size)
    if len(pair) != 2 or not all(isinstance(n, int | np.integer) and n > 0 for n in pair):
        raise input_error("size", got=repr(size), expected="a whole number ≥ 1, or (height, width)")
    return int(pair[0]), int(pair[1])


def _hwc(transform: str, image: np.ndarray) -> tuple[int, ...]:
    shape = np.shape(image)
    if len(shape) != 3 or shape[2] not in (1, 3):
        raise input_error(
            transform, got=f"shape {shape}", expected="an image [height, width, channels], 1 or 3 channels"
        )
    return shape


def _uint8(transform: str, image: np.ndarray) -> None:
    if image.dtype != np.uint8:
        raise input_error(transform, got=f"dtype {image.dtype}", expected="uint8", todo="put to_float() after it")


def _fits(transform: str, image: np.ndarray, height: int, width: int) -> tuple[int, int]:
    h, w = _hwc(transform, image)[:2]
    if h < height or w < width:
        raise input_error(
            transform, got=f"an image of {h}×{w}", expected=f"at least {height}×{width}", todo="resize first"
        )
    return h, w
