"""Random views: what they do to an example, and that they depend on nothing but the key and the example."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.methods.parts import augmentation as A

KEY = jax.random.key(7)
IMAGES = np.random.default_rng(0).normal(size=(6, 8, 8, 2)).astype(np.float32)
VECTORS = np.random.default_rng(1).normal(size=(6, 5)).astype(np.float32)
TOKENS = np.arange(12, dtype=np.int32).reshape(6, 2)


@pytest.mark.parametrize("view", [A.default_weak, A.default_strong])
@pytest.mark.parametrize("inputs", [IMAGES, VECTORS, TOKENS], ids=["images", "vectors", "tokens"])
def test_views_follow_the_example_and_not_its_place(view, inputs):
    view = jax.jit(view)
    seen, order = view(KEY, inputs), np.array([3, 1, 5, 0, 2, 4])
    assert seen.shape == inputs.shape and seen.dtype == inputs.dtype
    np.testing.assert_array_equal(view(KEY, inputs[order]), seen[order])
    again = view(jax.random.key(8), inputs)
    if inputs is TOKENS:
        np.testing.assert_array_equal(seen, inputs)
    else:
        assert (np.asarray(seen) != np.asarray(again)).any() and (np.asarray(seen) != inputs).any()


def test_draws_are_the_same_in_float64():
    single = A.gaussian_noise(KEY, jnp.asarray(VECTORS))
    with jax.enable_x64(True):
        double = A.gaussian_noise(KEY, jnp.asarray(VECTORS, jnp.float64))
        assert double.dtype == jnp.float64
    np.testing.assert_allclose(double, single, atol=1e-6)


def test_keys_differ_between_examples_and_pass_through():
    keys = A.row_keys(KEY, jnp.asarray(VECTORS))
    assert len(np.unique(jax.random.key_data(keys), axis=0)) == 6
    assert A.row_keys(keys, jnp.asarray(VECTORS)) is keys
    nudged = VECTORS.copy()
    nudged[2, 3] = np.nextafter(nudged[2, 3], np.float32(9))
    changed = (jax.random.key_data(A.row_keys(KEY, jnp.asarray(nudged))) != jax.random.key_data(keys)).any(1)
    np.testing.assert_array_equal(changed, np.arange(6) == 2)


def test_shift_moves_each_image_within_its_bounds():
    seen = np.asarray(A.random_shift(KEY, jnp.asarray(IMAGES), fraction=0.25))
    padded = np.pad(IMAGES, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="edge")
    found = []
    for i, image in enumerate(seen):
        places = [(r, c) for r in range(5) for c in range(5) if (padded[i, r : r + 8, c : c + 8] == image).all()]
        assert len(places) == 1
        found += places
    assert len(set(found)) > 1
    np.testing.assert_array_equal(A.random_shift(KEY, jnp.asarray(IMAGES), fraction=0.0), IMAGES)


def test_flip_cutout_and_contrast():
    images = jnp.asarray(IMAGES)
    np.testing.assert_array_equal(A.horizontal_flip(KEY, images, probability=1.0), IMAGES[:, :, ::-1])
    np.testing.assert_array_equal(A.horizontal_flip(KEY, images, probability=0.0), IMAGES)
    cut = np.asarray(A.cutout(KEY, images, fraction=0.5)) != IMAGES
    # A rectangle of 4 × 4 that may leave the image by half on each side.
    area = cut.any(-1).sum((1, 2))
    assert (area >= 4).all() and (area <= 16).all()
    for image in cut.any(-1):
        assert image.sum() == image.any(0).sum() * image.any(1).sum()
    np.testing.assert_allclose(A.brightness_contrast(KEY, images, strength=0.0), IMAGES, atol=1e-6)
    brighter = np.asarray(A.brightness_contrast(KEY, images, strength=0.4))
    ratio = brighter.std((1, 2, 3)) / IMAGES.std((1, 2, 3))
    assert (ratio > 0.59).all() and (ratio < 1.41).all() and ratio.std() > 0.01


def test_rotation_turns_about_the_middle_by_at_most_its_degrees():
    from scipy.ndimage import rotate

    images = jnp.asarray(IMAGES)
    np.testing.assert_allclose(A.random_rotation(KEY, images, degrees=0.0), IMAGES, atol=1e-6)
    drawn = np.asarray(A.draw_rows(jax.random.uniform, KEY, images, dtype=jnp.float32, minval=-1.0))
    assert np.abs(drawn).max() <= 1 and drawn.std() > 0.1
    seen = A.random_rotation(KEY, images, degrees=30.0)
    for image, turned, share in zip(IMAGES, seen, drawn, strict=True):
        expected = rotate(image, 30.0 * share, reshape=False, order=1, mode="nearest")
        np.testing.assert_allclose(turned, expected, atol=1e-4)


def test_constant_images_are_finite_and_other_shapes_are_refused():
    assert np.isfinite(A.default_strong(KEY, jnp.ones((2, 8, 8, 1)), flip=True)).all()
    with pytest.raises(InputError, match=r"\[n, h, w, c\]"):
        A.cutout(KEY, jnp.asarray(VECTORS))
