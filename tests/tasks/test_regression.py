"""Regression: losses by hand, sums that add up, and metrics equal to scikit-learn's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.core.types import Outputs
from dalib.tasks import regression


def outputs_of(numbers) -> Outputs:
    numbers = jnp.asarray(numbers, jnp.float32)
    return Outputs(numbers, numbers)


def sample(k: int, n: int = 40, mean: float = 3.0):
    """Predictions and labels ``[n, k]``, each column with a spread and an error of its own."""
    rng = np.random.default_rng(k)
    labels = mean + rng.normal(size=(n, k)) * (1 + np.arange(k))
    return (labels + 0.5 * rng.normal(size=(n, k)) + 0.2).astype(np.float32), labels.astype(np.float32)


def counted(task, predictions, labels, mask=None):
    mask = jnp.ones(len(predictions), bool) if mask is None else jnp.asarray(mask)
    return jax.jit(task.counts)(outputs_of(predictions), jnp.asarray(labels), mask)


def test_losses_by_hand():
    outputs, labels = outputs_of([[1.0, 2.0], [0.0, -1.0]]), jnp.array([[0.0, 4.0], [0.0, 2.0]])
    np.testing.assert_array_equal(regression(2).loss(outputs, labels), [5.0, 9.0])
    np.testing.assert_array_equal(regression(2, loss="absolute").loss(outputs, labels), [3.0, 3.0])
    assert regression(2).quality(outputs, labels) == {"error/source": 1.5}
    np.testing.assert_array_equal(regression(2).predict(outputs), outputs.logits)
    assert regression(2).outputs == 2 and regression().outputs == 1


def test_one_number_may_have_labels_without_a_column():
    outputs, labels = outputs_of([[1.0], [5.0]]), jnp.array([0.0, 3.0])
    np.testing.assert_array_equal(regression().loss(outputs, labels), [1.0, 4.0])
    np.testing.assert_array_equal(regression().loss(outputs, labels[:, None]), [1.0, 4.0])


def test_refused():
    task, outputs = regression(2), outputs_of(np.zeros((3, 2)))
    # The right number of labels in another shape would be paired with the wrong predictions.
    for labels in (jnp.zeros((2, 3)), jnp.zeros(3), jnp.zeros(6), jnp.zeros((3, 2), jnp.int32)):
        with pytest.raises(InputError, match="labels"):
            task.loss(outputs, labels)
    for size in (0, 1.5, True):
        with pytest.raises(InputError, match="size"):
            regression(size)
    with pytest.raises(InputError, match="loss"):
        regression(loss="cubed")


@pytest.mark.parametrize("k", [1, 3])
def test_metrics_are_scikit_learns(k):
    scores = pytest.importorskip("sklearn.metrics")
    predictions, labels = sample(k)
    found = regression(k).metrics(counted(regression(k), predictions, labels))
    expected = {
        "mean_absolute_error": scores.mean_absolute_error(labels, predictions),
        "root_mean_squared_error": scores.root_mean_squared_error(labels, predictions),
        "r2": scores.r2_score(labels, predictions),
    }
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-4)


def test_r2_counts_a_constant_error():
    """1 − variance of the errors / variance of the labels would be 1 here."""
    _, labels = sample(1)
    found = regression().metrics(counted(regression(), labels + 10, labels))
    assert found["r2"] == pytest.approx(1 - 100 / labels.var(), rel=1e-4)
    mean = np.full_like(labels, labels.mean())
    assert regression().metrics(counted(regression(), mean, labels))["r2"] == pytest.approx(0, abs=1e-4)


def test_counts_of_parts_add_up_to_those_of_the_whole():
    task = regression(3)
    predictions, labels = sample(3)
    parts = [counted(task, predictions[i : i + 8], labels[i : i + 8]) for i in range(0, 40, 8)]
    merged, whole = jax.tree.map(lambda *x: sum(x), *parts), counted(task, predictions, labels)
    assert merged["examples"] == whole["examples"] == 40
    for name in whole:
        np.testing.assert_allclose(merged[name], whole[name], rtol=1e-5)
    for name, value in task.metrics(whole).items():
        assert task.metrics(merged)[name] == pytest.approx(value, rel=1e-4)


def test_masked_rows_count_for_nothing():
    task = regression(2)
    predictions, labels = sample(2)
    mask = np.arange(40) < 25
    padded = np.where(mask[:, None], labels, np.nan)
    for name, value in counted(task, predictions[:25], labels[:25]).items():
        np.testing.assert_allclose(counted(task, predictions, padded, mask)[name], value, rtol=1e-5)


def test_labels_that_do_not_vary_have_no_r2():
    for labels in (np.full((30, 1), 0.1), 1e4 + 1e-3 * np.arange(30)[:, None]):
        found = regression().metrics(counted(regression(), labels + 1, np.float32(labels)))
        assert np.isnan(found["r2"]) and found["mean_absolute_error"] == pytest.approx(1, rel=1e-3)
    _, labels = sample(1, mean=100.0)
    found = regression().metrics(counted(regression(), labels + 1, labels))
    assert found["r2"] == pytest.approx(1 - 1 / np.float64(labels).var(), rel=0.05)
