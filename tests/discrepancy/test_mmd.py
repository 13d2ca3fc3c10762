"""MMD of one, several and class-wise kernels against double loops and closed forms."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import dalib.discrepancy
from dalib.core.checks import InputError
from tests.discrepancy.cases import Jitted, jit, samples

D = Jitted()

SIZES = [(6, 6), (5, 8), (7, 2)]


def gaussian(a, b, variance, multipliers=(1.0,)):
    return sum(np.exp(-np.sum((a - b) ** 2) / (2 * alpha * variance)) for alpha in multipliers)


def loops(kernel, x, y, estimator):
    """MMD² by its definition: x and y are lists, kernel a function of two elements."""
    n, m = len(x), len(y)
    if estimator == "linear":
        within = np.mean([kernel(x[i], x[(i + 1) % n]) for i in range(n)])
        within += np.mean([kernel(y[j], y[(j + 1) % m]) for j in range(m)])
        steps = range(max(n, m))
        return within - np.mean([kernel(x[i % n], y[(i + 1) % m]) + kernel(x[(i + 1) % n], y[i % m]) for i in steps])
    distinct = estimator == "unbiased"
    pairs = [
        np.mean(
            [kernel(a, b) for (i, a), (j, b) in itertools.product(enumerate(z), repeat=2) if i != j or not distinct]
        )
        for z in (x, y)
    ]
    return sum(pairs) - 2 * np.mean([kernel(a, b) for a, b in itertools.product(x, y)])


def double(n, m):
    return tuple(np.asarray(z, np.float64) for z in samples(n, m, 4))


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("estimator", ["biased", "unbiased", "linear"])
def test_against_loops(estimator, sizes):
    x, y = double(*sizes)
    pooled = np.concatenate([x, y])
    mean = np.mean([np.sum((a - b) ** 2) for a, b in itertools.product(pooled, repeat=2)])
    with jax.enable_x64(True):
        expected = loops(lambda a, b: gaussian(a, b, mean, dalib.discrepancy.MULTIPLIERS), x, y, estimator)
        np.testing.assert_allclose(D.mk_mmd(x, y, estimator=estimator), expected, rtol=1e-11)
        expected = loops(lambda a, b: gaussian(a, b, 4.0), x, y, estimator)
        np.testing.assert_allclose(D.mmd2(x, y, bandwidth=2.0, estimator=estimator), expected, rtol=1e-11)


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("estimator", ["biased", "unbiased", "linear"])
def test_joint_against_loops(estimator, sizes):
    x, y = double(*sizes)
    p, q = (np.asarray(jax.nn.softmax(z[:, :3])) for z in (x, y))
    pooled = np.concatenate([x, y])
    mean = np.mean([np.sum((a - b) ** 2) for a, b in itertools.product(pooled, repeat=2)])

    def kernel(a, b):
        return gaussian(a[0], b[0], mean, dalib.discrepancy.MULTIPLIERS) * gaussian(a[1], b[1], 0.92**2)

    with jax.enable_x64(True):
        expected = loops(kernel, list(zip(x, p, strict=True)), list(zip(y, q, strict=True)), estimator)
        np.testing.assert_allclose(D.joint_mmd2((x, p), (y, q), estimator=estimator), expected, rtol=1e-6)


@pytest.mark.parametrize("tile", [0, 4])
def test_class_wise_against_loops(tile):
    x, y = double(7, 9)
    labels = np.array([0, 1, 1, 3, 0, 9, 1])  # 9 is out of range, class 2 has no source row
    p = np.random.default_rng(0).dirichlet([0.4] * 5, size=9)
    predicted = set(p.argmax(axis=1))
    pooled = np.concatenate([x, y])
    variance = sum(np.sum((a - b) ** 2) for a, b in itertools.product(pooled, repeat=2)) / (16 * 15)
    k_xx, k_yy, k_xy = (
        np.array([[gaussian(a, b, variance, dalib.discrepancy.MULTIPLIERS) for b in right] for a in left])
        for left, right in ((x, x), (y, y), (x, y))
    )
    terms = []
    for c in set(labels) & predicted:
        w, v = (labels == c) / (labels == c).sum(), p[:, c] / p[:, c].sum()
        terms.append(w @ k_xx @ w + v @ k_yy @ v - 2 * w @ k_xy @ v)
    assert len(terms) >= 2
    with jax.enable_x64(True):
        found = D.class_mmd2(x, y, jnp.asarray(labels), jnp.asarray(p), tile=tile)
        np.testing.assert_allclose(found, np.mean(terms), rtol=1e-11)


def test_class_wise_corners():
    x, y = samples(4, 3, 5)
    probabilities = jax.nn.one_hot(jnp.array([2, 2, 2]), 4)
    value, gradients = jit(jax.value_and_grad(D.class_mmd2, argnums=(0, 1)))(
        x, y, jnp.array([0, 1, 0, 1]), probabilities
    )
    assert value == 0 and not any(gradient.any() for gradient in gradients)
    gradient = jit(jax.grad(D.class_mmd2, argnums=3))(x, y, jnp.array([0, 2, 2, 1]), probabilities)
    assert not gradient.any()
    # One class everywhere: the plain biased MMD².
    one = D.class_mmd2(x, y, jnp.full(4, 2), probabilities, bandwidth=3.0, multipliers=(1.0,))
    np.testing.assert_allclose(one, D.mmd2(x, y, bandwidth=3.0), rtol=1e-5)
    for labels, p, word in (
        (jnp.zeros(3, jnp.int32), probabilities, "x_labels"),
        (jnp.zeros(4), probabilities, "integers"),
        (jnp.zeros(4, jnp.int32), probabilities[:2], "y_probabilities"),
    ):
        with pytest.raises(InputError, match=word):
            D.class_mmd2(x, y, labels, p)


def test_gaussians_have_a_closed_form():
    """E k(a, b) = √(s/(s + v)) exp(−δ²/(2(s + v))) for a − b ~ N(δ, v) and a kernel of variance s."""
    s, shift, spread = 2.0, 0.7, 1.5

    def expected_kernel(v, gap):
        return np.sqrt(s / (s + v)) * np.exp(-(gap**2) / (2 * (s + v)))

    truth = expected_kernel(2.0, 0) + expected_kernel(2 * spread**2, 0) - 2 * expected_kernel(1 + spread**2, shift)
    # Equally spaced quantiles stand for the distributions without sampling noise.
    x = scipy.stats.norm.ppf((np.arange(800) + 0.5) / 800)[:, None].astype(np.float32)
    y = spread * x[::2] + shift
    np.testing.assert_allclose(D.mmd2(x, y, bandwidth=s**0.5), truth, rtol=5e-3)
    # Samples of one distribution: the unbiased form averages to 0 with both signs, the biased one to 2 (1 − E k)/n.
    z = jax.random.normal(jax.random.key(2), (200, 2, 20, 1))
    of_each = {
        estimator: jit(jax.vmap(functools.partial(dalib.discrepancy.mmd2, bandwidth=s**0.5, estimator=estimator)))
        for estimator in ("unbiased", "biased")
    }
    unbiased, biased = (f(z[:, 0], z[:, 1]) for f in of_each.values())
    assert abs(unbiased.mean()) < 3 * unbiased.std() / 200**0.5 and (unbiased < 0).any() and (unbiased > 0).any()
    np.testing.assert_allclose(biased.mean(), 2 * (1 - expected_kernel(2.0, 0)) / 20, rtol=0.2)


def test_estimators_differ_by_the_diagonal():
    x, y = double(5, 9)
    with jax.enable_x64(True):
        biased, unbiased = (D.mmd2(x, y, bandwidth=2.0, estimator=e) for e in ("biased", "unbiased"))
        means = [(np.asarray(D.gaussian_gram(z, bandwidth=2.0)).mean(), len(z)) for z in (x, y)]
        diagonal = sum(mean - (mean * n - 1) / (n - 1) for mean, n in means)
        np.testing.assert_allclose(biased - unbiased, diagonal, rtol=1e-11)


def test_scale_free_with_adaptive_width_and_hyperparameters_are_traced():
    x, y = samples(6, 5)
    np.testing.assert_allclose(D.mk_mmd(50 * x, 50 * y), D.mk_mmd(x, y), rtol=1e-4)
    widths = jnp.array([1.0, 2.0, 4.0])
    swept = jit(jax.vmap(lambda s: dalib.discrepancy.mmd2(x, y, bandwidth=s)))(widths)
    np.testing.assert_allclose(swept, [D.mmd2(x, y, bandwidth=float(s)) for s in widths], rtol=1e-5)
    assert not jit(jax.grad(lambda m: dalib.discrepancy.mmd2(x, y, multipliers=m)))(widths).any()


def test_linear_mmd2_is_the_distance_of_means():
    x, y = double(5, 8)
    with jax.enable_x64(True):
        np.testing.assert_allclose(D.linear_mmd2(x, y), np.sum((x.mean(0) - y.mean(0)) ** 2), rtol=1e-12)


def test_refusals():
    x, y = samples(4, 3)
    for f, word in (
        (lambda: D.mmd2(x, y, estimator="unbaised"), "did you mean 'unbiased'"),
        (lambda: D.mmd2(x, y[:1], estimator="unbiased"), "at least 2 rows"),
        (lambda: D.mmd2(x, y, tile=-1), "tile"),
        (lambda: D.mk_mmd(x, y, tllib_offset=True), "n = m"),
        (lambda: D.joint_mmd2((x,), (y, y)), "layers"),
        (lambda: D.joint_mmd2((x, x[:2]), (y, y)), "same rows"),
        (lambda: D.joint_mmd2((), ()), "layers"),
    ):
        with pytest.raises(InputError, match=word):
            f()
