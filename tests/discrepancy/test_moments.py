"""CORAL, log-CORAL, CMD and HoMM against numpy, scipy and tensors of moments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from scipy.stats import ortho_group

import dalib.discrepancy
from dalib.core.checks import InputError
from dalib.discrepancy.spectral import symmetric_log
from tests.discrepancy.cases import Jitted, jit, samples

D = Jitted()


def double(n=9, m=7, d=4):
    return tuple(np.asarray(z, np.float64) for z in samples(n, m, d))


@pytest.mark.parametrize("d", [4, 40])  # by covariances; by inner products of the rows
def test_coral_forms(d):
    x, y = double(d=d)
    gap = np.sum((np.cov(x.T) - np.cov(y.T)) ** 2)
    means = np.sum((x.mean(0) - y.mean(0)) ** 2)
    with jax.enable_x64(True):
        np.testing.assert_allclose(D.coral(x, y), gap / (4 * d**2), rtol=1e-11)
        np.testing.assert_allclose(D.coral(x, y, mean_term=True), gap / (4 * d**2) + means / d, rtol=1e-11)
        np.testing.assert_allclose(D.coral(x, y, tllib_form=True), gap / d**2 + means / d, rtol=1e-11)
        np.testing.assert_allclose(D.covariance(x), np.cov(x.T), rtol=1e-11)
        gradient = jit(jax.grad(dalib.discrepancy.coral))(x, y)
        centred = (x - x.mean(0)) / (len(x) - 1)
        np.testing.assert_allclose(gradient, centred @ (np.cov(x.T) - np.cov(y.T)) / d**2, rtol=1e-9, atol=1e-13)
    narrow = D.coral(x.astype(np.float32), y.astype(np.float32))
    np.testing.assert_allclose(narrow, gap / (4 * d**2), rtol=1e-5)


def test_coral_of_gaussians():
    """Samples that have given covariances exactly: CORAL sees these and no more."""
    generator = np.random.default_rng(0)
    d, n = 3, 50
    root_x, root_y = generator.normal(size=(2, d, d))
    white = []
    for _ in range(2):
        z = generator.normal(size=(n, d))
        z -= z.mean(0)
        white.append(z @ np.linalg.inv(np.linalg.cholesky(np.cov(z.T))).T)
    x, y = white[0] @ root_x.T + 5, white[1] @ root_y.T
    with jax.enable_x64(True):
        expected = np.sum((root_x @ root_x.T - root_y @ root_y.T) ** 2) / (4 * d**2)
        np.testing.assert_allclose(D.coral(x, y), expected, rtol=1e-10)


def test_log_coral_against_scipy():
    x, y = double()
    with jax.enable_x64(True):
        for relative in (False, True):
            ridge = 1e-3 * (np.trace(np.cov(x.T) + np.cov(y.T)) / 8 if relative else 1)
            logs = [scipy.linalg.logm(np.cov(z.T) + ridge * np.eye(4)) for z in (x, y)]
            expected = np.sum((logs[0] - logs[1]) ** 2) / (4 * 4**2)
            np.testing.assert_allclose(D.log_coral(x, y, relative=relative), expected, rtol=1e-10)
        # Relative ε: scaling both samples adds the same multiple of I to both logarithms.
        np.testing.assert_allclose(D.log_coral(1e3 * x, 1e3 * y), D.log_coral(x, y), rtol=1e-9)


def test_derivative_of_the_logarithm_at_ties():
    """Fréchet derivative of the matrix logarithm, with double, nearly double and widely spread eigenvalues."""
    q = ortho_group.rvs(6, random_state=0)
    direction = np.random.default_rng(1).normal(size=(6, 6))
    direction += direction.T
    with jax.enable_x64(True):
        for values in ([2, 2, 2, 2, 2, 2], [1, 1, 1 + 1e-9, 3, 3.01, 500], [1e-3, 1e-3, 0.3, 1, 30, 1e4]):
            matrix = q @ np.diag(values) @ q.T
            value, slope = jax.jvp(symmetric_log, (jnp.asarray(matrix),), (jnp.asarray(direction),))
            np.testing.assert_allclose(value, scipy.linalg.logm(matrix), rtol=1e-8, atol=1e-10)
            # The logarithm of [[A, E], [0, A]] holds the derivative of log at A along E in its upper right block.
            block = np.block([[matrix, direction], [np.zeros((6, 6)), matrix]])
            np.testing.assert_allclose(
                slope, scipy.linalg.logm(block)[:6, 6:], rtol=1e-6, atol=1e-6 * np.abs(slope).max()
            )


def test_log_coral_of_few_rows_has_a_gradient():
    x, y = samples(3, 4, 10)
    value, gradient = jit(jax.value_and_grad(dalib.discrepancy.log_coral))(x, y)
    assert np.isfinite(value) and np.isfinite(gradient).all() and np.abs(gradient).max() > 0


def test_cmd_against_moments():
    x, y = double()
    with jax.enable_x64(True):
        for order, (a, b) in ((1, (0, 1)), (5, (0, 1)), (4, (-1, 2))):
            expected = np.linalg.norm(x.mean(0) - y.mean(0)) / (b - a)
            for k in range(2, order + 1):
                moments = [((z - z.mean(0)) ** k).mean(0) for z in (x, y)]
                expected += np.linalg.norm(moments[0] - moments[1]) / (b - a) ** k
            np.testing.assert_allclose(D.cmd(x, y, order=order, interval=(a, b)), expected, rtol=1e-11)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_homm_against_tensors(order):
    x, y = double()

    def tensor(z):
        z = z - z.mean(0)
        letters = "abcd"[:order]
        return np.einsum(",".join(f"i{c}" for c in letters) + "->" + letters, *[z] * order) / len(z)

    with jax.enable_x64(True):
        expected = np.sum((tensor(x) - tensor(y)) ** 2) / 4**order
        np.testing.assert_allclose(D.homm(x, y, order=order), expected, rtol=1e-10, atol=1e-14)


def test_refusals():
    x, y = samples(4, 3)
    for f, word in (
        (lambda: D.cmd(x, y, order=0), "order"),
        (lambda: D.cmd(x, y, interval=(1.0, 1.0)), "interval"),
        (lambda: D.homm(x, y, order=2.5), "order"),
        (lambda: D.log_coral(x, y, epsilon=0.0), "epsilon"),
    ):
        with pytest.raises(InputError, match=word):
            f()
