"""Tables of positions on other grids: weights worked out by hand, constants and identity kept."""

import jax.numpy as jnp
import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.encoders.layers.positions import RESAMPLING, resample_positions, resampling_matrix


@pytest.mark.parametrize("how", RESAMPLING)
@pytest.mark.parametrize("old, new", [(7, 7), (7, 12), (7, 3), (5, 1), (1, 4)])
def test_weights_of_every_point_sum_to_one(how, old, new):
    np.testing.assert_allclose(resampling_matrix(old, new, how).sum(1), 1, rtol=1e-12)


def test_midpoints():
    """Half way between two points Keys' kernel with a = −0.75 gives −0.09375, 0.59375, 0.59375, −0.09375."""
    expected = np.zeros(5)
    expected[:4] = [-0.09375, 0.59375, 0.59375, -0.09375]
    np.testing.assert_allclose(resampling_matrix(5, 9, "corners")[3], expected, atol=1e-12)
    np.testing.assert_allclose(resampling_matrix(4, 2, "half_pixel")[0], [0.5, 0.59375, -0.09375, 0], atol=1e-12)


def test_shrinking_with_antialias_widens_the_filter():
    plain, smooth = (resampling_matrix(12, 3, how)[1] for how in ("half_pixel", "antialias"))
    assert (plain != 0).sum() == 4
    assert (np.abs(smooth) > 1e-12).sum() == 12


def test_own_grid_is_kept_but_with_offset():
    for how in RESAMPLING:
        kept = np.array_equal(resampling_matrix(6, 6, how), np.eye(6))
        assert kept == (how != "offset")


def test_rows_and_columns_keep_their_places():
    table = jnp.asarray(np.random.default_rng(0).normal(size=(16, 3)), jnp.float32)
    moved = np.asarray(resample_positions(table, (2, 5), "half_pixel")).reshape(2, 5, 3)
    rows, columns = resampling_matrix(4, 2, "half_pixel"), resampling_matrix(4, 5, "half_pixel")
    square = np.asarray(table).reshape(4, 4, 3)
    for r, c in np.ndindex(2, 5):
        expected = sum(rows[r, i] * columns[c, j] * square[i, j] for i, j in np.ndindex(4, 4))
        np.testing.assert_allclose(moved[r, c], expected, rtol=1e-5, atol=1e-6)


def test_unknown_way_is_named():
    with pytest.raises(InputError, match="did you mean 'antialias'"):
        resampling_matrix(4, 5, "antialiased")
