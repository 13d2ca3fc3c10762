"""Diagnostics: closed forms, the package's own discrepancies, and data with a known shift."""

import jax.numpy as jnp
import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.discrepancy import mmd2
from dalib.evaluate import diagnostics as d
from dalib.evaluate.diagnostics.worth import cramers_v
from tests.evaluate.validators.cases import evidence

rng = np.random.default_rng(0)
X, NEAR, FAR = rng.normal(size=(60, 4)), rng.normal(size=(60, 4)), 2 + rng.normal(size=(60, 4))


def test_mmd_test_tells_a_shift_from_none():
    found = d.mmd_test(X, FAR)
    assert found.p_value == pytest.approx(1 / 201)
    assert found.statistic == pytest.approx(
        float(mmd2(jnp.asarray(X, jnp.float32), jnp.asarray(FAR, jnp.float32))), rel=1e-4
    )
    assert d.mmd_test(X, NEAR).p_value > 0.02
    assert d.mmd_test(np.ones((5, 2)), np.ones((4, 2))).p_value == 1


def test_p_values_are_uniform_without_a_shift():
    draw = np.random.default_rng(1)
    values = [
        d.mmd_test(draw.normal(size=(20, 2)), draw.normal(size=(25, 2)), permutations=40).p_value for _ in range(60)
    ]
    assert 0.35 < np.mean(values) < 0.65 and np.mean(np.array(values) < 0.2) < 0.4


def test_tiles_change_rounding_only():
    whole, tiles = (d.mmd_test(X, NEAR, tile=tile) for tile in (512, 7))
    assert tiles == pytest.approx(whole, rel=1e-9)


def test_class_distances():
    labels = np.arange(60) % 3
    x = 6 * np.eye(3)[labels] + 0.1 * rng.normal(size=(60, 3))
    found = d.class_distances(x, labels, x + 0.01, labels, 3)
    assert (found.own < 0.3).all() and (found.other > 10).all()
    moved = d.class_distances(x, labels, x, (labels + 1) % 3, 3)  # permuted predictions are nearer to another class
    assert (moved.other < moved.own).all()
    lost = d.class_distances(x, labels, x[labels == 0], labels[labels == 0], 3)
    assert np.isfinite(lost.own[0]) and np.isnan(lost.own[1:]).all()


def test_duplicates_between_domains():
    target = np.concatenate([NEAR[:5], X[[7, 3]], 2 * X[[9]]])
    found = d.near_duplicates(X, target)
    assert sorted(zip(found.target.tolist(), found.source.tolist(), strict=True)) == [(5, 7), (6, 3), (7, 9)]
    assert not len(d.near_duplicates(X, NEAR).target)


def test_nearest_sources_are_scikit_learns():
    neighbors = pytest.importorskip("sklearn.neighbors")
    found = d.nearest_sources(X, NEAR, k=3)
    distance, rows = neighbors.NearestNeighbors(n_neighbors=3, metric="cosine").fit(X).kneighbors(NEAR)
    np.testing.assert_array_equal(found.rows, rows)
    np.testing.assert_allclose(found.cosine, 1 - distance, atol=1e-9)


def test_most_changed():
    before = np.log(np.array([[0.9, 0.1], [0.5, 0.5], [0.8, 0.2]]))
    after = np.log(np.array([[0.9, 0.1], [0.1, 0.9], [0.6, 0.4]]))
    found = d.most_changed(before, after, k=2)
    assert found.rows.tolist() == [1, 2] and found.distance == pytest.approx([0.4, 0.2])
    assert (found.before[0], found.after[0]) == (0, 1)


def test_recall_shift():
    found = d.recall_shift([[50, 50, 0], [0, 10, 0], [0, 0, 0]], [[90, 10, 0], [5, 5, 0], [0, 0, 0]])
    np.testing.assert_allclose(found.difference, [0.4, -0.5, np.nan])
    assert found.half_width[0] == pytest.approx(1.96 * np.sqrt((0.25 + 0.09) / 100))


@pytest.mark.parametrize(
    ("method", "verdict"),
    [
        ([0.8, 0.82, 0.81], "positive"),
        ([0.4, 0.42, 0.41], "negative"),
        ([0.5, 0.7, 0.6], "undecided"),
        ([0.9], "too few seeds"),
    ],
)
def test_transfer(method, verdict):
    found = d.transfer(method, [0.6] * len(method))
    assert found.verdict == verdict and found.low <= found.difference <= found.high


def test_bias_by_attribute():
    """The model reads the camera: all of camera a is class 0, though the classes are independent of the camera."""
    camera = np.array(["a", "a", "b", "b"] * 10)
    found = d.bias_by_attribute((camera == "b").astype(int), camera, 2, labels=np.array([0, 1] * 20))
    assert found.values.tolist() == ["a", "b"] and found.counts.tolist() == [20, 20]
    np.testing.assert_allclose(found.shares, [[1, 0], [0, 1]])
    np.testing.assert_allclose(found.accuracy, [0.5, 0.5])
    assert found.association == pytest.approx(1) and found.of_labels == pytest.approx(0)
    assert np.isnan(d.bias_by_attribute(np.zeros(4, int), np.arange(4), 2).association)
    assert cramers_v([[10, 20], [30, 5]]) == pytest.approx((20 * 30 - 10 * 5) / np.sqrt(30 * 35 * 40 * 25))


def test_ideal_joint_error():
    labels = np.arange(60) % 3
    x = 6 * np.eye(3)[labels] + 0.1 * rng.normal(size=(60, 3))
    assert d.ideal_joint_error(x, labels, x, labels) == 0
    assert d.ideal_joint_error(x, labels, x, (labels + 1) % 3) > 0.7  # classes that mean something else


def test_kinds_of_shift():
    """Only frequencies differ: after resampling nothing is left. A moved target leaves something."""
    draw = np.random.default_rng(4)

    def rows(prior, n, move=0.0):
        y = draw.choice(3, size=n, p=prior)
        return 4 * np.eye(3)[y] + draw.normal(size=(n, 3)) + move, y

    (x, y), (lopsided, _), (moved, _) = rows([1 / 3] * 3, 300), rows([0.8, 0.1, 0.1], 200), rows([1 / 3] * 3, 200, 1.0)
    base = {"source_features": x, "source_logits": 2 * x, "source_labels": y}
    few = d.shifts(evidence_of(lopsided, base), permutations=100)
    assert few.inputs.p_value < 0.02 < few.left.p_value
    np.testing.assert_allclose(few.frequencies.priors, [0.8, 0.1, 0.1], atol=0.08)
    assert d.shifts(evidence_of(moved, base), permutations=100).left.p_value < 0.02
    assert "cannot be told" in few.concept


def evidence_of(target, base):
    from dalib.evaluate import Evidence

    return Evidence(target_logits=2 * target, target_features=target, **base)


@pytest.mark.parametrize(
    "call",
    [
        lambda: d.mmd_test(X, np.ones((3, 5))),
        lambda: d.mmd_test(X, NEAR, permutations=0),
        lambda: d.class_distances(X, np.zeros(60, int), X, np.full(60, 3), 3),
        lambda: d.near_duplicates(X, NEAR, threshold=2),
        lambda: d.nearest_sources(X, NEAR, k=61),
        lambda: d.most_changed(X, NEAR[:3]),
        lambda: d.recall_shift(np.eye(2), np.eye(3)),
        lambda: d.recall_shift(np.eye(2), 2 * np.eye(2)),
        lambda: d.transfer([0.5, 0.6], [0.5]),
        lambda: d.bias_by_attribute([0, 1], [0.5, 1.5], 2),
        lambda: d.ideal_joint_error(X, np.zeros(60, int), X, np.zeros(59, int)),
        lambda: d.shifts(evidence(source_logits=None, source_labels=None)),
    ],
)
def test_bad_input(call):
    with pytest.raises(InputError):
        call()
