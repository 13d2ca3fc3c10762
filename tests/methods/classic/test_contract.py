"""Every classic method under one contract: a new one is tested by being listed in ``CLASSIC``."""

import jax.numpy as jnp
import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.methods.classic import CLASSIC, Fitted, Shallow

N, M, D = 17, 11, 6
NAMES = sorted(CLASSIC)


def samples(n: int = N, m: int = M) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two samples of different distributions with the labels of the first."""
    rng = np.random.default_rng(3)
    labels = np.arange(n) % 3
    centres = 2 * rng.normal(size=(3, D))
    source = centres[labels] + rng.normal(size=(n, D))
    target = centres[np.arange(m) % 3] @ (np.eye(D) + 0.3 * rng.normal(size=(D, D))) + 0.5 + rng.normal(size=(m, D))
    return source, labels, target


def small(name: str) -> Shallow:
    """The method with default hyper-parameters, but a subspace that fits six columns."""
    return CLASSIC[name](dim=3) if name in ("sa", "gfk", "tca", "jda") else CLASSIC[name]()


def gram(fitted: Fitted) -> np.ndarray:
    """Inner products of all mapped rows: what is defined, whatever the signs of the axes."""
    rows = np.concatenate([fitted.source, fitted.target])
    return rows @ rows.T


@pytest.mark.parametrize("name", NAMES)
def test_shapes_and_dtypes_and_further_rows(name):
    method = small(name)
    assert method.name == name
    source, labels, target = samples()
    for dtype in (np.float32, np.float64):
        xs, xt = source.astype(dtype), target.astype(dtype)
        before = xs.copy(), xt.copy()
        fitted = method.fit(xs, labels, xt)
        assert fitted.source.shape == (N, fitted.target.shape[1]) and len(fitted.target) == M
        assert fitted.source.dtype == fitted.target.dtype == dtype
        assert np.isfinite(fitted.source).all() and np.isfinite(fitted.target).all()
        np.testing.assert_array_equal(xs, before[0])
        np.testing.assert_array_equal(xt, before[1])
        tolerance = 1e-12 if dtype == np.float64 else 1e-5
        np.testing.assert_allclose(fitted.transform_source(xs), fitted.source, rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(fitted.transform_target(xt), fitted.target, rtol=tolerance, atol=tolerance)
        one_by_one = np.concatenate([fitted.transform_source(row[None]) for row in xs])
        np.testing.assert_allclose(one_by_one, fitted.source, rtol=tolerance, atol=tolerance)
        assert fitted.transform_source(xs[:2]).dtype == dtype
        with pytest.raises(InputError, match=f"{D}"):
            fitted.transform_target(xt[:, :3])


@pytest.mark.parametrize("name", NAMES)
def test_float32_agrees_with_float64(name):
    source, labels, target = samples()
    source, target = source.astype(np.float32), target.astype(np.float32)
    single = small(name).fit(source, labels, target)
    double = small(name).fit(source.astype(np.float64), labels, target.astype(np.float64))
    np.testing.assert_allclose(gram(single), gram(double), rtol=1e-4, atol=1e-4 * np.abs(gram(double)).max())
    if double.weights is not None:
        np.testing.assert_allclose(single.weights, double.weights, rtol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_rows_is_irrelevant(name):
    source, labels, target = samples()
    rng = np.random.default_rng(0)
    rows, columns = rng.permutation(N), rng.permutation(M)
    straight = small(name).fit(source, labels, target)
    permuted = small(name).fit(source[rows], labels[rows], target[columns])
    both = np.concatenate([rows, N + columns])
    expected = gram(straight)[np.ix_(both, both)]
    np.testing.assert_allclose(gram(permuted), expected, rtol=1e-7, atol=1e-7 * np.abs(expected).max())
    if straight.weights is not None:
        assert permuted.weights is not None
        np.testing.assert_allclose(permuted.weights, straight.weights[rows], rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_takes_jax_arrays(name):
    source, labels, target = (jnp.asarray(z) for z in samples())
    fitted = small(name).fit(source, labels, target)
    assert isinstance(fitted.source, np.ndarray) and fitted.source.dtype == source.dtype


@pytest.mark.parametrize("name", NAMES)
def test_labels_matter_only_where_they_are_needed(name):
    source, labels, target = samples()
    if small(name).needs_labels:
        with pytest.raises(InputError, match="ys"):
            small(name).fit(source, None, target)
    else:
        np.testing.assert_array_equal(
            small(name).fit(source, None, target).target, small(name).fit(source, labels, target).target
        )


def _degenerate() -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    source, labels, target = samples()
    holes = source.copy()
    holes[:, 2:4] = 7.0
    return {
        "equal domains": (source, labels, source),
        "constant": (np.full_like(source, 1.1), labels, np.full_like(target, 1.1)),
        "zero": (np.zeros_like(source), labels, np.zeros_like(target)),
        "constant source": (np.ones_like(source), labels, target),
        "constant columns": (holes, labels, target),
        "one class": (source, np.zeros_like(labels), target),
        "a class of one": (source, np.where(np.arange(N) == 4, 9, 0), target),
        "one source row": (source[:1], labels[:1], target),
        "one target row": (source, labels, target[:1]),
        "repeated rows": (np.repeat(source[:4], 4, axis=0), np.repeat(labels[:4], 4), target),
        "large": (1e6 * source, labels, 1e6 * target),
        "tiny": (1e-6 * source, labels, 1e-6 * target),
        "far apart": (source, labels, target + 1e4),
        "one column": (source[:, :1], labels, target[:, :1]),
        "wide": (np.tile(source, (1, 9)), labels, np.tile(target, (1, 9))),
    }


@pytest.mark.parametrize("case", _degenerate())
@pytest.mark.parametrize("name", NAMES)
def test_degenerate_inputs_are_finite_or_an_error_that_says_why(name, case):
    source, labels, target = _degenerate()[case]
    try:
        fitted = CLASSIC[name]().fit(source, labels, target)
    except InputError as error:
        allowed = {"constant", "zero", "constant source", "one source row", "one target row", "one column", "far apart"}
        assert case in allowed, error
        return
    for values in (fitted.source, fitted.target, fitted.transform_source(source), fitted.weights):
        assert values is None or np.isfinite(values).all()
    if fitted.weights is not None:
        assert (fitted.weights >= 0).all() and abs(fitted.weights.mean() - 1) < 1e-12


@pytest.mark.parametrize("name", NAMES)
def test_bad_input_names_its_argument(name):
    source, labels, target = samples()
    fit = small(name).fit
    broken = source.copy()
    broken[3, 1] = np.nan
    for arguments, word in (
        ((source[0], labels, target), "xs"),
        ((source, labels, target[:, :4]), "xt"),
        ((source.astype(int), labels, target), "xs"),
        ((broken, labels, target), "xs"),
        ((source, labels[:5], target), "ys"),
        ((source, labels.astype(float), target), "ys"),
        ((source, labels - 1, target), "ys"),
        ((source, labels, target[:0]), "xt"),
    ):
        with pytest.raises(InputError, match=f"^{word}"):
            fit(*arguments)
