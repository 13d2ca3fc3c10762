"""Penalties on predictions and disagreements: golden numbers, definitions in numpy, certain and absent classes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from dalib import discrepancy as D
from dalib.core.checks import InputError
from tests.discrepancy.cases import Jitted, jit
from tests.golden import golden, inputs

JITTED = Jitted()

GOLDEN = {
    "entropy.mean": (("g_t",), functools.partial(D.mean_entropy, epsilon=1e-5)),
    "entropy.exact": (("g_t",), D.mean_entropy),
    "im": (("g_t",), D.mutual_information),
    "mcc.T2.5": (("g_t",), functools.partial(D.mcc, epsilon=1e-5)),
    "bnm.neg_over_n": (("g_t",), D.bnm),
    "self_ensemble.class_balance": (("g_t",), D.class_balance),
    "mcd.discrepancy": (("g_t", "a_t"), D.classifier_discrepancy),
    "mdd.regression.margin1": (
        ("g_s", "a_s", "g_t", "a_t"),
        lambda *logits: D.regression_disparity(*(jax.nn.softmax(z) for z in logits)),
    ),
    "pseudo_label.thr0.7": (("a_t", "g_t"), functools.partial(D.pseudo_label_loss, threshold=0.7)),
    "cc_loss.T2.5.thr0.4": (
        ("a_t", "g_t"),
        functools.partial(D.confusion_consistency, threshold=0.4, epsilon=1e-5),
    ),
    "pi_model.l2": (("g_t", "a_t"), D.squared_consistency),
    "mdd.shift_log.mean": (("g_t",), lambda g: jnp.mean(D.shift_log(jax.nn.softmax(g)))),
}

ONE = {
    "mean_entropy": D.mean_entropy,
    "mutual_information": D.mutual_information,
    "mcc": D.mcc,
    "bnm": D.bnm,
    "fbnm": D.fbnm,
    "class_balance": D.class_balance,
}
TWO = {
    "classifier_discrepancy": D.classifier_discrepancy,
    "pseudo_label_loss": D.pseudo_label_loss,
    "confusion_consistency": D.confusion_consistency,
    "squared_consistency": D.squared_consistency,
    "margin_disparity": lambda a, g: D.margin_disparity(g, a, g, a),
    "regression_disparity": lambda a, g: D.regression_disparity(g, a, g[:4], 2 * a[:4]),
}


@pytest.mark.parametrize("name", list(GOLDEN))
def test_golden(name):
    names, f = GOLDEN[name]
    expected = golden(name)
    both = jit(jax.value_and_grad(f, argnums=tuple(range(len(names)))))
    for wide, tolerance in ((True, 1e-10), (False, 1e-5)):
        with jax.enable_x64(wide):
            value, gradients = both(*(jnp.asarray(z, jnp.float64 if wide else jnp.float32) for z in inputs(*names)))
        np.testing.assert_allclose(value, expected.value, rtol=tolerance)
        for argument, gradient in zip(names, gradients, strict=True):
            if argument in expected.gradients:
                reference = expected.gradients[argument]
                np.testing.assert_allclose(gradient, reference, rtol=0, atol=10 * tolerance * np.abs(reference).max())


def test_confidence_mask_and_multiclass_margin():
    (weak,) = inputs("g_t")
    kept = JITTED.confident(jnp.asarray(weak, jnp.float32), threshold=0.4, temperature=2.5)
    assert float(kept.mean()) == golden("cc_loss.mask_ratio").value
    with jax.enable_x64(True):
        g_s, a_s, g_t, a_t = (jnp.asarray(z) for z in inputs("g_s", "a_s", "g_t", "a_t"))
        p_s, p_t = scipy.special.softmax(a_s, axis=1), scipy.special.softmax(a_t, axis=1)
        rows = np.arange(len(g_s))
        on_source = np.log(p_s[rows, np.argmax(g_s, axis=1)]).mean()
        on_target = np.log(1 - p_t[rows, np.argmax(g_t, axis=1)]).mean()
        found = JITTED.margin_disparity(g_s, a_s, g_t, a_t, margin=3.0)
        np.testing.assert_allclose(found, 3 * on_source + on_target, rtol=1e-12)


def certain_logits() -> dict[str, np.ndarray]:
    spread, one_class = np.eye(4)[[0, 1, 2, 1, 0, 2]], np.zeros((6, 4))
    one_class[:, 2] = 1e4
    logits = {
        "certain": 1e4 * (2 * spread - 1),
        "one class": one_class,
        "uniform": np.full((6, 4), 1e4),
        "zero": np.zeros((6, 4)),
    }
    return {name: z.astype(np.float32) for name, z in logits.items()}


@pytest.mark.parametrize("name", [*ONE, *TWO])
def test_certain_predictions_have_finite_values_and_gradients(name):
    f = (lambda a, g: ONE[name](a)) if name in ONE else TWO[name]
    both = jit(jax.value_and_grad(f))
    for of_student in certain_logits().values():
        for of_teacher in certain_logits().values():
            value, gradient = both(of_student, of_teacher)
            assert np.isfinite(value) and np.isfinite(gradient).all()
    reduced = jax.eval_shape(f, *[jax.ShapeDtypeStruct((6, 4), jnp.bfloat16)] * 2)
    assert reduced.shape == () and reduced.dtype == jnp.float32


def test_values_at_the_ends():
    certain, one_class, uniform = (certain_logits()[key] for key in ("certain", "one class", "uniform"))
    np.testing.assert_allclose(JITTED.entropies(uniform), np.log(4), rtol=1e-6)
    np.testing.assert_allclose(JITTED.entropies(certain), 0, atol=1e-6)
    np.testing.assert_allclose(JITTED.mutual_information(certain), np.log(3), rtol=1e-6)
    np.testing.assert_allclose(JITTED.mutual_information(one_class), 0, atol=1e-6)
    np.testing.assert_allclose(JITTED.mcc(uniform), 3 / 4, rtol=1e-6)
    np.testing.assert_allclose(JITTED.mcc(certain), 1 / 4, rtol=1e-6)  # the class that no row predicts
    np.testing.assert_allclose(JITTED.bnm(certain), -3 * np.sqrt(2) / 6, rtol=1e-6)
    np.testing.assert_allclose(JITTED.fbnm(certain), -3 * np.sqrt(2) / 6, rtol=1e-6)
    np.testing.assert_allclose(JITTED.log_one_minus_probability(uniform, np.arange(6) % 4), np.log(3 / 4), rtol=1e-6)
    assert JITTED.confusion_consistency(uniform, uniform) == 0 and JITTED.pseudo_label_loss(certain, uniform) == 0
    # Confident and wrong: the loss is the logit gap, 2e4, for every row.
    np.testing.assert_allclose(JITTED.pseudo_label_loss(certain, np.roll(certain, 1, axis=1)), 2e4, rtol=1e-6)


def test_against_definitions():
    logits, other = np.random.default_rng(0).normal(size=(2, 9, 4))
    p, q = scipy.special.softmax(logits, axis=1), scipy.special.softmax(other / 2.0, axis=1)
    with jax.enable_x64(True):
        np.testing.assert_allclose(JITTED.entropies(logits), scipy.stats.entropy(p, axis=1), rtol=1e-12)
        np.testing.assert_allclose(JITTED.bnm(logits), -np.linalg.norm(p, "nuc") / 9, rtol=1e-12)
        columns = np.sort(np.linalg.norm(p, axis=0))[::-1][: min(p.shape)]
        np.testing.assert_allclose(JITTED.fbnm(logits), -columns.sum() / 9, rtol=1e-12)
        weights = np.arange(1.0, 10.0)
        matrix = (q * weights[:, None]).T @ q
        matrix /= matrix.sum(axis=1, keepdims=True)
        found = JITTED.class_confusion(jnp.asarray(other), weights=jnp.asarray(7 * weights), temperature=2.0)
        np.testing.assert_allclose(found, matrix, rtol=1e-12)
        keep = jnp.arange(9) < 5
        kept = JITTED.class_confusion(jnp.asarray(other), mask=keep)
        np.testing.assert_allclose(kept, JITTED.class_confusion(jnp.asarray(other[:5])), rtol=1e-12)


def test_weights_and_teachers_get_no_gradient():
    logits, teacher = jax.random.normal(jax.random.key(0), (2, 6, 4))
    for f in (JITTED.pseudo_label_loss, JITTED.confusion_consistency):
        assert not jax.grad(functools.partial(f, threshold=0.1), argnums=1)(logits, teacher).any()
    assert not jax.grad(lambda z: JITTED.certainty_weights(z).sum())(logits).any()
    gradients = jax.grad(D.regression_disparity, argnums=(0, 1, 2, 3))(logits, teacher, 2 * logits, teacher)
    assert [bool(gradient.any()) for gradient in gradients] == [False, True, False, True]


def test_wrong_logits_are_refused():
    logits = jnp.zeros((3, 4))
    with pytest.raises(InputError, match="classes"):
        D.mean_entropy(logits[:, :1])
    with pytest.raises(InputError, match="one shape"):
        D.classifier_discrepancy(logits, logits[:2])
    with pytest.raises(InputError, match="temperature"):
        D.mcc(logits, temperature=0.0)
    with pytest.raises(InputError, match="labels"):
        D.log_one_minus_probability(logits, jnp.zeros((4,), jnp.int32))
