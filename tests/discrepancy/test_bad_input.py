"""Doors that the contract of two samples does not reach: one argument, pairs of predictions, weights, labels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib import discrepancy as D
from dalib.core.checks import InputError

A, B, ROW = jnp.ones((8, 5)), jnp.ones((8, 4)), jnp.ones(5)

BAD = {
    "classifier_discrepancy": lambda: D.classifier_discrepancy(A, B),
    "squared_consistency": lambda: D.squared_consistency(A, B),
    "confusion_consistency": lambda: D.confusion_consistency(A, B),
    "pseudo_label_loss": lambda: D.pseudo_label_loss(A, B),
    "margin_disparity, heads": lambda: D.margin_disparity(A, B, A, A),
    "margin_disparity, domains": lambda: D.margin_disparity(A, A, B, B),
    "regression_disparity, domains": lambda: D.regression_disparity(A, A, B, B),
    "log_one_minus_probability": lambda: D.log_one_minus_probability(A, jnp.zeros(7, int)),
    "class_mmd2, labels": lambda: D.class_mmd2(A, A, jnp.zeros(8), A),
    "class_mmd2, probabilities": lambda: D.class_mmd2(A, A, jnp.zeros(8, int), A[:7]),
    "covariance": lambda: D.covariance(A[:1]),
    "covariance, one row": lambda: D.covariance(ROW),
    "nuclear_norm": lambda: D.nuclear_norm(ROW),
    "entropies": lambda: D.entropies(ROW),
    "class_confusion, weights": lambda: D.class_confusion(A, weights=jnp.ones(7)),
    "class_confusion, mask": lambda: D.class_confusion(A, mask=jnp.ones((8, 1), bool)),
    "afn": lambda: D.afn(jnp.ones((3, 3), int)),
    "bsp": lambda: D.bsp(A, count=6),
    "bss": lambda: D.bss(ROW),
    "sinkhorn": lambda: D.sinkhorn(ROW, epsilon=1.0),
    "wasserstein_1d": lambda: D.wasserstein_1d(ROW, A),
    "sliced_wasserstein": lambda: D.sliced_wasserstein(A, A, directions=jnp.ones((4, 3))),
    "random_directions": lambda: D.random_directions(jax.random.key(0), 0, 3),
    "kernel_variance": lambda: D.kernel_variance(A, B),
    "gaussian_gram": lambda: D.gaussian_gram(A, B),
    "mean_squared_distance": lambda: D.mean_squared_distance(A, B),
}


@pytest.mark.parametrize("name", BAD)
def test_refused(name):
    with pytest.raises(InputError, match=r"got .*\n.*expected: "):
        BAD[name]()


@pytest.mark.slow
def test_labels_that_name_no_class_are_defined():
    x, y = (jax.random.normal(jax.random.key(i), (6, 3)) for i in range(2))
    p = jax.nn.softmax(y)
    known, unknown = jnp.array([0, 1, 2, 0, 1, 2]), jnp.array([0, 1, 2, 0, -1, 7])
    expected = D.class_mmd2(x[:4], y, known[:4], p, bandwidth=1.0)
    np.testing.assert_allclose(D.class_mmd2(x, y, unknown, p, bandwidth=1.0), expected, rtol=1e-5)
    assert D.class_mmd2(x, y, jnp.full(6, 9), p) == 0
    np.testing.assert_array_equal(D.log_one_minus_probability(x, jnp.full(6, -1)), np.zeros(6))
