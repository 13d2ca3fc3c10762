"""Whole views of an image: what published weights were tested with, and the field's training and test views."""

import numpy as np

from dalib.checks import choose
from dalib.data.transforms import (
    Transform,
    center_crop,
    compose,
    horizontal_flip,
    normalize,
    random_resized_crop,
    resize,
    rgb,
    to_float,
)
from dalib.types import ImagePreprocessing

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def stored_size(size: int) -> int:
    """Side of the resized image that a view of ``size`` × ``size`` is cut from, 256 for 224."""
    return round(size * 256 / 224)


def published(preprocessing: ImagePreprocessing) -> Transform:
    """The view that published weights were evaluated with: resize, central crop, mean and standard deviation.

    Args:
        preprocessing: as :func:`dalib.encoders.load` gives it.

    Returns:
        A transform of uint8 ``[height, width, 3]`` to float32 ``[size, size, 3]`` in the order of its channels.

    Raises:
        InputError: for an unknown interpolation or order of channels.
    """
    p = preprocessing
    order = choose("channels", p.channels, {"RGB": slice(None), "BGR": slice(None, None, -1)})
    geometry = compose(resize(p.resize, keep_aspect=p.keep_aspect, resample=p.interpolation), center_crop(p.size))
    standardize = normalize(p.mean, p.std)

    def apply(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        pixels = to_float()(geometry(image, rng), rng) * np.float32(p.maximum)
        return standardize(pixels[..., order], rng)

    return apply


def train_transform(size: int = 224) -> Transform:
    """Training view of the field's image benchmarks (thuml/Transfer-Learning-Library's default).

    Resize to :func:`stored_size` on both sides (aspect not kept, bicubic), random resized crop (bilinear), horizontal
    flip, ImageNet mean and standard deviation; float32 ``[size, size, 3]``.
    """
    return compose(
        rgb(),
        resize(stored_size(size), resample="bicubic"),
        random_resized_crop(size),
        horizontal_flip(),
        to_float(),
        normalize(IMAGENET_MEAN, IMAGENET_STD),
    )


def eval_transform(size: int = 224) -> Transform:
    """Test view that goes with :func:`train_transform`: the same resize, then the central ``size``; no randomness."""
    return compose(
        rgb(),
        resize(stored_size(size), resample="bicubic"),
        center_crop(size),
        to_float(),
        normalize(IMAGENET_MEAN, IMAGENET_STD),
    )
