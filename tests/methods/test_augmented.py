"""Views in front of a method: what the loss sees, and that evaluation does not see them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.core.types import Batch, Source, Target
from dalib.methods.base import Method, Update
from dalib.methods.parts.augmentation import VIEWS, in_turn, random_crop, random_resized_crop
from dalib.methods.transformers import SEEN, augmented
from tests.methods.passes import loss_of, make_context


def ramp(n=3, size=16):
    """Images whose value is their column, apart from a constant of each image."""
    columns = jnp.linspace(0, 1, size)[None, None, :, None] * jnp.ones((n, size, size, 1))
    return columns + 10.0 * jnp.arange(n)[:, None, None, None]


def test_every_update_sees_fresh_views_of_both_domains():
    def loss(view):
        source, target, shots = view.batch
        total = source.inputs.sum() + 100 * target.inputs.sum() + 1e4 * shots.inputs.sum()
        return total, view, {"labels": source.labels, "shots": shots.labels}

    method = augmented(Method("m", updates=(Update("u", loss),)), lambda key, x: x + jax.random.uniform(key))
    zeros = jnp.zeros((1, 2))
    batch = Batch(Source(zeros, jnp.array([7])), Target(zeros), Source(zeros, jnp.array([8])))

    def value(seed):
        return loss_of(method.updates[0], {}, None, batch, context=make_context(key=jax.random.key(seed)))

    keys = jax.random.split(jax.random.fold_in(jax.random.key(0), SEEN))
    drawn = [jax.random.uniform(key) for key in (*keys, jax.random.fold_in(keys[1], SEEN))]
    assert len(set(map(float, drawn))) == 3
    np.testing.assert_allclose(value(0).value, 2 * drawn[0] + 200 * drawn[1] + 2e4 * drawn[2], rtol=1e-5)
    assert value(0).metrics["shots"] == 8
    assert value(0).value == value(0).value != value(1).value and value(0).metrics["labels"] == 7


def test_resized_crops_are_enlarged_parts():
    x = ramp()
    crop = jax.jit(lambda least: random_resized_crop(jax.random.key(0), x, scale=(least, least), ratio=(1.0, 1.0)))
    np.testing.assert_allclose(crop(1.0), x, atol=1e-5)
    quarter = np.asarray(crop(0.25) - x[:, :1, :1])
    # Half as wide: the columns of the part run through half of the range, evenly, within the image.
    np.testing.assert_allclose(np.diff(quarter[:, 0, :, 0])[:, 1:-1], 0.5 / 15, rtol=0.02)
    assert quarter.min() > -1e-5 and quarter.max() < 1 + 1e-5
    assert len(set(quarter[:, 0, 0, 0].round(5))) == 3


def test_crops_with_a_size_come_from_the_whole_image():
    x = ramp()
    # All of the image at half the size: the middles of pairs of columns.
    half = random_resized_crop(jax.random.key(0), x, scale=(1.0, 1.0), ratio=(1.0, 1.0), size=8)
    pairs = x.reshape(3, 16, 8, 2, 1).mean(3)[:, ::2]
    np.testing.assert_allclose(half, pairs, atol=1e-5)
    keys = jax.random.split(jax.random.key(1), 40)
    windows = np.asarray(jax.jit(jax.vmap(lambda key: random_crop(key, x, size=12)))(keys))
    assert windows.shape == (40, 3, 12, 12, 1)
    left = np.round((windows - 10 * np.arange(3)[None, :, None, None, None])[..., 0, 0, 0] * 15).astype(int)
    assert set(left.ravel()) == {0, 1, 2, 3, 4}
    np.testing.assert_array_equal(windows[5, 1], x[1, 3:15, left[5, 1] : left[5, 1] + 12])
    for crop in (random_crop, random_resized_crop):
        with pytest.raises(InputError, match="at most 16"):
            crop(keys[0], x, size=17)


def test_a_view_of_an_image_does_not_depend_on_its_place():
    x = jax.random.normal(jax.random.key(1), (4, 12, 12, 3))
    view = jax.jit(lambda x: in_turn([VIEWS[name] for name in ("crop", "shift", "flip")])(jax.random.key(0), x))
    np.testing.assert_allclose(view(x[::-1])[::-1], view(x), atol=1e-5)
