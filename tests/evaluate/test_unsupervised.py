"""Scores without labels: golden values, closed forms, corners."""

import numpy as np
import pytest
from scipy.special import softmax

from dalib.core.checks import InputError
from dalib.evaluate import agreement, class_agreement, corr_c, dev_risk, rank_me
from tests.golden import golden, inputs


def test_golden():
    (g_t, f_t, w, loss, truth, found) = inputs("g_t", "f_t", "dev_w", "dev_loss", "labels_a", "labels_b")
    np.testing.assert_allclose(corr_c(softmax(g_t, 1)), golden("corr_c").value, rtol=1e-10)
    np.testing.assert_allclose(rank_me(f_t), golden("rankme.f_t").value, rtol=1e-10)
    np.testing.assert_allclose(dev_risk(w, loss).value, golden("dev.risk").value, rtol=1e-10)
    ours = agreement(truth.astype(int), found.astype(int))
    for name in ("ami", "v_measure", "ari", "fmi"):
        np.testing.assert_allclose(getattr(ours, name), golden(f"cluster.{name}").value, rtol=1e-10)


def test_golden_expected_mutual_information():
    from sklearn.metrics.cluster import contingency_matrix, expected_mutual_information

    a, b = (x.astype(int) for x in inputs("labels_a", "labels_b"))
    value = expected_mutual_information(contingency_matrix(a, b, sparse=True), len(a))
    np.testing.assert_allclose(value, golden("cluster.expected_mi").value, rtol=1e-10)


def test_corr_c_tells_balanced_from_collapsed():
    np.testing.assert_allclose(corr_c(np.eye(4)[np.arange(12) % 4]), 2, rtol=1e-12)
    np.testing.assert_allclose(corr_c(np.eye(4)[np.zeros(12, int)]), 1, rtol=1e-12)


def test_rank_of_equal_directions_and_of_nothing():
    np.testing.assert_allclose(rank_me(3 * np.eye(5)), 5, rtol=1e-12)
    assert rank_me(np.zeros((4, 3))) == 0.0


def test_dev_with_equal_weights_is_the_mean_loss():
    risk = dev_risk(np.full(6, 2.0), np.arange(6.0))
    assert (risk.value, risk.effective) == (5.0, 6.0)
    # A loss of 1 everywhere is a risk of 1 whatever the weights: the control variate takes their noise out.
    np.testing.assert_allclose(dev_risk(np.array([0.1, 5, 1, 2]), np.ones(4)).value, 1, rtol=1e-12)
    np.testing.assert_allclose(dev_risk(np.array([0.1, 5e6, 1]), np.ones(3), normalise=True).value, 1, rtol=1e-9)


def test_classes_that_are_clusters_agree():
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    features = 5 * np.eye(3)[labels] + rng.normal(size=(60, 3)) * 0.1
    assert class_agreement(features, (labels + 1) % 3, 3).ami == pytest.approx(1)
    assert class_agreement(features, rng.integers(0, 3, 60), 3).ami < 0.2


@pytest.mark.parametrize(
    "call",
    [
        lambda: corr_c(np.ones((3, 2))),
        lambda: rank_me(np.array([[np.nan]])),
        lambda: dev_risk([1.0, -1.0], [0.0, 1.0]),
        lambda: dev_risk([1.0], [0.0]),
        lambda: agreement([0, 1], [0, 1, 1]),
        lambda: class_agreement(np.ones((2, 2)), [0, 1], 3),
    ],
)
def test_bad_input(call):
    with pytest.raises(InputError):
        call()
