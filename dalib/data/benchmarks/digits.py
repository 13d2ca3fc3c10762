"""Digits: MNIST, USPS, SVHN, SynDigits from their published files, MNIST-M made from MNIST and photographs.

Every domain is optional, in its own files, but one that is asked for by name must be there.
"""

import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from dalib.data.benchmarks import digit_files as files
from dalib.data.benchmarks.digit_files import Pair
from dalib.data.benchmarks.facts import Facts, Reading
from dalib.data.benchmarks.images import read_list
from dalib.data.benchmarks.loading import Benchmark
from dalib.data.domain import Domain, Split
from dalib.data.readers.arrays import ArraySplit
from dalib.data.readers.images import read_image

LAYOUT = """
in --data-dir, or in the folder named:
mnist       {train,t10k}-images-idx3-ubyte, {train,t10k}-labels-idx1-ubyte, plain or .gz; or mnist.npz with x_train,
            y_train, x_test, y_test; in mnist/, MNIST/raw/ or digits/
usps        usps.bz2 and usps.t.bz2 (libsvm); or zip.train.gz and zip.test.gz; or usps.h5 (needs h5py); or usps.npz;
            in usps/, USPS/ or digits/
svhn        train_32x32.mat, test_32x32.mat; in svhn/, SVHN/ or digits/
syn_digits  synth_train_32x32.mat, synth_test_32x32.mat; in SynthDigits/, syn_digits/ or digits/
mnist_m     MNIST as above, and the 200 training photographs of BSDS500: BSDS500/data/images/train/*.jpg, or in
            BSR/BSDS500/data/images/train/, bsds500/train/ or bsds_backgrounds/train/
"""
PLACES = {
    "mnist": ("", "digits", "mnist", "MNIST", "MNIST/raw", "mnist/MNIST/raw"),
    "usps": ("", "digits", "usps", "USPS"),
    "svhn": ("", "digits", "svhn", "SVHN"),
    "syn_digits": ("", "digits", "SynthDigits", "syn_digits", "synth_digits"),
}
PHOTOGRAPHS = tuple(
    f"{top}{sub}" for top in ("", "BSR/", "bsds500/") for sub in ("BSDS500/data/images/train", "data/images/train")
) + ("bsds500/train", "bsds_backgrounds/train")
SIDE = 28
TEST_SHARE = 5
SEED = 0
BROKEN = (OSError, ValueError, KeyError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError, TypeError)


def read_digits(facts: Facts, data_dir: Path, domains: tuple[str, ...]) -> Reading:
    """Read the domains that have files there."""
    reading = Reading({}, [])
    for name in domains:
        try:
            splits = _made(data_dir) if name == "mnist_m" else _stored(data_dir, name)
        except BROKEN as error:
            reading.faults.append(f"{name}: {error}")
            continue
        if not splits:
            continue
        classes = facts.classes[name]
        # Checked for every published form alike, since some of them count digits from 1.
        bad = [split for split, (_, y) in splits.items() if len(y) == 0 or y.min() < 0 or y.max() >= len(classes)]
        reading.faults.extend(f"{name}, {split}: no images, or labels outside 0 to 9" for split in bad)
        if not bad:
            arrays = {split: ArraySplit(x, y.astype(np.int32)) for split, (x, y) in splits.items()}
            reading.domains[name] = Domain(name, classes, arrays)
    return reading


def blend(digits: np.ndarray, photographs: list[np.ndarray], *, seed: tuple[int, ...]) -> np.ndarray:
    """Blend by MNIST-M's recipe: |crop − digit| in every pixel and colour; the crop is a random square of a photograph.

    Args:
        digits: uint8 ``[n, 28, 28]``.
        photographs: uint8 ``[h, w, 3]`` each, at least 28 pixels high and wide.
        seed: the same seed gives the same images.

    Returns:
        uint8 ``[n, 28, 28, 3]``.

    References:
        Ganin et al., "Domain-adversarial training of neural networks", JMLR 2016, section 5.2.4.
    """
    rng = np.random.default_rng(seed)
    n, side = len(digits), digits.shape[1]
    which = rng.integers(len(photographs), size=n)
    sizes = np.array([photograph.shape[:2] for photograph in photographs])
    top, left = (rng.integers(sizes[which, axis] - side + 1) for axis in (0, 1))
    images = np.empty((*digits.shape, 3), np.uint8)
    for number, photograph in enumerate(photographs):
        rows = np.flatnonzero(which == number)
        windows = np.lib.stride_tricks.sliding_window_view(photograph, (side, side), axis=(0, 1))
        crops = np.moveaxis(windows[top[rows], left[rows]], 1, -1).astype(np.int16)
        # In a signed type: bytes would wrap around.
        images[rows] = np.abs(crops - digits[rows, :, :, None]).astype(np.uint8)
    return images


def _made(data_dir: Path) -> dict[str, Pair]:
    """Make MNIST-M of all MNIST digits; every fifth photograph (in the order of names) is kept for the test images."""
    folder = next((data_dir / place for place in PHOTOGRAPHS if (data_dir / place).is_dir()), None)
    mnist = _stored(data_dir, "mnist")
    if folder is None or not mnist:
        return {}
    paths = sorted(folder.glob("*.jpg"))
    if len(paths) < TEST_SHARE:
        raise ValueError(f"{len(paths)} photographs in {folder}, expected the 200 of BSDS500's training part")
    # Test images get photographs that no training image was blended with.
    photographs = [read_image(path) for path in paths]
    parts = {
        "train": [image for i, image in enumerate(photographs) if i % TEST_SHARE],
        "test": photographs[::TEST_SHARE],
    }
    return {
        split: (blend(x[..., 0], parts[split], seed=(SEED, number)), y)
        for number, (split, (x, y)) in enumerate(mnist.items())
    }


def _stored(data_dir: Path, name: str) -> dict[str, Pair]:
    """Read the first published form of a domain that is there, by split; empty if there is none."""
    for place in PLACES[name]:
        folder = data_dir / place
        if folder.is_dir():
            for form in FORMS[name]:
                if found := form(folder):
                    return found
    return {}


def _first(folder: Path, *names: str) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _both(train: Path | None, test: Path | None, reader: Callable[[Path], Pair]) -> dict[str, Pair]:
    """Read both files, or nothing; one without the other is a fault."""
    if train is None and test is None:
        return {}
    if train is None or test is None:
        raise ValueError(f"{train or test} without its {'test' if test is None else 'training'} counterpart")
    return {"train": reader(train), "test": reader(test)}


def _archive(name: str) -> Callable[[Path], dict[str, Pair]]:
    def form(folder: Path) -> dict[str, Pair]:
        path = _first(folder, f"{name}.npz")
        return {split: files.read_npz(path, split) for split in ("train", "test")} if path else {}

    return form


def _mnist_idx(folder: Path) -> dict[str, Pair]:
    found: dict[str, Pair] = {}
    # Published copies differ in a dash or a dot in the name, and in compression.
    for split, stem in (("train", "train"), ("test", "t10k")):
        x, y = (
            _first(folder, *(f"{stem}-{kind}{mark}ubyte{end}" for mark in "-." for end in ("", ".gz")))
            for kind in ("images-idx3", "labels-idx1")
        )
        if x is None and y is None:
            continue
        if x is None or y is None:
            raise ValueError(f"{x or y} without its {'images' if x is None else 'labels'}")
        images, labels = files.read_idx(x), files.read_idx(y)
        if images.ndim != 3 or labels.shape != images.shape[:1]:
            raise ValueError(f"{x} and {y}: shapes {images.shape} and {labels.shape}")
        found[split] = (images[..., None], labels.astype(np.int32))
    if len(found) == 1:
        raise ValueError(f"only the {next(iter(found))} part of MNIST's four files in {folder}")
    return found


def _usps_libsvm(folder: Path) -> dict[str, Pair]:
    train, test = (_first(folder, f"{stem}.bz2", stem) for stem in ("usps", "usps.t"))
    return _both(train, test, files.read_usps_libsvm)


def _usps_zip(folder: Path) -> dict[str, Pair]:
    train, test = (_first(folder, f"zip.{split}.gz", f"zip.{split}") for split in ("train", "test"))
    return _both(train, test, files.read_usps_zip)


def _usps_hdf5(folder: Path) -> dict[str, Pair]:
    path = _first(folder, "usps.h5", "usps.hdf5")
    return {split: files.read_usps_hdf5(path, split) for split in ("train", "test")} if path else {}


def _mat(prefix: str) -> Callable[[Path], dict[str, Pair]]:
    def form(folder: Path) -> dict[str, Pair]:
        train, test = (_first(folder, f"{prefix}{split}_32x32.mat") for split in ("train", "test"))
        return _both(train, test, files.read_mat)

    return form


FORMS: dict[str, tuple[Callable[[Path], dict[str, Pair]], ...]] = {
    "mnist": (_mnist_idx, _archive("mnist")),
    "usps": (_usps_libsvm, _usps_zip, _usps_hdf5, _archive("usps")),
    "svhn": (_mat(""),),
    "syn_digits": (_mat("synth_"),),
}

DIGITS = Benchmark(
    "digits", "digits", read_digits, LAYOUT, optional=frozenset({"mnist", "usps", "svhn", "mnist_m", "syn_digits"})
)


# MNIST-M as its authors released it: folders of small images with list files.


MNIST_M_RELEASE_LAYOUT = """
mnist_m/mnist_m_train/*.png mnist_m/mnist_m_test/*.png
mnist_m/mnist_m_train_labels.txt mnist_m/mnist_m_test_labels.txt      "00000000.png 5" a line
or the same without the outer folder
"""
NAME = "mnist_m"


def read_release(facts: Facts, data_dir: Path, domains: tuple[str, ...]) -> Reading:
    """Read the published train and test parts."""
    del domains
    reading = Reading({}, [])
    # The archive may have been unpacked into a folder of its name or into the data directory itself.
    root = next((place for place in (data_dir / NAME, data_dir) if (place / f"{NAME}_train").is_dir()), None)
    if root is None:
        reading.faults.append(f"{NAME}: no folder {NAME}_train in {data_dir} or {data_dir / NAME}")
        return reading
    splits: dict[str, Split] = {}
    for split in ("train", "test"):
        folder = f"{NAME}_{split}"
        images, faults = read_list(NAME, root / f"{folder}_labels.txt", root, folder, len(facts.classes[NAME]))
        reading.faults.extend(faults)
        if images is None:
            reading.faults.append(f"{NAME}, {split}: no images")
        else:
            splits[split] = images
    if splits:
        reading.domains[NAME] = Domain(NAME, facts.classes[NAME], splits)
    return reading


MNIST_M_RELEASE = Benchmark("mnist_m_release", "mnist_m_release", read_release, MNIST_M_RELEASE_LAYOUT)
