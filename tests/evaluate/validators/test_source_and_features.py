"""Scores from source labels, features and several passes: closed forms and scikit-learn."""

import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.evaluate import class_agreement
from dalib.evaluate.validators import (
    density_ratio,
    ensemble_agreement,
    mix_accuracy,
    proxy_a_distance,
    reverse_accuracy,
    silhouette,
    transfer_score,
)
from dalib.evaluate.validators.clusters import clusters
from dalib.evaluate.validators.consensus import mean_rank
from dalib.evaluate.validators.domains import coral, mmd, nearest_domain
from dalib.evaluate.validators.features import hopkins, saturated, uniformity
from dalib.evaluate.validators.risk import effective_size, importance_weighted_risk, source_accuracy

rng = np.random.default_rng(0)


def test_density_ratio_of_gaussians():
    """Of N(1, 1) over N(0, 1) it is exp(x − ½)."""
    draw = np.random.default_rng(1)
    at = np.linspace(-1, 2, 7)[:, None]
    found = density_ratio(draw.normal(size=(4000, 1)), 1 + draw.normal(size=(2000, 1)), at)
    np.testing.assert_allclose(found, np.exp(at[:, 0] - 0.5), rtol=0.2)


def test_weighted_risk_is_the_targets():
    """Weights from the true densities carry the error rate over: losses are 1 above 0."""
    draw = np.random.default_rng(2)
    x = draw.normal(size=20000)
    w, loss = np.exp(x - 0.5), (x > 0).astype(float)
    assert importance_weighted_risk(w, loss) == pytest.approx(0.8413, abs=0.02)  # P(N(1, 1) > 0)
    assert effective_size(w) == pytest.approx(20000 / np.e, rel=0.2)  # E[w²] = e
    assert effective_size(np.ones(7)) == pytest.approx(7)


def test_source_accuracy_is_scikit_learns():
    metrics = pytest.importorskip("sklearn.metrics")
    z, y = rng.normal(size=(30, 4)), rng.integers(4, size=30)
    assert source_accuracy(z, y) == metrics.accuracy_score(y, z.argmax(1))


def test_silhouette_and_agreement_are_scikit_learns():
    metrics = pytest.importorskip("sklearn.metrics")
    x, y = rng.normal(size=(50, 3)), rng.integers(3, size=50)
    assert silhouette(x, y) == metrics.silhouette_score(x, y)
    assert np.isnan(silhouette(x, np.zeros(50, int)))
    found = class_agreement(x, y, 3, start="classes")
    own = clusters(x, y, 3, start="classes")
    expected = metrics.adjusted_mutual_info_score(y, own), metrics.fowlkes_mallows_score(y, own)
    assert (found.ami, found.fmi) == pytest.approx(expected)


def test_clusters_begin_at_the_classes():
    """Means of separated classes are a fixed point: clusters are numbered as the classes are."""
    y = np.arange(40) % 4
    np.testing.assert_array_equal(clusters(8 * np.eye(4)[y] + rng.normal(size=(40, 4)) * 0.1, y, 4, start="classes"), y)


def test_alignment():
    x, near, far = rng.normal(size=(60, 4)), rng.normal(size=(60, 4)), 9 + 3 * rng.normal(size=(60, 4))
    for score in (mmd, coral, nearest_domain):
        assert score(x, far) < score(x, near) <= 0
    assert nearest_domain(x, far) == pytest.approx(-1, abs=0.05)
    assert proxy_a_distance(x, far) > 1.8 and abs(proxy_a_distance(x, near)) < 1
    assert mmd(x, x) == pytest.approx(0, abs=1e-6) and coral(x, x) == pytest.approx(0, abs=1e-6)


def test_transfer_score_of_a_simplex():
    """Class weights at the corners of a simplex are spread as far as can be; clusters of balanced classes score 2."""
    corners = np.eye(4) - 0.25
    assert uniformity(corners) == pytest.approx(0, abs=1e-12)
    assert uniformity(np.ones((3, 2))) == pytest.approx(np.pi**2)
    y = np.arange(200) % 4
    x = 50 * np.eye(4)[y] + 0.01 * rng.normal(size=(200, 4))
    assert transfer_score(corners, x, 1e3 * np.eye(4)[y]) == pytest.approx(2, abs=1e-3)
    assert hopkins(rng.uniform(size=(2000, 2)), share=0.5) == pytest.approx(0.5, abs=0.05)
    assert np.isnan(hopkins(np.ones((5, 3))))


def test_saturation():
    assert saturated([1, 2, 3, 3.01, 3.0, 3.01]) == 4
    assert saturated([1, 2, 3]) is None and saturated([1.0]) is None


def test_ensemble_agreement():
    """Two of three say class 0 on the first row; all agree on the second."""
    a, b = np.array([[3.0, 0], [0, 3.0]]), np.array([[0, 3.0], [0, 3.0]])
    np.testing.assert_allclose(ensemble_agreement([a, a, b]), [1, 1, 0.5])
    np.testing.assert_allclose(ensemble_agreement([a]), [1])


def test_mixtures():
    z = np.eye(2)[[0, 0, 1, 1]] * 5
    mixed = np.eye(2)[[0, 1, 1, 1]] * 5
    assert mix_accuracy(z, mixed, np.array([1, 0, 0, 3])) == (pytest.approx(2 / 3), 1.0)
    assert np.isnan(mix_accuracy(np.eye(2)[[0, 0]], np.eye(2)[[0, 0]], np.array([1, 0])).inter)


def test_mean_rank():
    np.testing.assert_allclose(mean_rank([[1, 2, 3], [3, 2, 9]]), [0.25, 0.25, 1])
    np.testing.assert_allclose(mean_rank([[np.nan, 1.0]]), [0, 1])


def test_reverse_accuracy_takes_any_training():
    y = np.arange(30) % 3
    x = 5 * np.eye(3)[y] + rng.normal(size=(30, 3)) * 0.1
    assert reverse_accuracy(x, y, x, y) == 1
    assert reverse_accuracy(x, (y + 1) % 3, x, y) == 0  # pseudo-labels that are permuted
    assert reverse_accuracy(x, np.zeros(30, int), x, y) == pytest.approx(1 / 3)
    assert reverse_accuracy(x, y, x, y, fit=lambda a, b: lambda rows: np.zeros(len(rows), int)) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    "call",
    [
        lambda: density_ratio(np.ones((3, 2)), np.ones((9, 2)), np.ones((2, 2))),
        lambda: effective_size([0.0, 0.0]),
        lambda: proxy_a_distance(np.ones((9, 2)), np.ones((9, 3))),
        lambda: mmd(np.ones((9, 2)), np.full((9, 2), np.nan)),
        lambda: coral(np.ones((1, 2)), np.ones((9, 2))),
        lambda: uniformity(np.zeros((3, 2))),
        lambda: hopkins(np.ones((9, 2)), share=0),
        lambda: saturated([1.0], window=1),
        lambda: ensemble_agreement([]),
        lambda: ensemble_agreement([np.ones((2, 3)), np.ones((3, 3))]),
        lambda: mix_accuracy(np.ones((2, 3)), np.ones((2, 3)), [0, 2]),
        lambda: reverse_accuracy(np.ones((2, 3)), [0], np.ones((2, 3)), [0, 1]),
        lambda: clusters(np.ones((9, 2)), np.zeros(9, int), 2, start="means"),
    ],
)
def test_bad_input(call):
    with pytest.raises(InputError):
        call()
