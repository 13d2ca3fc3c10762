"""Importance weights against closed forms and conditions of optimality."""

import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.methods.classic import effective_sample_size, kliep, odds, ulsif
from dalib.methods.classic.shallow import squared_distances
from tests.methods.classic.test_contract import samples

METHODS = {"kliep": kliep, "ulsif": ulsif, "odds": odds}


def _gaussians(spread: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """600 rows of N(0, 1) and 500 of N(½, spread²), with the true ratio of densities at the source rows."""
    rng = np.random.default_rng(2)
    source, target = rng.normal(size=(600, 1)), 0.5 + spread * rng.normal(size=(500, 1))
    log_ratio = -np.log(spread) - ((source - 0.5) / spread) ** 2 / 2 + source**2 / 2
    return source, target, np.exp(log_ratio[:, 0])


# The logarithm of the ratio is linear only for equal spreads, which the discriminator needs and the kernels do not.
@pytest.mark.parametrize(("name", "spread", "error"), [("kliep", 0.75, 0.3), ("ulsif", 0.75, 0.35), ("odds", 1.0, 0.2)])
def test_weights_estimate_the_ratio_of_densities(name, spread, error):
    source, target, truth = _gaussians(spread)
    fitted = METHODS[name]().fit(source, None, target)
    assert np.abs(fitted.weights - truth).mean() < error * np.abs(1 - truth).mean()
    # What they are for: the target's mean from source rows (0.5; unweighted it is near 0).
    assert abs((fitted.weights * source[:, 0]).mean() - target.mean()) < 0.15
    if name == "odds":
        assert 0.55 < fitted.info["domain_accuracy"] < 0.65  # Bayes: Φ(¼) = 0.599


@pytest.mark.parametrize("name", METHODS)
def test_equal_domains_give_nearly_equal_weights_and_the_features_stay(name):
    source, _, target = samples()
    fitted = METHODS[name]().fit(source, None, source)
    assert fitted.info["effective_sample_size"] > 0.97 * len(source)
    np.testing.assert_array_equal(fitted.source, source)
    far = METHODS[name]().fit(source, None, target)
    assert far.info["effective_sample_size"] < fitted.info["effective_sample_size"]


def test_kliep_satisfies_the_conditions_of_its_maximum():
    source, _, target = samples()
    fitted = kliep(bandwidth=2.0, tolerance=1e-9, max_iterations=200_000).fit(source, None, target)
    assert fitted.info["converged"]
    basis = [np.exp(-squared_distances(x, target) / 8) for x in (source, target)]
    # Recover α from the weights (17 equations, 11 unknowns) and check growth ≤ 1, = 1 where α > 0.
    alpha = np.linalg.lstsq(basis[0], fitted.weights, rcond=None)[0]
    growth = (basis[1] / (basis[1] @ alpha)[:, None]).mean(0) / basis[0].mean(0)
    assert alpha.min() > -1e-5 and growth.max() < 1 + 1e-4
    np.testing.assert_allclose(growth[alpha > 1e-3], 1, atol=1e-3)


def test_ulsif_with_one_centre_by_hand():
    source, target = np.array([[0.0], [2.0]]), np.array([[0.0]])
    # One basis function: 1 and e^-2 at the source; any α > 0 gives the same weights after division by their mean.
    weights = ulsif(bandwidth=1.0).fit(source, None, target).weights
    expected = np.array([1, np.exp(-2)])
    np.testing.assert_allclose(weights, expected / expected.mean(), rtol=1e-12)


def test_ulsif_minimises_the_regularised_square():
    source, _, target = samples(60, 9)
    weights = ulsif(bandwidth=6.0, regularization=5.0).fit(source, None, target).weights
    basis = [np.exp(-squared_distances(x, target) / 72) for x in (source, target)]
    normal = basis[0].T @ basis[0] / 60 + 5 * np.eye(9)
    alpha = np.linalg.inv(normal) @ basis[1].mean(0)
    assert alpha.min() > 0  # nothing is clipped here
    expected = basis[0] @ alpha
    np.testing.assert_allclose(weights, expected / expected.mean(), rtol=1e-9)


def test_odds_are_those_of_scikit_learn():
    linear = pytest.importorskip("sklearn.linear_model")
    source, _, target = samples(60, 40)
    pooled = np.concatenate([source, target])
    pooled = (pooled - pooled.mean(0)) / pooled.std(0)
    model = linear.LogisticRegression(C=0.5, tol=1e-10, max_iter=10_000).fit(pooled, np.arange(100) >= 60)
    expected = np.exp(model.decision_function(pooled[:60]))
    weights = odds(regularization=2.0).fit(source, None, target).weights
    np.testing.assert_allclose(weights, expected / expected.mean(), rtol=1e-4)


def test_odds_of_domains_with_equal_means_are_one():
    source, _, target = samples(60, 40)
    fitted = odds().fit(source - source.mean(0), None, 3 * (target - target.mean(0)))
    np.testing.assert_allclose(fitted.weights, 1, atol=1e-6)


def test_effective_sample_size():
    assert effective_sample_size(np.ones(7)) == pytest.approx(7)
    assert effective_sample_size(np.array([5.0, 0, 0])) == pytest.approx(1)
    assert effective_sample_size(1e200 * np.array([1.0, 3])) == pytest.approx(1.6)
    for weights in (np.zeros(3), np.array([1.0, -1]), np.array([np.nan]), np.ones((2, 2))):
        with pytest.raises(InputError, match="weights"):
            effective_sample_size(weights)


def test_domains_far_apart():
    source, _, target = samples()
    with pytest.raises(InputError, match="overlap"):
        ulsif(bandwidth=0.1).fit(source, None, target + 100)
    fitted = kliep(bandwidth=0.1).fit(source, None, target + 100)  # in logarithms nothing underflows
    assert fitted.info["effective_sample_size"] < 3


def test_doors():
    for method, arguments, word in (
        (kliep, {"bandwidth": 0.0}, "bandwidth"),
        (kliep, {"centres": 0}, "centres"),
        (kliep, {"tolerance": 0}, "tolerance"),
        (ulsif, {"regularization": -1.0}, "regularization"),
        (ulsif, {"bandwidth": -1.0}, "bandwidth"),
        (odds, {"regularization": 0}, "regularization"),
    ):
        with pytest.raises(InputError, match=word):
            method(**arguments)
