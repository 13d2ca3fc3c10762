"""Every golden number that belongs to a discrepancy, in float64 and float32, values and gradients."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib import discrepancy as D
from tests.discrepancy.cases import Jitted, jit
from tests.golden import extra, golden, inputs


class Case(NamedTuple):
    """A golden case: its inputs by name and our function of them; ``loose`` for gradients through eigenvectors."""

    inputs: tuple[str, ...]
    f: Callable[..., jax.Array]
    loose: bool = False


FEATURES = ("f_s", "f_t")


def _jan(f_s, f_t, g_s, g_t):
    source, target = (f_s, jax.nn.softmax(g_s)), (f_t, jax.nn.softmax(g_t))
    return D.joint_mmd2(source, target, estimator="linear", tllib_offset=True)


def _five_rows(f):
    return lambda f_s, f_t: f(f_s[:5], f_t)


def _transport_cost(f_s, f_t):
    cost = D.squared_distances(f_s, f_t)
    return jnp.sum(D.sinkhorn(cost, epsilon=5.0, tolerance=1e-13 if cost.dtype == jnp.float64 else 1e-6).plan * cost)


BIASED = functools.partial(D.mmd2, bandwidth=4.0)
UNBIASED = functools.partial(D.mmd2, bandwidth=4.0, estimator="unbiased")

CASES: dict[str, Case] = {
    "mmd2.biased.sigma4": Case(FEATURES, BIASED),
    "mmd2.unbiased.sigma4": Case(FEATURES, UNBIASED),
    "mmd2.biased.sigma4.n5m8": Case(FEATURES, _five_rows(BIASED)),
    "mmd2.unbiased.sigma4.n5m8": Case(FEATURES, _five_rows(UNBIASED)),
    "mmd2.unbiased.mk5": Case(FEATURES, D.mk_mmd),
    "mmd2.linear": Case(FEATURES, D.linear_mmd2),
    "mkmmd.nonlinear": Case(FEATURES, functools.partial(D.mk_mmd, tllib_offset=True)),
    "mkmmd.nonlinear.same_inputs": Case(("f_s",), lambda f_s: D.mk_mmd(f_s, f_s, tllib_offset=True)),
    "mkmmd.linear": Case(FEATURES, functools.partial(D.mk_mmd, estimator="linear", tllib_offset=True)),
    "mmd.one_kernel_sigma1": Case(
        FEATURES, lambda f_s, f_t: D.mmd2(f_s, f_t, bandwidth=1.0, estimator="unbiased") + 2 / 7
    ),
    "gaussian_kernel_alpha1": Case(FEATURES, lambda f_s, f_t: D.gaussian_gram(jnp.concatenate([f_s, f_t]))),
    "gaussian_kernel_alpha1.mean": Case(
        FEATURES, lambda f_s, f_t: jnp.mean(D.gaussian_gram(jnp.concatenate([f_s, f_t])))
    ),
    "jmmd.linear": Case((*FEATURES, "g_s", "g_t"), _jan),
    "coral": Case(FEATURES, functools.partial(D.coral, tllib_form=True)),
    "coral.paper": Case(FEATURES, D.coral),
    "coral.paper.n5m8": Case(FEATURES, _five_rows(D.coral)),
    "coral.log.eps1e-3": Case(("A", "B"), functools.partial(D.log_coral, relative=False), loose=True),
    "cmd.K5.sigmoid": Case(FEATURES, lambda f_s, f_t: D.cmd(jax.nn.sigmoid(f_s), jax.nn.sigmoid(f_t))),
    "homm.p3.full": Case(FEATURES, D.homm),
    "swd.p2": Case((*FEATURES, "proj"), lambda f_s, f_t, proj: D.sliced_wasserstein(f_s, f_t, directions=proj)),
    "sinkhorn.eps5": Case(FEATURES, _transport_cost),
    "rsd.w0.1": Case(FEATURES, D.rsd, loose=True),
    "bss.k1": Case(("f_s",), D.bss, loose=True),
    "bnm.neg_over_n": Case(("g_t",), lambda g_t: -D.nuclear_norm(jax.nn.softmax(g_t)) / g_t.shape[0], loose=True),
    "snd.T0.05.probs": Case(("g_t",), lambda g_t: D.soft_neighbourhood_density(jax.nn.softmax(g_t))),
    "afn.delta1": Case(FEATURES, lambda f_s, f_t: D.afn(f_s) + D.afn(f_t)),
}


def arguments(names: tuple[str, ...]) -> list[np.ndarray]:
    halves = {"A": slice(None, 30), "B": slice(30, None)}
    return [inputs("rank_f")[0][halves[name]] if name in halves else inputs(name)[0] for name in names]


def relative_error(got, expected) -> float:
    return float(np.abs(np.asarray(got, np.float64) - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("name", list(CASES))
def test_golden(name):
    case, expected = CASES[name], golden(name)
    wanted = [i for i, argument in enumerate(case.inputs) if argument in expected.gradients]
    f = jit(jax.value_and_grad(case.f, argnums=tuple(wanted)) if wanted else lambda *a: (case.f(*a), ()))
    tolerances = {True: (1e-8, 1e-8) if case.loose else (1e-10, 1e-10), False: (1e-5, 1e-3 if case.loose else 1e-4)}
    for wide, (of_value, of_gradient) in tolerances.items():
        with jax.enable_x64(wide):
            value, gradients = f(
                *(jnp.asarray(z, jnp.float64 if wide else jnp.float32) for z in arguments(case.inputs))
            )
        assert relative_error(value, expected.value) < of_value
        for i, gradient in zip(wanted, gradients, strict=True):
            reference = expected.gradients[case.inputs[i]]
            assert relative_error(gradient[: len(reference)], reference) < of_gradient


def test_golden_plan():
    D = Jitted()
    with jax.enable_x64(True):
        f_s, f_t = (jnp.asarray(z) for z in inputs("f_s", "f_t"))
        found = D.sinkhorn(D.squared_distances(f_s, f_t), epsilon=5.0, tolerance=1e-13)
        assert relative_error(found.plan, extra("sinkhorn.eps5/plan")) < 1e-10
        assert bool(found.converged)
        # Towards ε = 0 the entropic plan becomes the optimal assignment.
        sharp = D.sinkhorn(D.squared_distances(f_s, f_t), epsilon=0.02, tolerance=1e-9, max_iterations=50_000)
        np.testing.assert_array_equal(np.argmax(sharp.plan, axis=1), extra("ot.exact/assignment"))
        assert relative_error(jnp.sum(sharp.plan * D.squared_distances(f_s, f_t)), golden("ot.exact").value) < 1e-5


def test_relations_between_cases():
    D = Jitted()
    value = {name: float(golden(name).value) for name in ("coral", "coral.paper", "mmd2.linear", "mmd2.unbiased.mk5")}
    with jax.enable_x64(True):
        f_s, f_t = (jnp.asarray(z) for z in inputs("f_s", "f_t"))
        np.testing.assert_allclose(value["coral"], value["mmd2.linear"] / 16 + 4 * D.coral(f_s, f_t), rtol=1e-12)
        np.testing.assert_allclose(golden("mkmmd.nonlinear").value - 2 / 7, D.mk_mmd(f_s, f_t), rtol=1e-12)
        covariances = [(len(z) - 1) / len(z) * D.covariance(z) for z in (f_s, f_t)]
        second = jnp.sum((covariances[0] - covariances[1]) ** 2) / 16**2
        np.testing.assert_allclose(D.homm(f_s, f_t, order=2), second, rtol=1e-12)
