"""Explanations: completeness, linear models in closed form, planted evidence, and weights at random."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.evaluate.explanations import (
    class_score,
    domain_direction,
    domain_score,
    grad_cam,
    integrated_gradients,
    occlusion,
    randomised,
    similarity,
)

rng = np.random.default_rng(0)
PARAMS = {
    "a": jnp.asarray(rng.normal(size=(36, 12)), jnp.float32),
    "b": jnp.asarray(rng.normal(size=(12, 3)), jnp.float32),
}
IMAGES = jnp.asarray(rng.normal(size=(4, 6, 6, 1)), jnp.float32)


def net(params, x):
    return jnp.tanh(x.reshape(len(x), -1) @ params["a"] / 6) @ params["b"]


def logits_of(x):
    return net(PARAMS, x)


@pytest.mark.parametrize("baseline", [0.0, 0.5])
def test_integrated_gradients_are_complete(baseline):
    score = class_score(logits_of, jnp.array([0, 1, 2, 0]))
    found = integrated_gradients(score, IMAGES, baseline=baseline)
    assert found.shape == IMAGES.shape
    gap = score(IMAGES) - score(jnp.full_like(IMAGES, baseline))
    np.testing.assert_allclose(found.sum((1, 2, 3)), gap, rtol=1e-4, atol=1e-5)


def test_integrated_gradients_of_a_linear_score_are_its_terms():
    w = jnp.arange(5.0)
    x = jnp.asarray(rng.normal(size=(3, 5)), jnp.float32)
    np.testing.assert_allclose(integrated_gradients(lambda z: z @ w, x, steps=1), x * w[None], rtol=1e-5)
    # The rule with s points is exact up to the degree 2 s.
    np.testing.assert_allclose(integrated_gradients(lambda z: (z**4).sum(1), x, steps=2), x**4, rtol=1e-4, atol=1e-6)


def test_grad_cam_of_pooled_maps():
    """Behind global pooling the gradient is the head's weight over h · w: the map is the weighted sum of channels."""
    maps = jnp.asarray(rng.normal(size=(2, 3, 3, 4)), jnp.float32)
    w = jnp.asarray(rng.normal(size=4), jnp.float32)
    found = grad_cam(lambda z: z.mean((1, 2)) @ w, maps)
    np.testing.assert_allclose(found, np.maximum(maps @ w / 9, 0), rtol=1e-4, atol=1e-6)
    series = grad_cam(lambda z: z.mean(1) @ w, maps[:, 0])
    assert series.shape == (2, 3) and (series >= 0).all()


def test_occlusion_finds_what_the_score_reads():
    x = rng.normal(size=(2, 6, 6, 1))
    found = occlusion(lambda z: z[:, 2, 3, 0], x, window=(2, 2))
    np.testing.assert_allclose(found[:, 2:4, 2:4], x[:, 2, 3, :][:, :, None] * np.ones((2, 2, 2)))
    assert np.count_nonzero(found[0]) == 4
    # Windows that overlap: the mean over those that cover a place. The last one ends with the input.
    row = occlusion(lambda z: z[:, 4], np.ones((1, 5)), window=(2,), stride=(3,))
    np.testing.assert_allclose(row, [[0, 0, 0, 1, 1]])
    tokens = np.array([[5, 6, 7]])
    np.testing.assert_allclose(occlusion(lambda z: (z == 6).sum(1), tokens, window=(1,), value=0), [[0, 1, 0]])


def test_what_says_target_is_what_differs():
    """One pixel is brighter in the target; the explanation of the domain classifier points at it."""
    source = rng.normal(size=(80, 6, 6, 1)).astype(np.float32)
    target = rng.normal(size=(80, 6, 6, 1)).astype(np.float32)
    target[:, 1, 4] += 4

    def features_of(x):
        return x.reshape(len(x), -1)

    direction = domain_direction(features_of(source), features_of(target))
    score = domain_score(features_of, direction)
    right = np.concatenate([score(source) < 0, score(target) > 0])
    assert right.mean() > 0.95
    found = np.asarray(integrated_gradients(score, target)).mean((0, 3))
    assert np.unravel_index(found.argmax(), found.shape) == (1, 4)
    covered = occlusion(score, target[:5], window=(1, 1)).mean(0)
    assert np.unravel_index(covered.argmax(), covered.shape) == (1, 4)


def test_explanations_change_with_the_weights():
    """The sanity check: with weights in random places the attributions are others."""
    score = class_score(logits_of, 0)
    twin = randomised(PARAMS, jax.random.key(1))
    assert jax.tree.map(jnp.shape, twin) == jax.tree.map(jnp.shape, PARAMS)
    np.testing.assert_allclose(np.sort(twin["a"].ravel()), np.sort(PARAMS["a"].ravel()))
    many = jnp.asarray(rng.normal(size=(12, 6, 6, 1)), jnp.float32)
    mine = integrated_gradients(score, many)
    theirs = integrated_gradients(class_score(lambda x: net(twin, x), 0), many)
    covered = [occlusion(class_score(lambda x, p=p: net(p, x), 0), many, window=(2, 2)) for p in (PARAMS, twin)]
    assert similarity(mine, mine) == pytest.approx(1) and similarity(mine, theirs) < 0.6
    assert abs(similarity(*covered)) < 0.5


@pytest.mark.parametrize(
    "call",
    [
        lambda: integrated_gradients(logits_of, IMAGES),
        lambda: integrated_gradients(class_score(logits_of, 0), IMAGES, steps=0),
        lambda: integrated_gradients(lambda z: z.sum(1), np.ones((2, 3), int)),
        lambda: class_score(logits_of, 0.5),
        lambda: grad_cam(lambda z: z.sum(1), np.ones((2, 3))),
        lambda: occlusion(lambda z: z.sum(1), np.ones((2, 3)), window=(4,)),
        lambda: occlusion(lambda z: z.sum(1), np.ones((2, 3)), window=()),
        lambda: occlusion(lambda z: z, np.ones((2, 3)), window=(1,)),
        lambda: domain_direction(np.ones((2, 3)), np.ones((2, 4))),
        lambda: similarity(np.ones(3), np.ones(3)),
    ],
)
def test_bad_input(call):
    with pytest.raises(InputError):
        call()
