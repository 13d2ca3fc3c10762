"""Scores of unlabelled target predictions: golden values, the reference's constructed cases, vmap, corners."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.evaluate import TARGET_SCORES, cluster_agreement, corr_c, target_scores
from tests.golden import golden, inputs

N, K = 600, 10
scores = jax.jit(target_scores)


def one_hot(labels, scale=1e4):
    return jnp.asarray(scale * np.eye(K, dtype=np.float32)[labels])


def test_golden():
    (g_t, f_t) = inputs("g_t", "f_t")
    found = scores(jnp.asarray(f_t), jnp.asarray(g_t))
    assert set(found) == {*TARGET_SCORES, "largest_class"}
    n, classes = g_t.shape
    expected = {
        "entropy": -golden("entropy.exact").value,
        "im": golden("im").value,
        "bnm": -golden("bnm.neg_over_n").value * np.sqrt(n / min(n, classes)),
        "corr_c": golden("corr_c").value,
        "snd": golden("snd.T0.05.probs").value,
    }
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=2e-5, err_msg=name)
    np.testing.assert_allclose(found["corr_c"], corr_c(jax.nn.softmax(jnp.asarray(g_t))), rtol=1e-5)


@pytest.mark.parametrize(
    ("labels", "scale", "expected"),
    [  # −entropy, IM, BNM normalised, Corr-C, SND, largest class, V-measure with features = class directions
        ("balanced", 1e4, (0, 2.3026, 1, 3.1623, 4.0775, 0.1, 1)),
        ("permuted", 1e4, (0, 2.3026, 1, 3.1623, 4.0775, 0.1, 1)),
        ("collapsed", 1e4, (0, 0, 0.3162, 1, 6.3953, 1, 0)),
        ("balanced", 0, (-2.3026, 0, 0.1, 1, 6.3953, 1, 0)),
        ("balanced", 4, (-0.7186, 1.5839, 0.8585, 3.1406, 4.0775, 0.1, 1)),
    ],
)
def test_constructed_cases(labels, scale, expected):
    truth = np.arange(N) % K
    predicted = {"balanced": truth, "permuted": (truth + 3) % K, "collapsed": np.zeros(N, int)}[labels]
    found = scores(one_hot(truth, 1.0), one_hot(predicted, scale))
    names = ("entropy", "im", "bnm", "corr_c", "snd", "largest_class", "v_measure")
    np.testing.assert_allclose([found[n] for n in names], expected, atol=2e-3)


def test_agreement_is_that_of_scikit_learn_on_separated_clusters():
    from sklearn.metrics import v_measure_score

    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, 200)
    features = (8 * np.eye(4)[truth] + rng.normal(size=(200, 4))).astype(np.float32)
    predicted = np.where(rng.random(200) < 0.25, rng.integers(0, 4, 200), truth)
    # The clusters are found whatever the predictions: what is left is their agreement with the truth.
    found = cluster_agreement(jnp.asarray(features), jnp.asarray(predicted), 4)
    np.testing.assert_allclose(found, v_measure_score(truth, predicted), rtol=1e-4)
    assert cluster_agreement(jnp.asarray(features), jnp.asarray(rng.integers(0, 4, 200)), 4) < 0.3


def test_members_of_a_population_as_one_by_one():
    rng = np.random.default_rng(1)
    features, logits = (jnp.asarray(rng.normal(size=(3, 40, d)).astype(np.float32)) for d in (6, 5))
    together = jax.jit(jax.vmap(target_scores))(features, logits)
    for i in range(3):
        alone = scores(features[i], logits[i])
        for name, value in alone.items():
            np.testing.assert_allclose(together[name][i], value, rtol=1e-4, atol=1e-5, err_msg=name)


def test_degenerate_inputs_are_finite_and_bad_ones_refused():
    for features in (jnp.zeros((7, 3)), jnp.ones((7, 3))):
        found = scores(features, jnp.full((7, 4), -1e4).at[:, 1].set(1e4))
        assert all(np.isfinite(value) for value in found.values())
        assert found["v_measure"] == 0 and found["largest_class"] == 1
    with pytest.raises(InputError, match="one n"):
        target_scores(jnp.ones((3, 2)), jnp.ones((4, 2)))
    with pytest.raises(InputError):
        target_scores(jnp.ones(3), jnp.ones((3, 2)))
