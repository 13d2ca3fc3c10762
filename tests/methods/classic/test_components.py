"""TCA and JDA against the papers' problem, solved the slow way."""

import numpy as np
import pytest
from scipy.linalg import eigh

from dalib.core.checks import InputError
from dalib.methods.classic import jda, nearest_neighbour, tca
from dalib.methods.classic.components import class_differences
from tests.methods.classic.test_contract import samples


def _dual(kernel: np.ndarray, penalty: np.ndarray, dim: int, regularization: float) -> np.ndarray:
    """``K A`` of the papers' pair ``(K M Kᵀ + λI, K H Kᵀ)``, trailing eigenvectors."""
    centring = np.eye(len(kernel)) - 1 / len(kernel)
    left = kernel @ penalty @ kernel + regularization * np.eye(len(kernel))
    values, vectors = eigh(kernel @ centring @ kernel, left)
    return kernel @ vectors[:, ::-1][:, :dim]


def _penalty(source: np.ndarray, labels: np.ndarray, target: np.ndarray, predicted: np.ndarray | None) -> np.ndarray:
    n, m = len(source), len(target)
    e = np.concatenate([np.full(n, 1 / n), np.full(m, -1 / m)])
    total = np.outer(e, e) * len(np.unique(labels))
    for c in np.unique(labels) if predicted is not None else ():
        there = (predicted == c).sum()
        if there:
            e = np.concatenate([(labels == c) / (labels == c).sum(), (predicted == c) / -there])
            total += np.outer(e, e)
    return total / np.linalg.norm(total)


def _gram(x: np.ndarray) -> np.ndarray:
    return x @ x.T


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.mark.parametrize("unit_rows", [True, False])
@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_tca_solves_the_dual_problem(kernel, unit_rows):
    source, labels, target = samples()
    pooled = np.concatenate([source, target])
    pooled = _unit(pooled) if unit_rows else pooled
    squares = ((pooled[:, None] - pooled[None]) ** 2).sum(2)
    matrix = pooled @ pooled.T if kernel == "linear" else np.exp(-0.3 * squares)
    expected = _dual(matrix, _penalty(source, labels, target, None), 4, 0.5)
    expected = _unit(expected) if unit_rows else expected
    fitted = tca(dim=4, regularization=0.5, kernel=kernel, gamma=0.3, unit_rows=unit_rows).fit(source, None, target)
    found = np.concatenate([fitted.source, fitted.target])
    np.testing.assert_allclose(_gram(found), _gram(expected), rtol=1e-6, atol=1e-8 * np.abs(_gram(expected)).max())


def test_primal_tca_penalises_the_projection():
    source, labels, target = samples()
    pooled = np.concatenate([source, target])
    penalty = pooled.T @ _penalty(source, labels, target, None) @ pooled + 2 * np.eye(pooled.shape[1])
    values, vectors = eigh((pooled - pooled.mean(0)).T @ (pooled - pooled.mean(0)), penalty)
    expected = pooled @ vectors[:, ::-1][:, :3]
    fitted = tca(dim=3, regularization=2.0, kernel="primal", unit_rows=False).fit(source, None, target)
    np.testing.assert_allclose(_gram(np.concatenate([fitted.source, fitted.target])), _gram(expected), rtol=1e-8)


def test_tca_brings_the_means_together():
    source, _, target = samples(60, 50)
    target = target + 3

    def apart(xs: np.ndarray, xt: np.ndarray) -> float:
        return float(np.linalg.norm(xs.mean(0) - xt.mean(0)) / np.concatenate([xs, xt]).std())

    fitted = tca(dim=3, regularization=0.01, unit_rows=False).fit(source, None, target)
    assert apart(fitted.source, fitted.target) < 0.05 * apart(source, target)


def test_first_round_of_jda_is_tca():
    source, labels, target = samples()
    first = jda(dim=3, iterations=1).fit(source, labels, target)
    np.testing.assert_allclose(first.target, tca(dim=3).fit(source, None, target).target, rtol=1e-9)


def _hard() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Classes that overlap, so that predictions go on changing for some rounds."""
    source, labels, target = samples(60, 50)
    rng = np.random.default_rng(8)
    return source + 3 * rng.normal(size=source.shape), labels, target + 3 * rng.normal(size=target.shape)


def test_jda_solves_the_papers_problem_in_every_round():
    source, labels, target = _hard()
    pooled = _unit(np.concatenate([source, target]))
    predicted, changed = None, []
    for _ in range(3):
        penalty = _penalty(source, labels, target, predicted)
        mapped = _unit(_dual(pooled @ pooled.T, penalty, 3, 0.1))
        renewed = nearest_neighbour(mapped[:60], labels, mapped[60:])
        changed.append(50 if predicted is None else int((renewed != predicted).sum()))
        predicted = renewed
    fitted = jda(dim=3, iterations=3, regularization=0.1).fit(source, labels, target)
    assert fitted.info["changed"] == tuple(changed) and changed[1] > 0 and changed[2] > 0
    found = np.concatenate([fitted.source, fitted.target])
    np.testing.assert_allclose(_gram(found), _gram(mapped), rtol=1e-6, atol=1e-8)


def test_jda_stops_at_a_fixed_point_that_more_rounds_do_not_leave():
    source, labels, target = _hard()
    fitted = jda(dim=3, iterations=60).fit(source, labels, target)
    assert 2 < fitted.info["rounds"] < 60 and fitted.info["changed"][-1] == 0
    again = jda(dim=3, iterations=fitted.info["rounds"]).fit(source, labels, target)
    np.testing.assert_array_equal(again.target, fitted.target)


def test_class_blocks_skip_classes_that_are_not_predicted():
    labels, predicted = np.array([0, 0, 1, 2]), np.array([1, 1, 0])
    e = class_differences(labels, predicted, 3)
    assert e.shape == (7, 3)
    np.testing.assert_allclose(e[:, 0], np.sqrt(3) * np.array([1 / 4] * 4 + [-1 / 3] * 3))
    np.testing.assert_allclose(e[:, 1], [1 / 2, 1 / 2, 0, 0, 0, 0, -1])
    np.testing.assert_allclose(e[:, 2], [0, 0, 1, 0, -1 / 2, -1 / 2, 0])


def test_jda_uses_the_classifier_that_it_is_given():
    source, labels, target = samples()
    calls = []

    def classify(xs, ys, xt):
        calls.append((xs.shape, xt.shape))
        np.testing.assert_array_equal(ys, labels)
        return np.zeros(len(xt), int)

    fitted = jda(dim=2, classify=classify).fit(source, labels, target)
    assert calls == [((17, 2), (11, 2))] * 2 and fitted.info["changed"] == (11, 0)
    with pytest.raises(InputError, match="classify"):
        jda(classify=lambda xs, ys, xt: xt).fit(source, labels, target)


def test_doors():
    for method in (tca, jda):
        for arguments, word in (
            ({"dim": 0}, "dim"),
            ({"regularization": 0.0}, "regularization"),
            ({"kernel": "lineer"}, "linear"),
            ({"kernel": "rbf", "gamma": -1.0}, "gamma"),
        ):
            with pytest.raises(InputError, match=word):
                method(**arguments)
    with pytest.raises(InputError, match="iterations"):
        jda(iterations=0)


def test_nearest_neighbour():
    xs, ys = np.array([[0.0, 0], [10, 0], [10, 0]]), np.array([4, 7, 9])
    np.testing.assert_array_equal(nearest_neighbour(xs, ys, np.array([[1.0, 1], [9, -1]])), [4, 7])
    rng = np.random.default_rng(0)
    many, few = rng.normal(size=(2500, 3)) + 1e4, rng.normal(size=(40, 3)) + 1e4
    slow = [int(((few - row) ** 2).sum(1).argmin()) for row in many]
    np.testing.assert_array_equal(nearest_neighbour(few, np.arange(40), many), slow)
    with pytest.raises(InputError, match="xs, ys, xt"):
        nearest_neighbour(xs, ys[:2], xs)
