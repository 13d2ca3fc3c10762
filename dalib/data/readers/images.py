"""Image files: reading and decoding, and the views that published nets expect.

Two conventions hold wherever dalib decodes a file. The EXIF orientation is applied, so that images are as browsers show
them. Transparent pixels are composed on white, :data:`BACKGROUND`.
"""

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dalib.core.checks import InputError, choose, input_error
from dalib.core.types import ImagePreprocessing
from dalib.data.readers.files.names import printable
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

# Images in files: the record source of folders and list files.


SHOWN, LONGEST = 10, 300
SAMPLED = 32
BACKGROUND = (255, 255, 255)
"""Colour, red, green and blue, under transparent pixels."""
ORIENTATION = 0x0112
TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
"""Pillow's operation that undoes each EXIF orientation; 1 is upright."""


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """Examples in image files.

    Attributes:
        root: folder of the relative paths.
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
        """Read uint8 images ``[height, width, channels]`` in their own sizes, and labels."""
        rows = np.asarray(indices, np.intp)
        return [read_image(self.root / self.paths[i], self.mode) for i in rows], self.labels[rows]

    def fingerprint(self) -> str:
        """Return the SHA-256 of every relative path, size and label, and of the contents of 32 files spread evenly.

        Hashing all contents would read the whole data set. The sample tells apart domains of equal names and sizes,
        as uncompressed images have.
        """
        digest = hashlib.sha256(self.mode.encode())
        for path, label in zip(self.paths, self.labels, strict=True):
            line = f"{path}\0{os.path.getsize(self.root / path)}\0{label}\n"
            digest.update(line.encode("utf-8", "surrogateescape"))
        for i in np.unique(np.linspace(0, len(self) - 1, SAMPLED).astype(int)):
            digest.update(hashlib.sha256((self.root / self.paths[i]).read_bytes()).digest())
        return digest.hexdigest()


def read_image(path: Path, mode: str = "RGB") -> np.ndarray:
    """Decode one file to uint8 ``[height, width, channels]``.

    The EXIF orientation is applied. Transparent pixels are composed on white (:data:`BACKGROUND`). Of several frames
    the first one counts.

    Args:
        path: the file.
        mode: ``"RGB"`` or ``"L"`` (grey).

    Raises:
        InputError: the file is missing, cannot be decoded, or holds more than 8 bits a channel, which Pillow would
            clip without a word.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            deep = image.mode.startswith("I") or image.mode == "F"
            image.load()
            pixels = np.asarray(_opaque(_upright(image)).convert(mode))
    except Exception as error:  # Pillow's decoders raise errors of many types for damaged files
        raise input_error("image", got=f"{printable(str(path))}: {error}", expected="a readable image file") from error
    if deep:
        got = f"{printable(str(path))}: more than 8 bits a channel"
        raise input_error("image", got=got, expected="8 bits a channel", todo="convert the file")
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def is_plain(image: Any) -> bool:
    """Tell whether an opened image is RGB, opaque and upright, so that nothing of it changes in :func:`read_image`."""
    return image.mode == "RGB" and not image.has_transparency_data and _orientation(image) not in TURNS


def _opaque(image: Any) -> Any:
    """Put the image on :data:`BACKGROUND` where it has transparent pixels."""
    from PIL import Image

    if not image.has_transparency_data:
        return image
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, (*BACKGROUND, 255)), rgba)


def _upright(image: Any) -> Any:
    from PIL import Image

    turn = TURNS.get(_orientation(image))
    return image if turn is None else image.transpose(Image.Transpose[turn])


def _orientation(image: Any) -> Any:
    """Return the EXIF orientation, 1 where there is none; damaged EXIF data do not spoil an image."""
    try:
        return image.getexif().get(ORIENTATION, 1)
    except Exception:  # Pillow's parser of these foreign bytes raises errors of many types
        return 1


def check_images(argument: str, paths: Iterable[Path]) -> None:
    """Open the header of every file and raise one error for all that are not images."""
    from PIL import Image

    bad = []
    for path in paths:
        try:
            with Image.open(path) as image:
                image.verify()
        except Exception:  # as in read_image
            bad.append(printable(str(path)))
    if bad:
        raise listed(
            argument,
            bad,
            what="files that are not readable images",
            expected="images only",
            todo="repair, remove or rename them (names with a dot in front are passed over)",
        )


def listed(argument: str, faults: Sequence[str], *, what: str, expected: str, todo: str = "") -> InputError:
    """Make one error for many faults: their number and the first ten of them, each cut to 300 characters."""
    shown = "".join(f"\n    {fault if len(fault) <= LONGEST else fault[:LONGEST] + ' …'}" for fault in faults[:SHOWN])
    more = f"\n    … and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
    return input_error(argument, got=f"{len(faults)} {what}:{shown}{more}", expected=expected, todo=todo)


# Whole views of an image: the test view of published weights, and the field's training and test views.


IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def stored_size(size: int) -> int:
    """Return the side of the resized image that a view of ``size`` × ``size`` is cut from, 256 for 224."""
    return round(size * 256 / 224)


def published(preprocessing: ImagePreprocessing) -> Transform:
    """Make the view that published weights were evaluated with: resize, central crop, mean and standard deviation.

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
    """Make the training view of the field's image benchmarks (thuml/Transfer-Learning-Library's default).

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
    """Make the test view for :func:`train_transform`: the same resize, then the central ``size``; no randomness."""
    return compose(
        rgb(),
        resize(stored_size(size), resample="bicubic"),
        center_crop(size),
        to_float(),
        normalize(IMAGENET_MEAN, IMAGENET_STD),
    )
