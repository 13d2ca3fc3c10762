"""The data sets themselves, where they are: DALIB_DATA=DIR python -m pytest -m data tests/data/test_real_data.py."""

import hashlib
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from dalib.data import benchmarks
from dalib.data.benchmarks.digit_files import usps_pixels
from dalib.data.benchmarks.loading import load, read

pytestmark = pytest.mark.data

# Published: 1-nearest-neighbour accuracy on SURF, full source, rows over their sum and z-scored per domain.
NEAREST = {
    ("caltech10", "amazon"): 23.70,
    ("amazon", "dslr"): 25.48,
    ("webcam", "dslr"): 59.24,
    ("dslr", "webcam"): 63.39,
}
# MD5 of the four IDX files of MNIST, unpacked.
CANONICAL = {
    ("train", "x"): "6bbc9ace898e44ae57da46a324031adb",
    ("train", "y"): "a25bea736e30d166cdddb491f175f624",
    ("test", "x"): "2646ac647ad5339dbf082846283269ea",
    ("test", "y"): "27ae3e4e09519cfbb04c329615203637",
}


@pytest.fixture
def data_dir():
    folder = os.environ.get("DALIB_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("DALIB_DATA does not name a folder with the data sets")
    return Path(folder)


def present(name, data_dir):
    made = benchmarks.benchmark(name)
    (found, _), _ = read(made, data_dir)
    if not found:
        pytest.skip(f"{name} is not in DALIB_DATA")
    return made


@pytest.mark.parametrize("name", benchmarks.BENCHMARKS)
def test_as_the_manifest_says(name, data_dir):
    report = benchmarks.check(present(name, data_dir).name, data_dir)
    assert not report.faults
    assert len(set(report.fingerprints.values())) == len(report.fingerprints) > 0
    recorded = benchmarks.benchmark(name).facts.fingerprints
    assert {n: report.fingerprints[n] for n in recorded if n in report.fingerprints} == {
        n: digest for n, digest in recorded.items() if n in report.fingerprints
    }


def test_surf_gives_the_published_neighbours(data_dir):
    domains = load(present("office_caltech10_surf", data_dir), data_dir)

    def features(name):
        split = domains[name].split("train")
        counts, labels = split.__getitems__(range(len(split)))
        x = counts / counts.sum(axis=1, keepdims=True, dtype=np.float64)
        spread = x.std(axis=0)
        return (x - x.mean(axis=0)) / np.where(spread > 0, spread, 1), labels

    for (source, target), published in NEAREST.items():
        (xs, ys), (xt, yt) = features(source), features(target)
        distances = (xs**2).sum(axis=1)[None] - 2 * xt @ xs.T
        assert round(100 * float((ys[distances.argmin(axis=1)] == yt).mean()), 2) == published


def test_usps_pixels_are_torchvisions(data_dir):
    file = next((f for f in (data_dir / "digits" / "usps.npz", data_dir / "usps.npz") if f.is_file()), None)
    if file is None:
        pytest.skip("no usps.npz in DALIB_DATA")
    with np.load(file) as arrays:
        milli, pixels = arrays["x_train_milli"], arrays["x_train"]
    np.testing.assert_array_equal(usps_pixels(milli.reshape(len(milli), -1) / 1000)[..., 0], pixels)


def test_mnist_is_canonical(data_dir):
    domain = load(present("digits", data_dir), data_dir, domains=["mnist"])["mnist"]
    for (split, part), digest in CANONICAL.items():
        inputs, labels = domain.split(split).__getitems__(range(len(domain.split(split))))
        array = inputs[..., 0] if part == "x" else labels.astype(np.uint8)
        head = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
        assert hashlib.md5(head + array.tobytes()).hexdigest() == digest
