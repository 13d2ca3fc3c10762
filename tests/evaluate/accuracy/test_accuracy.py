"""Estimators of accuracy: closed forms, exact transport, data that meet the premise, and data that collapse."""

import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.evaluate import Evidence
from dalib.evaluate import accuracy as a
from dalib.evaluate.accuracy.estimators import _potentials
from dalib.evaluate.inputs import softmax
from tests.evaluate.validators.cases import evidence


def drawn(n, classes=4, sharpness=2.0, seed=0, prior=None):
    """Logits and labels of a calibrated classifier: labels are drawn from the softmax."""
    rng = np.random.default_rng(seed)
    z = sharpness * rng.normal(size=(n, classes))
    y = (softmax(z).cumsum(1) < rng.random((n, 1))).sum(1).clip(max=classes - 1)
    return z, y


SOURCE, TARGET = drawn(800), drawn(700, seed=1)
TRUTH = (TARGET[0].argmax(1) == TARGET[1]).mean()
OF_THREE = ("thresholded_confidence", "difference_of_confidences", "transport", "nuclear_norm", "label_shifted")


@pytest.mark.parametrize("name", OF_THREE)
def test_without_a_shift_the_accuracy_is_met_and_the_interval_holds_it(name):
    found = getattr(a, name)(*SOURCE, TARGET[0])
    assert found.value == pytest.approx(TRUTH, abs=0.06)
    assert found.low <= found.value <= found.high and found.low - 0.02 < TRUTH < found.high + 0.02
    assert 0.01 < found.high - found.low < 0.2


def test_thresholded_confidence_by_hand():
    """One of four source examples is wrong, so the threshold is the second least confidence, 0.7 here."""
    p = np.array([0.6, 0.7, 0.8, 0.9])
    z = np.log(np.stack([p, 1 - p], 1))
    t = np.log(np.array([[0.65, 0.35], [0.75, 0.25], [0.3, 0.7 + 1e-9]]))
    for score in ("entropy", "confidence"):
        assert a.thresholded_confidence(z, np.array([1, 0, 0, 0]), t, score=score).value == pytest.approx(2 / 3)


def test_difference_of_confidences_by_hand():
    p, q = np.array([0.9, 0.7]), np.array([0.6, 0.8])
    z, t = (np.log(np.stack([x, 1 - x], 1)) for x in (p, q))
    assert a.difference_of_confidences(z, np.array([0, 1]), t).value == pytest.approx(0.5 - 0.8 + 0.7)


def test_transport_is_the_exact_assignment():
    from scipy.optimize import linear_sum_assignment

    q, y = softmax(drawn(90, 5, seed=3)[0]), np.random.default_rng(0).permutation(np.arange(90) % 5)
    exact = q[:, y][linear_sum_assignment(-q[:, y])].mean()
    g = _potentials(q, np.full(5, 0.2))
    assert (q - g).max(1).mean() + g.mean() == pytest.approx(exact, abs=1e-3)


def test_agreement_of_seeds_by_hand():
    z = [np.eye(3)[labels] for labels in ([0, 1, 2, 0], [0, 1, 2, 1], [0, 2, 2, 1])]
    assert a.agreement_of_seeds(z).value == pytest.approx((3 / 4 + 2 / 4 + 3 / 4) / 3)
    assert np.isnan(a.agreement_of_seeds(z[:1]).value)


def test_weights_carry_the_accuracy_over():
    found = a.importance_weighted(np.array([1.0, 3.0]), np.array([1.0, 0.0]))
    assert found.value == pytest.approx(0.75)


def shifted(seed, prior, n=3000):
    """Gaussian classes whose frequencies differ, and logits that are right for equal ones."""
    rng = np.random.default_rng(seed)
    y = rng.choice(3, size=n, p=prior)
    x = 1.5 * np.eye(3)[y] + rng.normal(size=(n, 3))
    return 1.5 * x, y


def test_frequencies_are_found_and_predictions_corrected():
    prior = np.array([0.7, 0.2, 0.1])
    (z, y), (t, truth) = shifted(0, np.full(3, 1 / 3)), shifted(1, prior)
    for shift in (a.bbse(z, y, t), a.mlls(z, y, t)):
        np.testing.assert_allclose(shift.priors, prior, atol=0.05)
        np.testing.assert_allclose(shift.priors.sum(), 1, rtol=1e-9)
    better = a.corrected(t, shift)
    np.testing.assert_allclose(np.exp(better).sum(1), 1, rtol=1e-9)
    before, after = ((logits.argmax(1) == truth).mean() for logits in (t, better))
    assert after > before + 0.02
    assert a.label_shifted(z[:600], y[:600], t[:600]).value == pytest.approx(before, abs=0.06)


def test_a_class_that_the_source_lacks():
    z, y = shifted(0, np.array([0.5, 0.5, 0.0]), n=300)
    for shift in (a.bbse(z, y, z), a.mlls(z, y, z)):
        assert shift.priors[2] == 0 and shift.weights[2] == 0
        assert np.isfinite(a.corrected(z, shift)).all()


def test_no_shift_changes_no_prediction():
    z, y = shifted(2, np.full(3, 1 / 3), n=300)
    equal = a.Shift(np.full(3, 1 / 3), np.full(3, 1 / 3))
    np.testing.assert_allclose(np.exp(a.corrected(z, equal)), softmax(z), rtol=1e-9)
    assert y.shape == (300,)


def test_calibration_error_by_hand():
    """Confidences .8 (right, wrong) and .6 (right): gaps |.5 − .8| · 2/3 + |1 − .6| · 1/3."""
    p = np.array([0.8, 0.8, 0.6])
    z = np.log(np.stack([p, 1 - p], 1))
    assert a.calibration_error(z, np.array([0, 1, 0])) == pytest.approx(0.2 + 0.4 / 3)
    assert a.calibration_error(1e3 * np.eye(2), np.array([0, 1])) == 0


def test_temperature_undoes_a_scale():
    z, y = drawn(4000, seed=5)
    assert a.source_temperature(3 * z, y) == pytest.approx(3, rel=0.1)
    found = a.calibrate(3 * z, y)
    assert found.after < 0.03 < 0.15 < found.before


def test_target_temperature_meets_the_estimated_accuracy():
    z, y = drawn(4000, seed=6)
    wrong = (z.argmax(1) != y).astype(float)
    confidence = softmax(z).max(1).mean()
    assert a.target_temperature(2 * z, np.ones(4000), wrong, confidence) == pytest.approx(2, rel=0.1)
    # Of half the accuracy on the target, by weights on the wrong examples, it is higher.
    assert a.target_temperature(2 * z, 0.2 + 3 * wrong, wrong, confidence, power=1) > 3


def test_expected_accuracy_reads_all_and_says_where_they_disagree():
    peers = [evidence(seed=s, n=150, m=150) for s in (0,)]
    own = evidence(n=150, m=150)
    found = a.expected_accuracy(own, peers=peers)
    assert found.estimates.keys() == a.ESTIMATORS.keys()
    assert all(np.isfinite(e.value) for e in found.estimates.values())
    assert 0 <= found.low <= found.value <= found.high <= 1
    # What density ratios of separable domains say is shown, and not read.
    far = a.expected_accuracy(evidence(n=150, m=150, shift=40.0, target_logits=own.target_logits))
    read = [e.value for e in far.estimates.values() if np.isfinite(e.value) and not e.note]
    assert "separable" in far.estimates["weighted"].note and far.value == pytest.approx(np.median(read))
    assert far.low <= min(read) and far.high >= max(read)
    only = a.expected_accuracy(Evidence(target_logits=own.target_logits))
    assert np.isnan(only.value) and "no estimator" in only.warning
    assert "source_labels" in only.estimates["atc"].note and "two seeds" in only.estimates["gde"].note
    sure = a.expected_accuracy(evidence(n=150, m=150, noise=2.5, target_logits=99 * own.target_logits))
    assert "disagree" in sure.warning


def test_what_ships_with_a_model():
    found = a.shipping(evidence(n=200, m=200, shift=0.2, noise=1.5))
    assert found.calibration.after < found.calibration.before and np.isfinite(found.target_temperature)
    for shares in (found.predicted, found.frequencies.priors, found.by_likelihood.priors):
        assert shares.sum() == pytest.approx(1)
    assert np.isnan(a.shipping(evidence(train_features=None)).target_temperature)
    assert a.shipping(Evidence(target_logits=np.ones((3, 2)))) is None


def test_of_a_collapse_only_estimators_that_see_it_are_read():
    own = evidence(n=100, m=100, target_logits=np.zeros((100, 4)) + np.array([30.0, 0, 0, 0]))
    found = a.expected_accuracy(own)
    assert "collapsed" in found.warning
    assert found.estimates["atc"].value == 1 and found.value < 0.7
    assert found.estimates["cot"].value == pytest.approx((own.source_labels == 0).mean(), abs=0.01)


@pytest.mark.parametrize(
    "call",
    [
        lambda: a.thresholded_confidence(np.ones((2, 3)), [0, 1], np.ones((2, 4))),
        lambda: a.thresholded_confidence(np.ones((2, 3)), [0, 3], np.ones((2, 3))),
        lambda: a.thresholded_confidence(np.ones((2, 3)), [0, 1], np.ones((2, 3)), score="margin"),
        lambda: a.transport(np.ones((2, 3)), [0.0, 1.0], np.ones((2, 3))),
        lambda: a.agreement_of_seeds([np.ones((2, 3)), np.ones((3, 3))]),
        lambda: a.importance_weighted([1.0, -1.0], [0.0, 1.0]),
        lambda: a.calibration_error(np.ones((2, 3)), [0, 1], temperature=0),
        lambda: a.calibrate(np.ones((2, 3)), [0, 1]),
        lambda: a.target_temperature(np.ones((2, 3)), [1.0, 1.0], [0.0, 1.0], 1.5),
        lambda: a.corrected(np.ones((2, 3)), a.Shift(np.ones(2), np.ones(2))),
        lambda: a.expected_accuracy(evidence(), names=["atk"]),
    ],
)
def test_bad_input(call):
    with pytest.raises(InputError):
        call()
