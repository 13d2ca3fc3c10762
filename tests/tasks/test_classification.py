"""Classification: losses by hand, confusion matrices that add up, and metrics equal to scikit-learn's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.core.types import Outputs
from dalib.tasks import classification


def outputs_of(logits) -> Outputs:
    logits = jnp.asarray(logits, jnp.float32)
    return Outputs(logits, logits)


def sample(n: int = 60, classes: int = 4):
    rng = np.random.default_rng(0)
    labels = rng.integers(classes, size=n).astype(np.int32)
    return (rng.normal(size=(n, classes)) + 1.5 * np.eye(classes)[labels]).astype(np.float32), labels


def counted(task, logits, labels, mask=None):
    mask = jnp.ones(len(labels), bool) if mask is None else jnp.asarray(mask)
    return np.asarray(jax.jit(task.counts)(outputs_of(logits), jnp.asarray(labels), mask))


def test_losses_by_hand():
    p = np.array([[0.7, 0.2, 0.1], [0.25, 0.25, 0.5]])
    outputs, labels = outputs_of(np.log(p)), jnp.array([0, 1])
    np.testing.assert_allclose(classification(3).loss(outputs, labels), -np.log([0.7, 0.25]), rtol=1e-5)
    spread = 0.7 * np.eye(3)[[0, 1]] + 0.1
    smoothed = classification(3, smoothing=0.3).loss(outputs, labels)
    np.testing.assert_allclose(smoothed, -(spread * np.log(p)).sum(1), rtol=1e-5)
    assert classification(3).quality(outputs, labels) == {"accuracy/source": 0.5}
    np.testing.assert_array_equal(classification(3).predict(outputs), [0, 2])
    assert classification(3).outputs == 3


def test_labels_outside_the_classes_have_no_loss():
    losses = classification(2).loss(outputs_of(np.zeros((3, 2))), jnp.array([-1, 2, 1]))
    np.testing.assert_array_equal(np.isnan(losses), [True, True, False])


def test_refused():
    for classes in (0, 2.0, True):
        with pytest.raises(InputError, match="classes"):
            classification(classes)
    for smoothing in (-0.1, 1.0):
        with pytest.raises(InputError, match="smoothing"):
            classification(3, smoothing=smoothing)


def test_metrics_are_scikit_learns():
    scores = pytest.importorskip("sklearn.metrics")
    logits, labels = sample()
    task, predicted = classification(4), logits.argmax(1)
    assert 0.3 < (predicted == labels).mean() < 0.95
    assert task.metrics(counted(task, logits, labels)) == pytest.approx(
        {
            "accuracy": scores.accuracy_score(labels, predicted),
            "mean_class_accuracy": scores.balanced_accuracy_score(labels, predicted),
            "macro_f1": scores.f1_score(labels, predicted, average="macro"),
        }
    )
    np.testing.assert_array_equal(counted(task, logits, labels), scores.confusion_matrix(labels, predicted))


def test_counts_of_parts_add_up_and_masked_rows_count_for_nothing():
    task, (logits, labels) = classification(4), sample()
    whole = counted(task, logits, labels)
    assert whole.sum() == 60
    parts = [counted(task, logits[i : i + 15], labels[i : i + 15]) for i in range(0, 60, 15)]
    np.testing.assert_array_equal(sum(parts), whole)
    mask = np.arange(60) < 37
    np.testing.assert_array_equal(counted(task, logits, labels, mask), counted(task, logits[:37], labels[:37]))
