"""Transferability scores and Co-Tuning: golden values, an independent form, corners."""

import jax
import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import multivariate_normal

from dalib.core.checks import InputError
from dalib.transfer import category_relationship, co_tuning_loss, h_score, leep, log_me, trans_rate
from tests.golden import golden, inputs

RANK = {"log_me": log_me, "trans_rate": trans_rate, "h_score": h_score}


def data():
    f, y, p = inputs("rank_f", "rank_y", "rank_p")
    return f, y.astype(int), p


def test_golden():
    f, y, p = data()
    np.testing.assert_allclose(log_me(f, y), golden("rank.logme").value, rtol=1e-10)
    np.testing.assert_allclose(leep(p, y), golden("rank.leep").value, rtol=1e-10)
    np.testing.assert_allclose(trans_rate(f, y), golden("rank.transrate").value, rtol=1e-10)
    np.testing.assert_allclose(h_score(f, y), golden("rank.regularized_h_score").value, rtol=1e-10)


def test_golden_co_tuning():
    g_s, a_s = inputs("g_s", "a_s")
    case = golden("co_tuning")
    with jax.enable_x64(True):
        targets = softmax(a_s, 1)
        value, gradient = jax.value_and_grad(co_tuning_loss)(jax.numpy.asarray(g_s), targets)
    np.testing.assert_allclose(value, case.value, rtol=1e-10)
    np.testing.assert_allclose(gradient, case.gradients["g_s"], rtol=1e-10, atol=1e-14)


def test_evidence_is_that_of_the_marginal_gaussian():
    """log N(y; 0, I/β + F Fᵀ/α) / n at the fixed point, for one class of two and so for both."""
    rng = np.random.default_rng(0)
    f, y = rng.normal(size=(12, 3)), np.arange(12) % 2
    best = max(
        multivariate_normal(np.zeros(12), np.eye(12) / beta + f @ f.T / alpha).logpdf(y.astype(float)) / 12
        for alpha in np.geomspace(0.05, 500, 60)
        for beta in np.geomspace(0.3, 30, 60)
    )
    other = max(
        multivariate_normal(np.zeros(12), np.eye(12) / beta + f @ f.T / alpha).logpdf(1.0 - y) / 12
        for alpha in np.geomspace(0.05, 500, 60)
        for beta in np.geomspace(0.3, 30, 60)
    )
    ours = log_me(f, y, steps=500)
    assert ours <= (best + other) / 2 + 1e-2
    assert ours > (best + other) / 2 - 0.1


def test_informative_features_score_higher():
    rng = np.random.default_rng(1)
    y = np.arange(90) % 3
    good = 3 * np.eye(3)[y] + rng.normal(size=(90, 3))
    for score in RANK.values():
        assert score(good, y) > score(rng.permutation(good), y)


def test_relationship_is_the_mean_prediction_of_a_class():
    p = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8]])
    np.testing.assert_allclose(category_relationship(p, np.array([0, 0, 1]), 2), [[0.8, 0.2], [0.2, 0.8]])


def test_a_source_class_without_mass_is_left_out():
    p = np.array([[0.5, 0.5, 0.0], [0.1, 0.9, 0.0]])
    np.testing.assert_allclose(leep(p, np.array([0, 1])), leep(p[:, :2], np.array([0, 1])), rtol=1e-12)


@pytest.mark.parametrize(
    "call",
    [
        *(lambda s=s: s(np.ones((3, 2)), np.zeros(3, int)) for s in RANK.values()),
        lambda: log_me(np.ones((3, 2)), np.zeros(2, int)),
        lambda: leep(np.ones((2, 2)), np.array([0, 1])),
        lambda: category_relationship(np.full((2, 2), 0.5), np.array([0, 0]), 2),
        lambda: co_tuning_loss(np.ones((2, 3)), np.ones((2, 2))),
    ],
)
def test_bad_input(call):
    with pytest.raises(InputError):
        call()
