"""What a confusion matrix says."""

import numpy as np
import pytest

from dalib.evaluate.scores import Scores


def test_macro_f1_is_scikit_learns():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    for classes in (2, 5):
        y, p = rng.integers(classes, size=(2, 60))
        confusion = metrics.confusion_matrix(y, p)
        assert Scores(confusion).macro_f1 == pytest.approx(metrics.f1_score(y, p, average="macro"))


def test_macro_f1_leaves_out_classes_that_are_nowhere():
    assert Scores(np.array([[3, 0, 0], [0, 0, 0], [0, 0, 2]])).macro_f1 == 1
    # A class without examples that is predicted counts, with 0.
    assert Scores(np.array([[3, 1, 0], [0, 0, 0], [0, 0, 2]])).macro_f1 == pytest.approx((6 / 7 + 0 + 1) / 3)
