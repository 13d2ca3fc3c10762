"""Image transforms against values worked by hand."""

import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.data import transforms as T
from dalib.data.readers.images import IMAGENET_MEAN, IMAGENET_STD, eval_transform, train_transform

RNG = np.random.default_rng(0)


def ramp(height, width, channels=3):
    """uint8 image whose pixel (i, j) holds 10 i + j in every channel."""
    i, j = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    return np.repeat((10 * i + j).astype(np.uint8)[:, :, None], channels, axis=2)


def test_to_float_and_normalize_by_hand():
    image = np.array([[[0, 51, 255]]], np.uint8)
    out = T.compose(T.to_float(), T.normalize((0.0, 0.1, 0.5), (1.0, 0.1, 0.25)))(image, RNG)
    np.testing.assert_allclose(out, [[[0.0, 1.0, 2.0]]], atol=1e-6)
    assert out.dtype == np.float32
    np.testing.assert_allclose(T.normalize(0.5, 0.5)(np.ones((1, 1, 1), np.float32), RNG), [[[1.0]]])


def test_center_crop_by_hand():
    np.testing.assert_array_equal(T.center_crop(2)(ramp(4, 6), RNG)[:, :, 0], [[12, 13], [22, 23]])
    np.testing.assert_array_equal(T.center_crop((1, 4))(ramp(3, 4), RNG)[:, :, 1], [[10, 11, 12, 13]])


def test_resize_shapes_and_values():
    assert T.resize((7, 5))(ramp(10, 20), RNG).shape == (7, 5, 3)
    assert T.resize(5, keep_aspect=True)(ramp(10, 20), RNG).shape == (5, 10, 3)
    assert T.resize(5, keep_aspect=True)(ramp(20, 10, 1), RNG).shape == (10, 5, 1)
    # Halving bilinear with antialiasing: a triangle of width 4, weights 1/8, 3/8, 3/8, 1/8, renormalised at the border.
    row = np.array([0, 80, 0, 0, 160, 0], np.uint8)[None, :, None]
    out = T.resize((1, 3))(row, RNG)[0, :, 0]
    np.testing.assert_array_equal(out, [round(80 * 3 / 7), round((80 + 160) / 8), round(160 * 3 / 7)])
    constant = np.full((9, 9, 3), 123, np.uint8)
    for resample in ("nearest", "bilinear", "bicubic"):
        assert (T.resize(4, resample=resample)(constant, RNG) == 123).all()
        np.testing.assert_array_equal(T.resize((4, 6), resample=resample)(ramp(4, 6), RNG), ramp(4, 6))


def test_grey_and_rgb():
    image = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]], np.uint8)
    np.testing.assert_array_equal(T.grayscale()(image, RNG)[0, :, 0], [76, 150, 29, 255])
    back = T.rgb()(T.grayscale()(image, RNG), RNG)
    assert back.shape == (1, 4, 3) and back.dtype == np.uint8
    assert T.rgb()(image, RNG) is image


def test_horizontal_flip():
    image = ramp(2, 3)
    np.testing.assert_array_equal(T.horizontal_flip(1.0)(image, RNG)[:, :, 0], [[2, 1, 0], [12, 11, 10]])
    assert T.horizontal_flip(0.0)(image, RNG) is image
    flips = [T.horizontal_flip()(image, np.random.default_rng(i))[0, 0, 0] == 2 for i in range(400)]
    assert 150 < sum(flips) < 250


def test_random_crop_reaches_every_place_and_pads_zeros():
    image = ramp(2, 2) + 1
    crops = {T.random_crop(2, padding=1)(image, np.random.default_rng(i)).tobytes() for i in range(300)}
    assert len(crops) == 9
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)))
    assert crops == {padded[i : i + 2, j : j + 2].tobytes() for i in range(3) for j in range(3)}


def test_random_resized_crop():
    identity = T.random_resized_crop(6, scale=(1, 1), ratio=(1, 1))
    np.testing.assert_array_equal(identity(ramp(6, 6), RNG), ramp(6, 6))
    crop = T.random_resized_crop((5, 4))
    one, same, other = (crop(ramp(20, 9), np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one.shape == (5, 4, 3) and one.dtype == np.uint8
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
    # No rectangle of half the area and ratio 1 fits into a strip: the central square is taken.
    strip = np.zeros((4, 40, 1), np.uint8)
    strip[:, 18:22] = 9
    assert (T.random_resized_crop(4, scale=(1, 1), ratio=(1, 1))(strip, RNG) == 9).all()


def test_share_of_area_of_random_resized_crops():
    """The mean of scale (0.2, 0.4) is 0.3: measured by the span of a ramp along both axes."""
    i, j = np.meshgrid(np.arange(200), np.arange(200), indexing="ij")
    image = np.stack([i, j, j], axis=2).astype(np.uint8)
    crop = T.random_resized_crop(50, scale=(0.2, 0.4))
    shares = []
    for seed in range(300):
        out = crop(image, np.random.default_rng(seed)).astype(float)
        shares.append(np.ptp(out[:, :, 0]) * np.ptp(out[:, :, 1]) / 200**2)
    assert 0.27 < np.mean(shares) < 0.32
    assert min(shares) > 0.17 and max(shares) < 0.41


def test_recipes():
    image = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    train, test = train_transform(28), eval_transform(28)
    for transform in (train, test):
        out = transform(image, np.random.default_rng(0))
        assert out.shape == (28, 28, 3) and out.dtype == np.float32
        assert transform(image[:, :, :1], np.random.default_rng(0)).shape == (28, 28, 3)
    np.testing.assert_array_equal(test(image, np.random.default_rng(0)), test(image, np.random.default_rng(1)))
    assert not np.array_equal(train(image, np.random.default_rng(0)), train(image, np.random.default_rng(1)))
    white = test(np.full((40, 30, 3), 255, np.uint8), RNG)
    np.testing.assert_allclose(white[3, 4], (1 - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD), rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "image", "message"),
    [
        (lambda: T.resize(0), None, "size"),
        (lambda: T.resize("3"), None, "size"),
        (lambda: T.resize(3, resample="bilinaer"), None, "did you mean 'bilinear'"),
        (lambda: T.resize((3, 4), keep_aspect=True), None, "one number"),
        (lambda: T.random_crop(3, padding=-1), None, "padding"),
        (lambda: T.random_resized_crop(3, scale=(0.5, 2)), None, "scale"),
        (lambda: T.random_resized_crop(3, ratio=(2, 1)), None, "ratio"),
        (lambda: T.horizontal_flip(2), None, "probability"),
        (lambda: T.normalize(0, 0), None, "std"),
        (lambda: T.center_crop(5), ramp(4, 9), "4×9"),
        (lambda: T.random_crop(5), ramp(4, 9), "resize first"),
        (lambda: T.resize(3), ramp(4, 9).astype(np.float32), "uint8"),
        (lambda: T.to_float(), np.ones((2, 2, 3), np.float32), "uint8"),
        (lambda: T.normalize(0, 1), ramp(2, 2), "to_float"),
        (lambda: T.normalize((0, 0), (1, 1)), np.ones((2, 2, 3), np.float32), "3 channels"),
        (lambda: T.horizontal_flip(), np.zeros((3, 3), np.uint8), "height, width, channels"),
    ],
)
def test_refused(make, image, message):
    with pytest.raises(InputError, match=message):
        make()(image, RNG)
