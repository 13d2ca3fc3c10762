"""Scores of predictions: the reference's sanity table, golden numbers, and the package's own differentiable forms."""

import jax.numpy as jnp
import numpy as np
import pytest

from dalib import discrepancy
from dalib.core.checks import InputError
from dalib.evaluate.inputs import softmax
from dalib.evaluate.validators import corr_c, mano, rank_me, spread
from dalib.evaluate.validators import predictions as p
from dalib.evaluate.validators.features import neighbourhood_density
from tests.evaluate.validators.cases import CASES, N
from tests.golden import golden, inputs

# −entropy, diversity, IM, BNM, MCC, Corr-C, RankMe(P), SND, MaNo; one line a case of the reference's section 5
SANITY = {
    "balanced": (0, 2.3026, 2.3026, 1, 0, 3.1623, 10, 4.0775, 0.5623),
    "permuted": (0, 2.3026, 2.3026, 1, 0, 3.1623, 10, 4.0775, 0.5623),
    "collapsed": (0, 0, 0, 0.3162, 0, 1, 1, 6.3953, 0.5623),
    "uniform": (-2.3026, 2.3026, 0, 0.1, -0.9, 1, 1, 6.3953, 0.1),
    "soft": (-0.7186, 2.3026, 1.5839, 0.8585, -0.2608, 3.1406, 9.986, 4.0775, 0.4828),
    "lopsided": (0, 0.7523, 0.7523, 0.6590, 0, 1.1744, 6.764, 5.6272, 0.5623),
}


@pytest.mark.parametrize("case", SANITY)
def test_sanity_table(case):
    z = CASES[case]
    found = (
        *(f(z) for f in (p.entropy, p.diversity, p.mutual_information, p.nuclear, p.confusion)),
        corr_c(softmax(z)),
        rank_me(softmax(z)),
        neighbourhood_density(softmax(z)),
        mano(z),
    )
    np.testing.assert_allclose(found, SANITY[case], atol=6e-4)


def test_golden():
    (z,) = inputs("g_t")
    np.testing.assert_allclose(p.entropy(z), -golden("entropy.exact").value, rtol=1e-12)
    np.testing.assert_allclose(p.mutual_information(z), golden("im").value, rtol=1e-12)
    np.testing.assert_allclose(
        p.nuclear(z), -golden("bnm.neg_over_n").value * np.sqrt(len(z) / min(z.shape)), rtol=1e-12
    )
    np.testing.assert_allclose(neighbourhood_density(softmax(z)), golden("snd.T0.05.probs").value, rtol=2e-5)


def test_as_the_training_losses():
    z = np.random.default_rng(0).normal(size=(5, 9)) * 3
    x = jnp.asarray(z, jnp.float32)
    np.testing.assert_allclose(p.confusion(z), -discrepancy.mcc(x, temperature=1.0), rtol=1e-5)
    np.testing.assert_allclose(p.confusion(z, temperature=2.5), -discrepancy.mcc(x), rtol=1e-5)
    np.testing.assert_allclose(p.fast_nuclear(z), -discrepancy.fbnm(x), rtol=1e-5)


def test_density_in_tiles_is_the_dense_one():
    x = np.random.default_rng(1).normal(size=(1200, 3))  # above the size from which tiles are taken
    dense = discrepancy.soft_neighbourhood_density(jnp.asarray(x, jnp.float32), tile=0)
    np.testing.assert_allclose(neighbourhood_density(x), dense, rtol=1e-5)


def test_mano_takes_the_taylor_form_where_predictions_are_soft():
    z = np.array([[0.0, 1.0], [2.0, 0.0]])
    q = np.array([[1, 2.5], [5, 1]]) / np.array([[3.5], [6]])
    assert mano(z, normaliser="auto") == mano(z, normaliser="taylor") == pytest.approx((q**4).mean() ** 0.25)
    sharp = 100 * z
    assert mano(sharp, normaliser="auto") == mano(sharp)


@pytest.mark.parametrize(
    ("case", "why"),
    [("balanced", ""), ("collapsed", "100%"), ("uniform", "100%"), ("lopsided", ""), ("soft", "")],
)
def test_guard(case, why):
    assert why in spread(CASES[case]).collapsed and bool(why) == bool(spread(CASES[case]).collapsed)


def test_guard_counts_classes():
    z = np.eye(10)[np.arange(N) % 2]
    assert spread(z).predicted == 2 and "2 of 10" in spread(z).collapsed
    assert not spread(np.eye(2)).collapsed


@pytest.mark.parametrize("bad", [np.ones(3), np.ones((3, 1)), np.full((2, 2), np.nan), np.ones((0, 3))])
@pytest.mark.parametrize("score", [p.entropy, p.diversity, p.nuclear, p.fast_nuclear, p.confusion, mano, spread])
def test_bad_input(score, bad):
    with pytest.raises(InputError):
        score(bad)
