"""MNIST's frame: where the ink of other digit sets comes to lie."""

import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.data.digits import GEOMETRIES, mnist_frame

ODD = np.zeros((1, 16, 16), np.uint8)
ODD[0, 2:6, 9:15] = 200


def centre(image):
    rows, columns = np.indices(image.shape)
    return np.array([(image * (axis + 0.5)).sum() / image.sum() for axis in (rows, columns)])


def test_centred_puts_the_centre_of_mass_in_the_middle():
    (frame,) = mnist_frame(ODD, "centred").astype(float)
    # The whole box must stay inside, so ink that is far out of it is brought as near to the middle as can be.
    assert frame.shape == (28, 28)
    free = np.zeros((1, 16, 16), np.uint8)
    free[0, 4:9, 5:12] = 100
    (frame,) = mnist_frame(free, "centred").astype(float)
    assert np.abs(centre(frame) - 14).max() <= 0.5


def test_boxed_and_stretched_keep_the_place_in_the_frame():
    place = centre(ODD[0].astype(float)) / 16
    (boxed,), (stretched,) = (mnist_frame(ODD, name).astype(float) for name in ("boxed", "stretched"))
    np.testing.assert_allclose(centre(boxed), 4 + 20 * place, atol=0.05)
    np.testing.assert_allclose(centre(stretched), 28 * place, atol=0.05)
    assert boxed[:4].sum() == boxed[-4:].sum() == boxed[:, :4].sum() == boxed[:, -4:].sum() == 0
    np.testing.assert_allclose(boxed.sum() / ODD.sum(), (20 / 16) ** 2, rtol=0.02)


def test_an_empty_image_stays_empty():
    assert all(not mnist_frame(np.zeros((2, 16, 16), np.uint8), name).any() for name in GEOMETRIES)


def test_mistakes_are_named():
    with pytest.raises(InputError, match="did you mean 'centred'"):
        mnist_frame(ODD, "centered")
    with pytest.raises(InputError, match="uint8"):
        mnist_frame(ODD.astype(np.float32))
    with pytest.raises(InputError, match=r"\[1, 16, 15\]"):
        mnist_frame(ODD[:, :, :15])
