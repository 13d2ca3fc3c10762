"""OS, OS*, UNK and HOS of confusion matrices worked by hand."""

import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.evaluate.scores import open_set_scores


def test_a_matrix_worked_by_hand():
    # Recalls 0.5, 0.75 and, of the unknown, 0.2.
    scores = open_set_scores(np.array([[5, 3, 2], [1, 3, 0], [4, 12, 4]]))
    assert scores.os_star == pytest.approx(0.625)
    assert scores.unknown == pytest.approx(0.2)
    assert scores.os == pytest.approx((0.5 + 0.75 + 0.2) / 3)
    assert scores.hos == pytest.approx(2 * 0.625 * 0.2 / 0.825)
    assert scores.accuracy == pytest.approx(12 / 34)
    assert scores.metrics()["hos"] == scores.hos


def test_perfect_and_extreme_predictions():
    assert open_set_scores(np.diag([3, 4, 5])) == (1, 1, 1, 1, 1)
    everything_known = open_set_scores(np.array([[5, 0, 0], [0, 5, 0], [3, 2, 0]]))
    assert (everything_known.os_star, everything_known.unknown, everything_known.hos) == (1, 0, 0)
    everything_unknown = open_set_scores(np.array([[0, 0, 5], [0, 0, 5], [0, 0, 5]]))
    assert (everything_unknown.os_star, everything_unknown.unknown, everything_unknown.hos) == (0, 1, 0)


def test_known_classes_without_examples_are_left_out():
    full = open_set_scores(np.array([[1, 1], [1, 3]]))
    absent = open_set_scores(np.array([[1, 0, 1], [0, 0, 0], [1, 0, 3]]))
    assert full == absent


def test_scale_of_the_counts_does_not_matter():
    confusion = np.array([[5, 3, 2], [1, 3, 0], [4, 12, 4]])
    np.testing.assert_allclose(open_set_scores(confusion), open_set_scores(confusion * 1000), rtol=1e-12)


@pytest.mark.parametrize(
    ("confusion", "message"),
    [
        (np.ones((2, 3)), "shape"),
        (np.ones((1, 1)), "shape"),
        (np.ones(4), "shape"),
        (np.array([[1, -1], [0, 1]]), "negative"),
        (np.array([[1.0, np.nan], [0, 1]]), "non-finite"),
        (np.array([[1, 1], [0, 0]]), "2 known and 0 unknown"),
        (np.array([[0, 0], [1, 1]]), "0 known and 2 unknown"),
    ],
)
def test_refused(confusion, message):
    with pytest.raises(InputError, match=message):
        open_set_scores(confusion)
