"""Image files: listed, read and decoded, and the views that published nets expect of them."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dalib.core.checks import InputError, choose, input_error
from dalib.core.types import ImagePreprocessing
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

# Images in files: the record source behind folders and list files.


SHOWN = 10
SAMPLED = 32
IMAGE_SUFFIXES = frozenset(".jpg .jpeg .png .bmp .gif .ppm .pgm .pbm .tif .tiff .webp".split())


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """Examples in image files.

    Attributes:
        root: folder below which the paths lie.
        paths: ``n`` paths, relative to ``root`` (or absolute).
        labels: int32 ``[n]``.
        mode: Pillow's name of the pixel format that every image is converted to, ``"RGB"`` or ``"L"`` (grey).
    """

    root: Path
    paths: tuple[str, ...]
    labels: np.ndarray
    mode: str = "RGB"

    def __len__(self) -> int:
        return len(self.paths)

    def __getitems__(self, indices: Sequence[int]) -> tuple[list[np.ndarray], np.ndarray]:
        """uint8 images ``[height, width, channels]`` in their own sizes, and labels."""
        rows = np.asarray(indices, np.intp)
        return [read_image(self.root / self.paths[i], self.mode) for i in rows], self.labels[rows]

    def fingerprint(self) -> str:
        """SHA-256 of every relative path, size and label, and of the contents of 32 files spread evenly.

        Not of all contents, which would read the whole data set; the sample keeps apart domains whose files have the
        same names and, being uncompressed, the same sizes.
        """
        digest = hashlib.sha256(self.mode.encode())
        for path, label in zip(self.paths, self.labels, strict=True):
            digest.update(f"{path}\0{os.path.getsize(self.root / path)}\0{label}\n".encode())
        for i in np.unique(np.linspace(0, len(self) - 1, SAMPLED).astype(int)):
            digest.update(hashlib.sha256((self.root / self.paths[i]).read_bytes()).digest())
        return digest.hexdigest()


def read_image(path: Path, mode: str = "RGB") -> np.ndarray:
    """Decodes one file to uint8 ``[height, width, channels]``.

    Raises:
        InputError: the file is missing, cannot be decoded, or holds more than 8 bits a channel (which Pillow would
            clip without a word).
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            deep = image.mode.startswith("I") or image.mode == "F"
            pixels = np.asarray(image.convert(mode))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise input_error("image", got=f"{path}: {error}", expected="a readable image file") from error
    if deep:
        raise input_error(
            "image", got=f"{path}: more than 8 bits a channel", expected="8 bits a channel", todo="convert the file"
        )
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def check_images(argument: str, paths: Iterable[Path]) -> None:
    """Opens the header of every file and raises one error for all that are not images."""
    from PIL import Image

    bad = []
    for path in paths:
        try:
            with Image.open(path) as image:
                image.verify()
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            bad.append(str(path))
    if bad:
        raise listed(
            argument,
            bad,
            what="files that are not readable images",
            expected="images only",
            todo="repair, remove or rename them (names that begin with a dot are passed over)",
        )


def listed(argument: str, faults: Sequence[str], *, what: str, expected: str, todo: str = "") -> InputError:
    """One error for many faults: their number and the first ten of them."""
    shown = "".join(f"\n    {fault}" for fault in faults[:SHOWN])
    more = f"\n    … and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
    return input_error(argument, got=f"{len(faults)} {what}:{shown}{more}", expected=expected, todo=todo)


# Whole views of an image: what published weights were tested with, and the field's training and test views.


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
