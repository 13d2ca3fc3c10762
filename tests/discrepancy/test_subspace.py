"""Spectral penalties and subspace distances against numpy and scipy, with ties and equal subspaces."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from scipy.stats import ortho_group

import dalib.discrepancy
from dalib.core.checks import InputError
from dalib.discrepancy.spectral import squared_singular_values, svd
from tests.discrepancy.cases import Jitted, jit, samples

D = Jitted()


@pytest.mark.parametrize("shape", [(5, 9), (9, 5)])
def test_spectral_penalties_against_numpy(shape):
    x = np.random.default_rng(0).normal(size=shape)
    squares = np.sort(np.linalg.svd(x, compute_uv=False) ** 2)
    with jax.enable_x64(True):
        np.testing.assert_allclose(D.bsp(x), squares[-1], rtol=1e-11)
        np.testing.assert_allclose(D.bsp(x, count=3), squares[-3:].sum(), rtol=1e-11)
        np.testing.assert_allclose(D.bss(x, count=2), squares[:2].sum(), rtol=1e-10)
        np.testing.assert_allclose(squared_singular_values(jnp.asarray(x), count=5), squares, rtol=1e-10)
        np.testing.assert_allclose(D.nuclear_norm(x), np.sqrt(squares).sum(), rtol=1e-11)
        for f in (dalib.discrepancy.bsp, dalib.discrepancy.bss, dalib.discrepancy.nuclear_norm):
            direction = np.cos(np.arange(x.size)).reshape(shape)
            gradient = jit(jax.grad(f))(jnp.asarray(x))
            slope = (jit(f)(x + 1e-6 * direction) - jit(f)(x - 1e-6 * direction)) / 2e-6
            np.testing.assert_allclose(np.vdot(gradient, direction), slope, rtol=1e-6)


def test_ties_have_finite_gradients():
    tied = 2 * jnp.asarray(ortho_group.rvs(6, random_state=0)[:, :4], jnp.float32)
    for f in (D.bsp, D.bss, D.nuclear_norm, lambda x: sum(jnp.sum(part[0]) for part in svd(x))):
        assert np.isfinite(jit(jax.grad(f))(tied)).all()
    # ‖·‖_* at 2Q is linear along Q: slope 4.
    gradient = jit(jax.grad(dalib.discrepancy.nuclear_norm))(tied)
    np.testing.assert_allclose(gradient, tied / 2, atol=1e-6)


def test_svd_derivative_of_every_part():
    x = np.random.default_rng(1).normal(size=(6, 4))
    direction = np.random.default_rng(2).normal(size=(6, 4))
    with jax.enable_x64(True):
        for matrix, along in ((x, direction), (x.T, direction.T)):
            parts, slopes = jax.jvp(svd, (jnp.asarray(matrix),), (jnp.asarray(along),))
            np.testing.assert_allclose(parts[0] @ jnp.diag(parts[1]) @ parts[2].T, matrix, rtol=1e-10)
            ahead, behind = (svd(jnp.asarray(matrix + h * along)) for h in (1e-6, -1e-6))
            for slope, after, before in zip(slopes, ahead, behind, strict=True):
                np.testing.assert_allclose(slope, (after - before) / 2e-6, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("sizes", [(4, 4), (3, 5)])
def test_rsd_against_principal_angles(sizes):
    x, y = (np.asarray(z, np.float64) for z in samples(*sizes, 12))
    k = min(sizes)
    bases = [np.linalg.svd(z.T, full_matrices=False)[0][:, :k] for z in (x, y)]
    angles = scipy.linalg.subspace_angles(*bases)
    p, _, qt = np.linalg.svd(bases[0].T @ bases[1])
    with jax.enable_x64(True):
        np.testing.assert_allclose(D.rsd(x, y, weight=0.0), np.sin(angles).sum(), rtol=1e-10)
        mismatch = np.linalg.norm(np.abs(p) - np.abs(qt.T))
        np.testing.assert_allclose(D.rsd(x, y, weight=2.0), np.sin(angles).sum() + 2 * mismatch, rtol=1e-10)


def test_rsd_of_equal_and_nearly_equal_subspaces():
    x, _ = samples(4, 4, 12)
    mixed = jnp.asarray(ortho_group.rvs(4, random_state=0), jnp.float32) @ x
    value, gradient = jit(jax.value_and_grad(functools.partial(dalib.discrepancy.rsd, weight=0.0)))(x, mixed)
    assert abs(value) < 1e-5 and np.isfinite(gradient).all()
    x, near = np.eye(2, 5), np.eye(2, 5)
    near[1, 3] = 1e-3  # one principal angle of arctan(1e-3), far below √ε of float32
    np.testing.assert_allclose(
        D.rsd(jnp.asarray(x, jnp.float32), jnp.asarray(near, jnp.float32), weight=0.0),
        np.sin(np.arctan(1e-3)),
        rtol=1e-3,
    )


def inverse_gram_reference(x, y, threshold=0.9):
    """DARE-GRAM through numpy's pseudo-inverse of the full Gram matrices, for n = m."""
    grams = [z.T @ z for z in (np.c_[np.ones(len(x)), x], np.c_[np.ones(len(y)), y])]
    spectra = [np.linalg.svd(gram, compute_uv=False) for gram in grams]
    counts = []
    for spectrum in spectra:
        share = np.cumsum(spectrum) / spectrum.sum()
        counts.append(np.flatnonzero(share <= max(threshold, share[1]))[-1])
    k = max(counts)
    p, q = (
        np.linalg.pinv(gram, rcond=(1 + 1e-9) * spectrum[k] / spectrum[0], hermitian=True)
        for gram, spectrum in zip(grams, spectra, strict=True)
    )
    cosine = np.sum(p * q, axis=0) / np.linalg.norm(p, axis=0) / np.linalg.norm(q, axis=0)
    return np.mean(1 - cosine), np.linalg.norm(spectra[0][:k] - spectra[1][:k]) / k


@pytest.mark.parametrize("shape", [(12, 6), (8, 16)])
def test_dare_gram_against_numpy(shape):
    generator = np.random.default_rng(0)
    x = generator.normal(size=shape) * np.linspace(0.2, 2, shape[1])
    y = generator.normal(size=shape) + 0.3
    angle, scale = inverse_gram_reference(x, y)
    with jax.enable_x64(True):
        np.testing.assert_allclose(D.dare_gram(x, y, scale_weight=0.0), 0.05 * angle, rtol=1e-9)
        np.testing.assert_allclose(D.dare_gram(x, y, angle_weight=0.0, scale_weight=2.0), 2 * scale, rtol=1e-9)
        # Twice the same rows: the same directions, and a spectrum that is scaled back.
        doubled = D.dare_gram(x, np.repeat(y, 2, axis=0))
        rows = np.repeat(x, 2, axis=0), np.repeat(y, 2, axis=0)
        np.testing.assert_allclose(D.dare_gram(*rows, scale_weight=0.0), 0.05 * angle, rtol=1e-9)
        np.testing.assert_allclose(doubled, 0.05 * angle + 0.001 * 1.5 * scale, rtol=1e-9)


def test_adaptive_feature_norm():
    x = jnp.array([[3.0, 4.0], [0.0, 0.0], [0.3, 0.4]])
    value, gradient = jit(jax.value_and_grad(functools.partial(dalib.discrepancy.afn, step=0.5)))(x)
    np.testing.assert_allclose(value, 0.25, rtol=1e-6)
    np.testing.assert_allclose(gradient, -2 * 0.5 / 3 * np.array([[0.6, 0.8], [0, 0], [0.6, 0.8]]), rtol=1e-5)


def test_refusals():
    x, y = samples(6, 5, 4)
    for f, word in (
        (lambda: D.rsd(x, y), "fewer rows than columns"),
        (lambda: D.bsp(x, count=5), "from 1 to 4"),
        (lambda: D.bss(x, count=0), "count"),
        (lambda: D.bss(x[0]), r"\[n, d\]"),
    ):
        with pytest.raises(InputError, match=word):
            f()


def test_the_nuclear_norm_of_half_precision_is_that_of_its_float32_copy():
    x = jax.random.normal(jax.random.key(2), (6, 4)).astype(jnp.bfloat16)
    value, gradient = jax.value_and_grad(D.nuclear_norm)(x)
    same, exact = jax.value_and_grad(D.nuclear_norm)(x.astype(jnp.float32))
    assert value.dtype == jnp.float32 and gradient.dtype == jnp.bfloat16
    np.testing.assert_allclose(value, same, rtol=1e-6)
    np.testing.assert_allclose(gradient.astype(jnp.float32), exact, rtol=0.01, atol=0.01)
