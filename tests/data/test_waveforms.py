"""Recordings of different lengths as one array."""

import numpy as np
import pytest

from dalib import data
from dalib.core.checks import InputError


def test_waveforms_are_padded_and_standardised():
    short, long = np.arange(4, dtype=np.int16) * 1000, np.linspace(-1, 1, 10)
    out = data.pad_waveforms([short, long], 6)
    assert out.shape == (2, 6) and out.dtype == np.float32
    np.testing.assert_allclose(out[0], [*((np.arange(4) - 1.5) / np.sqrt(1.25)), 0, 0], atol=1e-4)
    np.testing.assert_allclose((out[1].mean(), out[1].std()), (0, 1), atol=1e-5)
    plain = data.pad_waveforms([short, long], 6, standardize=False)
    np.testing.assert_allclose(plain[0], [*(np.arange(4) * 1000 / 32767), 0, 0], rtol=1e-6)
    np.testing.assert_allclose(plain[1], long[:6], rtol=1e-6)
    for bad, message in (([], "at least one"), ([np.ones((2, 3))], r"row 0(.|\n)*shape \(2, 3\)"), ([[]], "row 0")):
        with pytest.raises(InputError, match=message):
            data.pad_waveforms(bad, 6)
