"""CORAL, subspace alignment and the geodesic flow kernel against golden numbers and slow definitions."""

import tracemalloc

import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.methods.classic import coral, gfk, sa
from dalib.methods.classic.subspace import covariance_power
from tests.golden import golden, inputs


def _samples(n: int = 40, m: int = 30, d: int = 7) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    mix = rng.normal(size=(d, d))
    return rng.normal(size=(n, d)), rng.normal(size=(m, d)) @ mix + 1


def test_coral_golden():
    rows = inputs("rank_f")[0]
    fitted = coral(epsilon=1.0, form="paper").fit(rows[:30], None, rows[30:])
    np.testing.assert_allclose(fitted.source, golden("coral.transform.eps1").value, rtol=1e-10)
    np.testing.assert_array_equal(fitted.target, rows[30:])


def test_coral_gives_the_source_the_covariance_of_the_target():
    source, target = _samples()
    fitted = coral(epsilon=1e-9).fit(source, None, target)
    np.testing.assert_allclose(np.cov(fitted.source.T), np.cov(target.T), rtol=1e-6, atol=1e-6)


def test_coral_refuses_epsilon_zero_and_single_rows():
    with pytest.raises(InputError, match="epsilon"):
        coral(epsilon=0)
    source, target = _samples()
    with pytest.raises(InputError, match="xt"):
        coral().fit(source, None, target[:1])


def test_subspace_alignment_of_a_plane():
    # Source along the first axis, target along the diagonal of the first two: the mapped source keeps cos 45° of it.
    line = np.linspace(-1, 1, 9)[:, None]
    fitted = sa(dim=1).fit(line * [[1, 0, 0]], None, line * [[1, 1, 0]] / np.sqrt(2))
    np.testing.assert_allclose(np.abs(fitted.source), np.abs(line) / np.sqrt(2), atol=1e-12)
    np.testing.assert_allclose(np.abs(fitted.target), np.abs(line), atol=1e-12)
    assert (fitted.source * fitted.target >= -1e-12).all()  # and turned the right way round


def test_subspace_alignment_is_the_best_map_between_the_bases():
    source, target = _samples()
    fitted = sa(dim=3).fit(source, None, target)
    bases = [np.linalg.svd(x - x.mean(0))[2][:3].T for x in (source, target)]
    np.testing.assert_allclose(
        np.abs(fitted.source), np.abs((source - source.mean(0)) @ bases[0] @ bases[0].T @ bases[1]), atol=1e-10
    )
    assert sa(dim=50).fit(source, None, target).info["dim"] == 7


@pytest.mark.parametrize("dim", [1, 3, 5, 7])
def test_geodesic_kernel_is_the_integral_of_the_flow(dim):
    source, target = _samples()
    fitted = gfk(dim=dim).fit(source, None, target)
    bases = [np.linalg.svd(x - x.mean(0))[2][:dim].T for x in (source, target)]
    turned, cosines, right = np.linalg.svd(bases[0].T @ bases[1])
    angles = np.arccos(np.clip(cosines, -1, 1))
    inside = bases[0] @ turned
    outside = bases[1] @ right.T - inside * cosines
    outside = outside / np.maximum(np.linalg.norm(outside, axis=0), 1e-300) * (angles > 1e-6)
    nodes, weights = np.polynomial.legendre.leggauss(20)
    kernel = np.zeros((7, 7))
    for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        point = inside * np.cos(node * angles) + outside * np.sin(node * angles)
        kernel += weight * point @ point.T
    np.testing.assert_allclose(fitted.source @ fitted.target.T, source @ kernel @ target.T, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(fitted.info["angles"], angles, atol=1e-7)


def test_geodesic_kernel_of_equal_subspaces_is_the_projection():
    source, _ = _samples()
    fitted = gfk(dim=2).fit(source, None, source[::-1])
    basis = np.linalg.svd(source - source.mean(0))[2][:2].T
    np.testing.assert_allclose(fitted.source @ fitted.source.T, source @ basis @ basis.T @ source.T, atol=1e-9)


def test_subspaces_refuse_constant_features_and_odd_dimensions():
    source, target = _samples()
    for method in (sa, gfk):
        with pytest.raises(InputError, match="xt"):
            method().fit(source, None, np.full_like(target, 0.3))
        for dim in (0, 2.5, True):
            with pytest.raises(InputError, match="dim"):
                method(dim=dim)


@pytest.mark.parametrize("ridge", [1.0, 1e-3])
@pytest.mark.parametrize("exponent", [-0.5, 0.5])
def test_powers_of_a_covariance_with_fewer_rows_than_columns(exponent, ridge):
    """The thin form against the whole matrix, on rows inside and outside of the span."""
    rng = np.random.default_rng(0)
    x, rows = rng.normal(size=(9, 25)), rng.normal(size=(4, 25))
    values, vectors = np.linalg.eigh(np.cov(x.T))
    whole = (vectors * (np.maximum(values, 0) + ridge) ** exponent) @ vectors.T
    thin = covariance_power(x, exponent, ridge=ridge)
    for sample in (rows, x):
        np.testing.assert_allclose(thin(sample), sample @ whole, rtol=1e-8, atol=1e-8 * np.abs(sample @ whole).max())


def test_coral_of_a_hundred_thousand_columns_makes_no_matrix_of_them():
    rng = np.random.default_rng(0)
    xs, xt = rng.normal(size=(6, 100_000)), rng.normal(size=(5, 100_000))
    tracemalloc.start()
    fitted = coral().fit(xs, None, xt)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert fitted.source.shape == xs.shape and peak < 40 * xs.nbytes
