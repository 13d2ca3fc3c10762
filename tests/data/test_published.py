"""The view that published weights were evaluated with."""

import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.core.types import ImagePreprocessing
from dalib.data.readers.images import published


def test_scale_order_and_standardisation():
    image = np.zeros((8, 8, 3), np.uint8) + np.array([255, 51, 0], np.uint8)
    plain = ImagePreprocessing(size=8, resize=8, mean=(0.5, 0.0, 0.0), std=(0.5, 1.0, 2.0))
    np.testing.assert_allclose(published(plain)(image, None)[3, 4], [1.0, 0.2, 0.0], atol=1e-6)
    caffe = plain._replace(maximum=255.0, mean=(100.0, 110.0, 120.0), std=(1.0, 1.0, 1.0), channels="BGR")
    np.testing.assert_allclose(published(caffe)(image, None)[3, 4], [-100.0, -59.0, 135.0], atol=1e-4)
    assert published(caffe)(image, None).dtype == np.float32


def test_geometry():
    image = np.zeros((20, 40, 3), np.uint8)
    image[:, 10:30] = 255
    raw = ImagePreprocessing(size=8, resize=10, mean=(0.0,) * 3, std=(1.0,) * 3, interpolation="nearest")
    assert published(raw)(image, None).shape == (8, 8, 3)
    assert published(raw)(image, None).min() == 1.0  # the middle of 10 × 20 pixels
    squeezed = published(raw._replace(keep_aspect=False))(image, None)
    assert squeezed.min() == 0.0 and squeezed[:, 2:6].min() == 1.0


def test_mistakes():
    with pytest.raises(InputError, match="did you mean 'RGB'"):
        published(ImagePreprocessing(channels="RGBA"))
    with pytest.raises(InputError, match="resample"):
        published(ImagePreprocessing(interpolation="lanczos"))
