"""Poolings against torch's on many sizes."""

import numpy as np
import pytest

from dalib.encoders.layers.pooling import adaptive_average_pool, max_pool
from tests.parity.torch_reference import assert_stage_close, nhwc

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")
F = torch.nn.functional


@pytest.mark.parametrize("side", [1, 2, 6, 7, 8, 9, 13, 15])
def test_adaptive_average(side):
    x = np.random.default_rng(side).normal(size=(2, side, side + 3, 2)).astype(np.float32)
    theirs = F.adaptive_avg_pool2d(torch.from_numpy(x.transpose(0, 3, 1, 2)), 7)
    assert_stage_close(adaptive_average_pool(x, 7), nhwc(theirs), f"{side}", 1e-6)


@pytest.mark.parametrize("size, stride, padding", [(3, 2, 0), (3, 2, 1), (2, 2, 0), (2, 2, 1), (2, 3, 1), (5, 1, 2)])
@pytest.mark.parametrize("ceil", [False, True])
def test_maximum(size, stride, padding, ceil):
    for side in range(3, 12):
        x = np.random.default_rng(side).normal(size=(1, side, side + 1, 2)).astype(np.float32) - 5
        theirs = F.max_pool2d(torch.from_numpy(x.transpose(0, 3, 1, 2)), size, stride, padding, ceil_mode=ceil)
        np.testing.assert_array_equal(max_pool(x, size, stride, padding=padding, ceil=ceil), nhwc(theirs))
